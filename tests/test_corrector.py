from __future__ import annotations

import json
import pickle
from argparse import Namespace

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

from coffea_iqn import IQNCorrector, IQNFolder, bundle
from coffea_iqn.bundle import BundleError
from coffea_iqn.closure import median_table
from coffea_iqn.commands import train
from coffea_iqn.data import CORRECTIONS, sample_path
from coffea_iqn.events import checks
from coffea_iqn.events.checks import PartOfEventWarning
from coffea_iqn.processors import IQNCorrectProcessor, PairsProcessor
from conftest import collect, make_pairs, one_error, open_events, run, run_over, undrawn

pytestmark = pytest.mark.filterwarnings("ignore::coffea_iqn.folder.OutsideDomainWarning")
NAMES = ("pt", "eta", "phi", "mass")
SAMPLES = dict(zip(CORRECTIONS, ("qcd_ak4.root", "qcd_ak5.root"), strict=True))


@pytest.fixture(params=CORRECTIONS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def corrector():
    return IQNCorrector(CORRECTIONS[0], seed=3)


def test_jets_come_out_as_they_went_in(model):
    events = open_events(SAMPLES[model])[:200]
    made = IQNCorrector(model, points=11)(events.Jet, events)
    assert isinstance(made, vector.Lorentz)
    assert ak.all(ak.num(made) == ak.num(events.Jet))
    assert ak.all(made.delta_r(events.Jet) < 0.3)
    assert ak.all((made.pt > 0.0) & (made.pt_unc > 0.0) & (made.purity > 0.0) & (made.purity < 1.0))
    assert {f"{name}_unc" for name in NAMES} < set(made.fields)


def test_jets_of_another_radius_by_their_name_are_refused(corrector, nano_events):
    """Large-radius jets are too few for their distances to tell."""
    fat = ak.with_parameter(nano_events.Jet[:, :1], "collection_name", "FatJet")
    events = ak.with_field(nano_events, fat, "FatJet")
    message = "reco jets: expected jets of radius 0.4, as the model's, got FatJet, of radius 0.8 by its name"
    for made in (lambda: corrector(fat), lambda: IQNCorrectProcessor(reco="FatJet").process(events)):
        with pytest.raises(ValueError, match=message):
            made()
    with pytest.warns(PartOfEventWarning):
        assert len(IQNCorrector(CORRECTIONS[0], points=5, any_radius=True)(fat)) == len(fat)


def test_corrected_jets_are_nearer_to_gen_jets_in_every_variable(model):
    """Uses events that no bundle was trained on."""
    radius = 0.4 if "ak4" in model else 0.5
    pairs, _ = collect([SAMPLES[model]], direction="correct", radius=radius, pt_min=20.0)
    reco, gen, context = (column[pairs.matched] for column in (pairs.x, pairs.y, pairs.context))
    rows = median_table(IQNCorrector(model, points=31).correct_flat(reco, context).values, reco, gen)
    assert all(row.ratio < 1.0 for row in rows)
    assert rows[0].ratio < 0.95
    assert rows[3].ratio < 0.95


def test_half_of_the_gen_jets_lie_below_the_median_and_68_percent_within_the_uncertainty(corrector):
    pairs, _ = collect(["qcd_ak4.root"], direction="correct", pt_min=20.0)
    reco, gen, context = (column[pairs.matched] for column in (pairs.x, pairs.y, pairs.context))
    made = corrector.correct_flat(reco, context)
    away = (gen - made.values)[:, [0, 1, 3]]
    assert (away > 0.0).mean(axis=0) == pytest.approx(0.5, abs=0.04)
    assert (np.abs(away) < made.uncertainty[:, [0, 1, 3]]).mean(axis=0) == pytest.approx(0.69, abs=0.04)
    found = made.purity.mean()
    assert pairs.matched.mean() == pytest.approx(found, abs=0.03)


def test_quantiles_rise_and_means_lie_between(corrector, nano_events):
    events = nano_events[:100]
    low, middle, high = (corrector.quantile(tau, events.Jet, events) for tau in (0.2, 0.5, 0.8))
    best, mean = corrector(events.Jet, events), corrector.mean(events.Jet, events)
    for name in ("pt", "eta", "mass"):
        assert ak.all(low[name] <= middle[name])
        assert ak.all(middle[name] <= high[name])
        assert ak.all(best[name] == middle[name])
    assert ak.all((mean.pt > low.pt) & (mean.pt < high.pt))
    # half the central 68 % interval of a nearly normal distribution
    width = ak.flatten((high.pt - low.pt) / best.pt_unc)
    assert np.median(width) == pytest.approx(2 * 0.8416, rel=0.05)


@pytest.mark.parametrize(("points", "tau"), [(101, 0.004), (101, 0.997), (5, 0.05), (1009, 0.0004)])
def test_levels_beyond_the_lattice_are_refused(points, tau):
    """All of them would be those of its last points."""
    made, jet = IQNCorrector(CORRECTIONS[0], points=points), np.array([[40.0, 0.3, 1.0, 6.0]], dtype=np.float32)
    with pytest.raises(
        ValueError, match=rf"tau: expected a level from .* {points} points reach, got {tau}: more points"
    ):
        made.correct_flat(jet, tau=tau)
    made.correct_flat(jet, tau=0.5 / points)


def test_more_points_change_quantiles_little(nano_events):
    events = nano_events[:200]
    few, many = (IQNCorrector(CORRECTIONS[0], points=n)(events.Jet, events) for n in (101, 1009))
    for name in NAMES:
        far = ak.flatten((few[name] - many[name]) / many[f"{name}_unc"])
        assert np.sqrt(np.mean(far**2)) < 0.06


def test_draws_do_not_depend_on_chunks(corrector, nano_events):
    events = nano_events[:60]
    whole = corrector.draw(events.Jet, events)
    for chunk in (slice(0, 7), slice(7, 60)):
        part = corrector.draw(events.Jet[chunk], events[chunk])
        assert all(ak.array_equal(part[name], whole[name][chunk]) for name in NAMES)
    other = IQNCorrector(CORRECTIONS[0], seed=4).draw(events.Jet, events)
    assert ak.all(other.pt != whole.pt)


def test_it_is_small_to_pickle_and_equal_to_its_copy(corrector):
    again = pickle.loads(pickle.dumps(corrector))
    assert again == corrector
    assert again.emulator is corrector.emulator
    assert len(pickle.dumps(corrector)) < 1000


def test_no_jets(corrector, nano_events):
    none = nano_events.Jet[nano_events.Jet.pt < 0.0]
    assert ak.sum(ak.num(corrector(none, nano_events))) == 0
    assert ak.sum(ak.num(corrector.draw(none[:5], nano_events[:5]))) == 0
    with pytest.raises(ValueError, match="events: expected those of the jets, whose identity the draws depend on"):
        corrector.draw(none[:5], None)


def test_delphes_jets(delphes_events):
    made = IQNCorrector("cms-delphes-ak5-correct", points=11)(delphes_events.Jet, delphes_events)
    assert np.median(ak.flatten(made.pt / delphes_events.Jet.pt)) == pytest.approx(0.95, abs=0.1)


def test_jets_of_another_radius_are_refused(nano_events):
    with pytest.raises(ValueError, match=r"^reco jets: expected jets of radius 0.5, .*use cms-delphes-ak4-correct"):
        IQNCorrector("cms-delphes-ak5-correct", points=5)(nano_events.Jet, nano_events)
    IQNCorrector("cms-delphes-ak5-correct", points=5, any_radius=True)(nano_events.Jet[:5], nano_events[:5])


def test_the_bundle_is_that_of_the_radius_of_the_gen_jets(tmp_path, capsys):
    """Delphes writes how wide jets are; of few reco jets the distances do not tell."""
    words = (sample_path("delphes_1000.root"), "--no-plots", "--output", tmp_path / "out")
    assert run("correct", *words) == 0
    assert "cms-delphes-ak5-correct, because the jets do not have the radius of" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"] == "cms-delphes-ak5-correct"
    assert run("correct", *words, "--force", "--model", CORRECTIONS[0]) == 2
    assert "expected jets of radius 0.4, as the model's, got jets whose constituents reach out to" in one_error(capsys)


def test_a_part_of_a_collection_is_said(corrector, nano_events, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    with pytest.warns(PartOfEventWarning, match="reco jets: expected the"):
        corrector(nano_events.Jet[:, :1], nano_events)
    with pytest.warns(PartOfEventWarning, match="expected the events of Jet, or a field jetIdx, got neither"):
        corrector(nano_events.Jet[:, :1])


def test_emulated_jets_are_not_taken_for_a_part_of_the_gen_jets(corrector, nano_events, monkeypatch):
    monkeypatch.setattr(checks, "_WARNED", set())
    some = nano_events[:50]
    reco = IQNFolder("cms-delphes-ak4")(some.GenJet, some)
    assert ak.sum(ak.num(reco)) < ak.sum(ak.num(some.GenJet))
    assert len(corrector.draw(reco, some)) == 50  # a warning would be an error


def test_what_is_no_jet_is_refused(corrector, nano_events):
    jets = nano_events.Jet[:50]
    with pytest.raises(ValueError, match=r"^reco jets: expected finite numbers and pt above 0, got 1 of"):
        corrector(ak.zip({"pt": [[np.nan]], "eta": [[0.0]], "phi": [[0.0]], "mass": [[1.0]]}))
    with pytest.raises(TypeError, match="without missing values"):
        corrector(ak.mask(jets, jets.pt > 30.0), nano_events[:50])
    with pytest.raises(ValueError, match="expected one list for each of the 10 events"):
        corrector(jets, nano_events[:10])
    with pytest.raises(ValueError, match=r"^tau: expected"):
        corrector.quantile(1.0, jets)


def test_jets_of_the_other_level_are_refused(corrector, nano_events):
    with pytest.raises(ValueError, match=r"^reco jets: expected a reco-level collection, got GenJet: an IQNFolder"):
        corrector(nano_events.GenJet, nano_events)
    with pytest.raises(ValueError, match=r"^gen jets: expected a gen-level collection, got Jet: the events have Gen"):
        IQNFolder("cms-delphes-ak4-fast")(nano_events.Jet, nano_events)


def test_corrected_jets_are_not_corrected_again(corrector, nano_events):
    for made in (corrector(nano_events.Jet, nano_events), corrector.draw(nano_events.Jet, nano_events)):
        with pytest.raises(
            ValueError, match="reco jets: expected uncorrected ones, got corrected ones, by their field"
        ):
            corrector(made[made.pt > 20.0], nano_events)


def test_a_bundle_serves_its_direction_alone():
    with pytest.raises(BundleError, match=r"expected a bundle that takes reco jets \(direction 'correct'\)"):
        IQNCorrector("cms-delphes-ak4")
    with pytest.raises(BundleError, match=r"expected a bundle that takes gen jets \(direction 'fold'\)"):
        IQNFolder(CORRECTIONS[0])


@pytest.mark.parametrize(
    "command",
    [
        ["fold", sample_path("qcd_ak4.root"), "--model", CORRECTIONS[0]],
        ["validate", sample_path("qcd_ak4.root"), "--model", CORRECTIONS[0]],
        ["train", sample_path("qcd_ak4.root"), "--teacher", CORRECTIONS[0]],
        ["train", sample_path("qcd_ak4.root"), "--direction", "correct", "--teacher", "cms-delphes-ak4"],
    ],
)
def test_commands_refuse_the_other_direction(command, tmp_path, capsys):
    assert run(*command, "--output", tmp_path / "out") == 2
    assert "(direction '" in one_error(capsys)


@pytest.mark.parametrize("recipe", ["default", "autoencoder"])
def test_training_of_a_correction(recipe, tmp_path, capsys):
    quick = ["--recipe", recipe, "--steps", "40", "--check-every", "20", "--hidden", "8", "8"]
    options = ["--direction", "correct", "--output", tmp_path / "own", *quick]
    assert run("train", sample_path("qcd_ak4.root"), *options) == 0
    assert "reco jets, " in capsys.readouterr().out
    card = json.loads((tmp_path / "own" / "model.json").read_text())
    assert card["card"]["direction"] == "correct"
    assert card["card"]["domain"]["reco_pt"][0] == 15.0
    assert card["variables"]["context"] == ["neighbours"]
    assert card["variables"]["raw_pt_min"] == 10.0  # threshold of gen jets
    assert card["unmatched"] is None
    corrector, events = IQNCorrector(tmp_path / "own", points=5), open_events("qcd_ak4.root")[:20]
    for made in (corrector(events.Jet, events), corrector.draw(events.Jet, events)):
        assert ak.all(made.pt >= 10.0)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--context", "flavour"], "context: expected one of neighbours, event, got 'flavour'"),
        (["--scale", "delphes-cms"], "scale: expected one of none, got 'delphes-cms'"),
        (["--columns", "btag"], "expected no --columns, --overlaps, --objects or --particles with it, got btag"),
    ],
)
def test_what_a_correction_cannot_know_or_draw(option, message, tmp_path, capsys):
    command = ["train", sample_path("qcd_ak4.root"), "--direction", "correct", *option]
    assert run(*command, "--output", tmp_path / "own") == 2
    assert message in one_error(capsys)


