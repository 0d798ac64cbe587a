"""Write histograms.root, for tools that read ROOT files."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import hist
import uproot

from coffea_iqn.files.atomic import plain_names
from coffea_iqn.jets.table import NOMINAL


def write_histograms(hists: Mapping[str, hist.Hist], path: Path) -> None:
    """Write histograms as TH1 and TH2.

    There is a folder for each dataset and level, `qcd/reco/pt`, and within it one for each systematic other than
    nominal, `qcd/reco/JES_up/pt`. Characters that cannot be in a file name become dashes in the name of a dataset.
    A histogram with an axis of |eta| is written for all |eta| (`response`, a TH2 of response against gen pt) and for
    each slice (`response_eta0`, `response_eta1`, ...).
    """
    names = plain_names(dataset for histogram in hists.values() for dataset in histogram.axes["dataset"])
    with uproot.recreate(path) as file:
        for name, histogram in hists.items():
            varied = "systematic" in [axis.name for axis in histogram.axes]
            systematics = list(histogram.axes["systematic"]) if varied else [NOMINAL]
            for dataset, level, systematic in product(*(histogram.axes[k] for k in ("dataset", "level")), systematics):
                nominal = systematic == NOMINAL
                if not nominal and level != "reco":  # other levels are nominal only
                    continue
                part = histogram[{"dataset": dataset, "level": level}]
                part = part[{"systematic": systematic}] if varied else part
                folder = f"{names[dataset]}/{level}" + ("" if nominal else f"/{systematic}")
                variables = [axis.name for axis in part.axes]
                slices = [variable for variable in variables if variable.endswith("abs_eta")]
                for eta in slices:
                    for k in range(len(part.axes[eta])):
                        file[f"{folder}/{name.removesuffix('_eta')}_eta{k}"] = part[{eta: k}]
                if name != "pt_eta":  # for all |eta| that equals pt
                    file[f"{folder}/{name}"] = part.project(*(v for v in variables if v not in slices))
