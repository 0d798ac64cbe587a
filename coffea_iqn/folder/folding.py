"""Fold gen jets on flat arrays: reco jets found or lost and kept apart from each other, and unmatched reco jets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.emulator.emulator import Emulator, Prepared
from coffea_iqn.emulator.overlaps import Overlaps, steps
from coffea_iqn.emulator.unmatched import ATTEMPTS, Frames, far_columns, of_near
from coffea_iqn.events.collections import GenEvents
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import N_COLUMNS, OF_EVENT, known_levels
from coffea_iqn.jets.features import ETA, PHI, PT, SCALES, VARIABLES
from coffea_iqn.jets.matching import any_within, crowded
from coffea_iqn.jets.table import NOMINAL, Drawn, JetTable, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.numerics.uniforms import STREAM_ACCEPTANCE, STREAM_APART, STREAM_FAR, STREAM_NEAR, Keys, Words
from coffea_iqn.objects.columns import propagated_met
from coffea_iqn.objects.kinds import REACH, Found
from coffea_iqn.variations import JETS, MISSING, Draw, RequestedVariation, of_jets

BLOCK = 49152  # gen jets folded at a time, or so: reusing memory is cheaper than allocating fresh pages
APART = 8  # redraws of a reco jet next to a harder one, before it counts as lost
WEIGHT = "weight"  # name of the jet field with weights
MOST_UNMATCHED = 256  # level indices reserved for the unmatched jets of one gen jet


class Rest(NamedTuple):
    """The rest of whole events next to jets: objects, and missing momentum, pt [GeV] and phi [rad], (events, 2)."""

    found: Found
    missing: Doubles


@dataclass(frozen=True, eq=False)
class Block:
    """Gen jets of a block of events, and the keys of their quantile levels.

    Attributes
    ----------
    gen: the gen jets.
    event: index of the event of each jet, (N,).
    context: conditioning variables of the jets, (N, 68); None if no network uses them.
    levels: context levels that are known for at least one of the jets.
    keys, of_jets: keys of the events, and of the event of each jet.
    """

    gen: GenEvents
    event: Ints
    context: Floats | None
    levels: tuple[str, ...]
    keys: Keys
    of_jets: Keys

    def part(self, rows: Ints | Bools) -> tuple[Floats, Floats | None]:
        """Return some of the gen jets, and their context."""
        return self.gen.jets.values[rows], None if self.context is None else self.context[rows]

    @cached_property
    def far(self) -> tuple[Floats, Frames]:
        """The `far_columns` of the events, on which unmatched jets and objects far from gen jets depend."""
        return far_columns(self.gen.jets.values, self.gen.jets.counts, self.gen.missing)


@dataclass(frozen=True)
class Folding:
    """How to fold gen jets with one emulator; for acceptance, unmatched and raw_pt_min see `IQNFolder`.

    prepared: the emulator.
    objects: whether to draw whole events, with electrons, muons, photons and missing momentum.
    name: the systematic of the jets drawn, such as "nominal".
    found: variations of the efficiency, which change the set of jets.
    with_median: whether to add a column with the median pt [GeV] given the gen jet, at the eta of the reco jet; NaN for
        unmatched jets.
    weighing: refined emulator whose weights are added as a column, 1 for unmatched jets; None for no weights.
    """

    prepared: Prepared
    acceptance: bool
    unmatched: bool
    raw_pt_min: float | None
    objects: bool = False
    name: str = NOMINAL
    found: tuple[RequestedVariation, ...] = ()
    with_median: bool = False
    weighing: Emulator | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Field names of the jets, without the column of the median."""
        return (*self.emulator.variables.names, *([WEIGHT] if self.weighing is not None else []))

    @property
    def emulator(self) -> Emulator:
        """The emulator that draws."""
        return self.prepared.emulator

    def draw(
        self, gen: GenEvents, context: Floats | None, levels: tuple[str, ...], keys: Keys
    ) -> tuple[dict[str, Drawn], Rest | None]:
        """Draw the reco jets of gen jets, by systematic, and the rest of the events, or None unless objects are drawn.

        Parameters
        ----------
        gen, context, levels, keys: see `Block`.
        """
        jets, event = gen.jets, gen.jets.event
        of_jets = keys.take(event)
        known = context if self.emulator.variables.context else None
        block = Block(gen, event, known, levels, keys, of_jets)
        tau = of_jets.levels(jets.place, n=self.emulator.n_levels)
        overlaps = self.emulator.overlaps if self.acceptance else None
        to_draw = [] if overlaps is None else list(steps(jets.values, jets.counts, overlaps.radius))
        reco, efficiency = self._respond(block, tau, [rows for rows, _ in to_draw])
        efficiencies = {self.name: efficiency}
        for asked in self.found:
            sides = asked.systematics.items()
            efficiencies |= {name: asked.change(efficiency, jets.values, sign) for name, sign in sides}
        found = dict.fromkeys(efficiencies, np.ones(len(reco), dtype=bool))
        if self.acceptance:
            u = of_jets.levels(jets.place, STREAM_ACCEPTANCE)[:, 0]
            found = {name: u < one for name, one in efficiencies.items()}
            if overlaps is not None:
                self._overlap(overlaps, block, to_draw, tau, u, reco, efficiency, found)
        if self.objects:
            assert context is not None
            return self._draw_event(block, reco, found[self.name], context)
        made = {
            # `_finish` redraws jets in place
            name: self._finish(block, reco if len(found) == 1 else reco.copy(), one, name)
            for name, one in found.items()
        }
        return made, None

    def _respond(self, block: Block, tau: Floats, overlapping: list[Ints]) -> tuple[Floats, Floats]:
        """Return reco jets, except of these rows of overlapping jets, which are drawn later, and all efficiencies."""
        gen, later = block.gen, np.concatenate([*overlapping, np.zeros(0, dtype=np.int64)])
        if not len(later):
            return self.prepared.respond(gen.jets.values, tau, block.context, levels=block.levels)
        now = np.ones(len(tau), dtype=bool)
        now[later] = False
        reco = np.empty((len(tau), len(self.emulator.variables.names)), dtype=np.float32)
        efficiency = np.empty(len(tau), dtype=np.float32)
        jets, context = block.part(now)
        reco[now], efficiency[now] = self.prepared.respond(jets, tau[now], context, levels=block.levels)
        efficiency[later] = self.prepared.efficiency(*block.part(later), levels=block.levels)
        return reco, efficiency

    def _overlap(
        self,
        model: Overlaps,
        block: Block,
        to_draw: list[tuple[Ints, Ints]],
        tau: Floats,
        u: Floats,
        reco: Floats,
        own: Floats,
        found: dict[str, Bools],
    ) -> None:
        """Draw overlapping jets, in place, each given the other.

        Parameters
        ----------
        to_draw: rows of the jets to draw together, and of the jet that each overlaps with, in order; see `steps`.
        tau, u: levels of the four-momenta and of the acceptance, (N, n) and (N,).
        reco, own, found: reco jets; their efficiencies if there were no other jets; which are found, by systematic.
        """
        jets = block.gen.jets
        for rows, near in to_draw:
            gen, context = block.part(rows)
            other = jets.values[near], reco[near], found[self.name][near]
            x, possible = model.columns(gen, *other, own[rows]), own[rows] > 0.0  # zero outside the detector
            for four in self.emulator.four_levels:
                tau[rows, four] = model.levels(x, tau[rows, four])
            reco[rows] = self.prepared.sample(gen, tau[rows], context, levels=block.levels)
            found[self.name][rows] = possible & model.found(x, u[rows])
            for asked in self.found:
                for name, sign in asked.systematics.items():  # shifts of the level are those of the efficiency
                    found[name][rows] = possible & model.found(x, u[rows] + sign * asked.size_of(gen))

    def _draw_event(
        self, block: Block, reco: Floats, reconstructed: Bools, context: Floats
    ) -> tuple[dict[str, Drawn], Rest]:
        """Draw whole events in the order of reconstruction: objects, jets, unmatched jets, missing momentum."""
        model, gen, keys = self.emulator.objects, block.gen, block.keys
        assert model is not None
        assert gen.prompt is not None
        assert gen.missing is not None
        objects = model.draw(gen.jets, gen.prompt, gen.composition, context, block.far, keys)
        found, taken = model.keep_jets(gen.jets, objects, context, reconstructed, keys)
        jets = self._finish(block, reco, found, self.name)
        # a jet and an object this close consist of the same particles, which belong to the object
        of_event = objects.counts(len(gen.jets.counts))
        jets = jets.where(~any_within(REACH, jets.values, jets.event, objects.values, of_event))
        raw = jets._replace(values=self._raw(jets))
        missing = model.missing(gen.jets, taken, raw, objects, gen.missing, keys)
        return {self.name: jets}, Rest(objects, missing)

    def _finish(self, block: Block, reco: Floats, found: Bools, name: str) -> Drawn:
        """Keep the reco jets that are found, set them apart from each other, and add unmatched ones."""
        gen = block.gen
        if self.acceptance and self.emulator.radius is not None:
            self._set_apart(block, reco, found, self.emulator.radius)
        if self.weighing is not None:
            weights = self.weighing.weights(gen.jets.values, reco, block.context)
            reco = np.concatenate([reco, weights[:, np.newaxis]], axis=1)
        if self.with_median and name == self.name:
            median = self.prepared.median_pt(gen.jets.values, reco[:, ETA], block.context, levels=block.levels)
            reco = np.concatenate([reco, median[:, np.newaxis]], axis=1, dtype=np.float32)
        made = Drawn(reco, block.event, gen.jets.place, np.arange(len(reco))).where(found)
        made = self._above(made, self.prepared.threshold)
        if not self.unmatched:
            return made
        others = self._draw_unmatched(block, np.ascontiguousarray(reco[:, : len(VARIABLES)]), found)
        # unmatched jets have no median
        n_extra = reco.shape[1] - others.values.shape[1]
        extra = np.full((len(others.event), n_extra), np.nan, dtype=np.float32)
        extra[:, : self.weighing is not None] = 1.0
        others = others._replace(values=np.concatenate([others.values, extra], axis=1))
        return Drawn.joined([made, others])

    def _above(self, jets: Drawn, threshold: float) -> Drawn:
        """Return the jets above raw_pt_min, unless they were drawn above it: with this threshold [GeV]."""
        if self.raw_pt_min is None or threshold >= self.raw_pt_min:
            return jets
        return jets.where(self._raw(jets)[:, PT] > self.raw_pt_min)

    def _set_apart(self, block: Block, reco: Floats, found: Bools, radius: float) -> None:
        """Redraw, in place, reco jets within a radius of a harder one: clustering never gives two jets that close.

        A jet that is still that close after the last redraw is lost: the harder jet took its particles.
        """
        jets, n = block.gen.jets, self.emulator.n_levels
        events = np.arange(len(jets.counts))
        for attempt in range(APART):
            rows = np.flatnonzero(crowded(radius, reco, found, jets.counts, events))
            if not len(rows):
                return
            events = block.event[rows]  # jets of the other events are apart and do not change
            number = jets.place[rows] * APART + attempt
            tau = block.of_jets.take(rows).levels(number, STREAM_APART, n)
            gen, context = block.part(rows)
            reco[rows] = self.prepared.sample(gen, tau, context, levels=block.levels)
        found &= ~crowded(radius, reco, found, jets.counts, events)

    def _draw_unmatched(self, block: Block, reco: Floats, found: Bools) -> Drawn:
        """Draw reco jets that match no gen jet: near a gen jet, found or lost, and elsewhere in the event."""
        model, columns = self.emulator.unmatched, self.emulator.variables.columns
        assert model is not None
        gen, event, context, n = block.gen, block.event, block.context, len(VARIABLES)

        def of_gen_jets(rows: Ints | slice, number: Ints | int, n: int = n) -> Floats:
            return block.of_jets.take(rows).levels(gen.jets.place[rows] * MOST_UNMATCHED + number, STREAM_NEAR, n)

        def of_events(rows: Ints | slice, number: Ints | int, n: int = n) -> Floats:
            return block.keys.take(rows).levels(number, STREAM_FAR, n)

        jets = gen.jets.values, gen.jets.counts
        near, row = model.draw_near(*jets, reco, found, context, of_gen_jets)
        far, event_of_far = model.draw_far(*jets, block.far, of_events)
        events = np.concatenate([event[row], event_of_far])
        none, values = np.full(len(events), -1), np.concatenate([near, far])
        apart = self._are_apart(values, events, block, reco, found)
        if columns:
            first, first_far = (1 + ATTEMPTS * places(np.bincount(source)) for source in (row, event_of_far))
            m = n + len(columns)  # the levels of the columns follow the four-momentum levels of a jet's first draw
            tau = np.concatenate([of_gen_jets(row, first, m), of_events(event_of_far, first_far, m)])[:, n:]
            of_gen = of_near(found[row], None if context is None else context[row], len(far))
            drawn = model.draw_columns(values, of_gen, tau, columns)
            values = np.concatenate([values, drawn], axis=1, dtype=np.float32)
        return self._above(Drawn(values, events, none, none).where(apart), model.raw_pt_min)

    def _are_apart(self, jets: Floats, event: Ints, block: Block, reco: Floats, found: Bools) -> Bools:
        """Return which unmatched jets are not within a radius of a matched jet, or of a harder unmatched one, (M,)."""
        radius, counts = self.emulator.radius, np.bincount(event, minlength=len(block.gen.jets.counts))
        if radius is None:
            return np.ones(len(jets), dtype=bool)
        order, close = np.argsort(event, kind="stable"), np.empty(len(jets), dtype=bool)
        everywhere = np.ones(len(jets), dtype=bool)
        close[order] = crowded(radius, jets[order], everywhere, counts, np.arange(len(counts)))
        of_event = np.bincount(block.event[found], minlength=len(counts))
        close |= any_within(radius, jets, event, reco[found], of_event)
        return ~close

    def _raw(self, jets: Drawn) -> Any:
        """Return the four-momenta of jets before the detector's jet scale, (M, 4)."""
        four = jets.values[:, : len(VARIABLES)].astype(np.float64)
        return SCALES[self.emulator.variables.scale].undo(four)


