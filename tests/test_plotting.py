"""Figures of histograms: numbers, errors, and no figures left open."""

from __future__ import annotations

import itertools
from argparse import Namespace
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text

from coffea_iqn import plotting
from coffea_iqn.commands.common import captions
from coffea_iqn.histograms import filling
from coffea_iqn.plotting.panels import carried, effective, ratio
from coffea_iqn.processors import IQNCorrectProcessor
from conftest import run_over

DATASET = "A_b$c"


def test_a_correction_is_not_drawn_as_a_fold():
    """Its reco jets are those before the correction, which would be called emulated."""
    hists = run_over(IQNCorrectProcessor(points=11), ["qcd_ak4.root"])["hists"]
    chosen = {name: hists[name] for name in ("pt", "response")}
    for draw, of in ((plotting.plot_all, chosen), (plotting.plot_response, chosen["response"])):
        with pytest.raises(ValueError, match="expected the levels gen, reco, truth; found gen, reco, corrected: plot_"):
            draw(of, dataset="x")
    assert list(plotting.plot_correction({"pt": hists["pt"]}, dataset="x")) == ["pt"]
    figures = plotting.plot_correction(chosen, dataset="x", energy=13)
    assert list(figures) == ["pt", "response", "response_slices"]
    told = [[text.get_text() for text in panel.get_legend().get_texts()] for panel in figures["pt"].axes[:1]]
    assert told == [["Reco", "Corrected", "Gen"]]


def booked(entries=400, levels=("gen", "reco", "truth"), weight=1.0):
    rng = np.random.default_rng(7)
    hists = filling.book()
    for level in levels:
        pt = 20 + rng.exponential(40, entries)
        where = {"dataset": DATASET, "level": level, "weight": weight}
        hists["pt"].fill(**where, pt=pt)
        hists["eta"].fill(**where, eta=rng.normal(0, 2, entries))
        hists["njet"].fill(**where, njet=rng.poisson(3, entries))
        if level != "gen":
            eta, response = rng.uniform(0, 2, entries), rng.normal(1, 0.1, entries)
            hists["response"].fill(**where, gen_pt=pt, gen_abs_eta=eta, response=response)
    return hists


def test_ratio_has_each_sides_uncertainty():
    of = ratio(np.array([8.0, 3.0]), np.array([16.0, 3.0]), np.array([4.0, 0.0]), np.array([1.0, 0.0]))
    assert of.values[0] == 2.0
    assert of.numerator_error[0] == 1.0  # 4 of 4
    assert of.denominator_error[0] == 0.25
    assert np.isnan([of.values[1], of.numerator_error[1], of.denominator_error[1]]).all()


def test_median_and_width_are_those_of_the_sample():
    sample = np.random.default_rng(1).gamma(9.0, 0.11, 20_000)
    axis = filling.book()["response"].axes["response"]
    counts = np.histogram(sample, np.r_[-np.inf, axis.edges, np.inf])[0].astype(float)
    found = plotting.median_and_width(counts, counts, axis.edges)
    low, middle, high = np.quantile(sample, [0.15865, 0.5, 0.84135])
    assert found.median == pytest.approx(middle, abs=2e-3)
    assert found.width == pytest.approx((high - low) / 2, abs=2e-3)


def test_uncertainties_of_median_and_width_are_the_scatter_of_repeated_samples():
    rng, edges = np.random.default_rng(2), np.linspace(0, 3, 151)
    found = []
    for _ in range(300):
        counts = np.histogram(rng.normal(1, 0.2, 500), np.r_[-np.inf, edges, np.inf])[0].astype(float)
        found.append(plotting.median_and_width(2 * counts, 4 * counts, edges))
    median, median_error, width, width_error = np.array(found).T
    assert median.std() == pytest.approx(median_error.mean(), rel=0.15)
    assert width.std() == pytest.approx(width_error.mean(), rel=0.15)
    assert median_error.mean() == pytest.approx(1.2533 * 0.2 / np.sqrt(500), rel=0.05)


def test_quantile_beyond_the_axis_and_too_few_entries():
    edges = np.array([0.0, 1.0, 2.0])
    beyond = plotting.median_and_width(np.array([0.0, 1.0, 1.0, 98.0]), np.array([0.0, 1.0, 1.0, 98.0]), edges)
    assert beyond.median == 2.0
    few = np.array([0.0, 20.0, 9.0, 0.0])
    assert np.isnan(plotting.median_and_width(few, few, edges)).all()
    assert np.isnan(plotting.median_and_width(0 * few, 0 * few, edges)).all()


