"""The default member: monotone quantile splines, with an exact distribution function and density."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from coffea_iqn.iqn.conditional import Bounds, Conditional, probability_between
from coffea_iqn.iqn.members.member import AutoregressiveNetwork, BoundsOf
from coffea_iqn.iqn.network import ENDS, LOGIT_KNOTS, N_TARGETS, hidden_of, spline_outputs
from coffea_iqn.iqn.networks import mlp
from coffea_iqn.iqn.splines import inverse

TINY = 1e-6  # least distance from 0 and 1 of the levels drawn from a teacher
# Weight of the squared distance of levels. The mean of log p − log q is the Kullback-Leibler divergence, but its terms
# fluctuate even if the laws agree; the distance of levels does not, and ties student to teacher draw by draw.
TIE = 0.5
OF_STUDENT = (36, 36)  # hidden layers of a student
TAILS = (-2.9, -2.4, 2.4, 2.9)  # edges of the tails of a standardised target: about five and eight half widths
RARE = -4.0  # initial logit of an atom's probability
LOGISTIC_WIDTH = 0.55  # scale of a logistic law with about unit variance


class SplineIQN(AutoregressiveNetwork):
    """One network per target, which outputs a monotone quantile function as a rational-quadratic spline.

    The abscissa is the logit of the level, log(τ / (1 − τ)), with knots at fixed levels down to 10^-4; a network
    outputs the quantiles at the knots, ascending by construction, and the slopes there. Beyond the last knots the
    spline is linear in the logit. With bounds, the law is truncated and renormalised exactly, as the distribution
    function is known. Training maximises the likelihood of the truncated law.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y.
    hidden: sizes of the hidden layers, shared by the networks of all targets, or a list for each.
    slope: negative slope of LeakyReLU.
    atoms: targets with an atom at the least bound, whose probability is an additional output. Atoms are encoded, and
        drawn, `BELOW_BOUND` below the bound, so that rounding cannot create one.
    tops: likewise at the greatest bound, with the probability given that the target is not the other atom.
    flags: targets in `atoms` whose only other value is the least bound; the atom's probability is the only output.
    """

    def __init__(
        self,
        n_inputs: int,
        n_targets: int = N_TARGETS,
        *,
        hidden: Sequence[Any] = (48, 48),
        slope: float = 0.1,
        atoms: Sequence[int] = (),
        tops: Sequence[int] = (),
        flags: Sequence[int] = (),
    ) -> None:
        super().__init__(n_inputs, n_targets)
        self.atoms, self.tops, self.flags = tuple(atoms), tuple(tops), tuple(flags)
        self.hidden = tuple(tuple(one) if isinstance(one, Sequence) else one for one in hidden)
        self.slope = slope
        self.register_buffer("knots", torch.tensor(LOGIT_KNOTS), persistent=False)
        self.knots: Tensor
        n_knots, ends = len(LOGIT_KNOTS), {name: getattr(self, name) for name in ENDS}
        self.nets = nn.ModuleList(
            mlp(n_inputs + k, spline_outputs(ends, k), tuple(hidden_of(self.hidden, k)), slope)
            for k in range(n_targets)
        )
        with torch.no_grad():  # start near a logistic law of unit variance for all x
            steps = LOGISTIC_WIDTH * self.knots.diff()
            slopes = torch.full((n_knots,), LOGISTIC_WIDTH)
            wanted = torch.cat([steps, slopes])
            start = torch.cat([torch.zeros(1), wanted - 1.0 / wanted])
            for k, net in enumerate(self.nets):
                *_, weight, bias = net.parameters()
                weight.mul_(0.1)
                if k not in self.flags:
                    bias.copy_(torch.cat([start, torch.full((len(bias) - len(start),), RARE)]))

    def start_atom(self, k: int, often: float) -> None:
        """Initialise the probability of the atom of target k, for all x; without this, atoms start as rare."""
        with torch.no_grad():
            *_, bias = self.nets[k].parameters()
            bias[2 * len(self.knots)] = math.log((often + 1e-3) / (1.0 - often + 1e-3))

    def conditional(self, k: int, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Conditional:
        """Return the law of target k; arguments as in `quantile`."""
        out = self.nets[k](torch.cat([x, drawn], dim=1))  # (N, 2 K), plus a column for each atom
        return Conditional.of(out, self.knots, atom=k in self.atoms, top=k in self.tops, bounds=bounds)

    def quantile(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Tensor:
        quantiles: Tensor = self.conditional(k, x, drawn, bounds).quantile(tau)
        return quantiles

    def loss(self, x: Tensor, y: Tensor, bounds: Bounds, generator: torch.Generator) -> Tensor:
        del generator
        return self.tail_loss(x, y, bounds)

    def tail_loss(
        self,
        x: Tensor,
        y: Tensor,
        bounds: Bounds,
        *,
        weights: Sequence[float] = (),
        cells: Mapping[int, Bounds] | None = None,
    ) -> Tensor:
        """Return the training loss plus, for each target, a weight times the score of the tails.

        The score is the cross entropy of the interval between `TAILS` that contains the target. Like the likelihood it
        is a proper score, so the true law is optimal for both; but the few jets in the tails contribute little to the
        likelihood, and a network of this size would neglect them (C. Diks, V. Panchenko and D. van Dijk,
        J. Econometrics 163 (2011) 215).

        Parameters
        ----------
        x, y, bounds: same as in `loss`.
        weights: weight of the score of each of the first targets; that of the others is zero.
        cells: for targets only known to lie between two values, such as integers, these values, (N,) each; the loss
            then uses the probability between them, which a smooth law can reproduce.
        """
        total = y.new_zeros(())
        alike: dict[tuple[bool, bool], list[tuple[float, list[Tensor]]]] = {}  # targets, by the terms that they have
        for k in range(self.n_targets):
            weight = weights[k] if k < len(weights) else 0.0
            y_k, low, high = y[:, k], bounds[0][:, k], bounds[1][:, k]
            _, values, slopes, atom, _, top = self.conditional(k, x, y[:, :k])
            rest = (low < high).to(y_k.dtype)  # 1 if y is not an atom; only an atom has equal bounds
            if atom is not None:
                rest = (y_k >= low).to(y_k.dtype)
                total = total + functional.binary_cross_entropy_with_logits(atom, 1.0 - rest)
                y_k = torch.maximum(y_k, low)
            if k in self.flags:
                continue
            if top is not None:
                at_top = (y_k > high).to(y_k.dtype)
                total = total + functional.binary_cross_entropy_with_logits(top, at_top, weight=rest)
                rest, y_k = rest * (1.0 - at_top), torch.minimum(y_k, high)
            cell = (y_k,) if cells is None or k not in cells else cells[k]
            of_target = [values, slopes, rest, y_k, low, high, *cell]
            alike.setdefault((weight > 0.0, len(cell) > 1), []).append((weight, of_target))
        return total - sum(self._log_scores(*zip(*targets, strict=True)) for targets in alike.values())

    def _log_scores(self, weights: Sequence[float], targets: Sequence[list[Tensor]]) -> Tensor:
        """Return the log-likelihood plus the weighted score of the tails, summed over several targets.

        All are evaluated at once, as each operation takes longer to start than for its numbers.

        Parameters
        ----------
        weights: weight of the score of each target: all above zero, or all zero.
        targets: for each target values and slopes of its splines, (N, K), then the weight of each row, the target, its
            bounds, and the one or two ends of its cell, (N,) each.
        """
        values, slopes, rest, y, low, high, *cell = map(torch.cat, zip(*targets, strict=True))
        edges, n = y.new_tensor(TAILS if any(weights) else ()), len(cell)
        within = torch.minimum(torch.maximum(edges, low[:, None]), high[:, None])  # (targets N, edges)
        z, slope = inverse(torch.stack([low, *within.T, high, *cell], dim=1), self.knots, values, slopes)
        ends, (z_y, *z_end) = z[:, :-n], z[:, -n:].T
        inside = torch.log(probability_between(ends[:, 0], ends[:, -1]))
        if z_end:
            log_density = torch.log(probability_between(z_y, z_end[0]))
        else:
            log_density = functional.logsigmoid(z_y) + functional.logsigmoid(-z_y) - torch.log(slope[:, -1])
        scores = log_density - inside
        if any(weights):
            log_p = torch.log(probability_between(ends[:, :-1], ends[:, 1:])) - inside[:, None]
            in_interval = log_p.gather(1, torch.bucketize(y, edges)[:, None])[:, 0]
            scores = scores + y.new_tensor(weights).repeat_interleave(len(y) // len(targets)) * in_interval
        return (rest * scores).sum() * len(targets) / len(y)

    def density(
        self, k: int, y: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.conditional(k, x, drawn, bounds).density(y)

    def student(self, hidden: tuple[int, ...] | None) -> SplineIQN:
        ends = {name: getattr(self, name) for name in ENDS}
        return SplineIQN(self.n_inputs, self.n_targets, hidden=hidden or OF_STUDENT, **ends)

    def imitation_loss(
        self, teacher: Any, seen: tuple[Tensor, Tensor], bounds: BoundsOf, generator: torch.Generator
    ) -> Tensor:
        """Return the divergence from the teacher's law, plus `TIE` times the squared distance of levels."""
        own, of_teacher = seen
        tau = torch.rand(len(own), self.n_targets, generator=generator).clamp(TINY, 1.0 - TINY).to(own.device)
        with torch.no_grad():
            y = teacher.sample(tau, of_teacher, bounds)
            every = [bounds(k, y) for k in range(self.n_targets)]
            ends = torch.stack([low for low, _ in every], dim=1), torch.stack([high for _, high in every], dim=1)
            levels, log_densities = teacher.levels_and_log_densities(y, of_teacher, ends)
        own_levels, own_log_densities = self.levels_and_log_densities(y, own, ends)
        divergence: Tensor = (log_densities - own_log_densities).sum(dim=1).mean()
        away = torch.logit(own_levels, eps=TINY) - torch.logit(levels, eps=TINY)
        return divergence + TIE * away.square().sum(dim=1).mean()
