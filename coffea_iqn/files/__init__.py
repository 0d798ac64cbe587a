"""Files that come in and go out: looked at, read, written as a whole or not at all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffea_iqn.files.inputs import InputError, NanoSchema, Source, inspect

__all__ = ["InputError", "NanoSchema", "Source", "inspect"]


def __getattr__(name: str) -> Any:
    # imported when first used: with it comes coffea, which a bundle on disk need not
    if name in __all__:
        return getattr(import_module("coffea_iqn.files.inputs"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
