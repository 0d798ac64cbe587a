"""Training pairs from files, made by coffea as a fold is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from coffea_iqn.events import Names, file_uuid, flatten_jets, identity_keys, jet_context
from coffea_iqn.matching import default_cone, match_jets
from coffea_iqn.training import JetPairs
from coffea_iqn.uniforms import STREAM_SPLIT, event_keys, levels

SPLIT_SEED = 0


class PairsProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Gen jets, and the reco jet of each that has one.

    Parameters
    ----------
    gen, reco: names of the collections.
    radius: of both collections, for the default matching distance.
    cone: ΔR below which a pair may match; by default `matching.default_cone(radius)`.
    gen_pt_min: least gen pt [GeV] of a pair; matching itself sees every jet.
    split: "event" or "file", what stays together when a part is held out for validation.
    names: what the files call what they know of gen jets, where it differs from `events.Names`.

    The result of a run is a `training.JetPairs`, in an order that depends on the fileset alone.
    """

    def __init__(
        self,
        *,
        gen: str = "GenJet",
        reco: str = "Jet",
        radius: float = 0.4,
        cone: float | None = None,
        gen_pt_min: float = 10.0,
        split: str = "event",
        names: Mapping[str, str] | None = None,
    ) -> None:
        if split not in ("event", "file"):
            msg = f"split: expected 'event' or 'file', got {split!r}"
            raise ValueError(msg)
        self.gen = gen
        self.reco = reco
        self.cone = default_cone(radius) if cone is None else cone
        self.gen_pt_min = gen_pt_min
        self.split = split
        self.names = Names.of(names)

    def process(self, events: ak.Array) -> dict[tuple[str, str, int], JetPairs]:
        missing = [name for name in (self.gen, self.reco) if name not in events.fields]
        if missing:
            msg = f"collections: expected {self.gen} and {self.reco}, found no {' and no '.join(missing)}"
            raise ValueError(msg)
        gen = flatten_jets(events[self.gen])
        reco = flatten_jets(events[self.reco])
        match = match_jets(
            gen.values[:, 1],
            gen.values[:, 2],
            gen.counts,
            reco.values[:, 1],
            reco.values[:, 2],
            reco.counts,
            cone=self.cone,
        )
        matched = match >= 0
        pairs = np.full_like(gen.values, np.nan)
        pairs[matched] = reco.values[match[matched]]

        if self.split == "event":
            keys = identity_keys(events, SPLIT_SEED)
        else:
            one = np.zeros(1, dtype=np.uint64)
            key = event_keys(SPLIT_SEED, file_uuid(events), one, one, one)
            keys = np.repeat(key, len(events), axis=0)
        level = levels(keys, np.zeros(len(keys)), stream=STREAM_SPLIT)[:, 0]

        keep = gen.valid() & (gen.values[:, 0] >= self.gen_pt_min)
        context = jet_context(events[self.gen], events, gen, gen.valid(), self.names)[keep[gen.valid()]]
        sample = np.zeros(int(keep.sum()), dtype=np.int64)
        columns = JetPairs(gen.values[keep], pairs[keep], context, level[gen.event][keep], sample)
        start = int(events.metadata.get("entrystart", 0))
        return {(str(events.metadata["dataset"]), file_uuid(events), start): columns}

    def postprocess(self, accumulator: dict[tuple[str, str, int], JetPairs]) -> Any:
        names = sorted({name for name, _, _ in accumulator})
        ordered = [
            pairs._replace(sample=pairs.sample + names.index(key[0])) for key, pairs in sorted(accumulator.items())
        ]
        return JetPairs(*(np.concatenate(column) for column in zip(*ordered, strict=True)))
