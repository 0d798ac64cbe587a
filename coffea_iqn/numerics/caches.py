"""Compiled code that numba keeps on disk, and when not to trust it."""

from __future__ import annotations

import contextlib
from pathlib import Path


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
