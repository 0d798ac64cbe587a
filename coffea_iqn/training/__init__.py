"""Training of emulators on pairs of jets, and of extensions of an emulator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffea_iqn.training.columns import extend
    from coffea_iqn.training.emulators import train

__all__ = ["extend", "train"]

MODULES = {"extend": "columns", "train": "emulators"}


def __getattr__(name: str) -> Any:
    # imported when first used: they need torch, which the processors that make pairs do not
    if name in MODULES:
        return getattr(import_module(f"coffea_iqn.training.{MODULES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
