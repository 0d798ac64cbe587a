"""How far to trust an emulator: every figure of `closure`, against real jets and against its null."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from coffea_iqn import closure
from coffea_iqn.closure import (
    Agreement,
    Correlations,
    Judgement,
    KSTest,
    Marginal,
    MedianRow,
    OfCells,
    Profile,
    Size,
    Tails,
    TooFewJetsError,
)
from coffea_iqn.copies import Copies, Effort, draw_copies
from coffea_iqn.emulator import Emulator
from coffea_iqn.samples import Array, JetPairs
from coffea_iqn.selections import Box

N_STEPS = 16  # that `validate` tells of

Result = TypeVar("Result")
Step = Callable[[str], None]


@dataclass
class Comparison:
    """The figures of emulated jets against others: real ones, or a second emulation. None where jets are too few."""

    marginals: list[Marginal] | None = None
    boxes: dict[str, list[Marginal]] = field(default_factory=dict)
    response: OfCells | None = None
    tails: Tails | None = None
    levels: npt.NDArray[np.floating] | None = None
    levels_in_cells: OfCells | None = None
    ks: list[KSTest] | None = None
    judges: dict[str, Judgement] = field(default_factory=dict)
    wasserstein: OfCells | None = None
    frechet: Size | None = None
    kernel: Size | None = None
    medians: list[MedianRow] | None = None
    correlations: Correlations | None = None
    profile: Profile | None = None
    efficiency: OfCells | None = None
    spectra: dict[str, dict[str, Agreement]] = field(default_factory=dict)


@dataclass
class Validation:
    """All figures of one emulator on one sample.

    Attributes
    ----------
    truth: against real jets.
    null: the same figures of two emulations of the same gen jets.
    by_dataset: of each dataset on its own the response, tails, levels and the sharper judge, where there are several.
    n_jets: pairs looked at.
    exact_levels: whether quantile levels are from the cdf.
    left_out: why a figure is missing, by its name.
    effort: what was looked at, and how hard.
    """

    truth: Comparison
    null: Comparison
    n_jets: int
    exact_levels: bool
    effort: Effort
    by_dataset: dict[str, Comparison] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, figure: Callable[..., Result], *arguments: Any, **options: Any) -> Result | None:
        """What a function gives, or None and a note of why the figure of this name is missing."""
        try:
            return figure(*arguments, **options)
        except (TooFewJetsError, ImportError) as error:  # the judge needs an extra
            self.left_out[name] = str(error)
            return None


def validate(
    emulator: Emulator,
    pairs: JetPairs,
    *,
    effort: Effort | None = None,
    boxes: Sequence[Box] = (),
    datasets: Sequence[str] = (),
    step: Step = lambda _: None,
) -> Validation:
    """Compare emulated with real jets in every figure of `closure`, and emulated with emulated ones: the null.

    Parameters
    ----------
    emulator: what is looked at.
    pairs: gen jets with their reco jets, none of which it was trained on.
    effort: what to look at, and how hard.
    boxes: regions of gen pt, eta, phi and mass whose spectra are compared on their own.
    datasets: names of the samples of the pairs; several are looked at one by one as well.
    step: told the name of each part before it begins.

    Raises
    ------
    ValueError: when no gen jet has a reco jet in the selection, or reco jets have numbers that are not finite.
    """
    effort = Effort() if effort is None else effort
    # below what it was trained on an emulator knows nothing
    effort = replace(effort, raw_pt_min=max(effort.raw_pt_min, emulator.variables.raw_pt_min))
    step("drawing jets")
    copies = draw_copies(emulator, pairs, effort)
    found = Validation(Comparison(), Comparison(), len(copies.gen), copies.exact, effort)
    against_null = copies._replace(real=copies.second, real_levels=copies.second_levels)
    compare(found, found.truth, copies, boxes, step)
    compare(found, found.null, against_null, boxes, lambda name: step(f"{name}, null"))
    if emulator.acceptance is not None:
        step("efficiency")
        _compare_efficiency(found, emulator, pairs)
    for number, name in enumerate(datasets if len(datasets) > 1 else ()):
        step(f"{name} on its own")
        found.by_dataset[name] = _compare_briefly(found, name, copies.of_sample(number))
    return found


def compare(found: Validation, into: Comparison, copies: Copies, boxes: Sequence[Box], step: Step) -> None:
    """Fill a comparison with the figures of emulated against real jets."""
    gen, real, emulated, effort = copies.gen, copies.real, copies.emulated, found.effort
    real_responses, responses = (closure.responses(gen, jets) for jets in (real, emulated))
    real_residuals, residuals = (closure.residuals(gen, jets) for jets in (real, emulated))

    step("spectra")
    into.marginals = found.attempt("spectra", closure.marginals, emulated, real)
    for box in boxes:
        inside = box.contains(gen)
        of_box = found.attempt(f"spectra in {box.text}", closure.marginals, emulated[inside], real[inside])
        if of_box is not None:
            into.boxes[box.text] = of_box
    step("response")
    into.response = found.attempt("response", closure.response_in_cells, responses, real_responses, gen)
    into.tails = found.attempt("tails", closure.tails, residuals, real_residuals, gen)
    into.medians = closure.median_table(copies.median, gen, real)
    into.correlations = found.attempt("correlations", closure.correlations, residuals, real_residuals)
    into.profile = found.attempt("profile", closure.profile, responses, real_responses)
    step("quantile levels")
    into.levels = found.attempt("quantile levels", _enough, copies.real_levels)
    into.levels_in_cells = found.attempt(
        "quantile levels in cells", closure.uniformity_in_cells, copies.real_levels, gen
    )
    step("Kolmogorov-Smirnov tests")
    into.ks = found.attempt("Kolmogorov-Smirnov tests", _ks_tests, emulated, real, effort)
    step("distances")
    seed, batches = effort.seed, effort.batches
    into.wasserstein = found.attempt(
        "Wasserstein distances",
        closure.wasserstein_in_cells,
        *(residuals, real_residuals, gen),
        repeats=effort.wasserstein_repeats,
        seed=seed,
    )
    for name, distance in (("frechet", closure.frechet_distance), ("kernel", closure.kernel_distance)):
        value = found.attempt(f"{name} distance", distance, residuals, real_residuals, batches=batches, seed=seed)
        setattr(into, name, value)
    for name in closure.JUDGES:
        step(f"judge of {name}")
        verdict = found.attempt(f"judge of {name}", _judge, name, copies, effort)
        if verdict is not None:
            into.judges[name] = verdict


def _compare_briefly(found: Validation, name: str, copies: Copies) -> Comparison:
    """What is worth looking at in each dataset."""
    gen, both = copies.gen, (copies.emulated, copies.real)
    into = Comparison()
    into.response = found.attempt(
        f"response in {name}", closure.response_in_cells, *(closure.responses(gen, jets) for jets in both), gen
    )
    into.tails = found.attempt(f"tails in {name}", closure.tails, *(closure.residuals(gen, j) for j in both), gen)
    into.levels = found.attempt(f"quantile levels in {name}", _enough, copies.real_levels)
    verdict = found.attempt(f"judge of {name}", _judge, "residuals", copies, found.effort)
    if verdict is not None:
        into.judges["residuals"] = verdict
    return into


def _judge(name: str, copies: Copies, effort: Effort) -> Judgement:
    sides = (closure.JUDGES[name].of(copies.gen, jets) for jets in (copies.real, copies.emulated))
    return closure.judge(*sides, folds=effort.folds, seed=effort.seed, threads=effort.threads)


def _enough(levels: Array) -> Array:
    closure.check_enough("quantile levels", len(levels))
    return levels


def _ks_tests(emulated: Array, real: Array, effort: Effort) -> list[KSTest]:
    columns = zip(emulated.T, real.T, strict=True)
    return [closure.ks_test(*sides, repeats=effort.ks_repeats, seed=effort.seed) for sides in columns]


def _compare_efficiency(found: Validation, emulator: Emulator, pairs: JetPairs) -> None:
    """Chances to be found against what was found, of all gen jets, lost ones too; the null draws who is found."""
    probability = emulator.efficiency(pairs.gen, pairs.context)
    drawn = np.random.default_rng(found.effort.seed).uniform(size=len(probability)) < probability
    for into, who in ((found.truth, pairs.matched), (found.null, drawn)):
        into.efficiency = found.attempt("efficiency", closure.efficiency_in_cells, probability, who, pairs.gen)


def compare_spectra(
    found: Validation, emulated: Mapping[str, Any], second: Mapping[str, Any], datasets: Sequence[str]
) -> None:
    """Add the agreement of the histograms of two folds of the same files with truth, and with each other.

    Parameters
    ----------
    found: where to add it.
    emulated, second: histograms by name, as `IQNFoldProcessor` makes them, of two seeds.
    datasets: of the histograms.
    """
    for dataset in datasets:
        for into, other, level in ((found.truth, emulated, "truth"), (found.null, second, "reco")):
            agreements = {
                name: closure.agreement(_content(histogram, dataset, "reco"), _content(other[name], dataset, level))
                for name, histogram in emulated.items()
            }
            into.spectra[dataset] = {name: one for name, one in agreements.items() if one.ndf > 0}
        if not found.truth.spectra[dataset]:
            found.left_out[f"histograms of {dataset}"] = "histograms: expected a bin of 25 true entries, got none"


def _content(histogram: Any, dataset: str, level: str) -> tuple[Array, Array]:
    view = histogram[{"dataset": dataset, "level": level}].view()
    return view["value"], view["variance"]
