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
def find_nearest(i: int, left: int, place: Doubles, near: Doubles, nearest: Ints) -> None:
    """The pseudojet that is nearest to one, and ΔR² to it."""
    near[i], nearest[i] = np.inf, -1
    for j in range(left):
        if j != i:
            squared = _apart(place[i, 1] - place[j, 1], place[i, 2] - place[j, 2])
            if squared < near[i]:
                near[i], nearest[i] = squared, j


@part
def closest(left: int, place: Doubles, near: Doubles, kt: bool) -> int:
    """Which of the first `left` pseudojets is to be put together with its nearest: by ΔR², or min(pt²) ΔR² of k_T.

    The softer of the two that are nearest by the latter has the other one nearest in ΔR: what were nearer yet would be
    nearer by the measure as well (M. Cacciari and G. P. Salam, Phys. Lett. B 641 (2006) 57).
    """
    one, least = 0, np.inf
    for i in range(left):
        distance = near[i] * place[i, 0] if kt else near[i]
        if distance < least:
            one, least = i, distance
    return one


@part
def merge(one: int, left: int, momenta: Doubles, place: Doubles, near: Doubles, nearest: Ints) -> tuple[int, int]:
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
        if i == one or nearest[i] == one or nearest[i] == other:
            find_nearest(i, last, place, near, nearest)
        else:
            if nearest[i] == last:
                nearest[i] = other
            squared = _apart(place[i, 1] - place[one, 1], place[i, 2] - place[one, 2])
            if squared < near[i]:
                near[i], nearest[i] = squared, one
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


@kernel
def _anti_kt(  # noqa: PLR0915 # in one loop, for what it holds are arrays of an event that are made once
    particles: Doubles, counts: Ints, radius: float, pt_min: float, jet: Ints, n_jets: Ints
) -> None:
    most = 1
    for n in counts:
        most = max(most, n)
    momenta, place = np.empty((most, 4)), np.empty(3)
    # of each pseudojet rapidity, phi, 1 / pt²; ΔR² to the nearest, which, and the measure of anti-k_T to it or the beam
    y, phi, inverse = np.empty(most), np.empty(most), np.empty(most)
    near, nearest, measure = np.empty(most), np.empty(most, np.int64), np.empty(most)
    name, group = np.empty(most, np.int64), np.empty(most, np.int64)
    found, squared = np.empty(most, np.int64), np.empty(most)
    reach = radius * radius
    first = 0
    for event in range(len(counts)):
        n = counts[event]
        for i in range(n):
            start(particles[first + i], momenta[i], place)
            inverse[i], y[i], phi[i] = 1.0 / place[0], place[1], place[2]
            name[i] = group[i] = i
            near[i], nearest[i] = reach, -1
            for j in range(i):
                apart = _apart(y[i] - y[j], phi[i] - phi[j])
                if apart < near[i]:
                    near[i], nearest[i] = apart, j
                if apart < near[j]:
                    near[j], nearest[j] = apart, i
        # what is nearest in the measure of anti-k_T is nearest in ΔR to the softer of the two
        for i in range(n):
            measure[i] = near[i] * (inverse[i] if nearest[i] < 0 else min(inverse[i], inverse[nearest[i]]))
        left, m = n, 0
        while left > 0:
            one = 0
            for i in range(1, left):
                if measure[i] < measure[one]:
                    one = i
            last, other = left - 1, nearest[one]
            if other < 0:
                if pt_min * pt_min * inverse[one] <= 1.0:
                    found[m], squared[m] = name[one], 1.0 / inverse[one]
                    m += 1
                gone = kept = one
            else:
                kept, gone = min(one, other), max(one, other)
                for k in range(4):
                    momenta[kept, k] += momenta[gone, k]
                see(momenta[kept], place)
                inverse[kept], y[kept], phi[kept] = 1.0 / place[0], place[1], place[2]
                group[name[gone]] = name[kept]
            for k in range(4):
                momenta[gone, k] = momenta[last, k]
            inverse[gone], y[gone], phi[gone], name[gone] = inverse[last], y[last], phi[last], name[last]
            near[gone], nearest[gone], measure[gone] = near[last], nearest[last], measure[last]
            left = last
            for i in range(left):
                if nearest[i] in (kept, gone) or (i == kept and other >= 0):
                    near[i], nearest[i] = reach, -1
                    for j in range(left):
                        apart = _apart(y[i] - y[j], phi[i] - phi[j])
                        if apart < near[i] and j != i:
                            near[i], nearest[i] = apart, j
                else:
                    if nearest[i] == last:
                        nearest[i] = gone
                    if other < 0:
                        continue
                    apart = _apart(y[i] - y[kept], phi[i] - phi[kept])
                    if apart >= near[i]:
                        continue
                    near[i], nearest[i] = apart, kept
                measure[i] = near[i] * (inverse[i] if nearest[i] < 0 else min(inverse[i], inverse[nearest[i]]))
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
            for place_of in range(m):
                if found[place_of] == k:
                    jet[first + i] = place_of
        n_jets[event] = m
        first += n


@part
def _apart(d_y: float, d_phi: float) -> float:
    """ΔR² of a difference in rapidity and one in phi, of angles from −π to π."""
    turned = abs(d_phi)
    turned = min(turned, TURN - turned)
    return d_y * d_y + turned * turned
