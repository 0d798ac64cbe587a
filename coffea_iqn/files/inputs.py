"""ROOT files, inspected once before any processor runs on them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot
from coffea.nanoevents import DelphesSchema, NanoAODSchema, PHYSLITESchema

from coffea_iqn.events.collections import FIELDS, GEN_PART, GEV, LEPTON, PHOTON, TAU_ARRAY, levels_of
from coffea_iqn.events.constituents import FIELDS as OF_CONSTITUENTS
from coffea_iqn.events.constituents import of_collection
from coffea_iqn.events.identity import IDENTITY, WEIGHTS
from coffea_iqn.events.names import Names
from coffea_iqn.files.reading import REMOTE, TIMEOUT, open_options
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import conditioning_variables
from coffea_iqn.jets.table import JetTable
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.ranges import expect

TREES = {"Events": "NanoAOD", "Delphes": "Delphes", "CollectionTree": "PHYSLITE"}
ABOUT = "coffea_iqn"  # key of the metadata in a skim
PT = {"NanoAOD": "_pt", "Delphes": ".PT", "PHYSLITE": ".pt"}  # suffix of the pt branch of a collection
JET_FIELDS = ("pt", "eta", "phi", "mass")
SETTINGS = "generation"  # key of the settings in a generated file
NORMALISED = ("crossSection", "crossSectionError")  # branches of the tree Runs of generated files
SIMILAR = 0.2  # by how much cross sections of files of one process may differ, beyond their uncertainties
PEEK = 100  # events read to find branches that are only zeros
FIRST = 10_000  # events read to find the jet radius


class InputError(ValueError):
    """A file that cannot be read; the message says which file, what was expected, and what was found."""


class NanoSchema(NanoAODSchema):  # type: ignore[misc]
    """NanoAODSchema without warnings for missing cross-references, and with vectors for `IQNJet` and the like."""

    warn_missing_crossrefs = False
    mixins: ClassVar = {
        **NanoAODSchema.mixins,
        **dict.fromkeys(("IQNJet", "IQNElectron", "IQNMuon", "IQNPhoton"), "PtEtaPhiMCollection"),
        "IQNMET": "MissingET",
    }

    def __init__(self, base_form: dict[str, Any], *arguments: Any, **options: Any) -> None:
        """Keep branches such as Jet_charge, in place of which NanoAODSchema has zeros."""
        items, fields = NanoAODSchema.full_like_items.items(), set(base_form["fields"])
        self.full_like_items = {name: made for name, made in items if name not in fields}
        super().__init__(base_form, *arguments, **options)


SCHEMAS: dict[str, Any] = {"NanoAOD": NanoSchema, "Delphes": DelphesSchema, "PHYSLITE": PHYSLITESchema}


@dataclass(frozen=True)
class Source:
    """An inspected file.

    Attributes
    ----------
    path, tree, n_events: path of the file, name of its tree, number of events.
    layout: "NanoAOD", "Delphes" or "PHYSLITE".
    context: levels of conditioning variables that its gen jets have, see `jets.context`.
    names: names of gen-level quantities in the file.
    jets: names of its jet collections.
    timeout: longest wait for an answer of its server [s], if it is remote.
    uuid: unique id of the file, the same for copies.
    has_weights: whether it has event weights.
    emulated: name of the collection of emulated or corrected jets, if it is a skim.
    corrected: names of its jet collections with the purity that a correction gives.
    uncounted: names of collections that coffea cannot read without a branch of the number of their objects.
    cross_sections: cross sections and their uncertainties [pb] of the generated files that it was merged from.
    radius, energy: radius of the gen jets and collision energy [TeV] of a generated file, which says them; None for
        others.
    """

    path: str
    tree: str
    layout: str
    n_events: int
    context: tuple[str, ...]
    names: Names = field(default_factory=Names)
    jets: tuple[str, ...] = ()
    timeout: float = TIMEOUT
    uuid: str = ""
    has_weights: bool = False
    emulated: str = ""
    corrected: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    cross_sections: tuple[tuple[float, float], ...] = ()
    radius: float | None = None
    energy: float | None = None

    def open(self) -> Any:
        """Open the tree with uproot."""
        return uproot.open({self.path: self.tree}, **open_options([self.path], self.timeout))

    def branches(self) -> set[str]:
        """Return the names of all branches, with the collection names that coffea uses."""
        with self.open() as tree:
            return {_plain(branch, self.layout) for branch in tree.keys()}  # noqa: SIM118


def every(datasets: Mapping[str, Sequence[Source]]) -> Iterator[Source]:
    """Return the files of all datasets, one after the other."""
    return chain.from_iterable(datasets.values())


def copies(sources: Iterable[Source]) -> tuple[str, str] | None:
    """Return the paths of two files that are the same or copies, in order; None if there are none."""
    seen: dict[str, str] = {}
    for source in sources:
        if source.uuid in seen:
            return seen[source.uuid], source.path
        seen[source.uuid] = source.path
    return None


def inspect(
    path: str,
    *,
    tree: str | None = None,
    collections: Sequence[str] = (),
    names: Names | None = None,
    timeout: float = TIMEOUT,
) -> Source:
    """Open a file and find its layout, collections and conditioning variables.

    Parameters
    ----------
    path: path of a ROOT file; remote ones as uproot accepts them.
    tree: name of the tree, if it is not one of `TREES`.
    collections: names of required collections, gen jets first.
    names: names of gen-level quantities in the file.
    timeout: longest wait for an answer of a server [s].

    Raises
    ------
    InputError: if the file is missing, not ROOT or truncated, or lacks the tree, a collection or the event numbers.
    """
    if REMOTE not in path:
        _check_local(path)
    try:
        with uproot.open(path, **open_options([path], timeout)) as file:
            wanted = file.file.fEND
            size = wanted if REMOTE in path else Path(path).stat().st_size
            expect(wanted <= size, f"{path}: expected {wanted} bytes, got {size}: the file is truncated", InputError)
            name = _find_tree(path, file, tree)
            branches = file[name].keys()
            n_events = file[name].num_entries
            empty = _empty_branches(file[name])
            uuid = str(file.file.uuid)
            emulated = json.loads(str(file[ABOUT]))["collection"] if ABOUT in file else ""
            of_processes = _cross_sections(file)
            radius, energy = _said(str(file[SETTINGS]) if SETTINGS in file else "")
    except InputError:
        raise
    except TimeoutError as error:
        raise InputError(str(error)) from None
    except Exception as error:  # uproot raises any type of error on damaged bytes
        detail = str(error).strip().splitlines()
        msg = f"{path}: expected a readable ROOT file: {detail[0] if detail else type(error).__name__}"
        raise InputError(msg) from error
    layout = _layout(branches)
    last = {_plain(branch, layout) for branch in branches} - empty
    with_pt = {branch.removesuffix(PT[layout]) for branch in last if branch.endswith(PT[layout])}
    jets = tuple(sorted(name for name in with_pt if "Jet" in name))
    for collection in collections:
        # as uproot writes arrays of records by default, to an RNTuple
        found = f"{collection}.pt, which coffea does not read: write it with mktree"
        found = found if f"{collection}.pt" in branches else ", ".join(jets) or "no jets"
        expect(collection in with_pt, f"{path}: expected a collection {collection}, found {found}", InputError)
    lacking = [field for field in IDENTITY[""] if layout == "NanoAOD" and field not in last]
    wanted = f"expected {', '.join(IDENTITY[''])} of each event"
    expect(not lacking, f"{path}: {wanted}, found no {', '.join(lacking)}", InputError)
    counted = {name.partition("_")[0] for name in NanoAODSchema.full_like_items} if layout == "NanoAOD" else set()
    uncounted = tuple(name for name in sorted(counted & with_pt) if f"n{name}" not in last)
    separator = PT[layout][0]
    jet_fields = {b.removeprefix(c + separator) for c in collections[:1] for b in last if b.startswith(c + separator)}
    others: dict[str, set[str]] = {}
    for branch in last:
        collection, _, of_it = branch.partition(separator)
        others.setdefault(collection, set()).add(of_it)
    names = Names() if names is None else names
    gen = next(iter(collections), None)
    known = levels_of(jet_fields, others, of_collection(names, gen), gen)
    has_weights = not last.isdisjoint(WEIGHTS)
    corrected = tuple(name for name in jets if f"{name}{separator}purity" in last)
    of_file = (known, names, jets, timeout, uuid, has_weights, emulated, corrected, uncounted, of_processes)
    return Source(path, name, layout, n_events, *of_file, radius, energy)


def _cross_sections(file: Any) -> tuple[tuple[float, float], ...]:
    """Return cross sections and uncertainties [pb], see `Source`, of an open ROOT file; none if it has none."""
    generated = {*NORMALISED} <= {*(file["Runs"].keys() if "Runs" in file else ())}
    columns = [file["Runs"][key].array(library="np").tolist() for key in NORMALISED if generated]
    return tuple(zip(*columns, strict=True))


def cross_sections(events: ak.Array) -> tuple[tuple[float, float], ...]:
    """Return the cross sections, see `Source`, of the file that coffea reads events from; none for other events."""
    file = getattr(events.attrs.get("@events_factory"), "file_handle", None)
    return _cross_sections(file) if isinstance(file, uproot.ReadOnlyDirectory) else ()


def of_one_process(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether two cross sections, with their uncertainties, may be of one process; also if one of them is unknown."""
    same = abs(one[0] - two[0]) <= 5.0 * math.hypot(one[1], two[1]) + SIMILAR * max(one[0], two[0])
    return same or not math.isfinite(one[0] + two[0])


