"""Figures of the histograms of a fold: emulated jets beside the true ones, in the style of CMS.

Each function takes histograms as `histograms.book` makes them and returns a figure that pyplot does not know:
nothing to close, nothing shown, the caller's style as it was. Uncertainties are statistical, from the sums of squared
weights. They take levels as independent: where these come from the same events, as in a fold, ratios scatter less, and
χ² is smaller. Bins are joined with their neighbours where entries are few; the histograms stay as they are.

Everywhere `label` follows "coffea-iqn" at the top left, in matplotlib's mathtext; `energy` [TeV] stands beside the
dataset, where it is known; `truth_label`, `emulated_label` and `gen_label` name the levels; `selection` says which
jets are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import hist
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from coffea_iqn.closure import agreement, median_and_width_from
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.plotting.labels import EVERY, MIN_OF_BIN, SHARED, Selection, chi2_text, note
from coffea_iqn.plotting.panels import (
    STYLE,
    Shown,
    between,
    carried,
    clear_ends,
    compare_slices,
    draw_band,
    draw_levels,
    draw_ratio,
    draw_slices,
    effective,
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

MIN_ENTRIES = 30  # effective entries that a quantile needs
MIN_OF_NUMBER = 9  # those of a bin of whole numbers
MIN_OF_SLICE, MIN_OF_SLICE_BIN = 100, 10  # those of a slice of the response, and of a bin there
_LEVELS = ("gen", "reco", "truth")
# one entry a jet; the other spectra have one an event, or one an object
_JETS = (
    "pt",
    "eta",
    "phi",
    "mass",
    "nconst",
    "ptd",
    "width",
    "tau21",
    "tau32",
    "msoftdrop",
    *(f"flow{k}" for k in range(1, 5)),
)
_NO_JETS = re.compile(r"n?(electron|muon|photon)(_|$)|met_(pt|phi)$")  # variables that no jet is part of


class Quantiles(NamedTuple):
    """Median and half the central 68 % width of a distribution, with uncertainties; NaN where entries are too few."""

    median: float
    median_error: float
    width: float
    width_error: float


def median_and_width(values: Doubles, variances: Doubles, edges: Doubles) -> Quantiles:
    """Quantiles of a histogram, interpolated within its bins.

    Parameters
    ----------
    values, variances: with underflow and overflow, (bins + 2,).
    edges: (bins + 1,).

    Uncertainties are those of `closure.median_and_width_from`.
    """
    total, entries = values.sum(), float(effective(values, variances))
    if total <= 0 or entries < MIN_ENTRIES:
        return Quantiles(np.nan, np.nan, np.nan, np.nan)
    below = np.maximum.accumulate(np.cumsum(values[:-1])) / total  # negative weights may make it fall
    return Quantiles(*map(float, median_and_width_from(lambda level: np.interp(level, below, edges), entries)))


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
    """One variable at the three levels, and the ratio of emulated to true; to gen where there is no truth.

    Parameters
    ----------
    histogram: with axes dataset, level, systematic where there are variations, and one variable.
    dataset: the one to plot.
    label, energy, selection, and names of levels: as said above.

    Entries are divided by the widths of the bins; of equal ones, by the number that were joined. The grey band is the
    uncertainty of the denominator, the bars are that of the numerator; a triangle is a bin beyond the range. χ² is of
    what is shown of emulated and true jets. The hatched band is how far variations move the emulated jets.

    Raises
    ------
    ValueError: when the histogram has other axes, or not the dataset; lists those there are.
    """
    histogram, varied = _apart(histogram)
    _check(histogram, dataset, variables=1)
    axis = histogram.axes[2]
    content = {level: _content(histogram, dataset, level) for level in _LEVELS}
    content |= {name: _content(one, dataset, "reco") for name, one in varied.items()}
    integer = isinstance(axis, hist.axis.Integer)
    edges = np.asarray(axis.edges, dtype=np.float64) - (0.5 if integer else 0.0)
    widths = np.diff(edges)
    uniform = bool(np.allclose(widths, widths[0]))
    unit_width = float(widths[0]) if uniform else 1.0
    filled = np.flatnonzero(sum(variance for _, variance in content.values()))
    with plt.style.context(STYLE):
        figure, panels = make_panels(2 if len(filled) else 1, 1)
        top, bottom = panels[0, 0], panels[-1, 0]
        header(top, top, dataset, label, energy)
        if not len(filled):
            return finish(figure, top, "No entries")
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
        note(top, "" if _NO_JETS.match(axis.name) else selection.lines(axis.label))
        per = _per(axis, unit_width if uniform else None, joined=len(kept) <= kept[-1])
        top.set_ylabel(_entries(axis, weighted=weighted) + per + (f"  [$10^{{{power}}}$]" if power else ""))
        limit(top, [scaled[name] for name in present], log=integer or not uniform)

        if len(both) > 1:
            compared = ratio(*content["reco"], *content[reference])
            text = _chi2(content["reco"], content["truth"]) if reference == "truth" else ""
            draw_ratio(bottom, edges, centres, compared, text=text)
            if varied:
                of_ratio = (ratio(side, side, *scaled[reference]).values for side in band)
                draw_band(bottom, edges, compared.values, *of_ratio)
        bottom.set_ylabel(f"{emulated_label} /\n{names[reference]}", loc="center", fontsize="small")
        _limit_x((top, bottom), edges, axis.label, log=log_x, integer=integer)
        return finish(figure)


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
    """Scale (median of the response pt_reco / pt_gen) and resolution (half its central 68 % width) against gen pt.

    Parameters
    ----------
    histogram: with axes dataset, level, gen_pt, gen_abs_eta and response.
    dataset: the one to plot.
    label, energy, selection, and names of levels: as said above.

    Bins of fewer than `MIN_ENTRIES` effective entries are left out. The lower panels, emulated over true, have the
    uncertainties of both; there are none without truth.

    Raises
    ------
    ValueError: when the histogram has other axes, or not the dataset; lists those there are.
    """
    histogram, _ = _apart(histogram)
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
                bottom.set_ylabel(f"{emulated_label} /\n{plain(truth_label)}", loc="center", fontsize="small")
            bottom.set_xlabel(histogram.axes[2].label)
            for panel in panels[:, column]:
                panel.set_xlim(slices.limits)
            make_log_x(*panels[:, column])
        lines, etas, kinds, texts = slices.legend(truth_label if both else None, emulated_label)
        panels[0, 0].legend(lines, etas, ncols=2, loc="upper right")
        panels[0, 1].legend(kinds, texts, loc="upper right", **(SHARED if both else {}))
        note(panels[0, 1], selection.jets, at=(0.04, 0.1))
        return finish(figure)


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
    """Distributions of the response pt_reco / pt_gen in up to six slices of gen pt, each normalised to 1.

    Parameters
    ----------
    histogram: with axes dataset, level, gen_pt, gen_abs_eta and response.
    dataset: the one to plot.
    label, energy, selection, and names of levels: as said above.
    eta_bin: of the axis gen_abs_eta; all of them together when None.

    Slices are bins of gen pt with at least `MIN_OF_SLICE` effective entries, evenly spread over those there are.

    Raises
    ------
    ValueError: when the histogram has other axes, or not the dataset or the bin; lists those there are.
    """
    histogram, _ = _apart(histogram)
    _check(histogram, dataset, variables=3)
    pt, eta = (np.asarray(axis.edges, dtype=np.float64) for axis in histogram.axes[2:4])
    if eta_bin is not None and not 0 <= eta_bin < len(eta) - 1:
        msg = f"eta_bin: expected None or a bin from 0 to {len(eta) - 2}, got {eta_bin}"
        raise ValueError(msg)
    coarse = histogram[..., :: hist.rebin(3)]
    edges = np.asarray(coarse.axes[-1].edges, dtype=np.float64)
    chosen = slice(None) if eta_bin is None else slice(eta_bin, eta_bin + 1)
    parts = {name: _content(coarse, dataset, name) for name in ("reco", "truth")}
    content = {name: (v[:, chosen].sum(axis=1), e[:, chosen].sum(axis=1)) for name, (v, e) in parts.items()}
    enough = {name: effective(*both) >= MIN_OF_SLICE for name, both in content.items()}
    where = (eta[0], eta[-1]) if eta_bin is None else (eta[eta_bin], eta[eta_bin + 1])
    rows = np.flatnonzero(np.any(list(enough.values()), axis=0))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(6, len(rows))).round().astype(int))]
    with plt.style.context(STYLE):
        figure, panels = (
            make_panels(1, 1) if not len(rows) else make_panels(-(-len(rows) // 3), min(3, len(rows)), grid=True)
        )
        header(panels[0, 0], panels[0, -1], dataset, label, energy)
        if not len(rows):
            return finish(figure, panels[0, 0], f"No slice with {MIN_OF_SLICE} entries")
        for panel in panels.flat[len(rows) :]:
            panel.set_visible(False)
        drawn: list[tuple[Doubles, Doubles]] = []
        ends: list[Doubles] = []
        handles: dict[str, Any] = {}
        for k, (row, panel) in enumerate(zip(rows, panels.flat, strict=False)):
            there = {name: (v[row], e[row]) for name, (v, e) in content.items() if enough[name][row]}
            filled = np.flatnonzero(sum(variance for _, variance in there.values()))
            kept = filled[0] + carried(
                [(v[filled[0] : filled[-1] + 1], e[filled[0] : filled[-1] + 1]) for v, e in there.values()],
                MIN_OF_SLICE_BIN,
            )
            of_slice, own = {}, edges[kept]
            for name, (value, variance) in there.items():
                sums, squares = (np.add.reduceat(part[: kept[-1]], kept[:-1]) for part in (value, variance))
                area = sums.sum() * np.diff(own)
                of_slice[name] = sums / area, np.sqrt(squares) / area
            handles = draw_levels(panel, own, (own[1:] + own[:-1]) / 2, of_slice)
            drawn += of_slice.values()
            ends.append(own)
            text = between(pt[row], pt[row + 1], "$p_T^{gen}$") + " GeV, " + between(*where, r"$|\eta|$")
            panel.text(0.96, 0.96, text, ha="right", va="top", fontsize=19, transform=panel.transAxes)
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
        note(panels[0, 0], selection.jets, at=(0.04, 0.96), fontsize=19)
        return finish(figure)


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
    """All figures of a dataset by name: those of the histograms, and response_slices; none without enough entries.

    A spectrum in slices has a figure for each, named with its number: pt_eta0.

    Parameters
    ----------
    hists: by name; "response" is one of the response, the others are spectra, those of two variables in slices.
    dataset: the one to plot.
    label, energy, selection, and names of levels: as said above.

    Raises
    ------
    ValueError: when no histogram has the dataset; lists those there are.
    """
    known = {name: list(histogram.axes["dataset"]) for name, histogram in hists.items()}
    if not any(dataset in there for there in known.values()):
        _unknown(dataset, sorted({name for there in known.values() for name in there}))
    options: dict[str, Any] = {
        "dataset": dataset,
        "label": label,
        "energy": energy,
        "truth_label": truth_label,
        "emulated_label": emulated_label,
        "selection": selection,
    }
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
    for figure in figures.values():
        if figure.is_empty:
            plt.close(figure)
    return {name: figure for name, figure in figures.items() if not figure.is_empty}


def _drawn_edges(edges: Doubles, *, uniform: bool) -> tuple[Doubles, Doubles, bool]:
    """Edges and centres as they are drawn, and whether on a logarithmic axis: half a bin there, that begins at zero."""
    low = float(edges[0] or edges[1] / 2)
    if uniform or low <= 0 or edges[-1] / low <= (10 if edges[0] else 100):
        return edges, (edges[1:] + edges[:-1]) / 2, False
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
    """What entries are divided by: a width that all bins have, or else the axis's unit."""
    if isinstance(axis, hist.axis.Integer):
        return " / unit" if joined else ""
    found = re.search(r"\[(.+)\]", axis.label)
    unit = found[1] if found else ""
    return f" / {unit or 'unit'}" if width is None else f" / {width:.3g} {unit}".rstrip()


