"""Conditioning variables of objects and missing momentum, and their targets relative to their sources.

All functions work on flat arrays.
"""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.jets.features import ETA, MASS, MAX_LOG, PHI, PT, beam_side, wrap_phi
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import (
    Directions,
    arctan2,
    directions,
    exp,
    log,
    phi_of,
    sine_and_cosine,
    wrapped,
    write_logs,
)
from coffea_iqn.objects.kinds import REACH

N_PARTICLE, N_FOUND, N_MISSING = 24, 7, 35  # numbers of columns of the functions below
FAR = 1.0  # ΔR beyond which neighbours are ignored
HARDEST = 200.0  # GeV, pt beyond which samples have few particles: efficiency and isolation are constant there
THRESHOLD = 10.0  # GeV, typical threshold of objects: a smooth network does not find such a step by itself
SOFT = (12.0, 15.0, 20.0, 30.0)  # GeV, upper edges of pt bins of soft gen jets, a measure of unclustered energy
LOGS = (0, 2, 5, 8, 11, 12, 13, 17, 18, 19, 22, 25, 30)  # columns of `missing_columns` that are logarithms
LITTLE = 0.01  # GeV: smaller gen missing momentum is only rounding
LEAST = 0.1  # GeV, resolution of a jet's pt in excess of a particle
COMPOSITION = slice(9, 13)  # columns of `particle_columns`
ACROSS = [4, 7, 10, 21, 24, 27]  # columns of `missing_columns` that change sign in a reflection about the recoil
ISOLATION = 3  # column of objects
NONE, ALONE = -1.0, -1e-3  # target for an isolation of exactly 0; upper limit of such targets, despite rounding
MAX_LOG_RATIO = 5.0  # of two pt


def particle_columns(particles: PromptParticles, jets: JetTable, composition: Floats | None) -> Singles:
    """Return the conditioning variables of the outcome of prompt particles, (M, 24).

    The logarithm of pt / 20 GeV, up to `HARDEST`; |eta|, the excess of |eta| over 1.5, and whether |eta| is above 2.4
    and above 2.5. Whether the particle is in a gen jet (ΔR < 0.4); if so ΔR to the jet, the logarithms of the
    particle's pt over the jet's and of the rest of the jet's pt over the particle's, the logarithms of the jet's
    numbers of charged and neutral particles, its charged energy fraction, and whether this composition is known. For
    the nearest other jet, ΔR and the logarithm of its pt over the particle's; the same for the nearest other prompt
    particle, and whether that is an electron, muon or photon. The logarithm of the summed pt of the event's jets beyond
    that of its prompt particles. The distance of pt to a threshold of 10 GeV: within ±1 GeV, and relative, up to 10 GeV
    above. The logarithm of the rest of the jet's pt, in GeV: what is around a hard particle does not grow with its pt.

    Parameters
    ----------
    particles: prompt particles of the events.
    jets: all gen jets of the same events.
    composition: numbers of charged and neutral particles and charged energy fraction of the jets, (N, 3), or None.
    """
    known = np.full((len(jets.values), 3), np.nan) if composition is None else composition.astype(np.float64)
    columns = np.zeros((len(particles.kind), N_PARTICLE), dtype=np.float32)
    _see_particles(particles, jets.values, jets.counts, known, columns)
    return columns


@part
def _distance(eta: float, phi: float, other_eta: float, other_phi: float) -> float:
    d_eta, d_phi = eta - other_eta, wrapped(phi - other_phi)
    return math.sqrt(d_eta * d_eta + d_phi * d_phi)


@part
def _log_ratio(pt: float, other: float) -> float:
    return min(max(log(pt / other), -MAX_LOG_RATIO), MAX_LOG_RATIO)


