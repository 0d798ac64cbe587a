"""coffea-iqn export: from a bundle to a file that other frameworks read."""

from __future__ import annotations

import argparse

from coffea_iqn import exports
from coffea_iqn.commands.options import add_force_option, path, text
from coffea_iqn.commands.terminal import say

EXAMPLES = """examples:
  coffea-iqn export cms-delphes-ak4 --to correctionlib --output response.json.gz
  coffea-iqn export cms-delphes-ak4 --to correctionlib-lwtnn --output draw.json.gz
  coffea-iqn export cms-delphes-ak4 --to onnx --output emulator.onnx
  coffea-iqn export my-detector --to correctionlib --reference nano_*.root --output response.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What export understands."""
    parser.add_argument("model", type=text, metavar="MODEL", help="a shipped bundle or a path")
    parser.add_argument(
        "--to",
        choices=tuple(exports.FORMATS),
        required=True,
        help="tables for any correctionlib, a network and a hash for correctionlib from 2.9 on, or the whole emulator "
        "as a graph",
    )
    parser.add_argument("--output", type=path, required=True, metavar="FILE", help=".json, .json.gz or .onnx")
    parser.add_argument(
        "--reference",
        nargs="+",
        type=text,
        default=[],
        metavar="FILES",
        help="files with the gen jets to average over and to compare on (default: the shipped ones of the radius)",
    )
    add_force_option(parser)
    parser.set_defaults(run=export)


def export(arguments: argparse.Namespace) -> None:
    """Export a bundle, and say how near what was written is to it."""
    made = exports.export(
        arguments.model, arguments.to, arguments.output, files=arguments.reference, force=arguments.force
    )
    for line in made.closure:
        say(line)
    say(f"Lost         {made.lost}")
    say(f"Written      {made.path}")
