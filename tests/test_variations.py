"""Systematic variations: another detector at the same quantile levels."""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import vector
from coffea import processor

from coffea_iqn import IQNFolder, bundle
from coffea_iqn.data import sample_path
from coffea_iqn.events import checks
from coffea_iqn.files import skims
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.files.skims import Skim
from coffea_iqn.files.trees import iterate
from coffea_iqn.jets.features import PT
from coffea_iqn.plotting import plot_spectrum, systematic_band
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.processors.fold import BelowThresholdWarning
from coffea_iqn.training.pairs import TrainingSample, bootstrapped
from coffea_iqn.validation.distortions import spoil
from coffea_iqn.variations import FOLDED, SPOILINGS, VARIATIONS, RequestedVariation, morphed, parse_variations
from conftest import TINY, context_of, make_pairs, make_unmatched, one_error, open_events, run, undrawn

AK4, FAST = "cms-delphes-ak4", "cms-delphes-ak4-fast"
QCD = sample_path("qcd_ak4.root")
FIELDS = ("pt", "eta", "phi", "mass", "genJetIdx")


def odd_at_most(pt, eta, size):
    return np.where(pt == pt.max(), size, 0.01)


def in_place(pt, eta):
    """Return sizes after clamping its arguments to the range of a table."""
    pt[pt < 30.0] = 30.0
    eta[:] = 0.0
    return 0.3 / pt


def up_and_down(pt, eta):
    return 0.01 * np.stack([pt, -pt])


def growing(pt, eta, slope):
    """Return a size that falls with pt and grows with |eta|."""
    return slope * (1.0 + abs(eta)) / (1.0 + pt / 100.0)


def equal(one, other, fields=FIELDS):
    return all(ak.array_equal(one[name], other[name]) for name in fields)


def fold_all(fileset=None, *, chunksize=100_000, **options):
    runner = processor.Runner(processor.IterativeExecutor(retries=0), schema=NanoSchema, chunksize=chunksize)
    return runner(fileset or {"qcd": [str(QCD)]}, IQNFoldProcessor(**options), treename="Events")


@pytest.fixture(scope="module")
def events():
    return open_events("qcd_ak4.root", entry_stop=1500, metadata={"dataset": "qcd"})


@pytest.fixture(scope="module")
def nominal(events):
    return IQNFolder(AK4)(events.GenJet, events)


def test_scale_and_mass_scale_change_the_nominal_jets_and_nothing_else(events, nominal):
    jets = IQNFolder(AK4, variations=["jes=0.02", "JMS"])(events.GenJet, events)
    assert equal(jets, nominal)
    for side, factor in (("up", 1.02), ("down", 0.98)):
        shifted, heavier = jets.JES[side], jets.JMS[side]
        assert equal(shifted, nominal, ("eta", "phi", "genJetIdx"))
        assert equal(heavier, nominal, ("pt", "eta", "phi", "genJetIdx"))
        for name in ("pt", "mass"):
            np.testing.assert_allclose(ak.flatten(shifted[name]), factor * ak.flatten(nominal[name]), rtol=3e-7)
        by_hand = ak.flatten(nominal.mass) * (1.01 if side == "up" else 0.99)
        np.testing.assert_allclose(ak.flatten(heavier.mass), by_hand, rtol=3e-7)


