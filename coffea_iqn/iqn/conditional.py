"""The law of one target given x and the targets before it, as a network of a `SplineIQN` gives it.

One formula for torch's tensors, in training and on devices, and for numpy's arrays, which `iqn.arrays` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from coffea_iqn.iqn.network import BELOW_BOUND, LEAST_INSIDE, STEP_MIN
from coffea_iqn.iqn.splines import Array, inverse, positive, spline
from coffea_iqn.numerics.uniforms import LEAST_LEVEL

Bounds = tuple[Array, Array]
"""The least and the greatest value that a target of each row can have, (N,) each, or of all targets, (N, n) each."""


class Conditional(NamedTuple):
    """The law of one target of each row: a monotone quantile spline over the logit of the level, cut off at bounds.

    Attributes
    ----------
    knots: logits of levels, (K,).
    values, slopes: as of `splines.spline`, (N, K) each; of a flag, at its least bound where it is no atom, (N, 0).
    atom: the logit of the probability to be exactly at the least bound, (N,); None for a law without.
    bounds: (N,) each; None for none.
    top: likewise of what is no atom to be exactly at the greatest bound.
    """

    knots: Array
    values: Array
    slopes: Array
    atom: Array | None
    bounds: Bounds | None
    top: Array | None = None

    @classmethod
    def of(
        cls, out: Array, knots: Array, *, atom: bool, top: bool = False, bounds: Bounds | None = None
    ) -> Conditional:
        """The law that a network's outputs (N, 2 K) mean, one more for an atom and for a top; of a flag (N, 1)."""
        xp, n_knots = array_namespace(out), len(knots)
        if out.shape[1] == 1:
            return cls(knots, out[:, 1:], out[:, 1:], out[:, 0], bounds)
        steps = positive(out[:, 1:n_knots]) + STEP_MIN
        rise = xp.cumulative_sum(xp.concat([xp.zeros_like(out[:, :1]), steps], axis=1), axis=1)
        middle = xp.mean(rise[:, n_knots // 2 - 1 : n_knots // 2 + 1], axis=1, keepdims=True)
        values = out[:, :1] + rise - middle
        of_atom, of_top = out[:, 2 * n_knots] if atom else None, out[:, -1] if top else None
        return cls(knots, values, out[:, n_knots : 2 * n_knots], of_atom, bounds, of_top)

    @property
    def is_flag(self) -> bool:
        return bool(self.values.shape[1] == 0)

    def quantile(self, tau: Array) -> Array:
        """The quantiles at levels in (0, 1), (N,); of an atom `BELOW_BOUND` below the least bound, or above the top."""
        if self.bounds is None:
            return spline(logit(tau), self.knots, self.values, self.slopes)[0]
        if self.atom is None:
            return self._no_atom(tau, self.bounds)
        xp, p = array_namespace(tau), sigmoid(self.atom)
        y = self.bounds[0] if self.is_flag else self._no_atom(_level((tau - p) / (1.0 - p)), self.bounds)
        return xp.where(tau < p, self.bounds[0] - BELOW_BOUND, y)

    def _no_atom(self, tau: Array, bounds: Bounds) -> Array:
        """The quantiles of what is no atom at the least bound."""
        if self.top is None:
            return self._between(tau, bounds)
        rest = sigmoid(-self.top)
        y = self._between(_level(tau / rest), bounds)
        return array_namespace(tau).where(tau < rest, y, bounds[1] + BELOW_BOUND)

    def _between(self, tau: Array, bounds: Bounds) -> Array:
        """The quantiles of a law that is cut off at bounds."""
        xp = array_namespace(tau)
        z_low, z_high = inverse(xp.stack(bounds, axis=1), self.knots, self.values, self.slopes)[0].T
        inside = probability_between(z_low, z_high)
        # the logit of F(low) + τ (F(high) − F(low)), of which nothing rounds away near 0 and 1
        below, above = sigmoid(z_low) + tau * inside, sigmoid(-z_high) + (1.0 - tau) * inside
        y, _ = spline(xp.log(below) - xp.log(above), self.knots, self.values, self.slopes)
        return xp.minimum(xp.maximum(y, bounds[0]), bounds[1])  # rounding

    def levels(self, y: Array) -> Array:
        """The levels of several values y of each row, (N, M), between bounds; at the least bound that of an atom."""
        assert self.bounds is not None
        assert self.top is None
        ends = array_namespace(y).concat([*(bound[:, None] for bound in self.bounds), y], axis=1)
        z, _ = inverse(ends, self.knots, self.values, self.slopes)
        level, _ = _level_between(z[:, 2:], z[:, :1], z[:, 1:2])
        p = 0.0 if self.atom is None else sigmoid(self.atom)[:, None]
        return p + (1.0 - p) * level

    def density(self, y: Array) -> tuple[Array, Array]:
        """The level of y, (N,), F(y) = Q⁻¹(y), and the logarithm of the density 1 / (∂Q/∂τ) there.

        Beyond a bound 0 or 1, and −infinity. Of an atom the last of its levels, and the logarithm of its probability.
        """
        xp = array_namespace(y)
        low, high = self.bounds or (y, y)
        is_atom, is_top = y < low, y > high
        if self.is_flag:
            assert self.atom is not None
            zero, one = log_sigmoid(self.atom), log_sigmoid(-self.atom)
            return xp.where(is_atom, sigmoid(self.atom), xp.ones_like(y)), xp.where(is_atom, zero, one)
        if self.atom is not None:
            y = xp.maximum(y, low)
        if self.top is not None:
            y = xp.minimum(y, high)
        z, slope = inverse(xp.stack([y, low, high], axis=1), self.knots, self.values, self.slopes)
        at, z_low, z_high = z.T
        log_density = log_sigmoid(at) + log_sigmoid(-at) - xp.log(slope[:, 0])
        if self.bounds is None:
            return sigmoid(at), log_density
        level, inside = _level_between(at, z_low, z_high)
        nowhere = xp.full_like(y, -xp.inf)
        log_density = xp.where((low <= y) & (y <= high), log_density - xp.log(inside), nowhere)
        if self.top is not None:
            level = xp.where(is_top, xp.ones_like(y), sigmoid(-self.top) * level)
            log_density = xp.where(is_top, log_sigmoid(self.top), log_sigmoid(-self.top) + log_density)
        if self.atom is None:
            return level, log_density
        p = sigmoid(self.atom)
        level = xp.where(is_atom, p, p + (1.0 - p) * level)
        return level, xp.where(is_atom, log_sigmoid(self.atom), log_sigmoid(-self.atom) + log_density)


def each_given_those_before(
    density: Callable[..., tuple[Array, Array]], y: Array, x: Array, bounds: Bounds | None
) -> tuple[Array, Array]:
    """Levels and log-densities of targets y (N, n), (N, n) each, from a `density` of target k given those before."""
    both = [
        density(k, y[:, k], x, y[:, :k], None if bounds is None else (bounds[0][:, k], bounds[1][:, k]))
        for k in range(y.shape[1])
    ]
    levels, log_densities = (array_namespace(y).stack(columns, axis=1) for columns in zip(*both, strict=True))
    return levels, log_densities


def _level(tau: Array) -> Array:
    """A level as it may be drawn."""
    return tau.clip(LEAST_LEVEL, 1.0 - LEAST_LEVEL)


def _level_between(at: Array, z_low: Array, z_high: Array) -> tuple[Array, Array]:
    """The level, between two logits of levels, of one between them; and the probability between the two."""
    xp, inside, upper = array_namespace(at), probability_between(z_low, z_high), z_low + z_high > 0.0
    below = xp.where(upper, sigmoid(-z_low) - sigmoid(-at), sigmoid(at) - sigmoid(z_low))
    return (below / inside).clip(0.0, 1.0), inside


def probability_between(z_low: Array, z_high: Array) -> Array:
    """The probability between two logits of levels, from the smaller ends of both, of which nothing rounds away."""
    upper = 1.0 - 2.0 * (z_low + z_high > 0.0)
    one, other = sigmoid(upper * z_low), sigmoid(upper * z_high)
    return (upper * (other - one)).clip(LEAST_INSIDE)


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^−z)."""
    xp = array_namespace(z)
    if not isinstance(z, np.ndarray):  # torch has its own
        return xp.sigmoid(z)
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0.0, 1.0, small) / (1.0 + small)


def log_sigmoid(z: Array) -> Array:
    """The logarithm of `sigmoid`, of which nothing rounds away."""
    xp = array_namespace(z)
    return z.clip(max=0.0) - xp.log1p(xp.exp(-xp.abs(z)))


def logit(tau: Array) -> Array:
    """The inverse of `sigmoid`."""
    xp = array_namespace(tau)
    return xp.log(tau) - xp.log1p(-tau) if isinstance(tau, np.ndarray) else xp.logit(tau)
