"""The emulator of p(reco jet | gen jet): networks, preprocessing, compiled and torch backends, unmatched reco jets."""

from __future__ import annotations

from coffea_iqn.emulator.emulator import BACKENDS, Emulator

__all__ = ["BACKENDS", "Emulator"]