def test_varied_jets_are_as_those_of_coffea(events):
    """`jets.JES.up` are vectors with all fields of the nominal jets, as from coffea's CorrectedJetsFactory."""
    jets = IQNFolder(AK4, variations=["jes", "jer"])(events.GenJet, events)
    assert {"JES", "JER"} <= set(jets.fields)
    assert jets.JES.layout.purelist_parameter("__record__") == "JetSystematic"
    up = jets["JER"].up
    assert isinstance(up, vector.Lorentz)
    assert type(up) is type(jets)
    assert set(up.fields) == set(jets.fields) - {"JES", "JER"}
    two = jets[ak.num(jets) > 1].JES.up
    before = jets[ak.num(jets) > 1]
    ratio = (two[:, 0] + two[:, 1]).mass / (before[:, 0] + before[:, 1]).mass
    assert np.median(ratio) == pytest.approx(1.01, rel=1e-5)
    assert ak.array_equal(up.matched_gen.pt, jets.matched_gen.pt)
    three = IQNFolder(AK4, variations=["jes"], replicas=3)(events.GenJet, events)
    assert ak.all(three.JES.down.pt < three.pt, axis=None)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_resolution_stretches_the_response_about_its_median(events, backend):
    """The median is the emulator's quantile at level ½, and the power is the requested one."""
    few = events[:300]
    folder = IQNFolder(AK4, variations=["jer=0.25"], backend=backend)
    jets = folder(few.GenJet, few)
    flat = {name: ak.to_numpy(ak.flatten(jets[name])) for name in FIELDS}
    matched = flat["genJetIdx"] >= 0
    counts = ak.to_numpy(ak.num(few.GenJet))
    row = (np.repeat(np.cumsum(counts) - counts, ak.num(jets)) + flat["genJetIdx"])[matched]
    gen = np.stack([ak.to_numpy(ak.flatten(few.GenJet[name])) for name in FIELDS[:4]], axis=1).astype(np.float32)[row]
    reco = np.stack([flat[name][matched] for name in FIELDS[:4]], axis=1)
    context = context_of(few.GenJet, few)[row]
    median = folder.emulator.quantile(gen, np.full_like(gen, 0.5), reco, context)[:, PT]
    for side, power in (("up", 1.25), ("down", 0.75)):
        varied = ak.to_numpy(ak.flatten(jets.JER[side].pt))
        expected = median * (reco[:, 0] / median) ** power
        np.testing.assert_allclose(varied[matched], expected, rtol=2e-4)
        np.testing.assert_array_equal(varied[~matched], flat["pt"][~matched])  # these have no response
        masses = ak.to_numpy(ak.flatten(jets.JER[side].mass))
        np.testing.assert_allclose(masses * flat["pt"], flat["mass"] * varied, rtol=1e-5)
    assert (~matched).any()


def test_efficiency_finds_more_or_fewer_of_the_same_jets(events):
    folder = IQNFolder(AK4, variations=["eff=0.05"], unmatched=False)
    varied = folder.varied(events.GenJet, events)
    found = {name: set(zip(*_places(jets), strict=True)) for name, jets in varied.items()}
    for fewer, more in (("EFF_down", "nominal"), ("nominal", "EFF_up")):
        # where a jet is lost, another one that it would have been too close to may be found
        assert len(found[fewer] - found[more]) <= 2
        assert len(found[fewer]) < len(found[more])
    n_gen = int(ak.sum(ak.num(events.GenJet)))
    for side in ("up", "down"):
        assert 0.02 < abs(len(found[f"EFF_{side}"]) - len(found["nominal"])) / n_gen < 0.055  # less near 0 and 1
    whole = IQNFolder(AK4, variations=["eff=0.99"], unmatched=False).varied(events.GenJet, events)
    assert ak.all(abs(ak.flatten(whole["EFF_up"].eta)) < 5.3)  # nothing outside the detector
    assert len(set(zip(*_places(whole["EFF_down"]), strict=True))) < 0.02 * n_gen
    with pytest.raises(ValueError, match=r"expected only ones that keep the set of jets, got eff=0.05: use IQN"):
        folder(events.GenJet, events)


def _places(jets):
    event = ak.broadcast_arrays(np.arange(len(jets)), jets.pt)[0]
    return ak.to_numpy(ak.flatten(event)).tolist(), ak.to_numpy(ak.flatten(jets.genJetIdx)).tolist()


def test_another_bundle_draws_what_it_draws_by_itself(events, nominal):
    varied = IQNFolder(AK4, variations=[f"model={FAST}", "eff"]).varied(events.GenJet, events)
    assert list(varied) == ["nominal", "EFF_up", "EFF_down", FAST]
    assert equal(varied["nominal"], nominal)
    assert equal(varied[FAST], IQNFolder(FAST)(events.GenJet, events))


