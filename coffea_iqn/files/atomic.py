"""Atomic writes, where files and folders appear complete or not at all; locks; names of files."""

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

from coffea_iqn.ranges import expect

OURS = ".coffea-iqn"  # marks a folder made here, which may be removed


def plain_name(name: str) -> str:
    """Return a name with only characters allowed in file names: CMS datasets are called `/QCD_Pt-20/Run3/NANOAODSIM`.

    >>> plain_name("/TT/Run3/NANO"), plain_name("qcd")
    ('TT-Run3-NANO', 'qcd')
    """
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "dataset"


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Return the `plain_name` of each name.

    Raises
    ------
    ValueError: if two names become the same.
    """
    plain = {name: plain_name(name) for name in names}
    for name, text in plain.items():
        other = next(other for other, same in plain.items() if same == text)
        expect(other == name, f"datasets: expected names that differ as names of files, got {other!r} and {name!r}")
    return plain


def is_taken(path: Path) -> bool:
    """Whether there is something at a path; an empty folder counts as nothing."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def check_new(path: Path, *, force: bool) -> None:
    """Check that an output is new, unless it may be replaced.

    Parameters
    ----------
    path: output file or folder; an empty folder counts as new.
    force: whether an existing output may be replaced.

    Raises
    ------
    FileExistsError: if there is something at the path.
    """
    got = "got one where something is already: --force replaces it, force=True in Python"
    expect(force or not is_taken(path), f"output {path}: expected a new path, {got}", FileExistsError)


@contextlib.contextmanager
def at_work(path: Path) -> Iterator[None]:
    """Lock an output during a block; the lock of a process that no longer exists is taken over.

    Raises
    ------
    FileExistsError: if another process holds the lock.
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
    """Create a lock file; of several processes only one succeeds, on shared disks as well."""
    with lock.open("x") as file:
        file.write(f"{os.getpid()} {socket.gethostname()}")


def _take_over(lock: Path, path: Path) -> None:
    """Take over the lock of a process that no longer exists; of several processes only one succeeds."""
    if not _is_abandoned(lock):
        raise _lock_error(lock, path)
    mine = lock.with_name(f"{lock.name}.next")
    try:
        _write_new(mine)
    except FileExistsError:
        raise _lock_error(mine, path) from None
    if not _is_abandoned(lock):  # another process took it over in between
        mine.unlink()
        raise _lock_error(lock, path)
    mine.replace(lock)


def _owner(lock: Path) -> tuple[str, str]:
    """Return process id and machine of a lock; empty if it is not yet written, or removed."""
    try:
        pid, _, host = lock.read_text().strip().partition(" ")
    except FileNotFoundError:
        return "", ""
    return pid, host


def _is_abandoned(lock: Path) -> bool:
    pid, host = _owner(lock)
    return host == socket.gethostname() and not _is_alive(pid)


def _lock_error(lock: Path, path: Path) -> FileExistsError:
    pid, host = _owner(lock)
    return FileExistsError(
        f"output {path}: expected no other process at work there, found process {pid or 'unknown'} on "
        f"{host or 'an unknown machine'}; if that process no longer exists, remove {lock}"
    )


def _is_alive(pid: str) -> bool:
    """Whether a process with this id runs on this machine."""
    if not pid.isdecimal():
        return True  # the lock file is not yet written
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return True


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds, and is removed otherwise.

    The temporary name is unique: if two processes write the same file, the later one wins.

    Raises
    ------
    IsADirectoryError: if there is a folder at the path.
    """
    expect(not path.is_dir(), f"output {path}: expected a file to write, found a folder", IsADirectoryError)
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
    """Add the output path to the error of a full disk, or of a file above a limit."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or str(path) in str(error):
            raise
        msg = f"output {path}: {os.strerror(error.errno)}"
        raise OSError(error.errno, msg) from error


@contextlib.contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder whose files move to `path` if the block succeeds, and which is removed otherwise.

    replace: whether it replaces a folder at the path, of which otherwise files of other names stay.

    Raises
    ------
    FileExistsError: if there is a file at the path.
    """
    expect(not path.is_file(), f"output {path}: expected a folder, found a file", FileExistsError)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    temporary.mkdir(parents=True)
    try:
        with _naming(path):
            yield temporary
            if replace:
                _exchange(temporary, path)
                return
            path.mkdir(exist_ok=True)
            for file in sorted(temporary.rglob("*")):
                target = path / file.relative_to(temporary)
                if file.is_dir():
                    target.mkdir(exist_ok=True)
                else:
                    file.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, path: Path) -> None:
    """Rename a new folder to `path`, and remove the former one, which comes back if the rename fails."""
    former = new.with_suffix(".former")
    if path.exists():
        path.rename(former)
    try:
        new.rename(path)
    except BaseException:
        if former.exists():
            former.rename(path)
        raise
    shutil.rmtree(former, ignore_errors=True)


def folder_of(output: Path) -> Path:
    """Return the folder that keeps the finished parts of an unfinished output."""
    return output.with_name(output.name + ".chunks")


@contextlib.contextmanager
def unfinished(folder: Path, *, keep: bool = True, restart: bool = False) -> Iterator[Path]:
    """Yield a folder for the finished parts of an output; it is removed if the block succeeds.

    Parameters
    ----------
    folder: its path; it may exist with the contents of an earlier, interrupted run.
    keep: whether to keep the folder and its contents if the block fails.
    restart: whether to remove the contents of an earlier run first.

    Raises
    ------
    FileExistsError: if there is something else at the path.
    """
    wanted = "expected nothing, or what an interrupted run left there, found something else: move it away"
    expect(not is_taken(folder) or (folder / OURS).is_file(), f"{folder}: {wanted}", FileExistsError)
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
