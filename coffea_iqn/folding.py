"""Reco jets of the gen jets of some events, flat: drawn, lost or found, and those that match no gen jet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.emulator import Emulator
from coffea_iqn.events import GenEvents
from coffea_iqn.features import PT, SCALES, Array
from coffea_iqn.uniforms import STREAM_ACCEPTANCE, STREAM_FAR, STREAM_NEAR, Words, levels

MOST_UNMATCHED = 256  # levels of a gen jet's unmatched jets lie so far apart

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Placed(NamedTuple):
    """Jets (N, 4), the event of each, (N,), and the place of its gen jet in the event, (N,), −1 for none."""

    values: Array
    event: Ints
    place: Ints

    @classmethod
    def joined(cls, parts: list[Placed]) -> Placed:
        """The jets of several, one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def where(self, keep: Bools) -> Placed:
        """The jets where keep (N,) is true."""
        return Placed(*(column.compress(keep, axis=0) for column in self))


@dataclass(frozen=True)
class Folding:
    """How gen jets are folded; options as of `folder.IQNFolder`."""

    emulator: Emulator
    acceptance: bool
    unmatched: bool
    raw_pt_min: float | None
    backend: str
    device: str = "cpu"

    def draw(self, gen: GenEvents, context: Array | None, keys: Words, replica: int) -> Placed:
        """The reco jets of gen jets.

        Parameters
        ----------
        gen: the gen jets.
        context: of them, (N, 57); None where the emulator takes none.
        keys: `uniforms.event_keys` of the events, (events, 4).
        replica: which of several independent draws.
        """
        jets = gen.jets
        event, place = jets.event, jets.local_index
        of_jets = keys.take(event, axis=0)  # as keys[event], in a tenth of the time
        # whether a gen jet was found, if only below the threshold, decides which unmatched jets it has
        raw_pt_min = None if self.unmatched else self.raw_pt_min
        tau = levels(of_jets, place, replica=replica)
        reco, efficiency = self.emulator.respond(
            jets.values,
            tau,
            context,
            raw_pt_min=raw_pt_min,
            backend=self.backend,
            device=self.device,
            levels=gen.levels,
        )
        found = np.ones(len(reco), dtype=bool)
        if self.acceptance:
            found = levels(of_jets, place, replica=replica, stream=STREAM_ACCEPTANCE)[:, 0] < efficiency
        made = Placed(reco, event, place).where(found)
        if not self.unmatched:
            return made
        others = self._draw_unmatched(gen, event, reco, found, context, keys, of_jets, replica)
        return self._above_threshold(Placed.joined([made, others]))

    def _draw_unmatched(
        self,
        gen: GenEvents,
        event: Ints,
        reco: Array,
        found: Bools,
        context: Array | None,
        keys: Words,
        of_jets: Words,
        replica: int,
    ) -> Placed:
        """Reco jets of no gen jet: near one of them, which may be lost or not, or from the event."""
        model, jets = self.emulator.unmatched, gen.jets
        assert model is not None

        def of_gen_jets(rows: Ints | slice, number: Ints | int) -> Array:
            index = jets.local_index[rows] * MOST_UNMATCHED + number
            return levels(of_jets[rows], index, replica=replica, stream=STREAM_NEAR)

        def of_events(rows: Ints | slice, number: Ints | int) -> Array:
            return levels(keys[rows], number, replica=replica, stream=STREAM_FAR)

        near, row = model.draw_near(jets.values, jets.counts, reco, found, context, of_gen_jets, backend=self.backend)
        far, event_of_far = model.draw_far(jets.values, jets.counts, gen.missing, of_events, backend=self.backend)
        events = np.concatenate([event[row], event_of_far])
        return Placed(np.concatenate([near, far]), events, np.full(len(events), -1))

    def _above_threshold(self, jets: Placed) -> Placed:
        """The jets above raw_pt_min, where one is given."""
        if self.raw_pt_min is None:
            return jets
        raw = SCALES[self.emulator.variables.scale].undo(jets.values.astype(np.float64))
        return jets.where(raw[:, PT] > self.raw_pt_min)