def check_one_process(dataset: str, of_files: Mapping[str, Collection[Sequence[float]]]) -> None:
    """Check that the generated files of a dataset are of one process: no weight normalises a sum of several.

    of_files: cross sections and uncertainties [pb], see `Source`, by file.

    Raises
    ------
    ValueError: if they are of several; names two files.
    """
    found = [(one, path) for path, of_file in of_files.items() for one in of_file]
    other = next((two for two in found if not of_one_process(found[0][0], two[0])), None)
    if other is not None:
        got = " and ".join(f"{value:.4g} pb in {path}" for (value, _), path in (found[0], other))
        msg = f"{dataset}: expected files of one process, got cross sections of {got}: make each a dataset"
        raise ValueError(msg)


def _said(settings: str) -> tuple[float | None, float | None]:
    """Return radius and energy, see `Source`, from the settings of a generated file; None if they are others."""
    try:
        said = json.loads(settings)
        radius = float(said["radius"])
    except (ValueError, TypeError, KeyError):
        return None, None
    lines = "\n".join([str(said.get("card", "")), *map(str, said.get("commands", ()))])
    energies = re.findall(r"^\s*Beams:eCM\s*=?\s*([\d.eE+]+)", lines, re.IGNORECASE | re.MULTILINE)
    return radius, float(energies[-1]) / 1000.0 if energies else None


