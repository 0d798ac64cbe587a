"""EventFolder: events at gen level in, events with jets, electrons, muons, photons and missing momentum out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.events.checks import without_reconstructed
from coffea_iqn.events.collections import flatten_jets, missing_momentum, prompt_particles
from coffea_iqn.events.names import Names
from coffea_iqn.folder import jagged
from coffea_iqn.folder.jagged import Folded
from coffea_iqn.folder.jets import IQNFolder
from coffea_iqn.jets.prompt import PromptParticles
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.ranges import expect
from coffea_iqn.variations import OF_THE_SAME

PREFIX = "IQN"
JET, MISSING = "Jet", "MET"


class EventFolder:
    """The detector as a function of events.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one, that was trained with objects.
    gen: name of the collection of gen jets.
    options: of `IQNFolder`; replicas, acceptance, unmatched, raw_pt_min, and variations of which jets there are, are
        not for whole events.

    Everything of an event is drawn in the order in which a detector decides (`emulator.objects`): what became of prompt
    leptons and photons, what else looks like one, jets that have none of these in them, unmatched jets, and missing
    momentum given all of that. A folder is small to pickle, and draws the same bits under any chunking and executor.

    Raises
    ------
    bundle.BundleError: when the bundle does not exist or cannot be read.
    ValueError: for a bundle without objects, or an option that is not for whole events.
    """

    def __init__(self, model: str | Path, *, gen: str = "GenJet", **options: Any) -> None:
        self.folder = IQNFolder(model, **options)
        self.gen = gen
        check_whole(self.folder)

    def __repr__(self) -> str:
        return f"EventFolder({self.folder!r})"

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card."""
        return self.folder.card

    def fold_table(self, events: ak.Array) -> Folded:
        """As calling the folder, but flat: `Folded.reco`, `objects` and `missing`."""
        prompt_and_missing(events, self.folder.names)  # which have to be there
        return self._fold(events, flatten_jets(events[self.gen]))

    def _fold(self, events: ak.Array, jets: JetTable) -> Folded:
        return self.folder.fold_table(events[self.gen], events, jets=jets, objects=True)

    def __call__(self, events: ak.Array, *, as_nano: bool = False) -> ak.Array:
        """Fold events.

        Parameters
        ----------
        events: of NanoAOD or Delphes, with gen jets, prompt leptons and photons (`events.Names`), missing momentum,
            and what names events: run, luminosityBlock and event.
        as_nano: whether collections are called as NanoAOD calls them, Jet, Electron, Muon, Photon and MET, in place of
            those that the events have: what an analysis of NanoAOD takes. Other reconstructed objects are removed,
            with a `NotEmulatedWarning`: they belong to another simulation of the same events.

        Returns
        -------
        the events, with IQNJet as `IQNFolder` gives it; IQNElectron, IQNMuon and IQNPhoton, sorted by pt, with pt, eta,
        phi, mass, charge, pdgId, isolation as the bundle calls it, genPartFlav, 1 for one of a prompt particle, else 0,
        and matched_gen, that particle or None; and IQNMET with pt and phi. Variations of objects are fields of theirs,
        IQNElectron.EES.up; IQNMET follows those of jets and objects, IQNMET.JES.up, as coffea's `CorrectedMETFactory`
        calls it.

        Raises
        ------
        ValueError, TypeError: as of `IQNFolder`; for events without prompt particles or missing momentum.
        """
        jets = flatten_jets(events[self.gen])
        particles, _ = prompt_and_missing(events, self.folder.names)
        folded = self._fold(events, jets)
        model = self.folder.emulator.objects
        assert model is not None
        prefix = "" if as_nano else PREFIX
        made = {JET: self.folder.jagged(folded, events[self.gen], jets)}
        for kind, isolation in zip(KINDS, model.isolation, strict=True):
            made[kind.name] = jagged.collection(kind, folded, isolation, particles, self.folder.variations)
        made[MISSING] = jagged.missing_momentum(folded, self.folder.variations)
        if as_nano:
            events = without_reconstructed(events, made)
        for name, collection in made.items():
            events = ak.with_field(events, collection, f"{prefix}{name}")
        return events


def check_whole(folder: IQNFolder, *, replicas: int = 1) -> None:
    """Refuse a folder that cannot draw whole events, or more replicas of them than the caller takes."""
    there = folder.emulator.objects is not None
    expect(there, f"model {folder.model}: expected a bundle with objects (train --objects), got one of jets alone")
    whole = {"acceptance": True, "unmatched": folder.emulator.unmatched is not None, "replicas": replicas}
    for name, wanted in (whole | {"raw_pt_min": None}).items():
        got = getattr(folder, name)
        expect(got == wanted, f"{name}: expected {wanted} for whole events, got {got}")
    fits = folder.refinement != "weight"
    expect(fits, "refinement: expected 'draw' or 'off' for whole events, which have no weights of jets, got 'weight'")
    others = [str(asked) for asked in folder.variations if asked.of not in OF_THE_SAME]
    expect(not others, f"variations: expected those of the same jets for whole events, got {', '.join(others)}")


def prompt_and_missing(events: ak.Array, names: Names) -> tuple[PromptParticles, Doubles]:
    """What whole events depend on beside gen jets: prompt particles, and missing momentum (events, 2).

    Raises
    ------
    ValueError: where the events do not have both, or missing momentum is none: not finite, or below 0.
    """
    particles, missing = prompt_particles(events, names), missing_momentum(events, names)
    if particles is None or missing is None:
        lacks = "missing momentum (GenMET)"
        if particles is None:
            lacks = "GenDressedLepton and GenIsolatedPhoton, GenPart, or Particle"
        msg = f"events: expected {lacks}, which whole events depend on, found none"
        raise ValueError(msg)
    n_bad = int((~(np.isfinite(missing).all(axis=1) & (missing[:, 0] >= 0.0))).sum())
    expect(n_bad == 0, f"missing momentum: expected finite pt from 0 on and phi, got {n_bad} of {len(missing)} others")
    return particles, missing
