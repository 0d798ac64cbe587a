from __future__ import annotations

from itertools import chain

import awkward as ak
import loky
import numpy as np
import pytest
from coffea import processor
from coffea.nanoevents import DelphesSchema
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coffea_iqn import IQNFolder
from coffea_iqn.closure import EVENT_FEATURES
from coffea_iqn.data import sample_path
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.histograms import filling
from coffea_iqn.processors import EventsProcessor, IQNFoldProcessor
from conftest import open_events

QCD = {"qcd": [str(sample_path("qcd_ak4.root"))]}
FLAT = {"flat": [str(sample_path("qcdflat_ak4.root"))]}
JETS = {"pt", "eta", "phi", "mass", "pt_eta"}
EVENTS = {"njet", "njet30", "njet50", "ht", "leading_pt", "second_pt", "dijet_mass", "dijet_deta", "dijet_dphi"}
NAMES = {*JETS, *EVENTS, "response", "unmatched_pt"}


def run(fileset, *, executor=None, chunksize=100_000, schema=NanoSchema, treename="Events", **options):
    executor = executor or processor.IterativeExecutor(retries=0)
    runner = processor.Runner(executor=executor, schema=schema, chunksize=chunksize)
    return runner(fileset, IQNFoldProcessor(**options), treename=treename)


def assert_same(a, b):
    assert a["cutflow"] == b["cutflow"]
    assert a["hists"].keys() == b["hists"].keys()
    for name in a["hists"]:
        assert a["hists"][name] == b["hists"][name], name


@pytest.fixture(scope="module")
def whole():
    """QCD with equal weights, and a flat sample whose weights span ten decades."""
    return run(QCD | FLAT)


def test_contract(whole):
    assert list(whole) == ["made_by", "hists", "cutflow", "files"]
    assert set(whole["hists"]) == NAMES
    for histogram in whole["hists"].values():
        assert [axis.name for axis in histogram.axes][:2] == ["dataset", "level"]
        assert list(histogram.axes["dataset"]) == ["flat", "qcd"]
        assert list(histogram.axes["level"]) == ["gen", "reco", "truth"]
        assert histogram.axes["dataset"].traits.growth
        assert histogram.storage_type.__name__ == "Weight"


@settings(max_examples=2, deadline=None, derandomize=True)
@given(chunksize=st.integers(1000, 6000), backwards=st.booleans())
@example(chunksize=700, backwards=True)
def test_any_chunks_and_order_give_the_same_bits(whole, chunksize, backwards):
    assert_same(run(FLAT | QCD if backwards else QCD | FLAT, chunksize=chunksize), whole)


def test_features_of_events_are_those_of_truth_and_of_two_folds_in_any_chunks():
    def look(fileset, chunksize):
        executor = processor.IterativeExecutor(retries=0)
        runner = processor.Runner(executor=executor, schema=NanoSchema, chunksize=chunksize)
        return runner(fileset, EventsProcessor("cms-delphes-ak4", seed=7), treename="Events")

    whole, overlapping, totals, hists = look(QCD | FLAT, 100_000)
    assert [side.shape for side in whole] == [(10_000, len(EVENT_FEATURES))] * 3
    assert [side.shape for side in overlapping] == [(10_000, 2)] * 3
    again = look(FLAT | QCD, 1300)
    for side, other in zip((*whole, *overlapping), chain(*again[:2]), strict=True):
        np.testing.assert_array_equal(side, other)
    for side, other in zip(totals, again.totals, strict=True):
        assert {name: of.tolist() for name, of in side.items()} == {name: of.tolist() for name, of in other.items()}
    assert again.hists == hists
    assert hists[0] == run(QCD | FLAT, model="cms-delphes-ak4", seed=7)["hists"] != hists[1]
    events = open_events("qcdflat_ak4.root", metadata={"dataset": "flat"})  # flat comes before qcd
    reco = [events.Jet, *(IQNFolder("cms-delphes-ak4", seed=seed)(events.GenJet, events) for seed in (7, 8))]
    for side, jets in zip(whole, reco, strict=True):
        np.testing.assert_array_equal(side[:5000, EVENT_FEATURES.index("reco jets")], ak.sum(jets.pt > 20, axis=1))
    for side, jets in zip(totals, reco, strict=True):
        central = (jets.pt > 20) & (np.abs(jets.eta) < 1.3)
        np.testing.assert_array_equal(side["jets, 0 < |η| < 1.3"][:5000], ak.sum(central, axis=1))


