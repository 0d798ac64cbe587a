"""Conditional variational autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from coffea_iqn.iqn.members.joint import JointMember, log_normal, normal
from coffea_iqn.iqn.network import N_TARGETS
from coffea_iqn.iqn.networks import mlp

LOG_WIDTHS = -5.0, 2.0  # range of the decoder's log-widths; the likelihood is unbounded for vanishing widths


class Autoencoder(JointMember):
    """Conditional variational autoencoder, whose decoder gives mean and width of normally distributed targets.

    D. P. Kingma and M. Welling, arXiv:1312.6114; conditional on x: K. Sohn, H. Lee and X. Yan, NeurIPS 28 (2015).

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden, slope: hidden layers and LeakyReLU slope of the decoder and of the encoder (the latter in training only).
    latent: number of latent variables; a draw takes one more level per target, for the spread about the mean.
    """

    def __init__(
        self,
        n_inputs: int,
        n_targets: int = N_TARGETS,
        *,
        hidden: tuple[int, ...] = (128, 128),
        slope: float = 0.1,
        latent: int = 4,
    ) -> None:
        super().__init__(n_inputs, n_targets, hidden=hidden)
        self.slope, self.latent = slope, latent
        self.net = mlp(n_inputs + latent, 2 * n_targets, self.hidden, slope)

    def begin_training(self) -> None:
        self.encoder = mlp(self.n_inputs + self.n_targets, 2 * self.latent, self.hidden, self.slope)

    def decode(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-widths, (N, n_targets) each, for latent variables z (N, latent)."""
        mean, log_width = self.net(torch.cat([x, z], dim=1)).chunk(2, dim=1)
        return mean, log_width.clamp(*LOG_WIDTHS)

    def push(self, z: Tensor, x: Tensor) -> Tensor:
        mean, log_width = self.decode(z[:, : self.latent], x)
        return mean + log_width.exp() * z[:, self.latent :]

    def loss_on_line(self, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the negative evidence lower bound."""
        mean, log_width = self.encoder(torch.cat([x, u], dim=1)).chunk(2, dim=1)
        z = mean + log_width.exp() * normal(u, self.latent, generator)
        divergence = 0.5 * (mean.square() + (2.0 * log_width).exp() - 1.0) - log_width
        of_mean, of_width = self.decode(z, x)
        log_density = log_normal((u - of_mean) / of_width.exp()) - of_width
        loss: Tensor = (divergence.sum(dim=1) - log_density.sum(dim=1)).mean()
        return loss
