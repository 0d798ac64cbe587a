"""What the scripts of this folder share: reading of files, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
from coffea.nanoevents import NanoEventsFactory

from coffea_iqn import running
from coffea_iqn.files.inputs import NanoSchema, inspect

COLLECTIONS = ["GenJet", "Jet"]


def named(items: Iterable[str]) -> dict[str, list[str]]:
    """Return the paths by name, given as NAME=PATH,PATH; without a name, that of the file counts."""
    found = {}
    for item in items:
        name, _, paths = item.rpartition("=")
        found[name or Path(paths).stem] = paths.split(",")
    return found


def events_of(path: str, **how: Any) -> ak.Array:
    """Return the events of a NanoAOD-like file; how: further arguments of coffea's factory."""
    return NanoEventsFactory.from_root({path: "Events"}, schemaclass=NanoSchema, **how).events()


def run(instance: Any, files: Mapping[str, Sequence[str]], branches: Sequence[str] = ()) -> Any:
    """Run a processor over files by dataset, and return its result; branches: further ones that it reads."""
    sources = {name: [inspect(path, collections=COLLECTIONS) for path in paths] for name, paths in files.items()}
    with running.open_executor("iterative", status=False) as executor:
        return running.run(instance, sources, executor, collections=COLLECTIONS, branches=branches, status=False)


def markdown(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Format a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
