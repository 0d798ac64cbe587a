"""Jagged pairs of a gen jet and what is asked of it, flat and back, for densities, which know no lists and no None."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import GEN_JET
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints


class JaggedPairs(NamedTuple):
    """Pairs of a gen jet and another jet, or numbers, in a row, and the lists that they come from.

    Attributes
    ----------
    gen: the gen jets of the pairs of which nothing is missing.
    other: what each comes with, (N, 4), or (N,).
    there: which pairs these are, of all in a row.
    counts: pairs of each event, whatever is missing, (events,).
    """

    gen: JetTable
    other: Floats
    there: Bools
    counts: Ints

    @classmethod
    def of(cls, gen: ak.Array, other: ak.Array, *, other_is: str) -> JaggedPairs:
        """Gen jets, events × var, and reco jets, levels of each variable, or numbers, in lists of the same lengths.

        Raises
        ------
        TypeError: for anything else than such lists; a jet may be None, a list may not.
        ValueError: when the lengths differ.
        """
        for name, array in (("gen jets", gen), (other_is, other)):
            if not isinstance(array, ak.Array) or array.ndim != 2 or ak.any(ak.is_none(array, axis=0)):
                msg = f"{name}: expected an awkward array of events × var, got {getattr(array, 'type', type(array))}"
                raise TypeError(msg)
        if len(gen) != len(other) or ak.any(ak.num(gen, axis=1) != ak.num(other, axis=1)):
            msg = f"{other_is}: expected lists of the lengths of those of the gen jets, got others"
            raise ValueError(msg)
        flat, flat_other = ak.flatten(gen, axis=1), ak.flatten(other, axis=1)
        there = ~(_is_none(flat) | _is_none(flat_other))
        counts = np.asarray(ak.num(gen, axis=1)).astype(np.int64)
        event = np.repeat(np.arange(len(counts)), counts)[there]
        of_there = np.bincount(event, minlength=len(counts))
        known, asked = (ak.unflatten(_some(array, there), of_there) for array in (flat, flat_other))
        if set(VARIABLES) <= set(asked.fields):  # in the precision that they have
            columns = [np.asarray(ak.flatten(asked[name])) for name in VARIABLES]
            values = np.stack(columns, axis=1)
        else:
            values = flatten_jets(asked, "reco").values if asked.fields else np.asarray(ak.flatten(asked))
        return cls(flatten_jets(known), values, there, counts)

    def rows(self, jets: JetTable) -> Ints:
        """The rows that the gen jets have in a table of all gen jets of the events, (N,): found by their four numbers.

        Raises
        ------
        ValueError: when one is none of them.
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
        if n_strange:
            msg = (
                f"gen jets: expected those of their collection as they are there, got {n_strange} others of {len(rows)}"
            )
            raise ValueError(msg)
        return rows

    def jagged(self, values: Doubles) -> ak.Array:
        """Numbers of the pairs, (N,), or (N, 4), as records of each variable, in lists; None where one is missing."""
        content: Any = ak.contents.NumpyArray(values)
        if values.ndim == 2:
            columns = [ak.contents.NumpyArray(column) for column in np.ascontiguousarray(values.T)]
            content = ak.contents.RecordArray(columns, list(VARIABLES), length=len(values))
        if not self.there.all():
            index = np.where(self.there, np.cumsum(self.there) - 1, -1)
            content = ak.contents.IndexedOptionArray(ak.index.Index64(index), content)
        return ak.unflatten(ak.Array(content), self.counts)


def _is_none(flat: ak.Array) -> Bools:
    """Which are None, and not whether something in them is, which `ak.is_none` says of records."""
    return flat.layout.mask_as_bool(valid_when=False) if flat.layout.is_option else np.zeros(len(flat), dtype=bool)


def _some(flat: ak.Array, there: Bools) -> ak.Array:
    """Those that are there, of a type without None."""
    layout = flat.layout[there]
    return ak.Array(layout.project() if layout.is_option else layout, behavior=flat.behavior)


def collection_of(gen: ak.Array, events: ak.Array) -> ak.Array:
    """All gen jets of events, of which some are given: for neighbours, of which a part has too few.

    Raises
    ------
    ValueError: when the events have no such collection.
    """
    name = gen.layout.purelist_parameter("collection_name") or GEN_JET
    if name not in events.fields:
        msg = f"events: expected the collection {name} that the gen jets are of, found {', '.join(events.fields)}"
        raise ValueError(msg)
    return events[name]