@kernel
def _see_particles(particles: PromptParticles, jets: Singles, counts: Ints, composition: Doubles, out: Singles) -> None:
    """Fill the rows of `particle_columns`, initially zeros."""
    values, first, first_jet = particles.values, 0, 0
    for event in range(len(counts)):
        stop, stop_jet = first + particles.counts[event], first_jet + counts[event]
        sum_pt = 0.0
        for j in range(first_jet, stop_jet):
            sum_pt += np.float64(jets[j, PT])
        for i in range(first, stop):
            sum_pt -= np.float64(values[i, 0])
        for i in range(first, stop):
            row = out[i]
            pt, eta, phi = np.float64(values[i, 0]), np.float64(values[i, 1]), np.float64(values[i, 2])
            own, other, own_distance, other_distance = -1, -1, REACH, FAR
            for j in range(first_jet, stop_jet):
                distance = _distance(eta, phi, np.float64(jets[j, ETA]), np.float64(jets[j, PHI]))
                if distance < own_distance:
                    if own >= 0 and own_distance < other_distance:
                        other, other_distance = own, own_distance
                    own, own_distance = j, distance
                elif distance < other_distance:
                    other, other_distance = j, distance
            nearest, nearest_distance = -1, FAR
            for j in range(first, stop):
                if j != i:
                    distance = _distance(eta, phi, np.float64(values[j, 1]), np.float64(values[j, 2]))
                    if distance < nearest_distance:
                        nearest, nearest_distance = j, distance
            row[0] = log(min(pt, HARDEST) / 20.0)
            row[1] = abs(eta)
            row[2] = max(abs(eta) - 1.5, 0.0)
            row[3] = 1.0 if abs(eta) > 2.4 else 0.0
            row[4] = 1.0 if abs(eta) > 2.5 else 0.0
            if own >= 0:
                jet_pt = np.float64(jets[own, PT])
                row[5] = 1.0
                row[6] = own_distance / REACH
                row[7] = _log_ratio(pt, jet_pt)
                rest = max(jet_pt - pt, 0.0)
                row[8] = _log_ratio(rest + LEAST, pt)
                row[23] = log(1.0 + rest) / 2.0
                if not math.isnan(composition[own, 0] + composition[own, 1] + composition[own, 2]):
                    row[9] = log(1.0 + composition[own, 0]) / 2.0
                    row[10] = log(1.0 + composition[own, 1]) / 2.0
                    row[11] = composition[own, 2]
                    row[12] = 1.0
            row[13] = other_distance / FAR
            if other >= 0:
                row[14] = _log_ratio(np.float64(jets[other, PT]), pt) * (1.0 - row[13])
            row[15] = nearest_distance / FAR
            if nearest >= 0:
                row[16] = _log_ratio(np.float64(values[nearest, 0]), pt) * (1.0 - row[15])
                row[17 + particles.kind[nearest]] = 1.0
            row[20] = log(1.0 + max(sum_pt, 0.0) / 50.0)
            row[21] = min(max(pt - THRESHOLD, -1.0), 1.0)
            row[22] = min(max(pt / THRESHOLD - 1.0, 0.0), 1.0)
        first, first_jet = stop, stop_jet


def share_in_jets(columns: Floats) -> float:
    """Return the share of prompt particles above 20 GeV, with |eta| up to 2.5, in a gen jet; 1 without any.

    columns: `particle_columns`.
    """
    hard = (columns[:, 0] > 0.0) & (columns[:, 4] == 0.0)
    return float(columns[hard, 5].mean()) if hard.any() else 1.0


def found_columns(jets: JetTable, objects: Floats, kind: Ints, counts: Ints) -> Singles:
    """Return columns that describe the reconstructed objects in and near jets, (N, 7).

    The fractions of the jet's pt carried by electrons, muons and photons within ΔR 0.4, at most 1.5 each; the logarithm
    of 1 + their number; the logarithm of the remaining fraction of the jet's pt. For the nearest object, inside the jet
    or not: ΔR, at most 1, and its pt over the jet's, at most 3, weighted down linearly with the distance.

    Parameters
    ----------
    jets: jets of the events.
    objects, kind: objects of all events, concatenated: pt [GeV], eta, phi [rad], (M, 3 or more); index in `KINDS`,
        (M,).
    counts: number of objects in each event, (events,).
    """
    out = np.zeros((len(jets.values), N_FOUND), dtype=np.float32)
    _see_found(jets.values, jets.counts, objects, kind, counts, out)
    return out


