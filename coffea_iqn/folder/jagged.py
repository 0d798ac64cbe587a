"""Folding results as awkward arrays of vectors: jets, objects and missing momentum, with links to gen level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector

from coffea_iqn.events.checks import warn_equal_events
from coffea_iqn.events.collections import GenEvents
from coffea_iqn.events.identity import least_keys
from coffea_iqn.jets.prompt import CODES, PromptParticles
from coffea_iqn.jets.table import JetTable, interleaved
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.uniforms import Words
from coffea_iqn.objects.kinds import KINDS, Kind, fields_of
from coffea_iqn.variations import SIDES, RequestedVariation, of_jets

PREFIX, JET = "IQN", "Jet"
PLAIN, CANDIDATE = "PtEtaPhiMLorentzVector", "PtEtaPhiMCandidate"  # coffea's vectors; the latter add up charges, too


class FoldCounts(NamedTuple):
    """Numbers of jets in a fold.

    Attributes
    ----------
    gen_jets: gen jets in the input.
    invalid: gen jets dropped because pt, eta, phi or mass is not finite, or pt is not above zero.
    outside_domain: gen jets folded although they are outside the bundle's domain.
    not_accepted: gen jets that were not reconstructed.
    unmatched: reco jets that match no gen jet.

    The last two are sums over replicas.
    """

    gen_jets: int
    invalid: int
    outside_domain: int
    not_accepted: int
    unmatched: int


class Folded(NamedTuple):
    """The result of a fold, as flat tables.

    Attributes
    ----------
    gen: the gen jets that were folded: those of the input without invalid ones.
    reco: reco jets of each replica; their `row` refers to gen.
    counts: numbers of jets.
    distances: `radii.histogram` of the distances of gen jets to their nearest neighbours.
    least_keys, least_rows: `identity.least_keys` of the events, and their rows.
    prompt, gen_missing: prompt particles, and missing momentum at gen level, pt [GeV] and phi [rad], (events, 2); None
        if the events do not have them.
    varied: reco jets of each replica, by systematic. Variations that keep the set of jets have the row order of reco,
        whatever the varied pt.
    objects: electrons, muons and photons of each replica, by name of the kind; empty unless whole events are drawn.
        Their row and place are those of the prompt particle in its event, or −1.
    missing: missing momentum of each replica, pt [GeV] and phi [rad], (events, 2); empty unless whole events are drawn.
    varied_objects: objects of each replica, by systematic, in the order of the nominal ones.
    varied_missing: missing momentum of each replica, by systematic; it follows varied jets and objects.
    """

    gen: JetTable
    reco: list[JetTable]
    counts: FoldCounts
    distances: Ints
    least_keys: list[int]
    least_rows: Ints
    prompt: PromptParticles | None = None
    gen_missing: Doubles | None = None
    varied: Mapping[str, list[JetTable]] = MappingProxyType({})
    objects: Sequence[dict[str, JetTable]] = ()
    missing: Sequence[Doubles] = ()
    varied_objects: Mapping[str, Sequence[dict[str, JetTable]]] = MappingProxyType({})
    varied_missing: Mapping[str, Sequence[Doubles]] = MappingProxyType({})


class Given(NamedTuple):
    """The input of a fold, after checks.

    Attributes
    ----------
    known: the valid gen jets, with their conditioning variables.
    valid: which gen jets of the input are valid, (N,).
    n_outside: number of gen jets outside the bundle's domain.
    keys: `uniforms.event_keys` of the events, (events, 4).
    """

    known: GenEvents
    valid: Bools
    n_outside: int
    keys: Words

    def folded(self, reco: list[JetTable], distances: Ints, **others: Any) -> Folded:
        """Return the result of the fold from the reco jets of each replica; others: further fields of `Folded`."""
        n_made = sum(len(table.place) for table in reco)
        n_matched = sum(int((table.place >= 0).sum()) for table in reco)
        n_lost = len(reco) * len(self.known.jets.values) - n_matched
        n, n_invalid = len(self.valid), int((~self.valid).sum())
        counts = FoldCounts(n, n_invalid, self.n_outside, n_lost, n_made - n_matched)
        known, least = self.known, least_keys(self.keys)
        return Folded(known.jets, reco, counts, distances, *least, known.prompt, known.missing, **others)


def named(collection: str, *, as_nano: bool) -> str:
    """Return the name in the events of a collection of emulated objects."""
    return collection if as_nano else f"{PREFIX}{collection}"


def vectors(fields: Mapping[str, Any], name: str = PLAIN, bare: str = "Momentum4D") -> ak.Array:
    """Return vectors with these fields: coffea's type called name or, without coffea, vector's type called bare."""
    with_name, behavior = _named(name, bare)
    return ak.zip(fields, with_name=with_name, behavior=behavior, depth_limit=1)


def _named(name: str = PLAIN, bare: str = "Momentum4D") -> tuple[str, Any]:
    try:
        from coffea.nanoevents.methods.nanoaod import behavior
    except ImportError:
        from vector.backends.awkward import behavior

        return bare, behavior
    return name, behavior


def lazy_fields(names: Sequence[str], n: int, make: Callable[[], Singles]) -> dict[str, ak.contents.Content]:
    """Return fields of n jets as virtual arrays: make() computes all of them, (n, names), at the first access."""
    make = cache(make)
    of_field = [ak.forms.NumpyForm("float32", form_key=name) for name in names]
    buffers = {f"{name}-data": lambda k=k: np.ascontiguousarray(make()[:, k]) for k, name in enumerate(names)}
    record = ak.from_buffers(ak.forms.RecordForm(of_field, [*names]), n, buffers, highlevel=False)
    return {name: record.content(name) for name in names}


def _of(row: Ints, content: ak.Array) -> Any:
    """Select rows of content by an index, without copying; None where row is −1."""
    return ak.contents.IndexedOptionArray.simplified(ak.index.Index64(row), content.layout)


def jagged(
    folded: Folded,
    gen: ak.Array,
    jets: JetTable,
    variations: Iterable[RequestedVariation] = (),
    more: Mapping[str, ak.contents.Content] = MappingProxyType({}),
    *,
    as_nano: bool = False,
) -> ak.Array:
    """Return the reco jets of a fold as an awkward array, with the vector behavior of the gen jets.

    Parameters
    ----------
    folded: the result of the fold.
    gen, jets: the gen jets in the input of the fold, jagged and as a table.
    variations: those that keep the set of jets become fields.
    more: further fields of the reco jets, flat.
    as_nano: whether they have the behavior of coffea's jets instead, which have a charge of 0, to be added to leptons.
    """
    warn_equal_events(folded.least_keys, folded.least_rows, gen)
    k, n_events = len(folded.reco), len(jets.counts)
    reco = interleaved(folded.reco)
    assert reco.row is not None
    if isinstance(gen, vector.Lorentz) and not as_nano:
        with_name, behavior = gen.layout.purelist_parameter("__record__"), gen.behavior
    else:
        with_name, behavior = _named(CANDIDATE if as_nano else PLAIN)
    row = reco.row
    if folded.gen is not jets:  # invalid gen jets were dropped
        row = np.where(row >= 0, np.flatnonzero(jets.valid()).take(row), -1)
    of_gen = _of(row, ak.flatten(gen, axis=1))  # the input gen jets themselves, so the link survives any selection

    def record(values: Floats, more: Mapping[str, Any]) -> ak.contents.RecordArray:
        fields = dict(zip(reco.columns, np.ascontiguousarray(values.T), strict=True)) | {"genJetIdx": reco.place}
        contents = {name: ak.contents.NumpyArray(field) for name, field in fields.items()}
        if as_nano:
            contents["charge"] = ak.contents.NumpyArray(np.zeros(len(row), dtype=np.float32))
        contents |= {"matched_gen": of_gen, **more}
        return ak.contents.RecordArray(
            [*contents.values()],
            [*contents],
            length=len(row),
            parameters={"__record__": with_name, "collection_name": named(JET, as_nano=as_nano)},
        )

    varied = {}
    for asked in of_jets(variations):
        sides = [record(interleaved(folded.varied[name]).values, {}) for name in asked.systematics]
        as_coffea = {"__record__": "JetSystematic"}  # as in CorrectedJetsFactory
        varied[asked.name] = ak.contents.RecordArray(sides, [*SIDES], length=len(row), parameters=as_coffea)
    made = ak.unflatten(ak.Array(record(reco.values, {**varied, **more}), behavior=behavior), reco.counts)
    return made if k == 1 else ak.unflatten(made, np.full(n_events, k))


def missing_momentum(folded: Folded, name: str, variations: Iterable[RequestedVariation] = ()) -> ak.Array:
    """Return the missing momentum of events, with variations of jets, objects and unclustered energy as fields.

    name: coffea's type of it, a vector of two dimensions.
    """

    def of(missing: Doubles) -> ak.Array:
        return vectors(dict(zip(("pt", "phi"), np.ascontiguousarray(missing.T), strict=True)), name, "Momentum2D")

    made = of(folded.missing[0])
    for asked in variations:
        sides = (of(folded.varied_missing[name][0]) for name in asked.systematics)
        as_coffea = ak.zip(dict(zip(SIDES, sides, strict=True)), with_name="METSystematic", depth_limit=1)
        made = ak.with_field(made, as_coffea, asked.name)  # as in CorrectedMETFactory
    return made


def collection(
    kind: Kind,
    folded: Folded,
    isolation: str,
    particles: PromptParticles,
    variations: Iterable[RequestedVariation] = (),
    *,
    as_nano: bool = False,
) -> ak.Array:
    """Return the objects of one kind, events × var, each with its prompt particle, with variations as fields.

    as_nano: whether sums of them have a charge, as in NanoAOD, where they can only be added to others with a charge.
    """
    of_type = CANDIDATE if as_nano else PLAIN
    table = folded.objects[0][kind.name]
    codes = np.array(CODES)[particles.kind]
    of_gen = vectors(
        {
            **dict(zip(("pt", "eta", "phi"), particles.values.T, strict=True)),
            "mass": np.array([one.mass for one in KINDS], dtype=np.float32)[particles.kind],
            "charge": particles.charge,
            "pdgId": np.where(particles.charge > 0, -codes, codes),
        },
        of_type,
    )
    first = np.repeat(np.cumsum(particles.counts) - particles.counts, table.counts)
    row = np.where(table.place >= 0, first + table.place, -1)
    matched = ak.Array(_of(row, of_gen), behavior=of_gen.behavior)

    def of(table: JetTable) -> ak.Array:
        return vectors({**fields_of(kind, table, isolation), "matched_gen": matched}, of_type)

    made = of(table)
    for asked in variations:
        if asked.of == kind.name:
            sides = (of(folded.varied_objects[name][0][kind.name]) for name in asked.systematics)
            made = ak.with_field(made, ak.zip(dict(zip(SIDES, sides, strict=True)), depth_limit=1), asked.name)
    made = ak.with_parameter(made, "collection_name", named(kind.name, as_nano=as_nano))
    return ak.unflatten(made, table.counts)
