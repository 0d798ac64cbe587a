"""Overlapping gen jets: which they are, in what order they are drawn, and that one takes what the other loses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import awkward as ak
import numpy as np
import pytest

from coffea_iqn import IQNFolder, bundle
from coffea_iqn.closure import TooFewJetsError, count_overlapping, efficiency_of_overlapping
from coffea_iqn.data import sample_path
from coffea_iqn.emulator.overlaps import REACH, levels_of, logits, pair_columns, steps
from coffea_iqn.emulator.unmatched import balance
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.iqn.network import N_TARGETS, Network
from coffea_iqn.iqn.networks import RatioNetwork
from coffea_iqn.jets.features import ETA, PHI, PT, SCALES, wrap_phi
from coffea_iqn.jets.matching import overlapping
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.training import overlaps
from coffea_iqn.training.overlaps import RARE, with_overlaps
from coffea_iqn.training.recipes import RECIPES
from conftest import TINY, make_pairs, make_unmatched, one_error, open_events, run

MODEL, RADIUS = "cms-delphes-ak4", 0.4
WITH = [name for name in bundle.disk.BUNDLES if bundle.load(name).overlaps is not None]
RNG = np.random.default_rng


def crowd(n_events=400, seed=1):
    """Make events with many overlapping jets; of some events all jets have the same pt."""
    rng = RNG(seed)
    counts = rng.integers(0, 16, n_events)
    n = int(counts.sum())
    same = np.repeat(rng.uniform(size=n_events) < 0.1, counts)
    pt = np.where(same, 30.0, 10.0 + rng.exponential(40.0, n))
    columns = pt, rng.uniform(-1.5, 1.5, n), rng.choice([-np.pi, np.pi], n) + rng.uniform(-1.5, 1.5, n), 0.1 * pt
    jets = np.stack(columns, axis=1).astype(np.float32)
    jets[:, PHI] = wrap_phi(jets[:, PHI].astype(np.float64))
    return jets, counts


def distance(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.hypot(a[..., ETA] - b[..., ETA], wrap_phi(a[..., PHI] - b[..., PHI]))


def test_levels_are_those_of_their_logits_and_within_those_of_draws():
    u = RNG(0).uniform(size=(1000, 4))
    np.testing.assert_allclose(levels_of(logits(u)), u, rtol=1e-6, atol=1e-7)
    ends = levels_of(logits(np.array([[0.0, 1.0, LEAST_LEVEL / 9, 1.0 - 1e-16]])))
    assert ends.tolist() == [[LEAST_LEVEL, 1.0 - LEAST_LEVEL] * 2]
    assert levels_of(np.full((1, 1), -900.0)) == LEAST_LEVEL


def test_overlapping_jets_are_those_of_a_slow_search():
    jets, counts = crowd()
    event = np.repeat(np.arange(len(counts)), counts)
    for rows, sign in zip(overlapping(jets, counts, 0.6), (1.0, -1.0), strict=True):
        for i, row in enumerate(rows):
            others = np.flatnonzero((event == event[i]) & (sign * (jets[:, PT] - jets[i, PT]) > 0.0))
            far = distance(jets[others], jets[i])
            expected = others[far.argmin()] if len(others) and far.min() < 0.6 else -1
            assert row == expected


def test_every_overlapping_jet_is_drawn_once_and_after_the_harder_one_it_overlaps_with():
    jets, counts = crowd()
    harder, softer = overlapping(jets, counts, REACH * RADIUS)
    drawn, order = harder < 0, []
    for k, (rows, others) in enumerate(steps(jets, counts, RADIUS)):
        if k == 0:
            np.testing.assert_array_equal(others, softer[rows])
        else:
            np.testing.assert_array_equal(others, harder[rows])
            assert drawn[others].all()
            drawn[rows] = True
        order.extend(rows)
    assert sorted(order) == np.flatnonzero((harder >= 0) | (softer >= 0)).tolist()
    assert k >= 3  # there were chains of jets
    none = list(steps(jets[:0], counts[:0], RADIUS))
    assert [len(rows) for rows, _ in none] == [0]


def test_the_outcome_of_a_softer_or_lost_jet_is_not_looked_at():
    jets, _ = crowd()
    gen, other = jets[:-1], jets[1:]
    found = RNG(3).uniform(size=len(gen)) < 0.5
    nothing = np.full_like(other, np.nan)
    some = pair_columns(gen, other, nothing, np.zeros(len(gen), dtype=bool), np.full(len(gen), 0.9), RADIUS)
    assert np.isfinite(some).all()
    assert (some[:, 10:] == 0.0).all()
    reco = np.where(found[:, None] & (other[:, PT] > gen[:, PT])[:, None], 1.1 * other, np.nan).astype(np.float32)
    known = pair_columns(gen, other, reco, found, np.full(len(gen), 0.9), RADIUS)
    assert np.isfinite(known).all()
    np.testing.assert_array_equal(known[:, 10] == 1.0, found & (other[:, PT] > gen[:, PT]))
    np.testing.assert_array_equal(known[:, :10], some[:, :10])


def test_balance_is_the_pt_that_reco_jets_lack():
    gen = np.array([[100, 0, 0, 5], [40, 0, 0.5, 5], [30, 0, 3.0, 5], [20, 1, 0, 3]], dtype=np.float32)
    reco = np.array([[135, 0, 0, 5], [np.nan] * 4, [24, 0, 3.0, 5], [26, 1, 0, 3]], dtype=np.float32)
    found = np.array([True, False, True, True])
    made = balance(gen, np.array([3, 1]), reco, found, 0.8)
    scaled = np.sign(made) * 10.0 * np.expm1(np.abs(made))
    np.testing.assert_allclose(scaled, [[-35, 5], [40, 5], [6, 6], [-6, -6]], rtol=1e-5)


@cache
def folds():
    """Fold QCD events with both jets of pairs known; return pairs' pt gained by the harder, and whether softer lost."""
    events, pairs = open_events("qcd_ak4_full.root", metadata={"dataset": "qcd"}), []
    gen = flatten_jets(events.GenJet)
    harder, _ = overlapping(gen.values, gen.counts, 1.2 * RADIUS)
    soft = np.flatnonzero((harder >= 0) & (gen.values[:, PT] > 15.0))
    hard = harder[soft]
    for seed in range(40):
        made = IQNFolder(MODEL, seed=seed, unmatched=False).fold_table(events.GenJet, events).reco[0]
        reco = np.full(len(gen.values), np.nan)
        reco[made.row] = made.values[:, PT]
        gained = (reco[hard] - gen.values[hard, PT]) / gen.values[soft, PT]
        pairs.append(np.stack([gained, np.isnan(reco[soft])], axis=1))
    return np.concatenate(pairs)


