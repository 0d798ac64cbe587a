"""Identity and weights of coffea's events, and random numbers computed from the identity."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn.events.columns import numbers
from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Doubles, Ints
from coffea_iqn.numerics.uniforms import Words, event_keys, levels
from coffea_iqn.ranges import Range, check_choice, expect

WEIGHTS = ("genWeight", "Event.Weight", "EventInfo.mcEventWeights")  # names in NanoAOD, Delphes, PHYSLITE
N_LEAST = 16
KINDS = ("event", "file")  # events are identified by run, luminosityBlock and event; "file": and by their file
# record ("" for the event itself): names of run, luminosityBlock and event in it
IDENTITY = {
    "": ("run", "luminosityBlock", "event"),  # NanoAOD
    "EventInfo": ("runNumber", "lumiBlock", "eventNumber"),  # PHYSLITE
}


def event_identity(events: ak.Array) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """Return run, luminosityBlock and event, each (events,), with NanoAOD's types.

    Delphes events get run 1, a luminosityBlock computed from the uuid of their file, and Event.Number.

    Raises
    ------
    ValueError: if the events have none of these.
    """
    named = _named(events)
    if named is not None:
        run, block, event = named
    else:
        event = _delphes_numbers(events)
        run, block = np.ones(len(event)), np.full(len(event), zlib.crc32(file_uuid(events).encode()))
    return run.astype(np.uint32), block.astype(np.uint32), event.astype(np.uint64)


def event_uniforms(
    events: ak.Array,
    *,
    stream: str,
    seed: int = 0,
    per: ak.Array | None = None,
    n: int = 1,
    identity: str = "event",
) -> Any:
    """Return random numbers in (0, 1) for events or their objects, independent of chunks, file order and executor.

    They depend only on seed, stream, dataset, run, luminosityBlock, event and, for objects, on the index of the object
    in its collection, so an event selection changes no number.

    Parameters
    ----------
    events: events as a coffea processor receives them, from NanoAOD, PHYSLITE or Delphes.
    stream: name of a use, such as "jer" or "trigger". Different names give independent numbers, which are also
        independent of all that this library draws.
    seed: any integer; another seed gives another set of numbers.
    per: a collection of the events, before any cut, for numbers of its objects; or, after cuts, the indices that the
        objects had before, `ak.local_index(events.Jet.pt)[kept]`; None for numbers of the events.
    n: how many numbers per event or object; the first ones do not depend on n.
    identity: see `IQNFolder`: "file" distinguishes events of different files that have the same numbers.

    Returns
    -------
    float32, multiples of 2^-23 plus 2^-24: a numpy array (events,), or lists of the lengths of per. With n above 1
    there is a further axis of that length at the end.

    Raises
    ------
    TypeError: if per is no collection, or has missing values.
    ValueError: if the stream has no name, n is below 1, seed, n or identity is invalid, per is a subset of its
        collection or in another order, or the events have no identity.
    """
    fits = stream and n >= 1
    expect(fits, f"event_uniforms: expected the name of a stream and n of at least 1, got {stream!r} and {n}")
    Range(whole=True).check(seed=seed, n=n)
    check_choice(KINDS, identity=identity)
    keys = identity_keys(events, seed, identity, stream=stream)
    if per is None:
        made = levels(keys, 0, n=max(n, 4))[:, :n]
        return made[:, 0] if n == 1 else made
    counts, place = _places(events, per)
    made = levels(np.repeat(keys, counts, axis=0), place, n=max(n, 4))[:, :n]
    return ak.unflatten(made[:, 0] if n == 1 else made, counts)


def _places(events: ak.Array, per: ak.Array) -> tuple[Ints, Ints]:
    """Return the number of objects in each event, (events,), and the index of each in its collection, (N,)."""
    given = isinstance(per, ak.Array) and per.ndim == 2 and not per.fields
    if not isinstance(per, ak.Array) or not (per.fields or given) or len(per) != len(events):
        msg = f"per: expected a list of objects, or of indices, for each of {len(events)} events, got "
        raise TypeError(msg + str(getattr(per, "type", type(per).__name__)))
    known = not any(isinstance(kind, ak.types.OptionType) for kind in (per.type.content, per.type.content.content))
    advice = "drop them with ak.drop_none, and pass the indices"
    expect(known, f"per: expected objects without missing values: {advice}", TypeError)
    counts = np.asarray(ak.num(per, axis=1)).astype(np.int64)
    if given:
        place = np.asarray(ak.flatten(per))
        fits = place.dtype.kind in "iu" and (place.astype(np.int64) >= 0).all()
        expect(fits, f"per: expected indices, integers of at least 0, got {place.dtype}", TypeError)
        return counts, place.astype(np.int64)
    name = per.layout.purelist_parameter("collection_name")
    if name in events.fields:
        whole, instead = events[name], "pass the indices from before"
        fits = (np.asarray(ak.num(whole, axis=1)) == counts).all()
        expect(fits, f"per: expected all of events.{name}, got a subset: {instead} the cut")
        # a calibration changes pt, and may change the order of the objects, but not their direction
        field = next((one for one in ("phi", "eta") if one in whole.fields and one in per.fields), None)
        if field and ak.any(whole[field] != per[field]) and ak.all(ak.sort(whole[field]) == ak.sort(per[field])):
            msg = f"per: expected events.{name} in the order of the file, got them sorted anew: {instead} sorting"
            raise ValueError(msg)
    return counts, places(counts)


def metadata_of(events: ak.Array) -> Mapping[str, Any]:
    """Return coffea's metadata of events, or of those whose fields they are; empty if there are none.

    Raises
    ------
    ValueError: for events of several files or datasets, concatenated: awkward keeps the metadata of the first or none.
    """
    form, factory = (events.attrs.get(name) for name in ("@form", "@events_factory"))
    # an array of some fields of events, or of fields zipped anew, has no metadata itself
    metadata = getattr(events, "metadata", (form or {}).get("parameters", {}).get("metadata", {}))
    one = metadata is not None and (factory is None or len(events) <= len(factory))
    got = "got several concatenated: fold each, and concatenate the results"
    expect(one, f"events: expected those of one file or dataset, {got}")
    return dict(metadata)


def identity_keys(events: ak.Array, seed: int, kind: str = "event", *, stream: str = "") -> Words:
    """Return the `uniforms.event_keys` of events, (events, 4), computed from their identity.

    NanoAOD and PHYSLITE events are identified by dataset, run, luminosityBlock and event; Delphes events, which have no
    run, by dataset, the uuid of their file and Event.Number. Kind "file" adds that uuid for all events. The stream is
    that of `uniforms.event_keys`.

    Raises
    ------
    ValueError: if the events have none of these, or not as integers, or, for Delphes or kind "file", no uuid of their
        file; if a Runner counted the events of another file of this name.
    """
    _check_counted(events)
    dataset = str(metadata_of(events).get("dataset", ""))
    identity, what = _named(events), f"identity {kind!r}"
    if identity is None:
        event = _delphes_numbers(events)
        zero = np.zeros(len(event), dtype=np.uint32)
        identity, kind, what = (zero, zero, event), "file", "events of Delphes"
    if kind == "file":
        uuid = file_uuid(events)
        expect(uuid, f"{what}: expected events with the uuid of their file, got events without")
        dataset = f"{dataset}\n{uuid}"
    return event_keys(seed, dataset, *identity, stream=stream)


def entry_keys(events: ak.Array) -> Words:
    """Return keys of events by their place in their file, (events, 4), whatever their numbers; none if unknown.

    Raises
    ------
    ValueError: if a Runner counted the events of another file of this name.
    """
    _check_counted(events)
    known, uuid = metadata_of(events), file_uuid(events)
    n = len(events) if uuid else 0
    zero, entries = np.zeros(n, dtype=np.uint32), int(known.get("entrystart", 0)) + np.arange(n)
    return event_keys(0, f"{known.get('dataset', '')}\n{uuid}", zero, zero, entries)


def least_keys(keys: Words) -> tuple[list[int], Ints]:
    """Return the smallest of these keys (events, 4), by their first 64 bits, and their rows.

    Keys are effectively random, so events that two files share are likely among the smallest keys of both.
    """
    words = np.ascontiguousarray(keys[:, :2]).view(np.uint64)[:, 0]
    rows = np.argpartition(words, N_LEAST)[:N_LEAST] if len(words) > N_LEAST else np.arange(len(words))
    rows = rows[np.argsort(words[rows], kind="stable")]
    return words[rows].tolist(), rows


def equal_keys(of_files: Mapping[str, Sequence[int]]) -> tuple[str, str, int] | None:
    """Return two files with common `least_keys`, and how many are common; a file with repeated keys is named twice."""
    seen: dict[int, str] = {}
    found: list[tuple[str, str]] = []
    for name in sorted(of_files):
        for key in of_files[name]:
            found += [(seen[key], name)] if key in seen else []
            seen[key] = name
    return (*found[0], found.count(found[0])) if found else None


def _named(events: ak.Array) -> tuple[npt.NDArray[Any], ...] | None:
    """Return run, luminosityBlock and event, each (events,), or None if the events do not have them."""
    for record, names in IDENTITY.items():
        holder = _record(events, record)
        if holder is not None and set(names) <= set(holder.fields):
            return tuple(_whole(holder[name], name) for name in names)
    return None


def _whole(column: ak.Array, name: str) -> npt.NDArray[Any]:
    """Return whole numbers, (events,); floating-point numbers that may have lost digits would make events equal."""
    values = numbers(column, name)
    if values.dtype.kind not in "iu" and len(values):
        exact = 0.0 if values.dtype.kind != "f" else 2.0 / np.finfo(values.dtype).eps  # 2^24 or 2^53
        fits = exact > 0.0 and bool(((np.abs(values) < exact) & (values == np.rint(values))).all())
        expect(fits, f"{name}: expected integers, got {column.type.content} that are none or have lost digits")
    return values


def _record(events: ak.Array, name: str) -> ak.Array | None:
    """Return a record of the events, "" for the event itself; None if there is none."""
    return events if not name else events[name] if name in events.fields else None


def _delphes_numbers(events: ak.Array) -> npt.NDArray[Any]:
    fits = "Event" in events.fields and "Number" in events["Event"].fields
    wanted = "run, luminosityBlock and event, or Delphes' Event.Number, or PHYSLITE's EventInfo"
    expect(fits, f"events: expected {wanted}, found none")
    return numbers(events["Event"]["Number"], "Event.Number")


def file_uuid(events: ak.Array) -> str:
    """Return the uuid of the events' file from coffea's Runner or NanoEventsFactory, '' if unknown."""
    metadata = metadata_of(events)
    if "fileuuid" in metadata:
        return str(metadata["fileuuid"])
    return _opened_uuid(events)


def _opened_uuid(events: ak.Array) -> str:
    """Return the uuid of the file that the events are read from, '' if unknown."""
    handle = getattr(events.attrs.get("@events_factory"), "file_handle", None)
    return str(getattr(getattr(handle, "file", handle), "uuid", ""))


def _check_counted(events: ak.Array) -> None:
    """Refuse events of a file that is not the one whose events coffea's Runner counted.

    Runners of one Python session remember how many events a file of a name has: if it is written again with more
    events, the others are never read.

    Raises
    ------
    ValueError: for such events.
    """
    metadata, opened = metadata_of(events), _opened_uuid(events)
    if not opened or not {"filename", "fileuuid"} <= metadata.keys():
        return  # not opened by a Runner
    advice = "coffea.processor.executor.DEFAULT_METADATA_CACHE.clear() forgets the one before"
    got = f"got another one that was written under this name: {advice}"
    fits = metadata["fileuuid"] == opened
    expect(fits, f"{metadata['filename']}: expected the file whose events were counted, {got}")


def event_weights(events: ak.Array) -> Doubles:
    """Return the weight of each event, (events,); ones if the file has no weights.

    This is genWeight (NanoAOD), Event.Weight (Delphes) or the first of EventInfo.mcEventWeights (PHYSLITE).

    Raises
    ------
    ValueError: if some events of a PHYSLITE file have no weight.
    """
    weight = _weights(events)
    return np.ones(len(events)) if weight is None else numbers(weight, "weights of events").astype(np.float64)


def n_weighted(events: ak.Array) -> dict[str, int]:
    """Count the events with weights and the events of files without."""
    return counted(events, _weights(events) is not None)


def counted(events: ak.Array, there: bool) -> dict[str, int]:
    """Count the events with something, if it is there, or those without."""
    return {"with" if there else "without": len(events)}


def _weights(events: ak.Array) -> ak.Array | None:
    for name in WEIGHTS:
        record, _, field = name.rpartition(".")
        holder = _record(events, record)
        if holder is not None and field in holder.fields:
            if field != "mcEventWeights":
                return holder[field]
            n_without = int(ak.sum(ak.num(holder[field], axis=1) == 0))
            expect(n_without == 0, f"{name}: expected a weight or more of each event, got {n_without} events without")
            return holder[field][:, 0]
    return None
