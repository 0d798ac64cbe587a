"""A Delphes card for samples to train and validate on, from a card as Delphes ships it.

    python benchmarks/delphes_card.py delphes_card_CMS.tcl --radius 0.4 --seed 1 > card.tcl
    DelphesPythia8 card.tcl process.cmnd sample.root

Gen and reco jets have the given radius, begin at 10 GeV (reco jets before the energy scale), and have the flavour of
their partons and N-subjettiness with one-pass k_T axes. The tree is reduced to what coffea-iqn reads. The detector is
that of the card.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

PT_MIN = 10.0  # GeV
SUBJETTINESS = "  set ComputeNsubjettiness 1\n  set Beta 1.0\n  set AxisMode 4\n"
JET_FINDERS = ("GenJetFinder", "FastJetFinder")
BRANCHES = ("Particle", "GenJet", "GenMissingET", "Jet", "Electron", "Muon", "Photon", "MissingET")


def module(card: str, name: str) -> str:
    """Return the text of a module of a card.

    Raises
    ------
    ValueError: if the card has no such module.
    """
    found = re.search(rf"^module \w+ {name} {{.*?^}}\n", card, re.DOTALL | re.MULTILINE)
    if found is None:
        msg = f"card: expected a module {name}, found none"
        raise ValueError(msg)
    return found.group(0)


def modified(card: str, radius: float, seed: int) -> str:
    """Return a card with other jets and a reduced tree; for the arguments see the module."""
    for name in JET_FINDERS:
        finder = module(card, name)
        cut = re.sub(r"set JetPTMin \S+", f"set JetPTMin {PT_MIN}", finder)
        card = card.replace(finder, re.sub(r"set ParameterR \S+\n", f"set ParameterR {radius}\n{SUBJETTINESS}", cut))
    association = module(card, "JetFlavorAssociation")
    within = re.sub(r"set DeltaR \S+", f"set DeltaR {radius}", association)
    of_gen = re.sub(r"set JetInputArray \S+", "set JetInputArray GenJetFinder/jets", within)
    of_gen = of_gen.replace("JetFlavorAssociation JetFlavorAssociation", "JetFlavorAssociation GenJetFlavorAssociation")
    card = card.replace(association, within + "\n" + of_gen)
    card = re.sub(r"^( *)GenJetFinder\n", r"\1GenJetFinder\n\1GenJetFlavorAssociation\n", card, flags=re.MULTILINE)
    tree = module(card, "TreeWriter")
    lines = [line for line in tree.splitlines() if "add Branch" not in line or line.split()[3] in BRANCHES]
    return f"set RandomSeed {seed}\n" + card.replace(tree, "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path, help="a card of Delphes")
    parser.add_argument("--radius", type=float, default=0.4, help="radius of the jets (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the detector (default: %(default)s)")
    arguments = parser.parse_args()
    print(modified(arguments.card.read_text(), arguments.radius, arguments.seed), end="")


if __name__ == "__main__":
    main()
