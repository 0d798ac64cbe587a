"""Conditional laws: how many ys a row x has, P(number | x), and the law of each, p(y | x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
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
    """The number of ys of each x, and the conditional law of a y, within bounds.

    Attributes
    ----------
    number: network of P(number | x); None if every x has exactly one y.
    targets: member of the family that draws the targets y; None if only the number is modelled.
    input_scale, target_scale: standardisations of x and y.
    bounds: lower and upper bounds of the standardised targets, (2, n targets) float32.
    by_torch: draw with torch even if the law has a compiled form.
    """

    number: Network | None
    targets: Network | None
    input_scale: Standardisation
    target_scale: Standardisation
    bounds: Floats
    by_torch: bool = False

    @cached_property
    def compiled(self) -> LawModel | None:
        """The compiled form that draws; None if torch does, by choice or because the member has no compiled form."""
        has_one = self.targets is None or self.targets.compiled
        return compile_law(self) if has_one and not self.by_torch else None

    @property
    def with_torch(self) -> Law:
        """The same law, drawn by torch."""
        return replace(self, by_torch=True)

    def draw_numbers(self, x: Floats, u: Floats) -> Ints:
        """Draw the number of ys of each x, (N,), from x (N, n) and levels u (N,)."""
        if self.compiled is None:
            return np.asarray(in_blocks_of_torch(self._count, x, u))
        numbers = np.empty(len(x), dtype=np.int64)
        count(self.compiled, x, singles(u), numbers)
        return numbers

    def draw(
        self, x: Floats, tau: Floats, *, least: Floats | None = None, bounds: Callable[..., Any] | None = None
    ) -> Floats:
        """Draw one y for each x, (M, n targets).

        Parameters
        ----------
        x: (M, n).
        tau: quantile levels, (M, n targets) or more columns, of which the first are used.
        least: lower bound of the first target of each row, (M,), if it depends on x; None for that of the law.
        bounds: function of the index of a target, of the standardised targets before it as tensors, and of a tensor
            (M,), that gives the bounds of the target, for laws without a compiled form; None for those of the law.
        """
        tau = np.ascontiguousarray(tau[:, : len(self.target_scale.mean)])
        standardised = None if least is None else self._standardised_least(least)
        if self.compiled is None:
            return np.asarray(in_blocks_of_torch(partial(self._sample, given=bounds), x, tau, standardised))
        targets = np.empty(tau.shape, dtype=np.float32)
        draw(self.compiled, x, tau, np.empty(0, dtype=np.float32) if standardised is None else standardised, targets)
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
    ) -> tuple[Floats, Floats, Ints]:
        """Draw the ys of sources that may have several each; redraw those that are impossible.

        Parameters
        ----------
        source: source of each y, (M,); the ys of one source are consecutive.
        x, least: of each y, see `draw`.
        levels: quantile levels, (M, m) with those of the targets first, as a function of sources, the place of each y
            among those of its source, and the attempt, from 0.
        decode: function of targets and sources that gives the ys.
        impossible: function of ys and sources that flags the ys to redraw, (M,); None to accept all.
        attempts: greatest number of draws of a y.

        Returns
        -------
        the ys, their levels, and the rows that were still impossible after the last attempt.
        """
        rows = np.arange(len(source))
        place = rows - np.searchsorted(source, source)
        again: Any = slice(None)
        for attempt in range(attempts):
            of, first = source[again], None if least is None else least[again]
            u = levels(of, place[again], attempt)
            drawn = decode(self.draw(x[again], u, least=first), of)
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
        """Standardised x as a tensor, the input of the networks in torch."""
        import torch

        return torch.from_numpy(self.input_scale.apply(x))

    def _count(self, x: Floats, u: Floats) -> Ints:
        assert self.number is not None
        p = self.number.module(self.inputs(x)).softmax(dim=1).double().numpy()
        return np.asarray((np.cumsum(p, axis=1)[:, :-1] <= u[:, None]).sum(axis=1))

    def _sample(
        self, x: Floats, tau: Floats, first: Floats | None = None, *, given: Callable[..., Any] | None = None
    ) -> Floats:
        import torch

        assert self.targets is not None
        least, most = (torch.from_numpy(end) for end in self.bounds)
        lowest = None if first is None else torch.from_numpy(first)

        def bounds(k: int, y: Any) -> Any:
            if given is not None:
                return given(k, y, most[k].expand(len(y)))
            low = lowest if k == 0 and lowest is not None else least[k].expand(len(y))
            return low, most[k].expand(len(y))

        drawn = self.targets.module.sample(torch.from_numpy(tau), self.inputs(x), bounds)
        return np.asarray(self.target_scale.invert(drawn.numpy().astype(np.float64)))