@kernel
def _see_found(jets: Singles, n_jets: Ints, objects: Floats, kind: Ints, counts: Ints, out: Singles) -> None:
    """Fill the rows of `found_columns`, initially zeros."""
    without = log(1.0 + 0.01) / 2.0
    first = first_jet = 0
    for event in range(len(n_jets)):
        stop, stop_jet = first + counts[event], first_jet + n_jets[event]
        for j in range(first_jet, stop_jet):
            pt, eta, phi = np.float64(jets[j, PT]), np.float64(jets[j, ETA]), np.float64(jets[j, PHI])
            least, inside, nearest_pt, total = FAR, 0, 0.0, 0.0
            for i in range(first, stop):
                if abs(eta - np.float64(objects[i, 1])) < FAR:  # skips most pairs, before the costly angle
                    distance = _distance(eta, phi, np.float64(objects[i, 1]), np.float64(objects[i, 2]))
                    of_jet = np.float64(objects[i, 0]) / pt
                    if distance < least:
                        least, nearest_pt = distance, of_jet
                    if distance < REACH:
                        inside += 1
                        total += of_jet
                        out[j, kind[i]] = min(out[j, kind[i]] + of_jet, 1.5)
            out[j, 4] = without
            if inside > 0:
                out[j, 3] = log(1.0 + inside)
                out[j, 4] = log(min(max(1.0 - total, 0.0), 1.0) + 0.01) / 2.0
            out[j, 5] = least / FAR
            out[j, 6] = min(nearest_pt, 3.0) * (1.0 - least / FAR)
        first, first_jet = stop, stop_jet


def relative_targets(objects: Floats, source: Floats) -> Doubles:
    """Return (log of pt over the source's, Δη towards the beam, Δφ, isolation), (M, 4).

    The network learns `isolation_targets` instead of the last column.

    Parameters
    ----------
    objects: pt [GeV], eta, phi [rad], isolation, (M, 4).
    source: prompt particle or gen jet of each object: pt [GeV], eta, phi [rad], (M, 3 or more).
    """
    x, y = source.astype(np.float64), objects.astype(np.float64)
    d_eta = (y[:, ETA] - x[:, ETA]) * beam_side(x[:, ETA])
    d_phi = wrap_phi(y[:, PHI] - x[:, PHI])
    return np.stack([np.log(y[:, PT] / x[:, PT]), d_eta, d_phi, y[:, ISOLATION]], axis=1)


def widening(pt: Floats, track_share: float) -> Doubles:
    """Return the resolution of log pt at pt [GeV], relative to that at `HARDEST` if pt is above it, else 1, (M,).

    The curvature of a track is measured with constant resolution, so that of pt grows as a ⊕ b pt (R. L. Gluckstern,
    Nucl. Instrum. Meth. 24 (1963) 381); that of a calorimeter is constant.

    track_share: b² pt² / (a² + b² pt²) at `HARDEST`, 0 for a calorimeter.
    """
    return np.sqrt(1.0 + track_share * (np.maximum(pt.astype(np.float64) / HARDEST, 1.0) ** 2 - 1.0))


def isolation_targets(isolation: Floats, pt: Floats, ends: tuple[float, float]) -> Doubles:
    """Return targets for the isolation of objects, (M,): 0 to 1 over its range on a logarithmic scale, −1 for zero.

    The pt sum around an object is either zero or at least the detector's threshold, and at most a fraction of the
    object's pt, the isolation requirement.

    Parameters
    ----------
    isolation, pt: isolation (pt sum around the object over its pt) and pt [GeV] of the objects, (M,).
    ends: least pt sum around an object [GeV], and greatest isolation.
    """
    least, most = ends
    around = np.log(np.maximum(isolation * pt, least) / least)
    span = np.log(np.maximum(most * pt / least, 1.0))
    inside = np.divide(around, span, out=np.zeros_like(around), where=span > 0.0)
    return np.where(isolation > 0.0, np.clip(inside, 0.0, 1.0), NONE)


@part
def _isolation(target: float, pt: float, least: float, most: float) -> float:
    """Invert `isolation_targets`."""
    if target < ALONE:
        return 0.0
    inside, span = min(max(target, 0.0), 1.0), log(max(most * pt / least, 1.0))
    return min(least / pt * exp(inside * span), most)