def test_futures_give_the_same_bits(whole):
    pool = loky.get_reusable_executor(max_workers=2)
    assert_same(
        run(QCD | FLAT, executor=processor.FuturesExecutor(pool=pool, workers=2, retries=0), chunksize=2000), whole
    )
    pool.shutdown(wait=True)


def test_histograms_hold_what_the_folder_gives(whole):
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    reco = IQNFolder("cms-delphes-ak4", unmatched=True)(events.GenJet, events)
    reco = reco[(reco.pt > 20) & (abs(reco.eta) < 5)]
    here = {"dataset": "qcd", "level": "reco"}
    hists = whole["hists"]
    assert hists["pt"][here].sum(flow=True).value == ak.count(reco.pt)
    edges = hists["eta"].axes["eta"].edges
    np.testing.assert_array_equal(
        hists["eta"][here].values(), np.histogram(ak.to_numpy(ak.flatten(reco.eta)), edges)[0]
    )
    np.testing.assert_array_equal(hists["njet"][here].values(), np.bincount(ak.num(reco), minlength=16)[:16])
    two = reco[ak.num(reco) > 1]
    mass = ak.to_numpy((two[:, 0] + two[:, 1]).mass)
    edges = hists["dijet_mass"].axes["dijet_mass"].edges
    assert np.abs(hists["dijet_mass"][here].values() - np.histogram(mass, edges)[0]).sum() <= 2  # float32 at an edge
    angles = abs(two[:, 0].delta_phi(two[:, 1])), abs(two.eta[:, 0] - two.eta[:, 1])
    for name, values in zip(("dijet_dphi", "dijet_deta"), angles, strict=True):
        expected = np.histogram(ak.to_numpy(values), hists[name].axes[name].edges)[0]
        assert np.abs(hists[name][here].values() - expected).sum() <= 4
    second = np.histogram(ak.to_numpy(two.pt[:, 1]), hists["second_pt"].axes["second_pt"].edges)[0]
    np.testing.assert_array_equal(hists["second_pt"][here].values(), second)
    for name, pt_min in (("njet30", 30), ("njet50", 50)):
        numbers = np.bincount(ak.sum(reco.pt > pt_min, axis=1), minlength=16)[:16]
        np.testing.assert_array_equal(hists[name][here].values(), numbers)
    in_slices = hists["pt_eta"][here]
    assert in_slices.project("pt") == hists["pt"][here]
    inner = abs(reco.eta) < 1.3
    assert in_slices[:, 0].sum(flow=True).value == ak.sum(inner)
    some = reco[ak.num(reco) > 0]
    ht = np.histogram(ak.to_numpy(ak.sum(some.pt, axis=1)), hists["ht"].axes["ht"].edges)[0]
    assert np.abs(hists["ht"][here].values() - ht).sum() <= 2
    leading = np.histogram(ak.to_numpy(some.pt[:, 0]), hists["leading_pt"].axes["leading_pt"].edges)[0]
    np.testing.assert_array_equal(hists["leading_pt"][here].values(), leading)


