"""Building blocks of the figures in `plotting`: panels, headers, lines, ratios and axis limits."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import mplhep
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from coffea_iqn.numerics.arrays import Doubles, Ints

GREY, BAND = "#717581", "#d5d6db"
COLOURS = ("#3f90da", "#bd1f01", "#e8a200", "#832db6", "#94a4a2", "#a96b59")  # Petroff's ten, with a darker yellow
LONGEST_NAME = 32
ABOVE = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}  # box behind a text that overlaps points
RANGES = (0.1, 0.2, 0.5, 1.0)  # half-widths of the range of a ratio
SHOWN_DPI = 60  # resolution in notebooks, where a panel is as wide as the text
# Figures are saved outside of the style context, and mathtext keeps its font only if it is a named set.
STYLE: list[dict[str, Any]] = [mplhep.style.CMS, {"mathtext.fontset": "stixsans", "text.usetex": False}]


class Shown(Figure):
    """Figure that is drawn, saved and displayed in the style in which it was made.

    Attributes
    ----------
    is_empty: whether the figure has no data, but a text that says why.
    """

    is_empty = False

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure in its style."""
        with plt.style.context(STYLE):  # ticks are made when they are first drawn
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save the figure in its style, with matplotlib's arguments."""
        with plt.style.context(STYLE):
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=SHOWN_DPI)
        return picture.getvalue()


class Ratio(NamedTuple):
    """Ratio in bins, NaN where the denominator is not positive, with the uncertainties from both sides."""

    values: Doubles
    numerator_error: Doubles
    denominator_error: Doubles

    @property
    def error(self) -> Doubles:
        """Total uncertainty of the values."""
        return np.asarray(np.hypot(self.numerator_error, self.values * self.denominator_error))


def ratio(
    numerator: Doubles, numerator_variance: Doubles, denominator: Doubles, denominator_variance: Doubles
) -> Ratio:
    """Return numerator over denominator; errors are square roots of the variances over the denominator."""
    divisor = np.where(denominator > 0, denominator, np.nan)
    return Ratio(numerator / divisor, np.sqrt(numerator_variance) / divisor, np.sqrt(denominator_variance) / divisor)


def plain(text: str) -> str:
    """Escape a text for mathtext."""
    return text.replace("$", r"\$")


def between(low: float, high: float, name: str) -> str:
    return f"{name} < {high:g}" if low == 0 else f"{low:g} < {name} < {high:g}"


def make_panels(rows: int, columns: int, *, grid: bool = False, apart: bool = False) -> tuple[Shown, npt.NDArray[Any]]:
    """Return a figure and its axes (rows, columns): a grid of equal panels, or columns with a plot above a ratio.

    Panels of a grid are adjacent and share their limits, unless they are apart.
    """
    share = grid and not apart
    width, height = (6.5 * columns, 5.5 * rows + 1.2) if grid else (10 * columns, 10)
    figure = Shown(figsize=(width, height))
    figure.subplots_adjust(
        left=1.5 / width,
        right=1 - 0.45 / width,
        top=1 - 0.7 / height,
        bottom=1.05 / height,
        hspace=0.0 if share else 0.25 if grid else 0.1,
        wspace=0.0 if share else 0.25 if grid else 0.2,
    )
    panels = figure.subplots(
        rows,
        columns,
        sharex=share if grid else "col",
        sharey=share,
        squeeze=False,
        height_ratios=[1] * rows if grid else [3, 1][:rows],
    )
    for panel in panels.flat:
        panel.tick_params(axis="x", pad=10)  # keep clear of the y labels in the corner
    return figure, panels


def header(left: Axes, right: Axes, dataset: str, label: str, energy: float | None = None) -> None:
    """Write "coffea-iqn" and a label at the top left, and dataset and energy [TeV] at the top right."""
    keep = (LONGEST_NAME - 1) // 2
    name = dataset if len(dataset) <= LONGEST_NAME else f"{dataset[:keep]}…{dataset[-keep:]}"
    sizes = (26.0, 21.0, 20.0, 20.0)
    made = mplhep.label.exp_text("coffea-iqn", label, ax=left, fontsize=sizes, scilocator_adjust=False)[1]
    of = plain(name) if energy is None else f"{plain(name)} ({energy:g} TeV)"
    what = mplhep.label.add_text(of, loc="over right", xpad=0, ypad=0, fontsize=sizes[2], ax=right)
    taken = what.get_window_extent()
    room = (taken.x1 - made.get_window_extent().x1) / taken.width - 0.05
    what.set_fontsize(sizes[2] * min(1, max(0.4, room)))


