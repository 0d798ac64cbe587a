"""Digests of all bits of folded jets, histograms and skims, which no change of code may change.

`python tests/test_bits.py` rewrites them after an intended change of the results, such as new bundles or samples.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from coffea_iqn import ConstituentFolder, EventFolder, IQNFolder
from coffea_iqn.data import BUNDLES
from coffea_iqn.files.skims import Skim
from coffea_iqn.files.trees import iterate
from coffea_iqn.processors import IQNFoldProcessor
from conftest import open_events

RECORD = Path(__file__).with_name("bits.json")
SAMPLES = {
    "cms-delphes-ak4": ("qcd_ak4.root", "qcdflat_ak4.root", "ttbar_ak4_genonly.root", "wzjets_ak4_full.root"),
    "cms-delphes-ak5": ("qcd_ak5.root", "delphes_1000.root"),
    "atlas-delphes-ak4": ("wzjets_ak4_full.root",),
    "cms-delphes-ak4-events": ("ttbar_ak4_full.root",),
    "cms-delphes-ak4-fast": ("qcd_ak4.root",),
    "cms-delphes-ak5-particles": ("qcd_ak5.root",),
}
WHOLE = dict.fromkeys(("cms-delphes-ak4-fast", "cms-delphes-ak4-events"), "ttbar_ak4_full.root")
PARTICLES = {"cms-delphes-ak5-particles": "wwhad_ak5_particles.root"}
OBJECTS = ("IQNJet", "IQNElectron", "IQNMuon", "IQNPhoton")
FOLDS = {
    "as it is": {},
    "no unmatched jets": {"unmatched": False},
    "every gen jet": {"acceptance": False},
    "three replicas": {"replicas": 3},
    "another seed": {"seed": 7},
}
N_EVENTS = 1500


def digest(arrays):
    """Return the digest of arrays and jagged arrays by name, independent of their layout."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        flat, depth = array, 0
        while isinstance(flat, ak.Array) and flat.ndim > 1:
            found.update(np.asarray(ak.num(flat), dtype=np.int64).tobytes())
            flat, depth = ak.flatten(flat), depth + 1
        values = np.ascontiguousarray(flat)
        found.update(f"{name} {depth} {values.dtype.str}".encode() + values.tobytes())
    return found.hexdigest()[:16]


def folds():
    for model, samples in SAMPLES.items():
        for sample in samples:
            events = open_events(sample, entry_stop=N_EVENTS, metadata={"dataset": "bits"})
            for name, options in FOLDS.items():
                yield f"{model}, {sample}, {name}", model, events, options


def fold_digest(model, events, options):
    reco = IQNFolder(model, **options)(events.GenJet, events)
    return digest({name: reco[name] for name in ("pt", "eta", "phi", "mass", "genJetIdx")})


def event_digest(model, events):
    made = EventFolder(model)(events)
    objects = {f"{name} {field}": made[name][field] for name in OBJECTS for field in ("pt", "eta", "phi")}
    return digest(objects | {"MET pt": made.IQNMET.pt, "MET phi": made.IQNMET.phi})


def particle_digest(model, events):
    made = ConstituentFolder(model)(events)
    jets = {
        f"IQNJet {field}": made.IQNJet[field] for field in ("pt", "eta", "phi", "mass", "btag", "tau2", "msoftdrop")
    }
    return digest(jets | {f"IQNPFCands {field}": made.IQNPFCands[field] for field in ("pt", "eta", "phi", "pdgId")})


def processor_digests(model, sample, folder):
    """Return the digests of histograms and skims from a processor run over a sample."""
    made = {}
    for name, replicas in {"": 1, ", two replicas": 2}.items():
        where = {"filename": sample, "treename": "Events", "entrystart": 0, "entrystop": N_EVENTS, "dataset": "bits"}
        events = open_events(sample, entry_stop=N_EVENTS, metadata=where)
        skim = Skim(folder / f"{model}{replicas}", keep=["GenJet_*"])
        instance = IQNFoldProcessor(model, replicas=replicas, skim=skim)
        out = instance.postprocess(instance.process(events))
        views = {key: hist.view(flow=True) for key, hist in out["hists"].items()}
        sums = {f"{key} {part}": view[part] for key, view in views.items() for part in ("value", "variance")}
        made[f"{model}, {sample}, histograms{name}"] = digest(sums)
        made[f"{model}, {sample}, skim{name}"] = digest(next(iterate(Path(out["files"][0]))))
    return made


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORD.read_text())


def test_every_bundle_has_its_digests():
    assert set(SAMPLES) == set(BUNDLES)


def test_folded_jets_have_the_bits_they_had(recorded):
    for name, *case in folds():
        assert fold_digest(*case) == recorded[name], name


@pytest.mark.parametrize("model", WHOLE)
def test_whole_events_have_the_bits_they_had(model, recorded):
    events = open_events(WHOLE[model], entry_stop=N_EVENTS, metadata={"dataset": "bits"})
    assert event_digest(model, events) == recorded[f"{model}, whole events"]


@pytest.mark.parametrize("model", PARTICLES)
def test_particles_have_the_bits_they_had(model, recorded):
    events = open_events(PARTICLES[model], metadata={"dataset": "bits"})
    assert particle_digest(model, events) == recorded[f"{model}, particles"]


@pytest.mark.parametrize("model", SAMPLES)
def test_histograms_and_skims_have_the_bits_they_had(model, recorded, tmp_path):
    for sample in SAMPLES[model]:
        for name, found in processor_digests(model, sample, tmp_path / sample).items():
            assert found == recorded[name], name


if __name__ == "__main__":
    import tempfile

    warnings.simplefilter("ignore")
    written = {name: fold_digest(*case) for name, *case in folds()}
    for whole, of in WHOLE.items():
        opened = open_events(of, entry_stop=N_EVENTS, metadata={"dataset": "bits"})
        written[f"{whole}, whole events"] = event_digest(whole, opened)
    for model_of, of in PARTICLES.items():
        opened = open_events(of, metadata={"dataset": "bits"})
        written[f"{model_of}, particles"] = particle_digest(model_of, opened)
    with tempfile.TemporaryDirectory() as temporary:
        for bundle_name, samples in SAMPLES.items():
            for sample_name in samples:
                written |= processor_digests(bundle_name, sample_name, Path(temporary) / sample_name)
    RECORD.write_text(json.dumps(written, indent=1) + "\n")
