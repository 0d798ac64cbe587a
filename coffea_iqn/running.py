"""Run a coffea processor over files on any executor, with checkpoints of finished chunks and skipping of bad files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy.typing as npt
from coffea import processor
from coffea.processor.checkpointer import CheckpointerABC
from coffea.util import coffea_console

from coffea_iqn.files import finished
from coffea_iqn.files.inputs import SCHEMAS, InputError, Source, branch_filter, every
from coffea_iqn.files.reading import open_options
from coffea_iqn.ranges import check_choice, expect

Array = npt.NDArray[Any]


class Skipped(NamedTuple):
    """A chunk or file that a run skipped.

    Attributes
    ----------
    path: path of the file.
    entries: index of the first event, and of the one after the last; None if unknown, for a file that cannot be read.
    why: reason, in one line.
    """

    path: str
    entries: tuple[int, int] | None
    why: str

    @property
    def n_events(self) -> int | None:
        """Number of events, None if unknown."""
        return None if self.entries is None else self.entries[1] - self.entries[0]


class Tolerant(processor.ProcessorABC):  # type: ignore[misc]
    """A processor that wraps another one and can skip chunks that cannot be read.

    Parameters
    ----------
    instance: the wrapped processor, whose results are dictionaries.
    skip: whether to skip chunks that fail; otherwise the first one ends the run, as do chunks that were read and whose
        content this package refuses, or whose output it cannot write. Checkpoints are the same either way.
    ignored: warnings to suppress in all processes, because the caller reports them itself.

    A run returns `{"out": result of the wrapped processor, "skipped": [Skipped, ...]}`; "out" is None if all chunks
    were skipped.
    """

    def __init__(self, instance: processor.ProcessorABC, *, skip: bool, ignored: Sequence[type[Warning]] = ()) -> None:
        self.instance = instance
        self.skip = skip
        self.ignored = tuple(ignored)

    @property
    def identity(self) -> str:
        """Identity of the wrapped processor: what its results depend on."""
        return str(self.instance.identity)

    def process(self, events: ak.Array) -> dict[str, Any]:
        metadata = events.metadata
        try:
            with warnings.catch_warnings():
                for kind in self.ignored:
                    warnings.simplefilter("ignore", kind)
                return {"out": self.instance.process(events), "skipped": []}
        except Exception as error:  # on damaged bytes uproot raises errors of many types
            if not self.skip or _is_refusal(error):
                raise
            entries = (int(metadata["entrystart"]), int(metadata["entrystop"]))
            detail = str(error).strip().splitlines() or [""]
            why = f"{type(error).__name__}: {detail[0]}"
            return {"out": {}, "skipped": [Skipped(str(metadata["filename"]), entries, why)]}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        done = accumulator["out"]
        return {
            "out": self.instance.postprocess(done) if done else None,
            "skipped": sorted(accumulator["skipped"]),
        }


def _is_refusal(error: Exception) -> bool:
    """Return whether this package itself raised an error: of events that would be wrong, or of a disk that is full."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    kinds = () if isinstance(error, TimeoutError) else (ValueError, TypeError, OSError)  # a server may not answer
    return isinstance(error, kinds) and modules[-1].startswith("coffea_iqn.")


