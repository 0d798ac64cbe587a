"""The IQN family: what turns quantile levels and inputs into targets.

A member is a law p(y | x) of several targets: it draws them at given levels (`sample`), gives their levels and
log-density (`levels`, `log_density`), where it has them, and knows its own training `loss`. Nothing outside this
package asks which member it holds, or how many targets there are: `build` makes one from its description. An
`AutoregressiveNetwork` draws one target after the other, each given those before it.

`IQNx4` and `IQNx1` are the members of Kronheim et al., Mach. Learn.: Sci. Technol. 5 (2024) 045073;
`SplineIQN` is monotone by construction, and so has an exact distribution function and density.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from coffea_iqn.iqn.arrays import with_origin
from coffea_iqn.iqn.conditional import Bounds, Conditional, each_given_those_before, probability_between
from coffea_iqn.iqn.network import (
    AUTOREGRESSIVE,
    ENDS,
    JOINT,
    KINDS,
    LOGIT_KNOTS,
    MEMBERS,  # noqa: F401 public where it was
    N_TARGETS,
    WITH_DENSITY,
    hidden_of,
    spline_outputs,
)
from coffea_iqn.iqn.splines import inverse

BoundsOf = Callable[[int, Tensor], Bounds]
"""The bounds of target k given the targets before it, (N, k)."""


def mlp(n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> nn.Sequential:
    """Dense layers with LeakyReLU between them; Glorot-uniform weights, zero biases."""
    layers: list[nn.Module] = []
    sizes = (n_inputs, *hidden, n_outputs)
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def pinball_loss(prediction: Tensor, target: Tensor, tau: Tensor) -> Tensor:
    """The mean of max(τ (y − q), (τ − 1)(y − q)), least where q is the τ-quantile of y.

    Koenker and Bassett, Econometrica 46 (1978) 33; Kronheim et al. (2024).
    """
    error = target - prediction
    return torch.maximum(tau * error, (tau - 1.0) * error).mean()


class Member(nn.Module):
    """A law p(y | x) of several targets, and how it is trained.

    Parameters
    ----------
    n_inputs, n_targets: columns of x and of y, both standardised.

    """

    def __init__(self, n_inputs: int, n_targets: int = N_TARGETS) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.n_targets = n_targets

    @property
    def n_levels(self) -> int:
        """How many levels a draw takes."""
        return KINDS[type(self).__name__].n_levels(vars(self))

    @property
    def autoregressive(self) -> bool:
        """As of `network.Network`."""
        return type(self).__name__ in AUTOREGRESSIVE

    @property
    def widths(self) -> tuple[int, ...]:
        """As of `network.Network`."""
        return (N_TARGETS, self.n_levels) if self.autoregressive else (self.n_levels,)

    def begin_training(self) -> None:
        """Make what only the training needs, as a critic."""

    def sample(self, tau: Tensor, x: Tensor, bounds: BoundsOf | None = None) -> Tensor:
        """Targets (N, n_targets) at levels tau in (0, 1), (N, n_levels), given x, (N, n_inputs).

        bounds gives those of target k from the targets before it, (N, k); None for none.
        """
        raise NotImplementedError

    def levels(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> Tensor:
        """The levels (N, n_targets) at which `sample` gives y; beyond a bound 0 or 1.

        Parameters
        ----------
        y, x: (N, n_targets) and (N, n_inputs). Of y an autoregressive member may be given the first targets alone.
        bounds: of all targets, each given those before, (N, n_targets) each; `NO_BOUND` where there is none.

        Raises
        ------
        NotImplementedError: when the member has no distribution function.
        """
        return self.levels_and_log_densities(y, x, bounds)[0]

    def log_density(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> Tensor:
        """The logarithm of p(y | x), (N,); arguments and errors as of `levels`."""
        return self.levels_and_log_densities(y, x, bounds)[1].sum(dim=1)

    def levels_and_log_densities(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
        """`levels`, and the terms, one a target, that `log_density` is the sum of, (N, n_targets) each."""
        raise NotImplementedError(self.no_density)

    def loss(self, x: Tensor, y: Tensor, bounds: Bounds, generator: torch.Generator) -> Tensor:
        """The training loss of a batch, a scalar.

        Parameters
        ----------
        x, y, bounds: as of `levels`.
        generator: source of whatever the member draws.
        """
        raise NotImplementedError

    @property
    def no_density(self) -> str:
        """What to say where there is none."""
        return f"{type(self).__name__}: expected a member with a density, one of {', '.join(WITH_DENSITY)}"

    def student(self, hidden: tuple[int, ...] | None) -> Member:
        """A member with fresh weights that can learn to draw as this one does, but faster.

        Parameters
        ----------
        hidden: sizes of its hidden layers; None for the usual ones.

        Raises
        ------
        TypeError: when there is none.
        """
        del hidden
        msg = f"teacher: expected a SplineIQN or a FlowMatching, which can teach, got {type(self).__name__}"
        raise TypeError(msg)

    def imitation_loss(
        self,
        teacher: Any,
        seen: tuple[Tensor, Tensor],
        bounds: BoundsOf,
        generator: torch.Generator,
    ) -> Tensor:
        """How far a `student` is from its teacher, a scalar.

        Parameters
        ----------
        teacher: the member.
        seen: what the student and what the teacher see of the same rows, (N, n_inputs) each.
        bounds, generator: as of `sample`, and a source of what is drawn.
        """
        raise NotImplementedError

    def description(self) -> dict[str, Any]:
        """The keywords that `build` needs to make this network again, weights aside."""
        return _describe(self)


def _describe(module: Any) -> dict[str, Any]:
    """Type and keywords of a network, as JSON takes them."""
    values = {name: getattr(module, name) for name in ("n_inputs", *KINDS[type(module).__name__].keywords)}
    return {"type": type(module).__name__, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    """The same with lists for tuples."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


