"""Laws of rows of numbers, whatever they are of: how many there are, p(number | x), and what each is like, p(y | x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from coffea_iqn.iqn.compiled import LawModel, compile_law, count, draw
from coffea_iqn.iqn.device import in_blocks_of_torch
from coffea_iqn.iqn.network import Network
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.numerics.arrays import Bools, Floats, Ints, Singles
from coffea_iqn.numerics.dense import singles


@dataclass(frozen=True, eq=False)
class Law:
    """How many ys an x has, and what they are like, between bounds.

    Attributes
    ----------
    number: P(number | x); None where each x has one.
    targets: the member of the family that draws the targets y; None where nothing but their number is asked.
    input_scale, target_scale: standardisations of x and y.
    bounds: the least and the greatest of each standardised target, (2, n targets) float32.
    """

    number: Network | None
    targets: Network | None
    input_scale: Standardisation
    target_scale: Standardisation
    bounds: Floats

    @cached_property
    def compiled(self) -> LawModel | None:
        """The same, for compiled code; None where the member has no compiled form."""
        return compile_law(self) if self.targets is None or self.targets.compiled else None

    def draw_numbers(self, x: Floats, u: Floats, *, compiled: bool = True) -> Ints:
        """How many ys each x has, (N,), from x (N, n) and levels u (N,)."""
        law = self.compiled if compiled else None
        if law is None:
            return np.asarray(in_blocks_of_torch(self._count, x, u))
        numbers = np.empty(len(x), dtype=np.int64)
        count(law, x, singles(u), numbers)
        return numbers

    def draw(self, x: Floats, tau: Floats, *, least: Floats | None = None, compiled: bool = True) -> Floats:
        """A y of each x, (M, n targets), from x (M, n) and levels tau (M, n targets).

        Parameters
        ----------
        x, tau: rows, and the levels of each.
        least: of the first target of each, (M,), where that depends on x; None for its bound.
        compiled: whether to draw with compiled code, where there is a compiled form.
        """
        law = self.compiled if compiled else None
        standardised = None if least is None else self._standardised_least(least)
        if law is None:
            return np.asarray(in_blocks_of_torch(self._sample, x, tau, standardised))
        targets = np.empty(tau.shape, dtype=np.float32)
        draw(law, x, tau, np.empty(0, dtype=np.float32) if standardised is None else standardised, targets)
        return targets.astype(np.float64)

    def draw_each(
        self,
        source: Ints,
        x: Floats,
        levels: Callable[[Ints, Ints, int], Floats],
        decode: Callable[[Floats, Ints], Floats],
        impossible: Callable[[Floats, Ints], Bools] | None = None,
        *,
        least: Floats | None = None,
        attempts: int = 1,
        compiled: bool = True,
    ) -> tuple[Floats, Floats, Ints]:
        """The ys of sources, some of each; those that are impossible again, in so many attempts at most.

        Parameters
        ----------
        source: of each y, in a row those of one source, (M,).
        x, least: of each y, as of `draw`.
        levels: of sources, which of its ys each is, and the attempt, from 0: (M, m), those of the targets first.
        decode: ys of targets and sources.
        impossible: which of some ys and their sources cannot be, (M,); None where all can.

        Returns
        -------
        the ys, their levels, and the rows of those that were impossible to the last.
        """
        rows, n = np.arange(len(source)), len(self.target_scale.mean)
        place = rows - np.searchsorted(source, source)
        again: Any = slice(None)
        for attempt in range(attempts):
            of, first = source[again], None if least is None else least[again]
            u = levels(of, place[again], attempt)
            drawn = decode(self.draw(x[again], np.ascontiguousarray(u[:, :n]), least=first, compiled=compiled), of)
            if attempt == 0:
                values, tau = drawn, u
            else:
                values[again], tau[again] = drawn, u
            again = rows[:0] if impossible is None else rows[again][impossible(drawn, of)]
            if not len(again):
                break
        return values, tau, again

    def _standardised_least(self, least: Floats) -> Singles:
        mean, scale = self.target_scale.mean[0], self.target_scale.scale[0]
        return np.asarray(np.clip((least - mean) / scale, self.bounds[0, 0], self.bounds[1, 0]), dtype=np.float32)

    def inputs(self, x: Floats) -> Any:
        """X as the networks of torch take it."""
        import torch

        return torch.from_numpy(self.input_scale.apply(x))

    def _count(self, x: Floats, u: Floats) -> Ints:
        assert self.number is not None
        p = self.number.module(self.inputs(x)).softmax(dim=1).double().numpy()
        return np.asarray((np.cumsum(p, axis=1)[:, :-1] <= u[:, None]).sum(axis=1))

    def _sample(self, x: Floats, tau: Floats, first: Floats | None = None) -> Floats:
        import torch

        assert self.targets is not None
        least, most = (torch.from_numpy(end) for end in self.bounds)
        lowest = None if first is None else torch.from_numpy(first)

        def bounds(k: int, y: Any) -> tuple[Any, Any]:
            low = lowest if k == 0 and lowest is not None else least[k].expand(len(y))
            return low, most[k].expand(len(y))

        drawn = self.targets.module.sample(torch.from_numpy(tau), self.inputs(x), bounds)
        return np.asarray(self.target_scale.invert(drawn.numpy().astype(np.float64)))
