"""Comparison of the emulated efficiency with the fraction of gen jets that are reconstructed."""

from __future__ import annotations

import numpy as np

from coffea_iqn.closure.estimates import (
    CELLS,
    Cells,
    Estimate,
    OfCells,
    around,
    check_enough,
    in_cells,
    rms_beyond,
)
from coffea_iqn.jets.features import PT
from coffea_iqn.jets.matching import match_tables, overlapping
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints

OVERLAP, OVERLAP_PT = 1.25, 20.0  # ΔR to a harder jet in jet radii, and least gen pt [GeV], of `count_overlapping`


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


def efficiency_around(probability: Floats, found: Bools, gen: Floats, *, min_jets: int = 200) -> Estimate:
    """Return the `efficiency_of_groups` of gen jets (N, 4) in regions `around`."""
    return efficiency_of_groups(probability, found, around(gen), min_jets=min_jets)


def efficiency_of_groups(probability: Floats, found: Bools, group: Ints, *, min_jets: int = 200) -> Estimate:
    """RMS over groups of gen jets of the difference between emulated and real efficiency, beyond statistics.

    Parameters
    ----------
    probability, found: see `efficiency_in_cells`.
    group: number of the group of each gen jet, from 0 on, (N,).
    min_jets: least number of jets in a group; others are ignored.

    Raises
    ------
    TooFewJetsError: when no group has enough jets.
    """
    n_jets = np.bincount(group)
    expected, real = (np.bincount(group, weights=of) / np.maximum(n_jets, 1) for of in (probability, found))
    errors = np.sqrt(expected * (1.0 - expected) / np.maximum(n_jets, 1))
    return rms_beyond(np.where(n_jets >= min_jets, expected - real, np.nan), errors)


def count_overlapping(gen: JetTable, reco: JetTable, *, radius: float, cone: float) -> Doubles:
    """Return the numbers of gen jets close to a harder one in each event, and of these with a reco jet, (events, 2).

    Parameters
    ----------
    gen, reco: gen jets and reco jets of the same events.
    radius, cone: jet radius, and matching distance.
    """
    harder, _ = overlapping(gen.values, gen.counts, OVERLAP * radius)
    close = (harder >= 0) & (gen.values[:, PT] > OVERLAP_PT)
    found = np.zeros(len(close), dtype=bool)
    found[match_tables(gen, reco, cone)[0]] = True
    return np.stack([np.bincount(gen.event[of], minlength=len(gen.counts)) for of in (close, close & found)], axis=1)


def efficiency_of_overlapping(emulated: Floats, real: Floats) -> Estimate:
    """Difference between emulated and real efficiency of gen jets close to a harder one, from `count_overlapping`.

    Raises
    ------
    TooFewJetsError: when there are none.
    """
    n = real[:, 0].sum()
    check_enough("overlapping jets", int(n), least=1)
    efficiencies = [of[:, 1].sum() / n for of in (emulated, real)]
    uncertainty = np.sqrt(sum(max(one * (1.0 - one), 1.0 / n) for one in efficiencies) / n)
    return Estimate(float(abs(efficiencies[0] - efficiencies[1])), float(uncertainty))
