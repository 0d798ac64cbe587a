"""Runs of a processor by `fold` and `correct`: options, checkpoints, progress, and the files of the output."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from coffea_iqn import running
from coffea_iqn.commands.common import SAID, add_file_options, captions, open_executor
from coffea_iqn.commands.options import add_figure_options, add_output_option, text
from coffea_iqn.commands.terminal import QUIET_SECONDS, complain, log, show_progress
from coffea_iqn.files.atomic import at_work, folder_of, plain_names, unfinished
from coffea_iqn.files.inputs import Source, check_one_process, every
from coffea_iqn.files.output import versions, write_json
from coffea_iqn.files.skims import Skim
from coffea_iqn.files.trees import FORMATS
from coffea_iqn.histograms.root import write_histograms
from coffea_iqn.numerics.compiling import timed_compilation
from coffea_iqn.ranges import GEV, expect
from coffea_iqn.running import Checkpoints, Skipped


class Ran(NamedTuple):
    """Result of a run.

    Attributes
    ----------
    out: result of the processor.
    seconds, compile_seconds: time of the run, and the part of it spent on compiling.
    n_before: number of chunks that an earlier, interrupted run had finished.
    """

    out: Any
    seconds: float
    compile_seconds: float
    n_before: int


def add_options(parser: argparse.ArgumentParser, model: str) -> None:
    """Add the options for input files, the output folder, the histograms and the figures, and for this model."""
    add_file_options(parser)
    add_output_option(parser, "DIR", "output folder")
    parser.add_argument(
        "--pt-min",
        type=GEV,
        default=20.0,
        metavar="GEV",
        help="minimum pt of jets in the histograms (default: %(default)s)",
    )
    parser.add_argument(
        "--no-plots", dest="plots", action="store_false", help="write histograms and summary, but no figures"
    )
    parser.add_argument(
        "--no-checkpoints",
        dest="checkpoints",
        action="store_false",
        help="do not keep finished chunks in DIR.chunks for a restart after an interruption",
    )
    add_figure_options(parser)
    parser.add_argument("--model", type=text, help=model)


def add_skim_options(parser: argparse.ArgumentParser, jets: str) -> Any:
    """Add the options for a skim with this kind of jets, and return their group."""
    skim = parser.add_argument_group("skims")
    skim.add_argument("--skim", choices=FORMATS, help=f"also write the {jets} jets of all events, to DIR/skim")
    skim.add_argument(
        "--keep",
        action="append",
        type=text,
        default=[],
        metavar="BRANCHES",
        help="input branches to copy to the skim, such as 'GenJet_*'; may be repeated",
    )
    return skim


def skim_of(arguments: argparse.Namespace, collection: str | None = None) -> Skim | None:
    """Return the requested skim, written to a folder that survives an interruption, or None."""
    if arguments.skim is None:
        for option, value in (("--keep", arguments.keep), ("--as", collection)):
            expect(not value, f"{option}: expected --skim root or --skim parquet with it, got neither")
        return None
    folder = folder_of(arguments.output) / "skim"
    return Skim(folder, arguments.skim, collection or Skim.collection, arguments.keep, replace=True)


@contextmanager
def replacing(arguments: argparse.Namespace) -> Iterator[None]:
    """Keep the finished chunks of an output during a block, and after a block that fails.

    Figures and skims of an earlier output in the same folder are removed at the end, other files there are not.
    """
    before = _written(arguments.output)
    with at_work(arguments.output), unfinished(folder_of(arguments.output), keep=arguments.checkpoints):
        yield
        for file in before - _written(arguments.output):
            file.unlink(missing_ok=True)


def _written(output: Path) -> set[Path]:
    """Return the figures and the files of a skim in an output folder, according to its summary."""
    try:
        summary = json.loads((output / "summary.json").read_text())
        return {output / what / Path(str(name)).name for what in ("plots", "skim") for name in summary.get(what, ())}
    except (OSError, ValueError, AttributeError, TypeError):
        return set()


def check_all_or_none(
    datasets: Mapping[str, Sequence[Source]], what: str, has: Callable[[Source], bool], advice: str = ""
) -> None:
    """Check that all files of a dataset have something, or none; the error message ends with the advice.

    Raises
    ------
    ValueError: if only some files of a dataset have it.
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
    """Run a processor with `running.run`, keeping finished chunks if interrupted.

    Raises
    ------
    ValueError: if only some files of a dataset have event weights, or they are of several generated processes.
    """
    # missing weights would count as 1
    check_all_or_none(datasets, "event weights", lambda source: source.has_weights)
    for name, sources in datasets.items():
        check_one_process(name, {source.path: source.cross_sections for source in sources})
    checkpoints = folder_of(arguments.output)
    count_finished = partial(Checkpoints(checkpoints).n_finished, instance)
    plain_names(datasets)  # raises an error unless they differ
    # coffea makes chunks of nearly equal size, close to the requested one
    n_chunks = sum(max(round(source.n_events / arguments.chunksize), 1) for source in every(datasets))
    started = time.perf_counter()
    with (
        timed_compilation() as compile_seconds,
        open_executor(arguments) as executor,
        counted_chunks(arguments, n_chunks, count_finished) as n_before,
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
            n_finished = count_finished() if arguments.checkpoints else 0
            if n_finished:
                complain(
                    f"coffea-iqn: {n_finished} finished chunks are kept in {checkpoints}: "
                    "run the same command again to continue"
                )
            raise
        compiled = compile_seconds()
    return Ran(out, time.perf_counter() - started, compiled, n_before)


def finish(
    arguments: argparse.Namespace,
    instance: Any,
    card: Mapping[str, Any],
    about: Mapping[str, Any],
    datasets: Mapping[str, Sequence[Source]],
    ran: Ran,
    folder: Path,
    *,
    figures: str,
) -> dict[str, Any]:
    """Write figures, histograms and summary to a new output folder, move the skim there, and return the summary.

    figures: name of the function of `plotting` that makes those of a dataset; with several, files begin with its name.
    """
    plots: list[Path] = []
    if arguments.plots:
        from coffea_iqn import plotting  # takes seconds

        shown = captions(arguments, card, datasets, instance.pt_min, instance.eta_max)
        for dataset, name in plain_names(datasets).items():
            made = getattr(plotting, figures)(ran.out["hists"], dataset=dataset, **shown)
            plots += plotting.save_all(made, folder / "plots", stem_prefix=f"{name}_" * (len(datasets) > 1))
    write_histograms(ran.out["hists"], folder / "histograms.root")
    summary = {
        **about,
        "files": {name: [source.path for source in sources] for name, sources in datasets.items()},
        "datasets": ran.out["cutflow"],
        "plots": [plot.name for plot in plots],
        "skim": [f"skim/{Path(file).name}" for file in ran.out["files"]],
        "executor": arguments.executor,
        "seconds": round(ran.seconds, 3),
        "versions": versions(),
    }
    write_json(summary, folder / "summary.json")
    if arguments.skim is not None:
        (folder / "skim").mkdir()
        for file in ran.out["files"]:
            Path(file).replace(folder / "skim" / Path(file).name)
    return summary


@contextmanager
def counted_chunks(arguments: argparse.Namespace, n_chunks: int, count_finished: Callable[[], int]) -> Iterator[int]:
    """Give the number of chunks that were finished before, and print progress lines at intervals during a block.

    These replace coffea's own progress bar where there is no terminal.
    """
    started, before, stop = time.monotonic(), count_finished(), threading.Event()
    log.info("%s chunks, %s of them already finished", n_chunks, before)

    def watch() -> None:
        while not stop.wait(QUIET_SECONDS):
            done = count_finished()
            a_chunk = (time.monotonic() - started) / max(done - before, 1)
            left = f"{timedelta(seconds=round(a_chunk * (n_chunks - done)))} left"
            first = "the first run after an installation compiles for half a minute"
            complain(f"{done} of {n_chunks} chunks done; {left if done > before else first}")

    if arguments.checkpoints and not arguments.quiet and not show_progress(arguments):
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield before
    finally:
        stop.set()