def titled_panels(
    rows: int, columns: int, title: str, label: str, energy: float | None = None, **layout: bool
) -> tuple[Shown, npt.NDArray[Any]]:
    """Return the figure and axes of `make_panels` with a `header`."""
    figure, panels = make_panels(rows, columns, **layout)
    header(panels[0, 0], panels[0, -1], title, label, energy)
    return figure, panels


def empty(figure: Shown, panel: Axes, text: str) -> Shown:
    """Return the figure, marked as empty, with a text that says why."""
    figure.is_empty = True
    panel.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=panel.transAxes)
    return figure


def draw_levels(
    panel: Axes, edges: Doubles, centres: Doubles, levels: Mapping[str, tuple[Doubles, Doubles]]
) -> dict[str, Any]:
    """Draw values and errors: gen as dashed line, emulated as line with band, truth as points. Return the handles."""
    for level, (values, errors) in levels.items():
        if not errors.any():
            continue
        if level == "truth":
            full = np.where(errors > 0, values, np.nan)
            panel.errorbar(centres, full, errors, fmt="o", color="black", markersize=6, elinewidth=2, zorder=4)
            continue
        emulated = level == "reco"
        style: dict[str, Any] = {"color": COLOURS[0], "lw": 2.5} if emulated else {"color": GREY, "lw": 2, "ls": "--"}
        panel.stairs(values, edges, baseline=None, zorder=3 if emulated else 2, **style)
        if emulated:
            high, low = values + errors, values - errors
            panel.stairs(high, edges, baseline=low, fill=True, zorder=1, color=COLOURS[0], alpha=0.3, linewidth=0)
    return {
        "gen": Line2D([], [], color=GREY, linewidth=2, linestyle="--"),
        "reco": (Patch(color=COLOURS[0], alpha=0.3, linewidth=0), Line2D([], [], color=COLOURS[0], linewidth=2.5)),
        "truth": Line2D([], [], color="black", marker="o", markersize=6, linestyle="none"),
    }


def draw_band(panel: Axes, edges: Doubles, values: Doubles, lower: Doubles, upper: Doubles) -> Patch:
    """Draw a hatched band of systematic uncertainties, from values - lower to values + upper. Return its handle."""
    style: dict[str, Any] = {"facecolor": "none", "edgecolor": GREY, "hatch": "////", "linewidth": 0}
    panel.stairs(values + upper, edges, baseline=values - lower, fill=True, zorder=2, **style)
    return Patch(**style)


def draw_ratio(
    panel: Axes, edges: Doubles, centres: Doubles, compared: Ratio, ranges: Sequence[float] = RANGES, text: str = ""
) -> None:
    """Draw a ratio with the denominator's uncertainty as band and the numerator's as bars.

    ranges: possible half-widths of the range around 1.
    text: text in a separate strip above the points.
    """
    values, errors, reference = compared
    half = half_range(values, ranges)
    panel.stairs(1 + reference, edges, baseline=1 - reference, fill=True, color=BAND, linewidth=0, zorder=0)
    ratio_points(panel, centres, values, errors, half=half, color=COLOURS[0])
    if text:
        panel.set_ylim(1 - half, 1 + 1.5 * half)
        panel.text(
            0.985, 0.95, text, ha="right", va="top", fontsize=18, transform=panel.transAxes, bbox=ABOVE, zorder=5
        )


def ratio_points(
    panel: Axes, centres: Doubles, values: Doubles, errors: Doubles, *, half: float, color: str, around: float = 1.0
) -> None:
    """Draw points in a range of half-width `half` around a value, and triangles for points beyond."""
    panel.axhline(around, color=GREY, linewidth=1.5, zorder=1)
    panel.errorbar(centres, values, errors, fmt="o", color=color, markersize=6, elinewidth=2, zorder=3)
    for beyond, marker, side in ((values > around + half, "^", 1), (values < around - half, "v", -1)):
        where = np.full(beyond.sum(), around + 0.9 * side * half)
        panel.plot(centres[beyond], where, marker, color=color, mfc="white", mew=2, markersize=9, zorder=3)
    panel.set_ylim(around - half, around + half)


def half_range(values: Doubles, choices: Sequence[float]) -> float:
    """Return the smallest half-width around 1 that contains all values, or the largest if none does."""
    away = np.abs(values - 1)
    most = np.max(away, initial=0.0, where=np.isfinite(away))
    return next((half for half in choices if most <= 0.95 * half), choices[-1])


