"""The picture of `docs/refinement.md`, from a refined bundle and the figures of `benchmarks/refinement.py`.

python docs/make_refinement.py REFINED FIGURES.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import mplhep
import numpy as np

from coffea_iqn import bundle

OUTPUT = Path(__file__).parent / "images" / "refinement.png"
SIDES = {"unrefined": ("s", "#bd1f01"), "refined": ("o", "#3f90da"), "null": ("D", "black")}


def main() -> None:
    model, figures = sys.argv[1:]
    rows = json.loads(Path(figures).read_text())
    tenths = bundle.load(model).card["refinement"]["reliability"]
    plt.style.use(mplhep.style.CMS)
    figure, (left, right) = plt.subplots(1, 2, figsize=(22, 9), layout="constrained")
    said, found, error = (np.array([tenth[name] for tenth in tenths]) for name in ("said", "found", "error"))
    ends = [min(said.min(), (found - error).min()) - 0.01, max(said.max(), (found + error).max()) + 0.01]
    left.plot(ends, ends, color="grey", linewidth=2)
    left.errorbar(said, found, error, fmt="o", color="#3f90da", markersize=10, elinewidth=3)
    left.set(xlabel="P(truth) that the ratio says", ylabel="Fraction of true jets", xlim=ends, ylim=ends)
    left.set_title(f"{Path(model).name}, jets held out", fontsize=24)
    place = np.arange(len(rows))
    for k, (side, (marker, colour)) in enumerate(SIDES.items()):
        value, error = np.array([row[f"AUCres {side}"] for row in rows]).T
        style = {"fmt": marker, "color": colour, "markersize": 10, "elinewidth": 3, "label": side}
        right.errorbar(place + 0.15 * (k - 1), value, error, **style)
    right.axhline(0.5, color="grey", linewidth=2, zorder=0)
    right.set_xticks(place, [f"{row['model']}\n{row['sample']}" for row in rows], fontsize=18)
    right.minorticks_off()
    right.set_ylabel("AUC of the judge with residuals")
    right.legend()
    figure.savefig(OUTPUT, dpi=60)


if __name__ == "__main__":
    main()
