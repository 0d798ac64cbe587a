"""Exported bundles, evaluated by the libraries of their formats, against the bundle on shipped jets."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys

import awkward as ak
import correctionlib
import numpy as np
import onnx
import onnxruntime
import pytest
from coffea.jetmet_tools import CorrectedJetsFactory, CorrectionLibJECStack
from scipy.special import expit, logit

from coffea_iqn import bundle
from coffea_iqn.data import sample_path
from coffea_iqn.exports import binned, corrections, export, graphs, lwtnn
from coffea_iqn.exports.reference import Closure, Reference, Z, averaged, curves
from coffea_iqn.iqn.network import EXACT
from coffea_iqn.jets.context import columns_of
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.training.optimise import Schedule
from conftest import emulators_of, one_error, run

FAST = "cms-delphes-ak4-fast"
FILES = [str(sample_path("qcd_ak4_full.root")), str(sample_path("wzjets_ak4_full.root"))]
ENDS = (f"{FAST}_MC", "AK4")
ENTROPY = {"seed": "real", "run": "int", "luminosityBlock": "int", "event": "int", "jet": "int"}


@pytest.fixture(scope="module")
def answers():
    """Reference jets of two small files, their curves and efficiencies, and which are averaged over."""
    emulator = bundle.load(FAST)
    jets = Reference.of(emulator, FILES)
    return jets, curves(emulator, jets), emulator.efficiency(jets.gen, jets.context)


@pytest.fixture(scope="module")
def tables(answers):
    """Binned corrections from the jets that are not held out."""
    jets, law, efficiency = answers
    learn = ~jets.held_out
    return binned.content(ENDS, jets.where(learn), law[learn], efficiency[learn])


@pytest.fixture(scope="module")
def network(answers):
    """Network corrections from a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lwtnn, "SETTINGS", Schedule(steps=400, batch_size=512, learning_rate=1e-2, check_every=200))
        return lwtnn.learn(*answers)


def inputs_of(jets):
    return jets.gen[:, PT].astype(float), jets.gen[:, ETA].astype(float), corrections.CODES[jets.flavour]


def test_curves_are_the_quantiles_of_the_bundle(answers):
    """The distribution function of the bundle at the response of a level is that level."""
    jets, law, _ = answers
    rows, emulator = np.arange(0, len(law), 97), bundle.load(FAST)
    at_median = np.full((len(rows), 4), 0.5, dtype=np.float32)
    for k in (5, 23, 40):
        # the detector's scale depends on reco eta, for which curves use its median at this pt
        tau = np.where(np.arange(4) == PT, expit(Z[k]), at_median)
        reco = emulator.sample(jets.gen[rows], tau, jets.context[rows])
        reco[:, PT] = jets.gen[rows, PT] * np.exp(law[rows, k])
        levels = emulator.cdf(jets.gen[rows], reco, jets.context[rows])[:, PT]
        np.testing.assert_allclose(logit(levels.astype(float)), Z[k], atol=0.02)


def test_jets_together_have_the_quantiles_of_their_draws(answers):
    _, law, _ = answers
    some, levels = law[:40], np.random.default_rng(1).uniform(1e-4, 1.0 - 1e-4, (40, 5000))
    drawn = np.concatenate([np.interp(logit(u), Z, curve) for u, curve in zip(levels, some, strict=True)])
    at = np.array([0.025, 0.16, 0.5, 0.84, 0.975])
    np.testing.assert_allclose(averaged(some)(logit(at)), np.exp(np.quantile(drawn, at)), rtol=5e-3)


def test_tables_need_no_node_of_a_newer_correctionlib(tables):
    """Tables use only nodes that correctionlib 2.4 can read."""
    kinds = set(re.findall(r'"nodetype": "(\w+)"', json.dumps(tables)))
    assert kinds == {"binning", "category", "formula", "formularef", "multibinning", "transform"}


