"""Whole events: electrons, muons, photons and missing momentum in histograms, skims, and from the shell."""

from __future__ import annotations

import json
import re
from pathlib import Path

import awkward as ak
import hist
import loky
import numpy as np
import pytest
import uproot
from coffea import nanoevents, processor
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

from coffea_iqn import EventFolder
from coffea_iqn.data import sample_path
from coffea_iqn.files import skims
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.files.skims import Skim
from coffea_iqn.histograms import filling
from coffea_iqn.jets.features import SCALES
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.processors.fold import BelowThresholdWarning
from conftest import one_error, open_events, run, undrawn

FAST = "cms-delphes-ak4-fast"
FILES = {process: [str(sample_path(f"{process}_ak4_full.root"))] for process in ("ttbar", "dilepton")}
DOCS = Path(__file__).parent.parent / "docs" / "events.md"
NAMES = [kind.name for kind in KINDS]
NANO = {"reco": "IQN", "truth": ""}  # prefix of the names of collections
GEN = ["GenJet_*", "GenDressedLepton_*", "GenIsolatedPhoton_*", "GenMET_*"]


def fold(fileset=FILES, *, executor=None, chunksize=100_000, **options):
    runner = processor.Runner(
        executor=executor or processor.IterativeExecutor(retries=0), schema=NanoSchema, chunksize=chunksize
    )
    instance = IQNFoldProcessor(**({"model": FAST} | options), objects=True)
    return runner(fileset, instance, treename="Events")


def doubles(objects):
    """Return four-momenta in double precision."""
    fields = {name: ak.values_astype(objects[name], np.float64) for name in ("pt", "eta", "phi", "mass")}
    return ak.zip(fields, with_name="PtEtaPhiMLorentzVector", behavior=nanoevents.methods.vector.behavior)


def assert_same(a, b):
    assert a["cutflow"] == b["cutflow"]
    assert a["hists"] == b["hists"]


def open_ttbar(**keywords):
    return open_events("ttbar_ak4_full.root", metadata={"dataset": "ttbar"}, **keywords)


def assert_equal_fields(one, other, fields):
    for field in fields:
        assert ak.array_equal(one[field], other[field], check_parameters=False, dtype_exact=False, equal_nan=True), (
            field
        )


@pytest.fixture(scope="module")
def whole():
    return fold()