class FirstJets(NamedTuple):
    """Jets of the first events of a file.

    Attributes
    ----------
    values: valid jets, (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV].
    distances: their `radii.histogram`.
    width: the radius of a generated file, or that of Delphes' widths; None for others.
    """

    values: Floats
    distances: Ints
    width: float | None


def first_jets(source: Source, collection: str) -> FirstJets:
    """Return the jets of a file's first events; none of an unreadable file: reading all of it raises the error."""
    nothing = FirstJets(np.empty((0, 4), dtype=np.float32), np.zeros(radii.N_BINS, dtype=np.int64), None)
    try:
        wanted = [collection + PT[source.layout][0] + name for names in FIELDS.values() for name in names]
        found = _read(source, [*wanted, f"{collection}.DeltaPhi"], FIRST)
        columns = {name[len(collection) + 1 :]: column for name, column in found.items()}
        four = [next(columns[name] for name in names if name in columns) for names in FIELDS.values()]
        values = np.stack([ak.to_numpy(ak.flatten(column)) for column in four], axis=1).astype(np.float32)
        counts = ak.to_numpy(ak.num(four[0])).astype(np.int64)
        if source.layout == "PHYSLITE":  # in MeV
            values *= np.array([GEV, 1.0, 1.0, GEV], dtype=np.float32)
        jets = JetTable(values, counts, np.arange(len(values)))
        valid = jets.where(jets.valid())
        width = source.radius
        if "DeltaPhi" in columns:
            width = radii.of_widths(ak.to_numpy(ak.flatten(columns["DeltaPhi"])))
        distances = radii.neighbours(conditioning_variables(valid.values, valid.counts))
        return FirstJets(valid.values, distances, width)
    except Exception:  # noqa: BLE001 # uproot raises any type of error on damaged bytes
        return nothing


