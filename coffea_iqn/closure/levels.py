"""Quantile levels of real jets, which are uniform if the emulator's conditional quantiles are right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coffea_iqn.closure.estimates import (
    CELLS,
    Cells,
    Estimate,
    OfCells,
    density_deviation,
    estimate_of_square,
    in_cells,
    square_of_density,
)
from coffea_iqn.numerics.arrays import Floats

BINS, BINS_IN_CELLS = 50, 20


def uniformity(levels: Floats, *, bins: int = BINS) -> Floats:
    """Return χ²/ndf of each column of levels (N, n) against a flat distribution on (0, 1), (n,).

    For the levels of real jets (`Emulator.cdf`) it is near 1 if the emulator's conditional quantiles are right: the
    probability integral transform (figure 3 of Kronheim et al. 2024).
    """
    expected = len(levels) / bins
    counts = np.stack([np.histogram(column, bins, (0.0, 1.0))[0] for column in levels.T])
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=1) / (bins - 1))


def nonuniformity(levels: Floats) -> list[Estimate]:
    """Return how much the density of each column of levels (N, n) differs from 1; see `estimates.density_deviation`."""
    ndf = BINS - 1
    return [density_deviation(value * ndf, ndf, len(levels)) for value in uniformity(levels)]


def uniformity_in_cells(levels: Floats, gen: Floats, *, cells: Cells = CELLS, min_jets: int = 1000) -> OfCells:
    """Return the `uniformity` of levels (N, n) in cells of gen pt and |eta|, (P, E, n)."""
    return in_cells(lambda inside: uniformity(levels[inside], bins=BINS_IN_CELLS), gen, cells, min_jets)


def nonuniformity_in_cells(found: OfCells) -> list[Estimate]:
    """Return how much densities of levels differ from 1, as root mean square over the cells, for each variable."""
    counted, ndf = found.counted, BINS_IN_CELLS - 1
    n = found.n_jets[counted][:, None].astype(np.float64)
    squares, variances = square_of_density(found.values[counted] * ndf, ndf, n)
    errors = np.sqrt(variances.sum(axis=0)) / len(n)
    return [estimate_of_square(float(s), float(e)) for s, e in zip(squares.mean(axis=0), errors, strict=True)]


def levels_among_draws(real: Floats, draw: Callable[[], Floats], *, draws: int, seed: int = 0) -> Floats:
    """Return the rank of each real value among independent draws, as levels in (0, 1), of the same shape as `real`.

    Parameters
    ----------
    real: real values, (N, n).
    draw: function that returns new draws of the same shape on each call.
    draws: number of draws.
    seed: seed of the random position within a rank and among ties, which makes levels exactly uniform if `real` is
        one more draw.

    Columns are ranked separately, conditioned on the gen jet only. Applies to emulators without a cdf too.
    """
    below, ties = np.zeros(real.shape), np.zeros(real.shape)
    for _ in range(draws):
        drawn = draw()
        below += drawn < real
        ties += drawn == real
    within = np.random.default_rng(seed).uniform(size=real.shape)
    return np.asarray((below + within * (1.0 + ties)) / (draws + 1.0))