def limit(panel: Axes, levels: Sequence[tuple[Doubles, Doubles]], *, log: bool, decades: float = 30) -> None:
    """Set limits that leave the upper quarter of the panel to the legend."""
    values, errors = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*levels, strict=True))
    most = (values + errors).max()
    if not log or values.max() <= 0:
        panel.set_ylim(min(0.0, 1.1 * (values - errors).min()) if values.min() < 0 else 0.0, max(1.35 * most, 1e-300))
        return
    least = min(max(values[values > 0].min() / 2, most / 10**decades), most / 30)
    panel.set_yscale("log", nonpositive="clip")
    panel.set_ylim(least, most * (most / least) ** 0.35)


def limit_points(
    panel: Axes, values: Doubles, errors: Doubles, *, zero: bool, least: float = 0.02, room: float = 0.35
) -> None:
    """Set limits for points; error bars longer than twice their median may leave the panel.

    zero: whether the axis starts at zero.
    least: minimum range.
    room: free space above the points, relative to the range.
    """
    bars = np.minimum(errors, 2 * np.nanmedian(errors))
    low, high = 0.0 if zero else np.nanmin(values - bars), np.nanmax(values + bars)
    spread = max(high - low, least)
    panel.set_ylim(low if zero else low - 0.05 * spread, high + room * spread)


def clear_ends(panel: Axes) -> None:
    """Remove tick labels at the ends of a linear x and a logarithmic y axis, which would overlap the next panel."""
    (left, right), (low, high) = panel.get_xlim(), np.log10(panel.get_ylim())
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(left, right))
    decades = np.arange(np.ceil(low), np.floor(high) + 1)
    panel.set_xticks(ticks[np.abs(ticks - (left + right) / 2) < 0.44 * (right - left)])
    panel.set_yticks(10.0 ** decades[np.abs(decades - (low + high) / 2) < 0.44 * (high - low)])


def carried(levels: Sequence[tuple[Doubles, Doubles]], least: float) -> Ints:
    """Merge bins with their neighbours until each has `least` entries in every sample.

    Parameters
    ----------
    levels: values and variances of each sample, (bins,).
    least: minimum number of effective entries: entries of weight 1 with the same relative uncertainty.

    Bins are merged from both ends towards the highest one. With fewer entries in total there is one bin.

    Returns
    -------
    indices of the remaining edges, including the first and the last.
    """

    def enough(start: int, stop: int) -> bool:
        return all(effective(value[start:stop], variance[start:stop]) >= least for value, variance in levels)

    n_bins = len(levels[0][0])
    peak = int(np.argmax(sum(value / max(float(np.abs(value).sum()), 1e-300) for value, _ in levels)))
    left, right = [0], [n_bins]
    for stop in range(1, peak + 1):
        if enough(left[-1], stop):
            left.append(stop)
    for start in range(n_bins - 1, peak, -1):
        if enough(start, right[-1]):
            right.append(start)
    # remaining bins next to the highest one are merged outwards if that bin has enough entries by itself
    if enough(peak, peak + 1):
        left = [*left[:-1], peak] if len(left) > 1 else left
        right = [*right[:-1], peak + 1] if len(right) > 1 else right
    while len(left) + len(right) > 2 and not enough(left[-1], right[-1]):
        (left if len(left) > 1 else right).pop()
    return np.unique([*left, *right])


def effective(values: Doubles, variances: Doubles) -> Doubles:
    """Return the number of entries of weight 1 with the same relative uncertainty, along the last axis."""
    variance = variances.sum(axis=-1)
    return np.asarray(values.sum(axis=-1) ** 2 / np.where(variance > 0, variance, np.inf))


def power_of_ten(most: float) -> int:
    """Return the power of ten, a multiple of three, to factor out of numbers; 0 if they are short without it."""
    return 0 if most <= 0 or 0.01 <= most < 1e5 else 3 * int(np.floor(np.log10(most) / 3))


def make_log_x(*panels: Axes) -> None:
    """Make x axes logarithmic; their limits must be set. Tick labels are at 1, 2 and 5 if there are few decades."""
    for panel in panels:
        low, high = panel.get_xlim()
        few = high < 2e3 * low
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}") if few else LogFormatterMathtext())
        panel.xaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10))))
        panel.xaxis.set_minor_formatter(NullFormatter())


