"""Effective number of true jets of an emulator: the quantile test of A. Butter et al., SciPost Phys. 10 (2021) 139.

The fractions of jets in n cells of equal probability deviate from the true ones. For a sample of N true jets, the
squared relative deviation averaged over the cells is (n − 1) / N in expectation. For emulated jets, it does not fall
below the emulator's own error however many are drawn; N' is the number of true jets with the same deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.ranges import expect

UNEVEN = 0.2  # greatest relative deviation of a cell's content from the average, in the sample that defines the cells
ONE_SIDED = 1.645  # 95 % quantile of the standard normal distribution


class QuantileCells(NamedTuple):
    """Cells of equal probability: quantiles of the first variable, in each of its bins those of the second, and so on.

    Attributes
    ----------
    edges: for each variable, its inner bin edges in every cell of the preceding variables, (cells, parts − 1).
    """

    edges: tuple[Floats, ...]

    @classmethod
    def of(cls, values: Floats, parts: Sequence[int]) -> QuantileCells:
        """Return the cells of a sample (N, d), with the given number of bins in each variable.

        Raises
        ------
        ValueError: when the contents of the cells are uneven, because of tied or too few values.
        """
        found = cls(())
        for column, part in zip(values.T, parts, strict=True):
            cell, levels = found.cell(values), np.arange(1, part) / part
            edges = np.stack([np.quantile(column[cell == c], levels) for c in range(found.n_cells)])
            found = cls((*found.edges, edges))
        even = np.bincount(found.cell(values), minlength=found.n_cells) * found.n_cells / len(values)
        fits = np.abs(even - 1.0).max() <= UNEVEN
        expect(fits, f"cells: expected equal probabilities, got {even.min():.2g} to {even.max():.2g} times the average")
        return found

    @property
    def n_cells(self) -> int:
        return int(np.prod([edges.shape[1] + 1 for edges in self.edges], dtype=np.int64))

    def cell(self, values: Floats) -> Ints:
        """Return the index of the cell of each row of values (N, d), (N,), ordered by the first variable."""
        cell = np.zeros(len(values), dtype=np.int64)
        for column, edges in zip(values.T, self.edges, strict=False):
            order = np.argsort(cell, kind="stable")
            ends = np.searchsorted(cell[order], np.arange(1, len(edges)))
            for before, rows in enumerate(np.split(order, ends)):
                part = np.searchsorted(edges[before], column[rows], side="right")
                cell[rows] = before * (edges.shape[1] + 1) + part
        return cell


class QuantileDeviation(NamedTuple):
    """The squared relative deviation averaged over cells, corrected for statistical fluctuations.

    Attributes
    ----------
    square, uncertainty: an unbiased estimate, which may be negative, and its standard uncertainty.
    n_cells: number of cells of equal probability in the full space.
    """

    square: float
    uncertainty: float
    n_cells: int

    @property
    def jets(self) -> float:
        """N', the number of true jets with the same deviation; infinity if no deviation is found."""
        return (self.n_cells - 1) / self.square if self.square > 0.0 else float("inf")

    @property
    def jets_at_least(self) -> float:
        """Lower limit on N' at 95 % confidence level."""
        return (self.n_cells - 1) / (max(self.square, 0.0) + ONE_SIDED * self.uncertainty)


def quantile_deviation(
    real: Ints, emulated: Ints, event: Ints, n_cells: int, *, counted: Ints | None = None
) -> QuantileDeviation:
    """Return how much the fractions of emulated jets in cells of equal probability deviate from those of real jets.

    Parameters
    ----------
    real, emulated: the cell of each real jet, (N,), and of R emulations of the same gen jet, (N, R).
    event: label of the event of each jet, (N,).
    n_cells: number of cells.
    counted: the cells to average over, such as those of a tail; all by default.

    A jet's vector is the indicator of the real jet's cell minus the mean indicator of its emulations; an event's vector
    is the sum over its jets. The product of the vectors of two different events is on average the square of the mean
    vector, whatever the number of jets, R, or the correlations within an event: an unbiased U-statistic.
    """
    n, replicas = emulated.shape
    cells = np.column_stack([real, emulated])
    number = np.unique(event, return_inverse=True)[1]
    weights = np.tile(np.append(1.0, np.full(replicas, -1.0 / replicas)), n)
    shape = (int(number.max()) + 1, n_cells)
    vectors = scipy.sparse.csr_array((weights, (np.repeat(number, replicas + 1), cells.ravel())), shape=shape)
    vectors.sum_duplicates()
    if counted is not None:
        vectors = vectors[:, counted]
    events, n_counted = vectors.shape
    mean = vectors.sum(axis=0) / events
    second = (vectors.T @ vectors) / events
    mean2 = float(mean @ mean)
    square = (events * mean2 - float(second.trace())) / (events - 1)
    along = float(mean @ (second @ mean))
    spread = float((second.data**2).sum()) - 2.0 * along + mean2**2  # trace of the covariance's square
    # remove the fluctuations of the mean vector itself
    crossed = max(along - mean2**2 - spread / events, 0.0)
    variance = 4.0 * crossed / events + 2.0 * spread / events**2
    unit = (n_cells * events / n) ** 2 / n_counted
    return QuantileDeviation(unit * square, unit * float(np.sqrt(variance)), n_cells)
