"""What a validation compares: gen jets with their true reco jets, and emulations of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn import closure
from coffea_iqn.emulator import Emulator
from coffea_iqn.features import SCALES
from coffea_iqn.ranges import COUNT, GEV, SEED
from coffea_iqn.samples import Array, JetPairs

TINY = 2.0**-24
REDRAWS = 100


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


class Copies(NamedTuple):
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

    gen: Array
    real: Array
    emulated: Array
    second: Array
    median: Array
    real_levels: Array
    second_levels: Array
    sample: npt.NDArray[np.int64]
    exact: bool

    def of_sample(self, number: int) -> Copies:
        """Those of one dataset."""
        inside = self.sample == number
        return self._replace(**{name: getattr(self, name)[inside] for name in self._fields if name != "exact"})


def draw_copies(emulator: Emulator, pairs: JetPairs, effort: Effort) -> Copies:
    """The pairs of a selection with emulations of their gen jets; errors as of `validate`."""
    generator = np.random.default_rng(effort.seed)
    rows = np.flatnonzero(_selected(emulator, pairs, effort))
    if not len(rows):
        msg = (
            f"pairs: expected gen jets above {effort.gen_pt_min:g} GeV with a reco jet above {effort.raw_pt_min:g} "
            f"GeV, got none among {len(pairs.gen)} gen jets, {int(pairs.matched.sum())} of them with a reco jet"
        )
        raise ValueError(msg)
    if len(rows) > effort.max_jets:
        rows = np.sort(generator.choice(rows, effort.max_jets, replace=False))
    gen, real, context = (column[rows] for column in (pairs.gen, pairs.reco, pairs.context))

    def draw() -> Array:
        return draw_above(emulator, gen, context, effort.raw_pt_min, generator)

    emulated, second = draw(), draw()
    half = np.full(gen.shape, 0.5, dtype=np.float32)
    # as jets are drawn: where one side has a threshold and the other has not, no emulator is right
    raw_pt_min = effort.raw_pt_min if emulator.network.exact else None
    median = emulator.sample(gen, half, context, raw_pt_min=raw_pt_min)
    try:
        real_levels, second_levels = (
            emulator.cdf(gen, jets, context, raw_pt_min=raw_pt_min) for jets in (real, second)
        )
        exact = True
    except NotImplementedError:
        exact = False
        asked = np.concatenate([closure.residuals(gen, jets) for jets in (real, second)], axis=1)
        both = closure.levels_among_draws(
            asked, lambda: np.tile(closure.residuals(gen, draw()), 2), draws=effort.draws, seed=effort.seed
        )
        real_levels, second_levels = both[:, :4], both[:, 4:]
    return Copies(gen, real, emulated, second, median, real_levels, second_levels, pairs.sample[rows], exact)


def draw_above(
    emulator: Emulator, gen: Array, context: Array, raw_pt_min: float, generator: np.random.Generator
) -> Array:
    """Emulated jets (N, 4) above a threshold [GeV]: exactly where the network can, else drawn again until they are."""

    def levels(n: int) -> Array:
        return generator.uniform(TINY, 1.0 - TINY, (n, 4)).astype(np.float32)

    if emulator.network.exact:
        return emulator.sample(gen, levels(len(gen)), context, raw_pt_min=raw_pt_min)
    reco = emulator.sample(gen, levels(len(gen)), context)
    scale = SCALES[emulator.variables.scale]
    for _ in range(REDRAWS):
        low = np.flatnonzero(scale.undo(reco.astype(np.float64))[:, 0] <= raw_pt_min)
        if not len(low):
            break
        reco[low] = emulator.sample(gen[low], levels(len(low)), context[low])
    return reco


def _selected(emulator: Emulator, pairs: JetPairs, effort: Effort) -> npt.NDArray[np.bool_]:
    matched = pairs.matched
    bad = int((~np.isfinite(pairs.reco[matched])).any(axis=1).sum())
    if bad:
        msg = f"reco jets: expected finite numbers, got {bad} of {int(matched.sum())} matched jets otherwise"
        raise ValueError(msg)
    keep = matched & (pairs.gen[:, 0] > effort.gen_pt_min)
    raw = SCALES[emulator.variables.scale].undo(pairs.reco[keep].astype(np.float64))
    keep[keep] = raw[:, 0] > effort.raw_pt_min
    return keep
