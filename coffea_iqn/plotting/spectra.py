"""Figures of the histograms of a fold, from `histograms.book`, with emulated and true jets, in CMS style.

Uncertainties are from the sums of squared weights. Bins with few entries are merged with their neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import hist
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from coffea_iqn.closure import VARIABLES, agreement, median_and_width_from
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.plotting.labels import EVERY, MIN_OF_BIN, SHARED, Selection, chi2_text, middles, note, styled
from coffea_iqn.plotting.panels import (
    Shown,
    between,
    carried,
    clear_ends,
    draw_against_pt,
    draw_band,
    draw_levels,
    draw_ratio,
    draw_slices_ratio,
    effective,
    empty,
    limit,
    make_log_x,
    make_slices,
    plain,
    power_of_ten,
    ratio,
    titled_panels,
)
from coffea_iqn.ranges import expect

MIN_ENTRIES = 30  # minimum number of effective entries for a quantile
MIN_OF_NUMBER = 9  # minimum in a bin of an integer axis
MIN_OF_SLICE, MIN_OF_SLICE_BIN = 100, 10  # minimum in a slice of the response, and in a bin of it
_LEVELS = ("gen", "reco", "truth")
_OF_ANY_PT = "unmatched_pt"  # pt of jets that are not selected by pt
# spectra with one entry per jet; others have one per event or object
_JETS = (
    *VARIABLES,
    _OF_ANY_PT,
    "nconst",
    "ptd",
    "width",
    "tau21",
    "tau32",
    "msoftdrop",
    *(f"flow{k}" for k in range(1, 5)),
)
_NO_JETS = re.compile(
    r"(n|di)?(electron|muon|photon)(_|$)|met_(pt|phi|parallel|across)$|transverse_mass$"
)  # variables without jets


class Quantiles(NamedTuple):
    """Median and half the central 68 % width of a distribution, with uncertainties; NaN for too few entries."""

    median: float
    median_error: float
    width: float
    width_error: float


def median_and_width(values: Doubles, variances: Doubles, edges: Doubles) -> Quantiles:
    """Return quantiles of a histogram, interpolated within its bins.

    Parameters
    ----------
    values, variances: contents with underflow and overflow, (bins + 2,).
    edges: bin edges, (bins + 1,).

    Uncertainties are from `closure.median_and_width_from`.
    """
    total, entries = values.sum(), float(effective(values, variances))
    if total <= 0 or entries < MIN_ENTRIES:
        return Quantiles(np.nan, np.nan, np.nan, np.nan)
    below = np.maximum.accumulate(np.cumsum(values[:-1])) / total  # negative weights may make it decrease
    return Quantiles(*map(float, median_and_width_from(lambda level: np.interp(level, below, edges), entries)))


@styled
def plot_spectrum(
    histogram: hist.Hist,
    *,
    dataset: str,
    label: str = "Simulation",
    energy: float | None = None,
    truth_label: str = "Truth",
    emulated_label: str = "Emulated",
    gen_label: str = "Gen",
    selection: Selection = EVERY,
) -> Shown:
    """Plot the spectrum of a variable at the three levels, and the ratio of emulated to true, or to gen without truth.

    Parameters
    ----------
    histogram: histogram with axes dataset, level, systematic if there are variations, and one variable.
    dataset: dataset to plot.
    label, energy, selection, and names of levels: see above.

    Entries are divided by the bin widths, or for bins of equal width by the number of merged bins. In the ratio, the
    grey band is the uncertainty of the denominator, bars are that of the numerator, and triangles are bins beyond the
    range. χ² is that of the bins as shown, emulated and true. The hatched band is the effect of variations on the
    emulated jets.

    Raises
    ------
    ValueError: if the histogram has other axes or lacks the dataset; the message lists the existing ones.
    """
    histogram, varied = _checked(histogram, dataset, variables=1)
    axis = histogram.axes[2]
    content = {level: _content(histogram, dataset, level) for level in _LEVELS}
    content |= {name: _content(one, dataset, "reco") for name, one in varied.items()}
    integer = isinstance(axis, hist.axis.Integer)
    edges = np.asarray(axis.edges, dtype=np.float64) - (0.5 if integer else 0.0)
    widths = np.diff(edges)
    uniform = bool(np.allclose(widths, widths[0]))
    unit_width = float(widths[0]) if uniform else 1.0
    filled = np.flatnonzero(sum(variance for _, variance in content.values()))
    figure, panels = titled_panels(2 if len(filled) else 1, 1, dataset, label, energy)
    top, bottom = panels[0, 0], panels[-1, 0]
    if not len(filled):
        return empty(figure, top, "No entries")
    shown = slice(filled[0], filled[-1] + 1)
    content = {level: (value[shown], variance[shown]) for level, (value, variance) in content.items()}
    present = [name for name in _LEVELS if content[name][1].any()]
    weighted = any(not np.allclose(value, variance, atol=0) for value, variance in content.values())
    reference = "truth" if "truth" in present else "gen"
    both = [content[name] for name in present if name in ("reco", reference)]
    kept = carried(both or [content["gen"]], MIN_OF_NUMBER if integer else MIN_OF_BIN)
    edges = edges[filled[0] + kept]
    widths = np.diff(edges) / unit_width
    content = {n: (np.add.reduceat(v, kept[:-1]), np.add.reduceat(e, kept[:-1])) for n, (v, e) in content.items()}
    power = 0 if not uniform or integer else power_of_ten(max(value.max() for value, _ in content.values()))
    scaled = {n: (v / widths / 10**power, np.sqrt(e) / widths / 10**power) for n, (v, e) in content.items()}
    edges, centres, log_x = _drawn_edges(edges, uniform=uniform)

    names = {"gen": gen_label, "reco": emulated_label, "truth": plain(truth_label)}
    handles = draw_levels(top, edges, centres, {name: scaled[name] for name in present})
    legend = {names[name]: handles[name] for name in present}
    band = systematic_band(scaled["reco"][0], {name: scaled[name][0] for name in varied})
    if varied:
        legend["Systematic"] = draw_band(top, edges, scaled["reco"][0], *band)
    top.legend([*legend.values()], [*legend], loc="upper right", **(SHARED if len(present) > 1 else {}))
    selection = selection._replace(pt_min=None) if axis.name == _OF_ANY_PT else selection
    note(top, "" if _NO_JETS.match(axis.name) else selection.lines(axis.label))
    per = _per(axis, unit_width if uniform else None, joined=len(kept) <= kept[-1])
    top.set_ylabel(_entries(axis, weighted=weighted) + per + (f"  [$10^{{{power}}}$]" if power else ""))
    limit(top, [scaled[name] for name in present], log=integer or not uniform)

    if len(both) > 1:
        compared = ratio(*content["reco"], *content[reference])
        chi2 = agreement(content["reco"], content[reference], min_entries=MIN_OF_NUMBER)
        text = chi2_text(*chi2) if chi2.ndf and reference == "truth" else ""
        draw_ratio(bottom, edges, centres, compared, text=text)
        if varied:
            of_ratio = (ratio(side, side, *scaled[reference]).values for side in band)
            draw_band(bottom, edges, compared.values, *of_ratio)
    bottom.set_ylabel(f"{emulated_label} /\n{names[reference]}", loc="center", fontsize="small")
    _limit_x((top, bottom), edges, axis.label, log=log_x, integer=integer)
    return figure


@styled
def plot_response(
    histogram: hist.Hist,
    *,
    dataset: str,
    label: str = "Simulation",
    energy: float | None = None,
    truth_label: str = "Truth",
    emulated_label: str = "Emulated",
    selection: Selection = EVERY,
) -> Shown:
    """Plot scale (median response pt_reco / pt_gen) and resolution (half its central 68 % width) against gen pt.

    Parameters
    ----------
    histogram: histogram with axes dataset, level, gen_pt, gen_abs_eta and response.
    dataset: dataset to plot.
    label, energy, selection, and names of levels: see above.

    Bins with fewer than `MIN_ENTRIES` effective entries are left out. With truth, lower panels show emulated over true
    with the uncertainties of both.

    Raises
    ------
    ValueError: if the histogram has other axes or lacks the dataset; the message lists the existing ones.
    """
    histogram, _ = _checked(histogram, dataset, variables=3)
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
    figure, panels = titled_panels(2 if both else 1, 2 if slices else 1, dataset, label, energy)
    if slices is None:
        return empty(figure, panels[0, 0], f"No bin with {MIN_ENTRIES} entries")
    names = ("Scale: median of the response", "Resolution: half the central 68 % width")
    for column, name in enumerate(names):
        top, bottom = panels[0, column], panels[-1, column]
        values, errors = (found[..., k] for k in (2 * column, 2 * column + 1))
        draw_against_pt(top, slices, values, errors, name=name, zero=column == 1)
        top.yaxis.label.set_fontsize(22)
        if both:
            draw_slices_ratio(bottom, slices, values, errors, truth_label, emulated_label)
        bottom.set_xlabel(histogram.axes[2].label)
    lines, etas, kinds, texts = slices.legend(truth_label if both else None, emulated_label)
    panels[0, 0].legend(lines, etas, ncols=2, loc="upper right")
    panels[0, 1].legend(kinds, texts, loc="upper right", **(SHARED if both else {}))
    note(panels[0, 1], selection.jets, at=(0.04, 0.1))
    return figure


@styled
def plot_response_slices(
    histogram: hist.Hist,
    *,
    dataset: str,
    label: str = "Simulation",
    energy: float | None = None,
    truth_label: str = "Truth",
    emulated_label: str = "Emulated",
    selection: Selection = EVERY,
    eta_bin: int | None = 0,
) -> Shown:
    """Plot distributions of the response pt_reco / pt_gen in up to six slices of gen pt, each normalised to 1.

    Parameters
    ----------
    histogram: histogram with axes dataset, level, gen_pt, gen_abs_eta and response.
    dataset: dataset to plot.
    label, energy, selection, and names of levels: see above.
    eta_bin: bin of the axis gen_abs_eta; None for the sum of all bins.

    Slices are evenly chosen among the bins of gen pt with at least `MIN_OF_SLICE` effective entries.

    Raises
    ------
    ValueError: if the histogram has other axes, or lacks the dataset or bin; the message lists the existing ones.
    """
    histogram, _ = _checked(histogram, dataset, variables=3)
    pt, eta = (np.asarray(axis.edges, dtype=np.float64) for axis in histogram.axes[2:4])
    fits = eta_bin is None or 0 <= eta_bin < len(eta) - 1
    expect(fits, f"eta_bin: expected None or a bin from 0 to {len(eta) - 2}, got {eta_bin}")
    coarse = histogram[..., :: hist.rebin(3)]
    edges = np.asarray(coarse.axes[-1].edges, dtype=np.float64)
    chosen = slice(None) if eta_bin is None else slice(eta_bin, eta_bin + 1)
    parts = {name: _content(coarse, dataset, name) for name in ("reco", "truth")}
    content = {name: (v[:, chosen].sum(axis=1), e[:, chosen].sum(axis=1)) for name, (v, e) in parts.items()}
    enough = {name: effective(*both) >= MIN_OF_SLICE for name, both in content.items()}
    where = (eta[0], eta[-1]) if eta_bin is None else (eta[eta_bin], eta[eta_bin + 1])
    rows = np.flatnonzero(np.any(list(enough.values()), axis=0))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(6, len(rows))).round().astype(int))]
    shape = (-(-len(rows) // 3), min(3, len(rows))) if len(rows) else (1, 1)
    figure, panels = titled_panels(*shape, dataset, label, energy, grid=len(rows) > 0)
    if not len(rows):
        return empty(figure, panels[0, 0], f"No slice with {MIN_OF_SLICE} entries")
    for panel in panels.flat[len(rows) :]:
        panel.set_visible(False)
    drawn: list[tuple[Doubles, Doubles]] = []
    ends: list[Doubles] = []
    handles: dict[str, Any] = {}
    for k, (row, panel) in enumerate(zip(rows, panels.flat, strict=False)):
        there = {name: (v[row], e[row]) for name, (v, e) in content.items() if enough[name][row]}
        own, of_slice = _normalised(edges, there)
        handles = draw_levels(panel, own, middles(own), of_slice)
        drawn += of_slice.values()
        ends.append(own)
        text = between(pt[row], pt[row + 1], "$p_T^{gen}$") + " GeV, " + between(*where, r"$|\eta|$")
        note(panel, text, at=(0.96, 0.96), ha="right", fontsize=19)
        if k >= len(rows) - panels.shape[1]:
            panel.set_xlabel(histogram.axes[4].label)
            panel.tick_params(labelbottom=True)
    limit(panels[0, 0], drawn, log=True, decades=4.5)
    panels[0, 0].set_xlim(min(own[0] for own in ends), max(own[-1] for own in ends))
    clear_ends(panels[0, 0])
    panels[0, 0].set_ylabel("Normalised to 1")
    names = {"reco": emulated_label, "truth": plain(truth_label)}
    present = [name for name in names if enough[name][rows].any()]
    panels[0, 0].legend(
        [handles[name] for name in present],
        [names[name] for name in present],
        loc="upper right",
        bbox_to_anchor=(1, 0.92),
        ncols=2,
        columnspacing=1.2,
        **(SHARED if len(present) > 1 else {}),
    )
    note(panels[0, 0], selection.jets, at=(0.04, 0.87), fontsize=19)  # beside the title of the legend
    return figure


def _normalised(
    edges: Doubles, levels: Mapping[str, tuple[Doubles, Doubles]]
) -> tuple[Doubles, dict[str, tuple[Doubles, Doubles]]]:
    """Return the edges of merged bins, and densities and errors of each level in them, from values and variances."""
    filled = np.flatnonzero(sum(variance for _, variance in levels.values()))
    shown = slice(filled[0], filled[-1] + 1)
    kept = filled[0] + carried([(v[shown], e[shown]) for v, e in levels.values()], MIN_OF_SLICE_BIN)
    edges, made = edges[kept], {}
    for name, parts in levels.items():
        sums, squares = (np.add.reduceat(part[: kept[-1]], kept[:-1]) for part in parts)
        area = sums.sum() * np.diff(edges)
        made[name] = sums / area, np.sqrt(squares) / np.abs(area)  # negative if all weights are
    return edges, made


def plot_all(
    hists: Mapping[str, hist.Hist],
    *,
    dataset: str,
    label: str = "Simulation",
    energy: float | None = None,
    truth_label: str = "Truth",
    emulated_label: str = "Emulated",
    gen_label: str = "Gen",
    selection: Selection = EVERY,
) -> dict[str, Shown]:
    """Return all figures of a dataset by name: one per histogram, and response_slices. Empty figures are left out.

    A spectrum in slices has one figure per slice, named with its number: pt_eta0.

    Parameters
    ----------
    hists: histograms by name; "response" is that of the response, others are spectra, in slices for two variables.
    dataset: dataset to plot.
    label, energy, selection, and names of levels: see above.

    Raises
    ------
    ValueError: if no histogram has the dataset; the message lists the existing ones.
    """
    known = {name: list(histogram.axes["dataset"]) for name, histogram in hists.items()}
    _check_known(dataset, sorted({name for there in known.values() for name in there}))
    options: dict[str, Any] = {"dataset": dataset, "label": label, "energy": energy, "selection": selection}
    options |= {"truth_label": truth_label, "emulated_label": emulated_label}
    figures: dict[str, Shown] = {}
    for name, histogram in hists.items():
        if dataset not in known[name] or not any(_content(histogram, dataset, level)[1].any() for level in _LEVELS):
            continue
        if name == "response":
            figures[name] = plot_response(histogram, **options)
            figures["response_slices"] = plot_response_slices(histogram, **options)
        elif len(_apart(histogram)[0].axes) == 3:
            figures[name] = plot_spectrum(histogram, **options, gen_label=gen_label)
        else:
            parts = enumerate(_slices(histogram))
            figures |= {f"{name}{k}": plot_spectrum(part, **options, gen_label=gen_label) for k, part in parts}
    return {name: figure for name, figure in figures.items() if not figure.is_empty}


def plot_correction(hists: Mapping[str, hist.Hist], *, dataset: str, **options: Any) -> dict[str, Shown]:
    """Return all figures of a dataset of a correction, from the histograms of an `IQNCorrectProcessor`, by name.

    Spectra of corrected jets are compared with those of gen jets, and responses with those before the correction.

    Parameters
    ----------
    hists, dataset: see `plot_all`.
    options: label, energy and selection, see above.
    """
    known = options | {"dataset": dataset, "emulated_label": "Corrected", "gen_label": "Reco"}
    # gen, reco and corrected in the places that figures use for truth, gen and reco
    figures: dict[str, Shown] = {}
    for name, histogram in hists.items():
        label, levels = ("Gen", ("truth", "gen", "reco"))
        if name == "response":  # that of gen jets is 1
            label, levels = ("Reco", ("gen", "truth", "reco"))
        figures |= plot_all({name: _with_levels(histogram, levels)}, **known | {"truth_label": label})
    return figures


def _with_levels(histogram: hist.Hist, levels: Sequence[str]) -> hist.Hist:
    """Return a histogram with other names of its levels, given in order."""
    dataset, _, *axes = histogram.axes
    level = hist.axis.StrCategory(levels, name="level")
    return hist.Hist(dataset, level, *axes, storage=hist.storage.Weight(), data=histogram.view(flow=True))


def _drawn_edges(edges: Doubles, *, uniform: bool) -> tuple[Doubles, Doubles, bool]:
    """Return edges and centres to draw, and whether the axis is logarithmic, where a first bin from zero is halved."""
    low = float(edges[0] or edges[1] / 2)
    if uniform or low <= 0 or edges[-1] / low <= (10 if edges[0] else 100):
        return edges, middles(edges), False
    edges = np.asarray([low, *edges[1:]])
    return edges, np.sqrt(edges[1:] * edges[:-1]), True


def _limit_x(panels: Sequence[Axes], edges: Doubles, label: str, *, log: bool, integer: bool) -> None:
    panels[-1].set_xlabel(label)
    for panel in panels:
        panel.set_xlim(edges[0], edges[-1])
    if log:
        make_log_x(*panels)
    elif integer:
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
        for panel in panels:
            panel.xaxis.set_minor_locator(NullLocator())


def _entries(axis: Any, *, weighted: bool) -> str:
    found = re.match(r"(electron|muon|photon)_", axis.name)
    of = f"{found[1]}s" if found else "jets" if axis.name in _JETS else "events"
    return f"Weighted {of}" if weighted else of.capitalize()


def _per(axis: Any, width: float | None, *, joined: bool) -> str:
    """Return the divisor of entries as text: the common bin width, or else the unit of the axis."""
    if isinstance(axis, hist.axis.Integer):
        return " / unit" if joined else ""
    found = re.search(r"\[(.+)\]", axis.label)
    unit = found[1] if found else ""
    return f" / {unit or 'unit'}" if width is None else f" / {width:.3g} {unit}".rstrip()


def systematic_band(nominal: Doubles, varied: Mapping[str, Doubles]) -> tuple[Doubles, Doubles]:
    """Return the downward and upward shifts of a spectrum from variations, added in quadrature, (bins,) each.

    Parameters
    ----------
    nominal: nominal values, (bins,).
    varied: varied values by systematic. JES_up and JES_down belong to one source; ENS0, ENS1, ... are members of an
        ensemble, whose standard deviation counts in both directions; any other systematic is one-sided.

    >>> systematic_band(np.array([10.0]), {"JES_up": np.array([13.0]), "JES_down": np.array([9.0])})
    (array([1.]), array([3.]))
    """
    sources: dict[str, list[Doubles]] = {}
    for name, values in varied.items():
        sources.setdefault(re.sub(r"_(up|down)$|(?<=^ENS)\d+$", "", name), []).append(values - nominal)
    down, up = np.zeros_like(nominal), np.zeros_like(nominal)
    for source, shifts in sources.items():
        if source == "ENS":
            low = high = np.std(shifts, axis=0, ddof=1)
        else:
            low, high = np.min(shifts, axis=0).clip(max=0.0), np.max(shifts, axis=0).clip(min=0.0)
        down, up = np.hypot(down, low), np.hypot(up, high)
    return down, up


def _apart(histogram: hist.Hist) -> tuple[hist.Hist, dict[str, hist.Hist]]:
    """Split off the axis of systematics: return the nominal histogram, and the varied ones by name."""
    if "systematic" not in [axis.name for axis in histogram.axes]:
        return histogram, {}
    parts = {name: histogram[{"systematic": name}] for name in histogram.axes["systematic"]}
    return parts.pop("nominal"), parts


def _slices(histogram: hist.Hist) -> list[hist.Hist]:
    """Return a spectrum for each bin of the last axis, with that bin in the label of the first axis."""
    last = histogram.axes[-1]
    slices = []
    for k in range(len(last)):
        part = histogram[..., k]
        part.axes[-1].label += ", " + between(last.edges[k], last.edges[k + 1], last.label.removeprefix("Jet "))
        slices.append(part)
    return slices


def _checked(histogram: hist.Hist, dataset: str, *, variables: int) -> tuple[hist.Hist, dict[str, hist.Hist]]:
    """Return the histograms of `_apart`; raise if they lack the dataset or the axes that a plot needs."""
    histogram, varied = _apart(histogram)
    names = [axis.name for axis in histogram.axes]
    wanted = ["one variable"] if variables == 1 else ["gen_pt", "gen_abs_eta", "response"]
    fits = names[:2] == ["dataset", "level"] and len(names) == 2 + variables and (variables == 1 or names[2:] == wanted)
    expect(fits, f"histogram: expected the axes dataset, level, {', '.join(wanted)}; found {', '.join(names)}")
    levels = list(histogram.axes[1])
    got = f"found {', '.join(levels)}: plot_correction draws those of a correction"
    expect(set(levels) <= set(_LEVELS), f"histogram: expected the levels {', '.join(_LEVELS)}; {got}")
    _check_known(dataset, list(histogram.axes[0]))
    return histogram, varied


def _check_known(dataset: str, known: Sequence[str]) -> None:
    expect(dataset in known, f"dataset {dataset!r}: expected one of {', '.join(known) or '(there are none)'}")


def _content(histogram: hist.Hist, dataset: str, level: str, *, flow: bool = False) -> tuple[Doubles, Doubles]:
    """Return values and variances of a level; zeros if the histogram does not have it."""
    there = level in list(histogram.axes[1])
    view = histogram[{"dataset": dataset, "level": level if there else 0}].view(flow=flow)
    return np.array(view["value"]) * there, np.array(view["variance"]) * there
