"""Cutflows of the analyses in `notebooks/two_analyses.ipynb` on files of your choice, emulated and from Delphes.

    python benchmarks/analyses.py MODEL --top PATH[,PATH ...] --z PATH[,PATH ...] [--seeds 8]

Prints for each step the number of events in Delphes, and mean and standard deviation (spread) of several draws, with
their difference in units of the spread. Delphes' events are like one more draw, with the same spread.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from inputs import events_of
from rich.console import Console
from rich.table import Table

from coffea_iqn import EventFolder

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "two_analyses.ipynb"
ANALYSES = {"top": "LeptonPlusJets", "z": "ZPlusJets"}


def analyses() -> dict[str, Any]:
    """Return the analysis classes of the notebook, by name."""
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    found: dict[str, Any] = {}
    for source in (cell for cell in cells if cell.startswith("import awkward") or "class LeptonPlusJets" in cell):
        exec(source, found)
    return found


def cutflow(analysis: Any, paths: list[str], folder: EventFolder | None) -> dict[str, int]:
    """Return the number of events after each step, with true objects, or with those that a folder draws."""
    total: dict[str, int] = {}
    for path in paths:
        events = events_of(path)
        out = analysis().process(events if folder is None else folder(events, as_nano=True))
        total = {step: total.get(step, 0) + n for step, n in out["cutflow"].items()}
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for name in ANALYSES:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    folders = [EventFolder(given.model, seed=seed) for seed in range(given.seeds)]
    console, classes = Console(width=100), analyses()
    for option, name in ANALYSES.items():
        paths = getattr(given, option).split(",")
        real = cutflow(classes[name], paths, None)
        drawn = [cutflow(classes[name], paths, folder) for folder in folders]
        table = Table(name, "Delphes", "emulated", "spread", "difference in spreads")
        for step, n in real.items():
            of_draws = [one[step] for one in drawn]
            mean, spread = np.mean(of_draws), np.std(of_draws, ddof=1)
            pull = (mean - n) / (spread * np.sqrt(1.0 + 1.0 / len(drawn))) if spread else 0.0
            table.add_row(step, f"{n:,}", f"{mean:,.1f}", f"{spread:.1f}", f"{pull:+.1f}")
        console.print(table)


if __name__ == "__main__":
    main()
