"""Emulators: p(reco jet | gen jet) with compiled code or torch, unmatched reco jets, other objects and particles."""

from __future__ import annotations

from coffea_iqn.emulator.emulator import BACKENDS, Emulator

__all__ = ["BACKENDS", "Emulator"]
