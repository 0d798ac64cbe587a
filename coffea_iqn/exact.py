"""Sums of weights that come out the same to the last bit, in whatever order they are taken.

Floating-point addition rounds, and so depends on the order: the same events in other chunks would give other
histograms. Here each weight is split into parts that are multiples of fixed powers of two (the limbs of J. Demmel
and H. D. Nguyen, "Parallel Reproducible Summation", IEEE Trans. Comput. 64 (2015) 2060). Parts of one limb add
without rounding, up to 2^33 entries a bin, and only the last step, from limbs to one number, rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIMB_BITS = 20


def split(values: Floats) -> dict[int, Floats]:
    """Values (N,) as parts by limb: part j is a multiple of 2^(20 j) below 2^(20 (j + 1)), and the parts add up.

    Raises
    ------
    ValueError: when a value is not finite.

    >>> {limb: part.tolist() for limb, part in split(np.array([3.0, 0.5])).items()}
    {0: [3.0, 0.0], -1: [0.0, 0.5]}
    """
    if not np.isfinite(values).all():
        msg = f"weights: expected finite numbers, got {int((~np.isfinite(values)).sum())} of {len(values)} otherwise"
        raise ValueError(msg)
    parts = {}
    rest = values
    while rest.any():
        limb = int(np.frexp(np.abs(rest).max())[1] - 1) // LIMB_BITS
        unit = 2.0 ** (LIMB_BITS * limb)
        parts[limb] = np.trunc(rest / unit) * unit
        rest = rest - parts[limb]
    return parts


class Weights(NamedTuple):
    """Weights of events or jets and their squares, split by limb."""

    values: Mapping[int, Floats]
    squares: Mapping[int, Floats]

    @classmethod
    def of(cls, weights: Floats) -> Weights:
        return cls(split(weights), split(weights**2))

    def take(self, rows: npt.NDArray[Any]) -> Weights:
        """The weights of some rows, as an index or a mask."""
        return Weights(*({limb: part[rows] for limb, part in parts.items()} for parts in self))


def bin_sums(axes: Sequence[Any], columns: Sequence[npt.NDArray[Any]], weights: Weights) -> dict[int, Floats]:
    """Sums of weights and of squared weights in each bin, by limb.

    Parameters
    ----------
    axes: of a histogram, flow bins included.
    columns: what is filled, one array (N,) an axis.
    weights: of the entries, (N,).

    Returns
    -------
    for each limb an array (2, bins): sums of weights and of their squares; `merge` makes numbers of them.
    """
    place, n_bins = _places(axes, columns)
    return _sums_at(place, n_bins, weights)


def event_sums(
    axes: Sequence[Any],
    columns: Sequence[npt.NDArray[Any]],
    event: npt.NDArray[np.int64],
    weights: Floats,
    *,
    share: float,
) -> dict[int, Floats]:
    """As `bin_sums`, where entries of one event are correlated: an event's entries in a bin count as one weight.

    Several draws of one event are such entries: the sum of their squared weights falls with their number, the
    variance of what they sum to does not.

    Parameters
    ----------
    axes, columns: as of `bin_sums`.
    event: of each entry, (N,).
    weights: of the events, (events,).
    share: of its event's weight that each entry has.
    """
    place, n_bins = _places(axes, columns)
    cells, entries = np.unique(event * n_bins + place, return_counts=True)
    return _sums_at(cells % n_bins, n_bins, Weights.of(weights[cells // n_bins] * (entries * share)))


def _places(axes: Sequence[Any], columns: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.int64], int]:
    """The bin of each entry, flow bins included, and how many bins there are."""
    place = np.zeros(len(columns[0]), dtype=np.int64)
    n_bins = 1
    for axis, column in zip(axes, columns, strict=True):
        place = place * axis.extent + axis.index(column) + int(axis.traits.underflow)
        n_bins *= axis.extent
    return place, n_bins


def _sums_at(place: npt.NDArray[np.int64], n_bins: int, weights: Weights) -> dict[int, Floats]:
    sums: dict[int, Floats] = {}
    for row, parts in enumerate(weights):
        for limb, part in parts.items():
            sums.setdefault(limb, np.zeros((2, n_bins)))[row] = np.bincount(place, weights=part, minlength=n_bins)
    return sums


def merge(limbs: Mapping[int, Floats]) -> Floats:
    """The limbs of sums as plain numbers, in an order that depends on the limbs alone."""
    total = np.zeros_like(next(iter(limbs.values())))
    for limb in sorted(limbs):
        total = total + limbs[limb]
    return total
