"""What each step of the reconstruction of particles depends on, as columns of numbers of order one.

Flat arrays in and out; no knowledge of awkward, of files or of networks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.constituents import Constituents, charge_of
from coffea_iqn.jets.features import ETA, PHI, PT
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import exp, exps, log, logs, sine_and_cosine
from coffea_iqn.particles.calorimeter import (
    CHARGED,
    ELECTRON,
    HALF_LENGTH,
    MASSES,
    MUON,
    NO_CELL,
    PHOTON,
    PION,
    PROTON,
    RADIUS,
    Hits,
    hits_of,
    species_of,
)

LOST, FOUND, DISPLACED = range(3)
"""What becomes of a charged particle: no track, one as it began, or one turned in phi, of what began elsewhere."""
N_CHARGED, N_DECAY, N_TRACK, N_CELL, N_JET, N_TAG = 18, 9, 26, 16, 10, 10  # columns of what follows
FLAVOURS = ((5,), (4,), (1, 2, 3), (21,))  # codes of PDG of partons that jets are known to come from
EDGES = ((0.5, 0.05), (1.5, 0.05), (2.5, 0.05))  # |eta|, over which width, where detectors change
K_SHORT, LAMBDA = 0.497611, 1.115683  # GeV: what decays away from the beam
K_LENGTH, LAMBDA_LENGTH = 0.026844, 0.0789  # m, cτ of both (Particle Data Group 2024)
NEUTRAL_PION, NEUTRON, NEUTRON_MASS = 0.134977, 2112, 0.939565  # GeV; and a code of PDG
V0_WIDTH, K_WIDTH, PION_WIDTH = (
    0.004,
    0.006,
    0.004,
)  # GeV, of masses made of rounded momenta: two tracks, four photons, two
LEAST_PHOTON = 0.3  # GeV, of those that pairs are looked for among
FAR_OFF = 7.0  # widths from which a mass is another one
CANDIDATE, SURE = 0.15, 0.5  # nearness from which two are looked at as from one, and are taken for it
NEAR = slice(10, 13)  # columns of `charged_columns`: how near a mass is to those
SOFT = 0.1  # GeV: energies are told apart down to this
MOST = (
    8.0  # roots of a cell's energy [GeV]: of so much more than should be left in it, what is left is of something else
)
DEVIATION = 1.0  # GeV: excesses count in roots of energies from this on


class Incoming(NamedTuple):
    """The particles of gen jets on their way into a detector.

    Attributes
    ----------
    particles: of the jets.
    species, charge: of each particle, (M,).
    hits: where they meet calorimeters.
    jets: (N, 4).
    """

    particles: Constituents
    species: Ints
    charge: Ints
    hits: Hits
    jets: Doubles

    @classmethod
    def of(cls, particles: Constituents, jets: Floats) -> Incoming:
        """The particles of jets, (N, 4)."""
        values = np.ascontiguousarray(particles.values, dtype=np.float64)
        particles = particles._replace(values=values)
        species = species_of(particles.code)
        charge = np.where(species < CHARGED, charge_of(particles.code), 0)
        hits = hits_of(particles, species, charge)
        return cls(particles, species, charge, hits, np.ascontiguousarray(jets, dtype=np.float64))

    def in_cells(self, rows: Ints, energy: Doubles | None = None) -> Doubles:
        """Energy [GeV] of particles in these rows in each cell, (C,): their own, or as given, (K,)."""
        cell = self.hits.cell[rows]
        meet = cell != NO_CELL
        weights = (self.hits.energy[rows] if energy is None else energy)[meet]
        return np.bincount(cell[meet], weights=weights, minlength=len(self.hits.jet)).astype(np.float64)

    def track_codes(self) -> Ints:
        """The PDG code that a track of each would have, 0 of neutral ones, (M,)."""
        code = np.where(self.species == ELECTRON, -11, np.where(self.species == MUON, -13, 211))
        return self.charge * code


def charged_columns(incoming: Incoming) -> tuple[Singles, Ints]:
    """What becomes of charged particles depends on, (M, 18), zeros of others; and the row of the mate of each, or −1.

    The logarithm of pt; |eta|, and the nearness to `EDGES`; which species; how near the mass with another particle of
    the jet is to that of a K_S, or a Λ as its proton or its pion, which decay away from the beam, or behind all that
    measures; the probability that this, if it is one, decays behind the field, and the logarithm of its momentum; and
    last, as `with_mates` fills them, what became of the mate, the other of two that are nearest to such a mass with
    each other.
    """
    particles, species, charge = incoming[:3]
    out = np.zeros((len(species), N_CHARGED), dtype=np.float32)
    mate = np.full(len(species), -1)
    _see_charged(particles.values, particles.counts, species, charge, out, mate)
    return out, mate


def with_mates(columns: Singles, rows: Ints, mate: Ints, status: Ints) -> Singles:
    """The `charged_columns` of particles in these rows, (K,), given what became, (M,), of mates that came before."""
    out = columns[rows]
    known = np.flatnonzero((mate[rows] >= 0) & (mate[rows] < rows))
    near = out[known, NEAR].max(axis=1)
    out[known, N_CHARGED - 3 + status[mate[rows[known]]]] = near
    return out


@part
def _edges(eta: float, row: Singles, first: int) -> None:
    row[first] = abs(eta)
    for k in range(len(EDGES)):
        row[first + 1 + k] = min(max((abs(eta) - EDGES[k][0]) / EDGES[k][1], -1.0), 1.0)


@kernel
def _see_charged(values: Doubles, counts: Ints, species: Ints, charge: Ints, out: Singles, mate: Ints) -> None:
    most = 1
    for n in counts:
        most = max(most, n)
    momenta, best, energies = np.empty((most, 3)), np.empty(most), np.empty(most)
    first = 0
    for j in range(len(counts)):
        stop = first + counts[j]
        for i in range(first, stop):
            if charge[i] == 0:
                continue
            row, momentum, mass = out[i], momenta[i - first], MASSES[species[i]]
            _momentum(values[i], momentum)
            squared = momentum[0] * momentum[0] + momentum[1] * momentum[1] + momentum[2] * momentum[2]
            best[i - first], energies[i - first] = 0.0, math.sqrt(squared + mass * mass)
            row[0] = log(values[i, PT])
            _edges(values[i, ETA], row, 1)
            row[5 + species[i]] = 1.0
        for i in range(first, stop):
            if charge[i] == 0 or species[i] not in (PION, PROTON):
                continue
            for k in range(first, i):
                if charge[k] * charge[i] >= 0 or species[k] not in (PION, PROTON):
                    continue
                if species[i] == PROTON and species[k] == PROTON:
                    continue
                one, other = momenta[i - first], momenta[k - first]
                wanted = K_SHORT if species[i] == species[k] else LAMBDA
                energy = energies[i - first] + energies[k - first]
                near = _nearness(one, other, energy, wanted, V0_WIDTH)
                if near > best[i - first]:
                    best[i - first], mate[i] = near, k
                if near > best[k - first]:
                    best[k - first], mate[k] = near, i
        for i in range(first, stop):
            if charge[i] == 0 or mate[i] < 0:
                continue
            k, row, near = mate[i], out[i], best[i - first]
            row[10 if species[i] == species[k] else 11 if species[i] == PROTON else 12] = near
            one, other = momenta[i - first], momenta[k - first]
            x, y, z = one[0] + other[0], one[1] + other[1], one[2] + other[2]
            is_k = species[i] == species[k]
            row[13] = near * _beyond(x, y, z, is_k)
            row[14] = near * log(math.sqrt(x * x + y * y + z * z) + SOFT)
        for i in range(first, stop):  # the two have to be each other's
            if charge[i] != 0 and mate[i] > i and mate[mate[i]] != i:
                mate[i] = -1
        for i in range(first, stop):
            if charge[i] != 0 and 0 <= mate[i] < i and mate[mate[i]] != i:
                mate[i] = -1
        first = stop


@part
def _beyond(x: float, y: float, z: float, is_k: bool) -> float:
    """The probability that a K_S, or else a Λ, of this momentum leaves the field before it decays."""
    decays = K_SHORT / K_LENGTH if is_k else LAMBDA / LAMBDA_LENGTH
    way = min(RADIUS / (math.sqrt(x * x + y * y) + 1e-6), HALF_LENGTH / (abs(z) + 1e-6))
    return exp(-way * decays)


@part
def _nearness(one: Doubles, other: Doubles, energy: float, wanted: float, width: float) -> float:
    """1 where two momenta of this energy together have a wanted mass, less the farther from it, and 0 far from it."""
    x, y, z = one[0] + other[0], one[1] + other[1], one[2] + other[2]
    squared = energy * energy - (x * x + y * y + z * z)
    if abs(squared - wanted * wanted) > 2.0 * FAR_OFF * wanted * width:
        return 0.0
    off = (math.sqrt(max(squared, 0.0)) - wanted) / width
    return 1.0 / (1.0 + off * off)


class Decays(NamedTuple):
    """What looks like a K_S of two π⁰, or a Λ of a neutron and one, by the masses of photons and neutrons of a jet.

    Attributes
    ----------
    of: the row of what each particle would be from, or −1, (M,).
    first: the row of the first photon of each, (D,).
    columns: what becomes of each depends on, (D, 9): which it is, how near its mass is, the probability that it decays
        behind the field, the logarithm of its momentum, |eta| of its first photon and nearness to `EDGES`, and its
        share of the jet's pt.
    """

    of: Ints
    first: Ints
    columns: Singles


def decays_of(incoming: Incoming) -> Decays:
    """The neutral decays of jets, away from the beam or behind all that measures."""
    particles, species = incoming.particles, incoming.species
    of, first = np.full(len(species), -1), np.empty(len(species), dtype=np.int64)
    columns = np.zeros((len(species) // 3 + 1, N_DECAY), dtype=np.float32)
    is_neutron = np.abs(particles.code) == NEUTRON
    n = _find_decays(
        particles.values, particles.counts, species, is_neutron, incoming.hits.energy, incoming.jets, of, first, columns
    )
    return Decays(of, first[:n], columns[:n])


@kernel
def _find_decays(
    values: Doubles,
    counts: Ints,
    species: Ints,
    is_neutron: Bools,
    energy: Doubles,
    jets: Doubles,
    of: Ints,
    first: Ints,
    columns: Singles,
) -> int:
    most = 1
    for n in counts:
        most = max(most, n)
    # photons, then pairs of them, then neutrons: momenta, and rows of the first and the second particle
    momenta, pions, energies = np.empty((most, 3)), np.empty((most, 3)), np.empty(most)
    rows, pairs = np.empty(most, np.int64), np.empty((most, 2), np.int64)
    best, mate = np.empty(most), np.empty(most, np.int64)
    start = n_decays = 0
    for j in range(len(counts)):
        stop, n, m = start + counts[j], 0, 0
        for i in range(start, stop):
            if species[i] == PHOTON and energy[i] > LEAST_PHOTON:
                _momentum(values[i], momenta[n])
                rows[n], best[n], mate[n] = i, 0.0, -1
                n += 1
        for a in range(n):
            for b in range(a):
                near = _nearness(momenta[a], momenta[b], energy[rows[a]] + energy[rows[b]], NEUTRAL_PION, PION_WIDTH)
                for one, other in ((a, b), (b, a)):
                    if near > max(best[one], CANDIDATE):
                        best[one], mate[one] = near, other
        for a in range(n):
            b = mate[a]
            if b > a and mate[b] == a:
                pairs[m, 0], pairs[m, 1] = rows[a], rows[b]
                squared = NEUTRAL_PION * NEUTRAL_PION
                for k in range(3):
                    pions[m, k] = momenta[a, k] + momenta[b, k]
                    squared += pions[m, k] * pions[m, k]
                energies[m] = math.sqrt(squared)
                m += 1
        n_pions = m
        for i in range(start, stop):
            if is_neutron[i]:
                _momentum(values[i], pions[m])
                pairs[m, 0] = pairs[m, 1] = i
                squared = pions[m, 0] * pions[m, 0] + pions[m, 1] * pions[m, 1] + pions[m, 2] * pions[m, 2]
                energies[m] = math.sqrt(squared + NEUTRON_MASS * NEUTRON_MASS)
                m += 1
        for a in range(m):
            best[a], mate[a] = 0.0, -1
        for a in range(m):
            for b in range(min(a, n_pions)):
                wanted, width = (LAMBDA, V0_WIDTH) if a >= n_pions else (K_SHORT, K_WIDTH)
                near = _nearness(pions[a], pions[b], energies[a] + energies[b], wanted, width)
                for one, other in ((a, b), (b, a)):
                    if near > max(best[one], CANDIDATE):
                        best[one], mate[one] = near, other
        for a in range(n_pions):
            b = mate[a]
            if b > a and mate[b] == a:
                for pair in (pairs[a], pairs[b]):
                    of[pair[0]] = of[pair[1]] = n_decays
                first[n_decays] = pairs[a, 0]
                x, y, z = pions[a, 0] + pions[b, 0], pions[a, 1] + pions[b, 1], pions[a, 2] + pions[b, 2]
                row, squared = columns[n_decays], x * x + y * y
                row[0] = 1.0 if b >= n_pions else 0.0
                row[1] = best[a]
                row[2], row[3] = _beyond(x, y, z, b < n_pions), log(math.sqrt(squared + z * z) + SOFT)
                _edges(values[pairs[a, 0], ETA], row, 4)
                row[8] = math.sqrt(squared) / jets[j, PT]
                n_decays += 1
        start = stop
    return n_decays


@part
def _momentum(particle: Doubles, out: Doubles) -> None:
    sine, cosine = sine_and_cosine(particle[PHI])
    grown = exp(particle[ETA])
    out[0], out[1], out[2] = particle[PT] * cosine, particle[PT] * sine, 0.5 * particle[PT] * (grown - 1.0 / grown)


def both_lost(charged: Singles, mate: Ints, has_track: Bools) -> Bools:
    """Which particles have no track, nor has their mate, as what decays behind all that measures, (M,)."""
    near = charged[:, NEAR].max(axis=1) > SURE
    return np.asarray((mate >= 0) & ~has_track & ~has_track[mate] & near)


class Shared(NamedTuple):
    """What shares the cells of a detector: energy [GeV] in each, (C,).

    Attributes
    ----------
    found, lost, neutral: of charged particles with a track, of those without, and of neutral particles.
    gone: of what began behind all that measures, it seems; it is in none of the others.
    away: of what began away from the beam, and may be in another cell; it is in one of the others as well.
    drawn, seen: of the tracks that were drawn already, the energy of their particles, and their own.
    """

    found: Doubles
    lost: Doubles
    neutral: Doubles
    gone: Doubles
    away: Doubles
    drawn: Doubles
    seen: Doubles

    @property
    def every(self) -> Doubles:
        """All that is there, (C,)."""
        return self.found + self.lost + self.neutral

    @classmethod
    def of(cls, incoming: Incoming, has_track: Bools, gone: Bools, away: Bools) -> Shared:
        """Before any track is drawn."""
        is_charged = incoming.charge != 0
        parts = (has_track, is_charged & ~has_track & ~gone, ~is_charged & ~gone, gone, away & ~gone)
        found, lost, neutral, lacking, moved = (incoming.in_cells(np.flatnonzero(part)) for part in parts)
        return cls(found, lost, neutral, lacking, moved, np.zeros_like(found), np.zeros_like(found))

    def with_tracks(self, incoming: Incoming, rows: Ints, ratio: Doubles) -> Shared:
        """After tracks of particles in these rows were drawn, with so much of their momenta, (K,)."""
        energy = incoming.hits.energy[rows]
        drawn, seen = incoming.in_cells(rows), incoming.in_cells(rows, energy * ratio)
        return self._replace(drawn=self.drawn + drawn, seen=self.seen + seen)


def rounds(incoming: Incoming, has_track: Bools) -> list[Ints]:
    """The rows of particles with a track in rounds: in each cell the hardest first, one a round."""
    rows = np.flatnonzero(has_track)
    cell, pt = incoming.hits.cell[rows], incoming.particles.values[rows, PT]
    order = np.lexsort((rows, -pt, cell))
    rows, cell = rows[order], cell[order]
    new = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]])) if len(rows) else np.zeros(0, dtype=np.int64)
    place = np.where(cell == NO_CELL, 0, np.arange(len(rows)) - np.repeat(new, np.diff(np.append(new, len(rows)))))
    return [np.sort(rows[place == k]) for k in range(int(place.max(initial=-1)) + 1)]


def track_columns(incoming: Incoming, rows: Ints, charged: Singles, shared: Shared) -> Singles:
    """What the momentum of a track depends on, (K, 26): the columns of its particle, and what shares its cell.

    Parameters
    ----------
    incoming: particles, of which those in rows (K,) are asked.
    charged: `charged_columns` of all.
    shared: what is in their cells.
    """
    out = np.zeros((len(rows), N_TRACK), dtype=np.float32)
    known = (shared.found, shared.lost, shared.neutral, shared.drawn, shared.seen)
    _see_tracks(rows, charged, incoming.hits.energy, incoming.hits.cell, *known, out)
    return out


@kernel
def _see_tracks(
    rows: Ints,
    charged: Singles,
    energy: Doubles,
    cell: Ints,
    found: Doubles,
    lost: Doubles,
    neutral: Doubles,
    drawn: Doubles,
    seen: Doubles,
    out: Singles,
) -> None:
    for k in range(len(rows)):
        i, row = rows[k], out[k]
        for c in range(N_CHARGED):
            row[c] = charged[i, c]
        c = cell[i]
        e = energy[i]
        row[18] = log(e)
        if c == NO_CELL:
            continue
        row[19] = 1.0
        row[20] = log((max(found[c] - drawn[c] - e, 0.0) + SOFT) / e)
        row[21] = log((lost[c] + SOFT) / e)
        row[22] = log((neutral[c] + SOFT) / e)
        row[23] = log((drawn[c] + SOFT) / e)
        row[24] = (seen[c] - drawn[c]) / math.sqrt(found[c] + DEVIATION)
        row[25] = log((seen[c] + SOFT) / (drawn[c] + SOFT))


def cell_columns(incoming: Incoming, has_track: Bools, gone: Bools, shared: Shared) -> Singles:
    """What is left in a cell beside its tracks depends on, (C, 16).

    Parameters
    ----------
    incoming: particles, of which some have tracks, and some are gone, (M,) both.
    shared: what is in their cells, after all tracks were drawn.
    """
    hits, n_cells = incoming.hits, len(incoming.hits.jet)
    out = np.zeros((n_cells, N_CELL), dtype=np.float32)
    rows = np.flatnonzero((incoming.charge == 0) & (hits.cell != NO_CELL) & ~gone)
    hardest = np.zeros(n_cells)
    np.maximum.at(hardest, hits.cell[rows], hits.energy[rows])
    tracks = hits.cell[np.flatnonzero(has_track & (hits.cell != NO_CELL))]
    numbers = np.stack([np.bincount(of, minlength=n_cells) for of in (hits.cell[rows], tracks)], axis=1)
    found, lost, neutral, lacking, away, _, seen = shared
    _see_cells(hits.low, hits.width, found, seen, lost, neutral, lacking, away, hardest, numbers, out)
    return out


@kernel
def _see_cells(
    low: Doubles,
    width: Doubles,
    found: Doubles,
    seen: Doubles,
    lost: Doubles,
    neutral: Doubles,
    gone: Doubles,
    away: Doubles,
    hardest: Doubles,
    numbers: Ints,
    out: Singles,
) -> None:
    for c in range(len(low)):
        row, eta = out[c], low[c, 0] + 0.5 * width[c, 0]
        every = found[c] + lost[c] + neutral[c]
        _edges(eta, row, 0)
        row[4] = log(every + SOFT)
        row[5] = log((neutral[c] + SOFT) / (every + SOFT))
        row[6] = log((lost[c] + SOFT) / (every + SOFT))
        row[7] = log((seen[c] + SOFT) / (every + SOFT))
        excess = every - seen[c]
        row[8] = excess / math.sqrt(every + DEVIATION)
        row[9] = log(max(excess, 0.0) + SOFT)
        row[10] = log((hardest[c] + SOFT) / (neutral[c] + SOFT))
        row[11], row[12] = min(numbers[c, 0], 4), min(numbers[c, 1], 4)
        row[14] = log((gone[c] + SOFT) / (every + SOFT))
        row[15] = log((away[c] + SOFT) / (every + SOFT))
        row[13] = (found[c] - seen[c]) / math.sqrt(every + DEVIATION)


def left_of(columns: Singles, targets: Floats) -> Doubles:
    """Energies [GeV] of what is left in cells with these columns, (K,), of targets: the inverse of `left_targets`."""
    excess, root = _excess(columns)
    grown = exps(np.ascontiguousarray(targets, dtype=np.float64))
    return excess + root * 0.5 * (grown - 1.0 / grown)


def left_targets(columns: Singles, energy: Floats | float) -> Doubles:
    """Targets (K,) of energies [GeV] of what is left in cells: above what tracks leave over, in roots of all there is.

    The energy resolution of a calorimeter grows as the root of the energy. The area hyperbolic sine keeps what is far
    from there near.
    """
    excess, root = _excess(columns)
    x = (energy - excess) / root
    size = np.abs(x)
    return np.asarray(np.where(x < 0.0, -1.0, 1.0) * logs(size + np.sqrt(size * size + 1.0)))


def least_left(columns: Singles, least: tuple[float, float]) -> Doubles:
    """The least energy [GeV] of what is left in cells, (K,): of any, and in roots of all there is."""
    _, root = _excess(columns)
    return np.maximum(least[0], least[1] * root)


def most_left(columns: Singles) -> Doubles:
    """The greatest energy [GeV] of what is left in cells, (K,): more is of something else (`matching.origins_of`)."""
    _, root = _excess(columns)
    every = exps(columns[:, 4].astype(np.float64))
    parts = [every * exps(columns[:, k].astype(np.float64)) for k in (5, 6, 14)]  # neutral, lost and gone
    return np.asarray(parts[0] + parts[1] + parts[2] + MOST * root)


def _excess(columns: Singles) -> tuple[Doubles, Doubles]:
    """Of cells, (K,) both: what tracks leave over, and the root of all there is, from their `cell_columns`."""
    root = np.sqrt(exps(columns[:, 4].astype(np.float64)) - SOFT + DEVIATION)
    return columns[:, 8].astype(np.float64) * root, root


def jet_columns(incoming: Incoming) -> Singles:
    """What enters a jet from outside depends on, (N, 10).

    The logarithm of its pt, |eta| and nearness to `EDGES`, mass over pt, and the logarithms of its numbers of charged
    particles, photons, neutral hadrons and all of them.
    """
    out = np.zeros((len(incoming.jets), N_JET), dtype=np.float32)
    _see_jets(incoming.species, incoming.particles.counts, incoming.jets, out)
    return out


@kernel
def _see_jets(species: Ints, counts: Ints, jets: Doubles, out: Singles) -> None:
    first = 0
    for j in range(len(counts)):
        row = out[j]
        charged = photons = 0
        for i in range(first, first + counts[j]):
            charged += 1 if species[i] < CHARGED else 0
            photons += 1 if species[i] == PHOTON else 0
        first += counts[j]
        row[0] = log(jets[j, PT])
        _edges(jets[j, ETA], row, 1)
        row[5] = max(jets[j, 3], 0.0) / jets[j, PT]
        row[6] = log(1.0 + charged)
        row[7] = log(1.0 + photons)
        row[8] = log(1.0 + counts[j] - charged - photons)
        row[9] = log(1.0 + counts[j])


def tag_columns(jets: Doubles, parton: Ints | None) -> Singles:
    """What the b-tag of reco jets depends on, (N, 10).

    The logarithm of pt, |eta| and nearness to `EDGES`, and the flavour of the gen jet: one of `FLAVOURS`, another, or
    nothing known.

    Parameters
    ----------
    jets: reco jets (N, 4).
    parton: PDG code of the parton of each, or None.
    """
    out = np.zeros((len(jets), N_TAG), dtype=np.float32)
    _see_tagged(np.ascontiguousarray(jets, dtype=np.float64), out)
    if parton is not None:
        for k, codes in enumerate(FLAVOURS):
            out[:, 5 + k] = np.isin(np.abs(parton), codes)
        out[:, 9] = 1.0
    return out


@kernel
def _see_tagged(jets: Doubles, out: Singles) -> None:
    for j in range(len(jets)):
        out[j, 0] = log(jets[j, PT])
        _edges(jets[j, ETA], out[j], 1)
