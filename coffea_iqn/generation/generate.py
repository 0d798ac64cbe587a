"""Make blocks of events in parallel processes, generated or from files, and write them in order."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, wait
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from coffea_iqn.files import finished
from coffea_iqn.files.inputs import of_one_process
from coffea_iqn.generation import hepmc, lhe
from coffea_iqn.generation.clustering import Columns, make_jets, missing_momentum, prompt_particles
from coffea_iqn.generation.hepmc import NoHistoryWarning
from coffea_iqn.generation.listings import HEPMC, LES_HOUCHES, Listing, listings
from coffea_iqn.generation.pythia import (
    Particles,
    card_text,
    cross_section,
    muted,
    next_particles,
    require,
    set_up,
    start,
)
from coffea_iqn.generation.settings import Settings
from coffea_iqn.generation.writing import JETS, PARTICLES, PROMPT, Block, Totals, written_whole
from coffea_iqn.numerics.arrays import Ints
from coffea_iqn.ranges import expect

BATCH = 100  # Pythia event records in memory: 16 MB
RECORDS = 200  # HepMC events that a process reads at a time: 50 MB of text
ALIKE = 10.0  # factor between the mean weights of files of one process
AHEAD = 2  # blocks per process that may wait to be written
POLL_SECONDS = 0.5

WITHOUT_HISTORY = (
    "{}: expected records with partons and the ancestors of leptons and photons, got some without: the output has "
    "neither GenJet_partonFlavour nor prompt leptons and photons"
)

Made = Callable[[int], object]


def generate(
    settings: Settings,
    output: Path,
    *,
    workers: int = 1,
    checkpoints: Path | None = None,
    watch: Callable[[int], None] = lambda _: None,
) -> Totals:
    """Generate events, or read them from files, and write a file, which does not depend on the number of workers.

    Parameters
    ----------
    settings: definition of the events.
    output: path of the file.
    workers: number of processes.
    checkpoints: folder for finished blocks of events, which later calls with these settings use instead of making them
        again; None to keep none.
    watch: callback that regularly receives the number of events made so far.

    Raises
    ------
    ValueError: for settings that Pythia does not know or cannot start with, a missing extra, less than one worker, or
        files that cannot be read or are of several processes.
    ChildProcessError: if a process ends unexpectedly, for example because the system kills it.
    """
    packages = ["pythia8mc", "fastjet", *(["pyhepmc"] if settings.hepmc else [])]
    require(packages)
    expect(workers >= 1, f"workers: expected 1 or more, got {workers}")
    with muted():
        set_up(settings)  # report mistakes before processes start
    card = None if settings.card is None else card_text(settings.card)
    made_by = {name: version(name) for name in ("coffea-iqn", *packages)}
    jobs = _jobs(settings)
    if checkpoints is not None:
        key = [repr(asdict(settings)), str(card), repr(made_by)]
        jobs = (partial(_kept, job, checkpoints / f"{k:06}{finished.SUFFIX}", key) for k, job in enumerate(jobs))
    with written_whole(output, settings.seed) as writer:
        for block in _in_order(jobs, workers, watch):
            if block.source == 0 and not writer.totals.events and not set(PROMPT) <= set(block.collections):
                warnings.warn(WITHOUT_HISTORY.format(settings.name), NoHistoryWarning, stacklevel=2)
            if settings.files:
                _check_same_process(settings.name, writer.totals, block)
            writer.extend(block)
        how = {"card": card, "commands": settings.all_commands(), "versions": made_by, "failed": writer.totals.failed}
        writer.finish(asdict(settings) | how)
    return writer.totals


def _check_same_process(name: str, totals: Totals, block: Block) -> None:
    """Raise for a file of another process than the ones before, or with weights in other units.

    One cross section cannot normalise both.
    """
    if not totals.events or block.source == totals.source:
        return
    one, two = (totals.cross_section, totals.uncertainty), block.cross_section
    got = f"got cross sections of {one[0]:.4g} and {two[0]:.4g} pb: generate a file of each"
    expect(of_one_process(one, two), f"{name}: expected files of one process, {got}")
    means = totals.sum_of_weights / totals.events, float(block.weight.mean())
    least, most = sorted(map(abs, means))
    got = f"got means of {means[0]:.4g} and {means[1]:.4g}: generate a file of each"
    expect(most <= ALIKE * least, f"{name}: expected files with weights in the same units, {got}")


def _jobs(settings: Settings) -> Iterator[partial[Block]]:
    """Yield the functions that make the blocks, in order."""
    if settings.hepmc:
        for listing in listings(settings.hepmc, HEPMC, RECORDS, settings.n_events):
            yield partial(read_block, settings, listing)
    elif settings.lhe is not None:
        for number, listing in enumerate(listings([settings.lhe], LES_HOUCHES, settings.block, settings.n_events)):
            yield partial(shower_block, settings, number, listing)
    else:
        for number in range(settings.n_blocks):
            yield partial(make_block, settings, number)


def _kept(job: partial[Block], path: Path, key: Sequence[str], made: Made) -> Block:
    """Return the block that a file keeps, if it is of these settings and events; otherwise make and keep it."""
    events = [
        f"{one.path} {one.place} {hashlib.sha256(one.text).hexdigest()}" if isinstance(one, Listing) else str(one)
        for one in job.args[1:]
    ]
    whose = [*key, *events]
    known = finished.read(path, whose)
    if known is None:
        block = job(made)
        finished.write(path, whose, tuple(block))
        return block
    block = Block(*known)
    made(len(block.weight))
    return block


def make_block(settings: Settings, number: int, made: Made = lambda _: None) -> Block:
    """Generate one block; the callback `made` receives the number of events of each batch."""
    n_events = settings.size(number)
    parts = []
    with muted() as said:
        pythia = start(settings, number, said)
        for first in range(0, n_events, BATCH):
            particles = next_particles(pythia, min(BATCH, n_events - first), said)
            parts.append(_clustered(settings, particles, made))
        found = cross_section(pythia)
    return _block(parts, number * settings.block + 1 + np.arange(n_events), found, number)


def shower_block(settings: Settings, number: int, listing: Listing, made: Made = lambda _: None) -> Block:
    """Shower Les Houches events; event numbers are positions in the file, from 1."""
    found = lhe.cross_section(listing)
    parts, places = [], []
    with muted() as said, tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.lhe"
        events.write_bytes(listing.text)
        pythia = start(settings, number, said, events)
        lhe.check_shower(pythia, listing)
        for particles, place in lhe.showered(pythia, listing, BATCH, said):
            parts.append(_clustered(settings, particles, made))
            places.append(place)
    place = np.concatenate(places)
    return _block(parts, listing.place + 1 + place, found, listing.source, listing.n_events - len(place))


def read_block(settings: Settings, listing: Listing, made: Made = lambda _: None) -> Block:
    """Read events from HepMC records; without history there are neither flavours nor prompt particles."""
    with muted():
        particles, number, found, is_known = hepmc.read(listing, set_up(settings).particleData)
        block = _block([_clustered(settings, particles, made)], number, found, listing.source)
    if is_known:
        return block
    known = {name: of_it for name, of_it in block.collections.items() if name not in PROMPT}
    counts, columns = known[JETS]
    columns = {name: column for name, column in columns.items() if name != "partonFlavour"}
    return block._replace(collections=known | {JETS: (counts, columns)})


def _clustered(settings: Settings, particles: Particles, made: Made) -> tuple[Any, ...]:
    """Return weights, collections and missing momentum of some events."""
    jets, inside = make_jets(particles, settings.radius, settings.pt_min, substructure=settings.substructure)
    collections = {JETS: jets, **dict(zip(PROMPT, prompt_particles(particles), strict=True))}
    if settings.particles:
        collections[PARTICLES] = inside
    made(len(particles.weight))
    return particles.weight, collections, *missing_momentum(particles)


def _block(
    parts: Sequence[tuple[Any, ...]], number: Ints, found: tuple[float, float], source: int, n_failed: int = 0
) -> Block:
    """Return a block from the results of `_clustered`; other arguments as for `Block`."""
    weight, collections, pt, phi = zip(*parts, strict=True)
    return Block(
        number=number,
        weight=np.concatenate(weight),
        collections={name: _joined([part[name] for part in collections]) for name in collections[0]},
        missing=(np.concatenate(pt), np.concatenate(phi)),
        cross_section=found,
        source=source,
        n_failed=n_failed,
    )


def _joined(parts: Sequence[tuple[Ints, Columns]]) -> tuple[Ints, Columns]:
    """Concatenate counts and columns."""
    counts, columns = zip(*parts, strict=True)
    return np.concatenate(counts), {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}


def _in_order(jobs: Iterator[Callable[[Made], Block]], workers: int, watch: Callable[[int], None]) -> Iterator[Block]:
    """Yield all blocks in order, made in processes, a few of them ahead."""
    import loky

    first = list(islice(jobs, workers))  # no more processes than blocks
    left = chain(first, jobs)
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done"
        done.touch()
        pool = loky.ProcessPoolExecutor(max_workers=max(len(first), 1), initializer=_leave_the_end_to_the_parent)
        try:
            pending: deque[Any] = deque()
            while True:
                while len(pending) < AHEAD * len(first) and (job := next(left, None)) is not None:
                    pending.append(pool.submit(_run_in_a_pool, job, done))
                if not pending:
                    break
                while not wait([pending[0]], timeout=POLL_SECONDS).done:
                    watch(done.stat().st_size)
                watch(done.stat().st_size)
                yield pending.popleft().result()
        except BrokenExecutor as error:
            msg = f"generate: expected processes to finish their events, one ended before: {str(error).splitlines()[0]}"
            raise ChildProcessError(msg) from error
        finally:
            pool.shutdown(wait=True, kill_workers=True)


def _run_in_a_pool(job: Callable[[Made], Block], done: Path) -> Block:
    """Make a block, and write one byte per event to a file, so that the parent can count them."""
    with done.open("ab", buffering=0) as file:
        return job(lambda n: file.write(b"." * n))


def _leave_the_end_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent no longer exists: a killed one cannot end it."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
