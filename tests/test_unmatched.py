"""Reco jets that match no gen jet: their targets and the inverse, their laws, and their place in a fold."""

from __future__ import annotations

import functools
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

from coffea_iqn import IQNFolder, bundle
from coffea_iqn.emulator.unmatched import REACH, Frames, far_columns, far_targets, jets_far, jets_near, near_targets
from coffea_iqn.jets.features import SCALES
from coffea_iqn.jets.matching import any_within, nearest
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES
from coffea_iqn.training.run import TrainingRun
from coffea_iqn.training.unmatched import learn_unmatched
from conftest import make_pairs, make_unmatched, open_events

RNG = np.random.default_rng


def random_jets(n, seed=0):
    rng = RNG(seed)
    columns = (10 + rng.exponential(20, n), rng.uniform(-5, 5, n), rng.uniform(-np.pi, np.pi, n))
    return np.stack([*columns, 0.2 * columns[0]], axis=1)


@functools.cache
def random_levels(seed):
    """Make levels that depend only on source and number, as in a fold."""
    table = RNG(seed).uniform(1e-6, 1 - 1e-6, (20_000, 64, 4)).astype(np.float32)
    return lambda rows, numbers: table[rows, numbers]


def turned(angle):
    return angle - 2 * np.pi * np.round(angle / (2 * np.pi))


def test_targets_of_jets_near_gen_jets_are_inverted():
    gen = random_jets(500)
    jets = random_jets(500, seed=1)
    jets[:, 1:3] = gen[:, 1:3] + RNG(2).uniform(-0.6, 0.6, (500, 2))
    again = jets_near(near_targets(jets, gen), gen)
    np.testing.assert_allclose(again[:, [0, 1, 3]], jets[:, [0, 1, 3]], rtol=1e-9)
    np.testing.assert_allclose(turned(again[:, 2] - jets[:, 2]), 0.0, atol=1e-9)
    assert (np.abs(again[:, 2]) <= np.pi).all()


def test_targets_of_the_other_jets_are_inverted():
    jets = random_jets(500)
    frames = Frames(RNG(1).uniform(-np.pi, np.pi, 500), RNG(2).choice([-1.0, 1.0], 500))
    again = jets_far(far_targets(jets, frames), frames)
    np.testing.assert_allclose(again, jets, rtol=1e-9, atol=1e-9)


def test_nearest_equals_a_slow_search():
    gen, counts = random_jets(60), np.array([0, 3, 20, 0, 37])
    jets, event = random_jets(40, seed=1), np.sort(RNG(2).integers(0, 5, 40))
    row, distance = nearest(jets, event, gen, counts)
    of_gen = np.repeat(np.arange(5), counts)
    for k in range(40):
        own = np.flatnonzero(of_gen == event[k])
        if not len(own):
            assert row[k] == -1
            assert distance[k] == np.inf
            continue
        all_distances = np.hypot(jets[k, 1] - gen[own, 1], turned(jets[k, 2] - gen[own, 2]))
        assert row[k] == own[all_distances.argmin()]
        assert distance[k] == pytest.approx(all_distances.min())


def test_an_event_looks_the_same_turned_and_mirrored():
    gen, counts = random_jets(300), np.array([1, 0, 2, 3, 4, 290])
    missing = np.stack([RNG(1).exponential(10, 6), RNG(2).uniform(-3, 3, 6)], axis=1)
    columns, frames = far_columns(gen, counts, missing)
    assert np.isfinite(columns).all()
    assert columns.shape == (6, 15)
    other = gen * [1, -1, 1, 1]
    other[:, 2] += 1.0
    missing[:, 1] += 1.0
    turned_columns, turned_frames = far_columns(other, counts, missing)
    np.testing.assert_allclose(turned_columns, columns, atol=1e-5)
    np.testing.assert_allclose(turned(turned_frames.axis - frames.axis - 1.0), 0.0, atol=1e-9)
    some = counts > 0
    np.testing.assert_array_equal(turned_frames.side[some], -frames.side[some])


def test_what_is_within_a_distance_is_what_is_nearer():
    rng = RNG(4)
    counts, there = rng.integers(0, 5, 400), rng.uniform(size=2000) < 0.6
    others = rng.uniform((1, -2, -np.pi, 0), (50, 2, np.pi, 9), (counts.sum(), 4)).astype(np.float32)
    there = there[: len(others)]
    event = rng.integers(0, 400, 900)
    jets = rng.uniform((1, -2, -np.pi, 0), (50, 2, np.pi, 9), (900, 4))
    there_counts = np.bincount(np.repeat(np.arange(400), counts)[there], minlength=400)
    expected = nearest(jets, event, others[there], there_counts)[1] < 0.8
    within = any_within(0.8, jets, event, others[there], there_counts)
    np.testing.assert_array_equal(within, expected)
    assert 50 < expected.sum() < 850


