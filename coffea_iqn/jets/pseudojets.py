"""Sequential clustering of particles: k_T, Cambridge/Aachen and anti-k_T."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import inlined_part, kernel, part
from coffea_iqn.numerics.double import TURN, arctan2, exp, log, sine_and_cosine

MOST_ETA = 20.0
KT, CAMBRIDGE, ANTI_KT = 1, 0, -1  # power of pt² that multiplies ΔR²
PX, PY, PZ, ENERGY, Y, PHI, WEIGHT, NEAR, APART = range(9)
"""Rows of the clustering state, (9, most), whose first columns are the remaining pseudojets: four-momentum, rapidity
and φ, the power of pt², and ΔR² to the nearest; the last row is a buffer for ΔR² to all others. The columns that
follow are infinitely far away, so that loops may run over a multiple of `PARTS` columns: see `padded`."""
N_ROWS, N_KINEMATIC = 9, 6
PARTS = 16
NONE, UNKNOWN = -1, -2  # in place of a nearest pseudojet


def kinematics(particles: Doubles, n_rows: int = N_KINEMATIC) -> Doubles:
    """Return the first rows of four-momentum, rapidity and φ, (6, M), of particles (pt, eta, phi, mass), (M, 4).

    Four rows take less than half the time.
    """
    out = np.empty((n_rows, len(particles)))
    _kinematics(np.ascontiguousarray(particles.T, dtype=np.float64), out)
    return out


@kernel
def _kinematics(of: Doubles, out: Doubles) -> None:
    pt, eta, phi, mass = of[0], of[1], of[2], of[3]
    px, py, pz, energy = out[PX], out[PY], out[PZ], out[ENERGY]
    for i in range(len(pt)):  # branch-free loops, which the compiler vectorises
        sine, cosine = sine_and_cosine(phi[i])
        grown = exp(min(max(eta[i], -MOST_ETA), MOST_ETA))
        px[i], py[i], pz[i] = pt[i] * cosine, pt[i] * sine, 0.5 * pt[i] * (grown - 1.0 / grown)
        energy[i] = math.sqrt(pt[i] * pt[i] + pz[i] * pz[i] + mass[i] * mass[i])
    if len(out) == N_KINEMATIC:
        y, turned = out[Y], out[PHI]
        for i in range(len(pt)):
            y[i] = _rapidity(pz[i], energy[i])
        for i in range(len(pt)):
            turned[i] = arctan2(py[i], px[i])


@part
def _rapidity(pz: float, energy: float) -> float:
    forward = energy + abs(pz)
    rapidity = log(forward / math.sqrt(max(forward * (energy - abs(pz)), 1e-12 * forward * forward)))
    return rapidity if pz > 0.0 else -rapidity


@part
def padded(n: int) -> int:
    """Round up to a multiple of `PARTS`: loops of such a length are vectorised without a remainder.

    For the few tens of particles of a jet the remainder would take longer than all the rest.
    """
    return (n + PARTS - 1) & -PARTS


@part
def columns_for(counts: Ints) -> int:
    """Return the number of columns that a state needs for the greatest of some numbers of particles."""
    most = 1
    for n in counts:
        most = max(most, n)
    return padded(most)


@part
def start(first: int, n: int, of: Doubles, power: int, state: Doubles, nearest: Ints) -> None:
    """Initialise a state with n particles, starting at index first of their `kinematics`."""
    for k in range(N_KINEMATIC):
        for i in range(n):
            state[k, i] = of[k, first + i]
    for i in range(n):
        weigh(i, power, state)
    for i in range(n, padded(n)):
        _free(i, state, nearest)


@part
def _free(i: int, state: Doubles, nearest: Ints) -> None:
    """Leave a column without a pseudojet: infinitely far away from any."""
    state[Y, i], state[PHI, i], state[WEIGHT, i], state[NEAR, i], nearest[i] = np.inf, 0.0, 1.0, np.inf, NONE


@inlined_part
def see(i: int, state: Doubles) -> None:
    """Compute rapidity and phi of a pseudojet from its four-momentum."""
    state[Y, i] = _rapidity(state[PZ, i], state[ENERGY, i])
    state[PHI, i] = arctan2(state[PY, i], state[PX, i])


@part
def weigh(i: int, power: int, state: Doubles) -> None:
    """Compute the weight of a pseudojet, a power of its pt²."""
    squared = state[PX, i] * state[PX, i] + state[PY, i] * state[PY, i]
    state[WEIGHT, i] = squared if power == KT else 1.0 if power == CAMBRIDGE else 1.0 / squared


@part
def find_neighbours(n: int, reach: float, state: Doubles, nearest: Ints) -> None:
    """Find the nearest neighbour of each of n pseudojets within a reach in ΔR², `NONE` if there is none.

    Neighbours of smaller weight do not count: the distance measure of such a pair is that of the neighbour, whose
    nearest this pseudojet may be. Few pseudojets then have to find a new nearest after a merger.
    """
    for i in range(n):
        _choose(i, n, reach, state, nearest)


@part
def closest(left: int, state: Doubles) -> int:
    """Return which of the first `left` pseudojets to merge with its nearest: the one with the least weight × ΔR².

    For the pair of least distance measure, the pseudojet of smaller weight has the other as its nearest in ΔR, so
    nearest neighbours suffice (M. Cacciari and G. P. Salam, Phys. Lett. B 641 (2006) 57).
    """
    for i in range(padded(left)):
        state[APART, i] = state[NEAR, i] * state[WEIGHT, i]
    return _least(left, state)


@part
def merge(one: int, left: int, power: int, reach: float, state: Doubles, nearest: Ints) -> tuple[int, int]:
    """Merge one of the first `left` pseudojets with its nearest, and move the last pseudojet to the freed place.

    A pseudojet without a neighbour within reach is removed. Returns the place of the merged pseudojet and the freed
    place; for a removed one, the freed place twice.
    """
    other, last = nearest[one], left - 1
    new = other >= 0
    kept, gone = (min(one, other), max(one, other)) if new else (one, one)
    if new:
        for k in range(ENERGY + 1):
            state[k, kept] += state[k, gone]
        see(kept, state)
        weigh(kept, power, state)
    for k in range(APART):
        state[k, gone] = state[k, last]
    nearest[gone] = nearest[last]
    _free(last, state, nearest)
    _look_around(kept, last, 0.0, state)
    greatest = state[WEIGHT, kept] if new else -1.0  # nothing is near a removed pseudojet
    for i in range(padded(last)):  # branch-free, like all loops over pseudojets here: the compiler vectorises them
        near, apart, of = state[NEAR, i], state[APART, i], nearest[i]
        nearer = (apart < near) & (state[WEIGHT, i] <= greatest)  # than the previous nearest, so it is the nearest
        of_others = UNKNOWN if (of == kept) | (of == gone) else gone if of == last else of
        state[NEAR, i] = apart if nearer else near
        nearest[i] = kept if nearer else of_others
    if new:
        nearest[kept] = UNKNOWN
    for i in range(last):
        if nearest[i] == UNKNOWN:
            _choose(i, last, reach, state, nearest)
    return kept, gone


@inlined_part
def _look_around(i: int, n: int, least: float, state: Doubles) -> None:
    """Compute ΔR² between a pseudojet and each of the first n; infinite for those of less than the least weight."""
    of_y, of_phi = state[Y, i], state[PHI, i]
    for j in range(padded(n)):
        d_y, turned = state[Y, j] - of_y, abs(state[PHI, j] - of_phi)
        turned = min(turned, TURN - turned)
        apart = d_y * d_y + turned * turned
        state[APART, j] = apart if state[WEIGHT, j] >= least else np.inf


@inlined_part
def _choose(i: int, n: int, reach: float, state: Doubles, nearest: Ints) -> None:
    """Find the nearest neighbour of a pseudojet among the first n."""
    _look_around(i, n, state[WEIGHT, i], state)
    state[APART, i] = np.inf
    which = _least(n, state)
    found = state[APART, which] < reach
    state[NEAR, i] = state[APART, which] if found else reach
    nearest[i] = which if found else NONE


@inlined_part
def _least(n: int, state: Doubles) -> int:
    """Return for which of the first n pseudojets the number in the row `APART` is least; of equal ones the first.

    The bits of numbers that are not negative are in the order of the numbers. The compiler vectorises a search among
    integers, but not among numbers that could be NaN.
    """
    least = np.float64(state[APART, 0]).view(np.int64)
    for j in range(padded(n)):
        least = min(least, np.float64(state[APART, j]).view(np.int64))
    which = n
    for j in range(padded(n)):
        which = min(which, j if np.float64(state[APART, j]).view(np.int64) == least else n)
    return which


def anti_kt(particles: Doubles, counts: Ints, radius: float, pt_min: float) -> tuple[Ints, Ints]:
    """Cluster particles to jets by anti-k_T: M. Cacciari, G. P. Salam and G. Soyez, JHEP 04 (2008) 063.

    Parameters
    ----------
    particles: particles of all events, concatenated: pt [GeV], eta, phi [rad], mass [GeV], (M, 4).
    counts: number of particles in each event, (events,).
    radius: radius parameter of the jets.
    pt_min: least pt [GeV] of a jet.

    Returns
    -------
    Index of the jet of each particle in its event, hardest jet first, or −1, (M,); number of jets in each event,
    (events,).
    """
    jet, n_jets = np.full(len(particles), -1), np.zeros(len(counts), dtype=np.int64)
    _anti_kt(kinematics(particles), counts, radius, pt_min, jet, n_jets)
    return jet, n_jets


@kernel
def _anti_kt(particles: Doubles, counts: Ints, radius: float, pt_min: float, jet: Ints, n_jets: Ints) -> None:
    most = columns_for(counts)
    state, nearest = np.empty((N_ROWS, most)), np.empty(most, np.int64)
    name, group = np.empty(most, np.int64), np.empty(most, np.int64)
    found, squared = np.empty(most, np.int64), np.empty(most)
    reach = radius * radius
    first = 0
    for event in range(len(counts)):
        n = counts[event]
        start(first, n, particles, ANTI_KT, state, nearest)
        for i in range(n):
            name[i] = group[i] = i
        find_neighbours(n, reach, state, nearest)
        m = 0
        for left in range(n, 0, -1):
            one = closest(left, state)
            if nearest[one] < 0 and pt_min * pt_min * state[WEIGHT, one] <= 1.0:
                found[m], squared[m] = name[one], 1.0 / state[WEIGHT, one]
                m += 1
            kept, gone = merge(one, left, ANTI_KT, reach, state, nearest)
            group[name[gone]] = name[kept]
            name[gone] = name[left - 1]
        for k in range(1, m):  # the hardest first
            i = k
            while i > 0 and squared[i - 1] < squared[i]:
                squared[i - 1], squared[i] = squared[i], squared[i - 1]
                found[i - 1], found[i] = found[i], found[i - 1]
                i -= 1
        for i in range(n):
            k = i
            while group[k] != k:
                k = group[k]
            for place in range(m):
                if found[place] == k:
                    jet[first + i] = place
        n_jets[event] = m
        first += n
