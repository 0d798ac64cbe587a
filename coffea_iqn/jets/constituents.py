"""Jet observables from constituents: numbers of charged and neutral particles, charged fraction, N-subjettiness."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.jets.features import MASS, PT
from coffea_iqn.jets.pseudojets import (
    KT,
    MOST_ETA,
    N_ROWS,
    PHI,
    Y,
    closest,
    columns_for,
    find_neighbours,
    kinematics,
    merge,
    start,
)
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.numerics.compiling import kernel, part
from coffea_iqn.numerics.double import wrapped

CHARGED_LEPTONS = (11, 13, 15, 17)
W, CHARGED_HIGGS = 24, 37
NUCLEI = 10**9  # PDG codes above this are nuclei
N_TAU = 3
# bounds on values in files: in Delphes' jets τ1 is at most 0.71, and τ3 at most 1.07 τ2
MOST_TAU, MOST_RATIO, ROUNDED = 2.0, 1.5, 0.01
MOST_OF_MASS, MASS_ERROR = 1.05, 0.1  # angles within jets are not quite small; GeV, rounding of four-momenta
PARTS_OF_TAU = 16384  # N-subjettiness is rounded to steps of 1/16384, as in files
CLOSE, STEPS = 1e-4, 100  # ΔR below which the movement of axes has converged; greatest number of iterations
LEAST_DISTANCE = 1e-6  # least ΔR between axis and particle, to keep the weight finite


class Constituents(NamedTuple):
    """The particles of all jets, concatenated.

    Attributes
    ----------
    values: pt [GeV], eta, phi [rad], mass [GeV], (M, 4).
    code: PDG code of each particle, (M,).
    counts: number of particles in each jet, (N,).
    """

    values: Doubles
    code: Ints
    counts: Ints

    @property
    def jet(self) -> Ints:
        """Index of the jet of each particle, (M,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def massless(self) -> Constituents:
        """The same particles with zero mass, like reconstructed particles in files."""
        return self._replace(values=self.values * np.array([1.0, 1.0, 1.0, 0.0]))

    def rows(self, rows: Ints) -> Constituents:
        """Return the particles of the jets with these indices, in this order."""
        counts = self.counts[rows]
        first = np.cumsum(self.counts) - self.counts
        of = np.repeat(first[rows] - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        return Constituents(self.values[of], self.code[of], counts)


def charge_of(code: npt.NDArray[Any]) -> Ints:
    """Return the charges for PDG codes: of leptons, of hadrons from their quarks, of nuclei from their protons.

    Baryons such as Σ⁻, and the electron, have positive codes; the charge of a meson has the sign of its code.

    >>> charge_of(np.array([211, -321, 2212, 3112, -3112, 11, 1000020040, 111, 130, 2112, 3122, 22, 12])).tolist()
    [1, -1, 1, -1, 1, -1, 2, 0, 0, 0, 0, 0, 0]
    """
    out = np.zeros(len(code), dtype=np.int64)
    _charges(np.ascontiguousarray(code, dtype=np.int64), out)
    return out


@kernel
def _charges(code: Ints, out: Ints) -> None:
    for i in range(len(code)):
        size = abs(code[i])
        first, second, third = (size // 1000) % 10, (size // 100) % 10, (size // 10) % 10
        if size > NUCLEI:
            charge = size // 10_000 % 1000
        elif size in CHARGED_LEPTONS:
            charge = -1
        elif size in (W, CHARGED_HIGGS):
            charge = 1
        elif size <= 100 or second == 0 or third == 0:
            charge = 0
        elif first == 0:  # a meson
            charge = abs(second % 2 - third % 2)
        else:  # 2/3 for each quark, minus 1 for d, s and b, whose codes are odd
            charge = 2 - first % 2 - second % 2 - third % 2
        out[i] = charge if code[i] > 0 else -charge


def composition(constituents: Constituents) -> Doubles:
    """Return the numbers of charged and neutral particles and the charged energy fraction, (N, 3)."""
    values, code, counts = constituents
    jet, charged = constituents.jet, charge_of(code) != 0
    energy = np.sqrt((values[:, 0] * np.cosh(np.clip(values[:, 1], -MOST_ETA, MOST_ETA))) ** 2 + values[:, 3] ** 2)
    n_charged, of_charged, of_all = (
        np.bincount(jet, weights=weights, minlength=len(counts)) for weights in (charged, charged * energy, energy)
    )
    return np.stack([n_charged, counts - n_charged, of_charged / np.where(of_all > 0.0, of_all, 1.0)], axis=1)


def is_composition(columns: Doubles) -> Bools:
    """Return which rows of numbers of charged and neutral particles and charged fraction, (N, 3), are valid, (N,).

    The fraction is 0 without charged particles and 1 without neutral ones, and above 0 with a few charged ones.
    """
    charged, neutral, fraction = columns.T
    within = (charged >= 0.0) & (neutral >= 0.0) & (fraction >= -ROUNDED) & (fraction <= 1.0 + ROUNDED)
    too_high = (charged == 0.0) & (fraction > ROUNDED)
    too_low = (charged > 0.0) & (neutral == 0.0) & (fraction < 1.0 - ROUNDED) | (charged > 2.0) & (fraction <= 0.0)
    return np.asarray(within & ~too_high & ~too_low)


def is_subjettiness(tau: Doubles, jets: Floats, radius: float | None) -> Bools:
    """Return which rows of τ1, τ2, τ3, (N, 3), are valid, (N,).

    A further axis may raise τ only slightly, if at all. With β = 1 and normalised to pt × radius, τ1 is at most the
    mass over these: by the Cauchy-Schwarz inequality (Σ pt ΔR)² ≤ Σ pt · Σ pt ΔR², which is the square of the mass.

    jets, radius: the jets, (N, 4), and their radius; None does not compare τ1 with the mass.
    """
    one, two, three = tau.T
    falls = (two <= MOST_RATIO * one + ROUNDED) & (three <= MOST_RATIO * two + ROUNDED)
    possible = (one >= 0.0) & (two >= 0.0) & (three >= 0.0) & (one <= MOST_TAU) & falls
    if radius is not None:
        possible &= one * radius * jets[:, PT] <= MOST_OF_MASS * np.abs(jets[:, MASS]) + MASS_ERROR
    return np.asarray(possible)


def subjettiness(constituents: Constituents, radius: float) -> Doubles:
    """Return N-subjettiness τ1, τ2, τ3 of jets, (N, 3), in steps of 1/16384.

    It is normalised to Σ pt × radius, with the pt of all particles: up to 1 % less than with the pt of the jet. τn is 0
    for jets with at most n particles. β = 1, and ΔR is computed from rapidity and φ; the axes start from
    exclusive k_T and move to the nearest minimum: J. Thaler and K. Van Tilburg, JHEP 03 (2011) 015 and JHEP 02 (2012)
    093, called one-pass k_T axes in FastJet contrib.

    Parameters
    ----------
    constituents: particles of the jets.
    radius: radius parameter of the jets.
    """
    out = np.zeros((len(constituents.counts), N_TAU))
    values = np.ascontiguousarray(constituents.values, dtype=np.float64)
    _subjettiness(values, kinematics(values), constituents.counts, float(radius), out)
    return out


@kernel
def _subjettiness(values: Doubles, of: Doubles, counts: Ints, radius: float, out: Doubles) -> None:
    most = columns_for(counts)
    state, nearest = np.empty((N_ROWS, most)), np.empty(most, dtype=np.int64)
    columns, which = np.empty((6, most)), np.empty(most, dtype=np.int64)
    first = 0
    for jet in range(len(counts)):
        n = counts[jet]
        start(first, n, of, KT, state, nearest)
        find_neighbours(n, np.inf, state, nearest)
        find_tau(values[first : first + n], radius, state, nearest, columns, which, out[jet])
        first += n


@part
def find_tau(
    particles: Doubles, radius: float, state: Doubles, nearest: Ints, columns: Doubles, which: Ints, out: Doubles
) -> None:
    """Write the N-subjettiness of a jet, starting from the initial state of k_T clustering.

    Parameters
    ----------
    particles: particles of the jet, (n, 4).
    radius: radius parameter of the jet.
    state, nearest: initial state of the k_T clustering of the particles, see `pseudojets`; overwritten.
    columns, which: buffers; for each particle pt, rapidity, phi and ΔR², Δy, Δφ to its nearest axis, (6, n), and
        the index of this axis, (n,).
    out: τ1, τ2, τ3, (3,), overwritten.
    """
    n = len(particles)
    axes, sums = np.empty((N_TAU, 2)), np.empty((N_TAU, 3))
    scale = 0.0
    for i in range(n):
        scale += particles[i, 0] * radius
        # rapidity, as in FastJet: η of soft particles with a mass is farther from the axes
        columns[0, i], columns[1, i], columns[2, i] = particles[i, 0], state[Y, i], particles[i, 2]
    for left in range(n, 0, -1):
        if left <= N_TAU and left < n:
            for k in range(left):
                axes[k, 0], axes[k, 1] = state[Y, k], state[PHI, k]
            tau = _tau(n, columns, which, axes[:left], sums) / scale
            out[left - 1] = np.rint(tau * PARTS_OF_TAU) / PARTS_OF_TAU
        if left > 1:
            merge(closest(left, state), left, KT, np.inf, state, nearest)


@part
def _tau(n: int, columns: Doubles, which: Ints, axes: Doubles, sums: Doubles) -> float:
    """Return the minimum of Σ pt ΔR to the nearest axis [GeV], starting from axes (n axes, 2), which are updated."""
    pt, squared, d_eta, d_phi = columns[0], columns[3], columns[4], columns[5]
    for _ in range(STEPS):
        _find_axes(n, columns, which, axes)
        for k in range(len(axes)):
            sums[k, 0] = sums[k, 1] = sums[k, 2] = 0.0
        for i in range(n):
            squared[i] = pt[i] / max(math.sqrt(squared[i]), LEAST_DISTANCE)
            d_eta[i] *= squared[i]
            d_phi[i] *= squared[i]
        for i in range(n):
            k = which[i]
            sums[k, 0] += squared[i]
            sums[k, 1] += d_eta[i]
            sums[k, 2] += d_phi[i]
        moved = 0.0
        for k in range(len(axes)):
            if sums[k, 0] > 0.0:
                d_y, turned = sums[k, 1] / sums[k, 0], sums[k, 2] / sums[k, 0]
                axes[k, 0] += d_y
                axes[k, 1] = wrapped(axes[k, 1] + turned)
                moved = max(moved, d_y * d_y + turned * turned)
        if moved < CLOSE * CLOSE:
            break
    _find_axes(n, columns, which, axes)
    total = 0.0
    for i in range(n):
        total += pt[i] * math.sqrt(squared[i])
    return total


@part
def _find_axes(n: int, columns: Doubles, which: Ints, axes: Doubles) -> None:
    """Find the nearest axis of each particle, with branch-free loops over columns, which the compiler vectorises."""
    eta, phi, squared, d_eta, d_phi = columns[1], columns[2], columns[3], columns[4], columns[5]
    for k in range(len(axes)):
        of_eta, of_phi = axes[k, 0], axes[k, 1]
        for i in range(n):
            a, b = eta[i] - of_eta, wrapped(phi[i] - of_phi)
            distance = a * a + b * b
            nearer = k == 0 or distance < squared[i]
            squared[i] = distance if nearer else squared[i]
            d_eta[i] = a if nearer else d_eta[i]
            d_phi[i] = b if nearer else d_phi[i]
            which[i] = k if nearer else which[i]