def _chi2(emulated: tuple[Doubles, Doubles], truth: tuple[Doubles, Doubles]) -> str:
    """χ² of two spectra, from values and variances, as text."""
    found = agreement(emulated, truth, min_entries=MIN_OF_NUMBER)
    return chi2_text(*found) if found.ndf else ""


def systematic_band(nominal: Doubles, varied: Mapping[str, Doubles]) -> tuple[Doubles, Doubles]:
    """How far down and up variations move a spectrum, in quadrature, (bins,) each.

    Parameters
    ----------
    nominal: values, (bins,).
    varied: the same by systematic: JES_up and JES_down are of one source, ENS0, ENS1, ... the members of an ensemble,
        whose standard deviation counts both ways; any other is one-sided.

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
    """The nominal histogram, without an axis of systematics, and by name those that were varied."""
    if "systematic" not in [axis.name for axis in histogram.axes]:
        return histogram, {}
    parts = {name: histogram[{"systematic": name}] for name in histogram.axes["systematic"]}
    return parts.pop("nominal"), parts


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


def _content(histogram: hist.Hist, dataset: str, level: str, *, flow: bool = False) -> tuple[Doubles, Doubles]:
    """Values and variances of a level; zeros where the histogram does not have it."""
    there = level in list(histogram.axes[1])
    view = histogram[{"dataset": dataset, "level": level if there else 0}].view(flow=flow)
    return np.array(view["value"]) * there, np.array(view["variance"]) * there
