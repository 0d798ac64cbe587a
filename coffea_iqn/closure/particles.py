"""Figures of merit for the particles in emulated jets, computed from jet observables.

The first four columns of the observables are pt, eta, phi and mass, as in `jets.shapes.shapes`. `judges.judge` and the
distances of `distances` apply to them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy

from coffea_iqn.closure.estimates import Estimate, check_enough
from coffea_iqn.closure.judges import residual_features
from coffea_iqn.closure.spectra import N_BINS, histogram
from coffea_iqn.jets.features import MASS
from coffea_iqn.numerics.arrays import Floats, Ints

LEAST_COUNT = 0.5  # added to each bin; otherwise a bin that is empty on one side would dominate


class SplitHalfDistance(NamedTuple):
    """A distance between random halves, (repeats,): emulated from real jets, and real from real jets (the null)."""

    real_emulated: Floats
    real_real: Floats

    @property
    def ratio(self) -> float:
        """Ratio of the mean distances: 1 if emulated jets are as close to real jets as these are to each other."""
        return float(self.real_emulated.mean() / self.real_real.mean())

    @property
    def estimate(self) -> Estimate:
        """The ratio, with the spread of the null as uncertainty."""
        return Estimate(self.ratio, float(self.real_real.std() / self.real_real.mean()))


def split_half_distance(
    distance: Callable[[Floats, Floats], float],
    emulated: Floats,
    real: Floats,
    *,
    counts: Sequence[Ints] | None = None,
    repeats: int = 20,
    seed: int = 0,
) -> SplitHalfDistance:
    """Return a distance with its null, as `distances.ks_test` does for the Kolmogorov-Smirnov distance.

    One half of the real jets is compared with the other half, and with the emulated jets of the other half, so that
    no gen jet is on both sides.

    Parameters
    ----------
    distance: function of real values and of the values to compare with.
    emulated, real: values of all jets, concatenated.
    counts: number of emulated and of real values of each gen jet, (N,) each; None for one value per jet.
    repeats: number of random divisions of the gen jets.
    seed: seed of the divisions.

    Raises
    ------
    TooFewJetsError: for fewer than `estimates.MIN_JETS` gen jets.
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
    """Return the Kullback-Leibler divergence Σ p log(p/q) of two histograms, with a binning defined by a third sample.

    Forty equal bins cover its central 99.9 %; the first and the last bin include underflow and overflow. Half an entry
    is added to each bin. Samples of the same distribution have a divergence of about (bins) / (entries).
    """
    low, high = np.quantile(like, [0.0005, 0.9995])
    edges = np.linspace(low, high, N_BINS + 1)

    def of_samples(one: Floats, other: Floats) -> float:
        return float(scipy.stats.entropy(*(histogram(side, edges) + LEAST_COUNT for side in (one, other))))

    return of_samples


def shape_features(gen: Floats, jets: Floats) -> Floats:
    """Input features of a judge of particles: `judges.residual_features` and the remaining observables of both jets.

    Parameters
    ----------
    gen, jets: observables of gen jets and of reco jets, row by row, (N, n) each.
    """
    rest = MASS + 1
    return np.concatenate([residual_features(gen[:, :rest], jets[:, :rest]), gen[:, rest:], jets[:, rest:]], axis=1)
