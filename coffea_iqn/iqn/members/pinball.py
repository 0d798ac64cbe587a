"""The members of Kronheim et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073, with the level as network input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coffea_iqn.iqn.conditional import Bounds
from coffea_iqn.iqn.members.member import AutoregressiveNetwork
from coffea_iqn.iqn.network import N_TARGETS
from coffea_iqn.iqn.networks import mlp


def pinball_loss(prediction: Tensor, target: Tensor, tau: Tensor) -> Tensor:
    """Return the mean of max(τ (y − q), (τ − 1)(y − q)), which is least if q is the τ-quantile of y.

    Koenker and Bassett, Econometrica 46 (1978) 33; Kronheim et al. (2024).
    """
    error = target - prediction
    return torch.maximum(tau * error, (tau - 1.0) * error).mean()


class PinballNetwork(AutoregressiveNetwork):
    """A member trained with the pinball loss at random levels, which are an input of the network.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden, slope, penalty: sizes of the hidden layers, slope of LeakyReLU, and λ; the defaults are the paper's.

    Crossing quantiles are discouraged by a penalty λ · 1[f' < 0] · (f')², with f' = ∂f/∂τ; without gradients
    (`torch.no_grad`), as on validation data, the loss is the pinball loss alone.
    """

    def __init__(
        self,
        n_inputs: int,
        n_targets: int = N_TARGETS,
        *,
        hidden: tuple[int, ...] = (50,) * 5,
        slope: float = 0.3,
        penalty: float = 100.0,
    ) -> None:
        super().__init__(n_inputs, n_targets)
        self.hidden = tuple(hidden)
        self.slope = slope
        self.penalty = penalty

    def loss(self, x: Tensor, y: Tensor, bounds: Bounds, generator: torch.Generator) -> Tensor:
        del bounds  # the pinball loss has no truncation: the law learnt is that of the sample after cuts
        tau = torch.rand(y.shape, generator=generator).to(y.device)  # (N, n_targets)
        penalised = self.penalty > 0.0 and torch.is_grad_enabled()
        tau.requires_grad_(penalised)
        total = y.new_zeros(())
        for k in range(self.n_targets):
            level = tau[:, k]
            q = self.unbounded(k, level, x, y[:, :k])
            total = total + pinball_loss(q, y[:, k], level.detach())
            if penalised:
                (slope,) = torch.autograd.grad(q.sum(), level, create_graph=True)
                total = total + self.penalty * slope.clamp(max=0.0).square().mean()
        return total / self.n_targets

    def quantile(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Tensor:
        q = self.unbounded(k, tau, x, drawn)
        return q if bounds is None else torch.clamp(q, *bounds)

    def unbounded(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """Return the network's prediction of `quantile`, without bounds."""
        raise NotImplementedError


def scaled_level(tau: Tensor) -> Tensor:
    """Return 6τ − 3, the paper's encoding of the level, as a column (N, 1)."""
    return (6.0 * tau - 3.0)[:, None]


class IQNx4(PinballNetwork):
    """One network per target, as in the paper: p(pt'|x) p(η'|x, pt') p(φ'|x, pt', η') p(m'|x, pt', η', φ')."""

    def __init__(self, n_inputs: int, n_targets: int = N_TARGETS, **sizes: Any) -> None:
        super().__init__(n_inputs, n_targets, **sizes)
        self.nets = nn.ModuleList(mlp(1 + n_inputs + k, 1, self.hidden, self.slope) for k in range(n_targets))

    def unbounded(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        inputs = torch.cat([scaled_level(tau), x, drawn], dim=1)  # (N, 1 + n_inputs + k)
        q: Tensor = self.nets[k](inputs)
        return q[:, 0]


class IQNx1(PinballNetwork):
    """One network for all targets, with a one-hot encoding of the target, and zeros for targets not drawn yet."""

    def __init__(self, n_inputs: int, n_targets: int = N_TARGETS, **sizes: Any) -> None:
        super().__init__(n_inputs, n_targets, **sizes)
        self.net = mlp(1 + n_inputs + (n_targets - 1) + n_targets, 1, self.hidden, self.slope)

    def unbounded(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        n = len(x)
        padding = x.new_zeros(n, self.n_targets - 1 - k)
        which = x.new_zeros(n, self.n_targets)
        which[:, k] = 1.0
        inputs = torch.cat([scaled_level(tau), x, drawn, padding, which], dim=1)  # (N, n_inputs + 2 n_targets)
        q: Tensor = self.net(inputs)
        return q[:, 0]
