"""Rows in blocks of the cache's size, such that a row's result does not depend on the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from array_api_compat import array_namespace, device

BLOCK = 4096  # rows a network call: what fits the cache runs two to three times faster than a whole chunk
# blocks are padded to a multiple: matrix products of very few rows, and the last numbers beside two whole vectors of a
# processor, up to 32, are rounded differently
ROWS = 32


def in_blocks(function: Callable[..., Any], *arrays: Any, rows: int = BLOCK) -> Any:
    """`function` of the rows of those arrays, or tensors, that are not None, so many at a time, without gradients."""
    given = [array for array in arrays if array is not None]
    xp, n_rows = array_namespace(*given), len(given[0])
    if n_rows == 0:
        one_row = [xp.ones((1, *array.shape[1:]), dtype=array.dtype, device=device(array)) for array in given]
        return in_blocks(function, *one_row)[:0]
    out = []
    with torch.inference_mode():
        for start in range(0, n_rows, rows):
            blocks = [array[start : start + rows] for array in given]
            n = len(blocks[0])
            padding = -n % ROWS
            if padding:
                blocks = [xp.concat([block, xp.repeat(block[-1:], padding, axis=0)]) for block in blocks]
            out.append(function(*blocks)[:n])
    return array_namespace(out[0]).concat(out)
