"""The picture of docs/exports.md: each export beside its bundle, on jets that it was not averaged over.

python docs/make_exports_image.py
"""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import correctionlib
import matplotlib.pyplot as plt
import numpy as np
import onnx

from coffea_iqn import bundle
from coffea_iqn.exports import corrections, export, graphs
from coffea_iqn.exports.reference import CELLS_PT, LEVELS, Reference, averaged, curves
from coffea_iqn.iqn.conditional import logit
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.plotting.panels import STYLE, make_log_x

MODEL, ENDS = "cms-delphes-ak4", ("cms-delphes-ak4_MC", "AK4")
IMAGE = Path(__file__).parent / "images" / "exports.png"
REGIONS = {"$|\\eta| < 1.3$": (0.0, 1.3), "$2.5 < |\\eta| < 3.1$": (2.5, 3.1)}
FEW = 3000  # jets of the graph's panel


def draw_quantiles(panels, jets, law, found):
    """Quantiles of an export over those of the bundle, in slices of pt."""
    for panel, (name, (low, high)) in zip(panels, REGIONS.items(), strict=True):
        abs_eta = np.abs(jets.gen[:, ETA])
        inside = (abs_eta > low) & (abs_eta < high)
        slices = [inside & (jets.gen[:, PT] > a) & (jets.gen[:, PT] < b) for a, b in pairwise(CELLS_PT)]
        slices = [rows for rows in slices if rows.sum() > 50]
        z = logit(np.array(LEVELS))
        ratios = np.array([averaged(found[rows])(z) / averaged(law[rows])(z) for rows in slices])
        pt = [np.median(jets.gen[rows, PT]) for rows in slices]
        for level, ratio in zip(LEVELS, ratios.T, strict=True):
            panel.plot(pt, 100.0 * (ratio - 1.0), marker="o", label=f"{level:g}")
        panel.axhline(0.0, color="0.6", zorder=0)
        panel.set(xscale="log", xlim=(15.0, 1000.0), ylim=(-5.5, 5.5), xlabel="Gen jet $p_T$ [GeV]")
        make_log_x(panel)
        panel.text(0.05, 0.92, name, transform=panel.transAxes)


def main() -> None:
    emulator = bundle.load(MODEL)
    jets = Reference.of(emulator)
    jets = jets.where(jets.held_out)
    law = curves(emulator, jets)
    with tempfile.TemporaryDirectory() as folder, plt.style.context(STYLE):
        figure, panels = plt.subplots(1, 5, figsize=(30, 7.5), layout="constrained")
        for k, to in enumerate(("correctionlib", "correctionlib-lwtnn")):
            made = export(MODEL, to, Path(folder) / f"{to}.json")
            print(*made.closure, sep="\n")
            found, _ = corrections.evaluate(correctionlib.CorrectionSet.from_file(str(made.path)), ENDS, jets)
            draw_quantiles(panels[2 * k : 2 * k + 2], jets, law, found)
            panels[2 * k].set_title(f"--to {to}", loc="left")
        panels[0].set_ylabel("Export / bundle $-$ 1 [%]")
        panels[3].legend(title="Level", ncols=2, loc="lower right")
        made = export(MODEL, "onnx", Path(folder) / "x.onnx")
        print(*made.closure, sep="\n")
        graph = onnx.load(made.path)
        print(len(graph.graph.node), "nodes;", json.loads({p.key: p.value for p in graph.metadata_props}["closure"]))
        few = jets.where(np.arange(min(FEW, len(law))))
        tau = np.random.default_rng(1).uniform(1e-4, 1.0 - 1e-4, few.gen.shape).astype(np.float32)
        reco = graphs.evaluate(graph, few.gen, tau, few.context)[0]
        wanted = emulator.sample(few.gen, tau, few.context, backend="torch")
        for name, column in (("$p_T$", PT), ("Mass", 3)):
            off = np.abs(reco[:, column] - wanted[:, column]) / np.maximum(wanted[:, column], 1.0)
            panels[4].hist(np.maximum(off, 1e-9), bins=np.logspace(-9, -3, 31), histtype="step", lw=2, label=name)
        panels[4].set(xscale="log", xlabel="Difference from the bundle, jet by jet", ylabel="Jets")
        panels[4].set_title("--to onnx", loc="left")
        panels[4].legend(title="relative, above 1 GeV")
        figure.savefig(IMAGE, dpi=50)


if __name__ == "__main__":
    main()