def draw_events(
    gen: GenEvents, foldings: Sequence[Folding], keys: Words, replicas: int, *, with_distances: bool
) -> tuple[dict[str, list[JetTable]], list[dict[str, JetTable]], list[Doubles], set[str], Ints]:
    """Draw everything that foldings give for gen jets, one block of events at a time.

    Parameters
    ----------
    gen: the gen jets of all events.
    foldings: the nominal folding, then those of other bundles.
    keys: `uniforms.event_keys` of all events, (events, 4).
    replicas: number of independent draws.
    with_distances: whether to histogram the distances of gen jets to their nearest neighbours.

    Returns
    -------
    reco jets of each replica, by systematic; objects and missing momentum as in `Folded`; the context levels known for
    the gen jets; `radii.histogram` of the distances.
    """
    names, n_events = {folding.name: folding.names for folding in foldings}, len(gen.jets.counts)
    takes_context = any(folding.objects or folding.emulator.variables.context for folding in foldings)
    moot = all(folding.emulator.has_moot for folding in foldings)
    drawn: dict[str, list[list[Drawn]]] = defaultdict(lambda: [[] for _ in range(replicas)])
    rest: list[list[Rest]] = [[] for _ in range(replicas)]
    context_levels: set[str] = set()
    distances = np.zeros(radii.N_BINS, dtype=np.int64)
    blocks = list(gen.blocks(BLOCK))
    buffer = np.empty((max(len(part.jets.values) for _, part in blocks), N_COLUMNS), dtype=np.float32)
    first_row = 0
    for block, part in blocks:
        told = part.not_moot if moot else None
        context = part.context(buffer, told=told) if takes_context else None
        left_out = set() if told is None or told.any() else OF_EVENT.keys() & set(part.levels)
        levels = () if context is None else known_levels(context, set(part.levels) - left_out)
        context_levels |= {*levels, *left_out}
        if with_distances and (context is not None or block.start == 0):
            distances += radii.neighbours(part.context(buffer) if context is None else context)
        for replica, folding in product(range(replicas), foldings):
            of_jets, others = folding.draw(part, context, levels, Keys(keys[block], replica))
            if others is not None:
                moved = others.found._replace(event=others.found.event + block.start)
                rest[replica].append(others._replace(found=moved))
            for name, found in of_jets.items():
                row = np.where(found.row >= 0, found.row + first_row, -1)
                drawn[name][replica].append(found._replace(event=found.event + block.start, row=row))
        first_row += len(part.jets.values)
    tables = {
        name: [Drawn.joined(parts).table(n_events, names.get(name, names[NOMINAL])) for parts in of_replicas]
        for name, of_replicas in drawn.items()
    }
    whole = [parts for parts in rest if parts]
    objects = [Found.joined([one.found for one in parts]).tables(n_events) for parts in whole]
    missing = [np.concatenate([one.missing for one in parts]) for parts in whole]
    return tables, objects, missing, context_levels, distances


