"""Files of several producers: every layout is read and gives the same jets."""

from __future__ import annotations

import json
import shutil

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory, PHYSLITESchema

from coffea_iqn import IQNFolder
from coffea_iqn.data import sample_path
from coffea_iqn.events.identity import event_weights
from coffea_iqn.files.inputs import JET_FIELDS, InputError, branch_filter, event_numbers, first_jets, inspect
from conftest import one_error, open_events, run

QCD = sample_path("qcd_ak4.root")
TRUTH, RECO = "AntiKt4TruthDressedWZJets", "Jets"
N = 2000


@pytest.fixture(scope="module")
def physlite(tmp_path_factory):
    """Write events of the QCD sample in ATLAS's layout: vectors in branches, MeV, label −1 for gluons."""
    path = tmp_path_factory.mktemp("physlite") / "physlite.root"
    events = open_events("qcd_ak4.root", entry_stop=N)
    branches = {}
    for name, jets in ((f"{TRUTH}AuxDyn", events.GenJet), (f"Analysis{RECO}AuxDyn", events.Jet)):
        for field, unit in (("pt", 1000), ("eta", 1), ("phi", 1), ("mass", 1000)):
            branches[f"{name}.{'m' if field == 'mass' else field}"] = ak.values_astype(jets[field] * unit, "float32")
    for field, theirs in (("btag", events.Jet.pt / 100.0), ("DF_NumTrk", ak.local_index(events.Jet.pt))):
        branches[f"Analysis{RECO}AuxDyn.{field}"] = ak.values_astype(theirs, "float32" if field == "btag" else "int32")
    flavour = events.GenJet.partonFlavour
    branches[f"{TRUTH}AuxDyn.PartonTruthLabelID"] = ak.values_astype(ak.where(flavour == 0, -1, flavour), "int32")
    named = {"runNumber": "run", "lumiBlock": "luminosityBlock", "eventNumber": "event"}
    branches |= {f"EventInfoAuxDyn.{theirs}": events[ours] for theirs, ours in named.items()}
    weights = np.asarray(events.genWeight)[:, np.newaxis] * [1.0, 0.5]
    branches["EventInfoAuxDyn.mcEventWeights"] = ak.from_regular(weights.astype(np.float32))
    with uproot.recreate(path) as file:
        file.mktree("CollectionTree", {name: ak.without_parameters(array) for name, array in branches.items()})
    return path


def test_jets_of_physlite_are_those_of_nanoaod(physlite):
    """The same gen jets in another layout give the same reco jets, in GeV."""
    source = inspect(str(physlite), collections=[TRUTH, RECO])
    assert (source.layout, source.tree, source.n_events) == ("PHYSLITE", "CollectionTree", N)
    assert set(source.context) == {"flavour", "flavours", "neighbours", "event", "prompt"}
    first = [first_jets(*of).values for of in ((source, RECO), (inspect(str(sample_path("qcd_ak4.root"))), "Jet"))]
    assert 0 < len(first[0]) < len(first[1])
    np.testing.assert_allclose(first[0], first[1][: len(first[0])], rtol=1e-5)
    theirs = NanoEventsFactory.from_root(
        {str(physlite): "CollectionTree"},
        schemaclass=PHYSLITESchema,
        iteritems_options=branch_filter([source], [TRUTH, RECO]),
        metadata={"dataset": "jets"},
    ).events()
    known = ["run", "luminosityBlock", "event", "nGenJet", *(f"GenJet_{f}" for f in (*JET_FIELDS, "partonFlavour"))]
    reduced = {"iteritems_options": {"filter_name": known}}
    ours = open_events("qcd_ak4.root", entry_stop=N, metadata={"dataset": "jets"}, **reduced)
    folder = IQNFolder("cms-delphes-ak4", unmatched=True)
    found = folder(theirs[TRUTH], theirs)
    assert found.pt.type.content.content.primitive == "float32"
    for name in ("GenDressedLepton", "GenIsolatedPhoton"):  # these jets of theirs are made without leptons
        none = dict.fromkeys(("pt", "eta", "phi", "mass", "pdgId"), ours.GenJet.partonFlavour[:, :0])
        ours = ak.with_field(ours, ak.zip(none), name)
    expected = folder(ours.GenJet, ours)
    same = ak.num(found) == ak.num(expected)
    assert ak.mean(same) > 0.999  # due to the rounding of MeV, a jet may cross the threshold
    for field in ("pt", "eta", "phi", "mass"):
        difference = ak.flatten(found[field][same] - expected[field][same])
        assert np.quantile(np.abs(difference), 0.99) < 1e-3


def test_events_of_physlite_that_are_in_a_dataset_twice_are_refused(physlite, tmp_path, capsys):
    source, nano = inspect(str(physlite)), inspect(str(QCD))
    np.testing.assert_array_equal(event_numbers(source), event_numbers(nano, N))
    files = [f"qcd={path}" for path in (physlite, shutil.copy(physlite, tmp_path / "copy.root"))]
    assert run("fold", *files, "--gen", TRUTH, "--truth", RECO, "--output", tmp_path / "out") == 2
    assert f"got {physlite} and {tmp_path / 'copy.root'}, which are the same or copies" in one_error(capsys)


def test_jets_of_physlite_that_are_in_gev_already_are_refused(physlite):
    events = NanoEventsFactory.from_root({str(physlite): "CollectionTree"}, schemaclass=PHYSLITESchema).events()
    jets = events[TRUTH]
    for field in ("pt", "m"):
        jets = ak.with_field(jets, jets[field] / 1000, field)
    with pytest.raises(ValueError, match="expected PHYSLITE's pt in MeV, got a median of "):
        IQNFolder("cms-delphes-ak4")(jets, events)


