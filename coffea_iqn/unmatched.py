"""Reco jets that match no gen jet: how many an event has, and what they are like.

They are of two kinds. Those near a gen jet, within twice the jets' radius, are parts of it that were clustered on
their own, or the jet itself, found outside the matching cone: they depend on the gen jet and on what became of it. The
others are made of what is too soft for gen jets: they depend on the event, most on where its transverse momentum does
not balance.

A `Law` is p(number | source) and p(jet | source), where a source is a gen jet or an event, as a row of columns. Flat
arrays in and out; randomness enters as levels alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from coffea_iqn.blocks import in_blocks
from coffea_iqn.compiled import unmatched as compiled
from coffea_iqn.compiled.dense import singles
from coffea_iqn.compiled.jets import places_of
from coffea_iqn.context import encode
from coffea_iqn.features import PT, SCALES, Array, Standardisation
from coffea_iqn.networks import Bounds, NumberNetwork, QuantileNetwork
from coffea_iqn.support import Support
from coffea_iqn.unmatched_columns import SMALL, Bools, Ints, any_within, beyond, far_columns, near_columns
from coffea_iqn.unmatched_targets import Frames, jets_far, jets_near

Levels = Callable[[Ints | slice, Ints | int], Array]
"""Four levels, (M, 4), by the rows of M sources and numbers, (M,) or one for all, that tell jets of a source apart."""

REACH = 2.0  # in radii: an unmatched jet belongs to the nearest gen jet within this distance
CONTEXT = ("flavour", "neighbours", "composition")  # levels of context that jets near a gen jet depend on
ATTEMPTS = 8  # draws of a jet that comes out where none can be; the last is kept in any case


@dataclass(frozen=True, eq=False)
class Law:
    """How many unmatched jets a source has, and what they are like.

    Attributes
    ----------
    number: P(number | columns).
    jets: the quantiles of the four targets of each.
    input_scale, target_scale: standardisations of columns and targets.
    bounds: the least and the greatest of each standardised target, (2, 4) float32.
    """

    number: NumberNetwork
    jets: QuantileNetwork
    input_scale: Standardisation
    target_scale: Standardisation
    bounds: Array

    @cached_property
    def compiled(self) -> compiled.Model | None:
        """The same, for compiled code; None where its jets have no compiled form."""
        return compiled.compile_law(self) if self.jets.compiled else None

    def numbers(self, columns: Array, u: Array, *, backend: str = "auto") -> Ints:
        """How many jets each source has, (N,), from columns (N, n) and levels u (N,)."""

        def count(columns: Array, u: Array) -> Array:
            p = torch.softmax(self.number(self.inputs(columns)), dim=1).double().numpy()
            return np.asarray((np.cumsum(p, axis=1)[:, :-1] <= u[:, None]).sum(axis=1))

        if self.compiled is None or backend == "torch":
            return np.asarray(in_blocks(count, columns, u))
        numbers = np.empty(len(columns), dtype=np.int64)
        compiled.count(self.compiled, columns, singles(u), numbers)
        return numbers

    def targets(self, columns: Array, tau: Array, *, backend: str = "auto") -> Array:
        """The targets of a jet of each source, (M, 4), from columns (M, n) and levels tau (M, 4)."""
        least, most = (torch.from_numpy(end) for end in self.bounds)

        def bounds(k: int, drawn: torch.Tensor) -> Bounds:
            return least[k].expand(len(drawn)), most[k].expand(len(drawn))

        def draw(columns: Array, tau: Array) -> Array:
            drawn = self.jets.sample(torch.from_numpy(tau), self.inputs(columns), bounds)
            return np.asarray(self.target_scale.invert(drawn.numpy().astype(np.float64)))

        if self.compiled is None or backend == "torch":
            return np.asarray(in_blocks(draw, columns, tau))
        targets = np.empty(tau.shape, dtype=np.float32)
        compiled.draw(self.compiled, columns, tau, targets)
        return targets.astype(np.float64)

    def inputs(self, columns: Array) -> torch.Tensor:
        """Columns as the networks take them."""
        return torch.from_numpy(self.input_scale.apply(columns))


@dataclass(frozen=True, eq=False)
class Unmatched:
    """The model of reco jets that match no gen jet.

    Attributes
    ----------
    near, far: the laws of jets near a gen jet, and of the others.
    inputs, scale: keys of `features.INPUTS` and `features.SCALES`.
    context: levels of context that jets near a gen jet depend on.
    reach: ΔR within which a jet is near a gen jet.
    raw_pt_min: least pt [GeV] of a jet, before the detector's scale.
    support: of the emulator; |eta| and energy are bounds of these jets as well.
    """

    near: Law
    far: Law
    inputs: str
    scale: str
    context: tuple[str, ...]
    reach: float
    raw_pt_min: float
    support: Support

    @property
    def laws(self) -> dict[str, Law]:
        return {"near": self.near, "far": self.far}

    def draw_near(
        self,
        gen: Array,
        counts: Ints,
        reco: Array,
        found: Bools,
        context: Array | None,
        levels: Levels,
        *,
        backend: str = "auto",
    ) -> tuple[Array, Ints]:
        """Unmatched jets near gen jets, and none within a radius of the reco jet of one.

        Parameters
        ----------
        gen, reco, found, context: as of `near_columns`.
        counts: gen jets in each event, (events,).
        levels: of gen jets; the numbers begin with 0.
        backend: as of `Emulator.sample`.

        Returns
        -------
        reco jets (M, 4), float32, and the rows of the gen jets they are near, (M,).
        """
        context = encode(len(gen), {}) if context is None else context
        law = None if backend == "torch" or self.inputs != "calorimeter" else self.near.compiled
        u = levels(slice(0, len(gen)), 0)[:, 0]

        def columns(rows: Ints) -> Array:
            of_rows = gen.take(rows, axis=0), reco.take(rows, axis=0), found[rows], context.take(rows, axis=0)
            if law is None:
                return near_columns(*of_rows, inputs=self.inputs, levels=self.context)
            return compiled.near_columns(sources(*of_rows))

        def sources(gen: Array, reco: Array, found: Bools, context: Array) -> compiled.Sources:
            small = np.float32(SMALL)
            return compiled.Sources(
                singles(gen), singles(reco), found, singles(context), places_of(self.context), small
            )

        if law is None:
            numbers = self.near.numbers(columns(np.arange(len(gen))), u, backend="torch")
        else:
            numbers = np.empty(len(gen), dtype=np.int64)
            compiled.count_near(law, sources(gen, reco, found, context), singles(u), numbers)
        event = np.repeat(np.arange(len(counts)), counts)
        ends = np.cumsum(counts)

        def decode(targets: Array, source: Ints) -> Array:
            return np.asarray(jets_near(targets, gen.take(source, axis=0)))

        def impossible(raw: Array, source: Ints) -> Bools:
            return np.asarray(any_within(self.reach / REACH, raw, event[source], reco, found, ends))

        return self._draw(self.near, numbers, columns, levels, decode, impossible, backend)

    def draw_far(
        self, gen: Array, counts: Ints, missing: Array | None, levels: Levels, *, backend: str = "auto"
    ) -> tuple[Array, Ints]:
        """The other unmatched jets, and none near a gen jet.

        Parameters
        ----------
        gen, counts, missing: as of `far_columns`.
        levels: of events; the numbers begin with 0.
        backend: as of `Emulator.sample`.

        Returns
        -------
        reco jets (M, 4), float32, and their events, (M,).
        """
        columns, frames = far_columns(gen, counts, missing)
        all_of_them, ends = np.ones(len(gen), dtype=bool), np.cumsum(counts)
        numbers = self.far.numbers(columns, levels(slice(0, len(columns)), 0)[:, 0], backend=backend)

        def decode(targets: Array, source: Ints) -> Array:
            return np.asarray(jets_far(targets, Frames(frames.axis[source], frames.side[source])))

        def impossible(raw: Array, source: Ints) -> Bools:
            return np.asarray(any_within(self.reach, raw, source, gen, all_of_them, ends))

        def known(rows: Ints) -> Array:
            return columns.take(rows, axis=0)

        return self._draw(self.far, numbers, known, levels, decode, impossible, backend)

    def _draw(
        self,
        law: Law,
        numbers: Ints,
        columns: Callable[[Ints], Array],
        levels: Levels,
        decode: Callable[[Array, Ints], Array],
        impossible: Callable[[Array, Ints], Bools],
        backend: str,
    ) -> tuple[Array, Ints]:
        """The jets of sources, (M, 4), and the source of each; those that are impossible again."""
        source, k = _each(numbers)
        known, raw, rows = columns(source), np.empty((len(source), 4)), np.arange(len(source))
        again: Ints | slice = slice(None)
        support = self.support.drawn_in()
        edges = support.abs_eta_max, support.energy_max, *SCALES[self.scale]
        for attempt in range(ATTEMPTS):
            of = source[again]
            tau = levels(of, 1 + k[again] * ATTEMPTS + attempt)
            raw[again] = drawn = decode(law.targets(known[again], tau, backend=backend), of)
            missed = rows[again][beyond(drawn, *edges) | impossible(drawn, of)]
            if not len(missed):
                break
            again = missed
        raw[:, PT] = np.maximum(raw[:, PT], self.raw_pt_min)
        inside = ~beyond(raw, *edges)  # a jet near others to the last is kept, but none beyond the detector
        return SCALES[self.scale].apply(raw[inside]).astype(np.float32), source[inside]


def _each(numbers: Ints) -> tuple[Ints, Ints]:
    """Of each of so many jets a source: the row of its source, and which of its jets it is, from 0."""
    source = np.repeat(np.arange(len(numbers)), numbers)
    return source, np.arange(len(source)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
