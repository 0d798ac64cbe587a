"""The particles in jets, where a file has them: NanoGEN, PFNano and files like them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import awkward as ak
import numpy as np

from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.table import JetTable

RECO = Names(constituents=("PFCands", "JetPFCands"), candidates=("PFCands",))  # what files call those of reco jets
OF_JET = "jetIdx"  # the place of a particle's jet in its event
PLACES = ("pFCandsIdx", "genCandsIdx")  # of the particle itself among all, where they are a collection of their own
PARTICLE = ("pt", "eta", "phi", "pdgId")
FIELDS = (OF_JET, *PLACES, *PARTICLE, "mass")
PARTICLE_BRANCHES = tuple(
    pattern for name in RECO.constituents for pattern in (f"n{name}", *(f"{name}_{field}" for field in FIELDS))
)
"""Patterns of the branches of the particles in reco jets."""


def source_of_constituents(collections: Mapping[str, Collection[str]], names: Names) -> tuple[str, ...]:
    """The collections, each with its fields, that tell the particles in jets: one, or places and particles, or none."""
    for name in names.constituents:
        known = set(collections.get(name, ()))
        if {OF_JET, *PARTICLE} <= known:
            return (name,)
        particles = [c for c in names.candidates if set(PARTICLE) <= set(collections.get(c, ()))]
        if OF_JET in known and known & set(PLACES) and particles:
            return name, particles[0]
    return ()


def constituents_of(events: ak.Array, jets: JetTable, names: Names) -> Constituents | None:
    """The particles in jets, those of the first jet first; None where the file does not have them.

    Of gen jets by the names that a file has for those, of reco jets by `RECO`.
    """
    wanted = {*names.constituents, *names.candidates} & set(events.fields)
    source = source_of_constituents({name: events[name].fields for name in wanted}, names)
    if not source:
        return None
    inside = events[source[0]]
    particles = inside
    if len(source) == 2:
        places = next(inside[name] for name in PLACES if name in inside.fields)
        particles = events[source[1]][places]
    event = np.repeat(np.arange(len(events)), np.asarray(ak.num(inside[OF_JET])))
    of_jet = np.asarray(ak.flatten(inside[OF_JET])).astype(np.int64)
    row = _rows(jets, event, of_jet)
    order = np.argsort(row, kind="stable")[int((row < 0).sum()) :]  # without those of jets that are not there
    columns = [np.asarray(ak.flatten(particles[name])) for name in PARTICLE]
    mass = np.asarray(ak.flatten(particles["mass"])) if "mass" in particles.fields else np.zeros(len(row))
    values = np.stack([*columns[:3], mass], axis=1, dtype=np.float64)[order]
    counts = np.bincount(row[order], minlength=len(jets.values)).astype(np.int64)
    return Constituents(values, columns[3].astype(np.int64)[order], counts)


def _rows(jets: JetTable, event: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The row in a table of jets of those at places in events, (M,); −1 where there is none."""
    slots = 1 + max(int(place.max(initial=0)), int(jets.place.max(initial=0)))
    table = np.full(len(jets.counts) * slots, -1, dtype=np.int64)
    table[jets.event * slots + jets.place] = np.arange(len(jets.place))
    return np.where(place < 0, -1, table[event * slots + np.maximum(place, 0)])
