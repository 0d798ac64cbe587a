"""Sequential clustering of particles: k_T, Cambridge/Aachen and anti-k_T."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import TURN, arctan2, exp, log, sine_and_cosine

MOST_ETA = 20.0
KT, CAMBRIDGE, ANTI_KT = 1, 0, -1  # power of pt² that multiplies ΔR²
PX, PY, PZ, ENERGY, Y, PHI, WEIGHT, NEAR, APART, FROM_NEW = range(10)
"""Rows of the clustering state, (10, most), whose first columns are the remaining pseudojets: four-momentum, rapidity
and φ, the power of pt², and ΔR² to the nearest; the last two rows are buffers for ΔR² to all others."""
N_ROWS, N_KINEMATIC = 10, 6


def kinematics(particles: Doubles) -> Doubles:
    """Return four-momentum, rapidity and φ, (6, M), of particles (pt, eta, phi, mass), (M, 4)."""
    out = np.empty((N_KINEMATIC, len(particles)))
    _kinematics(np.ascontiguousarray(particles.T, dtype=np.float64), out)
    return out


@kernel
def _kinematics(of: Doubles, out: Doubles) -> None:
    pt, eta, phi, mass = of[0], of[1], of[2], of[3]
    px, py, pz, energy, y, turned = out[PX], out[PY], out[PZ], out[ENERGY], out[Y], out[PHI]
    for i in range(len(pt)):  # branch-free loops, which the compiler vectorises
        sine, cosine = sine_and_cosine(phi[i])
        grown = exp(min(max(eta[i], -MOST_ETA), MOST_ETA))
        px[i], py[i], pz[i] = pt[i] * cosine, pt[i] * sine, 0.5 * pt[i] * (grown - 1.0 / grown)
    for i in range(len(pt)):
        energy[i] = math.sqrt(pt[i] * pt[i] + pz[i] * pz[i] + mass[i] * mass[i])
        y[i] = _rapidity(pz[i], energy[i])
    for i in range(len(pt)):
        turned[i] = arctan2(py[i], px[i])


@part
def _rapidity(pz: float, energy: float) -> float:
    forward = energy + abs(pz)
    rapidity = log(forward / math.sqrt(max(forward * (energy - abs(pz)), 1e-12 * forward * forward)))
    return rapidity if pz > 0.0 else -rapidity


@part
def start(first: int, n: int, of: Doubles, power: int, state: Doubles) -> None:
    """Initialise a state with n particles, starting at index first of their `kinematics`."""
    for k in range(N_KINEMATIC):
        for i in range(n):
            state[k, i] = of[k, first + i]
    for i in range(n):
        weigh(i, power, state)


@part
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
    """Find the nearest neighbour of each of n pseudojets within a reach in ΔR², −1 if there is none."""
    near, apart = state[NEAR], state[APART]
    for i in range(n):
        near[i], nearest[i] = reach, -1
        _look_around(i, i, state, apart)
        for j in range(i):
            if apart[j] < near[i]:
                near[i], nearest[i] = apart[j], j
            if apart[j] < near[j]:
                near[j], nearest[j] = apart[j], i


@part
def closest(left: int, state: Doubles) -> int:
    """Return which of the first `left` pseudojets to merge with its nearest: the one with the least weight × ΔR².

    For the pair of least distance measure, the pseudojet of smaller weight has the other as its nearest in ΔR, so
    nearest neighbours suffice (M. Cacciari and G. P. Salam, Phys. Lett. B 641 (2006) 57).
    """
    weight, near = state[WEIGHT], state[NEAR]
    one, least = 0, np.inf
    for i in range(left):
        distance = near[i] * weight[i]
        if distance < least:
            one, least = i, distance
    return one


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
    near, from_new = state[NEAR], state[FROM_NEW]
    if new:
        _look_around(kept, last, state, from_new)
    for i in range(last):
        if new and i == kept:
            _choose(i, last, reach, from_new, near, nearest)
        elif new and from_new[i] < near[i]:  # nearer than the previous nearest, so it is the nearest
            near[i], nearest[i] = from_new[i], kept
        elif nearest[i] == kept or nearest[i] == gone:
            _look_around(i, last, state, state[APART])
            _choose(i, last, reach, state[APART], near, nearest)
        elif nearest[i] == last:
            nearest[i] = gone
    return kept, gone


@part
def _look_around(i: int, n: int, state: Doubles, apart: Doubles) -> None:
    """Compute ΔR² between a pseudojet and each of the first n, in a branch-free loop."""
    y, phi = state[Y], state[PHI]
    of_y, of_phi = y[i], phi[i]
    for j in range(n):
        d_y, turned = y[j] - of_y, abs(phi[j] - of_phi)
        turned = min(turned, TURN - turned)
        apart[j] = d_y * d_y + turned * turned


@part
def _choose(i: int, n: int, reach: float, apart: Doubles, near: Doubles, nearest: Ints) -> None:
    """Find the nearest neighbour of a pseudojet among the first n."""
    least, which = reach, -1
    for j in range(n):
        if apart[j] < least and j != i:
            least, which = apart[j], j
    near[i], nearest[i] = least, which


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
    most = 1
    for n in counts:
        most = max(most, n)
    state, nearest = np.empty((N_ROWS, most)), np.empty(most, np.int64)
    name, group = np.empty(most, np.int64), np.empty(most, np.int64)
    found, squared = np.empty(most, np.int64), np.empty(most)
    weight, reach = state[WEIGHT], radius * radius
    first = 0
    for event in range(len(counts)):
        n = counts[event]
        start(first, n, particles, ANTI_KT, state)
        for i in range(n):
            name[i] = group[i] = i
        find_neighbours(n, reach, state, nearest)
        m = 0
        for left in range(n, 0, -1):
            one = closest(left, state)
            if nearest[one] < 0 and pt_min * pt_min * weight[one] <= 1.0:
                found[m], squared[m] = name[one], 1.0 / weight[one]
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
