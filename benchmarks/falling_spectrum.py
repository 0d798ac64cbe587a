"""Reco jets of high pt in a falling spectrum, where rare large responses of the many soft gen jets could dominate.

    python benchmarks/falling_spectrum.py FILES [--model cms-delphes-ak4]

For files with weights: the expected number of matched reco jets above each pt, integrated by `response_sums`, in bins
of the gen pt, and that of the files. Draws would need billions of jets to show the difference.
"""

from __future__ import annotations

import argparse

import numpy as np
from inputs import events_of

from coffea_iqn import IQNFolder
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.jets.features import PT
from coffea_iqn.jets.matching import match_tables
from coffea_iqn.unfolding import response_sums

GEN = (10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 400.0, 1000.0, 3500.0)  # GeV
ABOVE = (100.0, 200.0, 400.0)  # GeV
CHUNK = 10_000  # events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="cms-delphes-ak4")
    arguments = parser.parse_args()
    cone = IQNFolder(arguments.model).card["jets"]["cone"]
    expected, true = np.zeros((2, len(ABOVE), len(GEN) - 1))
    for path in arguments.files:
        events = events_of(path, mode="eager")
        for some in (events[first : first + CHUNK] for first in range(0, len(events), CHUNK)):
            sums = response_sums(arguments.model, some.GenJet, some, GEN, ABOVE, unmatched=False)
            of_reco = sums.hist.values(flow=True)[1:-1, 1:]  # without jets below the first edge
            expected += np.cumsum(of_reco[:, ::-1], axis=1)[:, ::-1].T
            gen, reco = flatten_jets(some.GenJet), flatten_jets(some.Jet, "reco")
            of_gen, of_reco_jet = match_tables(gen, reco, cone)
            x, y, weight = gen.values[of_gen, PT], reco.values[of_reco_jet, PT], np.asarray(some.genWeight)
            for k, pt in enumerate(ABOVE):
                true[k] += np.histogram(x[y > pt], GEN, weights=weight[gen.event[of_gen]][y > pt])[0]
    for k, pt in enumerate(ABOVE):
        print(f"above {pt:g} GeV: emulated {expected[k].sum():.4g}, true {true[k].sum():.4g}")
        print(
            "  by gen pt:",
            ", ".join(f"{low:g}: {a:.3g} ({b:.3g})" for low, a, b in zip(GEN, expected[k], true[k], strict=False)),
        )


if __name__ == "__main__":
    main()
