"""Search for unphysical jets among very many emulated ones.

    python benchmarks/support.py MODEL --radius 0.4 --jets 1e7 --files qcd.root ttbar.root ...

Draws reco jets of the gen jets in the files many times, and counts matched jets outside of the matching cone, beyond
the edge of the detector, above the beam energy, or above the maximum of mass over pt.
"""

from __future__ import annotations

import argparse

import numpy as np
from inputs import run

from coffea_iqn import bundle
from coffea_iqn.jets.features import MASS, PT
from coffea_iqn.processors import PairsProcessor


def main() -> None:
    """Draw jets, and count unphysical ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--files", nargs="+", required=True)
    parser.add_argument("--radius", type=float, required=True)
    parser.add_argument("--jets", type=float, default=1e7)
    arguments = parser.parse_args()
    emulator = bundle.load(arguments.model)
    support = emulator.variables.support
    pairs, _ = run(PairsProcessor(radius=arguments.radius), {"jets": arguments.files})
    generator, n_jets, outside, too_heavy = np.random.default_rng(0), 0, 0, 0
    while n_jets < arguments.jets:
        tau = generator.uniform(2.0**-24, 1.0 - 2.0**-24, pairs.x.shape).astype(np.float32)
        reco, efficiency = emulator.respond(pairs.x, tau, pairs.context)
        found = efficiency > 0.0
        gen, jets = pairs.x[found].astype(np.float64), reco[found].astype(np.float64)
        n_jets += len(jets)
        outside += int((~support.holds(gen, jets)).sum())
        too_heavy += int((jets[:, MASS] > support.mass_over_pt_max * jets[:, PT]).sum())
    print(f"{arguments.model}: of {n_jets:,} jets, {outside} beyond cone, edge or energy, {too_heavy} too heavy")


if __name__ == "__main__":
    main()
