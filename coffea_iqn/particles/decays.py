"""Charged particles and what they come from: which have a track, which of these point elsewhere, what decays unseen.

Flat arrays in and out; no knowledge of awkward, of files or of networks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import exp, exps, log, logs
from coffea_iqn.particles.calorimeter import (
    HALF_LENGTH,
    MASSES,
    PHOTON,
    PION,
    PROTON,
    RADIUS,
)
from coffea_iqn.particles.columns import SOFT, Incoming, edges

LOST, FOUND, DISPLACED = range(3)
"""What becomes of a charged particle: no track, one as it began, or one turned in phi, of what began elsewhere."""
N_CHARGED, N_TURN, N_DECAY = 18, 20, 9  # columns of what follows
K_SHORT, LAMBDA = 0.497611, 1.115683  # GeV: what decays away from the beam
K_LENGTH, LAMBDA_LENGTH = 0.026844, 0.0789  # m, cτ of both (Particle Data Group 2024)
NEUTRAL_PION, NEUTRON, NEUTRON_MASS = 0.134977, 2112, 0.939565  # GeV; and a code of PDG
V0_WIDTH, K_WIDTH, PION_WIDTH = 0.004, 0.006, 0.004  # GeV, of masses of rounded momenta: two tracks, four photons, two
LEAST_PHOTON = 0.3  # GeV, of those that pairs are looked for among
FAR_OFF = 7.0  # widths from which a mass is another one
CANDIDATE, SURE = 0.15, 0.5  # nearness from which two are looked at as from one, and are taken for it
NEAR = slice(10, 13)  # columns of `charged_columns`: how near a mass is to those
TURNED = 0.5  # rad: so far a track's direction may be off in phi that began away from the beam
SAME = 3e-4  # angles of a track and its particle differ by what files round


def charged_columns(incoming: Incoming) -> tuple[Singles, Ints]:
    """What becomes of charged particles depends on, (M, 18), zeros of others; and the row of the mate of each, or −1.

    The logarithm of pt; |eta|, and the nearness to `EDGES`; which species; how near the mass with another particle of
    the jet is to that of a K_S, or a Λ as its proton or its pion, which decay away from the beam, or behind all that
    measures; the probability that this, if it is one, decays behind the field, and the logarithm of its momentum; and
    last, as `with_mates` fills them, what became of the mate, the other of two that are nearest to such a mass with
    each other.
    """
    particles, species, charge = incoming.particles, incoming.species, incoming.charge
    out = np.zeros((len(species), N_CHARGED), dtype=np.float32)
    mate = np.full(len(species), -1)
    log_pt = logs(np.ascontiguousarray(particles.values[:, PT]))
    _see_charged(particles.values, incoming.momenta, log_pt, particles.counts, species, charge, out, mate)
    return out, mate


def with_mates(columns: Singles, rows: Ints, mate: Ints, status: Ints) -> Singles:
    """The `charged_columns` of particles in these rows, (K,), given what became, (M,), of mates that came before."""
    out = columns[rows]
    known = np.flatnonzero(is_second(mate, rows))
    near = nearness(out[known])
    out[known, N_CHARGED - 3 + status[mate[rows[known]]]] = near
    return out


def nearness(columns: Singles) -> Singles:
    """How near the mass of particles and their mates is to what is looked for, of `charged_columns`, (K,)."""
    return np.maximum(np.maximum(columns[:, NEAR.start], columns[:, NEAR.start + 1]), columns[:, NEAR.start + 2])


def is_second(mate: Ints, rows: Ints) -> Bools:
    """Which particles in these rows come after their mates, and know of them, (K,)."""
    return np.asarray((mate[rows] >= 0) & (mate[rows] < rows))


class Turns(NamedTuple):
    """What the turn in phi of displaced tracks depends on.

    Attributes
    ----------
    columns: `charged_columns` given mates, whether the turn of the mate is known, and the logarithm of what it asks
        for, (K, 20).
    reference: that logarithm, or 0, (K,).

    Two tracks from one decay leave the beam at one distance, so that turn times pt is that of both.
    """

    columns: Singles
    reference: Doubles

    @classmethod
    def of(cls, incoming: Incoming, columns: Singles, rows: Ints, mate: Ints, status: Ints, turn: Doubles) -> Turns:
        """Of particles in these rows, (K,), from the `charged_columns`, status and turn [rad] of all of them, (M,)."""
        charged, pt = with_mates(columns, rows, mate, status), incoming.particles.values[:, PT]
        other = mate[rows]
        is_known = is_second(mate, rows) & (status[other] == DISPLACED) & (nearness(charged) > SURE)
        asked = np.where(is_known, np.maximum(turn[other], SAME) * pt[other] / pt[rows], 1.0)
        reference = np.minimum(logs(asked), 0.0)
        known = np.stack([is_known, reference], axis=1).astype(np.float32)
        return cls(np.concatenate([charged, known], axis=1), reference)

    @property
    def least(self) -> Doubles:
        """The least target of each, (K,): none turns further than `TURNED`."""
        return np.asarray(self.reference - math.log(TURNED))

    def targets(self, turn: Doubles) -> Doubles:
        """Targets of turns [rad], (K,): logarithms of what the mate asks for over them."""
        return np.asarray(self.reference - logs(np.maximum(turn, SAME)))

    def of_targets(self, targets: Floats) -> Doubles:
        """The inverse of `targets`."""
        return exps(self.reference - np.asarray(targets, dtype=np.float64))


@kernel
def _see_charged(
    values: Doubles,
    of: Doubles,
    log_pt: Doubles,
    counts: Ints,
    species: Ints,
    charge: Ints,
    out: Singles,
    mate: Ints,
) -> None:
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
            for k in range(3):
                momentum[k] = of[k, i]
            squared = momentum[0] * momentum[0] + momentum[1] * momentum[1] + momentum[2] * momentum[2]
            best[i - first], energies[i - first] = 0.0, math.sqrt(squared + mass * mass)
            row[0] = log_pt[i]
            edges(values[i, ETA], row, 1)
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
        particles.values,
        incoming.momenta,
        particles.counts,
        species,
        is_neutron,
        incoming.hits.energy,
        incoming.jets,
        of,
        first,
        columns,
    )
    return Decays(of, first[:n], columns[:n])


@kernel
def _find_decays(
    values: Doubles,
    momentum: Doubles,
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
                for k in range(3):
                    momenta[n, k] = momentum[k, i]
                rows[n], best[n], mate[n] = i, 0.0, -1
                n += 1
        for a in range(n):
            for b in range(a):
                near = _nearness(momenta[a], momenta[b], energy[rows[a]] + energy[rows[b]], NEUTRAL_PION, PION_WIDTH)
                _nearest_of_both(a, b, near, best, mate)
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
                for k in range(3):
                    pions[m, k] = momentum[k, i]
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
                _nearest_of_both(a, b, near, best, mate)
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
                edges(values[pairs[a, 0], ETA], row, 4)
                row[8] = math.sqrt(squared) / jets[j, PT]
                n_decays += 1
        start = stop
    return n_decays


@part
def _nearest_of_both(a: int, b: int, near: float, best: Doubles, mate: Ints) -> None:
    """Each of two is the mate of the other, where none is nearer yet."""
    for one, other in ((a, b), (b, a)):
        if near > max(best[one], CANDIDATE):
            best[one], mate[one] = near, other


def both_lost(charged: Singles, mate: Ints, has_track: Bools) -> Bools:
    """Which particles have no track, nor has their mate, as what decays behind all that measures, (M,)."""
    near = nearness(charged) > SURE
    return np.asarray((mate >= 0) & ~has_track & ~has_track[mate] & near)
