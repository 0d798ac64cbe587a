"""Cut the shipped samples from full simulation files; see README.md in this folder.

python -m coffea_iqn.data.make_samples NANO_AK4_FOLDER NANO_AK5_FOLDER FULL_AK4_FOLDER PARTICLES_AK5_FOLDER OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import awkward as ak
import uproot

OBJECTS = ("GenDressedLepton", "GenIsolatedPhoton", "Electron", "Muon", "Photon")
DILEPTON = "dilepton"  # samples of this name keep only events with at least two prompt leptons (above 5 GeV)
# for each sample: index of the folder, file, number of events, collections
SAMPLES = {
    "qcd_ak4.root": (0, "qcd_valid.root", 5000, ("GenJet", "Jet")),
    "qcd_ak5.root": (1, "qcd_valid.root", 5000, ("GenJet", "Jet")),
    "qcdflat_ak4.root": (0, "qcdflat_valid.root", 5000, ("GenJet", "Jet")),
    "ttbar_ak4_genonly.root": (0, "ttbar_valid.root", 2000, ("GenJet",)),
    "qcd_ak4_full.root": (2, "qcd_valid.root", 2500, ("GenJet", "Jet")),
    "wwhad_ak5_particles.root": (3, "wwhad_valid.root", 600, ("GenJet", "Jet", "GenJetCands", "PFCands")),
    "qcdhard_ak5_particles.root": (3, "qcdhard_test.root", 500, ("GenJet", "Jet", "GenJetCands", "PFCands")),
    "ttbar_ak4_full.root": (2, "ttbar_valid.root", 1500, ("GenJet", "Jet", *OBJECTS)),
    "dilepton_ak4_full.root": (2, "wzjets_valid.root", 5000, ("GenJet", "Jet", *OBJECTS)),
    "wzjets_ak4_full.root": (2, "wzjets_valid.root", 1500, ("GenJet", "Jet", "GenDressedLepton", "GenIsolatedPhoton")),
}
SINGLES = ("run", "luminosityBlock", "event", "genWeight", "GenMET_pt", "GenMET_phi")
OF_OBJECTS = ("MET_pt", "MET_phi")


def cut(source: Path, output: Path, n_events: int, collections: tuple[str, ...]) -> None:
    """Copy the first events of a NanoAOD-like file, with some of its collections."""
    with uproot.open(source) as file:
        tree = file["Events"]
        singles = (*SINGLES, *OF_OBJECTS) if set(OBJECTS) <= set(collections) else SINGLES
        columns = {name: tree[name].array(entry_stop=n_events) for name in singles if name in tree}
        for collection in collections:
            prefix = f"{collection}_"
            # coffea sets the mass of photons, and warns if a file has one
            names = [name for name in tree.keys(filter_name=f"{collection}_*") if name != "Photon_mass"]
            fields = {name.removeprefix(prefix): tree[name].array(entry_stop=n_events) for name in names}
            columns[collection] = ak.zip(fields)
    if output.name.startswith(DILEPTON):
        two = ak.num(columns["GenDressedLepton"]) > 1
        columns = {name: column[two] for name, column in columns.items()}
    with uproot.recreate(output, compression=uproot.LZMA(9)) as file:
        file.mktree("Events", {name: column.type.content for name, column in columns.items()}).extend(columns)


if __name__ == "__main__":
    *folders, destination = (Path(argument) for argument in sys.argv[1:])
    for name, (folder, source, n_events, collections) in SAMPLES.items():
        cut(folders[folder] / source, destination / name, n_events, collections)
