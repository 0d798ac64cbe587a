"""Compiled bin lookup: same result as the `index` of an axis, ten times as fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import hist
import numpy as np
import numpy.typing as npt

from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel
from coffea_iqn.numerics.exact_sums import Bins

Column = npt.NDArray[Any]

CELLS_MAX = 4096


class Binning:
    """Consecutive bin numbers for several histograms, flow bins included.

    Parameters
    ----------
    histograms: axes of each histogram, by its name; a column fills the axes of its name, and axes of the same name are
        equal.

    Attributes
    ----------
    places: range of bins of each histogram, in the order of `hist.Hist.view(flow=True)`.
    n_bins: total number of bins.
    """

    def __init__(self, histograms: Mapping[str, Sequence[Any]]) -> None:
        self._axes = {name: tuple(axes) for name, axes in histograms.items()}
        self._finders = {axis.name: finder(axis) for axes in self._axes.values() for axis in axes}
        self.places: dict[str, slice] = {}
        self.n_bins = 0
        for name, axes in self._axes.items():
            n_bins = int(np.prod([axis.extent for axis in axes]))
            self.places[name] = slice(self.n_bins, self.n_bins + n_bins)
            self.n_bins += n_bins

    def bins(self, columns: Mapping[str, Column]) -> Bins:
        """Return the bin of each entry in each histogram, (histograms, N), from columns (N,) by name."""
        found = {name: find(columns[name]) for name, find in self._finders.items()}
        bins = np.empty((len(self._axes), len(next(iter(found.values())))), dtype=np.uint32)
        for row, (name, axes) in enumerate(self._axes.items()):
            bins[row] = found[axes[0].name]
            for axis in axes[1:]:
                bins[row] *= np.uint32(axis.extent)
                bins[row] += found[axis.name]
            bins[row] += np.uint32(self.places[name].start)
        return bins


def finder(axis: Any) -> Callable[[Column], Bins]:
    """Return a function that finds the bin of each value (N,), counted from the underflow bin: `axis.index` + 1.

    Raises
    ------
    TypeError: if the axis has no fixed edges or no flow bins.

    >>> finder(hist.axis.Variable([0, 1, 10]))(np.array([-1.0, 0.0, 3.0, 10.0, np.nan])).tolist()
    [0, 1, 2, 3, 3]
    """
    traits = axis.traits
    fixed = isinstance(axis, hist.axis.Regular | hist.axis.Variable | hist.axis.Integer) and not traits.growth
    linear = getattr(axis, "transform", None) is None and not traits.circular
    if not (fixed and linear and traits.underflow and traits.overflow):
        msg = f"axis: expected fixed edges and flow bins, got {axis!r}"
        raise TypeError(msg)
    edges = axis.edges
    span = edges[-1] - edges[0]
    if isinstance(axis, hist.axis.Regular):
        return partial(_find_regular, start=edges[0], span=span, n_bins=axis.size)
    # cells of equal width, so narrow that few contain more than one edge: few edges remain to compare with a value
    n_cells = int(min(span / np.diff(edges).min(), CELLS_MAX))
    per_unit = n_cells / span
    cell = np.minimum((edges - edges[0]) * per_unit, n_cells).astype(np.int64)
    passed = np.minimum(np.searchsorted(cell, np.arange(n_cells + 1)), len(edges) - 1)
    return partial(_find_variable, edges=edges, per_unit=per_unit, passed=passed)


@kernel
def _find_regular(column: Column, start: float, span: float, n_bins: int) -> Bins:
    bins = np.empty(len(column), dtype=np.uint32)
    for i in range(len(column)):
        # same operations as in boost-histogram, because others round differently at the edges
        part = (float(column[i]) - start) / span
        bins[i] = 0 if part < 0.0 else int(part * n_bins) + 1 if part < 1.0 else n_bins + 1
    return bins


@kernel
def _find_variable(column: Column, edges: Doubles, per_unit: float, passed: Ints) -> Bins:
    """Return the number of edges at or below each value; NaN is above all edges.

    passed: number of edges in the cells before each cell, without the last edge, which is always compared.
    """
    bins = np.empty(len(column), dtype=np.uint32)
    last = float(len(passed) - 1)
    for i in range(len(column)):
        x = float(column[i])
        place = (x - edges[0]) * per_unit
        if not place > 0.0:  # NaN too
            place = 0.0
        k = passed[int(min(place, last))]
        k += not x < edges[k]
        while k < len(edges) and not x < edges[k]:
            k += 1
        bins[i] = k
    return bins
