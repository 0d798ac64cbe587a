"""Validation of an emulator: every figure of `closure` for emulated and real jets, and its null for two emulations.

A judge is a classifier two-sample test. The null of a figure is its value for two statistically identical samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from coffea_iqn import bundle, closure
from coffea_iqn.closure.regions import Box
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import columns_of, contents
from coffea_iqn.jets.features import PHI, SCALES, VARIABLES, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.numerics.uniforms import LEAST_LEVEL
from coffea_iqn.ranges import COUNT, GEV, SEED, expect
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.validation import particles
from coffea_iqn.validation.particles import OfParticles, compare_shapes

REDRAWS = 100
MEDIAN_DRAWS = 15  # draws of each gen jet, for the median of a member without quantiles
OF_COLUMNS, MOST_OF_COLUMNS = 0xC01, 100_000  # seed and maximum number of jets for further columns


@dataclass(frozen=True)
class Effort:
    """Selection of a validation, and the amount of computation.

    Attributes
    ----------
    gen_pt_min, raw_pt_min: minimum gen pt, and minimum reco pt before the detector's jet energy scale [GeV]; both 20 in
        Kronheim et al. (2024). Emulated jets are drawn above the latter.
    max_jets: maximum number of pairs; if there are more, a random subset is used.
    seed: random seed.
    threads: threads for the boosted trees.
    folds: cross-validation folds of a judge.
    ks_repeats, wasserstein_repeats, batches: number of random divisions of the samples.
    draws: draws of each gen jet for quantile levels if the emulator has no cdf.
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


QUICK = {"max_jets": 50_000, "ks_repeats": 50, "wasserstein_repeats": 10, "batches": 10, "draws": 19}