def test_points_of_the_ratio_panel():
    hists = filling.book()
    for level, jets in (("gen", 5), ("reco", 30), ("truth", 25)):
        hists["pt"].fill(dataset="x", level=level, pt=np.full(jets, 23.0))
    figure = plotting.plot_spectrum(hists["pt"], dataset="x")
    drawn = figure.axes[1].containers[0]
    assert drawn.lines[0].get_ydata() == pytest.approx([1.2])
    (bar,) = drawn.lines[2][0].get_segments()
    assert bar[:, 1] == pytest.approx([1.2 - np.sqrt(30) / 25, 1.2 + np.sqrt(30) / 25])
    assert figure.axes[0].get_xlim() == (22, 24)
    assert figure.axes[0].get_ylabel() == "Jets / GeV"


def test_without_truth_the_ratio_is_to_gen():
    figure = plotting.plot_spectrum(booked(levels=("gen", "reco"))["pt"], dataset=DATASET)
    assert figure.axes[1].get_ylabel() == "Emulated /\nGen"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["Gen", "Emulated"]
    assert "Emulated /\nTruth" in plotting.plot_spectrum(booked()["pt"], dataset=DATASET).axes[1].get_ylabel()


def texts(panel):
    legend = panel.get_legend()
    notes = [text.get_text() for text in panel.texts] + [panel.get_title(loc="right")]
    return notes + ([legend.get_title().get_text()] if legend else [])


def test_figures_say_where_their_jets_come_from_and_nothing_that_nobody_knows():
    plain = plotting.plot_spectrum(booked()["pt"], dataset=DATASET)
    said = "\n".join(text.get_text() for text in plain.findobj(Text))
    assert "Simulation" in said
    assert not any(word in said for word in ("Delphes", "TeV", "anti", "$R$"))
    selection = plotting.Selection.of({"algorithm": "anti-kt", "radius": 0.4}, 20.0, 5.0)
    options = {"label": "Mine", "energy": 13.6, "truth_label": "Delphes", "selection": selection}
    for name, figure in plotting.plot_all(booked(4000), dataset=DATASET, **options).items():
        said = "\n".join(text.get_text() for text in figure.findobj(Text))
        for word in ("Mine", "(13.6 TeV)", "anti-$k_T$, $R$ = 0.4", "Delphes", "From the same gen events"):
            assert word in said, (name, word)
        assert ("$p_T$ > 20 GeV, $|\\eta|$ < 5" in said) == (not name.startswith("response")), name


@pytest.mark.parametrize(
    ("name", "of", "cut"),
    [
        ("unmatched_pt", "Jets", "$|\\eta|$ < 5"),
        ("transverse_mass", "Events", None),
        ("dimuon_mass", "Events", None),
        ("muon_response", "Muons", None),
        ("ht_met", "Events", "$p_T$ > 20 GeV, $|\\eta|$ < 5"),
    ],
)
def test_a_figure_has_the_cuts_of_what_it_counts(name, of, cut):
    histogram = filling.book([DATASET], axes=filling.EVENT_AXES)[name]
    edges = histogram.axes[-1].edges
    histogram.fill(DATASET, "reco", np.repeat(0.5 * (edges[1:] + edges[:-1]), 30))
    panel = plotting.plot_spectrum(histogram, dataset=DATASET, selection=plotting.Selection("", 20.0, 5.0)).axes[0]
    assert panel.get_ylabel().startswith(of)
    notes = {text.get_text() for text in panel.texts}
    assert cut in notes if cut else not any("<" in note for note in notes)


def test_a_selection_does_not_say_what_the_axis_says():
    selection = plotting.Selection("", 20.0, 5.0)
    assert selection.lines("Jet mass [GeV]") == "$p_T$ > 20 GeV, $|\\eta|$ < 5"
    assert selection.lines("Number of jets, $p_T$ > 30 GeV") == "$|\\eta|$ < 5"
    for axis in ("Jet $p_T$ [GeV], $|\\eta|$ < 1.3", "Jet $p_T$ [GeV], 1.3 < $|\\eta|$ < 2.5"):
        assert selection.lines(axis) == "$p_T$ > 20 GeV"
    assert plotting.EVERY.lines() == ""


