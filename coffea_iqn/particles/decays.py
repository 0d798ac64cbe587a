"""Conditioning variables of the tracking of charged particles, including decays in flight of K_S and Λ.

All functions work on flat arrays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import exp, exps, log, logs
from coffea_iqn.particles.calorimeter import HALF_LENGTH, MASSES, PHOTON, PION, PROTON, RADIUS
from coffea_iqn.particles.columns import SOFT, Incoming, edges

LOST, FOUND, DISPLACED = range(3)
"""Status of a charged particle: no track, a track in its direction, or a displaced track, turned in phi."""
N_CHARGED, N_TURN, N_DECAY = 18, 20, 9  # numbers of columns of the functions below
K_SHORT, LAMBDA = 0.497611, 1.115683  # GeV, masses of particles that decay away from the beam
K_LENGTH, LAMBDA_LENGTH = 0.026844, 0.0789  # m, cτ of both (Particle Data Group 2024)
NEUTRAL_PION, NEUTRON, NEUTRON_MASS = 0.134977, 2112, 0.939565  # GeV, PDG code, GeV
V0_WIDTH, K_WIDTH, PION_WIDTH = 0.004, 0.006, 0.004  # GeV, mass resolution of two tracks, four photons, two photons
LEAST_PHOTON = 0.3  # GeV, least energy of photons combined to pairs
FAR_OFF = 7.0  # widths beyond which a mass is not compatible
CANDIDATE, SURE = 0.15, 0.5  # nearness from which a pair is a candidate decay, and is taken for one
NEAR = slice(10, 13)  # columns of `charged_columns`: nearness to the masses
TURNED = 0.5  # rad, greatest turn in phi of a displaced track
SAME = 3e-4  # greatest difference in angle between a track and its particle, from rounding in files


def charged_columns(incoming: Incoming) -> tuple[Singles, Ints]:
    """Return the conditioning variables of the status of charged particles, (M, 18), and the row of each mate, or −1.

    The mate is the particle of the jet with which it forms the best K_S or Λ candidate, if this is mutual. The columns
    (zero for neutral particles) are: the logarithm of pt; |eta| and its position relative to `EDGES`; the species,
    one-hot; the nearness of the pair's mass to that of a K_S, of a Λ as its proton, and of a Λ as its pion; the
    probability that the candidate decays behind the field, and the logarithm of its momentum, times the nearness; and
    the status of the mate, which `with_mates` fills in.
    """
    out = np.zeros((len(incoming.species), N_CHARGED), dtype=np.float32)
    mate = np.full(len(out), -1)
    _see_charged(incoming, logs(np.ascontiguousarray(incoming.particles.values[:, PT])), out, mate)
    return out, mate


def with_mates(columns: Singles, rows: Ints, mate: Ints, status: Ints) -> Singles:
    """Return `charged_columns` of particles in rows (K,), filled with the status, (M,), of mates that precede them."""
    out = columns.take(rows, axis=0)
    known = np.flatnonzero(is_second(mate, rows))
    near = nearness(out[known])
    out[known, N_CHARGED - 3 + status[mate[rows[known]]]] = near
    return out


def nearness(columns: Singles) -> Singles:
    """Return the greatest nearness to a K_S or Λ mass of particles and their mates, from `charged_columns`, (K,)."""
    return np.maximum(np.maximum(columns[:, NEAR.start], columns[:, NEAR.start + 1]), columns[:, NEAR.start + 2])


def is_second(mate: Ints, rows: Ints) -> Bools:
    """Return which particles in these rows follow their mates, and so can depend on them, (K,)."""
    return np.asarray((mate[rows] >= 0) & (mate[rows] < rows))


class Turns(NamedTuple):
    """Conditioning variables of the turn in phi of displaced tracks.

    Attributes
    ----------
    columns: `charged_columns` with mates, whether the turn of the mate is known, and the reference, (K, 20).
    reference: logarithm of the turn expected from that of the mate, or 0, (K,).

    Two tracks from one decay start at the same distance from the beam, so they have the same product of turn and pt.
    """

    columns: Singles
    reference: Doubles

    @classmethod
    def of(cls, incoming: Incoming, columns: Singles, rows: Ints, mate: Ints, status: Ints, turn: Doubles) -> Turns:
        """Build from the `charged_columns`, status and turn [rad] of all particles, (M,), for those in rows (K,)."""
        charged, pt = with_mates(columns, rows, mate, status), incoming.particles.values[:, PT]
        other = mate[rows]
        is_known = is_second(mate, rows) & (status[other] == DISPLACED) & (nearness(charged) > SURE)
        asked = np.where(is_known, np.maximum(turn[other], SAME) * pt[other] / pt[rows], 1.0)
        reference = np.minimum(logs(asked), 0.0)
        known = np.stack([is_known, reference], axis=1).astype(np.float32)
        return cls(np.concatenate([charged, known], axis=1), reference)

    @property
    def least(self) -> Doubles:
        """The least target of each track, (K,), which corresponds to the greatest turn, `TURNED`."""
        return np.asarray(self.reference - math.log(TURNED))

    def targets(self, turn: Doubles) -> Doubles:
        """Return targets for turns [rad], (K,): the logarithm of the expected over the actual turn."""
        return np.asarray(self.reference - logs(np.maximum(turn, SAME)))

    def of_targets(self, targets: Floats) -> Doubles:
        """Invert `targets`."""
        return exps(self.reference - np.asarray(targets, dtype=np.float64))


@kernel
def _see_charged(incoming: Incoming, log_pt: Doubles, out: Singles, mate: Ints) -> None:
    (values, _, counts), of, species, charge, _, _ = incoming
    most = 1
    for n in counts:
        most = max(most, n)
    # four-momenta and rows of pions and protons: positive ones in the first half of the columns, negative ones after
    momenta, rows = np.empty((4, 2 * most)), np.empty(2 * most, np.int64)
    best, column = np.empty(most), np.empty(most, np.int64)
    first = 0
    for j in range(len(counts)):
        stop, n_positive, n_negative = first + counts[j], 0, 0
        for i in range(first, stop):
            if charge[i] == 0:
                continue
            row = out[i]
            row[0] = log_pt[i]
            edges(values[i, ETA], row, 1)
            row[5 + species[i]] = 1.0
            best[i - first] = 0.0
            if species[i] not in (PION, PROTON):
                continue
            at, others, n_others = n_positive, most, n_negative
            if charge[i] > 0:
                n_positive += 1
            else:
                at, others, n_others = most + n_negative, 0, n_positive
                n_negative += 1
            mass = MASSES[species[i]]
            for k in range(3):
                momenta[k, at] = of[k, i]
            squared = of[0, i] * of[0, i] + of[1, i] * of[1, i] + of[2, i] * of[2, i]
            momenta[3, at], rows[at], column[i - first] = math.sqrt(squared + mass * mass), i, at
            for other in range(others, others + n_others):
                k = rows[other]
                if species[i] == PROTON and species[k] == PROTON:
                    continue
                wanted = K_SHORT if species[i] == species[k] else LAMBDA
                near = _nearness(_squared_mass(at, other, momenta), wanted, V0_WIDTH)
                if near > best[i - first]:
                    best[i - first], mate[i] = near, k
                if near > best[k - first]:
                    best[k - first], mate[k] = near, i
        for i in range(first, stop):
            if charge[i] == 0 or mate[i] < 0:
                continue
            k, row, near = mate[i], out[i], best[i - first]
            row[10 if species[i] == species[k] else 11 if species[i] == PROTON else 12] = near
            is_k = species[i] == species[k]
            at, other = column[i - first], column[k - first]
            x, y = momenta[0, at] + momenta[0, other], momenta[1, at] + momenta[1, other]
            z = momenta[2, at] + momenta[2, other]
            row[13] = near * _beyond(x, y, z, is_k)
            row[14] = near * log(math.sqrt(x * x + y * y + z * z) + SOFT)
        for i in range(first, stop):  # mates must be mutual
            if charge[i] != 0 and mate[i] > i and mate[mate[i]] != i:
                mate[i] = -1
        for i in range(first, stop):
            if charge[i] != 0 and 0 <= mate[i] < i and mate[mate[i]] != i:
                mate[i] = -1
        first = stop


@part
def _beyond(x: float, y: float, z: float, is_k: bool) -> float:
    """Return the probability that a K_S (or a Λ) of this momentum leaves the field before it decays."""
    decays = K_SHORT / K_LENGTH if is_k else LAMBDA / LAMBDA_LENGTH
    way = min(RADIUS / (math.sqrt(x * x + y * y) + 1e-6), HALF_LENGTH / (abs(z) + 1e-6))
    return exp(-way * decays)


@part
def _squared_mass(one: int, other: int, momenta: Doubles) -> float:
    """Return the squared mass of the sum of two columns of four-momenta, (4, n), with the energy last."""
    x, y = momenta[0, one] + momenta[0, other], momenta[1, one] + momenta[1, other]
    z, energy = momenta[2, one] + momenta[2, other], momenta[3, one] + momenta[3, other]
    return float(energy * energy - (x * x + y * y + z * z))


@part
def _nearness(squared: float, wanted: float, width: float) -> float:
    """Return how near a squared mass is to that of a wanted mass: a Lorentzian of the mass, 0 far away."""
    if abs(squared - wanted * wanted) > 2.0 * FAR_OFF * wanted * width:
        return 0.0
    off = (math.sqrt(max(squared, 0.0)) - wanted) / width
    return 1.0 / (1.0 + off * off)


class Decays(NamedTuple):
    """Candidates of K_S → π⁰π⁰ and Λ → nπ⁰, from the masses of photons and neutrons of a jet.

    Attributes
    ----------
    of: row of the candidate that each particle belongs to, or −1, (M,).
    first: row of the first photon of each candidate, (D,).
    columns: conditioning variables of each candidate, (D, 9): whether it is a Λ, the nearness of its mass, the
        probability that it decays behind the field, the logarithm of its momentum, |eta| of its first photon and its
        position relative to `EDGES`, and the fraction of the jet's pt.
    """

    of: Ints
    first: Ints
    columns: Singles


@kernel
def decays_of(incoming: Incoming) -> Decays:
    """Find the candidates of neutral decays in jets."""
    values, code, counts = incoming.particles
    momentum, species, energy, jets = incoming.momenta, incoming.species, incoming.hits.energy, incoming.jets
    of, first = np.full(len(species), -1), np.empty(len(species), np.int64)
    columns = np.zeros((len(species) // 3 + 1, N_DECAY), np.float32)
    most = 1
    for n in counts:
        most = max(most, n)
    # four-momenta of photons; four-momenta and rows of photon pairs, followed by neutrons
    momenta, pions = np.empty((4, most)), np.empty((4, most))
    rows, pairs = np.empty(most, np.int64), np.empty((most, 2), np.int64)
    best, mate = np.empty(most), np.empty(most, np.int64)
    start = n_decays = 0
    for j in range(len(counts)):
        stop, n, m = start + counts[j], 0, 0
        for i in range(start, stop):
            if species[i] == PHOTON and energy[i] > LEAST_PHOTON:
                for k in range(3):
                    momenta[k, n] = momentum[k, i]
                momenta[3, n], rows[n], best[n], mate[n] = energy[i], i, 0.0, -1
                n += 1
        for a in range(n):
            for b in range(a):
                near = _nearness(_squared_mass(a, b, momenta), NEUTRAL_PION, PION_WIDTH)
                _nearest_of_both(a, b, near, best, mate)
        for a in range(n):
            b = mate[a]
            if b > a and mate[b] == a:
                pairs[m, 0], pairs[m, 1] = rows[a], rows[b]
                squared = NEUTRAL_PION * NEUTRAL_PION
                for k in range(3):
                    pions[k, m] = momenta[k, a] + momenta[k, b]
                    squared += pions[k, m] * pions[k, m]
                pions[3, m] = math.sqrt(squared)
                m += 1
        n_pions = m
        for i in range(start, stop):
            if abs(code[i]) == NEUTRON:
                for k in range(3):
                    pions[k, m] = momentum[k, i]
                pairs[m, 0] = pairs[m, 1] = i
                squared = pions[0, m] * pions[0, m] + pions[1, m] * pions[1, m] + pions[2, m] * pions[2, m]
                pions[3, m] = math.sqrt(squared + NEUTRON_MASS * NEUTRON_MASS)
                m += 1
        for a in range(m):
            best[a], mate[a] = 0.0, -1
        for a in range(m):
            for b in range(min(a, n_pions)):
                wanted, width = (LAMBDA, V0_WIDTH) if a >= n_pions else (K_SHORT, K_WIDTH)
                near = _nearness(_squared_mass(a, b, pions), wanted, width)
                _nearest_of_both(a, b, near, best, mate)
        for a in range(n_pions):
            b = mate[a]
            if b > a and mate[b] == a:
                for pair in (pairs[a], pairs[b]):
                    of[pair[0]] = of[pair[1]] = n_decays
                first[n_decays] = pairs[a, 0]
                x, y, z = pions[0, a] + pions[0, b], pions[1, a] + pions[1, b], pions[2, a] + pions[2, b]
                row, squared = columns[n_decays], x * x + y * y
                row[0] = 1.0 if b >= n_pions else 0.0
                row[1] = best[a]
                row[2], row[3] = _beyond(x, y, z, b < n_pions), log(math.sqrt(squared + z * z) + SOFT)
                edges(values[pairs[a, 0], ETA], row, 4)
                row[8] = math.sqrt(squared) / jets[j, PT]
                n_decays += 1
        start = stop
    return Decays(of, first[:n_decays], columns[:n_decays])


@part
def _nearest_of_both(a: int, b: int, near: float, best: Doubles, mate: Ints) -> None:
    """Make each of two the mate of the other, unless it already has a nearer one."""
    for one, other in ((a, b), (b, a)):
        if near > max(best[one], CANDIDATE):
            best[one], mate[one] = near, other


def both_lost(charged: Singles, mate: Ints, has_track: Bools) -> Bools:
    """Return which particles and their mates both have no track, as for decays behind the detectors, (M,)."""
    near = nearness(charged) > SURE
    return np.asarray((mate >= 0) & ~has_track & ~has_track[mate] & near)
