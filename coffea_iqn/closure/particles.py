"""Figures of merit for the particles of emulated jets, from observables of these.

Those of jets with the first four columns pt, eta, phi, mass, as of `jets.shapes.shapes`, which `judges.judge` and the
distances of `distances` take as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.closure.estimates import MASS, Estimate, Floats, check_enough
from coffea_iqn.closure.judges import residual_features
from coffea_iqn.closure.spectra import N_BINS

LEAST_COUNT = 0.5  # in a bin: else one that stays empty on one side would rule all

Counts = npt.NDArray[np.integer]


class SplitHalfDistance(NamedTuple):
    """A distance of random halves, (repeats,): emulated from real jets, and real from real ones, the null."""

    real_emulated: Floats
    real_real: Floats

    @property
    def ratio(self) -> float:
        """Their ratio on average: 1 where emulated jets are as far from real ones as these from each other."""
        return float(self.real_emulated.mean() / self.real_real.mean())

    @property
    def size(self) -> Estimate:
        """The ratio, with the spread of the null for its uncertainty."""
        return Estimate(self.ratio, float(self.real_real.std() / self.real_real.mean()))


def split_half_distance(
    distance: Callable[[Floats, Floats], float],
    emulated: Floats,
    real: Floats,
    *,
    counts: Sequence[Counts] | None = None,
    repeats: int = 20,
    seed: int = 0,
) -> SplitHalfDistance:
    """A distance with its null: the test of `distances.ks_test` for any other one.

    One half of the real jets is compared with the other half, and with the emulated jets of the other half, so that
    no gen jet is on both sides.

    Parameters
    ----------
    distance: of real values and others.
    emulated, real: values of all jets in a row.
    counts: how many values each gen jet has, emulated and real, (N,) each; None for one.
    repeats: how often the gen jets are divided.
    seed: of the divisions.

    Raises
    ------
    TooFewJetsError: for fewer than `sizes.MIN_JETS` gen jets.
    """
    own, others = counts or (np.ones(len(emulated), dtype=np.int64), np.ones(len(real), dtype=np.int64))
    check_enough("halves", len(others))
    generator = np.random.default_rng(seed)
    found = np.empty((2, repeats))
    for k in range(repeats):
        first = generator.permutation(len(others)) < len(others) // 2
        half = real[np.repeat(first, others)]
        found[0, k] = distance(half, emulated[np.repeat(~first, own)])
        found[1, k] = distance(half, real[np.repeat(~first, others)])
    return SplitHalfDistance(*found)


def divergence(like: Floats) -> Callable[[Floats, Floats], float]:
    """The Kullback-Leibler divergence Σ p log(p/q) of histograms of two samples, p and q, in bins made for a third.

    Forty equal bins reach from the least to the greatest 0.05 % of it; what lies beyond is in the first and the
    last. Half an entry is added to each, so that samples of one law have a divergence of about (bins) / (entries).
    """
    low, high = np.quantile(like, [0.0005, 0.9995])
    edges = np.linspace(low, high, N_BINS + 1)

    def of_samples(one: Floats, other: Floats) -> float:
        inside = (np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] + LEAST_COUNT for side in (one, other))
        p, q = (counts / counts.sum() for counts in inside)
        return float(np.sum(p * np.log(p / q)))

    return of_samples


def shape_features(gen: Floats, jets: Floats) -> Floats:
    """What a judge of particles looks at: `judges.residual_features`, and the other columns of both.

    Parameters
    ----------
    gen, jets: observables of gen jets and of reco jets, row by row, (N, n) each.
    """
    rest = MASS + 1
    return np.concatenate([residual_features(gen[:, :rest], jets[:, :rest]), gen[:, rest:], jets[:, rest:]], axis=1)
