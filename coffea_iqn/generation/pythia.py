"""Set up and start Pythia, and convert its events to flat arrays."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from coffea_iqn.generation.settings import Settings
from coffea_iqn.jets.prompt import CODES, without_hadrons
from coffea_iqn.numerics.arrays import Bools, Doubles, Ints
from coffea_iqn.ranges import expect

ATTEMPTS = 10.0  # maximum number of attempts per event in a batch
GLUON, HEAVIEST_QUARK = 21, 5
PB_PER_MB = 1e9
FROM_A_FILE = 4  # Beams:frameType
MERGING = re.compile(r"Merging:do\w+\s*(=|\s)\s*(on|yes|true|ok|1)\b", re.IGNORECASE)
OF_PARTICLES = re.compile(r"\d+:")  # settings of them, the only ones that events of HepMC need
OF_BEAMS = re.compile(r"Beams:(e\w*|id\w*|p\w+|frameType)\b", re.IGNORECASE)  # given by files of Les Houches events
NEW = re.compile(r"(\d+):(?:new|all)\b", re.IGNORECASE)  # defines a particle
QUIETLY = (
    "Init:showChangedSettings = off",
    "Init:showMultipartonInteractions = off",
    "Init:showProcesses = off",
    "Init:showChangedParticleData = off",
    "Next:numberCount = 0",
    "Next:numberShowInfo = 0",
    "Next:numberShowProcess = 0",
    "Next:numberShowEvent = 0",
)


class Particles(NamedTuple):
    """Particles of some events.

    Attributes
    ----------
    weight: event weights, (events,).
    counts: number of stable, visible particles (all but neutrinos) in each event, (events,).
    momentum: px, py, pz, E [GeV] of these particles, (particles, 4).
    charged: whether a particle is charged, (particles,).
    code: PDG codes, (particles,).
    parton_counts: number of quarks and gluons at any stage of each event, (events,).
    parton_momentum: momenta of the partons, (partons, 4).
    parton_code: absolute PDG codes, (partons,).
    prompt_counts: number of electrons, muons and photons without a hadron as ancestor in each event, (events,).
    prompt_momentum: momenta of these prompt particles, (prompt particles, 4).
    prompt_code: PDG codes, (prompt particles,).
    """

    weight: Doubles
    counts: Ints
    momentum: Doubles
    charged: Bools
    code: Ints
    parton_counts: Ints
    parton_momentum: Doubles
    parton_code: Ints
    prompt_counts: Ints
    prompt_momentum: Doubles
    prompt_code: Ints


def require(packages: Iterable[str]) -> None:
    """Check that packages are installed.

    Raises
    ------
    ValueError: if a package is missing.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            msg = f"generate: expected {', '.join(packages)}: pip install 'coffea-iqn[generate]' ({error})"
            raise ValueError(msg) from None


