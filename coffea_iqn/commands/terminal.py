"""What commands say, and where: results, errors, progress, and more when asked."""

from __future__ import annotations

import argparse
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

QUIET_SECONDS = 30.0  # between lines where there is no terminal
FRAME, SHORTEST_NAME = 3, 16  # characters around a column, and those of a line of its name

console = Console()
errors = Console(stderr=True)
log = logging.getLogger("coffea_iqn")


def add_terminal_options(parser: argparse.ArgumentParser) -> None:
    """The options of all commands."""
    options = parser.add_argument_group("what is said")
    options.add_argument("-q", "--quiet", action="store_true", help="nothing but errors")
    options.add_argument("-v", "--verbose", action="store_true", help="more: what is read, when, and with what")
    options.add_argument("--traceback", action="store_true", help="show where an error came from")


def set_up(arguments: argparse.Namespace) -> None:
    """Say as much as was asked for."""
    console.quiet = arguments.quiet
    log.setLevel(logging.INFO if arguments.verbose else logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]


def fitting(widths: Mapping[str, int], first: int) -> list[list[str]]:
    """Columns in as few tables as hold them whole on this terminal.

    Parameters
    ----------
    widths: of what is in the columns, by their names, which may be folded.
    first: width of a column that every table has.
    """
    tables: list[list[str]] = []
    room = 0
    for name, width in widths.items():
        needed = max(width, min(len(name), SHORTEST_NAME)) + FRAME
        if not tables or needed > room:
            tables.append([])
            room = console.width - first - FRAME - 1
        tables[-1].append(name)
        room -= needed
    return tables


def say(text: str) -> None:
    """A line of results, as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """A line on standard error, as it is."""
    errors.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def clean_warnings(arguments: argparse.Namespace) -> Iterator[None]:
    """Warnings of Python as one line each, without the code they come from; none where errors alone are wanted."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not arguments.quiet:
            complain(f"coffea-iqn: warning: {' '.join(str(message).split())} ({category.__name__})")

    with warnings.catch_warnings():
        if not arguments.traceback:
            warnings.showwarning = show  # as the documentation of `warnings` has it
        yield


def show_progress(arguments: argparse.Namespace) -> bool:
    """Whether somebody looks at a terminal."""
    return errors.is_terminal and not arguments.quiet


class Bars:
    """Bars on a terminal, now and then a line where there is none.

    Parameters
    ----------
    columns: of the bars.
    arguments: of the command.
    at_once: whether the first line comes at once; else nothing is said of what takes seconds.
    """

    def __init__(self, *columns: ProgressColumn, arguments: argparse.Namespace, at_once: bool = True) -> None:
        self.visible = show_progress(arguments)
        self.silent = arguments.quiet
        self.last_line = -math.inf if at_once else time.monotonic()
        self.progress = Progress(*columns, console=errors, disable=not self.visible)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def line(self, text: str) -> None:
        """Print a line where there is no terminal, unless there was one just now."""
        if not self.visible and not self.silent and time.monotonic() - self.last_line > QUIET_SECONDS:
            self.last_line = time.monotonic()
            errors.print(text, highlight=False)
