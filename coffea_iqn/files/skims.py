"""Skims: files with the emulated jets of each chunk and branches of the input; and merging of such files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import NanoAODSchema, PFNanoAODSchema

from coffea_iqn.events.checks import OF_GEN, RECONSTRUCTED, warn_not_emulated
from coffea_iqn.events.collections import EVENT_INDEX, INDEX
from coffea_iqn.events.identity import IDENTITY, event_identity, event_weights, metadata_of, n_weighted
from coffea_iqn.files.atomic import check_new, plain_name, plain_names
from coffea_iqn.files.inputs import PEEK, TREES, check_one_process, cross_sections
from coffea_iqn.files.trees import FORMATS, iterate, read_about, written
from coffea_iqn.jets.features import ETA, MASS, PHI, PT
from coffea_iqn.jets.table import JetTable, interleaved
from coffea_iqn.numerics.arrays import Doubles, Singles
from coffea_iqn.ranges import expect

CHUNK = ("filename", "treename", "entrystart", "entrystop")  # metadata of a chunk from a Runner
# coffea's names of the reco jets, and of the gen jets that their genJetIdx points to
NANOAOD_JET, NANOAOD_GEN_JET = "Jet", "GenJet"
# fields that coffea makes for PHYSLITE, and those of ROOT's objects in Delphes, which uproot does not read
OF_NO_USE = (EVENT_INDEX, "fBits", "fUniqueID")
FIELDS = {"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS}
JET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")

REFERENCES = NanoAODSchema.all_cross_references | PFNanoAODSchema.all_cross_references  # branches of indices: into what
INDICES_OF_CHUNK = {f"{name}G" for name in REFERENCES} | {*NanoAODSchema.nested_items, *NanoAODSchema.special_items}
ABSOLUTE_WEIGHTS = (
    *("Generator_weight", "LHEWeight_originalXWGTUP"),  # NanoAOD's others are relative to genWeight
    *("Event_Weight", "Weight_Weight", "EventInfo_mcEventWeights"),  # all of Delphes and PHYSLITE
)


@dataclass(frozen=True)
class Skim:
    """Where and how to write the emulated jets of a run, one file per chunk.

    Parameters
    ----------
    folder: folder for the files; created if missing. Remote workers must see the same one.
    format: "root" or "parquet".
    collection: name of the collection of emulated jets.
    keep: patterns of input branches to copy: `["GenJet_*", "LHEPdfWeight"]`.
    replace: whether to replace files in the folder that were made with other settings, which are otherwise an error.

    Files have the layout of NanoAOD: run, luminosityBlock, event, genWeight, the jets as `nIQNJet`, `IQNJet_pt`,
    `_eta`, `_phi`, `_mass` (GeV) and `IQNJet_genJetIdx`, and the copied branches. Delphes events get run 1, a
    luminosityBlock made from the uuid of their file, and Event.Number. With replicas, each event appears once per
    replica, with a share of its genWeight, and `iqnReplica` is the number of the replica. Other collections of whole
    events are named like the jets: `IQNElectron` and `IQNMET`, or `Electron` and `MET` if the jets are `Jet`; coffea
    sets mass and charge of a `Photon`. An emulated collection replaces an input collection of the same name, and
    branches that point into that one are dropped. Emulated jets named Jet come with the folded gen jets as `GenJet_pt`,
    `_eta`, `_phi`, `_mass`, and with `GenPart_inFile`, false, unless branches of GenPart are kept: coffea's
    NanoAODSchema takes a file without GenPart for data, whose jets have no `matched_gen`. A file is named after
    dataset, input and range of events, and written atomically: a repeated task writes the same file again.

    Raises
    ------
    ValueError: if an option is invalid.
    """

    folder: str | Path
    format: str = "root"
    collection: str = "IQNJet"
    keep: Sequence[str] = ()
    replace: bool = False

    def __post_init__(self) -> None:
        expect(self.format in FORMATS, f"skim: expected a format of {', '.join(FORMATS)}, got {self.format!r}")
        name, got = "expected a collection's name of", f"such as IQNJet, got {self.collection!r}"
        expect(JET_NAME.fullmatch(self.collection), f"skim: {name} letters and digits, {got}")
        expect(not OF_GEN.search(self.collection), f"skim: {name} reco jets, {got} of gen jets")
        # an absolute path for remote workers; tuples and strings, so that equal skims compare equal
        object.__setattr__(self, "folder", str(Path(self.folder).resolve()))
        object.__setattr__(self, "keep", (self.keep,) if isinstance(self.keep, str) else tuple(self.keep))

    def write(
        self,
        events: ak.Array,
        gen: JetTable,
        reco: Sequence[JetTable],
        about: Mapping[str, Any],
        varied: Mapping[str, Sequence[JetTable]] | None = None,
        index: str = "genJetIdx",
        others: Mapping[str, ak.Array] | None = None,
    ) -> Path:
        """Write the file of a chunk.

        Parameters
        ----------
        events: the chunk, from a Runner.
        gen: all gen jets of its events.
        reco: the emulated jets of its events, one table per replica.
        about: metadata for the file: what made the jets.
        varied: by systematic, variations of the same jets, like reco: pt and mass become `IQNJet_pt_jesUp`, ...
        index: name of the index of the jet that each jet is made from.
        others: other emulated objects by branch, `Electron_pt`, `MET_pt`, ...; replicas are ordered like events.

        Returns
        -------
        the path of the file.

        Raises
        ------
        ValueError: if the events lack the metadata of a chunk, a pattern matches no branch, kept branches of one
            collection have different numbers of objects, or kept gen jets are not the folded ones.
        FileExistsError: if the file exists with other settings, unless it may be replaced.
        """
        metadata = metadata_of(events)
        lacking = next((key for key in CHUNK if key not in metadata), None)
        wanted = f"expected events of a Runner, with metadata {', '.join(CHUNK)}"
        expect(lacking is None, f"skim: {wanted}; found no {lacking}")
        dataset = str(metadata.get("dataset", "events"))
        entries = [int(metadata["entrystart"]), int(metadata["entrystop"])]
        part: dict[str, Any] = {
            "file": str(metadata["filename"]),
            "uuid": str(metadata.get("fileuuid", "")),
            "entries": entries,
            "weighted": "with" in n_weighted(events),
            "cross_sections": cross_sections(events),
        }
        path = Path(self.folder) / f"{_stem(dataset, part)}.{self.format}"
        content = {**about, "collection": self.collection, "dataset": dataset, "parts": [part]}
        if not self.replace:
            _check_same(path, content)
        columns = self._columns(events, gen, reco, varied or {}, index, others or {})
        with written(path, content) as file:
            file.extend(columns)
        return path

    def _columns(
        self,
        events: ak.Array,
        gen: JetTable,
        reco: Sequence[JetTable],
        varied: Mapping[str, Sequence[JetTable]],
        index: str,
        others: Mapping[str, ak.Array],
    ) -> dict[str, ak.Array]:
        weights, k = event_weights(events), len(reco)
        once = dict(zip(IDENTITY[""], event_identity(events), strict=True))
        once |= {"genWeight": _single(weights / k)}
        prefix = self.collection.removesuffix(NANOAOD_JET)
        named = {f"{prefix}{branch}": array for branch, array in others.items()}
        named = {name: array for name, array in named.items() if name not in NanoAODSchema.full_like_items}
        emulated = {self.collection, *(branch.partition("_")[0] for branch in named)}
        replaced = self.collection == NANOAOD_JET and index == INDEX["gen"]
        kept = self._kept(events, emulated, others=not replaced)
        kept |= {name: kept[name] / k for name in ABSOLUTE_WEIGHTS if k > 1 and name in kept}
        once |= (self._gen_jet_branches(gen, kept) if replaced else {}) | kept
        columns = {name: ak.Array(array) for name, array in once.items()}
        if k > 1:
            rows = np.repeat(np.arange(len(events)), k)
            columns = {name: array[rows] for name, array in columns.items()}
            columns["iqnReplica"] = ak.Array(np.tile(np.arange(k, dtype=np.int32), len(events)))
        jets = interleaved(reco)
        fields = {name: jets.values[:, column] for column, name in enumerate(jets.columns)}
        fields[index] = jets.place.astype(np.int32)
        for systematic, tables in varied.items():
            values = interleaved(tables).values
            fields |= {f"{n}_{ending_of(systematic)}": values[:, FIELDS[n]] for n in ("pt", "mass")}
        columns |= {f"{self.collection}_{name}": ak.unflatten(flat, jets.counts) for name, flat in fields.items()}
        return columns | named

    def _gen_jet_branches(self, gen: JetTable, kept: Mapping[str, ak.Array]) -> dict[str, ak.Array]:
        """Return the branches that coffea needs to find the gen jets of jets that are named as in NanoAOD."""
        for name, array in kept.items():
            if name.startswith(f"{NANOAOD_GEN_JET}_") and array.ndim > 1:
                wanted = f"expected {name} of the folded gen jets, which genJetIdx points to"
                expect(np.all(ak.num(array) == gen.counts), f"skim: {wanted}, got others")
        columns = {f"{NANOAOD_GEN_JET}_{n}": ak.unflatten(gen.values[:, k], gen.counts) for n, k in FIELDS.items()}
        if not any(name.startswith("GenPart_") for name in kept):
            columns["GenPart_inFile"] = ak.Array(np.zeros(len(gen.counts), dtype=bool))
        return columns

    def _kept(self, events: ak.Array, emulated: set[str], *, others: bool) -> dict[str, ak.Array]:
        """Return the input branches to copy, without those that emulated collections replace.

        If others is False, reconstructed objects are only copied if a pattern names their collection, not by "*".
        """
        ours = {*IDENTITY[""], "genWeight", "iqnReplica", *emulated}
        kept: dict[str, ak.Array] = {}
        found, left_out = set[str](), set[str]()
        plain = ak.Array(events.layout)  # without behavior: a vector's fails on partly read collections
        for branch, collection in _branches(plain):
            matching = {pattern for pattern in self.keep if fnmatchcase(branch, pattern)}
            if not matching:
                continue
            whole = collection or branch
            if not others and RECONSTRUCTED.fullmatch(whole) and whole not in emulated:
                found |= matching
                if not any(pattern.partition("_")[0] == whole for pattern in matching):
                    left_out.add(whole)
                    continue
            if branch in ours or collection in emulated or _refers_to(branch, emulated):
                found |= matching
                continue
            array = plain[branch] if collection is None else plain[collection][branch[len(collection) + 1 :]]
            form = array.layout.form
            form = form.content if form.is_list else form  # that of the numbers
            # a schema makes fields of constants where the file has no branch
            is_made = branch in NanoAODSchema.full_like_items and "typename" not in form.parameters
            if form.is_numpy and not form.inner_shape and not is_made:
                found |= matching
                kept[branch] = array
        if left_out:
            warn_not_emulated(sorted(left_out), events.fields)
        lost = next((pattern for pattern in self.keep if pattern not in found), None)
        got = f"found none like {lost!r} that can be written"
        expect(lost is None, f"skim: expected branches of the input to keep, {got}")
        _check_counts(kept)
        return kept


def _check_counts(columns: Mapping[str, ak.Array]) -> None:
    """Raise ValueError for lists that would be of one collection, by their names, but have other numbers of objects."""
    first: dict[str, tuple[str, ak.Array]] = {}
    for name, array in columns.items():
        collection, _, field = name.partition("_")
        if array.ndim > 1 and field:
            other, counts = first.setdefault(collection, (name, ak.num(array)))
            fits = other == name or ak.array_equal(ak.num(array), counts)
            msg = f"skim: expected {name} to have as many numbers as {other}, of one collection by its name, got others"
            expect(fits, f"{msg}: keep one of them")


def _check_same(path: Path, about: Mapping[str, Any]) -> None:
    """Raise FileExistsError if there is a skim with other metadata at a path."""
    if not path.is_file():
        return
    found, wanted = read_about(path), json.loads(json.dumps(about))
    odd = next((key for key in wanted | found if found.get(key) != wanted.get(key)), "")
    got = f"found one of {odd} {found.get(odd)!r} instead of {wanted.get(odd)!r}: give another folder, or replace=True"
    expect(not odd, f"skim {path}: expected none there, or one of the same settings, {got}", FileExistsError)


def ending_of(systematic: str) -> str:
    """Return the suffix of branches of a systematic, in the convention of NanoAOD-tools: jesUp."""
    source, _, side = systematic.rpartition("_")
    return f"{source.lower()}{side.capitalize()}"


def branch_patterns(keep: Sequence[str]) -> list[str]:
    """Return patterns of all branches that `Skim(keep=keep)` reads: those copied, and counters of collections."""
    return [*keep, *(f"n{pattern.partition('_')[0]}" for pattern in keep)]


def _branches(events: ak.Array) -> Iterator[tuple[str, str | None]]:
    """Iterate over the branches of events with their collection, without counters and indices that a schema made."""
    names = set(events.fields)
    for name in events.fields:
        if "." in name or (name.startswith("n") and name[1:] in names):  # offsets, counters
            continue
        fields = events[name].fields
        branches = (f"{name}_{field}" for field in fields if field not in OF_NO_USE)
        yield from ((branch, name) for branch in branches if branch not in INDICES_OF_CHUNK)
        if not fields:
            yield name, None


def _refers_to(branch: str, collections: Collection[str]) -> bool:
    """Return whether a branch holds indices of objects of one of these collections."""
    if branch in REFERENCES:
        return REFERENCES[branch] in collections
    of_these = tuple(f"_{name[0].lower()}{name[1:]}Idx" for name in collections)
    return branch.endswith(of_these) and not branch.startswith("Gen")


def _stem(dataset: str, part: Mapping[str, Any]) -> str:
    """Return a unique name for a chunk: dataset, input, range of events, and a digest for inputs of the same name."""
    start, stop = part["entries"]
    digest = hashlib.sha256(repr((dataset, part["file"], part["uuid"])).encode()).hexdigest()[:8]
    names = dict.fromkeys(map(plain_name, (dataset, Path(part["file"]).stem)))
    return f"{'_'.join(names)}_{digest}_{start}-{stop}"


class Merged(NamedTuple):
    """A merged file.

    Attributes
    ----------
    path: its path.
    dataset: dataset of its events.
    n_parts: number of merged files.
    n_events: number of events.
    gaps: missing ranges of events of an input, (file, first event, last event + 1); those after the last part only if
        the input can be opened here.
    """

    path: Path
    dataset: str
    n_parts: int
    n_events: int
    gaps: list[tuple[str, int, int]]


def merge(
    parts: Iterable[Path], output: Path, *, force: bool = False, watch: Callable[[int], None] | None = None
) -> list[Merged]:
    """Merge files of skims in the order of inputs and events, independent of the order given.

    Parameters
    ----------
    parts: files, or folders of files, in either format.
    output: a file that ends in .root or .parquet, for a single dataset; or a folder that gets a file for each
        dataset, in the format of the parts.
    force: whether existing files may be replaced.
    watch: called repeatedly with the number of further events written.

    Raises
    ------
    ValueError: if there is no file, a file is not a skim, files were made with different models, settings or branches,
        two files have the same events, only some are of events with weights, they are of several generated processes,
        or several datasets would go into one file. Then nothing is written.
    FileExistsError: if an existing file would be replaced.
    """
    datasets: dict[str, dict[Path, dict[str, Any]]] = {}
    for path in _files(parts):
        about = read_about(path)
        datasets.setdefault(about["dataset"], {})[path] = about
    if output.suffix.removeprefix(".") in FORMATS:
        got = f"got {', '.join(sorted(datasets))}: give a folder instead"
        expect(len(datasets) <= 1, f"{output}: expected files of one dataset, {got}")
        targets = dict.fromkeys(datasets, output)
    else:
        plain = plain_names(datasets)
        targets = {dataset: output / f"{plain[dataset]}{next(iter(of)).suffix}" for dataset, of in datasets.items()}
    for target in targets.values():
        check_new(target, force=force)
    checked = {dataset: _in_order(dataset, of) for dataset, of in datasets.items()}
    return [_merge(dataset, checked[dataset], targets[dataset], watch) for dataset in sorted(datasets)]


def _files(parts: Iterable[Path]) -> list[Path]:
    """Return the files of all parts, each once."""
    found: dict[Path, None] = {}
    for path in parts:
        expect(path.is_dir() or path.is_file(), f"{path}: expected a file or a folder, found none")
        if path.is_dir():
            found |= dict.fromkeys(p for p in sorted(path.iterdir()) if p.suffix.removeprefix(".") in FORMATS)
        else:
            found[path] = None
    expect(found, "merge: expected files that end in .root or .parquet, found none")
    return list(found)


def _single(weights: Doubles) -> Singles:
    """Return weights in NanoAOD's single precision, after checking that it can hold them."""
    size, ends = np.abs(weights[weights != 0.0]), np.finfo(np.float32)
    fits = not len(size) or (size.min() >= ends.tiny and size.max() <= ends.max)
    expect(fits, f"skim: expected weights from {ends.tiny:.3g} to {ends.max:.3g}, NanoAOD's range, got others")
    return weights.astype(np.float32)


