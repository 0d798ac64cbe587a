"""Verdict of a validation: the value of each figure of merit, its null, its limit, and whether it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import floor, hypot, log10
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import scipy

from coffea_iqn import closure
from coffea_iqn.closure import ETA, MASS, PHI, PT, Agreement, Estimate, Judgement, Marginal, MedianRow, OfCells
from coffea_iqn.closure.distances import mean_excess
from coffea_iqn.closure.efficiencies import efficiency_deviation
from coffea_iqn.closure.levels import nonuniformity, nonuniformity_in_cells
from coffea_iqn.closure.response import resolution_deviation, scale_deviation, smearing
from coffea_iqn.validation.comparison import COLUMNS, PARTICLES, WHOLE_EVENTS, Comparison


class Line(NamedTuple):
    """One line of the verdict.

    Attributes
    ----------
    key: key of the check.
    value: the measured value.
    null: the same figure for two emulations; None if it is missing.
    limit: largest value that passes.
    passed: result of `Check.passes`; None if there are too few jets to decide, or if the figure is not measurable.
    measurable: False if the null fails: with these jets a perfect emulator would fail as well.
    """

    key: str
    value: Estimate
    null: Estimate | None
    limit: float
    passed: bool | None
    measurable: bool = True


TWO_SIGMA = 0.023  # probability to exceed a normal distribution's mean by more than two standard deviations
OUTCOMES = {True: "pass", False: "fail", None: "too few jets"}


def outcome(line: Mapping[str, Any]) -> str:
    """Return the outcome of a line of `metrics.json`: pass, fail, too few jets, or not measurable."""
    return OUTCOMES[line["passed"]] if line.get("measurable", True) else "not measurable"


@dataclass(frozen=True)
class Check:
    """A figure of merit with a limit.

    Attributes
    ----------
    key: name in metrics.json.
    title: name in the report.
    limit: largest value that passes.
    percent: whether to print the value in percent.
    figure: field of `Comparison` that holds the figure.
    estimate: function that computes the value from the figure, by default the figure itself; None if the figure has no
        entry for this check.
    perfect: value for a perfect emulator.
    """

    key: str
    title: str
    limit: float
    percent: bool
    figure: str
    estimate: Callable[[Any], Estimate | None] = lambda figure: figure
    perfect: float = 0.0

    @property
    def says(self) -> str:
        """Sentence that explains the value, with `{}` in its place."""
        return SAYS[self.key]

    @property
    def section(self) -> str:
        """Section of the report that shows the figure."""
        return SECTIONS.get(self.figure, self.figure)

    def text(self, value: float, uncertainty: float | None = None) -> str:
        """Format a value, with two digits of its uncertainty if it has one."""
        factor, unit = (100.0, " %") if self.percent else (1.0, "")
        if not uncertainty:
            return f"{factor * value:.3g}{unit}"
        digits = max(0, 1 - floor(log10(factor * uncertainty)))
        return f"{factor * value:.{digits}f} ± {factor * uncertainty:.{digits}f}{unit}"

    def measure(self, found: Comparison) -> Estimate | None:
        """Return the value in a comparison, or None if the figure is missing."""
        figure = getattr(found, self.figure)
        return None if figure is None else self.estimate(figure)

    def passes(self, value: Estimate, null: Estimate | None = None) -> bool | None:
        """Return whether a value passes, or None if there are too few jets to decide.

        A value fails if it exceeds the limit by more than twice its uncertainty, and the null by more than twice the
        uncertainty of their difference. A value that does not exceed the limit passes if its uncertainty is at most
        what the limit allows a perfect emulator: with a larger uncertainty, the check could hardly fail.
        """
        if value.value - 2.0 * value.uncertainty > self.limit:
            is_above_null = null is None or value.value - null.value > 2.0 * hypot(value.uncertainty, null.uncertainty)
            return False if is_above_null else None
        return True if value.uncertainty <= self.limit - self.perfect else None


def judged(truth: Comparison, null: Comparison | None = None) -> tuple[list[Line], dict[str, str]]:
    """Return the lines of all checks whose figure exists, and by title the reason why others have none.

    A figure may exist and still have too few jets for its check: all its cells are NaN, or no tail has enough jets.
    """
    lines = []
    left_out: dict[str, str] = {}

    def measured(check: Check, name: str, found: Comparison) -> Estimate | None:
        try:
            return check.measure(found)
        except closure.TooFewJetsError as error:
            left_out[name] = str(error)
            return None

    for check in CHECKS:
        value = measured(check, check.title, truth)
        if value is not None:
            of_null = None if null is None else measured(check, f"{check.title}, null", null)
            measurable = of_null is None or check.passes(of_null) is not False
            passed = check.passes(value, of_null) if measurable else None
            lines.append(Line(check.key, value, of_null, check.limit, passed, measurable))
    return lines, left_out


def _worst(estimates: Iterable[Estimate]) -> Estimate | None:
    """Return the estimate that exceeds zero most significantly; None if there are none."""
    return max(estimates, key=lambda one: (one.value - 2.0 * one.uncertainty, one.value), default=None)


def _worst_of(estimates: Callable[[Any], Iterable[Estimate]]) -> Callable[[Any], Estimate | None]:
    return lambda figure: _worst(estimates(figure))


def _worst_in(deviation: Callable[[OfCells, int], Estimate], *variables: int) -> Callable[[Any], Estimate | None]:
    return _worst_of(lambda cells: [deviation(cells, variable) for variable in variables])


def _deviation_of_spectra(marginals: Iterable[Marginal]) -> Estimate | None:
    return _worst(one.deviation for one in marginals)


def _deviation_in_boxes(boxes: Mapping[str, list[Marginal]]) -> Estimate | None:
    return _deviation_of_spectra(chain.from_iterable(boxes.values()))


def _auc(judges: Mapping[str, Judgement], name: str) -> Estimate | None:
    return Estimate(judges[name].auc, judges[name].uncertainty) if name in judges else None


def _weights(judges: Mapping[str, Judgement]) -> Estimate | None:
    if "residuals" not in judges:
        return None
    judgement = judges["residuals"]
    fraction = sum(closure.outside(judgement.weights[1]))
    return Estimate(fraction, (fraction / len(judgement.emulated)) ** 0.5)


def _medians(rows: list[MedianRow]) -> Estimate:
    return Estimate(max(rows[k].ratio for k in (PT, MASS)), 0.0)


def _totals(totals: Mapping[str, Estimate]) -> Estimate | None:
    """Return the worst of M deviations.

    Twice its uncertainty is what the size of a normal deviation exceeds with a probability of 2.3 % / M, so that of M
    perfect ones rarely one fails.
    """
    factor = 0.5 * float(scipy.stats.norm.isf(0.5 * TWO_SIGMA / max(len(totals), 1)))
    return _worst(Estimate(one.value, factor * one.uncertainty) for one in totals.values())


def _histograms(spectra: Mapping[str, Mapping[str, Agreement]]) -> Estimate | None:
    """Return the worst χ²/ndf of M histograms.

    Twice its uncertainty is how far χ²/ndf exceeds 1 with a probability of 2.3 % / M, so
    that of M perfect ones rarely one fails.
    """
    agreements = [one for histograms in spectra.values() for one in histograms.values()]
    ndf = np.array([one.ndf for one in agreements])
    excess = scipy.stats.chi2.isf(TWO_SIGMA / max(len(ndf), 1), ndf) / ndf - 1.0
    return _worst(Estimate(one.per_bin, 0.5 * float(by)) for one, by in zip(agreements, excess, strict=True))


SAYS = {
    "spectra": "the densities of pt, eta, phi, mass differ from the true ones by {} (rms over jets, the worst of them)",
    "boxes": "in the selected boxes they differ by {} (the worst of them)",
    "pt_scale": "the median of pt'/pt is off by {} (rms over cells of pt and |η|)",
    "scale_around": "in regions of φ and signed η it is off by {} (rms over regions)",
    "pt_resolution": "the resolutions of pt differ by {} of pt, in quadrature",
    "mass_scale": "the median of m'/m is off by {} (rms over cells)",
    "mass_resolution": "the width of m'/m is off by {}, relative (rms over cells)",
    "angles": "the medians of Δη and Δφ are off by {} of their widths (rms over cells, the worse of the two)",
    "angular_resolution": "the widths of Δη and Δφ are off by {}, relative (rms over cells, the worse of the two)",
    "tails": "the number of jets in a tail beyond 3, 5 or 8 widths is off by {} (the worst of them)",
    "levels": "the density of quantile levels of true jets is off by {} (rms, the worst variable)",
    "levels_in_cells": "in cells of pt and |η| it is off by {} (rms over cells, the worst variable)",
    "ks": "the distance of true and emulated halves exceeds that of two true halves by {}",
    "judge": "boosted trees on the paper's eight features tell emulated from true jets with an AUC of {}",
    "judge_residuals": "with residuals among the features the AUC is {}",
    "judge_events": "on the hardest jets of whole events, their residuals and numbers the AUC is {}",
    "judge_columns": "on further columns, beside flavour, composition and substructure of the gen jets, the AUC is {}",
    "judge_particles": "on observables of the particles in reco and gen jets the AUC is {}",
    "weights": "the judge of residuals gives {} of the emulated jets a density ratio beyond a factor of two",
    "wasserstein": "in cells of pt and |η| residuals are off by {} of their width "
    "(mean over cells, the worst variable)",
    "frechet": "the Fréchet distance of the four residuals is {}",
    "kernel": "their kernel distance is {}",
    "medians": "predicted medians of pt and mass are {} times as far from true jets as gen jets are "
    "(the worse of the two)",
    "correlations": "a rank correlation of two residuals is off by {} (the worst of them)",
    "efficiency": "efficiencies are off by {} (rms over cells)",
    "columns": "the densities of further columns differ by {} (rms over jets, the worst of them)",
    "flags": "fractions of jets with a flag, such as a b tag, are off by {}, by flavour and for jets made by leptons "
    "and photons (rms, the worst flag)",
    "efficiency_around": "in regions of φ and signed η they are off by {} (rms over regions)",
    "efficiency_of_contents": "by flavour, and for jets made by leptons and photons, they are off by {} (rms)",
    "efficiency_of_overlapping": "efficiencies of jets within ΔR < 1.25 R of a harder gen jet are off by {}",
    "particles": "the distance of an observable of particles is {} times that of two true samples (the worst of them)",
    "totals": "numbers of jets and objects, and sums over them, are off by {} (the worst of them)",
    "histograms": "histograms of whole events agree with the true ones with a χ²/ndf of {} (the worst of them)",
}
SECTIONS = {
    "marginals": "spectra",
    "scale_around": "response",
    "levels_in_cells": "levels",
    **dict.fromkeys(("wasserstein", "frechet", "kernel"), "distances"),
    "correlations": "joint",
    "flags": "columns",
    **dict.fromkeys(
        ("efficiency", "efficiency_around", "efficiency_of_contents", "efficiency_of_overlapping", "totals", "spectra"),
        "events",
    ),
}
"""Section of the report that shows each figure, if it is not named like the figure."""
PERCENT, PLAIN = True, False

CHECKS = (
    Check("spectra", "Spectra", 0.03, PERCENT, "marginals", _deviation_of_spectra),
    Check("boxes", "Spectra in boxes", 0.06, PERCENT, "boxes", _deviation_in_boxes),
    Check("pt_scale", "Scale of pt", 0.005, PERCENT, "response", _worst_in(scale_deviation, PT)),
    Check("scale_around", "Scale of pt in η and φ", 0.005, PERCENT, "scale_around"),
    Check("pt_resolution", "Resolution of pt", 0.015, PERCENT, "response", partial(smearing, variable=PT)),
    Check("mass_scale", "Scale of the mass", 0.005, PERCENT, "response", _worst_in(scale_deviation, MASS)),
    Check(
        "mass_resolution", "Resolution of the mass", 0.03, PERCENT, "response", _worst_in(resolution_deviation, MASS)
    ),
    Check("angles", "Angular bias", 0.05, PERCENT, "response", _worst_in(scale_deviation, ETA, PHI)),
    Check(
        "angular_resolution", "Angular resolution", 0.05, PERCENT, "response", _worst_in(resolution_deviation, ETA, PHI)
    ),
    Check("tails", "Tails", 0.25, PERCENT, "tails", attrgetter("worst")),
    Check("levels", "Quantile levels (PIT)", 0.02, PERCENT, "levels", _worst_of(nonuniformity)),
    Check(
        "levels_in_cells",
        "Quantile levels in cells",
        0.04,
        PERCENT,
        "levels_in_cells",
        _worst_of(nonuniformity_in_cells),
    ),
    Check("ks", "Kolmogorov-Smirnov distance", 0.005, PLAIN, "ks", _worst_of(lambda tests: [t.excess for t in tests])),
    Check("judge", "Judge, four-momenta", 0.51, PLAIN, "judges", partial(_auc, name="four-momenta"), 0.5),
    Check("judge_residuals", "Judge, residuals", 0.52, PLAIN, "judges", partial(_auc, name="residuals"), 0.5),
    Check("judge_events", "Judge, whole events", 0.52, PLAIN, "judges", partial(_auc, name=WHOLE_EVENTS), 0.5),
    Check("judge_columns", "Judge, columns", 0.55, PLAIN, "judges", partial(_auc, name=COLUMNS), 0.5),
    Check("judge_particles", "Judge, particles", 0.52, PLAIN, "judges", partial(_auc, name=PARTICLES), 0.5),
    Check("weights", "Tails of the judge's weights", 0.01, PERCENT, "judges", _weights),
    Check("wasserstein", "Wasserstein distance", 0.015, PERCENT, "wasserstein", _worst_of(mean_excess)),
    Check("frechet", "Fréchet distance", 0.0005, PLAIN, "frechet"),
    Check("kernel", "Kernel distance", 0.005, PLAIN, "kernel"),
    Check("medians", "Predicted medians", 1.0, PLAIN, "medians", _medians, 0.5),
    Check("correlations", "Correlations", 0.03, PLAIN, "correlations", attrgetter("worst")),
    Check("columns", "Spectra of columns", 0.03, PERCENT, "columns", lambda of: _deviation_of_spectra(of.values())),
    Check("flags", "Flags by content", 0.01, PLAIN, "flags", lambda of: _worst(of.values())),
    Check("efficiency", "Efficiency", 0.01, PLAIN, "efficiency", efficiency_deviation),
    Check("efficiency_around", "Efficiency in η and φ", 0.01, PLAIN, "efficiency_around"),
    Check("efficiency_of_contents", "Efficiency by content", 0.01, PLAIN, "efficiency_of_contents"),
    Check("efficiency_of_overlapping", "Efficiency of overlapping jets", 0.03, PLAIN, "efficiency_of_overlapping"),
    Check("particles", "Particles in jets", 2.0, PLAIN, "particles", _worst_of(lambda of: of.distances.values()), 1.0),
    Check("totals", "Totals of events", 0.02, PERCENT, "totals", _totals),
    Check("histograms", "Histograms of events", 2.0, PLAIN, "spectra", _histograms),
)

BY_KEY = {check.key: check for check in CHECKS}
