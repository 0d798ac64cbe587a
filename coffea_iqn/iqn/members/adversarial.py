"""Wasserstein generative adversarial network with gradient penalty."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from coffea_iqn.iqn.members.joint import JointMember, energy_score, normal
from coffea_iqn.iqn.network import N_TARGETS
from coffea_iqn.iqn.networks import mlp

PENALTY = 10.0  # weight of (|gradient| − 1)²
CRITIC_STEPS = 5  # critic steps per generator step, on average


class WassersteinGAN(JointMember):
    """A generator network that maps normal numbers to targets, trained against a critic.

    M. Arjovsky, S. Chintala and L. Bottou, arXiv:1701.07875; I. Gulrajani et al., arXiv:1704.00028; for jets F. Blue
    et al., EPJ Web Conf. 251 (2021) 03055.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden, slope: hidden layers and LeakyReLU slope of the generator and of the critic (the latter in training only).
    noise: number of normal numbers per draw, at least the number of targets; by default twice as many.
    """

    def __init__(
        self,
        n_inputs: int,
        n_targets: int = N_TARGETS,
        *,
        hidden: tuple[int, ...] = (128, 128),
        slope: float = 0.2,
        noise: int | None = None,
    ) -> None:
        super().__init__(n_inputs, n_targets, hidden=hidden)
        self.slope, self.noise = slope, 2 * n_targets if noise is None else noise
        self.net = mlp(n_inputs + self.noise, n_targets, self.hidden, slope)

    def begin_training(self) -> None:
        self.critic = mlp(self.n_inputs + self.n_targets, 1, self.hidden, self.slope)

    def push(self, z: Tensor, x: Tensor) -> Tensor:
        drawn: Tensor = z[:, : self.n_targets] + self.net(torch.cat([x, z], dim=1))
        return drawn

    def loss_on_line(self, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of the critic, or in one of six steps at random that of the generator.

        The choice is random rather than by a counter so that a resumed training continues identically. Without
        gradients, as on held-out rows, return the energy score.
        """
        if not torch.is_grad_enabled():
            return energy_score(self, u, x, generator)
        z = normal(u, self.noise, generator)
        if int(torch.randint(CRITIC_STEPS + 1, (1,), generator=generator)) == 0:
            fixed = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
            score: Tensor = functional_call(self.critic, fixed, (torch.cat([x, self.push(z, x)], dim=1),))
            return -score.mean()
        with torch.no_grad():
            drawn = self.push(z, x)
        real, emulated = (self.critic(torch.cat([x, side], dim=1)).mean() for side in (u, drawn))
        part = torch.rand(len(u), 1, generator=generator).to(u)
        middle = (part * u + (1.0 - part) * drawn).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.critic(torch.cat([x, middle], dim=1)).sum(), middle, create_graph=True)
        loss: Tensor = emulated - real + PENALTY * (slope.norm(dim=1) - 1.0).square().mean()
        return loss
