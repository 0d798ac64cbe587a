"""Blocks of events to a file like NanoAOD's of generated events, as they come."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

from coffea_iqn.files.atomic import whole_file
from coffea_iqn.generation.clustering import Columns
from coffea_iqn.numerics.arrays import Floats, Ints

RUN = 1
SINGLE = {
    "run": "uint32",
    "luminosityBlock": "uint32",
    "event": "uint64",
    "genWeight": "float32",
    "GenMET_pt": "float32",
    "GenMET_phi": "float32",
}
JETS, PROMPT, PARTICLES = "GenJet", ("GenDressedLepton", "GenIsolatedPhoton"), "GenJetCands"
COLLECTIONS = (JETS, *PROMPT, PARTICLES)
WHOLE: dict[str, type[np.integer[Any]]] = {
    **dict.fromkeys(("partonFlavour", "nCharged", "nNeutral"), np.uint8),
    "pdgId": np.int32,
    "jetIdx": np.int16,
}
"""Fields of whole numbers, which stop at the greatest; all others are float32."""


class Block(NamedTuple):
    """Some events, one after the other.

    Attributes
    ----------
    number: of each event, (events,).
    weight: of each event, (events,).
    collections: of `COLLECTIONS`, how many each event has, (events,), and columns of all in a row.
    missing: pt [GeV] and phi [rad] of the missing momentum, (events,) each.
    cross_section: and its statistical uncertainty [pb], as known after these events; NaN where it is not.
    source: of what that is the cross section: the last word on a source counts, for all of its events.
    n_failed: events that Pythia could not shower.
    """

    number: Ints
    weight: Floats
    collections: dict[str, tuple[Ints, Columns]]
    missing: tuple[Floats, Floats]
    cross_section: tuple[float, float]
    source: int
    n_failed: int = 0


class Totals(NamedTuple):
    """What the events amount to.

    Attributes
    ----------
    events, gen_jets: how many.
    sum_of_weights, sum_of_squares: of the events' weights and of their squares.
    cross_section, uncertainty: of the process, and its statistical uncertainty [pb]; NaN where a file does not say.
    failed: events that Pythia could not shower, which are not there.
    source, before: of the last block; events, cross section and uncertainty of all sources before it.
    """

    events: int = 0
    gen_jets: int = 0
    sum_of_weights: float = 0.0
    sum_of_squares: float = 0.0
    cross_section: float = 0.0
    uncertainty: float = 0.0
    failed: int = 0
    source: int = -1
    before: tuple[int, float, float] = (0, 0.0, 0.0)

    def plus(self, block: Block) -> Totals:
        """The totals with one more block; the cross section of a source counts as much as it has events."""
        events = self.events + len(block.weight)
        is_same = block.source == self.source
        before = self.before if is_same else (self.events, self.cross_section, self.uncertainty)
        old, new = before[0] / events, 1.0 - before[0] / events
        value, uncertainty = block.cross_section
        return Totals(
            events=events,
            gen_jets=self.gen_jets + int(block.collections[JETS][0].sum()),
            sum_of_weights=self.sum_of_weights + math.fsum(block.weight),
            sum_of_squares=self.sum_of_squares + math.fsum(block.weight**2),
            cross_section=old * before[1] + new * value,
            uncertainty=math.hypot(old * before[2], new * uncertainty),
            failed=self.failed + block.n_failed,
            source=block.source,
            before=before,
        )


class Writer:
    """Trees Events and Runs of an open file."""

    def __init__(self, file: Any, seed: int) -> None:
        self.file = file
        self.seed = seed
        self.totals = Totals()
        self.types: dict[str, str] = {}
        self.run, self.last = RUN, -1  # of the last event

    def extend(self, block: Block) -> None:
        """Write one more block; another run begins where numbers do not grow, so that no two events are the same.

        Raises
        ------
        ValueError: for a block that knows more of its jets than the ones before, or less.
        """
        run = self.run + np.cumsum(np.diff(block.number, prepend=self.last) <= 0)
        self.run, self.last = int(run[-1]), int(block.number[-1])
        values = {
            "run": run,
            "luminosityBlock": np.full(len(run), self.seed),
            "event": block.number,
            "genWeight": block.weight,
            "GenMET_pt": block.missing[0],
            "GenMET_phi": block.missing[1],
        }
        columns = {name: value.astype(SINGLE[name]) for name, value in values.items()}
        types = dict(SINGLE)
        for name, (counts, fields) in block.collections.items():
            stored = {field: _stored(field, column) for field, column in fields.items()}
            types[name] = f"var * {{{', '.join(f'{field}: {column.dtype}' for field, column in stored.items())}}}"
            columns[name] = ak.zip({field: ak.unflatten(column, counts) for field, column in stored.items()})
        if not self.types:
            self.file.mktree("Events", types)
            self.types = types
        if types != self.types:
            names = {name for name in COLLECTIONS if types.get(name) != self.types.get(name)}
            msg = f"event {self.last}: expected the partons and ancestors of all events, or of none, got {names}"
            raise ValueError(msg)
        self.file["Events"].extend(columns)
        self.totals = self.totals.plus(block)

    def finish(self, settings: Mapping[str, Any]) -> None:
        """Write what a user needs to normalise, and how the events were made."""
        totals = self.totals
        runs: Columns = {
            "run": np.array([RUN], dtype=np.uint32),
            "genEventCount": np.array([totals.events], dtype=np.int64),
            "genEventSumw": np.array([totals.sum_of_weights]),
            "genEventSumw2": np.array([totals.sum_of_squares]),
        }
        if math.isfinite(totals.cross_section):
            runs["crossSection"] = np.array([totals.cross_section])
            runs["crossSectionError"] = np.array([totals.uncertainty])
        self.file.mktree("Runs", {name: column.dtype for name, column in runs.items()}).extend(runs)
        self.file["generation"] = json.dumps(dict(settings))


def _stored(field: str, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column as it is stored."""
    if field not in WHOLE:
        return column.astype(np.float32)
    return np.asarray(np.minimum(column, np.iinfo(WHOLE[field]).max)).astype(WHOLE[field])


@contextlib.contextmanager
def written_whole(path: Path, seed: int) -> Iterator[Writer]:
    """A ROOT file, written atomically: complete when the block ends well, else not there.

    Raises
    ------
    IsADirectoryError: when there is a folder at the path.
    """
    with whole_file(path) as temporary, uproot.recreate(temporary) as file:
        yield Writer(file, seed)