def _read(source: Source, wanted: Iterable[str], n_events: int | None) -> dict[str, ak.Array]:
    """Return those of the wanted branches, by the name that coffea uses, that a file has, for its (first) events."""
    with source.open() as tree:
        keys = {_plain(key, source.layout): key for key in tree.keys()}  # noqa: SIM118
        return {name: tree[keys[name]].array(entry_stop=n_events) for name in wanted if name in keys}


def event_numbers(source: Source, n_events: int | None = None) -> npt.NDArray[np.uint64]:
    """Return run, luminosityBlock and event of a file's (first) events, (events, 3); empty for Delphes, without a run.

    An unreadable file gives an empty array: reading all of it raises the error.
    """
    record = {"NanoAOD": "", "PHYSLITE": "EventInfo"}.get(source.layout)
    if record is None:
        return np.empty((0, 3), dtype=np.uint64)
    wanted = [f"{record}.{name}".removeprefix(".") for name in IDENTITY[record]]
    try:
        found = _read(source, wanted, n_events)
        columns = [ak.to_numpy(found[name]) for name in wanted]
    except Exception:  # noqa: BLE001 # uproot raises any type of error on damaged bytes
        return np.empty((0, 3), dtype=np.uint64)
    return np.stack([column.astype(np.uint64) for column in columns], axis=1)


def equal_events(sources: Sequence[Source]) -> tuple[Source, Source, int] | None:
    """Return two files of a dataset with equal run, luminosityBlock and event, and the number of such events, or None.

    They are found by comparing the first events of all files; the two files are then compared completely.
    """
    seen: dict[tuple[int, ...], Source] = {}
    for source in sources if len(sources) > 1 else ():
        own = {tuple(row): source for row in event_numbers(source, PEEK).tolist()}
        other = next((seen[row] for row in own if row in seen), None)
        if other is not None:
            one, two = ({tuple(row) for row in event_numbers(s).tolist()} for s in (other, source))
            return other, source, len(one & two)
        seen |= own
    return None


def _layout(branches: Sequence[str]) -> str:
    if any(b.startswith("EventInfoAux") for b in branches):
        return "PHYSLITE"
    return "Delphes" if any(b.endswith("GenJet_size") or b == "Event.Number" for b in branches) else "NanoAOD"


def _plain(branch: str, layout: str) -> str:
    """Return the name of a branch with the collection name that coffea uses."""
    last = branch.rsplit("/", maxsplit=1)[-1]
    if layout != "PHYSLITE":
        return last
    collection, _, field = last.partition(".")
    for text in ("Analysis", "AuxDyn", "Aux"):
        collection = collection.replace(text, "")
    return f"{collection}.{field}"


