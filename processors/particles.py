"""What the laws of the particles in jets are trained on, from files, made by coffea."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn.emulator.particles import TAG
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.events.constituents import RECO, constituents_of
from coffea_iqn.events.identity import file_uuid
from coffea_iqn.events.names import Names
from coffea_iqn.jets.features import PT
from coffea_iqn.processors.fold import match_tables
from coffea_iqn.processors.pairs import lots
from coffea_iqn.training.pairs import ParticlesSample
from coffea_iqn.training.particles import samples_of, tag_sample

B_TAG = ("btag", "BTag")  # what files call it


class ParticlesProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Samples of every law of `emulator.particles.Particles`.

    Parameters
    ----------
    radius, cone: of the jets, and their matching distance.
    gen, reco: names of the collections of jets.
    pt_min: least pt [GeV] of gen jets: so far above the threshold of the reco jets in the files that hardly one of
        their reco jets is below it.
    split: "event" or "file", what stays together when a part is held out for validation.
    names: what the files call what they know at gen level, where it differs from `events.Names`.

    The result of a run is a `pairs.ParticlesSample`, in an order that depends on the fileset alone.
    """

    def __init__(
        self,
        *,
        radius: float,
        cone: float,
        gen: str = "GenJet",
        reco: str = "Jet",
        pt_min: float = 0.0,
        split: str = "event",
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.radius, self.cone = radius, cone
        self.gen, self.reco = gen, reco
        self.pt_min = pt_min
        self.split = split
        self.names = Names.of(names)

    def process(self, events: ak.Array) -> dict[tuple[str, str, int], ParticlesSample]:
        x, y = flatten_jets(events[self.gen]), flatten_jets(events[self.reco])
        known = gen_events(events[self.gen], events, x, x.valid(), self.names)
        jets, there = known.jets, y.valid()
        y = y.where(there)
        particles = constituents_of(events, jets, self.names, self.gen)
        reco = constituents_of(events, y, RECO, self.reco)
        if particles is None or reco is None:
            lacks = f"in {self.gen if particles is None else self.reco}"
            msg = f"events: expected GenJetCands and PFCands with jetIdx, pt, eta, phi and pdgId, found none {lacks}"
            raise ValueError(msg)
        of_x, of_y = match_tables(jets, y, self.cone)
        keep = jets.values[of_x, PT] >= self.pt_min
        of_x, of_y = of_x[keep], of_y[keep]
        lot = lots(events, self.split)[jets.event[of_x]]
        laws = samples_of(particles, jets, reco, y, (of_x, of_y), lot, self.radius)
        tag = next((name for name in B_TAG if name in events[self.reco].fields), None)
        if tag is not None:
            tags = np.asarray(ak.flatten(events[self.reco][tag])).astype(np.int64)[there]
            parton = None if known.parton is None else known.parton[of_x].astype(np.int64)
            laws[TAG] = tag_sample(y.values[of_y].astype(np.float64), parton, tags[of_y] & 1, lot)
        key = (str(events.metadata["dataset"]), file_uuid(events), int(events.metadata.get("entrystart", 0)))
        return {key: ParticlesSample(laws, self.radius, len(of_x))}

    def postprocess(self, accumulator: dict[tuple[str, str, int], ParticlesSample]) -> Any:
        names = sorted({name for name, _, _ in accumulator})
        chunks = []
        for (name, _, _), chunk in sorted(accumulator.items(), key=lambda item: item[0]):
            laws = {law: of.with_sample(names.index(name)) for law, of in chunk.laws.items()}
            chunks.append(chunk._replace(laws=laws))
        return ParticlesSample.joined(chunks)