def columns_of(jets):
    """Return the values that fill each histogram of jets: an array per variable, jagged, or None for some events."""
    jets = jets[(jets.pt > 20) & (abs(jets.eta) < 5)]
    jets = jets[ak.argsort(jets.pt, ascending=False, stable=True)]
    two = ak.mask(jets, ak.num(jets) > 1)
    fields = ("pt", "eta", "phi", "mass")
    doubles = {name: ak.values_astype(two[name], np.float64) for name in fields}
    vectors = ak.zip(doubles, with_name="PtEtaPhiMLorentzVector", behavior=jets.behavior)
    d_phi = abs(vectors[:, 0].delta_phi(vectors[:, 1]))
    columns = {name: [jets[name]] for name in fields}
    columns["pt_eta"] = [jets.pt, abs(jets.eta)]
    for name, pt_min in (("njet", 0), ("njet30", 30), ("njet50", 50)):
        columns[name] = [ak.sum(jets.pt > pt_min, axis=1)]
    columns["ht"] = [ak.mask(ak.sum(ak.values_astype(jets.pt, np.float64), axis=1), ak.num(jets) > 0)]
    columns["leading_pt"] = [ak.firsts(jets.pt)]
    columns["second_pt"] = [two.pt[:, 1]]
    columns["dijet_mass"] = [(vectors[:, 0] + vectors[:, 1]).mass]
    columns["dijet_deta"] = [abs(two.eta[:, 0] - two.eta[:, 1])]
    columns["dijet_dphi"] = [ak.where(d_phi >= np.pi, np.nextafter(np.pi, 0.0), d_phi)]
    return columns


@pytest.mark.parametrize("dataset", ["qcd", "flat"])
def test_histograms_are_those_that_hist_fills(whole, dataset):
    events = open_events({"qcd": "qcd_ak4.root", "flat": "qcdflat_ak4.root"}[dataset], metadata={"dataset": dataset})
    reco = IQNFolder("cms-delphes-ak4", unmatched=True)(events.GenJet, events)
    levels = {
        level: columns_of(jets) for level, jets in (("gen", events.GenJet), ("reco", reco), ("truth", events.Jet))
    }
    matched = reco[reco.genJetIdx >= 0]
    gen = events.GenJet[matched.genJetIdx]
    levels["reco"]["response"] = [gen.pt, abs(gen.eta), matched.pt / gen.pt]
    levels["reco"]["unmatched_pt"] = [reco.pt[(reco.genJetIdx < 0) & (abs(reco.eta) < 5)]]
    filled = filling.book([dataset])
    for level, columns in levels.items():
        for name, variables in columns.items():
            weight = ak.broadcast_arrays(ak.values_astype(events.genWeight, np.float64), variables[0])[0]
            there = ~ak.is_none(variables[0])
            flat = [ak.to_numpy(ak.flatten(column[there], axis=None)) for column in (*variables, weight)]
            assert len({len(column) for column in flat}) == 1
            filled[name].fill(dataset, level, *flat[:-1], weight=flat[-1])
    for name, histogram in filled.items():
        found = whole["hists"][name][{"dataset": dataset}].view(flow=True)
        expected = histogram[{"dataset": dataset}].view(flow=True)
        if name in ("response", "unmatched_pt"):  # their truth needs a matching
            found, expected = found[:2], expected[:2]
        assert expected["value"].sum() > 0.0
        np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(found["variance"], expected["variance"], rtol=1e-12, err_msg=name)


def by_hand(instance, events):
    """Return the result of a run of one chunk."""
    return instance.postprocess(instance.process(events))


def test_events_in_blocks_and_at_once_fill_the_same(monkeypatch):
    events = open_events("qcdflat_ak4.root", metadata={"dataset": "flat"})
    instances = IQNFoldProcessor(), IQNFoldProcessor(replicas=2)
    at_once = [by_hand(instance, events) for instance in instances]
    monkeypatch.setattr(filling, "BLOCK", 333)
    for instance, before in zip(instances, at_once, strict=True):
        out = by_hand(instance, events)
        assert out["cutflow"] == before["cutflow"]
        assert out["hists"] == before["hists"]


def test_weights_fill_values_and_variances(whole):
    events = open_events("qcdflat_ak4.root")
    weight = np.asarray(events.genWeight, dtype=float)
    n_jets = ak.to_numpy(ak.sum((events.Jet.pt > 20) & (abs(events.Jet.eta) < 5), axis=1))
    total = whole["hists"]["eta"][{"dataset": "flat", "level": "truth"}].sum(flow=True)
    assert total.value == pytest.approx((weight * n_jets).sum(), rel=1e-12)
    assert total.variance == pytest.approx((weight**2 * n_jets).sum(), rel=1e-12)
    assert whole["cutflow"]["flat"]["sum_of_weights"] == pytest.approx(weight.sum(), rel=1e-12)


