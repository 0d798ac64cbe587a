"""Particles put together, nearest ones first: the sequences of k_T and of Cambridge/Aachen."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import part
from coffea_iqn.numerics.double import arctan2, exp, log, sine_and_cosine, wrapped

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
    d_y, d_phi = place[i, 1] - place[j, 1], wrapped(place[i, 2] - place[j, 2])
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
def merge(left: int, momenta: Doubles, place: Doubles, near: Doubles, nearest: Ints, kt: bool) -> tuple[int, int]:
    """Put the two nearest of the first `left` pseudojets together, the last into the place that becomes free.

    Returns the place of both, and the one that the last one came into.
    """
    one = 0
    for i in range(1, left):
        if near[i] < near[one]:
            one = i
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