counts = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(counts, st.floats(1e-6, 10.0))
def test_joined_bins_hold_enough_and_lose_nothing(both, weight):
    one, two = np.array(both, dtype=float).T
    levels = [(one, one), (weight * two, weight**2 * two)]
    kept = carried(levels, 20)
    assert (kept[0], kept[-1]) == (0, len(one))
    assert (np.diff(kept) > 0).all()
    if len(kept) > 2:
        for value, variance in levels:
            assert all(effective(value[a:b], variance[a:b]) >= 20 * (1 - 1e-9) for a, b in pairwise(kept))


def test_bins_with_enough_entries_stay_as_they_are():
    many = np.array([30.0, 80.0, 400.0, 90.0, 30.0])
    assert list(carried([(many, many)], 20)) == [0, 1, 2, 3, 4, 5]
    tail = np.array([400.0, 90.0, 30.0, 8.0, 13.0, 0.0, 1.0])
    assert list(carried([(tail, tail)], 20)) == [0, 1, 2, 3, 7]


def test_the_ratio_panel_holds_its_points_and_says_chi2():
    hists = filling.book()
    for level, jets in (("reco", (900, 100, 30)), ("truth", (1000, 70, 60))):
        for pt, n in zip((21.0, 23.0, 25.0), jets, strict=True):
            hists["pt"].fill(dataset="x", level=level, pt=np.full(n, pt))
    panel = plotting.plot_spectrum(hists["pt"], dataset="x").axes[1]
    low, high = panel.get_ylim()
    points = panel.containers[0].lines[0].get_ydata()
    assert points == pytest.approx([0.9, 100 / 70, 0.5])
    assert ((low < points) & (points < high)).all()
    chi2 = 100**2 / 1900 + 30**2 / 170 + 30**2 / 90
    assert texts(panel)[0] == rf"$\chi^2$/ndf = {chi2:.1f} / 3"


def test_no_figure_of_too_few_entries():
    assert list(plotting.plot_all(booked(40), dataset=DATASET)) == ["pt", "eta", "njet"]


@pytest.mark.parametrize("weight", [1.0, -1.0])  # the latter as of an interference
def test_numbers_of_panels_that_touch_do_not_meet(weight):
    hists = filling.book()
    rng = np.random.default_rng(3)
    for level in ("reco", "truth"):
        pt = 15 + rng.exponential(40, 5000)
        response = rng.normal(1, 0.1, 5000)
        hists["response"].fill(dataset="x", level=level, gen_pt=pt, gen_abs_eta=0.5, response=response, weight=weight)
    figure = plotting.plot_response_slices(hists["response"], dataset="x")
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            low, high = axis.get_transform().transform(axis.get_view_interval())
            shown = [t for t in axis.get_majorticklocs() if low <= axis.get_transform().transform([t])[0] <= high]
            places = (axis.get_transform().transform(shown) - low) / (high - low)
            assert len(places) > 1
            assert ((places > 0.05) & (places < 0.95)).all()


def test_captions_of_commands_are_neutral_unless_known():
    given = Namespace(label="Simulation", energy=None, reference_label=None)
    delphes, nano = (Namespace(layout=layout, energy=None) for layout in ("Delphes", "NanoAOD"))
    made = captions(given, {}, {"a": [delphes]}, 20.0, 5.0)
    assert made.pop("selection") == plotting.Selection.of({}, 20.0, 5.0)
    assert made == {"label": "Simulation", "energy": None, "truth_label": "Delphes"}
    made = captions(given, {"energy": 13.6}, {"a": [delphes], "b": [nano]}, 20.0, 5.0)
    assert (made["energy"], made["truth_label"]) == (13.6, "Truth")
    given = Namespace(label="50 $ of it", energy=8.0, reference_label="GEANT")
    made = captions(given, {"energy": 13.6}, {"a": [delphes]}, 20.0, 5.0)
    assert (made["label"], made["energy"], made["truth_label"]) == (r"50 \$ of it", 8.0, "GEANT")


@pytest.mark.parametrize("kind", ["spectrum", "response", "response_slices"])
def test_unknown_dataset_lists_those_there_are(kind):
    histogram = booked(40)["pt" if kind == "spectrum" else "response"]
    with pytest.raises(ValueError, match=r"dataset 'nope': expected one of A_b\$c"):
        getattr(plotting, f"plot_{kind}")(histogram, dataset="nope")


