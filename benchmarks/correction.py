"""Corrections of reco jets by bundles and by a binned correction, on files that no bundle was trained on.

    python benchmarks/correction.py MODEL [MODEL ...] --files FILES --train FILES --radius 0.4 [--output FILE.json]

Uses matched pairs with reco pt above 20 GeV. For each correction, prints the table of medians of the first talks on
IQNs: average and spread of |corrected − gen| of each variable, divided by those of |reco − gen|; and the median of gen
pt over corrected pt, with its value farthest from 1 in any bin of reco pt × |eta|. The binned correction is the median
of gen over reco pt in bins of the training files, evaluated by correctionlib and applied by coffea's own
`CorrectedJetsFactory`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import awkward as ak
import correctionlib
import numpy as np
from coffea.jetmet_tools import CorrectedJetsFactory, CorrectionLibJEC, CorrectionLibJECStack
from correctionlib import schemav2
from inputs import named, run
from rich.console import Console
from rich.table import Table
from scipy.stats import binned_statistic_2d

from coffea_iqn import IQNCorrector, bundle
from coffea_iqn.closure import median_table
from coffea_iqn.jets.features import ETA, MASS, PT, VARIABLES
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.pairs import JetPairs

PT_MIN = 20.0
PT_EDGES = [10, 12, 14, 16, 18, 20, 23, 26, 30, 35, 40, 50, 60, 80, 110, 150, 200, 300, 500, 800, 1200, 2000, 7000]
ETA_EDGES = [0, 0.8, 1.3, 1.9, 2.5, 3.0, 3.5, 4.0, 5.0]
MIN_JETS = 200  # minimum number of jets in a bin


def read(paths: list[str], radius: float, pt_min: float) -> JetPairs:
    """Read reco jets, each with its gen jet."""
    return run(PairsProcessor(radius=radius, direction="correct", pt_min=pt_min), {"jets": paths}).pairs


def median_in_bins(reco: Any, value: Any, least: int) -> Any:
    """Return the median of a value in bins of reco pt × |eta|, NaN with too few jets, (pt, |eta|)."""
    jets = reco[:, PT], np.abs(reco[:, ETA]), value
    median, count = (binned_statistic_2d(*jets, what, [PT_EDGES, ETA_EDGES]).statistic for what in ("median", "count"))
    return np.where(count >= least, median, np.nan)


def binned(pairs: JetPairs) -> CorrectedJetsFactory:
    """Make a correction in bins of raw pt and |eta|, in the form that coffea applies."""
    reco, gen = pairs.x[pairs.matched], pairs.y[pairs.matched]
    factors = median_in_bins(reco, gen[:, PT] / reco[:, PT], 30)
    for column in factors.T:  # bins with few jets use the next bin in pt that has enough
        known = np.flatnonzero(np.isfinite(column))
        column[:] = column[known[np.abs(np.arange(len(column))[:, None] - known).argmin(axis=1)]]
    eta = [-edge for edge in ETA_EDGES[:0:-1]] + [float(edge) for edge in ETA_EDGES]
    content = np.concatenate([factors[:, ::-1], factors], axis=1).ravel().tolist()
    data = schemav2.MultiBinning(
        nodetype="multibinning", inputs=["JetPt", "JetEta"], edges=[PT_EDGES, eta], content=content, flow="clamp"
    )
    inputs = [schemav2.Variable(name=name, type="real") for name in ("JetPt", "JetEta")]
    output = schemav2.Variable(name="factor", type="real")
    one = schemav2.Correction(name="median", version=1, inputs=inputs, output=output, data=data)
    made = correctionlib.CorrectionSet.from_string(
        schemav2.CorrectionSet(schema_version=2, corrections=[one]).model_dump_json(exclude_unset=True)
    )
    names = {"JetPt": "pt", "JetEta": "eta", "JetMass": "mass", "ptRaw": "pt_raw", "massRaw": "mass_raw"}
    return CorrectedJetsFactory(
        names | {"ptGenJet": "pt_gen"}, CorrectionLibJECStack(jec=CorrectionLibJEC(made["median"]))
    )


def by_bins(factory: CorrectedJetsFactory, reco: Any, gen: Any) -> Any:
    """Return reco jets (N, 4) corrected by a factory."""
    jets = ak.zip(dict(zip(VARIABLES, reco.T, strict=True)) | {"pt_raw": reco[:, PT], "mass_raw": reco[:, MASS]})
    jets = ak.unflatten(ak.with_field(jets, gen[:, PT], "pt_gen"), [len(reco)])
    made = ak.flatten(factory.build(jets))
    return np.stack([ak.to_numpy(made[name]) for name in VARIABLES], axis=1)


def figures(corrected: Any, reco: Any, gen: Any) -> dict[str, Any]:
    """Return the table of medians, and the deviation of the median of gen pt over corrected pt from 1."""
    table = dict(zip(VARIABLES, median_table(corrected, reco, gen), strict=True))
    ratio = gen[:, PT] / corrected[:, PT]
    in_bins = median_in_bins(reco, ratio, MIN_JETS) - 1.0
    return {
        "corrected": {name: list(row.predicted) for name, row in table.items()},
        "uncorrected": {name: list(row.gen) for name, row in table.items()},
        "bias": float(np.median(ratio)) - 1.0,
        "greatest bias": float(max(in_bins[np.isfinite(in_bins)], key=abs, default=np.nan)),
    }


def show(name: str, ways: dict[str, dict[str, Any]]) -> None:
    """Print the results for one sample."""
    shown = Table("average (spread) of |x - gen|", *VARIABLES, "median of gen/x - 1", "greatest in a bin", title=name)
    first = next(iter(ways.values()))
    rows = {"uncorrected": first["uncorrected"]} | {way: found["corrected"] for way, found in ways.items()}
    for way, row in rows.items():
        cells = (f"{mean:.4g} ({spread:.4g})" for mean, spread in (row[variable] for variable in VARIABLES))
        biases = (f"{ways[way][key]:+.2%}" if way in ways else "" for key in ("bias", "greatest bias"))
        shown.add_row(way, *cells, *biases)
    Console(width=150).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--files", nargs="+", required=True, help="samples, NAME=PATH[,PATH...] each")
    parser.add_argument("--train", nargs="+", required=True, help="files for the binned correction")
    parser.add_argument("--likely", help="bundle that folds: adds the gen jets that maximise its p(reco | gen)")
    parser.add_argument("--max-jets", type=int, default=1_000_000, help="maximum number of jets of a sample")
    parser.add_argument("--radius", type=float, default=0.4)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    of_bins = binned(read(arguments.train, arguments.radius, PT_EDGES[0]))
    results = {}
    for name, paths in named(arguments.files).items():
        pairs = read(paths, arguments.radius, PT_MIN)
        pairs = JetPairs(*(column[pairs.matched][: arguments.max_jets] for column in pairs))
        ways = {"binned": by_bins(of_bins, pairs.x, pairs.y)}
        for model in arguments.models:
            ways[Path(model).name] = IQNCorrector(model).correct_flat(pairs.x, pairs.context).values
        if arguments.likely:
            ways[f"likely {arguments.likely}"] = bundle.load(arguments.likely).most_likely(pairs.x)
        results[name] = {way: figures(corrected, pairs.x, pairs.y) for way, corrected in ways.items()}
        show(f"{name}: {len(pairs.x):,} jets", results[name])
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
