"""Comparison of the spectra of emulated and real jets: χ², and the size of the difference of the densities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coffea_iqn.closure.estimates import Estimate, check_enough, density_deviation
from coffea_iqn.jets.features import MASS
from coffea_iqn.numerics.arrays import Doubles, Floats, Ints

N_BINS = 40
LIGHT = 0.5  # GeV: lighter jets consist of a single particle, with masses down to that of the electron
WIDE = 5.0  # binning is logarithmic for positive values that span more than this factor


class Agreement(NamedTuple):
    """Agreement of two histograms: χ² over bins, merged until they have enough entries, and their number."""

    chi2: float
    ndf: int

    @property
    def per_bin(self) -> float:
        """χ²/ndf; NaN if all bins together have too few entries."""
        return self.chi2 / self.ndf if self.ndf else float("nan")


def agreement(emulated: tuple[Floats, Floats], real: tuple[Floats, Floats], *, min_entries: float = 25.0) -> Agreement:
    """Return χ² between emulated and real histograms, with the statistical uncertainties of both.

    Parameters
    ----------
    emulated, real: values and variances of the bins, all of the same shape.
    min_entries: least number of effective real entries, value² / variance, of a bin; bins with fewer are merged with
        the next such bins. If all real entries together are fewer, all bins are compared as one, provided that both
        histograms together have enough.

    If both come from the same gen events they are correlated, and a perfect emulator has χ²/ndf below 1; the value for
    two emulations shows by how much.
    """
    (value, variance), (expected, expected_variance) = emulated, real
    group, n_bins = _merged(expected.ravel(), expected_variance.ravel(), min_entries)
    columns = (value, expected, variance + expected_variance)
    drawn, true, of_both = (np.bincount(group, weights=column.ravel()) for column in columns)
    if n_bins == 0 and not (drawn[0] + true[0]) ** 2 >= min_entries * of_both[0] > 0.0:
        return Agreement(0.0, 0)
    return Agreement(float(((drawn - true) ** 2 / of_both).sum()), len(of_both))


def _merged(values: Floats, variances: Floats, least: float) -> tuple[Ints, int]:
    """Return the merged bin of each bin, (bins,), and how many of them have `least` effective entries: all, or none."""
    group = np.zeros(len(values), dtype=np.int64)
    n_groups = total = of_total = 0
    few: list[int] = []
    for k, (value, variance) in enumerate(zip(values.tolist(), variances.tolist(), strict=True)):
        if value > 0.0 and value * value >= least * variance:
            group[k] = n_groups
            n_groups += 1
            continue
        few.append(k)
        total, of_total = total + value, of_total + variance
        if total > 0.0 and total * total >= least * of_total:
            group[few] = n_groups
            n_groups += 1
            total, of_total, few = 0, 0, []
    group[few] = max(n_groups - 1, 0)  # too few are left for a bin of their own
    return group, n_groups


class Marginal(NamedTuple):
    """Histograms of one variable for emulated and real jets.

    Attributes
    ----------
    edges: bin edges, (B + 1,).
    emulated, real: entries in each bin, (B,).
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
        """Size of the difference between emulated and real density, beyond statistics."""
        chi2, ndf = self.agreement
        return density_deviation(chi2, ndf, 0.5 * float(self.real.sum()))


def marginals(emulated: Floats, real: Floats) -> list[Marginal]:
    """Return histograms of each column of emulated and real jets (N, 4), with a binning defined by the real jets.

    Bins cover the central 99.9 % of the real values, for the mass from 0.5 GeV up; the first and the last bin include
    underflow and overflow.

    Raises
    ------
    TooFewJetsError: for fewer than `estimates.MIN_JETS` jets.
    """
    check_enough("spectra", len(real))
    found = []
    for k, (drawn, column) in enumerate(zip(emulated.T.astype(np.float64), real.T.astype(np.float64), strict=True)):
        low, high = np.quantile(column, [0.0005, 0.9995])
        if k == MASS:
            low = max(low, LIGHT)
        log = low > 0.0 and high / low > WIDE
        edges = np.geomspace(low, high, N_BINS + 1) if log else np.linspace(low, high, N_BINS + 1)
        found.append(Marginal(edges, histogram(drawn, edges), histogram(column, edges)))
    return found


def marginal_of_column(emulated: Floats, real: Floats, *, whole: bool) -> Marginal:
    """Return histograms of a further column, (N,), in linear bins as in `marginals`, or one bin per whole number."""
    check_enough("spectra", len(real))
    low, high = np.quantile(real, [0.0005, 0.9995])
    edges = np.arange(np.floor(low), np.floor(high) + 2.0) - 0.5 if whole else np.linspace(low, high, N_BINS + 1)
    return Marginal(edges, histogram(emulated, edges), histogram(real, edges))


def histogram(values: Floats, edges: Floats) -> Doubles:
    """Return the entries in bins; the first and the last bin include values beyond the edges."""
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.float64)
