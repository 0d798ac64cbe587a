"""p(reco jet | gen jet): networks and variables composed, compiled and with torch, and reco jets of no gen jet."""

from __future__ import annotations

from coffea_iqn.emulator.emulator import BACKENDS, Emulator

__all__ = ["BACKENDS", "Emulator"]
