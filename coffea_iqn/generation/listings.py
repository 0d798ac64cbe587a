"""Split text files of HepMC or Les Houches events into shorter ones with some events each."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from coffea_iqn.ranges import expect

OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Form(NamedTuple):
    """Line prefixes of a file format.

    Attributes
    ----------
    name: name of the format.
    begins: prefixes of the first line of an event.
    ends: line after the last event, by the line before the first event, which identifies the format.
    """

    name: str
    begins: tuple[bytes, ...]
    ends: dict[bytes, bytes]


HEPMC = Form(
    "HepMC3 or HepMC2 in ascii",
    (b"E ",),
    {
        b"HepMC::%s-START_EVENT_LISTING" % name: b"HepMC::%s-END_EVENT_LISTING" % name
        for name in (b"Asciiv3", b"IO_GenEvent")
    },
)
LES_HOUCHES = Form("Les Houches events", (b"<event>", b"<event "), {b"</init>": b"</LesHouchesEvents>"})


class Listing(NamedTuple):
    """Some consecutive events.

    Attributes
    ----------
    path: path of the file.
    source: number of their header; a file may be several concatenated files.
    place: index of the first event among all events of all files.
    n_events: number of events.
    text: text of a complete file with these events.
    """

    path: str
    source: int
    place: int
    n_events: int
    text: bytes


def listings(paths: Iterable[str], form: Form, size: int, most: int | None) -> Iterator[Listing]:
    """Split files.

    Parameters
    ----------
    paths: paths of the files; compressed ones end in .gz, .bz2 or .xz.
    form: format of the files.
    size: events in a listing; the last one of a header may have fewer.
    most: maximum number of events to read; None for all.

    Raises
    ------
    ValueError: for a file of another format, without events, or truncated.
    """
    place, source = 0, -1
    for path in paths:
        place_before = place
        for is_new, head, events, end in _cut(path, form, size):
            source += is_new
            kept = events if most is None else events[: most - place]
            if kept:
                yield Listing(path, source, place, len(kept), b"".join([*head, *kept, end, b"\n"]))
            place += len(kept)
            if place == most:
                return
        expect(place != place_before, f"{path}: expected events, got a file of {form.name} without any")


def _cut(path: str, form: Form, size: int) -> Iterator[tuple[bool, list[bytes], list[bytes], bytes]]:
    """Yield some events at a time: whether the header is new, lines of the header, events, and the last line."""
    head: list[bytes] = []
    event: list[bytes] = []
    events: list[bytes] = []
    end = b""  # known once events may begin
    is_new, is_whole = True, False
    for line in _lines(path):
        start = line.lstrip()
        begins, ends = (bool(end) and start.startswith(known) for known in (form.begins, end))
        if (begins or ends) and event:
            events.append(b"".join(event))
            event = []
        if events and (ends or len(events) == size):
            yield is_new, head, events, end
            events, is_new = [], False
        if begins:
            event = [line]
        elif ends:
            head, end, is_new, is_whole = [], b"", True, True
        elif event:
            event.append(line)
        else:
            head.append(line)
            end = end or next((form.ends[mark] for mark in form.ends if start.startswith(mark)), b"")
            is_whole &= not end
    got = "one that stops before its end" if end else "another one"
    expect(is_whole, f"{path}: expected a file of {form.name}, got {got}")


def _lines(path: str) -> Iterator[bytes]:
    try:
        with OPEN.get(Path(path).suffix, open)(path, "rb") as file:
            yield from file
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        msg = f"{path}: expected a complete compressed file, got: {error}"
        raise ValueError(msg) from None
