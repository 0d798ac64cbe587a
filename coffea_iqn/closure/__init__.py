"""How good an emulator is: figures of merit as plain functions on arrays.

Jets are rows (pt [GeV], eta, phi [rad], mass [GeV]); real and emulated are two reco jets of the same gen jet. Every
function gives the same for two emulations as for an emulation and real jets, which is its null.
"""

from __future__ import annotations

from coffea_iqn.closure.distances import (
    KSTest,
    frechet_distance,
    kernel_distance,
    ks_test,
    mean_excess,
    wasserstein_in_cells,
)
from coffea_iqn.closure.efficiencies import binomial_errors, efficiency_deviation, efficiency_in_cells
from coffea_iqn.closure.judges import (
    JET_FEATURES,
    RESIDUAL_FEATURES,
    Judgement,
    area_under_curve,
    jet_features,
    judge,
    outside,
    residual_features,
)
from coffea_iqn.closure.levels import (
    levels_among_draws,
    unevenness,
    unevenness_of_cells,
    uniformity,
    uniformity_in_cells,
)
from coffea_iqn.closure.response import (
    VARIABLES,
    Correlations,
    MedianRow,
    Profile,
    Tails,
    correlations,
    median_and_width,
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
from coffea_iqn.closure.sizes import (
    CELLS,
    Cells,
    OfCells,
    Size,
    TooFewJetsError,
    check_enough,
    density_deviation,
    rms_beyond,
    size_of_square,
)
from coffea_iqn.closure.spectra import Agreement, Marginal, agreement, marginals

__all__ = [
    "CELLS",
    "JET_FEATURES",
    "RESIDUAL_FEATURES",
    "VARIABLES",
    "Agreement",
    "Cells",
    "Correlations",
    "Judgement",
    "KSTest",
    "Marginal",
    "MedianRow",
    "OfCells",
    "Profile",
    "Size",
    "Tails",
    "TooFewJetsError",
    "agreement",
    "area_under_curve",
    "binomial_errors",
    "check_enough",
    "correlations",
    "density_deviation",
    "efficiency_deviation",
    "efficiency_in_cells",
    "frechet_distance",
    "jet_features",
    "judge",
    "kernel_distance",
    "ks_test",
    "levels_among_draws",
    "marginals",
    "mean_excess",
    "median_and_width",
    "median_table",
    "outside",
    "profile",
    "residual_features",
    "residuals",
    "resolution_deviation",
    "response_in_cells",
    "responses",
    "rms_beyond",
    "scale_deviation",
    "size_of_square",
    "smearing",
    "tails",
    "unevenness",
    "unevenness_of_cells",
    "uniformity",
    "uniformity_in_cells",
    "wasserstein_in_cells",
]
