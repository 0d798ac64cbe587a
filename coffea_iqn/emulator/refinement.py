"""Refined draws: choose one of several candidates with a probability proportional to a ratio of densities.

Candidate j of a jet, with ratio r_j, is accepted with probability r_j / b, where b is the bound of the ratio; otherwise
the next candidate is tried. This is rejection sampling: draws have the density of the candidates times r, normalised
for each jet x. If none of K candidates is accepted, one of them is chosen with probability proportional to r_j
(sampling-importance-resampling: D. B. Rubin, in Bayesian Statistics 3, 1988, 395).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from coffea_iqn.iqn.network import N_TARGETS, Network
from coffea_iqn.numerics.uniforms import MOST_LEVELS

Columns = Any
BLOCK = 4  # levels are generated in blocks of four


class Candidates(NamedTuple):
    """Layout of the levels of a refined draw: which belong to which candidate.

    Attributes
    ----------
    n: number of levels of a draw of the network; the first n levels are those of the first candidate.
    own: how many levels each further candidate has of its own. For an autoregressive member these are the levels of the
        four-momentum, since ratios do not depend on variables drawn after it. They start a new block of four.
    most: maximum number of candidates, K; the last level decides which one is chosen.
    """

    n: int
    own: int
    most: int

    @classmethod
    def of(cls, network: Network, ratio: Mapping[str, Any]) -> Candidates:
        """Return the layout for a network, given the description of the ratio network."""
        return cls(*_sizes(network), int(ratio["candidates"]))

    @classmethod
    def most_of(cls, network: Network) -> int:
        """Return the maximum number of candidates for which a draw can have levels."""
        n, own = _sizes(network)
        return 1 + (MOST_LEVELS - 1 - _whole(n)) // _whole(own)

    @property
    def n_levels(self) -> int:
        """Number of levels of a refined draw."""
        return self._start(self.most) + 1

    def _start(self, j: int) -> int:
        return _whole(self.n) + (j - 1) * _whole(self.own)

    def own_levels(self) -> list[slice]:
        """Return which levels each candidate has of its own; of the first one, those of the same variables."""
        starts = (0, *(self._start(j) for j in range(1, self.most)))
        return [slice(start, start + self.own) for start in starts]

    def levels(self, tau: Columns, j: int, rows: Any = slice(None)) -> Columns:
        """Return the levels of candidate j for some rows, (n rows, n), from all levels, (N, n_levels)."""
        if j == 0:
            return tau[:, : self.n][rows]
        own = tau[:, self._start(j) : self._start(j) + self.own][rows]
        return array_namespace(tau).concat([own, tau[:, self.own : self.n][rows]], axis=1)


def _sizes(network: Network) -> tuple[int, int]:
    return network.n_levels, N_TARGETS if network.autoregressive else network.n_levels


def _whole(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


def take(of: Candidates, tau: Columns, first: Columns, draw: Callable[[Any, Columns], Columns]) -> Columns:
    """Choose a candidate for each jet.

    Parameters
    ----------
    of: layout of the levels.
    tau: levels, (N, n_levels).
    first: the first candidates, with their ratios over the bound in the last column, (N, m + 1).
    draw: function that draws candidates of some rows at levels (n rows, n). Its result has the columns of first, but
        may lack those before the last that are the same for all candidates.

    Returns
    -------
    (N, m): the chosen candidates.
    """
    xp = array_namespace(tau)
    u, made = tau[:, -1], xp.asarray(first[:, :-1], copy=True)
    shares = xp.zeros((len(tau), of.most), dtype=first.dtype, device=device(first))
    shares[:, 0] = first[:, -1]
    # one level u decides: the first candidate after which the probability of no acceptance is at most u is chosen
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