def test_histograms_are_those_of_the_events_that_a_folder_makes(whole):
    assert whole["hists"].keys() == filling.EVENT_AXES.keys()
    events = EventFolder(FAST)(open_ttbar())
    jets = {"gen": events.GenJet, "reco": events.IQNJet, "truth": events.Jet}
    missing = {"gen": events.GenMET, "reco": events.IQNMET, "truth": events.MET}
    gen = {"Photon": events.GenIsolatedPhoton}
    gen |= {
        n: events.GenDressedLepton[abs(events.GenDressedLepton.pdgId) == c]
        for n, c in zip(NAMES, (11, 13), strict=False)
    }
    for level in ("gen", "reco", "truth"):
        columns = {}
        for name in NAMES:
            objects = {"gen": gen[name], "reco": events[f"IQN{name}"], "truth": events[name]}[level]
            objects = objects[objects.pt > 10]
            plain = name.lower()
            columns |= {f"{plain}_{field}": ak.flatten(objects[field]) for field in ("pt", "eta")}
            columns |= {f"n{plain}": ak.num(objects.pt)}
            two = ak.to_packed(doubles(objects)[ak.num(objects) > 1])
            columns |= {f"di{plain}_mass": (two[:, 0] + two[:, 1]).mass}
            columns |= {} if level == "gen" else {f"{plain}_isolation": ak.flatten(objects.relIso)}
            assert whole["cutflow"]["ttbar"][f"{level}_{plain}s_selected"] == ak.count(objects.pt) > 0
        met, phi = (np.asarray(missing[level][field], dtype=np.float64) for field in ("pt", "phi"))
        columns |= {"met_pt": met, "met_phi": phi}
        both = [gen[name] if level == "gen" else events[f"{NANO[level]}{name}"] for name in NAMES[:2]]
        leptons = ak.concatenate([ak.zip({field: of[field] for field in ("pt", "phi")}) for of in both], axis=1)
        lepton = ak.firsts(leptons[ak.argsort(leptons.pt, axis=1, ascending=False)])
        lepton = ak.mask(lepton, lepton.pt > 10)
        transverse = np.sqrt(2 * lepton.pt * met * (1 - np.cos(lepton.phi - phi)))
        columns["transverse_mass"] = ak.drop_none(transverse)
        if level != "gen":
            gen_met, gen_phi = (np.asarray(events.GenMET[field], dtype=np.float64) for field in ("pt", "phi"))
            columns |= {
                "met_parallel": met * np.cos(phi - gen_phi) - gen_met,
                "met_across": met * np.sin(phi - gen_phi),
            }
        counted = jets[level][(jets[level].pt > 20) & (abs(jets[level].eta) < 5)]
        some = ak.to_numpy(ak.num(counted) > 0)
        counted = counted[some]
        columns["ht_met"] = ak.to_numpy(ak.sum(ak.values_astype(counted.pt, np.float64), axis=1)) + met[some]
        hardest = ak.firsts(counted[ak.argsort(counted.pt, ascending=False)]).phi
        columns["met_dphi"] = abs((ak.to_numpy(hardest) - phi[some] + np.pi) % (2 * np.pi) - np.pi)
        for name, column in columns.items():
            found = whole["hists"][name][{"dataset": "ttbar", "level": level}]
            expected = hist.Hist(*filling.EVENT_AXES[name]).fill(ak.to_numpy(column)).view(flow=True)
            rounded = name.endswith("_mass") or name in ("ht_met", "met_dphi")
            assert np.abs(found.values(flow=True) - expected).sum() <= (2 if rounded else 0), name


@pytest.mark.parametrize("level", ["reco", "truth"])
def test_response_of_objects_is_that_to_the_particle_they_match(whole, level):
    """A muon's charge and flavour say which of the prompt particles it is, in most events (others have two)."""
    events = EventFolder(FAST)(open_ttbar()) if level == "reco" else open_ttbar()
    gen, reco = events.GenDressedLepton, events[f"{NANO[level]}Muon"]
    gen, reco = gen[(abs(gen.pdgId) == 13) & (gen.pt > 5) & (abs(gen.eta) < 3)], reco[reco.pt > 10]
    gen, reco = (ak.to_packed(of[(ak.num(gen) == 1) & (ak.num(reco) == 1)]) for of in (gen, reco))
    near = (abs(gen.eta - reco.eta) < 0.07) & (abs(gen.phi - reco.phi) < 0.07)
    expected = ak.to_numpy(ak.flatten(reco.pt[near] / gen.pt[near]))
    found = whole["hists"]["muon_response"][{"dataset": "ttbar", "level": level}].values()
    of_single = np.histogram(expected, filling.EVENT_AXES["muon_response"][0].edges)[0]
    assert np.all(found >= of_single - 1)
    assert of_single.sum() > 0.8 * found.sum() > 100


def test_chunks_order_and_executors_do_not_show(whole):
    assert_same(fold(dict(reversed(FILES.items())), chunksize=137), whole)
    pool = loky.get_reusable_executor(max_workers=2)
    executor = processor.FuturesExecutor(pool=pool, workers=2, retries=0)
    assert_same(fold(executor=executor, chunksize=600), whole)
    pool.shutdown(wait=True)


