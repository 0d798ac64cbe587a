"""Sums of weights that are bit-identical whatever the order of summation.

Floating-point addition rounds, so a sum depends on the order: the same events in different chunks would give different
histograms. Here each weight is split into parts that are multiples of fixed powers of two (the limbs of J. Demmel
and H. D. Nguyen, "Parallel Reproducible Summation", IEEE Trans. Comput. 64 (2015) 2060). Parts of the same limb add
up without rounding, for up to 2^33 entries per bin; only the last step, from limbs to one number, rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.compiling import kernel

Bins = npt.NDArray[np.uint32]  # unsigned, to spare numba's check for negative indices

LIMB_BITS = 20


def split(values: Doubles) -> dict[int, Doubles]:
    """Split values (N,) by limb: part j is a multiple of 2^(20 j) below 2^(20 (j + 1)); the parts sum to the values.

    Raises
    ------
    ValueError: when a value is not finite.

    >>> {limb: part.tolist() for limb, part in split(np.array([3.0, 0.5])).items()}
    {0: [3.0, 0.0], -1: [0.0, 0.5]}
    """
    if not np.isfinite(values).all():
        msg = f"weights: expected finite numbers, got {int((~np.isfinite(values)).sum())} of {len(values)} not finite"
        raise ValueError(msg)
    parts = {}
    rest = values.astype(np.float64)
    greatest = np.abs(rest).max(initial=0.0)
    while greatest > 0.0:
        limb = (math.frexp(greatest)[1] - 1) // LIMB_BITS
        # 2^-1074 is the smallest double
        parts[limb], greatest = _take_multiples(rest, math.ldexp(1.0, max(LIMB_BITS * limb, -1074)))
    return parts


@kernel
def _take_multiples(rest: Doubles, unit: float) -> tuple[Doubles, float]:
    """Subtract from each number its multiple of unit; return the multiples, and the greatest absolute remainder."""
    taken, greatest = np.empty_like(rest), 0.0
    for i in range(len(rest)):
        taken[i] = np.trunc(rest[i] / unit) * unit
        rest[i] -= taken[i]
        greatest = max(greatest, abs(rest[i]))
    return taken, greatest


class Weights(NamedTuple):
    """Weights and their squares, split by limb.

    Attributes
    ----------
    limbs: limbs that occur in any weight or square, ascending.
    parts: parts of the weights and of their squares, (limbs, N, 2).
    """

    limbs: tuple[int, ...]
    parts: Doubles

    @classmethod
    def of(cls, weights: Doubles) -> Weights:
        both = split(weights), split(weights**2)
        limbs = tuple(sorted(both[0].keys() | both[1].keys()))
        parts = np.zeros((len(limbs), len(weights), 2))
        for row, by_limb in enumerate(both):
            for limb, part in by_limb.items():
                parts[limbs.index(limb), :, row] = part
        return cls(limbs, parts)


@kernel
def add(totals: Doubles, bins: Bins, event: Ints, parts: Doubles) -> None:
    """Add weights to the bins of histograms.

    Parameters
    ----------
    totals: running sums of the parts, updated in place, (limbs, bins, 2).
    bins: bin of each entry in each histogram, (histograms, N).
    event: index of the event of each entry, (N,).
    parts: `Weights.parts` of the events, (limbs, events, 2).
    """
    for limb in range(len(parts)):
        part, total = parts[limb], totals[limb]
        for i in range(len(event)):
            weight, square = part[event[i], 0], part[event[i], 1]
            for histogram in range(len(bins)):
                at = bins[histogram, i]
                total[at, 0] += weight
                total[at, 1] += square


def event_entries(bins: Bins, event: Ints, weights: Doubles, *, share: float) -> tuple[Bins, Doubles]:
    """Combine the entries of one event in one bin into a single entry, because they are correlated.

    Several draws of one event are an example: the sum of their squared weights falls with the number of draws, but
    the variance of their sum does not.

    Parameters
    ----------
    bins, event: same as in `add`; no two histograms share a bin.
    weights: weights of the events, (events,).
    share: fraction of its event's weight that each entry carries.

    Returns
    -------
    bins (1, M) and weights (M,).
    """
    n_bins = int(bins.max(initial=0)) + 1
    cells, entries = np.unique(event * n_bins + bins.astype(np.int64), return_counts=True)
    return (cells % n_bins).astype(np.uint32)[None], weights[cells // n_bins] * (entries * share)


def merge(limbs: Mapping[int, Doubles]) -> Doubles:
    """Add the limbs of sums up to plain numbers, in the order of the limbs."""
    return np.asarray(sum(limbs[limb] for limb in sorted(limbs)))
