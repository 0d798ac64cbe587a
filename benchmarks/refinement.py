"""Gain of a refinement on files that neither bundle nor refinement was trained on.

    python benchmarks/refinement.py REFINED [REFINED ...] --files FILES --radius 0.5 [--output FILE.json]

For each refined bundle and sample: the area under the curve of boosted trees that classify emulated and real jets, with
the paper's eight features (AUC8) and with residuals (AUCres), for unrefined draws, refined ones, and
sampling-importance-resampling of four candidates (SIR 4), and as null that of two independent refined emulations: mean
over several emulations, and its error from their spread, without the fluctuation of the true jets. Then the gain of the
log-likelihood of true jets, in 10⁻⁴ per jet, which is the decrease of the Kullback-Leibler divergence; the candidates
per draw; the effective fraction of unrefined jets if they are weighted instead; and the time of a fold of events
divided by that of an unrefined one, in turns, the best of several. Selection and context as in `fidelity.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fidelity import CONTEXTS, PT_MIN, read_pairs, shown
from inputs import events_of, named
from rich.console import Console
from rich.table import Table

from coffea_iqn import Emulator, IQNFolder, bundle
from coffea_iqn.closure import jet_features, judge, residual_features
from coffea_iqn.validation.comparison import draw_above

SIR, OF_ONE = 4, 16  # draws of a jet
TURNS = 5


def resampled(emulator: Emulator, gen: Any, context: Any, generator: np.random.Generator) -> Any:
    """Return one of a few unrefined draws of each jet, chosen in proportion to their weights."""
    draws = np.stack([draw_above(emulator.unrefined, gen, context, PT_MIN, generator) for _ in range(SIR)])
    weights = np.stack([emulator.weights(gen, one, context) for one in draws]).cumsum(axis=0)
    which = (weights <= generator.uniform(size=len(gen)) * weights[-1]).sum(axis=0).clip(max=SIR - 1)
    return draws[which, np.arange(len(gen))]


def measure(
    emulator: Emulator, gen: Any, real: Any, context: Any, *, seed: int, repeats: int, threads: int
) -> dict[str, Any]:
    """Return all results of one emulator for one sample."""
    generator = np.random.default_rng(seed)
    draw = partial(draw_above, gen=gen, context=context, raw_pt_min=PT_MIN, generator=generator)
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        unrefined, refined, second = draw(emulator.unrefined), draw(emulator), draw(emulator)
        sides = {
            "unrefined": (real, unrefined),
            "refined": (real, refined),
            f"SIR {SIR}": (real, resampled(emulator, gen, context, generator)),
            "null": (second, refined),
        }
        for name, features in (("AUC8", jet_features), ("AUCres", residual_features)):
            for side, (one, other) in sides.items():
                if (name, side) != ("AUC8", f"SIR {SIR}"):
                    auc = judge(features(gen, one), features(gen, other), threads=threads).auc
                    found.setdefault(f"{name} {side}", []).append(auc)
    row: dict[str, Any] = {"jets": len(gen)}
    for name, aucs in found.items():
        row[name] = [round(float(np.mean(aucs)), 4), round(float(np.std(aucs, ddof=1) / np.sqrt(repeats)), 4)]
    weights = emulator.weights(gen, unrefined, context).astype(np.float64)
    row["dilution"] = float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
    row["log p gained"] = gained(emulator, gen, real, context, draw)
    row["candidates"] = emulator.card["refinement"]["draws_of_a_jet"]
    return row


def gained(emulator: Emulator, gen: Any, real: Any, context: Any, draw: Callable[[Emulator], Any]) -> list[float]:
    """Return the mean gain of log p(true jet | gen jet) in 1e-4, and its error: log r minus the log of its mean."""
    log_r = np.log(emulator.weights(gen, real, context).astype(np.float64))
    drawn = np.stack([emulator.weights(gen, draw(emulator.unrefined), context) for _ in range(OF_ONE)]).astype(
        np.float64
    )
    means = drawn.mean(axis=0)
    # the logarithm of a sample mean is biased low by half the relative variance of the mean
    gains = 1e4 * (log_r - np.log(means) - 0.5 * drawn.var(axis=0, ddof=1) / (OF_ONE * means**2))
    return [round(float(gains.mean()), 2), round(float(gains.std() / np.sqrt(len(gains))), 2)]


def slower(model: str, path: str) -> float:
    """Return the time of a fold of events divided by that of an unrefined one."""
    events = events_of(path)
    seconds: dict[str, list[float]] = {"off": [], "draw": []}
    for _ in range(TURNS + 1):  # the first time compiles
        for how, times in seconds.items():
            start = time.perf_counter()
            IQNFolder(model, refinement=how)(events.GenJet, events)
            times.append(time.perf_counter() - start)
    off, draw = (min(times[1:]) for times in seconds.values())
    return draw / off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="refined bundles")
    parser.add_argument("--files", nargs="+", required=True, help="PATH, or NAME=PATH")
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--context", choices=CONTEXTS, default="jet")
    parser.add_argument("--scale", default="delphes-cms", help="jet scale of the detector, for the selection")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="number of emulations to evaluate")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    results: list[dict[str, Any]] = []
    for name, paths in named(arguments.files).items():
        gen, real, full = read_pairs(paths, arguments.radius, arguments.scale)
        context = shown(full, arguments.context)
        for model in arguments.models:
            row = {"model": Path(model).name, "sample": name}
            how = {name: getattr(arguments, name) for name in ("seed", "repeats", "threads")}
            row |= measure(bundle.load(model), gen, real, context, **how)
            row["time"] = slower(model, paths[0])
            results.append(row)
            table = Table(*row)
            table.add_row(*(" ".join(map(str, v)) if isinstance(v, list) else f"{v}" for v in row.values()))
            Console(width=220).print(table)
            if arguments.output is not None:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