@kernel
def objects_of(targets: Floats, source: Floats, least: float, most: float) -> Doubles:
    """Invert `relative_targets`, with the isolation encoded by `isolation_targets` with the ends least and most."""
    made = np.empty(targets.shape)
    for i in range(len(targets)):
        eta, phi = np.float64(source[i, ETA]), np.float64(source[i, PHI])
        made[i, PT] = np.float64(source[i, PT]) * exp(min(max(targets[i, 0], -MAX_LOG), MAX_LOG))
        made[i, ETA] = eta + targets[i, 1] * (-1.0 if eta < 0.0 else 1.0)
        made[i, PHI] = phi_of(phi + targets[i, 2])
        made[i, ISOLATION] = _isolation(targets[i, 3], made[i, PT], least, most)
    return made


def far_targets(objects: Floats, axis: Floats, side: Floats) -> Doubles:
    """Return (log pt, eta times side, Δφ to an axis, isolation), (M, 4); for axis and side see `unmatched.Frames`."""
    y = objects.astype(np.float64)
    return np.stack([np.log(y[:, PT]), y[:, ETA] * side, wrap_phi(y[:, PHI] - axis), y[:, ISOLATION]], axis=1)


@kernel
def objects_far(targets: Floats, axis: Floats, side: Floats, least: float, most: float) -> Doubles:
    """Invert `far_targets`, with the isolation encoded by `isolation_targets` with the ends least and most."""
    made = np.empty(targets.shape)
    for i in range(len(targets)):
        made[i, PT] = exp(min(max(targets[i, 0], -MAX_LOG), MAX_LOG))
        made[i, ETA] = targets[i, 1] * side[i]
        made[i, PHI] = phi_of(axis[i] + targets[i, 2])
        made[i, ISOLATION] = _isolation(targets[i, 3], made[i, PT], least, most)
    return made


def missing_columns(
    gen: JetTable,
    taken: Bools,
    reco: Floats,
    reco_event: Ints,
    row: Ints,
    objects: Floats,
    object_event: Ints,
    source_pt: Floats,
    missing: Floats,
) -> tuple[Singles, Doubles]:
    """Return the conditioning variables of missing momentum, (events, 35), and its reference frame, (events, 4).

    The recoil is the momentum lost between sources and emulated objects: matched gen jets minus their reco jets, plus
    prompt particles minus their reconstructed objects, minus unmatched jets and fake objects. The frame consists of gen
    missing momentum plus recoil, x and y [GeV], and the direction of the recoil, as cosine and sine.

    Parameters
    ----------
    gen, taken: gen jets, and which of them were removed because an object was found in them, (N,).
    reco, reco_event, row: reco jets before the detector's jet energy scale, (M, 4), their events, and the rows of their
        gen jets or −1.
    objects, object_event: pt, eta, phi of objects, (K, 3 or more), and their events.
    source_pt: pt [GeV] of the source of each object, or 0, (K,).
    missing: pt [GeV] and phi [rad] of the gen missing momentum, (events, 2).
    """
    n_events = len(gen.counts)
    columns = np.zeros((n_events, N_MISSING), dtype=np.float32)
    frame = np.empty((n_events, 4))
    of_gen = np.zeros(len(gen.values), dtype=np.int64)  # 0 lost, 1 matched, 2 taken
    of_gen[taken] = 2
    of_gen[row[row >= 0]] = 1
    ends = np.cumsum(np.bincount(reco_event, minlength=n_events))
    object_ends = np.cumsum(np.bincount(object_event, minlength=n_events))
    by_event, objects_by_event = np.argsort(reco_event, kind="stable"), np.argsort(object_event, kind="stable")
    reco, objects, lost = reco[by_event], objects[objects_by_event], missing.astype(np.float64)
    _see_missing(
        gen.values,
        gen.counts,
        of_gen,
        directions(gen.values[:, PHI]),
        reco[:, PT].astype(np.float64),
        row[by_event],
        ends,
        directions(reco[:, PHI]),
        objects[:, PT].astype(np.float64),
        source_pt[objects_by_event].astype(np.float64),
        object_ends,
        directions(objects[:, PHI]),
        lost[:, 0],
        directions(lost[:, 1]),
        columns,
        frame,
    )
    return columns, frame