def test_jets_of_each_systematic_are_sorted_by_their_own_pt(events):
    folder = IQNFolder(AK4, variations={"jer": 0.5, "jes": functools.partial(growing, slope=0.15)})
    varied = folder.varied(events.GenJet, events)
    assert list(varied) == list(folder.systematics)
    assert all(ak.all(jets.pt[:, :-1] >= jets.pt[:, 1:], axis=None) for jets in varied.values())
    assert ak.any(varied["JER_up"].genJetIdx != varied["nominal"].genJetIdx)
    some = ak.num(varied["nominal"]) > 0
    shift = ak.sum(varied["JES_up"].pt, axis=1)[some] / ak.sum(varied["nominal"].pt, axis=1)[some]
    assert ak.max(shift) > 1.25  # forward and soft
    assert ak.min(shift) > 1.02


def test_varied_and_nominal_jets_move_together(events):
    """Numbers of jets above 30 GeV, up minus nominal, which would scatter far more at independent levels."""
    folders = [IQNFolder(AK4, seed=seed, variations=["jer"]) for seed in range(8)]
    varied = [folder.varied(events.GenJet, events) for folder in folders]
    counts = np.array([[ak.sum(jets[name].pt > 30, axis=None) for name in ("nominal", "JER_up")] for jets in varied])
    together = (counts[:, 1] - counts[:, 0]).var(ddof=1)
    apart = (np.roll(counts[:, 1], 1) - counts[:, 0]).var(ddof=1)
    assert together < 0.25 * apart


VARIED = {"jes": functools.partial(growing, slope=0.01), "jer": 0.1, "eff": 0.02, "model": FAST}


@pytest.fixture(scope="module")
def whole():
    return fold_all(variations=VARIED)


@pytest.mark.parametrize("replicas", [1, 2])
def test_chunks_do_not_show_in_varied_histograms(whole, replicas):
    whole = whole if replicas == 1 else fold_all(variations=VARIED, replicas=2)
    chunks = fold_all(variations=VARIED, replicas=replicas, chunksize=700)
    assert chunks["cutflow"] == whole["cutflow"]
    for name, histogram in whole["hists"].items():
        assert histogram == chunks["hists"][name], name


def test_histograms_have_an_axis_of_systematics_where_they_are_asked_for(whole):
    without = fold_all()["hists"]
    names = ["nominal", "JES_up", "JES_down", "JER_up", "JER_down", "EFF_up", "EFF_down", FAST]
    for name, histogram in whole["hists"].items():
        axis = histogram.axes["systematic"]
        assert list(axis) == names
        assert axis.traits.growth
        assert histogram[{"systematic": "nominal"}] == without[name]
        for level in ("gen", "truth"):
            assert histogram[{"level": level}].sum(flow=True) == without[name][{"level": level}].sum(flow=True)
    flow = whole["cutflow"]["qcd"]
    for name in names[1:]:
        here = {"dataset": "qcd", "level": "reco", "systematic": name}
        assert whole["hists"]["pt"][here].sum(flow=True).value == flow[f"reco_jets_selected_{name}"]
        assert whole["hists"]["response"][here].sum(flow=True).value > 8000


def test_varied_histograms_are_those_of_varied_jets(whole):
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    for name, varied in IQNFolder(AK4, variations=VARIED).varied(events.GenJet, events).items():
        jets = varied[(varied.pt > 20) & (abs(varied.eta) < 5)]
        here = {"dataset": "qcd", "level": "reco", "systematic": name}
        leading = ak.to_numpy(ak.drop_none(ak.firsts(jets.pt)))
        for column, values in (("mass", ak.to_numpy(ak.flatten(jets.mass))), ("leading_pt", leading)):
            histogram = whole["hists"][column][here]
            np.testing.assert_array_equal(histogram.values(), np.histogram(values, histogram.axes[0].edges)[0])


