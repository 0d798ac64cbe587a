"""Jet observables computed from constituents, used to compare emulated with true jets."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.jets.constituents import Constituents, find_tau
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.pseudojets import (
    CAMBRIDGE,
    ENERGY,
    KT,
    N_ROWS,
    PHI,
    WEIGHT,
    Y,
    closest,
    columns_for,
    find_neighbours,
    kinematics,
    merge,
    see,
    start,
)
from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import log, wrapped

RINGS = 4  # number of rings of momentum flow
Z_CUT = 0.1  # soft-drop threshold, with β = 0
NAMES = (
    *VARIABLES,
    "multiplicity",
    "pTD",
    "width",
    "C2",
    "D2",
    "soft-drop mass",
    "z_g",
    *(f"flow {ring + 1}" for ring in range(RINGS)),
    "tau1",
    "tau2",
    "tau3",
    "tau21",
    "tau32",
)
TAU = NAMES.index("tau1")


def shapes(constituents: Constituents, radius: float, *, triplets: bool = True) -> Doubles:
    """Return the observables `NAMES` of each jet, (N, 20); 0 if the jet has too few particles for an observable.

    pt, eta, phi, mass: of the sum of the particles [GeV, rad].
    multiplicity: number of particles. With z = pt / Σ pt of each particle:
    pTD: √Σ z². width: Σ z ΔR to the jet axis.
    C2, D2: e3 / e2² and e3 / e2³, where e2 = Σ z z ΔR over pairs, and e3 = Σ z z z ΔR ΔR ΔR over triplets (β = 1):
    A. Larkoski, G. Salam and J. Thaler, JHEP 06 (2013) 108; A. Larkoski, I. Moult and D. Neill, JHEP 12 (2014) 009.
    soft-drop mass, z_g: the Cambridge/Aachen clustering is undone, dropping the softer branch, until it carries more
    than a tenth of the summed pt of the two: A. Larkoski, S. Marzani, G. Soyez and J. Thaler, JHEP 05 (2014) 146,
    β = 0. z_g is the fraction of the softer branch.
    flow 1 to 4: Σ pt over the jet's pt, of particles in four rings of equal width from the jet axis to its radius:
    M. Touranakou et al., Mach. Learn.: Sci. Technol. 3 (2022) 035003.
    tau1, tau2, tau3, and the ratios tau21 = tau2 / tau1 and tau32 = tau3 / tau2: `constituents.subjettiness`.

    ΔR is computed from rapidity and φ.

    Parameters
    ----------
    constituents: particles of the jets.
    radius: radius parameter of the jets.
    triplets: whether to sum over triplets of particles, which is the slowest part; otherwise C2 and D2 are NaN.

    Raises
    ------
    ValueError: when a particle has a pt of 0 or below, or values that are not finite.
    """
    values = np.ascontiguousarray(constituents.values, dtype=np.float64)
    bad = ~(np.isfinite(values).all(axis=1) & (values[:, 0] > 0.0))
    if bad.any():
        msg = f"shapes: expected particles with pt > 0 and finite numbers, got {values[np.argmax(bad)].tolist()}"
        raise ValueError(msg)
    out = np.zeros((len(constituents.counts), len(NAMES)))
    _shapes(values, kinematics(values), constituents.counts, float(radius), triplets, out)
    if not triplets:
        out[:, [NAMES.index("C2"), NAMES.index("D2")]] = np.nan
    tau = out[:, TAU : TAU + 3]
    np.divide(tau[:, 1:], tau[:, :-1], out=out[:, TAU + 3 :], where=tau[:, :-1] > 0.0)
    return out


def four_momenta(constituents: Constituents) -> Doubles:
    """Return pt, eta, phi and mass of the sum of the particles of each jet, (N, 4); 0 for jets without particles."""
    out = np.zeros((len(constituents.counts), 4))
    _sums(kinematics(constituents.values, ENERGY + 1), constituents.counts, out)
    return out


@kernel
def _sums(of: Doubles, counts: Ints, out: Doubles) -> None:
    state, first = np.empty((N_ROWS, 1)), 0
    for jet in range(len(counts)):
        if counts[jet] > 0:
            _four_momentum(of[:, first : first + counts[jet]], 0, state, out[jet])
        first += counts[jet]


@kernel
def _shapes(values: Doubles, of: Doubles, counts: Ints, radius: float, triplets: bool, out: Doubles) -> None:
    most = columns_for(counts)
    place, nearest = np.empty((N_ROWS, most + 1)), np.empty(most, dtype=np.int64)  # the last column is the jet
    state, near = np.empty((N_ROWS, most)), np.empty(most, dtype=np.int64)
    momenta, sides, row = np.empty((2 * most, 4)), np.empty((2 * most, 2), np.int64), np.empty(most, dtype=np.int64)
    share, distance = np.empty(most), np.empty((most, most))
    columns, which = np.empty((6, most)), np.empty(most, dtype=np.int64)
    first = 0
    for jet in range(len(counts)):
        n = counts[jet]
        particles = values[first : first + n]
        if n > 0:
            start(first, n, of, KT, place, nearest)
            find_neighbours(n, np.inf, place, nearest)
            _four_momentum(of[:, first : first + n], most, place, out[jet])
            _profile(particles, place, most, radius, share, out[jet])
            if triplets:
                _correlations(n, place, share, distance, out[jet])
            state[:, :], near[:] = place[:, :most], nearest
            find_tau(particles, radius, state, near, columns, which, out[jet, TAU : TAU + 3])
            state[:, :], near[:] = place[:, :most], nearest
            _cluster(n, state, near, row, momenta, sides)
            _soft_drop(n, momenta, sides, out[jet])
        first += n


@part
def _four_momentum(of: Doubles, at: int, state: Doubles, out: Doubles) -> None:
    """Write pt, eta, phi and mass of the sum of particles with these `kinematics`; store it in a column of a state."""
    total = np.empty(4)
    for k in range(4):
        total[k] = 0.0
        for i in range(of.shape[1]):
            total[k] += of[k, i]
        state[k, at] = total[k]
    see(at, state)
    pt, pz = _pt(total), total[2]
    eta = log((math.sqrt(pt * pt + pz * pz) + abs(pz)) / pt)
    out[0], out[1], out[2] = pt, eta if pz > 0.0 else -eta, state[PHI, at]
    out[3] = _mass(total)


@part
def _pt(momentum: Doubles) -> float:
    return math.sqrt(momentum[0] * momentum[0] + momentum[1] * momentum[1])


@part
def _mass(momentum: Doubles) -> float:
    px, py, pz, energy = momentum[0], momentum[1], momentum[2], momentum[3]
    return math.sqrt(max(energy * energy - px * px - py * py - pz * pz, 0.0))


@part
def _distance(place: Doubles, a: int, b: int) -> float:
    """Return ΔR between two columns of a state."""
    d_y, d_phi = place[Y, a] - place[Y, b], wrapped(place[PHI, a] - place[PHI, b])
    return math.sqrt(d_y * d_y + d_phi * d_phi)


@part
def _profile(particles: Doubles, place: Doubles, axis: int, radius: float, share: Doubles, out: Doubles) -> None:
    """Compute multiplicity, pTD, width and momentum flow, and each particle's share of the summed pt."""
    total = 0.0
    for particle in particles:
        total += particle[0]
    for i in range(len(particles)):
        share[i] = particles[i, 0] / total
        distance = _distance(place, i, axis)
        out[5] += share[i] * share[i]
        out[6] += share[i] * distance
        ring = int(RINGS * distance / radius)
        if ring < RINGS:
            out[11 + ring] += particles[i, 0] / out[0]
    out[4] = len(particles)
    out[5] = math.sqrt(out[5])


