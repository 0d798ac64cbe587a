"""Jets of particles from a variational autoencoder, which `particles.py` trains and compares with.

The network of M. Touranakou et al., Mach. Learn.: Sci. Technol. 3 (2022) 035003: convolutions map the 50 hardest
particles of a gen jet as (px, py, pz) to a latent space, and mirrored ones map this to those of the reco jet. Only this
comparison uses it; it is not part of the package.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.special import ndtri
from torch import Tensor, nn

from coffea_iqn.files.atomic import whole_file
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Floats, Singles

PARTICLES, LATENT = 50, 20
CHANNELS, WIDTHS = (32, 64, 128), (50, 46, 23, 19, 9, 5)  # convolutions of 5 particles without padding, halved twice
DENSE = CHANNELS[-1] * WIDTHS[-1], 150
SLOPE = 0.1
BETA, OF_MASS, OF_PT = 1.0 / 9.0, 1.0, 0.1  # of the loss
DROPOUT, LEARNING_RATE, BATCH = 0.2, 1e-4, 100
HELD_OUT = 20  # one jet in this many is held out to choose the best epoch
PT_MIN = 0.25  # GeV: softer output particles are dropped
LEAST_MASS2 = 1e-4  # GeV²: cut-off of the root in the loss, whose slope is infinite at zero


class Autoencoder(nn.Module):
    """Network from standardised momenta (N, 3, 50) of gen jets to those of reco jets."""

    def __init__(self, dropout: float = DROPOUT) -> None:
        super().__init__()
        one, two, three = CHANNELS

        def after() -> list[nn.Module]:
            return [nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]

        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, one, (3, 5)), *after(), nn.AvgPool2d((1, 2))),
            *(nn.Conv2d(one, two, (1, 5)), *after(), nn.AvgPool2d((1, 2))),
            *(nn.Conv2d(two, three, (1, 5)), *after(), nn.Flatten()),
            *(nn.Linear(*DENSE), *after(), nn.Linear(DENSE[1], 2 * LATENT)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(LATENT, DENSE[1]), *after(), nn.Linear(*DENSE[::-1]), *after()),
            *(nn.Unflatten(1, (three, 1, WIDTHS[5])), nn.ConvTranspose2d(three, two, (1, 5)), *after()),
            *(nn.Upsample((1, WIDTHS[3])), nn.ConvTranspose2d(two, one, (1, 5)), *after()),
            *(nn.Upsample((1, WIDTHS[1])), nn.ConvTranspose2d(one, 1, (3, 5))),
        )

    def forward(self, gen: Tensor, normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reco momenta (N, 3, 50), and mean and log variance of the latent law (N, 20), at normal numbers (N, 20)."""
        mean, log_variance = self.encoder(gen[:, None]).chunk(2, dim=1)
        return self.decoder(mean + torch.exp(0.5 * log_variance) * normal)[:, 0], mean, log_variance


def loss(output: Tensor, target: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """β KL + (1 − β)(Chamfer + (m − m̂)² + 0.1 (pT − p̂T)²), mean over jets; output and target in GeV, (N, 3, 50).

    Chamfer: the squared distance of each particle to the nearest of the other side, summed over both sides.
    """
    with torch.no_grad():
        distance = torch.cdist(output.mT, target.mT)
        nearest, of_target = (distance.argmin(dim=k)[:, None].expand_as(output) for k in (2, 1))
    chamfer = ((output - target.gather(2, nearest)).square() + (target - output.gather(2, of_target)).square()).sum(
        (1, 2)
    )
    (pt, mass), (true_pt, true_mass) = (_pt_and_mass(side) for side in (output, target))
    of_jet = OF_MASS * (mass - true_mass).square() + OF_PT * (pt - true_pt).square()
    kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=1)
    return (BETA * kl + (1.0 - BETA) * (chamfer + of_jet)).mean()


def _pt_and_mass(momenta: Tensor) -> tuple[Tensor, Tensor]:
    total, energy = momenta.sum(dim=2), (momenta.square().sum(dim=1) + 1e-12).sqrt().sum(dim=1)
    mass2 = energy.square() - total.square().sum(dim=1)
    return total[:, :2].norm(dim=1), mass2.clamp(min=LEAST_MASS2).sqrt()


