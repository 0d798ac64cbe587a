"""Files and folders that are there when they are whole, and are not when something went wrong; names of files."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path


def plain_name(name: str) -> str:
    """What of a name may be part of a file's: datasets of CMS are called `/QCD_Pt-20/Run3/NANOAODSIM`.

    >>> plain_name("/TT/Run3/NANO"), plain_name("qcd")
    ('TT-Run3-NANO', 'qcd')
    """
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "dataset"


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """The `plain_name` of each name.

    Raises
    ------
    ValueError: when two names come to the same.
    """
    plain = {name: plain_name(name) for name in names}
    for name, text in plain.items():
        other = next(other for other, same in plain.items() if same == text)
        if other != name:
            msg = f"datasets: expected names that differ as names of files, got {other!r} and {name!r}"
            raise ValueError(msg)
    return plain


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
