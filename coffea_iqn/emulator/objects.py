"""Electrons, muons, photons and missing momentum of an event, in the order of a detector's reconstruction.

First, prompt particles: whether each is found, and how it is measured. Then objects that match no prompt particle:
those from a gen jet, given what was found in it, and those from the rest of the event. A jet within ΔR 0.4 of an object
is dropped, because both consist of the same particles; a jet whose prompt particles were not found has its own
efficiency. Missing momentum comes last: the recoil of everything emulated is known, and the unclustered rest is drawn.

Each step is a `Law`. Input and output are flat arrays; randomness enters only as quantile levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from coffea_iqn.emulator.compiled import jet_columns as compiled_jet_columns
from coffea_iqn.emulator.unmatched import Frames
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.jets.compiled import columns_of_levels
from coffea_iqn.jets.context import columns_of, select
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
    widening,
)
from coffea_iqn.objects.kinds import KINDS, REACH, Found

CONTEXT = ("flavour", "composition", "prompt")  # context levels used for objects from gen jets
ATTEMPTS = 8  # draws of a far object before it is given up, if it lies near a gen jet
MOST = 16  # level indices reserved for the objects of one kind and source
PLACES = 64  # level indices of one gen jet: the numbers of all kinds, then the objects of each kind
N_LEVELS = 5  # levels of an object: four targets, and the sign of its charge
PARTICLE, NEAR, FAR, JETS, MISSING = "", " near", " far", "jets", "missing"  # names of laws, after that of a kind


def asks_of(name: str) -> tuple[str, ...]:
    """Return the networks of the law of this name."""
    return {JETS: ("number",), MISSING: ("jets",)}.get(name, ("number", "jets"))


def jet_columns(
    gen: Floats, found: Floats, context: Floats, rows: Ints, *, inputs: str, levels: tuple[str, ...]
) -> Singles:
    """Return the inputs of the laws for gen jets, (M, n): the jet, the objects found in it, and its context levels.

    gen, found, context: gen jets (N, 4), their `found_columns` and context.
    rows: those of the M jets among them.
    """
    if inputs == "calorimeter":
        known = columns_of_levels(levels)
        return np.asarray(compiled_jet_columns(singles(gen), singles(found), singles(context), rows, known))
    columns = [INPUTS[inputs](gen[rows]), found[rows], *select(context[rows], levels)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def has_prompt(context: Floats) -> Bools:
    """Return which jets contain a prompt particle, (N,), from their context (N, 68)."""
    return np.asarray(context[:, columns_of("prompt").start + N_INSIDE] > 0.0)


@dataclass(frozen=True, eq=False)
class Objects:
    """The model of electrons, muons, photons and missing momentum.

    Attributes
    ----------
    laws: laws by name. For each kind: objects from prompt particles ("Electron"), from gen jets ("Electron near") and
        from the rest of the event ("Electron far"); the last two are absent if too rare to be learnt. Then "jets", the
        law of jets with prompt particles that were not found, whose number is 1 if the jet is reconstructed; and
        "missing", the law of missing momentum.
    pt_min: least pt [GeV] of an object of each kind.
    isolation: name of the isolation column of each kind, or "".
    isolation_ends: for each kind, the least nonzero pt sum around an object [GeV] and the greatest isolation; laws draw
        isolation between these, see `isolation_targets`.
    track_share: for each kind, how the resolution of pt grows, see `widening`; the laws of prompt particles draw
        log(pt / source pt) divided by this.
    inputs: key of `features.INPUTS`.
    context: context levels that the laws for gen jets depend on.
    ceilings: for each kind, the greatest probability that a gen jet without a prompt particle has such an object near
        it. As it is small, most of these jets need no network.
    """

    laws: Mapping[str, Law]
    pt_min: tuple[float, ...]
    isolation: tuple[str, ...]
    isolation_ends: tuple[tuple[float, float], ...]
    track_share: tuple[float, ...]
    inputs: str
    context: tuple[str, ...]
    ceilings: tuple[float, ...] = (1.0,) * len(KINDS)

    @property
    def with_torch(self) -> Objects:
        """The same model, drawn by torch."""
        return replace(self, laws={name: law.with_torch for name, law in self.laws.items()})

    def draw(
        self,
        jets: JetTable,
        particles: PromptParticles,
        composition: Floats | None,
        context: Floats,
        far: tuple[Floats, Frames],
        keys: Keys,
    ) -> Found:
        """Draw the electrons, muons and photons of events.

        Parameters
        ----------
        jets, particles: gen jets and prompt particles of the events.
        composition, context: composition and context of the jets, see `particle_columns` and `jet_columns`.
        far: `unmatched.far_columns` of the events.
        keys: keys of the events.
        """
        found = self._of_particles(jets, particles, composition, keys)
        in_jets = found_columns(jets, found.values, found.kind, found.counts(len(jets.counts)))
        return Found.joined([found, *self._near(jets, in_jets, context, keys), *self._far(jets, far, keys)])

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
            wider = widening(source[:, 0], self.track_share[k])
            targets = law.draw(columns[rows], u[rows, 1:], least=self._least(k, source[:, 0]) / wider)
            targets[:, 0] *= wider
            values = objects_of(targets, source, *self.isolation_ends[k])
            charge = particles.charge[rows].astype(np.float64)
            parts.append(self._found(k, values, charge, event[rows], place[rows], source[:, 0]))
        return Found.joined(parts)

    def _near(self, jets: JetTable, in_jets: Singles, context: Floats, keys: Keys) -> list[Found]:
        def of_jets(k: int, source: Ints, place: Ints, _: int) -> Singles:
            index = jets.place[source] * PLACES + 1 + k * MOST + place
            return keys.take(event[source]).levels(index, STREAM_OBJECT_NEAR, N_LEVELS)

        def decode(k: int, targets: Floats, source: Ints) -> Floats:
            return np.asarray(objects_of(targets, jets.values[source], *self.isolation_ends[k]))

        event, pt, parts = jets.event, jets.values[:, 0], []
        u = keys.take(event).levels(jets.place * PLACES, STREAM_OBJECT_NEAR)
        special = has_prompt(context)
        for k, law in self._laws(NEAR):
            # a number above 0 begins at the level 1 − P(number > 0)
            rows = np.flatnonzero((u[:, k] >= np.float32(1.0 - self.ceilings[k])) | special)
            columns = jet_columns(jets.values, in_jets, context, rows, inputs=self.inputs, levels=self.context)
            some = np.repeat(np.arange(len(rows)), law.draw_numbers(columns, u[rows, k]))
            source = rows[some]
            of, back, least = partial(of_jets, k), partial(decode, k), self._least(k, pt[source])
            values, tau, _ = law.draw_each(source, columns[some], of, back, least=least)
            parts.append(self._found(k, values, _sign(k, tau), event[source], None, pt[source]))
        return parts

    def _far(self, jets: JetTable, far: tuple[Floats, Frames], keys: Keys) -> list[Found]:
        def of_events(k: int, event: Ints, place: Ints, attempt: int) -> Singles:
            index = 1 + (k * MOST + place) * ATTEMPTS + attempt
            return keys.take(event).levels(index, STREAM_OBJECT_FAR, N_LEVELS)

        def decode(k: int, targets: Floats, event: Ints) -> Floats:
            return np.asarray(objects_far(targets, frames.axis[event], frames.side[event], *self.isolation_ends[k]))

        def impossible(values: Floats, event: Ints) -> Bools:
            return np.asarray(any_within(REACH, values, event, jets.values, jets.counts))

        columns, frames = far
        parts = []
        u = keys.levels(0, STREAM_OBJECT_FAR)
        for k, law in self._laws(FAR):
            event = np.repeat(np.arange(len(columns)), law.draw_numbers(columns, u[:, k]))
            of, back = partial(of_events, k), partial(decode, k)
            values, tau, missed = law.draw_each(event, columns[event], of, back, impossible, attempts=ATTEMPTS)
            there = np.isin(np.arange(len(event)), missed, invert=True)  # some have no place away from all gen jets
            made = self._found(k, values, _sign(k, tau), event, None, np.zeros(len(event)))
            parts.append(made.where(there))
        return parts

    def _laws(self, what: str) -> list[tuple[int, Law]]:
        """Return the laws of all kinds for one source (`PARTICLE`, `NEAR` or `FAR`), with the index of the kind."""
        laws = ((k, self.laws.get(f"{kind.name}{what}")) for k, kind in enumerate(KINDS))
        return [(k, law) for k, law in laws if law is not None]

    def _least(self, k: int, pt: Floats) -> Doubles:
        """Return the lower bound of the first target, log(pt / source pt), for objects of kind k; pt: of sources."""
        return np.asarray(np.log(self.pt_min[k] / pt.astype(np.float64)))

    def _found(
        self, k: int, values: Floats, charge: Doubles, event: Ints, place: Ints | None, source_pt: Floats
    ) -> Found:
        pt = np.maximum(values[:, :1], self.pt_min[k])  # may be below by rounding
        of_all = np.concatenate([pt, values[:, 1:], charge[:, np.newaxis]], axis=1)
        place = np.full(len(values), -1) if place is None else place
        return Found(of_all, np.full(len(values), k), event, place, source_pt.astype(np.float64))

    def keep_jets(
        self, jets: JetTable, found: Found, context: Floats, reconstructed: Bools, keys: Keys
    ) -> tuple[Bools, Bools]:
        """Return which gen jets have a reco jet given the objects, and which contain an object (taken), (N,) each.

        Parameters
        ----------
        jets, context, keys: see `draw`.
        found: the objects from `draw`.
        reconstructed: which gen jets have a reco jet, regardless of objects, (N,).
        """
        in_jets = found_columns(jets, found.values, found.kind, found.counts(len(jets.counts)))
        taken = in_jets[:, 3] > 0.0
        kept = reconstructed & ~taken
        rows = np.flatnonzero(has_prompt(context) & ~taken)
        columns = jet_columns(jets.values, in_jets, context, rows, inputs=self.inputs, levels=self.context)
        u = keys.take(jets.event[rows]).levels(jets.place[rows], STREAM_PROMPT_JET)[:, 0]
        kept[rows] = self.laws[JETS].draw_numbers(columns, u) > 0
        return kept, taken

    def missing(self, jets: JetTable, taken: Bools, raw: Drawn, found: Found, missing: Floats, keys: Keys) -> Doubles:
        """Draw missing momentum, pt [GeV] and phi [rad], (events, 2), given all jets and objects.

        Parameters
        ----------
        jets, found, keys: see `keep_jets`.
        taken: the gen jets that are taken, from `keep_jets`, (N,).
        raw: reco jets before the detector's jet scale, with the rows of their gen jets.
        missing: gen missing momentum, (events, 2).
        """
        columns, frame = missing_columns(
            jets, taken, raw.values, raw.event, raw.row, found.values, found.event, found.source_pt, missing
        )
        return np.asarray(missing_of(self.laws[MISSING].draw(columns, keys.levels(0, STREAM_MISSING)), frame))


def _sign(k: int, tau: Singles) -> Doubles:
    """Return the charges of objects without a prompt particle: both signs are equally likely."""
    return np.where(tau[:, 4] < 0.5, -1.0, 1.0) if KINDS[k].charged else np.zeros(len(tau))
