"""EventFolder: fold gen-level events to reco jets, electrons, muons, photons and missing momentum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak

from coffea_iqn.events.checks import without_reconstructed
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.folder import jagged
from coffea_iqn.folder.jagged import JET, Folded
from coffea_iqn.folder.jets import IQNFolder
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.ranges import expect
from coffea_iqn.variations import OF_THE_SAME

MISSING = "MET"


class OfEvents:
    """What folders that add several collections to events share: the folder of their jets, and names of collections."""

    def __init__(self, model: str | Path, *, gen: str = "GenJet", **options: Any) -> None:
        self.folder = IQNFolder(model, **options)
        self.gen = gen
        self.check()

    def check(self) -> None:
        """Raise an error if the folder of jets does not fit."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.folder!r})"

    @property
    def card(self) -> dict[str, Any]:
        """The bundle's card."""
        return self.folder.card

    @staticmethod
    def added(events: ak.Array, made: Mapping[str, ak.Array], *, as_nano: bool) -> ak.Array:
        """Return events with new collections: under the prefix IQN, or in place of all that is reconstructed."""
        if as_nano:
            events = without_reconstructed(events, made)
        for name, collection in made.items():
            events = ak.with_field(events, collection, jagged.named(name, as_nano=as_nano))
        return events


class EventFolder(OfEvents):
    """Fold whole events: jets, electrons, muons, photons and missing momentum.

    Parameters
    ----------
    model: name of a shipped bundle or path of a bundle, trained with objects.
    gen: name of the gen jet collection.
    options: options of `IQNFolder`, except replicas, acceptance, unmatched, raw_pt_min, refinement="weight", and
        variations that change which jets exist.

    An event is drawn in the order of a detector's reconstruction (`emulator.objects`): prompt leptons and photons,
    misidentified ones, jets that contain none of these, unmatched jets, and missing momentum given all of them. A
    folder is small to pickle, and draws the same bits under any chunking and executor.

    Raises
    ------
    bundle.BundleError: if the bundle does not exist or cannot be read.
    ValueError: if the bundle has no objects, or an option does not apply to whole events.
    """

    def check(self) -> None:
        """See `check_whole`."""
        check_whole(self.folder)

    def fold_table(self, events: ak.Array) -> Folded:
        """Same as calling the folder, but return flat tables: `Folded.reco`, `objects` and `missing`."""
        return self.folder.fold_table(events[self.gen], events, objects=True)

    def __call__(self, events: ak.Array, *, as_nano: bool = False) -> ak.Array:
        """Fold events.

        Parameters
        ----------
        events: NanoAOD or Delphes events with gen jets, prompt leptons and photons (`events.Names`), missing momentum,
            and the identifiers run, luminosityBlock and event.
        as_nano: whether to use NanoAOD's collection names, Jet, Electron, Muon, Photon and MET, replacing those of the
            events, as a NanoAOD analysis expects. Other reconstructed objects are removed, with a
            `NotEmulatedWarning`: they belong to another simulation of the same events.

        Returns
        -------
        the events with new collections. IQNJet is as `IQNFolder` returns it. IQNElectron, IQNMuon and IQNPhoton are
        sorted by pt and have pt, eta, phi, mass, charge, pdgId, isolation under the bundle's name for it, genPartFlav
        (1 for an object of a prompt particle, otherwise 0) and matched_gen, that particle or None. IQNMET has pt and
        phi. Variations are fields, IQNElectron.EES.up; those of jets and objects are propagated to missing momentum:
        IQNMET.JES.up, as in coffea's `CorrectedMETFactory`.

        Raises
        ------
        ValueError, TypeError: see `IQNFolder`; also for events without prompt particles or missing momentum.
        """
        jets = flatten_jets(events[self.gen])
        folded = self.folder.fold_table(events[self.gen], events, jets=jets, objects=True)
        model = self.folder.emulator.objects
        assert model is not None
        assert folded.prompt is not None
        varied = self.folder.variations
        made = {JET: jagged.jagged(folded, events[self.gen], jets, varied, as_nano=as_nano)}
        for kind, isolation in zip(KINDS, model.isolation, strict=True):
            of_kind = kind, folded, isolation, folded.prompt, varied
            made[kind.name] = jagged.collection(*of_kind, as_nano=as_nano)
        # in Delphes' events a "MissingET" has an eta
        of = "PolarTwoVector" if "Event" in events.fields else "MissingET"
        made[MISSING] = jagged.missing_momentum(folded, of, varied)
        return self.added(events, made, as_nano=as_nano)


def check_whole(folder: IQNFolder, *, replicas: int = 1) -> None:
    """Raise an error if a folder cannot draw whole events, or draws a number of replicas other than expected."""
    there = folder.emulator.objects is not None
    expect(there, f"model {folder.model}: expected a bundle with objects (train --objects), got one of jets only")
    whole = {"acceptance": True, "unmatched": folder.emulator.unmatched is not None, "replicas": replicas}
    for name, wanted in (whole | {"raw_pt_min": None}).items():
        got = getattr(folder, name)
        expect(got == wanted, f"{name}: expected {wanted} for whole events, got {got}")
    fits = folder.refinement != "weight"
    expect(fits, "refinement: expected 'draw' or 'off' for whole events, which have no jet weights, got 'weight'")
    others = [str(asked) for asked in folder.variations if asked.of not in OF_THE_SAME]
    got = ", ".join(others)
    expect(not others, f"variations: expected only ones that keep the set of jets for whole events, got {got}")
