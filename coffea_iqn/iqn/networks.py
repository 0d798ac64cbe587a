"""Torch modules of dense networks, and construction of any network from its description."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from coffea_iqn.iqn.arrays import with_origin
from coffea_iqn.iqn.network import KINDS, MEMBERS
from coffea_iqn.ranges import check_choice


def mlp(n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> nn.Sequential:
    """Build dense layers with LeakyReLU in between; Glorot-uniform weights, zero biases."""
    layers: list[nn.Module] = []
    sizes = (n_inputs, *hidden, n_outputs)
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


class Described(nn.Module):
    """A network that `build` can reconstruct from its description and its weights."""

    def description(self) -> dict[str, Any]:
        """Return the type and keyword arguments of the network, in JSON form."""
        kind = type(self).__name__
        return {"type": kind, **{name: _plain(getattr(self, name)) for name in ("n_inputs", *KINDS[kind].keywords)}}


def _plain(value: Any) -> Any:
    """Convert tuples to lists, recursively."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


class DenseNetwork(Described):
    """A network of dense layers."""

    def __init__(self, n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.hidden = tuple(hidden)
        self.slope = slope
        self.net = mlp(n_inputs, n_outputs, self.hidden, slope)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, n_outputs) for x (N, n_inputs), commonly logits."""
        outputs: Tensor = self.net(x)
        return outputs


class AcceptanceNetwork(DenseNetwork):
    """Efficiency network: logit of P(a gen jet has a reco jet | x), trained by cross entropy."""

    def __init__(self, n_inputs: int, *, hidden: tuple[int, ...] = (64, 64), slope: float = 0.3) -> None:
        super().__init__(n_inputs, 1, hidden, slope)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N,) for x (N, n_inputs)."""
        return super().forward(x)[:, 0]


class OriginNetwork(DenseNetwork):
    """Network of log P(training sample | x), the likely physics process of a jet, trained by cross entropy.

    In a mixture of samples, p(reco | gen) is the sum over samples of P(sample | x) times the law of the sample. Event
    variables determine the former well, and learning it from labels takes far fewer jets than from responses.

    Parameters
    ----------
    n_inputs: number of columns of x, with the event columns last.
    n_event: number of event columns, which only this network receives.
    n_samples: number of samples.
    moot: column of x that is 1 if the other variables make the sample irrelevant, in which case the log-probabilities
        are replaced by 0; −1 for none. Otherwise an unknown process would be taken for one of the samples.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        n_event: int,
        n_samples: int,
        moot: int = -1,
        hidden: tuple[int, ...] = (48, 48),
        slope: float = 0.1,
    ) -> None:
        super().__init__(n_inputs, n_samples, hidden, slope)
        self.n_event = n_event
        self.n_samples = n_samples
        self.moot = moot

    @property
    def n_outputs(self) -> int:
        """Number of columns of `with_origin`."""
        return self.n_inputs - self.n_event + self.n_samples

    def with_origin(self, x: Tensor) -> Tensor:
        """Replace the event columns of x by scaled log-probabilities of the samples, in (−1, 1); 0 if moot."""
        seen: Tensor = with_origin(x, self(x), self.n_event, self.moot)
        return seen


class NumberNetwork(DenseNetwork):
    """Multiplicity network: logits of P(number | x) for 0 to `most`, trained by cross entropy."""

    def __init__(self, n_inputs: int, *, most: int, hidden: tuple[int, ...] = (32, 32), slope: float = 0.1) -> None:
        super().__init__(n_inputs, most + 1, hidden, slope)
        self.most = most


class RatioNetwork(DenseNetwork):
    """Density-ratio network: log p(y | x) / q(y | x) of the true law p and the law q that is drawn from.

    The output is the logit of P(true), trained by cross entropy (S. Diefenbacher et al., JINST 15 (2020) P11004).

    Parameters
    ----------
    n_inputs: total number of columns of x and y.
    bound: upper limit of the ratio.
    candidates: greatest number of ys drawn until one is accepted.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        bound: float = 1.0,
        candidates: int = 1,
        hidden: tuple[int, ...] = (64, 64),
        slope: float = 0.1,
    ) -> None:
        super().__init__(n_inputs, 1, hidden, slope)
        self.bound = bound
        self.candidates = candidates

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the ratios (N,) for concatenated x and y, (N, n_inputs)."""
        return super().forward(x)[:, 0]


DENSE = {kind.__name__: kind for kind in (AcceptanceNetwork, OriginNetwork, NumberNetwork, RatioNetwork)}


def build(description: Mapping[str, Any]) -> Any:
    """Build a network from its `description`, with random weights.

    Raises
    ------
    ValueError: when the type is unknown or its keywords do not fit.
    ModuleNotFoundError: when zuko, which flows require, is not installed.
    """
    keywords = dict(description)
    kind = keywords.pop("type", None)
    check_choice(KINDS, **{"network type": kind})
    try:
        module = MEMBERS.get(str(kind))  # imported here, as some members need optional packages
        home = DENSE if module is None else vars(import_module(f"coffea_iqn.iqn.members.{module}"))
        return home[str(kind)](**keywords)
    except ModuleNotFoundError as error:
        msg = f"{kind}: expected {error.name} to be installed, found none: pip install 'coffea-iqn[members]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    except TypeError as error:
        msg = f"network {kind}: {error}"
        raise ValueError(msg) from None
