"""Figures in CMS style, of the histograms of a fold and of the validation of an emulator.

Each function returns a figure that is not registered with pyplot, so it need not be closed and is not shown, and leaves
the caller's style unchanged. Emulated is blue, truth is black. Uncertainties are statistical and treat the levels (gen,
emulated, true) as independent. If they come from the same events, as in a fold, ratios fluctuate less, and χ² is
smaller.

Common options are `title`, printed at the top right and shortened if long; `label`, printed after "coffea-iqn" at the
top left, in mathtext; `energy` [TeV], printed after the dataset; `truth_label`, `emulated_label` and `gen_label`, the
names of the levels; and `selection`, the selection of the jets.
"""

from __future__ import annotations

from coffea_iqn.plotting.diagnostics import (
    plot_correlations,
    plot_importance,
    plot_ks,
    plot_levels,
    plot_map,
    plot_reliability,
    plot_weights,
)
from coffea_iqn.plotting.labels import EVERY, Selection
from coffea_iqn.plotting.panels import Shown
from coffea_iqn.plotting.response import (
    plot_efficiency,
    plot_marginal,
    plot_observables,
    plot_profile,
    plot_scale_and_resolution,
    plot_tails,
)
from coffea_iqn.plotting.saving import save, save_all
from coffea_iqn.plotting.spectra import (
    MIN_ENTRIES,
    Quantiles,
    median_and_width,
    plot_all,
    plot_correction,
    plot_response,
    plot_response_slices,
    plot_spectrum,
    systematic_band,
)

__all__ = [
    "EVERY",
    "MIN_ENTRIES",
    "Quantiles",
    "Selection",
    "Shown",
    "median_and_width",
    "plot_all",
    "plot_correction",
    "plot_correlations",
    "plot_efficiency",
    "plot_importance",
    "plot_ks",
    "plot_levels",
    "plot_map",
    "plot_marginal",
    "plot_observables",
    "plot_profile",
    "plot_reliability",
    "plot_response",
    "plot_response_slices",
    "plot_scale_and_resolution",
    "plot_spectrum",
    "plot_tails",
    "plot_weights",
    "save",
    "save_all",
    "systematic_band",
]
