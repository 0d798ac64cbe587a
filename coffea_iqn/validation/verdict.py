"""What a validation amounts to: for each figure of merit its value, its null, and whether it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any, NamedTuple

from coffea_iqn import closure
from coffea_iqn.closure import ETA, MASS, PHI, PT, VARIABLES, Estimate
from coffea_iqn.validation.comparison import PARTICLES, WHOLE_EVENTS, Comparison


class Line(NamedTuple):
    """One line of the verdict.

    Attributes
    ----------
    key: of the check.
    value: what was found.
    null: the same of two emulations; None where it has none.
    limit: what it may be.
    passed: whether the value exceeds the limit by no more than twice its uncertainty; None where it does not, but the
        uncertainty is larger than what the limit leaves to a perfect emulator: then the check could hardly fail; and
        None where nothing is measurable.
    measurable: whether the null passes, or could: where two emulations of the same jets fail, so would a perfect one.
    """

    key: str
    value: Estimate
    null: Estimate | None
    limit: float
    passed: bool | None
    measurable: bool = True


OUTCOMES = {True: "pass", False: "fail", None: "too few jets"}


def outcome(line: Mapping[str, Any]) -> str:
    """What a line of `metrics.json` says: pass, fail, too few jets, or not measurable."""
    return OUTCOMES[line["passed"]] if line.get("measurable", True) else "not measurable"


@dataclass(frozen=True)
class Check:
    """A figure of merit with a limit.

    Attributes
    ----------
    key: its name in metrics.json.
    title: its name for people.
    says: what a value means, in a sentence with `{}` for it.
    limit: what passes.
    percent: whether people read it in percent.
    section: of the report that shows it.
    measure: its value, of a comparison; None where the figure is missing.
    perfect: its value for a perfect emulator.
    """

    key: str
    title: str
    says: str
    limit: float
    percent: bool
    section: str
    measure: Callable[[Comparison], Estimate | None]
    perfect: float = 0.0

    def text(self, value: float, uncertainty: float | None = None) -> str:
        """A value as people read it, with two digits of its uncertainty where it has one."""
        factor, unit = (100.0, " %") if self.percent else (1.0, "")
        if not uncertainty:
            return f"{factor * value:.3g}{unit}"
        digits = max(0, 1 - floor(log10(factor * uncertainty)))
        return f"{factor * value:.{digits}f} ± {factor * uncertainty:.{digits}f}{unit}"

    def passes(self, value: Estimate) -> bool | None:
        """As of `Line.passed`."""
        if value.value - 2.0 * value.uncertainty > self.limit:
            return False
        return True if value.uncertainty <= self.limit - self.perfect else None


def judged(truth: Comparison, null: Comparison | None = None) -> tuple[list[Line], dict[str, str]]:
    """The lines of all checks whose figure is there, and why others have none, by their titles.

    A figure may be there and yet have too few jets for its check: all that it measured is NaN, or no tail has enough.
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
            passed = check.passes(value) if measurable else None
            lines.append(Line(check.key, value, of_null, check.limit, passed, measurable))
    return lines, left_out


def _worst(sizes: Iterable[Estimate]) -> Estimate:
    """The one that is most clearly above zero."""
    return max(sizes, key=lambda size: (size.value - 2.0 * size.uncertainty, size.value))


def _spectra(found: Comparison) -> Estimate | None:
    return None if found.marginals is None else _worst(one.deviation for one in found.marginals)


def _boxes(found: Comparison) -> Estimate | None:
    return _worst(one.deviation for box in found.boxes.values() for one in box) if found.boxes else None


def _scale(*variables: int) -> Callable[[Comparison], Estimate | None]:
    def measure(found: Comparison) -> Estimate | None:
        cells = found.response
        return None if cells is None else _worst(closure.scale_deviation(cells, k) for k in variables)

    return measure


def _resolution(*variables: int) -> Callable[[Comparison], Estimate | None]:
    def measure(found: Comparison) -> Estimate | None:
        cells = found.response
        return None if cells is None else _worst(closure.resolution_deviation(cells, k) for k in variables)

    return measure