def test_tables_are_near_the_bundle_on_jets_held_out(answers, tables):
    jets, law, efficiency = answers
    held_out = jets.held_out
    rest = jets.where(held_out)
    found = corrections.evaluate(corrections.evaluators(tables), ENDS, rest)
    closure = Closure.of(rest, (law[held_out], efficiency[held_out]), found)
    assert closure.cells > 5
    assert closure.quantiles["0.5"][0] < 0.01
    assert closure.efficiency[0] < 0.02
    spoilt = Closure.of(rest, (law[held_out] + 0.05, efficiency[held_out] - 0.1), found)
    assert spoilt.quantiles["0.5"][0] > 0.04
    assert spoilt.efficiency[0] > 0.08


def test_tables_agree_with_each_other(answers, tables):
    """The median and resolution agree with the quantiles at 0.16, 0.5 and 0.84."""
    made, of_jets = corrections.evaluators(tables), inputs_of(answers[0])
    low, middle, high = (made[f"{ENDS[0]}_Quantile_AK4"].evaluate(*of_jets, level) for level in (0.16, 0.5, 0.84))
    np.testing.assert_allclose(made[f"{ENDS[0]}_Median_AK4"].evaluate(*of_jets), middle, rtol=3e-3)
    resolution = made[f"{ENDS[0]}_PtResolution_AK4"].evaluate(*of_jets)
    np.testing.assert_allclose(resolution, 0.5 * (high - low) / middle, rtol=0.05)


