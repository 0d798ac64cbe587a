"""Input and output files: inspection, reading, and writing that either completes or leaves nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffea_iqn.files.inputs import InputError, NanoSchema, Source, inspect

__all__ = ["InputError", "NanoSchema", "Source", "inspect"]


def __getattr__(name: str) -> Any:
    # imported when first used: it needs coffea, which reading a bundle does not
    if name in __all__:
        return getattr(import_module("coffea_iqn.files.inputs"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