def _smearing(found: Comparison) -> Estimate | None:
    return None if found.response is None else closure.smearing(found.response, PT)


def _tails(found: Comparison) -> Estimate | None:
    return None if found.tails is None else found.tails.worst


def _levels(found: Comparison) -> Estimate | None:
    return None if found.levels is None else _worst(closure.nonuniformity(found.levels))


def _levels_in_cells(found: Comparison) -> Estimate | None:
    return None if found.levels_in_cells is None else _worst(closure.nonuniformity_in_cells(found.levels_in_cells))


def _ks(found: Comparison) -> Estimate | None:
    return None if found.ks is None else _worst(test.excess for test in found.ks)


def _judge(name: str) -> Callable[[Comparison], Estimate | None]:
    def measure(found: Comparison) -> Estimate | None:
        verdict = found.judges.get(name)
        return None if verdict is None else Estimate(verdict.auc, verdict.uncertainty)

    return measure


def _weights(found: Comparison) -> Estimate | None:
    verdict = found.judges.get("residuals")
    if verdict is None:
        return None
    fraction = sum(closure.outside(verdict.weights[1]))
    return Estimate(fraction, (fraction / len(verdict.emulated)) ** 0.5)


def _wasserstein(found: Comparison) -> Estimate | None:
    return None if found.wasserstein is None else _worst(closure.mean_excess(found.wasserstein))


def _medians(found: Comparison) -> Estimate | None:
    if found.medians is None:
        return None
    return Estimate(max(found.medians[k].ratio for k in (PT, MASS)), 0.0)


def _correlations(found: Comparison) -> Estimate | None:
    return None if found.correlations is None else found.correlations.worst


def _efficiency(found: Comparison) -> Estimate | None:
    return None if found.efficiency is None else closure.efficiency_deviation(found.efficiency)


def _particles(found: Comparison) -> Estimate | None:
    return None if found.particles is None else _worst(found.particles.distances.values())


def _histograms(found: Comparison) -> Estimate | None:
    """The worst χ²/ndf, with the spread that χ² has by itself."""
    agreements = [one for histograms in found.spectra.values() for one in histograms.values()]
    if not agreements:
        return None
    return _worst(Estimate(one.per_bin, (2.0 / one.ndf) ** 0.5) for one in agreements)


