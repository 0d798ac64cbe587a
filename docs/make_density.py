"""The picture of the page on densities, from files that no bundle was trained on.

    python docs/make_density.py FILES

NanoAOD-like files with gen and reco jets of R = 0.4, as `data/README.md` describes them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import mplhep
import numpy as np
from coffea import processor

from coffea_iqn import bundle
from coffea_iqn.files import NanoSchema
from coffea_iqn.jets.features import ETA, MASSLESS, PT
from coffea_iqn.processors import PairsProcessor

OUTPUT = Path(__file__).parent / "images" / "density.png"
BLUE, RED, GREY = "#3f90da", "#bd1f01", "#717581"
# of what gen jets: variable, its column, edges, least and greatest pt [GeV] and |eta|
PANELS = (
    ("pt", "Reco jet $p_T$ [GeV]", np.linspace(15.0, 65.0, 51), (38.0, 42.0), (0.0, 1.3)),
    ("mass", "Reco jet mass [GeV]", np.linspace(0.0, 8.0, 41), (15.0, 20.0), (3.2, 4.5)),
)
MOST = 200  # gen jets whose densities are averaged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    runner = processor.Runner(executor=processor.IterativeExecutor(), schema=NanoSchema)
    fileset = {"qcd": parser.parse_args().files}
    pairs, _ = runner(fileset, PairsProcessor(radius=0.4), treename="Events")
    emulator, rng = bundle.load("cms-delphes-ak4"), np.random.default_rng(0)
    plt.style.use(mplhep.style.CMS)
    fig, axes = plt.subplots(1, 2, figsize=(20, 8))
    for ax, (variable, label, edges, pts, abs_etas) in zip(axes, PANELS, strict=True):
        pt, abs_eta = pairs.x[:, PT], abs(pairs.x[:, ETA])
        alike = pairs.matched & (pts[0] < pt) & (pt < pts[1]) & (abs_etas[0] < abs_eta) & (abs_eta < abs_etas[1])
        gen, real, context = (column[alike] for column in (pairs.x, pairs.y, pairs.context))
        k = ("pt", "mass").index(variable) * 3
        tau = rng.uniform(1e-6, 1.0 - 1e-6, gen.shape).astype(np.float32)
        drawn = emulator.sample(gen, tau, context)
        width, of_one = edges[1] - edges[0], emulator.marginal(variable)
        least = MASSLESS if variable == "mass" else 0.0  # what lies below is an atom
        counts = np.histogram(real[real[:, k] >= least, k], edges)[0]
        middle, scale = (edges[1:] + edges[:-1]) / 2.0, 1.0 / (len(gen) * width)
        ax.errorbar(middle, counts * scale, np.sqrt(counts) * scale, fmt="ko", label="Delphes, similar gen jets")
        of_draws = np.histogram(drawn[drawn[:, k] >= least, k], edges)[0]
        ax.stairs(of_draws * scale, edges, color=BLUE, linewidth=2, label="Drawn for the same gen jets")
        points = np.linspace(max(edges[0], least), edges[-1], 161)
        some = rng.permutation(len(gen))[:MOST]
        repeated = (np.repeat(column[some], len(points), axis=0) for column in (gen, context))
        gens, contexts = repeated
        density = np.exp(of_one.log_density(gens, np.tile(points, len(some)), contexts)).reshape(len(some), -1)
        ax.plot(points, density.mean(axis=0), color=RED, linewidth=3, label="Mean of their densities")
        ax.plot(points, density[0], color=GREY, linestyle="--", label="Density of one of them")
        if variable == "mass":
            atom = np.exp(of_one.log_density(gen[some], np.zeros(len(some)), context[some]))
            massless = real[:, k] < MASSLESS
            error = massless.std() / np.sqrt(len(real))
            told = f"Massless (an atom):\nDelphes {100 * massless.mean():.1f} ± {100 * error:.1f} %\n"
            told += f"draws {100 * (drawn[:, k] == 0.0).mean():.1f} %\ndensity {100 * atom.mean():.1f} %"
            ax.text(0.97, 0.3, told, transform=ax.transAxes, ha="right", fontsize=18)
            print(told)
        ax.set(
            xlabel=label,
            ylabel="Density [1/GeV]",
            xlim=(edges[0], edges[-1]),
            ylim=(0.0, 1.5 * density.mean(axis=0).max()),
        )
        where = f"{pts[0]:g} to {pts[1]:g} GeV, |η| {abs_etas[0]:g} to {abs_etas[1]:g}"
        ax.legend(title=f"Gen jets of {where}", fontsize=18, title_fontsize=18)
        print(variable, len(gen), "gen jets")
    fig.tight_layout()
    fig.savefig(OUTPUT, dpi=60)


if __name__ == "__main__":
    main()