def test_figures_have_a_band_of_variations(whole):
    """Sources add in quadrature, up and down separately; an ensemble as its spread, another bundle on one side."""
    nominal = np.array([100.0, 100.0])
    varied = {"JES_up": nominal + 3, "JES_down": nominal - 6, "other": nominal + 4}
    assert np.array(systematic_band(nominal, varied)).tolist() == [[6.0, 6.0], [5.0, 5.0]]
    down, up = systematic_band(nominal, {f"ENS{k}": nominal + k for k in range(3)})
    assert down.tolist() == up.tolist() == [1.0, 1.0]
    texts = []
    for hists in (whole["hists"], fold_all()["hists"]):
        with undrawn():
            legend = plot_spectrum(hists["njet"], dataset="qcd").axes[0].get_legend()
        texts.append([text.get_text() for text in legend.get_texts()])
    assert texts == [["Gen", "Emulated", "Truth", "Systematic"], ["Gen", "Emulated", "Truth"]]


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_skims_have_branches_of_varied_jets(kind, tmp_path):
    options = {"variations": ["jes", "jer"], "replicas": 2 if kind == "root" else 1}
    out = [fold_all(skim=Skim(tmp_path / str(n), kind, "Jet"), chunksize=n, **options)["files"] for n in (1100, 10_000)]
    (merged,) = skims.merge(map(Path, out[0]), tmp_path / f"merged.{kind}")
    content, other = (next(iterate(path)) for path in (merged.path, Path(out[1][0])))
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})
    jets = IQNFolder(AK4, **options)(events.GenJet, events)
    jets = jets if jets.ndim == 2 else ak.flatten(jets, axis=1)
    for variation, side in (("JES", "up"), ("JES", "down"), ("JER", "up"), ("JER", "down")):
        for field in ("pt", "mass"):
            branch = f"Jet_{field}_{variation.lower()}{side.capitalize()}"
            assert ak.array_equal(content[branch], other[branch])
            assert ak.array_equal(content[branch], jets[variation][side][field], check_parameters=False)
    with pytest.raises(ValueError, match=r"^skim: expected variations of the nominal jets, .* got eff=0.01$"):
        IQNFoldProcessor(skim=Skim(tmp_path), variations=["jes", "eff"])


def test_a_fold_from_the_shell(tmp_path, capsys):
    words = ["--variations", "jes", "EFF=0.02", f"model={FAST}", "--output", tmp_path / "out"]
    with undrawn():
        assert run("fold", f"qcd={QCD}", *words) == 0
    assert "reco jets selected EFF down" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["variations"] == ["jes=0.01", "eff=0.02", f"model={FAST}"]
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        totals = {name: file[f"qcd/reco/{name}pt"].values(flow=True).sum() for name in ("", "JES_up/", f"{FAST}/")}
        assert "qcd/gen/JES_up" not in file
    flow = summary["datasets"]["qcd"]
    assert totals == {
        "": flow["reco_jets_selected"],
        "JES_up/": flow["reco_jets_selected_JES_up"],
        f"{FAST}/": flow[f"reco_jets_selected_{FAST}"],
    }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["jec"], "--variations: expected one of jes, jer, jms, ees, mes, pes, ues, eff, model, ens, got 'jec'"),
        (
            ["pt-smeared"],
            "--variations: expected one of jes, jer, jms, ees, mes, pes, ues, eff, model, ens, got 'pt-smeared'",
        ),
        (["jes=1"], "--variations: expected jes to be a finite number of at least 0 and below 1, got 1.0"),
        (["jer=-0.1"], "--variations: expected jer to be a finite number of at least 0 and below 1, got -0.1"),
        (["eff=much"], "--variations: expected eff to be a finite number of at least 0 and below 1, got 'much'"),
        (["model"], "--variations: expected model to be a bundle's name or path, got None"),
        (["jes", "jes=0.02"], "variations: expected each only once, got jes 2 times"),
        (["model=cms-delphes-ak5"], "a bundle with radius 0.4 like cms-delphes-ak4, got cms-delphes-ak5 with 0.5"),
        (["ens"], "ensemble 'cms-delphes-ak4': expected a bundle trained with --ensemble, or a folder of at least two"),
        (["eff", "--no-acceptance"], "acceptance: expected True with the variation eff, got False"),
        (["eff", "--skim", "root"], "skim: expected variations of the nominal jets"),
        (
            ["ees", "ues"],
            "variations: expected those of jets where jets alone are folded, got ees=0.01, ues=0.1",
        ),
    ],
)
def test_bad_variations_are_told_in_a_line(words, line, tmp_path, capsys):
    try:
        code = run("fold", QCD, "--variations", *words, "--output", tmp_path / "out")
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert line in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1.5, np.nan, -0.1])
def test_functions_give_sizes_in_their_range(size, events):
    few = events[:20]
    folder = IQNFolder(AK4, variations={"jes": functools.partial(odd_at_most, size=size)})
    with pytest.raises(ValueError, match=r"^variations: jes: expected a finite number .*, got (1.5|nan|-0.1)$"):
        folder(few.GenJet, few)


