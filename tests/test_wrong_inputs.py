"""Wrong inputs that would give wrong jets: each raises an error in one line, or a warning."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from argparse import Namespace
from pathlib import Path

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from coffea import processor

from coffea_iqn import ConstituentFolder, EventFolder, IQNCorrector, IQNFolder, bundle, event_uniforms, response
from coffea_iqn.commands import trainings
from coffea_iqn.data import bundle_path, sample_path
from coffea_iqn.events import checks
from coffea_iqn.events.checks import (
    EqualEventsWarning,
    IgnoredWeightsWarning,
    MixedWeightsWarning,
    NotEmulatedWarning,
    OddContextWarning,
    PartOfEventWarning,
    ThresholdWarning,
)
from coffea_iqn.events.collections import flatten_jets, gen_events, prompt_particles
from coffea_iqn.files import skims, trees
from coffea_iqn.files.inputs import NanoSchema, inspect
from coffea_iqn.files.skims import Skim
from coffea_iqn.files.trees import read_about
from coffea_iqn.histograms.filling import Filler, to_hists
from coffea_iqn.jets.constituents import charge_of
from coffea_iqn.jets.table import JetTable
from coffea_iqn.processors import IQNCorrectProcessor, IQNFoldProcessor, PairsProcessor
from coffea_iqn.processors.objects import ObjectsProcessor
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.unfolding import response_sums, workspace
from conftest import make_pairs, one_error, open_events, run, undrawn

pytestmark = pytest.mark.filterwarnings("ignore::coffea_iqn.folder.OutsideDomainWarning")
AK4 = "cms-delphes-ak4"


@pytest.fixture(scope="module")
def ttbar():
    return open_events("ttbar_ak4_full.root", entry_stop=60)


@pytest.fixture(scope="module")
def ww():
    return open_events("wwhad_ak5_particles.root", entry_stop=30)


@pytest.fixture
def warned(monkeypatch):
    """Forget which warnings this process has already issued."""
    monkeypatch.setattr(checks, "_WARNED", set())


def with_field(events, collection, field, values):
    return ak.with_field(events, ak.with_field(events[collection], values, field), collection)


def written(path, source, *, n_events=200, **changed):
    """Write a copy of a sample as NanoAOD, with some branches changed, or left out if None."""
    with uproot.open(sample_path(source)) as file:
        arrays = file["Events"].arrays(entry_stop=n_events)
    branches = {name: arrays[name] for name in arrays.fields} | changed
    collections = {name.partition("_")[0] for name in branches if "_" in name}
    made = {}
    for name in collections:
        fields = {b.partition("_")[2]: branches[b] for b in branches if b.startswith(f"{name}_")}
        there = {f: column for f, column in fields.items() if column is not None}
        made |= {name: ak.zip(there, depth_limit=None)} if there else {}
    made |= {
        name: column
        for name, column in branches.items()
        if "_" not in name and name[1:] not in collections and column is not None
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: column.type.content for name, column in made.items()})
        file["Events"].extend(made)
    return path


@pytest.mark.parametrize(
    ("collection", "pt", "message"),
    [
        ("Jet", 25.0, r"reco jets: expected one scale and threshold in all datasets and files, found 10 GeV .* 25 GeV"),
        (
            "GenJet",
            20.0,
            "gen jets: expected one threshold in all files, found the lowest pt at 10 GeV in .* 20.2",
        ),
    ],
)
def test_files_of_different_thresholds_are_not_trained_together(tmp_path, capsys, collection, pt, message):
    with uproot.open(sample_path("qcdflat_ak4.root")) as file:
        branches = file["Events"].arrays(filter_name=f"{collection}_*", entry_stop=200)
    hard = branches[f"{collection}_pt"] > pt
    cut = written(tmp_path / "cut.root", "qcdflat_ak4.root", **{name: branches[name][hard] for name in branches.fields})
    whole = written(tmp_path / "whole.root", "qcdflat_ak4.root")
    words = ["--steps", 1, "--check-every", 1, "--hidden", 4, "--radius", 0.4, "--output", tmp_path / "made"]
    for names in (("q", "q"), ("a", "b")):
        capsys.readouterr()
        assert run("train", *(f"{name}={path}" for name, path in zip(names, (whole, cut), strict=True)), *words) == 2
        assert re.search(message, capsys.readouterr().err)


def test_events_without_central_gen_jets_are_warned_of(monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    events, instance = open_events("qcd_ak4.root")[:120], IQNFoldProcessor("cms-delphes-ak4-fast", truth=None)
    for least_eta, n in ((3.0, 120), (0.0, 90), (9.0, 120)):
        some = ak.with_field(events[:n], events.GenJet[:n][abs(events.GenJet.eta[:n]) > least_eta], "GenJet")
        result = instance.process(some)
        if least_eta:
            checks._WARNED.clear()
            with pytest.warns(
                ThresholdWarning, match="events: expected gen jets within .* 2.5, got none in 120 events"
            ):
                instance.postprocess(result)
        else:
            instance.postprocess(result)


def test_numbers_of_jets_above_a_pt_are_left_out_if_the_selection_is_above_it():
    """They would be those above the selection, whatever they are called."""
    counted = {"njet", "njet30", "njet50"}
    for pt_min, those in ((20.0, counted), (30.0, counted), (40.0, counted - {"njet30"}), (60.0, {"njet"})):
        instance = IQNFoldProcessor("cms-delphes-ak4-fast", truth=None, pt_min=pt_min)
        found = instance.postprocess(instance.process(open_events("qcd_ak4.root")[:20]))["hists"]
        assert counted & set(found) == those


# particles that are not those of the jets


def test_particles_that_were_cut_are_refused(ww):
    """Each sum is within the tolerance, but all are 2 % low, and so were reco jets."""
    events = ak.with_field(ww, ww.GenJetCands[ww.GenJetCands.pt > 1.0], "GenJetCands")
    with pytest.raises(
        ValueError, match=r"got \d of \d+ others, 0 far from the jet, half of all off by 0.01\d of their pt: .* a cut"
    ):
        ConstituentFolder("cms-delphes-ak5-particles")(events)


@pytest.mark.parametrize(("field", "code"), [("pt", np.nan), ("pdgId", np.nan), ("pdgId", 0.5)])
def test_a_particle_without_momentum_or_code_is_refused(ww, field, code):
    column = ww.GenJetCands[field]
    some = ak.where(ak.local_index(column) == 0, code, column)
    with pytest.raises(
        ValueError, match=r"GenJetCands: expected finite momenta and PDG codes, got \d+ of \d+ particles"
    ):
        ConstituentFolder("cms-delphes-ak5-particles")(with_field(ww, "GenJetCands", field, some))


def test_particles_of_other_jets_are_refused_if_they_are_few():
    events = open_events("wwhad_ak5_particles.root", entry_stop=300)
    central = ak.with_field(events, events.GenJet[np.abs(events.GenJet.eta) < 2.5], "GenJet")
    with pytest.raises(ValueError, match=r"got \d+ of \d+ others, \d+ far from the jet"):
        ConstituentFolder("cms-delphes-ak5-particles")(central)


@pytest.mark.parametrize("how", ["cut", "sorted", "in MeV", "of other jets", "none"])
def test_particles_that_are_not_those_of_the_jets_are_refused(ww, how):
    jets, particles = ww.GenJet, ww.GenJetCands
    events = {
        "cut": lambda: ak.with_field(ww, jets[np.abs(jets.eta) < 1.0], "GenJet"),
        "sorted": lambda: ak.with_field(ww, jets[ak.argsort(jets.pt)], "GenJet"),
        "in MeV": lambda: with_field(ww, "GenJetCands", "pt", 1000.0 * particles.pt),
        "of other jets": lambda: with_field(
            ww, "GenJetCands", "jetIdx", ak.full_like(particles.jetIdx, 2**31 - 1, dtype=np.int64)
        ),
        "none": lambda: ak.with_field(ww, particles[particles.pt < 0.0], "GenJetCands"),
    }[how]()
    with pytest.raises(ValueError, match=r"gen jets: expected the sums of their particles, got \d+ of"):
        ConstituentFolder("cms-delphes-ak5-particles")(events)
    flat = flatten_jets(events.GenJet)
    unknown = ak.with_field(events, events.GenJet[["pt", "eta", "phi", "mass"]], "GenJet")
    with pytest.raises(ValueError, match="gen jets: expected the sums"):
        gen_events(unknown.GenJet, unknown, flat, flat.valid(), radius=0.5)


def test_jets_that_were_cut_have_their_particles_by_the_places_that_they_had(ww):
    jets = ak.with_field(ww.GenJet, ak.local_index(ww.GenJet.pt), "genJetIdx")
    events = ak.with_field(ww, jets[np.abs(jets.eta) < 1.0], "GenJet")
    made = ConstituentFolder("cms-delphes-ak5-particles")(events).IQNJet
    assert np.std(ak.flatten(made.pt / made.matched_gen.pt)[~ak.is_none(ak.flatten(made.matched_gen))]) < 0.2


@pytest.mark.parametrize("place", [-1, 10_000])
def test_particles_at_places_that_are_not_there_are_refused(ww, place):
    at = ak.local_index(ww.GenJetCands.pt)
    inside = ak.zip({"jetIdx": ww.GenJetCands.jetIdx, "genCandsIdx": ak.where(at == 0, place, at)})
    events = ak.with_field(ak.with_field(ww, ww.GenJetCands, "GenCands"), inside, "GenJetCands")
    with pytest.raises(ValueError, match=r"genCandsIdx: expected indices into .*, got \d+ out of range"):
        ConstituentFolder("cms-delphes-ak5-particles")(events)


# indices of jets


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda at: 0 * at, ValueError, r"got \d+ shared with another jet of the event"),
        (lambda at: at - 1, ValueError, r"got \d+ below 0"),
        (lambda at: 1.0 * at, TypeError, "got float64"),
        (lambda at: ak.mask(at, at > 0), ValueError, r"genJetIdx: expected no missing values, got \d+ of"),
    ],
)
def test_places_of_gen_jets_that_are_none_are_refused(ttbar, given, error, message):
    jets = ak.with_field(ttbar.GenJet, given(ak.local_index(ttbar.GenJet.pt)), "genJetIdx")
    with pytest.raises(error, match=message):
        IQNFolder(AK4)(jets, ttbar)


def test_jets_in_another_order_are_warned_of_without_the_places_that_they_had(ttbar, warned):
    """Their genJetIdx would not point to the jets of the collection."""
    backwards = ttbar.GenJet[:, ::-1]
    with pytest.warns(PartOfEventWarning, match="gen jets: expected the jets of events.GenJet in their order, or"):
        other = IQNFolder(AK4)(backwards, ttbar)
    placed = ak.with_field(ttbar.GenJet, ak.local_index(ttbar.GenJet.pt), "genJetIdx")[:, ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", PartOfEventWarning)
        checks._WARNED.clear()
        same = IQNFolder(AK4)(placed, ttbar)
        expected = IQNFolder(AK4)(ttbar.GenJet, ttbar)
    assert ak.array_equal(same.pt, expected.pt)
    assert ak.sum(ak.num(other)) != ak.sum(ak.num(expected))


@pytest.mark.parametrize("order", [np.arange(60)[::-1], np.r_[1:60, 0]])
def test_jets_of_other_events_are_refused(ttbar, order):
    """Jets sorted or selected, and their events not: each jet would get the levels of another event."""
    jets = ttbar.GenJet[order]
    with pytest.raises(ValueError, match=r"gen jets: expected jets of events.GenJet, got more than these in \d+ of 60"):
        IQNFolder(AK4)(jets, ttbar)
    assert ak.array_equal(IQNFolder(AK4)(jets, ttbar[order]).pt, IQNFolder(AK4)(ttbar.GenJet, ttbar).pt[order])


def test_lists_are_no_jets():
    with pytest.raises(TypeError, match="jets x: expected an array or a tensor, got list"):
        bundle.load(AK4).sample([[50.0, 0.0, 0.0, 5.0]], np.full((1, 4), 0.5))


@pytest.mark.parametrize("name", ["nominal", "JES_up"])
def test_bundles_named_as_a_systematic_do_not_vary(tmp_path, name):
    """The jets of both would be put together."""
    shutil.copytree(bundle_path("cms-delphes-ak4-fast"), tmp_path / name)
    with pytest.raises(ValueError, match=f"bundles of different names, got {name} of another systematic"):
        IQNFolder(AK4, variations=[f"model={tmp_path / name}", "jes"])


@pytest.mark.parametrize("of", ["model={0}", "ens={1}"])
def test_copies_of_a_bundle_do_not_vary(of, tmp_path):
    """Nothing would differ from the nominal jets, or between the members of an ensemble."""
    for name in ("one", "two"):
        shutil.copytree(bundle_path(AK4), tmp_path / name)
    with pytest.raises(ValueError, match=r"expected bundles that differ, got \w+, which is a copy"):
        IQNFolder(AK4, variations=[of.format(tmp_path / "one", tmp_path)])


def test_members_of_an_ensemble_are_of_one_detector(tmp_path):
    """The differences between detectors would be taken for an uncertainty of the training."""
    for name in ("cms-delphes-ak4-fast", "atlas-delphes-ak4"):
        shutil.copytree(bundle_path(name), tmp_path / name)
    with pytest.raises(ValueError, match=r"expected members of the detector of cms-delphes-ak4, .*, got .*atlas-delph"):
        IQNFolder(AK4, variations=[f"ens={tmp_path}"])


def test_reco_jets_of_nanoaod_are_not_known_by_the_places_of_their_gen_jets(ttbar):
    corrector = IQNCorrector(f"{AK4}-correct", any_radius=True)
    jets = ak.with_field(ttbar.Jet, ak.values_astype(-ak.ones_like(ttbar.Jet.pt), np.int16), "genJetIdx")
    made = corrector.draw(jets, ttbar)
    assert ak.array_equal(made.pt, corrector.draw(ttbar.Jet, ttbar).pt)
    kept = ak.with_field(jets, ak.local_index(jets.pt), "jetIdx")[:, 1:]
    some = corrector.draw(kept, ttbar)  # other neighbours, but the same levels
    assert np.corrcoef(*(ak.flatten(one.pt / jets[:, 1:].pt) for one in (some, made[:, 1:])))[0, 1] > 0.8


# placeholder numbers for unknown values


@pytest.mark.parametrize(
    ("field", "number"), [("tau1", -1.0), ("tau2", -99.0), ("tau2", 1e30), ("chEF", -99.0), ("nCharged", -1)]
)
def test_numbers_that_no_jet_has_count_as_unknown(ttbar, warned, field, number):
    jets = ttbar.GenJet
    some = ak.local_index(jets.pt) == 2
    odd = with_field(ttbar, "GenJet", field, ak.where(some, number, jets[field]))
    with pytest.warns(OddContextWarning, match=r"\d+ of \d+ gen jets have impossible values of .*, such as"):
        made = IQNFolder(AK4)(odd.GenJet, odd)
    level = ("tau1", "tau2", "tau3") if field.startswith("tau") else ("nCharged", "nNeutral", "chEF")
    unknown = ttbar
    for name in level:
        unknown = with_field(unknown, "GenJet", name, ak.where(some, np.nan, jets[name]))
    assert ak.array_equal(made.pt, IQNFolder(AK4)(unknown.GenJet, unknown).pt)


@pytest.mark.parametrize("what", ["chEF", "nCharged", "nNeutral", "tau"])
def test_columns_that_contradict_each_other_count_as_unknown(warned, what):
    """Fields that a producer did not fill, or with something else: masses were 10 to 30 % off."""
    events = open_events("ttbar_ak4_full.root", entry_stop=300)
    jets = events.GenJet
    wrong = {
        "chEF": {"chEF": 0.0 * jets.chEF},
        "nCharged": {"nCharged": 0 * jets.nCharged},
        "nNeutral": {"nCharged": jets.nCharged + jets.nNeutral, "nNeutral": 0 * jets.nNeutral},
        "tau": {name: 2.5 * jets[name] for name in ("tau1", "tau2", "tau3")},
    }
    odd = events
    for name, column in wrong[what].items():
        odd = with_field(odd, "GenJet", name, column)
    with pytest.warns(OddContextWarning, match="jets have impossible values") as said:
        made = IQNFolder(AK4)(odd.GenJet, odd)
    n_bad, n_jets = map(int, re.search(r"(\d+) of (\d+) gen jets have", str(said[0].message)).groups())
    assert n_bad > 0.7 * n_jets
    assert ak.mean(made.mass) == pytest.approx(ak.mean(IQNFolder(AK4)(jets, events).mass), rel=0.06)


def test_impossible_values_are_said_of_each_dataset(warned):
    for dataset in ("one", "another"):
        events = open_events("ttbar_ak4_full.root", entry_stop=20, metadata={"dataset": dataset})
        odd = with_field(events, "GenJet", "chEF", -1.0 * events.GenJet.chEF)
        with pytest.warns(OddContextWarning, match=f"{dataset}: .* have impossible values of composition"):
            IQNFolder(AK4)(odd.GenJet, odd)


def test_n_subjettiness_of_another_radius_is_warned_of(ttbar, warned):
    odd = ttbar
    for name in ("tau1", "tau2", "tau3"):
        odd = with_field(odd, "GenJet", name, 0.5 * ttbar.GenJet[name])
    with pytest.warns(OddContextWarning, match=r"expected β = 1, normalised to pt × radius, .* got 0.4"):
        IQNFolder(AK4)(odd.GenJet, odd)


@pytest.mark.usefixtures("warned")
@pytest.mark.filterwarnings("default::coffea_iqn.folder.OddContextWarning")
def test_odd_context_is_said_from_the_shell_too(tmp_path, capsys):
    """The line of a fold that lists the context only replaces warnings of what is missing."""
    with uproot.open(sample_path("ttbar_ak4_full.root")) as file:
        jets = file["Events"].arrays(filter_name="GenJet_*", entry_stop=200)
    odd = {f"GenJet_tau{k}": 0.5 * jets[f"GenJet_tau{k}"] for k in (1, 2, 3)} | {"GenJet_chEF": -jets["GenJet_chEF"]}
    path = written(tmp_path / "odd.root", "ttbar_ak4_full.root", **odd)
    assert run("fold", path, "--output", tmp_path / "out", "--no-plots") == 0
    said = capsys.readouterr().err
    for what in ("odd: N-subjettiness of gen jets: expected", "gen jets have impossible values of composition"):
        assert re.search(f"coffea-iqn: warning: .*{what}", said)


@pytest.mark.parametrize("code", [999, -9, 82])
def test_flavours_that_are_no_partons_are_warned_of(ttbar, warned, code):
    odd = with_field(ttbar, "GenJet", "partonFlavour", ak.full_like(ttbar.GenJet.partonFlavour, code, dtype=np.int32))
    with pytest.warns(OddContextWarning, match=f"expected PDG codes of partons, got others .* such as {code}"):
        IQNFolder(AK4)(odd.GenJet, odd)


@pytest.mark.parametrize("number", [np.nan, 1e30, 4.5, True])
def test_partons_that_are_no_codes_are_refused(ttbar, number):
    codes = ak.full_like(ttbar.GenJet.pt, number, dtype=np.bool_ if number is True else np.float32)
    odd = with_field(ttbar, "GenJet", "partonFlavour", codes)
    with pytest.raises(ValueError, match=r"partonFlavour .*: expected PDG codes, got"):
        IQNFolder(AK4)(odd.GenJet, odd)
    whole = with_field(ttbar, "GenJet", "partonFlavour", 1.0 * ttbar.GenJet.partonFlavour)
    assert ak.array_equal(IQNFolder(AK4)(whole.GenJet, whole).pt, IQNFolder(AK4)(ttbar.GenJet, ttbar).pt)


@pytest.mark.parametrize("field", ["partonFlavour", "chEF", "tau1"])
def test_missing_values_are_refused_by_the_name_of_their_field(ttbar, field):
    jets = ttbar.GenJet
    odd = with_field(ttbar, "GenJet", field, ak.mask(jets[field], ak.local_index(jets.pt) > 0))
    with pytest.raises(ValueError, match=rf"GenJet\.{field}: expected no missing values, got \d+ of \d+: drop or"):
        IQNFolder(AK4)(odd.GenJet, odd)


def test_several_weights_of_an_event_are_refused(ttbar):
    """The weights of the first events, in a row, were taken for those of all."""
    many = ak.with_field(ttbar, ak.Array(np.ones((len(ttbar), 2))), "genWeight")
    with pytest.raises(
        ValueError, match=f"^weights of events: expected one number of each event, got .* {len(ttbar)} of"
    ):
        IQNFoldProcessor().process(many)


def test_missing_event_numbers_are_refused(ttbar):
    odd = ak.with_field(ttbar, ak.mask(ttbar.event, ttbar.event % 2 == 0), "event")
    with pytest.raises(ValueError, match=r"event: expected no missing values, got \d+ of 60"):
        IQNFolder(AK4)(odd.GenJet, odd)


@pytest.mark.parametrize(
    ("collection", "field", "number"),
    [
        ("GenMET", "pt", np.nan),
        ("GenMET", "pt", np.inf),
        ("GenMET", "pt", -5.0),
        ("GenMET", "phi", np.nan),
        ("GenDressedLepton", "phi", np.nan),
        ("GenDressedLepton", "eta", np.nan),
        ("GenIsolatedPhoton", "phi", np.inf),
        ("GenDressedLepton", "pt", np.nan),
    ],
)
def test_momenta_that_are_none_are_refused_in_whole_events(ttbar, collection, field, number):
    values = ttbar[collection][field]
    odd = with_field(ttbar, collection, field, ak.full_like(values, number))
    n = int(ak.count(values))
    assert n > 0
    what = "missing momentum" if collection == "GenMET" else "prompt electrons, muons and photons"
    with pytest.raises(ValueError, match=f"{what}: expected finite .* got"):
        EventFolder(f"{AK4}-events")(odd)


# files


def test_reco_jets_without_a_momentum_do_not_train_as_lost_gen_jets(ttbar):
    odd = with_field(ttbar, "Jet", "pt", ak.where(ttbar.Jet.pt < 25.0, np.nan, ttbar.Jet.pt))
    for direction, level in (("fold", "reco"), ("correct", "gen")):
        events = odd if direction == "fold" else with_field(ttbar, "GenJet", "mass", np.nan * ttbar.GenJet.mass)
        with pytest.raises(ValueError, match=rf"{level} jets of .*: expected finite numbers and pt above 0, got"):
            PairsProcessor(direction=direction).process(events)


@pytest.mark.parametrize(
    ("collection", "field", "message"),
    [
        ("Jet", "pt", "reco jets of .*: expected finite numbers and pt above 0, got"),
        ("Muon", "pt", "reconstructed objects of .*: expected finite numbers and pt above 0, got"),
        ("MET", "phi", "missing"),
    ],
)
def test_reconstructed_objects_without_a_momentum_do_not_train(ttbar, collection, field, message):
    events = with_field(ttbar, collection, field, np.nan * ttbar[collection][field])
    emulator = bundle.load("cms-delphes-ak4-events")
    with pytest.raises(ValueError, match=message):
        ObjectsProcessor(emulator.variables, cone=0.25).chunk(events)


@pytest.mark.parametrize(
    ("collection", "field", "factor", "message"),
    [
        ("Electron", "pt", 0.0, "reconstructed objects of .*: expected finite numbers and pt above 0, got"),
        ("MET", "pt", -1.0, "reconstructed missing momentum of .*: expected finite numbers and pt from 0, got"),
        ("MET", "pt", 1000.0, "missing momentum of .*: expected pt in GeV"),
        ("GenMET", "phi", 180.0 / np.pi, "missing momentum at gen level of .*: expected phi in radians"),
        ("GenDressedLepton", "pt", 1000.0, "prompt leptons and photons of .*: expected pt in GeV"),
    ],
)
def test_padding_and_other_units_do_not_train_whole_events(ttbar, collection, field, factor, message):
    events = with_field(ttbar, collection, field, factor * ttbar[collection][field])
    with pytest.raises(ValueError, match=message):
        ObjectsProcessor(bundle.load("cms-delphes-ak4-events").variables, cone=0.25).chunk(events)


def test_charges_that_are_measured_wrongly_are_said_not_to_be_emulated(ttbar):
    made = ObjectsProcessor(bundle.load("cms-delphes-ak4-events").variables, cone=0.25)
    made.chunk(ttbar)  # Delphes measures all charges well: warnings are errors
    checks._WARNED.clear()
    with pytest.warns(NotEmulatedWarning, match=r"^\d+ of \d+ electrons and muons have another charge"):
        made.chunk(with_field(ttbar, "Muon", "charge", -ttbar.Muon.charge))


def test_columns_that_are_not_finite_do_not_train(ttbar):
    odd = with_field(ttbar, "Jet", "btag", ak.where(ttbar.Jet.pt < 25.0, np.inf, ttbar.Jet.pt))
    with pytest.raises(ValueError, match=r"columns: expected finite numbers in btag of Jet, got \d+ others"):
        PairsProcessor(columns=["btag"]).process(odd)


@pytest.mark.parametrize("of", [lambda pt: ak.singletons(ak.flatten(pt)), lambda pt: ak.Array(["text"] * ak.count(pt))])
def test_columns_that_are_no_numbers_do_not_train(ttbar, of):
    column = ak.unflatten(of(ttbar.Jet.pt), ak.num(ttbar.Jet.pt))
    with pytest.raises(ValueError, match="columns: expected a number for each Jet, got lists or text in btag"):
        PairsProcessor(columns=["btag"]).process(with_field(ttbar, "Jet", "btag", column))


def test_columns_of_events_do_not_train(ttbar):
    """Each jet of an event would be drawn with another one."""
    density = ak.broadcast_arrays(np.arange(len(ttbar)) / 7.0, ttbar.Jet.pt)[0]
    with pytest.raises(
        ValueError, match="columns: expected numbers of jets in btag of Jet, got one number for each event"
    ):
        PairsProcessor(radius=0.4, columns=["btag"]).process(with_field(ttbar, "Jet", "btag", density))


@pytest.mark.parametrize("column", [np.array([2**24 + 1]), np.array([2**40], dtype=np.uint64), np.array([1e200])])
def test_columns_that_single_precision_rounds_do_not_train(ttbar, column):
    large = ak.unflatten(np.resize(column, ak.count(ttbar.Jet.pt)), ak.num(ttbar.Jet))
    with pytest.raises(ValueError, match=r"columns: expected numbers up to .* in btag of Jet, got"):
        PairsProcessor(columns=["btag"]).process(with_field(ttbar, "Jet", "btag", large))


def test_codes_are_refused_as_columns_before_the_four_momentum_is_learnt(tmp_path, capsys):
    arguments = ("train", sample_path("ttbar_ak4_full.root"), "--columns", "partonFlavour", "--steps", 2)
    assert run(*arguments, "--output", tmp_path / "made") == 2
    assert "column partonFlavour: expected numbers that count something, got codes" in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["fold", "--gen", "Jet"], "gen jets: expected one of GenJet, got Jet"),
        (["fold", "--truth", "GenJet"], "reco jets: expected a reco-level collection, got GenJet"),
        (["train", "--gen", "Jet", "--reco", "GenJet"], "reco jets: expected a reco-level collection, got GenJet"),
        (["train", "--gen", "Jet"], "gen jets: expected one of GenJet, got Jet"),
        (["refine", AK4, "--reco", "GenJet"], "reco jets: expected a reco-level collection, got GenJet"),
        (["validate", "--gen", "Jet"], "gen jets: expected one of GenJet, got Jet"),
    ],
)
def test_gen_and_reco_jets_are_not_exchanged(command, message, tmp_path, capsys):
    """A bundle would learn p(gen jet | reco jet) for a fold, and a fold would take reco jets for gen jets."""
    assert run(*command, f"qcd={sample_path('qcd_ak4.root')}", "--output", tmp_path / "out") == 2
    assert message in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.OddContextWarning")
@pytest.mark.parametrize("branch", ["GenJet_pt", "Jet_pt"])
def test_jets_in_mev_do_not_train(tmp_path, capsys, branch):
    with uproot.open(sample_path("ttbar_ak4_full.root")) as file:
        pt = file["Events"][branch].array(entry_stop=200)
    of_mev = written(tmp_path / "mev.root", "ttbar_ak4_full.root", **{branch: 1000.0 * pt})
    assert run("train", of_mev, "--output", tmp_path / "made", "--steps", 2, "--energy", 13) == 2
    level = {"GenJet_pt": "gen", "Jet_pt": "reco"}[branch]
    assert f"{level} jets: expected pt in GeV, at most the 13 TeV of" in one_error(capsys)


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.OddContextWarning")
def test_jets_in_mev_are_not_folded(ttbar):
    jets = ak.with_field(ttbar.GenJet, 1000.0 * ttbar.GenJet.pt, "pt")
    with pytest.raises(ValueError, match="gen jets: expected pt in GeV, at most the 13 TeV of the collisions, got "):
        IQNFolder(AK4)(jets, ak.with_field(ttbar, jets, "GenJet"))


@pytest.mark.parametrize(
    ("factor", "message"),
    [(0.0, "with masses, got none above 0 in "), (-1.0, "with masses"), (1000.0, "mass in GeV, at most the 13 TeV of")],
)
def test_jets_without_masses_and_masses_in_mev_are_not_folded(ttbar, factor, message):
    jets = ak.with_field(ttbar.GenJet, factor * ttbar.GenJet.mass, "mass")
    with pytest.raises(ValueError, match=f"^gen jets: expected (jets )?{message}"):
        IQNFolder(AK4)(jets, ak.with_field(ttbar, jets, "GenJet"))


@pytest.mark.parametrize(
    ("collection", "field", "factor", "message"),
    [
        ("GenDressedLepton", "pt", 1000.0, "^prompt leptons and photons: expected pt in GeV, at most the 13 TeV"),
        ("GenDressedLepton", "phi", 57.3, "^prompt leptons and photons: expected phi in radians"),
        ("GenMET", "pt", 1000.0, "^missing momentum: expected pt in GeV, at most the 13 TeV of the collisions, got "),
        ("GenMET", "phi", 57.3, "^missing momentum: expected phi in radians, got 1"),
    ],
)
def test_leptons_and_missing_momentum_in_other_units_are_refused(ttbar, collection, field, factor, message):
    events = with_field(ttbar, collection, field, ttbar[collection][field] * factor)
    with pytest.raises(ValueError, match=message):
        EventFolder("cms-delphes-ak4-events")(events)


def test_energies_are_no_masses(ttbar):
    jets = ttbar.GenJet
    with pytest.raises(ValueError, match=r"^gen jets: expected masses, at most about pt, got .* are they energies"):
        IQNFolder(AK4)(ak.with_field(jets, jets.pt * np.cosh(jets.eta), "mass"), ttbar)


def test_a_file_and_its_copy_train_once(tmp_path, capsys):
    for name in ("one", "copy"):
        (tmp_path / f"{name}.root").write_bytes(sample_path("ttbar_ak4_full.root").read_bytes())
    files = [f"{name}={tmp_path / name}.root" for name in ("one", "copy")]
    assert run("train", *files, "--output", tmp_path / "made", "--steps", 2) == 2
    assert "expected each once, got" in one_error(capsys)
    assert not (tmp_path / "made.training").exists()


def test_weights_of_some_files_of_a_dataset_are_refused_or_warned_of(tmp_path, capsys):
    weights = ak.Array(np.full(200, 1000.0, dtype=np.float32))
    one = written(tmp_path / "weighted.root", "qcd_ak4.root", genWeight=weights)
    other = written(tmp_path / "others.root", "qcdflat_ak4.root", genWeight=None)
    files = [f"d={one}", f"d={other}"]
    assert run("fold", *files, "--output", tmp_path / "out", "--no-plots", "--identity", "file") == 2
    assert f"d: expected event weights in all files of the dataset or in none, found none in {other}" in one_error(
        capsys
    )
    runner = processor.Runner(executor=processor.IterativeExecutor(retries=0), schema=NanoSchema)
    with pytest.warns(MixedWeightsWarning, match="got 200 without"):
        runner({"d": [str(one), str(other)]}, IQNFoldProcessor(identity="file"), treename="Events")
    says = "Weights      none in the files: every event counts once"
    for output, some in (("out", [f"d={one}", f"e={other}"]), ("more", [other])):
        capsys.readouterr()
        assert run("fold", *some, "--output", tmp_path / output, "--no-plots") == 0
        assert (says in capsys.readouterr().out) is (output == "more")


@pytest.mark.parametrize("process", [IQNFoldProcessor, IQNCorrectProcessor])
def test_jobs_of_files_with_weights_and_without_are_not_added_unasked(process, tmp_path):
    """A job for each file, and later all in one, are as wrong as one job of all."""
    others = {"event": ak.Array(np.arange(1000, 1200)), "genWeight": None}
    files = [written(tmp_path / f"{k}.root", "qcd_ak4.root", **changed) for k, changed in enumerate(({}, others))]
    out = [skimmed(process, path, tmp_path / path.stem) for path in files]
    with pytest.warns(MixedWeightsWarning, match="d: expected weights for all events or for none, got 200 without"):
        processor.accumulate(out)
    parts = [Path(path) for one in out for path in one["files"]]
    with pytest.raises(ValueError, match="d: expected event weights in all inputs of the dataset or in none, found no"):
        skims.merge(parts, tmp_path / "merged.root")
    old = []
    for path in parts:  # as earlier versions wrote them
        about = read_about(path)
        for name in ("weighted", "cross_sections"):
            del about["parts"][0][name]
        old.append(path.with_stem(f"{path.stem}_old"))
        with trees.written(old[-1], about) as file:
            file.extend(next(trees.iterate(path)))
    assert skims.merge(old, tmp_path / "merged.root")[0].n_events == 400


def skimmed(process, path, folder):
    runner = processor.Runner(executor=processor.IterativeExecutor(retries=0), schema=NanoSchema, chunksize=10_000)
    return runner({"d": [str(path)]}, process(skim=Skim(folder)), treename="Events")


def test_generated_files_of_different_cross_sections_are_no_dataset(tmp_path, capsys):
    """Each event would count as much as any other, whatever the cross section that it stands for."""
    files = []
    for k, cross_section in enumerate((7.3e8, 7.2e8, 5.8e4)):
        files.append(written(tmp_path / f"{k}.root", "qcd_ak4.root", event=ak.Array(np.arange(200 * k, 200 * k + 200))))
        with uproot.update(files[-1]) as file:
            runs = {"crossSection": np.array([cross_section]), "crossSectionError": np.array([2e3])}
            file.mktree("Runs", {name: column.dtype for name, column in runs.items()}).extend(runs)
    same, other, hard = files
    assert run("fold", f"d={same}", f"d={hard}", "--output", tmp_path / "out", "--no-plots") == 2
    refused = "d: expected files of one process, got cross sections of 7.3e+08 pb in "
    assert refused in one_error(capsys)
    out = [skimmed(IQNFoldProcessor, path, tmp_path / path.stem) for path in files]
    parts = [Path(path) for one in out for path in one["files"]]
    with pytest.raises(ValueError, match=re.escape(refused)):
        processor.accumulate([out[0], out[2]])
    with pytest.raises(ValueError, match=re.escape(refused)):
        skims.merge(parts, tmp_path / "merged.root")
    assert processor.accumulate(out[:2])["cutflow"]["d"]["events"] == 400
    assert skims.merge(parts[:2], tmp_path / "merged.root")[0].n_events == 400
    assert run("fold", f"d={same}", f"d={other}", f"e={hard}", "--output", tmp_path / "out", "--no-plots", "-q") == 0


# collections that are not all there


def above(events, collection, pt):
    return ak.with_field(events, events[collection][events[collection].pt > pt], collection)


@pytest.mark.usefixtures("warned")
@pytest.mark.filterwarnings("default::coffea_iqn.folder.ThresholdWarning")
def test_gen_jets_that_begin_above_those_of_the_training_are_warned_of(tmp_path, capsys):
    events = open_events("qcd_ak4.root", entry_stop=400)
    late = above(events, "GenJet", 20.0)
    with pytest.warns(ThresholdWarning, match="gen jets begin at 20 GeV, those cms-delphes-ak4 was trained on at 10"):
        IQNFolder(AK4)(late.GenJet, late)
    IQNFolder(AK4)(events.GenJet, events)
    IQNFolder(AK4, acceptance=False)(late.GenJet, late)
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        jets = file["Events"].arrays(filter_name="GenJet_*", entry_stop=200)
    columns = {name: jets[name][jets.GenJet_pt > 20.0] for name in jets.fields}
    path = written(tmp_path / "late.root", "qcd_ak4.root", **columns)
    checks._WARNED.clear()
    assert run("fold", path, "--output", tmp_path / "out", "--no-plots") == 0
    assert "warning: late: gen jets begin at 20 GeV" in capsys.readouterr().err


@pytest.mark.usefixtures("warned")
def test_gen_jets_without_the_forward_ones_are_warned_of():
    """A collection that was replaced by its central jets does not show that it was cut."""
    events = open_events("qcd_ak4.root", entry_stop=400)
    central = ak.with_field(events, events.GenJet[abs(events.GenJet.eta) < 2.5], "GenJet")
    with pytest.warns(
        ThresholdWarning, match=r"gen jets end at .eta. of 2\.49, those cms-delphes-ak4 was trained on at 5"
    ):
        IQNFolder(AK4)(central.GenJet, central)
    checks._WARNED.clear()
    chunks = [IQNFoldProcessor().process(central[i : i + 100]) for i in range(0, 400, 100)]
    with pytest.warns(ThresholdWarning, match="gen jets end at"):
        IQNFoldProcessor().postprocess(processor.accumulate(chunks))
    checks._WARNED.clear()
    IQNFolder(AK4)(events.GenJet, events)


@pytest.mark.usefixtures("warned")
def test_leptons_harder_than_those_of_trainings_are_warned_of(ttbar):
    hard = with_field(ttbar, "GenDressedLepton", "pt", 40.0 * ttbar.GenDressedLepton.pt)
    with pytest.warns(ThresholdWarning, match="leptons and photons are above 300 GeV, where cms-delphes-ak4-events"):
        EventFolder("cms-delphes-ak4-events")(hard)


@pytest.mark.usefixtures("warned")
def test_prompt_leptons_that_begin_late_are_warned_of_or_added_from_particles(ttbar):
    events = open_events("ttbar_ak4_full.root")
    late = above(events, "GenDressedLepton", 15.0)
    with pytest.warns(ThresholdWarning, match="prompt leptons begin at 15"):
        EventFolder("cms-delphes-ak4-events")(late)
    leptons = events.GenDressedLepton
    particles = {name: leptons[name] for name in ("pt", "eta", "phi", "mass", "pdgId")}
    flags = ak.ones_like(leptons.pdgId)
    both = ak.with_field(late, ak.zip({**particles, "status": flags, "statusFlags": flags}), "GenPart")
    one, other = (prompt_particles(of) for of in (events, both))
    assert one.counts.tolist() == other.counts.tolist()
    for event in np.flatnonzero(one.counts)[:50]:
        (here, there) = (np.sort(of.values[of.event == event, 0]) for of in (one, other))
        np.testing.assert_array_equal(here, there)
    secondary = ak.with_field(late, ak.zip({**particles, "status": flags, "statusFlags": 0 * flags}), "GenPart")
    assert prompt_particles(secondary).counts.sum() == prompt_particles(late).counts.sum() < one.counts.sum()


def test_jets_of_a_training_are_in_gev_at_both_levels_and_there_once(capsys):
    files = Namespace(direction="fold", gen_pt_min=10.0, gen="GenJet", reco="Jet", any_radius=True, energy=None)
    pairs = make_pairs()
    trainings.check_sample(files, {"a": []}, pairs._replace(sample=0 * pairs.sample), None)
    assert not capsys.readouterr().err
    twice = JetPairs(*(np.concatenate([column, column]) for column in pairs))._replace(sample=np.zeros(4000, dtype=int))
    trainings.check_sample(files, {"a": []}, twice, None)
    assert "2,000 of 4,000 gen jets are there a second time" in capsys.readouterr().err
    in_mev = np.array([1e3, 1.0, 1.0, 1e3], dtype=np.float32)
    for one, what in (
        (pairs._replace(x=4e2 * in_mev * pairs.x, y=4e2 * in_mev * pairs.y), "gen jets: expected pt"),
        (pairs._replace(y=pairs.y * [1.0, 1.0, 1.0, 1e3]), "reco jets: expected masses, at most about pt"),
        (pairs._replace(y=pairs.y * [20.0, 1.0, 1.0, 20.0]), "expected pt of both in GeV, got a median ratio of 19"),
    ):
        with pytest.raises(ValueError, match=what):
            trainings.check_sample(files, {"a": []}, one._replace(sample=0 * pairs.sample), None)


def test_reco_jets_of_other_events_do_not_train(tmp_path, capsys):
    """They would be learnt as a detector that finds a few % of the jets, and adds as many as there are."""
    with uproot.open(sample_path("qcdflat_ak4.root")) as file:
        arrays = file["Events"].arrays(filter_name="Jet_*")
    later = {name: ak.concatenate([arrays[name][1:], arrays[name][:1]]) for name in arrays.fields}
    path = written(tmp_path / "later.root", "qcdflat_ak4.root", n_events=len(arrays), **later)
    assert run("train", f"q={path}", "--steps", 2, "--output", tmp_path / "made") == 2
    assert "GenJet and Jet of q: expected jets of the same events, got matched ones as far" in one_error(capsys)


def test_leptons_without_their_codes_are_refused(ttbar):
    """They would be neither electrons nor muons: jets and objects as if there were none."""
    odd = with_field(ttbar, "GenDressedLepton", "pdgId", 0 * ttbar.GenDressedLepton.pdgId)
    with pytest.raises(ValueError, match=r"GenDressedLepton.pdgId: expected PDG codes of leptons, got others for \d+"):
        prompt_particles(odd)


@pytest.mark.parametrize(("code", "flags", "prompt"), [(22, 1, True), (22, 8, False), (11, 8, True), (11, 0, False)])
def test_photons_of_the_pions_of_a_tau_are_not_prompt(ttbar, code, flags, prompt):
    leptons = ttbar.GenDressedLepton
    fields = {name: leptons[name] for name in ("pt", "eta", "phi", "mass")} | {"pt": leptons.pt + 10.0}
    one = ak.ones_like(leptons.pdgId)
    fields |= {"pdgId": code * one, "status": one, "statusFlags": flags * one}
    events = ak.with_field(ak.without_field(ttbar, "GenIsolatedPhoton"), ak.zip(fields), "GenPart")
    assert (prompt_particles(events).counts.sum() > 0) == prompt


def test_fields_of_the_user_and_of_gen_level_are_no_reconstructed_objects():
    reconstructed = "Jet Electron MET FatJet boostedTau RawPuppiMET CorrT1METJet PuppiMissingET TrackJet JetPFCands"
    others = "GenJet GenMET MET_Truth TruthElectrons TruthMET METFilter MuonSF JetGood IQNJet HLT PV Flag Particle"
    assert all(checks.RECONSTRUCTED.fullmatch(name) for name in reconstructed.split())
    assert not any(checks.RECONSTRUCTED.fullmatch(name) for name in others.split())


@pytest.mark.usefixtures("warned")
def test_what_the_file_reconstructed_is_removed_beside_emulated_objects(ttbar, ww):
    for folder, sample, kept in (
        (EventFolder("cms-delphes-ak4-events"), ttbar, {"Jet", "Electron", "Muon", "Photon", "MET"}),
        (ConstituentFolder("cms-delphes-ak5-particles"), ww, {"Jet", "PFCands"}),
    ):
        events = sample
        for name in ("Tau", "PuppiMET", "FatJet", "HLT", "GenVisTau"):
            events = ak.with_field(events, events.GenJet, name)
        checks._WARNED.clear()
        with pytest.warns(NotEmulatedWarning, match="left out .*FatJet.*PuppiMET.*Tau.*; HLT are those of the file"):
            made = folder(events, as_nano=True)
        assert {"HLT", "GenVisTau", "GenJet"} | kept <= set(made.fields)
        assert not {"Tau", "PuppiMET", "FatJet"} & set(made.fields)
        assert {"Tau", "PuppiMET", "FatJet"} <= set(folder(events).fields)
        assert made.metadata == events.metadata


@pytest.mark.usefixtures("warned")
@pytest.mark.parametrize("code", [11, -13, 22])
def test_jets_made_by_isolated_leptons_and_photons_are_pointed_out(ww, code):
    jets, folder = ww.GenJet, ConstituentFolder("cms-delphes-ak5-particles")
    fields = {name: jets[name] for name in ("pt", "eta", "phi")}
    one = ak.zip(fields | {"jetIdx": ak.local_index(jets.pt), "pdgId": ak.full_like(jets.pt, code, dtype=np.int32)})
    with pytest.warns(
        NotEmulatedWarning, match=r"(\d+) of \1 gen jets are one electron, muon or photon with more than 90%"
    ):
        folder(ak.with_field(ww, one, "GenJetCands"))


@pytest.mark.usefixtures("warned")
def test_gen_jets_far_softer_than_those_whose_particles_are_known_are_pointed_out(ww):
    soft = {name: ak.with_field(ww[name], np.float32(0.4) * ww[name].pt, "pt") for name in ("GenJet", "GenJetCands")}
    soft["GenJet"] = ak.with_field(soft["GenJet"], np.float32(0.4) * ww.GenJet.mass, "mass")
    events, folder = ww, ConstituentFolder("cms-delphes-ak5-particles")
    for name, collection in soft.items():
        events = ak.with_field(events, collection, name)
    n = int(ak.sum(soft["GenJet"].pt < 65.0))
    with pytest.warns(ThresholdWarning, match=f"^{n} of .* gen jets are below 65 GeV, and cms-delphes-ak5-partic"):
        folder(events)


@pytest.mark.usefixtures("warned")
@pytest.mark.parametrize(
    ("codes", "odd"),
    [
        (np.zeros_like, "0% are charged"),
        (np.abs, "[0-9]% of the charged ones are negative"),
        (
            lambda code: np.where(charge_of(code) != 0, 211 * np.sign(code), np.where(code == 22, 22, 130)),
            "there are p",
        ),
    ],
)
def test_particles_without_codes_of_a_generator_are_pointed_out(ww, codes, odd):
    flat = codes(ak.to_numpy(ak.flatten(ww.GenJetCands.pdgId)))
    made = ak.with_field(ww.GenJetCands, ak.unflatten(flat, ak.num(ww.GenJetCands.pdgId)), "pdgId")
    with pytest.warns(OddContextWarning, match=f"particles in gen jets seem to have other codes .*: {odd}"):
        ConstituentFolder("cms-delphes-ak5-particles")(ak.with_field(ww, made, "GenJetCands"))


@pytest.mark.filterwarnings("ignore::coffea_iqn.folder.ThresholdWarning")  # the other file has softer ones
def test_a_training_on_gen_jets_from_20_gev_says_so_and_a_validation_on_its_files_too(tmp_path, capsys):
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        jets = file["Events"].arrays(filter_name="GenJet_*", entry_stop=200)
    late = written(
        tmp_path / "late.root", "qcd_ak4.root", **{name: jets[name][jets.GenJet_pt > 20.0] for name in jets.fields}
    )
    assert run("train", late, "--output", tmp_path / "made", "--steps", 2, "--hidden", 4, 4) == 0
    card = bundle.load(tmp_path / "made").card
    assert card["domain"]["gen_pt"][0] == pytest.approx(30.0, abs=1.0)
    assert card["training"]["gen_pt_min"] == pytest.approx(20.0, abs=0.5)
    capsys.readouterr()
    trained_on = metrics_of(tmp_path / "made", late, tmp_path / "report")
    assert f"warning: the model was trained on {late}" in capsys.readouterr().err
    assert trained_on == [str(late)]
    assert metrics_of(tmp_path / "made", sample_path("qcd_ak4_full.root"), tmp_path / "other") == []
    assert "was trained on" not in capsys.readouterr().err


def metrics_of(model, file, output):
    with undrawn():
        assert run("validate", file, "--model", model, "--quick", "--max-jets", 400, "--output", output) == 0
    return json.loads((output / "metrics.json").read_text())["trained_on"]


def test_a_correction_does_not_learn_from_weights_without_a_word():
    events = open_events("qcdflat_ak4.root", entry_stop=50, metadata={"dataset": "x"})
    with pytest.warns(IgnoredWeightsWarning, match="a correction depends on the spectrum of its jets, got"):
        PairsProcessor(direction="correct").chunk(events)
    PairsProcessor().chunk(events)


def test_response_matrices_of_different_models_are_not_added():
    events = open_events("qcd_ak4.root", entry_stop=20)
    one, other = (response_sums(m, events.GenJet, events, [20, 50], [20, 50]) for m in (AK4, "cms-delphes-ak4-fast"))
    with pytest.raises(ValueError, match="expected matrices of one model and its options, got IQNFolder"):
        one + other


@pytest.mark.parametrize(
    ("made", "level"),
    [
        (lambda: IQNFoldProcessor(truth="GenJet").process, "reco"),
        (lambda: IQNCorrectProcessor(gen="Jet").process, "gen"),
        (lambda: PairsProcessor(gen="Jet", reco="GenJet").chunk, "gen"),
        (lambda: PairsProcessor(gen="GenJet", reco="GenJet").chunk, "reco"),
    ],
)
def test_processors_refuse_jets_of_the_other_level(made, level):
    events = open_events("qcd_ak4.root", entry_stop=20, metadata={"dataset": "x"})
    with pytest.raises(ValueError, match=f"{level} jets: expected a {level}-level collection, got "):
        made()(events)


def test_response_matrices_of_different_thresholds_are_not_added():
    events = open_events("qcd_ak4.root", entry_stop=20)
    one, other = (response_sums(AK4, events.GenJet, events, [20, 50], [20, 50], raw_pt_min=cut) for cut in (None, 25.0))
    with pytest.raises(ValueError, match=r"expected matrices of one model and its options, got .* raw_pt_min=25\.0"):
        one + other


def test_results_of_different_models_and_options_are_not_added():
    """They would be histograms of a mixture. Those of other datasets are added."""
    here, elsewhere = processor.IterativeExecutor(retries=0), processor.FuturesExecutor(workers=1)

    def made_by(of=IQNFoldProcessor, dataset="x", executor=here, **options):
        runner = processor.Runner(executor=executor, schema=NanoSchema, chunksize=100, maxchunks=1)
        return runner({dataset: [str(sample_path("qcd_ak4.root"))]}, of(**options), treename="Events")

    one = made_by(seed=1)
    for options, got in (
        ({"seed": 2}, "seed 1 and 2"),
        ({"seed": 2, "executor": elsewhere}, "seed 1 and 2"),
        ({"seed": 1, "model": "cms-delphes-ak4-fast"}, "model 'cms-delphes-ak4' and 'cms-delphes-ak4-fast'"),
        ({"seed": 1, "variations": ["jes"]}, r"variations None and \['jes=0.01'\]"),
        ({"of": IQNCorrectProcessor}, "model 'cms-delphes-ak4' and 'cms-delphes-ak4-correct'"),
    ):
        with pytest.raises(ValueError, match=f"x: expected results of one model and its options to add, got {got}"):
            processor.accumulate([one, made_by(**options)])
    with pytest.warns(EqualEventsWarning, match="x: expected different events in each file, got 16 or more"):
        processor.accumulate([one, one])
    both = processor.accumulate([one, made_by(dataset="y", seed=2)])
    assert both["made_by"]["x"] == one["made_by"]["x"]
    assert list(both["hists"]["pt"].axes["dataset"]) == ["x", "y"]


def test_what_is_no_response_matrix_or_has_other_bins_is_refused():
    events, edges = open_events("qcd_ak4.root", entry_stop=100), [20, 40, 100]
    matrix = response(AK4, events.GenJet, events, [20, 30, 100], edges)
    for other in (matrix.project("gen"), matrix.project("reco", "gen")):
        with pytest.raises(ValueError, match="response: expected axes gen and reco, or as many"):
            workspace(other)
    made = workspace(matrix, hist.new.Var(edges).Weight().fill([25.0, 30.0, 50.0], weight=20.0))
    assert made["observations"][0]["data"] == [40.0, 20.0]
    with pytest.raises(ValueError, match="observed: expected the reco bins of the matrix"):
        workspace(matrix, hist.new.Var([20, 50, 100]).Weight())


def test_numbers_of_jets_below_zero_are_no_workspace():
    events = open_events("qcd_ak4.root", entry_stop=100)
    weights = np.where(np.arange(100) % 3 == 0, 1.0, -1.0)
    matrix = response(AK4, events.GenJet, events, [20, 30, 100], [20, 25, 30, 40, 100], weights=weights)
    with pytest.raises(ValueError, match=r"response: expected (no negative number of jets|jets of every gen bin)"):
        workspace(matrix)


@pytest.mark.usefixtures("warned")
@pytest.mark.filterwarnings("default::coffea_iqn.folder.NotEmulatedWarning")
def test_skims_named_as_nanoaod_copy_reconstructed_objects_only_by_name(tmp_path, capsys):
    """Among them numbers of the whole event."""
    of_events = dict.fromkeys(("SoftActivityJetHT", "btagWeight_CSVV2", "rho"), ak.Array(np.ones(200)))
    path = written(tmp_path / "ttbar.root", "ttbar_ak4_full.root", **of_events)
    names = []
    for n, keep in enumerate(("*", "Muon_*")):
        out = tmp_path / str(n)
        assert run("fold", path, "--skim", "root", "--as", "Jet", "--keep", keep, "--output", out, "--no-plots") == 0
        with uproot.open(next((out / "skim").iterdir())) as file:
            names.append({name.partition("_")[0] for name in file["Events"].keys()})  # noqa: SIM118
    left_out = ["Electron", "MET", "Muon", "Photon", "SoftActivityJetHT", "btagWeight"]
    assert f"warning: events: left out {', '.join(left_out)}, which are reconstructed" in capsys.readouterr().err
    assert not names[0] & {*left_out}
    assert {"GenJet", "GenDressedLepton", "Jet", "rho"} <= names[0]
    assert "Muon" in names[1]


def test_a_response_matrix_does_not_vary():
    events = open_events("qcd_ak4.root", entry_stop=20)
    with pytest.raises(ValueError, match=r"variations: expected none for a response matrix, got jes=0.1"):
        response(AK4, events.GenJet, events, [20, 50], [20, 50], variations=["jes=0.1"])


def test_emulated_jets_are_no_true_ones(tmp_path, capsys):
    """A bundle would be validated on its own jets."""
    options = ["--skim", "root", "--as", "Jet", "--no-plots", "--quiet", "--output", tmp_path / "out"]
    assert run("fold", f"qcd={written(tmp_path / 'qcd.root', 'qcd_ak4.root')}", *options) == 0
    (path,) = (tmp_path / "out" / "skim").iterdir()
    assert inspect(str(path)).emulated == "Jet"
    capsys.readouterr()
    for command in ("fold", "correct"):
        assert run(command, f"qcd={path}", "--no-plots", "--quiet", "--output", tmp_path / f"again_{command}") == 0
        assert f"warning: Jet of {path}: expected true jets, got emulated ones of a skim" in capsys.readouterr().err
    assert run("fold", f"qcd={path}", "--truth", "none", "--no-plots", "--quiet", "--output", tmp_path / "gen") == 0
    assert "emulated ones" not in capsys.readouterr().err


def test_emulated_jets_are_no_gen_jets(tmp_path, capsys):
    file, skims = f"qcd={sample_path('qcd_ak4.root')}", tmp_path / "out" / "skim"
    assert run("fold", file, "--output", tmp_path / "out", "--no-plots", "-q", "--skim", "root") == 0
    (skim,) = skims.iterdir()
    assert run("fold", skim, "--gen", "IQNJet", "--output", tmp_path / "again") == 2
    assert f"got IQNJet of a skim, whose jets were emulated or corrected before: {skim}" in one_error(capsys)


def test_a_collection_that_coffea_cannot_read_is_named(tmp_path, capsys):
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        arrays = file["Events"].arrays(entry_stop=50)
    with uproot.recreate(tmp_path / "each.root") as file:  # every field is a list of its own length
        file.mktree("Events", {name: arrays[name] for name in arrays.fields if name not in ("nGenJet", "nJet")})
    assert run("fold", tmp_path / "each.root", "--output", tmp_path / "out", "--no-plots") == 2
    assert "each.root: expected a branch nJet beside Jet_pt, found none: with uproot, write Jet as" in one_error(capsys)
    out = tmp_path / "out"
    assert run("fold", tmp_path / "each.root", "--truth", "none", "--output", out, "--no-plots", "-q") == 0


def test_skims_of_different_draws_do_not_merge(tmp_path, capsys):
    one, other = (written(tmp_path / f"{name}.root", "qcd_ak4.root") for name in ("one", "other"))
    for command, path, option in (
        ("correct", one, ("--take", "draw", "--seed", 1)),
        ("correct", other, ("--take", "draw", "--seed", 2)),
        ("fold", one, ()),
        ("fold", other, ("--name", "flavour=none")),
    ):
        out = tmp_path / f"{command}{path.stem}"
        assert run(command, f"d={path}", "--output", out, "--no-plots", "-q", "--skim", "root", *option) == 0
    for command, key in (("correct", "seed"), ("fold", "names")):
        skims = [tmp_path / f"{command}{name}" / "skim" for name in ("one", "other")]
        assert run("merge", *skims, "--output", tmp_path / "merged.root") == 2
        assert f"expected {key}" in one_error(capsys)


# outputs


def test_a_report_is_not_replaced_unasked(tmp_path, capsys):
    (tmp_path / "report.html").write_text("mine")
    assert run("validate", sample_path("qcd_ak4.root"), "--quick", "--output", tmp_path) == 2
    assert "expected a new path, got one where something is already: --force replaces it" in one_error(capsys)
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["GenJet", "TruthJets", "GenJetAK8"])
def test_reco_jets_are_not_written_as_gen_jets(tmp_path, capsys, name):
    file = sample_path("qcd_ak4.root")
    assert run("fold", file, "--output", tmp_path / "out", "--skim", "root", "--as", name) == 2
    assert "expected a collection's name of reco jets" in one_error(capsys)


@pytest.mark.parametrize(("command", "ending"), [("fold", "chunks"), ("correct", "chunks"), ("train", "training")])
def test_a_folder_of_the_user_is_never_removed(tmp_path, capsys, command, ending):
    theirs = tmp_path / f"out.{ending}" / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    (tmp_path / "out.partial").mkdir()
    file = f"d={sample_path('qcd_ak4.root')}"
    extra = ("--steps", 2) if command == "train" else ("--no-plots",)
    assert run(command, file, "--output", tmp_path / "out", *extra) == 2
    assert "expected nothing, or what an interrupted run left there" in one_error(capsys)
    assert theirs.read_text() == "mine"
    assert (tmp_path / "out.partial").is_dir()


@pytest.mark.usefixtures("warned")
def test_flavours_of_hadrons_are_warned_of(ttbar):
    flavour = ttbar.GenJet.partonFlavour
    heavy = (abs(flavour) == 4) | (abs(flavour) == 5)
    hadrons = ak.with_field(ttbar.GenJet, ak.where(heavy, flavour, 0), "hadronFlavour")
    with pytest.warns(OddContextWarning, match=r"flavours of \d+ gen jets are never 1, 2, 3 or 21, as of hadrons"):
        IQNFolder(AK4, names={"flavour": "hadronFlavour"})(hadrons, ttbar)


@pytest.mark.parametrize("level", ["gen", "truth"])
def test_angles_from_0_to_2_pi_are_filled_as_those_from_minus_pi(level):
    jets = JetTable(np.array([[30.0, 0.0, 4.0, 3.0]], dtype=np.float32), np.array([1]), np.array([0]))
    filler = Filler("x", np.ones(1))
    filler.fill_jets(level, [jets], pt_min=20.0, eta_max=5.0)
    phi = to_hists(filler.sums, ["x"])["phi"]["x", level, :]
    assert phi[hist.loc(4.0 - 2.0 * np.pi)].value == phi.sum(flow=True).value == 1.0


def test_missing_momentum_in_components_is_refused(ttbar):
    """coffea's vectors know them as x and y."""
    of = ak.zip({"px": ttbar.GenMET.pt, "py": ttbar.GenMET.pt})
    with pytest.raises(ValueError, match="expected pt and phi, got the fields px, py"):
        IQNFolder(AK4)(ttbar.GenJet, ak.with_field(ttbar, of, "GenMET"))


