"""What objects depend on, as columns of numbers of order one, and how they lie to what they come from.

Flat arrays in and out; no knowledge of awkward, of files or of networks.
"""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.jets.features import ETA, MASS, PHI, PT, beam_side, wrap_phi
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import HALF_TURN, TURN, arctan2, exp, log, sine_and_cosine, wrapped
from coffea_iqn.objects.kinds import REACH

N_PARTICLE, N_FOUND, N_MISSING = 23, 7, 35  # columns of what follows
N_MISSING_BEFORE = 28  # the first of these, which bundles of schema version 7 know
FAR = 1.0  # ΔR from which a neighbour is as good as none
THRESHOLD = 10.0  # GeV, of most detectors' objects: smooth networks do not find steps by themselves
SOFT = (12.0, 15.0, 20.0, 30.0)  # GeV: so soft gen jets go with what is in none
LITTLE = 0.01  # GeV: less missing momentum at gen level is what rounding left of none
LEAST = 0.1  # GeV: what is left of a jet beside a particle is told apart down to this
COMPOSITION = slice(9, 13)  # columns of `particle_columns`
ACROSS = [4, 7, 10, 21, 24, 27]  # columns of `missing_columns` that a mirror along the recoil turns
ISOLATION = 3  # the column of objects
NONE, ALONE = -1.0, -1e-3  # the target of an isolation of exactly 0, and what is below all others, but for rounding
MAX_LOG = 5.0  # of the ratio of two pt