def test_functions_may_write_into_their_arguments(events, nominal):
    few = events[:200]
    varied = IQNFolder(AK4, variations={"jes": in_place})(few.GenJet, few)
    assert equal(varied, nominal[:200])
    ratio = ak.flatten((varied.JES.up.pt / varied.pt)[varied.pt < 30.0])
    np.testing.assert_allclose(ratio, 1.01, rtol=1e-6)


def test_functions_give_one_size_for_each_jet(events):
    few = events[:20]
    folder = IQNFolder(AK4, variations={"jes": up_and_down})
    with pytest.raises(ValueError, match=r"^variations: expected jes of one size, or of \d+, got shape \(2, \d+\)$"):
        folder(few.GenJet, few)


def test_functions_that_do_not_pickle_are_refused_before_they_are_sent_anywhere():
    with pytest.raises(ValueError, match=r"^variations: expected eff to be a function that can be pickled, .*lambda"):
        IQNFolder(AK4, variations={"eff": lambda pt, eta: 0.01})


def test_jets_that_a_variation_would_bring_up_have_to_be_there():
    IQNFoldProcessor(variations=["jes=0.5"])
    for variations in (["jes=0.6"], {"jes": functools.partial(growing, slope=0.9)}):
        with pytest.warns(BelowThresholdWarning, match=r"expected more than .* 12.7 GeV plus .*, got 20 for jets in"):
            IQNFoldProcessor(variations=variations)


def test_what_is_varied_tells_kept_chunks_apart():
    asked = [
        ["jes"],
        ["jes=0.02"],
        ["jer"],
        {"jes": functools.partial(growing, slope=0.01)},
        {"jes": functools.partial(growing, slope=0.02)},
        [f"model={FAST}"],
        [],
    ]
    identities = [IQNFoldProcessor(variations=one).identity for one in asked]
    assert len(set(identities)) == len(asked)
    assert [IQNFoldProcessor(variations=one).identity for one in asked] == identities
    assert repr(parse_variations({"JES": 0.02})) == repr(parse_variations(["jes=0.02"])) == "(jes=0.02,)"
    assert RequestedVariation("eff").size == VARIATIONS["EFF"].size


