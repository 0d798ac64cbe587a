"""Networks as a description and arrays, without torch, as stored in bundles and used by compiled code.

`Network.module` is the torch module, built on first use. Constants shared by both forms are defined here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.numerics.arrays import Singles
from coffea_iqn.ranges import check_choice

N_TARGETS = 4  # default number of targets
NO_BOUND = 1e4  # far beyond any standardised target, and finite to keep gradients finite
LEAST_INSIDE = 1e-30  # least probability between two bounds, against underflow in single precision
LOG_LIKELY_MIN = -7.0  # lower cut-off of log P(sample | x)
LOGIT_KNOTS = (-9.0, -6.5, -4.6, -3.2, -2.1, -1.2, -0.4, 0.4, 1.2, 2.1, 3.2, 4.6, 6.5, 9.0)  # knots of a `SplineIQN`
BELOW_BOUND = 1.0  # distance of an atom below the least bound, or above the greatest, of a standardised target
SLOPE_MIN = 1e-3  # least slope of a spline at a knot, so that its inverse is well defined
STEP_MIN = 1e-4  # least distance between the quantiles at neighbouring knots
AUTOREGRESSIVE = {"IQNx4": "pinball", "IQNx1": "pinball", "SplineIQN": "spline"}  # draw one target after the other
JOINT = {
    "SplineFlow": "flows",
    "AutoregressiveFlow": "flows",
    "FlowMatching": "matching",
    "DistilledFlow": "matching",
    "WassersteinGAN": "adversarial",
    "Autoencoder": "autoencoder",
}
MEMBERS = AUTOREGRESSIVE | JOINT  # by name, with the module in `iqn.members`
ENDS = ("atoms", "tops", "flags")  # keywords of a `SplineIQN` that list targets with atoms
EXACT = ("SplineIQN",)  # members with a distribution function of each target given the preceding ones
WITH_DENSITY = (*EXACT, "SplineFlow", "AutoregressiveFlow", "FlowMatching")
BOUNDED = (*EXACT, *JOINT)  # members whose law is confined to bounds, such as a threshold
N_TIME = 3  # number of inputs that encode the time in a `FlowMatching`
COMPILED = ("SplineIQN",)  # members with a compiled form

Shapes = dict[str, tuple[int, ...]]
"""Shapes of the arrays of a network, by the names of its parameters in torch."""

Number = Callable[[Mapping[str, Any]], int]
"""A number that follows from the description of a network."""


def _layers(name: str, n_inputs: int, n_outputs: int, hidden: Sequence[int]) -> Shapes:
    """Shapes of dense layers in a torch `Sequential`, where activations take up an index but have no parameters."""
    found: Shapes = {}
    for k, (n_in, n_out) in enumerate(pairwise((n_inputs, *hidden, n_outputs))):
        found |= {f"{name}.{2 * k}.weight": (n_out, n_in), f"{name}.{2 * k}.bias": (n_out,)}
    return found


def hidden_of(hidden: Sequence[Any], k: int) -> Sequence[int]:
    """Return the sizes of the hidden layers for target k; hidden is one list for all targets, or a list for each."""
    sizes: Sequence[int] = hidden[k] if hidden and isinstance(hidden[0], Sequence) else hidden
    return sizes


def spline_outputs(d: Mapping[str, Any], k: int) -> int:
    """Number of outputs of the network of target k of a `SplineIQN`."""
    return 1 if k in d["flags"] else 2 * len(LOGIT_KNOTS) + (k in d["atoms"]) + (k in d["tops"])


def _of_each_target(
    n_outputs: Callable[[Mapping[str, Any], int], int], n_more: int
) -> Callable[[Mapping[str, Any]], Shapes]:
    """Shapes of one network per target, with the inputs, n_more further numbers, and the preceding targets as input."""

    def shapes(d: Mapping[str, Any]) -> Shapes:
        n_seen = [n_more + d["n_inputs"] + k for k in range(d["n_targets"])]
        of_each = (_layers(f"nets.{k}", n, n_outputs(d, k), hidden_of(d["hidden"], k)) for k, n in enumerate(n_seen))
        return {name: shape for each in of_each for name, shape in each.items()}

    return shapes


def _n_targets(d: Mapping[str, Any]) -> int:
    return int(d["n_targets"])


def _of_all(n_outputs: Number, n_more: Number = lambda _: 0) -> Any:
    """Shapes of a single network, with the inputs and n_more further numbers as input."""
    return lambda d: _layers("net", d["n_inputs"] + n_more(d), n_outputs(d), d["hidden"])


class Kind(NamedTuple):
    """A type of network: further keywords of its description, shapes of its arrays, and number of levels per draw."""

    keywords: tuple[str, ...]
    shapes: Callable[[Mapping[str, Any]], Shapes]
    n_levels: Number = _n_targets


def _of_flow(n_outputs: Number) -> Any:
    """Shapes of the networks of a zuko flow: one per transformation, with n_outputs numbers per target."""

    def shapes(d: Mapping[str, Any]) -> Shapes:
        n = d["n_targets"]
        n_seen = d["n_inputs"] + n * (n > 1)  # a single target is not an input
        of_each = (
            _layers(f"flow.transform.transforms.{k}.hyper", n_seen, n * n_outputs(d), d["hidden"])
            for k in range(d["transforms"])
        )
        return {name: shape for each in of_each for name, shape in each.items()}

    return shapes


_PINBALL, _PLAIN, _JOINT = ("n_targets", "hidden", "slope", "penalty"), ("hidden", "slope"), ("n_targets", "hidden")
KINDS = {
    "IQNx4": Kind(_PINBALL, _of_each_target(lambda _, __: 1, 1)),
    "IQNx1": Kind(_PINBALL, _of_all(lambda _: 1, lambda d: 2 * d["n_targets"])),  # level, targets, one-hot
    "SplineIQN": Kind(("n_targets", *ENDS, *_PLAIN), _of_each_target(spline_outputs, 0)),
    "SplineFlow": Kind((*_JOINT, "transforms", "bins"), _of_flow(lambda d: 3 * d["bins"] - 1)),
    "AutoregressiveFlow": Kind((*_JOINT, "transforms"), _of_flow(lambda _: 2)),
    "FlowMatching": Kind((*_JOINT, "slope", "steps"), _of_all(_n_targets, lambda d: d["n_targets"] + N_TIME)),
    "DistilledFlow": Kind((*_JOINT, "slope"), _of_all(_n_targets, _n_targets)),
    "WassersteinGAN": Kind(
        (*_JOINT, "slope", "noise"), _of_all(_n_targets, lambda d: d["noise"]), lambda d: int(d["noise"])
    ),
    "Autoencoder": Kind(
        (*_JOINT, "slope", "latent"),
        _of_all(lambda d: 2 * d["n_targets"], lambda d: d["latent"]),
        lambda d: int(d["latent"] + d["n_targets"]),
    ),
    "AcceptanceNetwork": Kind(_PLAIN, _of_all(lambda _: 1)),
    "OriginNetwork": Kind(("n_event", "n_samples", "moot", *_PLAIN), _of_all(lambda d: d["n_samples"])),
    "NumberNetwork": Kind(("most", *_PLAIN), _of_all(lambda d: d["most"] + 1)),
    "RatioNetwork": Kind(("bound", "candidates", *_PLAIN), _of_all(lambda _: 1)),
}
"""All types of networks; a test checks that they agree with the torch modules."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network of any type.

    Attributes
    ----------
    description: type and keyword arguments, in JSON form.
    arrays: parameters by their names in torch.
    """

    description: Mapping[str, Any]
    arrays: Mapping[str, Singles]

    @classmethod
    def of(cls, module: Any) -> Network:
        """Convert a torch module."""
        description, state = module.description(), module.state_dict()
        # drop parameters used in training only, and buffers that follow from the description
        arrays = {name: state[name].detach().cpu().numpy() for name in shapes_of(description)}
        made = cls(description, arrays)
        made.__dict__["module"] = module
        return made

    @cached_property
    def module(self) -> Any:
        """The torch module with these weights, in evaluation mode."""
        import torch

        from coffea_iqn.iqn.networks import build

        module = build(self.description)
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in self.arrays.items()}
        missing, unexpected = module.load_state_dict(arrays, strict=False)
        # buffers that follow from the description are not stored; a missing weight would silently be random
        wrong = [*unexpected, *(name for name in missing if name in shapes_of(self.description))]
        if wrong:
            msg = f"network {self.type}: expected the arrays of its description, got a missing or unexpected {wrong[0]}"
            raise ValueError(msg)
        return module.float().eval()

    @property
    def slope(self) -> float:
        """Negative slope of LeakyReLU."""
        return float(self.description["slope"])

    @property
    def type(self) -> str:
        """Name of the class of its torch module."""
        return str(self.description["type"])

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.description["n_inputs"])

    @property
    def n_targets(self) -> int:
        """Number of targets of a member."""
        return int(self.description["n_targets"])

    @property
    def n_levels(self) -> int:
        """Number of levels per draw; for an autoregressive member the number of targets."""
        return KINDS[self.type].n_levels(self.description)

    @property
    def widths(self) -> tuple[int, ...]:
        """Allowed numbers of levels: an autoregressive member can also draw its first four targets only."""
        return (N_TARGETS, self.n_levels) if self.autoregressive else (self.n_levels,)

    @property
    def autoregressive(self) -> bool:
        """Whether it draws one target after the other, from the quantile function given the preceding targets."""
        return self.type in AUTOREGRESSIVE

    @property
    def exact(self) -> bool:
        """Whether it has a distribution function of each target given the preceding ones, and so can be truncated."""
        return self.type in EXACT

    @property
    def has_density(self) -> bool:
        """Whether it provides densities and levels."""
        return self.type in WITH_DENSITY

    @property
    def compiled(self) -> bool:
        """Whether it has a compiled form."""
        return self.type in COMPILED

    @property
    def n_outputs(self) -> int:
        """Number of columns of `networks.OriginNetwork.with_origin`."""
        return self.n_inputs - int(self.description["n_event"]) + int(self.description["n_samples"])

    def layers(self, name: str = "net") -> list[tuple[Singles, Singles]]:
        """Return weights (outputs, inputs) and biases (outputs,) of the dense layers in a part of the network."""
        weights = [key for key in shapes_of(self.description) if key.startswith(f"{name}.") and key.endswith(".weight")]
        return [(self.arrays[key], self.arrays[f"{key.removesuffix('weight')}bias"]) for key in weights]


def shapes_of(description: Mapping[str, Any]) -> Shapes:
    """Return the shapes of the arrays of a network with this description.

    Raises
    ------
    ValueError: when the type is unknown, or its keywords do not fit.
    """
    kind = description.get("type")
    check_choice(KINDS, **{"network type": kind})
    keywords, shapes, _ = KINDS[str(kind)]
    wanted = {"type", "n_inputs", *keywords}
    if set(description) != wanted:
        odd = min(set(description) ^ wanted)
        got = f"{'more' if odd in description else 'no'} {odd!r}"
        msg = f"network {kind}: expected {', '.join(sorted(wanted))}, got {got}"
        raise ValueError(msg)
    return shapes(description)
