"""How far to trust an emulator: every figure of `closure`, against real jets and against its null."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from coffea_iqn import closure
from coffea_iqn.closure import (
    Agreement,
    Correlations,
    Estimate,
    Judgement,
    KSTest,
    Marginal,
    MedianRow,
    OfCells,
    Profile,
    Tails,
    TooFewJetsError,
)
from coffea_iqn.closure.regions import Box
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.jets.features import PHI, SCALES, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.ranges import COUNT, GEV, SEED
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.validation import particles
from coffea_iqn.validation.particles import OfParticles, compare_shapes

REDRAWS = 100
MEDIAN_DRAWS = 15  # of each gen jet, for a median where the member has no quantiles
N_FOUR = 4  # columns of the four-momentum
OF_COLUMNS, MOST_OF_COLUMNS = 0xC01, 100_000  # a seed beside that of all others; jets whose columns are looked at


@dataclass(frozen=True)
class Effort:
    """What a report looks at, and how hard.

    Attributes
    ----------
    gen_pt_min, raw_pt_min: least gen pt and least reco pt before the detector's scale [GeV]; both 20 in
        Kronheim et al. (2024). Emulated jets are drawn from above the latter.
    max_jets: pairs used; where there are more, as many of them taken at random.
    seed: of all that is drawn.
    threads: of the boosted trees.
    folds: of a judge.
    ks_repeats, wasserstein_repeats, batches: how often samples are divided.
    draws: of each gen jet, for quantile levels where the emulator has no cdf.
    """

    gen_pt_min: float = 20.0
    raw_pt_min: float = 20.0
    max_jets: int = 500_000
    seed: int = 1
    threads: int = 1
    folds: int = 5
    ks_repeats: int = 200
    wasserstein_repeats: int = 20
    batches: int = 20
    draws: int = 49

    def __post_init__(self) -> None:
        GEV.check(gen_pt_min=self.gen_pt_min, raw_pt_min=self.raw_pt_min)
        SEED.check(seed=self.seed)
        for name in ("max_jets", "threads", "folds", "ks_repeats", "wasserstein_repeats", "batches", "draws"):
            COUNT.check(**{name: getattr(self, name)})


QUICK = {"max_jets": 50_000, "ks_repeats": 50, "wasserstein_repeats": 10, "batches": 4, "draws": 19}


class PairedSamples(NamedTuple):
    """Gen jets, and three reco jets of each.

    Attributes
    ----------
    gen, real: gen jets and their true reco jets, (N, 4).
    emulated, second: two independent emulations of them, (N, 4).
    median: reco jets at level 1/2 of each conditional quantile, (N, 4).
    real_levels, second_levels: quantile levels of real and second, (N, 4).
    sample: which of the datasets each pair is from, (N,).
    exact: whether these are from the cdf; else from draws.
    """

    gen: Floats
    real: Floats
    emulated: Floats
    second: Floats
    median: Floats
    real_levels: Floats
    second_levels: Floats
    sample: Ints
    exact: bool

    def of_sample(self, number: int) -> PairedSamples:
        """Those of one dataset."""
        inside = self.sample == number
        return self._replace(**{name: getattr(self, name)[inside] for name in self._fields if name != "exact"})


def draw_paired_samples(emulator: Emulator, pairs: JetPairs, effort: Effort) -> PairedSamples:
    """The pairs of a selection with emulations of their gen jets; errors as of `validate`."""
    generator = np.random.default_rng(effort.seed)
    rows = np.flatnonzero(_selected(emulator, pairs, effort))
    if not len(rows):
        msg = (
            f"pairs: expected gen jets above {effort.gen_pt_min:g} GeV with a reco jet above {effort.raw_pt_min:g} "
            f"GeV, got none among {len(pairs.x)} gen jets, {int(pairs.matched.sum())} of them with a reco jet"
        )
        raise ValueError(msg)
    if len(rows) > effort.max_jets:
        rows = np.sort(generator.choice(rows, effort.max_jets, replace=False))
    gen, real, context = (column[rows] for column in (pairs.x, pairs.four_momenta, pairs.context))

    def draw() -> Floats:
        return draw_above(emulator, gen, context, effort.raw_pt_min, generator)

    emulated, second = draw(), draw()
    # as jets are drawn: where one side has a threshold and the other has not, no emulator is right
    network, raw_pt_min = emulator.network, effort.raw_pt_min if emulator.network.exact else None
    if network.autoregressive and emulator.ratio is None:
        half = np.full((len(gen), network.n_targets), 0.5, dtype=np.float32)
        median = emulator.sample(gen, half, context, raw_pt_min=raw_pt_min)[:, :4]
    else:
        median = _median_of([draw() for _ in range(MEDIAN_DRAWS)], gen)
    try:
        real_levels, second_levels = (
            emulator.cdf(gen, jets, context, raw_pt_min=effort.raw_pt_min, within_atom=generator.uniform(size=len(gen)))
            for jets in (real, second)
        )
        exact = True
    except NotImplementedError:
        exact = False
        asked = np.concatenate([closure.residuals(gen, jets) for jets in (real, second)], axis=1)
        both = closure.levels_among_draws(
            asked, lambda: np.tile(closure.residuals(gen, draw()), 2), draws=effort.draws, seed=effort.seed
        )
        real_levels, second_levels = both[:, :4].astype(np.float64), both[:, 4:].astype(np.float64)
    return PairedSamples(gen, real, emulated, second, median, real_levels, second_levels, pairs.sample[rows], exact)


def _median_of(draws: Sequence[Floats], gen: Floats) -> Floats:
    """The median of each variable of several draws (N, 4) of the same gen jets."""
    together = np.stack(draws)
    together[:, :, PHI] = gen[:, PHI] + wrap_phi(together[:, :, PHI] - gen[:, PHI])
    return np.median(together, axis=0)


def draw_above(
    emulator: Emulator, gen: Floats, context: Floats, raw_pt_min: float, generator: np.random.Generator
) -> Floats:
    """Emulated jets (N, 4) above a threshold [GeV]: exactly where the network can, else drawn again until they are."""
    levels = partial(_levels, emulator=emulator, generator=generator)
    if emulator.network.exact:
        return emulator.sample(gen, levels(len(gen)), context, raw_pt_min=raw_pt_min)[:, :4]
    reco = emulator.sample(gen, levels(len(gen)), context)[:, :4]
    scale = SCALES[emulator.variables.scale]
    for _ in range(REDRAWS):
        low = np.flatnonzero(scale.undo(reco.astype(np.float64))[:, 0] <= raw_pt_min)
        if not len(low):
            break
        reco[low] = emulator.sample(gen[low], levels(len(low)), context[low])[:, :4]
    return reco


def _levels(n: int, emulator: Emulator, generator: np.random.Generator) -> Floats:
    """Levels of all that is drawn of so many jets."""
    return generator.uniform(LEAST_LEVEL, 1.0 - LEAST_LEVEL, (n, emulator.n_levels)).astype(np.float32)


def _selected(emulator: Emulator, pairs: JetPairs, effort: Effort) -> Bools:
    matched = pairs.matched
    bad = int((~np.isfinite(pairs.y[matched])).any(axis=1).sum())
    if bad:
        msg = f"reco jets: expected finite numbers, got {bad} of {int(matched.sum())} matched jets otherwise"
        raise ValueError(msg)
    keep = matched & (pairs.x[:, 0] > effort.gen_pt_min)
    raw = SCALES[emulator.variables.scale].undo(pairs.y[keep].astype(np.float64))
    keep[keep] = raw[:, 0] > effort.raw_pt_min
    return keep


WHOLE_EVENTS, PARTICLES = "whole events", "particles"  # judges beside those of `closure.JUDGES`
FEATURES = {name: judge.names for name, judge in closure.JUDGES.items()}
FEATURES |= {WHOLE_EVENTS: closure.EVENT_FEATURES, PARTICLES: particles.FEATURES}
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
    levels: Floats | None = None
    levels_in_cells: OfCells | None = None
    ks: list[KSTest] | None = None
    judges: dict[str, Judgement] = field(default_factory=dict)
    wasserstein: OfCells | None = None
    frechet: Estimate | None = None
    kernel: Estimate | None = None
    medians: list[MedianRow] | None = None
    correlations: Correlations | None = None
    profile: Profile | None = None
    efficiency: OfCells | None = None
    spectra: dict[str, dict[str, Agreement]] = field(default_factory=dict)
    columns: dict[str, Marginal] = field(default_factory=dict)
    column_levels: Floats | None = None
    particles: OfParticles | None = None


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
    copies = draw_paired_samples(emulator, pairs, effort)
    found = Validation(Comparison(), Comparison(), len(copies.gen), copies.exact, effort)
    against_null = copies._replace(real=copies.second, real_levels=copies.second_levels)
    compare(found, found.truth, copies, boxes, step)
    compare(found, found.null, against_null, boxes, lambda name: step(f"{name}, null"))
    if emulator.acceptance is not None:
        step("efficiency")
        _compare_efficiency(found, emulator, pairs)
    if emulator.variables.columns and pairs.y.shape[1] == len(emulator.variables.names):
        step("columns")
        _compare_columns(found, emulator, pairs)
    for number, name in enumerate(datasets if len(datasets) > 1 else ()):
        step(f"{name} on its own")
        found.by_dataset[name] = _compare_briefly(found, name, copies.of_sample(number))
    return found


def compare(found: Validation, into: Comparison, copies: PairedSamples, boxes: Sequence[Box], step: Step) -> None:
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


def _compare_briefly(found: Validation, name: str, copies: PairedSamples) -> Comparison:
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


def _judge(name: str, copies: PairedSamples, effort: Effort) -> Judgement:
    real, emulated = (closure.JUDGES[name].of(copies.gen, jets) for jets in (copies.real, copies.emulated))
    return _judge_sides(real, emulated, effort)


def _judge_sides(real: Floats, emulated: Floats, effort: Effort) -> Judgement:
    return closure.judge(real, emulated, folds=effort.folds, seed=effort.seed, threads=effort.threads)


def _enough(levels: Floats) -> Floats:
    closure.check_enough("quantile levels", len(levels))
    return levels


def _ks_tests(emulated: Floats, real: Floats, effort: Effort) -> list[KSTest]:
    columns = zip(emulated.T, real.T, strict=True)
    return [closure.ks_test(*sides, repeats=effort.ks_repeats, seed=effort.seed) for sides in columns]


def _compare_efficiency(found: Validation, emulator: Emulator, pairs: JetPairs) -> None:
    """Efficiencies against which gen jets were matched; the null draws the matched ones from the efficiencies."""
    probability = emulator.efficiency(pairs.x, pairs.context)
    drawn = np.random.default_rng(found.effort.seed).uniform(size=len(probability)) < probability
    for into, who in ((found.truth, pairs.matched), (found.null, drawn)):
        into.efficiency = found.attempt("efficiency", closure.efficiency_in_cells, probability, who, pairs.x)


def _compare_columns(found: Validation, emulator: Emulator, pairs: JetPairs) -> None:
    """What is drawn beside the four-momentum: spectra, and where true jets lie among draws; the null is a draw."""
    generator = np.random.default_rng([found.effort.seed, OF_COLUMNS])
    rows = np.flatnonzero(_selected(emulator, pairs, found.effort))
    rows = np.sort(generator.choice(rows, min(len(rows), found.effort.max_jets, MOST_OF_COLUMNS), replace=False))
    gen, real, context = pairs.x[rows], pairs.y[rows, N_FOUR:], pairs.context[rows]

    def draw() -> Floats:
        tau = _levels(len(gen), emulator, generator)
        return emulator.sample(gen, tau, context, raw_pt_min=found.effort.raw_pt_min)[:, N_FOUR:]

    emulated = draw()
    for into, other in ((found.truth, real), (found.null, draw())):
        for k, column in enumerate(emulator.variables.columns):
            whole = column.kind in ("count", "flag")
            sides = emulated[:, k], other[:, k]
            made = found.attempt(f"spectrum of {column.name}", closure.marginal_of_column, *sides, whole=whole)
            into.columns |= {} if made is None else {column.name: made}
        among = closure.levels_among_draws(other, draw, draws=found.effort.draws, seed=found.effort.seed)
        into.column_levels = found.attempt("quantile levels of columns", _enough, among)


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


def compare_events(found: Validation, true: Floats, first: Floats, second: Floats) -> None:
    """Add the judge of whole events, and its null.

    Parameters
    ----------
    found: where to add it.
    true, first, second: `closure.event_features` of the same events with true jets, and of two folds.
    """
    rows = _some(len(true), found.effort)
    for into, other in ((found.truth, true), (found.null, second)):
        verdict = found.attempt("judge of whole events", _judge_sides, other[rows], first[rows], found.effort)
        if verdict is not None:
            into.judges[WHOLE_EVENTS] = verdict


def compare_particles(
    found: Validation, gen: Floats, true: Floats, first: Floats, second: Floats, microseconds: float
) -> None:
    """Add what particles say of jets, the judge of it, and the nulls of both.

    Parameters
    ----------
    found: where to add it.
    gen, true, first, second: `jets.shapes.shapes` of gen jets, of their true reco jets, and of those of two folds.
    microseconds: that a gen jet took to fold.
    """
    effort, rows = found.effort, _some(len(gen), found.effort)
    options = {"repeats": effort.wasserstein_repeats, "batches": effort.batches, "seed": effort.seed}
    gen, first = gen[rows], first[rows]
    for into, other in ((found.truth, true[rows]), (found.null, second[rows])):
        into.particles = found.attempt(
            PARTICLES, compare_shapes, gen, first, other, microseconds=microseconds, **options
        )
        sides = particles.features(gen, other), particles.features(gen, first)
        verdict = found.attempt(f"judge of {PARTICLES}", _judge_sides, *sides, effort)
        if verdict is not None:
            into.judges[PARTICLES] = verdict


def _some(n: int, effort: Effort) -> Ints:
    """Rows of all of n, or of as many as are looked at."""
    rows = np.arange(n)
    if n > effort.max_jets:
        rows = np.sort(np.random.default_rng(effort.seed).choice(rows, effort.max_jets, replace=False))
    return rows


def _content(histogram: Any, dataset: str, level: str) -> tuple[Floats, Floats]:
    view = histogram[{"dataset": dataset, "level": level}].view()
    return view["value"], view["variance"]