def without(path, collection):
    """Write a copy of the QCD sample without a collection."""
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        of_it = [name for name in file["Events"].keys() if name.startswith((f"{collection}_", f"n{collection}"))]  # noqa: SIM118
    return written(path, "qcd_ak4.root", **dict.fromkeys(of_it))


def test_true_jets_in_some_files_only_are_warned_of(tmp_path):
    bare = without(tmp_path / "bare.root", "Jet")
    runner = processor.Runner(executor=processor.IterativeExecutor(retries=0), schema=NanoSchema, chunksize=10_000)
    files = [str(sample_path("qcdflat_ak4.root")), str(bare)]
    with pytest.warns(MixedWeightsWarning, match="t: expected true jets in all files"):
        runner({"t": files}, IQNFoldProcessor(), treename="Events")
    each = [runner({"t": [file]}, IQNFoldProcessor(), treename="Events") for file in files]
    with pytest.warns(MixedWeightsWarning, match="t: expected true jets in all files"):
        processor.accumulate(each)


def test_a_correction_of_data_keeps_the_gen_jets_of_simulation(tmp_path, capsys):
    """Each dataset is compared with its gen jets or not; one with gen jets in some files is wrong."""
    simulation, data = sample_path("qcdflat_ak4.root"), without(tmp_path / "data.root", "GenJet")
    options = ["--no-plots", "--quiet", "--output", tmp_path / "out"]
    assert run("correct", f"mc={simulation}", f"data={data}", *options) == 0
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        n_events = {name: file[f"{name}/gen/njet"].values(flow=True).sum() for name in ("mc", "data")}
    assert n_events["mc"] > 0.0 == n_events["data"]
    capsys.readouterr()
    assert run("correct", f"x={simulation}", f"x={data}", *options, "--force") == 2
    assert f"x: expected a collection GenJet in all files of the dataset or in none, found none in {data}" in one_error(
        capsys
    )
    runner = processor.Runner(executor=processor.IterativeExecutor(retries=0), schema=NanoSchema, chunksize=10_000)
    with pytest.warns(MixedWeightsWarning, match="x: expected gen jets in all files of the dataset or in none; gen=No"):
        runner({"x": [str(simulation), str(data)]}, IQNCorrectProcessor(), treename="Events")


