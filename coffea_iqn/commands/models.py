"""coffea-iqn models: what is shipped."""

from __future__ import annotations

import argparse

from rich.table import Table

from coffea_iqn import bundle
from coffea_iqn.commands.common import console
from coffea_iqn.data import BUNDLES


def models(_: argparse.Namespace) -> None:
    """List the shipped bundles."""
    table = Table(title="Shipped bundles")
    table.add_column("name", no_wrap=True)
    for column in ("jets", "domain", "context it can use", "hash"):
        table.add_column(column)
    for name in BUNDLES:
        content = bundle.read_card(bundle.find(name))
        jets, domain = content["card"]["jets"], content["card"]["domain"]
        low, high = domain["gen_pt"]
        table.add_row(
            name,
            f"{jets['algorithm']}\nR = {jets['radius']}",
            f"gen pt {low:g} to {high:g} GeV\n|eta| below {domain['gen_abs_eta'][1]:g}",
            "\n".join(content["variables"]["context"]) or "none",
            content["hash"][:8],
        )
    console.print(table)
