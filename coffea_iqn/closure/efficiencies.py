"""Comparison of the emulated efficiency with the fraction of gen jets that are reconstructed."""

from __future__ import annotations

import numpy as np

from coffea_iqn.closure.estimates import CELLS, Cells, Estimate, OfCells, in_cells, rms_beyond
from coffea_iqn.numerics.arrays import Bools, Floats


def efficiency_in_cells(
    probability: Floats, found: Bools, gen: Floats, *, cells: Cells = CELLS, min_jets: int = 2000
) -> OfCells:
    """Efficiencies of gen jets (N, 4) in cells of gen pt and |eta|.

    Parameters
    ----------
    probability: emulated efficiency of each gen jet, (N,).
    found: whether it was reconstructed, (N,).

    Returns
    -------
    values (P, E, 2): emulated and real efficiency.
    """
    return in_cells(lambda inside: np.array([probability[inside].mean(), found[inside].mean()]), gen, cells, min_jets)


def binomial_errors(found: OfCells) -> Floats:
    """Binomial uncertainty of the real efficiency in each cell, (P, E), computed from the emulated efficiency."""
    expected = found.values[..., 0]
    return np.asarray(np.sqrt(expected * (1.0 - expected) / np.maximum(found.n_jets, 1)))


def efficiency_deviation(found: OfCells) -> Estimate:
    """RMS over cells of the difference between emulated and real efficiency, beyond statistics."""
    return rms_beyond(found.values[..., 0] - found.values[..., 1], binomial_errors(found))
