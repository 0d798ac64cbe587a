"""From pairs of jets to an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffea_iqn.training.emulators import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    # imported when first used: with it comes torch, which the pairs that a processor makes need not
    if name == "train":
        from coffea_iqn.training.emulators import train

        return train
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
