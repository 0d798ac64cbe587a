"""Flow matching: a velocity that transports normal numbers to targets in unit time, and its one-step distillation.

Y. Lipman et al., arXiv:2210.02747; X. Liu, C. Gong and Q. Liu, arXiv:2209.03003.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from coffea_iqn.iqn.members.joint import JointMember, energy_score, normal
from coffea_iqn.iqn.members.member import BoundsOf
from coffea_iqn.iqn.network import N_TARGETS, N_TIME
from coffea_iqn.iqn.networks import mlp


class FlowMatching(JointMember):
    """The velocity of straight paths from normal numbers to unbounded targets, integrated by Runge-Kutta steps.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden, slope: hidden layers and LeakyReLU slope of the network.
    steps: number of fourth-order steps, which determines the accuracy of levels and densities.
    """

    def __init__(
        self,
        n_inputs: int,
        n_targets: int = N_TARGETS,
        *,
        hidden: tuple[int, ...] = (128, 128),
        slope: float = 0.1,
        steps: int = 6,
    ) -> None:
        super().__init__(n_inputs, n_targets, hidden=hidden)
        self.slope, self.steps = slope, steps
        self.net = mlp(n_inputs + n_targets + N_TIME, n_targets, self.hidden, slope)

    def velocity(self, u: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocity of points u, (N, n_targets), at times t from 0 to 1, (N,)."""
        found: Tensor = self.net(_seen(u, t, x))
        return found

    def velocity_and_divergence(self, u: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `velocity` and its divergence with respect to u, (N,), computed exactly by forward differentiation."""
        n, rows = self.n_targets, _seen(u, t, x)
        tangents = torch.eye(n, rows.shape[1], dtype=rows.dtype, device=rows.device).expand(len(rows), -1, -1)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                rows, tangents = layer(rows), tangents @ layer.weight.T
            else:
                tangents = tangents * torch.where(rows > 0.0, 1.0, self.slope)[:, None, :]
                rows = layer(rows)
        return rows, tangents.diagonal(dim1=1, dim2=2).sum(dim=1)

    def push(self, z: Tensor, x: Tensor) -> Tensor:
        (u,) = self._integrated((z,), x, 0.0, 1.0, lambda state, t: (self.velocity(state[0], t, x),))
        return u

    def pull(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        start = (u, u.new_zeros(len(u)))
        z, gone = self._integrated(start, x, 1.0, 0.0, lambda state, t: self.velocity_and_divergence(state[0], t, x))
        return z, gone

    def _integrated(
        self,
        state: tuple[Tensor, ...],
        x: Tensor,
        start: float,
        end: float,
        rate: Callable[[tuple[Tensor, ...], Tensor], tuple[Tensor, ...]],
    ) -> tuple[Tensor, ...]:
        """Integrate a state from one time to another."""
        h = (end - start) / self.steps

        def moved(by: tuple[Tensor, ...], factor: float) -> tuple[Tensor, ...]:
            return tuple(value + factor * change for value, change in zip(state, by, strict=True))

        for step in range(self.steps):
            t = x.new_full((len(x),), start + step * h)
            first = rate(state, t)
            second = rate(moved(first, 0.5 * h), t + 0.5 * h)
            third = rate(moved(second, 0.5 * h), t + 0.5 * h)
            fourth = rate(moved(third, h), t + h)
            every = zip(first, second, third, fourth, strict=True)
            state = moved(tuple(a + 2.0 * b + 2.0 * c + d for a, b, c, d in every), h / 6.0)
        return state

    def student(self, hidden: tuple[int, ...] | None) -> DistilledFlow:
        return DistilledFlow(self.n_inputs, self.n_targets, hidden=hidden or self.hidden, slope=self.slope)

    def loss_on_line(self, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        z, t = normal(u, self.n_targets, generator), torch.rand(len(u), generator=generator).to(u)
        way = u - z
        return functional.mse_loss(self.velocity(z + t[:, None] * way, t, x), way)


class DistilledFlow(JointMember):
    """A single step from normal numbers to the end points of a `FlowMatching`, distilled from it.

    Parameters
    ----------
    n_inputs, n_targets, hidden, slope: same as in `FlowMatching`.
    """

    def __init__(
        self, n_inputs: int, n_targets: int = N_TARGETS, *, hidden: tuple[int, ...] = (128, 128), slope: float = 0.1
    ) -> None:
        super().__init__(n_inputs, n_targets, hidden=hidden)
        self.slope = slope
        self.net = mlp(n_inputs + n_targets, n_targets, self.hidden, slope)

    def push(self, z: Tensor, x: Tensor) -> Tensor:
        drawn: Tensor = z + self.net(torch.cat([x, z], dim=1))
        return drawn

    def loss_on_line(self, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the energy score, for training without a teacher."""
        return energy_score(self, u, x, generator)

    def imitation_loss(
        self, teacher: Any, seen: tuple[Tensor, Tensor], bounds: BoundsOf, generator: torch.Generator
    ) -> Tensor:
        """Return the mean squared distance to the teacher's end points for the same normal numbers."""
        del bounds  # teacher and student use the same map to the bounds
        own, of_teacher = seen
        z = normal(own, self.n_targets, generator)
        with torch.no_grad():
            wanted = teacher.push(z, of_teacher)
        return functional.mse_loss(self.push(z, own), wanted)


def _seen(u: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """Return the inputs of the velocity network; the time is encoded in `N_TIME` numbers."""
    turn = torch.pi * t
    return torch.cat([u, x, torch.stack([t, torch.cos(turn), torch.sin(turn)], dim=1)], dim=1)
