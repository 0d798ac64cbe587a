"""What a member of the family is: a law p(y | x) of several targets, drawn at quantile levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from coffea_iqn.iqn.conditional import Bounds, each_given_those_before
from coffea_iqn.iqn.network import AUTOREGRESSIVE, KINDS, N_TARGETS, WITH_DENSITY
from coffea_iqn.iqn.networks import describe

BoundsOf = Callable[[int, Tensor], Bounds]
"""The bounds of target k given the targets before it, (N, k)."""


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
        return describe(self)


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
