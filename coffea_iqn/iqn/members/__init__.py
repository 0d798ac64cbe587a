"""Members beside the IQN family: flows, flow matching, adversarial networks and autoencoders, to compare it with.

Each draws all targets at once. Nothing imports them but `networks.build`; flows need the extra `members`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES = {
    "SplineFlow": "flows",
    "AutoregressiveFlow": "flows",
    "FlowMatching": "matching",
    "DistilledFlow": "matching",
    "WassersteinGAN": "adversarial",
    "Autoencoder": "autoencoder",
}
"""Where each is."""


def module_of(kind: str) -> Any:
    """The class of a member.

    Raises
    ------
    ModuleNotFoundError: where zuko is not installed, which flows are made with.
    """
    try:
        return getattr(import_module(f"coffea_iqn.iqn.members.{MODULES[kind]}"), kind)
    except ModuleNotFoundError as error:
        msg = f"{kind}: expected {error.name} to be installed, found none: pip install 'coffea-iqn[members]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
