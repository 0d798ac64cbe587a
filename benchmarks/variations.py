"""Benefit of common quantile levels: the fluctuation of the ratio of varied to nominal histograms, bin by bin.

    python benchmarks/variations.py data/samples/qcd_ak4.root --output made.json --figure docs/images/variations.png

The same events are folded with several seeds, at common levels and, for the varied jets, at those of another seed. In
each bin, the variance of the ratio of varied to nominal over the seeds for independent levels, divided by that for
common ones, is the factor by which independent levels would need more events. The cost of variations in time is
given as ratios within this run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from inputs import events_of, markdown
from matplotlib.ticker import NullLocator

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.plotting.panels import COLOURS, STYLE, header, make_log_x, make_panels
from coffea_iqn.processors import IQNFoldProcessor

ASKED = ("jes", "jer", "eff")
SHOWN = {"pt": "Jet $p_T$ [GeV]", "njet": "Number of jets"}
N_LEAST = 200  # jets or events of a bin
TIMED = {"nominal": (), "jes": ("jes",), "jes jer": ("jes", "jer"), "jes jer eff": ASKED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="NanoAOD-like")
    parser.add_argument("--model", default="cms-delphes-ak4")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()

    events = events_of(arguments.file, metadata={"dataset": "qcd"})
    instances = [IQNFoldProcessor(arguments.model, seed=k, variations=ASKED) for k in range(arguments.seeds)]
    every = [one.postprocess(one.process(events))["hists"] for one in instances]
    gains = {name: of_histogram([hists[name] for hists in every]) for name in SHOWN}
    results = {"model": arguments.model, "seeds": arguments.seeds, "gains": gains}
    results["cost"] = cost(arguments.model, events)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    if arguments.figure:
        draw(every, arguments.figure)


def spectra(hists: list[Any], systematic: str) -> np.ndarray:
    """Return the spectrum of the emulated jets for each seed, (seeds, bins)."""
    here = {"dataset": "qcd", "level": "reco", "systematic": systematic}
    return np.array([one[here].values() for one in hists])


def ratios(hists: list[Any], systematic: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return varied over nominal at common and at independent levels, (seeds, bins), and the bins with enough jets."""
    nominal, varied = spectra(hists, "nominal"), spectra(hists, systematic)
    enough = nominal.mean(axis=0) > N_LEAST
    return varied[:, enough] / nominal[:, enough], np.roll(varied, 1, axis=0)[:, enough] / nominal[:, enough], enough


def of_histogram(hists: list[Any]) -> dict[str, list[float]]:
    """Return the ratio of variances of independent and common levels, by systematic and in bins with enough jets."""
    gains = {}
    for systematic in list(hists[0].axes["systematic"])[1:]:
        common, independent, _ = ratios(hists, systematic)
        gains[systematic] = np.round(independent.var(axis=0, ddof=1) / common.var(axis=0, ddof=1), 1).tolist()
    return gains


def cost(model: str, events: Any, repeats: int = 25) -> dict[str, dict[str, float]]:
    """Return the time of jets, and of jets and histograms, divided by that of nominal ones: the best of several."""
    gen = flatten_jets(events.GenJet)
    instances = {name: IQNFoldProcessor(model, variations=asked) for name, asked in TIMED.items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {"jets": [], "histograms": []} for name in TIMED}
    for _ in range(repeats):  # in turns, because other work on the machine varies
        for name, instance in instances.items():
            started = time.perf_counter()
            instance.folder.fold_table(events.GenJet, events, jets=gen)
            between = time.perf_counter()
            instance.process(events)
            seconds[name]["jets"].append(between - started)
            seconds[name]["histograms"].append(time.perf_counter() - between)
    least = {name: {key: min(values) for key, values in one.items()} for name, one in seconds.items()}
    return {
        name: {key: round(value / least["nominal"][key], 2) for key, value in one.items()}
        for name, one in least.items()
    }


def table(results: dict[str, Any]) -> str:
    gains = []
    for systematic in results["gains"]["pt"]:
        of = [results["gains"][name][systematic] for name in SHOWN]
        gains.append([systematic, *(f"{np.median(g):.0f} ({min(g):.1f})" for g in of)])
    costs = [(name, one["jets"], one["histograms"]) for name, one in results["cost"].items()]
    of_gains = markdown(["variation", *(f"{name}, median of bins (least)" for name in SHOWN)], gains)
    return f"{of_gains}\n\n{markdown(['variations', 'time of jets', 'time of jets and histograms'], costs)}"


def draw(every: list[Any], path: Path, systematic: str = "JES_up") -> None:
    """Draw the ratio for each seed, at common and at independent levels."""
    with plt.style.context(STYLE):
        figure, panels = make_panels(1, len(SHOWN))
        for panel, (name, label) in zip(panels[0], SHOWN.items(), strict=True):
            hists = [one[name] for one in every]
            common, independent, enough = ratios(hists, systematic)
            edges = np.asarray(hists[0].axes[-1].edges)[: enough.sum() + 1] - (0.5 if name == "njet" else 0.0)
            for sets, colour, text in (
                (independent, COLOURS[1], "Independent levels"),
                (common, COLOURS[0], "Common levels"),
            ):
                spread = sets.std(axis=0, ddof=1)
                style = {"fill": True, "color": colour, "alpha": 0.35, "linewidth": 0}
                panel.stairs(
                    sets.mean(axis=0) + spread, edges, baseline=sets.mean(axis=0) - spread, **style, label=text
                )
                panel.stairs(sets[0], edges, baseline=None, color=colour, linewidth=2)
            panel.axhline(1.0, color="black", linewidth=1)
            panel.set_xlabel(label)
            panel.set_xlim(edges[0], edges[-1])
            panel.set_ylabel(f"{systematic.replace('_', ' ')} / nominal")
            panel.legend(loc="upper left", title=f"One seed, and the spread of {len(every)}", title_fontsize=18)
            low, high = panel.get_ylim()
            panel.set_ylim(low, high + 0.35 * (high - low))
        make_log_x(panels[0, 0])
        panels[0, 1].set_xticks(range(enough.sum()))
        panels[0, 1].xaxis.set_minor_locator(NullLocator())
        header(panels[0, 0], panels[0, -1], "QCD", "Delphes simulation", 13.0)
        figure.savefig(path, dpi=55)


if __name__ == "__main__":
    main()
