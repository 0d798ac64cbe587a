"""Runs of a processor over files that keep what is finished, say how far they are, and clear up at the end."""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from coffea_iqn import running
from coffea_iqn.commands.common import SAID, open_executor
from coffea_iqn.commands.options import add_figure_options, add_force_option, path, text
from coffea_iqn.commands.terminal import QUIET_SECONDS, complain, log, show_progress
from coffea_iqn.files.atomic import plain_names, unfinished
from coffea_iqn.files.inputs import Source
from coffea_iqn.files.skims import Skim
from coffea_iqn.files.trees import FORMATS
from coffea_iqn.numerics.compiling import timed_compilation
from coffea_iqn.ranges import GEV
from coffea_iqn.running import Checkpoints, Skipped


class Ran(NamedTuple):
    """What a run gave.

    Attributes
    ----------
    out: by the processor.
    seconds, compile_seconds: that it took, and of these compiling.
    n_before: chunks that were there before.
    """

    out: Any
    seconds: float
    compile_seconds: float
    n_before: int


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """The options of what is written: histograms, figures."""
    parser.add_argument("--output", type=path, required=True, metavar="DIR", help="for all that is written")
    add_force_option(parser)
    parser.add_argument(
        "--pt-min",
        type=GEV,
        default=20.0,
        metavar="GEV",
        help="least pt of jets in the histograms (default: %(default)s)",
    )
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="histograms and summary alone")
    parser.add_argument(
        "--no-checkpoints",
        dest="checkpoints",
        action="store_false",
        help="do not keep finished chunks in DIR.chunks until all is done",
    )
    add_figure_options(parser)


def add_skim_options(parser: argparse.ArgumentParser, jets: str) -> Any:
    """The options of a skim of such jets, in a group that is returned."""
    skim = parser.add_argument_group("skims")
    skim.add_argument("--skim", choices=FORMATS, help=f"write the {jets} jets of all events as well, into DIR/skim")
    skim.add_argument(
        "--keep",
        action="append",
        type=text,
        default=[],
        metavar="BRANCHES",
        help="branches of the input to write into the skim beside them, such as 'GenJet_*'; may be repeated",
    )
    return skim


def skim_of(arguments: argparse.Namespace, collection: str | None = None) -> Skim | None:
    """What is to be written of each chunk, into a folder that outlives an interruption."""
    if arguments.skim is None:
        for option, value in (("--keep", arguments.keep), ("--as", collection)):
            if value:
                msg = f"{option}: expected --skim root or --skim parquet with it, got neither"
                raise ValueError(msg)
        return None
    folder = folder_of(arguments.output) / "skim"
    return Skim(folder, arguments.skim, collection or Skim.collection, arguments.keep)


def folder_of(output: Path) -> Path:
    """Where the finished chunks of an output are kept until all is done."""
    return output.with_name(output.name + ".chunks")


def kept(arguments: argparse.Namespace) -> AbstractContextManager[Path]:
    """Where the finished chunks of an output are as long as a block lasts, and after one that fails."""
    return unfinished(folder_of(arguments.output), keep=arguments.checkpoints)


def check_weights(datasets: Mapping[str, Sequence[Source]]) -> None:
    """Refuse a dataset of which some files have weights of events: those of the others would count as 1.

    Raises
    ------
    ValueError: for such a one.
    """
    check_all_or_none(datasets, "weights of events", lambda source: source.has_weights)


def check_all_or_none(
    datasets: Mapping[str, Sequence[Source]], what: str, has: Callable[[Source], bool], advice: str = ""
) -> None:
    """Refuse a dataset of which some files alone have something; the advice ends the message.

    Raises
    ------
    ValueError: for such a one.
    """
    for name, sources in datasets.items():
        lacking = [source.path for source in sources if not has(source)]
        if 0 < len(lacking) < len(sources):
            where = f"in all files of the dataset or in none, found none in {lacking[0]}"
            msg = f"{name}: expected {what} {where}{advice}"
            raise ValueError(msg)


def run(
    arguments: argparse.Namespace,
    instance: Any,
    datasets: Mapping[str, Sequence[Source]],
    collections: Sequence[str],
    *,
    branches: Sequence[str] = (),
    skipped: list[Skipped] | None = None,
) -> Ran:
    """Run a processor for a command with an output, as of `running.run`; finished chunks outlive an interruption.

    Raises
    ------
    ValueError: when some files of a dataset have weights of events.
    """
    check_weights(datasets)
    checkpoints = folder_of(arguments.output)
    count_finished = partial(Checkpoints(checkpoints).n_finished, instance)
    plain_names(datasets)  # which have to differ
    started = time.perf_counter()
    with (
        timed_compilation() as compile_seconds,
        open_executor(arguments) as executor,
        ChunkCount(arguments, number_of_chunks(datasets, arguments.chunksize), count_finished) as n_before,
    ):
        try:
            out = running.run(
                instance,
                datasets,
                executor,
                collections=collections,
                branches=branches,
                chunksize=arguments.chunksize,
                skipped=skipped,
                checkpoints=checkpoints if arguments.checkpoints else None,
                status=show_progress(arguments),
                ignored=SAID,
            )
        except BaseException:
            n_chunks = count_finished() if arguments.checkpoints else 0
            if n_chunks:
                complain(
                    f"coffea-iqn: {n_chunks} finished chunks are kept in {checkpoints}: "
                    "the same command goes on from there"
                )
            raise
        compiled = compile_seconds()
    return Ran(out, time.perf_counter() - started, compiled, n_before)


def keep_skim(files: Sequence[str], folder: Path, output: Path) -> None:
    """Move the files of a skim into a new output; what another run left in the old one goes."""
    (folder / "skim").mkdir()
    for file in files:
        Path(file).replace(folder / "skim" / Path(file).name)
    shutil.rmtree(output / "skim", ignore_errors=True)


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
