"""The members: what turns quantile levels and inputs into targets.

A member is a law p(y | x) of several targets: it draws them at given levels (`sample`), gives their levels and
log-density (`levels`, `log_density`), where it has them, and knows its own training `loss`. Nothing outside this
package asks which member it holds, or how many targets there are: `networks.build` makes one from its description.

Autoregressive ones draw one target after the other, each given those before it: `IQNx4` and `IQNx1` of Kronheim et
al., Mach. Learn.: Sci. Technol. 5 (2024) 045073, and `SplineIQN`, the default. The others, flows, flow matching,
adversarial networks and autoencoders, draw all at once; flows need the extra `members`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES = {
    "IQNx4": "pinball",
    "IQNx1": "pinball",
    "SplineIQN": "spline",
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
