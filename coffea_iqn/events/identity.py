"""What identifies coffea's events, and what they weigh."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.numerics.uniforms import Words, event_keys

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


def identity_keys(events: ak.Array, seed: int, kind: str = "event") -> Words:
    """The `uniforms.event_keys` of events, (events, 4), from what identifies them.

    NanoAOD and PHYSLITE events are known by dataset, run, luminosityBlock and event; Delphes events, which have no run,
    by dataset, the uuid of their file and Event.Number. Of kind "file", all are known by that uuid as well.

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
        return event_keys(seed, dataset, *named)
    event = _delphes_numbers(events)
    zero = np.zeros(len(event), dtype=np.uint32)
    return event_keys(seed, dataset if kind == "file" else f"{dataset}\n{file_uuid(events)}", zero, zero, event)


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
        holder = events if not record else events[record] if record in events.fields else None
        if holder is not None and set(names) <= set(holder.fields):
            return tuple(numbers(holder[name]) for name in names)
    return None


def _delphes_numbers(events: ak.Array) -> npt.NDArray[Any]:
    if "Event" in events.fields and "Number" in events["Event"].fields:
        return numbers(events["Event"]["Number"])
    msg = (
        "events: expected run, luminosityBlock and event, or Delphes' Event.Number, or PHYSLITE's EventInfo, found none"
    )
    raise ValueError(msg)


def numbers(column: ak.Array) -> npt.NDArray[Any]:
    """One number an event as numpy; Delphes wraps them in lists of one."""
    return np.asarray(ak.flatten(column, axis=None) if column.ndim > 1 else column)


def file_uuid(events: ak.Array) -> str:
    """The uuid of the file the events were read from, as the Runner or NanoEventsFactory gives it, or ''."""
    metadata = events.metadata if hasattr(events, "metadata") else {}
    if "fileuuid" in metadata:
        return str(metadata["fileuuid"])
    factory = events.attrs.get("@events_factory")
    return str(getattr(getattr(factory, "file_handle", None), "uuid", ""))


def event_weights(events: ak.Array) -> Doubles | None:
    """GenWeight (NanoAOD), Event.Weight (Delphes) or the first of EventInfo.mcEventWeights (PHYSLITE), (events,).

    None where the file has none of them.
    """
    if "genWeight" in events.fields:
        weight = events["genWeight"]
    elif "Event" in events.fields and "Weight" in events["Event"].fields:
        weight = events["Event"]["Weight"]
    elif "EventInfo" in events.fields and "mcEventWeights" in events["EventInfo"].fields:
        weight = events["EventInfo"]["mcEventWeights"][:, 0]
    else:
        return None
    return numbers(weight).astype(np.float64)