def test_a_slice_of_events_is_drawn_as_it_is_among_all():
    folder, events = EventFolder(FAST, seed=3), open_ttbar()
    one, all_of_them = folder(events[37:113]), folder(events)[37:113]
    for name in ("Jet", *NAMES, "MET"):
        there = all_of_them[f"IQN{name}"]
        assert_equal_fields(one[f"IQN{name}"], there, [field for field in there.fields if field != "matched_gen"])
        if name in NAMES:
            of_particle = one[f"IQN{name}"].genPartFlav == 1
            assert ak.all(~ak.is_none(one[f"IQN{name}"].matched_gen, axis=1) == of_particle, axis=None)
            assert ak.array_equal(one[f"IQN{name}"].matched_gen.pt, there.matched_gen.pt)


def test_gen_jets_without_prompt_leptons_are_refused():
    """Without the gen jet that a lepton makes, the lepton would be lost, as none in the training lacks it."""
    events = open_ttbar()
    bare = ak.any(events.GenJet.metric_table(events.GenDressedLepton) < 0.4, axis=2)
    cleaned = ak.with_field(events, events.GenJet[~bare], "GenJet")
    with pytest.raises(ValueError, match=r"gen jets: expected prompt leptons .* got no gen jet .* for \d+ of \d+ hard"):
        EventFolder(FAST)(cleaned)


@pytest.mark.parametrize("as_nano", [False, True])
def test_objects_have_the_vectors_that_an_analysis_of_nanoaod_uses(as_nano):
    events = EventFolder(FAST)(open_ttbar(), as_nano=as_nano)
    muons, electrons, jets = (events[f"{'' if as_nano else 'IQN'}{name}"] for name in ("Muon", "Electron", "Jet"))
    pairs = ak.combinations(muons, 2)
    sums = pairs["0"] + pairs["1"]
    assert ak.all(sums.mass > 0.0)
    assert ak.all((jets.sum(axis=1) + muons.sum(axis=1)).pt >= 0.0)
    assert ak.any((muons - muons.matched_gen).pt > 0.0)
    some = (ak.num(electrons) > 0) & (ak.num(jets) > 0)
    if as_nano:  # jets have the behavior of gen jets otherwise
        assert set(np.abs(ak.flatten(sums.charge)).to_list()) <= {0, 2}
        assert ak.all((electrons[some][:, 0] + jets[some][:, 0]).mass > 0.0)


def test_missing_momentum_is_a_vector_of_two_dimensions_in_events_of_delphes(delphes_events):
    """There, "MissingET" is coffea's name of one with an eta."""
    jets = delphes_events.GenJet
    none = {"PID": ak.full_like(jets.PT, 2212, dtype=int), "Status": ak.full_like(jets.PT, 1, dtype=int)}
    none |= {"M1": ak.full_like(jets.PT, -1, dtype=int), "PT": jets.PT, "Eta": jets.Eta, "Phi": jets.Phi}
    events = EventFolder(FAST, any_radius=True)(ak.with_field(delphes_events, ak.zip(none), "Particle"))
    assert ak.all(events.IQNMET.pt >= 0.0)
    assert ak.all(abs(events.IQNJet[:, 0].delta_phi(events.IQNMET)) <= np.pi)


def test_replicas_are_averaged(whole):
    ttbar = {"ttbar": FILES["ttbar"]}
    out = fold(ttbar, replicas=3)
    assert_same(fold(ttbar, replicas=3, chunksize=137), out)
    for name in ("nelectron", "met_pt"):
        made, once = (of["hists"][name][{"dataset": "ttbar"}] for of in (out, whole))
        assert made["reco", :].sum(flow=True).value == pytest.approx(1500)
        assert made["reco", :].sum(flow=True).variance < once["reco", :].sum(flow=True).variance
        assert made["truth", :] == once["truth", :]