def test_the_axis_is_opposite_to_what_is_seen():
    gen = np.array([[50.0, 1.0, 0.5, 5.0]])
    _, frames = far_columns(gen, np.array([1]), None)
    assert abs(turned(frames.axis[0] - 0.5)) == pytest.approx(np.pi)
    _, frames = far_columns(gen, np.array([1]), np.array([[80.0, 0.5 - np.pi]]))
    assert frames.axis[0] == pytest.approx(0.5)


@pytest.fixture
def drawn(emulator):
    """Unmatched jets from the model of each recipe and bundle, with the inputs they were drawn from."""
    gen, counts = make_pairs(3000).x, np.repeat([0, 1, 2], [500, 1000, 1000])
    reco, found = gen.copy(), RNG(0).uniform(size=3000) < 0.8
    near, row = emulator.unmatched.draw_near(gen, counts, reco, found, None, random_levels(1))
    far, event = emulator.unmatched.draw_far(gen, counts, far_columns(gen, counts, None), random_levels(2))
    return gen, counts, near, row, far, event


def test_drawn_jets_are_jets(emulator, drawn):
    _, _, near, _, far, _ = drawn
    assert len(near) > 10
    assert len(far) > 10
    raw_pt_min = emulator.unmatched.raw_pt_min
    for jets in (near, far):
        assert jets.dtype == np.float32
        assert np.isfinite(jets).all()
        assert (SCALES[emulator.unmatched.scale].undo(jets.astype(np.float64))[:, 0] > raw_pt_min * (1 - 1e-6)).all()
        assert (jets[:, 3] >= 0).all()
        assert (np.abs(jets[:, 2]) <= np.float32(np.pi)).all()


def test_near_jets_do_not_overlap_reco_jets(emulator, drawn):
    gen, counts, near, row, _, _ = drawn
    found = RNG(0).uniform(size=3000) < 0.8
    event = np.repeat(np.arange(len(counts)), counts)
    to_reco = nearest(near, event[row], gen[found], np.bincount(event[found], minlength=len(counts)))[1]
    assert (to_reco < emulator.unmatched.reach / REACH - 1e-6).mean() < 0.01


def test_far_jets_are_far(emulator, drawn):
    gen, counts, _, _, far, event = drawn
    assert (nearest(far, event, gen, counts)[1] < emulator.unmatched.reach).mean() < 0.01


def test_a_source_does_not_depend_on_the_others(emulator, drawn):
    gen, counts, near, row, far, event = drawn
    model = emulator.unmatched
    found = RNG(0).uniform(size=3000) < 0.8
    some, row_of_some = model.draw_near(gen[:7], counts[:507], gen[:7], found[:7], None, random_levels(1))
    np.testing.assert_array_equal(some, near[row < 7])
    np.testing.assert_array_equal(row_of_some, row[row < 7])
    some, event_of_some = model.draw_far(
        gen[:300], counts[:800], far_columns(gen[:300], counts[:800], None), random_levels(2)
    )
    np.testing.assert_array_equal(some, far[event < 800])
    np.testing.assert_array_equal(event_of_some, event[event < 800])


def test_no_sources_no_jets(emulator):
    none = np.empty((0, 4), dtype=np.float32)
    nothing = np.empty(0, dtype=np.int64)
    jets, _ = emulator.unmatched.draw_near(none, nothing, none, nothing.astype(bool), None, random_levels(1))
    assert jets.shape == (0, 4)
    jets, _ = emulator.unmatched.draw_far(none, nothing, far_columns(none, nothing, None), random_levels(1))
    assert jets.shape == (0, 4)


def test_a_bundle_keeps_the_model(emulator, emulator_bundle, drawn):
    gen, counts, _, _, far, _ = drawn
    again, _ = bundle.load(emulator_bundle).unmatched.draw_far(
        gen, counts, far_columns(gen, counts, None), random_levels(2)
    )
    np.testing.assert_array_equal(again, far)


def test_number_and_kinematics_are_learnt():
    pairs = make_pairs(20_000)
    settings = replace(RECIPES["default"], steps=500, check_every=100, hidden=(8, 8), context=(), batch_size=512)
    settings = replace(settings, learning_rate=6e-3, blind=0.0)
    variables = train(pairs, replace(settings, steps=20, check_every=20, acceptance=False)).variables
    run = TrainingRun(settings, {}, [])
    model = learn_unmatched(pairs, make_unmatched(pairs), variables, run)
    assert model is not None
    assert model.reach == REACH * 0.4
    fresh = make_pairs(10_000, seed=5)
    counts = np.ones(10_000, dtype=np.int64)
    near, row = model.draw_near(fresh.x, counts, fresh.y, fresh.matched, None, random_levels(1))
    assert (~fresh.matched[row]).mean() > 0.95
    assert len(near) / (~fresh.matched).sum() == pytest.approx(0.5, abs=0.05)
    distance = np.hypot(near[:, 1] - fresh.x[row, 1], turned(near[:, 2] - fresh.x[row, 2]))
    assert np.median(distance) == pytest.approx(0.5, abs=0.02)
    far, event = model.draw_far(fresh.x, counts, far_columns(fresh.x, counts, None), random_levels(2))
    assert len(far) / 10_000 == pytest.approx(0.2, abs=0.02)
    assert np.bincount(event).max() == 1
    behind = turned(far[:, 2] - fresh.x[event, 2] - np.pi)
    assert np.median(behind) == pytest.approx(0.0, abs=0.05)
    assert behind.std() == pytest.approx(0.4, abs=0.06)
    assert np.median(far[:, 0]) == pytest.approx(10 + 5 * np.log(2), abs=0.4)


