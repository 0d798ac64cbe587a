"""Whole events of both levels, true and emulated, as a judge sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn.closure.events import event_features
from coffea_iqn.events.collections import flatten_jets
from coffea_iqn.events.identity import file_uuid
from coffea_iqn.folder import IQNFolder
from coffea_iqn.numerics.arrays import Floats


class EventsProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """`closure.event_features` of events with their true reco jets, and with those of two folds.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    gen, truth: names of the collections.
    seed: of the first fold; that of the second is the next.
    options: more of `IQNFolder`.

    The result of a run are three arrays (events, features), row by row the same events, in an order that depends on the
    fileset alone: with true jets, and of the two folds.
    """

    def __init__(
        self, model: str | Path, *, gen: str = "GenJet", truth: str = "Jet", seed: int = 0, **options: Any
    ) -> None:
        self.folders = [IQNFolder(model, seed=one, **options) for one in (seed, seed + 1)]
        self.gen = gen
        self.truth = truth

    def process(self, events: ak.Array) -> dict[tuple[str, str, int], list[Floats]]:
        jets, truth = flatten_jets(events[self.gen]), flatten_jets(events[self.truth], "reco")
        folded = [folder.fold_table(events[self.gen], events, jets=jets) for folder in self.folders]
        reco = [truth, *(one.reco[0] for one in folded)]
        gen = folded[0].gen
        of_chunk = [event_features(gen.values, gen.counts, one.values[:, :4], one.counts) for one in reco]
        start = int(events.metadata.get("entrystart", 0))
        return {(str(events.metadata["dataset"]), file_uuid(events), start): of_chunk}

    def postprocess(self, accumulator: dict[tuple[str, str, int], list[Floats]]) -> tuple[Floats, Floats, Floats]:
        in_order = [accumulator[key] for key in sorted(accumulator)]
        true, first, second = (np.concatenate(side) for side in zip(*in_order, strict=True))
        return true, first, second