@pytest.mark.parametrize("level", ["reco", "truth"])
def test_a_jet_is_one_of_a_pair_or_unmatched(whole, level):
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    jets = events.Jet if level == "truth" else IQNFolder("cms-delphes-ak4", unmatched=True)(events.GenJet, events)
    assert ak.all(abs(jets.eta) < 5)
    of_pairs, free = (
        whole["hists"][name][{"dataset": "qcd", "level": level}].sum(flow=True).value
        for name in ("response", "unmatched_pt")
    )
    assert of_pairs + free == ak.count(jets.pt)
    assert free > 100


def test_response_is_that_of_matched_pairs(whole):
    response = whole["hists"]["response"]
    edges = response.axes["response"].edges
    medians = {}
    for level in ("reco", "truth"):
        h = response[{"dataset": "qcd", "level": level}][20j:60j, 0:2, :].project("response")
        cumulative = np.cumsum(h.values()) / h.sum().value
        medians[level] = np.interp(0.5, cumulative, edges[1:])
        assert h.sum().value > 4000
    assert medians["truth"] == pytest.approx(1.0, abs=0.05)
    assert medians["reco"] == pytest.approx(medians["truth"], abs=0.02)


def test_emulated_spectra_are_near_the_true_ones(whole):
    for name in ("eta", "phi", "njet", "mass", "pt"):
        reco, truth = (whole["hists"][name][{"dataset": "qcd", "level": level}] for level in ("reco", "truth"))
        scale = reco.sum(flow=True).value / truth.sum(flow=True).value
        assert scale == pytest.approx(1.0, abs=0.06)
        large = truth.values() > 200
        pull = (reco.values() - truth.values())[large] / np.sqrt(reco.variances() + truth.variances())[large]
        assert np.abs(pull).max() < 6.0


def test_seed_and_acceptance_reach_the_folder(whole):
    assert run(QCD, seed=1)["hists"]["pt"] != whole["hists"]["pt"]
    everything = run(QCD, acceptance=False)["cutflow"]["qcd"]
    assert everything["not_accepted"] == everything["unmatched"] == 0
    assert everything["reco_jets_selected"] > whole["cutflow"]["qcd"]["reco_jets_selected"]


def test_unmatched_jets_are_there_unless_told(whole):
    flow = whole["cutflow"]["qcd"]
    assert 0.2 < flow["unmatched"] / flow["events"] < 0.6
    without = run(QCD, unmatched=False)
    assert without["cutflow"]["qcd"]["unmatched"] == 0
    assert without["hists"]["njet"] != whole["hists"]["njet"]
    here = {"dataset": "qcd"}
    assert without["hists"]["response"][here] == whole["hists"]["response"][here]


def test_replicas_average_and_their_variance_is_that_of_events(whole):
    k = 3
    out = run(QCD, replicas=k)
    assert_same(run(QCD, replicas=k, chunksize=700), out)
    here = {"dataset": "qcd", "level": "reco"}
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    reco = IQNFolder("cms-delphes-ak4", unmatched=True, replicas=k)(events.GenJet, events)
    reco = reco[(reco.pt > 20) & (abs(reco.eta) < 5)]
    for name, values in (("njet", ak.num(reco, axis=2)), ("eta", ak.flatten(reco.eta, axis=2))):
        histogram = out["hists"][name][here]
        edges = np.asarray(histogram.axes[0].edges) - (0.5 if name == "njet" else 0.0)
        # the contribution of each event to each bin
        added = np.stack([np.histogram(ak.to_numpy(v), edges)[0] for v in values]) / k
        np.testing.assert_allclose(histogram.values(), added.sum(axis=0), rtol=1e-12)
        np.testing.assert_allclose(histogram.variances(), (added**2).sum(axis=0), rtol=1e-12)
    one = whole["hists"]["njet"][here].variances()
    independent = out["hists"]["njet"][here].values() / k
    assert (independent.sum() < out["hists"]["njet"][here].variances().sum() < one.sum()).all()
    assert (
        out["hists"]["pt"][{"dataset": "qcd", "level": "truth"}]
        == whole["hists"]["pt"][{"dataset": "qcd", "level": "truth"}]
    )