class PairedSamples(NamedTuple):
    """Gen jets with their true reco jets and two emulations.

    Attributes
    ----------
    gen, real: gen jets and their true reco jets, (N, 4).
    emulated, second: two independent emulations of the gen jets, (N, 4).
    median: reco jets at level 1/2 of each conditional quantile, (N, 4).
    real_levels, second_levels: quantile levels of `real` and `second`, (N, 4).
    sample: index of the dataset of each pair, (N,).
    exact: whether the levels are from the cdf instead of draws.
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
        """Return the pairs of one dataset."""
        inside = self.sample == number
        return self._replace(**{name: getattr(self, name)[inside] for name in self._fields if name != "exact"})


def draw_paired_samples(emulator: Emulator, pairs: JetPairs, effort: Effort) -> PairedSamples:
    """Select pairs and emulate their gen jets twice, with the errors of `validate`."""
    generator = np.random.default_rng(effort.seed)
    rows = np.flatnonzero(_selected(emulator, pairs, effort))
    wanted = f"gen jets above {effort.gen_pt_min:g} GeV with a reco jet above {effort.raw_pt_min:g} GeV"
    got = f"got none among {len(pairs.x)} gen jets, {int(pairs.matched.sum())} of them with a reco jet"
    expect(len(rows), f"pairs: expected {wanted}, {got}")
    if len(rows) > effort.max_jets:
        rows = np.sort(generator.choice(rows, effort.max_jets, replace=False))
    gen, real, context = (column[rows] for column in (pairs.x, pairs.four_momenta, pairs.context))

    def draw() -> Floats:
        return draw_above(emulator, gen, context, effort.raw_pt_min, generator)

    emulated, second = draw(), draw()
    # same threshold as for the draws: real and emulated jets must have the same one
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
    """Return the median of each variable over several draws (N, 4) of the same gen jets."""
    together = np.stack(draws)
    together[:, :, PHI] = gen[:, PHI] + wrap_phi(together[:, :, PHI] - gen[:, PHI])
    return np.median(together, axis=0)


def draw_above(
    emulator: Emulator, gen: Floats, context: Floats, raw_pt_min: float, generator: np.random.Generator
) -> Floats:
    """Draw jets (N, 4) above a threshold [GeV], exactly if the network supports it, and otherwise by repeated draws."""
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
    """Draw random levels of all targets for n jets."""
    return generator.uniform(LEAST_LEVEL, 1.0 - LEAST_LEVEL, (n, emulator.n_levels)).astype(np.float32)


def _selected(emulator: Emulator, pairs: JetPairs, effort: Effort) -> Bools:
    matched = pairs.matched
    bad = int((~np.isfinite(pairs.y[matched])).any(axis=1).sum())
    expect(not bad, f"reco jets: expected finite numbers, got {bad} of {int(matched.sum())} matched jets with others")
    keep = matched & (pairs.x[:, 0] > effort.gen_pt_min)
    raw = SCALES[emulator.variables.scale].undo(pairs.y[keep].astype(np.float64))
    keep[keep] = raw[:, 0] > effort.raw_pt_min
    return keep


WHOLE_EVENTS, PARTICLES, COLUMNS = "whole events", "particles", "columns"  # judges besides `closure.JUDGES`
BESIDE_COLUMNS = ("flavour", "composition", "substructure", "prompt")  # context that the judge of columns sees

Result = TypeVar("Result")
Step = Callable[[str], None]


@dataclass
class Comparison:
    """Figures that compare emulated jets with real jets, or with a second emulation; None if there are too few jets."""

    marginals: list[closure.Marginal] | None = None
    boxes: dict[str, list[closure.Marginal]] = field(default_factory=dict)
    response: closure.OfCells | None = None
    scale_around: closure.Estimate | None = None
    tails: closure.Tails | None = None
    levels: Floats | None = None
    levels_in_cells: closure.OfCells | None = None
    ks: list[closure.KSTest] | None = None
    judges: dict[str, closure.Judgement] = field(default_factory=dict)
    wasserstein: closure.OfCells | None = None
    frechet: closure.Estimate | None = None
    kernel: closure.Estimate | None = None
    medians: list[closure.MedianRow] | None = None
    correlations: closure.Correlations | None = None
    profile: closure.Profile | None = None
    efficiency: closure.OfCells | None = None
    efficiency_around: closure.Estimate | None = None
    efficiency_of_contents: closure.Estimate | None = None
    efficiency_of_overlapping: closure.Estimate | None = None
    spectra: dict[str, dict[str, closure.Agreement]] = field(default_factory=dict)
    totals: dict[str, closure.Estimate] = field(default_factory=dict)
    columns: dict[str, closure.Marginal] = field(default_factory=dict)
    flags: dict[str, closure.Estimate] = field(default_factory=dict)
    column_levels: Floats | None = None
    particles: OfParticles | None = None


@dataclass
class Validation:
    """All figures of one emulator on one sample.

    Attributes
    ----------
    truth: comparison of emulated with real jets.
    null: the same figures for two emulations of the same gen jets.
    n_jets: number of pairs.
    exact_levels: whether quantile levels are from the cdf.
    effort: selection and amount of computation.
    by_dataset: response, tails, levels and the judge of residuals for each dataset, if there are several.
    left_out: reason why a figure is missing, by its name.
    """

    truth: Comparison
    null: Comparison
    n_jets: int
    exact_levels: bool
    effort: Effort
    by_dataset: dict[str, Comparison] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, figure: Callable[..., Result], *arguments: Any, **options: Any) -> Result | None:
        """Return the result of a function; if it fails, return None and note in `left_out` why."""
        try:
            return figure(*arguments, **options)
        except (closure.TooFewJetsError, ImportError) as error:  # judges need xgboost, from the extra judge
            self.left_out[name] = str(error)
            return None


def n_steps(emulator: Emulator, n_datasets: int) -> int:
    """Return how often `validate` calls `step`, for pairs with all columns of the emulator."""
    further = (emulator.acceptance is not None) + bool(emulator.variables.columns)
    return 15 + further + n_datasets * (n_datasets > 1)


def validate(
    emulator: Emulator,
    pairs: JetPairs,
    *,
    effort: Effort | None = None,
    boxes: Sequence[Box] = (),
    datasets: Sequence[str] = (),
    any_radius: bool = False,
    step: Step = lambda _: None,
) -> Validation:
    """Compute every figure of `closure` for emulated and real jets, and its null for two emulations.

    Parameters
    ----------
    emulator: the emulator to validate.
    pairs: gen jets with their reco jets, which the emulator was not trained on.
    effort: selection and amount of computation.
    boxes: regions of gen pt, eta, phi and mass whose spectra are compared separately.
    datasets: names of the samples of the pairs; if there are several, each is also compared separately.
    any_radius: whether to accept jets of another radius than the emulator's.
    step: callback that receives the name of each step before it begins.

    Raises
    ------
    ValueError: if no gen jet has a reco jet in the selection, reco jets have non-finite numbers, or the jets can be
        seen to have another radius.
    """
    if emulator.radius is not None and not any_radius:
        radii.check(emulator.radius, radii.neighbours(pairs.context), bundle.shipped_radii())
    effort = Effort() if effort is None else effort
    # the emulator is not valid below the threshold of its training
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
    """Fill a comparison with the figures for emulated and real jets."""
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
    into.scale_around = found.attempt("scale in eta and phi", closure.scale_around, responses, real_responses, gen)
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
        _add_judge(found, into, name, *_features(name, copies), closure.JUDGES[name].names)


def _compare_briefly(found: Validation, name: str, copies: PairedSamples) -> Comparison:
    """Return the figures for a single dataset."""
    gen, both = copies.gen, (copies.emulated, copies.real)
    into = Comparison()
    into.response = found.attempt(
        f"response in {name}", closure.response_in_cells, *(closure.responses(gen, jets) for jets in both), gen
    )
    into.tails = found.attempt(f"tails in {name}", closure.tails, *(closure.residuals(gen, j) for j in both), gen)
    into.levels = found.attempt(f"quantile levels in {name}", _enough, copies.real_levels)
    names = closure.JUDGES["residuals"].names
    _add_judge(found, into, "residuals", *_features("residuals", copies), names, title=name)
    return into


def _features(name: str, copies: PairedSamples) -> tuple[Floats, Floats]:
    """Return the features that a judge sees of real and of emulated jets."""
    of = closure.JUDGES[name].of
    return of(copies.gen, copies.real), of(copies.gen, copies.emulated)


def _add_judge(
    found: Validation,
    into: Comparison,
    name: str,
    real: Floats,
    emulated: Floats,
    names: tuple[str, ...],
    *,
    title: str | None = None,
) -> None:
    """Add the judge of features with these names to a comparison; title: what `left_out` calls it, if not its name."""
    how = {"folds": found.effort.folds, "seed": found.effort.seed, "threads": found.effort.threads}
    judgement = found.attempt(f"judge of {title or name}", closure.judge, real, emulated, **how)
    if judgement is not None:
        into.judges[name] = judgement._replace(names=names)


def _enough(levels: Floats) -> Floats:
    closure.check_enough("quantile levels", len(levels))
    return levels


def _ks_tests(emulated: Floats, real: Floats, effort: Effort) -> list[closure.KSTest]:
    columns = zip(emulated.T, real.T, strict=True)
    return [closure.ks_test(*sides, repeats=effort.ks_repeats, seed=effort.seed) for sides in columns]


def _compare_efficiency(found: Validation, emulator: Emulator, pairs: JetPairs) -> None:
    """Compare efficiencies with the matched gen jets; for the null, matches are drawn from the efficiencies."""
    probability = emulator.efficiency(pairs.x, pairs.context)
    drawn = np.random.default_rng(found.effort.seed).uniform(size=len(probability)) < probability
    for into, who in ((found.truth, pairs.matched), (found.null, drawn)):
        sides = probability, who, pairs.x
        into.efficiency = found.attempt("efficiency", closure.efficiency_in_cells, *sides)
        into.efficiency_around = found.attempt("efficiency in eta and phi", closure.efficiency_around, *sides)
        into.efficiency_of_contents = found.attempt(
            "efficiency by content", closure.efficiency_of_groups, *sides[:2], contents(pairs.context)
        )


def _compare_columns(found: Validation, emulator: Emulator, pairs: JetPairs) -> None:
    """Compare spectra of further columns, and levels of true jets among draws; for the null, truth is a draw.

    A judge sees them beside the jets and what is known of the gen jets, as of a b tag that does not depend on flavour
    the spectrum can be right. It hardly sees mistags, which are few, so flags are also compared by content.
    """
    generator = np.random.default_rng([found.effort.seed, OF_COLUMNS])
    rows = np.flatnonzero(_selected(emulator, pairs, found.effort))
    rows = np.sort(generator.choice(rows, min(len(rows), found.effort.max_jets, MOST_OF_COLUMNS), replace=False))
    gen, real, context = pairs.x[rows], pairs.y[rows], pairs.context[rows]
    beside = {
        f"gen {name} {k}": column for name in BESIDE_COLUMNS for k, column in enumerate(context[:, columns_of(name)].T)
    }

    def draw() -> Floats:
        tau = _levels(len(gen), emulator, generator)
        return emulator.sample(gen, tau, context, raw_pt_min=found.effort.raw_pt_min)

    emulated, own, known = draw(), slice(len(VARIABLES), None), np.stack([*beside.values()], axis=1)
    n_draws, total = 0, np.zeros((len(gen), len(emulator.variables.columns)))

    def draw_columns() -> Floats:
        nonlocal n_draws, total
        drawn = draw()[:, own]
        n_draws, total = n_draws + 1, total + drawn
        return drawn

    def features(jets: Floats) -> Floats:
        of_jets = closure.residual_features(gen, jets[:, : len(VARIABLES)])
        return np.concatenate([of_jets, jets[:, own], known], axis=1)

    judged = features(emulated)
    names = (*closure.JUDGES["residuals"].names, *emulator.variables.names[own], *beside)
    for into, other in ((found.truth, real), (found.null, draw())):
        _add_judge(found, into, COLUMNS, features(other), judged, names)
        for k, column in enumerate(emulator.variables.columns, len(VARIABLES)):
            whole = column.kind in ("count", "flag")
            sides = emulated[:, k], other[:, k]
            made = found.attempt(f"spectrum of {column.name}", closure.marginal_of_column, *sides, whole=whole)
            into.columns |= {} if made is None else {column.name: made}
        among = closure.levels_among_draws(
            other[:, own], draw_columns, draws=found.effort.draws, seed=found.effort.seed
        )
        into.column_levels = found.attempt("quantile levels of columns", _enough, among)
        for k, column in enumerate(emulator.variables.columns):
            if column.kind == "flag":
                of_jets = total[:, k] / n_draws, other[:, own][:, k], contents(context)
                of = found.attempt(f"{column.name} by content", closure.efficiency_of_groups, *of_jets)
                into.flags |= {} if of is None else {column.name: of}


def compare_spectra(
    found: Validation, emulated: Mapping[str, Any], second: Mapping[str, Any], datasets: Sequence[str]
) -> None:
    """Add the agreement of histograms of a fold with truth, and with a second fold of the same files.

    Parameters
    ----------
    found: the validation to extend.
    emulated, second: histograms by name from `IQNFoldProcessor`, with two seeds.
    datasets: datasets in the histograms.
    """
    for dataset in datasets:
        for into, other, level in ((found.truth, emulated, "truth"), (found.null, second, "reco")):
            agreements = {
                name: closure.agreement(_content(histogram, dataset, "reco"), _content(other[name], dataset, level))
                for name, histogram in emulated.items()
            }
            into.spectra[dataset] = {name: one for name, one in agreements.items() if one.ndf > 0}
        few = [name for name in emulated if name not in found.truth.spectra[dataset]]
        if few:
            found.left_out[f"histograms of {dataset}"] = f"histograms: expected 25 entries, got fewer: {', '.join(few)}"


def compare_events(
    found: Validation,
    features: Sequence[Floats],
    overlapping: Sequence[Floats],
    totals: Sequence[Mapping[str, Doubles]],
) -> None:
    """Add the judge of whole events, the efficiency of overlapping jets, totals, and their nulls.

    Parameters
    ----------
    found: the validation to extend.
    features: `closure.event_features` of the same events with true jets, and from two folds.
    overlapping: `closure.count_overlapping` of them.
    totals: `closure.event_totals` of them.
    """
    name, rows = "efficiency of overlapping jets", _some(len(features[0]), found.effort)
    for into, k in ((found.truth, 0), (found.null, 2)):  # both against the first fold
        _add_judge(found, into, WHOLE_EVENTS, features[k][rows], features[1][rows], closure.EVENT_FEATURES)
        sides = overlapping[1], overlapping[k]
        into.efficiency_of_overlapping = found.attempt(name, closure.efficiency_of_overlapping, *sides)
        into.totals = closure.total_deviations(totals[1], totals[k])


def compare_particles(
    found: Validation, gen: Floats, true: Floats, first: Floats, second: Floats, microseconds: float
) -> None:
    """Add the figures of the particles in jets, the judge of particles, and their nulls.

    Parameters
    ----------
    found: the validation to extend.
    gen, true, first, second: `jets.shapes.shapes` of gen jets, of their true reco jets, and of those from two folds.
    microseconds: time to fold a gen jet.
    """
    effort, rows = found.effort, _some(len(gen), found.effort)
    options = {"repeats": effort.wasserstein_repeats, "batches": effort.batches, "seed": effort.seed}
    gen, first = gen[rows], first[rows]
    for into, other in ((found.truth, true[rows]), (found.null, second[rows])):
        into.particles = found.attempt(
            PARTICLES, compare_shapes, gen, first, other, microseconds=microseconds, **options
        )
        sides = particles.features(gen, other), particles.features(gen, first)
        _add_judge(found, into, PARTICLES, *sides, particles.FEATURES)


def _some(n: int, effort: Effort) -> Ints:
    """Return the indices of all n rows, or of a random subset of `max_jets`."""
    rows = np.arange(n)
    if n > effort.max_jets:
        rows = np.sort(np.random.default_rng(effort.seed).choice(rows, effort.max_jets, replace=False))
    return rows


def _content(histogram: Any, dataset: str, level: str) -> tuple[Floats, Floats]:
    """Return values and variances of bins, the first and last of which include under- and overflow."""
    of = histogram[{"dataset": dataset, "level": level}]
    view, columns = of.view(flow=True), ("value", "variance")
    for k, axis in enumerate(of.axes):
        inside = np.arange(axis.extent) - axis.traits.underflow
        first = np.flatnonzero(np.diff(inside.clip(0, axis.size - 1), prepend=-1))
        view = {name: np.add.reduceat(view[name], first, axis=k) for name in columns}
    return view["value"], view["variance"]