# emulated collections, and leptons


def test_emulated_collections_are_known_by_their_names(ttbar, warned):
    """Guards against a part of a collection, and against folding twice, were off for what a folder returns."""
    whole = EventFolder(f"{AK4}-events", seed=1)(ttbar, as_nano=True)
    central = whole.Jet[np.abs(whole.Jet.eta) < 1.5]
    with pytest.raises(ValueError, match=r"per: expected all of events\.Jet, got a subset"):
        event_uniforms(whole, stream="btag", per=central)
    assert ak.all(event_uniforms(whole, stream="btag", per=whole.Muon) < 1.0)
    with pytest.warns(PartOfEventWarning, match=r"expected the \d+ jets of events\.Jet, got"):
        IQNCorrector(f"{AK4}-correct").draw(central, whole)
    folder = IQNFolder(AK4)
    reco = folder(ttbar.GenJet, ttbar)
    for jets, got in (
        (reco, "below 0: are these reco jets"),
        (reco[reco.genJetIdx >= 0], "gen-level collection, got IQNJet"),
    ):
        with pytest.raises(ValueError, match=got):
            folder(jets, ttbar)


def test_jets_made_without_leptons_contain_none(ttbar):
    """ATLAS' files have no prompt particles: averaged over unknown ones, 2 % of the jets were lost."""
    lepton = ["GenDressedLepton", "GenIsolatedPhoton", "GenPart"]
    without = ttbar[[name for name in ttbar.fields if name not in lepton]]
    jets = ak.with_parameter(without.GenJet, "collection_name", "AntiKt4TruthDressedWZJets")
    events = ak.with_field(without, jets, "AntiKt4TruthDressedWZJets")
    none = ttbar
    for name in lepton[:2]:
        none = ak.with_field(none, none[name][:, :0], name)
    none = none[[name for name in none.fields if name != "GenPart"]]
    made = IQNFolder(AK4)(jets, events)
    assert ak.array_equal(made.pt, IQNFolder(AK4)(none.GenJet, none).pt)
    assert ak.sum(ak.num(made)) > ak.sum(ak.num(IQNFolder(AK4)(without.GenJet, without)))
    with pytest.raises(ValueError, match="expected GenDressedLepton and GenIsolatedPhoton"):
        EventFolder(f"{AK4}-events", gen="AntiKt4TruthDressedWZJets")(events)