class Whole(NamedTuple):
    """Reconstructed events: jets, objects by kind, and missing momentum, pt [GeV] and phi [rad], (events, 2)."""

    jets: JetTable
    objects: dict[str, JetTable]
    missing: Doubles


def vary_event(drawn: Whole, asked: RequestedVariation, sign: float, jets: JetTable, scale: str) -> Whole:
    """Return events with one variation, propagated to missing momentum.

    Parameters
    ----------
    drawn: the nominal events.
    asked, sign: a variation of `OF_THE_SAME`, and its side.
    jets: the jets with that variation, in the order of the nominal ones.
    scale: key of `features.SCALES`, the jet energy scale of the detector.
    """
    if asked.of == MISSING:
        four = SCALES[scale].undo(drawn.jets.values[:, : len(VARIABLES)].astype(np.float64))
        tables = [drawn.jets, *drawn.objects.values()]
        momenta = np.concatenate([of[:, : PHI + 1] for of in (four, *(table.values for table in tables[1:]))])
        event = np.concatenate([table.event for table in tables])
        missing = asked.change(Draw(momenta.astype(np.float32), missing=drawn.missing, event=event), momenta, sign)
        return drawn._replace(missing=missing.astype(np.float64, copy=False))
    before, after, objects = drawn.jets, jets, drawn.objects
    if asked.of != JETS:
        before = objects[asked.of]
        after = before._replace(values=asked.change(Draw(before.values), before.values, sign))
        objects = objects | {asked.of: after}
    missing = propagated_met(drawn.missing, before.event, before.values, after.values)
    return Whole(jets, objects, np.asarray(missing))


def vary_jets(drawn: Sequence[JetTable], variations: Iterable[RequestedVariation]) -> dict[str, list[JetTable]]:
    """Return the nominal jets, without the column of the median if present, and their variations, by systematic.

    Variations of the set of jets, of objects and of missing momentum are left out.
    """
    made: dict[str, list[JetTable]] = defaultdict(list)
    for table in drawn:
        n = len(table.columns)
        median = table.values[:, n].astype(np.float64) if table.values.shape[1] > n else None
        values = table.values if median is None else np.ascontiguousarray(table.values[:, :n])
        made[NOMINAL].append(table._replace(values=values))
        for asked in of_jets(variations):
            for name, sign in asked.systematics.items():
                changed = asked.change(Draw(values, median), values, sign)
                made[name].append(table._replace(values=changed))
    return made