@part
def _correlations(n: int, place: Doubles, share: Doubles, distance: Doubles, out: Doubles) -> None:
    """Compute C2 and D2."""
    e2, e3 = 0.0, 0.0
    for i in range(n):
        for j in range(i):
            distance[i, j] = _distance(place, i, j)
            of_pair = share[i] * share[j] * distance[i, j]
            e2 += of_pair
            of_third = 0.0
            for k in range(j):
                of_third += share[k] * distance[i, k] * distance[j, k]
            e3 += of_pair * of_third
    if e2 > 0.0:
        out[7], out[8] = e3 / (e2 * e2), e3 / (e2 * e2 * e2)


@part
def _cluster(n: int, state: Doubles, nearest: Ints, row: Ints, momenta: Doubles, sides: Ints) -> None:
    """Cluster the n particles of a state; write the momenta of all pseudojets, and the parents of each from n on."""
    for i in range(n):
        row[i] = i
        state[WEIGHT, i] = 1.0
        for k in range(4):
            momenta[i, k] = state[k, i]
    for new in range(n, 2 * n - 1):
        left = 2 * n - new
        one, other = merge(closest(left, state), left, CAMBRIDGE, np.inf, state, nearest)
        sides[new, 0], sides[new, 1] = row[one], row[other]
        row[one], row[other] = new, row[left - 1]
        for k in range(4):
            momenta[new, k] = state[k, one]


@part
def _soft_drop(n: int, momenta: Doubles, sides: Ints, out: Doubles) -> None:
    """Compute the soft-drop mass and z_g."""
    at = 2 * n - 2
    while at >= n:
        hard, soft = sides[at, 0], sides[at, 1]
        pt, other = _pt(momenta[hard]), _pt(momenta[soft])
        if other > pt:
            pt, other, hard = other, pt, soft
        if other > Z_CUT * (pt + other):
            out[9], out[10] = _mass(momenta[at]), other / (pt + other)
            break
        at = hard
