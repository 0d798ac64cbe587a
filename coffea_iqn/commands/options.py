"""What options may be, beside the numbers of `ranges`: each a type for argparse, whose errors say what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def text(given: str) -> str:
    """Text that is not empty."""
    if not given.strip():
        msg = f"expected a text that is not empty, got {given!r}"
        raise argparse.ArgumentTypeError(msg)
    return given


def path(given: str) -> Path:
    """A path that is not empty: an empty one would be the folder where the command runs."""
    return Path(text(given))


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The type of an option from a function whose errors begin with a name of their own."""

    def option(given: str) -> T:
        try:
            return parse(given)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None

    return option


def assignment(given: str) -> tuple[str, str]:
    """NAME=VALUE in two."""
    name, separator, value = given.partition("=")
    if not name or not separator or not value:
        msg = f"expected NAME=VALUE, got {given!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, value