@pytest.mark.parametrize(
    "text",
    [
        "def size(pt, eta):\n    return [abs(x) * 0.01 for x in eta]\n",
        "S = 0.01\ndef size(pt, eta):\n    return S\n",
        "def size(pt, eta, s=0.01):\n    return s + 0 * pt\n",
        "def size(pt, eta, *, s=0.01):\n    return s + 0 * pt\n",
        "def helper(eta):\n    return 0.01\ndef size(pt, eta):\n    return helper(eta) + 0 * pt\n",
        "S = {'forward': 0.01}\ndef size(pt, eta):\n    return 0.02 + (abs(eta) > 4.9) * S['forward']\n",
        "S = 0.01\ndef size(pt, eta):\n    assert pt.max() < 1000.0\n    return S + 0 * pt\n",
    ],
)
def test_a_function_that_was_edited_is_another_one(text, tmp_path, monkeypatch):
    """Its pickle is only its name, and constants are not in its code; results of both would add. Lines may move."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []
    for version in (text, "# comment\n\n" + text, text.replace("0.01", "0.1")):
        (tmp_path / "sizes_of_mine.py").write_text(version)
        monkeypatch.delitem(sys.modules, "sizes_of_mine", raising=False)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        size = importlib.import_module("sizes_of_mine").size
        made.append([repr(RequestedVariation("jes", one)) for one in (size, functools.partial(size))])
    assert made[0] == made[1]
    assert not {*made[0]} & {*made[2]}


def test_jets_of_one_detector_become_those_of_another(events):
    """Jets that one emulated become those that the other emulates at the same levels; from one to itself they stay."""
    source, target = bundle.load(AK4), bundle.load(FAST)
    gen = np.stack([ak.to_numpy(ak.flatten(events.GenJet[name])) for name in FIELDS[:4]], axis=1).astype(np.float32)
    context = context_of(events.GenJet, events)
    hard = (gen[:, PT] > 25) & (abs(gen[:, 1]) < 4.5)
    gen, context = gen[hard], context[hard]
    tau = np.random.default_rng(0).uniform(0.02, 0.98, gen.shape).astype(np.float32)
    reco, other = (emulator.sample(gen, tau, context) for emulator in (source, target))
    heavy = reco[:, 3] > 1.0  # masses outside the atom
    same = morphed(gen, reco, source, source, context)
    np.testing.assert_allclose(same[heavy], reco[heavy], rtol=2e-3, atol=2e-3)
    moved = morphed(gen, reco, source, target, context)
    assert np.abs(np.log(other[:, PT] / reco[:, PT])).mean() > 3 * np.abs(np.log(moved[:, PT] / other[:, PT])).mean()
    np.testing.assert_allclose(moved[heavy], other[heavy], rtol=5e-3, atol=5e-3)
    with pytest.raises(ValueError, match=r"^morphed: expected the reco jet of each gen jet, within ΔR of 0\.25, got"):
        morphed(np.roll(gen, 1, axis=0), reco, source, target, context)
    for wrong in (bundle.load("cms-delphes-ak5"), bundle.load("cms-delphes-ak4-correct", direction="correct")):
        with pytest.raises(ValueError, match=r"^morphed: expected emulators of one direction and one jet radius, got"):
            morphed(gen, reco, source, wrong, context)


def test_spoilings_are_entries_of_the_one_table(events):
    assert set(FOLDED) | set(SPOILINGS) == set(VARIATIONS)
    assert not set(FOLDED) & set(SPOILINGS)
    gen = np.stack([ak.to_numpy(ak.flatten(events.GenJet[name])) for name in FIELDS[:4]], axis=1).astype(np.float32)
    tau = np.full_like(gen, 0.3)
    emulator = bundle.load(AK4)
    heavier = spoil(emulator, "mass-shifted").sample(gen, tau)
    np.testing.assert_allclose(heavier[:, 3], 1.01 * emulator.sample(gen, tau)[:, 3], rtol=3e-7)


def test_members_of_an_ensemble_have_every_event_as_often_as_poisson_says():
    pairs = make_pairs(4000)
    sample = TrainingSample(pairs, make_unmatched(pairs))
    one, again, other = (bootstrapped(sample, seed, member) for seed, member in ((1, 0), (1, 0), (1, 1)))
    np.testing.assert_array_equal(one.pairs.x, again.pairs.x)
    times = {
        float(split_key): n for split_key, n in zip(*np.unique(one.pairs.split_key, return_counts=True), strict=True)
    }
    numbers = np.array([times.get(float(split_key), 0) for split_key in pairs.split_key])
    assert numbers.mean() == pytest.approx(1.0, abs=0.06)
    assert numbers.var() == pytest.approx(1.0, abs=0.12)
    others = np.array([np.sum(other.pairs.split_key == split_key) for split_key in pairs.split_key[:500]])
    assert abs(np.corrcoef(numbers[:500], others)[0, 1]) < 0.15
    # the order of pairs does not matter
    order = np.random.default_rng(0).permutation(4000)
    mixed = TrainingSample(type(pairs)(*(column[order] for column in pairs)), sample.unmatched)
    np.testing.assert_array_equal(np.sort(bootstrapped(mixed, 1, 0).pairs.split_key), np.sort(one.pairs.split_key))


def test_unmatched_jets_go_with_the_copies_of_their_gen_jet_and_event():
    pairs = make_pairs(2000)
    unmatched = make_unmatched(pairs)
    mine, jets = bootstrapped(TrainingSample(pairs, unmatched), 3, 0)
    # these samples have one gen jet per event
    np.testing.assert_array_equal(jets.split_key, mine.split_key)
    for of, row, split_keys, new in (
        (unmatched.near, unmatched.near_row, pairs.split_key, (jets.near, jets.near_row, mine.split_key)),
        (unmatched.far, unmatched.far_event, unmatched.split_key, (jets.far, jets.far_event, jets.split_key)),
    ):
        key_of = {jet.tobytes(): split_keys[r] for jet, r in zip(of, row, strict=True)}
        new_of, new_row, new_keys = new
        assert [key_of[jet.tobytes()] for jet in new_of] == new_keys[new_row].tolist()
        copies = np.array([np.sum(new_keys == split_keys[r]) for r in row])
        assert len(new_of) == copies.sum()
        assert len(np.unique(new_row)) == len(new_row)  # each copy has its own jet


def test_an_ensemble_is_trained_and_folded(tmp_path, capsys):
    made = tmp_path / "made"
    words = ["--steps", TINY["steps"], "--check-every", 20, "--stages", 1, "--hidden", 8, 8, "--energy", 13]
    assert run("train", f"qcd={QCD}", *words, "--ensemble", 2, "--output", made) == 0
    assert list(tmp_path.iterdir()) == [made]
    cards = [bundle.load(path).card for path in (made, *bundle.members(made).values())]
    assert len({card["hash"] for card in cards}) == 3
    told = [card["training"].get("bootstrap", "")[:13] for card in cards]
    assert told == ["", "member 1 of 2", "member 2 of 2"]
    assert cards[0]["jets"] == cards[1]["jets"]
    out = fold_all(model=made, variations=["ens"])
    assert list(out["hists"]["pt"].axes["systematic"]) == ["nominal", "ENS0", "ENS1"]
    here = {"dataset": "qcd", "level": "reco"}
    sums = [out["hists"]["pt"][here | {"systematic": name}].values() for name in ("nominal", "ENS0", "ENS1")]
    assert all(total.sum() > 1000 for total in sums)
    assert (sums[1] != sums[2]).any()
    assert IQNFolder(AK4, variations=[f"ens={made}"]).systematics == ("nominal", "ENS0", "ENS1")
    capsys.readouterr()
    refined = tmp_path / "refined"
    assert run("refine", made, f"qcd={QCD}", "--steps", 4, "--check-every", 2, "--output", refined) == 0
    assert f"{made}: its 2 ensemble members are not changed with it, nor kept" in capsys.readouterr().err


def test_bundles_of_variations_are_asked_for_their_domain_too(tmp_path, monkeypatch):
    """What differs from the nominal jets would be extrapolation."""
    monkeypatch.setattr(checks, "_WARNED", set())
    other = bundle.load(FAST)
    card = {key: value for key, value in other.card.items() if key != "hash"}
    card |= {"domain": card["domain"] | {"gen_pt": [60.0, 3000.0]}, "training": card["training"] | {"gen_pt_min": 60.0}}
    bundle.save(replace(other, card=card), tmp_path / "hard")
    events = open_events("qcd_ak4.root")[:300]
    for size, n_warned in ((tmp_path / "hard", 2), (FAST, 0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            IQNFolder(AK4, variations=[f"model={size}"]).varied(events.GenJet, events)
        told = [str(one.message) for one in caught if str(size) in str(one.message)]
        assert sum("are outside the domain" in text or "begin at 10 GeV" in text for text in told) == n_warned


def test_pupils_of_a_teacher_make_no_ensemble(tmp_path, capsys):
    assert run("train", QCD, "--teacher", FAST, "--ensemble", 2, "--output", tmp_path / "made") == 2
    assert "ensemble: expected no --teacher, which" in one_error(capsys)
