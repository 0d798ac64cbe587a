"""Histograms, efficiencies and correlations of emulated jets compared with Delphes, on files not trained on.

    python benchmarks/events.py MODEL --files NAME=PATH[,PATH ...] --radius 0.5 [--output FILE.json]

For each sample: χ²/ndf of every histogram of `IQNFoldProcessor`, in bins of at least 25 effective entries, with the
uncertainties of both sides: mean and maximum over several emulations compared with Delphes, and as null the mean over
pairs of consecutive emulations; the ratio of the numbers of events with at least n jets, from the mean of all
emulations; the efficiency in cells of gen pt × |eta| with more than 2000 gen jets; and the rank correlation of the
responses of the two hardest gen jets.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from inputs import events_of, named, run
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from coffea_iqn import IQNFolder
from coffea_iqn.closure import Cells, agreement, binomial_errors, efficiency_in_cells
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.jets.matching import default_cone, match_tables
from coffea_iqn.processors import IQNFoldProcessor, PairsProcessor

CELLS = Cells((10, 12, 15, 18, 20, 25, 30, 40, 60, 100, 200, 500, 3000), (0, 1.3, 2.5, 3, 5))
WORST = 4  # cells shown


def level(histogram: Any, name: str) -> tuple[Any, Any]:
    view = histogram[{"dataset": "sample", "level": name}].view()
    return view["value"], view["variance"]


def spectra(model: str, paths: list[str], n_seeds: int) -> dict[str, Any]:
    """Return χ²/ndf of each histogram with its null, and ratios of the numbers of events with at least n jets."""
    hists = [run(IQNFoldProcessor(model, seed=seed), {"sample": paths})["hists"] for seed in range(n_seeds)]
    found: dict[str, Any] = {"chi2": {}, "at least": {}}
    for name, histogram in hists[0].items():
        real = level(histogram, "truth")
        drawn = [level(of_seed[name], "reco") for of_seed in hists]
        agreed = [agreement(one, real) for one in drawn]
        null = [agreement(one, other).per_bin for one, other in pairwise(drawn)]
        found["chi2"][name] = {
            "mean": round(float(np.mean([one.per_bin for one in agreed])), 2),
            "greatest": round(max(one.per_bin for one in agreed), 2),
            "bins": agreed[0].ndf,
            "null": round(float(np.mean(null)), 2),
        }
        emulated = np.mean(drawn, axis=0)
        if name.startswith("njet"):
            at_least = (np.cumsum(side[0][::-1])[::-1] for side in (emulated, real))
            some, real_some = (events[1:] for events in at_least)
            variances = np.cumsum(real[1][::-1])[::-1][1:]
            enough = real_some**2 > 100 * variances
            ratios = (some / np.where(enough, real_some, 1.0) - 1.0)[enough]
            errors = (np.sqrt(variances) / np.where(enough, real_some, 1.0))[enough]
            found["at least"][name] = [f"{100 * r:+.1f} ± {100 * e:.1f} %" for r, e in zip(ratios, errors, strict=True)]
    return found


def efficiencies(folder: IQNFolder, paths: list[str], radius: float) -> dict[str, Any]:
    """Return the number of cells whose efficiencies differ by more than 0.01, and the cells that differ most."""
    pairs, _ = run(PairsProcessor(radius=radius), {"sample": paths})
    probability = folder.emulator.efficiency(pairs.x, pairs.context)
    cells = efficiency_in_cells(probability, pairs.matched, pairs.x, cells=CELLS)
    places = np.argwhere(cells.counted)
    emulated, real = (cells.values[cells.counted][:, k] for k in (0, 1))
    difference = emulated - real
    pulls = difference / binomial_errors(cells)[cells.counted]
    return {
        "cells": len(places),
        "mean pull²": round(float(np.mean(pulls**2)), 2),
        "beyond 1 %": int((np.abs(difference) > 0.01).sum()),
        "worst": [
            {
                "pt": CELLS.pt[places[k, 0] : places[k, 0] + 2],
                "abs_eta": CELLS.abs_eta[places[k, 1] : places[k, 1] + 2],
                "n_jets": int(cells.n_jets[tuple(places[k])]),
                "found": float(real[k]),
                "expected": float(emulated[k]),
                "pull": round(float(pulls[k]), 1),
            }
            for k in np.argsort(-np.abs(difference))[:WORST]
        ],
    }


def correlations(folder: IQNFolder, paths: list[str], radius: float) -> dict[str, Any]:
    """Return the rank correlation of the responses of the two hardest gen jets above 20 GeV, emulated and real."""
    found = {}
    for path in paths:
        events = events_of(path)
        gen = events.GenJet
        reco = folder(gen, events)
        hard = ak.num(gen[gen.pt > 20.0]) > 1
        for name, jets in (("emulated", reco), ("real", _linked(gen, events.Jet, radius))):
            responses = []
            for k in (0, 1):
                of_gen = jets.pt[jets.genJetIdx == k]
                responses.append(ak.fill_none(ak.firsts(of_gen) / ak.mask(gen.pt, ak.num(gen) > k)[:, k], np.nan))
            both = np.stack([np.asarray(r) for r in responses])[:, np.asarray(hard)]
            found.setdefault(name, []).append(both[:, np.isfinite(both).all(axis=0)])
    out = {}
    for name, parts in found.items():
        both = np.concatenate(parts, axis=1)
        out[name] = {"spearman": round(float(spearmanr(*both)[0]), 4), "uncertainty": round(both.shape[1] ** -0.5, 4)}
    return out


def _linked(gen: Any, reco: Any, radius: float) -> Any:
    """Return real jets with the index of their gen jet."""
    tables = flatten_jets(gen), flatten_jets(reco, "reco")
    of_gen, of_reco = match_tables(*tables, default_cone(radius))
    index = np.full(len(tables[1].values), -1)
    index[of_reco] = tables[0].place[of_gen]
    return ak.with_field(reco, ak.unflatten(index, tables[1].counts), "genJetIdx")


def show(name: str, row: dict[str, Any]) -> None:
    table = Table("histogram", "mean χ²/ndf", "greatest", "bins", "null", title=name)
    for histogram, figures in row["chi2"].items():
        table.add_row(histogram, *(str(v) for v in figures.values()))
    console = Console(width=120)
    console.print(table)
    for histogram, ratios in row["at least"].items():
        print(f"{histogram}: events with at least 1, 2, ... jets, emulated over real less 1: {', '.join(ratios)}")
    efficiency = dict(row["efficiency"])
    worst = efficiency.pop("worst")
    print("efficiency:", efficiency)
    for cell in worst:
        print("    differs most in", cell)
    print("responses of the two hardest gen jets:", row["correlation"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--files", nargs="+", required=True, help="samples: PATH, or NAME=PATH[,PATH...]")
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--seeds", type=int, default=4, help="number of emulations (default: %(default)s)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    folder = IQNFolder(arguments.model, seed=1, unmatched=False)
    results = {}
    for name, files in named(arguments.files).items():
        results[name] = {
            **spectra(arguments.model, files, arguments.seeds),
            "efficiency": efficiencies(folder, files, arguments.radius),
            "correlation": correlations(folder, files, arguments.radius),
        }
        show(name, results[name])
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