def test_without_unmatched_jets_there_is_no_model():
    pairs = make_pairs(1000)
    nothing = make_unmatched(pairs)
    nothing = nothing._replace(near=nothing.near[:0], near_row=nothing.near_row[:0])
    settings = replace(RECIPES["default"], steps=20, check_every=20, hidden=(8, 8))
    assert train(pairs, settings, nothing).unmatched is None
    assert train(pairs, replace(settings, unmatched=False), make_unmatched(pairs)).unmatched is None


def fold(events, **options):
    return IQNFolder("cms-delphes-ak4", seed=1, **options).fold(events.GenJet, events)


def test_a_fold_adds_them_and_leaves_the_others_alone(nano_events):
    with_them, counts = fold(nano_events, unmatched=True)
    without, none = fold(nano_events, unmatched=False)
    assert none.unmatched == 0
    assert counts.unmatched == ak.sum(with_them.genJetIdx == -1) > 50
    assert ak.all(with_them.pt[:, :-1] >= with_them.pt[:, 1:])
    matched = with_them[with_them.genJetIdx >= 0]
    for name in ("pt", "eta", "phi", "mass", "genJetIdx"):
        assert ak.array_equal(matched[name], without[name])


def test_they_depend_on_their_event_alone(nano_events):
    whole, _ = fold(nano_events, unmatched=True)
    for part in (slice(10, 20), slice(None, None, -1), slice(7, 8)):
        some, _ = fold(nano_events[part], unmatched=True)
        assert ak.array_equal(some.pt, whole[part].pt)
        assert ak.array_equal(some.phi, whole[part].phi)


def test_replicas_have_their_own(nano_events):
    reco, counts = fold(nano_events, unmatched=True, replicas=3)
    alone = [jets[jets.genJetIdx == -1] for jets in (reco[:, 0], reco[:, 1])]
    assert not ak.array_equal(ak.num(alone[0]), ak.num(alone[1]))
    assert counts.unmatched == ak.sum(reco.genJetIdx == -1)
    assert ak.array_equal(reco[:, 0].pt, fold(nano_events, unmatched=True)[0].pt)


def test_a_higher_threshold_holds_for_them_too(nano_events):
    reco, counts = fold(nano_events, unmatched=True, raw_pt_min=20.0)
    flat = np.stack([np.asarray(ak.flatten(reco[v]), dtype=np.float64) for v in ("pt", "eta", "phi", "mass")], axis=1)
    assert SCALES["delphes-cms"].undo(flat)[:, 0].min() > 20.0 - 1e-4
    everything, _ = fold(nano_events, unmatched=True)
    columns = [np.asarray(ak.flatten(everything[v]), dtype=np.float64) for v in ("pt", "eta", "phi", "mass")]
    above = SCALES["delphes-cms"].undo(np.stack(columns, axis=1))[:, 0] > 20.0
    np.testing.assert_array_equal(ak.flatten(reco.genJetIdx), np.asarray(ak.flatten(everything.genJetIdx))[above])
    assert counts.unmatched == ak.sum(reco.genJetIdx == -1) > 0
    assert counts.not_accepted == counts.gen_jets - ak.sum(reco.genJetIdx >= 0)


def test_they_come_as_often_as_in_delphes():
    events = open_events("qcd_ak4.root")
    with_them, _ = fold(events, unmatched=True)
    without, _ = fold(events, unmatched=False)
    truth = ak.sum(events.Jet.pt > 20)
    fraction = ak.sum((with_them.pt > 20) & (with_them.genJetIdx == -1)) / truth
    assert 0.015 < fraction < 0.045
    three = [ak.mean(ak.sum(jets.pt > 20, axis=1) >= 3) for jets in (with_them, without, events.Jet)]
    assert abs(three[0] - three[2]) < abs(three[1] - three[2])


def test_unmatched_jets_are_apart_from_every_other_jet():
    """Clustering gives no two jets within a radius; two jets that were drawn apart from each other might be."""
    events = open_events("ttbar_ak4_full.root")
    reco = IQNFolder("cms-delphes-ak4", seed=3)(events.GenJet, events)
    one, other = ak.unzip(ak.combinations(reco, 2))
    assert ak.sum(reco.genJetIdx < 0) > 100
    assert ak.min(one.delta_r(other)) > 0.4 - 1e-5
