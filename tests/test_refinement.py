"""Draws refined by ratios of densities: what they are drawn from, to which bits, and what they must not make worse."""

from __future__ import annotations

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

from coffea_iqn import EventFolder, IQNFolder, bundle, response
from coffea_iqn.data import sample_path
from coffea_iqn.emulator.refinement import Candidates, take
from coffea_iqn.exports.export import export
from coffea_iqn.iqn.network import N_TARGETS, Network
from coffea_iqn.iqn.networks import RatioNetwork
from coffea_iqn.numerics.uniforms import MOST_LEVELS, STREAM_JET, event_keys, levels
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.training.columns import extend
from coffea_iqn.training.distil import distil
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import RECIPES, REFINEMENT
from coffea_iqn.training.refinement import Ratios, bound_of, refine, reliability
from coffea_iqn.validation.comparison import Effort, validate
from conftest import CARD, TINY, make_pairs, make_unmatched, one_error, open_events, run, run_over, undrawn

AK4, EVENTS, QCD = "cms-delphes-ak4", "cms-delphes-ak4-events", sample_path("qcd_ak4.root")
TILT, BOUND = 0.4, 2.5  # of log r with the standardised targets of pt and of mass


def tilted(emulator, *, bound=BOUND, candidates=6):
    """An emulator whose ratio network says that log r is a line in the targets of pt and mass."""
    n = emulator.network.n_inputs
    weight = np.zeros((1, n + N_TARGETS), dtype=np.float32)
    weight[0, [n, n + N_TARGETS - 1]] = TILT, -TILT
    network = RatioNetwork(n + N_TARGETS, bound=bound, candidates=candidates, hidden=())
    arrays = {"net.0.weight": weight, "net.0.bias": np.full(1, -(TILT**2), dtype=np.float32)}
    return replace(emulator, ratio=Network(network.description(), arrays))


def tau_of(emulator, n, seed=0):
    return np.random.default_rng(seed).uniform(1e-6, 1 - 1e-6, (n, emulator.n_levels)).astype(np.float32)


@pytest.fixture(scope="module")
def member(request):
    """A tiny emulator of a member of the family."""
    pairs = make_pairs()
    settings = replace(RECIPES["default"], **TINY, network=request.param, targets="symmetric")
    made = train(pairs, settings, make_unmatched(pairs))
    made.card.update(CARD)
    return made


every = pytest.mark.parametrize("member", ["SplineIQN", "IQNx4", "AutoregressiveFlow", "WassersteinGAN"], indirect=True)


@pytest.fixture(scope="module")
def refined():
    return tilted(bundle.load(AK4))


