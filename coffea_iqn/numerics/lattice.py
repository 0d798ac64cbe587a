"""Evenly distributed points in the unit cube, for integrals over quantile levels: deterministic, shared by all jets."""

from __future__ import annotations

from functools import cache
from math import gcd

import numpy as np

from coffea_iqn.numerics.arrays import Doubles


@cache
def lattice(n: int, dimensions: int) -> Doubles:
    """A rank-1 lattice of Korobov form, whose projection on each axis is (i + 1/2) / n.

    Among all multipliers coprime to n it uses the one with the least worst-case error for periodic functions (P2 of
    I. H. Sloan and S. Joe, Lattice Methods for Multiple Integration, Oxford 1994).

    Parameters
    ----------
    n: number of points.
    dimensions: dimensions of the cube.

    Returns
    -------
    (n, dimensions) in (0, 1), read-only.

    >>> sorted(lattice(4, 2)[:, 1].tolist())
    [0.125, 0.375, 0.625, 0.875]
    """
    steps = np.arange(n)[:, np.newaxis]

    def points(multiplier: int) -> Doubles:
        powers = [pow(multiplier, k, n) for k in range(dimensions)]
        return np.asarray(steps * np.array(powers) % n / n)

    def p2(multiplier: int) -> float:
        x = points(multiplier)
        return float(np.prod(1.0 + 2.0 * np.pi**2 * (x * x - x + 1.0 / 6.0), axis=1).mean())

    found = points(min((k for k in range(1, n) if gcd(k, n) == 1), key=p2, default=1)) + 0.5 / n
    found.flags.writeable = False
    return found
