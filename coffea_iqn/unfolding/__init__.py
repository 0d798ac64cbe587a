"""Response matrices for unfolding, computed without sampling noise, and their output formats."""

from __future__ import annotations

from coffea_iqn.unfolding.matrix import Response, response, response_sums
from coffea_iqn.unfolding.writing import Parts, parts, workspace, write_hepdata, write_root, write_workspace

__all__ = [
    "Parts",
    "Response",
    "parts",
    "response",
    "response_sums",
    "workspace",
    "write_hepdata",
    "write_root",
    "write_workspace",
]