def particle_columns(particles: PromptParticles, jets: JetTable, composition: Floats | None) -> Singles:
    """What becomes of prompt particles depends on, (M, 23): on themselves, and on what is near them.

    The logarithm of pt / 20 GeV; |eta|, and how far above 1.5, 2.4 and 2.5; whether it is in a gen jet, within ΔR 0.4,
    and of that jet ΔR, the logarithm of the particle's pt over the jet's, that of what else is in the jet over the
    particle's pt, and of its composition the logarithms of the numbers of charged and neutral particles, the charged
    energy fraction, and whether these are known; of the nearest other jet ΔR and the logarithm of pt over the
    particle's; the same of the nearest other prompt particle, and whether it is an electron, muon or photon; the
    logarithm of the event's jets' summed pt; how near pt is to a threshold of 10 GeV, within 1 GeV and above within 10.

    Parameters
    ----------
    particles: of the events.
    jets: all gen jets of the same events.
    composition: of the jets, numbers of charged and neutral particles and charged energy fraction, (N, 3), or None.
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
    return min(max(log(pt / other), -MAX_LOG), MAX_LOG)


@kernel
def _see_particles(particles: PromptParticles, jets: Singles, counts: Ints, composition: Doubles, out: Singles) -> None:
    """The rows of `particle_columns`; they come as zeros."""
    first = first_jet = 0
    for event in range(len(counts)):
        stop, stop_jet = first + particles.counts[event], first_jet + counts[event]
        sum_pt = 0.0
        for j in range(first_jet, stop_jet):
            sum_pt += np.float64(jets[j, PT])
        for i in range(first, stop):
            row = out[i]
            pt, eta, phi = (
                np.float64(particles.values[i, 0]),
                np.float64(particles.values[i, 1]),
                np.float64(particles.values[i, 2]),
            )
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
                    distance = _distance(
                        eta, phi, np.float64(particles.values[j, 1]), np.float64(particles.values[j, 2])
                    )
                    if distance < nearest_distance:
                        nearest, nearest_distance = j, distance
            row[0] = log(pt / 20.0)
            row[1] = abs(eta)
            row[2] = max(abs(eta) - 1.5, 0.0)
            row[3] = 1.0 if abs(eta) > 2.4 else 0.0
            row[4] = 1.0 if abs(eta) > 2.5 else 0.0
            if own >= 0:
                jet_pt = np.float64(jets[own, PT])
                row[5] = 1.0
                row[6] = own_distance / REACH
                row[7] = _log_ratio(pt, jet_pt)
                row[8] = _log_ratio(max(jet_pt - pt, 0.0) + LEAST, pt)
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
                row[16] = _log_ratio(np.float64(particles.values[nearest, 0]), pt) * (1.0 - row[15])
                row[17 + particles.kind[nearest]] = 1.0
            row[20] = log(1.0 + sum_pt / 50.0)
            row[21] = min(max(pt - THRESHOLD, -1.0), 1.0)
            row[22] = min(max(pt / THRESHOLD - 1.0, 0.0), 1.0)
        first, first_jet = stop, stop_jet


def found_columns(jets: JetTable, objects: Floats, kind: Ints, counts: Ints) -> Singles:
    """What was found in and near jets, (N, 7).

    The fractions of the jet's pt that electrons, muons and photons within ΔR 0.4 carry, at most 1.5; the logarithm of
    1 + their number; the logarithm of what is left of the jet's pt; ΔR of the nearest, also outside the jet, at most 1,
    and its pt over the jet's, at most 3, faded out with the distance.

    Parameters
    ----------
    jets: of events.
    objects, kind: all objects of the events in a row, (M, 3 or more): pt [GeV], eta, phi [rad]; place in `KINDS`, (M,).
    counts: how many each event has, (events,).
    """
    out = np.zeros((len(jets.values), N_FOUND), dtype=np.float32)
    _see_found(jets.values, jets.counts, objects, kind, counts, out)
    return out


@kernel
def _see_found(jets: Singles, n_jets: Ints, objects: Floats, kind: Ints, counts: Ints, out: Singles) -> None:
    first = first_jet = 0
    for event in range(len(n_jets)):
        stop, stop_jet = first + counts[event], first_jet + n_jets[event]
        for j in range(first_jet, stop_jet):
            pt, eta, phi = np.float64(jets[j, PT]), np.float64(jets[j, ETA]), np.float64(jets[j, PHI])
            row = out[j]
            least, inside, nearest_pt, total = FAR, 0, 0.0, 0.0
            for i in range(first, stop):
                distance = _distance(eta, phi, np.float64(objects[i, 1]), np.float64(objects[i, 2]))
                of_jet = np.float64(objects[i, 0]) / pt
                if distance < least:
                    least, nearest_pt = distance, of_jet
                if distance < REACH:
                    inside += 1
                    total += of_jet
                    row[kind[i]] = min(row[kind[i]] + of_jet, 1.5)
            row[3] = log(1.0 + inside)
            row[4] = log(min(max(1.0 - total, 0.0), 1.0) + 0.01) / 2.0
            row[5] = least / FAR
            row[6] = min(nearest_pt, 3.0) * (1.0 - least / FAR)
        first, first_jet = stop, stop_jet


def relative_targets(objects: Floats, source: Floats) -> Doubles:
    """(log pt over the source's, Δη away from its side of the beam, Δφ, isolation), (M, 4).

    A law learns `isolation_targets` in place of the last.

    Parameters
    ----------
    objects: (M, 4): pt [GeV], eta, phi [rad], isolation.
    source: what they come from, prompt particles or gen jets, (M, 3 or more), the same.
    """
    x, y = source.astype(np.float64), objects.astype(np.float64)
    d_eta = (y[:, ETA] - x[:, ETA]) * beam_side(x[:, ETA])
    d_phi = wrap_phi(y[:, PHI] - x[:, PHI])
    return np.stack([np.log(y[:, PT] / x[:, PT]), d_eta, d_phi, y[:, ISOLATION]], axis=1)


def isolation_targets(isolation: Floats, pt: Floats, ends: tuple[float, float]) -> Doubles:
    """Where what is around objects lies between the least and the greatest it can be, (M,); −1 where nothing is.

    A detector sees no less than its threshold around an object, and takes none for isolated with more than a fraction
    of its pt: from 0 at the one to 1 at the other, on a logarithmic scale.

    Parameters
    ----------
    isolation, pt: of objects, (M,); what is around them over pt, and pt [GeV].
    ends: the least around an object [GeV], and the greatest isolation.
    """
    least, most = ends
    around = np.log(np.maximum(isolation * pt, least) / least)
    span = np.log(np.maximum(most * pt / least, 1.0))
    inside = np.divide(around, span, out=np.zeros_like(around), where=span > 0.0)
    return np.where(isolation > 0.0, np.clip(inside, 0.0, 1.0), NONE)


@part
def _isolation(target: float, pt: float, least: float, most: float) -> float:
    """The inverse of `isolation_targets`; of a least of 0 the target itself."""
    if least == 0.0:
        return max(target, 0.0)
    if target < ALONE:
        return 0.0
    inside, span = min(max(target, 0.0), 1.0), log(max(most * pt / least, 1.0))
    return min(least / pt * exp(inside * span), most)


@kernel
def objects_of(targets: Floats, source: Floats, least: float, most: float) -> Doubles:
    """The inverse of `relative_targets`, of isolation between ends that of `isolation_targets`."""
    made = np.empty(targets.shape)
    for i in range(len(targets)):
        eta, phi = np.float64(source[i, ETA]), np.float64(source[i, PHI])
        made[i, PT] = np.float64(source[i, PT]) * exp(min(max(targets[i, 0], -20.0), 20.0))
        made[i, ETA] = eta + targets[i, 1] * (-1.0 if eta < 0.0 else 1.0)
        made[i, PHI] = _angle(phi + targets[i, 2])
        made[i, ISOLATION] = _isolation(targets[i, 3], made[i, PT], least, most)
    return made


def far_targets(objects: Floats, axis: Floats, side: Floats) -> Doubles:
    """(log pt, eta on a side, Δφ to an axis, isolation), (M, 4), as of `unmatched.Frames`."""
    y = objects.astype(np.float64)
    return np.stack([np.log(y[:, PT]), y[:, ETA] * side, wrap_phi(y[:, PHI] - axis), y[:, ISOLATION]], axis=1)


@kernel
def objects_far(targets: Floats, axis: Floats, side: Floats, least: float, most: float) -> Doubles:
    """The inverse of `far_targets`, of isolation between ends that of `isolation_targets`."""
    made = np.empty(targets.shape)
    for i in range(len(targets)):
        made[i, PT] = exp(min(max(targets[i, 0], -20.0), 20.0))
        made[i, ETA] = targets[i, 1] * side[i]
        made[i, PHI] = _angle(axis[i] + targets[i, 2])
        made[i, ISOLATION] = _isolation(targets[i, 3], made[i, PT], least, most)
    return made


@part
def _angle(phi: float) -> float:
    angle = wrapped(phi)
    return angle + TURN if angle <= -HALF_TURN else angle


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
    """What missing momentum depends on, (events, 35), and the frame that it is measured in, (events, 4).

    The recoil is what emulated objects have less of than what they come from: the sum of matched gen jets less their
    reco jets, of prompt particles less the objects found of them, less unmatched jets and objects of no particle. The
    frame is gen missing momentum plus recoil, x and y [GeV], and the direction of the recoil, cosine and sine.

    Parameters
    ----------
    gen, taken: gen jets, and which of them are no jet any more because an object was found in them, (N,).
    reco, reco_event, row: reco jets before the detector's scale, (M, 4), their events, and the rows of their gen jets
        or −1.
    objects, object_event: pt, eta, phi of objects, (K, 3 or more), and their events.
    source_pt: pt [GeV] of what each object comes from, or 0, (K,).
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
    _see_missing(
        gen.values,
        gen.counts,
        of_gen,
        reco[by_event].astype(np.float64),
        row[by_event],
        ends,
        objects[objects_by_event, :3].astype(np.float64),
        source_pt[objects_by_event].astype(np.float64),
        object_ends,
        missing.astype(np.float64),
        columns,
        frame,
    )
    return columns, frame


@kernel
def _see_missing(  # noqa: PLR0915 - one event after the other, and all that is summed of it
    gen: Singles,
    counts: Ints,
    of_gen: Ints,
    reco: Doubles,
    row: Ints,
    ends: Ints,
    objects: Doubles,
    source_pt: Doubles,
    object_ends: Ints,
    missing: Doubles,
    columns: Singles,
    frame: Doubles,
) -> None:
    start = first = first_object = 0
    hardest = np.empty(2, dtype=np.int64)
    for event in range(len(counts)):
        stop = start + counts[event]
        hardest[:] = -1
        # of gen jets by what became of them, of matched and unmatched reco jets, and of objects: Σ pt, Σ px, Σ py
        sums = np.zeros((6, 3))
        n_unmatched = 0
        forward = mass = 0.0
        n_of, n_forward = np.zeros(len(SOFT)), 0
        for j in range(start, stop):
            pt = np.float64(gen[j, PT])
            sine, cosine = sine_and_cosine(np.float64(gen[j, PHI]))
            group = sums[of_gen[j]]
            group[0] += pt
            group[1] += pt * cosine
            group[2] += pt * sine
            if abs(gen[j, ETA]) > 2.5:
                forward += pt
            n_forward += abs(gen[j, ETA]) > 3.0
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
            sine, cosine = sine_and_cosine(reco[j, PHI])
            pt = reco[j, PT]
            group = sums[3] if row[j] >= 0 else sums[4]
            n_unmatched += row[j] < 0
            group[0] += pt
            group[1] += pt * cosine
            group[2] += pt * sine
        object_pt = object_x = object_y = source = source_x = source_y = 0.0
        for i in range(first_object, object_ends[event]):
            sine, cosine = sine_and_cosine(objects[i, PHI])
            less = source_pt[i] - objects[i, PT]
            object_pt += objects[i, PT]
            object_x += less * cosine
            object_y += less * sine
            # of a jet that is taken, what is left beside the object's source
            source += source_pt[i]
            source_x += source_pt[i] * cosine
            source_y += source_pt[i] * sine
        x = sums[1, 1] - sums[3, 1] - sums[4, 1] + object_x
        y = sums[1, 2] - sums[3, 2] - sums[4, 2] + object_y
        size = math.sqrt(x * x + y * y)
        along_x, along_y = (x / size, y / size) if size > 0.0 else (1.0, 0.0)
        sine, cosine = sine_and_cosine(missing[event, 1])
        lost_x, lost_y = missing[event, 0] * cosine, missing[event, 0] * sine
        frame[event, 0], frame[event, 1] = lost_x + x, lost_y + y
        # what is in no gen jet balances the event
        soft_x = -(sums[0, 1] + sums[1, 1] + sums[2, 1] + lost_x)
        soft_y = -(sums[0, 2] + sums[1, 2] + sums[2, 2] + lost_y)
        frame[event, 2], frame[event, 3] = along_x, along_y
        out = columns[event]
        out[0] = log(1.0 + size / 10.0)
        out[1] = size / 50.0
        out[2] = log(1.0 + missing[event, 0] / 10.0)
        out[3] = (lost_x * along_x + lost_y * along_y) / 50.0
        out[4] = (lost_y * along_x - lost_x * along_y) / 50.0
        sums[2, 0] -= source
        sums[2, 1] -= source_x
        sums[2, 2] -= source_y
        # what is lost, and what is left of what is taken, along the recoil and across
        for k, group in ((5, sums[0]), (8, sums[2])):
            out[k] = log(1.0 + max(group[0], 0.0) / 10.0)
            out[k + 1] = (group[1] * along_x + group[2] * along_y) / 20.0
            out[k + 2] = (group[2] * along_x - group[1] * along_y) / 20.0
        out[11] = log(1.0 + sums[1, 0] / 50.0)
        out[12] = log(1.0 + sums[3, 0] / 50.0)
        out[13] = log(1.0 + sums[4, 0] / 10.0)
        out[14] = (sums[4, 1] * along_x + sums[4, 2] * along_y) / 20.0
        out[15] = counts[event] / 4.0
        out[16] = n_unmatched
        out[17] = log(1.0 + object_pt / 20.0)
        out[18] = log(1.0 + forward / 20.0)
        out[19] = log(1.0 + math.sqrt(soft_x * soft_x + soft_y * soft_y) / 10.0)
        out[20] = (soft_x * along_x + soft_y * along_y) / 20.0
        out[21] = (soft_y * along_x - soft_x * along_y) / 20.0
        for k in range(2):
            if hardest[k] >= 0:
                sine, cosine = sine_and_cosine(np.float64(gen[hardest[k], PHI]))
                out[22 + 3 * k] = log(np.float64(gen[hardest[k], PT]) / 20.0)
                out[23 + 3 * k] = cosine * along_x + sine * along_y
                out[24 + 3 * k] = sine * along_x - cosine * along_y
        # whether there is any at gen level: even a soft neutrino tells of a heavy quark
        out[28] = 1.0 if missing[event, 0] > LITTLE else 0.0
        # and how much of what is unclustered there may be
        out[29], out[30] = n_forward / 2.0, log(1.0 + mass / 20.0)
        for k in range(len(SOFT)):
            out[31 + k] = n_of[k] / 2.0
        start, first, first_object = stop, ends[event], object_ends[event]


@kernel
def propagated_met(missing: Doubles, event: Ints, jets: Singles, varied: Singles) -> Doubles:
    """Missing momentum, pt [GeV] and phi [rad], (events, 2), of events whose jets were measured otherwise.

    What the sum of jets gains is missing no more, as corrections of jets are propagated (CMS, JINST 14 (2019) P07004).

    Parameters
    ----------
    missing: with the jets as they were, (events, 2).
    event, jets, varied: of all jets in a row: their events, (M,), and both measurements, (M, 4 or more).
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
    """What missing momentum (events, 2), pt [GeV] and phi, has beside a frame, along its direction and across [GeV]."""
    pt, phi = missing[:, 0].astype(np.float64), missing[:, 1].astype(np.float64)
    x, y = pt * np.cos(phi) - frame[:, 0], pt * np.sin(phi) - frame[:, 1]
    return np.stack([x * frame[:, 2] + y * frame[:, 3], y * frame[:, 2] - x * frame[:, 3]], axis=1)


@kernel
def missing_of(targets: Floats, frame: Floats) -> Doubles:
    """The inverse of `missing_targets`."""
    made = np.empty((len(frame), 2))
    for i in range(len(frame)):
        x = frame[i, 0] + targets[i, 0] * frame[i, 2] - targets[i, 1] * frame[i, 3]
        y = frame[i, 1] + targets[i, 0] * frame[i, 3] + targets[i, 1] * frame[i, 2]
        made[i, 0], made[i, 1] = math.sqrt(x * x + y * y), arctan2(y, x)
    return made