def test_pairs_the_other_way_round_are_the_same_pairs():
    there, _ = collect(["qcd_ak4.root"])
    back, gen_alone = collect(["qcd_ak4.root"], direction="correct", pt_min=0.0)
    both = {tuple(np.concatenate(pair)) for pair in zip(back.y[back.matched], back.x[back.matched], strict=True)}
    pairs = zip(there.x[there.matched], there.y[there.matched], strict=True)
    assert all(tuple(np.concatenate(pair)) in both for pair in pairs)
    assert len(gen_alone.near) + len(gen_alone.far) > 0
    with pytest.raises(ValueError, match=r"^direction: expected one of fold, correct, got 'back'$"):
        PairsProcessor(direction="back")


def test_a_run_fills_histograms_of_three_levels_whatever_the_chunks():
    whole, parts = (run_over(IQNCorrectProcessor(points=11), ["qcd_ak4.root"], n) for n in (10_000, 700))
    assert whole["cutflow"]["x"]["reco_jets"] == 13_127
    assert all(whole["hists"][name] == parts["hists"][name] for name in whole["hists"])
    pt = whole["hists"]["pt"][{"dataset": "x"}]
    assert list(pt.axes["level"]) == ["gen", "reco", "corrected"]
    response = whole["hists"]["response"][{"dataset": "x"}].project("level", "response")
    centres = response.axes["response"].centers
    weights = {level: response[{"level": level}].values() for level in ("reco", "corrected")}
    spread = {level: np.average((centres - 1.0) ** 2, weights=of) for level, of in weights.items()}
    assert spread["corrected"] < 0.95 * spread["reco"]


