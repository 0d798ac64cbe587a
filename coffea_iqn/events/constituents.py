"""The particles in jets, where a file has them: NanoGEN, PFNano, Delphes and files like them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import awkward as ak
import numpy as np

from coffea_iqn.events.columns import flat, name_of
from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import PHI, PT
from coffea_iqn.jets.shapes import four_momenta
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Doubles, Ints

GEN_JET, JET = "GenJet", "Jet"  # whose particles files have
REFERENCES = "Constituents"  # of Delphes' jets to their particles, of each by its fUniqueID
# Delphes' particle flow: tracks, which know more than a detector measures, and what stands for the others' codes
TRACK, OTHERS = "EFlowTrack", {"EFlowPhoton": 22, "EFlowNeutralHadron": 130}
PION, LEPTONS = 211, (11, 13)  # what a track is taken for, but for these
RECO = Names(
    constituents=("PFCands", "JetPFCands", f"{JET}.{REFERENCES}"), candidates=("PFCands", TRACK, *OTHERS)
)  # what files call those of reco jets
OF_JET = "jetIdx"  # the place of a particle's jet in its event
PLACES = ("pFCandsIdx", "genCandsIdx")  # of the particle itself among all, where they are a collection of their own
PARTICLE = ("pt", "eta", "phi", "pdgId")
FIELDS = (OF_JET, *PLACES, *PARTICLE, "mass")
B_TAG = ("btag", "BTag")  # what files call that of reco jets
PARTICLE_BRANCHES = tuple(
    pattern for name in RECO.constituents for pattern in (f"n{name}", *(f"{name}_{field}" for field in FIELDS))
)
"""Patterns of the branches of the particles in reco jets."""
UNIQUE_ID, REFERRED = "fUniqueID", ("PT", "Eta", "Phi")
OFF, OFF_GEV, MOST_OFF = 0.1, 1.0, 0.05  # of a gen jet's pt, GeV, and of jets: so far particles may be from its sum
ID_BITS = 24  # of TObject::fUniqueID; the others are of the process that wrote it


def of_collection(names: Names, collection: str | None) -> Names:
    """Names of the particles in jets of any collection: of others than GenJet (by `RECO`, Jet) Delphes alone has them.

    None is that one.
    """
    usual = JET if names == RECO else GEN_JET
    if collection in (None, usual):
        return names
    refers = f"{usual}.{REFERENCES}" in names.constituents  # or else they were given
    return replace(names, constituents=(f"{collection}.{REFERENCES}",) * refers)


def source_of_constituents(collections: Mapping[str, Collection[str]], names: Names) -> tuple[str, ...]:
    """The collections, each with its fields, that tell the particles in jets: one, or places and particles, or none.

    Of Delphes the field of the jets that refers to particles, and all collections that these may be in.
    """
    for name in names.constituents:
        jets, _, references = name.partition(".")
        if references in collections.get(jets, ()):
            there = [c for c in names.candidates if {UNIQUE_ID, *REFERRED[1:]} <= set(collections.get(c, ()))]
            if there:
                return name, *there
        known = set(collections.get(name, ()))
        if {OF_JET, *PARTICLE} <= known:
            return (name,)
        particles = [c for c in names.candidates if set(PARTICLE) <= set(collections.get(c, ()))]
        if OF_JET in known and known & set(PLACES) and particles:
            return name, particles[0]
    return ()


def constituents_of(
    events: ak.Array, jets: JetTable, names: Names, collection: str | None = None
) -> Constituents | None:
    """The particles in jets, those of the first jet first; None where the file does not have them.

    Of gen jets by the names that a file has for those, of reco jets by `RECO`. Delphes' reco particles are those of its
    particle flow: charged hadrons have a pion's code, but the mass with which they are in the jets, neutral ones K_L's.

    Parameters
    ----------
    events: that the jets belong to.
    jets: some of a collection of theirs.
    names: what the file calls things.
    collection: which one; None for GenJet, or by `RECO` Jet.

    Raises
    ------
    ValueError: when Delphes' jets refer to particles that are not there.
    """
    names = of_collection(names, collection)
    wanted = {*(name.partition(".")[0] for name in names.constituents), *names.candidates} & set(events.fields)
    source = source_of_constituents({name: events[name].fields for name in wanted}, names)
    if not source:
        return None
    if "." in source[0]:
        event, of_jet, values, code = _referred(events, *source)
    else:
        inside = events[source[0]]
        particles = inside
        if len(source) == 2:
            particles = _at_places(inside, events[source[1]])
        event = np.repeat(np.arange(len(events)), np.asarray(ak.num(inside[OF_JET])))
        of_jet = flat(inside, OF_JET).astype(np.int64)
        *columns, code = (flat(particles, name) for name in PARTICLE)
        mass = flat(particles, "mass") if "mass" in particles.fields else np.zeros(len(code))
        values = np.stack([*columns, mass], axis=1, dtype=np.float64)
    row = _rows(jets, event, of_jet)
    order = np.argsort(row, kind="stable")[int((row < 0).sum()) :]  # without those of jets that are not there
    counts = np.bincount(row[order], minlength=len(jets.values)).astype(np.int64)
    return Constituents(values[order], code.astype(np.int64)[order], counts)


def check_sums(particles: Constituents, jets: JetTable) -> None:
    """Refuse particles that are not those in gen jets, or not all of them: of some jets their sum is another.

    Raises
    ------
    ValueError: when the sums of more than one jet in twenty are off by a tenth of the pt and by a GeV.
    """
    sums, pt, phi = four_momenta(particles), jets.values[:, PT], jets.values[:, PHI]
    x, y = (sums[:, PT] * of_phi(sums[:, PHI]) - pt * of_phi(phi) for of_phi in (np.cos, np.sin))
    n_off = int((~(np.hypot(x, y) < OFF * pt + OFF_GEV)).sum())
    if n_off > MOST_OFF * len(jets.values):
        advice = "jets that were cut or sorted need a field genJetIdx, the places that they had; particles come in GeV"
        msg = (
            f"gen jets: expected the sums of the particles in them, got {n_off} of {len(jets.values)} others: {advice}"
        )
        raise ValueError(msg)


def _at_places(inside: ak.Array, particles: ak.Array) -> ak.Array:
    """The particles at the places among all of them that those in jets say."""
    field = next(name for name in PLACES if name in inside.fields)
    n_bad = int(ak.sum((inside[field] < 0) | (inside[field] >= ak.num(particles["pt"]))))
    if n_bad:
        what = f"places of particles that {name_of(particles)} has"
        msg = f"{name_of(inside)}.{field}: expected {what}, got {n_bad} others"
        raise ValueError(msg)
    return particles[inside[field]]


def _referred(events: ak.Array, name: str, *candidates: str) -> tuple[Ints, Ints, Doubles, Ints]:
    """What all of Delphes' jets refer to: event, place of the jet in it, (pt, eta, phi, mass) and PDG code, (M,) each.

    Within an event ROOT gives every object that is referred to a number of its own, above 0.
    """
    jets, _, field = name.partition(".")
    references = events[jets][field]["refs"]  # events × jets × particles
    n_jets, n_inside = np.asarray(ak.num(references)), np.asarray(ak.flatten(ak.num(references, axis=2)))
    event = np.repeat(np.repeat(np.arange(len(events)), n_jets), n_inside)
    key = _keys(event, ak.flatten(references, axis=None))
    values, code, found = np.zeros((len(key), 4)), np.zeros(len(key), dtype=np.int64), np.zeros(len(key), dtype=bool)
    for collection in candidates:
        particles = events[collection]
        n_particles = np.asarray(ak.num(particles[UNIQUE_ID]))
        theirs = _keys(np.repeat(np.arange(len(events)), n_particles), ak.flatten(particles[UNIQUE_ID]))
        order = np.argsort(theirs, kind="stable")
        at = np.searchsorted(theirs, key, sorter=order)
        here = np.flatnonzero(np.append(theirs[order], -1)[at] == key)
        rows = order[at[here]]
        for k, known in enumerate(REFERRED):
            values[here, k] = np.asarray(ak.flatten(particles[known]))[rows]
        if "Mass" in particles.fields:
            values[here, 3] = np.asarray(ak.flatten(particles["Mass"]))[rows]
        code[here] = OTHERS[collection] if collection in OTHERS else np.asarray(ak.flatten(particles["PID"]))[rows]
        if collection == TRACK:
            pion = PION * np.asarray(ak.flatten(particles["Charge"]))[rows]
            code[here] = np.where(np.isin(np.abs(code[here]), LEPTONS), code[here], pion)
        found[here] = key[here] % (1 << ID_BITS) != 0
    if not found.all():
        there = f"{', '.join(candidates)}, found {found.sum()} ('none' as the name of constituents does without)"
        msg = f"events: expected the {len(found)} particles of {name} in {there}"
        raise ValueError(msg)
    return event, np.repeat(places(n_jets), n_inside), values, code


def _keys(event: Ints, unique_id: Sequence[int]) -> Ints:
    """One number for each object of all events, from what it is in its own."""
    return event.astype(np.int64) << ID_BITS | np.asarray(unique_id).astype(np.int64) & ((1 << ID_BITS) - 1)


def _rows(jets: JetTable, event: Ints, place: Ints) -> Ints:
    """The row in a table of jets of those at places in events, (M,); −1 where there is none."""
    slots = 1 + int(jets.place.max(initial=0))
    table = np.full(len(jets.counts) * slots, -1, dtype=np.int64)
    table[jets.event * slots + jets.place] = np.arange(len(jets.place))
    return np.where((place < 0) | (place >= slots), -1, table[event * slots + np.clip(place, 0, slots - 1)])