class Checkpoints(CheckpointerABC):  # type: ignore[misc]
    """Stored results of finished chunks, on a disk that all workers share, which later runs use instead of recomputing.

    Parameters
    ----------
    folder: folder of the results.

    The key of a result is the processor's `identity`, dataset, file with its size and time of change, tree and range of
    events, so results of different models, seeds, settings or contents of a file are never confused. Files are written
    atomically: a task that is killed, or runs twice, leaves nothing half written. Skipped chunks are not stored; the
    result of a chunk that wrote files is only used while these are as it wrote them: a run of other settings may have
    replaced them.

    A file holds arrays and JSON, none of which is executed, the key, and a digest of its content. A file that is
    damaged or belongs to another chunk is recomputed, and a warning is logged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def n_finished(self, processor_instance: Any) -> int:
        """Count the stored results of a processor with its present settings."""
        return len(list((self.folder / str(processor_instance.identity)).glob(f"*{finished.SUFFIX}")))

    def load(self, metadata: Mapping[str, Any], processor_instance: Any) -> Any:
        """Return the stored result of a chunk; None if there is none or it is not valid."""
        result, files = finished.read(*self._place(metadata, processor_instance)) or (None, None)
        if result is None or files != _stamps(result):
            return None
        return {"out": {"out": result, "skipped": []}, "processed": set()}

    def save(self, output: Any, metadata: Mapping[str, Any], processor_instance: Any) -> None:
        """Store the result of a chunk."""
        if output["out"].get("skipped"):
            return
        result = output["out"]["out"]
        finished.write(*self._place(metadata, processor_instance), [result, _stamps(result)])

    def _place(self, metadata: Mapping[str, Any], processor_instance: Any) -> tuple[Path, list[str]]:
        """Return path and key of a result: the processor's identity, and the chunk."""
        keys = ("dataset", "filename", "fileuuid", "treename", "entrystart", "entrystop")
        # a file that was updated keeps its uuid
        stamp = _stamp(str(metadata["filename"]).removeprefix("file://"))
        identity, chunk = str(processor_instance.identity), [*(str(metadata[key]) for key in keys), *map(str, stamp)]
        name = hashlib.sha256(repr(chunk).encode()).hexdigest() + finished.SUFFIX
        return self.folder / identity / name, [identity, *chunk]


def _stamps(result: Mapping[str, Any]) -> list[list[int]]:
    """Return the stamps of the files that a chunk wrote."""
    return [_stamp(file) for file in result.get("files", ())]


def _stamp(file: str) -> list[int]:
    """Return size and time of change [ns] of a file; empty if it is not on this machine."""
    found = Path(file).stat() if Path(file).is_file() else None
    return [] if found is None else [found.st_size, found.st_mtime_ns]


EXECUTORS = ("iterative", "futures", "dask")
# errors whose messages suffice; others, which damaged bytes or bugs raise, are shown with their type
USER_ERRORS = ("ValueError", "TypeError", "OSError", "TimeoutError", "BundleError", "DeserializationError")
LOST = ("FutureCancelledError", "CancelledError", "CommClosedError", "KilledWorker")
QUOTES = "'\""


@contextlib.contextmanager
def open_executor(kind: str, *, workers: int = 2, scheduler: str | None = None, status: bool = True) -> Iterator[Any]:
    """Open a coffea executor, with its pool or cluster, for the duration of the context.

    Parameters
    ----------
    kind: "iterative", "futures" (processes on this machine) or "dask".
    workers: number of processes, for futures and for a dask cluster on this machine.
    scheduler: address of a running dask scheduler; without one, dask starts a cluster on this machine.
    status: whether to show progress.

    Raises
    ------
    ValueError: if there is no such executor, or dask is not installed.
    """
    check_choice(EXECUTORS, executor=kind)
    if kind == "iterative":
        yield processor.IterativeExecutor(status=status, retries=0)
    elif kind == "futures":
        import loky

        # a separate pool for each stage of a run would start processes, with all imports, again
        pool = loky.get_reusable_executor(max_workers=workers)
        try:
            yield processor.FuturesExecutor(pool=pool, workers=workers, status=status, retries=0)
        finally:
            pool.shutdown(wait=True)
    else:
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            msg = "executor dask: expected dask.distributed to be installed: pip install 'coffea-iqn[dask]'"
            raise ValueError(msg) from None
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet("distributed"))  # `run` reports a lost scheduler in one line
            if scheduler is None:
                cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
                scheduler = stack.enter_context(cluster).scheduler_address
            client = stack.enter_context(Client(scheduler))
            yield processor.DaskExecutor(client=client, status=status, retries=0)


