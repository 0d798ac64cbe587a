"""Efficiencies: emulated ones against the fraction of gen jets that are reconstructed."""

from __future__ import annotations

import numpy as np

from coffea_iqn.closure.estimates import CELLS, Cells, Estimate, Flags, Floats, OfCells, in_cells, rms_beyond


def efficiency_in_cells(
    probability: Floats, found: Flags, gen: Floats, *, cells: Cells = CELLS, min_jets: int = 2000
) -> OfCells:
    """Efficiencies of gen jets (N, 4) in cells of gen pt and |eta|.

    Parameters
    ----------
    probability: emulated P(found), (N,).
    found: which were found, (N,).

    Returns
    -------
    values (P, E, emulated and real).
    """
    return in_cells(lambda inside: np.array([probability[inside].mean(), found[inside].mean()]), gen, cells, min_jets)


def binomial_errors(found: OfCells) -> Floats:
    """The uncertainty of the real efficiency in each cell, as large as the emulated one lets expect, (P, E)."""
    expected = found.values[..., 0]
    return np.asarray(np.sqrt(expected * (1.0 - expected) / np.maximum(found.n_jets, 1)))


def efficiency_deviation(found: OfCells) -> Estimate:
    """By how much emulated efficiencies differ from real ones, root mean square over cells, beyond statistics."""
    return rms_beyond(found.values[..., 0] - found.values[..., 1], binomial_errors(found))
