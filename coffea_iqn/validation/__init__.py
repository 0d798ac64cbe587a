"""An emulator against true jets: figures of merit, each beside its null, a verdict, a report."""

from __future__ import annotations

from coffea_iqn.validation.comparison import validate

__all__ = ["validate"]
