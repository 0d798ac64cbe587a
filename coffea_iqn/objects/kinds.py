"""The kinds of objects beside jets, a row each: what they are called, and what is known of them exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.jets.prompt import CODES
from coffea_iqn.jets.table import Drawn, JetTable
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints

COLUMNS = ("pt", "eta", "phi", "isolation", "charge")
"""What a table of objects has: GeV, eta, rad, the transverse momentum around it over its own, and its charge."""


class Kind(NamedTuple):
    """A kind of objects.

    Attributes
    ----------
    name: of the collection.
    code: of PDG, of the particle.
    mass: of the particle [GeV].
    charged: whether it has one of either sign.
    """

    name: str
    code: int
    mass: float
    charged: bool


# as NanoAOD and Delphes write masses; in the order of the codes of `prompt`, by which particles say what they are
KINDS = tuple(
    Kind(name, code, mass, charged)
    for code, (name, mass, charged) in zip(
        CODES, (("Electron", 0.000511, True), ("Muon", 0.1056584, True), ("Photon", 0.0, False)), strict=True
    )
)
CONE = 0.1  # ΔR below which an object belongs to a prompt particle of its kind
REACH = 0.4  # ΔR within which an object of no particle belongs to a gen jet


def fields_of(kind: Kind, table: JetTable, isolation: str) -> dict[str, Any]:
    """What a collection has of objects of a kind, by NanoAOD's names, (M,) each.

    genPartFlav is 1 for an object of a prompt particle, 0 for any other.

    Parameters
    ----------
    table: of the objects, columns as of `kinds.COLUMNS`, whose places are those of prompt particles, or −1.
    isolation: what that is called; "" leaves it out.
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
    """The objects of events in a row, in the order in which they were found.

    Attributes
    ----------
    values: (M, 5), columns as of `kinds.COLUMNS`.
    kind: place of each in `KINDS`, (M,).
    event: of each, (M,).
    place: of each, among its event's prompt particles, or −1, (M,).
    source_pt: pt [GeV] of the particle or gen jet that each comes from, 0 for none, (M,).
    """

    values: Doubles
    kind: Ints
    event: Ints
    place: Ints
    source_pt: Doubles

    @classmethod
    def joined(cls, parts: list[Found]) -> Found:
        """The objects of several, event by event."""
        columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[2], kind="stable")
        return cls(*(column[order] for column in columns))

    def where(self, keep: Bools) -> Found:
        """The objects where keep (M,) is true."""
        columns: list[Any] = [column[keep] for column in self]
        return Found(*columns)

    def counts(self, n_events: int) -> Ints:
        """How many each event has, (events,)."""
        return np.bincount(self.event, minlength=n_events)

    def drawn(self) -> dict[str, Drawn]:
        """Those of each kind."""
        made = {}
        for k, kind in enumerate(KINDS):
            rows = np.flatnonzero(self.kind == k)
            place = self.place[rows]
            made[kind.name] = Drawn(self.values[rows].astype(np.float32), self.event[rows], place, place)
        return made
