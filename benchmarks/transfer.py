"""How many jets of a detector a training needs: networks begin at random, or as those of a bundle for another detector.

    python benchmarks/transfer.py --train qcd=FILES ttbar=FILES --check FILES --pretrained cms-delphes-ak4 \
        --scale delphes-atlas --output transfer.json --figure docs/images/transfer.png

FILES are paths separated by commas. For each number of gen jets, those of whole events are chosen at random from the
training files; a tenth of these events is held out to choose network, number of steps and weights. `fidelity.measure`
evaluates the emulators on other files, with all conditioning variables; so does the mean of −log p(reco | gen). Rows
that are already in the output are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from fidelity import measure, read_pairs
from inputs import markdown, named, run

from coffea_iqn import Emulator, bundle, plotting
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.emulators import part_of, train
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import RECIPES

THRESHOLD = 10.0  # GeV, of the detectors before their scale
DEFAULT = replace(RECIPES["default"], acceptance=False, unmatched=False, raw_pt_min=THRESHOLD)
TRIED = {  # for up to so many gen jets: hidden layers and steps of a training from random weights, and steps of others
    1_000: ([((16, 16), 250), ((32, 32), 250)], [50, 150]),
    10_000: ([((32, 32), 800), ((64, 64), 400)], [150, 400]),
    100_000: ([((64, 64), 1500), ((64, 64), 4000)], [800, 2000]),
    10_000_000: ([((64, 64), 8000)], [4000]),
}
ANEW = "random weights"


def some(pairs: JetPairs, n: int, seed: int) -> JetPairs:
    """Return the gen jets of random events, about n of them."""
    events = np.unique(pairs.split_key)  # a number for each event
    chosen = np.random.default_rng(seed).permutation(events)[: round(len(events) * n / len(pairs.x))]
    return part_of(pairs, np.isin(pairs.split_key, chosen))


def learn(pairs: JetPairs, before: Emulator | None, scale: str, seed: int) -> tuple[Emulator, dict[str, Any]]:
    """Train several emulators, and return that with the least validation loss, and what it took."""
    anew, steps_of_others = next(tried for n, tried in TRIED.items() if len(pairs.x) <= n)
    sizes = anew if before is None else [(None, steps) for steps in steps_of_others]
    tried, started = [], time.process_time()
    for hidden, steps in sizes:
        own = {"hidden": hidden, "steps": steps, "check_every": max(steps // 16, 5), "seed": seed, "scale": scale}
        emulator = train(pairs, replace(DEFAULT, **own), pretrained=before)
        tried.append((emulator.card["training"]["validation_loss"]["quantiles"], steps, emulator))
    _, steps, emulator = min(tried, key=lambda one: one[0])
    hidden = emulator.card["training"]["settings"]["hidden"]
    return emulator, {"hidden": hidden, "steps": steps, "minutes": round((time.process_time() - started) / 60.0, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--check", nargs="+", required=True)
    parser.add_argument("--pretrained", required=True)
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--scale", default="delphes-cms", help="jet scale of the detector")
    parser.add_argument("--jets", nargs="+", type=int, default=[1000, 3000, 10_000, 30_000, 100_000, 10_000_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()

    rows: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
    pairs, _ = run(PairsProcessor(radius=arguments.radius), named(arguments.train))
    check = read_pairs(arguments.check, arguments.radius, arguments.scale, THRESHOLD)
    for seed in arguments.seeds:
        for n in arguments.jets:
            for name in (arguments.pretrained, ANEW):
                if any((row["begins as"], row["seed"], row["asked"]) == (name, seed, n) for row in rows):
                    continue
                sample = some(pairs, min(n, len(pairs.x)), seed)
                before = None if name == ANEW else bundle.load(name)
                emulator, made = learn(sample, before, arguments.scale, seed)
                row = {"begins as": name, "seed": seed, "asked": n, "gen jets": len(sample.x)}
                row |= {"pairs": int(sample.matched.sum()), **made}
                density = emulator.log_density(*check)
                inside = np.isfinite(density)
                row |= {"-log p": round(float(-density[inside].mean()), 4), "outside": int((~inside).sum())}
                found = measure(emulator, *check, seed=seed, threads=1, raw_pt_min=THRESHOLD)
                found.pop("PIT of cells", None)
                rows.append(row | found)
                print(json.dumps(rows[-1]), flush=True)
                arguments.output.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    if arguments.figure is not None:
        plotting.save(figure(rows), arguments.figure)


def table(rows: list[dict[str, Any]]) -> str:
    """Format a row for each number of gen jets and beginning."""
    names = ("gen jets", "pairs", "begins as", "steps", "minutes", "−log p", "AUC8", "AUCres", "null", "mass")
    lines = []
    for row in sorted(rows, key=lambda row: (row["asked"], row["begins as"], row["seed"])):
        of_row = [f"{row['gen jets']:,}", f"{row['pairs']:,}", row["begins as"], row["steps"], row["minutes"]]
        of_row += [f"{row['-log p']:.3f}", *(f"{row[key][0]:.3f}" for key in ("AUC8", "AUCres", "null AUCres"))]
        lines.append([*of_row, f"{100.0 * row['mass bias']:+.1f} %"])
    return markdown(names, lines)


def figure(rows: list[dict[str, Any]]) -> Any:
    """Draw −log p and the area under the curve of the residuals against the number of pairs."""
    drawn, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for k, name in enumerate(dict.fromkeys(row["begins as"] for row in rows)):
        mine = sorted((row for row in rows if row["begins as"] == name), key=lambda row: row["pairs"])
        n = [row["pairs"] for row in mine]
        axes[0].plot(n, [row["-log p"] for row in mine], "os"[k] + "-", label=name)
        axes[1].errorbar(n, *zip(*(row["AUCres"] for row in mine), strict=True), fmt="os"[k] + "-", label=name)
    axes[0].set_ylabel("mean of −log p(reco | gen)")
    axes[1].set_ylabel("AUC of residuals")
    axes[1].axhline(0.5, color="grey", ls=":")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlabel("pairs of jets to train on")
        ax.legend()
    return drawn


if __name__ == "__main__":
    main()
