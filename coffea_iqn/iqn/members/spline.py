"""The default member: monotone by construction, so with an exact distribution function and density."""

from __future__ import annotations

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

TINY = 1e-6  # levels of a teacher are drawn no nearer to 0 and 1
# The mean of log p − log q is the Kullback-Leibler divergence, but its terms scatter even where the laws agree; those
# of the distance of the levels do not, and tie the small network to the large one draw by draw.
TIE = 0.5
OF_STUDENT = (36, 36)  # sizes of hidden layers
TAILS = (-2.9, -2.4, 2.4, 2.9)  # of a standardised target: about five and eight half widths
RARE = -4.0  # logit of an atom before training
LOGISTIC_WIDTH = 0.55  # a logistic law this wide has about unit variance


class SplineIQN(AutoregressiveNetwork):
    """A network for each target, that gives a monotone quantile function as a rational-quadratic spline.

    The abscissa is the logit of the level, log(τ / (1 − τ)), with knots at fixed levels down to 10^-4; a network
    gives the quantiles at the knots, ascending by construction, and the slopes there. Beyond the last knots
    the spline goes on straight in the logit. Between bounds the law is cut off there and what is left has all the
    probability: exactly, for the distribution function is known. Trained by likelihood, that of the bounded law.

    Parameters
    ----------
    n_inputs, n_targets: columns of x and of y.
    hidden: sizes of the hidden layers of the network of every target, or a list for each.
    slope: of LeakyReLU.
    atoms: targets of which some are exactly at the least bound, with a probability that a further output gives. They
        come, and are drawn, `BELOW_BOUND` below it, so that nothing is taken for one by rounding.
    tops: likewise at the greatest bound, with a probability among what is no atom.
    flags: atoms of which all that are none are at the least bound: that probability is all that a network gives.
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
        with torch.no_grad():  # start near a logistic law of unit variance, whatever x
            steps = LOGISTIC_WIDTH * self.knots.diff()
            slopes = torch.full((n_knots,), LOGISTIC_WIDTH)
            wanted = torch.cat([steps, slopes])
            start = torch.cat([torch.zeros(1), wanted - 1.0 / wanted])
            for k, net in enumerate(self.nets):
                *_, weight, bias = net.parameters()
                weight.mul_(0.1)
                if k not in self.flags:
                    bias.copy_(torch.cat([start, torch.full((len(bias) - len(start),), RARE)]))

    def conditional(self, k: int, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Conditional:
        """The law of target k; arguments as of `quantile`."""
        out = self.nets[k](torch.cat([x, drawn], dim=1))  # (N, 2 K), and a column more for an atom
        return Conditional.of(out, self.knots, atom=k in self.atoms, top=k in self.tops, bounds=bounds)

    def quantile(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Tensor:
        quantiles: Tensor = self.conditional(k, x, drawn, bounds).quantile(tau)
        return quantiles

    def loss(self, x: Tensor, y: Tensor, bounds: Bounds, generator: torch.Generator) -> Tensor:
        del generator
        return self.tail_loss(x, y, bounds, weights=(0.0,) * self.n_targets)

    def tail_loss(
        self,
        x: Tensor,
        y: Tensor,
        bounds: Bounds,
        *,
        weights: Sequence[float],
        cells: Mapping[int, Bounds] | None = None,
    ) -> Tensor:
        """The training loss, and for each target a weight times the score of the tails.

        That score is the cross entropy of where among `TAILS` a target lies. It is proper, as the likelihood is, so
        that the truth is best by both; but the likelihood hardly feels the few jets in the tails, which a network of
        this size then gives up (C. Diks, V. Panchenko and D. van Dijk, J. Econometrics 163 (2011) 215).

        Parameters
        ----------
        x, y, bounds: as of `loss`.
        weights: of the score of each target.
        cells: of targets that are known no better than to lie between two values, these, (N,) each: whole numbers are
            learnt by the probability between them, which a smooth law can have right however it steps.
        """
        total = y.new_zeros(())
        for k, weight in enumerate(weights):
            edges = y.new_tensor(TAILS if weight else ())
            y_k, low, high = y[:, k], bounds[0][:, k], bounds[1][:, k]
            within = torch.minimum(torch.maximum(edges, low[:, None]), high[:, None])  # (N, edges)
            knots, *curve, atom, _, top = self.conditional(k, x, y[:, :k])
            rest = torch.ones_like(y_k)  # 1 where y is no atom
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
            at = torch.stack([low, *within.T, high, *cell], dim=1)
            z, slope = inverse(at, knots, *curve)
            ends, (z_y, *z_end) = z[:, : -len(cell)], z[:, -len(cell) :].T
            inside = torch.log(probability_between(ends[:, 0], ends[:, -1]))
            if z_end:
                log_density = torch.log(probability_between(z_y, z_end[0]))
            else:
                log_density = functional.logsigmoid(z_y) + functional.logsigmoid(-z_y) - torch.log(slope[:, -1])
            total = total - (rest * (log_density - inside)).mean()
            if weight:
                log_p = torch.log(probability_between(ends[:, :-1], ends[:, 1:])) - inside[:, None]
                where = torch.bucketize(y_k.contiguous(), edges)
                total = total - weight * (rest * log_p.gather(1, where[:, None])[:, 0]).mean()
        return total

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
        """The divergence from the teacher's law, and `TIE` of the distance of the levels of its draws."""
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
