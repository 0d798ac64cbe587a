"""Maximum-likelihood jet x of a jet y: the maximum of p(y | x) over x, independent of the spectrum of jets x."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coffea_iqn.emulator.device import Resident
from coffea_iqn.jets.features import ETA, MASS, MASS_OFFSET, PHI, PT, wrap_phi
from coffea_iqn.numerics.arrays import Doubles

STARTS = tuple(product((0.75, 0.87, 1.0, 1.15, 1.35), (0.7, 1.0, 1.4)))  # starting points: factors of pt and mass
STEPS = 80
REACH = (0.1, 0.02, 0.02, 0.2)  # first steps in log pt, eta, phi, log(mass + 2 GeV), about a resolution
DECAYS = (0.8, 0.95)  # decay of the running averages of gradients and of their squares


def most_likely(functions: Resident, threshold: float, jets: Doubles, context: Doubles | None = None) -> Doubles:
    """Return the most likely jets x, (N, 4), by gradient ascent from the best of several starting points.

    Parameters
    ----------
    functions: functions of the emulator, in double precision.
    threshold: threshold of these functions [GeV].
    jets: the jets y, (N, 4).
    context: conditioning variables of the jets x, (N, 68), or None.

    Steps are those of Adam (D. P. Kingma and J. Ba, arXiv:1412.6980), separately for each jet, of decreasing length.
    """
    y = torch.tensor(jets)
    known = None if context is None else torch.tensor(context)

    def log_density(x: Tensor) -> Tensor:
        density: Tensor = functions.log_densities(x, y, known, threshold=threshold).sum(dim=1)
        return density

    with torch.no_grad():
        beginnings = torch.stack([y * y.new_tensor([pt, 1.0, 1.0, mass]) for pt, mass in STARTS])
        values = torch.stack([_finite(log_density(x)) for x in beginnings])
        best_value, which = values.max(dim=0)
        best = _to_place(beginnings[which, torch.arange(len(y))])
    place, reach = best.clone(), y.new_tensor(REACH)
    mean, square = torch.zeros_like(place), torch.zeros_like(place)
    for step in range(1, STEPS + 1):
        place.requires_grad_(True)
        value = log_density(_to_jets(place))
        (slope,) = torch.autograd.grad(value.sum(), place)
        with torch.no_grad():
            better = _finite(value) > best_value
            best, best_value = torch.where(better[:, None], place, best), torch.where(better, value, best_value)
            slope = torch.where(torch.isfinite(slope), slope, 0.0)
            mean = DECAYS[0] * mean + (1.0 - DECAYS[0]) * slope
            square = DECAYS[1] * square + (1.0 - DECAYS[1]) * slope * slope
            rate = 0.5 * (1.0 + math.cos(math.pi * step / STEPS))
            ahead = mean / (1.0 - DECAYS[0] ** step) / ((square / (1.0 - DECAYS[1] ** step)).sqrt() + 1e-12)
            # where the density is zero there is no gradient: restart from the best point
            place = torch.where(torch.isfinite(value)[:, None], place, best) + rate * reach * ahead
    made = _to_jets(best).detach()
    made[:, PHI] = wrap_phi(made[:, PHI])
    return np.asarray(made.numpy())


def _finite(value: Tensor) -> Tensor:
    return torch.where(torch.isfinite(value), value, -math.inf)


def _to_place(jets: Tensor) -> Tensor:
    """Return log pt, eta, phi, log(mass + 2 GeV), so that any numbers are a valid jet (masses are clipped at zero)."""
    mass = torch.log(jets[:, MASS].clamp(min=0.0) + MASS_OFFSET)
    return torch.stack([jets[:, PT].log(), jets[:, ETA], jets[:, PHI], mass], dim=1)


def _to_jets(place: Tensor) -> Any:
    mass = (torch.exp(place[:, MASS]) - MASS_OFFSET).clamp(min=0.0)
    return torch.stack([place[:, PT].exp(), place[:, ETA], place[:, PHI], mass], dim=1)
