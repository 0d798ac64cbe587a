"""Observables of jets from the particles in them, as those are that emulated and true jets are compared in."""

from __future__ import annotations

import math

import numpy as np

from coffea_iqn.jets.constituents import Constituents, subjettiness
from coffea_iqn.jets.pseudojets import closest, find_nearest, merge, see, start
from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import log, wrapped

RINGS = 4  # of momentum flow
Z_CUT = 0.1  # of soft drop, with β = 0
NAMES = (
    "pt",
    "eta",
    "phi",
    "mass",
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
N_COMPILED = NAMES.index("tau1")


def shapes(constituents: Constituents, radius: float, *, triplets: bool = True) -> Doubles:
    """The `NAMES` of each jet, (N, 20); those that need more particles than a jet has are 0.

    pt, eta, phi, mass: of the sum of the particles [GeV, rad].
    multiplicity: how many they are. With z = pt / Σ pt of the particles:
    pTD: √Σ z². width: Σ z ΔR to the jet.
    C2, D2: e3 / e2² and e3 / e2³, where e2 = Σ z z ΔR over pairs, and e3 = Σ z z z ΔR ΔR ΔR over triplets (β = 1):
    A. Larkoski, G. Salam and J. Thaler, JHEP 06 (2013) 108; A. Larkoski, I. Moult and D. Neill, JHEP 12 (2014) 009.
    soft-drop mass, z_g: the particles put together by Cambridge/Aachen are taken apart again, and the softer side
    dropped, until both have more than a tenth of the sum of their pt: A. Larkoski, S. Marzani, G. Soyez and J. Thaler,
    JHEP 05 (2014) 146, β = 0. z_g is what the softer has of it.
    flow 1 to 4: Σ pt over the pt of the jet, of particles in four rings of equal width around the jet, to its radius:
    M. Touranakou et al., Mach. Learn.: Sci. Technol. 3 (2022) 035003.
    tau1, tau2, tau3, and tau21 and tau32, the second over the first of both: `constituents.subjettiness`.

    ΔR is taken in rapidity and φ.

    Parameters
    ----------
    constituents: of the jets.
    radius: of the jets.
    triplets: whether to look at triplets of particles, which take longest; without, C2 and D2 are NaN.

    Raises
    ------
    ValueError: when a particle has no pt, or what is no number.
    """
    values = np.ascontiguousarray(constituents.values, dtype=np.float64)
    bad = ~(np.isfinite(values).all(axis=1) & (values[:, 0] > 0.0))
    if bad.any():
        msg = f"shapes: expected particles with pt > 0 and finite numbers, got {values[np.argmax(bad)].tolist()}"
        raise ValueError(msg)
    out = np.zeros((len(constituents.counts), len(NAMES)))
    _shapes(values, constituents.counts, float(radius), triplets, out)
    if not triplets:
        out[:, [NAMES.index("C2"), NAMES.index("D2")]] = np.nan
    tau = subjettiness(constituents, np.where(out[:, 0] > 0.0, out[:, 0], 1.0), radius)
    out[:, N_COMPILED : N_COMPILED + 3] = tau
    np.divide(tau[:, 1:], tau[:, :-1], out=out[:, N_COMPILED + 3 :], where=tau[:, :-1] > 0.0)
    return out


def four_momenta(constituents: Constituents) -> Doubles:
    """Pt, eta, phi and mass of the sum of the particles of each jet, (N, 4); of none 0."""
    out = np.zeros((len(constituents.counts), 4))
    _sums(np.ascontiguousarray(constituents.values, dtype=np.float64), constituents.counts, out)
    return out


@kernel
def _sums(values: Doubles, counts: Ints, out: Doubles) -> None:
    momenta, place, axis = np.empty((max(counts.max(), 1) if len(counts) else 1, 4)), np.empty(3), np.empty(3)
    first = 0
    for jet in range(len(counts)):
        n = counts[jet]
        for i in range(n):
            start(values[first + i], momenta[i], place)
        first += n
        if n > 0:
            _four_momentum(momenta[:n], axis, out[jet])


@kernel
def _shapes(values: Doubles, counts: Ints, radius: float, triplets: bool, out: Doubles) -> None:
    most = 1
    for n in counts:
        most = max(most, n)
    momenta, place, distance = np.empty((2 * most, 4)), np.empty((most, 3)), np.empty((most, most))
    sides, share, axis = np.empty((2 * most, 2), dtype=np.int64), np.empty(most), np.empty(3)
    first = 0
    for jet in range(len(counts)):
        n = counts[jet]
        particles = values[first : first + n]
        first += n
        if n > 0:
            for i in range(n):
                start(particles[i], momenta[i], place[i])
            _four_momentum(momenta[:n], axis, out[jet])
            _profile(particles, place, axis, radius, share, out[jet])
            if triplets:
                _correlations(n, place, share, distance, out[jet])
            _cluster(n, momenta, place, sides)
            _soft_drop(n, momenta, sides, out[jet])


@part
def _four_momentum(momenta: Doubles, axis: Doubles, out: Doubles) -> None:
    """Pt, eta, phi and mass of a sum, and what `see` says of it."""
    total = np.zeros(4)
    for momentum in momenta:
        total += momentum
    see(total, axis)
    pt, pz = _pt(total), total[2]
    eta = log((math.sqrt(pt * pt + pz * pz) + abs(pz)) / pt)
    out[0], out[1], out[2] = pt, eta if pz > 0.0 else -eta, axis[2]
    out[3] = _mass(total)


@part
def _pt(momentum: Doubles) -> float:
    return math.sqrt(momentum[0] * momentum[0] + momentum[1] * momentum[1])


@part
def _mass(momentum: Doubles) -> float:
    px, py, pz, energy = momentum[0], momentum[1], momentum[2], momentum[3]
    return math.sqrt(max(energy * energy - px * px - py * py - pz * pz, 0.0))


@part
def _distance(a: Doubles, b: Doubles) -> float:
    """ΔR of two places."""
    d_y, d_phi = a[1] - b[1], wrapped(a[2] - b[2])
    return math.sqrt(d_y * d_y + d_phi * d_phi)


@part
def _profile(particles: Doubles, place: Doubles, axis: Doubles, radius: float, share: Doubles, out: Doubles) -> None:
    """From the multiplicity to the width, momentum flow, and what each particle has of the sum of pt."""
    total = 0.0
    for particle in particles:
        total += particle[0]
    for i in range(len(particles)):
        share[i] = particles[i, 0] / total
        distance = _distance(place[i], axis)
        out[5] += share[i] * share[i]
        out[6] += share[i] * distance
        ring = int(RINGS * distance / radius)
        if ring < RINGS:
            out[11 + ring] += particles[i, 0] / out[0]
    out[4] = len(particles)
    out[5] = math.sqrt(out[5])


@part
def _correlations(n: int, place: Doubles, share: Doubles, distance: Doubles, out: Doubles) -> None:
    """C2 and D2."""
    e2, e3 = 0.0, 0.0
    for i in range(n):
        for j in range(i):
            distance[i, j] = _distance(place[i], place[j])
            of_pair = share[i] * share[j] * distance[i, j]
            e2 += of_pair
            of_third = 0.0
            for k in range(j):
                of_third += share[k] * distance[i, k] * distance[j, k]
            e3 += of_pair * of_third
    if e2 > 0.0:
        out[7], out[8] = e3 / (e2 * e2), e3 / (e2 * e2 * e2)


@part
def _cluster(n: int, momenta: Doubles, place: Doubles, sides: Ints) -> None:
    """Put all n particles together: from n on, momenta of pseudojets, and of which two each was made."""
    near, nearest, row = np.empty(n), np.empty(n, dtype=np.int64), np.arange(n)
    pseudojets = momenta[:n].copy()
    for i in range(n):
        find_nearest(i, n, place, near, nearest)
    for new in range(n, 2 * n - 1):
        left = 2 * n - new
        one, other = merge(closest(left, place, near, False), left, pseudojets, place, near, nearest)
        sides[new, 0], sides[new, 1] = row[one], row[other]
        row[one], row[other] = new, row[left - 1]
        momenta[new] = pseudojets[one]


@part
def _soft_drop(n: int, momenta: Doubles, sides: Ints, out: Doubles) -> None:
    """Its mass and z_g."""
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
