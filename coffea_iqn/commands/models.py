"""coffea-iqn models: list the shipped bundles."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table

from coffea_iqn import bundle
from coffea_iqn.commands.options import text
from coffea_iqn.commands.terminal import console
from coffea_iqn.data import BUNDLES, CORRECTIONS

EXAMPLES = """examples:
  coffea-iqn models
  coffea-iqn models my-detector
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `models`."""
    parser.add_argument("models", nargs="*", type=text, metavar="MODEL", help="list these bundles instead")
    parser.set_defaults(run=models)


def models(arguments: argparse.Namespace) -> None:
    """List the shipped bundles, or the given ones."""
    table = Table(title=None if arguments.models else "Shipped bundles")
    names = {model: Path(model).name for model in arguments.models or (*BUNDLES, *CORRECTIONS)}
    table.add_column("name, hash", overflow="fold", min_width=max(len(name) for name in names.values()))
    for column in ("jets", "domain", "context used"):
        table.add_column(column, overflow="fold")
    for model, name in names.items():
        content = bundle.read_card(bundle.find(model))
        jets, domain = content["card"]["jets"], content["card"]["domain"]
        level = bundle.DIRECTIONS[bundle.direction_of(content["card"])]
        low, high = domain[f"{level}_pt"]
        table.add_row(
            f"{name}\n{content['hash'][:8]}",
            f"{jets['algorithm']}\nR = {jets['radius']}",
            f"{level} pt {low:g} to {high:g} GeV\n|eta| below {domain[f'{level}_abs_eta'][1]:g}",
            "\n".join(content["variables"]["context"]) or "none",
        )
    console.print(table)