def set_up(settings: Settings) -> Any:
    """Return a Pythia instance with its settings, not started.

    Raises
    ------
    ValueError: for an unknown command, with its line in a card; for files that a card includes, if they are missing or
        include themselves; for a card that reads events from a file or has several runs; for vetoes that need code; for
        a new stable, neutral particle of which nothing says whether it is visible.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for command in QUIETLY:
        pythia.readString(command)
    lines = [] if settings.card is None else card_lines(settings.card)
    if lines and not _reads(pythia, lines):
        _refuse(lines)
    for command in settings.all_commands():
        expect(_included(command) is None, f"setting: expected one, got {command!r}: only a card includes files")
        fits = pythia.readString(command, False)
        expect(fits, f"setting: expected one that Pythia knows, such as 'Beams:eCM = 13600', got {command!r}")
    fits = pythia.mode("Beams:frameType") < FROM_A_FILE
    expect(fits, f"{settings.name}: expected events that Pythia generates, got Beams:frameType = 4: --lhe reads a file")
    _check(pythia, settings, [line.strip() for line in (*(line for _, line in lines), *settings.all_commands())])
    return pythia


def card_lines(card: Path, within: tuple[Path, ...] = ()) -> list[tuple[str, str]]:
    """Return where each line of a card is and the line, with those of included files after the line that includes them.

    Parameters
    ----------
    card: a file of Pythia's commands.
    within: the files that include it.

    Raises
    ------
    ValueError: if an included file does not exist or includes itself.
    """
    lines = []
    for number, line in enumerate(card.read_bytes().decode(errors="replace").split("\n"), start=1):
        where, name = f"{card}, line {number}", _included(line)
        if name is None:
            lines.append((where, line))
            continue
        lines.append((where, f"! {line}"))
        path, above = _find(name, where), (*within, card.resolve())
        expect(path.resolve() not in above, f"{where}: expected a file that does not include itself, got {name}")
        lines += card_lines(path, above)
    return lines


def card_text(card: Path) -> str:
    """Return the text of a card with the files that it includes. Raises as `card_lines`."""
    return "\n".join(line for _, line in card_lines(card))


def _included(line: str) -> str | None:
    """Return the name of the file that a line includes, as Pythia reads the line; None if it includes none."""
    words = line.replace("=", " ").split()
    return (words[1] if len(words) > 1 else "") if words and words[0].lower() == "include" else None


def _find(name: str, where: str) -> Path:
    """Return the path of a file to include, in the folders in which Pythia looks for it."""
    import pythia8mc

    shipped = Path(pythia8mc.Pythia("", False).settings.word("xmlPath")).parent
    folders = [Path(), *map(Path, filter(None, os.environ.get("PYTHIA8CMND", "").split(":"))), shipped]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    msg = f"{where}: expected a file to include, found no {name or 'name'} in {', '.join(map(str, folders))}"
    raise ValueError(msg)


def _check(pythia: Any, settings: Settings, lines: Sequence[str]) -> None:
    """Raise ValueError for settings that would be ignored, and for particles that may be seen or not."""
    runs = [line for line in lines if line.lower().startswith("main:subrun")]
    got = f"got {', '.join(runs)}: those after it are ignored"
    expect(not runs, f"{settings.name}: expected settings of one run, {got}")
    ignored = [line for line in lines if OF_BEAMS.match(line) or (settings.hepmc and not OF_PARTICLES.match(line))]
    which = "particles" if settings.hepmc else "showers"
    why = "of the rest the files decide"
    fits = not (settings.files and ignored)
    expect(fits, f"{settings.name}: expected settings of {which}, got {', '.join(ignored)}: {why}")
    vetoes = {"JetMatching:merge": pythia.flag("JetMatching:merge"), "POWHEG:veto": pythia.mode("POWHEG:veto") > 0}
    for name, is_on in vetoes.items():
        got = f"got {name}: no event would be vetoed"
        expect(not is_on, f"{settings.name}: expected settings that need no code, {got}")
    merging = next((line for line in lines if MERGING.match(line)), None)
    why = "its weights and vetoes change the cross section; merge with Pythia, and read its HepMC events"
    expect(merging is None, f"{settings.name}: expected settings without merging, got {merging}: {why}")
    data = pythia.particleData
    for code in (int(found[1]) for line in lines if (found := NEW.match(line))):
        stable = not data.chargeType(code) and not data.colType(code) and not data.canDecay(code)
        told = any(re.match(rf"{code}:isVisible\b", line, re.IGNORECASE) for line in lines)
        wanted = f"'{code}:isVisible = off' or on, as the new particle is neutral and stable"
        expect(told or not stable, f"{settings.name}: expected {wanted}, got neither")


def _reads(pythia: Any, lines: Sequence[tuple[str, str]]) -> bool:
    """Return whether Pythia can read `card_lines`, having read them."""
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card.cmnd"
        card.write_text("".join(f"{line}\n" for _, line in lines), encoding="utf-8", newline="\n")
        return bool(pythia.readFile(str(card), False))


def _refuse(lines: Sequence[tuple[str, str]]) -> None:
    """Raise an error that names the first of `card_lines` that Pythia cannot read, found by reading growing parts."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for number, (where, line) in enumerate(lines, start=1):
        expect(_reads(pythia, lines[:number]), f"{where}: expected a setting that Pythia knows, got {line.strip()!r}")
    msg = f"{lines[0][0]}: expected Pythia's commands, got lines that it cannot read"
    raise ValueError(msg)


def start(settings: Settings, block: int, said: Callable[[], str], events: Path | None = None) -> Any:
    """Return a Pythia instance, started for a block of events.

    Parameters
    ----------
    said: returns what Pythia printed, see `muted`.
    events: file of Les Houches events; None if Pythia generates events itself.

    Raises
    ------
    ValueError: if Pythia does not start.
    """
    pythia = set_up(settings)
    if events is not None:
        pythia.settings.mode("Beams:frameType", FROM_A_FILE)
        pythia.settings.word("Beams:LHEF", str(events))
    for command in ("Random:setSeed = on", f"Random:seed = {settings.pythia_seed(block)}"):
        pythia.readString(command)
    if not pythia.init():
        msg = f"process {settings.name}: expected settings that Pythia starts with, got: {said()}"
        raise ValueError(msg)
    return pythia


