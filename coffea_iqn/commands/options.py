"""Options that several commands share, and types for argparse whose errors say what was expected."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from coffea_iqn.iqn.device import check_device
from coffea_iqn.ranges import ENERGY, expect

T = TypeVar("T")


def text(given: str) -> str:
    """Return the text of an option, which must not be empty."""
    expect(given.strip(), f"expected a non-empty text, got {given!r}", argparse.ArgumentTypeError)
    return given


def path(given: str) -> Path:
    """Return the path of an option: an empty one would mean the current folder; no shell expands --output=~/folded."""
    return Path(os.path.expanduser(text(given)))  # noqa: PTH111 # pathlib refuses a ~ that is nobody's home


def output_path(given: str) -> Path:
    """Return the path of an output, where it really is: its unfinished parts are next to it, on the same disk."""
    found = path(given)
    return found.resolve() if found.is_symlink() or found.name in ("", "..") else found


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make the type of an option from a parser whose error messages begin with "name: "."""

    def option(given: str) -> T:
        try:
            return parse(given)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None

    return option


@checked
def device_name(given: str) -> str:
    """Return the name of a device, checked."""
    check_device(given)
    return given


def assignment(given: str) -> tuple[str, str]:
    """Split NAME=VALUE."""
    name, separator, value = given.partition("=")
    fits = name and separator and value
    expect(fits, f"expected NAME=VALUE, got {given!r}", argparse.ArgumentTypeError)
    return name, value


def add_figure_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the text on figures."""
    shown = parser.add_argument_group("text on figures")
    shown.add_argument(
        "--label", type=text, default="Simulation", help="text next to 'coffea-iqn' (default: %(default)s)"
    )
    shown.add_argument(
        "--energy",
        type=ENERGY,
        metavar="TEV",
        help="collision energy (default: that of generated files, or of the bundle, if it has one)",
    )
    shown.add_argument(
        "--reference-label",
        type=text,
        metavar="NAME",
        help="name of the true reco jets (default: Delphes for Delphes files, otherwise Truth)",
    )


def add_output_option(parser: argparse.ArgumentParser, metavar: str, says: str) -> None:
    """Add the options for the output path and for replacing an existing output."""
    parser.add_argument("--output", type=output_path, required=True, metavar=metavar, help=says)
    parser.add_argument("--force", action="store_true", help="replace an existing output")


def add_reco_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the collection of reco jets."""
    parser.add_argument("--reco", type=text, default="Jet", help="collection of reco jets (default: %(default)s)")


def add_radius_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that permits jets of a radius that the model was not trained for."""
    parser.add_argument("--any-radius", action="store_true", help="accept jets of another radius than the model's")


def add_device_option(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add the option for the device that networks run on."""
    parser.add_argument(
        "--device",
        type=device_name,
        default="cpu",
        help="device to compute on: cpu, cuda (a GPU), cuda:N, or auto (a GPU if there is one)"
        f"{note} (default: %(default)s)",
    )
