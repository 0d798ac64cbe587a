"""Matching of reconstructed particles to gen particles: tracks by direction, neutral particles by calorimeter cell."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, PHI, PT
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.double import log, wrapped
from coffea_iqn.particles.calorimeter import CRYSTAL, TOWER, Hits
from coffea_iqn.particles.cells import DEVIATION, MOST
from coffea_iqn.particles.columns import Incoming
from coffea_iqn.particles.decays import DISPLACED, FOUND, LOST, SAME, TURNED

SHIFT = (0.1, 0.25)  # greatest ΔR to a nearby cell, for photons and for neutral hadrons
ALIKE = (0.35, 0.7)  # greatest |log| of the energy ratio to the expectation in a nearby cell, likewise
RATIO = 1.0  # greatest |log| of the pt ratio between a displaced track and its particle
TRACK, RECO_PHOTON, RECO_NEUTRAL = range(3)
"""Kinds of reconstructed particles."""


class Origins(NamedTuple):
    """The origins of the reconstructed particles of jets.

    Attributes
    ----------
    status: status of each gen particle, `LOST` for neutral ones, (M,).
    track: row of the track of each gen particle, or −1, (M,).
    ratio: pt of the track over that of the gen particle, 1 without a track, (M,).
    left: row of the reconstructed neutral particle assigned to each cell, or −1, (C,).
    shifted: whether that particle lies in another, nearby cell, because its source began away from the beam, (C,).
    entered: rows of reconstructed particles without origin in the jet, (K,).
    """

    status: Ints
    track: Ints
    ratio: Doubles
    left: Ints
    shifted: Bools
    entered: Ints


def kinds_of(code: Ints) -> Ints:
    """Return the kind of reconstructed particles from their PDG codes, (M,)."""
    code = np.abs(code)
    return np.where(np.isin(code, (211, 11, 13)), TRACK, np.where(code == 22, RECO_PHOTON, RECO_NEUTRAL))


def origins_of(incoming: Incoming, reco: Constituents) -> Origins:
    """Find the origins of reconstructed particles.

    Parameters
    ----------
    incoming: particles of gen jets.
    reco: reconstructed particles in the reco jet of each gen jet.
    """
    hits, track_code = incoming.hits, incoming.track_codes()
    status, track = np.full(len(track_code), LOST), np.full(len(track_code), -1)
    left, used = np.full(len(hits.jet), -1), np.zeros(len(reco.code), dtype=np.int64)
    kind = kinds_of(reco.code)
    _trace(incoming.particles, track_code, reco, kind, status, track, used)
    every, tracks = incoming.in_cells(np.arange(len(status))), np.flatnonzero(status != LOST)
    expected = incoming.in_cells(np.flatnonzero((track_code == 0) | (status == LOST)))
    ratio = np.ones(len(status))
    ratio[tracks] = reco.values[track[tracks], PT] / incoming.particles.values[tracks, PT]
    excess = every - incoming.in_cells(tracks, hits.energy[tracks] * ratio[tracks])
    limit = np.maximum(expected, excess) + MOST * np.sqrt(every + DEVIATION)
    energy = reco.values[:, PT] * np.cosh(reco.values[:, ETA])
    # nearby is no keyword, of which compiled code takes none here
    _leave(hits, expected, limit, False, reco, energy, kind, left, used)
    in_own = left >= 0
    _leave(hits, expected, limit, True, reco, energy, kind, left, used)
    return Origins(status, track, ratio, left, (left >= 0) & ~in_own, np.flatnonzero(used == 0))


@kernel
def _trace(
    particles: Constituents, track_code: Ints, found: Constituents, kind: Ints, status: Ints, track: Ints, used: Ints
) -> None:
    """Match tracks to charged particles, first those in the same direction, then displaced ones."""
    (gen, _, gen_counts), (reco, code, reco_counts) = particles, found
    first = first_reco = 0
    for j in range(len(gen_counts)):
        stop, stop_reco = first + gen_counts[j], first_reco + reco_counts[j]
        for turned in range(2):
            reach = TURNED if turned else SAME
            for r in range(first_reco, stop_reco):
                if used[r] or kind[r] != TRACK:
                    continue
                best, least = -1, np.inf
                for i in range(first, stop):
                    if status[i] != LOST or track_code[i] != code[r] or abs(gen[i, ETA] - reco[r, ETA]) > SAME:
                        continue
                    d_phi, ratio = abs(wrapped(gen[i, PHI] - reco[r, PHI])), abs(log(reco[r, PT] / gen[i, PT]))
                    if d_phi > reach or (turned and ratio > RATIO):
                        continue
                    off = d_phi if turned else ratio
                    if off < least:
                        best, least = i, off
                if best >= 0:
                    status[best], track[best], used[r] = DISPLACED if turned else FOUND, r, 1
        first, first_reco = stop, stop_reco


@kernel
def _leave(
    hits: Hits,
    expected: Doubles,
    limit: Doubles,
    nearby: bool,
    found: Constituents,
    energy: Doubles,
    kind: Ints,
    left: Ints,
    used: Ints,
) -> None:
    """Assign reconstructed neutral particles to the cells they lie in, if their energy is below a limit.

    If nearby, assign those without a cell to an empty nearby cell in which about their energy is expected.
    """
    reco, _, reco_counts = found
    first_reco = first_cell = 0
    for j in range(len(reco_counts)):
        stop_reco, stop_cell = first_reco + reco_counts[j], first_cell + hits.counts[j]
        for r in range(first_reco, stop_reco):
            if used[r] or kind[r] == TRACK:
                continue
            which = CRYSTAL if kind[r] == RECO_PHOTON else TOWER
            best, least = -1, 1.0 if nearby else SAME
            for c in range(first_cell, stop_cell):
                if left[c] >= 0 or hits.calorimeter[c] != which:
                    continue
                if expected[c] <= 0.0 if nearby else energy[r] >= limit[c]:
                    continue
                d_eta = abs(reco[r, ETA] - hits.low[c, 0] - 0.5 * hits.width[c, 0])
                d_phi = abs(wrapped(reco[r, PHI] - hits.low[c, 1] - 0.5 * hits.width[c, 1]))
                off = max(d_eta - 0.5 * hits.width[c, 0], d_phi - 0.5 * hits.width[c, 1])
                if nearby:
                    apart = math.sqrt(d_eta * d_eta + d_phi * d_phi) / SHIFT[which]
                    off = max(apart, abs(log(energy[r] / expected[c])) / ALIKE[which])
                if off < least:
                    best, least = c, off
            if best >= 0:
                left[best], used[r] = r, 1
        first_reco, first_cell = stop_reco, stop_cell
