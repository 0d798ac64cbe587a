"""Table of the kinds of objects other than jets, and their collections."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.jets.prompt import CODES
from coffea_iqn.jets.table import Drawn, JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints

COLUMNS = ("pt", "eta", "phi", "isolation", "charge")
"""Columns of a table of objects: pt [GeV], eta, phi [rad], isolation (pt sum around the object over its pt), charge."""


class Kind(NamedTuple):
    """A kind of objects.

    Attributes
    ----------
    name: name of the collection.
    code: PDG code of the particle.
    mass: mass of the particle [GeV].
    charged: whether it is charged.
    """

    name: str
    code: int
    mass: float
    charged: bool

    @property
    def plural(self) -> str:
        return f"{self.name.lower()}s"


# masses as in NanoAOD and Delphes; in the order of `prompt.CODES`, so that an index is valid for both
KINDS = tuple(
    Kind(name, code, mass, charged)
    for code, (name, mass, charged) in zip(
        CODES, (("Electron", 0.000511, True), ("Muon", 0.1056584, True), ("Photon", 0.0, False)), strict=True
    )
)
CONE = 0.1  # ΔR below which an object is matched to a prompt particle of its kind
REACH = 0.4  # ΔR within which a fake object is associated with a gen jet


def fields_of(kind: Kind, table: JetTable, isolation: str) -> dict[str, Any]:
    """Return the fields of a collection of one kind, by their NanoAOD names, (M,) each.

    genPartFlav is 1 for an object matched to a prompt particle, 0 for any other.

    Parameters
    ----------
    kind: the kind of the objects.
    table: table of the objects with columns `COLUMNS`; their places are those of prompt particles, or −1.
    isolation: name of the isolation field; "" omits it.
    """
    pt, eta, phi, relative, charge = np.ascontiguousarray(table.values.T)
    code = np.full(len(pt), kind.code, dtype=np.int32)
    fields = {
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "mass": np.full(len(pt), kind.mass, dtype=np.float32),
        "charge": charge.astype(np.int32),
        "pdgId": np.where(charge > 0.0, -code, code) if kind.charged else code,
        "genPartFlav": (table.place >= 0).astype(np.uint8),
    }
    return fields | ({isolation: relative} if isolation else {})


class Found(NamedTuple):
    """The reconstructed objects of events, concatenated.

    Attributes
    ----------
    values: columns `COLUMNS`, or the first of them, (M, 5).
    kind: index of each object in `KINDS`, (M,).
    event: index of the event of each object, (M,).
    place: index of the prompt particle of each object in its event, or −1, (M,).
    source_pt: pt [GeV] of the source of each object, a particle or gen jet, 0 for none, (M,).
    """

    values: Doubles
    kind: Ints
    event: Ints
    place: Ints
    source_pt: Doubles

    @classmethod
    def joined(cls, parts: list[Found]) -> Found:
        """Merge several sets of objects, sorted by event."""
        columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[2], kind="stable")
        return cls(*(column[order] for column in columns))

    def where(self, keep: Bools) -> Found:
        """Return the objects where keep (M,) is true."""
        columns: list[Any] = [column[keep] for column in self]
        return Found(*columns)

    def counts(self, n_events: int) -> Ints:
        """Return the number of objects in each event, (events,)."""
        return np.bincount(self.event, minlength=n_events)

    def tables(self, n_events: int) -> dict[str, JetTable]:
        """Return tables of the objects of each kind, by name, with the first of the columns `COLUMNS`."""
        made, columns = {}, COLUMNS[: self.values.shape[1]]
        for k, kind in enumerate(KINDS):
            rows = np.flatnonzero(self.kind == k)
            place = self.place[rows]
            drawn = Drawn(self.values[rows].astype(np.float32), self.event[rows], place, place)
            made[kind.name] = drawn.table(n_events, columns)
        return made
