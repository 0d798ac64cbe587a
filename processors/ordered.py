"""Processors whose result is in an order that depends on the fileset only, not on which chunk is finished first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import awkward as ak
from coffea import processor

from coffea_iqn.events.identity import file_uuid


class OrderedProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Base class whose subclasses define `chunk`, the result of a chunk, and `joined`, which merges those of all.

    A result that has its own `joined`, as the samples of `training.pairs`, is merged by that.
    """

    def chunk(self, events: ak.Array) -> Any:
        """Return the result of one chunk."""
        raise NotImplementedError

    def joined(self, chunks: Sequence[tuple[int, Any]]) -> Any:
        """Merge the results of all chunks, each given with the index of its dataset in the order of their names."""
        return type(chunks[0][1]).joined(chunks)

    def process(self, events: ak.Array) -> dict[Any, Any]:
        return self.keyed(events, self.chunk(events))

    def keyed(self, events: ak.Array, made: Any) -> dict[tuple[str, str, int], Any]:
        """Return the result of a chunk by dataset, file and first event."""
        start = int(events.metadata.get("entrystart", 0))
        return {(str(events.metadata["dataset"]), file_uuid(events), start): made}

    def postprocess(self, accumulator: dict[Any, Any]) -> Any:
        names = sorted({name for name, _, _ in accumulator})
        return self.joined([(names.index(key[0]), accumulator[key]) for key in sorted(accumulator)])
