"""Standardisation of the inputs and targets of networks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.numerics.arrays import Floats

Columns = Any


def core(values: Floats) -> tuple[Floats, Floats]:
    """Return the median and half the width of the central 68 % of values, (N,) or column by column, (N, n)."""
    low, median, high = np.quantile(values, (0.16, 0.5, 0.84), axis=0)
    return median, (high - low) / 2.0


class Standardisation(NamedTuple):
    """z(x) = (x − mean) / scale, column by column."""

    mean: Any
    scale: Any

    @classmethod
    def of(cls, values: Floats) -> Standardisation:
        """Mean and standard deviation of each column of values (N, n); constant columns keep scale 1."""
        scale = values.std(axis=0, dtype=np.float64)
        scale[scale == 0.0] = 1.0
        return cls(values.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32))

    @classmethod
    def of_core(cls, values: Floats, n: int) -> Standardisation:
        """Same as `of`, but the first n columns are standardised by their `core`, without their tails.

        Columns without such a width get mean and standard deviation.
        """
        (median, width), whole = core(values), cls.of(values)
        of_core = (width > 0.0) & (np.arange(len(width)) < n)
        mean, scale = np.where(of_core, [median, width], whole)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def apply(self, values: Columns) -> Columns:
        return (values - self.mean) / self.scale

    def invert(self, values: Columns) -> Columns:
        return values * self.scale + self.mean

    def first(self, n: int) -> Standardisation:
        """Return the standardisation of the first n columns."""
        return self if n == len(self.mean) else Standardisation(self.mean[:n], self.scale[:n])

    def and_more(self, n: int) -> Standardisation:
        """Return the standardisation with n more columns, which are left unchanged."""
        return Standardisation(np.pad(self.mean, (0, n)), np.pad(self.scale, (0, n), constant_values=1.0))

    def on(self, xp: Any, dtype: Any, device: Any) -> Standardisation:
        """Return the same standardisation for arrays of a namespace, a precision and a device."""
        return Standardisation(*(xp.asarray(numbers, dtype=dtype, device=device) for numbers in self))
