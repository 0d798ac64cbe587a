"""What a fold leaves on disk: histograms for ROOT, a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hist
import uproot

from coffea_iqn.whole import plain_names

PACKAGES = ("coffea-iqn", "coffea", "awkward", "uproot", "hist", "torch", "numpy")


def write_histograms(hists: Mapping[str, hist.Hist], path: Path) -> None:
    """Write histograms as TH1 and TH2 that ROOT opens.

    One folder a dataset and level: `qcd/reco/pt`; what cannot be in the name of a file is a dash in that of a dataset.
    A histogram with an axis of |eta| is written over all |eta| (`response`, a TH2 of response against gen pt) and in
    each slice (`response_eta0`, `response_eta1`, ...).
    """
    names = plain_names(dataset for histogram in hists.values() for dataset in histogram.axes["dataset"])
    with uproot.recreate(path) as file:
        for name, histogram in hists.items():
            for dataset in histogram.axes["dataset"]:
                for level in histogram.axes["level"]:
                    part = histogram[{"dataset": dataset, "level": level}]
                    folder = f"{names[dataset]}/{level}"
                    variables = [axis.name for axis in part.axes]
                    slices = [variable for variable in variables if variable.endswith("abs_eta")]
                    for eta in slices:
                        for k in range(len(part.axes[eta])):
                            file[f"{folder}/{name.removesuffix('_eta')}_eta{k}"] = part[{eta: k}]
                    if name != "pt_eta":  # over all |eta| that is pt
                        file[f"{folder}/{name}"] = part.project(*(v for v in variables if v not in slices))


def write_json(content: Any, path: Path) -> None:
    """Write JSON for people, with a line feed at the end."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions of this package and of those whose numbers depend on them."""
    return {name: version(name) for name in PACKAGES}
