"""Every member of the IQN family on the same files, each with several seeds.

    python benchmarks/members.py --train qcd_train.root --check qcd_valid.root qcd_test.root --output members.json

Trains each recipe for about the same time on one core, on jets of which nothing but the four-momentum is known, and
gives the figures of `fidelity.py`, mean and standard deviation over the seeds, and the validation loss against minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fidelity import PT_MIN, measure, read_pairs

from coffea_iqn import running
from coffea_iqn.files.inputs import inspect
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.emulators import train
from coffea_iqn.training.optimise import Check
from coffea_iqn.training.recipes import RECIPES, TrainingSettings

CMS = {"scale": "delphes-cms", "raw_pt_min": 10.0}
# as many steps as take about as long on one core; the paper's own figures took 24 hours
MEMBERS: dict[str, TrainingSettings] = {
    "paper-iqnx4": replace(RECIPES["paper-iqnx4"], stages=3, steps=1500, acceptance=False),
    "paper-iqnx1": replace(RECIPES["paper-iqnx1"], stages=3, steps=1500, acceptance=False),
    "residual-iqnx4": replace(RECIPES["residual-iqnx4"], stages=3, steps=1500, acceptance=False),
    "spline, 2 × 40": replace(RECIPES["default"], hidden=(40, 40), steps=6000, context=(), acceptance=False, **CMS),
    "spline, 2 × 64": replace(RECIPES["default"], hidden=(64, 64), steps=5000, context=(), acceptance=False, **CMS),
}
FIGURES = ("AUC8", "null AUC8", "AUCres", "null AUCres")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--check", nargs="+", required=True)
    parser.add_argument("--radius", type=float, default=0.5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    sources = [inspect(path, collections=["GenJet", "Jet"]) for path in arguments.train]
    with running.open_executor("iterative", status=False) as executor:
        collect = PairsProcessor(radius=arguments.radius)
        pairs, _ = running.run(collect, {"x": sources}, executor, collections=["GenJet", "Jet"], status=False)
    gen, real, context = read_pairs(arguments.check, arguments.radius, "delphes-cms")
    nothing = np.zeros_like(context)

    results: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        for name in arguments.members:
            curve: list[tuple[float, float]] = []
            started = time.process_time()

            def watch(check: Check, curve: list[tuple[float, float]] = curve, started: float = started) -> None:
                curve.append((round((time.process_time() - started) / 60.0, 3), round(check.best, 5)))

            emulator = train(pairs, replace(MEMBERS[name], seed=seed), watch=watch)
            row = {"member": name, "seed": seed, "minutes": curve[-1][0], "loss against minutes": curve}
            row["parameters"] = sum(p.numel() for p in emulator.network.module.parameters())
            results.append(row | measure(emulator, gen, real, nothing, seed=seed, threads=1))
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")
            print(name, seed, {key: results[-1][key] for key in ("minutes", *FIGURES)}, flush=True)
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """A row for each member: mean and standard deviation over the seeds."""
    lines = [
        "| member | parameters | CPU minutes | " + " | ".join(FIGURES) + " | PIT χ²/ndf pt η φ m |",
        "| --- " * (4 + len(FIGURES)) + "|",
    ]
    for name in dict.fromkeys(row["member"] for row in results):
        rows = [row for row in results if row["member"] == name]
        cells = [name, f"{rows[0]['parameters']:,}", f"{np.mean([row['minutes'] for row in rows]):.1f}"]
        for figure in FIGURES:
            values = [row[figure][0] for row in rows]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=min(1, len(rows) - 1)):.3f}")
        levels = [row["PIT"] for row in rows if "PIT" in row]
        cells.append(" ".join(f"{v:.1f}" for v in np.mean(levels, axis=0)) if levels else "none")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nJets above {PT_MIN:g} GeV: {results[0]['jets']:,}; seeds: {len(rows)} each."


if __name__ == "__main__":
    main()
