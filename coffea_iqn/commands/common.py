"""What commands that read files share: how they are named, executors."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from coffea_iqn import running
from coffea_iqn.commands.options import assignment, checked, text
from coffea_iqn.commands.terminal import log, show_progress
from coffea_iqn.events.checks import MissingContextWarning, OutsideDomainWarning
from coffea_iqn.events.names import Names
from coffea_iqn.files.inputs import InputError, Source, expand, inspect
from coffea_iqn.files.reading import SECONDS, TIMEOUT
from coffea_iqn.iqn.device import check_device
from coffea_iqn.plotting.panels import plain
from coffea_iqn.ranges import COUNT, WORKERS
from coffea_iqn.running import Skipped

SAID = (OutsideDomainWarning, MissingContextWarning)  # warnings of a folder that commands put into their own words


@checked
def device_name(given: str) -> str:
    """What a device may be called."""
    check_device(given)
    return given


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that read files."""
    parser.add_argument(
        "files",
        nargs="+",
        type=text,
        metavar="FILES",
        help="ROOT files (NanoAOD-like, Delphes or PHYSLITE), patterns, lists of them (.txt), each as PATH or "
        "DATASET=PATH; or filesets as coffea writes them (.json, .yaml)",
    )
    parser.add_argument("--dataset", type=text, help="one dataset's name for all files (default: each file's own name)")
    parser.add_argument("--tree", type=text, help="name of the tree (default: Events, Delphes or CollectionTree)")
    parser.add_argument("--gen", type=text, default="GenJet", help="collection of gen jets (default: %(default)s)")
    parser.add_argument(
        "--name",
        dest="names",
        action="append",
        type=assignment,
        default=[],
        metavar="WHAT=FIELD",
        help=f"what the files call something they know of gen jets: {', '.join(f.name for f in fields(Names))}",
    )
    where = parser.add_argument_group("where to work")
    where.add_argument("--executor", choices=running.EXECUTORS, default="iterative", help="default: %(default)s")
    where.add_argument(
        "--workers", type=WORKERS, default=2, help="processes, for futures and dask (default: %(default)s)"
    )
    where.add_argument(
        "--scheduler", type=text, metavar="ADDRESS", help="a running dask scheduler, such as tcp://host:8786"
    )
    where.add_argument(
        "--timeout",
        type=SECONDS,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long a server may take to answer, for files on one (default: %(default)g)",
    )
    where.add_argument("--chunksize", type=COUNT, default=100_000, help="events a chunk (default: %(default)s)")


def datasets_of(
    arguments: argparse.Namespace, collections: Sequence[str], skipped: list[Skipped] | None = None
) -> dict[str, list[Source]]:
    """FILES as inspected files by dataset: NAME=PATH, or the file's own name without its suffix.

    Files that cannot be read are an error, or are noted among those skipped where there is such a list.
    """
    datasets: dict[str, list[Source]] = {}
    names = Names.of(dict(arguments.names))
    for dataset, path, tree in expand(arguments.files):
        try:
            source = inspect(
                path, tree=tree or arguments.tree, collections=collections, names=names, timeout=arguments.timeout
            )
        except InputError as error:
            if skipped is None:
                raise
            skipped.append(Skipped(path, None, str(error).removeprefix(f"{path}: ")))
            continue
        name = dataset or arguments.dataset or Path(path).stem
        log.info(
            "%s: %s, %s events, %s, known: %s", name, path, source.n_events, source.layout, ", ".join(source.context)
        )
        datasets.setdefault(name, []).append(source)
    if skipped and not datasets:
        raise running.nothing_left(skipped)
    return datasets


def captions(
    arguments: argparse.Namespace, card: Mapping[str, Any], datasets: Mapping[str, Sequence[Source]]
) -> dict[str, Any]:
    """What figures say of where their jets come from: `label`, `energy` and `truth_label` of `plotting`."""
    from_delphes = all(source.layout == "Delphes" for sources in datasets.values() for source in sources)
    return {
        "label": plain(arguments.label),
        "energy": card.get("energy") if arguments.energy is None else arguments.energy,
        "truth_label": arguments.reference_label or ("Delphes" if from_delphes else "Truth"),
    }


def open_executor(arguments: argparse.Namespace) -> Any:
    """The executor that was asked for, as of `running.open_executor`."""
    if arguments.scheduler is not None and arguments.executor != "dask":
        msg = f"--scheduler: expected --executor dask with it, got --executor {arguments.executor}"
        raise ValueError(msg)
    log.info("executor %s", arguments.executor)
    return running.open_executor(
        arguments.executor,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        status=show_progress(arguments),
    )
