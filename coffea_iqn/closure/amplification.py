"""For how many true jets emulated ones stand: the quantile test of A. Butter et al., SciPost Phys. 10 (2021) 139.

Fractions of jets in n cells of equal probability deviate from the true ones. The mean over the cells of the squared
relative deviation (n² times that of the fractions) is (n − 1) / N on average for a sample of N true jets. For any
number of emulated jets it does not fall below what the emulator has wrong, as a sample of N' true jets would have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from coffea_iqn.closure.estimates import Floats

Ints = npt.NDArray[np.integer]
UNEVEN = 0.2  # by how much a cell may differ from the average in the sample that it was made of
ONE_SIDED = 1.645  # standard deviations that 95 % of a normal distribution lie below


class QuantileCells(NamedTuple):
    """Cells of equal probability: quantiles of a first variable, in each of its parts those of a second, and so on.

    Attributes
    ----------
    edges: for each variable, those between its parts in every cell of the variables before it, (cells, parts − 1).
    """

    edges: tuple[Floats, ...]

    @classmethod
    def of(cls, values: Floats, parts: Sequence[int]) -> QuantileCells:
        """Cells of a sample (N, d), and into how many parts each variable is cut.

        Raises
        ------
        ValueError: when cells hold unequally many, for values are equal to each other or too few.
        """
        found = cls(())
        for column, part in zip(values.T, parts, strict=True):
            cell, levels = found.cell(values), np.arange(1, part) / part
            edges = np.stack([np.quantile(column[cell == c], levels) for c in range(found.n_cells)])
            found = cls((*found.edges, edges))
        even = np.bincount(found.cell(values), minlength=found.n_cells) * found.n_cells / len(values)
        if np.abs(even - 1.0).max() > UNEVEN:
            msg = f"cells: expected equal probabilities, got {even.min():.2g} to {even.max():.2g} times the average"
            raise ValueError(msg)
        return found

    @property
    def n_cells(self) -> int:
        return int(np.prod([edges.shape[1] + 1 for edges in self.edges], dtype=np.int64))

    def cell(self, values: Floats) -> Ints:
        """The cell of each row of values (N, d), (N,), from 0, in the order of the values of the first variable."""
        cell = np.zeros(len(values), dtype=np.int64)
        for column, edges in zip(values.T, self.edges, strict=False):
            order = np.argsort(cell, kind="stable")
            ends = np.searchsorted(cell[order], np.arange(1, len(edges)))
            for before, rows in enumerate(np.split(order, ends)):
                part = np.searchsorted(edges[before], column[rows], side="right")
                cell[rows] = before * (edges.shape[1] + 1) + part
        return cell


class QuantileDeviation(NamedTuple):
    """The mean over cells of the squared relative deviation, without what chance adds to it.

    Attributes
    ----------
    square, uncertainty: an unbiased estimate, which may be below zero, and its standard uncertainty.
    n_cells: of all of the space, of equal probability.
    """

    square: float
    uncertainty: float
    n_cells: int

    @property
    def jets(self) -> float:
        """N', how many true jets deviate as much; infinity where nothing is seen to deviate."""
        return (self.n_cells - 1) / self.square if self.square > 0.0 else float("inf")

    @property
    def jets_at_least(self) -> float:
        """Below N' with a probability of 95 %."""
        return (self.n_cells - 1) / (max(self.square, 0.0) + ONE_SIDED * self.uncertainty)


def quantile_deviation(
    real: Ints, emulated: Ints, event: Ints, n_cells: int, *, counted: Ints | None = None
) -> QuantileDeviation:
    """By how much fractions of emulated jets in cells of equal probability deviate from those of real jets.

    Parameters
    ----------
    real, emulated: the cell of each real jet, (N,), and of R emulations of the same gen jet, (N, R).
    event: a number that the jets of an event share, (N,).
    n_cells: how many cells there are.
    counted: the cells over which the mean is taken, all by default: those of a tail, say.

    A jet's vector is the cell of the real jet less the average of the emulated ones; an event's is the sum over
    its jets. Products of the vectors of two different events are on average the square of the mean vector, whatever
    the number of jets, R, or what the jets of one event have in common: a U-statistic, unbiased as it stands.
    """
    n, replicas = emulated.shape
    cells = np.column_stack([real, emulated])
    number = np.unique(event, return_inverse=True)[1]
    weights = np.tile(np.append(1.0, np.full(replicas, -1.0 / replicas)), n)
    shape = (int(number.max()) + 1, n_cells)
    vectors = sparse.csr_array((weights, (np.repeat(number, replicas + 1), cells.ravel())), shape=shape)
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
    # of the mean vector's own square, its chance is part of it as well
    crossed = max(along - mean2**2 - spread / events, 0.0)
    variance = 4.0 * crossed / events + 2.0 * spread / events**2
    unit = (n_cells * events / n) ** 2 / n_counted
    return QuantileDeviation(unit * square, unit * float(np.sqrt(variance)), n_cells)