def test_coffea_smears_gen_jets_with_tables(answers, tables, tmp_path):
    """coffea's factory gives gen jets the median and width of the bundle's reco jets."""
    corrections.write({**tables, "description": "x"}, tmp_path / "x.json.gz")
    names = {"jec_tag": FAST, "jer_tag": FAST, "data_type": "MC", "jet_type": "AK4", "jec_level": "Response"}
    stack = CorrectionLibJECStack.from_file(str(tmp_path / "x.json.gz"), **names)
    jets, law, _ = answers
    central = (jets.gen[:, PT] > 40.0) & (jets.gen[:, PT] < 60.0) & (np.abs(jets.gen[:, ETA]) < 1.3)
    pt, eta, flavour = (np.repeat(column[central], 20) for column in inputs_of(jets))
    columns = {"pt": pt, "mass": 0.1 * pt, "eta": eta, "phi": 0.0 * pt, "flavour": flavour, "none": 0.0 * pt}
    # jets with different random numbers in one array, because coffea seeds from its first and last entry
    events = ak.unflatten(ak.zip({**columns, "pt_raw": pt, "mass_raw": 0.1 * pt}), len(pt) // 2 * [2])
    named = {"JetPt": "pt", "JetMass": "mass", "JetEta": "eta", "JetPhi": "phi", "JetFlavour": "flavour"}
    named |= {"ptRaw": "pt_raw", "massRaw": "mass_raw", "ptGenJet": "none"}
    smeared = CorrectedJetsFactory({**stack.blank_name_map, **named}, stack).build(events)
    response = ak.to_numpy(ak.flatten(smeared.pt / smeared.pt_raw))
    low, median, high = averaged(law[central])(logit(np.array([0.16, 0.5, 0.84])))
    assert np.median(response) == pytest.approx(median, abs=0.01)
    width = np.diff(np.quantile(response, [0.16, 0.84]))[0]
    assert width == pytest.approx(high - low, rel=0.1)


def test_quantiles_of_the_network_rise_and_are_near_the_bundle(answers, network):
    jets, law, efficiency = answers
    made = corrections.evaluators(lwtnn.content(ENDS, network, answers[0], with_efficiency=True))
    found = corrections.evaluate(made, ENDS, jets)
    assert np.diff(found[0], axis=1).min() > 0.0
    quantile = made[f"{ENDS[0]}_Quantile_AK4"]
    assert quantile.evaluate(1.0, 9.0, 21, 0.5) == quantile.evaluate(15.0, -5.3, 21, 0.5)  # clamped
    closure = Closure.of(jets, (law, efficiency), found)
    assert closure.quantiles["0.5"][0] < 0.03
    assert closure.quantiles["0.975"][0] < 0.08
    assert closure.efficiency[0] < 0.05


def test_a_flavour_is_unknown_to_the_network_where_the_sample_has_none(answers, network):
    """Delphes' jets have no flavour beyond |eta| of 3, those of CMS NanoAOD do."""
    made = corrections.evaluators(lwtnn.content(ENDS, network, answers[0], with_efficiency=True))
    codes, quantile = np.array([21, -1, 2, 3, 4, -5]), made[f"{ENDS[0]}_Quantile_AK4"]
    found = {eta: made[f"{ENDS[0]}_Efficiency_AK4"].evaluate(20.0, eta, codes) for eta in (0.5, -3.5, 4.5)}
    assert len(np.unique(found[0.5])) == 4
    for eta in (-3.5, 4.5):
        assert (found[eta] == made[f"{ENDS[0]}_Efficiency_AK4"].evaluate(20.0, eta, 0)).all()
        assert (quantile.evaluate(20.0, eta, codes, 0.3) == quantile.evaluate(20.0, eta, 0, 0.3)).all()
    none = answers[0]._replace(flavour=np.full_like(answers[0].flavour, -1))
    made = corrections.evaluators(lwtnn.content(ENDS, network, none, with_efficiency=True))
    assert len(np.unique(made[f"{ENDS[0]}_Efficiency_AK4"].evaluate(20.0, 0.5, np.append(codes, 0)))) == 1


def test_the_closure_has_every_flavour_in_every_cell_of_eta(answers):
    """Differences are seen also for flavours that the sample has not; the other jets are as they were."""
    emulator, jets = bundle.load(FAST), answers[0]
    more = jets.with_missing_flavours()
    assert not more.given[: len(jets.gen)].any()
    np.testing.assert_array_equal(more.context[~more.given], jets.context)
    rest = more.where(more.held_out)
    assert rest.given.sum() == more.given.sum() > 0
    told, code = rest.context[:, columns_of("flavour")], np.array([0, 1, 3, 4])[rest.flavour]
    np.testing.assert_array_equal(told[rest.given], np.eye(6)[code[rest.given]] + np.eye(6)[5])
    forward = np.abs(rest.gen[:, ETA]) > 3.1
    assert set(rest.flavour[forward]) == {-1, 0, 1, 2, 3}
    found = curves(emulator, rest), emulator.efficiency(rest.gen, rest.context)
    same = Closure.of(rest, found, found)
    assert same.jets == jets.held_out.sum()
    assert same.efficiency == (0.0, 0.0)
    lost = Closure.of(rest, found, (found[0], np.where(forward & (rest.flavour == 3), 0.0, found[1])))
    assert lost.efficiency[1] > 0.5


def numpy_quantile(content, jets, tau):
    """Evaluate the network node of the quantile correction, layers and formula, with numpy."""
    data = content["corrections"][0]["data"]["content"]["content"]["content"]["content"]
    out = np.empty(len(tau))
    for row, flavour in enumerate(corrections.CODES[jets.flavour]):
        node = next((one["value"] for one in data["content"] if one["key"] == flavour), data["default"])
        pt, eta = jets.gen[row, :2].astype(float)
        given = [np.log(pt), abs(eta), logit(tau[row])]
        inputs = node["opaque"]["inputs"]
        x = np.array([(v + one["offset"]) * one["scale"] for v, one in zip(given, inputs, strict=True)])
        for layer in node["opaque"]["layers"]:
            x = np.reshape(layer["weights"], (len(layer["bias"]), -1)) @ x + layer["bias"]
            x = x if layer["activation"] == "linear" else np.where(x > 0.0, x, layer["activation"]["alpha"] * x)
        z, steps = x[-1], np.exp(x[1 : lwtnn.N_CURVE])
        shapes = [z, *np.tanh((z - np.array(lwtnn.BUMPS)) / lwtnn.WIDTH)]
        out[row] = np.exp(x[0] + steps @ shapes)
    return out


def test_the_network_in_correctionlib_is_that_of_numpy(answers, network):
    jets = answers[0].where(np.arange(0, len(answers[1]), 41))
    tau = (np.arange(len(jets.gen)) + 0.5) / len(jets.gen)
    content = lwtnn.content(ENDS, network, answers[0], with_efficiency=False)
    assert [one["name"].split("_")[-2] for one in content["corrections"]] == ["Quantile", "Draw"]
    made = corrections.evaluators(content)
    evaluated = made[f"{ENDS[0]}_Quantile_AK4"].evaluate(*inputs_of(jets), tau)
    np.testing.assert_allclose(evaluated, numpy_quantile(content, jets, tau), rtol=1e-12)


def test_a_draw_is_the_quantile_at_the_hash_of_a_jet_wherever_it_is_evaluated(answers, network):
    jets = answers[0].where(np.arange(500))
    content = lwtnn.content(ENDS, network, answers[0], with_efficiency=False)
    hashed = {"nodetype": "hashprng", "inputs": list(ENTROPY), "distribution": "stdflat"}
    inputs = [{"name": name, "type": kind} for name, kind in ENTROPY.items()]
    one = {"name": "level", "version": 1, "inputs": inputs, "output": {"name": "u", "type": "real"}, "data": hashed}
    content["corrections"].append(one)
    made = corrections.evaluators(content)
    of_jets, rows = inputs_of(jets), np.arange(500)
    entropy = (np.full(500, 3.0), rows * 0 + 1, rows * 0 + 2, rows // 4, rows % 4)
    draw = made[f"{ENDS[0]}_Draw_AK4"]
    drawn = draw.evaluate(*of_jets, *entropy)
    tau = made["level"].evaluate(*entropy)
    assert abs(tau.mean() - 0.5) < 0.05
    np.testing.assert_array_equal(drawn, made[f"{ENDS[0]}_Quantile_AK4"].evaluate(*of_jets, tau))
    backwards = draw.evaluate(*(column[::-1] for column in (*of_jets, *entropy)))
    np.testing.assert_array_equal(backwards[::-1], drawn)
    alone = draw.evaluate(*(column[7].item() for column in (*of_jets, *entropy)))
    assert alone == drawn[7]
    others = draw.evaluate(*of_jets, np.full(500, 4.0), *entropy[1:])
    assert abs(np.corrcoef(drawn, others)[0, 1]) < 0.5
    assert np.unique(np.concatenate([drawn, others])).size > 990


def levels_of(n, n_targets):
    return np.random.default_rng(2).uniform(1e-3, 1.0 - 1e-3, (n, n_targets)).astype(np.float32)


@emulators_of(EXACT)
def test_a_graph_draws_as_the_emulator_does(emulator):
    """For every recipe and shipped bundle with exact quantiles."""
    jets = Reference.of(bundle.load(FAST), FILES)
    jets = jets.where(np.arange(0, len(jets.gen), 9))
    tau = levels_of(len(jets.gen), emulator.network.n_targets)
    model = graphs.model(emulator)
    given = {"gen": jets.gen, "tau": tau, "context": jets.context}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    reco, efficiency = session.run(None, given)
    wanted, found = emulator.respond(*given.values(), backend="torch")
    close = np.isclose(reco, wanted, rtol=2e-4, atol=2e-4).all(axis=1)
    # after a short training, single precision leaves few digits, in torch as well
    assert close.all() if "hash" in emulator.card else close.mean() > 0.9
    np.testing.assert_allclose(efficiency[:, 0], found, atol=1e-5)
    alone, _ = session.run(None, {name: column[3:4] for name, column in given.items()})
    np.testing.assert_allclose(alone[0], reco[3], rtol=1e-5, atol=1e-5)


def test_a_graph_without_acceptance_has_no_efficiency(answers):
    jets = answers[0].where(np.arange(20))
    emulator = bundle.load(FAST)
    without = type(emulator)(emulator.network, emulator.variables, origin=emulator.origin)
    (reco,) = graphs.evaluate(graphs.model(without), jets.gen, levels_of(20, 4), jets.context)
    np.testing.assert_allclose(reco, emulator.sample(jets.gen, levels_of(20, 4), jets.context), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("to", "name"), [("correctionlib", "x.json.gz"), ("correctionlib-lwtnn", "x.json")])
def test_the_command_writes_corrections_with_closure_and_test_vector(to, name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lwtnn, "SETTINGS", Schedule(steps=100, batch_size=256, check_every=100))
    assert run("export", FAST, "--to", to, "--reference", FILES[0], "--output", tmp_path / name) == 0
    said = capsys.readouterr().out
    assert "Closure      response quantiles, rms (greatest) relative difference in " in said
    assert "Left out     The inputs are pt, |eta| and flavour of a gen jet" in said
    assert [path.name for path in tmp_path.iterdir()] == [name]
    data = (tmp_path / name).read_bytes()
    text = gzip.decompress(data) if name.endswith(".gz") else data
    description = json.loads(text)["description"]
    assert " gen jets of qcd_ak4_full.root (pt 15 to " in description
    known = json.loads(description.splitlines()[-1])
    assert known["hash"] == bundle.load(FAST).card["hash"]
    assert known["closure"]["cells"] > 5
    made = correctionlib.CorrectionSet.from_file(str(tmp_path / name))
    assert known["test_vector"].keys() == set(made)
    for one, vector in known["test_vector"].items():
        given = [x if isinstance(x, str) else np.array(x) for x in vector["inputs"].values()]
        np.testing.assert_array_equal(made[one].evaluate(*given), vector["expected"])
    # as in a fold, no gen jets are found beyond the edge of the detector
    found = made[f"{ENDS[0]}_Efficiency_AK4"].evaluate(50.0, np.array([-6.0, -4.5, 4.5, 6.0]), 21)
    np.testing.assert_array_equal(found > 0.0, [False, True, True, False])
    assert run("export", FAST, "--to", to, "--reference", FILES[0], "--output", tmp_path / name) == 2
    assert "--force replaces it" in one_error(capsys)
    assert run("export", FAST, "--to", to, "--reference", FILES[0], "--output", tmp_path / name, "--force", "-q") == 0
    assert (tmp_path / name).read_bytes() == data


def test_the_command_writes_a_graph_with_closure_and_test_vector(tmp_path, capsys):
    assert run("export", FAST, "--to", "onnx", "--reference", FILES[0], "--output", tmp_path / "x.onnx") == 0
    assert "Closure      mean (greatest) difference in 2,000 jets" in capsys.readouterr().out
    model = onnx.load(tmp_path / "x.onnx")
    known = {one.key: one.value for one in model.metadata_props}
    assert known["hash"] == bundle.load(FAST).card["hash"]
    assert all(most < 2e-3 for _, most in json.loads(known["closure"]).values())
    vector = json.loads(known["test_vector"])
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    given = {name: np.array(column, dtype=np.float32) for name, column in vector["inputs"].items()}
    for made, wanted in zip(session.run(None, given), vector["expected"].values(), strict=True):
        np.testing.assert_allclose(made, wanted, rtol=2e-4, atol=2e-4)
    assert "context  (N, 68)" in model.doc_string


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path, capsys, monkeypatch):
    out = ["--output", tmp_path / "x.json"]
    assert run("export", "nowhere", "--to", "correctionlib", *out) == 2
    assert "model 'nowhere': expected the path of a bundle" in one_error(capsys)
    assert run("export", FAST, "--to", "onnx", *out) == 2
    assert "expected a name that ends in .onnx, got x.json" in one_error(capsys)
    with pytest.raises(ValueError, match=r"^to: expected one of correctionlib, .*, got 'pickle'"):
        export(FAST, "pickle", tmp_path / "x.pkl")
    other_radius = ["--reference", sample_path("delphes_1000.root")]
    assert run("export", FAST, "--to", "correctionlib", *other_radius, *out) == 2
    assert "delphes_1000.root: expected gen jets of radius 0.4, as the model's, got " in one_error(capsys)
    emulator = bundle.load(FAST)
    crossing = {**emulator.network.description, "type": "IQNx4"}
    other = type(emulator)(type(emulator.network)(crossing, {}), emulator.variables, card=emulator.card)
    monkeypatch.setattr(bundle, "load", lambda model: other)
    assert run("export", FAST, "--to", "correctionlib", *out) == 2
    assert "expected a SplineIQN, whose quantiles do not cross, got IQNx4" in one_error(capsys)
    fat = type(emulator)(emulator.network, emulator.variables, card={"jets": {"radius": 0.8}})
    monkeypatch.setattr(bundle, "load", lambda model: fat)
    assert run("export", FAST, "--to", "correctionlib", *out) == 2
    assert "reference: expected files with gen jets of radius 0.8" in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_importing_exports_imports_none_of_their_formats():
    code = "import sys, coffea_iqn.exports, coffea_iqn; print(*[n for n in ('onnx', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
