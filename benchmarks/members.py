"""Comparison of all network architectures (members) with the same jets, training time and clock.

    python benchmarks/members.py --train TRAIN --check TEST --minutes 5 --output members.json --figure members.png

TRAIN and TEST are files of R = 0.4 with all conditioning variables. Each member learns the four-momentum of reco jets
in the given minutes on one core (the number of steps is calibrated), and `fidelity.measure` evaluates it on TEST: areas
under the curve of two classifiers with their nulls, uniformity of the quantile levels of real jets (from the
distribution function if a member has a density, else from draws), the tails and the median mass. Members already in the
output are not trained again, so that seeds and minutes can be added. `--clock` times draws of all members in turn in
one run on one thread, which does not depend on their weights.
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
import torch
from fidelity import measure, read_pairs
from inputs import markdown, run

from coffea_iqn import plotting
from coffea_iqn.closure import levels_among_draws, residuals, uniformity
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.distil import distil
from coffea_iqn.training.emulators import train
from coffea_iqn.training.optimise import Check
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.recipes import RECIPES, TrainingSettings
from coffea_iqn.validation.comparison import draw_above

THRESHOLD = 10.0  # GeV, of the detector before its scale
CMS = {"scale": "delphes-cms", "raw_pt_min": THRESHOLD}
DISTILLED = "distilled flow, one step"
MEMBERS: dict[str, TrainingSettings] = {
    "SplineIQN, default": replace(RECIPES["default"], hidden=(64, 64), **CMS),
    "IQNx4 of the paper": RECIPES["paper-iqnx4"],
    "IQNx1 of the paper": RECIPES["paper-iqnx1"],
    "IQNx4, our inputs": replace(RECIPES["residual-iqnx4"], context=RECIPES["default"].context, scale=CMS["scale"]),
    "spline flow": replace(RECIPES["spline-flow"], **CMS),
    "autoregressive flow": replace(RECIPES["autoregressive-flow"], **CMS),
    "flow matching": replace(RECIPES["flow-matching"], **CMS),
    DISTILLED: replace(RECIPES["flow-matching"], **CMS),
    "Wasserstein GAN": replace(RECIPES["wasserstein-gan"], **CMS),
    "autoencoder": replace(RECIPES["autoencoder"], **CMS),
}
FIGURES = ("AUC8", "null AUC8", "AUCres", "null AUCres")
PROBE, LOOKS, DRAWS = 200, 20, 49
MARKERS, COLOURS = "os^vDPX*<>", plt.get_cmap("tab10").colors  # of members
LINEAR = 0.01  # linear range of the axis of the area under the curve minus 0.5
FEW, AT_ONCE, TURNS = 5000, 100_000, 4  # of the clock: jets to train on, jets to time, repetitions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+")
    parser.add_argument("--check", nargs="+")
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--minutes", nargs="+", type=float, default=[5.0])
    parser.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    parser.add_argument("--jets", type=int, default=60_000, help="maximum number of jets to evaluate")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clock", action="store_true")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()

    found = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {"rows": [], "clock": {}}
    results = found["rows"]
    if arguments.train:
        pairs = run(PairsProcessor(radius=arguments.radius), {"x": arguments.train}).pairs
        gen, real, context = read_pairs(arguments.check, arguments.radius, CMS["scale"], THRESHOLD)
        rows = np.random.default_rng(0).permutation(len(gen))[: arguments.jets]
        jets = gen[rows], real[rows], context[rows]
        for minutes in arguments.minutes:
            for seed in arguments.seeds:
                for name in arguments.members:
                    if not any((row["member"], row["seed"], row["asked"]) == (name, seed, minutes) for row in results):
                        results.append(
                            {"member": name, "seed": seed, "asked": minutes} | _row(name, minutes, seed, pairs, jets)
                        )
                        arguments.output.write_text(json.dumps(found, indent=1) + "\n")
                        print(json.dumps(results[-1]), flush=True)
        if arguments.clock:
            few = JetPairs(*(column[:FEW] for column in pairs))
            found["clock"] = clock(few, *jets[::2])
            arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(results, found["clock"]))
    if arguments.figure is not None:
        plotting.save(figure(results, found["clock"]), arguments.figure)


def _row(name: str, minutes: float, seed: int, pairs: JetPairs, jets: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Return the results of a member trained for some minutes, or the reason why it failed."""
    try:
        emulator, seconds = _trained(name, minutes, seed, pairs)
    except FloatingPointError as error:
        return {"failed": str(error)}
    row: dict[str, Any] = {"minutes": round(seconds / 60.0, 2)}
    row["steps"] = sum(emulator.card["training"]["steps"].values())
    row["parameters"] = sum(array.size for array in emulator.network.arrays.values())
    gen, real, context = jets
    row |= measure(emulator, gen, real, context, seed=seed, threads=1, raw_pt_min=THRESHOLD)
    row.pop("PIT of cells", None)
    if "PIT" not in row:
        generator = np.random.default_rng(seed)
        drawn = lambda: residuals(gen, draw_above(emulator, gen, context, THRESHOLD, generator))  # noqa: E731
        among = levels_among_draws(residuals(gen, real), drawn, draws=DRAWS, seed=seed)
        row["PIT among draws"] = uniformity(among).round(2).tolist()
    return row


def _trained(name: str, minutes: float, seed: int, pairs: JetPairs) -> tuple[Emulator, float]:
    """Train an emulator for some minutes on one core, and return it with the seconds taken."""
    settings = replace(MEMBERS[name], seed=seed, acceptance=False, unmatched=False)
    if name == DISTILLED:
        # half of the time for the teacher
        teacher, first = _in_minutes(0.5 * minutes, settings, lambda own, watch: train(pairs, own, watch=watch))
        student = _in_minutes(0.5 * minutes, settings, lambda own, watch: distil(teacher, pairs, own, watch=watch))
        return student[0], first + student[1]
    return _in_minutes(minutes, settings, lambda own, watch: train(pairs, own, watch=watch))


