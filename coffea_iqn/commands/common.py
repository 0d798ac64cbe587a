"""What all commands share: files as they are given, executors, where they print."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from coffea_iqn import running
from coffea_iqn.events import Names
from coffea_iqn.faults import Skipped
from coffea_iqn.files import InputError, Source, inspect

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


def open_executor(arguments: argparse.Namespace) -> Any:
    """The executor that was asked for, as of `running.open_executor`."""
    return running.open_executor(
        arguments.executor,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        status=show_progress(arguments),
    )
