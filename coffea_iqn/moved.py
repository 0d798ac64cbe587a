"""Modules by the names that they had before there were packages: what was public is importable from there as well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "context": "jets.context",
    "copies": "validation.comparison",
    "distilling": "training.distil",
    "doubles": "numerics.double",
    "exact": "numerics.exact_sums",
    "features": "jets.features",
    "filesets": "files.inputs",
    "fitting": "training.optimise",
    "generating": "generation",
    "matching": "jets.matching",
    "merging": "files.skims",
    "metrics": "validation.metrics",
    "networks": "iqn.networks",
    "recipes": "training.recipes",
    "resident": "emulator.device",
    "samples": "training.pairs",
    "selections": "closure.regions",
    "skims": "files.skims",
    "splines": "iqn.splines",
    "spoiling": "validation.distortions",
    "thresholds": "training.thresholds",
    "trees": "files.trees",
    "uniforms": "numerics.uniforms",
    "unmatched": "emulator.unmatched",
    "variables": "emulator.preprocessing",
    "verdict": "validation.verdict",
}


class _Finder(MetaPathFinder, Loader):
    """Finds a module under its old name: one that has all the names of where it is now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __package__ and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        there = import_module(f"{__package__}.{MOVED[module.__name__.rpartition('.')[2]]}")
        vars(module).update({name: value for name, value in vars(there).items() if not name.startswith("__")})


sys.meta_path.append(_Finder())