def next_particles(pythia: Any, n_events: int, said: Callable[[], str]) -> Particles:
    """Generate some events.

    Raises
    ------
    ValueError: if Pythia fails too often.
    """
    batch = pythia.nextBatch(n_events, ATTEMPTS)
    if len(batch) < n_events:
        msg = f"Pythia: expected {n_events} events, got {len(batch)} in {ATTEMPTS * n_events:.0f} attempts: {said()}"
        raise ValueError(msg)
    return particles_of(pythia, batch)


def particles_of(pythia: Any, batch: ak.Array) -> Particles:
    """Return the particles of Pythia's events."""
    flat = ak.flatten(batch.prt)
    mother = ak.to_numpy(flat.mother1).astype(np.int64)
    return needed(
        pythia.particleData,
        weight=ak.to_numpy(batch.info.weights[:, 0]).astype(np.float64),
        counts=ak.to_numpy(ak.num(batch.prt)).astype(np.int64),
        code=ak.to_numpy(flat.id).astype(np.int64),
        stable=ak.to_numpy(flat.status) > 0,
        momentum=np.stack([ak.to_numpy(flat.p[name]) for name in ("px", "py", "pz", "e")], axis=1),
        mother=np.where(mother > 0, mother, -1),
    )


def needed(
    data: Any, *, weight: Doubles, counts: Ints, code: Ints, stable: Bools, momentum: Doubles, mother: Ints
) -> Particles:
    """Select the particles that jets and conditioning variables need from complete event records.

    Parameters
    ----------
    data: Pythia's particle data.
    weight: event weights, (events,).
    counts: number of particles in each event, (events,).
    code: PDG codes, (particles,).
    stable: whether a particle is in the final state, (particles,).
    momentum: px, py, pz, E [GeV], (particles, 4).
    mother: index in the event of the first mother of each particle, (particles,); −1 for none.

    Raises
    ------
    ValueError: if quarks or gluons are in the final state.
    """
    size, n_events = np.abs(code), len(counts)
    event = np.repeat(np.arange(n_events), counts)
    # look up each kind of particle only once
    kinds, kind = np.unique(size, return_inverse=True)
    visible = np.array([data.isVisible(int(one)) for one in kinds], dtype=np.bool_)[kind]
    charged = np.array([data.chargeType(int(one)) != 0 for one in kinds], dtype=np.bool_)[kind]
    seen = np.flatnonzero(stable & visible)
    parton = np.flatnonzero(((size >= 1) & (size <= HEAVIEST_QUARK)) | (size == GLUON))
    n_free = int(stable[parton].sum())
    expect(n_free == 0, f"events: expected hadrons, got {n_free} quarks and gluons in the final state of {n_events}")
    prompt = np.flatnonzero(without_hadrons(stable & np.isin(size, CODES), code, mother, counts))
    return Particles(
        weight=weight,
        counts=np.bincount(event[seen], minlength=n_events),
        momentum=momentum[seen],
        charged=charged[seen],
        code=code[seen],
        parton_counts=np.bincount(event[parton], minlength=n_events),
        parton_momentum=momentum[parton],
        parton_code=size[parton],
        prompt_counts=np.bincount(event[prompt], minlength=n_events),
        prompt_momentum=momentum[prompt],
        prompt_code=code[prompt],
    )


def cross_section(pythia: Any) -> tuple[float, float]:
    """Return Pythia's cross section and its statistical uncertainty [pb] from the events so far."""
    info = pythia.infoPython()
    return info.sigmaGen() * PB_PER_MB, info.sigmaErr() * PB_PER_MB


@contextlib.contextmanager
def muted() -> Iterator[Callable[[], str]]:
    """Suppress the output of C++ code; the context value is a function that returns the first error of Pythia."""
    sys.stdout.flush()
    flush = ctypes.CDLL(None).fflush  # C++ shares the buffer of C
    with tempfile.TemporaryFile() as file:

        def said() -> str:
            flush(None)
            file.seek(0)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
            found = [line for kind in ("Error", "Abort") for line in lines if line.startswith(f"PYTHIA {kind}")]
            return found[0].partition(": ")[2] or found[0] if found else "no reason"

        flush(None)
        terminal = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield said
        finally:
            flush(None)
            os.dup2(terminal, 1)
            os.close(terminal)