def _in_order(dataset: str, parts: Mapping[Path, dict[str, Any]]) -> list[tuple[Path, dict[str, Any]]]:
    """Return parts in the order of their inputs and events, after checking that they belong together."""
    first_path, first = next(iter(parts.items()))
    for path, about in parts.items():
        for key in (first.keys() | about.keys()) - {"parts"}:
            got = f"got {about.get(key)!r}: these files are from different runs"
            fits = first.get(key) == about.get(key)
            expect(fits, f"{path}: expected {key} {first.get(key)!r} as in {first_path}, {got}")
    held = sorted((_input(part), *part["entries"], path) for path, about in parts.items() for part in about["parts"])
    for (one, _, stop, path), (other, start, _, other_path) in pairwise(held):
        fits = one != other or start >= stop
        expect(fits, f"{other_path}: expected events that no other file has, got some of {dataset} that are in {path}")
    _check_normalised(dataset, parts)
    order = ("file", "uuid", "entries")
    return sorted(parts.items(), key=lambda item: [[part[key] for key in order] for part in item[1]["parts"]])


def _check_normalised(dataset: str, parts: Mapping[Path, dict[str, Any]]) -> None:
    """Check that the inputs of all parts had event weights, or none, and are of one process; older parts do not say."""
    held = [(path, part) for path, about in parts.items() for part in about["parts"]]
    weighted = {part["weighted"]: path for path, part in held if "weighted" in part}
    got = f"found none in those of {weighted.get(False)}"
    expect(len(weighted) <= 1, f"{dataset}: expected event weights in all inputs of the dataset or in none, {got}")
    processes: dict[str, list[Sequence[float]]] = {}
    for path, part in held:
        processes.setdefault(str(path), []).extend(part.get("cross_sections", ()))
    check_one_process(dataset, processes)


