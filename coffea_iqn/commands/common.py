"""What all commands share: files as they are given, executors, where they print."""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from coffea_iqn import running
from coffea_iqn.events import Names
from coffea_iqn.faults import Skipped
from coffea_iqn.files import InputError, Source, inspect
from coffea_iqn.folder import MissingContextWarning, OutsideDomainWarning

QUIET_SECONDS = 30.0  # between lines where there is no terminal

console = Console()
errors = Console(stderr=True)


def say(text: str) -> None:
    """A line of results, as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def datasets_of(
    arguments: argparse.Namespace, collections: Sequence[str], skipped: list[Skipped] | None = None
) -> dict[str, list[Source]]:
    """FILES as inspected files by dataset: NAME=PATH, or the file's own name without its suffix.

    Files that cannot be read are an error, or are noted among those skipped where there is such a list.
    """
    datasets: dict[str, list[Source]] = {}
    names = Names.of(dict(arguments.names))
    for item in arguments.files:
        name, _, path = item.rpartition("=")
        try:
            source = inspect(path, tree=arguments.tree, collections=collections, names=names)
        except InputError as error:
            if skipped is None:
                raise
            skipped.append(Skipped(path, None, str(error).removeprefix(f"{path}: ")))
            continue
        name = name or arguments.dataset or Path(path).stem
        datasets.setdefault(name, []).append(source)
    if skipped and not datasets:
        raise running.nothing_left(skipped)
    return datasets


def show_progress(arguments: argparse.Namespace) -> bool:
    """Whether somebody looks at a terminal."""
    return errors.is_terminal and not arguments.quiet


class Bars:
    """Bars on a terminal, now and then a line where there is none."""

    def __init__(self, *columns: ProgressColumn, visible: bool) -> None:
        self.visible = visible
        self.last_line = -math.inf
        self.progress = Progress(*columns, console=errors, disable=not visible)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def line(self, text: str) -> None:
        """Print a line where there is no terminal, unless there was one just now."""
        if not self.visible and time.monotonic() - self.last_line > QUIET_SECONDS:
            self.last_line = time.monotonic()
            errors.print(text, highlight=False)


@contextmanager
def folding_quietly() -> Iterator[None]:
    """No warnings of gen jets outside the domain or without context: a command says itself what it has to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideDomainWarning)
        warnings.simplefilter("ignore", MissingContextWarning)
        yield


def open_executor(arguments: argparse.Namespace) -> Any:
    """The executor that was asked for, as of `running.open_executor`."""
    return running.open_executor(
        arguments.executor,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        status=show_progress(arguments),
    )
