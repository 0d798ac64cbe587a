"""Decorators that compile functions with numba, and a timer for the compilation."""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import numba as nb
from numba import types
from numba.core import event
from numba.extending import intrinsic, overload

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on its first call and cache it on disk; division by zero follows numpy."""
    compiled = nb.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    try:
        compiled.enable_caching()
    except RuntimeError:  # neither the installation nor the home folder can be written, as in many containers
        _warn_uncached()
    return cast(Callable[P, R], compiled)


@functools.cache
def _warn_uncached() -> None:
    """Warn, once per process, that compiled code is not kept."""
    msg = (
        "numba: expected a folder for compiled code that can be written, found none: every process compiles for half a "
        "minute or more; set NUMBA_CACHE_DIR to such a folder"
    )
    warnings.warn(msg, RuntimeWarning, stacklevel=3)


def part(function: Callable[P, R], *, inline: bool = False) -> Callable[P, R]:
    """Mark a function as part of kernels: it is compiled with them, and quickly, as it has no entry point from Python.

    Raises
    ------
    TypeError: when called from Python, where it would be slow and numpy scalars would round differently.
    """

    @functools.wraps(function)
    def from_python(*_: P.args, **__: P.kwargs) -> R:
        msg = f"{function.__name__}: expected a call from compiled code, got one from Python"
        raise TypeError(msg)

    options = {"error_model": "numpy", "forceinline": inline, "no_cfunc_wrapper": True}

    @overload(from_python, jit_options=options, strict=False)  # type: ignore[untyped-decorator]
    def implementation(*_: Any, **__: Any) -> Callable[P, R]:
        return function

    return from_python


def inlined_part(function: Callable[P, R]) -> Callable[P, R]:
    """Same as `part`, but inlined: for parts called so often that counting references to their arguments takes time."""
    return part(function, inline=True)


@intrinsic  # type: ignore[untyped-decorator]
def wide(_typing: Any) -> Any:
    """Have the compiler use the longest vectors of the processor in the function that calls this.

    By default it uses half of them on many processors that have AVX-512, since using long vectors only now and then may
    slow down everything else; but here the networks use them anyway. The results have the same bits.
    """

    def generate(context: Any, builder: Any, *_: Any) -> Any:
        # an attribute of LLVM with a value, which the method `add` of llvmlite's set of attributes refuses
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


class _PausedCollection(event.Listener):  # type: ignore[misc]
    """Pauses Python's search for reference cycles while code of this package is compiled.

    It goes through the millions of objects of the compiler again and again, for a seventh of the time of compilation.
    """

    def __init__(self) -> None:
        self.depth = 0

    def on_start(self, compilation: event.Event) -> None:
        if self.depth or (gc.isenabled() and _is_ours(compilation)):
            self.depth += 1
            gc.disable()

    def on_end(self, _: event.Event) -> None:
        if self.depth:
            self.depth -= 1
            if not self.depth:
                gc.enable()


def _is_ours(compilation: event.Event) -> bool:
    return str(compilation.data["dispatcher"].__module__).partition(".")[0] == __name__.partition(".")[0]


event.register("numba:compile", _PausedCollection())


@contextmanager
def timed_compilation() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds this process has spent compiling within the context."""
    with event.install_timer("numba:compile", lambda _: None) as timer:
        yield lambda: timer.duration if timer.done else 0.0
