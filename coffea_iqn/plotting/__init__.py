"""Figures in CMS style, of the histograms of a fold and of the validation of an emulator."""

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
