"""What commands that read files share: options and inspection of input files, captions of figures, executors."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from coffea_iqn import bundle, running
from coffea_iqn.commands.options import assignment, text
from coffea_iqn.commands.terminal import complain, log, say, show_progress
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.checks import OF_GEN, RECONSTRUCTED, MissingContextWarning, OutsideDomainWarning
from coffea_iqn.events.identity import KINDS
from coffea_iqn.events.names import Names
from coffea_iqn.files.filesets import expand
from coffea_iqn.files.inputs import InputError, Source, copies, equal_events, every, first_jets, inspect
from coffea_iqn.files.reading import SECONDS, TIMEOUT
from coffea_iqn.jets import radii
from coffea_iqn.ranges import COUNT, WORKERS, expect
from coffea_iqn.running import Skipped
from coffea_iqn.training.pairs import JetPairs, marks

SAID = (OutsideDomainWarning, MissingContextWarning)  # warnings that commands replace by lines of their own


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for input files and for where to process them."""
    parser.add_argument(
        "files",
        nargs="+",
        type=text,
        metavar="FILES",
        help="ROOT files (NanoAOD-like, Delphes or PHYSLITE), patterns, or lists of these (.txt), each as PATH or "
        "DATASET=PATH; or coffea filesets (.json, .yaml)",
    )
    parser.add_argument(
        "--dataset", type=text, help="dataset name for files without one of their own (default: the name of each file)"
    )
    parser.add_argument("--tree", type=text, help="tree to read (default: Events, Delphes or CollectionTree)")
    parser.add_argument("--gen", type=text, default="GenJet", help="collection of gen jets (default: %(default)s)")
    parser.add_argument(
        "--name",
        dest="names",
        action="append",
        type=assignment,
        default=[],
        metavar="WHAT=FIELD",
        help="name in the files of a gen-level quantity: FIELD for WHAT, one of "
        f"{', '.join(f.name for f in fields(Names))}; may be repeated",
    )
    where = parser.add_argument_group("where to run")
    where.add_argument(
        "--executor", choices=running.EXECUTORS, default="iterative", help="coffea executor (default: %(default)s)"
    )
    where.add_argument(
        "--workers", type=WORKERS, default=2, help="number of processes, for futures and dask (default: %(default)s)"
    )
    where.add_argument(
        "--scheduler", type=text, metavar="ADDRESS", help="address of a running dask scheduler, such as tcp://host:8786"
    )
    where.add_argument(
        "--timeout",
        type=SECONDS,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for an answer of a server with remote files (default: %(default)g)",
    )
    where.add_argument("--chunksize", type=COUNT, default=100_000, help="events per chunk (default: %(default)s)")


def datasets_of(
    arguments: argparse.Namespace, collections: Sequence[str], skipped: list[Skipped] | None = None
) -> dict[str, list[Source]]:
    """Inspect the input files and return them by dataset: the NAME of NAME=PATH, or the file's name without suffix.

    Files that cannot be read are added to `skipped` if that is a list; otherwise they are an error. The collections are
    those of gen jets and, if needed, of true jets.

    Raises
    ------
    InputError: for a file that cannot be read, unless skipped is a list.
    ValueError: if a collection is of the other level by its name, or the gen jets are those that a skim added; if files
        of one name in different folders have no dataset.
    """
    datasets: dict[str, list[Source]] = {}
    unnamed: dict[str, str] = {}
    names = Names.of(dict(arguments.names))
    for dataset, path, tree in expand(arguments.files):
        named = f"{dataset or arguments.dataset or ''}={path}"
        expect(named.isascii(), f"files: expected names of datasets and paths in ASCII, as coffea does, got {named}")
        name = dataset or arguments.dataset or Path(path).stem
        same = unnamed.setdefault(name, path) if named.startswith("=") else path
        got = f"got {same} and {path}, which would be one: give DATASET=PATH"
        expect(same == path, f"files: expected different names of datasets, {got}")
        try:
            source = inspect(
                path, tree=tree or arguments.tree, collections=collections, names=names, timeout=arguments.timeout
            )
        except InputError as error:
            if skipped is None:
                raise
            skipped.append(Skipped(path, None, str(error).removeprefix(f"{path}: ")))
            continue
        log.info(
            "%s: %s, %s events, %s, context: %s", name, path, source.n_events, source.layout, ", ".join(source.context)
        )
        datasets.setdefault(name, []).append(source)
    if skipped and not datasets:
        raise running.nothing_left(skipped)
    running.layout_of(datasets)
    for truth in collections[1:]:
        expect(OF_GEN.search(truth) is None, f"reco jets: expected a reco-level collection, got {truth}")
        warn_emulated(truth, datasets)
    there = {name for source in every(datasets) for name in source.jets if OF_GEN.search(name)}
    for source in every(datasets):
        got = f"got {arguments.gen} of a skim, whose jets were emulated or corrected before: {source.path}"
        expect(source.emulated != arguments.gen, f"gen jets: expected a gen-level collection, {got}")
    fits = collections[0] != arguments.gen or RECONSTRUCTED.fullmatch(arguments.gen) is None or not there
    expect(fits, f"gen jets: expected one of {', '.join(sorted(there))}, got {arguments.gen}")
    return datasets


