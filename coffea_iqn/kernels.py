"""The spline quantile function for many jets at once, compiled: what `splines` says, in one pass over each row.

`networks` and `splines` are the reference, which these equal to rounding (a test holds it).
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import numpy.typing as npt

from coffea_iqn.splines import LOGIT_MAX, SLOPE_MIN, STEP_MIN

Floats = npt.NDArray[np.float32]
HALF, FOUR = np.float32(0.5), np.float32(4.0)  # in single precision, as `splines.positive` has them


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def draw(curve: Floats, knots: Floats, tau: Floats, lower: Floats, drawn: Floats) -> None:
    """The quantiles at levels tau, written into drawn.

    Parameters
    ----------
    curve: what a network of `SplineIQN` gives, (N, 2 K or more).
    knots: logits of the knots' levels, (K,).
    tau: levels in (0, 1), (N,).
    lower: quantiles are those of what lies above this bound, (N,); (0,) for no bound.
    drawn: (N,), overwritten.
    """
    n_knots = len(knots)
    values = np.empty(n_knots)
    steps = np.empty(n_knots, dtype=np.float32)
    for i in range(len(curve)):
        row = curve[i]
        for j in range(n_knots):  # a loop of its own, for the compiler to take several at once
            steps[j] = HALF * (row[j] + np.sqrt(row[j] * row[j] + FOUR))
        values[0] = 0.0
        for j in range(1, n_knots):
            values[j] = values[j - 1] + steps[j] + STEP_MIN
        shift = row[0] - 0.5 * (values[n_knots // 2 - 1] + values[n_knots // 2])
        for j in range(n_knots):
            values[j] += shift
        level = float(tau[i])
        above = 1.0
        if len(lower):
            above = 1.0 / (1.0 + math.exp(_logit_of(float(lower[i]), knots, values, row[n_knots:])))
        logit = math.log(1.0 - above + above * level) - math.log(above) - math.log1p(-level)
        drawn[i] = _quantile(min(max(logit, -LOGIT_MAX), LOGIT_MAX), knots, values, row[n_knots:])


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _positive(x: float) -> float:
    return float(0.5 * (x + math.sqrt(x * x + 4.0)))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _quantile(x: float, knots: Floats, values: Floats, slopes: Floats) -> float:
    """`splines.spline` at one x."""
    low = 0
    while low < len(knots) - 2 and x > knots[low + 1]:
        low += 1
    width = knots[low + 1] - knots[low]
    height = values[low + 1] - values[low]
    d0, d1 = _positive(slopes[low]) + SLOPE_MIN, _positive(slopes[low + 1]) + SLOPE_MIN
    t = (x - knots[low]) / width
    if t < 0.0:
        return float(values[low] + d0 * (x - knots[low]))
    if t > 1.0:
        return float(values[low + 1] + d1 * (x - knots[low + 1]))
    s = height / width
    u = t * (1.0 - t)
    return float(values[low] + height * (s * t * t + d0 * u) / (s + (d0 + d1 - 2.0 * s) * u))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _logit_of(y: float, knots: Floats, values: Floats, slopes: Floats) -> float:
    """`splines.inverse` at one y."""
    low = 0
    while low < len(knots) - 2 and y >= values[low + 1]:
        low += 1
    width = knots[low + 1] - knots[low]
    height = values[low + 1] - values[low]
    d0, d1 = _positive(slopes[low]) + SLOPE_MIN, _positive(slopes[low + 1]) + SLOPE_MIN
    if y < values[low]:
        return float(knots[low] + (y - values[low]) / d0)
    if y > values[low + 1]:
        return float(knots[low + 1] + (y - values[low + 1]) / d1)
    s = height / width
    rise = y - values[low]
    bend = d0 + d1 - 2.0 * s
    a = height * (s - d0) + rise * bend
    b = height * d0 - rise * bend
    c = -s * rise
    return float(knots[low] + width * 2.0 * c / (-b - math.sqrt(max(b * b - 4.0 * a * c, 0.0))))