@kernel
def _see_missing(  # noqa: PLR0915 - a single loop over events with many sums
    gen: Singles,
    counts: Ints,
    of_gen: Ints,
    gen_directions: Directions,
    reco_pt: Doubles,
    row: Ints,
    ends: Ints,
    reco_directions: Directions,
    object_pt: Doubles,
    source_pt: Doubles,
    object_ends: Ints,
    object_directions: Directions,
    lost: Doubles,
    lost_directions: Directions,
    columns: Singles,
    frame: Doubles,
) -> None:
    start = first = first_object = 0
    hardest = np.empty(2, dtype=np.int64)
    # Σ pt, Σ px, Σ py of gen jets (lost, matched, taken), and of matched and unmatched reco jets
    sums, n_of = np.empty((5, 3)), np.empty(len(SOFT))
    logs = np.ones((len(LOGS), len(counts)))
    for event in range(len(counts)):
        stop = start + counts[event]
        hardest[:], sums[:], n_of[:] = -1, 0.0, 0.0
        n_unmatched = n_forward = 0
        forward = mass = 0.0
        for j in range(start, stop):
            pt, abs_eta, group = np.float64(gen[j, PT]), abs(gen[j, ETA]), of_gen[j]
            sums[group, 0] += pt
            sums[group, 1] += pt * gen_directions.cosine[j]
            sums[group, 2] += pt * gen_directions.sine[j]
            if abs_eta > 2.5:
                forward += pt
            n_forward += abs_eta > 3.0
            mass += max(np.float64(gen[j, MASS]), 0.0)
            for k in range(len(SOFT)):
                if pt < SOFT[k]:
                    n_of[k] += 1
                    break
            if hardest[0] < 0 or pt > gen[hardest[0], PT]:
                hardest[1], hardest[0] = hardest[0], j
            elif hardest[1] < 0 or pt > gen[hardest[1], PT]:
                hardest[1] = j
        for j in range(first, ends[event]):
            pt, group = reco_pt[j], 3 if row[j] >= 0 else 4
            n_unmatched += row[j] < 0
            sums[group, 0] += pt
            sums[group, 1] += pt * reco_directions.cosine[j]
            sums[group, 2] += pt * reco_directions.sine[j]
        sum_pt = object_x = object_y = source = source_x = source_y = 0.0
        for i in range(first_object, object_ends[event]):
            sine, cosine = object_directions.sine[i], object_directions.cosine[i]
            less = source_pt[i] - object_pt[i]
            sum_pt += object_pt[i]
            object_x += less * cosine
            object_y += less * sine
            # to be subtracted from taken jets, which contain the sources
            source += source_pt[i]
            source_x += source_pt[i] * cosine
            source_y += source_pt[i] * sine
        x = sums[1, 1] - sums[3, 1] - sums[4, 1] + object_x
        y = sums[1, 2] - sums[3, 2] - sums[4, 2] + object_y
        size = math.sqrt(x * x + y * y)
        along_x, along_y = (x / size, y / size) if size > 0.0 else (1.0, 0.0)
        lost_x, lost_y = lost[event] * lost_directions.cosine[event], lost[event] * lost_directions.sine[event]
        frame[event, 0], frame[event, 1] = lost_x + x, lost_y + y
        # unclustered momentum, from the balance of the event
        soft_x = -(sums[0, 1] + sums[1, 1] + sums[2, 1] + lost_x)
        soft_y = -(sums[0, 2] + sums[1, 2] + sums[2, 2] + lost_y)
        frame[event, 2], frame[event, 3] = along_x, along_y
        logs[0, event] = 1.0 + size / 10.0
        columns[event, 1] = size / 50.0
        logs[1, event] = 1.0 + lost[event] / 10.0
        columns[event, 3] = (lost_x * along_x + lost_y * along_y) / 50.0
        columns[event, 4] = (lost_y * along_x - lost_x * along_y) / 50.0
        sums[2, 0] -= source
        sums[2, 1] -= source_x
        sums[2, 2] -= source_y
        # lost jets, and the rest of taken jets, along the recoil and across
        for k in range(2):
            pt, px, py = sums[2 * k, 0], sums[2 * k, 1], sums[2 * k, 2]
            logs[2 + k, event] = 1.0 + max(pt, 0.0) / 10.0
            columns[event, 6 + 3 * k] = (px * along_x + py * along_y) / 20.0
            columns[event, 7 + 3 * k] = (py * along_x - px * along_y) / 20.0
        logs[4, event] = 1.0 + sums[1, 0] / 50.0
        logs[5, event] = 1.0 + sums[3, 0] / 50.0
        logs[6, event] = 1.0 + sums[4, 0] / 10.0
        columns[event, 14] = (sums[4, 1] * along_x + sums[4, 2] * along_y) / 20.0
        columns[event, 15] = counts[event] / 4.0
        columns[event, 16] = n_unmatched
        logs[7, event] = 1.0 + sum_pt / 20.0
        logs[8, event] = 1.0 + forward / 20.0
        logs[9, event] = 1.0 + math.sqrt(soft_x * soft_x + soft_y * soft_y) / 10.0
        columns[event, 20] = (soft_x * along_x + soft_y * along_y) / 20.0
        columns[event, 21] = (soft_y * along_x - soft_x * along_y) / 20.0
        for k in range(2):
            j = hardest[k]
            if j >= 0:
                sine, cosine = gen_directions.sine[j], gen_directions.cosine[j]
                logs[10 + k, event] = np.float64(gen[j, PT]) / 20.0
                columns[event, 23 + 3 * k] = cosine * along_x + sine * along_y
                columns[event, 24 + 3 * k] = sine * along_x - cosine * along_y
        # whether there is gen missing momentum: even a soft neutrino indicates a heavy quark
        columns[event, 28] = 1.0 if lost[event] > LITTLE else 0.0
        # measures of the amount of unclustered energy
        columns[event, 29], logs[12, event] = n_forward / 2.0, 1.0 + mass / 20.0
        for k in range(len(SOFT)):
            columns[event, 31 + k] = n_of[k] / 2.0
        start, first, first_object = stop, ends[event], object_ends[event]
    write_logs(logs, LOGS, columns)


