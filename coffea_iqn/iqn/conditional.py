"""The law of one target given x and the preceding targets, from the output of a network of a `SplineIQN`.

The same code serves torch tensors, in training and on devices, and numpy arrays (see `iqn.arrays`).
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
"""The least and the greatest value of a target in each row, (N,) each, or of all targets, (N, n) each."""


class Conditional(NamedTuple):
    """The law of one target in each row: a monotone quantile spline in the logit of the level, truncated at bounds.

    Attributes
    ----------
    knots: logits of the levels at the knots, (K,).
    values, slopes: same as in `splines.spline`, (N, K) each; (N, 0) for a flag, which is at its least bound unless it
        is the atom.
    atom: logit of the probability of the atom at the least bound, (N,); None if there is no atom.
    bounds: least and greatest value, (N,) each; None for no bounds.
    top: logit of the probability of the atom at the greatest bound, given that the target is not the other atom, (N,);
        None if there is none.
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
        """Build the law from network outputs: (N, 2 K), plus a column each for an atom and a top; (N, 1) for a flag."""
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
        """Return the quantiles at levels in (0, 1), (N,); an atom is placed `BELOW_BOUND` beyond its bound."""
        if self.bounds is None:
            return spline(logit(tau), self.knots, self.values, self.slopes)[0]
        if self.atom is None:
            return self._no_atom(tau, self.bounds)
        xp, p = array_namespace(tau), sigmoid(self.atom)
        y = self.bounds[0] if self.is_flag else self._no_atom(_level((tau - p) / (1.0 - p)), self.bounds)
        return xp.where(tau < p, self.bounds[0] - BELOW_BOUND, y)

    def _no_atom(self, tau: Array, bounds: Bounds) -> Array:
        """Return the quantiles of the law without the atom at the least bound."""
        if self.top is None:
            return self._between(tau, bounds)
        rest = sigmoid(-self.top)
        y = self._between(_level(tau / rest), bounds)
        return array_namespace(tau).where(tau < rest, y, bounds[1] + BELOW_BOUND)

    def _between(self, tau: Array, bounds: Bounds) -> Array:
        """Return the quantiles of the truncated law without atoms."""
        xp = array_namespace(tau)
        z_low, z_high = inverse(xp.stack(bounds, axis=1), self.knots, self.values, self.slopes)[0].T
        inside = probability_between(z_low, z_high)
        # the logit of F(low) + τ (F(high) − F(low)), accurate near 0 and 1
        below, above = sigmoid(z_low) + tau * inside, sigmoid(-z_high) + (1.0 - tau) * inside
        y, _ = spline(xp.log(below) - xp.log(above), self.knots, self.values, self.slopes)
        return xp.minimum(xp.maximum(y, bounds[0]), bounds[1])  # rounding

    def levels(self, y: Array) -> Array:
        """Return the levels of M values y in each row, (N, M), within the bounds; the least bound includes the atom."""
        assert self.bounds is not None
        assert self.top is None
        ends = array_namespace(y).concat([*(bound[:, None] for bound in self.bounds), y], axis=1)
        z, _ = inverse(ends, self.knots, self.values, self.slopes)
        level, _ = _level_between(z[:, 2:], z[:, :1], z[:, 1:2])
        p = 0.0 if self.atom is None else sigmoid(self.atom)[:, None]
        return p + (1.0 - p) * level

    def density(self, y: Array) -> tuple[Array, Array]:
        """Return the level F(y) = Q⁻¹(y) of y, (N,), and the logarithm of the density 1 / (∂Q/∂τ) there.

        Beyond a bound these are 0 or 1, and −infinity. For an atom, the greatest of its levels and the logarithm of its
        probability; likewise 1 and 0 where both bounds are the same.
        """
        xp = array_namespace(y)
        if self.bounds is not None and not self.is_flag:
            only = self.bounds[0] >= self.bounds[1]
            level, log_density = self._density(y)
            return xp.where(only, xp.ones_like(y), level), xp.where(only, xp.zeros_like(y), log_density)
        return self._density(y)

    def _density(self, y: Array) -> tuple[Array, Array]:
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
    """Return levels and log-densities of targets y (N, n), (N, n) each, from the conditional `density` of each."""
    both = [
        density(k, y[:, k], x, y[:, :k], None if bounds is None else (bounds[0][:, k], bounds[1][:, k]))
        for k in range(y.shape[1])
    ]
    levels, log_densities = (array_namespace(y).stack(columns, axis=1) for columns in zip(*both, strict=True))
    return levels, log_densities


def _level(tau: Array) -> Array:
    """Clip a level to the range of levels that can be drawn."""
    return tau.clip(LEAST_LEVEL, 1.0 - LEAST_LEVEL)


def _level_between(at: Array, z_low: Array, z_high: Array) -> tuple[Array, Array]:
    """Return the level of a logit in the law truncated between two logits, and the probability between these."""
    xp, inside, upper = array_namespace(at), probability_between(z_low, z_high), z_low + z_high > 0.0
    below = xp.where(upper, sigmoid(-z_low) - sigmoid(-at), sigmoid(at) - sigmoid(z_low))
    return (below / inside).clip(0.0, 1.0), inside


def probability_between(z_low: Array, z_high: Array) -> Array:
    """Return the probability between two logits of levels, computed from the nearer tail to avoid cancellation."""
    upper = 1.0 - 2.0 * (z_low + z_high > 0.0)
    one, other = sigmoid(upper * z_low), sigmoid(upper * z_high)
    return (upper * (other - one)).clip(LEAST_INSIDE)


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^−z)."""
    xp = array_namespace(z)
    if not isinstance(z, np.ndarray):
        return xp.sigmoid(z)
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0.0, 1.0, small) / (1.0 + small)


def log_sigmoid(z: Array) -> Array:
    """Logarithm of `sigmoid`, without cancellation."""
    xp = array_namespace(z)
    return z.clip(max=0.0) - xp.log1p(xp.exp(-xp.abs(z)))


def logit(tau: Array) -> Array:
    """Inverse of `sigmoid`."""
    xp = array_namespace(tau)
    return xp.log(tau) - xp.log1p(-tau) if isinstance(tau, np.ndarray) else xp.logit(tau)