def _input(part: Mapping[str, Any]) -> str:
    """Return what identifies the input of a part: its uuid, as one file can have several paths."""
    return str(part["uuid"] or part["file"])


def _merge(
    dataset: str, parts: Sequence[tuple[Path, dict[str, Any]]], output: Path, watch: Callable[[int], None] | None
) -> Merged:
    held = [part for _, about in parts for part in about["parts"]]
    types: dict[str, str] | None = None
    seen: dict[tuple[float, ...], Path] = {}
    n_events = 0
    with written(output, parts[0][1] | {"parts": held}) as file:
        for path, about in parts:
            for number, columns in enumerate(iterate(path)):
                if not number:
                    _check_unseen(dataset, path, about["collection"], columns, seen)
                found = {name: str(array.type.content) for name, array in columns.items()}
                types = found if types is None else types
                if found != types:
                    odd = min(set(found.items()) ^ set(types.items()))[0]
                    msg = f"{path}: expected {odd} as in {parts[0][0]} ({types.get(odd)}), got {found.get(odd)}"
                    raise ValueError(msg)
                file.extend({name: columns[name] for name in types})
                n = len(next(iter(columns.values())))
                n_events += n
                if watch is not None:
                    watch(n)
    return Merged(output, dataset, len(parts), n_events, _gaps(held))