def test_a_jet_is_lost_more_often_if_the_harder_one_gained_its_pt():
    gained, lost = folds().T
    merged, usual = lost[gained > 0.5].mean(), lost[np.abs(gained) < 0.25].mean()
    assert merged > 2.0 * usual
    assert merged > 0.15


def test_all_other_jets_are_as_if_there_were_no_overlaps(tmp_path):
    events = open_events("ttbar_ak4_full.root", metadata={"dataset": "ttbar"})
    bundle.save(replace(bundle.load(MODEL), overlaps=None), tmp_path / "without")
    gen = flatten_jets(events.GenJet)
    with_model, without = (
        IQNFolder(model, unmatched=False).fold_table(events.GenJet, events).reco[0]
        for model in (MODEL, tmp_path / "without")
    )
    alone = np.stack(overlapping(gen.values, gen.counts, REACH * RADIUS)).max(axis=0) < 0
    by_row = [
        {row: four.tobytes() for row, four in zip(of.row, of.values, strict=True)} for of in (with_model, without)
    ]
    changed = [row for row in range(len(alone)) if by_row[0].get(row) != by_row[1].get(row)]
    assert not alone[changed].any()
    assert 0.7 * (~alone).sum() < len(changed) <= (~alone).sum()


def test_a_varied_efficiency_changes_jets_of_the_nominal_fold_only():
    events = open_events("ttbar_ak4_full.root", metadata={"dataset": "ttbar"})
    made = IQNFolder(MODEL, unmatched=False, variations={"EFF": 0.3}).fold_table(events.GenJet, events)
    up, down = (made.varied[name][0] for name in ("EFF_up", "EFF_down"))
    alone = np.stack(overlapping(made.gen.values, made.gen.counts, REACH * RADIUS)).max(axis=0) < 0
    for more, fewer in ((up, made.reco[0]), (made.reco[0], down)):
        here, there = (set(one.row[~alone[one.row]]) for one in (more, fewer))
        # a jet that is found may take the place of another
        assert len(there - here) < 0.01 * len(there)
        assert len(there) < 0.995 * len(here)
    overlapping_jets = ~alone[down.row]
    efficiency = bundle.load(MODEL).efficiency(made.gen.values[~alone], None)
    kept = overlapping_jets.sum() / (~alone[made.reco[0].row]).sum()
    assert kept == pytest.approx(1.0 - 0.3 / efficiency.mean(), abs=0.05)


