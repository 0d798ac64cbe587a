"""What an unfolding takes of an emulator: response matrices without sampling noise, and what other tools read of them."""

from __future__ import annotations

from coffea_iqn.unfolding.matrix import Response, response, response_sums

__all__ = ["Response", "response", "response_sums"]
