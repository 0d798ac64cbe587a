"""What identifies coffea's events, and what they weigh."""

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

WEIGHTS = ("genWeight", "Event.Weight", "EventInfo.mcEventWeights")  # as files of NanoAOD, Delphes, PHYSLITE call them
N_LEAST = 16
KINDS = ("event", "file")  # by what events are known: run, luminosityBlock and event, or their file as well
# record that holds them, "" for the event itself: names of run, luminosityBlock and event
IDENTITY = {
    "": ("run", "luminosityBlock", "event"),  # NanoAOD
    "EventInfo": ("runNumber", "lumiBlock", "eventNumber"),  # PHYSLITE
}


def event_identity(events: ak.Array) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """Run, luminosityBlock and event, each (events,), as NanoAOD has them.

    Delphes events have run 1, a luminosityBlock that the uuid of their file makes, and Event.Number.

    Raises
    ------
    ValueError: when the events have none of these.
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
    """Random numbers in (0, 1) that events, or objects in them, have whatever the chunk, file order or executor.

    They depend on seed, stream, dataset, run, luminosityBlock and event, and on the place of an object in its
    collection, alone: what selects other events, or none, changes no number.

    Parameters
    ----------
    events: as a coffea processor gets them: NanoAOD's, PHYSLITE's or Delphes'.
    stream: the name of a use, as "jer" or "trigger": those of two names are independent, and of all that
        this library draws.
    seed: any whole number, for another set of numbers.
    per: a collection of the events, before any cut, for numbers of its objects; or, after cuts, the places that they
        had before, `ak.local_index(events.Jet.pt)[kept]`; None for numbers of the events.
    n: how many numbers each has; the first do not depend on it.
    identity: as of `IQNFolder`: "file" tells events of files apart that number them alike.

    Returns
    -------
    float32, multiples of 2^-23 plus 2^-24: an array (events,) of numpy, or lists of the lengths of per; with n above 1
    another axis of that length at the end.

    Raises
    ------
    TypeError: when per is no collection, or has missing values.
    ValueError: when the stream has no name, n is below 1, per is a part of its collection, or the events have no
        identity.
    """
    if not stream or n < 1:
        msg = f"event_uniforms: expected the name of a stream and n from 1 on, got {stream!r} and {n}"
        raise ValueError(msg)
    keys = identity_keys(events, seed, identity, stream=stream)
    if per is None:
        made = levels(keys, 0, n=max(n, 4))[:, :n]
        return made[:, 0] if n == 1 else made
    counts, place = _places(events, per)
    made = levels(np.repeat(keys, counts, axis=0), place, n=max(n, 4))[:, :n]
    return ak.unflatten(made[:, 0] if n == 1 else made, counts)


def _places(events: ak.Array, per: ak.Array) -> tuple[Ints, Ints]:
    """How many objects each event has, (events,), and the place of each in its collection, (N,)."""
    given = isinstance(per, ak.Array) and per.ndim == 2 and not per.fields
    if not isinstance(per, ak.Array) or not (per.fields or given) or len(per) != len(events):
        msg = f"per: expected a list of objects, or of places, for each of {len(events)} events, got "
        raise TypeError(msg + str(getattr(per, "type", type(per).__name__)))
    if any(isinstance(kind, ak.types.OptionType) for kind in (per.type.content, per.type.content.content)):
        msg = "per: expected objects without missing values: drop them with ak.drop_none, and give the places"
        raise TypeError(msg)
    counts = np.asarray(ak.num(per, axis=1)).astype(np.int64)
    if given:
        place = np.asarray(ak.flatten(per))
        if place.dtype.kind not in "iu" or (place.astype(np.int64) < 0).any():
            msg = f"per: expected places, whole numbers from 0 on, got {place.dtype}"
            raise TypeError(msg)
        return counts, place.astype(np.int64)
    name = per.layout.purelist_parameter("collection_name")
    if name in events.fields and (np.asarray(ak.num(events[name], axis=1)) != counts).any():
        msg = f"per: expected all of events.{name}, got a part: give the places that they had before the cut"
        raise ValueError(msg)
    return counts, places(counts)


def identity_keys(events: ak.Array, seed: int, kind: str = "event", *, stream: str = "") -> Words:
    """The `uniforms.event_keys` of events, (events, 4), from what identifies them.

    NanoAOD and PHYSLITE events are known by dataset, run, luminosityBlock and event; Delphes events, which have no run,
    by dataset, the uuid of their file and Event.Number. Of kind "file", all are known by that uuid as well. The stream
    is that of `uniforms.event_keys`.

    Raises
    ------
    ValueError: when the events have none of these, or of kind "file" do not tell their file.
    """
    metadata = events.metadata if hasattr(events, "metadata") else {}
    dataset = str(metadata.get("dataset", ""))
    if kind == "file":
        if not file_uuid(events):
            msg = "identity: expected events that say which file they are of, for identity 'file', got none"
            raise ValueError(msg)
        dataset = f"{dataset}\n{file_uuid(events)}"
    named = _named(events)
    if named is not None:
        return event_keys(seed, dataset, *named, stream=stream)
    event = _delphes_numbers(events)
    zero = np.zeros(len(event), dtype=np.uint32)
    dataset = dataset if kind == "file" else f"{dataset}\n{file_uuid(events)}"
    return event_keys(seed, dataset, zero, zero, event, stream=stream)


def least_keys(keys: Words) -> list[int]:
    """The least of these keys (events, 4), by their first 64 bits.

    Keys are as good as random, so that equal events of two files are among the least of both.
    """
    words = np.ascontiguousarray(keys[:, :2]).view(np.uint64)[:, 0]
    few = np.partition(words, N_LEAST)[:N_LEAST] if len(words) > N_LEAST else words
    return [int(word) for word in np.sort(few)]


def equal_keys(of_files: Mapping[str, Sequence[int]]) -> tuple[str, str, int] | None:
    """Two files whose `least_keys` have some in common, and how many; the same file twice for keys that it repeats."""
    seen: dict[int, str] = {}
    found: list[tuple[str, str]] = []
    for name in sorted(of_files):
        for key in of_files[name]:
            found += [(seen[key], name)] if key in seen else []
            seen[key] = name
    return (*found[0], found.count(found[0])) if found else None


def _named(events: ak.Array) -> tuple[npt.NDArray[Any], ...] | None:
    """Run, luminosityBlock and event where the events have them under some name, each (events,)."""
    for record, names in IDENTITY.items():
        holder = _record(events, record)
        if holder is not None and set(names) <= set(holder.fields):
            return tuple(numbers(holder[name], name) for name in names)
    return None


def _record(events: ak.Array, name: str) -> ak.Array | None:
    """A record of the events, "" for the event itself; None where there is none."""
    return events if not name else events[name] if name in events.fields else None


def _delphes_numbers(events: ak.Array) -> npt.NDArray[Any]:
    if "Event" in events.fields and "Number" in events["Event"].fields:
        return numbers(events["Event"]["Number"], "Event.Number")
    msg = (
        "events: expected run, luminosityBlock and event, or Delphes' Event.Number, or PHYSLITE's EventInfo, found none"
    )
    raise ValueError(msg)


def file_uuid(events: ak.Array) -> str:
    """The uuid of the file the events were read from, as the Runner or NanoEventsFactory gives it, or ''."""
    metadata = events.metadata if hasattr(events, "metadata") else {}
    if "fileuuid" in metadata:
        return str(metadata["fileuuid"])
    factory = events.attrs.get("@events_factory")
    return str(getattr(getattr(factory, "file_handle", None), "uuid", ""))


def event_weights(events: ak.Array) -> Doubles:
    """GenWeight (NanoAOD), Event.Weight (Delphes) or the first of EventInfo.mcEventWeights (PHYSLITE), (events,).

    Ones where the file has none of them.
    """
    weight = _weights(events)
    return np.ones(len(events)) if weight is None else numbers(weight, "weights of events").astype(np.float64)


def n_weighted(events: ak.Array) -> dict[str, int]:
    """How many events have weights, and how many come from files without."""
    return {"without" if _weights(events) is None else "with": len(events)}


def _weights(events: ak.Array) -> ak.Array | None:
    for name in WEIGHTS:
        record, _, field = name.rpartition(".")
        holder = _record(events, record)
        if holder is not None and field in holder.fields:
            return holder[field][:, 0] if field == "mcEventWeights" else holder[field]
    return None
