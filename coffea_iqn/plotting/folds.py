"""Figures of the histograms of a fold: emulated jets beside the true ones, in the style of CMS.

Each function takes histograms as `histograms.book` makes them and returns a figure that pyplot does not know:
nothing to close, nothing shown, the caller's style as it was. Uncertainties are statistical, from the sums of squared
weights. They take levels as independent: where these come from the same events, as in a fold, ratios scatter less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import hist
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from coffea_iqn.closure import median_and_width_from
from coffea_iqn.plotting.panels import (
    STYLE,
    between,
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

Floats = npt.NDArray[np.float64]

MIN_ENTRIES = 30  # effective entries that a quantile, or a slice of the response, needs
_LEVELS = ("gen", "reco", "truth")
_JETS = ("pt", "eta", "phi", "mass")  # one entry a jet; the other spectra have one an event


class Quantiles(NamedTuple):
    """Median and half the central 68 % width of a distribution, with uncertainties; NaN where entries are too few."""

    median: float
    median_error: float
    width: float
    width_error: float


def median_and_width(values: Floats, variances: Floats, edges: Floats) -> Quantiles:
    """Quantiles of a histogram, interpolated within its bins.

    Parameters
    ----------
    values, variances: with underflow and overflow, (bins + 2,).
    edges: (bins + 1,).

    Uncertainties are those of `closure.median_and_width_from`.
    """
    total, effective = values.sum(), float(_effective(values, variances))
    if total <= 0 or effective < MIN_ENTRIES:
        return Quantiles(np.nan, np.nan, np.nan, np.nan)
    below = np.maximum.accumulate(np.cumsum(values[:-1])) / total  # negative weights may make it fall
    return Quantiles(*map(float, median_and_width_from(lambda level: np.interp(level, below, edges), effective)))


def plot_spectrum(
    histogram: hist.Hist,
    *,
    dataset: str,
    label: str = "Delphes simulation",
    energy: str = "13 TeV",
    truth_label: str = "Delphes",
) -> Figure:
    """One variable at the three levels, and the ratio of emulated to true; to gen where there is no truth.

    Parameters
    ----------
    histogram: with axes dataset, level and one variable.
    dataset: the one to plot.
    label, energy: what the figure says of its origin, in matplotlib's mathtext.
    truth_label: name of the true jets in the legend.

    Bins of different widths are divided by them. The grey band is the uncertainty of the denominator, the bars are
    that of the numerator; a triangle is a bin beyond the range.

    Raises
    ------
    ValueError: when the histogram has other axes, or not the dataset; lists those there are.
    """
    _check(histogram, dataset, variables=1)
    axis = histogram.axes[2]
    content = {level: _content(histogram, dataset, level) for level in _LEVELS}
    integer = isinstance(axis, hist.axis.Integer)
    edges = np.asarray(axis.edges, dtype=np.float64) - (0.5 if integer else 0.0)
    widths = np.diff(edges)
    uniform = bool(np.allclose(widths, widths[0]))
    filled = np.flatnonzero(sum(variance for _, variance in content.values()))
    with plt.style.context(STYLE):
        figure, panels = make_panels(2 if len(filled) else 1, 1)
        top, bottom = panels[0, 0], panels[-1, 0]
        header(top, top, dataset, label, energy)
        if not len(filled):
            return finish(figure, top, "No entries")
        shown = slice(filled[0], filled[-1] + 1)
        edges, widths = edges[filled[0] : filled[-1] + 2], np.ones_like(widths[shown]) if uniform else widths[shown]
        content = {level: (value[shown], variance[shown]) for level, (value, variance) in content.items()}
        present = [name for name, (_, variance) in content.items() if variance.any()]
        weighted = any(not np.allclose(value, variance, atol=0) for value, variance in content.values())
        power = 0 if not uniform or integer else power_of_ten(max(value.max() for value, _ in content.values()))
        scaled = {n: (v / widths / 10**power, np.sqrt(e) / widths / 10**power) for n, (v, e) in content.items()}
        log_x = not uniform and edges[0] > 0 and edges[-1] / edges[0] > 10
        centres = np.sqrt(edges[1:] * edges[:-1]) if log_x else (edges[1:] + edges[:-1]) / 2

        names = {"gen": "Gen", "reco": "Emulated", "truth": plain(truth_label)}
        handles = draw_levels(top, edges, centres, scaled)
        top.legend([handles[name] for name in present], [names[name] for name in present], loc="upper right")
        jets = "jets" if axis.name in _JETS else "events"
        unit = re.search(r"\[(.+)\]", axis.label)
        per = ("" if integer else " / bin") if uniform else f" / {unit[1] if unit else 'unit'}"
        scale = f"  [$10^{{{power}}}$]" if power else ""
        top.set_ylabel((f"Weighted {jets}" if weighted else jets.capitalize()) + per + scale)
        limit(top, [scaled[name] for name in present], log=integer or not uniform)

        reference = "truth" if "truth" in present else "gen"
        compared = ratio(*content["reco"], *content[reference])
        if "reco" in present and reference in present:
            draw_ratio(bottom, edges, centres, compared)
        bottom.set_ylabel(f"Emulated /\n{names[reference]}", loc="center", fontsize="small")
        bottom.set_xlabel(axis.label)
        for panel in (top, bottom):
            panel.set_xlim(edges[0], edges[-1])
        if log_x:
            make_log_x(top, bottom)
        elif integer:
            bottom.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
            for panel in (top, bottom):
                panel.xaxis.set_minor_locator(NullLocator())
        return finish(figure)


def plot_response(
    histogram: hist.Hist,
    *,
    dataset: str,
    label: str = "Delphes simulation",
    energy: str = "13 TeV",
    truth_label: str = "Delphes",
) -> Figure:
    """Scale (median of the response pt_reco / pt_gen) and resolution (half its central 68 % width) against gen pt.

    Parameters
    ----------
    histogram: with axes dataset, level, gen_pt, gen_abs_eta and response.
    dataset, label, energy, truth_label: as of `plot_spectrum`.

    Bins of fewer than `MIN_ENTRIES` effective entries are left out. The lower panels, emulated over true, have the
    uncertainties of both; there are none without truth.

    Raises
    ------
    ValueError: when the histogram has other axes, or not the dataset; lists those there are.
    """
    _check(histogram, dataset, variables=3)
    pt, eta, response = (np.asarray(axis.edges, dtype=np.float64) for axis in histogram.axes[2:])
    levels = []
    for level in ("reco", "truth"):
        parts = _content(histogram, dataset, level, flow=True)
        values, variances = (part[1:-1, 1:-1].reshape(-1, len(response) + 1) for part in parts)
        quantiles = [median_and_width(v, e, response) for v, e in zip(values, variances, strict=True)]
        levels.append(np.array(quantiles).reshape(len(pt) - 1, len(eta) - 1, 4))
    found = np.stack(levels, axis=2)
    slices = make_slices(pt, eta, found)
    both = bool(np.isfinite(found[:, :, 1]).any())
    with plt.style.context(STYLE):
        figure, panels = make_panels(2 if both else 1, 2 if slices else 1)
        header(panels[0, 0], panels[0, -1], dataset, label, energy)
        if slices is None:
            return finish(figure, panels[0, 0], f"No bin with {MIN_ENTRIES} entries")
        names = ("Scale: median of the response", "Resolution: half the central 68 % width")
        for column, name in enumerate(names):
            top, bottom = panels[0, column], panels[-1, column]
            values, errors = (found[..., k] for k in (2 * column, 2 * column + 1))
            draw_slices(top, slices, values, errors)
            limit_points(top, values[:, slices.numbers], errors[:, slices.numbers], zero=column == 1)
            top.set_ylabel(name, fontsize=22)
            if both:
                of = ratio(values[..., 0], errors[..., 0] ** 2, values[..., 1], errors[..., 1] ** 2)
                compare_slices(bottom, slices, of.values, of.error)
                bottom.set_ylabel(f"Emulated /\n{plain(truth_label)}", loc="center", fontsize="small")
            bottom.set_xlabel(histogram.axes[2].label)
            for panel in panels[:, column]:
                panel.set_xlim(slices.limits)
            make_log_x(*panels[:, column])
        lines, etas, kinds, texts = slices.legend(truth_label if both else None)
        panels[0, 0].legend(lines, etas, ncols=2, loc="upper right")
        panels[0, 1].legend(kinds, texts, loc="upper right")
        return finish(figure)


def plot_response_slices(
    histogram: hist.Hist,
    *,
    dataset: str,
    label: str = "Delphes simulation",
    energy: str = "13 TeV",
    truth_label: str = "Delphes",
    eta_bin: int | None = 0,
) -> Figure:
    """Distributions of the response pt_reco / pt_gen in up to six slices of gen pt, each normalised to 1.

    Parameters
    ----------
    histogram: with axes dataset, level, gen_pt, gen_abs_eta and response.
    dataset, label, energy, truth_label: as of `plot_spectrum`.
    eta_bin: of the axis gen_abs_eta; all of them together when None.

    Slices are bins of gen pt with at least `MIN_ENTRIES` effective entries, evenly spread over those there are.

    Raises
    ------
    ValueError: when the histogram has other axes, or not the dataset or the bin; lists those there are.
    """
    _check(histogram, dataset, variables=3)
    pt, eta = (np.asarray(axis.edges, dtype=np.float64) for axis in histogram.axes[2:4])
    if eta_bin is not None and not 0 <= eta_bin < len(eta) - 1:
        msg = f"eta_bin: expected None or a bin from 0 to {len(eta) - 2}, got {eta_bin}"
        raise ValueError(msg)
    coarse = histogram[..., :: hist.rebin(3)]
    edges = np.asarray(coarse.axes[-1].edges, dtype=np.float64)
    chosen = slice(None) if eta_bin is None else slice(eta_bin, eta_bin + 1)
    content: dict[str, tuple[Floats, Floats]] = {}
    for level in ("reco", "truth"):
        values, variances = (part[:, chosen].sum(axis=1) for part in _content(coarse, dataset, level))
        area = np.where(values.sum(axis=1) > 0, values.sum(axis=1), np.inf)[:, None] * np.diff(edges)
        enough = (_effective(values, variances) >= MIN_ENTRIES)[:, None]
        content[level] = np.where(enough, values / area, 0.0), np.where(enough, np.sqrt(variances) / area, 0.0)
    where = (eta[0], eta[-1]) if eta_bin is None else (eta[eta_bin], eta[eta_bin + 1])
    rows = np.flatnonzero(np.any([errors.any(axis=1) for _, errors in content.values()], axis=0))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(6, len(rows))).round().astype(int))]
    present = [level for level, (_, errors) in content.items() if errors.any()]
    with plt.style.context(STYLE):
        figure, panels = (
            make_panels(1, 1) if not len(rows) else make_panels(-(-len(rows) // 3), min(3, len(rows)), grid=True)
        )
        header(panels[0, 0], panels[0, -1], dataset, label, energy)
        if not len(rows):
            return finish(figure, panels[0, 0], f"No slice with {MIN_ENTRIES} entries")
        filled = np.flatnonzero(sum(errors[rows].sum(axis=0) for _, errors in content.values()))
        shown = slice(filled[0], filled[-1] + 1)
        edges = edges[filled[0] : filled[-1] + 2]
        cut = {n: (values[rows, shown], errors[rows, shown]) for n, (values, errors) in content.items()}
        for panel in panels.flat[len(rows) :]:
            panel.set_visible(False)
        handles: dict[str, Any] = {}
        for k, (row, panel) in enumerate(zip(rows, panels.flat, strict=False)):
            of_slice = {name: (values[k], errors[k]) for name, (values, errors) in cut.items()}
            handles = draw_levels(panel, edges, (edges[1:] + edges[:-1]) / 2, of_slice)
            text = between(pt[row], pt[row + 1], "$p_T^{gen}$") + " GeV, " + between(*where, r"$|\eta|$")
            panel.text(0.96, 0.96, text, ha="right", va="top", fontsize=19, transform=panel.transAxes)
            if k >= len(rows) - panels.shape[1]:
                panel.set_xlabel(histogram.axes[4].label)
                panel.tick_params(labelbottom=True)
        limit(panels[0, 0], [cut[name] for name in present], log=True, decades=4.5)
        panels[0, 0].set_xlim(edges[0], edges[-1])
        # The labels at the two ends would meet those of the neighbours.
        panels[0, 0].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], prune="both"))
        panels[0, 0].set_ylabel("Normalised to 1")
        names = {"reco": "Emulated", "truth": plain(truth_label)}
        panels[0, 0].legend(
            [handles[name] for name in present],
            [names[name] for name in present],
            loc="upper right",
            bbox_to_anchor=(1, 0.92),
            ncols=2,
            columnspacing=1.2,
        )
        return finish(figure)


def plot_all(
    hists: Mapping[str, hist.Hist],
    *,
    dataset: str,
    label: str = "Delphes simulation",
    energy: str = "13 TeV",
    truth_label: str = "Delphes",
) -> dict[str, Figure]:
    """All figures of a dataset by name: those of the histograms, and response_slices; none of what has no entries.

    A spectrum in slices has a figure for each, named with its number: pt_eta0.

    Parameters
    ----------
    hists: by name; "response" is one of the response, the others are spectra, those of two variables in slices.
    dataset, label, energy, truth_label: as of `plot_spectrum`.

    Raises
    ------
    ValueError: when no histogram has the dataset; lists those there are.
    """
    known = {name: list(histogram.axes["dataset"]) for name, histogram in hists.items()}
    if not any(dataset in there for there in known.values()):
        _unknown(dataset, sorted({name for there in known.values() for name in there}))
    options: dict[str, Any] = {"dataset": dataset, "label": label, "energy": energy, "truth_label": truth_label}
    figures: dict[str, Figure] = {}
    for name, histogram in hists.items():
        if dataset not in known[name] or not any(_content(histogram, dataset, level)[1].any() for level in _LEVELS):
            continue
        if name == "response":
            figures[name] = plot_response(histogram, **options)
            figures["response_slices"] = plot_response_slices(histogram, **options)
        elif len(histogram.axes) == 3:
            figures[name] = plot_spectrum(histogram, **options)
        else:
            figures |= {f"{name}{k}": plot_spectrum(part, **options) for k, part in enumerate(_slices(histogram))}
    return figures


def _slices(histogram: hist.Hist) -> list[hist.Hist]:
    """A spectrum in each bin of its last axis, of which the first axis then tells."""
    last = histogram.axes[-1]
    slices = []
    for k in range(len(last)):
        part = histogram[..., k]
        part.axes[-1].label += ", " + between(last.edges[k], last.edges[k + 1], last.label.removeprefix("Jet "))
        slices.append(part)
    return slices


def _check(histogram: hist.Hist, dataset: str, *, variables: int) -> None:
    """Raise when a histogram has not the axes that a plot needs, or not the dataset."""
    names = [axis.name for axis in histogram.axes]
    wanted = ["one variable"] if variables == 1 else ["gen_pt", "gen_abs_eta", "response"]
    fits = names[:2] == ["dataset", "level"] and len(names) == 2 + variables and (variables == 1 or names[2:] == wanted)
    if not fits:
        msg = f"histogram: expected the axes dataset, level, {', '.join(wanted)}; found {', '.join(names)}"
        raise ValueError(msg)
    if dataset not in list(histogram.axes[0]):
        _unknown(dataset, list(histogram.axes[0]))


def _unknown(dataset: str, known: Sequence[str]) -> NoReturn:
    msg = f"dataset {dataset!r}: expected one of {', '.join(known) or '(there are none)'}"
    raise ValueError(msg)


def _content(histogram: hist.Hist, dataset: str, level: str, *, flow: bool = False) -> tuple[Floats, Floats]:
    """Values and variances of a level; zeros where the histogram does not have it."""
    there = level in list(histogram.axes[1])
    view = histogram[{"dataset": dataset, "level": level if there else 0}].view(flow=flow)
    return np.array(view["value"]) * there, np.array(view["variance"]) * there


def _effective(values: Floats, variances: Floats) -> Floats:
    """Entries of weight 1 with the same relative uncertainty, along the last axis."""
    variance = variances.sum(axis=-1)
    return np.asarray(values.sum(axis=-1) ** 2 / np.where(variance > 0, variance, np.inf))
