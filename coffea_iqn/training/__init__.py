"""From pairs of jets to an emulator, and to one that draws more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffea_iqn.training.columns import extend
    from coffea_iqn.training.emulators import train

__all__ = ["extend", "train"]


def __getattr__(name: str) -> Any:
    # imported when first used: with it comes torch, which the pairs that a processor makes need not
    if name == "train":
        from coffea_iqn.training.emulators import train

        return train
    if name == "extend":
        from coffea_iqn.training.columns import extend

        return extend
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