@pytest.mark.parametrize("cut", ["central", "muons"])
def test_leptons_that_were_cut_are_warned_of(warned, cut):
    events = open_events("ttbar_ak4_full.root")
    leptons = events.GenDressedLepton
    kept = leptons[{"central": np.abs(leptons.eta) < 1.5, "muons": np.abs(leptons.pdgId) != 11}[cut]]
    odd = ak.with_field(events[[name for name in events.fields if name != "GenPart"]], kept, "GenDressedLepton")
    said = {"central": "prompt leptons end at .* of 1.5", "muons": r"all \d+ prompt leptons are muons"}[cut]
    with pytest.warns(ThresholdWarning, match=said):
        EventFolder(f"{AK4}-events")(odd)


# trainings and files that a user may have


def test_forward_jets_that_begin_higher_are_warned_of(tmp_path, capsys):
    with uproot.open(sample_path("qcdflat_ak4.root")) as file:
        arrays = file["Events"].arrays()
    kept = (np.abs(arrays.Jet_eta) < 2.5) | (arrays.Jet_pt > 25.0)
    cut = {name: arrays[name][kept] for name in arrays.fields if name.startswith("Jet_")}
    path = written(tmp_path / "cut.root", "qcdflat_ak4.root", n_events=5000, **cut)
    few = ("--steps", 2, "--check-every", 1, "--hidden", 4, "--quiet", "--output")
    assert run("train", path, *few, tmp_path / "made") == 0
    said = capsys.readouterr().err
    assert re.search(r"reco jets begin at 2\d\.?\d* GeV for .eta. between .*: a bundle has one threshold", said)
    assert run("train", sample_path("qcdflat_ak4.root"), *few, tmp_path / "other") == 0
    assert "one threshold" not in capsys.readouterr().err


