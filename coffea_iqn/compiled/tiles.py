"""What networks see of a tile of jets, and the four targets drawn from it: steps that several models share.

A tile is an array (rows, TILE): a row is a variable, jets lie side by side. Where an argument is read and another one
overwritten, they are different rows: else compiled code would take one jet at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from coffea_iqn.compiled.dense import TILE, Floats, Layers, feed_forward
from coffea_iqn.compiled.splines import ascend, levels, logits_between, quantiles
from coffea_iqn.kernels import kernel
from coffea_iqn.networks import N_TARGETS

N_WORK = 11  # rows that drawing needs beside: two bounds first


def rows_needed(n_known: int, *layers: Layers) -> int:
    """The rows of tiles through which these layers go, and the four targets drawn after so many known rows."""
    return int(max([n_known + N_TARGETS, *(of.shapes.max(initial=0) for of in layers)]))


@kernel
def blank(rows: int) -> Floats:
    """A tile of zeros."""
    return np.zeros((rows, TILE), np.float32)


@kernel
def take(values: Floats, start: int, n: int, tile: Floats) -> None:
    """The rows start to start + n of values, (N, k), side by side in a tile, (k or more, tile)."""
    gather(values, start, n, np.arange(values.shape[1]), 0, tile)


@kernel
def gather(values: Floats, start: int, n: int, columns: npt.NDArray[np.int64], first: int, tile: Floats) -> None:
    """Some columns of the rows start to start + n of values, into the rows of a tile from first on."""
    whole = n - n % 4
    for t in range(0, whole, 4):  # four values that come to lie side by side are written at once
        a, b, c, d = values[start + t], values[start + t + 1], values[start + t + 2], values[start + t + 3]
        for k in range(len(columns)):
            column, row = columns[k], tile[first + k]
            row[t], row[t + 1], row[t + 2], row[t + 3] = a[column], b[column], c[column], d[column]
    for t in range(whole, n):
        for k in range(len(columns)):
            tile[first + k, t] = values[start + t, columns[k]]


@kernel
def standardise(rows: Floats, n: int, mean: Floats, scale: Floats, out: Floats) -> None:
    """The first rows less their mean, over their scale."""
    for k in range(len(mean)):
        row, to = rows[k], out[k]
        for t in range(n):
            to[t] = (row[t] - mean[k]) / scale[k]


@kernel
def unstandardise(row: Floats, n: int, mean: np.float32, scale: np.float32, out: Floats) -> None:
    """The inverse of `standardise`, of a row."""
    for t in range(n):
        out[t] = row[t] * scale + mean


@kernel
def draw_target(
    net: Layers, knots: Floats, known: Floats, row: int, tau: Floats, n: int, work: Floats, one: Floats, two: Floats
) -> None:
    """A standardised target of a tile, from what is known, those before it among this, and between two bounds.

    Parameters
    ----------
    net, knots: of a `SplineIQN`: its network of this target.
    known: what the network sees, (rows, tile); the target comes into the given row.
    row: of known.
    tau: levels, (tile,).
    n: how many jets of the tile count.
    work: (N_WORK, tile), the bounds first, which are read; the others are overwritten.
    one, two: (rows, tile), overwritten.
    """
    low, high, z_low, z_high, z, bins = work[0], work[1], work[2], work[3], work[4], work[5:]
    curve = feed_forward(known, n, net, one, two)
    ascend(curve, n, len(knots))
    levels(low, curve, knots, n, bins, z_low)
    levels(high, curve, knots, n, bins, z_high)
    logits_between(tau, z_low, z_high, n, z)
    quantiles(z, curve, knots, n, bins, z_low)
    to = known[row]
    for t in range(n):
        to[t] = min(max(z_low[t], low[t]), high[t])  # rounding
