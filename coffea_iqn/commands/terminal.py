"""Terminal output of the commands: results, errors, progress and logging."""

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

QUIET_SECONDS = 30.0  # between progress lines, if there is no terminal
FRAME, SHORTEST_NAME = 3, 16  # characters of padding and border of a column; width at which its name is folded

console = Console()
errors = Console(stderr=True)
log = logging.getLogger("coffea_iqn")


def add_terminal_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands have."""
    options = parser.add_argument_group("messages")
    options.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    options.add_argument("-v", "--verbose", action="store_true", help="also log what is read, and how")
    options.add_argument("--traceback", action="store_true", help="show where an error came from")


def set_up(arguments: argparse.Namespace) -> None:
    """Set up output and logging as the options request."""
    console.quiet = arguments.quiet
    log.setLevel(logging.INFO if arguments.verbose else logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]


def fitting(widths: Mapping[str, int], first: int) -> list[list[str]]:
    """Distribute columns over as few tables as fit into the width of the terminal.

    Parameters
    ----------
    widths: width of the content of each column, by its name; names may be folded.
    first: width of the first column, which every table has.
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
    """Print a line of results without markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print a line to standard error without markup."""
    errors.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def clean_warnings(arguments: argparse.Namespace) -> Iterator[None]:
    """Show each Python warning in one line, without the code that caused it, or not at all with --quiet."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not arguments.quiet:
            complain(f"coffea-iqn: warning: {' '.join(str(message).split())} ({category.__name__})")

    with warnings.catch_warnings():
        if not arguments.traceback:
            warnings.showwarning = show  # the documented way to change the output
        yield


def show_progress(arguments: argparse.Namespace) -> bool:
    """Whether to show progress: standard error is a terminal, and --quiet was not given."""
    return errors.is_terminal and not arguments.quiet


class Bars:
    """Progress bars on a terminal, or lines at intervals if there is none.

    Parameters
    ----------
    columns: columns of the progress bars.
    arguments: arguments of the command.
    at_once: whether to print the first line at once; otherwise tasks of a few seconds print nothing.
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
        """Print a line if there is no terminal, unless the last one was printed only just before."""
        if not self.visible and not self.silent and time.monotonic() - self.last_line > QUIET_SECONDS:
            self.last_line = time.monotonic()
            complain(text)