@pytest.fixture(scope="module")
def refined_bundle(refined, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "refined"
    bundle.save(refined, path)
    return path


@every
def test_refined_draws_are_those_of_the_weighted_law(member):
    """Of one jet x: means of the drawn variables, by refined draws and by weighted unrefined ones."""
    emulator, n = tilted(member), 60_000
    x, context = (np.repeat(column[200:201], n, axis=0) for column in (make_pairs().x, make_pairs().context))
    drawn = np.log(emulator.sample(x, tau_of(emulator, n), context)[:, [0, 3]].clip(1e-3))
    before = emulator.unrefined.sample(x, tau_of(emulator.unrefined, n, seed=1), context)
    weights = emulator.weights(x, before, context).astype(np.float64)
    before = np.log(before[:, [0, 3]].clip(1e-3))
    for k in range(2):
        mean = np.average(before[:, k], weights=weights)
        spread = before[:, k].std()
        effective = weights.sum() ** 2 / (weights**2).sum()
        assert abs(drawn[:, k].mean() - mean) < 4.0 * spread * np.sqrt(1 / n + 1 / effective)
        assert abs(before[:, k].mean() - mean) > 20.0 * spread / np.sqrt(effective)  # and not the law of before


@every
def test_a_jet_whose_first_candidate_is_taken_keeps_its_bits(member):
    emulator, pairs = tilted(member), make_pairs()
    tau = tau_of(emulator, len(pairs.x))
    first = emulator.unrefined.sample(pairs.x, tau[:, : member.n_levels], pairs.context)
    kept = (emulator.sample(pairs.x, tau, pairs.context) == first).all(axis=1)
    accepted = tau[:, -1] >= 1.0 - emulator.weights(pairs.x, first, pairs.context) / BOUND
    assert kept[accepted].mean() > 0.999  # but for rounding
    assert 0.2 < accepted.mean() < 0.9
    assert kept[~accepted].mean() < 0.03  # where no candidate is taken one is, which may be the first


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_bits_do_not_depend_on_the_company(refined, backend):
    pairs, tau = make_pairs(1500), tau_of(refined, 1500)
    options = {"backend": backend, "raw_pt_min": 15.0}
    whole = refined.sample(pairs.x, tau, pairs.context, **options)
    rows = np.flatnonzero(np.random.default_rng(1).uniform(size=1500) < 0.3)
    np.testing.assert_array_equal(refined.sample(pairs.x[rows], tau[rows], pairs.context[rows], **options), whole[rows])
    assert len(refined.sample(pairs.x[:0], tau[:0], pairs.context[:0], **options)) == 0


def test_compiled_draws_are_those_of_torch(refined):
    pairs, tau = make_pairs(6000), tau_of(refined, 6000)
    (reco, found), (of_torch, found_of_torch) = (
        refined.respond(pairs.x, tau, pairs.context, backend=backend) for backend in ("numba", "torch")
    )
    np.testing.assert_allclose(found, found_of_torch, atol=1e-5)
    close = np.isclose(reco, of_torch, rtol=1e-3, atol=1e-3).all(axis=1)
    assert (~close).sum() <= 6  # another candidate, where rounding decides
    here = refined.on("cpu")
    there, efficiency = here.respond(
        *(here.variables.target_scale.mean.new_tensor(a) for a in (pairs.x, tau, pairs.context))
    )
    np.testing.assert_array_equal(there.numpy(), of_torch)
    np.testing.assert_array_equal(efficiency.numpy(), found_of_torch)


def test_what_no_candidate_is_taken_of_takes_one_by_its_ratio():
    """Two candidates, of ratios 1 and 3 times a number so small that rejection alone takes nearly none."""
    n, of = 40_000, Candidates(4, 4, 2)
    tau = np.random.default_rng(0).uniform(size=(n, of.n_levels)).astype(np.float32)
    first = np.tile(np.array([[0.0, 1e-4]], dtype=np.float32), (n, 1))

    def draw(rows, tau):
        again = np.isclose(tau[:, 0], tau_of_first[rows]) if len(rows) else np.zeros(0, dtype=bool)
        return np.stack([np.where(again, 0.0, 1.0), np.where(again, 1e-4, 3e-4)], axis=1).astype(np.float32)

    tau_of_first = tau[:, 0]
    assert take(of, tau, first, draw).mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.1875 / n))


def test_levels_of_candidates_are_apart_and_within_those_of_a_replica():
    for network in (bundle.load(AK4).network, bundle.load("cms-delphes-ak4-fast").network):
        most = Candidates.most_of(network)
        of = Candidates.of(network, {"candidates": most})
        assert of.n_levels <= MOST_LEVELS < Candidates.of(network, {"candidates": most + 1}).n_levels
        tau = np.arange(of.n_levels)[None]
        of_each = [of.levels(tau, j)[0, :N_TARGETS].tolist() for j in range(most)]
        assert len(set(sum(of_each, [of.n_levels - 1]))) == N_TARGETS * most + 1
        assert all(first % 4 == 0 for first, *_ in of_each)
    keys = event_keys(1, "x", [1], [1], [1])
    np.testing.assert_array_equal(levels(keys, 0, n=MOST_LEVELS)[:, :4], levels(keys, 0))
    with pytest.raises(ValueError, match="levels: expected at most 64, got 65"):
        levels(keys, 0, stream=STREAM_JET, n=MOST_LEVELS + 1)


