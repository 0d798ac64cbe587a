"""How functions are compiled, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

import numba as nb
from numba.core import event
from numba.extending import register_jitable

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """A function compiled when it is first called, and kept on disk; it divides by zero as numpy does."""
    return cast(Callable[P, R], nb.njit(cache=True, nogil=True, error_model="numpy")(function))


def part(function: Callable[P, R]) -> Callable[P, R]:
    """What kernels call: compiled with them, and soon, for Python does not have to reach it; there it is as written."""
    return cast(Callable[P, R], register_jitable(error_model="numpy")(function))


@contextmanager
def timed_compilation() -> Iterator[Callable[[], float]]:
    """Within the context, a function of how many seconds of it this process has compiled for."""
    with event.install_timer("numba:compile", lambda _: None) as timer:
        yield lambda: timer.duration if timer.done else 0.0
