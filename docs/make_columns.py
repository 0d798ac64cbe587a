"""The picture of `docs/columns.md`, from a file that no bundle was trained on.

    python docs/make_columns.py MODEL ttbar_test.root

NanoAOD-like with the columns of the bundle for jets of R = 0.4, as `data/README.md` describes them.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import mplhep
import numpy as np

from coffea_iqn import bundle

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
EDGES = (20, 30, 40, 55, 75, 100, 150, 300)  # GeV
COLOURS = {"b": "C0", "c": "C1", "light": "C2"}


def main() -> None:
    from columns import jets_of, rates

    emulator = bundle.load(sys.argv[1])
    jets = jets_of(emulator, sys.argv[2])
    at = emulator.variables.names.index
    mplhep.style.use("CMS")
    figure, (tags, counts, ratios) = plt.subplots(1, 3, figsize=(30, 9), layout="constrained")
    middles, widths = (np.add(EDGES[1:], EDGES[:-1]) / 2, np.diff(EDGES) / 2)
    for flavour, some in jets.flavour.items():
        every = [rates(jets, at("btag"), some, *ends) for ends in pairwise(EDGES)]
        real, drawn = (np.array(side).T for side in zip(*every, strict=True))
        style = {"color": COLOURS[flavour], "label": f"{flavour}"}
        tags.errorbar(middles, real[0], real[1], widths, fmt="o", markersize=9, **style)
        tags.stairs(drawn[0], EDGES, color=COLOURS[flavour], linewidth=3)
    tags.set(xscale="log", yscale="log", xlabel="Reco jet $p_T$ [GeV]", ylabel="b-tag rate", ylim=(3e-3, 3))
    tags.legend(title="points Delphes, lines emulated", ncols=3, loc="upper center", fontsize=24, title_fontsize=24)
    tags.set_xticks([20, 50, 100, 300], ["20", "50", "100", "300"])
    tags.set_xticks([], minor=True)
    of_all = (jets.real, *jets.draws)
    spectra = (
        (counts, [jet[:, at("nCharged")] for jet in of_all], np.arange(26) - 0.5, "Number of charged constituents"),
        (
            ratios,
            [_subjettiness(*jet[:, [at("tau1"), at("tau2")]].T) for jet in of_all],
            np.linspace(0, 1, 41),
            r"$\tau_2 / \tau_1$",
        ),
    )
    for axis, (real, *draws), edges, label in spectra:
        number, drawn = np.histogram(real, edges)[0], np.histogram(np.concatenate(draws), edges)[0] / len(draws)
        axis.stairs(drawn, edges, color="C0", linewidth=3, label="Emulated")
        middle = (edges[1:] + edges[:-1]) / 2
        axis.errorbar(middle, number, np.sqrt(number), fmt="o", color="black", markersize=8, label="Delphes")
        axis.set(xlabel=label, ylabel="Jets", xlim=(edges[0], edges[-1]), ylim=(0, None))
        axis.legend()
    output = ROOT / "docs" / "images" / "columns.png"
    figure.savefig(output, dpi=50)
    print(output)


def _subjettiness(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The ratio of N-subjettinesses of jets that have two axes."""
    return two[two > 0.0] / one[two > 0.0]


if __name__ == "__main__":
    main()
