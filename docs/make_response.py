"""The picture of `docs/response.md`, from files that no bundle was trained on, in about two minutes.

    python docs/make_response.py qcd_test.root

NanoAOD-like with gen and reco jets of R = 0.4, as `data/README.md` describes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import mplhep
import numpy as np

MODEL, DRAWS = "cms-delphes-ak4", 60
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
LEAST = 3e-4  # of jets, below which a bin is left white
TICKS = (20, 30, 50, 100)
N_BINS = 7  # of gen jets, those that QCD fills; twice as many of reco jets


def main() -> None:
    import inputs
    import unfolding as tools

    events = inputs.events_of(sys.argv[1])
    ours = tools.exact_matrix(MODEL, events)
    values, variances = (of(flow=True)[1 : N_BINS + 1, 1 : 2 * N_BINS + 1] for of in (ours.values, ours.variances))
    drawn = tools.drawn_matrices(MODEL, events, DRAWS)[:, 1 : N_BINS + 1, 1 : 2 * N_BINS + 1]
    counted = tools.counted(tools.delphes_pairs(events))[1 : N_BINS + 1, 1 : 2 * N_BINS + 1]
    gen = values.sum(axis=1, keepdims=True)
    # a counted bin scatters with the gen jets, as ours does, and with what the detector does to each
    scatter = drawn.var(axis=0, ddof=1)
    ratio = np.where(scatter > 0.0, np.sqrt(1.0 + scatter / variances), np.nan)
    mplhep.style.use("CMS")
    figure, axes = plt.subplots(1, 3, figsize=(30, 8.5), layout="constrained")
    panels = (
        ("response(...)", values / gen, "viridis", "Probability", 1.0),
        ("Counted in Delphes", counted / gen, "viridis", "Probability", 1.0),
        ("Noise: counted / response(...)", ratio, "magma", "Ratio of uncertainties", 10.0),
    )
    edges = tools.GEN_EDGES[: N_BINS + 1], tools.RECO_EDGES[: 2 * N_BINS + 1]
    for axis, (title, content, colours, label, most) in zip(axes, panels, strict=True):
        shown = np.where(values / gen > LEAST if most > 1.0 else content > LEAST, content, np.nan)
        least = 1.0 if most > 1.0 else LEAST
        mesh = axis.pcolormesh(*edges, shown.T, norm="log", vmin=least, vmax=most, cmap=colours)
        axis.set(xscale="log", yscale="log", xlabel="Gen jet $p_T$ [GeV]", ylabel="Reco jet $p_T$ [GeV]")
        axis.set_title(title, pad=20)
        for ticks in (axis.set_xticks, axis.set_yticks):
            ticks(TICKS, [str(tick) for tick in TICKS])
            ticks([], minor=True)
        figure.colorbar(mesh, label=label)
    output = ROOT / "docs" / "images" / "response_matrix.png"
    figure.savefig(output, dpi=50)
    print(f"{output}: median ratio of uncertainties {np.nanmedian(ratio[values / gen > 0.01]):.2f} where P > 1 %")
    off = ratio[(values / gen > LEAST) & (values / gen < 0.01)]
    print(f"and {np.nanmedian(off):.2f} below")
    enough = scatter > 5.0
    chi2 = ((counted - values)[enough] ** 2 / scatter[enough]).sum() * (DRAWS - 3) / (DRAWS - 1)
    print(f"chi2 / bins: {chi2:.0f} / {enough.sum()}")


if __name__ == "__main__":
    main()