def test_a_bundle_does_not_vary_by_its_refinement_if_that_is_off(refined, tmp_path):
    card = {key: value for key, value in refined.card.items() if key != "hash"}
    of_it = {"refinement": {"refines": bundle.load(AK4).card["hash"]}}
    bundle.save(replace(refined, card=card | of_it), tmp_path / "refined")
    for model, other in ((AK4, tmp_path / "refined"), (tmp_path / "refined", AK4)):
        assert len(IQNFolder(model, variations=[f"model={other}"]).systematics) == 2
        with pytest.raises(ValueError, match=r"bundles that differ, got .*, or the same without refinement"):
            IQNFolder(model, variations=[f"model={other}"], refinement="off")


def test_chunks_do_not_show_in_a_fold(refined_bundle):
    events = open_events("qcd_ak4.root", entry_stop=300)
    folder = IQNFolder(refined_bundle, seed=3)
    whole = folder(events.GenJet, events)
    parts = ak.concatenate(
        [folder(events[s].GenJet, events[s]) for s in (slice(0, 7), slice(7, 150), slice(150, None))]
    )
    for name in ("pt", "eta", "phi", "mass", "genJetIdx"):
        assert ak.all(whole[name] == parts[name])
    alone = IQNFolder(AK4, seed=3)(events.GenJet, events)
    off = IQNFolder(refined_bundle, seed=3, refinement="off")(events.GenJet, events)
    assert ak.all(off.pt == alone.pt)
    assert "refinement='off'" in repr(IQNFolder(refined_bundle, refinement="off"))
    both = ak.flatten(whole.pt[ak.num(whole) == ak.num(alone)] == alone.pt[ak.num(whole) == ak.num(alone)])
    assert 0.1 < ak.mean(both) < 0.9


def test_histograms_do_not_depend_on_chunks(refined_bundle):
    sums = [
        run_over(IQNFoldProcessor(refined_bundle, truth=None), ["qcd_ak4.root"], chunksize=size)
        for size in (700, 10**5)
    ]
    for name, histogram in sums[0]["hists"].items():
        np.testing.assert_array_equal(histogram.values(flow=True), sums[1]["hists"][name].values(flow=True))


def test_weights_are_a_field_of_jets_as_before_the_refinement(refined, refined_bundle):
    events = open_events("qcd_ak4.root", entry_stop=200)
    weighted = IQNFolder(refined_bundle, refinement="weight", variations=["jes", "jer"])(events.GenJet, events)
    alone = IQNFolder(AK4, variations=["jes", "jer"])(events.GenJet, events)
    assert ak.all(weighted.pt == alone.pt)
    assert ak.all(weighted.JER.up.pt == alone.JER.up.pt)
    weights = ak.flatten(weighted.weight)
    matched = ak.flatten(weighted.genJetIdx >= 0)
    assert ak.all(weights[~matched] == 1.0)
    assert ak.all((weights > 0.0) & (weights <= BOUND * (1 + 1e-6)))
    assert np.std(weights[matched]) > 0.1
    assert ak.all(weighted.JES.up.weight == weighted.weight)
    made = IQNFolder(refined_bundle, refinement="weight").fold_table(events.GenJet, events)
    table = made.reco[0]
    rows = np.flatnonzero(table.row >= 0)[:50]
    known = made.gen.values[table.row[rows]]
    again = refined.weights(known, table.values[rows, :4].copy(), None)  # of what is less known of them
    assert again.shape == (50,)
    assert table.columns[-1] == "weight"


def test_whole_events_see_the_refined_jets(tmp_path):
    model = tmp_path / "refined"
    bundle.save(tilted(bundle.load(EVENTS)), model)
    events = open_events("ttbar_ak4_full.root", entry_stop=40)
    jets = [EventFolder(m, seed=2)(events).IQNJet.pt for m in (EVENTS, model)]
    assert ak.sum(jets[0]) != ak.sum(jets[1])
    with pytest.raises(ValueError, match="refinement: expected 'draw' or 'off' for whole events"):
        EventFolder(model, refinement="weight")


