"""Figures of emulated beside true jets, from the results of `closure`, in the style of CMS.

Each function returns a figure that pyplot does not know: nothing to close, nothing shown, the caller's style as it
was. Emulated is blue, truth is black. Everywhere `title` is what the figure is of, at the top right, where long ones
are shortened; `label` follows "coffea-iqn" at the top left, in matplotlib's mathtext; `truth_label` names the true
jets. Uncertainties are statistical, and take emulated and true jets as independent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from coffea_iqn.closure import MASS, PT, Marginal, OfCells, Profile, Tails, binomial_errors
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.plotting.labels import (
    BLUE,
    EVERY,
    GEN_PT,
    MIN_OF_BIN,
    NAMES,
    NOTHING,
    OBSERVABLES,
    WRITTEN,
    Selection,
    Variable,
    chi2_text,
    histogram,
    label_grid,
    label_ratio,
    middles,
    name_levels,
    note,
    number_of,
    styled,
)
from coffea_iqn.plotting.panels import (
    GREY,
    Shown,
    Slices,
    carried,
    compare_slices,
    draw_levels,
    draw_ratio,
    draw_slices,
    finish,
    header,
    limit,
    limit_points,
    make_log_x,
    make_panels,
    make_slices,
    plain,
    power_of_ten,
    ratio,
)

WIDE = 5.0  # edges above zero that spread by more than this factor are drawn on a logarithmic axis
FARTHEST = 10.0  # widths from the median that the figure of the tails shows


@styled
def plot_marginal(
    marginal: Marginal,
    *,
    variable: str,
    title: str,
    label: str = "Simulation",
    truth_label: str = "Truth",
    selection: Selection = EVERY,
    axis: str = "",
) -> Shown:
    """One variable of emulated and true jets, their χ², and the ratio of emulated to true.

    Parameters
    ----------
    marginal: entries in bins; the first and the last hold what lies beyond.
    variable: which it is: pt, eta, phi or mass, or of what axis is given any.
    title, label, truth_label: as said above.
    selection: which jets they are.
    axis: what it is called, where it is none of the four.

    Bins of few entries are joined with their neighbours; χ² is that of the marginal's own. Entries are divided by the
    widths of the bins; of equal ones, by the number that were joined. The grey band is the uncertainty of the
    denominator, the bars are that of the numerator; a triangle is a bin beyond the range.

    Raises
    ------
    ValueError: for another variable.
    """
    written = Variable(axis, axis, "unit", "") if axis else WRITTEN[number_of(variable)]
    edges, emulated, truth = (part.astype(np.float64) for part in marginal)
    widths = np.diff(edges)
    uniform = bool(np.allclose(widths, widths[0]))
    width = float(widths[0]) if uniform else 1.0
    kept = carried([(emulated, emulated), (truth, truth)], MIN_OF_BIN)
    edges, (emulated, truth) = edges[kept], (np.add.reduceat(side, kept[:-1]) for side in (emulated, truth))
    log_x = bool(edges[0] > 0 and edges[-1] / edges[0] > WIDE)
    log_y = variable in {"pt", "mass"}
    power = power_of_ten(float(max(emulated.max(), truth.max()))) if uniform and not log_y else 0
    unit = np.diff(edges) / width * 10.0**power
    levels = {name: (side / unit, np.sqrt(side) / unit) for name, side in (("reco", emulated), ("truth", truth))}

    figure, ((top,), (bottom,)) = make_panels(2, 1)
    header(top, top, title, label)
    centres = np.sqrt(edges[1:] * edges[:-1]) if log_x else middles(edges)
    handles = draw_levels(top, edges, centres, levels)
    name_levels(top, handles["reco"], handles["truth"], truth_label)
    note(top, selection.lines(written.axis))
    scale = f"  [$10^{{{power}}}$]" if power else ""
    per = f"{width:.3g} {written.unit}".removesuffix(" unit") if uniform else written.unit
    top.set_ylabel(f"Jets / {per}{scale}")
    limit(top, list(levels.values()), log=log_y)
    draw_ratio(bottom, edges, centres, ratio(emulated, emulated, truth, truth), text=chi2_text(*marginal.agreement))
    label_ratio(bottom, truth_label)
    bottom.set_xlabel(written.axis)
    bottom.set_xlim(edges[0], edges[-1])
    if log_x:
        make_log_x(top, bottom)
    return finish(figure)


@styled
def plot_observables(
    found: Mapping[str, Marginal], *, title: str, label: str = "Simulation", truth_label: str = "Truth"
) -> Shown:
    """Several observables of emulated and true jets, three in a row, and their χ².

    Parameters
    ----------
    found: entries in bins of equal width, by name, of `labels.OBSERVABLES`.
    title, label, truth_label: as said above.
    """
    figure, panels = make_panels(-(-len(found) // 3), 3, grid=True, apart=True)
    for panel in panels.flat[len(found) :]:
        panel.remove()
    header(panels[0, 0], panels[0, -1], title, label)
    for panel, (name, marginal) in zip(panels.flat, found.items(), strict=False):
        edges, emulated, truth = (part.astype(np.float64) for part in marginal)
        levels = {"reco": (emulated, np.sqrt(emulated)), "truth": (truth, np.sqrt(truth))}
        handles = draw_levels(panel, edges, middles(edges), levels)
        limit(panel, list(levels.values()), log="mass" in name)
        panel.set_xlim(edges[0], edges[-1])
        panel.set_xlabel(OBSERVABLES[name])
        note(panel, chi2_text(*marginal.agreement), at=(0.96, 0.95), ha="right", fontsize=18)
    for panel in panels[:, 0]:
        panel.set_ylabel("Jets")
    entries = [handles["reco"], handles["truth"]]
    panels[0, 0].legend(entries, ["Emulated", plain(truth_label)], loc="upper left", fontsize=18)
    return finish(figure)


@styled
def plot_scale_and_resolution(
    found: OfCells, *, variable: str, title: str, label: str = "Simulation", truth_label: str = "Truth"
) -> Shown:
    """Scale (median of the response) and resolution (half its central 68 % width) against gen pt, in slices of |eta|.

    Parameters
    ----------
    found: as of `closure.response_in_cells`: values (P, E, 4 variables, emulated and real, median, error, width,
        error), NaN in cells with too few jets.
    variable: pt, eta, phi or mass.
    title, label, truth_label: as said above.

    Below, emulated over true, with the uncertainties of both; for the scale of an angle, which is near zero, the
    difference of the medians over the true width.

    Raises
    ------
    ValueError: for another variable.
    """
    number = number_of(variable)
    written = WRITTEN[number]
    of_variable = written.factor * found.values[:, :, number].astype(np.float64)
    slices = _slices(found, of_variable)
    figure, panels = make_panels(2, 2)
    header(panels[0, 0], panels[0, 1], title, label)
    if slices is None:
        return finish(figure, panels[0, 0], NOTHING)
    medians, median_errors, widths, width_errors = np.moveaxis(of_variable, 3, 0)

    top, bottom = panels[:, 0]
    _draw_against_pt(top, slices, medians, median_errors, name=written.response, least=written.least)
    note(top, "Median")
    if variable in {"eta", "phi"}:
        width = np.where(widths[..., 1] > 0, widths[..., 1], np.nan)
        shift, error = -np.diff(medians)[..., 0] / width, np.hypot(*np.moveaxis(median_errors, 2, 0)) / width
        compare_slices(bottom, slices, shift, error, around=0.0)
        bottom.set_ylabel("Difference /\nwidth", loc="center", fontsize="small")
    else:
        _draw_slices_ratio(bottom, slices, medians, median_errors, truth_label)

    top, bottom = panels[:, 1]
    _draw_against_pt(top, slices, widths, width_errors, name=written.response, least=written.least, zero=True)
    note(top, "Half the 68 % width")
    _draw_slices_ratio(bottom, slices, widths, width_errors, truth_label)

    lines, etas, kinds, texts = slices.legend(truth_label)
    panels[0, 0].legend(lines, etas, ncols=2, loc="upper right")
    panels[0, 1].legend(kinds, texts, loc="upper right")
    for panel in panels[1]:
        panel.set_xlabel(GEN_PT)
    return finish(figure)


@styled
def plot_efficiency(found: OfCells, *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Efficiency against gen pt in slices of |eta|, and below the difference of emulated and true.

    Parameters
    ----------
    found: as of `closure.efficiency_in_cells`: values (P, E, emulated and real), NaN in cells with too few jets.
    title, label, truth_label: as said above.

    Bars are binomial uncertainties of the true efficiencies, from the number of jets.
    """
    values, error = found.values.astype(np.float64), binomial_errors(found).astype(np.float64)
    slices = _slices(found, values)
    figure, ((top,), (bottom,)) = make_panels(2, 1)
    header(top, top, title, label)
    if slices is None:
        return finish(figure, top, NOTHING)
    errors = np.stack([np.zeros_like(error), error], axis=2)
    _draw_against_pt(top, slices, values, errors, name="Efficiency", room=0.5)
    compare_slices(bottom, slices, values[..., 0] - values[..., 1], error, around=0.0)
    lines, etas, kinds, texts = slices.legend(truth_label)
    top.legend([*lines, *kinds], [*etas, *texts], ncols=2, loc="upper right")
    bottom.set_ylabel(f"Emulated −\n{plain(truth_label)}", loc="center", fontsize="small")
    bottom.set_xlabel(GEN_PT)
    return finish(figure)