def test_missing_momentum_follows_what_varies():
    given = open_ttbar(entry_stop=400)
    variations = {"JES": "Jet", "JER": "Jet", "EES": "Electron", "MES": "Muon", "PES": "Photon"}
    sizes = dict.fromkeys(variations) | {"JES": 0.05}
    varied, nominal = EventFolder(FAST, variations=sizes)(given), EventFolder(FAST)(given)
    missing = varied.IQNMET
    assert_equal_fields(missing, nominal.IQNMET, ("pt", "phi"))
    for source, name in variations.items():
        objects = varied[f"IQN{name}"]
        assert_equal_fields(objects, nominal[f"IQN{name}"], ("pt", "eta", "phi"))
        for side in ("up", "down"):
            gained, made = objects[source][side], missing[source][side]
            assert ak.sum(gained.pt != objects.pt) > 10
            for along, of in (("px", np.cos), ("py", np.sin)):
                shift = ak.sum((gained.pt - objects.pt) * of(objects.phi), axis=1)
                np.testing.assert_allclose(getattr(made, along), getattr(missing, along) - shift, atol=1e-3)
    assert ak.all(abs(varied.IQNElectron.EES.up.pt / varied.IQNElectron.pt - 1.01) < 1e-6)
    jets = varied.IQNJet
    assert ak.any(abs(missing.JES.up.pt - missing.pt) > 1.0)
    none = ak.num(jets) == 0
    np.testing.assert_allclose(missing.JER.up.pt[none], missing.pt[none])


def test_objects_that_a_variation_would_raise_from_below_the_threshold_are_warned_of():
    IQNFoldProcessor(FAST, objects=True, variations=["ues", "jes"])
    with pytest.warns(BelowThresholdWarning, match="threshold of 10 GeV plus the size of pes=0.05, got 10 for photons"):
        IQNFoldProcessor(FAST, objects=True, variations=["pes=0.05"])


def test_unclustered_energy_is_what_balances_jets_objects_and_missing_momentum():
    events = EventFolder(FAST, variations={"ues": 0.2})(open_ttbar(entry_stop=300))
    missing, jets = events.IQNMET, events.IQNJet
    flat = np.stack([ak.to_numpy(ak.flatten(jets[name])) for name in ("pt", "eta", "phi", "mass")], axis=1)
    raw = ak.unflatten(SCALES["delphes-cms"].undo(flat.astype(np.float64))[:, 0], ak.num(jets))
    for along, of in (("px", np.cos), ("py", np.sin)):
        seen = ak.sum(raw * of(jets.phi), axis=1)
        seen = seen + sum(ak.sum(events[f"IQN{name}"].pt * of(events[f"IQN{name}"].phi), axis=1) for name in NAMES)
        unclustered = -(getattr(missing, along) + seen)
        assert np.std(unclustered) > 5.0
        for side, sign in (("up", 1.0), ("down", -1.0)):
            shifted = getattr(missing, along) - sign * 0.2 * unclustered
            np.testing.assert_allclose(getattr(missing.UES[side], along), shifted, atol=2e-3)
    assert "UES" not in jets.fields


