"""An emulator against true jets: figures of merit, each beside its null, a verdict, a report."""

from __future__ import annotations

from coffea_iqn.validation.comparison import Comparison, Validation, compare_spectra, validate

__all__ = ["Comparison", "Validation", "compare_spectra", "validate"]
