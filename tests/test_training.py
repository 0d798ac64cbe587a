from __future__ import annotations

import itertools
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch

from coffea_iqn.iqn.members.pinball import IQNx4
from coffea_iqn.jets.context import encode
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training import batches, optimise, run
from coffea_iqn.training.emulators import train
from coffea_iqn.training.pairs import JetPairs, TrainingSample, bootstrapped
from coffea_iqn.training.recipes import RECIPES, TrainingSettings
from conftest import TINY, collect, make_pairs, make_unmatched, open_events

SHORT = replace(RECIPES["residual-iqnx4"], steps=60, check_every=20, stages=2, hidden=(8, 8), batch_size=128)
SPLINE = TrainingSettings(steps=60, check_every=20, hidden=(8, 8), batch_size=128)


def weights(emulator):
    parts = [emulator.network, emulator.acceptance, emulator.origin]
    if emulator.unmatched is not None:
        parts += [part for law in emulator.unmatched.laws.values() for part in (law.number, law.targets)]
    return np.concatenate([array.ravel() for part in parts if part is not None for array in part.arrays.values()])


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


@pytest.fixture(scope="module")
def unmatched(pairs):
    return make_unmatched(pairs)


@pytest.fixture(scope="module")
def trained(pairs, unmatched):
    return train(pairs, SHORT, unmatched)


def test_same_seed_same_weights_other_seed_others(pairs, unmatched, trained):
    assert np.array_equal(weights(train(pairs, SHORT, unmatched)), weights(trained))
    assert not np.array_equal(weights(train(pairs, replace(SHORT, seed=2), unmatched)), weights(trained))


def test_global_random_state_is_neither_used_nor_touched(pairs, unmatched, trained):
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    again = train(pairs, SHORT, unmatched)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(weights(again), weights(trained))


@pytest.mark.parametrize("stop_at", [1, 4, 8, 12])
def test_an_interrupted_training_ends_with_the_same_weights(pairs, unmatched, trained, tmp_path, stop_at):
    seen = []

    def interrupt(check):
        seen.append(check)
        if len(seen) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pairs, SHORT, unmatched, checkpoint=tmp_path, watch=interrupt)
    looked = []
    resumed = train(pairs, SHORT, unmatched, checkpoint=tmp_path, watch=looked.append)
    assert np.array_equal(weights(resumed), weights(trained))
    assert looked[-1].phase == "far jets"
    assert len(looked) <= 18 - stop_at + 1


def test_a_checkpoint_of_another_training_is_refused(pairs, tmp_path):
    train(pairs, SHORT, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="other pairs or settings; --restart discards it"):
        train(pairs, replace(SHORT, seed=9), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="other pairs or settings"):
        train(make_pairs(seed=5), SHORT, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="other pairs or settings"):
        train(pairs, SHORT, make_unmatched(pairs), checkpoint=tmp_path)


def test_stages_lower_the_rate_and_patience_ends_them(pairs):
    checks = []
    train(pairs, replace(SHORT, steps=100_000, learning_rate=1e-9, patience=3, acceptance=False), watch=checks.append)
    assert {c.stage for c in checks} == {1, 2}
    assert len(checks) < 100


def test_the_best_state_is_kept(pairs):
    checks = []
    settings = replace(SHORT, stages=1, learning_rate=0.1, steps=400, patience=100, acceptance=False)
    emulator = train(pairs, settings, watch=checks.append)
    best = min(c.loss for c in checks)
    assert best < checks[-1].loss
    assert emulator.card["training"]["validation_loss"]["quantiles"] == best


def test_a_loss_that_is_not_finite_stops_with_a_message(pairs, monkeypatch):
    monkeypatch.setattr(IQNx4, "loss", lambda self, context, *_: sum(p.sum() for p in self.parameters()) * torch.nan)
    with pytest.raises(FloatingPointError, match="quantiles: the loss is nan at stage 1"):
        train(pairs, SHORT)


def test_a_network_whose_quantiles_may_cross_takes_no_threshold(pairs):
    with pytest.raises(ValueError, match="raw_pt_min: expected 0 for IQNx4"):
        train(pairs, replace(SHORT, raw_pt_min=1.0))


