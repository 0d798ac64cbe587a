"""Invalidation of numba's on-disk cache."""

from __future__ import annotations

import contextlib
from pathlib import Path


def forget_stale(package: Path) -> None:
    """Remove cached compiled code that is older than the newest module of a package.

    numba recompiles a function when its own file has changed, but not when the file of a function it calls has: the
    kernel would keep using the old version of that function.
    """
    modules = list(package.rglob("*.py"))
    newest = max(path.stat().st_mtime for path in modules)
    for folder in {path.parent / "__pycache__" for path in modules}:
        for index in folder.glob("*.nbi"):
            with contextlib.suppress(OSError):  # removed by another process, or no write permission
                if index.stat().st_mtime < newest:
                    index.unlink()