def momenta(jets: Constituents) -> Singles:
    """Return px, py, pz [GeV] of the 50 hardest particles, hardest first, padded with zeros, (N, 3, 50)."""
    jet = jets.jet
    pt, eta, phi, _ = jets.values[np.lexsort((-jets.values[:, 0], jet))].T
    place = places(jets.counts)
    hard = place < PARTICLES
    out = np.zeros((len(jets.counts), 3, PARTICLES), dtype=np.float32)
    cartesian = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    out[jet[hard], :, place[hard]] = cartesian[hard]
    return out


@dataclass(frozen=True)
class Trained:
    """A trained autoencoder.

    Attributes
    ----------
    network: in evaluation mode.
    centre, width: mean and width of the training sample's reco momenta, (3, 1), which standardise both levels.
    """

    network: Autoencoder
    centre: Tensor
    width: Tensor

    def save(self, path: Path) -> None:
        with whole_file(path) as temporary:
            save_file(self.network.state_dict() | {"centre": self.centre, "width": self.width}, temporary)

    @classmethod
    def load(cls, path: Path) -> Trained:
        weights = load_file(path)
        centre, width = weights.pop("centre"), weights.pop("width")
        network = Autoencoder()
        network.load_state_dict(weights)
        return cls(network.eval(), centre, width)

    def draw(self, gen: Constituents, levels: Floats) -> Constituents:
        """Draw reco particles, massless and without a type, at quantile levels (N, 20) of the latent variables."""
        padding = -len(levels) % BATCH  # always full batches, so that a jet's bits do not depend on their size
        normal = np.pad(ndtri(levels.astype(np.float64)).astype(np.float32), ((0, padding), (0, 0)))
        inputs = (torch.from_numpy(np.pad(momenta(gen), ((0, padding), (0, 0), (0, 0)))) - self.centre) / self.width
        with torch.inference_mode():
            batches = zip(inputs.split(BATCH), torch.from_numpy(normal).split(BATCH), strict=True)
            output = torch.cat([self.network(*batch)[0] for batch in batches])[: len(levels)]
        px, py, pz = (output * self.width + self.centre).double().numpy().transpose(1, 0, 2)
        pt = np.hypot(px, py)
        kept = pt > PT_MIN
        values = np.stack([pt, np.arcsinh(pz / pt), np.arctan2(py, px), np.zeros_like(pt)], axis=2)[kept]
        return Constituents(values, np.zeros(len(values), dtype=np.int64), kept.sum(axis=1))


def train(
    gen: Constituents,
    reco: Constituents,
    minutes: float,
    *,
    dropout: float = DROPOUT,
    learning_rate: float = LEARNING_RATE,
    seed: int = 1,
    watch: Callable[[str], None] = print,
) -> Trained:
    """Train on pairs of jets for some minutes, at least one epoch; keeps the epoch with the least held-out loss."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    inputs, targets = (torch.from_numpy(momenta(side)) for side in (gen, reco))
    there = targets.square().sum(dim=1, keepdim=True).expand_as(targets) > 0.0
    of_each = [targets[:, k][there[:, k]] for k in range(3)]
    centre = torch.stack([x.mean() for x in of_each])[:, None]
    width = torch.stack([x.std() for x in of_each])[:, None]
    inputs = (inputs - centre) / width
    held = torch.arange(len(inputs)) % HELD_OUT == 0
    checked, trained = held.nonzero()[:, 0], (~held).nonzero()[:, 0]
    network = Autoencoder(dropout)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)

    def of_batch(rows: Tensor) -> Tensor:
        output, mean, log_variance = network(inputs[rows], torch.randn(len(rows), LATENT))
        return loss(output * width + centre, targets[rows], mean, log_variance)

    best, kept, started, epoch = np.inf, copy.deepcopy(network), time.process_time(), 0
    while epoch == 0 or (time.process_time() - started) / 60.0 < minutes:
        network.train()
        losses = []
        for rows in trained[torch.randperm(len(trained))].split(BATCH):
            optimiser.zero_grad()
            value = of_batch(rows)
            value.backward()
            optimiser.step()
            losses.append(value.item())
        network.eval()
        with torch.inference_mode():
            check = float(np.mean([of_batch(rows).item() for rows in checked.split(BATCH)]))
        epoch += 1
        if check < best:
            best, kept = check, copy.deepcopy(network)
        if epoch % 10 == 1:
            spent = (time.process_time() - started) / 60.0
            watch(f"epoch {epoch}, {spent:.1f} minutes: loss {np.mean(losses):.1f}, held out {check:.1f}")
    watch(f"{epoch} epochs of {len(trained)} jets, least loss of those held out {best:.1f}")
    return Trained(kept.eval(), centre, width)