def check_identities(arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], collection: str) -> None:
    """Check for equal event numbers within a dataset, unless --identity is given: they would share random numbers.

    With --identity as well, check that files with equal numbers do not have the same jets of the collection, too.
    Copies of a file, whose events no number tells apart, are permitted by --identity event only.

    Raises
    ------
    ValueError: if there are any; names the files.
    """
    for name, sources in datasets.items():
        if arguments.identity != "event" and (twice := copies(sources)) is not None:
            same = f"got {twice[0]} and {twice[1]}, which are the same or copies"
            msg = f"{name}: expected different events in each file, {same}: --identity event permits them"
            raise ValueError(msg)
        found = equal_events(sources)
        if found is None:
            continue
        one, other, n = found
        if one.uuid != other.uuid and _same_jets(one, other, collection):
            got = f"got the same {collection}s in {one.path} and {other.path}, as when generated with one seed"
            msg = f"{name}: expected different events in each file, {got}: they would count twice"
            raise ValueError(msg)
        got = f"got {n} with equal run, luminosityBlock and event in {one.path} and {other.path}"
        advice = "--identity file distinguishes them, --identity event permits them"
        expect(arguments.identity, f"{name}: expected different events in each file, {got}: {advice}")


def _same_jets(one: Source, other: Source, collection: str) -> bool:
    """Whether two files begin with the same jets, at least as far as the shorter one goes."""
    few, many = sorted((marks(first_jets(source, collection).values) for source in (one, other)), key=len)
    return len(few) > 0 and bool(np.isin(few, many).all())


def identity_of(datasets: Mapping[str, Sequence[Source]]) -> str:
    """Return the kind of identity, one of `identity.KINDS`, that tells the events of each dataset apart."""
    return "file" if any(equal_events(sources) for sources in datasets.values()) else "event"


def add_identity_option(parser: argparse.ArgumentParser) -> None:
    """Add --identity."""
    parser.add_argument(
        "--identity",
        choices=KINDS,
        help="what identifies an event, and so its random numbers: run, luminosityBlock and event (event), or also its "
        "file (file), for files of a dataset that use the same event numbers (default: event, and an error for such "
        "files)",
    )


def warn_emulated(truth: str, datasets: Mapping[str, Sequence[Source]]) -> None:
    """Warn of skims whose emulated jets have the name of the true ones."""
    found = [source.path for source in every(datasets) if source.emulated == truth]
    if found:
        complain(f"coffea-iqn: warning: {truth} of {', '.join(found)}: expected true jets, got emulated ones of a skim")


def check_others(datasets: Mapping[str, Sequence[Source]], collection: str, radius: float | None, what: str) -> None:
    """Check the radius of the first jets of a collection, which are compared with jets of this radius.

    Raises
    ------
    ValueError: if they have another one; names the file.
    """
    if radius is None:
        return
    for source in every(datasets):
        distances = first_jets(source, collection).distances  # reco jets are less wide than gen jets
        against = radii.objection(radius, distances, collection=collection)
        named = [name for name in source.jets if name.startswith(collection) and radii.of_name(name) == radius]
        if named and collection not in named:
            against = f"{collection} beside {named[0]}"
        wrong = f"expected jets of radius {radius:g}, got {against}, in {source.path}"
        expect(against is None, f"{what} jets: {wrong}: name the collection of this radius, or give --any-radius")


