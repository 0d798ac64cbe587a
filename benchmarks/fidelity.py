"""Fidelity of bundles on files they were not trained on.

    python benchmarks/fidelity.py MODEL [MODEL ...] --files FILES --radius 0.5 [--output FILE.json]

Uses matched pairs with gen pt and reco pt before the detector's scale above 20 GeV: the selection of Kronheim et al.
(2024). For each model, sample and set of conditioning variables: the area under the ROC curve of boosted trees that
classify emulated and real jets, with the paper's eight features (AUC8) and with residuals (AUCres), and as null that
for two independent emulations of the same jets; the mean log-density of real jets; χ²/ndf of their quantile levels,
overall and in the worst cell of gen pt × |eta|; fractions of jets in the tails of the response; the bias of the median
mass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from inputs import named, run
from rich.console import Console
from rich.table import Table

from coffea_iqn import Emulator, bundle
from coffea_iqn.closure import (
    Cells,
    TooFewJetsError,
    jet_features,
    judge,
    residual_features,
    uniformity,
    uniformity_in_cells,
)
from coffea_iqn.jets.context import NANOAOD, columns_of, known_levels
from coffea_iqn.jets.features import SCALES
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.validation.comparison import draw_above

PT_MIN = 20.0
CELLS = Cells((20, 25, 32, 50, 100, 300, 3000), (0, 1.3, 2.5, 3, 5))
CONTEXTS = {
    "none": (),
    "nanoaod": NANOAOD,
    "composition": (*NANOAOD, "composition"),
    "all": (*NANOAOD, "composition", "substructure"),
    "jet": ("flavour", "neighbours", "prompt", "composition", "substructure"),
    "nanoaod jet": ("flavour", "neighbours", "prompt"),
}


def read_pairs(paths: list[str], radius: float, scale: str, raw_pt_min: float = PT_MIN) -> tuple[Any, Any, Any]:
    """Read gen jets, reco jets and context with the paper's selection, or with another threshold on reco pt."""
    pairs, _ = run(PairsProcessor(radius=radius, pt_min=PT_MIN), {"jets": paths})
    keep = pairs.matched
    keep[keep] = SCALES[scale].undo(pairs.y[keep].astype(np.float64))[:, 0] > raw_pt_min
    return pairs.x[keep], pairs.y[keep], pairs.context[keep]


def shown(context: Any, known: str) -> Any:
    """Return conditioning variables without those that are not among some of `CONTEXTS`."""
    some = np.zeros_like(context)
    for level in CONTEXTS[known]:
        some[:, columns_of(level)] = context[:, columns_of(level)]
    return some


def measure(
    emulator: Emulator,
    gen: Any,
    real: Any,
    context: Any,
    *,
    seed: int,
    threads: int,
    raw_pt_min: float = PT_MIN,
) -> dict[str, Any]:
    """Return all results of one emulator for one sample of jets above a threshold [GeV]."""
    generator = np.random.default_rng(seed)
    first, second = (draw_above(emulator, gen, context, raw_pt_min, generator) for _ in range(2))
    row: dict[str, Any] = {"jets": len(gen)}
    for name, features in (("AUC8", jet_features), ("AUCres", residual_features)):
        for prefix, other in (("", real), ("null ", second)):
            verdict = judge(features(gen, other), features(gen, first), threads=threads)
            row[prefix + name] = [round(verdict.auc, 4), round(verdict.uncertainty, 4)]
    try:
        within_atom = generator.uniform(size=len(gen))
        levels = emulator.cdf(gen, real, context, raw_pt_min=raw_pt_min, within_atom=within_atom)
    except NotImplementedError:
        pass  # networks whose quantiles may cross have no distribution function
    else:
        density = emulator.log_density(gen, real, context, raw_pt_min=raw_pt_min)
        row["log p"] = float(density[np.isfinite(density)].mean())
        row["PIT"] = uniformity(levels).round(2).tolist()
        with contextlib.suppress(TooFewJetsError):
            cells = uniformity_in_cells(levels, gen, cells=CELLS, min_jets=2000)
            row["PIT of cells"] = {
                f"{CELLS.pt[i : i + 2]} {CELLS.abs_eta[k : k + 2]}": cells.values[i, k].round(2).tolist()
                for i, k in np.argwhere(cells.counted)
            }
    responses = [np.log(reco[:, 0] / gen[:, 0]) for reco in (real, first)]
    row["below -0.7"] = [float((r < -0.7).mean()) for r in responses]
    row["above 0.5"] = [float((r > 0.5).mean()) for r in responses]
    row["mass bias"] = float(np.median(first[:, 3]) / np.median(real[:, 3]) - 1.0)
    below = SCALES["delphes-cms"].undo(first.astype(np.float64))[:, 0] < raw_pt_min - 1e-4
    row[f"raw pt below {raw_pt_min:g}"] = int(below.sum())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--files", nargs="+", required=True, help="samples: PATH, or NAME=PATH[,PATH...]")
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--context", nargs="+", choices=CONTEXTS, default=["nanoaod", "composition"])
    parser.add_argument("--scale", default="delphes-cms", help="jet scale of the detector, for the selection")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    results = []
    for name, paths in named(arguments.files).items():
        gen, real, full = read_pairs(paths, arguments.radius, arguments.scale)
        for model in arguments.models:
            emulator = bundle.load(model)
            for known in arguments.context:
                context = shown(full, known)
                row = {"model": Path(model).name, "sample": name, "context": known}
                row["known"] = list(known_levels(context))
                row |= measure(emulator, gen, real, context, seed=arguments.seed, threads=arguments.threads)
                results.append(row)
                show(row)
                if arguments.output is not None:
                    arguments.output.write_text(json.dumps(results, indent=1) + "\n")


def show(row: dict[str, Any]) -> None:
    cells = {key: _text(value) for key, value in row.items() if key not in ("PIT of cells", "known")}
    table = Table(*cells)
    table.add_row(*cells.values())
    Console(width=200).print(table)
    cells = row.get("PIT of cells")
    if cells:
        worst = max(cells, key=lambda cell: max(cells[cell]))
        print(f"worst of {len(cells)} cells: pt, |eta| in {worst}: {cells[worst]}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(v) for v in value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