def test_replicas_scatter_as_their_variance_says():
    """The scatter of bins between many small sets of events agrees with the square root of their variance."""
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    instance = IQNFoldProcessor(replicas=4, truth=None)
    here = {"dataset": "qcd", "level": "reco"}
    parts = [by_hand(instance, events[i : i + 200])["hists"]["pt"][here] for i in range(0, 5000, 200)]
    values, variances = (np.stack([getattr(p, kind)()[:6] for p in parts]) for kind in ("values", "variances"))
    ratio = values.var(axis=0, ddof=1) / variances.mean(axis=0)
    assert ratio.mean() == pytest.approx(1.0, abs=0.4)  # with Σw² it is above 2


def test_delphes_files():
    fileset = {"delphes": [str(sample_path("delphes_1000.root"))]}
    options = {"schema": DelphesSchema, "treename": "Delphes", "model": "cms-delphes-ak5"}
    out = run(fileset, **options)
    flow = out["cutflow"]["delphes"]
    assert flow["events"] == 1000
    assert flow["truth_jets_selected"] == pytest.approx(flow["reco_jets_selected"], rel=0.1)
    assert_same(run(fileset, chunksize=130, **options), out)
    other = run(fileset, gen="GenJetAK4", truth="JetAK4", **options | {"model": "cms-delphes-ak4"})
    assert other["cutflow"]["delphes"]["truth_jets_selected"] > 1000


@pytest.mark.parametrize("truth", ["Jet", None])
def test_files_without_truth_leave_it_out(truth):
    name = "ttbar_ak4_genonly.root" if truth else "qcd_ak4.root"
    out = run({"x": [str(sample_path(name))]}, truth=truth)
    pt = out["hists"]["pt"]
    assert pt[{"dataset": "x", "level": "truth"}].sum(flow=True).value == 0
    assert pt[{"dataset": "x", "level": "reco"}].sum(flow=True).value > 1000
    assert "truth_jets_selected" not in out["cutflow"]["x"]


def test_one_chunk_by_hand_without_a_runner(whole):
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    out = by_hand(IQNFoldProcessor(), events)
    here = {"dataset": "qcd"}
    assert out["hists"]["pt"][here] == whole["hists"]["pt"][here]


def test_events_without_a_name_are_taken_too():
    out = IQNFoldProcessor().process(open_events("qcd_ak4.root", entry_stop=20))
    assert out["cutflow"]["events"]["events"] == 20


def test_events_without_any_jet():
    events = open_events("qcd_ak4.root", metadata={"dataset": "none"})[:0]
    instance = IQNFoldProcessor()
    out = instance.postprocess(instance.process(events))
    assert out["cutflow"]["none"]["gen_jets"] == 0
    assert list(out["hists"]["pt"].axes["dataset"]) == ["none"]


def test_sums_of_chunks_make_the_histograms():
    events = open_events("qcdflat_ak4.root", metadata={"dataset": "flat"})
    instance = IQNFoldProcessor()
    chunks = [instance.process(events[a:b])["sums"] for a, b in ((0, 17), (17, 3000), (3000, 5000))]
    added: dict = {}
    for chunk in reversed(chunks):
        for key, part in chunk.items():
            added[key] = added.get(key, 0.0) + part
    whole = by_hand(instance, events)["hists"]
    for name, histogram in filling.to_hists(added, ["flat"]).items():
        assert histogram == whole[name]


def test_missing_gen_collection_names_those_there_are():
    with pytest.raises(Exception, match=r"expected a collection GenJetAK15, found .*GenJet"):
        run(QCD, gen="GenJetAK15")
