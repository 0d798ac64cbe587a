"""How far a fold is: chunks that are done and those that are left."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from coffea_iqn.commands.terminal import QUIET_SECONDS, complain, log, show_progress
from coffea_iqn.files import Source


class ChunkCount:
    """Now and then a line on how far a fold is, where there is no terminal for coffea's own bar.

    Parameters
    ----------
    arguments: of the command.
    n_chunks: of the fold.
    count_finished: how many of them are done, whoever asks.
    """

    def __init__(self, arguments: argparse.Namespace, n_chunks: int, count_finished: Callable[[], int]) -> None:
        wanted = arguments.checkpoints and not arguments.quiet and not show_progress(arguments)
        self.n_chunks, self.count_finished = n_chunks, count_finished
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True) if wanted else None

    def __enter__(self) -> int:
        self.started, self.before = time.monotonic(), self.count_finished()
        log.info("%s chunks, %s of them finished before", self.n_chunks, self.before)
        if self.thread is not None:
            self.thread.start()
        return self.before

    def __exit__(self, *_: object) -> None:
        self.stop.set()

    def _watch(self) -> None:
        while not self.stop.wait(QUIET_SECONDS):
            done = self.count_finished()
            a_chunk = (time.monotonic() - self.started) / max(done - self.before, 1)
            left = f"{timedelta(seconds=round(a_chunk * (self.n_chunks - done)))} left"
            first = "the first fold after an installation compiles for most of a minute"
            complain(f"folded {done} of {self.n_chunks} chunks; {left if done > self.before else first}")


def number_of_chunks(datasets: Mapping[str, Sequence[Source]], chunksize: int) -> int:
    """As many as coffea will make: of nearly equal size, about the one that was asked for."""
    sizes = [source.n_events for sources in datasets.values() for source in sources]
    return sum(max(round(n / chunksize), 1) for n in sizes)
