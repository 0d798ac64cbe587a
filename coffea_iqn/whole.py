"""Files and folders that are there when they are whole, and are not when something went wrong."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends well, and vanishes when it does not.

    The name is one that no other process takes: of two that write the same file, the later one stays.

    Raises
    ------
    IsADirectoryError: when there is a folder at the path.
    """
    if path.is_dir():
        msg = f"output {path}: expected a file to write, found a folder"
        raise IsADirectoryError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `path` when the block ends well, and vanish when it does not.

    Raises
    ------
    FileExistsError: when there is a file at the path.
    """
    if path.is_file():
        msg = f"output {path}: expected a folder, found a file"
        raise FileExistsError(msg)
    temporary = path.with_name(path.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        path.mkdir(exist_ok=True)
        for file in sorted(temporary.rglob("*")):
            target = path / file.relative_to(temporary)
            if file.is_dir():
                target.mkdir(exist_ok=True)
            else:
                file.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