def test_wrong_histogram_and_bin_are_named():
    hists = booked(40)
    with pytest.raises(ValueError, match="one variable; found dataset, level, gen_pt"):
        plotting.plot_spectrum(hists["response"], dataset=DATASET)
    with pytest.raises(ValueError, match="gen_pt, gen_abs_eta, response; found dataset, level, pt"):
        plotting.plot_response(hists["pt"], dataset=DATASET)
    with pytest.raises(ValueError, match="from 0 to 3, got 4"):
        plotting.plot_response_slices(hists["response"], dataset=DATASET, eta_bin=4)
    with pytest.raises(ValueError, match=r"dataset 'nope': expected one of A_b\$c"):
        plotting.plot_all(hists, dataset="nope")
    with pytest.raises(ValueError, match="there are none"):
        plotting.plot_all(filling.book(), dataset="nope")


@pytest.mark.parametrize("entries", [0, 1, 40])
@pytest.mark.parametrize("weight", [1.0, -1.0, 1e-9])
def test_few_entries_do_not_crash(entries, weight):
    hists = booked(entries, weight=weight)
    hists["eta"].fill(dataset=DATASET, level="reco", eta=[99.0])  # overflow only
    plotting.plot_spectrum(hists["eta"], dataset=DATASET)
    if entries:
        plotting.plot_spectrum(hists["njet"], dataset=DATASET)
        plotting.plot_response(hists["response"], dataset=DATASET)
        plotting.plot_response_slices(hists["response"], dataset=DATASET, eta_bin=None)


def test_all_figures_are_written_and_nothing_is_left(tmp_path):
    before = dict(mpl.rcParams)
    figures = plotting.plot_all(booked(4000), dataset=DATASET)
    assert list(figures) == ["pt", "eta", "njet", "response", "response_slices"]  # other histograms have no entries
    assert all(isinstance(figure, Figure) for figure in figures.values())
    few = {name: figures[name] for name in ("njet", "response")}
    paths = plotting.save_all(few, tmp_path / "new", stem_prefix="a_")
    assert [path.name for path in paths] == ["a_njet.png", "a_njet.pdf", "a_response.png", "a_response.pdf"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    assert [path.read_bytes()[:4] for path in paths[:2]] == [b"\x89PNG", b"%PDF"]
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_files_are_reproducible_and_failures_leave_none(tmp_path):
    first, second = (
        plotting.save_all({"pt": plotting.plot_spectrum(booked()["pt"], dataset=DATASET)}, tmp_path / name)
        for name in ("one", "two")
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    broken = Figure()
    broken.text(0.5, 0.5, "$\\nosuchmacro$")
    with pytest.raises(ValueError, match="nosuchmacro"):
        plotting.save_all({"broken": broken}, tmp_path / "three")
    assert list((tmp_path / "three").iterdir()) == []


def test_notebooks_show_figures_without_more():
    before = dict(mpl.rcParams)
    figure = plotting.plot_spectrum(booked()["pt"], dataset=DATASET)
    picture = figure._repr_png_()  # called by IPython
    assert picture[:4] == b"\x89PNG"
    assert figure._repr_png_() == picture
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("axes", ["AXES", "EVENT_AXES", "PARTICLE_AXES"])
def test_labels_of_all_histograms_can_be_drawn(axes):
    """Of whole events and particles as well, whose figures tests of folds make without drawing them."""
    parser = MathTextParser("path")
    for axis in itertools.chain.from_iterable(getattr(filling, axes).values()):
        assert parser.parse(axis.label).width > 0.0


def test_an_axis_from_zero_over_many_decades_is_logarithmic():
    hists = filling.book()
    mass = np.geomspace(0.3, 400, 4000)
    for level in ("reco", "truth"):
        hists["mass"].fill(dataset="x", level=level, mass=mass)
    panel = plotting.plot_spectrum(hists["mass"], dataset="x").axes[0]
    assert panel.get_xscale() == "log"
    assert panel.get_xlim()[0] == 0.5
    below_one = np.count_nonzero(mass < 1)  # the full bin, of which half is drawn
    assert panel.containers[0].lines[0].get_ydata()[0] == below_one
    few = filling.book()
    few["mass"].fill(dataset="x", level="reco", mass=np.linspace(0.5, 30, 500))
    assert plotting.plot_spectrum(few["mass"], dataset="x").axes[0].get_xscale() == "linear"
