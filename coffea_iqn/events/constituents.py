"""Read the particles in jets from files that have them: NanoGEN, PFNano, Delphes and similar files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import awkward as ak
import numpy as np

from coffea_iqn.events.columns import flat, name_of
from coffea_iqn.events.names import Names
from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.features import ETA, PHI, PT, wrap_phi
from coffea_iqn.jets.shapes import four_momenta
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.ranges import expect

GEN_JET, JET = "GenJet", "Jet"  # the usual collections of gen and reco jets
REFERENCES = "Constituents"  # field of Delphes' jets that refers to their particles by fUniqueID
# Delphes' particle flow: tracks, whose PDG codes tell more than a detector measures, and codes of the neutral objects
TRACK, OTHERS = "EFlowTrack", {"EFlowPhoton": 22, "EFlowNeutralHadron": 130}
PION, LEPTONS = 211, (11, 13)  # PDG codes: every track that is not one of these leptons counts as a pion
RECO = Names(
    constituents=("PFCands", "JetPFCands", f"{JET}.{REFERENCES}"), candidates=("PFCands", TRACK, *OTHERS)
)  # names for reco jets
OF_JET = "jetIdx"  # index of the particle's jet in its event
PLACES = ("pFCandsIdx", "genCandsIdx")  # index of the particle in a separate collection of all particles
PARTICLE = ("pt", "eta", "phi", "pdgId")
FIELDS = (OF_JET, *PLACES, *PARTICLE, "mass")
B_TAG = ("btag", "BTag")  # names of the b tag of reco jets
PARTICLE_BRANCHES = tuple(
    pattern for name in RECO.constituents for pattern in (f"n{name}", *(f"{name}_{field}" for field in FIELDS))
)
"""Patterns of the branches of the particles in reco jets."""
UNIQUE_ID, REFERRED = "fUniqueID", ("PT", "Eta", "Phi")
# tolerance of sums of particles: fraction of the gen jet's pt plus GeV, the fraction of jets that may be off, and the
# fraction of pt by which half of the jets may be off, 0.0001 in files, 0.018 if particles below 1 GeV were cut
OFF, OFF_GEV, MOST_OFF, HALF_OFF = 0.1, 1.0, 0.05, 0.01
FAR, MOST_FAR = 1.0, 0.001  # ΔR of a sum from the axis of its jet, and the fraction of jets that may be that far off
ID_BITS = 24  # bits of TObject::fUniqueID that number the object; the others number the process that wrote it


def of_collection(names: Names, collection: str | None) -> Names:
    """Return the names of the particles in jets of a collection; None means GenJet, or Jet if names is `RECO`.

    Only Delphes has particles in jets of other collections.
    """
    usual = JET if names == RECO else GEN_JET
    if collection in (None, usual):
        return names
    refers = f"{usual}.{REFERENCES}" in names.constituents  # otherwise the user set the name
    return replace(names, constituents=(f"{collection}.{REFERENCES}",) * refers)


def source_of_constituents(collections: Mapping[str, Collection[str]], names: Names) -> tuple[str, ...]:
    """Return the collections with the particles in jets, given the fields of each collection.

    One collection of particles; or one of indices and one of particles; or, for Delphes, the jets' field of references
    and all collections that they may refer to; or none.
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
    """Return the particles in jets, in the order of the jets; None if the file does not have them.

    Delphes' reco particles are those of its particle flow: charged hadrons have the code of a pion but the mass with
    which they enter the jets, and neutral hadrons the code of K_L.

    Parameters
    ----------
    events: events of the jets.
    jets: jets of one collection, or a subset of them.
    names: names in the file, `RECO` for reco jets.
    collection: name of the jets' collection; None for GenJet, or Jet if names is `RECO`.

    Raises
    ------
    ValueError: if Delphes' jets refer to particles that the file does not have; if particles in jets have a momentum
        that is not finite, or a code that is no integer.
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
        particles = inside if len(source) == 1 else _at_places(inside, events[source[1]])
        event = np.repeat(np.arange(len(events)), np.asarray(ak.num(inside[OF_JET])))
        of_jet = flat(inside, OF_JET).astype(np.int64)
        *columns, code = (flat(particles, name) for name in PARTICLE)
        mass = flat(particles, "mass") if "mass" in particles.fields else np.zeros(len(code))
        values = np.stack([*columns, mass], axis=1, dtype=np.float64)
    row = _rows(jets, event, of_jet)
    order = np.argsort(row, kind="stable")[int((row < 0).sum()) :]  # without those of jets that are not there
    counts = np.bincount(row[order], minlength=len(jets.values)).astype(np.int64)
    values, code = values.take(order, axis=0), code.take(order)
    n_bad = int((~np.isfinite(values).all(axis=1) | (code != np.rint(code))).sum())
    got = f"got {n_bad} of {len(code)} particles without"
    expect(n_bad == 0, f"{source[0]}: expected finite momenta and PDG codes, {got}")
    return Constituents(values, code.astype(np.int64), counts)


def check_sums(particles: Constituents, jets: JetTable) -> None:
    """Check that gen jets are the sums of their particles.

    Raises
    ------
    ValueError: if for more than 5 % of the jets the sum is off by a tenth of the jet's pt plus 1 GeV, or for half of
        them by 1 % of it; if for more than one in a thousand it is far from the axis, as that of another jet is.
    """
    sums, pt, phi = four_momenta(particles), jets.values[:, PT], jets.values[:, PHI]
    x, y = (sums[:, PT] * of_phi(sums[:, PHI]) - pt * of_phi(phi) for of_phi in (np.cos, np.sin))
    off = np.hypot(x, y)
    n_off, half_off = int((~(off < OFF * pt + OFF_GEV)).sum()), float(np.median(off / pt)) if len(off) else 0.0
    away = np.hypot(sums[:, ETA] - jets.values[:, ETA], wrap_phi(sums[:, PHI] - phi)) > FAR
    n, n_far = len(jets.values), int((away & (particles.counts > 0)).sum())
    if n_off > MOST_OFF * n or half_off > HALF_OFF or n_far > max(MOST_FAR * n, 1):
        got = f"got {n_off} of {n} others, {n_far} far from the jet, half of all off by {half_off:.2g} of their pt"
        advice = "jets that were cut or sorted need a field genJetIdx with their original index; particles are in GeV"
        msg = f"gen jets: expected the sums of their particles, {got}: {advice}, and all of them, without a cut"
        raise ValueError(msg)


def _at_places(inside: ak.Array, particles: ak.Array) -> ak.Array:
    """Return the particles that the entries in jets point to."""
    field = next(name for name in PLACES if name in inside.fields)
    n_bad = int(ak.sum((inside[field] < 0) | (inside[field] >= ak.num(particles["pt"]))))
    fits = not n_bad
    expect(fits, f"{name_of(inside)}.{field}: expected indices into {name_of(particles)}, got {n_bad} out of range")
    return particles[inside[field]]


def _referred(events: ak.Array, name: str, *candidates: str) -> tuple[Ints, Ints, Doubles, Ints]:
    """Return the particles in all of Delphes' jets: event, index of the jet, (pt, eta, phi, mass), PDG code, (M,) each.

    Within an event, ROOT gives every object that is referred to a unique number above 0.
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
        there = f"{', '.join(candidates)}, found {found.sum()} (set the name of constituents to 'none' to ignore them)"
        msg = f"events: expected the {len(found)} particles of {name} in {there}"
        raise ValueError(msg)
    return event, np.repeat(places(n_jets), n_inside), values, code


def _keys(event: Ints, unique_id: Sequence[int]) -> Ints:
    """Return an integer for each object that is unique over all events, from its number in its event."""
    return event.astype(np.int64) << ID_BITS | np.asarray(unique_id).astype(np.int64) & ((1 << ID_BITS) - 1)


def _rows(jets: JetTable, event: Ints, place: Ints) -> Ints:
    """Return the row in a table of jets of the jet with each event and index, (M,); −1 if there is none."""
    slots = 1 + int(jets.place.max(initial=0))
    table = np.full(len(jets.counts) * slots, -1, dtype=np.int64)
    table[jets.event * slots + jets.place] = np.arange(len(jets.place))
    return np.where((place < 0) | (place >= slots), -1, table[event * slots + np.clip(place, 0, slots - 1)])
