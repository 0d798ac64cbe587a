"""How many Delphes jets an emulator trained on N of them is worth: the quantile test of arXiv:2008.06545.

    python benchmarks/amplification.py --train qcd=FILES qcdflat=FILES --truth qcd=FILES qcdflat=FILES \
        --output amplification.json --figure docs/images/amplification.png

FILES are paths separated by commas. N jets are drawn at random from the training files, with the shares of processes of
the truth files; a tenth of the events is held out to choose network, number of steps and weights. Gen jets of the truth
files are folded several times, and `closure.quantile_deviation` compares cells of equal probability, given by the
quantiles of all training jets. Uses matched jets with gen pt above 20 GeV, and no conditioning variables besides the
four-momentum.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import mplhep
import numpy as np
from inputs import markdown, named, run

from coffea_iqn import Emulator
from coffea_iqn.closure import QuantileCells, QuantileDeviation, quantile_deviation, residuals
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.emulators import part_of, train
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import RECIPES

PT_MIN, REPLICAS = 20.0, 5
DEFAULT = replace(RECIPES["default"], context=(), acceptance=False, scale="delphes-cms", raw_pt_min=10.0)
SIZES = {  # for training samples up to this size: hidden layers and steps to try
    1_000: [((16, 16), 250), ((32, 32), 120), ((32, 32), 250)],
    10_000: [((16, 16), 1500), ((32, 32), 800), ((64, 64), 400)],
    100_000: [((64, 64), 4000), ((64, 64), 8000)],
    10_000_000: [((64, 64), 16_000)],
}
Grid = tuple[list[int], QuantileCells, Any]  # columns, cells, and cells to count
# columns of `observables`, number of parts, and cells to count
OBSERVABLES: dict[str, tuple[list[int], tuple[int, ...], slice]] = {
    "response, 10 cells": ([0], (10,), slice(None)),
    "response, 100 cells": ([0], (100,), slice(None)),
    "response, 1000 cells": ([0], (1000,), slice(None)),
    "mass ratio, 100 cells": ([3], (100,), slice(None)),
    "response × mass ratio, 10 × 10": ([0, 3], (10, 10), slice(None)),
    "response × mass ratio, 30 × 30": ([0, 3], (30, 30), slice(None)),
    "response × Δη × Δφ × mass ratio, 3 each": ([0, 1, 2, 3], (3, 3, 3, 3), slice(None)),
    "response × Δη × Δφ × mass ratio, 6 each": ([0, 1, 2, 3], (6, 6, 6, 6), slice(None)),
    "reco pt, 100 cells": ([4], (100,), slice(None)),
    "reco mass, 100 cells": ([5], (100,), slice(None)),
    "response, lowest 1 %": ([0], (1000,), slice(0, 10)),
    "response, highest 1 %": ([0], (1000,), slice(990, None)),
    "reco pt, highest 1 %": ([4], (1000,), slice(990, None)),
}
SHOWN = [list(OBSERVABLES)[k] for k in (1, 3, 7, 8, 11)]


def read(samples: list[str], radius: float) -> JetPairs:
    """Read the matched pairs of NAME=PATH,PATH, with all other conditioning variables hidden."""
    pairs, _ = run(PairsProcessor(radius=radius, pt_min=PT_MIN), named(samples))
    return part_of(pairs._replace(context=np.zeros_like(pairs.context)), pairs.matched)


def some(pairs: JetPairs, n: int, shares: Any, seed: int) -> JetPairs:
    """Return n random jets with these shares of the processes."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(np.flatnonzero(pairs.sample == k)) for k in range(len(shares))]
    return part_of(pairs, np.concatenate([rows[: round(s * n)] for rows, s in zip(orders, shares, strict=True)]))


