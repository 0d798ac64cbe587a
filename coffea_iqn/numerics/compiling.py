"""How functions are compiled, and how long it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import numba as nb
from numba.core import event

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """A function compiled when it is first called, and kept on disk; it divides by zero as numpy does."""
    return cast(Callable[P, R], nb.njit(cache=True, nogil=True, error_model="numpy")(function))


@contextmanager
def timed_compilation() -> Iterator[Callable[[], float]]:
    """Within the context, a function of how many seconds of it this process has compiled for."""
    with event.install_timer("numba:compile", lambda _: None) as timer:
        yield lambda: timer.duration if timer.done else 0.0


def forget_stale(package: Path) -> None:
    """Remove what was compiled before the newest module of a package was written.

    numba compiles a function again when its own file has changed, but not when that of a function it calls has, which
    may be in another one: a kernel would go on with what the other one was.
    """
    modules = list(package.rglob("*.py"))
    newest = max(path.stat().st_mtime for path in modules)
    for folder in {path.parent / "__pycache__" for path in modules}:
        for index in folder.glob("*.nbi"):
            with contextlib.suppress(OSError):  # another process was faster, or the package is not ours to write
                if index.stat().st_mtime < newest:
                    index.unlink()
