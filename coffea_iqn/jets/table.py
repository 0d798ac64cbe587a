"""The order of jets within events."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from coffea_iqn.numerics.arrays import Bools, Floats, Ints, Singles


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hardest_first(jets: Singles, event: Ints, place: Ints, counts: Ints) -> Ints:
    """The rows of jets in the order of events, in each by pt, the greatest first, then by place: (N,).

    Parameters
    ----------
    jets: (N, 4), the first column pt.
    event: of each jet, (N,), in any order.
    place: of its gen jet, (N,).
    counts: how many jets each event has, (events,).
    """
    rows = np.empty(len(jets), dtype=np.int64)
    first = np.cumsum(counts) - counts
    n_there = np.zeros(len(counts), dtype=np.int64)
    for jet in range(len(jets)):
        start = first[event[jet]]
        at = start + n_there[event[jet]]
        n_there[event[jet]] += 1
        while at > start and _before(jets, place, jet, rows[at - 1]):
            rows[at] = rows[at - 1]
            at -= 1
        rows[at] = jet
    return rows


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _before(jets: Singles, place: Ints, one: int, other: int) -> bool:
    pt, other_pt = jets[one, 0], jets[other, 0]
    return bool(pt > other_pt or (pt == other_pt and place[one] < place[other]))


class FlatJets(NamedTuple):
    """The jets of all events in a row.

    Attributes
    ----------
    values: (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV].
    counts: jets in each event, (events,).
    local_index: of each jet in its event, (N,).
    """

    values: Singles
    counts: Ints
    local_index: Ints

    @property
    def event(self) -> Ints:
        """Which event each jet belongs to, (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def where(self, keep: Bools) -> FlatJets:
        """The jets where keep (N,) is true, each with the index it had."""
        if keep.all():  # as nearly always
            return self
        kept = np.concatenate([[0], np.cumsum(keep)])
        stop = np.cumsum(self.counts)
        return FlatJets(self.values[keep], kept[stop] - kept[stop - self.counts], self.local_index[keep])

    def places_of(self, others: FlatJets) -> Ints:
        """The place in a row of the jet that each of others, of the same events, names by its index, (M,); else −1."""
        return np.asarray(_places(self.local_index, self.counts, others.local_index, others.counts))

    def valid(self) -> Bools:
        """Where all four numbers are finite and pt is above zero, (N,)."""
        finite = np.isfinite(self.values).T
        return np.asarray(finite[0] & finite[1] & finite[2] & finite[3] & (self.values[:, 0] > 0.0))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _places(index: Ints, counts: Ints, named: Ints, named_counts: Ints) -> Ints:
    """As of `FlatJets.places_of`, from the indices of both and how many each event has."""
    out = np.full(len(named), -1, dtype=np.int64)
    stop = named_stop = 0
    for which in range(len(counts)):
        start, stop = stop, stop + counts[which]
        named_start, named_stop = named_stop, named_stop + named_counts[which]
        for k in range(named_start, named_stop):
            for place in range(start, stop):
                if index[place] == named[k]:
                    out[k] = place
                    break
    return out


class Placed(NamedTuple):
    """Jets (N, 4), the event of each, (N,), and the place of its gen jet in the event, (N,), −1 for none."""

    values: Floats
    event: Ints
    place: Ints

    @classmethod
    def joined(cls, parts: list[Placed]) -> Placed:
        """The jets of several, one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def where(self, keep: Bools) -> Placed:
        """The jets where keep (N,) is true."""
        return Placed(*(column.compress(keep, axis=0) for column in self))
