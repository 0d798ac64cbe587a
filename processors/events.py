"""Processor for what a validation compares of true and emulated events as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import hist
import numpy as np

from coffea_iqn.closure.efficiencies import count_overlapping
from coffea_iqn.closure.events import event_features
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.processors.fold import IQNFoldProcessor
from coffea_iqn.processors.ordered import OrderedProcessor


class EventsSample(NamedTuple):
    """True events and two folds of them, in an order that depends on the fileset only.

    Attributes
    ----------
    features: `closure.event_features` with true jets, and of the two folds, (events, features) each.
    overlapping: `closure.count_overlapping` of the same, (events, 2) each.
    hists: histograms by name of each fold, see `IQNFoldProcessor`; the first has those of truth.
    """

    features: Sequence[Floats]
    overlapping: Sequence[Doubles]
    hists: Sequence[Mapping[str, hist.Hist]]


class EventsProcessor(OrderedProcessor):  # type: ignore[misc]
    """Fold events twice, and compute what is compared of them and of true events.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    seed: seed of the first fold; the second has the next one.
    options: further options of `IQNFoldProcessor`.

    The result of a run is an `EventsSample`; the files must have true jets.
    """

    def __init__(self, model: str | Path, *, seed: int = 0, **options: Any) -> None:
        second = IQNFoldProcessor(model, seed=seed + 1, **options | {"truth": None})
        self.folds = [IQNFoldProcessor(model, seed=seed, **options), second]

    def process(self, events: ak.Array) -> dict[str, Any]:
        results, folded, truth = zip(*(fold.processed(events) for fold in self.folds), strict=True)
        gen, about = folded[0].gen, self.folds[0].folder.card["jets"]
        reco = [*truth[0], *(one.reco[0] for one in folded)]
        features = [event_features(gen.values, gen.counts, one.values[:, :4], one.counts) for one in reco]
        geometry = {name: about[name] for name in ("radius", "cone")}
        made = features, [count_overlapping(gen, one, **geometry) for one in reco]
        return {"chunks": self.keyed(events, made), "folds": {str(k): result for k, result in enumerate(results)}}

    def postprocess(self, accumulator: dict[str, Any]) -> EventsSample:
        folds = [fold.postprocess(accumulator["folds"][str(k)]) for k, fold in enumerate(self.folds)]
        features, overlapping = super().postprocess(accumulator["chunks"])
        return EventsSample(features, overlapping, [one["hists"] for one in folds])

    def joined(self, chunks: Sequence[tuple[int, Any]]) -> tuple[tuple[Floats, ...], tuple[Doubles, ...]]:
        features, overlapping = zip(*(chunk for _, chunk in chunks), strict=True)
        sides = (zip(*of, strict=True) for of in (features, overlapping))
        of_features, of_overlapping = (tuple(np.concatenate(side) for side in of) for of in sides)
        return of_features, of_overlapping
