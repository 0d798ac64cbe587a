"""Blocks of events, each with its own seed, made in processes and written in their order."""

from __future__ import annotations

import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, wait
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from coffea_iqn.generation.clustering import Columns, make_jets, missing_momentum, prompt_particles
from coffea_iqn.generation.pythia import cross_section, muted, next_particles, require, set_up, start
from coffea_iqn.generation.settings import Settings
from coffea_iqn.generation.writing import COLLECTIONS, Block, Totals, written_whole
from coffea_iqn.numerics.arrays import Ints

BATCH = 100  # events in memory as Pythia records them: 16 MB
AHEAD = 2  # blocks of each process that may wait for their turn to be written
POLL_SECONDS = 0.5
PACKAGES = ("coffea-iqn", "pythia8mc", "fastjet")


def generate(
    settings: Settings, output: Path, *, workers: int = 1, watch: Callable[[int], None] = lambda _: None
) -> Totals:
    """Generate events and write them to a file, which is the same for any number of workers.

    Parameters
    ----------
    settings: which events.
    output: the file.
    workers: processes.
    watch: is told now and then how many events there are.

    Raises
    ------
    ValueError: for settings that Pythia does not know or does not start with, a missing extra, no workers.
    ChildProcessError: when a process ends of itself, as one does that the system kills.
    """
    require()
    if workers < 1:
        msg = f"workers: expected 1 or more, got {workers}"
        raise ValueError(msg)
    with muted():
        set_up(settings)  # mistakes show before processes start
    card = None if settings.card is None else settings.card.read_text(errors="replace")
    with written_whole(output, settings.seed) as writer:
        for block in _in_order(settings, min(workers, settings.n_blocks), watch):
            writer.extend(block)
        made_by = {name: version(name) for name in PACKAGES}
        writer.finish(asdict(settings) | {"card": card, "commands": settings.all_commands(), "versions": made_by})
    return writer.totals


def make_block(settings: Settings, number: int, made: Callable[[int], object] = lambda _: None) -> Block:
    """Generate one block; `made` is told of each batch how many events it has."""
    n_events = settings.size(number)
    parts = []
    with muted() as said:
        pythia = start(settings, number, said)
        for first in range(0, n_events, BATCH):
            particles = next_particles(pythia, min(BATCH, n_events - first), said)
            jets = make_jets(particles, settings.radius, settings.pt_min, substructure=settings.substructure)
            collections = dict(zip(COLLECTIONS, (jets, *prompt_particles(particles)), strict=True))
            parts.append((particles.weight, collections, *missing_momentum(particles)))
            made(len(particles.weight))
        found = cross_section(pythia)
    weight, collections_of_parts, pt, phi = zip(*parts, strict=True)
    return Block(
        first=number * settings.block + 1,
        weight=np.concatenate(weight),
        collections={name: _joined([part[name] for part in collections_of_parts]) for name in COLLECTIONS},
        missing=(np.concatenate(pt), np.concatenate(phi)),
        cross_section=found,
    )


def _joined(parts: Sequence[tuple[Ints, Columns]]) -> tuple[Ints, Columns]:
    """Counts and columns of some events after the other."""
    counts, columns = zip(*parts, strict=True)
    return np.concatenate(counts), {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}


def _in_order(settings: Settings, workers: int, watch: Callable[[int], None]) -> Iterator[Block]:
    """All blocks, made in processes, a few ahead of the one that is next."""
    import loky

    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done"
        done.touch()
        pool = loky.ProcessPoolExecutor(max_workers=workers, initializer=_leave_interrupts_to_the_parent)
        try:
            pending: deque[Any] = deque()
            left = iter(range(settings.n_blocks))
            while True:
                while len(pending) < AHEAD * workers and (number := next(left, None)) is not None:
                    pending.append(pool.submit(_make_block_of_a_pool, settings, number, done))
                if not pending:
                    break
                while not wait([pending[0]], timeout=POLL_SECONDS).done:
                    watch(done.stat().st_size)
                watch(done.stat().st_size)
                yield pending.popleft().result()
        except BrokenExecutor as error:
            msg = f"generate: expected a process to end with its events, one ended before: {str(error).splitlines()[0]}"
            raise ChildProcessError(msg) from error
        finally:
            pool.shutdown(wait=True, kill_workers=True)


def _make_block_of_a_pool(settings: Settings, number: int, done: Path) -> Block:
    """A block whose events leave a byte each in a file, so that the parent can count them."""
    with done.open("ab", buffering=0) as file:
        return make_block(settings, number, lambda n: file.write(b"." * n))


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
