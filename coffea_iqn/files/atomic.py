"""Atomic writes: files and folders appear complete or not at all; locks; names of files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

OURS = ".coffea-iqn"  # marks a folder that may be removed, for it was made here


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


def is_taken(path: Path) -> bool:
    """Whether something is there; an empty folder is as good as none."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def check_new(path: Path, *, force: bool) -> None:
    """Refuse to replace what is there, unless told to.

    Parameters
    ----------
    path: of an output, a file or a folder; an empty folder is as good as none.
    force: whether it may be replaced.

    Raises
    ------
    FileExistsError: when there is something.
    """
    if not force and is_taken(path):
        msg = f"output {path}: expected a new path, got one where something is already: --force replaces it"
        raise FileExistsError(msg)


@contextlib.contextmanager
def at_work(path: Path) -> Iterator[None]:
    """Be the only process that makes an output, as long as the block lasts; one that was killed does not count.

    Raises
    ------
    FileExistsError: when another process is at work there.
    """
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write_new(lock)
    except FileExistsError:
        _take_over(lock, path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _write_new(lock: Path) -> None:
    """Write a lock that was not there, as only one of several processes can, on shared disks as well."""
    with lock.open("x") as file:
        file.write(f"{os.getpid()} {socket.gethostname()}")


def _take_over(lock: Path, path: Path) -> None:
    """Take the lock of a process that was killed; of several that find it, only one can."""
    if not _is_of_the_dead(lock):
        raise _at_work_there(lock, path)
    mine = lock.with_name(f"{lock.name}.next")
    try:
        _write_new(mine)
    except FileExistsError:
        raise _at_work_there(mine, path) from None
    if not _is_of_the_dead(lock):  # no longer: another was here in between
        mine.unlink()
        raise _at_work_there(lock, path)
    mine.replace(lock)


def _owner(lock: Path) -> tuple[str, str]:
    """Process and machine of a lock; nothing where it is not yet written, or gone."""
    try:
        pid, _, host = lock.read_text().strip().partition(" ")
    except FileNotFoundError:
        return "", ""
    return pid, host


def _is_of_the_dead(lock: Path) -> bool:
    pid, host = _owner(lock)
    return host == socket.gethostname() and not _is_alive(pid)


def _at_work_there(lock: Path, path: Path) -> FileExistsError:
    pid, host = _owner(lock)
    return FileExistsError(
        f"output {path}: expected no other process at work there, found process {pid or 'unknown'} of "
        f"{host or 'an unknown machine'}; where it is gone, remove {lock}"
    )


def _is_alive(pid: str) -> bool:
    """Whether a process of this machine runs."""
    if not pid.isdecimal():
        return True  # its file is not yet written
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user, but there
        pass
    return True


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
        with _naming(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of a disk that is full what was to be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or str(path) in str(error):
            raise
        msg = f"output {path}: {os.strerror(error.errno)}"
        raise OSError(error.errno, msg) from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, whose files move there when the block ends well, and vanish when it does not.

    Raises
    ------
    FileExistsError: when there is a file at the path.
    """
    if path.is_file():
        msg = f"output {path}: expected a folder, found a file"
        raise FileExistsError(msg)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    temporary.mkdir(parents=True)
    try:
        with _naming(path):
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


@contextlib.contextmanager
def unfinished(folder: Path, *, keep: bool = True, restart: bool = False) -> Iterator[Path]:
    """A folder for what is finished of an output before all of it is: it goes when the block ends well.

    Parameters
    ----------
    folder: where; it may be there from before, with what this context left in it.
    keep: whether it stays, with what is in it, when the block does not end well.
    restart: whether what is there from before is removed first.

    Raises
    ------
    FileExistsError: when there is something else.
    """
    if is_taken(folder) and not (folder / OURS).is_file():
        msg = f"{folder}: expected nothing, or what an interrupted run left there, found something else: move it away"
        raise FileExistsError(msg)
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OURS).touch()
    try:
        yield folder
    except BaseException:
        if not keep or all(path.is_dir() or path.name == OURS for path in folder.rglob("*")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
