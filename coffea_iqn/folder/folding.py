"""How the gen jets of events are folded: reco jets found or lost, apart from each other, and those of no gen jet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coffea_iqn.emulator.emulator import Prepared
from coffea_iqn.emulator.unmatched import ATTEMPTS, of_near
from coffea_iqn.events.collections import GenEvents
from coffea_iqn.jets.features import ETA, PT, SCALES, VARIABLES
from coffea_iqn.jets.matching import any_within, crowded
from coffea_iqn.jets.table import NOMINAL, Drawn, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.numerics.uniforms import STREAM_ACCEPTANCE, STREAM_APART, STREAM_FAR, STREAM_NEAR, Words, levels
from coffea_iqn.objects.kinds import REACH, Found
from coffea_iqn.variations import Asked

APART = 8  # draws of a reco jet that comes out where a harder one is, before it counts as lost
MOST_UNMATCHED = 256  # levels of a gen jet's unmatched jets lie so far apart


class Beside(NamedTuple):
    """What is drawn of events beside their jets: objects, and missing momentum, pt [GeV] and phi [rad], (events, 2)."""

    found: Found
    missing: Doubles


@dataclass(frozen=True)
class Folding:
    """How gen jets are folded; acceptance, unmatched and raw_pt_min as of `IQNFolder`.

    radius: of the jets; None where the bundle does not say.
    objects: whether whole events are drawn, with electrons, muons, photons and missing momentum.
    name: the systematic that its jets are.
    found: variations of which gen jets are found.
    with_median: whether jets have a column more, the median pt [GeV] of their gen jets at their eta, or NaN.
    """

    emulator: Prepared
    acceptance: bool
    unmatched: bool
    raw_pt_min: float | None
    radius: float | None
    objects: bool = False
    name: str = NOMINAL
    found: tuple[Asked, ...] = ()
    with_median: bool = False

    def draw(
        self, gen: GenEvents, context: Floats | None, keys: Words, replica: int
    ) -> tuple[dict[str, Drawn], Beside | None]:
        """The reco jets of gen jets, by systematic, and what else the events have, where it is drawn.

        Parameters
        ----------
        gen: the gen jets.
        context: of them, (N, 68); None where nothing takes any.
        keys: `uniforms.event_keys` of the events, (events, 4).
        replica: which of several independent draws.
        """
        jets = gen.jets
        event, place = jets.event, jets.place
        of_jets = keys.take(event, axis=0)  # as keys[event], in a tenth of the time
        tau = levels(of_jets, place, replica=replica, n=self.emulator.emulator.network.n_targets)
        known = context if self.emulator.emulator.variables.context else None
        reco, efficiency = self.emulator.respond(jets.values, tau, known, levels=gen.levels)
        efficiencies = {self.name: efficiency}
        for asked in self.found:
            sides = asked.systematics.items()
            efficiencies |= {name: asked.change(efficiency, jets.values, sign) for name, sign in sides}
        found = dict.fromkeys(efficiencies, np.ones(len(reco), dtype=bool))
        if self.acceptance:
            u = levels(of_jets, place, replica=replica, stream=STREAM_ACCEPTANCE)[:, 0]
            found = {name: u < one for name, one in efficiencies.items()}
        if self.objects:
            return self._draw_event(gen, reco, found[self.name], context, keys, of_jets, replica)
        made = {
            # what `_finish` draws again, it does in place
            name: self._finish(gen, reco if len(found) == 1 else reco.copy(), one, known, keys, of_jets, replica, name)
            for name, one in found.items()
        }
        return made, None

    def _draw_event(
        self,
        gen: GenEvents,
        reco: Floats,
        reconstructed: Bools,
        context: Floats | None,
        keys: Words,
        of_jets: Words,
        replica: int,
    ) -> tuple[dict[str, Drawn], Beside]:
        """Whole events, in the order in which the detector decides: objects, jets, unmatched jets, missing momentum."""
        model, how = self.emulator.emulator.objects, self.emulator.all_compiled
        assert model is not None
        assert gen.prompt is not None
        assert gen.missing is not None
        objects = model.draw(gen.jets, gen.prompt, gen.composition, context, gen.missing, keys, replica, compiled=how)
        found, taken = model.keep_jets(gen.jets, objects, context, reconstructed, keys, replica, compiled=how)
        known = context if self.emulator.emulator.variables.context else None
        jets = self._finish(gen, reco, found, known, keys, of_jets, replica, self.name)
        ends, all_of_them = np.cumsum(objects.counts(len(keys))), np.ones(len(objects.event), dtype=bool)
        # what a jet and an object within a radius of each other are made of is the same, and the object's
        jets = jets.where(~any_within(REACH, jets.values, jets.event, objects.values, all_of_them, ends))
        four = jets.values[:, : len(VARIABLES)].astype(np.float64)
        raw = jets._replace(values=SCALES[self.emulator.emulator.variables.scale].undo(four))
        missing = model.missing(gen.jets, taken, raw, objects, gen.missing, keys, replica, compiled=how)
        return {self.name: jets}, Beside(objects, missing)

    def _finish(
        self,
        gen: GenEvents,
        reco: Floats,
        found: Bools,
        context: Floats | None,
        keys: Words,
        of_jets: Words,
        replica: int,
        name: str,
    ) -> Drawn:
        """Of the reco jets of all gen jets those that are found, apart from each other, and unmatched ones."""
        event, place = gen.jets.event, gen.jets.place
        if self.acceptance and self.radius is not None:
            self._set_apart(gen, reco, found, context, of_jets, replica)
        if self.with_median and name == self.name:
            median = self.emulator.median_pt(gen.jets.values, reco[:, ETA], context, levels=gen.levels)
            reco = np.concatenate([reco, median[:, np.newaxis]], axis=1, dtype=np.float32)
        made = Drawn(reco, event, place, np.arange(len(reco))).where(found)
        if not self.unmatched:
            return made
        four = np.ascontiguousarray(reco[:, : len(VARIABLES)])
        others = self._draw_unmatched(gen, event, four, found, context, keys, of_jets, replica)
        # unmatched jets have no median
        beside = np.full((len(others.event), reco.shape[1] - others.values.shape[1]), np.nan, dtype=np.float32)
        others = others._replace(values=np.concatenate([others.values, beside], axis=1))
        return self._above_threshold(Drawn.joined([made, others]))

    def _set_apart(
        self, gen: GenEvents, reco: Floats, found: Bools, context: Floats | None, of_jets: Words, replica: int
    ) -> None:
        """Draw again, in place, reco jets within a radius of a harder one: no two jets of a clustering are so near.

        What is so near to the last is lost: the harder one took its particles.
        """
        assert self.radius is not None
        jets, n = gen.jets, self.emulator.emulator.network.n_targets
        for attempt in range(APART):
            rows = np.flatnonzero(crowded(self.radius, reco, found, jets.counts))
            if not len(rows):
                return
            number = jets.place[rows] * APART + attempt
            tau = levels(of_jets[rows], number, replica=replica, stream=STREAM_APART, n=n)
            of_rows = None if context is None else context[rows]
            reco[rows] = self.emulator.sample(jets.values[rows], tau, of_rows, levels=gen.levels)
        found &= ~crowded(self.radius, reco, found, jets.counts)

    def _draw_unmatched(
        self,
        gen: GenEvents,
        event: Ints,
        reco: Floats,
        found: Bools,
        context: Floats | None,
        keys: Words,
        of_jets: Words,
        replica: int,
    ) -> Drawn:
        """Reco jets of no gen jet: near one of them, which may be lost or not, or from the event."""
        model, jets, columns = self.emulator.emulator.unmatched, gen.jets, self.emulator.emulator.variables.columns
        assert model is not None
        n = len(VARIABLES)

        def of_gen_jets(rows: Ints | slice, number: Ints | int, n: int = n) -> Floats:
            number_of_jet = jets.place[rows] * MOST_UNMATCHED + number
            return levels(of_jets[rows], number_of_jet, replica=replica, stream=STREAM_NEAR, n=n)

        def of_events(rows: Ints | slice, number: Ints | int, n: int = n) -> Floats:
            return levels(keys[rows], number, replica=replica, stream=STREAM_FAR, n=n)

        how = self.emulator.all_compiled
        near, row = model.draw_near(jets.values, jets.counts, reco, found, context, of_gen_jets, compiled=how)
        far, event_of_far = model.draw_far(jets.values, jets.counts, gen.missing, of_events, compiled=how)
        events = np.concatenate([event[row], event_of_far])
        none, values = np.full(len(events), -1), np.concatenate([near, far])
        if columns:
            first, first_far = (1 + ATTEMPTS * places(np.bincount(source)) for source in (row, event_of_far))
            m = n + len(columns)  # levels after those of the first draw of a jet
            tau = np.concatenate([of_gen_jets(row, first, m), of_events(event_of_far, first_far, m)])[:, n:]
            of_gen = of_near(found[row], None if context is None else context[row], len(far))
            drawn = model.draw_columns(values, of_gen, tau, columns, compiled=how)
            values = np.concatenate([values, drawn], axis=1, dtype=np.float32)
        return Drawn(values, events, none, none)

    def _above_threshold(self, jets: Drawn) -> Drawn:
        """The jets above raw_pt_min, where one is given."""
        if self.raw_pt_min is None:
            return jets
        raw = SCALES[self.emulator.emulator.variables.scale].undo(jets.values.astype(np.float64))
        return jets.where(raw[:, PT] > self.raw_pt_min)
