"""What is taken of coffea's events: jets as flat arrays, and their conditioning variables.

What identifies events and weighs them is in `identity`. In these two alone NanoAOD, Delphes and PHYSLITE differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn.events.checks import warn_impossible_values
from coffea_iqn.events.columns import flat, has_option, numbers
from coffea_iqn.events.constituents import check_sums, constituents_of, source_of_constituents
from coffea_iqn.events.names import Names
from coffea_iqn.jets import context
from coffea_iqn.jets.constituents import composition, is_composition, is_subjettiness, subjettiness
from coffea_iqn.jets.prompt import CODES, PromptParticles, chosen, without_hadrons
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints, Singles
from coffea_iqn.numerics.double import angles
from coffea_iqn.ranges import expect

INDEX = {"gen": "genJetIdx", "reco": "jetIdx"}  # fields that give the place of jets before any cut
TAU_ARRAY = ("Tau_5", "Tau[5]")  # Delphes' N-subjettiness, as coffea and as the file call it
# NanoAOD's name: what else it may be called, by Delphes and, in MeV, by PHYSLITE
FIELDS = {"pt": ("pt", "PT"), "eta": ("eta", "Eta"), "phi": ("phi", "Phi"), "mass": ("mass", "Mass", "m")}
PHYSLITE = {"m", "_eventindex"}  # fields that coffea's schema gives a jet of PHYSLITE, and nobody else
GEV = 1e-3  # MeV
MOST_CODE = 2**31  # of PDG codes
NO_PARTON = -1  # what ATLAS labels a jet of no parton
# what the collections of prompt particles are to have: of NanoAOD, and of Delphes
KINEMATICS = ("pt", "eta", "phi")
PHOTON, LEPTON = (*KINEMATICS, "mass"), (*KINEMATICS, "mass", "pdgId")  # coffea makes no vector without a mass
GEN_PART, PARTICLE = (*LEPTON, "status", "statusFlags"), ("PT", "Eta", "Phi", "PID", "Status", "M1")
STABLE, IS_PROMPT, IS_FROM_PROMPT_TAU = 1, 1 << 0, 1 << 3  # status, and flags of NanoAOD


def flatten_jets(jets: ak.Array, level: str = "gen") -> JetTable:
    """Jagged jets (events × var) with pt, eta, phi, mass (or Delphes' PT, Eta, Phi, Mass) to flat arrays.

    Jets of PHYSLITE, with pt, eta, phi, m in MeV, come out in GeV. A field that is called as `INDEX` says, where the
    jets have one, gives the place of each jet in its event before any cut.

    Parameters
    ----------
    jets: of one collection.
    level: "gen" or "reco"; NanoAOD's reco jets have a `genJetIdx` that is no place of theirs.

    Raises
    ------
    TypeError: when the jets are not events × var records with these fields, or are option-typed (masked).
    ValueError: when places are not whole numbers from 0 on, or two jets of an event have the same.
    """
    if type(jets).__module__.startswith("dask_awkward"):
        msg = 'jets: expected an awkward array, got one of dask-awkward: open the events with mode="virtual"'
        raise TypeError(msg)
    if not isinstance(jets, ak.Array) or jets.ndim != 2:
        shape = f"{jets.ndim} dimensions" if isinstance(jets, ak.Array) else type(jets).__name__
        msg = f"jets: expected an awkward array of events × var records, got {shape}"
        raise TypeError(msg)
    present = set(jets.fields)
    physlite = present >= PHYSLITE
    usual = present if physlite else present - PHYSLITE
    names = [next((name for name in known if name in usual), None) for known in FIELDS.values()]
    missing = [nano for nano, name in zip(FIELDS, names, strict=True) if name is None]
    if missing:
        msg = f"jets: expected fields pt, eta, phi and mass, found no {', '.join(missing)}"
        raise TypeError(msg)
    columns = [jets[name] for name in names]
    if any(has_option(column) for column in columns):
        msg = f"jets: expected jets without missing values, got type {columns[0].type}: drop them with ak.drop_none"
        raise TypeError(msg)
    counts = ak.to_numpy(ak.num(columns[0], axis=1)).astype(np.int64)
    values = np.empty((int(counts.sum()), 4), dtype=np.float32)
    for k, column in enumerate(columns):
        values[:, k] = ak.to_numpy(ak.flatten(column))
    if physlite:
        values[:, [0, 3]] *= GEV
    index = _given_places(jets, INDEX[level], counts) if INDEX[level] in present else places(counts)
    return JetTable(values, counts, index)


def _given_places(jets: ak.Array, field: str, counts: Ints) -> Ints:
    """The places of jets before any cut, (N,), which levels are keyed by: two of one event would scatter together."""
    index = flat(jets, field)
    event = np.repeat(np.arange(len(counts)), counts)
    expected = f"{field}: expected the places of the jets in their events before any cut (ak.local_index), got"
    expect(index.dtype.kind in "iu", f"{expected} {index.dtype}", TypeError)
    expect(not (index < 0).any(), f"{expected} {int((index < 0).sum())} below 0")
    index = index.astype(np.int64)
    order = np.lexsort((index, event))
    n_same = int(((np.diff(index[order]) == 0) & (np.diff(event[order]) == 0)).sum())
    expect(n_same == 0, f"{expected} {n_same} that another jet of the event has")
    return index


def levels_of(jet_fields: Collection[str], collections: Mapping[str, Collection[str]], names: Names) -> tuple[str, ...]:
    """The levels of context of jets with these fields, in events with these collections, each with its fields."""
    needed = {
        "flavour": (names.flavour,),
        "flavours": (names.flavour,),
        "composition": (names.n_charged, names.n_neutral, names.charged_fraction),
        "substructure": (names.tau1, names.tau2, names.tau3),
    }
    found = {level for level, wanted in needed.items() if all(set(n) & set(jet_fields) for n in wanted)}
    found |= {"neighbours", "event"}
    if set(TAU_ARRAY) & set(jet_fields):
        found.add("substructure")
    if set(names.missing) & set(collections):
        found.add("missing")
    if _sources_of_prompt(collections, names):
        found.add("prompt")
    if source_of_constituents(collections, names):
        found |= {"composition", "substructure"}
    return tuple(level for level in context.WIDTHS if level in found)


class GenEvents(NamedTuple):
    """Gen jets of events in a row, and what the file says of them or None, as of `context.conditioning_variables`.

    Attributes
    ----------
    jets: those that are to be used; the others are nobody's neighbours.
    parton, composition, n_subjettiness: of the jets, (N,), (N, 3), (N, 3).
    missing: of the events, (events, 2).
    prompt: electrons, muons and photons of the events.
    """

    jets: JetTable
    parton: npt.NDArray[Any] | None
    composition: Doubles | None
    n_subjettiness: Doubles | None
    missing: Doubles | None
    prompt: PromptParticles | None

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of context that these jets may have; they have none of the others."""
        needed: dict[str, Any] = {"flavour": self.parton, "flavours": self.parton, "composition": self.composition}
        needed |= {"substructure": self.n_subjettiness, "missing": self.missing, "prompt": self.prompt}
        return tuple(level for level in context.WIDTHS if level not in needed or needed[level] is not None)

    def context(self, out: Singles | None = None) -> Singles:
        """The conditioning variables of each jet, (N, 68); in rows of out, where they are given."""
        return context.conditioning_variables(
            self.jets.values,
            self.jets.counts,
            parton=self.parton,
            composition=self.composition,
            n_subjettiness=self.n_subjettiness,
            missing=self.missing,
            prompt=self.prompt,
            out=out,
        )

    def blocks(self, n_events: int) -> Iterator[tuple[slice, GenEvents]]:
        """The same, so many events at a time, each block with the events that are in it; at least one block."""
        values, counts, place = self.jets[:3]
        stop = 0
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


def reco_events(jets: JetTable) -> GenEvents:
    """Reco jets of events, all of them, as what is to be corrected: nothing is known of them but the other ones."""
    return GenEvents(jets, None, None, None, None, None)


def gen_events(
    jets: ak.Array,
    events: ak.Array,
    flat: JetTable,
    keep: Bools,
    names: Names | None = None,
    *,
    radius: float | None = None,
) -> GenEvents:
    """Gen jets with what the file and the event know of them.

    Parameters
    ----------
    jets: jagged gen jets, all of the event, for their neighbours are among them.
    events: what they belong to, with GenMET (NanoAOD) or GenMissingET (Delphes), and prompt particles, where the file
        has them.
    flat: the same from `flatten_jets`.
    keep: which jets are to be used, (N,).
    names: what the file calls these things.
    radius: of the jets, over which N-subjettiness is taken of their particles; None leaves it out.

    Composition and N-subjettiness are the file's, or else, where it has none or zeros alone, made of the particles in
    the jets. What no jet has, as -1 in place of a number, is taken as unknown, and warned of.

    Raises
    ------
    ValueError: for missing values, partons that are no whole numbers, particles that are not those of the jets, and
        prompt particles without a momentum.
    """
    names = Names() if names is None else names
    kept = flat.where(keep)
    chosen = slice(None) if kept is flat else keep
    parton = _partons(jets, names.flavour, chosen)
    constituents = [_field(jets, n, chosen) for n in (names.n_charged, names.n_neutral, names.charged_fraction)]
    of_particles = _possible(_beside(constituents), "composition", is_composition)
    n_subjettiness = _possible(_n_subjettiness(jets, names, chosen), "N-subjettiness", is_subjettiness)
    lacks_composition, lacks_tau = not _told(of_particles), radius is not None and not _told(n_subjettiness)
    if lacks_composition or lacks_tau:
        particles = constituents_of(events, kept, names, jets.layout.purelist_parameter("collection_name"))
        if particles is not None:
            check_sums(particles, kept)
            empty = particles.counts == 0
        if particles is not None and lacks_composition:
            of_particles = np.where(empty[:, None], np.nan, composition(particles))
        if particles is not None and radius is not None and lacks_tau:
            n_subjettiness = np.where(empty[:, None], np.nan, subjettiness(particles, kept.values[:, 0], radius))
    missing, prompt = missing_momentum(events, names), prompt_particles(events, names)
    return GenEvents(kept, parton, of_particles, n_subjettiness, missing, prompt)


def _field(jets: ak.Array, names: tuple[str, ...], chosen: slice | Bools) -> npt.NDArray[Any] | None:
    """The first of these fields that the jets have, flat, of the chosen jets; or None."""
    for name in names:
        if name in jets.fields:
            values = flat(jets, name)[chosen]
            return np.where(values == NO_PARTON, 0, values) if name == "PartonTruthLabelID" else values
    return None


def _partons(jets: ak.Array, names: tuple[str, ...], chosen: slice | Bools) -> Ints | None:
    """PDG codes of the partons of the chosen jets, (N,), or None."""
    parton = _field(jets, names, chosen)
    if parton is None or parton.dtype.kind in "iu":
        return parton
    n_bad = int((~(np.abs(parton) < MOST_CODE) | (parton != np.rint(parton))).sum())
    expect(
        n_bad == 0, f"{' or '.join(names)}: expected PDG codes, got {n_bad} of {len(parton)} jets with other numbers"
    )
    return parton.astype(np.int64)


def _possible(columns: Doubles | None, what: str, possible: Callable[[Doubles], Bools]) -> Doubles | None:
    """Columns (N, n), NaN where no jet is such; what kernels take as unknown."""
    if columns is None:
        return None
    bad = np.flatnonzero(~possible(columns))
    if len(bad) == 0:
        return columns
    warn_impossible_values(what, len(bad), len(columns), columns[bad[0]].tolist())
    columns[bad] = np.nan
    return columns


def _beside(columns: Sequence[npt.NDArray[Any] | None]) -> Doubles | None:
    """Columns (N,) as one array (N, n), or None where one is missing."""
    there = [column for column in columns if column is not None]
    return np.stack(there, axis=1, dtype=np.float64) if len(there) == len(columns) else None


def _n_subjettiness(jets: ak.Array, names: Names, chosen: slice | Bools) -> Doubles | None:
    """τ1, τ2, τ3 of the chosen jets, (N, 3), or None."""
    if TAU_ARRAY[0] in jets.fields:
        return flat(jets, TAU_ARRAY[0])[chosen, :3].astype(np.float64)
    return _beside([_field(jets, n, chosen) for n in (names.tau1, names.tau2, names.tau3)])


def _told(columns: Doubles | None) -> bool:
    """Whether a file says something; what a card does not compute, Delphes zeroes."""
    return columns is not None and bool(np.any(columns))


def missing_momentum(events: ak.Array, names: Names | None = None) -> Doubles | None:
    """Pt [GeV] and phi [rad] of the missing momentum at gen level, (events, 2); None where the file has none."""
    for name in (Names() if names is None else names).missing:
        if name in events.fields:
            vector = events[name]
            return _truth_missing_momentum(vector) if "mpx" in vector.fields else pt_and_phi(vector)
    return None


def pt_and_phi(missing: ak.Array) -> Doubles:
    """Pt [GeV] and phi [rad] of missing momentum, NanoAOD's or Delphes', (events, 2)."""
    pt = missing["pt"] if "pt" in missing.fields else missing["MET"]
    phi = missing["phi"] if "phi" in missing.fields else missing["Phi"]
    return np.stack([numbers(pt, "missing pt"), numbers(phi, "missing phi")], axis=1).astype(np.float64)


def _truth_missing_momentum(terms: ak.Array) -> Doubles:
    """PHYSLITE's momentum of particles that do not interact, which is a term of several."""
    term = terms[terms["name"] == "NonInt"]
    x, y = (GEV * np.asarray(ak.sum(term[name], axis=1), dtype=np.float64) for name in ("mpx", "mpy"))
    return np.stack([np.sqrt(x * x + y * y), angles(y, x)], axis=1)


def prompt_particles(events: ak.Array, names: Names | None = None) -> PromptParticles | None:
    """Prompt electrons, muons and photons of the events; None where the file does not tell them.

    NanoAOD's dressed leptons and isolated photons; where these are not both, of NanoAOD's particles the stable ones
    whose flags say prompt, or of Delphes' particles those without a hadron among their ancestors.
    """
    names = Names() if names is None else names
    wanted = {*names.leptons, *names.photons, *names.particles} & set(events.fields)
    sources = _sources_of_prompt({name: events[name].fields for name in wanted}, names)
    if not sources:
        return None
    if len(sources) == 2:
        leptons, photons = (events[name] for name in sources)
        n_of_each = [_counts(particles["pt"]) for particles in (leptons, photons)]
        event = np.concatenate([np.repeat(np.arange(len(events)), n) for n in n_of_each])
        order = np.argsort(event, kind="stable")
        columns = [[flat(part, name) for part in (leptons, photons)] for name in KINEMATICS]
        columns.append([flat(leptons, "pdgId"), np.full(n_of_each[1].sum(), CODES[-1])])
        pt, eta, phi, code = (np.concatenate(both)[order] for both in columns)
        return chosen(pt, eta, phi, code, n_of_each[0] + n_of_each[1])
    particles = events[sources[0]]
    if "PID" in particles.fields:
        pt, eta, phi, code, status, mother = (flat(particles, name) for name in PARTICLE)
        counts = _counts(particles["PID"])
        stable = (status == STABLE) & np.isin(np.abs(code), CODES)
        prompt = without_hadrons(stable, code.astype(np.int64), mother.astype(np.int64), counts)
    else:
        pt, eta, phi, _, code, status, flags = (flat(particles, name) for name in GEN_PART)
        counts = _counts(particles["pdgId"])
        prompt = (status == STABLE) & (flags & (IS_PROMPT | IS_FROM_PROMPT_TAU) != 0)
    return chosen(pt, eta, phi, code, counts, prompt)


def _sources_of_prompt(collections: Mapping[str, Collection[str]], names: Names) -> tuple[str, ...]:
    """The collections, each with its fields, that tell prompt particles: leptons and photons, or particles, or none."""

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
