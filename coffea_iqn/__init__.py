"""The detector as a function you call inside a coffea processor: gen jets in, reco jets out."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coffea_iqn import moved as _moved  # noqa: F401 # finds modules by their old names
from coffea_iqn.numerics.caches import forget_stale

if TYPE_CHECKING:
    from coffea_iqn.corrector import IQNCorrector
    from coffea_iqn.emulator.emulator import Emulator
    from coffea_iqn.events.identity import event_uniforms
    from coffea_iqn.folder import ConstituentFolder, EventFolder, IQNFolder
    from coffea_iqn.unfolding import response

__version__ = version("coffea-iqn")

__all__ = [
    "ConstituentFolder",
    "Emulator",
    "EventFolder",
    "IQNCorrector",
    "IQNFolder",
    "__version__",
    "event_uniforms",
    "response",
]

if (Path(__file__).parents[1] / "pyproject.toml").is_file():  # a source tree, where modules change one by one
    forget_stale(Path(__file__).parent)

_HOMES = {
    "Emulator": "coffea_iqn.emulator",
    "ConstituentFolder": "coffea_iqn.folder",
    "EventFolder": "coffea_iqn.folder",
    "IQNCorrector": "coffea_iqn.corrector",
    "IQNFolder": "coffea_iqn.folder",
    "event_uniforms": "coffea_iqn.events.identity",
    "response": "coffea_iqn.unfolding",
}


def __getattr__(name: str) -> Any:
    # imported on first use: importing torch and coffea takes seconds, and `coffea-iqn --help` needs neither
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            msg = f"{name}: expected {error.name} to be installed, found none: pip install 'coffea-iqn[all]'"
            raise ModuleNotFoundError(msg, name=error.name) from error
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
