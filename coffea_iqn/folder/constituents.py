"""ConstituentFolder: fold the particles of gen jets to reco jets and the particles in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.emulator.particles import Reconstructed
from coffea_iqn.events.checks import warn_isolated, warn_odd_codes, warn_soft_particles
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import check_sums, constituents_of
from coffea_iqn.folder.events import OfEvents
from coffea_iqn.folder.jagged import CANDIDATE, JET, PLAIN, Folded, jagged, lazy_fields, vectors
from coffea_iqn.folder.jets import IQNFolder
from coffea_iqn.jets.constituents import Constituents, charge_of, composition
from coffea_iqn.jets.features import PT, VARIABLES
from coffea_iqn.jets.shapes import NAMES, shapes
from coffea_iqn.jets.table import JetTable, places
from coffea_iqn.numerics.arrays import Doubles, Ints, Singles
from coffea_iqn.numerics.uniforms import Keys
from coffea_iqn.ranges import expect

PARTICLES = "PFCands"
SHAPES = {"tau1": "tau1", "tau2": "tau2", "tau3": "tau3", "soft-drop mass": "msoftdrop", "pTD": "ptD", "width": "width"}
COLUMNS = (*VARIABLES, "btag", "nCharged", "nNeutral", "chEF", *SHAPES.values())
"""Columns of reco jets: four-momentum [GeV, rad] after the detector's jet scale, b-tag if the bundle draws one,
composition and shapes."""


class ConstituentFolder(OfEvents):
    """Fold the particles in gen jets to reco jets with their particles.

    Parameters
    ----------
    model: name of a shipped bundle or path of a bundle, trained with particles.
    gen: name of the gen jet collection.
    options: options of `IQNFolder`, except acceptance, unmatched, backend, device and variations: here the particles
        alone determine the reco jets.

    Every particle of a gen jet is followed through the detector (`emulator.particles`), and the reconstructed particles
    of each event are clustered with anti-k_T. A folder is small to pickle, and draws the same bits under any chunking
    and executor.

    Raises
    ------
    bundle.BundleError: if the bundle does not exist or cannot be read.
    ValueError: if the bundle has no particles, or an option does not apply to particles.
    """

    def check(self) -> None:
        """See `check_particles`."""
        check_particles(self.folder)

    def fold_table(self, events: ak.Array) -> tuple[Folded, list[Reconstructed]]:
        """Same as calling the folder, but return flat tables and the particles of each replica: `fold_particles`."""
        made = fold_particles(self.folder, events[self.gen], events, flatten_jets(events[self.gen]))
        return made.with_shapes(), made.reco

    def __call__(self, events: ak.Array, *, as_nano: bool = False) -> ak.Array:
        """Fold events.

        Parameters
        ----------
        events: events with gen jets, the particles in them, and the identifiers run, luminosityBlock and event. The
            particles are GenJetCands with jetIdx, from NanoGEN, PFNano (where they refer to GenCands) or
            `generate --particles`.
        as_nano: whether to name the new collections Jet and PFCands, replacing those of the events. Other
            reconstructed objects are removed, with a `NotEmulatedWarning`.

        Returns
        -------
        the events with two new collections. IQNJet is as `IQNFolder` returns it, sorted by pt, with the `COLUMNS`,
        genJetIdx and matched_gen. IQNPFCands has pt, eta, phi, mass, charge, pdgId and jetIdx, the index of the jet
        that contains the particle; particles are ordered by jet, then by pt, and are not corrected by the detector's
        jet scale. N-subjettiness, soft-drop mass, pTD and width are virtual arrays of awkward, all computed when one
        of them is first accessed.

        Raises
        ------
        ValueError, TypeError: see `IQNFolder`; also for events without particles in gen jets, or with replicas above 1.
        """
        n = self.folder.replicas
        expect(n == 1, f"replicas: expected 1 to add jets and particles to events, got {n}")
        gen = events[self.gen]
        jets = flatten_jets(gen)
        of_particles = fold_particles(self.folder, gen, events, jets)
        (made,) = of_particles.reco
        more = lazy_fields([*SHAPES.values()], len(made.jets.values), lambda: columns_of(*of_particles.shapes))
        reco = jagged(of_particles.folded, gen, jets, more=more, as_nano=as_nano)
        particles = vectors(candidates(made), CANDIDATE if as_nano else PLAIN)
        flat = ak.unflatten(particles, counts_of(made))
        return self.added(events, {JET: reco, PARTICLES: flat}, as_nano=as_nano)


@dataclass(frozen=True)
class FoldedParticles:
    """The result of folding particles.

    Attributes
    ----------
    folded: the result for jets; reco jets have the `COLUMNS` without the `SHAPES`.
    gen: particles of the gen jets that were folded.
    reco: reco jets with their particles, for each replica.
    radius: jet radius.
    """

    folded: Folded
    gen: Constituents
    reco: list[Reconstructed]
    radius: float

    @cached_property
    def shapes(self) -> list[Doubles]:
        """`shapes.shapes` of the reco jets of each replica, with massless particles and without C2 and D2, (N, 20)."""
        return [shapes(one.particles.massless, self.radius, triplets=False) for one in self.reco]

    def with_shapes(self) -> Folded:
        """Return the result for jets, whose reco jets have the `SHAPES` too."""
        tables = [
            table._replace(
                values=np.concatenate([table.values, columns_of(of)], axis=1),
                columns=(*table.columns, *SHAPES.values()),
            )
            for table, of in zip(self.folded.reco, self.shapes, strict=True)
        ]
        return self.folded._replace(reco=tables)


def fold_particles(folder: IQNFolder, gen: ak.Array, events: ak.Array, jets: JetTable) -> FoldedParticles:
    """Fold the particles in gen jets, and cluster reco jets from the result.

    Parameters
    ----------
    folder: folder of a bundle with particles.
    gen, events: see `IQNFolder.__call__`; the events contain the particles in the gen jets.
    jets: the gen jets as a table.

    Raises
    ------
    ValueError: see `IQNFolder`; also for events without particles in gen jets.
    """
    given = folder.given(gen, events, jets)
    known, model, variables = given.known, folder.emulator.particles, folder.emulator.variables
    particles = constituents_of(events, known.jets, folder.names, gen.layout.purelist_parameter("collection_name"))
    assert model is not None
    if particles is None:
        wanted = "GenJetCands with jetIdx, pt, eta, phi and pdgId (or indices into GenCands)"
        msg = f"events: expected {wanted}, or Delphes' GenJet.Constituents with Particle, found none"
        raise ValueError(msg)
    check_sums(particles, known.jets)
    warn_odd_codes(particles)
    warn_isolated(particles, known.jets.values[:, PT], str(folder.model))
    warn_soft_particles(known.jets.values, folder.card, str(folder.model))
    parton = None if known.parton is None else known.parton.astype(np.int64)
    raw_pt_min = variables.raw_pt_min if folder.raw_pt_min is None else folder.raw_pt_min
    made = [
        model.draw(particles, known.jets, Keys(given.keys, replica), parton, raw_pt_min=raw_pt_min)
        for replica in range(folder.replicas)
    ]
    folded = given.folded([with_columns(one) for one in made], folder.distances(gen, known.context()))
    return FoldedParticles(folded, particles, made, model.radius)


def check_particles(folder: IQNFolder) -> None:
    """Raise an error if a folder cannot fold particles."""
    there = folder.emulator.particles is not None
    expect(there, f"model {folder.model}: expected a bundle with particles (train --particles), got one of jets only")
    as_they_are = {"acceptance": True, "backend": "auto", "device": "cpu", "variations": ()}
    for name, wanted in (as_they_are | {"unmatched": folder.emulator.unmatched is not None}).items():
        got = getattr(folder, name)
        expect(got == wanted, f"{name}: expected {wanted or 'none'} for particles, got {got}")


def with_columns(made: Reconstructed) -> JetTable:
    """Return the reco jets with the `COLUMNS` that are not `SHAPES`; without a b-tag model they have no b-tag."""
    jets, first = made.jets, len(VARIABLES)
    tag = {} if made.tag is None else {COLUMNS[first]: made.tag}
    beside = tag | dict(zip(COLUMNS[first + 1 :], composition(made.particles).T, strict=False))
    values = np.stack([*jets.values.T, *beside.values()], axis=1, dtype=np.float32)
    return jets._replace(values=values, columns=(*VARIABLES, *beside))


def columns_of(of: Doubles) -> Singles:
    """Select the `SHAPES`, (N, 6), from all of `shapes.shapes`, (N, 20)."""
    return of[:, [NAMES.index(name) for name in SHAPES]].astype(np.float32)


def candidates(made: Reconstructed) -> dict[str, Any]:
    """Return the fields of PFCands, (K,) each, ordered by jet."""
    values, code, counts = made.particles
    pt, eta, phi, mass = values.T.astype(np.float32)
    return {
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "mass": mass,
        "charge": charge_of(code).astype(np.int32),
        "pdgId": code.astype(np.int32),
        "jetIdx": np.repeat(places(made.jets.counts), counts).astype(np.int32),
    }


def counts_of(made: Reconstructed) -> Ints:
    """Return the number of particles in the jets of each event, (events,)."""
    return np.bincount(made.jets.event[made.particles.jet], minlength=len(made.jets.counts))
