"""How functions are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba as nb

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """A function compiled when it is first called, and kept on disk; it divides by zero as numpy does."""
    return cast(Callable[P, R], nb.njit(cache=True, nogil=True, error_model="numpy")(function))
