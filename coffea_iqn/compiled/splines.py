"""The spline quantile functions of a tile of jets: what `coffea_iqn.splines` and `SplineIQN` say, row by row."""

from __future__ import annotations

import numpy as np

from coffea_iqn.compiled.dense import Floats
from coffea_iqn.compiled.elementary import HALF, ONE, TWO, ZERO, exp, log
from coffea_iqn.kernels import kernel
from coffea_iqn.networks import LEAST_INSIDE
from coffea_iqn.splines import SLOPE_MIN, STEP_MIN

FOUR = np.float32(4.0)
LEAST_SLOPE, LEAST_STEP = np.float32(SLOPE_MIN), np.float32(STEP_MIN)
LEAST_CHANCE = np.float32(LEAST_INSIDE)


@kernel
def _positive(x: np.float32) -> np.float32:
    return np.float32(HALF * (x + np.sqrt(x * x + FOUR)))


@kernel
def ascend(curve: Floats, n: int, n_knots: int) -> None:
    """The first rows of what a network gives, (2 K, tile), to quantiles at the knots; the slopes' rows stay."""
    middle = n_knots // 2
    start = curve[0]
    first = curve[1]
    for t in range(n):
        first[t] = _positive(first[t]) + LEAST_STEP
    for k in range(2, n_knots):
        below, row = curve[k - 1], curve[k]
        for t in range(n):
            row[t] = below[t] + _positive(row[t]) + LEAST_STEP
    low, high = curve[middle - 1], curve[middle]
    for t in range(n):
        start[t] = start[t] - HALF * (low[t] + high[t])
    for k in range(1, n_knots):
        row = curve[k]
        for t in range(n):
            row[t] += start[t]


@kernel
def logits_between(tau: Floats, z_low: Floats, z_high: Floats, n: int, z: Floats) -> None:
    """The logits of F(low) + τ (F(high) − F(low)), for the logits of F at two bounds, accurate near 0 and 1."""
    for t in range(n):
        # one exponential gives F and 1 − F at a bound, neither a difference
        small_low, small_high = exp(-abs(z_low[t])), exp(-abs(z_high[t]))
        big_low, big_high = ONE / (ONE + small_low), ONE / (ONE + small_high)
        small_low, small_high = small_low * big_low, small_high * big_high
        low, not_low = (big_low, small_low) if z_low[t] > ZERO else (small_low, big_low)
        high, not_high = (big_high, small_high) if z_high[t] > ZERO else (small_high, big_high)
        inside = max(not_low - not_high if z_low[t] + z_high[t] > ZERO else high - low, LEAST_CHANCE)
        z[t] = log(low + tau[t] * inside) - log(not_high + (ONE - tau[t]) * inside)


@kernel
def quantiles(z: Floats, curve: Floats, knots: Floats, n: int, bins: Floats, y: Floats) -> None:
    """The splines at logits z, (tile,).

    Parameters
    ----------
    z: where.
    curve: (2 K, tile) after `ascend`.
    knots: their logits, (K,).
    n: how many jets of the tile count.
    bins: (6, tile), overwritten.
    y: (tile,), overwritten with the quantiles.
    """
    _find(z, curve, knots, n, True, bins)
    x0, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        low, high = _positive(d0[t]) + LEAST_SLOPE, _positive(d1[t]) + LEAST_SLOPE
        height = y1[t] - y0[t]
        s = height / width[t]
        x = (z[t] - x0[t]) / width[t]
        inside = min(max(x, ZERO), ONE)
        u = inside * (ONE - inside)
        bend = low + high - TWO * s
        value = y0[t] + height * (s * inside * inside + low * u) / (s + bend * u)
        y[t] = value + width[t] * (low * min(x, ZERO) + high * max(x - ONE, ZERO))


@kernel
def levels(y: Floats, curve: Floats, knots: Floats, n: int, bins: Floats, z: Floats) -> None:
    """The logits z at which the splines are y: the inverse of `quantiles`."""
    _find(y, curve, knots, n, False, bins)
    x0, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        low, high = _positive(d0[t]) + LEAST_SLOPE, _positive(d1[t]) + LEAST_SLOPE
        height = y1[t] - y0[t]
        s = height / width[t]
        rise = min(max(y[t] - y0[t], ZERO), height)
        bend = low + high - TWO * s
        a = height * (s - low) + rise * bend
        b = height * low - rise * bend
        c = -s * rise
        root = np.sqrt(max(b * b - FOUR * a * c, ZERO))
        inside = x0[t] + width[t] * TWO * c / (-b - root)
        z[t] = inside + min(y[t] - y0[t], ZERO) / low + max(y[t] - y1[t], ZERO) / high


@kernel
def _find(at: Floats, curve: Floats, knots: Floats, n: int, by_knot: bool, bins: Floats) -> None:
    """Of the bin each jet is in: its first knot, its width, the quantiles and the slopes at both ends, (6, tile)."""
    n_knots = len(knots)
    count, width, y0, y1, d0, d1 = bins[0], bins[1], bins[2], bins[3], bins[4], bins[5]
    for t in range(n):
        count[t] = ZERO
    for k in range(
        1, n_knots - 1
    ):  # all of them: comparing eight jets at once costs less than a branch guessed wrongly
        if by_knot:
            knot = knots[k]
            for t in range(n):
                count[t] += ONE if at[t] >= knot else ZERO
        else:
            value = curve[k]
            for t in range(n):
                count[t] += ONE if at[t] >= value[t] else ZERO
    for t in range(n):
        k = int(count[t])
        y0[t], y1[t] = curve[k, t], curve[k + 1, t]
        d0[t], d1[t] = curve[n_knots + k, t], curve[n_knots + k + 1, t]
        count[t], width[t] = knots[k], knots[k + 1] - knots[k]
