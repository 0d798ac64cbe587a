"""Particles put together, nearest ones first: the sequences of k_T, of Cambridge/Aachen and of anti-k_T."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import TURN, arctan2, exp, log, sine_and_cosine

MOST_ETA = 20.0


@part
def start(particle: Doubles, momentum: Doubles, place: Doubles) -> None:
    """The four-momentum of a particle (pt, eta, phi, mass), and what `see` says of it."""
    pt, eta = particle[0], min(max(particle[1], -MOST_ETA), MOST_ETA)
    sine, cosine = sine_and_cosine(particle[2])
    grown = exp(eta)
    pz = 0.5 * pt * (grown - 1.0 / grown)
    momentum[0], momentum[1], momentum[2] = pt * cosine, pt * sine, pz
    momentum[3] = math.sqrt(pt * pt + pz * pz + particle[3] * particle[3])
    see(momentum, place)


@part
def see(momentum: Doubles, place: Doubles) -> None:
    """Pt², rapidity and phi of a momentum."""
    px, py, pz, energy = momentum[0], momentum[1], momentum[2], momentum[3]
    place[0] = px * px + py * py
    forward = energy + abs(pz)
    rapidity = log(forward / math.sqrt(max(forward * (energy - abs(pz)), 1e-12 * forward * forward)))
    place[1] = rapidity if pz > 0.0 else -rapidity
    place[2] = arctan2(py, px)


@part
def _distance(i: int, j: int, place: Doubles, kt: bool) -> float:
    """Between two pseudojets: min(pt²) ΔR² in the measure of k_T, else ΔR², that of Cambridge/Aachen."""
    d_y, d_phi = place[i, 1] - place[j, 1], abs(place[i, 2] - place[j, 2])
    d_phi = min(d_phi, TURN - d_phi)
    squared = d_y * d_y + d_phi * d_phi
    return float(min(place[i, 0], place[j, 0]) * squared if kt else squared)


@part
def find_nearest(i: int, left: int, place: Doubles, near: Doubles, nearest: Ints, kt: bool) -> None:
    """The pseudojet that is nearest to one by `_distance`."""
    near[i], nearest[i] = np.inf, -1
    for j in range(left):
        if j != i:
            distance = _distance(i, j, place, kt)
            if distance < near[i]:
                near[i], nearest[i] = distance, j


@part
def closest(left: int, near: Doubles) -> int:
    """Which of the first `left` pseudojets is nearest to its nearest."""
    one = 0
    for i in range(1, left):
        if near[i] < near[one]:
            one = i
    return one


@part
def merge(
    one: int, left: int, momenta: Doubles, place: Doubles, near: Doubles, nearest: Ints, kt: bool
) -> tuple[int, int]:
    """Put one of the first `left` pseudojets and its nearest together, the last into the place that becomes free.

    Returns the place of both, and the one that the last one came into.
    """
    other = nearest[one]
    one, other = min(one, other), max(one, other)
    last = left - 1
    for k in range(4):
        momenta[one, k] += momenta[other, k]
    see(momenta[one], place[one])
    for k in range(4):
        momenta[other, k] = momenta[last, k]
    for k in range(3):
        place[other, k] = place[last, k]
    near[other], nearest[other] = near[last], nearest[last]
    for i in range(last):
        if i == one or nearest[i] == one or nearest[i] == other or nearest[i] == last:
            find_nearest(i, last, place, near, nearest, kt)
        else:
            distance = _distance(i, one, place, kt)
            if distance < near[i]:
                near[i], nearest[i] = distance, one
    return one, other


def anti_kt(particles: Doubles, counts: Ints, radius: float, pt_min: float) -> tuple[Ints, Ints]:
    """The jet of each particle by anti-k_T: M. Cacciari, G. P. Salam and G. Soyez, JHEP 04 (2008) 063.

    Parameters
    ----------
    particles: of all events in a row: pt [GeV], eta, phi [rad], mass [GeV], (M, 4).
    counts: how many each event has, (events,).
    radius: of the jets.
    pt_min: least pt [GeV] of a jet.

    Returns
    -------
    of each particle the place of its jet in its event, the hardest first, or −1, (M,); and how many jets each event
    has, (events,).
    """
    jet, n_jets = np.full(len(particles), -1), np.zeros(len(counts), dtype=np.int64)
    _anti_kt(np.ascontiguousarray(particles, dtype=np.float64), counts, radius, pt_min, jet, n_jets)
    return jet, n_jets


@part
def _find_all_nearest(n: int, place: Doubles, near: Doubles, nearest: Ints) -> None:
    for i in range(n):
        near[i], nearest[i] = np.inf, -1
    for i in range(n):
        for j in range(i):
            distance = _distance(i, j, place, False)
            if distance < near[i]:
                near[i], nearest[i] = distance, j
            if distance < near[j]:
                near[j], nearest[j] = distance, i


@kernel
def _anti_kt(particles: Doubles, counts: Ints, radius: float, pt_min: float, jet: Ints, n_jets: Ints) -> None:
    most = 1
    for n in counts:
        most = max(most, n)
    momenta, place, near = np.empty((most, 4)), np.empty((most, 3)), np.empty(most)
    nearest, name, group = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    found, squared, inverse = np.empty(most, np.int64), np.empty(most), np.empty(most)
    squared_radius = radius * radius
    first = 0
    for event in range(len(counts)):
        n = counts[event]
        for i in range(n):
            start(particles[first + i], momenta[i], place[i])
            name[i] = group[i] = i
            inverse[i] = 1.0 / place[i, 0]
        _find_all_nearest(n, place, near, nearest)
        left, m = n, 0
        while left > 0:
            # what is nearest in the measure of anti-k_T is nearest in ΔR to the softer of the two
            one, least = 0, np.inf
            for i in range(left):
                measure = squared_radius * inverse[i]
                if near[i] < squared_radius:
                    measure = near[i] * min(inverse[i], inverse[nearest[i]])
                if measure < least:
                    one, least = i, measure
            is_jet = near[one] >= squared_radius
            last = left - 1
            if is_jet:
                if place[one, 0] >= pt_min * pt_min:
                    found[m], squared[m] = name[one], place[one, 0]
                    m += 1
                for k in range(4):
                    momenta[one, k] = momenta[last, k]
                for k in range(3):
                    place[one, k] = place[last, k]
                near[one], nearest[one], name[one] = near[last], nearest[last], name[last]
                inverse[one] = inverse[last]
                for i in range(last):
                    if nearest[i] == one or nearest[i] == last:
                        find_nearest(i, last, place, near, nearest, False)
            else:
                kept, other = merge(one, left, momenta, place, near, nearest, False)
                gone = name[other]
                for i in range(n):
                    if group[i] == gone:
                        group[i] = name[kept]
                name[other], inverse[other] = name[last], inverse[last]
                inverse[kept] = 1.0 / place[kept, 0]
            left -= 1
        for k in range(1, m):  # the hardest first
            i = k
            while i > 0 and squared[i - 1] < squared[i]:
                squared[i - 1], squared[i] = squared[i], squared[i - 1]
                found[i - 1], found[i] = found[i], found[i - 1]
                i -= 1
        for k in range(m):
            for i in range(n):
                if group[i] == found[k]:
                    jet[first + i] = k
        n_jets[event] = m
        first += n
