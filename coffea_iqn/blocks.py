"""Rows in blocks of the cache's size, such that a row's result does not depend on the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]

BLOCK = 4096  # rows a network call: what fits the cache runs two to three times faster than a whole chunk
ROWS = 16  # blocks are padded to a multiple, for matrix products of very few rows round differently


def in_blocks(function: Callable[..., Array], *arrays: Array | None) -> Array:
    """`function` of the rows of those arrays that are not None, in blocks, without gradients."""
    given = [array for array in arrays if array is not None]
    n_rows = len(given[0])
    if n_rows == 0:
        one_row = [np.ones((1, *a.shape[1:]), dtype=a.dtype) for a in given]
        return in_blocks(function, *one_row)[:0]
    out = []
    with torch.inference_mode():
        for start in range(0, n_rows, BLOCK):
            blocks = [a[start : start + BLOCK] for a in given]
            n = len(blocks[0])
            padding = -n % ROWS
            if padding:
                blocks = [np.concatenate([b, np.repeat(b[-1:], padding, axis=0)]) for b in blocks]
            out.append(function(*blocks)[:n])
    return np.concatenate(out)
