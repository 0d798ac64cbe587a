"""Processor for what a validation compares of true and emulated events as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import hist
import numpy as np

from coffea_iqn.closure.efficiencies import count_overlapping
from coffea_iqn.closure.events import event_features, event_totals
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.processors.fold import IQNFoldProcessor
from coffea_iqn.processors.ordered import OrderedProcessor


class EventsSample(NamedTuple):
    """True events and two folds of them, in an order that depends on the fileset only.

    Attributes
    ----------
    features: `closure.event_features` with true jets, and of the two folds, (events, features) each.
    overlapping: `closure.count_overlapping` of the same, (events, 2) each.
    totals: `closure.event_totals` of the same, those that all files have.
    hists: histograms by name of each fold, see `IQNFoldProcessor`; the first has those of truth.
    """

    features: Sequence[Floats]
    overlapping: Sequence[Doubles]
    totals: Sequence[dict[str, Doubles]]
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
        first, second = (fold.processed(events) for fold in self.folds)
        gen, about = first.folded.gen, self.folds[0].folder.card["jets"]
        sides = ((first, "truth"), (first, "reco"), (second, "reco"))
        reco = [of.jets[level][0] for of, level in sides]
        features = [event_features(gen.values, gen.counts, one.values[:, :4], one.counts) for one in reco]
        geometry = {name: about[name] for name in ("radius", "cone")}
        totals = [
            event_totals(jets, *(of[level][0] if level in of else None for of in (one.objects, one.missing)))
            for (one, level), jets in zip(sides, reco, strict=True)
        ]
        made = features, [count_overlapping(gen, one, **geometry) for one in reco], totals
        folds = {"0": first.result, "1": second.result}
        return {"chunks": self.keyed(events, made), "folds": folds}

    def postprocess(self, accumulator: dict[str, Any]) -> EventsSample:
        folds = [fold.postprocess(accumulator["folds"][str(k)]) for k, fold in enumerate(self.folds)]
        features, overlapping, totals = super().postprocess(accumulator["chunks"])
        return EventsSample(features, overlapping, totals, [one["hists"] for one in folds])

    def joined(self, chunks: Sequence[tuple[int, Any]]) -> tuple[Any, ...]:
        features, overlapping, totals = zip(*(chunk for _, chunk in chunks), strict=True)
        sides = (zip(*of, strict=True) for of in (features, overlapping))
        of_features, of_overlapping = (tuple(np.concatenate(side) for side in of) for of in sides)
        names = [name for name in totals[0][0] if all(name in one for of_chunk in totals for one in of_chunk)]
        of_totals = tuple(
            {name: np.concatenate([one[name] for one in side]) for name in names} for side in zip(*totals, strict=True)
        )
        return of_features, of_overlapping, of_totals
