"""Members that draw all targets of a row at once: a map from normal numbers to unbounded numbers, then to bounds.

Bounds of a target, which may depend on the preceding targets, are satisfied exactly by mapping an unbounded number u to

    y = u + (softplus(κ (low − u)) − softplus(κ (u − high))) / κ,

which is close to u well inside, and approaches the bounds for u → ±∞. The map is monotone with a known inverse, so the
density is known too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.iqn.conditional import Bounds
from coffea_iqn.iqn.members.member import BoundsOf, Member
from coffea_iqn.iqn.network import N_TARGETS

KAPPA = 4.0  # a bound matters within about 1 / κ, in units of the standardised target
AT_LEAST = 1e-6  # least distance from a bound, for values that rounding puts on it


class JointMember(Member):
    """A member that draws all targets at once.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden: sizes of the hidden layers of its networks.
    """

    def __init__(self, n_inputs: int, n_targets: int = N_TARGETS, *, hidden: tuple[int, ...]) -> None:
        super().__init__(n_inputs, n_targets)
        self.hidden = tuple(hidden)

    def push(self, z: Tensor, x: Tensor) -> Tensor:
        """Map normal numbers z, (N, n_levels), to unbounded targets, (N, n_targets), given x, (N, n_inputs)."""
        raise NotImplementedError

    def pull(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse of `push`, (N, n_targets), and log |∂z / ∂u|, (N,); only for members with a density."""
        raise NotImplementedError(self.no_density)

    def loss_on_line(self, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the training loss of unbounded targets u, (N, n_targets), given x, (N, n_inputs)."""
        raise NotImplementedError

    def sample(self, tau: Tensor, x: Tensor, bounds: BoundsOf | None = None) -> Tensor:
        u = self.push(torch.special.ndtri(tau), x)
        if bounds is None:
            return u
        drawn = u[:, :0]
        for k in range(u.shape[1]):
            drawn = torch.cat([drawn, between(u[:, k], *bounds(k, drawn))[:, None]], dim=1)
        return drawn

    def loss(self, x: Tensor, y: Tensor, bounds: Bounds, generator: torch.Generator) -> Tensor:
        return self.loss_on_line(on_line(y, *bounds)[0], x, generator)

    def levels_and_log_densities(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
        """Same as `Member.levels_and_log_densities`; only the sum of the terms is meaningful, not a single term."""
        u, log_slopes = (y, torch.zeros_like(y)) if bounds is None else on_line(y, *bounds)
        z, log_slope = self.pull(u, x)
        terms = log_slopes + log_normal(z) + log_slope[:, None] / self.n_targets
        levels = torch.special.ndtr(z)
        if bounds is not None:
            low, high = bounds
            terms = torch.where((y >= low) & (y <= high), terms, -torch.inf)
            levels = torch.where(y < low, 0.0, torch.where(y > high, 1.0, levels))
        return levels, terms


def log_normal(z: Tensor) -> Tensor:
    """Return the logarithm of the standard normal density."""
    return -0.5 * (z.square() + torch.log(torch.tensor(2.0 * torch.pi, dtype=z.dtype, device=z.device)))


def between(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Map unbounded numbers to between bounds, (N,)."""
    below, above = functional.softplus(KAPPA * (low - u)), functional.softplus(KAPPA * (u - high))
    return torch.minimum(torch.maximum(u + (below - above) / KAPPA, low), high)


def on_line(y: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of `between` and log ∂u / ∂y, for arrays of any shape."""
    from_low, from_high = (KAPPA * edge.clamp(min=AT_LEAST) for edge in (y - low, high - y))
    inside = torch.minimum(torch.maximum(y, low), high)
    u = inside + (_log_one_minus_exp(from_low) - _log_one_minus_exp(from_high)) / KAPPA
    # not 1 / (e^a − 1), whose gradient is nan where e^a overflows, far from a bound or without one
    near_low, near_high = (torch.exp(-a) / -torch.expm1(-a) for a in (from_low, from_high))
    return u, torch.log1p(near_low + near_high)


def _log_one_minus_exp(a: Tensor) -> Tensor:
    """Return log(1 − e^−a) for a > 0."""
    return torch.log(-torch.expm1(-a))


def normal(like: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers, (N, n), for the N rows of a tensor."""
    return torch.randn(len(like), n, generator=generator).to(like)


def energy_score(member: Any, u: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
    """Return the energy score E|U − u| − E|U − U'| / 2, averaged over rows, with two draws U and U' per row.

    The score is least for the true law: T. Gneiting and A. E. Raftery, J. Am. Stat. Assoc. 102 (2007) 359. It selects
    the best state of a member that has no likelihood.
    """
    one, other = (member.push(normal(u, member.n_levels, generator), x) for _ in range(2))
    away = 0.5 * ((one - u).norm(dim=1) + (other - u).norm(dim=1))
    score: Tensor = (away - 0.5 * (one - other).norm(dim=1)).mean()
    return score