def test_columns_go_with_the_candidate_that_is_taken():
    pairs = make_pairs(1500)
    y = np.concatenate([pairs.y, (pairs.y[:, 3:] / pairs.y[:, :1])], axis=1)
    base = train(pairs, replace(RECIPES["default"], **TINY))
    emulator = tilted(extend(base, pairs._replace(y=y), None, ["width"], replace(RECIPES["default"], **TINY)))
    tau = tau_of(emulator, len(pairs.x))
    made = emulator.sample(pairs.x, tau, pairs.context)
    assert made.shape[1] == N_TARGETS + 1
    torch_made = emulator.sample(pairs.x, tau, pairs.context, backend="torch")
    assert np.isclose(made, torch_made, rtol=1e-3, atol=1e-3).all(axis=1).mean() > 0.998
    of = emulator.candidates
    every = [emulator.unrefined.sample(pairs.x, of.levels(tau, j), pairs.context) for j in range(of.most)]
    assert (made[None] == np.stack(every)).all(axis=2).any(axis=0).all()  # each is a candidate as a whole


def test_a_bundle_keeps_it_to_the_bit(refined, refined_bundle):
    again = bundle.load(refined_bundle)
    pairs, tau = make_pairs(300), tau_of(refined, 300)
    np.testing.assert_array_equal(
        again.sample(pairs.x, tau, pairs.context), refined.sample(pairs.x, tau, pairs.context)
    )
    assert again.unrefined.sample(pairs.x, tau[:, :4]).shape == (300, 4)
    assert bundle.load(AK4).ratio is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bound": 0.5}, "ratio bound: expected a number from 1 on, got 0.5"),
        ({"bound": "b"}, "ratio bound: expected a finite number, got 'b'"),
        ({"bound": 1e31}, "ratio bound: expected a finite number"),
        ({"candidates": 0}, "ratio candidates: expected a whole number from 1 to 15, got 0"),
        ({"candidates": 16}, "ratio candidates: expected a whole number from 1 to 15, got 16"),
        ({"candidates": 2.0}, "ratio candidates: expected a whole number from 1 to 15, got 2.0"),
        ({"hidden": [7]}, "tensor ratio.net.0.weight: expected shape"),
        ({"n_inputs": 5}, "tensor ratio.net.0.weight: expected shape"),
        ({"type": "AcceptanceNetwork"}, "ratio type: expected one of RatioNetwork"),
        ({"scale": 2}, "network RatioNetwork: expected"),
    ],
)
def test_corrupted_numbers_are_refused(refined, change, message):
    content = json.loads(json.dumps(bundle.describe(refined)))
    content["ratio"] |= change
    with pytest.raises((ValueError, TypeError), match=message):
        bundle.assemble(content, bundle.weights_of(refined))


def test_what_is_not_known_of_a_refined_law_is_refused(refined, refined_bundle, tmp_path):
    pairs = make_pairs(50)
    x, y = pairs.x[pairs.matched], pairs.y[pairs.matched]
    half = np.full_like(x, 0.5)
    for asked in (
        lambda of: of.cdf(x, y),
        lambda of: of.log_density(x, y),
        lambda of: of.quantile(x, half, y),
        lambda of: of.marginal("pt"),
        lambda of: of.most_likely(y),
        lambda of: of.efficiency(x, raw_pt_min=30.0),
        lambda of: of.prepared(raw_pt_min=30.0).respond(x, tau_of(of, len(x))),
        lambda of: of.prepared().median_pt(x, x[:, 1]),
    ):
        with pytest.raises(NotImplementedError, match="expected an emulator whose draws are not refined"):
            asked(refined)
    np.testing.assert_array_equal(refined.unrefined.cdf(x, y), bundle.load(AK4).cdf(x, y))
    np.testing.assert_array_equal(refined.efficiency(x), bundle.load(AK4).efficiency(x))
    with pytest.raises(ValueError, match=r"expected two|expected jets x \(N, 4\), or tau \(N, 25\)"):
        refined.sample(x, half)
    with pytest.raises(ValueError, match="weights: expected a refined emulator"):
        refined.unrefined.weights(x, y)
    for options, message in (
        ({"variations": ["jer"]}, "expected no JER for refined draws"),
        ({"refinement": "on"}, "refinement: expected one of draw, weight, off"),
        ({"refinement": "weight", "variations": [f"model={AK4}-fast"]}, f"got {AK4}-fast, whose jets have no weights"),
    ):
        with pytest.raises(ValueError, match=message):
            IQNFolder(refined_bundle, **options)
    with pytest.raises(ValueError, match="refinement: expected 'draw' or 'off' for cms-delphes-ak4"):
        IQNFolder(AK4, refinement="weight")
    with pytest.raises(ValueError, match="refinement: expected one of draw, off"):
        IQNFoldProcessor(refined_bundle, refinement="weight")
    events = open_events("qcd_ak4.root", entry_stop=5)
    with pytest.raises(ValueError, match="refinement: expected off for a response matrix, whose jets have no weights"):
        response(refined_bundle, events.GenJet, events, [20, 40], [20, 40], refinement="weight")
    with pytest.raises(ValueError, match="expected a SplineIQN, whose quantiles do not cross, got a refined SplineIQN"):
        export(refined_bundle, "correctionlib", tmp_path / "x.json")
    events = open_events("qcd_ak4.root", entry_stop=5)
    with pytest.raises(ValueError, match="expected a SplineIQN, got a refined SplineIQN"):
        response(refined_bundle, events.GenJet, events, [20, 50, 100], [20, 50, 100])
    for learn in (lambda s: distil(refined, pairs, s), lambda s: extend(refined, pairs, None, ["a"], s)):
        with pytest.raises(TypeError, match="got a refined SplineIQN"):
            learn(replace(RECIPES["default"], **TINY))