def of_close_jets(model, **options):
    """Fold flat QCD, and return the efficiency of jets next to a harder one, by systematic."""
    events = open_events("qcdflat_ak4.root", metadata={"dataset": "qcd"})
    made = IQNFolder(model, unmatched=False, replicas=10, **options).fold_table(events.GenJet, events)
    harder, _ = overlapping(made.gen.values, made.gen.counts, 1.2 * RADIUS)
    close = np.flatnonzero((harder >= 0) & (made.gen.values[:, PT] > 20.0))
    every = {"nominal": made.reco, **made.varied}
    return {name: np.mean([np.isin(close, one.row).mean() for one in of]) for name, of in every.items()}


def test_a_varied_efficiency_is_that_of_the_pair():
    """The efficiency of close jets is far below that of an average jet, but is to change by as much, or up to 1."""
    found = of_close_jets(MODEL, variations=["eff=0.01"])
    assert found["nominal"] < 0.93
    assert 0.001 < found["EFF_up"] - found["nominal"] < 0.012
    assert found["nominal"] - found["EFF_down"] == pytest.approx(0.01, abs=0.004)


def test_refinement_changes_neither_the_efficiency_nor_the_levels_of_overlapping_jets(tmp_path):
    emulator = bundle.load(MODEL)
    n = emulator.network.n_inputs + N_TARGETS
    ratio = RatioNetwork(n, bound=2.0, candidates=2, hidden=())
    arrays = {"net.0.weight": np.zeros((1, n), dtype=np.float32), "net.0.bias": np.zeros(1, dtype=np.float32)}
    bundle.save(replace(emulator, ratio=Network(ratio.description(), arrays)), tmp_path / "refined")
    one, other = of_close_jets(MODEL), of_close_jets(tmp_path / "refined")
    assert other["nominal"] == pytest.approx(one["nominal"], abs=0.015)


@pytest.mark.parametrize("unmatched", [True, False])
def test_a_higher_threshold_removes_jets_and_changes_no_other(unmatched):
    events = open_events("ttbar_ak4_full.root", metadata={"dataset": "ttbar"})
    every, above = (
        IQNFolder(MODEL, unmatched=unmatched, raw_pt_min=least).fold_table(events.GenJet, events).reco[0].values
        for least in (None, 30.0)
    )
    kept = SCALES["delphes-cms"].undo(every[:, :4].astype(np.float64))[:, PT] > 30.0
    np.testing.assert_array_equal(every[kept], above)


def jets_of(values, counts):
    return JetTable(values, counts, places(counts))


