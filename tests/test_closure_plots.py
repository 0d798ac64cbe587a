"""Figures of closure tests: drawn values, errors, and no figures left open."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from coffea_iqn import closure, plotting
from coffea_iqn.plotting.panels import STYLE
from conftest import undrawn

CELLS = closure.Cells((20, 50, 100, 200), (0, 1.3, 2.5))
TITLE = {"title": "A very long name of a_sample$ of many jets"}
NAMES = {**TITLE, "truth_label": "b$c_d"}


@pytest.fixture(autouse=True)
def _undrawn():
    with undrawn():
        yield


def marginal(n=400):
    rng = np.random.default_rng(1)
    return closure.Marginal(np.geomspace(20, 400, 9), *rng.poisson(n, (2, 8)).astype(float))


def in_cells(shape, low, high):
    """Values in cells, with one slice and one cell missing."""
    values = np.random.default_rng(2).uniform(low, high, (3, 2, *shape))
    values[1:, 1] = np.nan
    return closure.OfCells(CELLS, np.full((3, 2), 2500), values)


def response():
    found = in_cells((4, 2, 4), 0.9, 1.1)
    found.values[..., 1::2] *= 0.01
    return found


def tails(n=2000):
    z = np.random.default_rng(3).normal(0, 1.5, (2, n, 4))
    z[:, :, 1] = 0.0  # a variable without tails
    sides = (z < -3).sum(axis=1), (z > 3).sum(axis=1)
    return closure.Tails(z, (3.0,), np.stack(sides, axis=2)[..., None])


def judgement(seed):
    real, emulated = np.random.default_rng(seed).beta(50, 50, (2, 2000))
    return closure.Judgement(0.5, 0.01, np.array([0.2, 0.5, 0.3]), real, emulated)


def profile():
    rows = np.tile([0.9, 0.01, 0.2, 0.01], (3, 1))
    emulated = rows * [1.1, 1, 1, 1]
    emulated[2] = np.nan
    return closure.Profile(np.array([0.5, 0.9, 1.1, 1.5]), emulated, rows)


def all_figures():
    rng = np.random.default_rng(4)
    tests = [closure.KSTest(*rng.uniform(0.01, 0.02, (2, 20))) for _ in range(4)]
    matrix = np.eye(4)
    yield plotting.plot_marginal(marginal(), variable="mass", **NAMES)
    yield plotting.plot_scale_and_resolution(response(), variable="eta", **NAMES)
    yield plotting.plot_tails(tails(), **NAMES)
    yield plotting.plot_levels(rng.uniform(size=(1, 4)), **TITLE)
    yield plotting.plot_map(in_cells((4,), 0, 2).values, CELLS, bar="what", **TITLE)
    yield plotting.plot_ks(tests, **NAMES)
    yield plotting.plot_weights(judgement(5), judgement(6), **NAMES)
    yield plotting.plot_importance(judgement(5), features=("pt", "a$b_c", "very long name of it"), **TITLE)
    yield plotting.plot_correlations(closure.Correlations(matrix, matrix, 0.01), **NAMES)
    yield plotting.plot_profile(profile(), **NAMES)
    yield plotting.plot_observables(dict.fromkeys(("tau21", "mass", "pTD", "flow 4"), marginal()), **NAMES)
    yield plotting.plot_efficiency(in_cells((2,), 0.5, 1), **NAMES)


def texts(figure):
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def points(panel):
    """Return coordinates and bar lengths of the points with errors in a panel."""
    drawn = [container for container in panel.containers if len(container.lines[2])]
    bars = [segment for container in drawn for segment in container.lines[2][0].get_segments()]
    data = np.concatenate([container.lines[0].get_xydata() for container in drawn])
    return data, np.array([bar[1, 1] - bar[0, 1] if len(bar) else np.nan for bar in bars]) / 2


def test_every_figure_is_the_callers_alone():
    before = dict(mpl.rcParams)
    figures = list(all_figures())
    assert all(isinstance(figure, Figure) for figure in figures)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    with plt.style.context(STYLE):
        for figure in figures:
            figure.savefig(io.BytesIO(), dpi=30)  # warnings are errors


def test_marginal_draws_its_ratio_and_its_chi2():
    found = marginal()
    figure = plotting.plot_marginal(found, variable="pt", **NAMES)
    data, bars = points(figure.axes[1])
    assert data[:, 1] == pytest.approx(found.emulated / found.real)
    assert bars == pytest.approx(np.sqrt(found.emulated) / found.real)
    assert f"$\\chi^2$/ndf = {found.agreement.chi2:.1f} / 8" in texts(figure)
    assert figure.axes[0].get_ylabel() == "Jets / GeV"
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    drawn = points(figure.axes[0])[0][:, 1]
    assert drawn == pytest.approx(found.real / np.diff(found.edges))


def test_marginal_of_even_bins_is_not_divided():
    found = closure.Marginal(np.linspace(-5, 5, 5), np.full(4, 30.0), np.full(4, 40.0))
    figure = plotting.plot_marginal(found, variable="eta", **NAMES)
    assert figure.axes[0].get_ylabel() == "Jets / 2.5"
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("linear", "linear")
    assert points(figure.axes[0])[0][:, 1] == pytest.approx([40.0] * 4)


def test_many_decades_are_numbered_at_powers_of_ten():
    found = closure.Marginal(np.geomspace(1e-4, 100, 7), np.full(6, 30.0), np.full(6, 40.0))
    labels = plotting.plot_marginal(found, variable="mass", **NAMES).axes[1].get_xticklabels()
    assert all(re.search(r"10\^\{", label.get_text()) for label in labels)


def test_scale_of_pt_is_compared_as_a_ratio_and_of_an_angle_in_widths():
    found = response()
    known = np.isfinite(found.values[..., 0, 0, 0]).T
    for variable, number in (("pt", 0), ("phi", 2)):
        emulated, truth = np.moveaxis(found.values[:, :, number], 2, 0)
        expected = emulated[..., 0] / truth[..., 0]
        if variable == "phi":
            expected = (emulated[..., 0] - truth[..., 0]) / truth[..., 2]
        figure = plotting.plot_scale_and_resolution(found, variable=variable, **NAMES)
        drawn = points(figure.axes[2])[0][:, 1].reshape(2, 3)
        assert drawn[known] == pytest.approx(expected.T[known])
        assert np.isnan(drawn[~known]).all()
        resolution = points(figure.axes[3])[0][:, 1].reshape(2, 3)
        assert resolution[known] == pytest.approx((emulated[..., 2] / truth[..., 2]).T[known])


def test_one_slice_and_no_slice_of_eta():
    found = response()
    found.values[:, 1] = np.nan
    legend = plotting.plot_scale_and_resolution(found, variable="eta", **NAMES).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [r"$|\eta|$ < 1.3"]
    found.values[:, :, 3] = np.nan  # no gen jet has a mass
    figure = plotting.plot_scale_and_resolution(found, variable="mass", **NAMES)
    assert "Too few jets" in texts(figure)
    efficiency = in_cells((2,), 0.5, 1)
    efficiency.values[:] = np.nan
    assert "Too few jets" in texts(plotting.plot_efficiency(efficiency, **NAMES))


def test_efficiency_has_the_difference_with_binomial_bars():
    found = in_cells((2,), 0.5, 1)
    known = np.isfinite(found.values[..., 0]).T
    data, bars = points(plotting.plot_efficiency(found, **NAMES).axes[1])
    difference = found.values[..., 0] - found.values[..., 1]
    assert data[:, 1].reshape(2, 3)[known] == pytest.approx(difference.T[known])
    assert bars.reshape(2, 3)[known] == pytest.approx(closure.binomial_errors(found).T[known])


def test_profile_has_the_ratio_of_the_medians():
    figure = plotting.plot_profile(profile(), **NAMES)
    assert points(figure.axes[1])[0][:, 1] == pytest.approx([1.1, 1.1, np.nan], nan_ok=True)
    nothing = closure.Profile(profile().edges, *np.full((2, 3, 4), np.nan))
    assert "Too few jets" in texts(plotting.plot_profile(nothing, **NAMES))


def test_fractions_beyond_three_widths_are_written():
    found = tails()
    written = texts(plotting.plot_tails(found, **NAMES))
    for side in (0, 1):
        for z, sign in ((found.z[side, :, 3], -1), (found.z[side, :, 3], 1)):
            assert f"{100 * (sign * z > 3).mean():.2f} %" in written
    assert written.count("0.00 %") == 4


def test_levels_are_over_their_expectation():
    levels = np.random.default_rng(8).uniform(size=(5000, 4)) ** np.array([1, 1, 1, 1.1])
    figure = plotting.plot_levels(levels, **TITLE)
    counts = np.histogram(levels[:, 3], 50, (0, 1))[0]
    data, bars = points(figure.axes[3])
    assert data[:, 1] == pytest.approx(counts / 100)
    assert bars == pytest.approx(np.sqrt(counts) / 100)
    assert f"$\\chi^2$/ndf = {49 * closure.uniformity(levels)[3]:.1f} / 49" in texts(figure)
    with pytest.raises(ValueError, match=r"levels: expected \(N, 4\) of at least one jet, got \(7, 3\)"):
        plotting.plot_levels(np.zeros((7, 3)), **TITLE)


@pytest.mark.parametrize("centre", [None, 1.0])
def test_map_leaves_cells_blank_and_stops_at_the_last_measured(centre):
    values = np.full((3, 2, 4), np.nan)
    values[0, 0], values[1, 0, 2] = 1.234, 0.5
    figure = plotting.plot_map(values, CELLS, bar="what", centre=centre, **TITLE)
    for k, panel in enumerate(figure.axes[:4]):
        (mesh,) = (found for found in panel.collections if isinstance(found, QuadMesh))
        assert mesh.get_array().shape == (2, 1)
        assert mesh.get_array().mask.ravel().tolist() == [False, k != 2]
        assert [label.get_text() for label in panel.get_yticklabels()] == ["20", "50", "100"]
        assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "1.3"]
    assert [text for text in texts(figure) if "." in text] == ["1.23", "1.23", "1.23", "0.50", "1.23"]
    assert figure.axes[4].get_ylabel() == "what"
    assert "Too few jets" in texts(plotting.plot_map(values * np.nan, CELLS, bar="what", **TITLE))
    with pytest.raises(ValueError, match=r"expected \(3, 2, 4\) and 4 names, got \(3, 2, 3\) and 4"):
        plotting.plot_map(values[..., :3], CELLS, bar="what", **TITLE)


def test_ks_distances_share_their_bins():
    tests = [closure.KSTest(np.full(20, 0.01), np.full(20, 0.01 * k)) for k in (1, 2, 3, 0)]
    for panel, test in zip(plotting.plot_ks(tests, **NAMES).axes, tests, strict=True):
        null, emulated = (patch.get_data() for patch in panel.patches)
        assert null.edges.tolist() == emulated.edges.tolist()
        assert null.edges[-1] > max(test.real_real.max(), test.real_emulated.max())
        assert (null.values.sum(), emulated.values.sum()) == (20, 20)
    with pytest.raises(ValueError, match="tests: expected one for each of pt, eta, phi, mass, got 3"):
        plotting.plot_ks(tests[:3], **NAMES)


def test_importance_has_the_largest_on_top():
    figure = plotting.plot_importance(judgement(5), features=("a", "b$", "c"), **TITLE)
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "c", r"b\$"]
    assert [bar.get_width() for bar in panel.patches] == pytest.approx([20, 30, 50])
    with pytest.raises(ValueError, match="features: expected 3 names, got 2"):
        plotting.plot_importance(judgement(5), features=("a", "b"), **TITLE)


def test_weights_of_all_jets_are_drawn():
    far = judgement(5)._replace(real=np.zeros(2000))
    (panel,) = plotting.plot_weights(far, judgement(6), **NAMES).axes
    drawn = points(panel)[0]
    assert drawn[-1, 1] == 1.0
    lines = sorted(line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == "--")
    assert 10 ** np.array(lines) == pytest.approx([0.5, 2.0])


def test_correlations_are_written_with_their_difference():
    real = np.eye(4)
    emulated = real.copy()
    emulated[0, 3] = emulated[3, 0] = -0.25
    figure = plotting.plot_correlations(closure.Correlations(emulated, real, 0.01), **NAMES)
    first, second, third = ([text.get_text() for text in panel.texts] for panel in figure.axes)
    assert (first.count("−0.25"), second.count("0.00"), third.count("−0.250")) == (2, 12, 2)


@pytest.mark.parametrize("plot", [plotting.plot_marginal, plotting.plot_scale_and_resolution])
def test_unknown_variable_is_named(plot):
    with pytest.raises(ValueError, match="variable: expected one of pt, eta, phi, mass, got 'energy'"):
        plot(marginal() if plot is plotting.plot_marginal else response(), variable="energy", **NAMES)
