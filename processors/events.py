"""Processor for what a validation compares of true and emulated events as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from coffea_iqn.closure.efficiencies import count_overlapping
from coffea_iqn.closure.events import event_features
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.folder import IQNFolder
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.processors.ordered import OrderedProcessor


class EventsProcessor(OrderedProcessor):  # type: ignore[misc]
    """Compute `closure.event_features` and `closure.count_overlapping` with the true reco jets and those of two folds.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    gen, truth: names of the collections of gen jets and true reco jets.
    seed: seed of the first fold; the second has the next one.
    options: further options of `IQNFolder`.

    The result of a run is three arrays (events, features) of the same events, in an order that depends on the fileset
    only: with true jets, and of the two folds; and three arrays (events, 2) of numbers of overlapping jets.
    """

    def __init__(
        self, model: str | Path, *, gen: str = "GenJet", truth: str = "Jet", seed: int = 0, **options: Any
    ) -> None:
        self.folders = [IQNFolder(model, seed=one, **options) for one in (seed, seed + 1)]
        self.gen = gen
        self.truth = truth

    def chunk(self, events: ak.Array) -> tuple[list[Floats], list[Floats]]:
        jets, truth = flatten_jets(events[self.gen]), flatten_jets(events[self.truth], "reco")
        folded = [folder.fold_table(events[self.gen], events, jets=jets) for folder in self.folders]
        reco = [truth, *(one.reco[0] for one in folded)]
        gen, about = folded[0].gen, self.folders[0].card["jets"]
        features = [event_features(gen.values, gen.counts, one.values[:, :4], one.counts) for one in reco]
        geometry = {name: about[name] for name in ("radius", "cone")}
        return features, [count_overlapping(gen, one, **geometry) for one in reco]

    def joined(self, chunks: Sequence[tuple[int, Any]]) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        features, overlapping = zip(*(chunk for _, chunk in chunks), strict=True)
        sides = (zip(*of, strict=True) for of in (features, overlapping))
        of_features, of_overlapping = (tuple(np.concatenate(side) for side in of) for of in sides)
        return of_features, of_overlapping
