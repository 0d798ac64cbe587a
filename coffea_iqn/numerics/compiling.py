"""How functions are compiled, and how long it takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import numba as nb
from numba.core import event
from numba.extending import overload

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """A function compiled when it is first called, and kept on disk; it divides by zero as numpy does."""
    return cast(Callable[P, R], nb.njit(cache=True, nogil=True, error_model="numpy")(function))


def part(function: Callable[P, R]) -> Callable[P, R]:
    """What kernels call: compiled with them, and soon, for Python cannot reach it.

    Raises
    ------
    TypeError: when Python calls it, where it would be slow, and numbers of numpy round otherwise.
    """

    @functools.wraps(function)
    def from_python(*_: P.args, **__: P.kwargs) -> R:
        msg = f"{function.__name__}: expected a call from compiled code, of which it is a part, got one from Python"
        raise TypeError(msg)

    @overload(from_python, jit_options={"error_model": "numpy"}, strict=False)  # type: ignore[untyped-decorator]
    def implementation(*_: Any, **__: Any) -> Callable[P, R]:
        return function

    return from_python


@contextmanager
def timed_compilation() -> Iterator[Callable[[], float]]:
    """Within the context, a function of how many seconds of it this process has compiled for."""
    with event.install_timer("numba:compile", lambda _: None) as timer:
        yield lambda: timer.duration if timer.done else 0.0
