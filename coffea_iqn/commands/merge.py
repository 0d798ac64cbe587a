"""coffea-iqn merge: merge the files of a skim into one file for each dataset."""

from __future__ import annotations

import argparse

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from coffea_iqn.commands.options import add_output_option, path
from coffea_iqn.commands.terminal import Bars, say
from coffea_iqn.files import skims

EXAMPLES = """examples:
  coffea-iqn merge folded/skim --output qcd.root
  coffea-iqn merge folded/skim --output merged
  coffea-iqn merge part_1.root part_2.root --output qcd.parquet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `merge`."""
    parser.add_argument(
        "parts", nargs="+", type=path, metavar="PARTS", help="files written by fold --skim, or folders of such files"
    )
    add_output_option(
        parser, "PATH", "output file ending in .root or .parquet, or a folder that gets one file for each dataset"
    )
    parser.set_defaults(run=merge)


def merge(arguments: argparse.Namespace) -> None:
    """Merge skims."""
    columns = (TextColumn("merging"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeElapsedColumn())
    with Bars(*columns, arguments=arguments, at_once=False) as bars:
        task = bars.progress.add_task("", total=None)

        def watch(n_events: int) -> None:
            bars.progress.advance(task, n_events)
            bars.line("merging")

        made = skims.merge(arguments.parts, arguments.output, force=arguments.force, watch=watch)
    for one in made:
        files = f"{one.n_parts:,} file{'s' * (one.n_parts > 1)}"
        say(f"{one.path}: {one.dataset}, {one.n_events:,} events of {files}")
        for file, start, stop in one.gaps:
            say(f"Missing      events {start} to {stop} of {file}")
