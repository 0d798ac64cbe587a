"""What is drawn, as awkward has it: jets, objects and missing momentum, vectors in lists, with where each is from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import vector

from coffea_iqn.events.collections import GenEvents
from coffea_iqn.events.identity import least_keys
from coffea_iqn.jets.prompt import CODES, PromptParticles
from coffea_iqn.jets.table import JetTable, interleaved
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.uniforms import Words
from coffea_iqn.objects.kinds import KINDS, Kind, fields_of
from coffea_iqn.variations import SIDES, RequestedVariation


class FoldCounts(NamedTuple):
    """What became of the gen jets of a fold.

    Attributes
    ----------
    gen_jets: gen jets that came in.
    invalid: of these, dropped for a pt, eta, phi or mass that is not finite, or a pt not above zero.
    outside_domain: folded although outside the bundle's domain.
    not_accepted: not reconstructed.
    unmatched: reco jets that belong to none of them.

    With replicas, the last two are of all of them together.
    """

    gen_jets: int
    invalid: int
    outside_domain: int
    not_accepted: int
    unmatched: int


class Folded(NamedTuple):
    """What a fold gives.

    Attributes
    ----------
    gen: the gen jets that were folded: all that came in but invalid ones.
    reco: reco jets of each replica, whose rows are those of gen.
    counts: what became of the gen jets.
    distances: `radii.histogram` of the nearest neighbours of the gen jets.
    least_keys: `identity.least_keys` of the events.
    varied: by systematic, as reco; of variations of the same jets row by row those of reco, whatever their pt.
    objects: of each replica electrons, muons and photons by the name of their kind, of whole events alone; their rows
        and places are those of prompt particles in their events, or −1.
    missing: of each replica pt [GeV] and phi [rad] of the missing momentum, (events, 2), likewise.
    varied_objects: by systematic of objects, as objects, in the order of these.
    varied_missing: by systematic, as missing, which follows jets and objects.
    """

    gen: JetTable
    reco: list[JetTable]
    counts: FoldCounts
    distances: Ints
    least_keys: list[int]
    varied: Mapping[str, list[JetTable]] = MappingProxyType({})
    objects: Sequence[dict[str, JetTable]] = ()
    missing: Sequence[Doubles] = ()
    varied_objects: Mapping[str, Sequence[dict[str, JetTable]]] = MappingProxyType({})
    varied_missing: Mapping[str, Sequence[Doubles]] = MappingProxyType({})


class Given(NamedTuple):
    """The gen jets of a fold.

    Attributes
    ----------
    known: those that are fit to be folded, with what is known of them.
    valid: which these are of those that came in, (N,).
    n_outside: how many are outside the bundle's domain.
    keys: `uniforms.event_keys` of the events, (events, 4).
    """

    known: GenEvents
    valid: Bools
    n_outside: int
    keys: Words

    def folded(self, reco: list[JetTable], distances: Ints, **others: Any) -> Folded:
        """What was made of them: reco jets of each replica, and others as of `Folded`."""
        n_made = sum(len(table.place) for table in reco)
        n_matched = sum(int((table.place >= 0).sum()) for table in reco)
        n_lost = len(reco) * len(self.known.jets.values) - n_matched
        n, n_invalid = len(self.valid), int((~self.valid).sum())
        counts = FoldCounts(n, n_invalid, self.n_outside, n_lost, n_made - n_matched)
        return Folded(self.known.jets, reco, counts, distances, least_keys(self.keys), **others)


def vectors(fields: Mapping[str, Any], name: str = "PtEtaPhiMLorentzVector", bare: str = "Momentum4D") -> ak.Array:
    """Vectors of these fields: coffea's of this name, or without it those of vector itself."""
    with_name, behavior = _named(name, bare)
    return ak.zip(fields, with_name=with_name, behavior=behavior, depth_limit=1)


def _named(name: str = "PtEtaPhiMLorentzVector", bare: str = "Momentum4D") -> tuple[str, Any]:
    try:
        from coffea.nanoevents.methods.nanoaod import behavior
    except ImportError:
        from vector.backends.awkward import behavior

        return bare, behavior
    return name, behavior


def lazy_fields(names: Sequence[str], n: int, make: Callable[[], Singles]) -> dict[str, ak.contents.Content]:
    """Fields of n jets that are made, together, when the first of them is looked at: what make gives, (n, names)."""
    make = cache(make)
    of_field = [ak.forms.NumpyForm("float32", form_key=name) for name in names]
    buffers = {f"{name}-data": lambda k=k: np.ascontiguousarray(make()[:, k]) for k, name in enumerate(names)}
    record = ak.from_buffers(ak.forms.RecordForm(of_field, [*names]), n, buffers, highlevel=False)
    return {name: record.content(name) for name in names}


