"""Further columns of jets, drawn in addition to the four-momentum, from input to output files."""

from __future__ import annotations

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from coffea_iqn import IQNFolder, bundle, running
from coffea_iqn.data import sample_path
from coffea_iqn.emulator.device import levels_on_device
from coffea_iqn.emulator.preprocessing import standardised
from coffea_iqn.exports import graphs
from coffea_iqn.files.inputs import inspect
from coffea_iqn.files.trees import iterate
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.jets.context import columns_of
from coffea_iqn.jets.targets import TARGETS, Column, Rule
from coffea_iqn.numerics.uniforms import levels
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training import extend
from coffea_iqn.training.columns import described
from coffea_iqn.training.distil import distil
from coffea_iqn.training.emulators import train
from coffea_iqn.training.recipes import TrainingSettings
from conftest import one_error, open_events, run, undrawn

FULL, BASE = sample_path("qcd_ak4_full.root"), "cms-delphes-ak4-fast"
COLUMNS = ["btag", "nCharged", "chEF", "tau1", "tau2"]
SETTINGS = TrainingSettings(steps=400, check_every=200, hidden=(24, 24), batch_size=512)
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def sample():
    source = inspect(str(FULL), collections=["GenJet", "Jet"])
    with running.open_executor("iterative", status=False) as executor:
        options = {"collections": ["GenJet", "Jet"], "branches": [f"Jet_{name}" for name in COLUMNS], "status": False}
        return running.run(PairsProcessor(columns=COLUMNS), {"qcd": [source]}, executor, **options)


@pytest.fixture(scope="module")
def made(sample):
    return extend(bundle.load(BASE), *sample, COLUMNS, SETTINGS)


