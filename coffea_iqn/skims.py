"""Skims: what a processor leaves of each chunk on disk, the emulated jets beside branches of the input."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from coffea.nanoevents import NanoAODSchema

from coffea_iqn.events import FlatJets
from coffea_iqn.features import ETA, MASS, PHI, PT
from coffea_iqn.identity import IDENTITY, event_identity, event_weights
from coffea_iqn.trees import FORMATS, written
from coffea_iqn.whole import plain_name

CHUNK = ("filename", "treename", "entrystart", "entrystop")  # what a Runner says of a chunk
# as which coffea knows reco jets, and where it looks for the gen jets that their genJetIdx points to
NANOAOD_JET, NANOAOD_GEN_JET = "Jet", "GenJet"
FIELDS = {"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS}
JET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")


@dataclass(frozen=True)
class Skim:
    """Where and how the emulated jets of a run are written, one file a chunk.

    Parameters
    ----------
    folder: for the files; made where it is not there. Workers elsewhere must see the same one.
    format: "root" or "parquet".
    collection: name of the emulated jets.
    keep: branches of the input that are written beside them, as patterns: `["GenJet_*", "LHEPdfWeight"]`.

    Files have NanoAOD's layout: run, luminosityBlock, event, genWeight, the jets as `nIQNJet`, `IQNJet_pt`, `_eta`,
    `_phi`, `_mass` (GeV) and `IQNJet_genJetIdx`, and what is kept. Delphes events have run 1, a luminosityBlock made
    of the uuid of their file, and Event.Number. With replicas every event is there once for each, with a part
    of its genWeight, and `iqnReplica` says which. A collection of the input that has the emulated jets' name gives way
    to them, with the branches that point into it. Emulated jets named Jet come with the gen jets that were folded, as
    `GenJet_pt`, `_eta`, `_phi`, `_mass`, and with `GenPart_inFile`, false, unless branches of GenPart are kept: to
    coffea's NanoAODSchema a file without GenPart is data, whose jets have no `matched_gen`. A file is named after
    dataset, input and range of events, and is there when it is whole: a task done again writes the same file again.

    Raises
    ------
    ValueError: when an option has no such value.
    """

    folder: str | Path
    format: str = "root"
    collection: str = "IQNJet"
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            msg = f"skim: expected a format of {', '.join(FORMATS)}, got {self.format!r}"
            raise ValueError(msg)
        if not JET_NAME.fullmatch(self.collection):
            msg = f"skim: expected a collection's name of letters and digits, such as IQNJet, got {self.collection!r}"
            raise ValueError(msg)
        # workers may run elsewhere, and what differs in nothing else must be equal
        object.__setattr__(self, "folder", str(Path(self.folder).resolve()))
        object.__setattr__(self, "keep", (self.keep,) if isinstance(self.keep, str) else tuple(self.keep))

    def write(self, events: ak.Array, gen: FlatJets, reco: Sequence[FlatJets], about: Mapping[str, Any]) -> Path:
        """Write the file of a chunk.

        Parameters
        ----------
        events: the chunk, from a Runner.
        gen: the gen jets of its events, all of the collection.
        reco: the emulated jets of its events, one for each replica.
        about: what made them, kept in the file.

        Returns
        -------
        its path.

        Raises
        ------
        ValueError: when the events do not say which chunk they are, a pattern matches no branch, or kept gen jets are
            others than those that were folded.
        """
        metadata = events.metadata if hasattr(events, "metadata") else {}
        missing = [key for key in CHUNK if key not in metadata]
        if missing:
            msg = f"skim: expected events of a Runner, whose metadata say {', '.join(CHUNK)}; found no {missing[0]}"
            raise ValueError(msg)
        dataset = str(metadata.get("dataset", "events"))
        entries = [int(metadata["entrystart"]), int(metadata["entrystop"])]
        part = {"file": str(metadata["filename"]), "uuid": str(metadata.get("fileuuid", "")), "entries": entries}
        path = Path(self.folder) / f"{_stem(dataset, part)}.{self.format}"
        content = {**about, "collection": self.collection, "dataset": dataset, "parts": [part]}
        columns = self._columns(events, gen, reco)
        with written(path, content) as file:
            file.extend(columns)
        return path

    def _columns(self, events: ak.Array, gen: FlatJets, reco: Sequence[FlatJets]) -> dict[str, ak.Array]:
        weights = event_weights(events)
        weights = np.ones(len(events)) if weights is None else weights
        k = len(reco)
        once = dict(zip(IDENTITY[""], event_identity(events), strict=True))
        once |= {"genWeight": (weights / k).astype(np.float32)}
        kept = self._kept(events)
        once |= self._what_jets_point_to(gen, kept) | kept
        if k == 1:
            columns = {name: ak.Array(array) for name, array in once.items()}
            values, index, counts = reco[0].values, reco[0].local_index, reco[0].counts
        else:
            rows = np.repeat(np.arange(len(events)), k)
            columns = {name: ak.Array(array)[rows] for name, array in once.items()}
            columns["iqnReplica"] = ak.Array(np.tile(np.arange(k, dtype=np.int32), len(events)))
            event = np.concatenate([jets.event * k + i for i, jets in enumerate(reco)])
            order = np.argsort(event, kind="stable")
            values = np.concatenate([jets.values for jets in reco])[order]
            index = np.concatenate([jets.local_index for jets in reco])[order]
            counts = np.stack([jets.counts for jets in reco], axis=1).ravel()
        fields = {name: values[:, column] for name, column in FIELDS.items()}
        fields["genJetIdx"] = index.astype(np.int32)
        return columns | {f"{self.collection}_{name}": ak.unflatten(flat, counts) for name, flat in fields.items()}

    def _what_jets_point_to(self, gen: FlatJets, kept: Mapping[str, ak.Array]) -> dict[str, ak.Array]:
        """The branches without which coffea does not know the gen jets of jets that are named as in NanoAOD."""
        if self.collection != NANOAOD_JET:
            return {}
        for name, array in kept.items():
            if name.startswith(f"{NANOAOD_GEN_JET}_") and array.ndim > 1 and not np.all(ak.num(array) == gen.counts):
                msg = f"skim: expected {name} of the gen jets that were folded, which genJetIdx names, got others"
                raise ValueError(msg)
        columns = {f"{NANOAOD_GEN_JET}_{n}": ak.unflatten(gen.values[:, k], gen.counts) for n, k in FIELDS.items()}
        if not any(name.startswith("GenPart_") for name in kept):
            columns["GenPart_inFile"] = ak.Array(np.zeros(len(gen.counts), dtype=bool))
        return columns

    def _kept(self, events: ak.Array) -> dict[str, ak.Array]:
        """The branches of the input that are wanted."""
        name = self.collection
        ours = {*IDENTITY[""], "genWeight", "iqnReplica", name}
        pointing = f"_{name[0].lower()}{name[1:]}Idx"
        kept: dict[str, ak.Array] = {}
        found: set[str] = set()
        plain = ak.Array(events.layout)  # a vector's behavior refuses a collection of which only a part is read
        for branch, collection in _branches(plain):
            matching = {pattern for pattern in self.keep if fnmatchcase(branch, pattern)}
            if not matching:
                continue
            if branch in ours or collection == name or branch.endswith(pointing):
                found |= matching
                continue
            array = plain[branch] if collection is None else plain[collection][branch[len(collection) + 1 :]]
            if _can_be_written(array):
                found |= matching
                kept[branch] = array
        lost = [pattern for pattern in self.keep if pattern not in found]
        if lost:
            msg = f"skim: expected branches of the input to keep, found none like {lost[0]!r} that can be written"
            raise ValueError(msg)
        return kept


def branch_patterns(keep: Sequence[str]) -> list[str]:
    """Patterns of all branches that `Skim(keep=keep)` has to read: those kept, and the counters of collections."""
    return [*keep, *(f"n{pattern.partition('_')[0]}" for pattern in keep)]


def _branches(events: ak.Array) -> Iterator[tuple[str, str | None]]:
    """Names of the branches that events have, and their collections; not what a schema makes of them."""
    for name in events.fields:
        if "." in name:  # offsets
            continue
        fields = events[name].fields
        made = {*NanoAODSchema.full_like_items, *(f"{name}_{f}" for f in fields if f.endswith("IdxG"))}
        yield from ((f"{name}_{field}", name) for field in fields if f"{name}_{field}" not in made)
        if not fields:
            yield name, None


def _can_be_written(array: ak.Array) -> bool:
    """Whether it has one number an event, or a list of them."""
    form = array.layout.form
    inner = form.content if form.is_list else form
    return bool(inner.is_numpy) and not inner.inner_shape


def _stem(dataset: str, part: Mapping[str, Any]) -> str:
    """A name that no other chunk has: dataset, input, range of events, and a digest for inputs of one name."""
    start, stop = part["entries"]
    digest = hashlib.sha256(repr((dataset, part["file"], part["uuid"])).encode()).hexdigest()[:8]
    names = dict.fromkeys(map(plain_name, (dataset, Path(part["file"]).stem)))
    return f"{'_'.join(names)}_{digest}_{start}-{stop}"
