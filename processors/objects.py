"""Processor for the training samples of the laws of electrons, muons, photons and missing momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn.emulator.objects import CONTEXT, FAR, JETS, MISSING, NEAR, has_prompt, jet_columns
from coffea_iqn.emulator.preprocessing import Variables
from coffea_iqn.emulator.unmatched import far_columns
from coffea_iqn.events.checks import check_momenta, check_valid, warn_other_charges
from coffea_iqn.events.collections import GenEvents, flatten_jets, gen_events
from coffea_iqn.events.names import Names
from coffea_iqn.events.objects import isolation_of, reco_missing, reco_objects
from coffea_iqn.jets.features import PHI, PT, SCALES
from coffea_iqn.jets.matching import any_within, match_tables, nearest
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Floats, Ints, Singles
from coffea_iqn.objects.columns import (
    far_targets,
    found_columns,
    missing_columns,
    missing_targets,
    particle_columns,
    relative_targets,
)
from coffea_iqn.objects.kinds import COLUMNS, KINDS, REACH, Found
from coffea_iqn.processors.ordered import OrderedProcessor
from coffea_iqn.processors.pairs import split_keys
from coffea_iqn.ranges import expect
from coffea_iqn.training.pairs import LawSample, ObjectsSample

FEW, MOST_IN_JETS = 10, 0.1  # number of objects within jets of their own, and fraction of all, that are too many


class ObjectsProcessor(OrderedProcessor):  # type: ignore[misc]
    """Make the training sample of each law of `emulator.objects.Objects`.

    Parameters
    ----------
    variables: variables of the emulator whose jets the objects accompany.
    cone: matching distance of its jets in ΔR.
    gen, reco: names of the collections of jets.
    pt_min: minimum pt [GeV] of gen jets.
    split: see `PairsProcessor`.
    names: names of gen-level quantities in the files, if different from `events.Names`.

    The result of a run is a `pairs.ObjectsSample`, in an order that depends on the fileset only.
    """

    def __init__(
        self,
        variables: Variables,
        *,
        cone: float,
        gen: str = "GenJet",
        reco: str = "Jet",
        pt_min: float = 10.0,
        split: str = "event",
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.inputs, self.scale = variables.inputs, variables.scale
        self.context = CONTEXT  # independent of the jets' networks: a level that no file has is always hidden
        self.cone = cone
        self.gen, self.reco = gen, reco
        self.pt_min = pt_min
        self.split = split
        self.names = Names.of(names)

    def chunk(self, events: ak.Array) -> ObjectsSample:
        x = flatten_jets(events[self.gen])
        known = gen_events(events[self.gen], events, x, x.valid() & (x.values[:, PT] >= self.pt_min), self.names)
        if known.prompt is None or known.missing is None:
            lacks = "such particles" if known.prompt is None else "missing momentum"
            msg = f"gen level: expected prompt leptons and photons, and missing momentum, found no {lacks}"
            raise ValueError(msg)
        objects = reco_objects(events, known.prompt)
        row, distance = nearest(objects.values, objects.event, known.jets.values, known.jets.counts)
        near = (objects.place < 0) & (distance < REACH)
        split_key = split_keys(events, self.split)
        chunk = _Chunk(known, known.context(), split_key, objects, np.where(near, row, -1))
        y, missing = flatten_jets(events[self.reco], "reco"), reco_missing(events)
        check_valid(y, "reco jets", events=events)
        where = events.metadata.get("filename", "events")
        for what, values, there in (
            ("objects", objects.values, objects.values[:, PT] > 0.0),
            ("missing momentum", missing, missing[:, 0] >= 0.0),
        ):
            n_bad = int((~(np.isfinite(values).all(axis=1) & there)).sum())
            wanted = f"expected finite numbers and pt {'above' if what == 'objects' else 'from'} 0"
            expect(n_bad == 0, f"reconstructed {what} of {where}: {wanted}, got {n_bad} others")
        for what, pt, phi in (
            ("objects", objects.values[:, PT], objects.values[:, PHI]),
            ("missing momentum", *missing.T),
            ("prompt leptons and photons", known.prompt.values[:, PT], known.prompt.values[:, PHI]),
            ("missing momentum at gen level", *known.missing.T),
        ):
            check_momenta(pt, phi, None, f"{what} of {where}")
        of_particles = objects.where(objects.place >= 0)
        n = len(of_particles.values)
        n_in_jets = int(any_within(REACH, of_particles.values, of_particles.event, y.values, y.counts).sum())
        fits = n_in_jets < FEW or n_in_jets < MOST_IN_JETS * n
        got = f"got one within ΔR of {REACH:g} of {n_in_jets} of {n}, as in CMS' files: remove these"
        expect(fits, f"reco jets of {where}: expected none made by electrons, muons and photons, {got}")
        made = _of_particles(chunk) | self._of_no_particle(chunk) | self._jets_and_missing(chunk, y, missing)
        pts = {}
        for k, kind in enumerate(KINDS):
            pts[kind.plural] = objects.values[objects.kind == k, PT]
            pts[f"prompt {kind.plural}"] = known.prompt.values[known.prompt.kind == k, PT]
        begins = {what: {where: (float(pt.min(initial=np.inf)), len(pt))} for what, pt in pts.items()}
        isolation = tuple(isolation_of(events[kind.name]) for kind in KINDS)
        return ObjectsSample(made, begins, isolation, self.inputs, self.context)

    def _of_no_particle(self, chunk: _Chunk) -> dict[str, LawSample]:
        """Return samples of objects without a prompt particle: near gen jets, given objects in these, and elsewhere."""
        jets, objects, split_key = chunk.known.jets, chunk.objects, chunk.split_key
        of_particles = objects.where(objects.place >= 0)
        in_jets = found_columns(jets, of_particles.values, of_particles.kind, of_particles.counts(len(split_key)))
        columns = self._of_jets(jets.values, in_jets, chunk.context, np.arange(len(jets.values)))
        of_events, frames = far_columns(jets.values, jets.counts, chunk.known.missing)
        made = {}
        for k, kind in enumerate(KINDS):
            mine = (objects.place < 0) & (objects.kind == k)
            near, far = mine & (chunk.near >= 0), mine & (chunk.near < 0)
            made[kind.name + NEAR] = _relative(
                columns, split_key[jets.event], chunk.near[near], objects.values[near], jets.values, self.context
            )
            event = objects.event[far]
            targets = far_targets(objects.values[far], frames.axis[event], frames.side[event])
            made[kind.name + FAR] = LawSample.of(of_events, split_key, event, targets)
        return made

    def _jets_and_missing(self, chunk: _Chunk, y: JetTable, missing: Floats) -> dict[str, LawSample]:
        """Return samples of the survival of gen jets with prompt particles, given objects, and of missing momentum."""
        jets, objects, context, split_key = chunk.known.jets, chunk.objects, chunk.context, chunk.split_key
        assert chunk.known.missing is not None
        in_jets = found_columns(jets, objects.values, objects.kind, objects.counts(len(split_key)))
        taken = in_jets[:, 3] > 0.0
        of_x, of_match = match_tables(jets, y, self.cone)
        of_y = np.full(len(y.values), -1)  # row of the matched gen jet of each reco jet
        of_y[of_match] = of_x
        rows = np.flatnonzero(has_prompt(context) & ~taken)
        kept = np.flatnonzero(np.isin(rows, of_y))
        columns = self._of_jets(jets.values, in_jets, context, rows)
        made = {JETS: LawSample.of(columns, split_key[jets.event[rows]], kept, context=self.context)}
        near = np.flatnonzero(chunk.near >= 0)
        source_pt = objects.source_pt.copy()
        source_pt[near] = jets.values[chunk.near[near], PT]
        raw = SCALES[self.scale].undo(y.values.astype(np.float64))
        columns, frame = missing_columns(
            jets, taken, raw, y.event, of_y, objects.values, objects.event, source_pt, chunk.known.missing
        )
        return made | {
            MISSING: LawSample.of(columns, split_key, np.arange(len(split_key)), missing_targets(missing, frame))
        }

    def _of_jets(self, jets: Floats, in_jets: Singles, context: Singles, rows: Ints) -> Singles:
        return jet_columns(jets, in_jets, context, rows, inputs=self.inputs, levels=self.context)


class _Chunk(NamedTuple):
    """Events of a chunk.

    known, context: gen-level events, and conditioning variables of their gen jets.
    split_key: split_key of each event, see `pairs.JetPairs`.
    objects: objects at reco level.
    near: row of the gen jet near each object without a particle, or −1, (M,).
    """

    known: GenEvents
    context: Singles
    split_key: Floats
    objects: Found
    near: Ints


def _of_particles(chunk: _Chunk) -> dict[str, LawSample]:
    """Return samples of the objects that prompt particles are reconstructed as."""
    particles, objects = chunk.known.prompt, chunk.objects
    assert particles is not None
    columns = particle_columns(particles, chunk.known.jets, chunk.known.composition)
    event = particles.event
    row = (np.cumsum(particles.counts) - particles.counts)[objects.event] + objects.place
    real = objects.place >= 0
    warn_other_charges(objects.values[real, COLUMNS.index("charge")], particles.charge[row[real]])
    made = {}
    for k, kind in enumerate(KINDS):
        of_kind, mine = np.flatnonzero(particles.kind == k), real & (objects.kind == k)
        source, values = np.searchsorted(of_kind, row[mine]), particles.values[of_kind]
        made[kind.name] = _relative(
            columns[of_kind], chunk.split_key[event[of_kind]], source, objects.values[mine], values
        )
    return made


def _relative(
    columns: Floats, split_key: Floats, source: Ints, objects: Floats, of_sources: Floats, context: tuple[str, ...] = ()
) -> LawSample:
    """Return the sample of objects relative to their sources; the first target is log pt relative to the source's."""
    known = of_sources[source]
    made = LawSample.of(columns, split_key, source, relative_targets(objects, known), context)
    return made._replace(least=-np.log(known[:, PT].astype(np.float64)))
