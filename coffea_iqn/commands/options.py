"""What options may be, beside the numbers of `ranges`: each a type for argparse, whose errors say what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from coffea_iqn.ranges import Range

T = TypeVar("T")
ENERGY = Range(above=0, most=1000)  # TeV


def text(given: str) -> str:
    """Text that is not empty."""
    if not given.strip():
        msg = f"expected a text that is not empty, got {given!r}"
        raise argparse.ArgumentTypeError(msg)
    return given


def add_figure_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that draw figures: what these say of where their jets come from."""
    shown = parser.add_argument_group("what figures say")
    shown.add_argument("--label", type=text, default="Simulation", help="beside the name (default: %(default)s)")
    shown.add_argument(
        "--energy", type=ENERGY, metavar="TEV", help="of the collisions (default: what the bundle says, if anything)"
    )
    shown.add_argument(
        "--reference-label",
        type=text,
        metavar="NAME",
        help="of the true reco jets (default: Delphes for files of Delphes, else Truth)",
    )


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


def add_force_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands whose output may be there already."""
    parser.add_argument("--force", action="store_true", help="replace an output that is there")