@pytest.mark.filterwarnings("ignore::coffea_iqn.processors.fold.BelowThresholdWarning")
def test_whole_events_vary_in_histograms_and_skims(whole, tmp_path):
    ttbar = {"ttbar": FILES["ttbar"]}
    variations = ["jes=0.05", "ees=0.03", "ues"]
    out = fold(ttbar, variations=variations, skim=Skim(tmp_path), chunksize=700)
    hists = out["hists"]
    again = fold(ttbar, variations=variations, chunksize=137)
    assert again["hists"] == hists
    for name, histogram in hists.items():
        nominal = histogram[{"dataset": "ttbar", "level": "reco", "systematic": "nominal"}]
        assert nominal == whole["hists"][name][{"dataset": "ttbar", "level": "reco"}]
    met, muons = (hists[name][{"dataset": "ttbar", "level": "reco"}] for name in ("met_pt", "muon_pt"))
    assert met["JES_up", :] != met["nominal", :]
    assert met["JES_up", :].sum(flow=True).value == 1500
    assert met["UES_up", :] != met["nominal", :] != met["EES_up", :]
    assert muons["JES_up", :] == muons["nominal", :] == muons["EES_up", :]
    electrons, jets = (hists[name][{"dataset": "ttbar", "level": "reco"}] for name in ("electron_pt", "pt"))
    assert electrons["EES_up", :] != electrons["nominal", :] == electrons["UES_up", :] == electrons["JES_up", :]
    assert jets["EES_up", :] == jets["nominal", :]
    for file in out["files"]:
        with uproot.open(file) as skim:
            columns = skim["Events"].arrays(["IQNMET_pt", "IQNMET_pt_jesUp", "IQNMET_phi_jesDown", "IQNJet_pt_jesUp"])
            names = {*skim["Events"].keys(filter_name="*esUp")}
        assert ak.any(columns.IQNMET_pt_jesUp != columns.IQNMET_pt)
        of_met = {f"IQNMET_{field}_{source}Up" for field in ("pt", "phi") for source in ("jes", "ees", "ues")}
        assert names == of_met | {"IQNJet_pt_jesUp", "IQNJet_mass_jesUp", "IQNElectron_pt_eesUp"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "cms-delphes-ak5"}, "expected a bundle with objects (train --objects), got one of jets only"),
        ({"acceptance": False, "unmatched": False}, "acceptance: expected True for whole events, got False"),
        ({"unmatched": False}, "unmatched: expected True for whole events, got False"),
        ({"variations": ["jes", "eff"]}, "expected only ones that keep the set of jets for whole events, got eff=0.01"),
        ({"variations": {"ues": abs}}, "variations: expected ues of a number, for it is not of jets, got a function"),
    ],
)
def test_what_whole_events_cannot_be_drawn_with_is_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        IQNFoldProcessor(**({"model": FAST} | options), objects=True)


def test_files_that_do_not_tell_what_whole_events_need_are_refused():
    with pytest.raises(Exception, match="expected GenDressedLepton and GenIsolatedPhoton, GenPart, or Particle to"):
        fold({"qcd": [str(sample_path("qcd_ak4.root"))]})
    some = {"mixed": [*FILES["ttbar"], str(sample_path("wzjets_ak4_full.root"))]}
    with pytest.raises(ValueError, match="mixed: expected Electron, Muon and Photon in all files of the dataset or in"):
        fold(some)
    out = fold({"gen": some["mixed"][1:]})  # without true objects, and with true jets
    assert not out["hists"]["met_pt"][{"dataset": "gen", "level": "truth"}].sum(flow=True).value
    assert out["hists"]["met_pt"][{"dataset": "gen", "level": "reco"}].sum(flow=True).value == 1500


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_the_page_s_analysis_of_nanoaod_runs_on_a_skim_of_whole_events(kind, tmp_path):
    (analysis,) = [
        block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "class" in block
    ]
    exec(analysis, space := {})
    skim = Skim(tmp_path / "parts", kind, "Jet", [*GEN, "Electron_*", "MET_*"])
    out = fold({"ttbar": FILES["ttbar"]}, model="cms-delphes-ak4-events", skim=skim, chunksize=137)
    (made,) = skims.merge([Path(path) for path in out["files"]], tmp_path / "ttbar.root")
    runner = processor.Runner(executor=processor.IterativeExecutor(status=False, retries=0), schema=NanoSchema)
    true, emulated = (
        runner({"ttbar": [str(p)]}, space["TransverseMass"](), treename="Events")["mt"].sum(flow=True).value
        for p in (*FILES["ttbar"], made.path)
    )
    assert true > 60
    assert 0 < abs(true - emulated) + 1 < 4 * np.sqrt(true)

    with pytest.warns(RuntimeWarning, match="Missing cross-reference"):
        found = NanoEventsFactory.from_root({str(made.path): "Events"}, schemaclass=NanoAODSchema).events()
    expected = EventFolder("cms-delphes-ak4-events")(open_ttbar(), as_nano=True)
    for name in ("Jet", *NAMES, "MET", "GenDressedLepton", "GenIsolatedPhoton", "GenMET"):
        fields = set(expected[name].fields) - {"matched_gen", "genJetIdxG"}
        assert fields <= set(found[name].fields), name
        if name == "MET":
            np.testing.assert_array_equal(found.MET.pt, ak.values_astype(expected.MET.pt, np.float32))
        else:
            made_by_coffea = {"mass", "charge"} if name == "Photon" else {"charge"} if name == "Jet" else set()
            assert_equal_fields(found[name], expected[name], fields - made_by_coffea)
    assert ak.array_equal(found.Jet.matched_gen.pt, expected.Jet.matched_gen.pt, check_parameters=False)
    assert {flavour for name in NAMES for flavour in ak.flatten(found[name].genPartFlav)} == {0, 1}


