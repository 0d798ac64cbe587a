"""Verdict of a validation: the value of each figure of merit, its null, its limit, and whether it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import floor, hypot, log10
from operator import attrgetter
from typing import Any, NamedTuple

from coffea_iqn import closure
from coffea_iqn.closure import ETA, MASS, PHI, PT, VARIABLES, Agreement, Estimate, Judgement, MedianRow, OfCells
from coffea_iqn.validation.comparison import PARTICLES, WHOLE_EVENTS, Comparison


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
    says: sentence that explains the value, with `{}` in its place.
    limit: largest value that passes.
    percent: whether to print the value in percent.
    section: section of the report that shows the figure.
    figure: field of `Comparison` that holds the figure.
    estimate: function that computes the value from the figure; None if the figure has no entry for this check.
    perfect: value for a perfect emulator.
    """

    key: str
    title: str
    says: str
    limit: float
    percent: bool
    section: str
    figure: str
    estimate: Callable[[Any], Estimate | None]
    perfect: float = 0.0

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


def _worst_of(deviation: Callable[[OfCells, int], Estimate], *variables: int) -> Callable[[OfCells], Estimate | None]:
    return lambda cells: _worst(deviation(cells, variable) for variable in variables)


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


def _histograms(spectra: Mapping[str, Mapping[str, Agreement]]) -> Estimate | None:
    """Return the worst χ²/ndf, with the standard deviation of a χ² distribution as uncertainty."""
    agreements = (one for histograms in spectra.values() for one in histograms.values())
    return _worst(Estimate(one.per_bin, (2.0 / one.ndf) ** 0.5) for one in agreements)