def test_reco_jets_without_masses_are_refused(tmp_path, capsys):
    with uproot.open(sample_path("qcd_ak4.root")) as file:
        mass = file["Events"]["Jet_mass"].array(entry_stop=200)
    path = written(tmp_path / "massless.root", "qcd_ak4.root", Jet_mass=0.0 * mass)
    assert run("train", path, "--steps", 2, "--output", tmp_path / "made") == 2
    assert "reco jets: expected jets with masses, got none above 0" in one_error(capsys)


def test_jets_made_by_the_objects_themselves_are_refused(tmp_path):
    """As in CMS' files: a bundle of whole events removes jets near its electrons, muons and photons."""
    events = open_events("ttbar_ak4_full.root", entry_stop=400, metadata={"dataset": "t", "fileuuid": "x"})
    jets = {field: ak.concatenate([events.Jet[field], events.Muon[field]], axis=1) for field in ("pt", "eta", "phi")}
    jets["mass"] = ak.concatenate([events.Jet.mass, 0.0 * events.Muon.pt], axis=1)
    odd = ak.with_field(events, ak.zip(jets), "Jet")
    instance = ObjectsProcessor(bundle.load(AK4).variables, cone=0.25)
    assert instance.chunk(events)
    with pytest.raises(
        ValueError, match=r"expected none made by electrons, muons and photons, got one within .* of \d+"
    ):
        instance.chunk(odd)


def test_events_generated_twice_with_one_seed_are_refused(tmp_path, capsys):
    """`--identity file` would count each of them twice."""
    files = [written(tmp_path / f"{name}.root", "qcd_ak4.root") for name in ("a", "b")]
    for identity in ((), ("--identity", "file")):
        assert run("fold", *(f"q={path}" for path in files), "--output", tmp_path / "out", *identity) == 2
        assert "got the same GenJets in" in one_error(capsys)
