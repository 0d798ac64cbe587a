"""Spectra of emulated against real jets: χ², and by how much densities differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coffea_iqn.closure.estimates import MASS, Estimate, Floats, check_enough, density_deviation

N_BINS = 40
LIGHT = 0.5  # GeV: below are jets of single particles, down to the mass of the electron
WIDE = 5.0  # positive values that spread by this factor get logarithmic bins


class Agreement(NamedTuple):
    """How two histograms agree: χ² over the bins that count, and how many these are."""

    chi2: float
    ndf: int

    @property
    def per_bin(self) -> float:
        """χ²/ndf; NaN where no bin counts."""
        return self.chi2 / self.ndf if self.ndf else float("nan")


def agreement(emulated: tuple[Floats, Floats], real: tuple[Floats, Floats], *, min_entries: float = 25.0) -> Agreement:
    """χ² of emulated against real histograms, with the statistical uncertainties of both.

    Parameters
    ----------
    emulated, real: values and variances of the bins, of one shape.
    min_entries: effective real entries, value² / variance, that a bin needs to count.

    Where both come from the same gen events they fluctuate together, and χ²/ndf of a perfect emulator is below 1: that
    of two emulations says how far.
    """
    (value, variance), (expected, expected_variance) = emulated, real
    counts = (expected > 0.0) & (expected**2 >= min_entries * expected_variance)
    pulls2 = (value - expected)[counts] ** 2 / (variance + expected_variance)[counts]
    return Agreement(float(pulls2.sum()), int(counts.sum()))


class Marginal(NamedTuple):
    """One variable of emulated and real jets: entries in bins.

    Attributes
    ----------
    edges: (B + 1,).
    emulated, real: entries, (B,).
    """

    edges: Floats
    emulated: Floats
    real: Floats

    @property
    def agreement(self) -> Agreement:
        """χ² with Poisson uncertainties of both."""
        return agreement((self.emulated, self.emulated), (self.real, self.real))

    @property
    def deviation(self) -> Estimate:
        """By how much the emulated density differs from the real one, beyond statistics."""
        chi2, ndf = self.agreement
        return density_deviation(chi2, ndf, 0.5 * float(self.real.sum()))


def marginals(emulated: Floats, real: Floats) -> list[Marginal]:
    """Each column of emulated and real jets (N, 4) in bins made for the real ones.

    Bins reach from the least to the greatest 0.05 % of the real values, those of the mass from 0.5 GeV on; what lies
    beyond is in the first and the last.

    Raises
    ------
    TooFewJetsError: for fewer than `sizes.MIN_JETS` jets.
    """
    check_enough("spectra", len(real))
    found = []
    for k, (drawn, column) in enumerate(zip(emulated.T.astype(np.float64), real.T.astype(np.float64), strict=True)):
        low, high = np.quantile(column, [0.0005, 0.9995])
        if k == MASS:
            low = max(low, LIGHT)
        log = low > 0.0 and high / low > WIDE
        edges = np.geomspace(low, high, N_BINS + 1) if log else np.linspace(low, high, N_BINS + 1)
        found.append(_marginal(drawn, column, edges))
    return found


def marginal_of_column(emulated: Floats, real: Floats, *, whole: bool) -> Marginal:
    """A further number of jets, (N,), in bins as of `marginals`, on a linear axis; of whole numbers a bin each."""
    check_enough("spectra", len(real))
    low, high = np.quantile(real, [0.0005, 0.9995])
    edges = np.arange(np.floor(low), np.floor(high) + 2.0) - 0.5 if whole else np.linspace(low, high, N_BINS + 1)
    return _marginal(emulated, real, edges)


def _marginal(emulated: Floats, real: Floats, edges: Floats) -> Marginal:
    inside = (np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] for values in (emulated, real))
    return Marginal(edges, *(counts.astype(np.float64) for counts in inside))