def _check_unseen(
    dataset: str,
    path: Path,
    collection: str,
    columns: Mapping[str, ak.Array],
    seen: dict[tuple[float, ...], Path],
) -> None:
    """Raise ValueError if a part begins with events, of the same jets, of parts before: of copies, or of one seed.

    seen: identity and pt of the jets of the first event with jets of each part before; that of this one is added.
    """
    identity = zip(*(columns[name][:PEEK].to_list() for name in IDENTITY[""]), strict=True)
    jets = columns[f"{collection}_pt"][:PEEK].to_list()
    events = [(*event, *pt) for event, pt in zip(identity, jets, strict=True) if pt]
    before = next((seen[event] for event in events if event in seen), None)
    got = f"got some with the same jets as in {before}, as of inputs generated with one seed"
    why = f"those of {dataset} would count twice"
    expect(before is None, f"{path}: expected events that no other file has, {got}: {why}")
    seen |= dict.fromkeys(events[:1], path)


def _gaps(held: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Return the ranges of events between those in the parts, and after them where the input can be opened here."""
    gaps: list[tuple[str, int, int]] = []
    last: dict[str, Mapping[str, Any]] = {}
    for part in sorted(held, key=lambda one: (_input(one), one["entries"])):
        start, before = part["entries"][0], last.get(_input(part))
        expected = 0 if before is None else before["entries"][1]
        if start > expected:
            gaps.append((part["file"], expected, start))
        last[_input(part)] = part
    for part in last.values():
        stop, n = part["entries"][1], _n_events(Path(part["file"]), part["uuid"])
        if n is not None and stop < n:
            gaps.append((part["file"], stop, n))
    return sorted(gaps)


def _n_events(path: Path, uuid: str) -> int | None:
    """Return the number of events of an input; None if it is not here, or no longer the same file."""
    if not path.is_file():
        return None
    with uproot.open(path) as file:
        tree = next((name for name in TREES if name in file), None)
        return None if tree is None or str(file.file.uuid) != uuid else int(file[tree].num_entries)
