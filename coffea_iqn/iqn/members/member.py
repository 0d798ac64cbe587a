"""Base classes of the members: laws p(y | x) of several targets, drawn at quantile levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from coffea_iqn.iqn.conditional import Bounds, each_given_those_before
from coffea_iqn.iqn.network import AUTOREGRESSIVE, KINDS, N_TARGETS, WITH_DENSITY
from coffea_iqn.iqn.networks import Described

BoundsOf = Callable[[int, Tensor], Bounds]
"""Function that returns the bounds of target k from k and the preceding targets, (N, k)."""


class Member(Described):
    """A law p(y | x) of several targets, with its training loss.

    Parameters
    ----------
    n_inputs, n_targets: number of columns of x and y, both standardised.
    """

    def __init__(self, n_inputs: int, n_targets: int = N_TARGETS) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.n_targets = n_targets

    @property
    def n_levels(self) -> int:
        """Number of levels per draw."""
        return KINDS[type(self).__name__].n_levels(vars(self))

    @property
    def autoregressive(self) -> bool:
        """Same as `Network.autoregressive`."""
        return type(self).__name__ in AUTOREGRESSIVE

    @property
    def widths(self) -> tuple[int, ...]:
        """Same as `Network.widths`."""
        return (N_TARGETS, self.n_levels) if self.autoregressive else (self.n_levels,)

    def begin_training(self) -> None:
        """Create modules used in training only, such as a critic."""

    def sample(self, tau: Tensor, x: Tensor, bounds: BoundsOf | None = None) -> Tensor:
        """Draw targets (N, n_targets) at levels tau in (0, 1), (N, n_levels), given x, (N, n_inputs).

        bounds returns the bounds of target k from the preceding targets, (N, k); None for no bounds.
        """
        raise NotImplementedError

    def levels(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> Tensor:
        """Return the levels (N, n_targets) at which `sample` yields y; 0 or 1 beyond a bound.

        Parameters
        ----------
        y, x: targets (N, n_targets) and inputs (N, n_inputs). For an autoregressive member, y may have only the first
            targets.
        bounds: bounds of all targets, each given the preceding ones, (N, n_targets) each; `NO_BOUND` for no bound.

        Raises
        ------
        NotImplementedError: when the member has no distribution function.
        """
        return self.levels_and_log_densities(y, x, bounds)[0]

    def log_density(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> Tensor:
        """Return log p(y | x), (N,); arguments and errors as in `levels`."""
        return self.levels_and_log_densities(y, x, bounds)[1].sum(dim=1)

    def levels_and_log_densities(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
        """Return `levels`, and the terms of `log_density`, one per target, (N, n_targets) each."""
        raise NotImplementedError(self.no_density)

    def loss(self, x: Tensor, y: Tensor, bounds: Bounds, generator: torch.Generator) -> Tensor:
        """Return the training loss of a batch, a scalar.

        Parameters
        ----------
        x, y, bounds: same as in `levels`.
        generator: random number generator for any draws.
        """
        raise NotImplementedError

    @property
    def no_density(self) -> str:
        """Error message for members without a density."""
        return f"{type(self).__name__}: expected a member with a density, one of {', '.join(WITH_DENSITY)}"

    def student(self, hidden: tuple[int, ...] | None) -> Member:
        """Return an untrained, faster member to be distilled from this one.

        Parameters
        ----------
        hidden: sizes of its hidden layers; None for the default.

        Raises
        ------
        TypeError: when this member cannot be distilled.
        """
        del hidden
        msg = f"teacher: expected a SplineIQN or a FlowMatching, got {type(self).__name__}"
        raise TypeError(msg)

    def imitation_loss(
        self, teacher: Any, seen: tuple[Tensor, Tensor], bounds: BoundsOf, generator: torch.Generator
    ) -> Tensor:
        """Return the distance of a `student` from its teacher, a scalar loss.

        Parameters
        ----------
        teacher: the teacher.
        seen: inputs of the student and of the teacher for the same rows, (N, n_inputs) each.
        bounds, generator: bounds as in `sample`, and random number generator.
        """
        raise NotImplementedError


class AutoregressiveNetwork(Member):
    """A member that draws one target after the other, from its conditional quantile function.

    Members with a `density` are truncated at bounds exactly; others clip draws to the bounds.
    """

    def quantile(self, k: int, tau: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None) -> Tensor:
        """Return the quantiles of target k, (N,).

        Parameters
        ----------
        k: index of the target.
        tau: levels in (0, 1), (N,).
        x: inputs, (N, n_inputs).
        drawn: the targets 0 to k − 1, (N, k).
        bounds: bounds of the target, (N,) each; None for no bounds.
        """
        raise NotImplementedError

    def density(
        self, k: int, y: Tensor, x: Tensor, drawn: Tensor, bounds: Bounds | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the level F(y) = Q⁻¹(y) of y, and the logarithm of the density 1 / (∂Q/∂τ) there.

        Parameters
        ----------
        k, x, drawn, bounds: same as in `quantile`.
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
        for k in range(tau.shape[1]):  # with fewer levels, only the first targets
            q = self.quantile(k, tau[:, k], x, drawn, None if bounds is None else bounds(k, drawn))
            drawn = torch.cat([drawn, q[:, None]], dim=1)  # (N, k + 1)
        return drawn

    def levels_and_log_densities(self, y: Tensor, x: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
        return each_given_those_before(self.density, y, x, bounds)
