"""Sizes of deviations after subtraction of statistical fluctuations, and cells of phase space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, PHI, PT
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import expect

MIN_JETS = 1000  # least number of jets for a figure of the whole sample
ETA_EDGES, N_PHI = (-3.0, -2.5, -1.3, 0.0, 1.3, 2.5, 3.0), 8  # of the regions of `around`


class TooFewJetsError(ValueError):
    """Raised when there are too few jets for a figure; the message gives the required and the actual number."""


def check_enough(what: str, n: int, least: int = MIN_JETS) -> None:
    """Raise `TooFewJetsError` if there are fewer jets than the named figure requires.

    >>> check_enough("spectra", 999)
    Traceback (most recent call last):
    coffea_iqn.closure.estimates.TooFewJetsError: spectra: expected 1000 jets, got 999
    """
    expect(n >= least, f"{what}: expected {least} jets, got {n}", TooFewJetsError)


class Estimate(NamedTuple):
    """The size of a deviation, never negative, and its standard uncertainty."""

    value: float
    uncertainty: float


def estimate_of_square(square: float, uncertainty: float) -> Estimate:
    """Return the square root of an estimated square, which is zero for a negative estimate.

    The uncertainty is the larger of one standard deviation upwards and half of two downwards: `value` - 2 `uncertainty`
    is at most the root of `square` - 2 standard deviations, so small samples do not seem to deviate significantly.

    >>> estimate_of_square(0.0009, 0.0007)
    Estimate(value=0.03, uncertainty=0.015)
    >>> estimate_of_square(-0.0009, 0.0004)
    Estimate(value=0.0, uncertainty=0.02)
    """
    square = max(square, 0.0)
    below, value, above = np.sqrt(np.maximum(square + np.array([-2.0, 0.0, 1.0]) * uncertainty, 0.0))
    return Estimate(round(float(value), 12), round(float(max(above - value, (value - below) / 2.0)), 12))


def rms_beyond(deviations: Floats, uncertainties: Floats) -> Estimate:
    """Return the root mean square of deviations, after subtraction of their statistical uncertainties.

    The mean of d² − σ², with weights 1 / σ², is an unbiased estimate of the mean square of the true deviations; its
    uncertainty assumes normally distributed d. NaN entries are ignored.

    Raises
    ------
    TooFewJetsError: when no entry is left.
    """
    there = np.isfinite(deviations) & np.isfinite(uncertainties) & (uncertainties > 0.0)
    expect(there.any(), "deviations: expected a cell with enough jets, got none", TooFewJetsError)
    pulls2 = (deviations[there] / uncertainties[there]) ** 2
    weight = float(np.sum(1.0 / uncertainties[there] ** 2))
    square = float(np.sum(pulls2 - 1.0)) / weight
    variance = (2.0 * len(pulls2) + 4.0 * max(square, 0.0) * weight) / weight**2
    return estimate_of_square(square, float(np.sqrt(variance)))


def density_deviation(chi2: float, ndf: float, n: float) -> Estimate:
    """Return the RMS relative deviation of a binned density, averaged over its entries, beyond statistics.

    Parameters
    ----------
    chi2, ndf, n: same as in `square_of_density`.
    """
    square, variance = square_of_density(np.asarray(chi2), ndf, np.asarray(n))
    return estimate_of_square(float(square), float(np.sqrt(variance)))


def square_of_density(chi2: Floats, ndf: float, n: Floats) -> tuple[Floats, Floats]:
    """Return the mean square relative deviation of a binned density, beyond statistics, and its variance.

    Parameters
    ----------
    chi2, ndf: result of the comparison. For densities with relative difference δ, χ² is ndf + n ⟨δ²⟩ on average.
    n: number of entries; N / 2 for the comparison of two samples of N entries.
    """
    excess = chi2 - ndf
    return excess / n, (2.0 * ndf + 4.0 * np.maximum(excess, 0.0)) / n**2


class Cells(NamedTuple):
    """Edges of gen pt [GeV] and of |eta|."""

    pt: tuple[float, ...]
    abs_eta: tuple[float, ...]


CELLS = Cells((15, 20, 25, 32, 40, 50, 70, 100, 150, 200, 300, 500, 800, 1300, 3500), (0, 1.3, 2.5, 3, 5))


class OfCells(NamedTuple):
    """A figure in each cell of gen pt × |eta|.

    Attributes
    ----------
    cells: edges of the cells.
    n_jets: number of jets in each cell, (P, E).
    values: the figure, (P, E, ...), NaN in cells with too few jets.
    """

    cells: Cells
    n_jets: Ints
    values: Floats

    @property
    def counted(self) -> Bools:
        """Cells with enough jets, (P, E)."""
        return np.asarray(np.isfinite(self.values.reshape(*self.n_jets.shape, -1)).any(axis=2))


def each_cell(gen: Floats, cells: Cells) -> Iterator[tuple[int, int, Bools]]:
    """Yield the row and column of each cell, and the mask (N,) of the gen jets (N, 4) in it."""
    pt, abs_eta = gen[:, PT], np.abs(gen[:, ETA])
    for i, (low, high) in enumerate(pairwise(cells.pt)):
        for k, (inner, outer) in enumerate(pairwise(cells.abs_eta)):
            yield i, k, (pt >= low) & (pt < high) & (abs_eta >= inner) & (abs_eta < outer)


def around(gen: Floats) -> Ints:
    """Return the region of phi and signed eta that each gen jet (N, 4) is in, (N,).

    Parts of a detector that are dead or different show in these, while cells of pt and |eta| average over them.
    """
    sector = np.floor(gen[:, PHI] * (N_PHI / (2.0 * np.pi))).astype(np.int64) % N_PHI
    return np.asarray(np.digitize(gen[:, ETA], ETA_EDGES) * N_PHI + sector)


def in_cells(figure: Callable[[Bools], Floats], gen: Floats, cells: Cells, min_jets: int) -> OfCells:
    """Evaluate a figure in each cell that contains enough jets.

    Parameters
    ----------
    figure: function from a mask of jets, (N,), to an array of fixed shape.
    gen: gen jets (N, 4).
    cells: edges of the cells.
    min_jets: least number of jets in a cell.

    Raises
    ------
    TooFewJetsError: when no cell has enough jets.
    """
    shape = (len(cells.pt) - 1, len(cells.abs_eta) - 1)
    n_jets = np.zeros(shape, dtype=np.int64)
    found: dict[tuple[int, int], Floats] = {}
    for i, k, inside in each_cell(gen, cells):
        n_jets[i, k] = inside.sum()
        if n_jets[i, k] >= min_jets:
            found[i, k] = np.asarray(figure(inside))
    expect(found, f"cells: expected one with {min_jets} jets, got at most {n_jets.max()}", TooFewJetsError)
    values = np.full((*shape, *next(iter(found.values())).shape), np.nan)
    for place, value in found.items():
        values[place] = value
    return OfCells(cells, n_jets, values)
