"""Write blocks of events to a NanoAOD-like file of generated events."""

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
from coffea_iqn.files.inputs import SETTINGS
from coffea_iqn.generation.clustering import Columns
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.ranges import expect

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
INTEGERS: dict[str, type[np.integer[Any]]] = {
    **dict.fromkeys(("partonFlavour", "nCharged", "nNeutral"), np.uint8),
    "pdgId": np.int32,
    "jetIdx": np.int16,
}
"""Integer fields, limited to the maximum of their type; all others are float32."""


class Block(NamedTuple):
    """Some consecutive events.

    Attributes
    ----------
    number: event numbers, (events,).
    weight: event weights, (events,).
    collections: counts per event, (events,), and flat columns of each of `COLLECTIONS`.
    missing: pt [GeV] and phi [rad] of the missing momentum, (events,) each.
    cross_section: cross section and statistical uncertainty [pb] after these events; NaN if unknown.
    source: number of the process or file of the cross section; the last value of a source applies to all its events.
    n_failed: number of events that Pythia could not shower.
    """

    number: Ints
    weight: Floats
    collections: dict[str, tuple[Ints, Columns]]
    missing: tuple[Floats, Floats]
    cross_section: tuple[float, float]
    source: int
    n_failed: int = 0


class Totals(NamedTuple):
    """Totals of the events.

    Attributes
    ----------
    events, gen_jets: numbers of events and gen jets.
    sum_of_weights, sum_of_squares: sums of event weights and of their squares.
    cross_section, uncertainty: cross section and statistical uncertainty [pb]; NaN if a file does not have them.
    failed: number of events that Pythia could not shower, which are not in the file.
    source: source of the last block.
    before: events, cross section and uncertainty of all sources before it.
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
        """Return the totals with one more block; sources are weighted by their numbers of events."""
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
    """Writer of the trees Events and Runs of an open file."""

    def __init__(self, file: Any, seed: int) -> None:
        self.file = file
        self.seed = seed
        self.totals = Totals()
        self.types: dict[str, str] = {}
        self.run, self.last = RUN, -1  # run and number of the last event

    def extend(self, block: Block) -> None:
        """Write one more block; the run number increases where event numbers do not, so that events are unique.

        Raises
        ------
        ValueError: for a block with other collections or fields than the ones before.
        """
        run = self.run + np.cumsum(np.diff(block.number, prepend=self.last) <= 0)
        self.run, self.last = int(run[-1]), int(block.number[-1])
        values = run, np.full(len(run), self.seed), block.number, block.weight, *block.missing
        columns = {name: value.astype(kind) for (name, kind), value in zip(SINGLE.items(), values, strict=True)}
        types = dict(SINGLE)
        for name, (counts, fields) in block.collections.items():
            stored = {field: _stored(field, column) for field, column in fields.items()}
            types[name] = f"var * {{{', '.join(f'{field}: {column.dtype}' for field, column in stored.items())}}}"
            columns[name] = ak.zip({field: ak.unflatten(column, counts) for field, column in stored.items()})
        if not self.types:
            self.file.mktree("Events", types)
            self.types = types
        names = {name for name in types | self.types if types.get(name) != self.types.get(name)}
        wanted = "expected the partons and ancestors of all events, or of none"
        expect(not names, f"event {self.last}: {wanted}, got {names}")
        self.file["Events"].extend(columns)
        self.totals = self.totals.plus(block)

    def finish(self, settings: Mapping[str, Any]) -> None:
        """Write the tree Runs, with the sums for normalisation, and the settings."""
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
        self.file[SETTINGS] = json.dumps(dict(settings))


def _stored(field: str, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a column in its type in the file."""
    if field not in INTEGERS:
        return column.astype(np.float32)
    return np.asarray(np.minimum(column, np.iinfo(INTEGERS[field]).max)).astype(INTEGERS[field])


@contextlib.contextmanager
def written_whole(path: Path, seed: int) -> Iterator[Writer]:
    """Open a ROOT file that is written atomically: it appears when the context ends without an error.

    Raises
    ------
    IsADirectoryError: if the path is a folder.
    """
    with whole_file(path) as temporary, uproot.recreate(temporary) as file:
        yield Writer(file, seed)
