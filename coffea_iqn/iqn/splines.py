"""Monotone rational-quadratic splines on fixed knots, with linear tails and an exact inverse.

J. A. Gregory and R. Delbourgo, IMA J. Numer. Anal. 2 (1982) 123; C. Durkan, A. Bekasov, I. Murray and
G. Papamakarios, NeurIPS 2019 (arXiv:1906.04032), who learn the knots on both axes. Here the knots of the abscissa are
fixed, so that the bin of a level does not depend on a network; a quantile function is given by its quantiles and slopes
at fixed levels. For numpy arrays or torch tensors.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, is_torch_array

from coffea_iqn.iqn.network import SLOPE_MIN

Array = Any  # a numpy array, or a torch tensor on any device


def positive(x: Array) -> Array:
    """Map any number to a positive one, (x + √(x² + 4)) / 2, in a third of the time of log(1 + e^x).

    J. T. Barron, arXiv:2112.11687. The inverse is y − 1 / y.
    """
    return 0.5 * (x + array_namespace(x).sqrt(x * x + 4.0))


def spline(x: Array, knots: Array, values: Array, slopes: Array) -> tuple[Array, Array]:
    """Return the spline at x, and its derivative.

    Parameters
    ----------
    x: abscissae, (N,).
    knots: abscissae, ascending, (K,).
    values: ordinates at the knots, ascending, (N, K).
    slopes: any numbers, (N, K); `positive(slopes) + SLOPE_MIN` are the derivatives at the knots. Beyond the last
        knots the spline is linear.

    Returns
    -------
    y and dy/dx, (N,) each.
    """
    xp = array_namespace(x)
    low = (xp.searchsorted(knots, x + 0.0) - 1).clip(0, len(knots) - 2)  # (N,); the sum makes a contiguous copy
    x0, width = knots[low], knots[low + 1] - knots[low]
    y0, y1 = (_at(values, k[:, None])[:, 0] for k in (low, low + 1))
    d0, d1 = (positive(_at(slopes, k[:, None])[:, 0]) + SLOPE_MIN for k in (low, low + 1))
    height = y1 - y0
    s = height / width
    t = ((x - x0) / width).clip(0.0, 1.0)
    u = t * (1.0 - t)
    denominator = s + (d0 + d1 - 2.0 * s) * u
    y = y0 + height * (s * t * t + d0 * u) / denominator
    slope = s * s * (d1 * t * t + 2.0 * s * u + d0 * (1.0 - t) ** 2) / (denominator * denominator)
    below, above = (x - knots[0]).clip(max=0.0), (x - knots[-1]).clip(0.0)
    return y + d0 * below + d1 * above, slope


def inverse(y: Array, knots: Array, values: Array, slopes: Array) -> tuple[Array, Array]:
    """Return the x at which each spline equals y, and its derivative there.

    Parameters
    ----------
    y: M ordinates for each spline, (N, M).
    knots, values, slopes: same as in `spline`.

    Returns
    -------
    x and dy/dx, (N, M) each.
    """
    xp = array_namespace(y)
    if is_torch_array(y):  # in a third of the time
        among = xp.searchsorted(values.detach(), y.detach().contiguous(), right=True)
    else:
        among = xp.sum(y[:, :, None] >= values[:, None, :], axis=2)
    low, m = (among - 1).clip(0, len(knots) - 2), y.shape[1]  # (N, M)
    x0, width = knots[low], knots[low + 1] - knots[low]
    both = xp.concat([low, low + 1], axis=1)
    ends, rates = _at(values, both), positive(_at(slopes, both)) + SLOPE_MIN  # (N, 2 M)
    y0, y1, d0, d1 = ends[:, :m], ends[:, m:], rates[:, :m], rates[:, m:]
    height = y1 - y0
    s = height / width
    rise = xp.minimum((y - y0).clip(0.0), height)
    bend = d0 + d1 - 2.0 * s
    a = height * (s - d0) + rise * bend
    b = height * d0 - rise * bend
    c = -s * rise
    t = 2.0 * c / (-b - xp.sqrt((b * b - 4.0 * a * c).clip(0.0)))
    u = t * (1.0 - t)
    denominator = s + bend * u
    slope = s * s * (d1 * t * t + 2.0 * s * u + d0 * (1.0 - t) ** 2) / (denominator * denominator)
    below, above = (y - y0).clip(max=0.0), (y - y1).clip(0.0)
    return x0 + width * t + below / d0 + above / d1, slope


def _at(table: Array, columns: Array) -> Array:
    """Return the entries of each row of a table (N, K) in the given columns (N, M)."""
    if is_torch_array(table):  # its take_along_axis computes a remainder of each column
        return table.gather(1, columns)
    return array_namespace(table).take_along_axis(table, columns, axis=1)
