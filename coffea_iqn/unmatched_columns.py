"""What reco jets that match no gen jet depend on: columns of gen jets and of events, and who is near whom."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import numpy.typing as npt

from coffea_iqn.context import encode, select
from coffea_iqn.doubles import arctan2, exp, log, sine_and_cosine
from coffea_iqn.features import ETA, INPUTS, MASS, MAX_LOG, PHI, PT, Array, beam_side, log_mass, wrap_phi
from coffea_iqn.kernels import kernel
from coffea_iqn.unmatched_targets import Frames

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SMALL = 0.1  # typical Δη and Δφ of a reco jet
HARD = 20.0  # GeV, pt from which a jet counts as hard
N_NEAR, N_FAR = 6, 15  # columns of `outcome` and `far_columns`


def nearest(jets: Array, event: Ints, gen: Array, counts: Ints) -> tuple[Ints, Array]:
    """The gen jet nearest to each jet, as its row, and the distance ΔR; row −1 and infinity where there is none.

    Parameters
    ----------
    jets, event: (M, 4), and the event of each, (M,).
    gen, counts: gen jets of all events in a row, (N, 4), and how many each event has, (events,).
    """
    row, distance = np.full(len(jets), -1, dtype=np.int64), np.full(len(jets), np.inf)
    _find_nearest(jets, event, gen, counts, np.cumsum(counts) - counts, row, distance)
    return row, distance


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_nearest(
    jets: Array, event: Ints, gen: Array, counts: Ints, first: Ints, row: Ints, distance: npt.NDArray[np.float64]
) -> None:
    for jet in range(len(jets)):
        start = first[event[jet]]
        for other in range(start, start + counts[event[jet]]):
            d_eta = np.float64(jets[jet, ETA]) - np.float64(gen[other, ETA])
            d_phi = _angle(np.float64(jets[jet, PHI]), np.float64(gen[other, PHI]))
            this = math.sqrt(d_eta * d_eta + d_phi * d_phi)
            if this < distance[jet]:
                row[jet], distance[jet] = other, this


@kernel
def _angle(one: float, other: float) -> float:
    """From one phi to another, between −π and π."""
    d_phi = one - other
    return float(d_phi - 2.0 * math.pi * np.round(d_phi / (2.0 * math.pi)))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def any_within(limit: float, jets: Array, event: Ints, others: Array, there: Bools, ends: Ints) -> Bools:
    """Whether any other jet lies within a distance ΔR of each jet, (M,).

    Parameters
    ----------
    limit: of ΔR.
    jets, event: (M, 4), and the event of each, (M,).
    others, there: jets of all events in a row, (N, 4), and which of them count, (N,).
    ends: how many of those there are up to the end of each event, (events,).
    """
    out = np.zeros(len(jets), dtype=np.bool_)
    for jet in range(len(jets)):
        eta, phi = np.float64(jets[jet, ETA]), np.float64(jets[jet, PHI])
        start = ends[event[jet] - 1] if event[jet] > 0 else 0
        for other in range(start, ends[event[jet]]):
            d_eta = eta - np.float64(others[other, ETA])
            if there[other] and abs(d_eta) < limit:  # most are not, and the angle costs
                d_phi = _angle(phi, np.float64(others[other, PHI]))
                if d_eta * d_eta + d_phi * d_phi < limit * limit:
                    out[jet] = True
                    break
    return out


def outcome(gen: Array, reco: Array, found: Bools) -> Array:
    """What became of gen jets (N, 4), as columns (N, 6): whether one was found, and its residuals where it was."""
    side = beam_side(gen[:, ETA])
    with np.errstate(invalid="ignore", divide="ignore"):
        residuals = [
            np.clip(np.log(reco[:, PT] / gen[:, PT]), -1.5, 1.5),
            np.clip((reco[:, ETA] - gen[:, ETA]) * side / SMALL, -3.0, 3.0),
            np.clip(wrap_phi(reco[:, PHI] - gen[:, PHI]) / SMALL, -3.0, 3.0),
            np.clip(log_mass(reco[:, MASS]) - log_mass(gen[:, MASS]), -1.5, 1.5),
        ]
    hard = np.log(np.maximum(np.where(found, reco[:, PT], 1.0), 1.0))
    columns = np.stack([np.ones(len(gen)), *residuals, hard], axis=1)
    return np.where(found[:, None], columns, 0.0).astype(np.float32)


def near_columns(
    gen: Array, reco: Array, found: Bools, context: Array | None, *, inputs: str, levels: tuple[str, ...]
) -> Array:
    """What jets near gen jets depend on, (N, n): the gen jets, their `outcome`, levels of context last.

    Parameters
    ----------
    gen, reco, found: (N, 4), (N, 4), (N,): gen jets, and the reco jet of each that was found.
    context: (N, 57), as `context.encode` gives it, or None where nothing is known.
    inputs: key of `features.INPUTS`.
    levels: of context.
    """
    if context is None:
        context = encode(len(gen), {})
    columns = [INPUTS[inputs](gen), outcome(gen, reco, found), *select(context, levels)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def far_columns(gen: Array, counts: Ints, missing: Array | None) -> tuple[Array, Frames]:
    """What the other jets depend on, the event as its gen jets show it, (events, 15), and their frames.

    Parameters
    ----------
    gen, counts: gen jets of all events in a row, (N, 4), and how many each event has, (events,).
    missing: pt [GeV] and phi [rad] of the missing momentum of gen level, (events, 2); None where it is not known.
    """
    columns = np.zeros((len(counts), N_FAR), dtype=np.float32)
    axis, side = np.empty(len(counts)), np.empty(len(counts))
    known = np.zeros((len(counts), 2)) if missing is None else missing.astype(np.float64)
    _see_events(gen, counts, known, columns, axis, side)
    return columns, Frames(axis, side)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def beyond(raw: Array, abs_eta_max: float, energy_max: float, constant: float, slope: float) -> Bools:
    """Which jets (M, 4), before a `features.JetScale`, lie beyond an |eta| or have more energy [GeV] than any can."""
    out = np.empty(len(raw), dtype=np.bool_)
    for jet in range(len(raw)):
        pt, abs_eta, mass = raw[jet, PT], abs(raw[jet, ETA]), raw[jet, MASS]
        grown = exp(min(abs_eta, MAX_LOG))
        momentum = 0.5 * pt * (grown + 1.0 / grown)
        scale2 = (constant - slope * abs_eta) ** 2 / pt + 1.0
        energy2 = scale2 * (momentum * momentum + mass * mass)
        out[jet] = abs_eta > abs_eta_max or energy2 > energy_max * energy_max
    return out


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _see_events(gen: Array, counts: Ints, missing: Array, columns: Array, axes: Array, sides: Array) -> None:
    """The rows of `far_columns`, of one event after the other; columns come as zeros."""
    hardest = np.empty(3, dtype=np.int64)  # places of the three hardest jets
    most = 0
    for n in counts:
        most = max(most, n)
    x_of, y_of = np.empty(most), np.empty(most)  # directions of an event's jets
    start = 0
    for event in range(len(counts)):
        stop = start + counts[event]
        lost, lost_phi = missing[event, 0], missing[event, 1]
        sine, cosine = sine_and_cosine(lost_phi)
        x, y = -lost * cosine, -lost * sine
        ht = ht_times_eta = 0.0
        n_hard = 0
        for k in range(3):
            hardest[k] = -1
        for jet in range(start, stop):
            pt, eta, phi = np.float64(gen[jet, PT]), np.float64(gen[jet, ETA]), np.float64(gen[jet, PHI])
            y_of[jet - start], x_of[jet - start] = sine_and_cosine(phi)
            x -= pt * x_of[jet - start]
            y -= pt * y_of[jet - start]
            ht += pt
            ht_times_eta += pt * abs(eta)
            if pt > HARD:
                n_hard += 1
            moving = jet
            for k in range(3):
                if hardest[k] < 0 or gen[moving, PT] > gen[hardest[k], PT]:
                    hardest[k], moving = moving, hardest[k]
                if moving < 0:
                    break
        unbalanced = math.sqrt(x * x + y * y)
        axis = arctan2(y, x)
        towards_x, towards_y = (x / unbalanced, y / unbalanced) if unbalanced > 0.0 else (1.0, 0.0)
        side = -1.0 if hardest[0] >= 0 and gen[hardest[0], ETA] < 0.0 else 1.0
        axes[event], sides[event] = axis, side
        row = columns[event]
        row[0] = log(1.0 + unbalanced / 10.0)
        row[1] = log(1.0 + ht / 20.0)
        row[2] = min(counts[event], 8) / 4.0
        row[3] = n_hard / 4.0
        row[4] = log(1.0 + lost / 10.0)
        for k in range(3):
            if hardest[k] >= 0:
                row[5 + k] = log(np.float64(gen[hardest[k], PT]) / 20.0)
                row[8 + k] = gen[hardest[k], ETA] * side / 2.0
                row[11 + k] = towards_x * x_of[hardest[k] - start] + towards_y * y_of[hardest[k] - start]
        row[14] = ht_times_eta / max(ht, 1.0) / 2.0
        start = stop
