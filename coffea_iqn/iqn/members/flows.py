"""Normalising flows, implemented with zuko: invertible maps to normal numbers, trained by likelihood."""

from __future__ import annotations

from typing import Any

import torch
import zuko
from torch import Tensor, nn

from coffea_iqn.iqn.members.joint import JointMember, log_normal
from coffea_iqn.iqn.network import N_TARGETS


class _Flow(JointMember):
    flow: Any

    def push(self, z: Tensor, x: Tensor) -> Tensor:
        drawn: Tensor = self.flow(x).transform.inv(z)
        return drawn

    def pull(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.flow(x).transform.call_and_ladj(u)
        return z, log_slope

    def loss_on_line(self, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        z, log_slope = self.pull(u, x)
        return -(log_normal(z).sum(dim=1) + log_slope).mean()


class SplineFlow(_Flow):
    """Coupling layers with rational-quadratic splines: C. Durkan et al., arXiv:1906.04032.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden: sizes of the hidden layers in the network of each coupling layer.
    transforms, bins: number of coupling layers, and of bins of each spline in (−5, 5); beyond, it is the identity.
    """

    def __init__(
        self,
        n_inputs: int,
        n_targets: int = N_TARGETS,
        *,
        hidden: tuple[int, ...] = (64, 64),
        transforms: int = 4,
        bins: int = 8,
    ) -> None:
        super().__init__(n_inputs, n_targets, hidden=hidden)
        self.transforms, self.bins = transforms, bins
        # two passes give coupling layers; zuko's default is autoregressive, with one pass per target
        sizes: dict[str, Any] = {"transforms": transforms, "hidden_features": self.hidden, "activation": nn.SiLU}
        self.flow = zuko.flows.NSF(n_targets, n_inputs, bins=bins, passes=2, **sizes)


class AutoregressiveFlow(_Flow):
    """Masked autoregressive flow: G. Papamakarios, T. Pavlakou and I. Murray, arXiv:1705.07057.

    Parameters
    ----------
    n_inputs, n_targets, hidden: same as in `SplineFlow`.
    transforms: number of affine autoregressive layers, which shift and scale each number given the preceding ones.
    """

    def __init__(
        self, n_inputs: int, n_targets: int = N_TARGETS, *, hidden: tuple[int, ...] = (64, 64), transforms: int = 5
    ) -> None:
        super().__init__(n_inputs, n_targets, hidden=hidden)
        self.transforms = transforms
        sizes: dict[str, Any] = {"transforms": transforms, "hidden_features": self.hidden, "activation": nn.SiLU}
        self.flow = zuko.flows.MAF(n_targets, n_inputs, **sizes)
