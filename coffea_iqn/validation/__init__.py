"""Validation of an emulator against true jets: figures of merit with their nulls, a verdict, and a report."""

from __future__ import annotations

from coffea_iqn.validation.comparison import Comparison, Validation, compare_spectra, validate

__all__ = ["Comparison", "Validation", "compare_spectra", "validate"]