def test_events_of_physlite_without_a_weight_are_refused():
    weights = ak.Array([[1.0, 2.0], [], [3.0]])
    events = ak.zip({"EventInfo": ak.zip({"mcEventWeights": weights}, depth_limit=1)}, depth_limit=1)
    with pytest.raises(ValueError, match="mcEventWeights: expected a weight or more of each event, got 1 events"):
        event_weights(events)


def test_physlite_from_the_shell(physlite, tmp_path):
    collections = ["--gen", TRUTH, "--truth", RECO]
    options = ["--skim", "root", "--keep", f"{TRUTH}_*", "--no-plots"]
    assert run("fold", f"qcd={physlite}", *collections, *options, "--output", tmp_path / "out") == 0
    flow = json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"]["qcd"]
    with uproot.open(QCD) as file:
        nano = file["Events"].arrays(["Jet_pt", "Jet_eta", "genWeight"], entry_stop=N)
    assert flow["truth_jets_selected"] == ak.sum((nano.Jet_pt > 20) & (abs(nano.Jet_eta) < 5))
    assert flow["sum_of_weights"] == pytest.approx(ak.sum(nano.genWeight))
    (path,) = (tmp_path / "out" / "skim").iterdir()
    with uproot.open(path) as file:
        assert {f"{TRUTH}_pt", f"{TRUTH}_m", "IQNJet_pt"} <= set(file["Events"].keys())


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("Jets_*", {f"Jets_{field}" for field in ("pt", "eta", "phi", "m", "btag", "DF_NumTrk")}),
        ("Jets_DF_NumTrk", {"Jets_DF_NumTrk"}),
        ("EventInfo_lumi*", {"EventInfo_lumiBlock"}),
        ("*", {"Jets_btag", "Jets_DF_NumTrk", f"{TRUTH}_PartonTruthLabelID", "EventInfo_eventNumber"}),
    ],
)
def test_branches_of_physlite_are_kept(physlite, tmp_path, pattern, kept):
    """All that the pattern names, without what coffea makes."""
    options = ["--gen", TRUTH, "--truth", "none", "--skim", "root", "--keep", pattern, "--no-plots"]
    assert run("fold", f"qcd={physlite}", *options, "--output", tmp_path / "out") == 0
    (path,) = (tmp_path / "out" / "skim").iterdir()
    with uproot.open(path) as file, uproot.open(physlite) as source:
        found = {name for name in file["Events"].keys() if name.startswith((f"{RECO}_", "EventInfo_", TRUTH))}  # noqa: SIM118
        assert kept <= found
        assert pattern == "*" or kept == found
        assert not any("_eventindex" in name for name in found)
        for name in kept & {"Jets_btag", "Jets_DF_NumTrk"}:
            theirs = source[f"CollectionTree/Analysis{name.replace('_', 'AuxDyn.', 1)}"].array()
            assert ak.array_equal(file[f"Events/{name}"].array(), theirs, check_parameters=False)


def test_lists_of_other_lengths_are_not_kept_as_one_collection(physlite, tmp_path, capsys):
    """Only the part of a name before its first underscore counts in files of NanoAOD's layout."""
    with uproot.open(physlite) as file:
        branches = file["CollectionTree"].arrays(filter_name=["Event*", "An*"], entry_stop=20)
    columns = {name: ak.without_parameters(branches[name]) for name in branches.fields}
    columns |= {f"MX_{name}AuxDyn.x": ak.Array([[1.0] * k] * 20) for name, k in (("One", 1), ("Two", 2))}
    with uproot.recreate(tmp_path / "two.root") as file:
        file.mktree("CollectionTree", columns)
    options = ["--gen", TRUTH, "--truth", "none", "--skim", "root", "--no-plots", "--output", tmp_path / "out"]
    assert run("fold", f"qcd={tmp_path / 'two.root'}", *options, "--keep", "*") == 2
    assert "skim: expected MX_Two_x to have as many numbers as MX_One_x, of one" in one_error(capsys)
    assert run("fold", f"qcd={tmp_path / 'two.root'}", *options, "--keep", "MX_Two_*") == 0


def test_physlite_trains_and_validates(physlite, tmp_path, capsys):
    short = ["--steps", 20, "--check-every", 10, "--stages", 1, "--hidden", 8, "--restart"]
    collections = ["--gen", TRUTH, "--reco", RECO]
    more = ["--columns", "btag", "DF_NumTrk"]
    assert run("train", physlite, *collections, *more, *short, "--output", tmp_path / "atlas") == 0
    card = json.loads((tmp_path / "atlas" / "model.json").read_text())["card"]
    assert card["domain"]["gen_pt"][1] < 1000  # GeV
    model = ["--model", tmp_path / "atlas", "--quick", "--any-radius"]
    assert run("validate", physlite, *collections, *model, "--output", tmp_path / "closure") in {0, 1}
    assert "Spectra of columns" in capsys.readouterr().out


def test_a_file_without_what_names_events_is_refused(tmp_path):
    path = tmp_path / "nameless.root"
    with uproot.recreate(path) as file:
        jets = ak.zip({"pt": ak.Array([[1.0], [], [2.0]])})
        file.mktree("Events", {"run": np.ones(3, dtype=np.uint32), "GenJet": jets})
    with pytest.raises(InputError, match=r"expected run, luminosityBlock, event .* found no luminosityBlock, event"):
        inspect(str(path), collections=["GenJet"])
