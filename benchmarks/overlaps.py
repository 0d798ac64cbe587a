"""Gen jets that overlap with a harder one: their efficiency, and how their response depends on that of the harder jet.

    python benchmarks/overlaps.py FILES [--model cms-delphes-ak4] [--seeds 4]

For bins of ΔR in jet radii: the efficiency of softer jets above 15 GeV, the correlation of the residuals
(pt' − pt)/√pt of both jets, and the mean residual of the harder one if the softer is lost. Then the number of reco jet
pairs among the four hardest within ΔR < 0.7, and the number of events by the vector sum of their reco jets.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import pairwise

import awkward as ak
import numpy as np
from inputs import events_of

from coffea_iqn import IQNFolder
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.jets.features import ETA, PHI, PT, wrap_phi
from coffea_iqn.jets.matching import match_tables, overlapping
from coffea_iqn.jets.table import JetTable, places

BINS = (1.0, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0)  # ΔR of gen jets in jet radii
PT_MIN, MOST = 15.0, 3.0  # GeV; |residual|, in √GeV
HARDEST, CLOSE = 4, 0.7
RECOIL = (50.0, 70.0, 100.0)  # GeV
LEADING = (50.0, 100.0, 200.0, 400.0, 800.0)  # GeV, gen pt


def measured(gen: JetTable, reco: JetTable, radius: float, cone: float) -> dict[str, np.ndarray]:
    """Return the overlapping jets and the recoil of events as columns."""
    residual = np.full(len(gen.values), np.nan)
    row, match = match_tables(gen, reco, cone)
    residual[row] = (reco.values[match, PT] - gen.values[row, PT]) / np.sqrt(gen.values[row, PT])
    harder, _ = overlapping(gen.values, gen.counts, BINS[-1] * radius)
    soft = np.flatnonzero((harder >= 0) & (gen.values[:, PT] > PT_MIN))
    hard = harder[soft]
    a, b = gen.values[soft], gen.values[hard]
    distance = np.hypot(a[:, ETA] - b[:, ETA], wrap_phi(a[:, PHI] - b[:, PHI])) / radius
    n = len(gen.counts)
    x, y = (np.bincount(reco.event, reco.values[:, PT] * f(reco.values[:, PHI]), minlength=n) for f in (np.cos, np.sin))
    leading = np.zeros(n)
    np.maximum.at(leading, gen.event, gen.values[:, PT])
    first = reco.by_pt()
    first = first.where(places(first.counts) < HARDEST)
    jagged = ak.unflatten(ak.zip({"eta": first.values[:, ETA], "phi": first.values[:, PHI]}), first.counts)
    one, two = ak.unzip(ak.combinations(jagged, 2))
    d_phi = ak.unflatten(wrap_phi(ak.to_numpy(ak.flatten(one.phi - two.phi))), ak.num(one))
    n_close = ak.to_numpy(ak.sum(np.hypot(one.eta - two.eta, d_phi) < CLOSE, axis=1))
    return {
        "overlapping": np.stack([distance, residual[soft], residual[hard]], axis=1),
        "events": np.stack([leading, np.hypot(x, y), n_close], axis=1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="cms-delphes-ak4")
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    folders = [IQNFolder(arguments.model, seed=seed) for seed in range(arguments.seeds)]
    about = folders[0].card["jets"]
    found: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for path in arguments.files:
        events = events_of(path, mode="eager")
        gen, truth = flatten_jets(events.GenJet), flatten_jets(events.Jet, "reco")
        truth = truth._replace(row=np.full(len(truth.values), -1))
        found["true"].append(measured(gen, truth, about["radius"], about["cone"]))
        for folder in folders:
            reco = folder.fold_table(events.GenJet, events).reco[0]
            found["emulated"].append(measured(gen, reco, about["radius"], about["cone"]))
    columns = {
        side: {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for side, parts in found.items()
    }
    for low, high in pairwise(BINS):
        print(f"ΔR {low:g} to {high:g} R")
        for side, of in columns.items():
            distance, soft, hard = of["overlapping"].T
            inside = (distance >= low) & (distance < high)
            soft, hard = np.clip(soft[inside], -MOST, MOST), np.clip(hard[inside], -MOST, MOST)
            both, lost = np.isfinite(soft + hard), np.isnan(soft) & np.isfinite(hard)
            error = np.isfinite(soft).std() / len(soft) ** 0.5
            print(
                f"  {side:8} {len(soft):6} jets, efficiency {np.isfinite(soft).mean():.4f} ± {error:.4f}, correlation "
                f"{np.corrcoef(soft[both], hard[both])[0, 1]:+.3f} ± {both.sum() ** -0.5:.3f}, residual of the harder "
                f"{hard[lost].mean():+.2f} ± {hard[lost].std() / lost.sum() ** 0.5:.2f} if the softer is lost, "
                f"else {hard[both].mean():+.2f}"
            )
    for side, of in columns.items():
        n = 1 if side == "true" else arguments.seeds
        print(f"{side}: {of['events'][:, 2].sum() / n:.1f} pairs of the four hardest reco jets within ΔR < {CLOSE:g}")
    for low, high in pairwise(LEADING):
        counts = []
        for pt in RECOIL:
            n_of = [
                ((of["events"][:, 0] >= low) & (of["events"][:, 0] < high) & (of["events"][:, 1] > pt)).sum()
                for of in columns.values()
            ]
            counts.append(f"above {pt:g} GeV {n_of[1] / arguments.seeds:.1f} ({n_of[0]})")
        print(f"recoil of reco jets, leading gen jet of {low:g} to {high:g} GeV: {', '.join(counts)}")


if __name__ == "__main__":
    main()
