"""What a run survives: finished chunks are kept on disk, chunks that cannot be read may be left out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import coffea.util
from coffea import processor
from coffea.processor.checkpointer import CheckpointerABC

from coffea_iqn.whole import whole_file


class Skipped(NamedTuple):
    """What a run went without.

    Attributes
    ----------
    path: of the file.
    entries: first event and the one after the last; None where nobody knows, for the whole file cannot be read.
    why: in one line.
    """

    path: str
    entries: tuple[int, int] | None
    why: str

    @property
    def n_events(self) -> int | None:
        """How many events; None where nobody knows."""
        return None if self.entries is None else self.entries[1] - self.entries[0]


class Tolerant(processor.ProcessorABC):  # type: ignore[misc]
    """A processor that may note the chunks another one fails on, and go on.

    Parameters
    ----------
    instance: the other one, whose results are dictionaries.
    skip: whether to go on; else the first such chunk ends the run. What is kept of a chunk is the same either way.
    ignored: warnings that are not shown, whichever process a chunk is in: the caller says itself what they say.

    A run gives `{"out": the result of the other one, "skipped": [Skipped, ...]}`; "out" is None when all was skipped.
    """

    def __init__(self, instance: processor.ProcessorABC, *, skip: bool, ignored: Sequence[type[Warning]] = ()) -> None:
        self.instance = instance
        self.skip = skip
        self.ignored = tuple(ignored)

    @property
    def identity(self) -> str:
        """That of the other one: what its results depend on."""
        return str(self.instance.identity)

    def process(self, events: ak.Array) -> dict[str, Any]:
        metadata = events.metadata
        try:
            with warnings.catch_warnings():
                for kind in self.ignored:
                    warnings.simplefilter("ignore", kind)
                return {"out": self.instance.process(events), "skipped": []}
        except Exception as error:  # damaged bytes make uproot raise whatever it trips over
            if not self.skip:
                raise
            entries = (int(metadata["entrystart"]), int(metadata["entrystop"]))
            detail = str(error).strip().splitlines() or [""]
            why = f"{type(error).__name__}: {detail[0]}"
            return {"out": {}, "skipped": [Skipped(str(metadata["filename"]), entries, why)]}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        done = accumulator["out"]
        return {
            "out": self.instance.postprocess(done) if done else None,
            "skipped": sorted(accumulator["skipped"]),
        }


class Checkpoints(CheckpointerABC):  # type: ignore[misc]
    """Results of finished chunks on a disk that all workers see; a later run takes them instead of working again.

    Parameters
    ----------
    folder: where to keep them.

    A result is known by the processor's `identity`, dataset, file, tree and range of events, so that none is taken for
    that of another model, seed or setting. It appears when it is whole: a task that is killed, or done twice, leaves
    nothing half written. Chunks that were skipped are not kept; one that wrote files counts while they are there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def n_finished(self, processor_instance: Any) -> int:
        """How many results of a processor, such as it is, there are."""
        return len(list((self.folder / str(processor_instance.identity)).glob("*.coffea")))

    def load(self, metadata: Mapping[str, Any], processor_instance: Any) -> Any:
        """The result of a chunk; None where there is none, or none that can be read."""
        path = self._path(metadata, processor_instance)
        if not path.is_file():
            return None
        try:
            output = coffea.util.load(path)
            there = all(Path(file).is_file() for file in output["out"]["out"].get("files", ()))
        except Exception:  # noqa: BLE001 # what is damaged is made again
            return None
        return output if there else None

    def save(self, output: Any, metadata: Mapping[str, Any], processor_instance: Any) -> None:
        """Keep the result of a chunk."""
        if output["out"].get("skipped"):
            return
        with whole_file(self._path(metadata, processor_instance)) as path:
            coffea.util.save(output, path)

    def _path(self, metadata: Mapping[str, Any], processor_instance: Any) -> Path:
        chunk = [metadata[key] for key in ("dataset", "filename", "fileuuid", "treename", "entrystart", "entrystop")]
        name = hashlib.sha256(repr(chunk).encode()).hexdigest()
        return self.folder / str(processor_instance.identity) / f"{name}.coffea"
