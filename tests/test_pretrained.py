from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coffea_iqn import bundle
from coffea_iqn.commands import validate
from coffea_iqn.data import sample_path
from coffea_iqn.iqn.network import Network
from coffea_iqn.iqn.networks import NumberNetwork
from coffea_iqn.jets.context import OF_EVENT
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import TrainingSettings
from conftest import make_pairs, make_unmatched, one_error, run

AK4 = bundle.load("cms-delphes-ak4")
STILL = TrainingSettings(steps=1, check_every=1, batch_size=64, learning_rate=1e-30, weight_decay=0.0)
QCD = str(sample_path("qcd_ak4.root"))


def other_levels(pairs):
    """Pairs of one sample, of whose context only part is known."""
    context = pairs.context.copy()
    context[:, :30] = 0.0
    return pairs._replace(context=context, sample=np.zeros_like(pairs.sample))


@pytest.mark.parametrize("of", [make_pairs, lambda n: other_levels(make_pairs(n))])
def test_networks_begin_as_those_of_the_bundle(of):
    pairs = of(1000)
    begun = train(pairs, STILL, make_unmatched(pairs), pretrained=AK4)
    x, seen = pairs.x[:200], AK4.variables.network_inputs(pairs.x[:200], None)
    names = {level for level in begun.variables.context if level not in OF_EVENT}
    assert names < set(AK4.variables.context)
    # without context: the same inputs, the same distributions of all targets
    n_own = len(AK4.variables.input_scale.mean)
    drawn = np.zeros((len(x), 4))
    for k in range(4):
        quantiles = []
        for emulator in (begun, AK4):
            inputs = np.zeros((len(x), emulator.network.n_inputs))
            inputs[:, :n_own] = seen[:, :n_own]
            module = copy.deepcopy(emulator.network.module).double()
            known = [torch.from_numpy(columns) for columns in (inputs, drawn[:, :k])]
            quantiles.append(module.quantile(k, torch.full((len(x),), 0.3).double(), *known).detach().numpy())
        np.testing.assert_allclose(*quantiles, rtol=1e-5, atol=1e-5)
        drawn[:, k] = quantiles[0]
    found = [emulator.acceptance.module(torch.zeros(1, emulator.acceptance.n_inputs)) for emulator in (begun, AK4)]
    torch.testing.assert_close(*found)
    for law in ("near", "far"):
        ours, theirs = (getattr(emulator.unmatched, law).targets.arrays for emulator in (begun, AK4))
        np.testing.assert_allclose(ours["nets.1.2.weight"], theirs["nets.1.2.weight"], rtol=1e-5)


def test_small_networks_stay_small():
    small = bundle.load("cms-delphes-ak4-fast")
    pairs = make_pairs(1000)
    made = train(pairs, replace(STILL, targets=small.variables.targets), pretrained=small)
    for name in ("network", "acceptance", "origin"):
        assert made.networks[name].description["hidden"] == small.networks[name].description["hidden"], name


def loss_of(made):
    return bundle.load(made).card["training"]["validation_loss"]["quantiles"]


def test_a_detector_is_learnt_from_few_jets_after_another_one(tmp_path):
    options, base = ["--steps", 60, "--check-every", 20], bundle.load("atlas-delphes-ak4").card
    hidden = base["training"]["settings"]["hidden"]
    assert run("train", QCD, *options, "--hidden", *hidden, "--output", tmp_path / "anew") == 0
    assert run("train", QCD, *options, "--pretrained", "atlas-delphes-ak4", "--output", tmp_path / "made") == 0
    assert loss_of(tmp_path / "made") < loss_of(tmp_path / "anew") - 0.2
    card = bundle.load(tmp_path / "made").card
    assert card["training"]["pretrained"]["hash"] == base["hash"]
    assert card["training"]["settings"]["hidden"] == hidden
    assert card["training"]["settings"]["scale"] == "delphes-cms"
    # an evaluation on files of the other bundle would see jets that it was trained on
    of_base = base["training"]["files"]["qcd"][0]
    for path, found in ((of_base, [of_base]), ("other.root", [])):
        assert validate._trained_on(card, {"x": [SimpleNamespace(uuid="", path=path)]}) == found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--pretrained", "cms-delphes-ak4", "--hidden", 8, 8], "hidden: expected (80, 80), as the pretrained bundle"),
        (["--pretrained", "cms-delphes-ak4", "--recipe", "flow-matching"], "network: expected SplineIQN, as the pre"),
        (["--pretrained", "cms-delphes-ak4-fast"], "targets: expected symmetric, as the pretrained bundle has, got"),
        (["--pretrained", "cms-delphes-ak4-correct"], "expected a bundle that takes gen jets"),
        (["--pretrained", "cms-delphes-ak4", "--teacher", "cms-delphes-ak4"], "pretrained: expected no --teacher with"),
    ],
)
def test_networks_of_another_kind_are_refused(words, says, tmp_path, capsys):
    assert run("train", QCD, *words, "--output", tmp_path / "made") == 2
    assert says in one_error(capsys)
    assert not (tmp_path / "made").exists()


def test_what_begins_otherwise_than_it_may_seem_is_said(tmp_path, capsys):
    few = ["--steps", 2, "--check-every", 1]
    base = bundle.load("cms-delphes-ak4-fast")
    near = base.unmatched.near
    smaller = Network.of(NumberNetwork(near.number.n_inputs, most=3, hidden=(8,)))
    bundle.save(replace(base, unmatched=replace(base.unmatched, near=replace(near, number=smaller))), tmp_path / "base")
    words = ["--targets", "symmetric", "--pretrained", tmp_path / "base", "--ensemble", 2]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run("train", QCD, *few, *words, "--output", tmp_path / "made") == 0
    said = capsys.readouterr().err
    assert "near number: the pretrained network has other sizes or inputs, so this one begins with random" in said
    assert f"ensemble: all members begin as {tmp_path / 'base'}, whose own" in said