class AutoregressiveNetwork(Member):
    """A member that draws its targets in their order, by a conditional quantile function of each.

    One that has a `density` can be cut off at bounds exactly; any other keeps within them by giving the bound for what
    lies beyond.
    """

    def quantile(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Tensor:
        """The quantile of target k.

        Parameters
        ----------
        k: which target, from 0.
        tau: levels in (0, 1), (N,).
        x: (N, n_inputs).
        drawn: the targets 0 to k − 1, (N, k).
        bounds: between which it lies, (N,) each; None for anywhere.

        Returns
        -------
        the quantiles, (N,).
        """
        raise NotImplementedError

    def density(
        self, k: int, y: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None
    ) -> tuple[Tensor, Tensor]:
        """The level of y, F(y) = Q⁻¹(y), and the logarithm of the density 1 / (∂Q/∂τ) there.

        Parameters
        ----------
        k, x, drawn, bounds: as of `quantile`.
        y: values of target k, (N,).

        Returns
        -------
        levels in (0, 1) and log-densities, (N,) each; beyond a bound 0 or 1, and −infinity.

        Raises
        ------
        NotImplementedError: when the member's quantiles may cross, so that F does not exist.
        """
        msg = f"{type(self).__name__}: its quantiles may cross, so it has no distribution function; a SplineIQN has one"
        raise NotImplementedError(msg)

    def sample(self, tau: Tensor, x: Tensor, bounds: BoundsOf | None = None) -> Tensor:
        drawn = x[:, :0]  # (N, 0)
        for k in range(tau.shape[1]):  # of fewer levels the first targets
            q = self.quantile(k, tau[:, k], x, drawn, None if bounds is None else bounds(k, drawn))
            drawn = torch.cat([drawn, q[:, None]], dim=1)  # (N, k + 1)
        return drawn

    def levels_and_log_densities(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
        return each_given_those_before(self.density, y, x, bounds)


class PinballNetwork(AutoregressiveNetwork):
    """A member trained with the pinball loss at the level the network was given.

    Parameters
    ----------
    n_inputs, n_targets: columns of x and of y.
    hidden, slope, penalty: sizes of the hidden layers, slope of LeakyReLU, and λ; by default the paper's.

    Quantiles that cross are discouraged by a penalty λ · 1[f' < 0] · (f')², with f' = ∂f/∂τ; without
    gradients (`torch.no_grad`), as on validation data, the loss is the pinball loss alone.
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
        del bounds  # the pinball loss knows no truncation: what is learnt is the sample as it was cut
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
        """What the network says of `quantile`, wherever it lies."""
        raise NotImplementedError


def scaled_level(tau: Tensor) -> Tensor:
    """6τ − 3, the paper's form of the level, as a column (N, 1)."""
    return (6.0 * tau - 3.0)[:, None]


class IQNx4(PinballNetwork):
    """A network for each target, the paper's four: p(pt'|x) p(η'|x, pt') p(φ'|x, pt', η') p(m'|x, pt', η', φ')."""

    def __init__(self, n_inputs: int, n_targets: int = N_TARGETS, **sizes: Any) -> None:
        super().__init__(n_inputs, n_targets, **sizes)
        self.nets = nn.ModuleList(mlp(1 + n_inputs + k, 1, self.hidden, self.slope) for k in range(n_targets))

    def unbounded(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        inputs = torch.cat([scaled_level(tau), x, drawn], dim=1)  # (N, 1 + n_inputs + k)
        q: Tensor = self.nets[k](inputs)
        return q[:, 0]


class IQNx1(PinballNetwork):
    """One network for all targets: a one-hot names the target, zeros stand for what is not yet drawn."""

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


class DenseNetwork(nn.Module):
    """One network of dense layers, that makes some numbers of its inputs."""

    def __init__(self, n_inputs: int, n_outputs: int, hidden: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.hidden = tuple(hidden)
        self.slope = slope
        self.net = mlp(n_inputs, n_outputs, self.hidden, slope)

    def description(self) -> dict[str, Any]:
        """The keywords that `build` needs to make this network again, weights aside."""
        return _describe(self)


class AcceptanceNetwork(DenseNetwork):
    """The logit of P(a gen jet has a reco jet | x), trained by cross entropy."""

    def __init__(self, n_inputs: int, *, hidden: tuple[int, ...] = (64, 64), slope: float = 0.3) -> None:
        super().__init__(n_inputs, 1, hidden, slope)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N,) of x (N, n_inputs)."""
        logit: Tensor = self.net(x)
        return logit[:, 0]


class OriginNetwork(DenseNetwork):
    """Log P(training sample | x), trained by cross entropy: what kind of process a jet may come from.

    The law of p(reco | gen) in a mixture of samples is the sum over them of P(sample | x) times the law of each.
    An event tells the first well, and a network learns it from labels with far fewer jets than from responses.

    Parameters
    ----------
    n_inputs: columns of x, those of the event last.
    n_event: how many of them only this network sees.
    n_samples: how many samples there are.
    moot: the column of x that is 1 where so much is known that the sample does not matter, and is not told; −1 for
        none. A process that none of the samples is of would else be taken for one of them.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        n_event: int,
        n_samples: int,
        moot: int = -1,
        hidden: tuple[int, ...] = (48, 48),
        slope: float = 0.1,
    ) -> None:
        super().__init__(n_inputs, n_samples, hidden, slope)
        self.n_event = n_event
        self.n_samples = n_samples
        self.moot = moot

    @property
    def n_outputs(self) -> int:
        """Columns of what `with_origin` gives."""
        return self.n_inputs - self.n_event + self.n_samples

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, n_samples) of x (N, n_inputs)."""
        logits: Tensor = self.net(x)
        return logits

    def with_origin(self, x: Tensor) -> Tensor:
        """X without the event's columns, and the log-probabilities of the samples, about in (−1, 1); 0 where moot."""
        seen: Tensor = with_origin(x, self(x), self.n_event, self.moot)
        return seen


class NumberNetwork(DenseNetwork):
    """The logits of P(number | x), of 0 to `most`, trained by cross entropy."""

    def __init__(self, n_inputs: int, *, most: int, hidden: tuple[int, ...] = (32, 32), slope: float = 0.1) -> None:
        super().__init__(n_inputs, most + 1, hidden, slope)
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, most + 1) of x (N, n_inputs)."""
        logits: Tensor = self.net(x)
        return logits


class RatioNetwork(DenseNetwork):
    """Log p(y | x) / q(y | x), of a true law and one that is drawn from.

    It is the logit of P(true), trained by cross entropy (S. Diefenbacher et al., JINST 15 (2020) P11004).

    Parameters
    ----------
    n_inputs: columns of x and of y, one after the other.
    bound: greatest ratio; greater ones count as it.
    candidates: how many ys are drawn at most for one that is taken.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        bound: float = 1.0,
        candidates: int = 1,
        hidden: tuple[int, ...] = (64, 64),
        slope: float = 0.1,
    ) -> None:
        super().__init__(n_inputs, 1, hidden, slope)
        self.bound = bound
        self.candidates = candidates

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of ratios (N,) of x and y side by side, (N, n_inputs)."""
        logit: Tensor = self.net(x)
        return logit[:, 0]


_HERE: tuple[type[nn.Module], ...] = (
    IQNx4,
    IQNx1,
    SplineIQN,
    AcceptanceNetwork,
    OriginNetwork,
    NumberNetwork,
    RatioNetwork,
)
TYPES: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in _HERE}


def build(description: Mapping[str, Any]) -> Any:
    """A network from its `description`, with fresh weights.

    Raises
    ------
    ValueError: when the type is unknown or its keywords do not fit.
    """
    keywords = dict(description)
    kind = keywords.pop("type", None)
    if kind not in list(KINDS):  # what cannot be hashed is none of them either
        msg = f"network type: expected one of {', '.join(KINDS)}, got {kind!r}"
        raise ValueError(msg)
    if kind in JOINT:
        from coffea_iqn.iqn import members  # which nothing else needs

        made: type[nn.Module] = members.module_of(str(kind))
    else:
        made = TYPES[str(kind)]
    try:
        return made(**keywords)
    except TypeError as error:
        msg = f"network {kind}: {error}"
        raise ValueError(msg) from None
