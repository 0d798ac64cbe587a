"""The IQN family: what turns a quantile level and a context into a quantile.

A member is a `QuantileNetwork`. It answers `quantile(k, tau, context, drawn)`, the quantile at level tau
of the k-th target given the context and the k targets drawn before it, and it knows its own training
`loss`. Nothing outside this module asks which member it holds: `build` makes one from its description.

The two members here are those of Kronheim et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

N_TARGETS = 4


def mlp(n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> nn.Sequential:
    """Dense layers with LeakyReLU between them; Glorot-uniform weights, zero biases."""
    layers: list[nn.Module] = []
    sizes = (n_inputs, *hidden, n_outputs)
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def pinball_loss(prediction: Tensor, target: Tensor, tau: Tensor) -> Tensor:
    """The mean of max(τ (y − q), (τ − 1)(y − q)), least where q is the τ-quantile of y.

    Koenker and Bassett, Econometrica 46 (1978) 33; Kronheim et al. (2024).
    """
    error = target - prediction
    return torch.maximum(tau * error, (tau - 1.0) * error).mean()


class QuantileNetwork(nn.Module):
    """Four conditional quantile functions, and how they are trained.

    Parameters
    ----------
    n_context: columns of the context, the standardised variables of the gen jet.
    """

    def __init__(self, n_context: int) -> None:
        super().__init__()
        self.n_context = n_context

    def quantile(self, k: int, tau: Tensor, context: Tensor, drawn: Tensor) -> Tensor:
        """The quantile of target k.

        Parameters
        ----------
        k: which target, 0 to 3.
        tau: levels in (0, 1), (N,).
        context: (N, n_context).
        drawn: the targets 0 to k − 1, (N, k).

        Returns
        -------
        the quantiles, (N,).
        """
        raise NotImplementedError

    def loss(self, context: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """The training loss of a batch, a scalar.

        Parameters
        ----------
        context: (N, n_context).
        target: (N, 4).
        generator: source of whatever the member draws.
        """
        raise NotImplementedError

    def description(self) -> dict[str, Any]:
        """The keywords that `build` needs to make this network again, weights aside."""
        raise NotImplementedError

    def sample(self, tau: Tensor, context: Tensor) -> Tensor:
        """Draw the four targets one after the other, each given the network's own draws before it.

        Parameters
        ----------
        tau: levels in (0, 1), (N, 4).
        context: (N, n_context).

        Returns
        -------
        targets, (N, 4).
        """
        drawn = context[:, :0]  # (N, 0)
        for k in range(N_TARGETS):
            q = self.quantile(k, tau[:, k], context, drawn)
            drawn = torch.cat([drawn, q[:, None]], dim=1)  # (N, k + 1)
        return drawn


class PinballNetwork(QuantileNetwork):
    """A member trained with the pinball loss at the level the network was given.

    Quantiles that cross are discouraged by a penalty λ · 1[f' < 0] · (f')², with f' = ∂f/∂τ; without
    gradients (`torch.no_grad`), as on validation data, the loss is the pinball loss alone.
    """

    def __init__(self, n_context: int, *, hidden: tuple[int, ...], slope: float, penalty: float) -> None:
        super().__init__(n_context)
        self.hidden = tuple(hidden)
        self.slope = slope
        self.penalty = penalty

    def description(self) -> dict[str, Any]:
        return {
            "type": type(self).__name__,
            "n_context": self.n_context,
            "hidden": list(self.hidden),
            "slope": self.slope,
            "penalty": self.penalty,
        }

    def loss(self, context: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        tau = torch.rand(target.shape, generator=generator, device=target.device)  # (N, 4)
        penalised = self.penalty > 0.0 and torch.is_grad_enabled()
        tau.requires_grad_(penalised)
        total = target.new_zeros(())
        for k in range(N_TARGETS):
            level = tau[:, k]
            q = self.quantile(k, level, context, target[:, :k])
            total = total + pinball_loss(q, target[:, k], level.detach())
            if penalised:
                (slope,) = torch.autograd.grad(q.sum(), level, create_graph=True)
                total = total + self.penalty * slope.clamp(max=0.0).square().mean()
        return total / N_TARGETS


def scaled_level(tau: Tensor) -> Tensor:
    """6τ − 3, the paper's form of the level, as a column (N, 1)."""
    return (6.0 * tau - 3.0)[:, None]


