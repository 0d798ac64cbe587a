"""The table of jets used throughout, from events to histograms: the jets of all events, concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.numerics.arrays import Bools, Floats, Ints, Singles
from coffea_iqn.numerics.compiling import kernel

NOMINAL = "nominal"  # name of the systematic without variation


class JetTable(NamedTuple):
    """The jets of all events, concatenated.

    Attributes
    ----------
    values: pt [GeV], eta, phi [rad], mass [GeV], (N, 4) float32; emulated jets may have more columns.
    counts: number of jets in each event, (events,).
    place: index of each jet in its event before any cut; for an emulated jet that of its gen jet, or −1; (N,).
    row: for each emulated jet the row of its gen jet in the table that was folded, or −1, (N,); None for other jets.
    columns: names of the columns of values, as fields of jets.
    """

    values: Singles
    counts: Ints
    place: Ints
    row: Ints | None = None
    columns: tuple[str, ...] = VARIABLES

    @property
    def event(self) -> Ints:
        """Index of the event of each jet, (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def where(self, keep: Bools) -> JetTable:
        """Return the jets where keep (N,) is true, with their original places."""
        if keep.all():  # the usual case
            return self
        kept = np.concatenate([[0], np.cumsum(keep)])
        stop = np.cumsum(self.counts)
        row = None if self.row is None else self.row[keep]
        return JetTable(self.values[keep], kept[stop] - kept[stop - self.counts], self.place[keep], row, self.columns)

    def by_pt(self) -> JetTable:
        """Return the emulated jets, sorted within each event by descending pt, then by place."""
        assert self.row is not None
        return Drawn(self.values, self.event, self.place, self.row).table(len(self.counts), self.columns)

    def valid(self) -> Bools:
        """Return which jets have a finite four-momentum and positive pt, (N,)."""
        finite = np.isfinite(self.values).T
        return np.asarray(finite[0] & finite[1] & finite[2] & finite[3] & (self.values[:, 0] > 0.0))


class Drawn(NamedTuple):
    """Emulated jets in any order: values (N, n), event index (N,), and place and row as in a `JetTable`."""

    values: Singles
    event: Ints
    place: Ints
    row: Ints

    @classmethod
    def joined(cls, parts: Sequence[Drawn]) -> Drawn:
        """Concatenate several tables."""
        return parts[0] if len(parts) == 1 else cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def where(self, keep: Bools) -> Drawn:
        """Return the jets where keep (N,) is true."""
        return Drawn(*(column.compress(keep, axis=0) for column in self))

    def table(self, n_events: int, columns: tuple[str, ...] = VARIABLES) -> JetTable:
        """Return a `JetTable`, sorted within each event by descending pt, then by place."""
        counts = np.bincount(self.event, minlength=n_events)
        order = hardest_first(self.values, self.event, self.place, counts)
        return JetTable(self.values.take(order, axis=0), counts, self.place[order], self.row[order], columns)


def places(counts: Ints) -> Ints:
    """Return the index of each jet in its event, (N,), from the number of jets in each event.

    >>> places(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return np.arange(len(first)) - first


def interleaved(tables: Sequence[JetTable]) -> JetTable:
    """Merge tables of the same events: within each event the jets of the first table, then those of the next."""
    if len(tables) == 1:
        return tables[0]
    order, counts = interleaving([table.counts for table in tables])
    values, place = (np.concatenate([table[column] for table in tables])[order] for column in (0, 2))
    rows = [table.row for table in tables if table.row is not None]
    row = np.concatenate(rows)[order] if len(rows) == len(tables) else None
    return JetTable(values, counts, place, row, tables[0].columns)


def interleaving(counts: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Return the order that sorts concatenated tables of the same events by event, then by table, and the new counts.

    counts: number of rows in each event of each table, (events,).
    """
    k = len(counts)
    place = np.concatenate([np.repeat(np.arange(len(n)) * k + i, n) for i, n in enumerate(counts)])
    return np.argsort(place, kind="stable"), np.stack(counts, axis=1).ravel()


@kernel
def hardest_first(values: Floats, group: Ints, place: Ints, counts: Ints) -> Ints:
    """Return the rows of jets or particles sorted by group, and within a group by descending pt, then by place.

    Parameters
    ----------
    values: jets or particles, with pt in the first column, (N, n).
    group: group of each row, such as its event, (N,), in any order.
    place: place of each row, (N,).
    counts: number of rows in each group, (groups,).
    """
    rows, pts = np.empty(len(values), dtype=np.int64), np.empty(len(values), dtype=values.dtype)
    first = np.cumsum(counts) - counts
    n_there = np.zeros(len(counts), dtype=np.int64)
    for row in range(len(values)):
        start, pt = first[group[row]], values[row, 0]
        at = start + n_there[group[row]]
        n_there[group[row]] += 1
        while at > start and (pt > pts[at - 1] or (pt == pts[at - 1] and place[row] < place[rows[at - 1]])):
            rows[at], pts[at] = rows[at - 1], pts[at - 1]
            at -= 1
        rows[at], pts[at] = row, pt
    return rows
