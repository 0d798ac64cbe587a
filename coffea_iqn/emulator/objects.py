"""Electrons, muons, photons and missing momentum of an event, in the order in which a detector decides.

First what becomes of prompt particles: found or not, and how each is measured. Then what else looks like one: objects
that a gen jet makes, given what was found in it, and those of the event. A jet within ΔR 0.4 of an object is none any
more, for both are made of the same particles; one whose prompt particles were not found has an efficiency of its own.
Missing momentum comes last: the recoil of all that was emulated is known, and what is drawn is what is unclustered.

Each of these is a `Law`. Flat arrays in and out; randomness enters as levels alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from coffea_iqn.emulator.compiled import jet_columns as compiled_jet_columns
from coffea_iqn.emulator.unmatched import far_columns
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.compiled import columns_of_levels
from coffea_iqn.jets.context import columns_of, encode, select
from coffea_iqn.jets.features import INPUTS
from coffea_iqn.jets.matching import any_within
from coffea_iqn.jets.prompt import N_INSIDE, PromptParticles
from coffea_iqn.jets.table import Drawn, JetTable, places
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats, Ints, Singles
from coffea_iqn.numerics.dense import singles
from coffea_iqn.numerics.uniforms import (
    STREAM_MISSING,
    STREAM_OBJECT_FAR,
    STREAM_OBJECT_NEAR,
    STREAM_PARTICLE,
    STREAM_PROMPT_JET,
    Keys,
)
from coffea_iqn.objects.columns import (
    found_columns,
    missing_columns,
    missing_of,
    objects_far,
    objects_of,
    particle_columns,
)
from coffea_iqn.objects.kinds import KINDS, REACH, Found

CONTEXT = ("flavour", "composition", "prompt")  # levels of context that what a gen jet makes depends on
ATTEMPTS = 8  # draws of an object that comes out near a gen jet, of which it is none
MOST = 16  # objects of one kind and source; levels of them lie so far apart
PLACES = 64  # levels of what one gen jet makes: the numbers of all kinds, then the objects of each
N_LEVELS = 5  # of an object: four targets, and the sign of its charge
PARTICLE, NEAR, FAR, JETS, MISSING = "", " near", " far", "jets", "missing"  # what laws are called by, after a kind


def jet_columns(
    gen: Floats, found: Floats, context: Floats | None, *, inputs: str, levels_of_context: tuple[str, ...]
) -> Singles:
    """What a gen jet makes depends on, (N, n): itself, what was found in it, levels of its context last."""
    if context is None:
        context = encode(len(gen), {})
    if inputs == "calorimeter":
        known = columns_of_levels(levels_of_context)
        return np.asarray(compiled_jet_columns(singles(gen), singles(found), singles(context), known))
    columns = [INPUTS[inputs](gen), found, *select(context, levels_of_context)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def has_prompt(context: Floats) -> Bools:
    """Which jets have a prompt particle in them, by their context (N, 68)."""
    return np.asarray(context[:, columns_of("prompt").start + N_INSIDE] > 0.0)


@dataclass(frozen=True, eq=False)
class Objects:
    """The model of electrons, muons, photons and missing momentum.

    Attributes
    ----------
    laws: by name: of each kind that of its particles ("Electron"), of what gen jets make ("Electron near") and of what
        events make ("Electron far"), where the last two are not too rare to be known; of jets with prompt particles
        that were not found ("jets"), whose number is 1 for a jet that is reconstructed; of "missing" momentum.
    pt_min: least pt [GeV] of an object of each kind.
    isolation: what the column of isolation is called of each kind, or "".
    isolation_ends: the least that is around an object of each kind where anything is [GeV], and the greatest isolation,
        between which laws draw it, as of `isolation_targets`; 0 and 0 where they draw isolation itself.
    inputs: key of `features.INPUTS`.
    context: levels of context that what a gen jet makes depends on.
    """

    laws: Mapping[str, Law]
    pt_min: tuple[float, ...]
    isolation: tuple[str, ...]
    isolation_ends: tuple[tuple[float, float], ...]
    inputs: str
    context: tuple[str, ...]

    @property
    def with_torch(self) -> Objects:
        """The same model, drawn by torch."""
        return replace(self, laws={name: law.with_torch for name, law in self.laws.items()})

    def draw(
        self,
        jets: JetTable,
        particles: PromptParticles,
        composition: Floats | None,
        context: Floats | None,
        missing: Floats | None,
        keys: Keys,
    ) -> Found:
        """The electrons, muons and photons of events.

        Parameters
        ----------
        jets, particles: gen jets and prompt particles of the events.
        composition, context: of the jets, as of `particle_columns` and `near_columns`.
        missing: gen missing momentum, (events, 2), or None.
        keys: of the events.
        """
        found = self._of_particles(jets, particles, composition, keys)
        in_jets = found_columns(jets, found.values, found.kind, found.counts(len(jets.counts)))
        columns = jet_columns(jets.values, in_jets, context, inputs=self.inputs, levels_of_context=self.context)
        parts = [found, self._near(jets, columns, keys)]
        if self._laws(FAR):
            parts.append(self._far(jets, missing, keys))
        return Found.joined(parts)

    def _of_particles(
        self, jets: JetTable, particles: PromptParticles, composition: Floats | None, keys: Keys
    ) -> Found:
        event, place = particles.event, places(particles.counts)
        columns = particle_columns(particles, jets, composition)
        u = keys.take(event).levels(place, STREAM_PARTICLE, 1 + N_LEVELS)
        parts = []
        for k, law in self._laws(PARTICLE):
            rows = np.flatnonzero(particles.kind == k)
            rows = rows[law.draw_numbers(columns[rows], u[rows, 0]) > 0]
            source = particles.values[rows]
            targets = law.draw(columns[rows], u[rows, 1:], least=self._least(k, source[:, 0]))
            values = objects_of(targets, source, *self.isolation_ends[k])
            charge = particles.charge[rows].astype(np.float64)
            parts.append(self._found(k, values, charge, event[rows], place[rows], source[:, 0]))
        return Found.joined(parts)

    def _near(self, jets: JetTable, columns: Singles, keys: Keys) -> Found:
        def of_jets(k: int, source: Ints, place: Ints, _: int) -> Singles:
            index = jets.place[source] * PLACES + 1 + k * MOST + place
            return keys.take(event[source]).levels(index, STREAM_OBJECT_NEAR, N_LEVELS)

        def decode(k: int, targets: Floats, source: Ints) -> Floats:
            return np.asarray(objects_of(targets, jets.values[source], *self.isolation_ends[k]))

        event, pt, none = jets.event, jets.values[:, 0], np.zeros(0, dtype=np.int64)
        parts = [Found(np.zeros((0, 5)), none, none, none, np.zeros(0))]
        u = keys.take(event).levels(jets.place * PLACES, STREAM_OBJECT_NEAR)
        for k, law in self._laws(NEAR):
            source = np.repeat(np.arange(len(pt)), law.draw_numbers(columns, u[:, k]))
            of, back, least = partial(of_jets, k), partial(decode, k), self._least(k, pt[source])
            values, tau, _ = law.draw_each(source, columns[source], of, back, least=least)
            parts.append(self._found(k, values, _sign(k, tau), event[source], None, pt[source]))
        return Found.joined(parts)

    def _far(self, jets: JetTable, missing: Floats | None, keys: Keys) -> Found:
        def of_events(k: int, event: Ints, place: Ints, attempt: int) -> Singles:
            index = 1 + (k * MOST + place) * ATTEMPTS + attempt
            return keys.take(event).levels(index, STREAM_OBJECT_FAR, N_LEVELS)

        def decode(k: int, targets: Floats, event: Ints) -> Floats:
            return np.asarray(objects_far(targets, frames.axis[event], frames.side[event], *self.isolation_ends[k]))

        def impossible(values: Floats, event: Ints) -> Bools:
            return np.asarray(any_within(REACH, values, event, jets.values, all_of_them, ends))

        columns, frames = far_columns(jets.values, jets.counts, missing)
        all_of_them, ends, parts = np.ones(len(jets.values), dtype=bool), np.cumsum(jets.counts), []
        u = keys.levels(0, STREAM_OBJECT_FAR)
        for k, law in self._laws(FAR):
            event = np.repeat(np.arange(len(columns)), law.draw_numbers(columns, u[:, k]))
            of, back = partial(of_events, k), partial(decode, k)
            values, tau, missed = law.draw_each(event, columns[event], of, back, impossible, attempts=ATTEMPTS)
            there = np.isin(np.arange(len(event)), missed, invert=True)  # for some there is no place without gen jets
            made = self._found(k, values, _sign(k, tau), event, None, np.zeros(len(event)))
            parts.append(made.where(there))
        return Found.joined(parts)

    def _laws(self, what: str) -> list[tuple[int, Law]]:
        """Those of this, of the kinds that have one."""
        laws = ((k, self.laws.get(f"{kind.name}{what}")) for k, kind in enumerate(KINDS))
        return [(k, law) for k, law in laws if law is not None]

    def _least(self, k: int, pt: Floats) -> Doubles:
        """The least first target of objects of a kind, of sources with these pt [GeV]."""
        return np.asarray(np.log(self.pt_min[k] / pt.astype(np.float64)))

    def _found(
        self, k: int, values: Floats, charge: Doubles, event: Ints, place: Ints | None, source_pt: Floats
    ) -> Found:
        pt = np.maximum(values[:, :1], self.pt_min[k])  # rounding
        of_all = np.concatenate([pt, values[:, 1:], charge[:, np.newaxis]], axis=1)
        place = np.full(len(values), -1) if place is None else place
        return Found(of_all, np.full(len(values), k), event, place, source_pt.astype(np.float64))

    def keep_jets(
        self,
        jets: JetTable,
        found: Found,
        context: Floats | None,
        reconstructed: Bools,
        keys: Keys,
    ) -> tuple[Bools, Bools]:
        """Which gen jets have a reco jet given the objects, (N,), and which are taken, for they have an object in them.

        Parameters
        ----------
        jets, context, keys: see `draw`.
        found: the objects that it gave.
        reconstructed: which have one if nothing is known of objects, (N,).
        """
        in_jets = found_columns(jets, found.values, found.kind, found.counts(len(jets.counts)))
        taken = in_jets[:, 3] > 0.0
        kept = reconstructed & ~taken
        if context is not None:
            rows = np.flatnonzero(has_prompt(context) & ~taken)
            columns = jet_columns(
                jets.values[rows], in_jets[rows], context[rows], inputs=self.inputs, levels_of_context=self.context
            )
            u = keys.take(jets.event[rows]).levels(jets.place[rows], STREAM_PROMPT_JET)[:, 0]
            kept[rows] = self.laws[JETS].draw_numbers(columns, u) > 0
        return kept, taken

    def missing(
        self,
        jets: JetTable,
        taken: Bools,
        raw: Drawn,
        found: Found,
        missing: Floats,
        keys: Keys,
    ) -> Doubles:
        """Missing momentum, pt [GeV] and phi [rad], (events, 2), given all objects.

        Parameters
        ----------
        jets, found, keys: see `keep_jets`.
        taken: the gen jets that it found taken, (N,).
        raw: reco jets before the detector's scale, the rows of their gen jets with them.
        missing: gen missing momentum, (events, 2).
        """
        columns, frame = missing_columns(
            jets, taken, raw.values, raw.event, raw.row, found.values, found.event, found.source_pt, missing
        )
        law = self.laws[MISSING]
        columns = np.ascontiguousarray(columns[:, : len(law.input_scale.mean)])  # a law of before knows the first
        return np.asarray(missing_of(law.draw(columns, keys.levels(0, STREAM_MISSING)), frame))


def _sign(k: int, tau: Singles) -> Doubles:
    """The charges of objects of no particle: of either sign alike."""
    return np.where(tau[:, 4] < 0.5, -1.0, 1.0) if KINDS[k].charged else np.zeros(len(tau))
