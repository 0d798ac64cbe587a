"""Flatten jagged pairs of a gen jet and a reco jet (or a number) for densities, and make the results jagged again."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints
from coffea_iqn.ranges import expect


class JaggedPairs(NamedTuple):
    """Flat pairs of a gen jet and a reco jet, levels or a number, and the structure of the lists they come from.

    Attributes
    ----------
    gen: the gen jets of complete pairs, that is without None.
    other: the other element of each complete pair, (N, 4), or (N,).
    there: which of all pairs are complete.
    counts: number of all pairs in each event, (events,).
    """

    gen: JetTable
    other: Floats
    there: Bools
    counts: Ints

    @classmethod
    def of(cls, gen: ak.Array, other: ak.Array, *, other_is: str) -> JaggedPairs:
        """Pair gen jets, events × var, with reco jets, levels of each variable, or numbers, in lists of equal lengths.

        Raises
        ------
        TypeError: for anything but such lists; a jet may be None, a list may not.
        ValueError: if the lengths differ.
        """
        for name, array in (("gen jets", gen), (other_is, other)):
            if not isinstance(array, ak.Array) or array.ndim != 2 or ak.any(ak.is_none(array, axis=0)):
                msg = f"{name}: expected an awkward array of events × var, got {getattr(array, 'type', type(array))}"
                raise TypeError(msg)
        fits = len(gen) == len(other) and ak.all(ak.num(gen, axis=1) == ak.num(other, axis=1))
        expect(fits, f"{other_is}: expected lists as long as those of the gen jets, got other lengths")
        flat, flat_other = ak.flatten(gen, axis=1), ak.flatten(other, axis=1)
        there = ~(_is_none(flat) | _is_none(flat_other))
        counts = np.asarray(ak.num(gen, axis=1)).astype(np.int64)
        event = np.repeat(np.arange(len(counts)), counts)[there]
        of_there = np.bincount(event, minlength=len(counts))
        known, asked = (ak.unflatten(_some(array, there), of_there) for array in (flat, flat_other))
        if set(VARIABLES) <= set(asked.fields):  # in their own precision
            columns = [np.asarray(ak.flatten(asked[name])) for name in VARIABLES]
            values = np.stack(columns, axis=1)
        else:
            values = flatten_jets(asked, "reco").values if asked.fields else np.asarray(ak.flatten(asked))
        return cls(flatten_jets(known), values, there, counts)

    def rows(self, jets: JetTable) -> Ints:
        """Find the gen jets in a table of all gen jets of the events by their four-momenta; return their rows, (N,).

        Raises
        ------
        ValueError: if one is not in the table.
        """
        values, event = self.gen.values, self.gen.event
        first, counts = np.cumsum(jets.counts) - jets.counts, jets.counts
        rows = np.full(len(values), -1)
        for place in range(int(counts.max(initial=0))):
            there = place < counts[event]
            at = np.where(there, first[event] + place, 0)
            same = there & (jets.values[at] == values).all(axis=1)
            rows = np.where(same & (rows < 0), at, rows)
        n_strange = int((rows < 0).sum())
        fits = not n_strange
        expect(fits, f"gen jets: expected unchanged jets of their collection, got {n_strange} of {len(rows)} not in it")
        return rows

    def jagged(self, values: Doubles) -> ak.Array:
        """Put numbers of complete pairs, (N,), or (N, 4) as records, into lists, with None for incomplete pairs."""
        content: Any = ak.contents.NumpyArray(values)
        if values.ndim == 2:
            columns = [ak.contents.NumpyArray(column) for column in np.ascontiguousarray(values.T)]
            content = ak.contents.RecordArray(columns, list(VARIABLES), length=len(values))
        if not self.there.all():
            index = np.where(self.there, np.cumsum(self.there) - 1, -1)
            content = ak.contents.IndexedOptionArray(ak.index.Index64(index), content)
        return ak.unflatten(ak.Array(content), self.counts)


def _is_none(flat: ak.Array) -> Bools:
    """Return which elements are None themselves; `ak.is_none` would also look into the fields of records."""
    return flat.layout.mask_as_bool(valid_when=False) if flat.layout.is_option else np.zeros(len(flat), dtype=bool)


def _some(flat: ak.Array, there: Bools) -> ak.Array:
    """Return the selected elements with a type that has no option."""
    layout = flat.layout[there]
    return ak.Array(layout.project() if layout.is_option else layout, behavior=flat.behavior)
