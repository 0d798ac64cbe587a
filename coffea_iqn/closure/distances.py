"""Distances between the distributions of emulated and real jets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from coffea_iqn.closure.estimates import CELLS, Cells, Estimate, OfCells, check_enough, in_cells
from coffea_iqn.closure.response import MIN_IN_CELL, median_and_width
from coffea_iqn.numerics.arrays import Bools, Floats

SIZES = 10  # sample sizes from which the Fréchet distance is extrapolated
KERNEL_BATCH = 5000


class KSTest(NamedTuple):
    """Kolmogorov-Smirnov distances between random halves, (repeats,): real against real (the null) and emulated."""

    real_real: Floats
    real_emulated: Floats

    @property
    def excess(self) -> Estimate:
        """Mean distance of emulated from real jets, minus the mean distance between real jets."""
        difference = float(self.real_emulated.mean() - self.real_real.mean())
        return Estimate(max(difference, 0.0), float(self.real_real.std()))


def ks_test(emulated: Floats, real: Floats, *, repeats: int = 200, seed: int = 0) -> KSTest:
    """The test of Kronheim et al. (2024), figure 5: repeated comparison of random halves of a variable.

    Parameters
    ----------
    emulated, real: values (N,), with the same gen jet in each row.
    repeats: number of random divisions. One half of the real jets is compared with the other half, and with the
        emulated jets of the other half, so that no gen jet is on both sides.
    seed: seed of the divisions.

    Raises
    ------
    TooFewJetsError: for fewer than `estimates.MIN_JETS` jets.
    """
    n = len(real)
    check_enough("KS test", n)
    one, both = _Sorted(real), _Sorted(np.concatenate([real, emulated]))
    generator = np.random.default_rng(seed)
    distances = np.empty((2, repeats))
    sizes = n // 2, n - n // 2
    half = np.repeat([1.0 / sizes[0], -1.0 / sizes[1]], sizes)
    for k in range(repeats):
        steps = generator.permutation(half)
        distances[0, k] = one.greatest_sum(steps)
        distances[1, k] = both.greatest_sum(np.concatenate([np.maximum(steps, 0.0), np.minimum(steps, 0.0)]))
    return KSTest(*distances)


class _Sorted:
    """Values sorted once, for the repeated comparison of distribution functions of their subsets."""

    def __init__(self, values: Floats) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.last = np.append(ordered[1:] != ordered[:-1], True)  # last of tied values

    def greatest_sum(self, steps: Floats) -> float:
        """Return max |F1 − F2|, where each value is a step of F1 (positive) or of F2 (negative)."""
        return float(np.abs(np.cumsum(steps[self.order])[self.last]).max())


def wasserstein_in_cells(
    emulated: Floats,
    real: Floats,
    gen: Floats,
    *,
    cells: Cells = CELLS,
    min_jets: int = MIN_IN_CELL,
    repeats: int = 20,
    seed: int = 0,
) -> OfCells:
    """Wasserstein-1 distances of residuals, in units of their width, in cells of gen pt and |eta|, with their null.

    Parameters
    ----------
    emulated, real: `response.residuals` (N, 4).
    gen: gen jets (N, 4).
    cells, min_jets: the cells, and the least number of jets in each.
    repeats: number of permutations for the null: emulated and real are exchanged at random, jet by jet.
    seed: seed of the null.

    Returns
    -------
    values (P, E, 4 variables, 3): distance, mean and spread of the null, in half central 68 % widths of real jets.
    """
    generator = np.random.default_rng(seed)

    def figure(inside: Bools) -> Floats:
        rows = []
        for drawn, column in zip(emulated[inside].T, real[inside].T, strict=True):
            width = median_and_width(column)[2]
            null = []
            for _ in range(repeats):
                swap = generator.uniform(size=len(column)) < 0.5
                null.append(_wasserstein(np.where(swap, drawn, column), np.where(swap, column, drawn)))
            rows.append(np.array([_wasserstein(drawn, column), np.mean(null), np.std(null)]) / width)
        return np.array(rows)

    return in_cells(figure, gen, cells, min_jets)


def _wasserstein(a: Floats, b: Floats) -> float:
    """Wasserstein-1 distance of two samples of equal size."""
    return float(np.abs(np.sort(a) - np.sort(b)).mean())


def mean_excess(found: OfCells) -> list[Estimate]:
    """Return the Wasserstein distance minus its null, averaged over the cells, for each variable."""
    distance, null, spread = np.moveaxis(found.values[found.counted], -1, 0)
    excess = (distance - null).mean(axis=0)
    errors = np.sqrt((spread**2).sum(axis=0)) / len(distance)
    return [Estimate(max(float(e), 0.0), float(s)) for e, s in zip(excess, errors, strict=True)]


def frechet_distance(emulated: Floats, real: Floats, *, batches: int = 20, seed: int = 0) -> Estimate:
    """The Fréchet physics distance of residuals (N, n), each standardised and with compressed tails.

    The distance between two Gaussians with the means and covariances of the samples, at `SIZES` sample sizes from
    N / 5 up, extrapolated linearly in 1 / size: R. Kansal et al., Phys. Rev. D 107 (2023) 076017, section III C, as
    implemented in JetNet. Zero, within the uncertainty, for samples of the same distribution. The uncertainty is that
    of the fit plus slope / N, which the samples themselves add to the distance.

    Raises
    ------
    TooFewJetsError: for fewer than `estimates.MIN_JETS` jets.
    """
    emulated, real = _standardised(emulated, real)
    generator = np.random.default_rng(seed)
    n = len(real)
    sizes = (1.0 / np.linspace(1.0 / (n / 5.0), 1.0 / (n / 1.25), SIZES)).astype(int)
    means = []
    for size in sizes:
        of_n = [
            _gaussian_distance(*(side[generator.integers(0, n, size)] for side in (emulated, real)))
            for _ in range(batches)
        ]
        means.append(np.mean(of_n))
    (slope, value), covariance = np.polyfit(1.0 / sizes, means, 1, cov=True)
    # batches are drawn from N jets, and share what N jets add by chance
    return Estimate(max(float(value), 0.0), float(np.hypot(np.sqrt(covariance[1, 1]), slope / n)))


def _gaussian_distance(a: Floats, b: Floats) -> float:
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    mean = a.mean(axis=0) - b.mean(axis=0)
    return float(mean @ mean + np.trace(cov_a + cov_b - 2.0 * np.real(root)))


def kernel_distance(emulated: Floats, real: Floats, *, batches: int = 10, seed: int = 0) -> Estimate:
    """The kernel physics distance of residuals (N, n), each standardised and with compressed tails.

    The unbiased squared maximum mean discrepancy with the kernel (x·y / n + 1)⁴, median over batches of random jets:
    section III D of the reference of `frechet_distance`. The uncertainty is that of a mean over the batches, plus
    their common part, since batches share jets.

    Raises
    ------
    TooFewJetsError: for fewer than `estimates.MIN_JETS` jets.
    """
    emulated, real = _standardised(emulated, real)
    generator = np.random.default_rng(seed)
    size = min(KERNEL_BATCH, len(real) // 4)  # larger batches would overlap, which lowers the spread
    found = []
    for _ in range(batches):
        a, b = (side[generator.choice(len(side), size, replace=False)] for side in (emulated, real))
        within = (_kernel(side, side) for side in (a, b))
        same = sum((k.sum() - np.trace(k)) / (size * (size - 1.0)) for k in within)
        found.append(float(same - 2.0 * _kernel(a, b).mean()))
    low, middle, high = np.quantile(found, [0.16, 0.5, 0.84])
    # batches share jets
    return Estimate(max(float(middle), 0.0), float((high - low) / 2.0 * np.sqrt(1.0 / batches + size / len(real))))


def _kernel(a: Floats, b: Floats) -> Floats:
    return np.asarray(((a @ b.T / a.shape[1] + 1.0) ** 2) ** 2)


def _standardised(emulated: Floats, real: Floats) -> tuple[Floats, Floats]:
    """Return arsinh of the residuals in half central 68 % widths of the real ones; far tails would dominate moments."""
    check_enough("distances", len(real))
    median, _, width, _ = np.array([median_and_width(column) for column in real.T]).T
    return np.arcsinh((emulated - median) / width), np.arcsinh((real - median) / width)
