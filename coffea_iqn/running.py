"""Run a coffea processor over files, with progress, on whichever executor."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coffea import processor
from coffea.util import coffea_console

from coffea_iqn.faults import Checkpoints, Skipped, Tolerant
from coffea_iqn.files import SCHEMAS, InputError, Source, branch_filter
from coffea_iqn.reading import open_options

EXECUTORS = ("iterative", "futures", "dask")
# whose messages say all; those of others, which damaged bytes raise as well as mistakes in code, need their names
USER_ERRORS = ("ValueError", "TypeError", "OSError", "TimeoutError", "BundleError", "DeserializationError")
LOST = ("FutureCancelledError", "CancelledError", "CommClosedError", "KilledWorker")
QUOTES = "'\""


@contextlib.contextmanager
def open_executor(kind: str, *, workers: int = 2, scheduler: str | None = None, status: bool = True) -> Iterator[Any]:
    """A coffea executor, and the pool or cluster behind it for as long as the context lasts.

    Parameters
    ----------
    kind: "iterative", "futures" (processes of this machine) or "dask".
    workers: processes, for futures and for a dask cluster of this machine.
    scheduler: address of a running dask scheduler; without one, dask makes a cluster on this machine.
    status: whether to show progress.

    Raises
    ------
    ValueError: when there is no such executor, or dask is not installed.
    """
    if kind == "iterative":
        yield processor.IterativeExecutor(status=status, retries=0)
    elif kind == "futures":
        import loky

        # a pool of its own for each stage of a run would import torch in every process again
        pool = loky.get_reusable_executor(max_workers=workers)
        try:
            yield processor.FuturesExecutor(pool=pool, workers=workers, status=status, retries=0)
        finally:
            pool.shutdown(wait=True)
    elif kind == "dask":
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            msg = "executor dask: expected dask.distributed to be installed: pip install 'coffea-iqn[dask]'"
            raise ValueError(msg) from None
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet("distributed"))  # a lost scheduler is an error of ours, in one line
            if scheduler is None:
                cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
                scheduler = stack.enter_context(cluster).scheduler_address
            client = stack.enter_context(Client(scheduler))
            yield processor.DaskExecutor(client=client, status=status, retries=0)
    else:
        msg = f"executor: expected one of {', '.join(EXECUTORS)}, got {kind!r}"
        raise ValueError(msg)


@contextlib.contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Nothing from the loggers of a package, some of which have levels of their own."""
    names = [name for name in logging.root.manager.loggerDict if name == package or name.startswith(f"{package}.")]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


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
    collections: those the processor reads, so that other branches are not looked at.
    branches: patterns of others that it reads.
    chunksize: events a chunk.
    maxchunks: of each dataset, where not all are wanted.
    skipped: where to note chunks that fail; without it, the first one ends the run.
    checkpoints: a folder for the results of finished chunks, which a later run takes; the processor needs an identity.
    status: whether to show progress.
    ignored: warnings of the processor that are not shown.

    Raises
    ------
    InputError: files of different layouts, or an error in a chunk, in one line that names the file.
    ConnectionError: when the dask scheduler, or a worker again and again, is lost.
    """
    sources = [source for files in datasets.values() for source in files]
    layouts = sorted({source.layout for source in sources})
    if len(layouts) != 1:
        msg = f"files: expected files of one layout, got {' and '.join(layouts) or 'no files'}"
        raise InputError(msg)
    coffea_console.quiet = not status
    runner = processor.Runner(
        executor=executor,
        schema=SCHEMAS[layouts[0]],
        chunksize=chunksize,
        maxchunks=maxchunks,
        checkpointer=None if checkpoints is None else Checkpoints(checkpoints),
    )
    fileset = {name: {"files": {s.path: s.tree for s in files}} for name, files in datasets.items()}
    printed = io.StringIO()  # FuturesExecutor prints the traceback of what it also raises
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
    """The error of a run that had to skip everything."""
    first = skipped[0]
    return InputError(f"files: expected one that can be read, got none; the first: {first.path}: {first.why}")


def _chunk_error(error: BaseException) -> str | None:
    """File and cause of an error that coffea met in a chunk, in one line; None for any other error."""
    # coffea wraps the cause in text, and text is all that comes back from another process
    found = re.search(r"filename='([^']*)'.*The error was: (\w+)\((.*)\)\.$", str(error), re.DOTALL)
    if found is None:
        return None
    path, kind, detail = found.groups()
    what = "" if kind in USER_ERRORS else f"expected events that can be read and folded: {kind}: "
    return f"{path}: {what}{detail.strip(QUOTES)}"
