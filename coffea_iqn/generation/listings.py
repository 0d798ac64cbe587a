"""Files of events that others made, as text: HepMC's and Les Houches', cut into shorter ones of some events each."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Form(NamedTuple):
    """What lines of a file begin with.

    Attributes
    ----------
    name: of the format.
    begins: the first line of an event.
    ends: the line after the last event, by the one before the first that only this format has.
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
    path: of the file.
    source: which head of all they stand under: a file may be several, one after the other.
    place: of the first event among all events of the files, from 0 on.
    n_events: how many.
    text: a whole file of them.
    """

    path: str
    source: int
    place: int
    n_events: int
    text: bytes


def listings(paths: Iterable[str], form: Form, size: int, most: int | None) -> Iterator[Listing]:
    """Cut files.

    Parameters
    ----------
    paths: of the files; compressed ones end in .gz, .bz2 or .xz.
    form: of their lines.
    size: events in a listing; the last one under a head may have less.
    most: how many events to read; None for all.

    Raises
    ------
    ValueError: for a file of another form, one without events, one that stops before its end.
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
        if place == place_before:
            msg = f"{path}: expected events, got a file of {form.name} without any"
            raise ValueError(msg)


def _cut(path: str, form: Form, size: int) -> Iterator[tuple[bool, list[bytes], list[bytes], bytes]]:
    """Of some events at a time: whether their head is a new one, the head's lines, events, and the line after all."""
    head: list[bytes] = []
    event: list[bytes] = []
    events: list[bytes] = []
    end = b""  # known from where events may begin
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
    if not is_whole:
        msg = f"{path}: expected a file of {form.name}, got {'one that stops before its end' if end else 'another one'}"
        raise ValueError(msg)


def _lines(path: str) -> Iterator[bytes]:
    try:
        with OPEN.get(Path(path).suffix, open)(path, "rb") as file:
            yield from file
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        msg = f"{path}: expected a compressed file that is whole, got: {error}"
        raise ValueError(msg) from None