def test_replicas_of_whole_events_are_events_of_a_skim(tmp_path):
    (path,) = fold({"ttbar": FILES["ttbar"]}, skim=Skim(tmp_path), replicas=2)["files"]
    with uproot.open(path) as file:
        columns = file["Events"].arrays(library="ak")
    assert {f"IQN{name}_{field}" for name in NAMES for field in ("pt", "charge", "pdgId", "relIso", "mass")} | {
        "IQNMET_pt",
        "IQNMET_phi",
    } <= set(columns.fields)
    assert "Electron_pt" not in columns.fields
    one = EventFolder(FAST)(open_ttbar())
    assert columns["iqnReplica"].to_list() == [0, 1] * 1500
    assert ak.array_equal(columns["IQNMuon_pt"][::2], one.IQNMuon.pt, check_parameters=False)
    np.testing.assert_array_equal(columns["IQNMET_pt"][::2], ak.values_astype(one.IQNMET.pt, np.float32))
    assert not ak.array_equal(columns["IQNMuon_pt"][1::2], one.IQNMuon.pt, check_parameters=False)


def test_whole_events_from_the_shell(tmp_path, capsys):
    arguments = ["fold", f"ttbar={FILES['ttbar'][0]}", "--objects", "--model"]
    with undrawn():
        code = run(
            *arguments, FAST, "--skim", "root", "--as", "Jet", "--keep", "GenMET_*", "--output", tmp_path / "out"
        )
    assert code == 0
    assert "reco muons selected" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["objects"] is True
    assert {"electron_pt.png", "nmuon.png", "met_pt.png", "ht_met.png", "pt.png"} <= set(summary["plots"])
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        assert file["ttbar/truth/nmuon"].values().sum() == file["ttbar/reco/met_pt"].values(flow=True).sum() == 1500
    (path,) = (tmp_path / "out" / "skim").iterdir()
    with uproot.open(path) as file:
        assert {"nElectron", "Muon_pdgId", "MET_pt", "GenMET_phi"} <= set(file["Events"].keys())
    assert run(*arguments, "atlas-delphes-ak4", "--output", tmp_path / "none") == 2
    assert "expected a bundle with objects" in one_error(capsys)


def test_a_validation_compares_objects_where_files_have_them(tmp_path):
    options = ("--model", FAST, "--quick", "--threads", "1", "--max-jets", "1500")
    for name, path in (("whole", FILES["ttbar"][0]), ("jets", sample_path("qcd_ak4.root"))):
        with undrawn():
            assert run("validate", f"x={path}", *options, "--output", tmp_path / name) == 0
    figures, left_out = [], []
    for name in ("whole", "jets"):
        content = json.loads((tmp_path / name / "metrics.json").read_text())
        figures.append(content["figures"]["truth"]["histograms"]["x"])
        left_out.append([what for what in content["left_out"] if "electrons" in what])
    assert {"nelectron", "nmuon", "met_pt", "pt"} <= figures[0].keys()
    assert figures[0]["met_pt"]["ndf"] > 0
    assert not {"nmuon", "met_pt"} & figures[1].keys()
    assert [len(what) for what in left_out] == [0, 1]
