"""Observables of jets and events for the histograms, computed in one compiled loop over events.

The input are flat arrays, as in a `JetTable`, which need not be sorted. Events do not influence each other.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, MASS, PHI, PT
from coffea_iqn.numerics.arrays import Doubles, Ints, Singles
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import exp, sine_and_cosine, wrapped

BELOW_PI = float(np.nextafter(np.pi, 0.0))  # back-to-back jets belong to the last bin, which ends before π


class Observables(NamedTuple):
    """Observables of the selected jets and of their events.

    Attributes
    ----------
    jets: pt [GeV], eta, phi [rad] and mass [GeV] of the selected jets, (4, N) float32.
    event: index of the event of each jet, (N,).
    n_jets: number of selected jets above each pt threshold, (thresholds, events).
    some: indices of the events with at least one selected jet, (S,).
    ht, leading_pt, leading_phi: sum of pt [GeV], pt and phi [rad] of the hardest jet in these events, (S,).
    two: indices of the events with at least two selected jets, (T,).
    second_pt, dijet_mass, dijet_deta, dijet_dphi: observables [GeV, rad] of the two hardest jets in these events, (T,).
    """

    jets: Singles
    event: Ints
    n_jets: Ints
    some: Ints
    ht: Doubles
    leading_pt: Doubles
    leading_phi: Doubles
    two: Ints
    second_pt: Doubles
    dijet_mass: Doubles
    dijet_deta: Doubles
    dijet_dphi: Doubles


def observables(
    values: Singles, counts: Ints, *, pt_min: float, eta_max: float, thresholds: list[float]
) -> Observables:
    """Return the observables of all events.

    Parameters
    ----------
    values: pt [GeV], eta, phi [rad] and mass [GeV] of jets, in any order within an event, (N, 4).
    counts: number of jets in each event, (events,).
    pt_min, eta_max: jets with a greater pt [GeV] and a smaller |eta| are selected.
    thresholds: pt thresholds [GeV] for `n_jets`.

    >>> jets = np.array([[30, 0, 0, 1], [50, 0, 3, 1], [9, 0, 1, 1]], dtype=np.float32)
    >>> of = observables(jets, np.array([2, 1]), pt_min=20.0, eta_max=5.0, thresholds=[0.0, 40.0])
    >>> of.n_jets.tolist(), of.ht.tolist(), of.leading_pt.tolist(), of.second_pt.tolist()
    ([[2, 0], [1, 0]], [80.0], [50.0], [30.0])
    """
    # cuts in the precision of the jets, so that a jet of pt 20.1 is not above 20.1 because of rounding
    cuts = np.array([pt_min, eta_max, *thresholds], dtype=np.float32)
    *up_to_two, hardest = _observables(values, counts, cuts[0], cuts[1], cuts[2:])
    return Observables(*up_to_two, *_dijets(values, hardest))


@kernel
def _observables(
    values: Singles,
    counts: Ints,
    pt_min: np.float32,
    eta_max: np.float32,
    thresholds: Singles,
) -> tuple[Any, ...]:
    """Return the observables up to `two`, and the indices of the two hardest jets in the events `two`, (T, 2)."""
    n_events = len(counts)
    jets, event = np.empty((4, len(values)), dtype=np.float32), np.empty(len(values), dtype=np.int64)
    n_jets = np.zeros((len(thresholds), n_events), dtype=np.int32)
    some, of_some = np.empty_like(counts), np.empty((3, n_events))
    two, hardest = np.empty_like(counts), np.empty((n_events, 2), dtype=np.int64)
    n = n_some = n_two = end = 0
    for e in range(n_events):
        start, end = end, end + counts[e]
        first = n
        leading = second = -1
        sum_pt = 0.0
        for i in range(start, end):
            pt = values[i, PT]
            if not (pt > pt_min and abs(values[i, ETA]) < eta_max):
                continue
            for k in range(4):
                jets[k, n] = values[i, k]
            event[n] = e
            n += 1
            sum_pt += pt
            for k in range(len(thresholds)):
                n_jets[k, e] += pt > thresholds[k]
            # among jets of equal pt, the first one leads
            if leading < 0 or pt > values[leading, PT]:
                leading, second = i, leading
            elif second < 0 or pt > values[second, PT]:
                second = i
        if n > first:
            some[n_some], of_some[0, n_some] = e, sum_pt
            of_some[1, n_some], of_some[2, n_some] = values[leading, PT], values[leading, PHI]
            n_some += 1
        if n > first + 1:
            two[n_two], hardest[n_two, 0], hardest[n_two, 1] = e, leading, second
            n_two += 1
    ht, leading_pt, leading_phi = of_some[0, :n_some], of_some[1, :n_some], of_some[2, :n_some]
    jets, two = jets[:, :n], two[:n_two]
    return jets, event[:n], n_jets, some[:n_some], ht, leading_pt, leading_phi, two, hardest[:n_two]


@kernel
def separations(phi: Doubles, other: Doubles) -> Doubles:
    """Return |Δφ| [rad] of pairs of directions, (N,)."""
    out = np.empty(len(phi))
    for i in range(len(phi)):
        d_phi = phi[i] - other[i]
        out[i] = min(abs(wrapped(d_phi)), BELOW_PI)
    return out


def pair_masses(values: Singles, pairs: Ints) -> Doubles:
    """Return the masses [GeV] of pairs (P, 2) of rows of objects (N, 4), (P,)."""
    return np.asarray(_dijets(values, pairs)[1])


@kernel
def _dijets(values: Singles, pairs: Ints) -> Doubles:
    """Return second pt, dijet mass [GeV], |Δη| and |Δφ| of pairs of jets, (4, T), from their indices (T, 2)."""
    of_pairs = np.empty((4, len(pairs)))
    for i in range(len(pairs)):
        a, b = values[pairs[i, 0]], values[pairs[i, 1]]
        d_phi = float(a[PHI]) - float(b[PHI])
        d_phi = abs(wrapped(d_phi))
        pz_a, energy_a = _pz_and_energy(a)
        pz_b, energy_b = _pz_and_energy(b)
        dot = energy_a * energy_b - pz_a * pz_b - float(a[PT]) * float(b[PT]) * sine_and_cosine(d_phi)[1]
        mass2 = _squared(a[MASS]) + _squared(b[MASS]) + 2.0 * dot
        of_pairs[0, i] = b[PT]
        of_pairs[1, i] = 0.0 if mass2 < 0.0 else math.sqrt(mass2)
        of_pairs[2, i] = abs(a[ETA] - b[ETA])
        of_pairs[3, i] = min(d_phi, BELOW_PI)
    return of_pairs


@part
def _pz_and_energy(jet: Singles) -> tuple[float, float]:
    pt, growth = float(jet[PT]), exp(float(jet[ETA]))
    pz = pt * 0.5 * (growth - 1.0 / growth)
    energy2 = pt * pt + pz * pz + _squared(jet[MASS])
    return pz, 0.0 if energy2 < 0.0 else math.sqrt(energy2)


@part
def _squared(mass: np.float32) -> float:
    """Return the square of a mass, with the sign of the mass: rounding makes some masses slightly negative."""
    return float(mass) * abs(float(mass))
