"""Response matrices compared with Delphes' own, their noise, and the coverage of unfolding with them.

    python benchmarks/unfolding.py --matrix qcdflat_valid.root --data qcdflat_test.root

The NanoAOD-like files have gen and reco jets of R = 0.4 and were not used to train the bundle. Gen jets of the first
file make matrices, which are compared with the second file and used to unfold it. Event weights are ignored.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pyhf
from inputs import events_of
from rich.console import Console
from rich.table import Table

from coffea_iqn import IQNFolder, response
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.jets.features import PT
from coffea_iqn.jets.matching import default_cone, match_tables
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.unfolding import parts, workspace

GEN_EDGES, RECO_EDGES = np.round(np.geomspace(18, 1500, 14)), np.round(np.geomspace(18, 1600, 27))
DRAWS = 60  # draws of each event
EVENTS = 250  # events of an experiment
LEAST_SCATTER = 5.0  # minimum variance of the jets in a bin for a meaningful χ²


class Levels(NamedTuple):
    """Gen and reco jets: pt bins of the pairs, including flow bins, and their events."""

    gen: Any
    reco: Any
    event: Any


def pairs(gen: Any, reco: Any, of_gen: Any, of_reco: Any) -> Levels:
    """Pair rows of gen and reco jets; the others of each level get the underflow of the other one."""
    alone = np.setdiff1d(np.arange(len(reco.values)), of_reco)
    gen_bin, reco_bin = np.digitize(gen.values[:, PT], GEN_EDGES), np.digitize(reco.values[:, PT], RECO_EDGES)
    found = np.zeros(len(gen.values), dtype=int)
    found[of_gen] = reco_bin[of_reco]
    return Levels(
        np.concatenate([gen_bin, np.zeros(len(alone), dtype=int)]),
        np.concatenate([found, reco_bin[alone]]),
        np.concatenate([gen.event, reco.event[alone]]),
    )


def counted(levels: Levels, weights: Any = None) -> Doubles:
    """Return the matrix of pairs, including flow bins."""
    matrix = np.zeros((len(GEN_EDGES) + 1, len(RECO_EDGES) + 1))
    np.add.at(matrix, (levels.gen, levels.reco), 1.0 if weights is None else weights)
    return matrix


def delphes_pairs(events: Any) -> Levels:
    gen, reco = flatten_jets(events.GenJet), flatten_jets(events.Jet, "reco")
    return pairs(gen, reco, *match_tables(gen, reco, default_cone(0.4)))


def drawn_matrices(model: str, events: Any, replicas: int) -> Doubles:
    """Return the matrices counted in several draws of each event, (replicas, gen bins, reco bins)."""
    folded, found = IQNFolder(model, seed=7, replicas=replicas).fold_table(events.GenJet, events), []
    for reco in folded.reco:
        assert reco.row is not None
        there = np.flatnonzero(reco.row >= 0)
        found.append(counted(pairs(folded.gen, reco, reco.row[there], there)))
    return np.stack(found)


def exact_matrix(model: str, events: Any, **options: Any) -> Any:
    return response(model, events.GenJet, events, GEN_EDGES, RECO_EDGES, weights=np.ones(len(events)), **options)


def fit(model: Any, counts: Any) -> tuple[Doubles, Doubles]:
    """Fit strengths, with their uncertainties from the Fisher information."""
    best = pyhf.infer.mle.fit([*counts, *model.config.auxdata], model)
    expected = model.expected_actualdata(best)
    rows = np.array([model.expected_actualdata(row) for row in np.eye(len(best))])
    rows -= model.expected_actualdata(np.zeros(len(best)))
    return best, np.sqrt(np.diag(np.linalg.inv((rows / expected) @ rows.T)))


def coverage(matrix: Any, levels: Levels, n_events: int, share: float, whole: bool, n: int) -> tuple[float, float]:
    """Return the coverage in n experiments with a share of the data, and its error.

    whole: whether to draw whole events, as in data; otherwise single reco jets, as the likelihood assumes.
    """
    model, rng = pyhf.Workspace(workspace(matrix * share)).model(), np.random.default_rng(1)
    true = counted(levels)[1:-1].sum(axis=1) / parts(matrix).gen
    inside = (levels.reco > 0) & (levels.reco < len(RECO_EDGES))
    reco, event = levels.reco[inside] - 1, levels.event[inside]
    hits = []
    for _ in range(n):
        weights = rng.poisson(share, n_events)[event] if whole else rng.poisson(share, len(reco))
        best, error = fit(model, np.bincount(reco, weights, len(RECO_EDGES) - 1))
        hits.append(np.mean(np.abs(best - true) < error))
    return float(np.mean(hits)), float(np.std(hits) / np.sqrt(n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("matrix", "data"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--model", default="cms-delphes-ak4")
    parser.add_argument("--experiments", type=int, default=200)
    arguments = parser.parse_args()
    ours, data = (events_of(path) for path in (arguments.matrix, arguments.data))
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-9))
    levels = delphes_pairs(data)
    table = Table("figure", "value")

    def seconds_of(function: Any, *given: Any, **options: Any) -> tuple[Any, float]:
        function(arguments.model, data[:50], *given, **options)  # compiled, and read
        start = time.process_time()
        made = function(arguments.model, data, *given, **options)
        return made, time.process_time() - start

    # for the gen jets of the data themselves: what remains is the randomness of the detector, as between draws
    exact, seconds = seconds_of(exact_matrix)
    expected, true = exact.values(flow=True), counted(levels)
    drawn, of_draws = seconds_of(drawn_matrices, DRAWS)
    scatter = drawn.var(axis=0, ddof=1)
    unbiased = (DRAWS - 3) / (DRAWS - 1)  # the mean of one over a variance of so many
    scatter[0, 0] = 0.0  # softer than all bins, at both levels
    for name, mine, theirs, spread in (
        ("all bins", expected, true, scatter),
        ("reco spectrum", expected.sum(axis=0)[1:], true.sum(axis=0)[1:], drawn.sum(axis=1).var(axis=0, ddof=1)[1:]),
        ("lost gen jets", expected[1:, 0], true[1:, 0], scatter[1:, 0]),
    ):
        enough = spread > LEAST_SCATTER
        chi2 = unbiased * float(((theirs - mine)[enough] ** 2 / spread[enough]).sum())
        table.add_row(f"χ² / bins against Delphes, {name}", f"{chi2:.0f} / {enough.sum()}")
    for points in (1, 2, 4):
        _, of_points = seconds_of(exact_matrix, points=points)
        table.add_row(f"µs a gen jet, {points} points", f"{1e6 * of_points / ak.sum(ak.num(data.GenJet)):.0f}")

    n_equal = max(1, round(DRAWS * seconds / of_draws))
    others = np.stack([exact_matrix(arguments.model, data, seed=k).values(flow=True) for k in range(4)])
    inside = np.zeros(expected.shape, dtype=bool)
    inside[1:-1, 1:-1] = scatter[1:-1, 1:-1] > LEAST_SCATTER
    of_gen_jets = exact.variances(flow=True)[inside].sum()
    for n in (1, 10, n_equal):
        noise = scatter[inside].sum() / n / of_gen_jets
        table.add_row(f"variance of {n} draws over that of gen jets", f"{noise:.4f}")
    noise = others.var(axis=0, ddof=1)[inside].sum() / of_gen_jets  # of overlapping jets, which are drawn
    table.add_row("variance of ours between seeds over that of gen jets", f"{noise:.4f}")

    many = drawn.mean(axis=0)
    error = np.sqrt(drawn.sum(axis=1).var(axis=0, ddof=1) / DRAWS)
    apart = (many.sum(axis=0) - expected.sum(axis=0))[1:-1]
    for k in range(4):
        size, of_n = (100 * x / expected.sum(axis=0)[1 + k] for x in (apart[k], error[1 + k]))
        where = f"{RECO_EDGES[k]:g} to {RECO_EDGES[k + 1]:g} GeV"
        table.add_row(f"folds over matrix − 1, {where}", f"{size:+.2f} ± {of_n:.2f} %")

    independent = exact_matrix(arguments.model, ours) * (len(data) / len(ours))  # what no gen bin has is not fitted
    own = independent.copy()
    own.view(flow=True).value = counted(delphes_pairs(ours)) * (len(data) / len(ours))
    share = EVENTS / len(data)
    for name, matrix in (("the emulator's matrix", independent), ("Delphes' counted matrix", own)):
        for whole in (False, True):
            value, error = coverage(matrix, levels, len(data), share, whole, arguments.experiments)
            what = "whole events" if whole else "independent jets"
            table.add_row(f"coverage, {name}, {what}", f"{100 * value:.1f} ± {100 * error:.1f} %")
    Console().print(table)


if __name__ == "__main__":
    main()