def check_radii(
    arguments: argparse.Namespace,
    datasets: Mapping[str, Sequence[Source]],
    pairs: JetPairs,
    base: Emulator | None,
    level: str,
) -> None:
    """Check the radius of the jets of both levels, of which level is the one that the pairs begin with.

    base: the bundle whose radius they should have; None for that of --radius.

    Raises
    ------
    ValueError: if they have another one, unless --any-radius is given.
    """
    if arguments.any_radius:
        return
    distances = radii.neighbours(pairs.context)
    (own, other), what = (arguments.gen, arguments.reco), "reco"
    if level == "reco":
        own, other, what = other, own, "gen"
    if base is not None:
        radius, shipped = base.card["jets"]["radius"], bundle.shipped_radii(getattr(arguments, "direction", "fold"))
        radii.check(radius, distances, shipped, collection=own, what=f"{level} jets")
    else:
        radius, against = arguments.radius, radii.objection(arguments.radius, distances, collection=own)
        wanted, advice = f"expected jets of radius {radius:g}", "give theirs with --radius, or --any-radius"
        expect(against is None, f"{level} jets: {wanted}, got {against}: {advice}")
    check_others(datasets, other, radius, what)


def fitting_model(
    arguments: argparse.Namespace,
    datasets: Mapping[str, Sequence[Source]],
    model: str,
    *,
    fixed: bool = False,
    direction: str = "fold",
) -> str:
    """Return the model, or the shipped one for the radius of the first gen jets in every file.

    Parameters
    ----------
    arguments: those of the command.
    datasets: the files; those without gen jets say nothing.
    model: the requested or the default model, which is exchanged unless it was requested or is fixed.
    direction: direction of the model.

    Raises
    ------
    ValueError: for jets of another radius, unless --any-radius is given; names the file.
    """
    radius, shipped = bundle.load(model, direction=direction).radius, bundle.shipped_radii(direction)
    if arguments.any_radius or radius is None:
        return model
    default = model
    for source in every(datasets):
        _, distances, width = first_jets(source, arguments.gen)
        known: dict[str, Any] = {"collection": arguments.gen, "width": width}
        why = radii.objection(radius, distances, **known)
        right = radii.fitting(shipped, distances, **known)
        is_one = len({shipped[name] for name in right}) == 1
        if why is not None and arguments.model is None and model == default and not fixed and is_one:
            model, radius = right[0], shipped[right[0]]
            say(f"Model        {model}, because the jets do not have the radius of {default}: {why}")
            continue
        try:
            radii.check(radius, distances, shipped, **known)
        except ValueError as error:
            msg = f"{source.path}: {error}"
            raise ValueError(msg) from None
    return model


def say_outside(flows: Collection[Mapping[str, Any]], domain: Mapping[str, Any] | None, level: str, verb: str) -> None:
    """Print how many jets of a level are outside of a bundle's domain, given the counts of each dataset."""
    n_jets, outside = (sum(flow[key] for flow in flows) for key in (f"{level}_jets", "outside_domain"))
    if outside and domain:
        low, high = domain[f"{level}_pt"]
        where = f"{level} pt {low:g} to {high:g} GeV, |eta| below {domain[f'{level}_abs_eta'][1]:g}"
        say(f"Domain       {outside:,} of {n_jets:,} {level} jets are outside ({where}): {verb} nevertheless")


def captions(
    arguments: argparse.Namespace,
    card: Mapping[str, Any],
    datasets: Mapping[str, Sequence[Source]],
    pt_min: float,
    eta_max: float,
) -> dict[str, Any]:
    """Return the text on figures: `label`, `energy`, `truth_label` and `selection` of `plotting`."""
    from coffea_iqn.plotting import Selection  # takes seconds
    from coffea_iqn.plotting.panels import plain

    said = {source.energy for source in every(datasets)}
    from_delphes = all(source.layout == "Delphes" for source in every(datasets))
    return {
        "label": plain(arguments.label),
        "energy": arguments.energy or (said.pop() if len(said) == 1 and None not in said else card.get("energy")),
        "truth_label": arguments.reference_label or ("Delphes" if from_delphes else "Truth"),
        "selection": Selection.of(card.get("jets", {}), pt_min, eta_max),
    }


def open_executor(arguments: argparse.Namespace) -> Any:
    """Return the requested executor, see `running.open_executor`."""
    fits = arguments.scheduler is None or arguments.executor == "dask"
    expect(fits, f"--scheduler: expected --executor dask with it, got --executor {arguments.executor}")
    log.info("executor %s", arguments.executor)
    return running.open_executor(
        arguments.executor, workers=arguments.workers, scheduler=arguments.scheduler, status=show_progress(arguments)
    )
