"""Whole events with all objects, on files not trained on: spectra, efficiencies, fakes, a classifier two-sample test.

    python benchmarks/objects.py MODEL --files NAME=PATH[,PATH ...] [--output FILE.json]

For each sample: χ²/ndf between emulated and real spectra: pt, eta, isolation and number of each kind of objects,
missing momentum, its angle to the hardest jet, transverse mass, dilepton mass, HT + MET, numbers of jets and, if the
bundle draws b tags, of b jets; as null, that between two emulations. Then efficiencies of prompt particles in cells of
pt × |eta|, numbers of objects without a prompt particle, and the area under the curve of boosted trees on whole events.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from inputs import events_of, named
from rich.console import Console
from rich.table import Table

from coffea_iqn import EventFolder
from coffea_iqn.closure import agreement, judge
from coffea_iqn.closure.events import event_features
from coffea_iqn.events.collections import flatten_jets, missing_momentum, prompt_particles
from coffea_iqn.events.objects import reco_objects
from coffea_iqn.jets.features import wrap_phi
from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.objects.kinds import KINDS

N_BINS = 20
PT_EDGES, ETA_EDGES = (10.0, 20.0, 40.0, 1e4), (0.0, 1.5, 2.5)
JET_PT = 20.0  # GeV
N_OBJECTS = 2  # number of hardest objects of each kind among the features


def observables(events: ak.Array, prefix: str) -> dict[str, Any]:
    """Return the values of each observable, flat."""
    jets = events[f"{prefix}Jet"]
    jets = jets[jets.pt > JET_PT]
    missing = events[f"{prefix}MET"]
    found: dict[str, Any] = {}
    for kind in KINDS:
        objects = events[f"{prefix}{kind.name}"]
        name = kind.name.lower()
        found |= {f"{name} pt": objects.pt, f"{name} eta": objects.eta, f"{name} number": ak.num(objects.pt)}
        found[f"{name} isolation"] = objects.relIso
    found |= {"jet pt": jets.pt, "jet eta": jets.eta, "jets": ak.num(jets.pt)}
    ht = ak.sum(jets.pt, axis=1)
    found |= {"MET": missing.pt, "HT + MET": ht + missing.pt}
    hardest = ak.firsts(jets)
    found["MET angle to the hardest jet"] = ak.drop_none(np.abs(_turn(missing.phi - hardest.phi)))
    leptons = ak.concatenate([events[f"{prefix}Electron"], events[f"{prefix}Muon"]], axis=1)
    lepton = ak.firsts(leptons[ak.argsort(leptons.pt, axis=1, ascending=False)])
    angle = lepton.phi - missing.phi
    found["transverse mass"] = ak.drop_none(np.sqrt(2.0 * lepton.pt * missing.pt * (1.0 - np.cos(angle))))
    pairs = []
    for name in ("Electron", "Muon"):
        first, second = ak.unzip(ak.combinations(events[f"{prefix}{name}"], 2))
        opposite = first.charge * second.charge < 0
        pairs.append(np.sqrt(np.maximum(_mass2(first, second)[opposite], 0.0)))
    found["dilepton mass"] = ak.concatenate(pairs, axis=1)
    if "btag" in jets.fields:
        tagged = jets[(jets.btag > 0.5) & (np.abs(jets.eta) < 2.5)]
        found |= {"b jets": ak.num(tagged.pt), "b jet pt": tagged.pt}
    return {name: np.asarray(ak.flatten(values, axis=None), dtype=np.float64) for name, values in found.items()}


def _turn(angle: Any) -> Any:
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def _mass2(first: Any, second: Any) -> Any:
    return 2.0 * first.pt * second.pt * (np.cosh(first.eta - second.eta) - np.cos(first.phi - second.phi))


def edges_of(values: Any) -> Any:
    """Return edges of bins with similar numbers of real entries, or of one bin for each whole number."""
    if len(values) == 0:
        return np.array([0.0, 1.0])
    if (values == np.round(values)).all():
        return np.arange(values.min() - 0.5, values.max() + 1.0)
    n = max(min(N_BINS, len(values) // 50), 1)
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, n + 1)[1:-1]))
    # values exactly at the minimum, as for isolation, have a bin of their own
    least = [np.nextafter(values.min(), np.inf)] if (values == values.min()).mean() > 0.02 else []
    return np.unique(np.concatenate([[-np.inf], least, edges[edges > values.min()], [np.inf]]))


def compare(emulated: Any, real: Any) -> tuple[float, int]:
    edges = edges_of(real)
    of_both = (np.histogram(side, edges)[0].astype(np.float64) for side in (emulated, real))
    drawn, true = of_both
    # bins in which either side has entries, with the uncertainties of both
    made = agreement((drawn, drawn), (true, true), min_entries=10.0)
    return made.per_bin, made.ndf


def object_features(
    gen: tuple[Floats, Ints],
    gen_event: Ints,
    reco: tuple[Floats, Ints],
    reco_event: Ints,
    missing: tuple[Floats, Floats],
    hardest_phi: Floats,
) -> Floats:
    """Return features of events in addition to those of their jets, (events, 53), with NaN for missing objects.

    For each kind, the two hardest objects and their number, at gen level (pt, eta, phi) and at reco level (these and
    the isolation); missing momentum at gen and reco level, each as pt and angle to the hardest reco jet, and the angle
    between the two.

    Parameters
    ----------
    gen, reco: objects of all events, concatenated, (M, 3 or more), and the kind of each, (M,).
    gen_event, reco_event: index of the event of each object.
    missing: pt [GeV] and phi [rad] of the missing momentum at gen and reco level, (events, 2) each.
    hardest_phi: phi of the hardest reco jet, (events,); NaN if there is none.
    """
    n_events, n_kinds = len(hardest_phi), 3
    columns = []
    for (values, kind), event, width in ((gen, gen_event, 3), (reco, reco_event, 4)):
        for k in range(n_kinds):
            mine = kind == k
            own, of_event = values[mine][:, :width], event[mine]
            order = np.lexsort((-own[:, 0], of_event))
            own, of_event = own[order].astype(np.float64), of_event[order]
            counts = np.bincount(of_event, minlength=n_events)
            place = places(counts)
            out = np.full((n_events, N_OBJECTS, width), np.nan)
            kept = place < N_OBJECTS
            out[of_event[kept], place[kept]] = own[kept]
            columns += [out.reshape(n_events, -1), counts[:, np.newaxis]]
    (gen_pt, gen_phi), (pt, phi) = (level.T for level in missing)
    angles = [wrap_phi(gen_phi - hardest_phi), wrap_phi(phi - hardest_phi), wrap_phi(phi - gen_phi)]
    columns.append(np.stack([gen_pt, pt, *np.abs(angles)], axis=1))
    return np.concatenate(columns, axis=1).astype(np.float32)


def of_sample(folders: list[EventFolder], paths: list[str]) -> dict[str, Any]:
    """Return all results of a sample."""
    parts: list[list[dict[str, Any]]] = [[] for _ in range(1 + len(folders))]
    features: list[list[Any]] = [[] for _ in parts]
    cells: list[list[Any]] = [[] for _ in parts]
    free = np.zeros((len(parts), len(KINDS)), dtype=int)
    for path in paths:
        events = events_of(path)
        particles = prompt_particles(events)
        gen = flatten_jets(events.GenJet)
        for k, made in enumerate([events, *(folder(events, as_nano=True) for folder in folders)]):
            parts[k].append(observables(made, ""))
            objects = reco_objects(made, particles)
            found = np.zeros(len(particles.kind), dtype=bool)
            first = np.cumsum(particles.counts) - particles.counts
            of_particle = objects.where(objects.place >= 0)
            found[first[of_particle.event] + of_particle.place] = True
            cells[k].append(np.column_stack([particles.kind, particles.values[:, :2], found]))
            free[k] += np.bincount(objects.kind[objects.place < 0], minlength=len(KINDS))
            reco = flatten_jets(made.Jet, "reco")
            missing = np.stack([np.asarray(made.MET.pt), np.asarray(made.MET.phi)], axis=1)
            of_jets = event_features(gen.values, gen.counts, reco.values, reco.counts)
            hardest = np.asarray(ak.fill_none(ak.firsts(made.Jet.phi), np.nan))
            of_objects = object_features(
                (particles.values, particles.kind),
                particles.event,
                (objects.values, objects.kind),
                objects.event,
                (missing_momentum(events), missing),
                hardest,
            )
            features[k].append(np.concatenate([of_jets, of_objects], axis=1))
    joined = [{name: np.concatenate([p[name] for p in of]) for name in of[0]} for of in parts]
    real, drawn = joined[0], joined[1:]
    chi2 = {}
    for name in real:
        if name in drawn[0]:
            of_seeds = [compare(one[name], real[name]) for one in drawn]
            chi2[name] = {
                "mean": float(np.mean([c for c, _ in of_seeds])),
                "bins": of_seeds[0][1],
                "null": compare(drawn[0][name], drawn[1][name])[0],
            }
    seen = [np.concatenate(side) for side in features]
    judged = {"auc": judge(seen[0], seen[1]).auc, "null": judge(seen[2], seen[1]).auc}
    expected = np.mean(free[1:], axis=0)
    return {
        "chi2": chi2,
        "judge": judged,
        "efficiencies": efficiencies([np.concatenate(side) for side in cells]),
        "of no particle": {kind.name: [int(free[0, k]), float(expected[k])] for k, kind in enumerate(KINDS)},
    }


def efficiencies(sides: list[Any]) -> list[dict[str, Any]]:
    """Return by kind and cell the numbers of particles and of those found, real and emulated."""
    made = []
    for k, kind in enumerate(KINDS):
        for pt in pairwise(PT_EDGES):
            for eta in pairwise(ETA_EDGES):
                rates = []
                for side in sides:
                    inside = (side[:, 0] == k) & (side[:, 1] >= pt[0]) & (side[:, 1] < pt[1])
                    inside &= (np.abs(side[:, 2]) >= eta[0]) & (np.abs(side[:, 2]) < eta[1])
                    rates.append(side[inside, 3])
                n = len(rates[0])
                if n >= 50:
                    p = float(rates[0].mean())
                    emulated = float(np.mean([one.mean() for one in rates[1:]]))
                    error = float(np.sqrt(p * (1.0 - p) / n))
                    made.append(
                        {
                            "kind": kind.name,
                            "pt": pt,
                            "abs_eta": eta,
                            "n": n,
                            "real": p,
                            "emulated": emulated,
                            "error": error,
                        }
                    )
    return made


def show(name: str, found: dict[str, Any], console: Console) -> None:
    table = Table("χ²/ndf", "emulated", "bins", "null", title=name)
    for what, one in found["chi2"].items():
        table.add_row(what, f"{one['mean']:.2f}", str(one["bins"]), f"{one['null']:.2f}")
    console.print(table)
    table = Table("efficiency", "pt", "|eta|", "particles", "real", "emulated")
    for cell in found["efficiencies"]:
        low, high = cell["pt"]
        real = f"{cell['real']:.3f} ± {cell['error']:.3f}"
        table.add_row(
            cell["kind"], f"{low:g} to {high:g}", f"{cell['abs_eta']}", str(cell["n"]), real, f"{cell['emulated']:.3f}"
        )
    console.print(table)
    console.print("without a prompt particle, real and emulated:", found["of no particle"])
    console.print(f"judge of whole events: {found['judge']['auc']:.4f}, null {found['judge']['null']:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--files", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    folders = [EventFolder(given.model, seed=seed) for seed in range(given.seeds)]
    console, results = Console(width=110), {}
    for name, paths in named(given.files).items():
        results[name] = of_sample(folders, paths)
        show(name, results[name], console)
    if given.output is not None:
        given.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