@kernel
def propagated_met(missing: Doubles, event: Ints, jets: Singles, varied: Singles) -> Doubles:
    """Return the missing momentum, pt [GeV] and phi [rad], (events, 2), after a variation of the jets.

    The change of the vector sum of the jets is subtracted, as in the propagation of jet corrections (CMS,
    JINST 14 (2019) P07004).

    Parameters
    ----------
    missing: missing momentum with the nominal jets, (events, 2).
    event, jets, varied: event of each jet, (M,), and the nominal and the varied jets, (M, 4 or more) each.
    """
    made = np.empty(missing.shape)
    for i in range(len(missing)):
        sine, cosine = sine_and_cosine(missing[i, 1])
        made[i, 0], made[i, 1] = missing[i, 0] * cosine, missing[i, 0] * sine
    for j in range(len(event)):
        for sign, measured in ((1.0, jets), (-1.0, varied)):
            sine, cosine = sine_and_cosine(np.float64(measured[j, PHI]))
            made[event[j], 0] += sign * measured[j, PT] * cosine
            made[event[j], 1] += sign * measured[j, PT] * sine
    for i in range(len(missing)):
        x, y = made[i, 0], made[i, 1]
        made[i, 0], made[i, 1] = math.sqrt(x * x + y * y), arctan2(y, x)
    return made


def missing_targets(missing: Floats, frame: Doubles) -> Doubles:
    """Return missing momentum (pt, phi), (events, 2), relative to a frame: along its direction and across [GeV]."""
    pt, phi = missing[:, 0].astype(np.float64), missing[:, 1].astype(np.float64)
    x, y = pt * np.cos(phi) - frame[:, 0], pt * np.sin(phi) - frame[:, 1]
    return np.stack([x * frame[:, 2] + y * frame[:, 3], y * frame[:, 2] - x * frame[:, 3]], axis=1)


@kernel
def missing_of(targets: Floats, frame: Floats) -> Doubles:
    """Invert `missing_targets`."""
    made = np.empty((len(frame), 2))
    for i in range(len(frame)):
        x = frame[i, 0] + targets[i, 0] * frame[i, 2] - targets[i, 1] * frame[i, 3]
        y = frame[i, 1] + targets[i, 0] * frame[i, 3] + targets[i, 1] * frame[i, 2]
        made[i, 0], made[i, 1] = math.sqrt(x * x + y * y), arctan2(y, x)
    return made
