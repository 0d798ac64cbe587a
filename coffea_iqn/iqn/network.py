"""A network as names, numbers and arrays, without torch: what a bundle holds and compiled code takes.

`Network.module` is the same for torch, made when it is first asked for. Numbers that both use stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.numerics.arrays import Singles

N_TARGETS = 4  # of a member whose description says nothing else
NO_BOUND = 1e4  # far beyond any standardised target, and finite, as gradients need it
LEAST_INSIDE = 1e-30  # probability to lie between two bounds, where it is too small for single precision
LOG_LIKELY_MIN = -7.0  # a sample less likely than this is none
LOGIT_KNOTS = (-9.0, -6.5, -4.6, -3.2, -2.1, -1.2, -0.4, 0.4, 1.2, 2.1, 3.2, 4.6, 6.5, 9.0)  # of a `SplineIQN`
BELOW_BOUND = 1.0  # how far below its least bound, or above its greatest, a standardised target lies that is an atom
SLOPE_MIN = 1e-3  # of a spline at a knot, so that its inverse never gets lost
STEP_MIN = 1e-4  # least distance of the quantiles at two knots
AUTOREGRESSIVE = ("IQNx4", "IQNx1", "SplineIQN")  # members that draw one target after the other
JOINT = ("SplineFlow", "AutoregressiveFlow", "FlowMatching", "DistilledFlow", "WassersteinGAN", "Autoencoder")
MEMBERS = (*AUTOREGRESSIVE, *JOINT)
ENDS = ("atoms", "tops", "flags")  # targets that may be exactly at an end, as a `SplineIQN` says them
EXACT = ("SplineIQN",)  # members that have a distribution function of each target given those before
WITH_DENSITY = (*EXACT, "SplineFlow", "AutoregressiveFlow", "FlowMatching")
BOUNDED = (*EXACT, *JOINT)  # members that learn what lies between bounds, a threshold among them
N_TIME = 3  # numbers in which a `FlowMatching` sees the time
COMPILED = ("SplineIQN",)  # members that `compiled` draws from

Shapes = dict[str, tuple[int, ...]]
"""Of the arrays of a network, by the names of its parameters in torch."""


def _layers(name: str, n_inputs: int, n_outputs: int, hidden: Sequence[int]) -> Shapes:
    """Of dense layers with a function between them, which has a number but no parameters."""
    found: Shapes = {}
    for k, (n_in, n_out) in enumerate(pairwise((n_inputs, *hidden, n_outputs))):
        found |= {f"{name}.{2 * k}.weight": (n_out, n_in), f"{name}.{2 * k}.bias": (n_out,)}
    return found


def hidden_of(hidden: Sequence[Any], k: int) -> Sequence[int]:
    """The sizes of the hidden layers of the network of a target, from those of every one, or a list for each."""
    sizes: Sequence[int] = hidden[k] if hidden and isinstance(hidden[0], Sequence) else hidden
    return sizes


def spline_outputs(d: Mapping[str, Any], k: int) -> int:
    """How many numbers the network of a target of a `SplineIQN` gives."""
    return 1 if k in d["flags"] else 2 * len(LOGIT_KNOTS) + (k in d["atoms"]) + (k in d["tops"])


def _of_each_target(
    n_outputs: Callable[[Mapping[str, Any], int], int], n_more: int
) -> Callable[[Mapping[str, Any]], Shapes]:
    """A network for each target, that sees the inputs, so many numbers more, and the targets before."""

    def shapes(d: Mapping[str, Any]) -> Shapes:
        n_seen = [n_more + d["n_inputs"] + k for k in range(d["n_targets"])]
        of_each = (_layers(f"nets.{k}", n, n_outputs(d, k), hidden_of(d["hidden"], k)) for k, n in enumerate(n_seen))
        return {name: shape for each in of_each for name, shape in each.items()}

    return shapes


def _of_all(
    n_outputs: Callable[[Mapping[str, Any]], int], n_more: Callable[[Mapping[str, Any]], int] = lambda _: 0
) -> Any:
    """One network, that sees the inputs and so many numbers more."""
    return lambda d: _layers("net", d["n_inputs"] + n_more(d), n_outputs(d), d["hidden"])


class Kind(NamedTuple):
    """A type of networks without its module: further entries of its description, its arrays, and its levels."""

    keywords: tuple[str, ...]
    shapes: Callable[[Mapping[str, Any]], Shapes]
    n_levels: Callable[[Mapping[str, Any]], int] = lambda d: int(d["n_targets"])


def _of_joint(
    n_more: Callable[[Mapping[str, Any]], int],
    n_outputs: Callable[[Mapping[str, Any]], int] = lambda d: int(d["n_targets"]),
) -> Any:
    """One network of all targets, that sees so many numbers more."""
    return _of_all(n_outputs, n_more)


def _of_flow(n_outputs: Callable[[Mapping[str, Any]], int]) -> Any:
    """A network for each transformation of a flow of zuko, that gives so many numbers for each target."""

    def shapes(d: Mapping[str, Any]) -> Shapes:
        n = d["n_targets"]
        n_seen = d["n_inputs"] + n * (n > 1)  # one target alone has none beside it
        of_each = (
            _layers(f"flow.transform.transforms.{k}.hyper", n_seen, n * n_outputs(d), d["hidden"])
            for k in range(d["transforms"])
        )
        return {name: shape for each in of_each for name, shape in each.items()}

    return shapes


_PINBALL, _PLAIN, _JOINT = ("n_targets", "hidden", "slope", "penalty"), ("hidden", "slope"), ("n_targets", "hidden")
KINDS = {
    "IQNx4": Kind(_PINBALL, _of_each_target(lambda _, __: 1, 1)),
    "IQNx1": Kind(_PINBALL, _of_all(lambda _: 1, lambda d: 2 * d["n_targets"])),  # level, targets before, and which
    "SplineIQN": Kind(("n_targets", *ENDS, *_PLAIN), _of_each_target(spline_outputs, 0)),
    "SplineFlow": Kind((*_JOINT, "transforms", "bins"), _of_flow(lambda d: 3 * d["bins"] - 1)),
    "AutoregressiveFlow": Kind((*_JOINT, "transforms"), _of_flow(lambda _: 2)),
    "FlowMatching": Kind((*_JOINT, "slope", "steps"), _of_joint(lambda d: d["n_targets"] + N_TIME)),
    "DistilledFlow": Kind((*_JOINT, "slope"), _of_joint(lambda d: d["n_targets"])),
    "WassersteinGAN": Kind((*_JOINT, "slope", "noise"), _of_joint(lambda d: d["noise"]), lambda d: int(d["noise"])),
    "Autoencoder": Kind(
        (*_JOINT, "slope", "latent"),
        _of_joint(lambda d: d["latent"], lambda d: 2 * d["n_targets"]),
        lambda d: int(d["latent"] + d["n_targets"]),
    ),
    "AcceptanceNetwork": Kind(_PLAIN, _of_all(lambda _: 1)),
    "OriginNetwork": Kind(("n_event", "n_samples", "moot", *_PLAIN), _of_all(lambda d: d["n_samples"])),
    "NumberNetwork": Kind(("most", *_PLAIN), _of_all(lambda d: d["most"] + 1)),
    "RatioNetwork": Kind(("bound", "candidates", *_PLAIN), _of_all(lambda _: 1)),
}
"""The types of `networks`, whose modules a test ties to this."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network of any type.

    Attributes
    ----------
    description: its type and the keywords that make it, as JSON takes them.
    arrays: its parameters by their names in torch.
    """

    description: Mapping[str, Any]
    arrays: Mapping[str, Singles]

    @classmethod
    def of(cls, module: Any) -> Network:
        """The network of a module of `networks`."""
        description, state = module.description(), module.state_dict()
        # what only the training needs stays behind, and what follows from the description
        arrays = {name: state[name].detach().cpu().numpy() for name in shapes_of(description)}
        made = cls(description, arrays)
        made.__dict__["module"] = module
        return made

    @cached_property
    def module(self) -> Any:
        """The module of torch with these weights, for evaluation."""
        import torch

        from coffea_iqn.iqn.networks import build

        module = build(self.description)
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in self.arrays.items()}
        missing, unexpected = module.load_state_dict(arrays, strict=False)
        # what follows from the description is in no bundle; a weight that is missing would be a fresh one
        wrong = [*unexpected, *(name for name in missing if name in shapes_of(self.description))]
        if wrong:
            msg = f"network {self.type}: expected the arrays of its description, got more or none of {wrong[0]}"
            raise ValueError(msg)
        return module.eval()

    @property
    def slope(self) -> float:
        """Of LeakyReLU between its layers."""
        return float(self.description["slope"])

    @property
    def type(self) -> str:
        """The name of its class in `networks`."""
        return str(self.description["type"])

    @property
    def n_inputs(self) -> int:
        """How many numbers it sees of each row."""
        return int(self.description["n_inputs"])

    @property
    def n_targets(self) -> int:
        """How many targets a member draws."""
        return int(self.description["n_targets"])

    @property
    def n_levels(self) -> int:
        """How many levels a draw takes; of an autoregressive member as many as there are targets."""
        return KINDS[self.type].n_levels(self.description)

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of columns of levels that it draws from: an autoregressive member also its first targets alone."""
        return (N_TARGETS, self.n_levels) if self.autoregressive else (self.n_levels,)

    @property
    def autoregressive(self) -> bool:
        """Whether it draws one target after the other, each by a quantile function given those before."""
        return self.type in AUTOREGRESSIVE

    @property
    def exact(self) -> bool:
        """Whether it has a distribution function of each target given those before, and so can be cut off."""
        return self.type in EXACT

    @property
    def has_density(self) -> bool:
        """Whether it has a density, and levels of what it draws."""
        return self.type in WITH_DENSITY

    @property
    def compiled(self) -> bool:
        """Whether compiled code draws from it."""
        return self.type in COMPILED

    @property
    def n_outputs(self) -> int:
        """Columns of what an `networks.OriginNetwork` makes of its inputs."""
        return self.n_inputs - int(self.description["n_event"]) + int(self.description["n_samples"])

    def layers(self, name: str = "net") -> list[tuple[Singles, Singles]]:
        """Weights (outputs, inputs) and biases (outputs,) of the dense layers of a part of it, in their order."""
        numbers = sorted(
            int(key[len(name) + 1 :].split(".")[0])
            for key in self.arrays
            if key.startswith(f"{name}.") and key.endswith(".weight")
        )
        return [(self.arrays[f"{name}.{k}.weight"], self.arrays[f"{name}.{k}.bias"]) for k in numbers]


def shapes_of(description: Mapping[str, Any]) -> Shapes:
    """The shapes of the arrays that a network of this description has.

    Raises
    ------
    ValueError: when there is no such type, or it has not these keywords.
    """
    kind = description.get("type")
    if kind not in list(KINDS):  # what cannot be hashed is none of them either
        msg = f"network type: expected one of {', '.join(KINDS)}, got {kind!r}"
        raise ValueError(msg)
    keywords, shapes, _ = KINDS[str(kind)]
    wanted = {"type", "n_inputs", *keywords}
    if set(description) != wanted:
        odd = min(set(description) ^ wanted)
        got = f"{'more' if odd in description else 'no'} {odd!r}"
        msg = f"network {kind}: expected {', '.join(sorted(wanted))}, got {got}"
        raise ValueError(msg)
    return shapes(description)
