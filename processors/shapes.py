"""What particles say of jets, true ones and those of two folds, of the same gen jets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import RECO, constituents_of
from coffea_iqn.events.identity import file_uuid
from coffea_iqn.folder import IQNFolder
from coffea_iqn.folder.constituents import check_particles, fold_particles
from coffea_iqn.jets.features import PT
from coffea_iqn.jets.shapes import shapes
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.processors.fold import match_tables
from coffea_iqn.ranges import GEV


class ShapesProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """`jets.shapes.shapes` of gen jets, of their true reco jets, and of those that two folds make of particles.

    Parameters
    ----------
    model: name of a shipped bundle with particles, or the path of one.
    pt_min: least pt [GeV] of gen jets; they count from where the particles of the model were trained, if that is more.
    gen, truth: names of the collections.
    seed: of the first fold; that of the second is the next.
    options: more of `IQNFolder`.

    Whole events are folded. The reco jet of a gen jet is found by distance at both levels alike, and gen jets count
    that have one everywhere. All particles are taken as massless, as reconstructed ones are in files.

    The result of a run are four arrays (N, 20), row by row the same gen jets, of these, the true ones, and the two
    folds, in an order that depends on the fileset alone; and what a gen jet took to fold [μs].
    """

    def __init__(
        self,
        model: str | Path,
        *,
        pt_min: float = 0.0,
        gen: str = "GenJet",
        truth: str = "Jet",
        seed: int = 0,
        **options: Any,
    ) -> None:
        GEV.check(pt_min=pt_min)
        self.folders = [IQNFolder(model, seed=one, **options) for one in (seed, seed + 1)]
        check_particles(self.folders[0])
        learnt = [one.get("gen_pt_min", 0.0) for one in self.folders[0].card["extended"] if "particles" in one]
        self.pt_min = max(pt_min, *learnt)
        self.gen = gen
        self.truth = truth

    def process(self, events: ak.Array) -> dict[tuple[str, str, int], list[Floats]]:
        jets, truth = flatten_jets(events[self.gen]), flatten_jets(events[self.truth], "reco")
        truth = truth.where(truth.valid())
        true = constituents_of(events, truth, RECO, self.truth)
        if true is None:
            msg = f"events: expected PFCands with jetIdx, pt, eta, phi and pdgId of {self.truth}, found none"
            raise ValueError(msg)
        levels = [(truth, true)]
        for folder in self.folders:
            started = time.thread_time()  # of the second: by then all is read and compiled
            folded = fold_particles(folder, events[self.gen], events, jets)
            (made,) = folded.reco
            levels.append((made.jets, made.particles))
            seconds = time.thread_time() - started
        card, gen = folder.card["jets"], folded.folded.gen
        match = np.full((len(levels), len(gen.values)), -1)
        for found, (reco, _) in zip(match, levels, strict=True):
            row, of_reco = match_tables(gen, reco, card["cone"])
            found[row] = of_reco
        rows = np.flatnonzero((match >= 0).all(axis=0) & (gen.values[:, PT] >= self.pt_min))
        levels.insert(0, (gen, folded.gen))
        of_chunk = [
            shapes(particles.rows(some).massless, card["radius"])
            for (_, particles), some in zip(levels, (rows, *match[:, rows]), strict=True)
        ]
        start = int(events.metadata.get("entrystart", 0))
        spent = np.array([[seconds, len(gen.values)]])
        return {(str(events.metadata["dataset"]), file_uuid(events), start): [*of_chunk, spent]}

    def postprocess(
        self, accumulator: dict[tuple[str, str, int], list[Floats]]
    ) -> tuple[Floats, Floats, Floats, Floats, float]:
        in_order = [accumulator[key] for key in sorted(accumulator)]
        gen, true, first, second, spent = (np.concatenate(side) for side in zip(*in_order, strict=True))
        seconds, n_jets = spent.sum(axis=0)
        return gen, true, first, second, 1e6 * float(seconds) / max(float(n_jets), 1.0)