@styled
def plot_profile(found: Profile, *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Median of the mass response in bins of the pt response, with a band of half its width, and the medians' ratio.

    Parameters
    ----------
    found: as of `closure.profile`; NaN in bins with too few jets.
    title, label, truth_label: as said above.

    The band of the emulated jets is filled, that of the true ones is between dashed lines.
    """
    edges, emulated, truth = (part.astype(np.float64) for part in found)
    centres = middles(edges)
    figure, ((top,), (bottom,)) = make_panels(2, 1)
    header(top, top, title, label)
    both = np.stack([emulated, truth])
    if not np.isfinite(both).any():
        return finish(figure, top, NOTHING)
    open_points = top.errorbar(
        centres, *emulated.T[:2], fmt="o", color=BLUE, markersize=11, mfc="white", mew=2, elinewidth=2
    )
    points = top.errorbar(centres, *truth.T[:2], fmt="o", color="black", markersize=6, elinewidth=2)
    low, high = (emulated[:, 0] + sign * emulated[:, 2] for sign in (-1, 1))
    band = top.stairs(high, edges, baseline=low, fill=True, color=BLUE, alpha=0.3, linewidth=0)
    for sign in (-1, 1):
        side = truth[:, 0] + sign * truth[:, 2]
        dashes = top.stairs(side, edges, baseline=None, color="black", linestyle="--", linewidth=1.5)
    name_levels(top, (band, open_points), (dashes, points), truth_label)
    limit_points(top, both[..., 0], both[..., 2], zero=False, room=0.6)
    top.set_ylabel(f"Median of {WRITTEN[MASS].response}")
    of = ratio(emulated[:, 0], emulated[:, 1] ** 2, truth[:, 0], truth[:, 1] ** 2)
    draw_ratio(bottom, edges, centres, of, ranges=(0.05, 0.1, 0.2, 0.5, 1.0))
    label_ratio(bottom, truth_label)
    bottom.set_xlabel(WRITTEN[PT].response)
    bottom.set_xlim(edges[0], edges[-1])
    return finish(figure)


@styled
def plot_tails(found: Tails, *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Distances of the residuals from their medians, in half central 68 % widths of the true jets.

    Parameters
    ----------
    found: as of `closure.tails`.
    title, label, truth_label: as said above.

    Dashed lines are at the least of the widths beyond which jets were counted; beside them stand the fractions of
    jets beyond. The first and the last bin hold what lies beyond the axis.
    """
    edges = np.linspace(-FARTHEST, FARTHEST, 51)
    n_jets = found.z.shape[1]
    counts = np.stack([[histogram(column, edges) for column in side.T] for side in found.z])
    fractions, errors = counts / n_jets, np.sqrt(counts) / n_jets
    beyond = 100 * found.counts[..., 0] / n_jets
    figure, panels = make_panels(2, 2, grid=True)
    header(panels[0, 0], panels[0, 1], title, label)
    for number, (panel, name) in enumerate(zip(panels.flat, NAMES, strict=True)):
        levels = {level: (fractions[k, number], errors[k, number]) for k, level in enumerate(("reco", "truth"))}
        handles = draw_levels(panel, edges, middles(edges), levels)
        note(panel, name)
        for side, (at, sign) in enumerate(((0.17, -1), (0.83, 1))):
            panel.axvline(sign * found.widths[0], color=GREY, linestyle="--", linewidth=1.5, zorder=1)
            for k, (colour, height) in enumerate(((BLUE, 0.66), ("black", 0.58))):
                text = f"{beyond[k, number, side]:.2f} %"
                note(panel, text, at=(at, height), color=colour, ha="center", fontsize=20)
    limit(panels[0, 0], [(fractions, errors)], log=True, decades=6)
    name_levels(panels[0, 1], handles["reco"], handles["truth"], truth_label)
    label_grid(panels, "(Residual − median) / width", f"Fraction of jets / {edges[1] - edges[0]:.1f}")
    panels[0, 0].set_xlim(-FARTHEST, FARTHEST)
    return finish(figure)


def _slices(found: OfCells, values: Doubles) -> Slices | None:
    pt, abs_eta = (np.asarray(edges, dtype=np.float64) for edges in found.cells)
    return make_slices(pt, abs_eta, values)


def _draw_against_pt(
    panel: Axes, slices: Slices, values: Doubles, errors: Doubles, *, name: str, zero: bool = False, **limits: float
) -> None:
    """Values and errors (P, E, emulated and true) in slices of |eta|."""
    draw_slices(panel, slices, values, errors)
    limit_points(panel, values[:, slices.numbers], errors[:, slices.numbers], zero=zero, **limits)
    panel.set_ylabel(name)
    panel.set_xlim(slices.limits)
    make_log_x(panel)


def _draw_slices_ratio(panel: Axes, slices: Slices, values: Doubles, errors: Doubles, truth_label: str) -> None:
    """Emulated over true, of values and errors (P, E, emulated and true)."""
    of = ratio(values[..., 0], errors[..., 0] ** 2, values[..., 1], errors[..., 1] ** 2)
    compare_slices(panel, slices, of.values, of.error)
    label_ratio(panel, truth_label)