def _of(row: Ints, content: ak.Array) -> Any:
    """Those of some rows, as an index: nothing is copied; None for −1."""
    return ak.contents.IndexedOptionArray.simplified(ak.index.Index64(row), content.layout)


def jagged(
    folded: Folded,
    gen: ak.Array,
    jets: JetTable,
    of_jets: Iterable[RequestedVariation] = (),
    more: Mapping[str, ak.contents.Content] = MappingProxyType({}),
) -> ak.Array:
    """Reco jets as awkward has them, with the vector behavior of the gen jets, which came as gen, and flat as jets.

    More are further fields of the reco jets, flat.
    """
    k, n_events = len(folded.reco), len(jets.counts)
    reco = interleaved(folded.reco)
    assert reco.row is not None
    if isinstance(gen, vector.Lorentz):
        with_name, behavior = gen.layout.purelist_parameter("__record__"), gen.behavior
    else:
        with_name, behavior = _named()
    row = reco.row
    if folded.gen is not jets:  # without those that were not valid
        row = np.where(row >= 0, np.flatnonzero(jets.valid()).take(row), -1)
    of_gen = _of(row, ak.flatten(gen, axis=1))  # the gen jets as they are, so a reco jet keeps its own wherever it goes

    def record(values: Floats, more: Mapping[str, Any]) -> ak.contents.RecordArray:
        fields = dict(zip(reco.columns, np.ascontiguousarray(values.T), strict=True)) | {"genJetIdx": reco.place}
        contents = {name: ak.contents.NumpyArray(field) for name, field in fields.items()}
        contents |= {"matched_gen": of_gen, **more}
        return ak.contents.RecordArray(
            [*contents.values()], [*contents], length=len(row), parameters={"__record__": with_name}
        )

    varied = {}
    for asked in of_jets:
        sides = [record(interleaved(folded.varied[name]).values, {}) for name in asked.systematics]
        as_coffea = {"__record__": "JetSystematic"}  # of CorrectedJetsFactory
        varied[asked.name] = ak.contents.RecordArray(sides, [*SIDES], length=len(row), parameters=as_coffea)
    made = ak.unflatten(ak.Array(record(reco.values, {**varied, **more}), behavior=behavior), reco.counts)
    return made if k == 1 else ak.unflatten(made, np.full(n_events, k))


def missing_momentum(folded: Folded, variations: Iterable[RequestedVariation] = ()) -> ak.Array:
    """The missing momentum of events, with that of variations of their jets and objects."""

    def of(missing: Doubles) -> ak.Array:
        return vectors(dict(zip(("pt", "phi"), missing.T, strict=True)), "MissingET", "Momentum2D")

    made = of(folded.missing[0])
    for asked in variations:
        sides = (of(folded.varied_missing[name][0]) for name in asked.systematics)
        as_coffea = ak.zip(dict(zip(SIDES, sides, strict=True)), with_name="METSystematic", depth_limit=1)
        made = ak.with_field(made, as_coffea, asked.name)  # of CorrectedMETFactory
    return made


def collection(
    kind: Kind,
    folded: Folded,
    isolation: str,
    particles: PromptParticles,
    variations: Iterable[RequestedVariation] = (),
) -> ak.Array:
    """The objects of a kind, events × var, with variations of their pt."""
    table = folded.objects[0][kind.name]
    codes = np.array(CODES)[particles.kind]
    of_gen = vectors(
        {
            **dict(zip(("pt", "eta", "phi"), particles.values.T, strict=True)),
            "mass": np.array([one.mass for one in KINDS], dtype=np.float32)[particles.kind],
            "pdgId": np.where(particles.charge > 0, -codes, codes),
        }
    )
    first = np.repeat(np.cumsum(particles.counts) - particles.counts, table.counts)
    row = np.where(table.place >= 0, first + table.place, -1)
    matched = ak.Array(_of(row, of_gen), behavior=of_gen.behavior)

    def of(table: JetTable) -> ak.Array:
        return vectors({**fields_of(kind, table, isolation), "matched_gen": matched})

    made = of(table)
    for asked in variations:
        if asked.of == kind.name:
            sides = (of(folded.varied_objects[name][0][kind.name]) for name in asked.systematics)
            made = ak.with_field(made, ak.zip(dict(zip(SIDES, sides, strict=True)), depth_limit=1), asked.name)
    return ak.unflatten(made, table.counts)
