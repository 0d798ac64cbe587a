"""Read reco electrons, muons, photons and missing momentum from coffea's events."""

from __future__ import annotations

from collections.abc import Collection

import awkward as ak
import numpy as np

from coffea_iqn.events.collections import FIELDS, pt_and_phi
from coffea_iqn.jets.matching import match_jets
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.objects.kinds import CONE, KINDS, Found
from coffea_iqn.ranges import expect

# names of the isolation in NanoAOD and Delphes: the transverse momentum around an object over its own
ISOLATION = ("relIso", "pfRelIso04_all", "pfRelIso03_all", "IsolationVar")
CHARGE = ("charge", "Charge")
MISSING = ("MET", "PuppiMET", "MissingET")  # missing momentum at reco level

OBJECT_BRANCHES = (
    *(f"n{kind.name}" for kind in KINDS),
    *(
        f"{kind.name}?{name}"
        for kind in KINDS
        for known in FIELDS
        for name in FIELDS[known]
        if kind.charged or known != "mass"  # coffea itself adds a mass and a charge to photons
    ),
    *(f"{kind.name}?{name}" for kind in KINDS for name in (*ISOLATION, *(CHARGE if kind.charged else ()))),
    *(pattern for name in MISSING for pattern in (f"{name}_pt", f"{name}_phi", f"{name}.*")),
)
"""Patterns of the branches of objects and missing momentum, with the counters of their collections."""


def _first(known: Collection[str], fields: Collection[str]) -> str:
    """Return the first of these names that is among the fields, or ""."""
    return next((name for name in known if name in fields), "")


def isolation_of(objects: ak.Array) -> str:
    """Return the name of the isolation of these objects, or "" if they have none."""
    return _first(ISOLATION, objects.fields)


def reco_missing(events: ak.Array) -> Doubles:
    """Return pt [GeV] and phi [rad] of the missing momentum at reco level, (events, 2).

    Raises
    ------
    ValueError: if the events have none.
    """
    name = _first(MISSING, events.fields)
    expect(name, f"events: expected missing momentum ({', '.join(MISSING)}), found none")
    return pt_and_phi(events[name])


def of_kinds(particles: PromptParticles) -> dict[str, JetTable]:
    """Split particles by the name of their kind, each a table with pt, eta and phi."""
    values, counts = particles.values.astype(np.float64), particles.counts
    return Found(values, particles.kind, particles.event, places(counts), values[:, 0]).tables(len(counts))


def reco_objects(events: ak.Array, particles: PromptParticles) -> Found:
    """Return the reco electrons, muons and photons of events, each matched to a prompt particle of its kind.

    Nearest pairs are matched first within `kinds.CONE`, each particle at most once; source_pt is the particle's pt.

    Raises
    ------
    ValueError: if the events lack a collection or one of its fields.
    """
    # by row of the particle; the last entries are those of no particle, row −1
    place, pt = np.append(places(particles.counts), -1), np.append(particles.values[:, 0], 0.0)
    parts = []
    for k, kind in enumerate(KINDS):
        found = events[kind.name] if kind.name in events.fields else None
        names = [_first(FIELDS[name], [] if found is None else found.fields) for name in ("pt", "eta", "phi")]
        if found is None or not all(names):
            msg = f"events: expected {kind.name} with pt, eta and phi, found {', '.join(sorted(events.fields))}"
            raise ValueError(msg)
        names += [isolation_of(found), _first(CHARGE, found.fields)]
        counts = ak.to_numpy(ak.num(found[names[0]], axis=1)).astype(np.int64)
        values = np.zeros((int(counts.sum()), len(names)))
        for column, name in enumerate(names):
            if name:
                values[:, column] = ak.to_numpy(ak.flatten(found[name]))
        rows = np.flatnonzero(particles.kind == k)
        of_kind, source = particles.values[rows], np.full(len(values), -1)
        n_of_kind = np.bincount(particles.event[rows], minlength=len(events))
        match = match_jets(of_kind[:, 1], of_kind[:, 2], n_of_kind, values[:, 1], values[:, 2], counts, cone=CONE)
        source[match[match >= 0]] = rows[match >= 0]
        event = np.repeat(np.arange(len(events)), counts)
        parts.append(Found(values, np.full(len(values), k), event, place[source], pt[source]))
    return Found.joined(parts)
