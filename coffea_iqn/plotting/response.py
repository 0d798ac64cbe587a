"""Figures of emulated and true jets, from the results of `closure`, in CMS style."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from coffea_iqn.closure import MASS, PT, Marginal, OfCells, Profile, Tails, binomial_errors
from coffea_iqn.closure.spectra import WIDE, histogram
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
    label_grid,
    middles,
    name_levels,
    note,
    number_of,
    styled,
)
from coffea_iqn.plotting.panels import (
    GREY,
    Shown,
    carried,
    compare_slices,
    draw_against_pt,
    draw_levels,
    draw_ratio,
    draw_slices_ratio,
    empty,
    label_ratio,
    limit,
    limit_points,
    make_log_x,
    make_slices,
    plain,
    power_of_ten,
    ratio,
    titled_panels,
)

FARTHEST = 10.0  # range of the figure of tails, in widths from the median


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
    """Plot the spectrum of one variable of emulated and true jets, their χ², and the ratio of emulated to true.

    Parameters
    ----------
    marginal: entries in bins; the first and the last bin include values beyond the axis.
    variable: pt, eta, phi or mass, or another name if `axis` is given.
    title, label, truth_label: see above.
    selection: selection of the jets.
    axis: axis label of a variable that is not one of the four.

    Bins with few entries are merged with their neighbours, but χ² uses the original bins. Entries are divided by the
    bin widths, or for bins of equal width by the number of merged bins. In the ratio, the grey band is the uncertainty
    of the denominator, bars are that of the numerator, and triangles are bins beyond the range.

    Raises
    ------
    ValueError: for an unknown variable.
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

    figure, ((top,), (bottom,)) = titled_panels(2, 1, title, label)
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
    return figure


@styled
def plot_observables(
    found: Mapping[str, Marginal], *, title: str, label: str = "Simulation", truth_label: str = "Truth"
) -> Shown:
    """Plot observables of emulated and true jets, three in a row, and their χ².

    Parameters
    ----------
    found: entries in bins of equal width, by name in `labels.OBSERVABLES`.
    title, label, truth_label: see above.
    """
    figure, panels = titled_panels(-(-len(found) // 3), 3, title, label, grid=True, apart=True)
    for panel in panels.flat[len(found) :]:
        panel.remove()
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
    return figure


@styled
def plot_scale_and_resolution(
    found: OfCells, *, variable: str, title: str, label: str = "Simulation", truth_label: str = "Truth"
) -> Shown:
    """Plot scale (median response) and resolution (half its central 68 % width) against gen pt in slices of |eta|.

    Parameters
    ----------
    found: result of `closure.response_in_cells`: values (P, E, 4 variables, emulated and real, median, error, width,
        error), NaN in cells with too few jets.
    variable: pt, eta, phi or mass.
    title, label, truth_label: see above.

    The lower panels show emulated over true with the uncertainties of both. For the scale of an angle, which is near
    zero, they show the difference of the medians over the true width.

    Raises
    ------
    ValueError: for an unknown variable.
    """
    number = number_of(variable)
    written = WRITTEN[number]
    of_variable = written.factor * found.values[:, :, number].astype(np.float64)
    slices = make_slices(*found.cells, of_variable)
    figure, panels = titled_panels(2, 2, title, label)
    if slices is None:
        return empty(figure, panels[0, 0], NOTHING)
    medians, median_errors, widths, width_errors = np.moveaxis(of_variable, 3, 0)

    top, bottom = panels[:, 0]
    draw_against_pt(top, slices, medians, median_errors, name=written.response, least=written.least)
    note(top, "Median")
    if variable in {"eta", "phi"}:
        width = np.where(widths[..., 1] > 0, widths[..., 1], np.nan)
        shift, error = -np.diff(medians)[..., 0] / width, np.hypot(*np.moveaxis(median_errors, 2, 0)) / width
        compare_slices(bottom, slices, shift, error, around=0.0)
        bottom.set_ylabel("Difference /\nwidth", loc="center", fontsize="small")
    else:
        draw_slices_ratio(bottom, slices, medians, median_errors, truth_label)

    top, bottom = panels[:, 1]
    draw_against_pt(top, slices, widths, width_errors, name=written.response, least=written.least, zero=True)
    note(top, "Half the 68 % width")
    draw_slices_ratio(bottom, slices, widths, width_errors, truth_label)

    lines, etas, kinds, texts = slices.legend(truth_label)
    panels[0, 0].legend(lines, etas, ncols=2, loc="upper right")
    panels[0, 1].legend(kinds, texts, loc="upper right")
    for panel in panels[1]:
        panel.set_xlabel(GEN_PT)
    return figure


@styled
def plot_efficiency(found: OfCells, *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Plot efficiency against gen pt in slices of |eta|, and the difference of emulated and true.

    Parameters
    ----------
    found: result of `closure.efficiency_in_cells`: values (P, E, emulated and real), NaN in cells with too few jets.
    title, label, truth_label: see above.

    Bars are binomial uncertainties of the true efficiencies.
    """
    values, error = found.values.astype(np.float64), binomial_errors(found).astype(np.float64)
    slices = make_slices(*found.cells, values)
    figure, ((top,), (bottom,)) = titled_panels(2, 1, title, label)
    if slices is None:
        return empty(figure, top, NOTHING)
    errors = np.stack([np.zeros_like(error), error], axis=2)
    draw_against_pt(top, slices, values, errors, name="Efficiency", room=0.5)
    compare_slices(bottom, slices, values[..., 0] - values[..., 1], error, around=0.0)
    lines, etas, kinds, texts = slices.legend(truth_label)
    top.legend([*lines, *kinds], [*etas, *texts], ncols=2, loc="upper right")
    bottom.set_ylabel(f"Emulated −\n{plain(truth_label)}", loc="center", fontsize="small")
    bottom.set_xlabel(GEN_PT)
    return figure


@styled
def plot_profile(found: Profile, *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Plot the median mass response in bins of the pt response, with a band of half its width, and its ratio.

    Parameters
    ----------
    found: result of `closure.profile`; NaN in bins with too few jets.
    title, label, truth_label: see above.

    The band of emulated jets is filled, that of true jets is between dashed lines.
    """
    edges, emulated, truth = (part.astype(np.float64) for part in found)
    centres = middles(edges)
    figure, ((top,), (bottom,)) = titled_panels(2, 1, title, label)
    both = np.stack([emulated, truth])
    if not np.isfinite(both).any():
        return empty(figure, top, NOTHING)
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
    return figure


@styled
def plot_tails(found: Tails, *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Plot residuals relative to their medians, in half central 68 % widths of the true jets.

    Parameters
    ----------
    found: result of `closure.tails`.
    title, label, truth_label: see above.

    Dashed lines are at the smallest of the tail thresholds; numbers next to them are the fractions of jets beyond. The
    first and the last bin include jets beyond the axis.
    """
    edges = np.linspace(-FARTHEST, FARTHEST, 51)
    n_jets = found.z.shape[1]
    counts = np.stack([[histogram(column, edges) for column in side.T] for side in found.z])
    fractions, errors = counts / n_jets, np.sqrt(counts) / n_jets
    beyond = 100 * found.counts[..., 0] / n_jets
    figure, panels = titled_panels(2, 2, title, label, grid=True)
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
    return figure
