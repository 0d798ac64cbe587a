"""Keep modules importable under their old names, from before the split into packages, with what was public in them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "context": "jets.context",
    "copies": "validation.comparison",
    "distilling": "training.distil",
    "doubles": "numerics.double",
    "exact": "numerics.exact_sums",
    "features": "jets.features",
    "filesets": "files.filesets",
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
ELSEWHERE = {
    "context.describe": "jets.context.conditioning_variables",
    "features.Standardisation": "iqn.standardisation.Standardisation",
    "networks.QuantileNetwork": "iqn.members.member.AutoregressiveNetwork",
    "networks.IQNx4": "iqn.members.pinball.IQNx4",
    "networks.IQNx1": "iqn.members.pinball.IQNx1",
    "networks.pinball_loss": "iqn.members.pinball.pinball_loss",
    "networks.SplineIQN": "iqn.members.spline.SplineIQN",
    "uniforms.levels_on_device": "emulator.device.levels_on_device",
}
FORMS = {
    "ratio_targets": ("encode", "ratio"),
    "jets_from_ratios": ("decode", "ratio"),
    "residual_targets": ("encode", "residual"),
    "jets_from_residuals": ("decode", "residual"),
    "symmetric_targets": ("encode", "symmetric"),
    "jets_from_symmetric": ("decode", "symmetric"),
}  # old functions of `features`: functions of `jets.targets` with one form of the four-momentum
LEVELS = ("flavour", "neighbours", "event")  # old functions of `context`: columns of one context level


def _there(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(f"{__package__}.{module}"), name)


def _level(name: str, *jets: Any) -> Any:
    """Return the columns of a context level without its flag, from jets and counts, or from PDG codes for flavour."""
    xp, known = import_module("numpy"), {}
    if name == "flavour":
        known["parton"] = jets[0]
        jets = xp.ones((len(jets[0]), 4)), xp.ones(len(jets[0]), dtype=int)
    columns = _there("jets.context.conditioning_variables")(*jets, **known)
    return columns[:, _there("jets.context.columns_of")(name)][:, :-1]


def _elsewhere(module: str, name: str) -> Any:
    """Look up a name that has left a module where it is now; only on access, because it may import torch."""
    if f"{module}.{name}" in ELSEWHERE:
        return _there(ELSEWHERE[f"{module}.{name}"])
    if module == "features" and name in FORMS:
        way, form = FORMS[name]
        return partial(_there(f"jets.targets.{way}"), _there("jets.targets.TARGETS")[form])
    if module == "context" and name in LEVELS:
        return partial(_level, name)
    msg = f"module '{__package__}.{module}' has no attribute {name!r}"
    raise AttributeError(msg)


class _Finder(MetaPathFinder, Loader):
    """Finds modules by their old names, and fills them with all names of the new module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __package__ and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.rpartition(".")[2]
        there = import_module(f"{__package__}.{MOVED[old]}")
        vars(module).update({name: value for name, value in vars(there).items() if not name.startswith("__")})
        vars(module)["__getattr__"] = partial(_elsewhere, old)


sys.meta_path.append(_Finder())
