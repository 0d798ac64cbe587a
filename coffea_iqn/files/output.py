"""Summaries in JSON, with the versions of packages."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("coffea-iqn", "coffea", "awkward", "uproot", "hist", "torch", "numpy")


def write_json(content: Any, path: Path) -> None:
    """Write indented JSON with a line feed at the end."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of this package and of the packages that its results depend on."""
    return {name: version(name) for name in PACKAGES}
