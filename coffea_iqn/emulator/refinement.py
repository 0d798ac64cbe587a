"""Refined draws: candidates of which one is taken, with a probability in proportion to a ratio of densities.

Candidate j of a jet, whose ratio is r_j, is taken with probability r_j / b, b being the greatest ratio, and else the
next one is looked at: rejection sampling, whose draws have the density of the candidates times r, normalised for each
jet x. What none of K is taken of takes one of them in proportion to r_j (D. B. Rubin, in Bayesian Statistics 3, 1988,
395: sampling-importance-resampling).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from coffea_iqn.iqn.network import N_TARGETS, Network
from coffea_iqn.numerics.uniforms import MOST_LEVELS

Columns = Any
BLOCK = 4  # levels that come together


class Candidates(NamedTuple):
    """Where among the levels of a refined draw those of its candidates are.

    Attributes
    ----------
    n: levels of a draw of the network: those of the first candidate, which come first.
    own: how many of these every further candidate has of its own: of an autoregressive member those of the
        four-momentum, for ratios do not depend on what is drawn after it. They begin a block of four.
    most: greatest number of candidates, K; the last level decides which is taken.
    """

    n: int
    own: int
    most: int

    @classmethod
    def of(cls, network: Network, ratio: Mapping[str, Any]) -> Candidates:
        """Those of a network, by the description of the ratio network."""
        return cls(*_sizes(network), int(ratio["candidates"]))

    @classmethod
    def most_of(cls, network: Network) -> int:
        """How many candidates there can be levels of."""
        n, own = _sizes(network)
        return 1 + (MOST_LEVELS - 1 - _whole(n)) // _whole(own)

    @property
    def n_levels(self) -> int:
        """How many levels a draw takes."""
        return self._start(self.most) + 1

    def _start(self, j: int) -> int:
        return _whole(self.n) + (j - 1) * _whole(self.own)

    def levels(self, tau: Columns, j: int, rows: Any = slice(None)) -> Columns:
        """Those of candidate j of some rows, (n rows, n), from all levels, (N, n_levels)."""
        if j == 0:
            return tau[:, : self.n][rows]
        own = tau[:, self._start(j) : self._start(j) + self.own][rows]
        return array_namespace(tau).concat([own, tau[:, self.own : self.n][rows]], axis=1)


def _sizes(network: Network) -> tuple[int, int]:
    return network.n_levels, N_TARGETS if network.autoregressive else network.n_levels


def _whole(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


def take(of: Candidates, tau: Columns, first: Columns, draw: Callable[[Any, Columns], Columns]) -> Columns:
    """What is taken of the candidates of each jet.

    Parameters
    ----------
    of: which there are.
    tau: levels, (N, n_levels).
    first: the first candidates, and in the last column their ratios over the greatest one, (N, m + 1).
    draw: the candidates of some rows at levels (n rows, n): columns as of first, but for those that candidates share,
        which may be missing before the last.

    Returns
    -------
    (N, m): a jet whose first candidate is taken is that candidate.
    """
    xp = array_namespace(tau)
    u, made = tau[:, -1], xp.asarray(first[:, :-1], copy=True)
    shares = xp.zeros((len(tau), of.most), dtype=first.dtype, device=device(first))
    shares[:, 0] = first[:, -1]
    # one level decides: the first candidate down to whose end of (0, 1) what is left reaches no more is taken
    left = 1.0 - first[:, -1]
    (rows,) = xp.nonzero(u < left)
    for j in range(1, of.most):
        if not len(rows):
            return made
        one = draw(rows, of.levels(tau, j, rows))
        shares[rows, j] = one[:, -1]
        left[rows] = left[rows] * (1.0 - one[:, -1])
        taken = u[rows] >= left[rows]
        made[rows[taken], : one.shape[1] - 1] = one[taken, :-1]
        rows = rows[~taken]
    sums = xp.cumulative_sum(shares[rows], axis=1)
    aim = (u[rows] / left[rows] * sums[:, -1])[:, None]
    which = xp.sum(sums[:, :-1] <= aim, axis=1)
    for j in range(of.most):
        (at,) = xp.nonzero(which == j)
        if len(at):
            one = draw(rows[at], of.levels(tau, j, rows[at]))
            made[rows[at], : one.shape[1] - 1] = one[:, :-1]
    return made