def _of_physlite(branch: str) -> list[str]:
    """Return PHYSLITE's patterns of a branch, COLLECTION_FIELD: both parts may have underscores."""
    parts = branch.split("_")
    split = (("_".join(parts[:k]), "_".join(parts[k:])) for k in range(1, len(parts)))
    return [f"*{branch}", *(f"*{collection}Aux*.{of_it}" for collection, of_it in split)]


def _empty_branches(tree: Any) -> set[str]:
    """Return branches of conditioning variables that the Delphes card did not fill."""
    names = (*Names().flavour[1:], TAU_ARRAY[1])
    branches = [key for key in tree.keys() if key.endswith(tuple(f".{name}" for name in names))]  # noqa: SIM118
    values = {key: tree[key].array(entry_stop=PEEK) for key in branches}
    return {key.split("/")[-1] for key, array in values.items() if not ak.any(array != 0, axis=None)}


def check_is_file(path: str) -> None:
    """Check that a file exists.

    Raises
    ------
    InputError: if there is none, or a folder.
    """
    found = "a folder" if Path(path).is_dir() else "none"
    expect(Path(path).is_file(), f"{path}: expected a file, found {found}", InputError)


def _check_local(path: str) -> None:
    check_is_file(path)
    with Path(path).open("rb") as file:
        magic = file.read(4)
    expect(magic == b"root", f"{path}: expected a ROOT file, got one that begins with {magic!r}", InputError)


def _find_tree(path: str, file: Any, tree: str | None) -> str:
    trees = list(file.keys(cycle=False, filter_classname=["TTree", "ROOT::RNTuple"]))
    wanted = [tree] if tree is not None else list(TREES)
    found = [name for name in wanted if name in trees]
    got = f"found {', '.join(trees) or 'no tree'}"
    expect(found, f"{path}: expected a tree named {' or '.join(wanted)}, {got}", InputError)
    return found[0]


def branch_filter(
    sources: Sequence[Source], collections: Sequence[str], branches: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the `iteritems_options` that restrict coffea to the branches of these collections and to those named.

    branches: names, or patterns of them, such as "GenJet_*": a field after its collection, in all layouts.

    This reduces the time to open a NanoAOD file with 1500 branches several-fold.

    Raises
    ------
    InputError: if coffea cannot read one of the collections.
    """
    for source in sources:
        for name in sorted({*collections} & {*source.uncounted}):
            advice = f"with uproot, write {name} as one array of records, ak.zip, with mktree"
            msg = f"{source.path}: expected a branch n{name} beside {name}_pt, found none: {advice}"
            raise InputError(msg)
    layouts = {source.layout for source in sources}
    of_jets = sorted({name for source in sources for name in (*JET_FIELDS, *source.names.of_jets)})
    missing = sorted({name for source in sources for name in source.names.missing})
    if layouts == {"PHYSLITE"}:
        names = [f"EventInfoAux*.{name}" for name in (*IDENTITY["EventInfo"], "mcEventWeights")]
        names += [*(f"{name}Aux*" for name in missing)]
        names += [f"*{collection}Aux*.{name}" for collection in collections for name in (*of_jets, "m")]
        branches = [theirs for ours in branches for theirs in _of_physlite(ours)]
    elif layouts == {"NanoAOD"}:
        names = [*IDENTITY[""], "genWeight", *(f"{name}_{part}" for name in missing for part in ("pt", "phi"))]
        fields_by_kind = {"leptons": LEPTON, "photons": PHOTON, "particles": GEN_PART}
        fields_by_kind |= dict.fromkeys(("constituents", "candidates"), OF_CONSTITUENTS)
        known = [(n, of_it) for what, of_it in fields_by_kind.items() for s in sources for n in getattr(s.names, what)]
        for collection, of_it in [*((c, of_jets) for c in collections), *known]:
            names += [f"n{collection}", *(f"{collection}_{name}" for name in of_it)]
    else:
        return {}
    return {"filter_name": [*names, *branches]}
