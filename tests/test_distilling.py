from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from coffea_iqn import bundle
from coffea_iqn.closure import nonuniformity
from coffea_iqn.commands import validate
from coffea_iqn.data import sample_path
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.iqn.network import MEMBERS
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.distil import distil
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES
from conftest import emulators_of, make_pairs, one_error, open_events, run, undrawn

CORRECT = {"direction": "correct"}
SETTINGS = replace(RECIPES["default"], hidden=(16, 16), steps=300, check_every=100, batch_size=256, learning_rate=1e-2)


@pytest.fixture(scope="module")
def taught():
    teacher = bundle.load("cms-delphes-ak4")
    pairs = make_pairs(8000)
    tau = np.random.default_rng(2).uniform(1e-6, 1 - 1e-6, pairs.x.shape).astype(np.float32)
    drawn = teacher.sample(pairs.x, tau, pairs.context)
    found = np.random.default_rng(3).uniform(size=len(drawn)) < teacher.efficiency(pairs.x, pairs.context)
    drawn[~found] = np.nan
    return teacher, distil(teacher, pairs._replace(y=drawn), SETTINGS)


def n_weights(emulator):
    return sum(array.size for array in emulator.network.arrays.values())


def test_a_small_emulator_draws_like_its_teacher(taught):
    teacher, student = taught
    pairs = make_pairs(6000, seed=1)
    tau = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, pairs.x.shape).astype(np.float32)
    drawn = teacher.sample(pairs.x, tau, pairs.context)
    levels = student.cdf(pairs.x, drawn, pairs.context)
    assert all(size.value - 2 * size.uncertainty < 0.15 for size in nonuniformity(levels))
    efficiencies = [of.efficiency(pairs.x, pairs.context) for of in taught]
    assert np.abs(efficiencies[0] - efficiencies[1]).mean() < 0.12
    assert n_weights(student) < n_weights(teacher) / 2


def test_its_card_names_the_teacher(taught, tmp_path):
    teacher, student = taught
    bundle.save(student, tmp_path / "small")
    card = bundle.load(tmp_path / "small").card
    assert card["training"]["teacher"]["hash"] == teacher.card["hash"] != card["hash"]
    assert card["jets"] == teacher.card["jets"]


@pytest.mark.filterwarnings("ignore:pairs. the bundle to start from")  # a teacher of two steps
def test_a_student_keeps_what_its_teacher_is_known_by(tmp_path, capsys):
    first, other = (sample_path(name) for name in ("ttbar_ak4_full.root", "qcd_ak4_full.root"))
    few = ("--steps", 2, "--check-every", 1, "--hidden", 4, "--quiet")
    base, student = tmp_path / "base", tmp_path / "student"
    assert run("train", first, "--columns", "btag", "--detector", "ours", *few, "--output", base) == 0
    assert run("train", other, "--teacher", base, *few, "--output", student) == 0
    of_base, card = bundle.load(base).card, bundle.load(student).card
    assert card["detector"] == "ours"
    assert card["training"]["teacher"]["extended"] == of_base["extended"]
    assert of_base["extended"][0]["files"] == {"ttbar_ak4_full": ["ttbar_ak4_full.root"]}
    capsys.readouterr()
    with undrawn():
        quick = ("--quick", "--max-jets", 400, "--output", tmp_path / "report")
        assert run("validate", first, "--model", student, *quick) == 0
    assert f"the model was trained on {first}" in capsys.readouterr().err
    # jets are known again in copies and merged files, whose ids and names are others
    events = open_events("ttbar_ak4_full.root", entry_start=500, entry_stop=700)
    for x, samples in ((flatten_jets(events.GenJet).values, ["events of b"]), (np.full((9, 4), 50.0), [])):
        pairs = SimpleNamespace(x=x, sample=np.ones(len(x), dtype=np.int64))
        assert validate._seen_in(card, pairs, ["a", "b"]) == samples


@pytest.mark.filterwarnings("always:pairs. the bundle to start from")
@pytest.mark.parametrize(("teacher", "other"), [("cms-delphes-ak4-fast", False), ("atlas-delphes-ak4", True)])
def test_a_teacher_of_another_detector_is_noticed(teacher, other, tmp_path, capsys):
    few = ("--steps", 1, "--hidden", 4, "--output", tmp_path / "made")
    assert run("train", sample_path("qcd_ak4_full.root"), "--teacher", teacher, *few) == 0
    assert ("has another response than their jets" in capsys.readouterr().err) is other


@pytest.mark.parametrize(("name", "options"), [("qcd_ak5.root", {"radius": 0.5}), ("qcd_ak4.root", CORRECT)])
def test_pairs_of_other_jets_are_noticed(name, options):
    """In Python, where pairs do not know their radius and direction."""
    pairs, _ = PairsProcessor(**options).chunk(open_events(name))
    with pytest.warns(UserWarning, match="pairs: the bundle to start from has another response than their jets"):
        distil(bundle.load("cms-delphes-ak4"), pairs, replace(SETTINGS, steps=1))


@pytest.mark.parametrize("start", [("--teacher",), ("--columns", "btag", "--extend")])
def test_options_that_the_bundle_to_start_from_determines_are_refused(start, tmp_path, capsys):
    given = (*start, "cms-delphes-ak4", "--steps", 2, "--raw-pt-min", 15, "--context", "flavour")
    assert run("train", sample_path("qcd_ak4_full.root"), *given, "--output", tmp_path / "made") == 2
    assert "that cms-delphes-ak4 determines, got --raw-pt-min, --context" in one_error(capsys)


@emulators_of(set(MEMBERS) - {"SplineIQN", "FlowMatching"})
def test_not_every_member_can_teach(emulator):
    with pytest.raises(TypeError, match="teacher: expected a SplineIQN or a FlowMatching, got"):
        distil(emulator, make_pairs(100), SETTINGS)


def test_one_step_learns_where_many_lead():
    pairs = make_pairs(20_000)
    settings = replace(RECIPES["flow-matching"], hidden=(24, 24), steps=200, check_every=100, acceptance=False)
    teacher = train(pairs, settings)
    student = distil(teacher, pairs, replace(settings, network="DistilledFlow"))
    assert student.network.type == "DistilledFlow"
    tau = np.random.default_rng(0).uniform(0.01, 0.99, (len(pairs.x), 4)).astype(np.float32)
    one, other = (made.sample(pairs.x, tau, pairs.context)[:, 0] / pairs.x[:, 0] for made in (teacher, student))
    assert np.corrcoef(one, other)[0, 1] > 0.95
    assert one.std() == pytest.approx(other.std(), rel=0.1)
