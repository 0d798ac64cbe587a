"""Processor for the shapes of gen jets, of their true reco jets, and of those of two folds, from their particles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.events.checks import check_valid
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.constituents import RECO, constituents_of
from coffea_iqn.folder import IQNFolder
from coffea_iqn.folder.constituents import check_particles, fold_particles
from coffea_iqn.jets.features import PT
from coffea_iqn.jets.matching import match_tables
from coffea_iqn.jets.shapes import shapes
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.processors.ordered import OrderedProcessor
from coffea_iqn.ranges import GEV


class ShapesProcessor(OrderedProcessor):  # type: ignore[misc]
    """Compute `jets.shapes.shapes` of gen jets, of their true reco jets, and of the jets that two folds make.

    Parameters
    ----------
    model: name of a shipped bundle with particles, or the path of one.
    pt_min: minimum pt [GeV] of gen jets; at least that of the training of the model's particles.
    gen, truth: names of the collections of gen jets and true reco jets.
    seed: seed of the first fold; the second has the next one.
    options: further options of `IQNFolder`.

    Whole events are folded. True and emulated reco jets are matched to gen jets in the same way, by distance, and only
    gen jets with a match in all three are used. All particles are taken as massless, as reconstructed ones in files
    are.

    The result of a run is four arrays (N, 20) for the same gen jets: shapes of the gen jets, of the true reco jets and
    of the two folds, in an order that depends on the fileset only; and the time to fold a gen jet [μs].
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

    def chunk(self, events: ak.Array) -> list[Floats]:
        jets, truth = flatten_jets(events[self.gen]), flatten_jets(events[self.truth], "reco")
        check_valid(truth, "reco jets", events=events)
        true = constituents_of(events, truth, RECO, self.truth)
        if true is None:
            msg = f"events: expected PFCands with jetIdx, pt, eta, phi and pdgId of {self.truth}, found none"
            raise ValueError(msg)
        levels = [(truth, true)]
        for folder in self.folders:
            started = time.thread_time()  # the second fold counts: by then everything is read and compiled
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
        return [*of_chunk, np.array([[seconds, len(gen.values)]])]

    def joined(self, chunks: Sequence[tuple[int, list[Floats]]]) -> tuple[Floats, Floats, Floats, Floats, float]:
        sides = zip(*(chunk for _, chunk in chunks), strict=True)
        gen, true, first, second, spent = (np.concatenate(side) for side in sides)
        seconds, n_jets = spent.sum(axis=0)
        return gen, true, first, second, 1e6 * float(seconds) / max(float(n_jets), 1.0)
