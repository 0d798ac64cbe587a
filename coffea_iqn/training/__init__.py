"""From pairs of jets to an emulator."""

from __future__ import annotations

from coffea_iqn.training.emulators import train

__all__ = ["train"]