def test_a_validation_takes_levels_among_refined_draws(refined):
    pairs = make_pairs(600)
    found = validate(refined, pairs, effort=Effort(gen_pt_min=10.0, raw_pt_min=10.0, draws=9, ks_repeats=3, batches=2))
    assert not found.exact_levels
    assert found.truth.medians is not None


# what is learnt: an emulator whose levels of pt are off by a known power
POWER = 1.5
LEARN = replace(REFINEMENT, steps=200, check_every=100, batch_size=512, learning_rate=5e-3, hidden=(16,), holdout=0.4)


@pytest.fixture(scope="module")
def drawn():
    """A tiny emulator, jets x, and jets y that it drew at given powers of the levels of pt."""
    pairs = make_pairs(30_000)
    emulator = train(make_pairs(), replace(RECIPES["default"], **TINY))
    emulator.card.update(CARD)

    def at(power):
        tau = tau_of(emulator, len(pairs.x), seed=5)
        tau[:, 0] **= power
        return pairs._replace(y=emulator.sample(pairs.x, tau.clip(1e-6, 1 - 1e-6), pairs.context))

    return emulator, at


def test_refined_draws_move_to_the_truth_by_what_is_known(drawn):
    emulator, at = drawn
    true = at(POWER)
    made = refine(emulator, true, LEARN)
    report = made.card["refinement"]
    assert made.ratio is not None
    assert report["shrinkage"] > 0.8
    assert report["log_loss_gain"][0] > 5 * report["log_loss_gain"][1]
    # of levels u to the 3/2 the density is u^(−1/3) / 1.5, whose greatest is clipped, and the mean 2/5
    level = emulator.cdf(true.x, made.sample(true.x, tau_of(made, len(true.x)), true.context), true.context)[:, 0]
    assert level.mean() == pytest.approx(1.0 / (1.0 + POWER), abs=0.015)
    assert level.std() == pytest.approx(np.sqrt(1 / (1 + 2 * POWER) - 1 / (1 + POWER) ** 2), abs=0.015)
    weights = made.weights(true.x, at(1.0).y, true.context)
    assert weights.mean() == pytest.approx(1.0, abs=0.02)
    dilution = weights.sum() ** 2 / (len(weights) * (weights**2).sum())
    assert report["dilution"] == pytest.approx(dilution, abs=0.02)
    assert 1.0 < report["draws_of_a_jet"] < report["bound"] * 1.01
    for tenth in report["reliability"]:
        assert abs(tenth["said"] - tenth["found"]) < 5 * tenth["error"]


def test_what_is_right_stays_as_it_is(drawn):
    emulator, at = drawn
    made = refine(emulator, at(1.0), LEARN)
    assert made.ratio is None
    assert made.card["refinement"]["shrinkage"] == 0.0
    assert made.n_levels == emulator.n_levels