def _in_minutes(minutes: float, settings: TrainingSettings, of: Any) -> tuple[Emulator, float]:
    """Train with the number of steps that fills the time, estimated from two checks of a short training."""
    looks: list[float] = []

    def watch(_: Check) -> None:
        looks.append(time.process_time())

    of(replace(settings, steps=2 * PROBE, check_every=PROBE, stages=1), watch)
    steps = int(60.0 * minutes * PROBE / (looks[-1] - looks[-2])) // settings.stages
    started = time.process_time()
    made = of(replace(settings, steps=max(steps, LOOKS), check_every=max(steps // LOOKS, 1), patience=LOOKS), None)
    assert isinstance(made, Emulator)
    return made, time.process_time() - started


def clock(pairs: JetPairs, gen: Any, context: Any) -> dict[str, float]:
    """Return the time per jet [μs] with all context on one thread, for each member the best of some turns."""
    torch.set_num_threads(1)
    rows, times = np.arange(AT_ONCE) % len(gen), {name: float("inf") for name in MEMBERS}
    x, known, emulators = gen[rows], context[rows], {}
    for name, settings in MEMBERS.items():
        own = replace(settings, steps=1, check_every=1, stages=1, acceptance=False, unmatched=False)
        made = train(pairs, own)
        emulators[name] = distil(made, pairs, own) if name == DISTILLED else made
    for _ in range(TURNS):
        for name, emulator in emulators.items():
            tau = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, (AT_ONCE, emulator.n_levels)).astype(np.float32)
            started = time.process_time()
            emulator.sample(x, tau, known)
            times[name] = min(times[name], 1e6 * (time.process_time() - started) / AT_ONCE)
    return {name: round(value, 3) for name, value in times.items()}


def _groups(results: list[dict[str, Any]]) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """Group successful rows by member and minutes."""
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in results:
        found.setdefault((row["member"], row["asked"]), [])
        if "failed" not in row:
            found[row["member"], row["asked"]].append(row)
    return found


def _mean(rows: list[dict[str, Any]], figure: str) -> tuple[float, float]:
    """Return mean and standard deviation over seeds of an area under the curve, or its own error for a single seed."""
    values = [row[figure][0] for row in rows]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(rows) > 1 else rows[0][figure][1]


def table(results: list[dict[str, Any]], times: dict[str, float]) -> str:
    """Format a row for each member and time."""
    names = (
        "member",
        "CPU minutes",
        "steps",
        "parameters",
        *FIGURES,
        "PIT χ²/ndf pt η φ m",
        "below −0.7, above 0.5",
        "mass",
        "µs a jet",
        "seeds",
        "failed",
    )
    lines: list[list[str]] = []
    for (name, asked), rows in _groups(results).items():
        n_failed = sum(row["member"] == name and row["asked"] == asked for row in results) - len(rows)
        if not rows:
            lines.append([name, f"{asked:g}", *[""] * (len(names) - 3), f"{n_failed}"])
            continue
        steps = sorted({row["steps"] for row in rows})
        cells = [
            name,
            f"{np.mean([row['minutes'] for row in rows]):.1f}",
            f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}",
            f"{rows[0]['parameters']:,}",
        ]
        cells += ["{:.4f} ± {:.4f}".format(*_mean(rows, one)) for one in FIGURES]
        levels = np.mean([row.get("PIT", row.get("PIT among draws")) for row in rows], axis=0)
        cells.append(" ".join(f"{v:.1f}" for v in levels) + ("" if "PIT" in rows[0] else " (draws)"))
        tails = (np.mean([np.divide(*row[tail][::-1]) for row in rows]) for tail in ("below -0.7", "above 0.5"))
        cells.append(" ".join(f"{v:.2f}" for v in tails))
        cells.append(f"{100.0 * np.mean([row['mass bias'] for row in rows]):+.1f} %")
        cells += [f"{times[name]:.2f}" if name in times else "", f"{len(rows)}", f"{n_failed}"]
        lines.append(cells)
    jets = next(row["jets"] for row in results if "jets" in row)
    return f"{markdown(names, lines)}\n\nJets: {jets:,}."


def figure(results: list[dict[str, Any]], times: dict[str, float]) -> Any:
    """Draw fidelity against cost."""
    made, panels = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    names = list(dict.fromkeys(row["member"] for row in results))
    minutes, named = sorted({row["asked"] for row in results}), set()
    nulls = [row["null AUCres"][0] for row in results if "null AUCres" in row]
    for (name, asked), rows in _groups(results).items():
        if not rows:
            continue
        area, error = _mean(rows, "AUCres")
        k, size = names.index(name), 4 + 3 * minutes.index(asked)  # the longer, the larger
        look = {"fmt": MARKERS[k], "color": COLOURS[k], "mfc": "none", "ms": size, "capsize": 3}
        look |= {"label": None if name in named else name}
        named.add(name)
        for panel, cost in zip(panels, (times.get(name, np.nan), rows[0]["parameters"]), strict=True):
            panel.errorbar(cost, area - 0.5, yerr=error, **look)
    for panel, label in zip(panels, ("time of a draw on one thread [µs a jet]", "parameters"), strict=True):
        panel.axhspan(min(nulls) - 0.5, max(nulls) - 0.5, color="grey", alpha=0.3, lw=0)
        panel.set(xscale="log", xlabel=label)
        panel.set_yscale("symlog", linthresh=LINEAR)
    panels[0].set_ylabel("judge of residuals: area under the curve − 0.5")
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    return made


if __name__ == "__main__":
    main()
