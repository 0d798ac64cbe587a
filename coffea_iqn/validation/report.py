"""The closure report: a self-contained HTML page with the verdict and with sections of embedded figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import hist
import jinja2
import numpy as np
from matplotlib.figure import Figure

from coffea_iqn import closure, plotting
from coffea_iqn.closure import VARIABLES
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.validation.comparison import Validation
from coffea_iqn.validation.metrics import line_of
from coffea_iqn.validation.verdict import BY_KEY, CHECKS, Check, outcome

EVENT_HISTOGRAMS = (
    "pt",
    "mass",
    "njet",
    "njet30",
    "ht",
    "leading_pt",
    "second_pt",
    "dijet_mass",
    "dijet_deta",
    "dijet_dphi",
    "unmatched_pt",
)
Says = dict[str, Any]  # title, label and truth_label of figures
FEW_HISTOGRAMS = ("njet", "ht", "leading_pt", "dijet_mass")
OBJECT_HISTOGRAMS = (
    *(f"{kind.name.lower()}_{of}" for of in ("pt", "isolation", "response") for kind in KINDS),
    "met_pt",
    "met_parallel",
    "met_across",
    "met_dphi",
    "transverse_mass",
)


@dataclass
class Section:
    """Section of the page.

    Attributes
    ----------
    key, title, text: anchor, heading, and explanation.
    tables: header and rows of each table.
    figures: figures by caption.
    """

    key: str
    title: str
    text: str
    tables: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = field(default_factory=list)
    figures: dict[str, plotting.Shown] = field(default_factory=dict)


def sections(
    found: Validation,
    *,
    title: str,
    hists: Mapping[str, hist.Hist] | None = None,
    shown: Sequence[str] = EVENT_HISTOGRAMS,
    label: str = "Simulation",
    energy: float | None = None,
    truth_label: str = "Truth",
    selection: plotting.Selection = plotting.EVERY,
    labels: Mapping[str, str] | None = None,
) -> list[Section]:
    """Return the sections of the page, without figures for which there are too few jets.

    Parameters
    ----------
    found: the validation.
    title: title of the figures.
    hists: histograms of a fold of the same files, for the section of events.
    shown: names of the histograms with figures; the table has all of them.
    label, energy, truth_label, selection: labels of the figures, see `plotting`; the selection is that of the fold.
    labels: axis labels of columns, by name.
    """
    of = title if energy is None else f"{title}, {energy:g} TeV"
    says = {"title": of, "label": label, "truth_label": truth_label}
    least = rf"Gen $p_T$ > {found.effort.gen_pt_min:g} GeV"
    of_pairs = plotting.Selection("\n".join(line for line in (selection.jets, least) if line))
    of_folds = {"label": label, "truth_label": truth_label, "energy": energy, "selection": selection}
    made = [
        *_spectra(found, says, of_pairs),
        _response(found, says),
        _tails(found, says),
        _levels(found, says),
        _ks(found, says),
        _judges(found, says),
        _distances(found, says),
        _medians(found),
        _joint(found, says),
        _columns(found, says, of_pairs, labels or {}),
        _particles(found, says),
        _events(found, says, {name: hists[name] for name in shown} if hists else {}, of_folds),
    ]
    for section in made:
        section.figures = {name: figure for name, figure in section.figures.items() if not figure.is_empty}
    return [section for section in made if section.tables or section.figures]


def _spectra(found: Validation, says: Says, selection: plotting.Selection) -> list[Section]:
    """Return the sections of all jets, and of those in each box."""
    section = Section(
        "spectra",
        "Spectra",
        "Spectra of the four variables of emulated and true reco jets, for the same gen jets (figures 1 and 2 of "
        "Kronheim et al. 2024). Uncertainties are Poisson uncertainties of both. Emulated and true jets have nearly "
        "the same angles, which therefore fluctuate together. The deviation is the root mean square relative "
        "difference of the densities, with the expected statistical fluctuation subtracted.",
    )
    made, sides = [section], [(found.truth.marginals, found.null.marginals)]
    for k, (box, marginals) in enumerate(found.truth.boxes.items()):
        text = f"Spectra for the {int(marginals[0].real.sum()):,} gen jets in {box} (figure 4 of the paper)."
        made.append(Section(f"boxes{k or ''}", f"Spectra for {box}", text))
        sides.append((marginals, found.null.boxes.get(box)))
    for section, (of_truth, of_null) in zip(made, sides, strict=True):
        rows = []
        for k, (variable, one) in enumerate(zip(VARIABLES, of_truth or (), strict=False)):
            null = "" if of_null is None else f"{of_null[k].agreement.per_bin:.2f}"
            deviation = f"{100 * one.deviation.value:.1f} ± {100 * one.deviation.uncertainty:.1f} %"
            rows.append((variable, f"{one.agreement.per_bin:.2f}", str(one.agreement.ndf), null, deviation))
            figure = plotting.plot_marginal(one, variable=variable, selection=selection, **says)
            section.figures[f"{variable} of emulated and true jets"] = figure
        if rows:
            section.tables.append((("", "χ²/ndf", "bins", "null", "deviation"), rows))
    return made


def _response(found: Validation, says: Says) -> Section:
    section = Section(
        "response",
        "Response",
        "Scale: median of the response, which is pt'/pt, m'/m, Δη or Δφ. Resolution: half its central 68 % width. "
        "Both against gen pt in slices of |η|, emulated and true; cells with fewer than 500 jets are left out.",
    )
    cells = found.truth.response
    if cells is not None:
        for variable in ("pt", "mass", "eta", "phi"):
            name = f"scale and resolution of {variable}"
            section.figures[name] = plotting.plot_scale_and_resolution(cells, variable=variable, **says)
    return section


def _tails(found: Validation, says: Says) -> Section:
    section = Section(
        "tails",
        "Tails",
        "Residuals relative to the median of the true jets in their cell of gen pt and |η|, in units of half the "
        "central 68 % width. The table has the numbers of emulated and true jets beyond 3, 5 and 8 widths.",
    )
    tails = found.truth.tails
    if tails is not None:
        rows = [
            (f"{variable} {name}", *(f"{emulated:,} / {true:,}" for emulated, true in tails.counts[:, k, side].T))
            for k, variable in enumerate(VARIABLES)
            for side, name in enumerate(("below", "above"))
        ]
        section.tables.append((("", *(f"beyond {w:g}: emulated / true" for w in tails.widths)), rows))
        section.figures["distributions over their widths"] = plotting.plot_tails(tails, **says)
    return section


def _levels(found: Validation, says: Says) -> Section:
    how = (
        "from the emulator's conditional distribution functions, each variable given those before it"
        if found.exact_levels
        else f"from their rank among {found.effort.draws} draws, for each variable separately"
    )
    section = Section(
        "levels",
        "Quantile levels",
        f"Quantile levels of true jets (probability integral transform), {how}. They are uniform if the emulator is "
        "right (figure 3 of the paper). The map shows χ²/ndf in cells of gen pt and |η| with at least 1000 jets, which "
        "tests the calibration in each region of phase space.",
    )
    levels = found.truth.levels
    if levels is not None:
        null = closure.uniformity(found.null.levels) if found.null.levels is not None else np.full(4, np.nan)
        both = zip(VARIABLES, closure.uniformity(levels), null, strict=True)
        section.tables.append((("", "χ²/ndf", "null"), [(v, f"{t:.2f}", f"{n:.2f}") for v, t, n in both]))
        section.figures["quantile levels of true jets"] = plotting.plot_levels(levels, **_alone(says))
    cells = found.truth.levels_in_cells
    if cells is not None:
        bar = r"$\chi^2$/ndf of quantile levels"
        section.figures["χ²/ndf of quantile levels in cells of gen pt and |η|"] = plotting.plot_map(
            cells.values, cells.cells, bar=bar, **_alone(says)
        )
    return section


def _ks(found: Validation, says: Says) -> Section:
    section = Section(
        "ks",
        "Kolmogorov-Smirnov tests",
        f"Distances of random halves of the gen jets, divided {found.effort.ks_repeats} times: between the true jets "
        "of both halves, and between the true jets of one and the emulated jets of the other (figure 5 of the paper).",
    )
    if found.truth.ks is not None:
        rows = [
            (v, *(f"{side.mean():.5f} ± {side.std():.5f}" for side in test))
            for v, test in zip(VARIABLES, found.truth.ks, strict=True)
        ]
        section.tables.append((("", "true and true", "true and emulated"), rows))
        section.figures["Kolmogorov-Smirnov distances"] = plotting.plot_ks(found.truth.ks, **says)
    return section


def _judges(found: Validation, says: Says) -> Section:
    section = Section(
        "judges",
        "Judges",
        "A judge is a classifier two-sample test: boosted trees (XGBoost, depth 6, early stopping; three fifths train, "
        "one stops, one tests, in turn) try to separate emulated from true jets. The emulated and true jet of a gen "
        "jet are always in the same part. The null is the same classifier for two emulations. The weights "
        "w = P(true)/P(emulated) estimate the ratio of densities; their tails show local differences that the AUC "
        "averages out (Das et al., SciPost Phys. 16 (2024) 031).",
    )
    rows: list[Sequence[str]] = []
    for name, judgement in found.truth.judges.items():
        null = found.null.judges.get(name)
        below, above = closure.outside(judgement.weights[1])
        of_null = "" if null is None else f"{null.auc:.4f} ± {null.uncertainty:.4f}"
        auc = f"{judgement.auc:.4f} ± {judgement.uncertainty:.4f}"
        rows.append((name, auc, of_null, f"{100 * below:.3f} %", f"{100 * above:.3f} %"))
        if null is not None:
            section.figures[f"weights of the judge, {name}"] = plotting.plot_weights(judgement, null, **says)
        section.figures[f"importance of the features of the judge, {name}"] = plotting.plot_importance(
            judgement, features=judgement.names, **_alone(says)
        )
    if rows:
        section.tables.append((("features", "AUC", "null", "emulated, w < 1/2", "w > 2"), rows))
    return section


def _distances(found: Validation, says: Says) -> Section:
    section = Section(
        "distances",
        "Distances",
        "Wasserstein-1 distance of residuals in cells, in half widths of the true residuals, minus the mean of its "
        "null (emulated and true exchanged at random). Fréchet and kernel distances use all four residuals together, "
        "standardised and with compressed tails (Kansal et al., Phys. Rev. D 107 (2023) 076017).",
    )
    rows: list[Sequence[str]] = []
    for name, key in (("Fréchet", "frechet"), ("kernel", "kernel")):
        sides = [getattr(side, key) for side in (found.truth, found.null)]
        if sides[0] is not None:
            rows.append((name, *("" if s is None else f"{s.value:.2g} ± {s.uncertainty:.1g}" for s in sides)))
    if rows:
        section.tables.append((("distance", "emulated and true", "null"), rows))
    cells = found.truth.wasserstein
    if cells is not None:
        excess = 100.0 * (cells.values[..., 0] - cells.values[..., 1])
        section.figures["Wasserstein distances in cells"] = plotting.plot_map(
            excess, cells.cells, bar="Wasserstein distance − null [% of width]", **_alone(says), centre=0.0
        )
    return section


def _medians(found: Validation) -> Section:
    section = Section(
        "medians",
        "Predicted medians",
        "Distance of the predicted median, and of the gen jet, from the true reco jet: mean, with the standard "
        "deviation in brackets, in GeV or rad.",
    )
    if found.truth.medians is not None:
        rows = [
            (v, *(f"{mean:.4g} ({spread:.4g})" for mean, spread in (row.predicted, row.gen)), f"{row.ratio:.3f}")
            for v, row in zip(VARIABLES, found.truth.medians, strict=True)
        ]
        section.tables.append((("", "|median − true|", "|gen − true|", "ratio"), rows))
    return section


def _joint(found: Validation, says: Says) -> Section:
    section = Section(
        "joint",
        "Correlations",
        "Rank correlations of the four residuals, and the mass response in bins of the pt response.",
    )
    if found.truth.correlations is not None:
        figure = plotting.plot_correlations(found.truth.correlations, **says)
        section.figures["rank correlations of residuals: emulated, true, difference"] = figure
    if found.truth.profile is not None:
        section.figures["mass response against pt response"] = plotting.plot_profile(found.truth.profile, **says)
    return section


def _columns(found: Validation, says: Says, selection: plotting.Selection, labels: Mapping[str, str]) -> Section:
    section = Section(
        "columns",
        "Columns in addition to the four-momentum",
        f"Spectra of the further columns of emulated and true jets, for the same gen jets. Quantile levels are the "
        f"ranks of true jets among {found.effort.draws} draws, for each column separately, with random order of ties. "
        "They are uniform if the emulator is right.",
    )
    truth, null = found.truth, found.null
    if truth.column_levels is not None and null.column_levels is not None:
        levels, of_null = (closure.uniformity(side) for side in (truth.column_levels, null.column_levels))
        rows: list[Sequence[str]] = []
        for k, (name, one) in enumerate(truth.columns.items()):
            both = f"{one.agreement.per_bin:.2f}", str(one.agreement.ndf), f"{null.columns[name].agreement.per_bin:.2f}"
            rows.append((name, *both, f"{levels[k]:.2f}", f"{of_null[k]:.2f}"))
            section.figures[f"{name} of emulated and true jets"] = plotting.plot_marginal(
                one, variable=name, selection=selection, axis=labels.get(name, name), **says
            )
        section.tables.append((("", "χ²/ndf", "bins", "null", "levels, χ²/ndf", "null"), rows))
        section.figures["quantile levels of columns of true jets"] = plotting.plot_levels(
            truth.column_levels, names=[*truth.columns], **_alone(says)
        )
    return section


def _particles(found: Validation, says: Says) -> Section:
    section = Section(
        "particles",
        "Particles in jets",
        "Jets clustered from emulated particles and true jets, matched to the same gen jets; all particles are "
        "massless. Distance: Wasserstein-1 distance of random halves of emulated and true jets, relative to that of "
        "two halves of true jets; it is 1 if the emulator is right. Shift: median over gen jets of emulated minus "
        "true, in half central 68 % widths of reco minus gen of the true jets. Fréchet and kernel distances use all "
        "observables except η together. The judge of particles, above, has the gen jet among its features.",
    )
    of, null = found.truth.particles, found.null.particles
    if of is None or null is None:
        return section
    sides = of, null
    rows: list[Sequence[str]] = [
        (
            name,
            *(f"{side.distances[name].value:.2f} ± {side.distances[name].uncertainty:.2f}" for side in sides),
            *(f"{value:+.3f}" + f" ± {error:.3f}" * (error > 0.0) for value, error in (s.shifts[name] for s in sides)),
        )
        for name in of.distances
    ]
    section.tables.append((("", "distance", "null", "shift", "null"), rows))
    of_all: list[Sequence[str]] = [
        (f"{name} distance", *(f"{size.value:.2g} ± {size.uncertainty:.1g}" for size in sizes))
        for name, sizes in (("Fréchet", [side.frechet for side in sides]), ("kernel", [side.kernel for side in sides]))
    ]
    section.tables.append(((f"{of.n_jets:,} jets, {of.microseconds:.0f} μs each", "emulated and true", "null"), of_all))
    figure = plotting.plot_observables(of.spectra, **says)
    section.figures["observables of particles in emulated and true jets"] = figure
    return section


def _events(found: Validation, says: Says, hists: Mapping[str, hist.Hist], of_folds: dict[str, Any]) -> Section:
    section = Section(
        "events",
        "Whole events",
        "The emulation of whole events includes lost gen jets and reco jets that match no gen jet. χ²/ndf uses the "
        "statistical uncertainties of both; bins with fewer than 25 effective entries are merged, overflow included. "
        "The null, two emulations, is below 1 because both use the same gen events. Totals: relative differences of "
        "sums over all events, whose uncertainty is that of the difference in each event. "
        "Efficiency: probability that a gen jet has a reco jet, in cells with at least 2000 gen jets.",
    )
    if found.truth.efficiency is not None:
        section.figures["efficiency"] = plotting.plot_efficiency(found.truth.efficiency, **says)
    sides = found.truth.totals, found.null.totals
    rows: list[Sequence[str]] = [
        (name, *(BY_KEY["totals"].text(*of[name]) if name in of else "" for of in sides)) for name in found.truth.totals
    ]
    if rows:
        section.tables.append((("total", "difference", "null"), rows))
    for dataset, agreements in found.truth.spectra.items():
        null = found.null.spectra.get(dataset, {})
        rows = [
            (name, f"{one.per_bin:.2f}", str(one.ndf), f"{null[name].per_bin:.2f}" if name in null else "")
            for name, one in agreements.items()
        ]
        if rows:
            section.tables.append(((dataset, "χ²/ndf", "bins", "null"), rows))
        for name, histogram in hists.items():
            if name in agreements:
                section.figures[f"{name} in {dataset}"] = plotting.plot_spectrum(histogram, dataset=dataset, **of_folds)
    return section


def _alone(says: Says) -> Says:
    """Return the labels for figures without true jets."""
    return {name: text for name, text in says.items() if name != "truth_label"}


PIXELS = 760  # width of a column of a figure


def render(content: Mapping[str, Any], parts: Sequence[Section], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    content: metrics of the validation, from `metrics.metrics`.
    parts: sections of the page, from `sections`.
    others: metrics of other validations, shown in the same table.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    alone = {
        name: {line["key"]: _value(BY_KEY[line["key"]], line) for line in lines}
        for name, lines in content["datasets"].items()
    }
    package = files("coffea_iqn.validation")
    template = environment.from_string(package.joinpath("report.html").read_text(encoding="utf-8"))
    page: str = template.render(
        content=content,
        rows=rows_of(content, others),
        alone=alone,
        alone_checks=[check for check in CHECKS if any(check.key in lines for lines in alone.values())],
        others=others,
        differing=[other["model"]["name"] for other in others if other["sample"] != content["sample"]],
        sections=parts,
        embed=_embed,
        style=package.joinpath("report.css").read_text(encoding="utf-8"),
    )
    return page


def rows_of(content: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return the rows of the verdict as text; values are of this validation and of others, None where missing."""
    rows = []
    for line in content["verdict"]:
        check = BY_KEY[line["key"]]
        theirs = [line_of(other, check.key) for other in others]
        rows.append(
            {
                "line": line,
                "section": check.section,
                "limit": check.text(line["limit"]),
                "null": "" if line["null"] is None else check.text(**line["null"]),
                "values": [None if one is None else _value(check, one) for one in (line, *theirs)],
            }
        )
    return rows


def _value(check: Check, line: Mapping[str, Any]) -> tuple[str, str]:
    """Return a value with its uncertainty as text, and its outcome."""
    return check.text(line["value"], line["uncertainty"]), outcome(line)


def _embed(figure: Figure) -> str:
    """Return a figure as a data URL."""
    columns = max(1.0, figure.get_figwidth() / 10.0)
    image = io.BytesIO()
    dpi = PIXELS * min(columns, 2.0) / figure.get_figwidth()
    # a third of the size of a png
    plotting.save(figure, image, kind="webp", dpi=dpi, pil_kwargs={"lossless": True})
    return "data:image/webp;base64," + base64.b64encode(image.getvalue()).decode("ascii")
