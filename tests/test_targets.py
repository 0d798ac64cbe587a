"""What is drawn of a jet beside its four-momentum: rows of a table, from files to files."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
from array_api_compat import array_namespace

from coffea_iqn import IQNFolder, bundle, running
from coffea_iqn.data import sample_path
from coffea_iqn.emulator.device import levels_on_device
from coffea_iqn.files.inputs import inspect
from coffea_iqn.files.trees import iterate
from coffea_iqn.jets.targets import KINDS, MORE, TARGETS, WHOLE, Target
from coffea_iqn.numerics.uniforms import levels
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.distil import distil
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import TrainingSettings
from conftest import open_events, run

FULL = sample_path("qcd_ak4_full.root")
SETTINGS = TrainingSettings(steps=400, check_every=200, hidden=(24, 24), batch_size=512, unmatched=False)


def pairs_with(more):
    source = inspect(str(FULL), collections=["GenJet", "Jet"])
    with running.open_executor("iterative", status=False) as executor:
        sample = running.run(
            PairsProcessor(more=more),
            {"qcd": [source]},
            executor,
            collections=["GenJet", "Jet"],
            branches=[f"Jet_{name}" for name in more],
            status=False,
        )
    return sample.pairs


@pytest.fixture(scope="module")
def pairs():
    return pairs_with(["nCharged", "chEF", "btag"])


@pytest.fixture(scope="module")
def made(pairs):
    return train(pairs, TrainingSettings(**vars(SETTINGS) | {"more": ("nCharged", "chEF", "btag")}))


@pytest.fixture
def path(made, tmp_path):
    made.card["jets"] = {"radius": 0.4, "cone": 0.25}
    bundle.save(made, tmp_path / "more")
    return tmp_path / "more"


def uniform(n, columns):
    return np.random.default_rng(3).uniform(1e-4, 1 - 1e-4, (n, columns)).astype(np.float32)


@pytest.mark.parametrize("target", [*MORE.values(), *TARGETS["residual"], *TARGETS["ratio"]], ids=lambda t: t.name)
def test_every_row_of_the_table_is_whole(target):
    assert target.kind in KINDS
    assert target.label
    gen = np.array([[30.0, 1.0, 3.0, 4.0], [300.0, -4.0, -3.0, 0.0]])
    low, high = target.support
    values = np.clip(np.array([0.3, 0.9]), low, high)
    np.testing.assert_allclose(target.decode(target.encode(values, gen), gen), values, rtol=1e-9, atol=1e-9)
    for end in (low, high):
        if np.isfinite(end):
            encoded = target.encode(np.full(2, end), gen)
            assert np.isfinite(encoded).all()


def test_further_levels_leave_the_first_four_alone_and_are_new():
    torch = pytest.importorskip("torch")
    keys = np.random.default_rng(0).integers(0, 2**32, (100, 4), dtype=np.uint32)
    place = np.arange(100)
    four, six, nine = (levels(keys, place, n=n) for n in (4, 6, 9))
    assert (six[:, :4] == four).all()
    assert (nine[:, :6] == six).all()
    assert len(np.unique(nine)) == nine.size
    there = levels_on_device(torch.tensor(keys.astype(np.int64)), torch.tensor(place), n=9)
    assert (there.numpy() == nine).all()


def test_what_is_drawn_is_of_its_kind_and_like_the_sample(made, pairs):
    true = pairs.y[pairs.matched]
    gen, context = pairs.x[pairs.matched], pairs.context[pairs.matched]
    drawn = made.sample(gen, uniform(len(gen), 7), context)
    assert drawn.shape == (len(gen), 7)
    for k, name in enumerate(made.variables.more, 4):
        kind, (low, high) = MORE[name].kind, MORE[name].support
        assert ((drawn[:, k] >= low) & (drawn[:, k] <= high)).all()
        if kind in WHOLE:
            assert (drawn[:, k] == np.floor(drawn[:, k])).all()
        spread = true[:, k].std() / np.sqrt(len(true))
        assert abs(drawn[:, k].mean() - true[:, k].mean()) < 8 * spread + 0.05 * true[:, k].mean(), name
    assert set(np.unique(drawn[:, 6])) == {0.0, 1.0}
    n_charged, known = drawn[:, 4], pairs.y[pairs.matched][:, 4]
    hard = gen[:, 0] > np.median(gen[:, 0])  # more of them in harder jets, as in the sample
    assert n_charged[hard].mean() > n_charged[~hard].mean() + 1
    assert abs(n_charged[hard].mean() - known[hard].mean()) < 0.1 * known[hard].mean() + 0.5


def test_the_four_momentum_knows_nothing_of_what_is_drawn_after_it(made, pairs):
    gen, tau = pairs.x[pairs.matched][:300], uniform(300, 7)
    other = tau.copy()
    other[:, 4:] = 1.0 - other[:, 4:]
    one, two = made.sample(gen, tau), made.sample(gen, other)
    assert (one[:, :4] == two[:, :4]).all()
    assert (one[:, 4] != two[:, 4]).any()
    levels_again = made.cdf(gen, one[:, :4])
    assert (np.abs(levels_again - tau[:, :4]) < 2e-3).mean() > 0.97  # but for masses of zero
    assert np.isfinite(made.log_density(gen, one[:, :4])).all()
    with pytest.raises(ValueError, match=r"arrays of shapes \(N, 4\) and \(N, 7\)"):
        made.sample(gen, tau[:, :4])


def test_from_files_to_files(path, tmp_path):
    """A bundle on disk, a folder, and the command line, which nobody has told of what is drawn."""
    events = open_events("qcd_ak4_full.root", entry_stop=300, metadata={"dataset": "qcd"})
    reco = IQNFolder(path)(events.GenJet, events)
    assert {"nCharged", "chEF", "btag", "genJetIdx"} <= set(reco.fields)
    assert ak.all(reco.nCharged == np.floor(reco.nCharged), axis=None)
    some = IQNFolder(path)(events[100:].GenJet, events[100:])
    assert ak.array_equal(some.nCharged, reco[100:].nCharged)
    assert (
        run("fold", f"qcd={FULL}", "--model", path, "--skim", "root", "--no-plots", "--output", tmp_path / "out") == 0
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    columns = next(iterate(tmp_path / "out" / summary["skim"][0]))
    assert ak.all(columns["IQNJet_nCharged"][:300] == reco.nCharged, axis=None)


def test_a_command_learns_them_folds_and_validates(tmp_path):
    train_it = ("train", f"qcd={FULL}", "--more", "nCharged", "btag", "--steps", "60", "--hidden", "8", "8")
    assert run(*train_it, "--output", tmp_path / "bundle") == 0
    made = bundle.load(tmp_path / "bundle")
    assert (made.variables.more, made.network.n_targets) == (("nCharged", "btag"), 6)
    assert made.unmatched is not None
    events = open_events("qcd_ak4_full.root", entry_stop=500, metadata={"dataset": "qcd"})
    reco = IQNFolder(tmp_path / "bundle")(events.GenJet, events)
    none = ak.flatten(reco.genJetIdx) < 0
    assert ak.sum(none) > 0
    assert (np.isnan(ak.to_numpy(ak.flatten(reco.btag))) == ak.to_numpy(none)).all()
    validate = ("validate", f"qcd={FULL}", "--model", tmp_path / "bundle", "--output", tmp_path / "report")
    assert run(*validate, "--quiet") == 0


def test_a_student_draws_what_its_teacher_does(made, pairs):
    student = distil(made, pairs, TrainingSettings(steps=30, check_every=30, hidden=(8, 8), batch_size=128))
    assert student.variables.more == made.variables.more
    assert student.sample(pairs.x[:50], uniform(50, 7)).shape == (50, 7)


def test_a_new_number_of_a_jet_is_a_row_of_the_table(monkeypatch):
    """And nothing else: N-subjettiness, which the library knows of gen jets alone."""
    monkeypatch.setitem(MORE, "tau1", Target("tau1", "", r"$\tau_1$", "continuous", _log, _exp, (0.0, 1.0)))
    pairs = pairs_with(["tau1"])
    emulator = train(pairs, TrainingSettings(**vars(SETTINGS) | {"more": ("tau1",), "steps": 60}))
    drawn = emulator.sample(pairs.x[:500], uniform(500, 5))
    assert ((drawn[:, 4] >= 0.0) & (drawn[:, 4] <= 1.0)).all()
    assert drawn[:, 4].std() > 0.01


def _log(y, _):
    return array_namespace(y).log(y + 0.01)


def _exp(t, _):
    return array_namespace(t).exp(t) - 0.01


def test_pairs_of_other_columns_are_refused(pairs, path, tmp_path):
    with pytest.raises(ValueError, match="columns pt, eta, phi, mass, got 7 columns"):
        train(pairs, SETTINGS)
    with pytest.raises(ValueError, match="more: expected one of nCharged"):
        PairsProcessor(more=["colour"])
    content = json.loads((path / "model.json").read_text())
    content["variables"]["more"] = ["nCharged"]
    with pytest.raises(ValueError, match="expected"):
        bundle.assemble(content, {})
