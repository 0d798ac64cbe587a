"""Read jets as flat arrays, and their conditioning variables, from coffea's events.

Identity and weights of events are in `identity`, the particles in jets in `constituents`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn.events.checks import (
    check_level,
    warn_impossible_values,
    warn_narrow,
    warn_odd_flavours,
)
from coffea_iqn.events.columns import check_has_data, flat, has_option, name_of, numbers
from coffea_iqn.events.constituents import check_sums, constituents_of, source_of_constituents
from coffea_iqn.events.identity import metadata_of
from coffea_iqn.events.names import Names
from coffea_iqn.jets import context
from coffea_iqn.jets.constituents import composition, is_composition, is_subjettiness, subjettiness
from coffea_iqn.jets.features import MASS
from coffea_iqn.jets.matching import any_within
from coffea_iqn.jets.prompt import CODES, PromptParticles, chosen, without_hadrons
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints, Singles
from coffea_iqn.numerics.double import angles
from coffea_iqn.ranges import expect

INDEX = {"gen": "genJetIdx", "reco": "jetIdx"}  # fields with the index of a jet in its event before any cut
WITHOUT_LEPTONS = "DressedWZ"  # in names of ATLAS' collections
TAU_ARRAY = ("Tau_5", "Tau[5]")  # names of Delphes' N-subjettiness in coffea and in the file
# NanoAOD's name: names in NanoAOD, Delphes and, in MeV, PHYSLITE
FIELDS = {"pt": ("pt", "PT"), "eta": ("eta", "Eta"), "phi": ("phi", "Phi"), "mass": ("mass", "Mass", "m")}
EVENT_INDEX = "_eventindex"  # of each object, made by coffea's schema of PHYSLITE
PHYSLITE = {"m", EVENT_INDEX}  # fields that only coffea's schema of PHYSLITE gives a jet
GEV = 1e-3  # GeV per MeV
MOST_CODE = 2**31  # PDG codes are smaller
NO_PARTON = -1  # ATLAS' label of a jet without a parton
# required fields of the collections of prompt particles, in NanoAOD and in Delphes
KINEMATICS = ("pt", "eta", "phi")
LEPTON_CODES = range(11, 17)  # PDG codes
PHOTON, LEPTON = (*KINEMATICS, "mass"), (*KINEMATICS, "mass", "pdgId")  # coffea makes no vectors without a mass
GEN_PART, PARTICLE = (*LEPTON, "status", "statusFlags"), ("PT", "Eta", "Phi", "PID", "Status", "M1")
DRESSING = 0.1  # ΔR within which a dressed lepton contains the photons it radiates
STABLE, IS_PROMPT, IS_FROM_PROMPT_TAU = 1, 1 << 0, 1 << 3  # status, and bits of NanoAOD's statusFlags


def flatten_jets(jets: ak.Array, level: str = "gen") -> JetTable:
    """Convert jagged jets (events × var) with pt, eta, phi, mass (or Delphes' PT, Eta, Phi, Mass) to flat arrays.

    Jets of PHYSLITE, with pt, eta, phi, m in MeV, are converted to GeV. If the jets have the field in `INDEX`, it gives
    the index of each jet in its event before any cut.

    Parameters
    ----------
    jets: jets of one collection.
    level: "gen" or "reco": NanoAOD's reco jets have a `genJetIdx` that is not their own index.

    Raises
    ------
    TypeError: if the jets are not events × var records with these fields, are option-typed (masked), or have an index
        that is no integer; if the fields are no numbers, or of float16, in which awkward computes nothing.
    ValueError: if an index is negative, or two jets of an event have the same one; if jets of PHYSLITE are in GeV; if
        reco jets are gen jets by the name of their collection.
    """
    check_has_data(jets, "jets")
    shape = f"{jets.ndim} dimensions" if isinstance(jets, ak.Array) else type(jets).__name__
    fits = isinstance(jets, ak.Array) and jets.ndim == 2
    expect(fits, f"jets: expected an awkward array of events × var records, got {shape}", TypeError)
    check_level(jets, None, level)
    present = set(jets.fields)
    physlite = present >= PHYSLITE
    usual = present if physlite else present - PHYSLITE
    names = [next((name for name in known if name in usual), None) for known in FIELDS.values()]
    missing = [nano for nano, name in zip(FIELDS, names, strict=True) if name is None]
    expect(not missing, f"jets: expected fields pt, eta, phi and mass, found no {', '.join(missing)}", TypeError)
    columns = [jets[name] for name in names]
    if any(has_option(column) for column in columns):
        msg = f"jets: expected jets without missing values, got type {columns[0].type}: drop them with ak.drop_none"
        raise TypeError(msg)
    counts = ak.to_numpy(ak.num(columns[0], axis=1)).astype(np.int64)
    values = np.empty((int(counts.sum()), 4), dtype=np.float32)
    for k, column in enumerate(columns):
        one = ak.to_numpy(ak.flatten(column))
        fits = one.dtype.kind in "iuf" and one.dtype.itemsize != 2
        got = f"got {names[k]} of {one.dtype}: ak.values_astype converts"
        expect(fits, f"jets: expected numbers of float32 or float64, {got}", TypeError)
        values[:, k] = one
    if physlite and len(values):
        middle = float(np.median(values[:, 0]))
        in_gev = "as of GeV: leave them in MeV, or zip pt, eta, phi and mass in GeV"
        expect(not middle < 1.0 / GEV, f"jets: expected PHYSLITE's pt in MeV, got a median of {middle:.3g}, {in_gev}")
        values[:, [0, 3]] *= GEV
    index = _given_places(jets, INDEX[level], counts) if INDEX[level] in present else places(counts)
    return JetTable(values, counts, index)


def _given_places(jets: ak.Array, field: str, counts: Ints) -> Ints:
    """Return the index of each jet before any cut, (N,); equal indices in an event would give jets equal levels."""
    index = flat(jets, field)
    event = np.repeat(np.arange(len(counts)), counts)
    expected = f"{field}: expected the index of each jet in its event before any cut (ak.local_index), got"
    expect(index.dtype.kind in "iu", f"{expected} {index.dtype}", TypeError)
    expect(not (index < 0).any(), f"{expected} {int((index < 0).sum())} below 0: are these reco jets?")
    index = index.astype(np.int64)
    order = np.lexsort((index, event))
    n_same = int(((np.diff(index[order]) == 0) & (np.diff(event[order]) == 0)).sum())
    expect(n_same == 0, f"{expected} {n_same} shared with another jet of the event")
    return index


def levels_of(
    jet_fields: Collection[str], collections: Mapping[str, Collection[str]], names: Names, gen: str | None = None
) -> tuple[str, ...]:
    """Return the context levels that files provide.

    Parameters
    ----------
    jet_fields, collections: fields of the gen jets, and of each collection.
    names: names of fields and collections in the files.
    gen: name of the collection of gen jets.
    """
    needed = {
        "flavour": (names.flavour,),
        "flavours": (names.flavour,),
        "composition": (names.n_charged, names.n_neutral, names.charged_fraction),
        "substructure": (names.tau1, names.tau2, names.tau3),
    }
    found = {level for level, wanted in needed.items() if all(set(n) & set(jet_fields) for n in wanted)}
    found |= {"neighbours", "event"}
    if set(TAU_ARRAY) & set(jet_fields) and names.tau1 == Names.tau1:
        found.add("substructure")
    if set(names.missing) & set(collections):
        found.add("missing")
    if _sources_of_prompt(collections, names) or without_leptons(gen):
        found.add("prompt")
    if source_of_constituents(collections, names):
        found |= {"composition", "substructure"}
    return tuple(level for level in context.WIDTHS if level in found)


class GenEvents(NamedTuple):
    """Flat gen jets and the inputs of `context.conditioning_variables`, each None if the file does not have it.

    In a correction these are all reco jets of events, whose only context are the other jets.

    Attributes
    ----------
    jets: the selected gen jets; the others do not count as neighbours.
    parton, composition, n_subjettiness: for each jet, (N,), (N, 3), (N, 3).
    missing: for each event, (events, 2).
    prompt: prompt electrons, muons and photons of the events.
    """

    jets: JetTable
    parton: npt.NDArray[Any] | None = None
    composition: Doubles | None = None
    n_subjettiness: Doubles | None = None
    missing: Doubles | None = None
    prompt: PromptParticles | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """Context levels that may be known for these jets; the others are unknown for all of them."""
        needed: dict[str, Any] = {"flavour": self.parton, "flavours": self.parton, "composition": self.composition}
        needed |= {"substructure": self.n_subjettiness, "missing": self.missing, "prompt": self.prompt}
        return tuple(level for level in context.WIDTHS if level not in needed or needed[level] is not None)

    @property
    def not_moot(self) -> Bools | None:
        """Events in which the level `context.MOOT` is unknown for a jet, (events,); None if it is unknown for all."""
        known = self.n_subjettiness
        return None if known is None else context.not_moot(known, self.jets.counts)

    def context(self, out: Singles | None = None, *, told: Bools | None = None) -> Singles:
        """Return the conditioning variables of each jet, (N, 68), written to out if it is given.

        told: see `jets.context.conditioning_variables`.
        """
        known = self._asdict()
        jets = known.pop("jets")
        return context.conditioning_variables(jets.values, jets.counts, out=out, told=told, **known)

    def blocks(self, n_jets: int) -> Iterator[tuple[slice, GenEvents]]:
        """Yield blocks of events with about n_jets jets each, and the slice of their events; at least one block."""
        values, counts, place = self.jets[:3]
        n_events, stop = max(len(counts) * n_jets // max(len(values), 1), 1), 0
        for first in range(0, max(len(counts), 1), n_events):
            events = slice(first, first + n_events)
            start, stop = stop, stop + int(counts[events].sum())
            rows = slice(start, stop)
            jets = JetTable(values[rows], counts[events], place[rows])
            parton, composition, n_subjettiness = (
                None if c is None else c[rows] for c in (self.parton, self.composition, self.n_subjettiness)
            )
            missing = None if self.missing is None else self.missing[events]
            prompt = None if self.prompt is None else self.prompt.of_events(events)
            yield events, GenEvents(jets, parton, composition, n_subjettiness, missing, prompt)


def gen_events(
    jets: ak.Array,
    events: ak.Array,
    flat: JetTable,
    keep: Bools,
    names: Names | None = None,
    *,
    radius: float | None = None,
) -> GenEvents:
    """Return gen jets with the inputs of their conditioning variables.

    Parameters
    ----------
    jets: jagged gen jets, all jets of each event, since their neighbours are among them.
    events: events of the jets, with GenMET (NanoAOD) or GenMissingET (Delphes) and prompt particles if the file has
        them.
    flat: the same jets from `flatten_jets`.
    keep: which jets to use, (N,).
    names: names of fields and collections in the file.
    radius: jet radius, for the N-subjettiness computed from the particles in jets; None does not compute it.

    Composition and N-subjettiness come from the file or, if it has none or only zeros, are computed from the particles
    in the jets. Impossible values, such as -1, are treated as unknown, with a warning. If the file has no prompt
    particles, but the jets are made without leptons, going by their name, there are none in jets.

    Raises
    ------
    ValueError: for missing values, partons that are not integers, particles that are not those of the jets, and prompt
        particles without a momentum.
    """
    names = Names() if names is None else names
    kept = flat.where(keep)
    rows = slice(None) if kept is flat else keep
    parton = _partons(jets, names.flavour, rows)
    constituents = [_field(jets, n, rows) for n in (names.n_charged, names.n_neutral, names.charged_fraction)]
    dataset = str(metadata_of(events).get("dataset", ""))
    of_particles = _possible(_stacked(constituents), "composition", is_composition, dataset)
    massive = (kept.values[:, MASS] > 0.0).any()  # otherwise they are refused later
    valid = partial(is_subjettiness, jets=kept.values, radius=radius if massive else None)
    n_subjettiness = _possible(_n_subjettiness(jets, names, rows), "N-subjettiness", valid, dataset)
    lacks_composition, lacks_tau = not _is_filled(of_particles), radius is not None and not _is_filled(n_subjettiness)
    if n_subjettiness is not None and radius is not None:
        warn_narrow(n_subjettiness[:, 0] * radius, kept.values, dataset)
    particles = None
    if lacks_composition or lacks_tau:
        particles = constituents_of(events, kept, names, jets.layout.purelist_parameter("collection_name"))
    if particles is not None:
        check_sums(particles, kept)
        empty = (particles.counts == 0)[:, None]
        if lacks_composition:
            of_particles = np.where(empty, np.nan, composition(particles))
        if lacks_tau and radius is not None:
            n_subjettiness = np.where(empty, np.nan, subjettiness(particles, radius))
    missing, prompt = missing_momentum(events, names), prompt_particles(events, names)
    if prompt is None and without_leptons(jets.layout.purelist_parameter("collection_name")):
        none = np.zeros(0)
        prompt = chosen(none, none, none, none, np.zeros(len(events), dtype=np.int64))
    return GenEvents(kept, parton, of_particles, n_subjettiness, missing, prompt)


def without_leptons(collection: str | None) -> bool:
    """Whether jets are made without the leptons from W and Z, going by the name of their collection, as in ATLAS."""
    return collection is not None and WITHOUT_LEPTONS in collection


def _field(jets: ak.Array, names: tuple[str, ...], rows: slice | Bools) -> npt.NDArray[Any] | None:
    """Return the first of these fields that the jets have, flat, for these rows; None if they have none."""
    for name in names:
        if name in jets.fields:
            values = flat(jets, name)[rows]
            return np.where(values == NO_PARTON, 0, values) if name == "PartonTruthLabelID" else values
    return None


def _partons(jets: ak.Array, names: tuple[str, ...], rows: slice | Bools) -> Ints | None:
    """Return the PDG codes of the partons of these rows, (N,), or None."""
    parton = _field(jets, names, rows)
    if parton is None:
        return None
    expect(parton.dtype.kind != "b", f"{' or '.join(names)}: expected PDG codes, got True and False")
    if parton.dtype.kind not in "iu":
        n_bad = int((~(np.abs(parton) < MOST_CODE) | (parton != np.rint(parton))).sum())
        got = f"got {n_bad} of {len(parton)} jets with other numbers"
        expect(n_bad == 0, f"{' or '.join(names)}: expected PDG codes, {got}")
        parton = parton.astype(np.int64)
    warn_odd_flavours(parton)
    return parton


def _possible(columns: Doubles | None, what: str, possible: Callable[[Doubles], Bools], dataset: str) -> Doubles | None:
    """Set rows of columns (N, n) with impossible values to NaN, which kernels treat as unknown, and warn of them."""
    if columns is None:
        return None
    bad = np.flatnonzero(~possible(columns))
    if len(bad) == 0:
        return columns
    warn_impossible_values(what, len(bad), len(columns), columns[bad[0]].tolist(), dataset)
    columns[bad] = np.nan
    return columns


def _stacked(columns: Sequence[npt.NDArray[Any] | None]) -> Doubles | None:
    """Stack columns (N,) to one array (N, n); None if a column is missing."""
    there = [column for column in columns if column is not None]
    return np.stack(there, axis=1, dtype=np.float64) if len(there) == len(columns) else None


def _n_subjettiness(jets: ak.Array, names: Names, rows: slice | Bools) -> Doubles | None:
    """Return τ1, τ2, τ3 of these rows, (N, 3), or None."""
    if TAU_ARRAY[0] in jets.fields and names.tau1 == Names.tau1:
        return flat(jets, TAU_ARRAY[0])[rows, :3].astype(np.float64)
    return _stacked([_field(jets, n, rows) for n in (names.tau1, names.tau2, names.tau3)])


def _is_filled(columns: Doubles | None) -> bool:
    """Whether a file has values other than zero, which Delphes writes for what its card does not compute."""
    return columns is not None and bool(np.any(columns))


def missing_momentum(events: ak.Array, names: Names | None = None) -> Doubles | None:
    """Return pt [GeV] and phi [rad] of the missing momentum at gen level, (events, 2); None if the file has none."""
    for name in (Names() if names is None else names).missing:
        if name in events.fields:
            vector = events[name]
            return _truth_missing_momentum(vector) if "mpx" in vector.fields else pt_and_phi(vector)
    return None


def pt_and_phi(missing: ak.Array) -> Doubles:
    """Return pt [GeV] and phi [rad] of missing momentum in NanoAOD or Delphes, (events, 2)."""
    names = ("pt", "phi") if "pt" in missing.fields else ("MET", "Phi")
    fits = set(names) <= set(missing.fields)
    expect(fits, f"{name_of(missing)}: expected pt and phi, got the fields {', '.join(missing.fields)}")
    pt, phi = (missing[name] for name in names)
    return np.stack([numbers(pt, "missing pt"), numbers(phi, "missing phi")], axis=1).astype(np.float64)


def _truth_missing_momentum(terms: ak.Array) -> Doubles:
    """Return PHYSLITE's term of particles that do not interact, as pt [GeV] and phi [rad], (events, 2)."""
    term = terms[terms["name"] == "NonInt"]
    x, y = (GEV * np.asarray(ak.sum(term[name], axis=1), dtype=np.float64) for name in ("mpx", "mpy"))
    return np.stack([np.sqrt(x * x + y * y), angles(y, x)], axis=1)


def prompt_particles(events: ak.Array, names: Names | None = None) -> PromptParticles | None:
    """Return prompt electrons, muons and photons of the events; None if the file does not identify them.

    These are NanoAOD's dressed leptons and isolated photons. CMS's dressed leptons begin at 15 GeV; softer and more
    forward ones are added from the stable particles with a prompt flag, if the file has them. If one of the two
    collections is missing, all are from these particles, or in Delphes stable particles without a hadron among their
    ancestors.

    Raises
    ------
    ValueError: for dressed leptons whose PDG codes are none of leptons; see also `chosen`.
    """
    names = Names() if names is None else names
    plain = ak.Array(events.layout)  # without behavior: a vector's fails on GenPart without momenta, as in our skims
    collections = {
        name: plain[name].fields for name in {*names.leptons, *names.photons, *names.particles} & set(events.fields)
    }
    sources = _sources_of_prompt(collections, names)
    if not sources:
        return None
    if len(sources) == 2:
        leptons, photons = (events[name] for name in sources)
        n_of_each = [_counts(particles["pt"]) for particles in (leptons, photons)]
        columns = [[flat(part, name) for part in (leptons, photons)] for name in KINEMATICS]
        code = flat(leptons, "pdgId")
        n_odd = int((~np.isin(np.abs(code), LEPTON_CODES)).sum())
        what = f"{sources[0]}.pdgId: expected PDG codes of leptons"
        expect(n_odd == 0, f"{what}, got others for {n_odd} of {len(code)}")
        columns.append([code, np.full(n_of_each[1].sum(), CODES[-1])])
        event = [np.repeat(np.arange(len(events)), n) for n in n_of_each]
        others = _sources_of_prompt({n: f for n, f in collections.items() if n not in sources}, names)
        if others and set(GEN_PART) <= set(collections[others[0]]):
            *more, event_of_more = _other_leptons(events[others[0]], [column[0] for column in columns], event[0])
            columns = [[*both, one] for both, one in zip(columns, more, strict=True)]
            event.append(event_of_more)
        order = np.argsort(np.concatenate(event), kind="stable")
        pt, eta, phi, code = (np.concatenate(each)[order] for each in columns)
        return chosen(pt, eta, phi, code, np.bincount(np.concatenate(event), minlength=len(events)))
    particles = events[sources[0]]
    if "PID" in particles.fields:
        pt, eta, phi, code, status, mother = (flat(particles, name) for name in PARTICLE)
        counts = _counts(particles["PID"])
        stable = (status == STABLE) & np.isin(np.abs(code), CODES)
        prompt = without_hadrons(stable, code.astype(np.int64), mother.astype(np.int64), counts)
    else:
        pt, eta, phi, _, code, status, flags = (flat(particles, name) for name in GEN_PART)
        counts = _counts(particles["pdgId"])
        prompt = _is_prompt(code, status, flags)
    return chosen(pt, eta, phi, code, counts, prompt)


def _is_prompt(code: npt.NDArray[Any], status: npt.NDArray[Any], flags: npt.NDArray[Any]) -> Bools:
    """Return which of NanoAOD's particles are stable and prompt; most photons of a tau come from its pions."""
    wanted = np.where(np.abs(code) == CODES[-1], IS_PROMPT, IS_PROMPT | IS_FROM_PROMPT_TAU)
    return np.asarray((status == STABLE) & (flags & wanted != 0))


def _other_leptons(
    particles: ak.Array, dressed: Sequence[npt.NDArray[Any]], event: Ints
) -> tuple[npt.NDArray[Any], ...]:
    """Return pt, eta, phi, code and event of NanoAOD's prompt electrons and muons that are no dressed lepton.

    dressed, event: pt, eta, phi, code of the dressed leptons, and their events.
    """
    pt, eta, phi, _, code, status, flags = (flat(particles, name) for name in GEN_PART)
    counts = _counts(particles["pdgId"])
    of_particle = np.repeat(np.arange(len(counts)), counts)
    other = _is_prompt(code, status, flags)
    for lepton in CODES[:2]:
        same = np.abs(dressed[3]) == lepton
        there = np.stack([column[same] for column in dressed[:3]], axis=1, dtype=np.float32)
        rows = np.flatnonzero(other & (np.abs(code) == lepton))
        own = np.stack([column[rows] for column in (pt, eta, phi)], axis=1, dtype=np.float32)
        of_event = np.bincount(event[same], minlength=len(counts))
        other[rows] = ~any_within(DRESSING, own, of_particle[rows], there, of_event)
    other &= np.isin(np.abs(code), CODES[:2])
    return pt[other], eta[other], phi[other], code[other], of_particle[other]


def _sources_of_prompt(collections: Mapping[str, Collection[str]], names: Names) -> tuple[str, ...]:
    """Return the collections with the prompt particles: leptons and photons, or all particles, or none.

    collections: the fields of each collection.
    """

    def first(known: tuple[str, ...], *needed: tuple[str, ...]) -> str | None:
        there = (name for name in known if name in collections)
        return next((name for name in there if any(set(n) <= set(collections[name]) for n in needed)), None)

    leptons, photons = first(names.leptons, LEPTON), first(names.photons, PHOTON)
    if leptons is not None and photons is not None:
        return leptons, photons
    particles = first(names.particles, GEN_PART, PARTICLE)
    return () if particles is None else (particles,)


def _counts(column: ak.Array) -> Ints:
    return np.asarray(ak.num(column, axis=1)).astype(np.int64)