def test_the_same_command_gives_the_same_weights_and_takes_up_its_checkpoint(drawn, tmp_path):
    emulator, at = drawn
    few = replace(LEARN, steps=40, check_every=20)
    pairs = at(POWER)
    one, other = (refine(emulator, pairs, few, checkpoint=tmp_path) for _ in range(2))
    for name, array in one.ratio.arrays.items():
        np.testing.assert_array_equal(array, other.ratio.arrays[name])
    with pytest.raises(ValueError, match="expected matched pairs for training, validation and calibration"):
        refine(emulator, at(POWER)._replace(split_key=np.ones(len(pairs.x))), few)


def test_numbers_of_ratios():
    ratios = np.repeat([0.5, 1.0, 4.0], [500, 498, 2])
    assert bound_of(ratios) == 4.0  # 1 would clip 6 of 756
    assert bound_of(np.repeat([1.0, 100.0], [1000, 100])) == 4.0
    rng = np.random.default_rng(0)
    # two normal laws of equal width: log r is a line
    wide = Ratios(*(rng.normal(0.5 * sign, 1.0, 50_000) for sign in (1, -1)))
    assert wide.shrunk(0.5).drawn.std() == pytest.approx(0.5, abs=0.01)
    moved = Ratios(wide.true + 0.3, wide.drawn + 0.3).shrunk(1.0)
    np.testing.assert_allclose(moved.true, wide.shrunk(1.0).true, atol=1e-9)
    assert np.exp(moved.drawn).mean() == pytest.approx(1.0, abs=0.02)
    gains = [wide.shrunk(s).gains().mean() for s in (0.0, 0.5, 1.0)]
    assert gains[0] == pytest.approx(0.0, abs=1e-12)
    assert gains[0] < gains[1] < gains[2]
    assert all(abs(tenth["said"] - tenth["found"]) < 5 * tenth["error"] for tenth in reliability(wide))


def test_command_line(tmp_path, capsys):
    output = tmp_path / "refined"
    few = ("--steps", 20, "--check-every", 10, "--batch-size", 64, "--hidden", 8)
    with undrawn():
        assert run("refine", AK4, QCD, "--output", output, *few, "--plots", tmp_path / "plots") == 0
    said = capsys.readouterr()
    made = bundle.load(output)
    report = made.card["refinement"]
    assert report["files"] == {"qcd_ak4": ["qcd_ak4.root"]}
    assert made.card["hash"] in (output / "model.json").read_text()
    if made.ratio is None:
        assert "not refined: the classifier cannot distinguish true and drawn jets" in said.err
        assert "and there is nothing to plot" in said.err
    else:
        assert "candidates per jet, at most" in said.out
    assert run("refine", AK4, QCD, "--output", output, *few) == 2
    assert "expected" in one_error(capsys)


@pytest.mark.filterwarnings("always:pairs. the bundle to start from")
def test_a_command_refines_what_is_wrong(tmp_path, capsys):
    """A bundle of another detector, on files of this one; then a fold of it, both ways."""
    output = tmp_path / "refined"
    few = ("--steps", 80, "--check-every", 40, "--batch-size", 256, "--hidden", 16, "--learning-rate", 0.01)
    with undrawn():
        assert run("refine", "atlas-delphes-ak4", QCD, "--output", output, *few, "--plots", tmp_path / "plots") == 0
    said = capsys.readouterr()
    assert "candidates per jet, at most" in said.out
    assert "has another response than their jets" in said.err
    assert (tmp_path / "plots" / "reliability.png").is_file()
    counts = {}
    for how in ("draw", "off"):
        folder = tmp_path / how
        assert run("fold", QCD, "--model", output, "--refinement", how, "--no-plots", "--output", folder) == 0
        counts[how] = json.loads((folder / "summary.json").read_text())["datasets"]["qcd_ak4"]
    assert counts["draw"]["reco_jets_selected"] != counts["off"]["reco_jets_selected"]
    capsys.readouterr()
    for options in (("--teacher", output), ("--extend", output, "--columns", "btag")):
        assert run("train", QCD, *options, "--output", tmp_path / "more") == 2
        assert "that is not refined, got a refined SplineIQN" in one_error(capsys)
