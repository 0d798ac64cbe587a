"""The detector as a function you call inside a coffea processor: gen jets in, reco jets out."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from coffea_iqn.caches import forget_stale
from coffea_iqn.emulator import Emulator
from coffea_iqn.folder import IQNFolder

__version__ = version("coffea-iqn")

__all__ = ["Emulator", "IQNFolder", "__version__"]

forget_stale(Path(__file__).parent)