def test_the_efficiency_of_overlapping_jets_is_compared():
    gen, counts = crowd(4000)
    table = jets_of(gen, counts)
    harder, _ = overlapping(gen, counts, 1.25 * RADIUS)
    close = (harder >= 0) & (gen[:, PT] > 20.0)
    keep = ~close | (RNG(5).uniform(size=len(gen)) < 0.8)
    options = {"radius": RADIUS, "cone": 0.01}
    every, some = (count_overlapping(table, reco, **options) for reco in (table, table.where(keep)))
    assert every.sum(axis=0).tolist() == [close.sum()] * 2
    assert some[:, 1].sum() == (close & keep).sum()
    value, uncertainty = efficiency_of_overlapping(some, every)
    assert value == pytest.approx(0.2, abs=0.03)
    assert 0.0 < uncertainty < 0.02
    assert efficiency_of_overlapping(every, every).value == 0.0
    with pytest.raises(TooFewJetsError, match="overlapping jets: expected 1 jets, got 0"):
        efficiency_of_overlapping(every[:0], every[:0])


def test_too_few_overlapping_jets_are_refused():
    pairs = make_pairs(500)
    with pytest.raises(
        ValueError, match=f"overlaps: expected {RARE} overlapping jets or more, 10% of them held out, got 0"
    ):
        with_overlaps(bundle.load(MODEL), pairs, make_unmatched(pairs), RECIPES["default"])


FILE, WORDS = sample_path("qcd_ak4.root"), ["--steps", TINY["steps"], "--check-every", 20, "--hidden", 8, 8]


def test_a_new_bundle_and_an_extended_one_have_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(overlaps, "RARE", 500)
    new, again = tmp_path / "new", tmp_path / "again"
    assert run("train", f"qcd={FILE}", *WORDS, "--energy", 13, "--output", new) == 0
    made = bundle.load(new)
    assert made.overlaps is not None
    assert made.overlaps.radius == pytest.approx(RADIUS)
    assert set(made.card["extended"][-1]["validation_loss"]) == {"overlaps number", "overlaps jets"}
    assert run("train", f"qcd={FILE}", "--extend", new, "--overlaps", *WORDS, "--output", again) == 0
    laws = [bundle.load(path).overlaps.pair.number.arrays for path in (new, again)]
    for key, weights in laws[0].items():
        np.testing.assert_array_equal(weights, laws[1][key])
    events = open_events("qcd_ak4.root", metadata={"dataset": "qcd"})[:300]
    numba, torch = (IQNFolder(new, backend=backend)(events.GenJet, events) for backend in ("numba", "torch"))
    assert abs(ak.num(numba) - ak.num(torch)).to_numpy().sum() <= 2


def test_small_samples_are_trained_without_the_model(tmp_path, capsys):
    assert run("train", f"qcd={FILE}", *WORDS, "--energy", 13, "--output", tmp_path / "new") == 0
    assert "overlapping jets: too few to train on, so" in capsys.readouterr().out
    assert bundle.load(tmp_path / "new").overlaps is None


def test_few_jets_take_over_the_model_of_a_pretrained_bundle(tmp_path, capsys):
    words = ["--steps", 20, "--energy", 13, "--pretrained", MODEL]
    assert run("train", f"qcd={FILE}", *words, "--output", tmp_path / "new") == 0
    assert "too few to train on, so their model is the pretrained one" in capsys.readouterr().out
    mine, theirs = (bundle.load(of).overlaps.pair.number.arrays for of in (tmp_path / "new", MODEL))
    assert all((mine[key] == weights).all() for key, weights in theirs.items())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "overlaps: expected --extend with it, as new bundles have this model anyway, got none"),
        (["--extend", "cms-delphes-ak4"], f"overlaps: expected {RARE} overlapping jets or more, 10% of them held out"),
        (["--direction", "correct"], "direction correct: expected no --columns, --overlaps"),
    ],
)
def test_the_option_is_refused_where_it_does_not_apply(tmp_path, capsys, options, says):
    assert run("train", f"qcd={FILE}", "--overlaps", *options, "--output", tmp_path / "new", "--quiet") == 2
    assert says in one_error(capsys)
    assert not list(tmp_path.iterdir())
