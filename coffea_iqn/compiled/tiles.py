"""What networks see of a tile of jets, and the four targets drawn from it: steps that several models share.

A tile is an array (rows, TILE): a row is a variable, jets lie side by side. Where an argument is read and another one
overwritten, they are different rows: else compiled code would take one jet at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from coffea_iqn.compiled.dense import TILE, Floats, Layers, Nets, feed_forward
from coffea_iqn.compiled.splines import ascend, levels, logits, logits_above, quantiles
from coffea_iqn.kernels import kernel
from coffea_iqn.networks import N_TARGETS

N_WORK = 8  # rows that drawing needs beside


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
def unstandardise(rows: Floats, first: int, n: int, mean: Floats, scale: Floats, out: Floats) -> None:
    """The inverse of `standardise`, of the rows from first on."""
    for k in range(len(mean)):
        row, to = rows[first + k], out[k]
        for t in range(n):
            to[t] = row[t] * scale[k] + mean[k]


@kernel
def draw_targets(
    nets: Nets,
    knots: Floats,
    known: Floats,
    first: int,
    tau: Floats,
    n: int,
    bounded: bool,
    work: Floats,
    one: Floats,
    two: Floats,
) -> None:
    """The four standardised targets of a tile, one after the other, each given those before it.

    Parameters
    ----------
    nets, knots: of a `SplineIQN`.
    known: what the networks see, (rows, tile); the targets come into the rows from first on.
    tau: levels, (4, tile).
    n: how many jets of the tile count.
    bounded: whether the first target is drawn from above the bound in work[0].
    work: (N_WORK, tile); one, two: (rows, tile): overwritten.
    """
    bound, z, bins = work[0], work[1], work[2:]
    for k in range(N_TARGETS):
        curve = feed_forward(known, n, nets[k], one, two)
        ascend(curve, n, len(knots))
        if k == 0 and bounded:
            levels(bound, curve, knots, n, bins, z)
            logits_above(tau[k], z, n, bound)
            quantiles(bound, curve, knots, n, bins, known[first])
        else:
            logits(tau[k], n, z)
            quantiles(z, curve, knots, n, bins, known[first + k])
