"""Training of emulators on pairs of jets, and of extensions of an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffea_iqn.training.columns import extend
    from coffea_iqn.training.emulators import train

__all__ = ["extend", "train"]


def __getattr__(name: str) -> Any:
    # imported when first used: it needs torch, which the processors that make pairs do not
    if name == "train":
        from coffea_iqn.training.emulators import train

        return train
    if name == "extend":
        from coffea_iqn.training.columns import extend

        return extend
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
