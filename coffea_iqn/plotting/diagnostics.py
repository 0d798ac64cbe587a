"""Figures of tests of an emulator, from the results of `closure`, in CMS style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from coffea_iqn.closure import VARIABLES, Cells, Correlations, Judgement, KSTest, uniformity
from coffea_iqn.closure.spectra import histogram
from coffea_iqn.numerics.arrays import Bools, Floats
from coffea_iqn.plotting.labels import (
    ABS_ETA,
    BLUE,
    GEN_PT,
    NAMES,
    NOTHING,
    chi2_text,
    label_grid,
    middles,
    note,
    styled,
)
from coffea_iqn.plotting.panels import (
    BAND,
    GREY,
    Shown,
    draw_levels,
    empty,
    header,
    limit,
    make_panels,
    plain,
    titled_panels,
)
from coffea_iqn.ranges import expect

LEVEL_BINS, MOST_FEATURES = 50, 12


@styled
def plot_levels(levels: Floats, *, title: str, label: str = "Simulation", names: Sequence[str] = NAMES) -> Shown:
    """Plot quantile levels of true jets relative to a uniform distribution, and their χ².

    Parameters
    ----------
    levels: levels of pt, eta, phi and mass, or of other variables, (N, n).
    title, label: see above.
    names: names of the n variables.

    The grey band is the Poisson uncertainty of the expectation.

    Raises
    ------
    ValueError: if the numbers of columns and names differ, or there are no jets.
    """
    fits = levels.ndim == 2 and levels.shape[1] == len(names) and len(levels) > 0
    expect(fits, f"levels: expected (N, {len(names)}) of at least one jet, got {levels.shape}")
    edges = np.linspace(0, 1, LEVEL_BINS + 1)
    counts, expected = np.stack([histogram(column, edges) for column in levels.T]), len(levels) / LEVEL_BINS
    values, errors = counts / expected, np.sqrt(counts) / expected
    noise = expected**-0.5
    half = 1.1 * float((np.abs(values - 1) + errors).max())
    ndf = LEVEL_BINS - 1
    figure, panels = titled_panels(-(-len(names) // 2), 2, title, label, grid=True)
    squares = ndf * uniformity(levels, bins=LEVEL_BINS)
    for panel, name, value, error, chi2 in zip(panels.flat, names, values, errors, squares, strict=False):
        panel.axhspan(1 - noise, 1 + noise, color=BAND, linewidth=0, zorder=0)
        panel.axhline(1, color=GREY, linewidth=1.5, zorder=1)
        panel.errorbar(middles(edges), value, error, fmt="o", color=BLUE, markersize=5, elinewidth=2, zorder=3)
        note(panel, name)
        note(panel, chi2_text(float(chi2), ndf), at=(0.96, 0.95), ha="right")
    panels[0, 0].set_xlim(0, 1)
    panels[0, 0].set_ylim(max(0, 1 - half), 1 + 1.35 * half)
    label_grid(panels, "Quantile level", "Jets / expectation")
    panels[0, 0].yaxis.set_major_locator(MaxNLocator(6, prune="both"))
    return figure


@styled
def plot_map(
    values: Floats,
    cells: Cells,
    *,
    bar: str,
    title: str,
    names: Sequence[str] = NAMES,
    centre: float | None = None,
    label: str = "Simulation",
) -> Shown:
    """Plot a figure of merit of the four variables in cells of gen pt and |eta|, as colours and numbers.

    Parameters
    ----------
    values: values (P, E, 4), NaN in cells without measurement, which are hatched; rows and columns after the last
        measured cell are not shown.
    cells: edges of the cells, P + 1 and E + 1.
    bar: label of the colour bar, in mathtext.
    names: names of the panels, in mathtext.
    centre: central value of a diverging colour map; None for a map that starts at zero, or at the least negative value.
    title, label: see above.

    Raises
    ------
    ValueError: if the shapes of values, cells and names do not match.
    """
    shape = (len(cells.pt) - 1, len(cells.abs_eta) - 1, 4)
    fits = values.shape == shape and len(names) == 4
    expect(fits, f"values: expected {shape} and 4 names, got {values.shape} and {len(names)}")
    measured: Bools = np.asarray(np.isfinite(values).any(axis=2))
    figure, panels = make_panels(2, 2, grid=True, apart=True)
    if not measured.any():
        header(panels[0, 0], panels[0, 1], title, label)
        return empty(figure, panels[0, 0], NOTHING)
    rows, columns = (int(np.flatnonzero(measured.any(axis=axis))[-1]) + 1 for axis in (1, 0))
    shown = values[:rows, :columns].astype(np.float64)
    low, high = min(0.0, float(np.nanmin(shown))), float(np.nanmax(shown))
    colours, norm = "Blues", Normalize(low, high)
    if centre is not None:
        away = max(high - centre, centre - float(np.nanmin(shown)), 1e-12)
        colours, norm = "RdBu_r", Normalize(centre - away, centre + away)
    decimals = int(np.clip(2 - np.floor(np.log10(max(high, -low, 1e-12))), 0, 4))
    for panel, name, value in zip(panels.flat, names, np.moveaxis(shown, 2, 0), strict=True):
        mesh = _draw_matrix(panel, value, norm=norm, colours=colours, decimals=decimals)
        panel.set_xticks(range(columns + 1), [f"{edge:g}" for edge in cells.abs_eta[: columns + 1]])
        panel.set_yticks(range(rows + 1), [f"{edge:g}" for edge in cells.pt[: rows + 1]])
        # empty strip for the name
        panel.set_ylim(0, 1.1 * rows)
        panel.axhspan(rows, 1.1 * rows, color="white", zorder=0.5)
        panel.axhline(rows, color="black", linewidth=1)
        note(panel, name, at=(0.5, 0.985), ha="center")
    for panel in panels[:, 0]:
        panel.set_ylabel(GEN_PT)
    for panel in panels[1]:
        panel.set_xlabel(ABS_ETA)
    figure.subplots_adjust(right=0.84)
    bottom, top = panels[1, 1].get_position().y0, panels[0, 1].get_position().y1
    figure.colorbar(mesh, cax=figure.add_axes((0.865, bottom, 0.025, top - bottom))).set_label(bar, loc="center")
    header(panels[0, 0], panels[0, 1], title, label)
    return figure


@styled
def plot_ks(tests: Sequence[KSTest], *, title: str, label: str = "Simulation", truth_label: str = "Truth") -> Shown:
    """Plot Kolmogorov-Smirnov distances between halves of the true jets, and between true and emulated jets.

    Parameters
    ----------
    tests: tests of pt, eta, phi and mass.
    title, label, truth_label: see above.

    Raises
    ------
    ValueError: if there are not four tests.
    """
    expect(len(tests) == len(VARIABLES), f"tests: expected one for each of {', '.join(VARIABLES)}, got {len(tests)}")
    figure, panels = titled_panels(2, 2, title, label, grid=True, apart=True)
    truth = plain(truth_label)
    for panel, name, test in zip(panels.flat, NAMES, tests, strict=True):
        edges = np.linspace(0, 1.05 * float(max(test.real_real.max(), test.real_emulated.max(), 1e-6)), 41)
        null, emulated = (histogram(side, edges) for side in test)
        panel.stairs(null, edges, fill=True, color=GREY, alpha=0.5, label=f"{truth} – {truth}")
        panel.stairs(emulated, edges, color=BLUE, linewidth=2.5, label=f"{truth} – emulated")
        panel.set_xlim(0, edges[-1])
        panel.set_ylim(0, 1.45 * max(null.max(), emulated.max()))
        panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        panel.set_xlabel(f"KS distance of {name}")
        panel.set_ylabel("Random halves")
    panels[0, 0].legend(loc="upper left")
    return figure


@styled
def plot_weights(
    judgement: Judgement, null: Judgement, *, title: str, label: str = "Simulation", truth_label: str = "Truth"
) -> Shown:
    """Plot the classifier weights w = P(truth) / P(emulated) of true and of emulated jets, each normalised to 1.

    Parameters
    ----------
    judgement: classifier for true and emulated jets.
    null: classifier for two samples of the same law, whose jets are shown together.
    title, label, truth_label: see above.

    Lines are at w = 1/2 and 2. The first and the last bin include jets beyond the axis.
    """
    truth, emulated = (np.log10(side) for side in judgement.weights)
    reference = np.log10(np.concatenate(null.weights))
    half = max(0.5, *(float(np.quantile(np.abs(side), 0.9999)) for side in (truth, emulated, reference)))
    edges = np.linspace(-half, half, 61)
    counts = {name: histogram(side, edges) for name, side in (("reco", emulated), ("truth", truth))}
    levels = {name: (count / count.sum(), np.sqrt(count) / count.sum()) for name, count in counts.items()}
    figure, ((panel,),) = titled_panels(1, 1, title, label)
    grey = panel.stairs(histogram(reference, edges) / len(reference), edges, fill=True, color=BAND, zorder=0)
    handles = draw_levels(panel, edges, middles(edges), levels)
    for weight in (0.5, 2.0):
        panel.axvline(np.log10(weight), color=GREY, linestyle="--", linewidth=1.5, zorder=1)
    limit(panel, list(levels.values()), log=True, decades=7)
    panel.set_xlim(-half, half)
    panel.set_xlabel(rf"$\log_{{10}}\,w$,   $w$ = P({plain(truth_label)}) / P(emulated)")
    panel.set_ylabel("Fraction of jets / bin")
    line = Line2D([], [], color=GREY, linestyle="--", linewidth=1.5)
    texts = [plain(truth_label), "Emulated", "Null", "$w$ = 1/2, 2"]
    entries = [handles["truth"], handles["reco"], grey, line]
    panel.legend(entries, texts, ncols=2, loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    return figure


@styled
def plot_reliability(tenths: Sequence[Mapping[str, float]], *, title: str, label: str = "Simulation") -> Shown:
    """Plot the fraction of true jets against the probability from a classifier, in deciles of that probability.

    Parameters
    ----------
    tenths: "said", "found" and "error" of each decile, from `training.refinement.reliability`.
    title, label: see above.
    """
    said, found, error = (np.array([tenth[name] for tenth in tenths]) for name in ("said", "found", "error"))
    figure, ((panel,),) = titled_panels(1, 1, title, label)
    half = 1.15 * float(max(np.abs(said - 0.5).max(), (np.abs(found - 0.5) + error).max()))
    panel.plot([0.5 - half, 0.5 + half], [0.5 - half, 0.5 + half], color=GREY, linewidth=1.5, zorder=1)
    panel.errorbar(said, found, error, fmt="o", color=BLUE, markersize=7, elinewidth=2, zorder=3)
    panel.set_xlim(0.5 - half, 0.5 + half)
    panel.set_ylim(0.5 - half, 0.5 + half)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.set_xlabel("P(truth) from the ratio")
    panel.set_ylabel("Fraction of true jets")
    return figure


@styled
def plot_importance(judgement: Judgement, *, features: Sequence[str], title: str, label: str = "Simulation") -> Shown:
    """Plot the share of each feature in the gain of a classifier, for the `MOST_FEATURES` most important ones.

    Parameters
    ----------
    judgement: result of the classifier.
    features: names of its features, in order.
    title, label: see above.

    Raises
    ------
    ValueError: if the number of names is not that of the features.
    """
    fits = len(features) == len(judgement.importance)
    expect(fits, f"features: expected {len(judgement.importance)} names, got {len(features)}")
    order = np.argsort(judgement.importance, kind="stable")[-MOST_FEATURES:]
    shares = 100 * judgement.importance[order]
    figure, ((panel,),) = make_panels(1, 1)
    panel.barh(range(len(order)), shares, color=BLUE, height=0.7)
    for place, share in enumerate(shares):
        panel.annotate(f"{share:.1f}", (share, place), (8, 0), textcoords="offset points", va="center", fontsize=20)
    panel.set_xlim(0, 1.15 * max(float(shares.max()), 1.0))
    panel.set_yticks(range(len(order)), [plain(features[k]) for k in order])
    panel.yaxis.set_minor_locator(NullLocator())
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel("Share of the gain [%]")
    longest = max(text.get_window_extent().width for text in panel.get_yticklabels())
    figure.subplots_adjust(left=(longest + 0.4 * figure.dpi) / figure.bbox.width)
    header(panel, panel, title, label)
    return figure


@styled
def plot_correlations(
    found: Correlations, *, title: str, label: str = "Simulation", truth_label: str = "Truth"
) -> Shown:
    """Plot rank correlations of the four residuals, emulated and true, and their difference.

    Parameters
    ----------
    found: result of `closure.correlations`.
    title, label, truth_label: see above.

    The colours of the difference span its range, but at least ±3 standard deviations.
    """
    difference = found.emulated - found.real
    error = float(np.sqrt(2) * found.uncertainty)
    largest = max(float(np.nanmax(np.abs(difference), initial=0)), 3 * error)
    figure, panels = titled_panels(1, 3, title, label, grid=True, apart=True)
    for panel, matrix, text, half, decimals in (
        (panels[0, 0], found.emulated, "Emulated", 1.0, 2),
        (panels[0, 1], found.real, plain(truth_label), 1.0, 2),
        (panels[0, 2], difference, f"Difference (each ± {error:.3f})", largest, 3),
    ):
        _draw_matrix(panel, matrix, norm=Normalize(-half, half), colours="RdBu_r", decimals=decimals)
        panel.invert_yaxis()
        panel.set_xticks(np.arange(4) + 0.5, NAMES)
        panel.set_yticks(np.arange(4) + 0.5, NAMES)
        panel.set_xlabel(text, loc="center")
    return figure


def _draw_matrix(panel: Axes, values: Floats, *, norm: Normalize, colours: str | Colormap, decimals: int) -> QuadMesh:
    """Draw values as colours and numbers; NaN cells are hatched."""
    panel.patch.set(hatch="//", edgecolor=BAND)
    mesh = panel.pcolormesh(np.ma.masked_invalid(values), cmap=colours, norm=norm, edgecolors="white", linewidth=1)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            brightness = np.dot(mesh.to_rgba(np.asarray(value))[:3], (0.299, 0.587, 0.114))
            ink = "white" if brightness < 0.55 else "black"
            text = f"{value:z.{decimals}f}".replace("-", "−")
            panel.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=ink, fontsize=20)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_locator(NullLocator())
    panel.tick_params(which="both", length=0)
    return mesh
