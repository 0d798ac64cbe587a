"""Evaluation of networks on numpy arrays in double precision, without torch."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from coffea_iqn.iqn.conditional import Bounds, Conditional, each_given_those_before
from coffea_iqn.iqn.network import LOG_LIKELY_MIN, LOGIT_KNOTS, Network
from coffea_iqn.iqn.splines import Array
from coffea_iqn.numerics.arrays import Doubles

KNOTS = np.array(LOGIT_KNOTS, dtype=np.float32).astype(np.float64)  # rounded as in the torch modules


class ArrayNetwork:
    """Evaluates an acceptance, origin or ratio network, or a `SplineIQN`.

    Parameters
    ----------
    network: the network.
    """

    def __init__(self, network: Network) -> None:
        self._of, self.autoregressive = network.description, network.autoregressive
        self._slope = network.slope
        names = [f"nets.{k}" for k in range(network.n_targets)] if network.exact else ["net"]
        self._layers = [[(w.T.astype(np.float64), b.astype(np.float64)) for w, b in network.layers(n)] for n in names]

    def _feed_forward(self, k: int, x: Doubles) -> Doubles:
        *hidden, (weight, bias) = self._layers[k]
        for inner_weight, inner_bias in hidden:
            x = x @ inner_weight + inner_bias
            x = np.maximum(x, self._slope * x)
        return x @ weight + bias

    def __call__(self, x: Doubles) -> Doubles:
        """Return the logits (N,) of an acceptance or ratio network for inputs x (N, n_inputs)."""
        return self._feed_forward(0, x)[:, 0]

    @property
    def bound(self) -> float:
        """The greatest ratio, of a ratio network."""
        return float(self._of["bound"])

    def with_origin(self, x: Doubles) -> Doubles:
        """Same as `networks.OriginNetwork.with_origin`."""
        return np.asarray(with_origin(x, self._feed_forward(0, x), self._of["n_event"], self._of["moot"]))

    def conditional(self, k: int, x: Doubles, drawn: Doubles, bounds: Bounds | None = None) -> Conditional:
        """Same as `SplineIQN.conditional`."""
        out = self._feed_forward(k, np.concatenate([x, drawn], axis=1))
        return Conditional.of(out, KNOTS, atom=k in self._of["atoms"], top=k in self._of["tops"], bounds=bounds)

    def quantile(self, k: int, tau: Doubles, x: Doubles, drawn: Doubles, bounds: Bounds | None = None) -> Doubles:
        """Same as `SplineIQN.quantile`."""
        return np.asarray(self.conditional(k, x, drawn, bounds).quantile(tau))

    def density(
        self, k: int, y: Doubles, x: Doubles, drawn: Doubles, bounds: Bounds | None = None
    ) -> tuple[Doubles, Doubles]:
        """Same as `SplineIQN.density`."""
        return self.conditional(k, x, drawn, bounds).density(y)

    def levels_and_log_densities(self, y: Doubles, x: Doubles, bounds: Bounds | None = None) -> tuple[Doubles, Doubles]:
        """Same as `SplineIQN.levels_and_log_densities`."""
        return each_given_those_before(self.density, y, x, bounds)


def with_origin(x: Array, logits: Array, n_event: int, moot: int) -> Array:
    """Return `networks.OriginNetwork.with_origin`, computed from the inputs x and the logits of the network."""
    xp = array_namespace(x)
    if isinstance(logits, np.ndarray):
        less = logits - logits.max(axis=1, keepdims=True)
        likely = less - np.log(np.exp(less).sum(axis=1, keepdims=True))
    else:
        likely = xp.log_softmax(logits, dim=1)
    told = 1.0 - 2.0 * likely.clip(LOG_LIKELY_MIN) / LOG_LIKELY_MIN
    if moot >= 0:
        told = xp.where(x[:, moot, None] == 1.0, xp.zeros_like(told), told)
    return xp.concat([x[:, : x.shape[1] - n_event], told], axis=1)
