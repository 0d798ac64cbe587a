"""Figures of merit of an emulator, as plain functions on arrays.

Jets are rows (pt [GeV], eta, phi [rad], mass [GeV]); the real and the emulated jet of a row are two reco jets of the
same gen jet. The null of a figure is its value for two statistically identical samples, such as two emulations.
"""

from __future__ import annotations

from coffea_iqn.closure.amplification import QuantileCells, QuantileDeviation, quantile_deviation
from coffea_iqn.closure.distances import (
    KSTest,
    frechet_distance,
    kernel_distance,
    ks_test,
    mean_excess,
    wasserstein_in_cells,
)
from coffea_iqn.closure.efficiencies import (
    binomial_errors,
    efficiency_around,
    efficiency_deviation,
    efficiency_in_cells,
)
from coffea_iqn.closure.estimates import (
    CELLS,
    Cells,
    Estimate,
    OfCells,
    TooFewJetsError,
    check_enough,
    density_deviation,
    estimate_of_square,
    rms_beyond,
)
from coffea_iqn.closure.events import EVENT_FEATURES, event_features
from coffea_iqn.closure.judges import (
    JUDGES,
    Features,
    Judgement,
    area_under_curve,
    jet_features,
    judge,
    outside,
    residual_features,
)
from coffea_iqn.closure.levels import (
    levels_among_draws,
    nonuniformity,
    nonuniformity_in_cells,
    uniformity,
    uniformity_in_cells,
)
from coffea_iqn.closure.particles import SplitHalfDistance, divergence, shape_features, split_half_distance
from coffea_iqn.closure.response import (
    Correlations,
    MedianRow,
    Profile,
    Tails,
    correlations,
    median_and_width,
    median_and_width_from,
    median_table,
    profile,
    residuals,
    resolution_deviation,
    response_in_cells,
    responses,
    scale_deviation,
    smearing,
    tails,
)
from coffea_iqn.closure.spectra import Agreement, Marginal, agreement, marginal_of_column, marginals
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, VARIABLES

__all__ = [
    "CELLS",
    "ETA",
    "EVENT_FEATURES",
    "JUDGES",
    "MASS",
    "PHI",
    "PT",
    "VARIABLES",
    "Agreement",
    "Cells",
    "Correlations",
    "Estimate",
    "Features",
    "Judgement",
    "KSTest",
    "Marginal",
    "MedianRow",
    "OfCells",
    "Profile",
    "QuantileCells",
    "QuantileDeviation",
    "SplitHalfDistance",
    "Tails",
    "TooFewJetsError",
    "agreement",
    "area_under_curve",
    "binomial_errors",
    "check_enough",
    "correlations",
    "density_deviation",
    "divergence",
    "efficiency_around",
    "efficiency_deviation",
    "efficiency_in_cells",
    "estimate_of_square",
    "event_features",
    "frechet_distance",
    "jet_features",
    "judge",
    "kernel_distance",
    "ks_test",
    "levels_among_draws",
    "marginal_of_column",
    "marginals",
    "mean_excess",
    "median_and_width",
    "median_and_width_from",
    "median_table",
    "nonuniformity",
    "nonuniformity_in_cells",
    "outside",
    "profile",
    "quantile_deviation",
    "residual_features",
    "residuals",
    "resolution_deviation",
    "response_in_cells",
    "responses",
    "rms_beyond",
    "scale_deviation",
    "shape_features",
    "smearing",
    "split_half_distance",
    "tails",
    "uniformity",
    "uniformity_in_cells",
    "wasserstein_in_cells",
]