def test_spectra_of_draws_are_those_of_gen_jets():
    made = run_over(IQNCorrectProcessor(take="draw"), ["qcd_ak4.root"])["hists"]["mass"][{"dataset": "x"}]
    drawn, gen = (made[{"level": level}].values() for level in ("corrected", "gen"))
    inside = slice(3, 11)  # where the threshold of reco jets removes few
    assert drawn[inside].sum() == pytest.approx(gen[inside].sum(), rel=0.1)
    assert np.abs(drawn[inside] / gen[inside] - 1.0).max() < 0.2


@pytest.mark.parametrize("take", ["median", "draw"])
def test_the_command(take, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["correct", sample_path("qcd_ak4.root"), "--take", take, "--skim", "root", "--keep", "Jet_*"]
    assert run(*command, "--no-plots", "--output", out) == 0
    assert "13,127 reco jets of 5,000 events corrected" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    with uproot.open(out / "histograms.root") as file:
        assert file["qcd_ak4/corrected/pt"].values().sum() > 0
    with uproot.open(out / summary["skim"][0]) as file:
        columns = file["Events"].arrays()
    assert ak.all(columns["nJet"] == columns["nIQNJet"])
    assert ak.all(columns["IQNJet_jetIdx"] == ak.local_index(columns["Jet_pt"]))
    assert ("IQNJet_pt_unc" in columns.fields) == (take == "median")
    assert not (tmp_path / "out.chunks").exists()
    assert run(*command, "--output", out) == 2  # existing output is not replaced
    one_error(capsys)
    (skim,) = (out / name for name in summary["skim"])
    assert run("correct", skim, "--reco", "IQNJet", "--output", tmp_path / "again") == 2
    refused = f"reco jets: expected uncorrected IQNJet, got jets with a purity, which were corrected before, in {skim}"
    assert refused in one_error(capsys)
    assert run("correct", skim, "--take", take, "--no-plots", "--output", tmp_path / "again") == 0  # its Jet is not


def test_figures_of_a_correction(tmp_path, capsys):
    with undrawn():
        assert run("correct", sample_path("qcd_ak4.root"), "--output", tmp_path / "out") == 0
    n_outside = json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"]["qcd_ak4"]["outside_domain"]
    said = f"{n_outside:,} of 13,127 reco jets are outside (reco pt 15 to "
    assert 0 < n_outside < 13_127
    assert said in capsys.readouterr().out
    assert {"pt", "mass", "response"} <= {plot.stem for plot in (tmp_path / "out" / "plots").glob("*.png")}


def test_no_gen_jet_near_the_most_likely_one_is_likelier():
    pairs, _ = collect(["qcd_ak4.root"], direction="correct", pt_min=20.0)
    reco, gen = (column[pairs.matched][:60].astype(np.float64) for column in (pairs.x, pairs.y))
    emulator = bundle.load("cms-delphes-ak4-fast")
    best = emulator.most_likely(reco.astype(np.float32))
    most = emulator.log_density(best, reco)
    assert np.all(most >= emulator.log_density(reco, reco) - 1e-6)
    assert np.mean(most > emulator.log_density(gen, reco)) > 0.97
    steps = np.random.default_rng(1).normal(0.0, 1.0, (10, *best.shape)) * [0.02, 0.004, 0.004, 0.02]
    near = best * [1.0, 0.0, 0.0, 1.0] * (1.0 + steps) + [0.0, 1.0, 1.0, 0.0] * (best + steps)
    likelier = [emulator.log_density(one, reco) > most + 0.02 for one in near]
    assert np.mean(likelier) < 0.01


def test_the_domain_of_a_correction_begins_where_gen_jets_do():
    """Below, softer reco jets would become as hard as the softest gen jets."""
    pairs = make_pairs()
    reco, gen = pairs.y[pairs.matched], pairs.x[pairs.matched].copy()
    gen[:, 0] += 100.0
    card = {"training": {}}
    given = Namespace(extend=None, direction="correct", gen_pt_min=10.0, detector="", radius=0.4, energy=None, split="")
    train._describe(card, given, {}, pairs._replace(x=reco, y=gen), 0.2)
    assert card["domain"]["reco_pt"][0] == pytest.approx(1.5 * gen[:, 0].min(), rel=0.01)