CHECKS = (
    Check(
        "spectra",
        "Spectra",
        f"the densities of {', '.join(VARIABLES)} differ from the true ones by {{}} (rms over jets, the worst of them)",
        0.03,
        True,
        "spectra",
        figure="marginals",
        estimate=lambda marginals: _worst(one.deviation for one in marginals),
    ),
    Check(
        "boxes",
        "Spectra in boxes",
        "in the selected boxes they differ by {} (the worst of them)",
        0.06,
        True,
        "boxes",
        figure="boxes",
        estimate=lambda boxes: _worst(one.deviation for marginals in boxes.values() for one in marginals),
    ),
    Check(
        "pt_scale",
        "Scale of pt",
        "the median of pt'/pt is off by {} (rms over cells of pt and |η|)",
        0.005,
        True,
        "response",
        figure="response",
        estimate=_worst_of(closure.scale_deviation, PT),
    ),
    Check(
        "pt_resolution",
        "Resolution of pt",
        "the resolutions of pt differ by {} of pt, in quadrature",
        0.015,
        True,
        "response",
        figure="response",
        estimate=partial(closure.smearing, variable=PT),
    ),
    Check(
        "mass_scale",
        "Scale of the mass",
        "the median of m'/m is off by {} (rms over cells)",
        0.005,
        True,
        "response",
        figure="response",
        estimate=_worst_of(closure.scale_deviation, MASS),
    ),
    Check(
        "mass_resolution",
        "Resolution of the mass",
        "the width of m'/m is off by {}, relative (rms over cells)",
        0.03,
        True,
        "response",
        figure="response",
        estimate=_worst_of(closure.resolution_deviation, MASS),
    ),
    Check(
        "angles",
        "Angular bias",
        "the medians of Δη and Δφ are off by {} of their widths (rms over cells, the worse of the two)",
        0.05,
        True,
        "response",
        figure="response",
        estimate=_worst_of(closure.scale_deviation, ETA, PHI),
    ),
    Check(
        "angular_resolution",
        "Angular resolution",
        "the widths of Δη and Δφ are off by {}, relative (rms over cells, the worse of the two)",
        0.05,
        True,
        "response",
        figure="response",
        estimate=_worst_of(closure.resolution_deviation, ETA, PHI),
    ),
    Check(
        "tails",
        "Tails",
        "the number of jets in a tail beyond 3, 5 or 8 widths is off by {} (the worst of them)",
        0.25,
        True,
        "tails",
        figure="tails",
        estimate=attrgetter("worst"),
    ),
    Check(
        "levels",
        "Quantile levels (PIT)",
        "the density of quantile levels of true jets is off by {} (rms, the worst variable)",
        0.02,
        True,
        "levels",
        figure="levels",
        estimate=lambda levels: _worst(closure.nonuniformity(levels)),
    ),
    Check(
        "levels_in_cells",
        "Quantile levels in cells",
        "in cells of pt and |η| it is off by {} (rms over cells, the worst variable)",
        0.04,
        True,
        "levels",
        figure="levels_in_cells",
        estimate=lambda cells: _worst(closure.nonuniformity_in_cells(cells)),
    ),
    Check(
        "ks",
        "Kolmogorov-Smirnov distance",
        "the distance of true and emulated halves exceeds that of two true halves by {}",
        0.005,
        False,
        "ks",
        figure="ks",
        estimate=lambda tests: _worst(test.excess for test in tests),
    ),
    Check(
        "judge",
        "Judge, four-momenta",
        "boosted trees on the paper's eight features tell emulated from true jets with an AUC of {}",
        0.51,
        False,
        "judges",
        figure="judges",
        estimate=partial(_auc, name="four-momenta"),
        perfect=0.5,
    ),
    Check(
        "judge_residuals",
        "Judge, residuals",
        "with residuals among the features the AUC is {}",
        0.52,
        False,
        "judges",
        figure="judges",
        estimate=partial(_auc, name="residuals"),
        perfect=0.5,
    ),
    Check(
        "judge_events",
        "Judge, whole events",
        "on the hardest jets of whole events, their residuals and numbers the AUC is {}",
        0.52,
        False,
        "judges",
        figure="judges",
        estimate=partial(_auc, name=WHOLE_EVENTS),
        perfect=0.5,
    ),
    Check(
        "judge_particles",
        "Judge, particles",
        "on observables of the particles in reco and gen jets the AUC is {}",
        0.52,
        False,
        "judges",
        figure="judges",
        estimate=partial(_auc, name=PARTICLES),
        perfect=0.5,
    ),
    Check(
        "weights",
        "Tails of the judge's weights",
        "the judge of residuals gives {} of the emulated jets a density ratio beyond a factor of two",
        0.01,
        True,
        "judges",
        figure="judges",
        estimate=_weights,
    ),
    Check(
        "wasserstein",
        "Wasserstein distance",
        "in cells of pt and |η| residuals are off by {} of their width (mean over cells, the worst variable)",
        0.015,
        True,
        "distances",
        figure="wasserstein",
        estimate=lambda cells: _worst(closure.mean_excess(cells)),
    ),
    Check(
        "frechet",
        "Fréchet distance",
        "the Fréchet distance of the four residuals is {}",
        0.0005,
        False,
        "distances",
        figure="frechet",
        estimate=lambda distance: distance,
    ),
    Check(
        "kernel",
        "Kernel distance",
        "their kernel distance is {}",
        0.005,
        False,
        "distances",
        figure="kernel",
        estimate=lambda distance: distance,
    ),
    Check(
        "medians",
        "Predicted medians",
        "predicted medians of pt and mass are {} times as far from true jets as gen jets are (the worse of the two)",
        1.0,
        False,
        "medians",
        figure="medians",
        estimate=_medians,
        perfect=0.5,
    ),
    Check(
        "correlations",
        "Correlations",
        "a rank correlation of two residuals is off by {} (the worst of them)",
        0.03,
        False,
        "joint",
        figure="correlations",
        estimate=attrgetter("worst"),
    ),
    Check(
        "efficiency",
        "Efficiency",
        "efficiencies are off by {} (rms over cells)",
        0.01,
        False,
        "events",
        figure="efficiency",
        estimate=closure.efficiency_deviation,
    ),
    Check(
        "particles",
        "Particles in jets",
        "the distance of an observable of particles is {} times that of two true samples (the worst of them)",
        2.0,
        False,
        "particles",
        figure="particles",
        estimate=lambda particles: _worst(particles.distances.values()),
        perfect=1.0,
    ),
    Check(
        "histograms",
        "Histograms of events",
        "histograms of whole events agree with the true ones with a χ²/ndf of {} (the worst of them)",
        2.0,
        False,
        "events",
        figure="spectra",
        estimate=_histograms,
    ),
)

BY_KEY = {check.key: check for check in CHECKS}