class Slices(NamedTuple):
    """Slices of |eta| with measurements, and the positions of their points in gen pt.

    Attributes
    ----------
    numbers: |eta| bins of the slices.
    places: gen pt of the points of each slice, (P,), shifted so that bars do not overlap.
    colours, names: colour and name of each slice.
    limits: range of gen pt with measurements.
    """

    numbers: list[int]
    places: list[Doubles]
    colours: list[str]
    names: list[str]
    limits: tuple[float, float]

    def legend(
        self, truth_label: str | None, emulated_label: str = "Emulated"
    ) -> tuple[list[Line2D], list[str], list[Line2D], list[str]]:
        """Return handles and texts of the slices, and of emulated and, with a `truth_label`, true points."""
        lines = [Line2D([], [], color=colour, linewidth=6) for colour in self.colours]
        kinds = [
            Line2D([], [], color="black", marker="o", markersize=9, mfc="white", mew=2),
            Line2D([], [], color="black", marker="o", markersize=9, linestyle="none"),
        ]
        texts = [emulated_label] if truth_label is None else [emulated_label, plain(truth_label)]
        return lines, self.names, kinds[: len(texts)], texts


def make_slices(pt: npt.ArrayLike, abs_eta: Sequence[float] | Doubles, found: Doubles) -> Slices | None:
    """Return the slices from bin edges and measurements (P, E, ...), NaN where missing; None if all are missing."""
    pt = np.asarray(pt, dtype=np.float64)
    measured = np.asarray(np.isfinite(found.reshape(*found.shape[:2], -1)).any(axis=2))
    rows, numbers = np.flatnonzero(measured.any(axis=1)), np.flatnonzero(measured.any(axis=0)).tolist()
    if not numbers:
        return None
    return Slices(
        numbers=numbers,
        places=[np.sqrt(pt[1:] * pt[:-1]) * 1.03 ** (k - (len(numbers) - 1) / 2) for k in range(len(numbers))],
        colours=[COLOURS[k % len(COLOURS)] for k in numbers],
        names=[between(abs_eta[k], abs_eta[k + 1], r"$|\eta|$") for k in numbers],
        limits=(float(pt[rows[0]]), float(pt[rows[-1] + 1])),
    )


def draw_against_pt(
    panel: Axes, slices: Slices, values: Doubles, errors: Doubles, *, name: str, zero: bool = False, **limits: float
) -> None:
    """Draw values and errors (P, E, emulated and true) in slices of |eta| against gen pt, with limits and labels.

    Emulated values are open markers on a line, true ones full markers.
    """
    for k, at, colour in zip(slices.numbers, slices.places, slices.colours, strict=True):
        style: dict[str, Any] = {"color": colour, "markersize": 9, "elinewidth": 2}
        panel.errorbar(at, values[:, k, 0], errors[:, k, 0], fmt="-o", mfc="white", mew=2, **style)
        panel.errorbar(at, values[:, k, 1], errors[:, k, 1], fmt="o", **style)
    limit_points(panel, values[:, slices.numbers], errors[:, slices.numbers], zero=zero, **limits)
    panel.set_ylabel(name)
    panel.set_xlim(slices.limits)
    make_log_x(panel)


def draw_slices_ratio(
    panel: Axes, slices: Slices, values: Doubles, errors: Doubles, truth_label: str, emulated_label: str = "Emulated"
) -> None:
    """Draw the ratio of emulated to true, from values and errors (P, E, emulated and true)."""
    of = ratio(values[..., 0], errors[..., 0] ** 2, values[..., 1], errors[..., 1] ** 2)
    compare_slices(panel, slices, of.values, of.error)
    label_ratio(panel, truth_label, emulated_label)


def label_ratio(panel: Axes, truth_label: str, emulated_label: str = "Emulated") -> None:
    panel.set_ylabel(f"{emulated_label} /\n{plain(truth_label)}", loc="center", fontsize="small")


def compare_slices(panel: Axes, slices: Slices, values: Doubles, errors: Doubles, *, around: float = 1.0) -> None:
    """Draw ratios, around 1, or differences, around 0, with their errors, (P, E) each."""
    drawn, bars = values[:, slices.numbers], errors[:, slices.numbers]
    half = half_range(1 + drawn - around, (0.05, 0.1, 0.2, 0.5, 1.0))
    for value, bar, at, colour in zip(drawn.T, bars.T, slices.places, slices.colours, strict=True):
        ratio_points(panel, at, value, bar, half=half, color=colour, around=around)
