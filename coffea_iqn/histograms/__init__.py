"""Histograms of a fold: definition, filling and writing."""

from __future__ import annotations

from coffea_iqn.histograms.filling import AXES, ETA_MAX, LEVELS, PT_MIN, Filler, book, to_hists

__all__ = ["AXES", "ETA_MAX", "LEVELS", "PT_MIN", "Filler", "book", "to_hists"]
