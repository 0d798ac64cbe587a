"""coffea-iqn export: write a bundle in a format that other frameworks read."""

from __future__ import annotations

import argparse

from coffea_iqn import exports
from coffea_iqn.commands.options import add_output_option, text
from coffea_iqn.commands.terminal import say

EXAMPLES = """examples:
  coffea-iqn export cms-delphes-ak4 --to correctionlib --output response.json.gz
  coffea-iqn export cms-delphes-ak4 --to correctionlib-lwtnn --output draw.json.gz
  coffea-iqn export cms-delphes-ak4 --to onnx --output emulator.onnx
  coffea-iqn export my-detector --to correctionlib --reference nano_*.root --output response.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.add_argument("model", type=text, metavar="MODEL", help="name of a shipped bundle, or path of a bundle")
    parser.add_argument(
        "--to",
        choices=tuple(exports.FORMATS),
        required=True,
        help="correctionlib: tables of the response; correctionlib-lwtnn: the network and a hash function, for "
        "correctionlib 2.9 or later; onnx: the whole emulator as a graph",
    )
    add_output_option(parser, "FILE", "output file, ending in .json, .json.gz or .onnx")
    parser.add_argument(
        "--reference",
        nargs="+",
        action="extend",
        type=text,
        default=[],
        metavar="FILES",
        help="files with the gen jets to average over and to compare on (default: the shipped samples of the same jet "
        "radius)",
    )
    parser.set_defaults(run=export)


def export(arguments: argparse.Namespace) -> None:
    """Export a bundle and print how closely the result reproduces it."""
    made = exports.export(
        arguments.model, arguments.to, arguments.output, files=arguments.reference, force=arguments.force
    )
    for line in made.closure:
        say(line)
    say(f"Left out     {made.lost}")
    say(f"Written      {made.path}")