def test_jets_below_the_threshold_are_refused(pairs):
    with pytest.raises(
        ValueError, match=r"raw_pt_min: expected matched jets y above the threshold, got \d+ of \d+ below 15 GeV"
    ):
        train(pairs, replace(SPLINE, raw_pt_min=15.0))


@pytest.mark.parametrize(("steps", "check_every"), [(20, 500), (60, 20), (50, 20), (1, 500)])
def test_no_training_makes_more_steps_than_it_was_told(pairs, unmatched, steps, check_every):
    checks = []
    made = train(pairs, replace(SPLINE, steps=steps, check_every=check_every), unmatched, watch=checks.append)
    assert all(check.step <= check.steps <= steps and check.done <= 1.0 for check in checks)
    last = {check.phase: check for check in checks}
    assert all(check.step == check.steps and check.done == 1.0 for check in last.values())
    assert made.card["training"]["steps"] == {phase: check.step for phase, check in last.items()}
    assert last["quantiles"].steps == steps


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a hundredth of a second at every reading."""
    ticks = itertools.count()
    monkeypatch.setattr(optimise.time, "monotonic", lambda: 0.01 * next(ticks))


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("stages", [1, 2])
def test_minutes_are_shared_among_the_networks(pairs, unmatched, monkeypatch, stages):
    rates, checks = [], []
    rate_of = optimise._rate
    monkeypatch.setattr(optimise, "_rate", lambda *of: rates.append(rate_of(*of)) or rates[-1])
    settings = replace(SPLINE, minutes=0.06, stages=stages, steps=3, check_every=50, patience=1000)
    training = train(pairs, settings, unmatched, watch=checks.append).card["training"]
    assert training["minutes"] == pytest.approx(0.06, rel=0.05)
    later = {"far tails", "columns", "columns of unmatched jets"}  # phases of distilling and of extensions
    assert set(training["steps"]) == set(run.TIMES) - later
    for phase, steps in training["steps"].items():
        assert steps == pytest.approx(360 * run.TIMES[phase], rel=0.15, abs=9), phase
    assert all(check.steps is None for check in checks)
    assert {check.done for check in checks if check.stage == stages} >= {1.0}
    # the learning rate rises and falls to zero within each network's time
    n_first = checks[[check.phase == "quantiles" for check in checks].index(True) - 1].step
    assert max(rates[:n_first]) > 0.8
    assert rates[-1] < 0.05


@pytest.mark.usefixtures("clock")
def test_a_training_of_some_minutes_goes_on_where_it_was(pairs, tmp_path):
    settings = replace(SPLINE, minutes=0.05, check_every=25, patience=1000)

    def interrupt(check):
        if check.phase == "quantiles" and check.done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pairs, settings, checkpoint=tmp_path, watch=interrupt)
    training = train(pairs, settings, checkpoint=tmp_path).card["training"]
    assert training["minutes"] == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("minutes", [1e-9, 1e-4])
def test_every_network_has_a_step_however_little_time_there_is(pairs, unmatched, minutes):
    training = train(pairs, replace(SPLINE, minutes=minutes), unmatched).card["training"]
    assert min(training["steps"].values()) >= 1
    assert np.isfinite(list(training["validation_loss"].values())).all()


def test_nothing_to_train_on(pairs):
    lost = pairs._replace(y=np.full_like(pairs.y, np.nan))
    with pytest.raises(ValueError, match="got 0 and 0 of 2000 jets x"):
        train(lost, SHORT)


def test_pairs_of_other_events_or_units_do_not_train():
    """As by the command: they would be learnt as a detector with hardly any resolution."""
    pairs = make_pairs()
    hard = pairs.x[:, 0] > 30.0
    at_random = np.random.default_rng(0).uniform(-0.2, 0.2, (len(pairs.x), 2)).astype(np.float32)
    apart = pairs.y.copy()
    apart[hard, 1:3] = pairs.x[hard, 1:3] + at_random[hard]
    for y, what in (
        (apart, r"jets x and y of sample 0: expected jets of the same events, got matched ones .* \d+ above 30 GeV"),
        (pairs.y * np.float32([1e3, 1.0, 1.0, 1e3]), "jets x and y: expected pt of both in GeV, got a median ratio"),
    ):
        with pytest.raises(ValueError, match=what):
            train(pairs._replace(y=y), TrainingSettings(steps=2))


@pytest.fixture(scope="module")
def well_trained():
    """Train an emulator well enough with the default recipe."""
    settings = replace(RECIPES["default"], hidden=(32, 32), steps=300, check_every=100, batch_size=512)
    return train(make_pairs(20_000), replace(settings, learning_rate=6e-3))


def test_the_default_recipe_learns_scale_resolution_and_acceptance(well_trained):
    gen = make_pairs(20_000, seed=9).x
    reco = well_trained.sample(gen, np.random.default_rng(0).uniform(0.001, 0.999, gen.shape))
    response = reco[:, 0] / gen[:, 0]
    low, median, high = np.quantile(response, [0.16, 0.5, 0.84])
    assert median == pytest.approx(0.98, abs=0.01)
    assert (high - low) / 2 == pytest.approx(0.1, abs=0.02)
    soft, hard = gen[:, 0] < 12, gen[:, 0] > 40
    assert well_trained.efficiency(gen)[soft].mean() == pytest.approx(0.55, abs=0.08)
    assert well_trained.efficiency(gen)[hard].mean() > 0.95


def test_the_origin_network_tells_samples_apart(well_trained):
    assert well_trained.origin is not None
    assert well_trained.variables.context == ("flavour", "neighbours", "substructure", "prompt", "event")
    fresh = make_pairs(8000, seed=7)
    tau = np.full(fresh.x.shape, 0.5, dtype=np.float32)
    told, untold = (well_trained.sample(fresh.x, tau, context)[:, 3] for context in (fresh.context, None))
    mass = fresh.x[:, 3]
    second = fresh.sample == 1
    assert np.median((told / mass)[second]) == pytest.approx(0.8, abs=0.05)
    assert np.median((told / mass)[~second]) == pytest.approx(1.0, abs=0.05)
    assert np.median((untold / mass)[second]) == pytest.approx(np.median((untold / mass)[~second]), abs=0.03)


def test_where_substructure_is_known_the_origin_is_not_told(pairs):
    settings = replace(RECIPES["default"], **TINY, acceptance=False, unmatched=False)
    origin = train(pairs, settings).origin.module
    variables = train(pairs, settings).variables
    inputs = torch.from_numpy(variables.network_inputs(pairs.x, pairs.context))
    known = inputs[:, variables.column_of("substructure")] == 1.0
    assert 0.2 < known.double().mean() < 0.4
    told = origin.with_origin(inputs).detach()[:, -origin.n_samples :]
    assert not told[known].any()
    assert told[~known].any(dim=1).all()


@pytest.fixture(scope="module")
def sometimes_massless():
    """Make pairs of two flavours, of which a tenth and four fifths are massless up to rounding."""
    pairs = make_pairs(20_000)
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 2, len(pairs.x))
    massless = rng.uniform(size=len(kind)) < np.where(kind == 1, 0.8, 0.1)
    reco = pairs.y.copy()
    reco[massless, 3] = rng.choice([0.0, 5e-4, -1e-6], massless.sum())
    pairs = pairs._replace(y=reco, context=encode(len(kind), {"flavour": np.eye(5)[kind]}))
    settings = replace(RECIPES["default"], hidden=(32, 32), steps=400, check_every=100, batch_size=512)
    return train(pairs, replace(settings, learning_rate=1e-2, acceptance=False, unmatched=False)), pairs, kind


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_massless_jets_are_as_many_as_they_are(sometimes_massless, backend):
    emulator, pairs, kind = sometimes_massless
    tau = np.random.default_rng(5).uniform(0.001, 0.999, pairs.x.shape).astype(np.float32)
    drawn = emulator.sample(pairs.x, tau, pairs.context, backend=backend)[:, 3] == 0.0
    for k in range(2):
        real = (pairs.y[pairs.matched & (kind == k), 3] < 0.01).mean()
        assert drawn[kind == k].mean() == pytest.approx(real, abs=0.04)


def test_the_level_of_a_massless_jet_is_somewhere_in_the_atom(sometimes_massless):
    emulator, pairs, _ = sometimes_massless
    gen, reco, context = (column[pairs.matched] for column in (pairs.x, pairs.y, pairs.context))
    within = np.random.default_rng(6).uniform(size=len(gen))
    last, spread = (emulator.cdf(gen, reco, context, within_atom=w)[:, 3] for w in (None, within))
    massless = reco[:, 3] < 0.01
    np.testing.assert_array_equal(spread[~massless], last[~massless])
    np.testing.assert_allclose(spread[massless], (last * within)[massless], rtol=1e-5)
    assert np.histogram(spread, 10, (0, 1))[0] == pytest.approx(len(gen) / 10, rel=0.15)
    # any level below it draws a massless jet, and the next one a jet with a mass
    tau = emulator.cdf(gen, reco, context)
    for step, drawn in ((0.99, True), (1.01, False)):
        asked = np.clip(np.where(np.arange(4) == 3, step * tau, tau), 1e-6, 1.0 - 1e-6)[massless].astype(np.float32)
        mass = emulator.sample(gen[massless], asked, context[massless])[:, 3]
        assert ((mass == 0.0) == drawn).mean() > 0.99


def test_the_density_of_a_massless_jet_is_that_of_the_other_variables_times_the_atom(sometimes_massless):
    emulator, pairs, _ = sometimes_massless
    rows = pairs.matched & (pairs.y[:, 3] < 0.01)
    gen, reco, context = (column[rows][:40] for column in (pairs.x, pairs.y, pairs.context))
    p, of_massless = emulator.cdf(gen, reco, context)[:, 3], emulator.log_density(gen, reco, context)
    # the density of the mass integrates to 1 minus the atom
    masses = np.geomspace(0.011, 400.0, 800)
    gen, heavier, context = (np.tile(column, (len(masses), 1)) for column in (gen, reco, context))
    heavier[:, 3] = np.repeat(masses, len(p))
    dense = np.exp(emulator.log_density(gen, heavier, context).reshape(len(masses), len(p)) - of_massless)
    ratio = np.trapezoid(dense, masses, axis=0)
    np.testing.assert_allclose(ratio, (1.0 - p) / p, rtol=0.03)


def test_jets_with_prompt_particles_are_shown_with_them_and_more_often(pairs):
    levels = ("neighbours", "prompt")
    inputs = torch.zeros(1000, 3 + 4 + 11)
    inputs[:7, 3 + 4 + 4] = 0.7  # log(1 + n) of one prompt particle in the jet
    rows = batches.with_prompt(inputs, levels)
    assert rows.tolist() == list(range(7))
    assert not len(batches.with_prompt(inputs, ("neighbours",)))
    ones = torch.ones(4000, 3 + 4 + 11)
    shown = batches.hide(ones, levels, 0.0, torch.Generator().manual_seed(0), n_prompt=1000)[:, -1]
    assert shown[-1000:].all()
    assert 0.8 < shown[:-1000].mean() < 1.0


def test_one_sample_needs_no_origin(pairs):
    alone = JetPairs(*(column[pairs.sample == 0] for column in pairs))
    emulator = train(alone, SPLINE)
    assert emulator.origin is None
    assert emulator.variables.context == ("flavour", "neighbours", "substructure", "prompt")


@pytest.mark.parametrize(("shares", "share"), [((), 0.9), ((0.3, 0.1), 0.75), ((1.0, 1.0), 0.5)])
def test_samples_have_their_shares_of_a_batch(shares, share):
    sample = torch.arange(1000) % 10 == 0
    draw = batches.drawing(sample.long(), shares)
    rows = draw(20_000, torch.Generator().manual_seed(0))
    assert (~sample[rows]).double().mean().item() == pytest.approx(share, abs=0.01)
    assert len(rows.unique()) == 1000


def test_a_share_is_wanted_for_every_sample(pairs):
    with pytest.raises(ValueError, match="one above 0 for each of 2 samples"):
        train(pairs, replace(SPLINE, shares=(1.0, 2.0, 3.0)))


def test_levels_are_hidden_whole_and_as_often_as_said():
    levels = ("neighbours", "composition")
    inputs = batches.hide(torch.ones(20_000, 3 + 4 + 6), levels, 0.0, torch.Generator().manual_seed(0))
    assert (inputs[:, :3] == 1).all()
    parts = inputs[:, 3:].split([4, 6], dim=1)
    assert all((part.amin(dim=1) == part.amax(dim=1)).all() for part in parts)
    seen = torch.stack([part[:, 0] for part in parts], dim=1)
    shown = [sum(share for share, kind in batches.SHOWN if level in kind) for level in levels]
    assert seen.mean(dim=0).tolist() == pytest.approx(shown, abs=0.02)


def test_pairs_of_real_files():
    pairs, _ = collect(["qcd_ak4.root"], pt_min=20.0)
    assert pairs.x.shape == pairs.y.shape == (*pairs.split_key.shape, 4)
    assert pairs.x[:, 0].min() >= 20.0
    assert 0.95 < pairs.matched.mean() < 1.0
    both = pairs.matched
    d_eta = pairs.x[both, 1] - pairs.y[both, 1]
    d_phi = np.angle(np.exp(1j * (pairs.x[both, 2] - pairs.y[both, 2])))
    assert np.hypot(d_eta, d_phi).max() < 0.25
    assert np.median(pairs.y[both, 0] / pairs.x[both, 0]) == pytest.approx(1.0, abs=0.03)


def test_pairs_depend_neither_on_chunks_nor_on_the_order_of_files():
    names = ["qcd_ak4.root", "qcdflat_ak4.root"]
    first, second = collect(names), collect(names[::-1], chunksize=700)
    for kind, other in zip(first, second, strict=True):
        for a, b in zip(kind, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_unmatched_jets_of_real_files():
    pairs, unmatched = collect(["qcd_ak4.root", "qcdflat_ak4.root"], chunksize=900)
    assert len(unmatched.events) == len(unmatched.frames) == len(unmatched.split_key) == 10_000
    assert set(unmatched.sample[unmatched.far_event]) == {0}
    n_reco = pairs.matched.sum() + len(unmatched.near) + len(unmatched.far)
    events = [open_events(name) for name in ("qcd_ak4.root", "qcdflat_ak4.root")]
    assert n_reco == sum(ak.sum(ak.num(e.Jet)) for e in events)
    of_near = pairs.x[unmatched.near_row]
    d_phi = np.angle(np.exp(1j * (of_near[:, 2] - unmatched.near[:, 2])))
    assert np.hypot(of_near[:, 1] - unmatched.near[:, 1], d_phi).max() < unmatched.reach == 0.8
    np.testing.assert_array_equal(np.unique(unmatched.split_key), np.unique([*unmatched.split_key, *pairs.split_key]))


def test_splits_keep_events_or_files_together():
    by_event = collect(["qcd_ak4.root"]).pairs
    held_out = (by_event.split_key < 0.1).mean()
    assert held_out == pytest.approx(0.1, abs=0.02)
    by_file = collect(["qcd_ak4.root", "qcdflat_ak4.root"], split="file").pairs
    assert len(np.unique(by_file.split_key)) == 2
    with pytest.raises(ValueError, match="split: expected one of event, event of file, file, got 'jet'"):
        PairsProcessor(split="jet")


def test_a_dataset_that_is_held_out_or_left_out_entirely_is_refused(pairs, unmatched):
    """A network would not know it, and the network of origins has no output for it."""
    files = np.where(np.arange(len(pairs.x)) % 3, 0.9, 0.05).astype(np.float32)
    of_files = pairs._replace(sample=(files < 0.1).astype(np.int64), split_key=files)
    with pytest.raises(ValueError, match="expected jets of each dataset to train on, got 1 that are held out entirely"):
        train(of_files, SHORT)
    with pytest.raises(ValueError, match=r"ensemble: expected jets of each dataset in member \d, got [12] without"):
        [bootstrapped(TrainingSample(of_files, unmatched), 1, k) for k in range(9)]