def learn(pairs: JetPairs, seed: int) -> tuple[Emulator, dict[str, Any]]:
    """Train several emulators, and return that with the least validation loss, and its parameters."""
    tried, started = [], time.process_time()
    for hidden, steps in next(sizes for n, sizes in SIZES.items() if len(pairs.x) <= n):
        settings = replace(DEFAULT, hidden=hidden, steps=steps, check_every=max(steps // 12, 10), seed=seed)
        emulator = train(pairs, settings)
        tried.append((emulator.card["training"]["validation_loss"]["quantiles"], hidden, steps, emulator))
    loss, hidden, steps, emulator = min(tried, key=lambda one: one[0])
    minutes = round((time.process_time() - started) / 60.0, 2)
    return emulator, {"hidden": hidden, "steps": steps, "loss": loss, "minutes": minutes}


def observables(gen: Any, reco: Any) -> Any:
    """Return log pt'/pt, Δη, Δφ, log mass ratio, reco pt and mass, (N, 6)."""
    return np.column_stack([residuals(gen, reco), reco[:, 0], reco[:, 3]]).astype(np.float64)


def draw(emulator: Emulator, gen: Any, generator: np.random.Generator) -> Any:
    """Draw jets, and return their observables, (N, replicas, 6)."""
    taus = (np.clip(generator.uniform(size=(len(gen), 4)), 1e-6, 1.0 - 1e-6) for _ in range(REPLICAS))
    return np.stack([observables(gen, emulator.sample(gen, tau)) for tau in taus], axis=1)


def compare(real: Any, drawn: Any, event: Any, grids: dict[str, Grid]) -> dict[str, QuantileDeviation]:
    """Return the deviation of each observable between real (N, 6) and drawn (N, replicas, 6) jets."""
    found = {}
    for name, (columns, cells, counted) in grids.items():
        places = cells.cell(real[:, columns]), cells.cell(drawn[..., columns].reshape(-1, len(columns)))
        sides = places[0], places[1].reshape(len(real), -1)
        found[name] = quantile_deviation(*sides, event, cells.n_cells, counted=counted)
    return found


def given(drawn: Any, grids: dict[str, Grid]) -> dict[str, float]:
    """Return the statistical deviation of Delphes jets with known gen jets, relative to that of independent ones."""
    found = {}
    for name, (columns, cells, counted) in grids.items():
        one, other = (cells.cell(drawn[:, k, columns]) for k in range(2))
        apart = (np.isin(one, counted) & (one != other)).mean()
        found[name] = float(apart * cells.n_cells**2 / len(counted) / (cells.n_cells - 1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, metavar="NAME=FILES")
    parser.add_argument("--truth", nargs="+", required=True, metavar="NAME=FILES", help="files not used for training")
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--jets", nargs="+", type=float, default=[1e3, 1e4, 1e5, np.inf], help="inf: all there are")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()

    pairs, truth = (read(samples, arguments.radius) for samples in (arguments.train, arguments.truth))
    shares = np.bincount(truth.sample) / len(truth.sample)
    everything = some(pairs, int((np.bincount(pairs.sample) / shares).min()), shares, 0)
    values, real = (observables(p.x, p.y) for p in (everything, truth))
    grids: dict[str, Grid] = {}
    for name, (columns, parts, counted) in OBSERVABLES.items():
        cells = QuantileCells.of(values[:, columns], parts)
        grids[name] = columns, cells, np.arange(cells.n_cells)[counted]
    results: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        for n in (int(min(n, len(values))) for n in arguments.jets):
            generator = np.random.default_rng([seed, n])
            sample = some(pairs, n, shares, seed)
            emulator, row = learn(sample, seed)
            drawn = draw(emulator, truth.x, generator)
            of_sample = observables(sample.x, sample.y)
            again = of_sample[generator.integers(0, len(of_sample), (len(real), REPLICAS))]
            null = draw(emulator, truth.x, generator)[:, 0]
            row |= {"jets": n, "seed": seed, "truth": len(real), "given": given(drawn, grids)}
            sides = {"emulated": (real, drawn), "Delphes": (real, again), "null": (null, drawn)}
            row |= {name: compare(*side, truth.split_key, grids) for name, side in sides.items()}
            results.append(row)
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")
            pulls = [round(one.square / one.uncertainty, 1) for one in row["null"].values()]
            about = (f"{key} {row[key]}" for key in ("jets", "seed", "hidden", "steps", "minutes"))
            print(*about, "null", pulls, flush=True)
    print(table(results))
    if arguments.figure is not None:
        figure(results, arguments.figure)


def mean(rows: list[dict[str, Any]], side: str, name: str) -> QuantileDeviation:
    """Average over seeds; its uncertainty has their scatter and that of the truth sample, which they share."""
    squares, errors, n_cells = np.array([row[side][name] for row in rows]).T
    scatter = squares.var(ddof=1) / len(rows) if len(rows) > 1 else 0.0
    return QuantileDeviation(float(squares.mean()), float(np.sqrt((errors**2).mean() + scatter)), int(n_cells[0]))


def groups(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Group rows by N."""
    return {n: [row for row in rows if row["jets"] == n] for n in sorted({row["jets"] for row in rows})}


def interval(found: QuantileDeviation) -> tuple[float, float, float]:
    """Return lower end, square and upper end; if the square is below two σ, zero and the 95 % limit for both others."""
    square, error, n_cells = found
    if square >= 2.0 * error:
        return square - error, square, square + error
    most = (n_cells - 1) / found.jets_at_least
    return 0.0, most, most


def table(rows: list[dict[str, Any]]) -> str:
    """Format N'/N with its interval or lower limit, and the statistical deviation for known gen jets."""
    of = groups(rows)
    lines = []
    for name in OBSERVABLES:
        shown = [name]
        for n, of_n in of.items():
            found = mean(of_n, "emulated", name)
            ratios = ((found.n_cells - 1) / end / n if end else 0.0 for end in interval(found))
            low, middle, high = (f"{float(f'{ratio:.2g}'):g}" if ratio else "" for ratio in ratios)
            shown.append(f"{middle} ({high} to {low})" if low else f"> {middle}")
        lines.append([*shown, f"{np.mean([row['given'][name] for row in of_n]):.2f}"])
    return markdown(["observable", *(f"N = {n:,}" for n in of), "gen jets known"], lines)


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the root mean square deviation and N'/N against N for some observables."""
    of = groups(rows)
    mplhep.style.use("CMS")
    grid: dict[str, Any] = {"sharex": True, "sharey": "row", "height_ratios": (2, 1), "layout": "constrained"}
    drawing, axes = plt.subplots(2, len(SHOWN), figsize=(36, 16), **grid)
    line = np.array([min(of) / 2.0, max(of) * 2.0])
    for name, above, below in zip(SHOWN, *axes, strict=True):
        for side, colour, label in (
            ("Delphes", "black", "N Delphes jets"),
            ("emulated", "C0", "emulated, trained on N"),
        ):
            for n, of_n in of.items():
                found = mean(of_n, side, name)
                low, middle, high = interval(found)
                if side == "Delphes" and not low:
                    continue
                named = {"label": label} if n == min(of) else {}
                style = {"fmt": "o", "color": colour, "markersize": 14, "elinewidth": 3, "capsize": 6}
                at = np.sqrt([low or 0.5 * middle, middle, high])
                above.errorbar(n, at[1], [[at[1] - at[0]], [at[2] - at[1]]], uplims=not low, **named, **style)
                at = (found.n_cells - 1) / n / np.array([high, middle, low or 0.5 * middle])
                if side == "emulated":
                    below.errorbar(n, at[1], [[at[1] - at[0]], [at[2] - at[1]]], lolims=not low, **style)
        above.plot(line, np.sqrt((found.n_cells - 1) / line), "k--", label="expected of N Delphes jets")
        below.axhline(1.0, color="black", linestyle="--")
        above.set(xscale="log", yscale="log")
        above.set_title(name, fontsize=22)
        below.set(yscale="log", xlabel="Jets N")
    axes[0, 0].set_ylabel("Deviation of a cell, RMS")
    axes[1, 0].set_ylabel("N' / N")
    axes[0, 0].legend(fontsize=26)
    drawing.savefig(path, dpi=50)


if __name__ == "__main__":
    main()