@contextlib.contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Silence all loggers of a package, including those with their own log levels."""
    names = [name for name in logging.root.manager.loggerDict if name == package or name.startswith(f"{package}.")]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def layout_of(datasets: Mapping[str, Sequence[Source]]) -> str:
    """Return the layout of all files of some datasets.

    Raises
    ------
    InputError: if they have different ones, or there are none.
    """
    layouts = sorted({source.layout for source in every(datasets)})
    fits = len(layouts) == 1
    expect(fits, f"files: expected files of one layout, got {' and '.join(layouts) or 'no files'}", InputError)
    return layouts[0]


def run(
    instance: processor.ProcessorABC,
    datasets: Mapping[str, Sequence[Source]],
    executor: Any,
    *,
    collections: Sequence[str],
    branches: Sequence[str] = (),
    chunksize: int = 100_000,
    maxchunks: int | None = None,
    skipped: list[Skipped] | None = None,
    checkpoints: Path | None = None,
    status: bool = True,
    ignored: Sequence[type[Warning]] = (),
) -> Any:
    """Run a processor over inspected files.

    Parameters
    ----------
    instance: the processor.
    datasets: files by name of dataset.
    executor: from `open_executor`.
    collections: collections that the processor reads; other branches are skipped.
    branches: patterns of further branches that it reads.
    chunksize: events per chunk.
    maxchunks: maximum number of chunks of each dataset, None for all.
    skipped: list to which failing chunks are added; without it, the first one ends the run.
    checkpoints: folder for the results of finished chunks, which later runs use; the processor needs an identity.
    status: whether to show progress.
    ignored: warnings of the processor to suppress.

    Raises
    ------
    InputError: for files of different layouts, or an error in a chunk, in one line that names the file.
    ConnectionError: if the dask scheduler is lost, or a worker repeatedly.
    """
    layout = layout_of(datasets)
    sources = [source for files in datasets.values() for source in files]
    coffea_console.quiet = not status
    runner = processor.Runner(
        executor=executor,
        schema=SCHEMAS[layout],
        chunksize=chunksize,
        maxchunks=maxchunks,
        checkpointer=None if checkpoints is None else Checkpoints(checkpoints),
    )
    fileset = {name: {"files": {s.path: s.tree for s in files}} for name, files in datasets.items()}
    printed = io.StringIO()  # FuturesExecutor both prints tracebacks and raises
    try:
        with contextlib.redirect_stderr(printed):
            found = runner(
                fileset,
                Tolerant(instance, skip=skipped is not None, ignored=ignored),
                treename=None,
                uproot_options=open_options((s.path for s in sources), max(s.timeout for s in sources)),
                iteritems_options=branch_filter(sources, collections, branches),
            )
    except Exception as error:
        message = _chunk_error(error)
        if message is not None:
            printed = io.StringIO()
            raise InputError(message) from error
        if type(error).__name__ in LOST or "KilledWorker" in str(error):
            msg = f"dask: expected a scheduler and workers until the end, lost one: {str(error).splitlines()[0]}"
            raise ConnectionError(msg) from error
        raise
    finally:
        sys.stderr.write(printed.getvalue())
    if skipped is not None:
        skipped += found["skipped"]
        if found["out"] is None:
            raise nothing_left(skipped)
    return found["out"]


def nothing_left(skipped: Sequence[Skipped]) -> InputError:
    """Return the error of a run that skipped everything."""
    first = skipped[0]
    return InputError(f"files: expected a readable file, got none; first error: {first.path}: {first.why}")


def _chunk_error(error: BaseException) -> str | None:
    """Return file and cause of an error in a chunk, in one line; None for any other error."""
    # coffea wraps the cause as text, and only text comes back from another process
    found = re.search(r"filename='([^']*)'.*The error was: (\w+)\((.*)\)\.$", str(error), re.DOTALL)
    if found is None:
        return None
    path, kind, detail = found.groups()
    what = "" if kind in USER_ERRORS else f"expected events that can be read and folded: {kind}: "
    detail = re.sub(r"^\d+, ", "", detail)  # the number of an error of the operating system
    return f"{path}: {what}{detail.strip(QUOTES)}"
