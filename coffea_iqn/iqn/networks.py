"""Networks of torch: dense ones that make numbers of their inputs, and any from its description."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from coffea_iqn.iqn.arrays import with_origin
from coffea_iqn.iqn.network import KINDS, MEMBERS


def mlp(n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> nn.Sequential:
    """Dense layers with LeakyReLU between them; Glorot-uniform weights, zero biases."""
    layers: list[nn.Module] = []
    sizes = (n_inputs, *hidden, n_outputs)
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def describe(module: Any) -> dict[str, Any]:
    """Type and keywords of a network, as JSON takes them."""
    values = {name: getattr(module, name) for name in ("n_inputs", *KINDS[type(module).__name__].keywords)}
    return {"type": type(module).__name__, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    """The same with lists for tuples."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


class DenseNetwork(nn.Module):
    """One network of dense layers, that makes some numbers of its inputs."""

    def __init__(self, n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.hidden = tuple(hidden)
        self.slope = slope
        self.net = mlp(n_inputs, n_outputs, self.hidden, slope)

    def description(self) -> dict[str, Any]:
        """The keywords that `build` needs to make this network again, weights aside."""
        return describe(self)


class AcceptanceNetwork(DenseNetwork):
    """The logit of P(a gen jet has a reco jet | x), trained by cross entropy."""

    def __init__(self, n_inputs: int, *, hidden: tuple[int, ...] = (64, 64), slope: float = 0.3) -> None:
        super().__init__(n_inputs, 1, hidden, slope)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N,) of x (N, n_inputs)."""
        logit: Tensor = self.net(x)
        return logit[:, 0]


class OriginNetwork(DenseNetwork):
    """Log P(training sample | x), trained by cross entropy: what kind of process a jet may come from.

    The law of p(reco | gen) in a mixture of samples is the sum over them of P(sample | x) times the law of each.
    An event tells the first well, and a network learns it from labels with far fewer jets than from responses.

    Parameters
    ----------
    n_inputs: columns of x, those of the event last.
    n_event: how many of them only this network sees.
    n_samples: how many samples there are.
    moot: the column of x that is 1 where so much is known that the sample does not matter, and is not told; −1 for
        none. A process that none of the samples is of would else be taken for one of them.
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
        """Columns of what `with_origin` gives."""
        return self.n_inputs - self.n_event + self.n_samples

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, n_samples) of x (N, n_inputs)."""
        logits: Tensor = self.net(x)
        return logits

    def with_origin(self, x: Tensor) -> Tensor:
        """X without the event's columns, and the log-probabilities of the samples, about in (−1, 1); 0 where moot."""
        seen: Tensor = with_origin(x, self(x), self.n_event, self.moot)
        return seen


class NumberNetwork(DenseNetwork):
    """The logits of P(number | x), of 0 to `most`, trained by cross entropy."""

    def __init__(self, n_inputs: int, *, most: int, hidden: tuple[int, ...] = (32, 32), slope: float = 0.1) -> None:
        super().__init__(n_inputs, most + 1, hidden, slope)
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, most + 1) of x (N, n_inputs)."""
        logits: Tensor = self.net(x)
        return logits


class RatioNetwork(DenseNetwork):
    """Log p(y | x) / q(y | x), of a true law and one that is drawn from.

    It is the logit of P(true), trained by cross entropy (S. Diefenbacher et al., JINST 15 (2020) P11004).

    Parameters
    ----------
    n_inputs: columns of x and of y, one after the other.
    bound: greatest ratio; greater ones count as it.
    candidates: how many ys are drawn at most for one that is taken.
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
        """Logarithms of ratios (N,) of x and y side by side, (N, n_inputs)."""
        logit: Tensor = self.net(x)
        return logit[:, 0]


DENSE = {kind.__name__: kind for kind in (AcceptanceNetwork, OriginNetwork, NumberNetwork, RatioNetwork)}


def build(description: Mapping[str, Any]) -> Any:
    """A network from its `description`, with fresh weights.

    Raises
    ------
    ValueError: when the type is unknown or its keywords do not fit.
    """
    keywords = dict(description)
    kind = keywords.pop("type", None)
    if kind not in list(KINDS):  # what cannot be hashed is none of them either
        msg = f"network type: expected one of {', '.join(KINDS)}, got {kind!r}"
        raise ValueError(msg)
    made: type[nn.Module]
    if kind in MEMBERS:
        from coffea_iqn.iqn import members  # each in a module of its own, read when it is asked for

        made = members.module_of(str(kind))
    else:
        made = DENSE[str(kind)]
    try:
        return made(**keywords)
    except TypeError as error:
        msg = f"network {kind}: {error}"
        raise ValueError(msg) from None