class IQNx4(PinballNetwork):
    """Four networks, p(pt'|x) p(η'|x, pt') p(φ'|x, pt', η') p(m'|x, pt', η', φ')."""

    def __init__(
        self,
        n_context: int,
        *,
        hidden: tuple[int, ...] = (50,) * 5,
        slope: float = 0.3,
        penalty: float = 100.0,
    ) -> None:
        super().__init__(n_context, hidden=hidden, slope=slope, penalty=penalty)
        self.nets = nn.ModuleList(mlp(1 + n_context + k, 1, self.hidden, slope) for k in range(N_TARGETS))

    def quantile(self, k: int, tau: Tensor, context: Tensor, drawn: Tensor) -> Tensor:
        inputs = torch.cat([scaled_level(tau), context, drawn], dim=1)  # (N, 1 + n_context + k)
        q: Tensor = self.nets[k](inputs)
        return q[:, 0]


class IQNx1(PinballNetwork):
    """One network for all four targets: a one-hot names the target, zeros stand for what is not yet drawn."""

    def __init__(
        self,
        n_context: int,
        *,
        hidden: tuple[int, ...] = (50,) * 5,
        slope: float = 0.3,
        penalty: float = 100.0,
    ) -> None:
        super().__init__(n_context, hidden=hidden, slope=slope, penalty=penalty)
        self.net = mlp(1 + n_context + (N_TARGETS - 1) + N_TARGETS, 1, self.hidden, slope)

    def quantile(self, k: int, tau: Tensor, context: Tensor, drawn: Tensor) -> Tensor:
        n = len(context)
        padding = context.new_zeros(n, N_TARGETS - 1 - k)
        which = context.new_zeros(n, N_TARGETS)
        which[:, k] = 1.0
        inputs = torch.cat([scaled_level(tau), context, drawn, padding, which], dim=1)  # (N, n_context + 8)
        q: Tensor = self.net(inputs)
        return q[:, 0]


class AcceptanceNetwork(nn.Module):
    """The logit of P(a gen jet has a reco jet | context), trained by cross entropy."""

    def __init__(self, n_context: int, *, hidden: tuple[int, ...] = (32, 32), slope: float = 0.3) -> None:
        super().__init__()
        self.n_context = n_context
        self.hidden = tuple(hidden)
        self.slope = slope
        self.net = mlp(n_context, 1, self.hidden, slope)

    def description(self) -> dict[str, Any]:
        """The keywords that `build` needs to make this network again, weights aside."""
        return {
            "type": type(self).__name__,
            "n_context": self.n_context,
            "hidden": list(self.hidden),
            "slope": self.slope,
        }

    def forward(self, context: Tensor) -> Tensor:
        """Logits (N,) of contexts (N, n_context)."""
        logit: Tensor = self.net(context)
        return logit[:, 0]


MEMBERS: dict[str, type[QuantileNetwork]] = {"IQNx4": IQNx4, "IQNx1": IQNx1}


def build(description: dict[str, Any]) -> QuantileNetwork:
    """A member of the family from its `description`, with fresh weights.

    Raises
    ------
    ValueError: when the type is unknown or its keywords do not fit.
    """
    keywords = dict(description)
    kind = keywords.pop("type", None)
    if kind not in MEMBERS:
        msg = f"network type: expected one of {', '.join(MEMBERS)}, got {kind!r}"
        raise ValueError(msg)
    try:
        return MEMBERS[kind](**keywords)
    except TypeError as error:
        msg = f"network {kind}: {error}"
        raise ValueError(msg) from None