CHECKS = (
    Check(
        "spectra",
        "Spectra",
        f"the densities of {', '.join(VARIABLES)} differ from the true ones by {{}} (rms over jets, the worst of them)",
        0.03,
        True,
        "spectra",
        _spectra,
    ),
    Check(
        "boxes",
        "Spectra in boxes",
        "in the boxes asked for they differ by {} (the worst of them)",
        0.06,
        True,
        "boxes",
        _boxes,
    ),
    Check(
        "pt_scale",
        "Scale of pt",
        "the median of pt'/pt is off by {} (rms over cells of pt and |η|)",
        0.005,
        True,
        "response",
        _scale(PT),
    ),
    Check(
        "pt_resolution",
        "Resolution of pt",
        "the resolutions of pt differ by {} of pt, in quadrature",
        0.015,
        True,
        "response",
        _smearing,
    ),
    Check(
        "mass_scale",
        "Scale of the mass",
        "the median of m'/m is off by {} (rms over cells)",
        0.005,
        True,
        "response",
        _scale(MASS),
    ),
    Check(
        "mass_resolution",
        "Resolution of the mass",
        "the width of m'/m is off by {}, relative (rms over cells)",
        0.03,
        True,
        "response",
        _resolution(MASS),
    ),
    Check(
        "angles",
        "Angular bias",
        "the medians of Δη and Δφ are off by {} of their widths (rms over cells, the worse of the two)",
        0.05,
        True,
        "response",
        _scale(ETA, PHI),
    ),
    Check(
        "angular_resolution",
        "Angular resolution",
        "the widths of Δη and Δφ are off by {}, relative (rms over cells, the worse of the two)",
        0.05,
        True,
        "response",
        _resolution(ETA, PHI),
    ),
    Check(
        "tails",
        "Tails",
        "a tail beyond 3, 5 or 8 widths has a number of jets that is off by {} (the worst of them)",
        0.25,
        True,
        "tails",
        _tails,
    ),
    Check(
        "levels",
        "Quantile levels (PIT)",
        "the density of quantile levels of true jets is off by {} (rms, the worst variable)",
        0.02,
        True,
        "levels",
        _levels,
    ),
    Check(
        "levels_in_cells",
        "Quantile levels in cells",
        "in cells of pt and |η| it is off by {} (rms over cells, the worst variable)",
        0.04,
        True,
        "levels",
        _levels_in_cells,
    ),
    Check(
        "ks",
        "Kolmogorov-Smirnov distance",
        "halves of true and emulated jets are further apart by {} than halves of true ones",
        0.005,
        False,
        "ks",
        _ks,
    ),
    Check(
        "judge",
        "Judge, four-momenta",
        "boosted trees on the paper's eight features tell emulated from true jets with an AUC of {}",
        0.51,
        False,
        "judges",
        _judge("four-momenta"),
        perfect=0.5,
    ),
    Check(
        "judge_residuals",
        "Judge, residuals",
        "with residuals among the features the AUC is {}",
        0.52,
        False,
        "judges",
        _judge("residuals"),
        perfect=0.5,
    ),
    Check(
        "judge_events",
        "Judge, whole events",
        "on the hardest jets of whole events, their residuals and numbers the AUC is {}",
        0.52,
        False,
        "judges",
        _judge(WHOLE_EVENTS),
        perfect=0.5,
    ),
    Check(
        "judge_particles",
        "Judge, particles",
        "on what the particles in jets say of them, given those of the gen jet, the AUC is {}",
        0.52,
        False,
        "judges",
        _judge(PARTICLES),
        perfect=0.5,
    ),
    Check(
        "weights",
        "Tails of the judge's weights",
        "{} of the emulated jets have a density ratio beyond a factor of two, by that judge",
        0.01,
        True,
        "judges",
        _weights,
    ),
    Check(
        "wasserstein",
        "Wasserstein distance",
        "in cells of pt and |η| residuals are off by {} of their width (mean over cells, the worst variable)",
        0.015,
        True,
        "distances",
        _wasserstein,
    ),
    Check(
        "frechet",
        "Fréchet distance",
        "the Fréchet distance of the four residuals is {}",
        0.0005,
        False,
        "distances",
        lambda found: found.frechet,
    ),
    Check(
        "kernel",
        "Kernel distance",
        "their kernel distance is {}",
        0.005,
        False,
        "distances",
        lambda found: found.kernel,
    ),
    Check(
        "medians",
        "Predicted medians",
        "predicted medians of pt and mass are {} times as far from true jets as gen jets are (the worse of the two)",
        1.0,
        False,
        "medians",
        _medians,
        perfect=0.5,
    ),
    Check(
        "correlations",
        "Correlations",
        "a rank correlation of two residuals is off by {} (the worst of them)",
        0.03,
        False,
        "joint",
        _correlations,
    ),
    Check(
        "efficiency",
        "Efficiency",
        "efficiencies are off by {} (rms over cells)",
        0.01,
        False,
        "events",
        _efficiency,
    ),
    Check(
        "particles",
        "Particles in jets",
        "an observable of particles is {} times as far from the true ones as these from each other (the worst of them)",
        2.0,
        False,
        "particles",
        _particles,
        perfect=1.0,
    ),
    Check(
        "histograms",
        "Histograms of events",
        "histograms of whole events agree with the true ones with a χ²/ndf of {} (the worst of them)",
        2.0,
        False,
        "events",
        _histograms,
    ),
)

BY_KEY = {check.key: check for check in CHECKS}
