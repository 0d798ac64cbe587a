"""Export bundles to formats of other frameworks, with a closure test against the bundle and a test vector."""

from __future__ import annotations

from coffea_iqn.exports.export import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
