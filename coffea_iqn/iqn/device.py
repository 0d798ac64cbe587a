"""Torch devices by name, and evaluation in blocks of rows, so that a row's result does not depend on other rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace, device

from coffea_iqn.ranges import expect

BLOCK = 4096  # rows per network call: blocks that fit into the cache are two to three times faster than a whole chunk
# blocks are padded to a multiple of this: matrix products round differently for very few rows, and for the rows left
# over after whole pairs of vectors, up to 32 numbers
ROWS = 32


def in_blocks(function: Callable[..., Any], *arrays: Any, rows: int = BLOCK) -> Any:
    """Evaluate a function on arrays or tensors in blocks of rows; arrays that are None are omitted."""
    given = [array for array in arrays if array is not None]
    xp, n_rows = array_namespace(*given), len(given[0])
    if n_rows == 0:
        one_row = [xp.ones((1, *array.shape[1:]), dtype=array.dtype, device=device(array)) for array in given]
        return in_blocks(function, *one_row)[:0]
    out = []
    for start in range(0, n_rows, rows):
        blocks = [array[start : start + rows] for array in given]
        n = len(blocks[0])
        padding = -n % ROWS
        if padding:
            blocks = [xp.concat([block, xp.repeat(block[-1:], padding, axis=0)]) for block in blocks]
        out.append(function(*blocks)[:n])
    return array_namespace(out[0]).concat(out)


def in_blocks_of_torch(function: Callable[..., Any], *arrays: Any, rows: int = BLOCK) -> Any:
    """Same as `in_blocks`, for a function that evaluates torch networks, without gradients, in single precision.

    Raises
    ------
    ValueError: if the default type of torch is not float32.
    """
    import torch

    kind = torch.get_default_dtype()
    expect(kind == torch.float32, f"torch: expected float32 as its default type, got {kind} (torch.set_default_dtype)")
    # an autocast of the caller would draw jets with three digits
    with torch.inference_mode(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        return in_blocks(function, *arrays, rows=rows)


def one_thread() -> None:
    """Limit torch to one thread, as it would otherwise start one per core in each of many workers."""
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def check_device(name: str) -> None:
    """Raise ValueError unless this is a valid name of a device."""
    fits = re.fullmatch(r"auto|cpu|cuda(:\d+)?", name)
    expect(fits, f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")


def find_device(name: str) -> Any:
    """Return the torch device of this name; "auto" is a GPU if torch finds one.

    Raises
    ------
    ValueError: when the name is invalid, or there is no such device.
    ModuleNotFoundError: when torch is not installed (folding on the CPU does not require it).
    """
    check_device(name)
    try:
        import torch
    except ModuleNotFoundError as error:
        msg = f"device {name}: expected {error.name} to be installed, found none: pip install 'coffea-iqn[train]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    if name == "cpu":  # without initialising the driver, which must not happen before a process forks
        return torch.device("cpu")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(("cuda" if n_gpus else "cpu") if name == "auto" else name)
    fits = device.type != "cuda" or (device.index or 0) < n_gpus
    expect(fits, f"device: expected {name}, but torch {torch.__version__} finds {n_gpus} such devices in this process")
    return device