@pytest.fixture(scope="module")
def path(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "more"
    bundle.save(made, folder)
    return folder


def uniform(n, columns):
    return RNG(3).uniform(1e-4, 1 - 1e-4, (n, columns)).astype(np.float32)


@pytest.mark.parametrize("target", [*TARGETS["residual"], *TARGETS["ratio"]], ids=lambda t: t.name)
def test_targets_of_the_four_momentum_are_inverted(target):
    gen = np.array([[30.0, 1.0, 3.0, 4.0], [300.0, -4.0, -3.0, 0.0]])
    values = np.array([0.3, 0.9])
    np.testing.assert_allclose(target.decode(target.encode(values, gen), gen), values, rtol=1e-9, atol=1e-9)


KINDS = {  # values of jets, and the resulting column: kind, atom, top, whether a logarithm is used
    "flag": (lambda u: u < 0.1, ("flag", 0.0, None, False)),
    "count": (lambda u: np.floor(20 * u), ("count", 0.0, None, True)),
    "charge": (lambda u: np.where(u < 0.005, -3.0, np.floor(5 * u) - 2), ("count", None, None, True)),
    "fraction": (lambda u: np.clip(1.3 * u - 0.1, 0.0, 1.0), ("fraction", 0.0, 1.0, False)),
    "discriminant": (lambda u: np.where(u < 0.3, -1.0, u**2), ("fraction", -1.0, None, False)),
    "placeholder": (lambda u: np.where(u < 0.001, -999.0, u), ("fraction", -999.0, None, False)),
    "overflow": (lambda u: np.where(u > 0.999, 9999.0, u), ("fraction", None, 9999.0, False)),
    "sign": (lambda u: np.where(u < 0.3, -1.0, 1.0), ("count", -1.0, None, True)),
    "weighted charge": (lambda u: np.where(np.abs(u - 0.5) < 0.1, 0.0, u - 0.5), ("continuous", 0.0, None, False)),
    "weighted charge of some": (
        lambda u: np.where(u < 0.1, -9.0, np.where(np.abs(u - 0.5) < 0.1, 0.0, u - 0.5)),
        ("continuous", -9.0, 0.0, False),
    ),
    "rounded": (lambda u: np.round(u, 2) + 0.001, ("continuous", None, None, False)),
    "skewed": (lambda u: np.expm1(-8 * np.log1p(-u)), ("continuous", None, None, True)),
    "signed": (lambda u: 3 * u - 2, ("continuous", None, None, False)),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_column_is_what_its_values_are(name):
    of, (kind, atom, top, log) = KINDS[name]
    values = of(RNG(0).uniform(size=20_000)).astype(np.float64)
    column = Column.of(name, values)
    assert (column.kind, column.atom, column.top, column.unit > 0.0) == (kind, atom, top, log)
    number = 0.999 * RNG(1).uniform(size=len(values)) if kind == "count" else 0.0
    z = standardised([column], (values + number)[:, np.newaxis])[:, 0]
    np.testing.assert_allclose(column.decode(z, z), values, rtol=1e-9, atol=1e-9)
    low, high = column.ends
    assert ((z < low) == (values == atom)).all()
    assert ((z > high) == (values == top)).all()
    ends = [end for end in (column.low, column.high, atom, top) if end is not None]
    far = column.decode(np.array([-1e9, 1e9]), z)  # however extreme the network's output
    assert ((far >= min(ends)) & (far <= max(ends))).all()
    assert np.abs([low, high]).max() < 50.0  # no placeholder stretches the range
    assert Column(**json.loads(json.dumps(column._asdict()))) == column


@pytest.mark.parametrize("values", [[1.0, np.nan, 2.0], [np.nan], [3.0, 3.0]])
def test_values_that_are_none_or_the_same_make_no_column(values):
    with pytest.raises(ValueError, match="column odd: expected finite values that differ"):
        Column.of("odd", np.array(values))


@pytest.mark.parametrize("values", [[0.5, 1.5], [0.0, 0.5, 1.0], [0.0, 0.25, 0.5, 0.75, 1.0]])
def test_a_few_fractions_make_no_column(values):
    with pytest.raises(
        ValueError, match=rf"column odd: expected many values or whole numbers, got only {values[0]:g}, "
    ):
        Column.of("odd", np.repeat(values, 100))


def test_a_column_has_two_atoms_at_most():
    u = np.random.default_rng(8).uniform(size=2000)
    values = np.select([u < 0.1, u < 0.2, u < 0.3, u < 0.4], [-1.0, 0.25, 0.5, 2.0], u)
    with pytest.raises(ValueError, match=r"column odd: expected at most two values .* exactly, got -1, 0.25, 0.5, 2$"):
        Column.of("odd", values)


def test_codes_are_no_counts():
    """Their law would draw the numbers between them: of partons, 17 % of the jets had one of 6 to 20."""
    with uproot.open(sample_path("ttbar_ak4_full.root")) as file:
        codes = ak.to_numpy(ak.flatten(file["Events"]["Jet_partonFlavour"].array())).astype(np.float64)
        numbers = ak.to_numpy(ak.flatten(file["Events"]["Jet_nCharged"].array())).astype(np.float64)
    with pytest.raises(ValueError, match="column parton: expected numbers that count something, got codes: many jets"):
        Column.of("parton", codes)
    assert Column.of("n", numbers).kind == "count"
    assert Column.of("n", numbers[:300]).kind == "count"
    assert Column.of("n", np.where(numbers < 2.0, -99.0, numbers)).atom == -99.0


def test_values_stay_in_the_range_that_those_beside_an_atom_have():
    u = np.random.default_rng(9).uniform(size=5000)
    score = Column.of("score", np.where(u < 0.2, -1.0, np.random.default_rng(10).uniform(size=5000)))
    assert (score.kind, score.atom, score.high) == ("fraction", -1.0, 1.0)
    assert Column.of("odd", np.log(u)).high == 0.0
    assert Column.of("odd", 1.0 + u).high > (1.0 + u).max()


def test_flags_and_atoms_at_both_ends_are_learnt_and_drawn_exactly():
    """Draw from a known law: a flag whose rate depends on x, and a number that is often at either end."""
    torch.manual_seed(0)
    n, generator = 20_000, torch.Generator().manual_seed(1)
    x = torch.randint(2, (n, 1), generator=generator).float()
    u, v, w = torch.rand(3, n, generator=generator)
    flag = torch.where(u < 0.02 + 0.6 * x[:, 0], 0.0, -1.0)
    number = torch.where(v < 0.3, -1.0, torch.where(v > 0.9, 2.0, w))
    y, low = torch.stack([flag, number], dim=1), torch.zeros(n, 2)
    bounds = low, torch.tensor([[0.0, 1.0]]).expand(n, 2)
    network = SplineIQN(1, 2, hidden=[[4], [8, 8]], atoms=[0, 1], tops=[1], flags=[0])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        network.loss(x, y, bounds, generator).backward()
        optimiser.step()
    with torch.no_grad():
        tau = torch.rand(n, 2, generator=generator)
        drawn = network.sample(tau, x, lambda k, before: (low[:, k], bounds[1][:, k]))
        again, log_p = network.levels_and_log_densities(drawn, x, bounds)
    assert set(drawn[:, 0].tolist()) == {-1.0, 0.0}
    for known in (0.0, 1.0):
        some = x[:, 0] == known
        assert (drawn[some, 0] == 0.0).double().mean().item() == pytest.approx(0.02 + 0.6 * known, abs=0.02)
    for end, share in ((-1.0, 0.3), (2.0, 0.1)):
        assert (drawn[:, 1] == end).double().mean().item() == pytest.approx(share, abs=0.015)
        assert log_p[:, 1][drawn[:, 1] == end].exp().mean().item() == pytest.approx(share, abs=0.015)
    rest = (drawn[:, 1] >= 0.0) & (drawn[:, 1] <= 1.0)
    torch.testing.assert_close(again[rest, 1], tau[rest, 1], rtol=0, atol=2e-4)


def test_whole_numbers_are_learnt_by_their_probabilities():
    """However these step: a density of numbers with noise added would have to step as well."""
    torch.manual_seed(0)
    known = np.array([0.005, 0.515, 0.08, 0.4])
    numbers = 1.0 + RNG(0).choice(4, 10_000, p=known)
    numbers[:50] = 30.0  # so that a unit is a small part of the range
    column = Column.of("n", numbers)
    noisy = numbers + 0.999 * RNG(1).uniform(size=len(numbers))
    z, x = (
        torch.tensor(a, dtype=torch.float32) for a in (standardised([column], noisy[:, None]), numbers[:, None] * 0)
    )
    cell = [torch.tensor(column.encode(numbers + end, z), dtype=torch.float32) for end in (0.0, 1.0)]
    low, high = (torch.full_like(z, end) for end in column.ends)
    network = SplineIQN(1, 1, hidden=(4,))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(150):
        optimiser.zero_grad()
        network.tail_loss(x, z, (low, high), weights=(0.0,), cells={0: (cell[0], cell[1])}).backward()
        optimiser.step()
    with torch.no_grad():
        drawn = network.sample(torch.rand(10_000, 1), x, lambda _, before: (low[:, 0], high[:, 0]))
    shares = [(column.decode(drawn[:, 0], z) == n).double().mean().item() for n in (1, 2, 3, 4)]
    np.testing.assert_allclose(shares, known, atol=0.03)


def test_further_levels_leave_the_first_four_alone_and_are_new():
    keys = RNG(0).integers(0, 2**32, (100, 4), dtype=np.uint32)
    place = np.arange(100)
    four, six, nine = (levels(keys, place, n=n) for n in (4, 6, 9))
    assert (six[:, :4] == four).all()
    assert (nine[:, :6] == six).all()
    assert len(np.unique(nine)) == nine.size
    there = levels_on_device(torch.tensor(keys.astype(np.int64)), torch.tensor(place), n=9)
    assert (there.numpy() == nine).all()


def test_what_is_drawn_is_of_its_kind_and_like_the_sample(made, sample):
    matched = sample.pairs.matched
    gen, context, true = sample.pairs.x[matched], sample.pairs.context[matched], sample.pairs.y[matched]
    drawn = made.sample(gen, uniform(len(gen), 9), context)
    assert made.variables.names[4:] == tuple(COLUMNS)
    for k, column in enumerate(made.variables.columns, 4):
        assert ((drawn[:, k] >= true[:, k].min()) & (drawn[:, k] <= column.high + (column.top is not None))).all()
        for end in (column.atom, column.top):
            if end is not None:
                shares = [(jets[:, k] == end).mean() for jets in (drawn, true)]
                assert shares[0] == pytest.approx(shares[1], abs=0.03), column.name
        assert abs(drawn[:, k].mean() - true[:, k].mean()) < 0.1 * true[:, k].std(), column.name
    assert set(np.unique(drawn[:, 4])) == {0.0, 1.0}
    assert (drawn[:, 5] == np.floor(drawn[:, 5])).all()
    is_b = context[:, columns_of("flavour")][:, 4] == 1.0
    assert drawn[is_b, 4].mean() > 5 * drawn[~is_b, 4].mean()
    assert ((drawn[:, 6] == 0.0) == (drawn[:, 5] == 0.0)).mean() > 0.95  # no charge, no charged energy
    assert [column.under for column in made.variables.columns] == [None, None, None, None, "tau1"]
    assert (drawn[:, 8] <= drawn[:, 7]).all()  # exactly, as in the sample
    assert (drawn[:, 8] == drawn[:, 7]).mean() < (true[:, 8] == true[:, 7]).mean() + 0.01


def test_the_four_momentum_stays_as_it_was(made, sample):
    gen, tau, context = sample.pairs.x, uniform(len(sample.pairs.x), 9), sample.pairs.context
    base = bundle.load(BASE)
    one, two = made.sample(gen, tau, context), base.sample(gen, tau[:, :4], context)
    assert (one[:, :4] == two).all()
    assert (made.efficiency(gen, context) == base.efficiency(gen, context)).all()
    assert (made.cdf(gen, two, context) == base.cdf(gen, two, context)).all()
    for backend in ("numba", "torch"):  # with four levels, the four-momentum only
        four = made.sample(gen[:500], tau[:500, :4], context[:500], backend=backend)
        np.testing.assert_allclose(four, two[:500], rtol=0.0 if backend == "numba" else 1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"one shape \(N, 4\), or tau \(N, 9\), got \(50, 4\) and \(50, 5\)"):
        made.sample(gen[:50], tau[:50, :5])


def test_backends_and_the_graph_agree(made, sample):
    gen, tau, context = sample.pairs.x[:1000], uniform(1000, 9), sample.pairs.context[:1000]
    one, two = (made.sample(gen, tau, context, backend=backend) for backend in ("numba", "torch"))
    few = slice(0, 40)
    three = graphs.evaluate(graphs.model(made), gen[few], tau[few], context[few])[0]
    for other, rows in ((two, slice(None)), (three, few)):
        assert (one[rows, 4:6] == other[:, 4:6]).mean() > 0.999  # rounding may change a count that is rounded down
        np.testing.assert_allclose(one[rows, 6:], other[:, 6:], atol=1e-4)


def test_unmatched_jets_have_columns_and_chunks_change_nothing(path):
    events = open_events("qcd_ak4_full.root", entry_stop=600, metadata={"dataset": "qcd"})
    folder = IQNFolder(path)
    reco = folder(events.GenJet, events)
    base = IQNFolder(BASE)(events.GenJet, events)
    assert all(ak.array_equal(reco[name], base[name]) for name in ("pt", "eta", "phi", "mass", "genJetIdx"))
    assert {*COLUMNS, "genJetIdx", "matched_gen"} <= set(reco.fields)
    of_none = reco[reco.genJetIdx < 0]
    assert ak.sum(ak.num(of_none)) > 50
    for name in COLUMNS:
        assert np.isfinite(ak.to_numpy(ak.flatten(reco[name]))).all()
    assert set(ak.to_numpy(ak.flatten(of_none.btag))) == {0.0, 1.0}
    assert len(set(ak.to_numpy(ak.flatten(of_none.tau1)))) > 30
    assert ak.all(reco["tau2"] <= reco["tau1"], axis=None)  # as an attribute, tau2 is a property of vectors
    parts = [folder(events[part].GenJet, events[part]) for part in (slice(0, 77), slice(77, 600))]
    for name in COLUMNS:
        assert ak.array_equal(ak.concatenate([part[name] for part in parts]), reco[name])
    with_torch = IQNFolder(path, backend="torch")(events.GenJet, events)
    assert (ak.flatten(with_torch.nCharged) == ak.flatten(reco.nCharged)).to_numpy().mean() > 0.99


def test_a_student_draws_what_its_teacher_does(made, sample):
    settings = TrainingSettings(steps=10, check_every=10, hidden=(8, 8), batch_size=128)
    student = distil(made, sample.pairs, settings)
    assert student.variables.columns == made.variables.columns
    drawn = student.sample(sample.pairs.x[:500], uniform(500, 9))
    assert set(np.unique(drawn[:, 4])) <= {0.0, 1.0}


def test_from_files_to_files(path, tmp_path, capsys):
    """The command line extends a bundle with a column, and folds, skims and validates it."""
    short = ("--steps", "10", "--check-every", "10", "--hidden", "8", "8")
    twice = tmp_path / "twice"
    assert run("train", f"qcd={FULL}", "--extend", path, "--columns", "nNeutral", *short, "--output", twice) == 0
    made, before = bundle.load(twice), bundle.load(path)
    assert made.variables.names[4:] == (*COLUMNS, "nNeutral")
    learnt = [report["columns"] for report in made.card["extended"] if "columns" in report]
    assert learnt == [COLUMNS, ["nNeutral"]]
    assert made.card["training"] == before.card["training"]
    gen, tau = RNG(0).uniform(20, 90, (50, 4)) * [1.0, 0.02, 0.02, 0.1], uniform(50, 10)
    assert (made.sample(gen, tau)[:, :9] == before.sample(gen, tau[:, :9])).all()

    out = tmp_path / "out"
    assert (
        run("fold", f"qcd={FULL}", "--model", twice, "--skim", "root", "--as", "Jet", "--no-plots", "--output", out)
        == 0
    )
    summary = json.loads((out / "summary.json").read_text())
    columns = next(iterate(out / summary["skim"][0]))
    assert all(np.isfinite(ak.to_numpy(ak.flatten(columns[f"Jet_{n}"]))).all() for n in (*COLUMNS, "nNeutral"))

    report, few = tmp_path / "report", ("--quick", "--threads", "1", "--max-jets", "1500")
    with undrawn():
        assert run("validate", f"qcd={FULL}", "--model", twice, *few, "--output", report) == 0
    numbers = json.loads((report / "metrics.json").read_text())["figures"]
    assert list(numbers["truth"]["columns"]) == [*COLUMNS, "nNeutral"]
    assert numbers["truth"]["columns"]["btag"]["ndf"] <= 2
    assert 0.3 < numbers["null"]["columns"]["tau1"]["levels_chi2_per_ndf"] < 2.0
    assert list(numbers["truth"]["flags"]) == list(numbers["null"]["flags"]) == ["btag"]
    assert "nNeutral of emulated and true jets" in (report / "report.html").read_text(encoding="utf-8")
    bare = ("validate", str(sample_path("qcd_ak4.root")), "--model", twice, *few)
    with undrawn():
        assert run(*bare, "--output", tmp_path / "bare") == 0
    content = json.loads((tmp_path / "bare" / "metrics.json").read_text())
    assert "columns" in content["left_out"]
    capsys.readouterr()


def test_a_new_training_learns_them_after_the_four_momentum(tmp_path):
    train_it = ("train", f"qcd={FULL}", "--steps", "10", "--check-every", "10", "--hidden", "8", "8")
    for name, asked in (("four", ()), ("eight", ("--columns", "btag", "nCharged", "nNeutral", "tau1"))):
        assert run(*train_it, *asked, "--output", tmp_path / name) == 0
    four, eight = bundle.load(tmp_path / "four"), bundle.load(tmp_path / "eight")
    gen, tau = RNG(0).uniform(20, 90, (50, 4)) * [1.0, 0.02, 0.02, 0.1], uniform(50, 8)
    drawn = eight.sample(gen, tau)
    assert (drawn[:, :4] == four.sample(gen, tau[:, :4])).all()
    assert eight.unmatched.columns.targets.n_targets == 4
    assert eight.variables.columns[-1].atom_if == Rule(("nCharged", "nNeutral"), 1.0)
    assert ((drawn[:, 7] == 0.0) == (drawn[:, 5] + drawn[:, 6] <= 1.0)).all()


def reco_jets_of(name):
    """Return the reco jets of a sample, (N, 4 + 5), with two counts, an energy fraction and two N-subjettinesses."""
    fields = ("pt", "eta", "phi", "mass", "nCharged", "nNeutral", "chEF", "tau1", "tau2")
    with uproot.open(sample_path(name)) as file:
        arrays = file["Events"].arrays([f"Jet_{field}" for field in fields])
    columns = [ak.to_numpy(ak.flatten(arrays[f"Jet_{field}"])) for field in fields]
    return np.stack(columns, axis=1).astype(np.float32), fields[4:]


def test_numbers_of_particles_decide_about_atoms_where_they_always_do():
    """A jet of N particles has no N-subjettiness of N axes or more, one without charged ones no charged energy."""
    jets, names = reco_jets_of("ttbar_ak4_full.root")
    both = ("nCharged", "nNeutral")
    found = {column.name: (column.atom_if, column.top_if) for column in described([jets], [], names)}
    assert found["tau1"] == (Rule(both, 1.0), None)
    assert found["tau2"] == (Rule(both, 2.0), None)
    assert found["chEF"] == (Rule(both[:1], 0.0), Rule(both[1:], 0.0))
    assert found["nNeutral"] == (None, None)
    jets[np.argmax(jets[:, 7]), 7] = 0.0  # a single jet of many particles
    assert described([jets], [], names)[3].atom_if is None


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_atoms_that_others_decide_are_drawn_without_exception(backend):
    """Also of unmatched jets."""
    events = open_events("ttbar_ak4_full.root", entry_stop=600, metadata={"dataset": "x"})
    reco = IQNFolder("cms-delphes-ak4-events", backend=backend)(events.GenJet, events)
    for jets in (reco[reco.genJetIdx >= 0], reco[reco.genJetIdx < 0]):
        n = jets.nCharged + jets.nNeutral
        for k in (1, 2, 3):
            assert ak.all((jets[f"tau{k}"] == 0.0) == (n <= k), axis=None)
            assert ak.any(n <= k, axis=None)
        assert ak.all((jets.chEF == 0.0) == (jets.nCharged == 0), axis=None)
        assert ak.all((jets.chEF == 1.0) == ((jets.nNeutral == 0) & (jets.nCharged > 0)), axis=None)


WRONG = {
    "--columns btag": "columns: expected distinct names of new fields of jets, got 'btag'",
    "--columns colour": "columns: expected colour of Jet, found",
    "--columns mass": "got 'mass'",
    "--columns energy": "got 'energy'",
    "--columns electronIdx1": "expected quantities of a jet, got 'electronIdx1', which refers to objects of the event",
    "--columns nNeutral nNeutral": "expected distinct names of new fields of jets, got 'nNeutral'",
    "": "expected --columns, --overlaps, --objects or --particles, and no --teacher, got none and None",
    "--columns nNeutral --teacher cms-delphes-ak4": "--objects or --particles, and no --teacher, got",
    "--columns nNeutral --ensemble 2": "ensemble: expected no --extend, which",
    "--columns nNeutral --direction correct": "expected no --columns, --overlaps, --objects or --particles with it",
}


@pytest.mark.parametrize("options", WRONG)
def test_what_cannot_be_is_one_line(options, path, tmp_path, capsys):
    code = run("train", f"qcd={FULL}", "--extend", path, *options.split(), "--output", tmp_path / "new", "--quiet")
    assert code == 2
    assert WRONG[options] in one_error(capsys)


def test_columns_of_a_member_that_cannot_have_them_are_refused_before_its_training(tmp_path, capsys):
    asked = ("--recipe", "autoencoder", "--columns", "btag", "--output", tmp_path / "new")
    assert run("train", FULL, *asked) == 2
    assert "columns: expected a recipe with a SplineIQN, got Autoencoder" in one_error(capsys)


def test_pairs_of_other_columns_are_refused(made, sample):
    with pytest.raises(ValueError, match="columns pt, eta, phi, mass, got 9 columns"):
        train(sample.pairs, SETTINGS)
    with pytest.raises(ValueError, match="9 columns and nNeutral, got 9 columns"):
        extend(made, *sample, ["nNeutral"], SETTINGS)
    with pytest.raises(ValueError, match="expected unmatched jets to learn the columns of"):
        extend(bundle.load(BASE), sample.pairs, None, COLUMNS, replace(SETTINGS, steps=1))


DAMAGES = {
    "no such kind": (lambda c: c.update(kind="colour"), "kind: expected one of"),
    "falling ends": (lambda c: c.update(low=5.0, high=3.0), "column nCharged: expected rising numbers"),
    "atom inside": (lambda c: c.update(atom=4.0), "column nCharged: expected rising numbers"),
    "no atom": (lambda c: c.update(atom=None), "expected atoms"),
    "scale of zero": (lambda c: c.update(scale=0.0), "column scale: expected a number above 0"),
    "under one after": (
        lambda c: c.update(under="chEF"),
        "column nCharged: expected an earlier column as its upper limit",
    ),
    "name of another": (lambda c: c.update(name="pt"), "got 'pt'"),
    "no rule": (
        lambda c: c.update(atom_if="always"),
        "rule of an atom: expected one or two columns and their greatest",
    ),
    "rule of a count": (lambda c: c.update(atom_if=[["btag"], 1.0]), "column nCharged: expected rules for all of its"),
    "rule of one after": (
        lambda c: c.update(kind="fraction", top=90.0, atom_if=[["chEF"], 1.0], top_if=[["chEF"], 1.0]),
        "column nCharged: expected earlier counts in rules, got chEF, chEF",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_column_is_refused(damage, made):
    change, message = DAMAGES[damage]
    content = json.loads(json.dumps(bundle.describe(made)))
    change(content["variables"]["columns"][1])
    with pytest.raises(ValueError, match=message):
        bundle.assemble(content, bundle.weights_of(made))


def test_a_variation_does_not_replace_a_column_of_its_name(made, tmp_path):
    first, *others = made.variables.columns
    jes = replace(made, variables=replace(made.variables, columns=(first._replace(name="JES"), *others)), card={})
    bundle.save(jes, tmp_path / "jes")
    IQNFolder(tmp_path / "jes", variations=["jer"])
    with pytest.raises(ValueError, match="variations: expected names that no column of the bundle has, got JES"):
        IQNFolder(tmp_path / "jes", variations=["jes"])


def test_columns_of_before_there_were_atoms_are_to_be_learnt_again(made):
    content = {"schema_version": 6, **bundle.describe(made), "objects": None}
    content["variables"] = {**content["variables"], "more": ["btag"]}
    with pytest.raises(ValueError, match="got one with btag, from before columns had atoms"):
        bundle.migrated(content)
