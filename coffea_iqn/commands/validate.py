"""coffea-iqn validate: compare a bundle with true jets in files, and write a closure report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from coffea import processor
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from coffea_iqn import bundle, running
from coffea_iqn.closure import CELLS
from coffea_iqn.closure.regions import Box
from coffea_iqn.commands.common import (
    SAID,
    add_file_options,
    captions,
    check_radii,
    datasets_of,
    identity_of,
    open_executor,
)
from coffea_iqn.commands.options import (
    add_figure_options,
    add_output_option,
    add_radius_option,
    add_reco_option,
    checked,
    path,
    text,
)
from coffea_iqn.commands.terminal import Bars, complain, console, say
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.constituents import OF_JET, PARTICLE_BRANCHES, RECO
from coffea_iqn.events.names import Names
from coffea_iqn.events.objects import MISSING, OBJECT_BRANCHES
from coffea_iqn.files.atomic import check_new, whole_folder
from coffea_iqn.files.inputs import Source, every
from coffea_iqn.files.output import write_json
from coffea_iqn.histograms.filling import ETA_MAX, PT_MIN
from coffea_iqn.objects.kinds import KINDS
from coffea_iqn.plotting import save_all
from coffea_iqn.processors import EventsProcessor, PairsProcessor, ShapesProcessor
from coffea_iqn.processors.events import EventsSample
from coffea_iqn.ranges import COUNT, GEV, SEED, WORKERS
from coffea_iqn.training.pairs import JetPairs, TrainingSample, marks
from coffea_iqn.validation import metrics, report
from coffea_iqn.validation.comparison import (
    PARTICLES,
    QUICK,
    Effort,
    Validation,
    compare_events,
    compare_particles,
    compare_spectra,
    n_steps,
)
from coffea_iqn.validation.comparison import validate as validate_pairs
from coffea_iqn.validation.distortions import spoil
from coffea_iqn.validation.report import EVENT_HISTOGRAMS, FEW_HISTOGRAMS, OBJECT_HISTOGRAMS, sections
from coffea_iqn.variations import SPOILINGS

SHOWN = {"pass": "[green]pass", "fail": "[bold red]FAIL"}  # other outcomes are printed by name
QUICK_EVENTS = 60_000  # events read with --quick
N_STEPS_OF_EVENTS = 3  # reading jets, folding events, judge of whole events


EXAMPLES = """examples:
  coffea-iqn validate qcd=test_1.root qcd=test_2.root --model my-detector --output closure
  coffea-iqn validate test.root --quick --select "30<pt<35,abs(eta)<1" --output closure
  coffea-iqn validate test.root --compare other/metrics.json --output closure
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of validate."""
    add_file_options(parser)
    parser.add_argument(
        "--model",
        type=text,
        default="cms-delphes-ak4",
        help="name of a shipped bundle, or path of a bundle (default: %(default)s)",
    )
    add_reco_option(parser)
    parser.add_argument(
        "--select",
        action="append",
        type=checked(Box.parse),
        default=[],
        metavar="BOX",
        help="also compare spectra for gen jets in a region, such as '30<pt<35,abs(eta)<1,5<mass<10'; may be repeated",
    )
    parser.add_argument(
        "--compare",
        action="append",
        type=path,
        default=[],
        metavar="METRICS",
        help="show metrics.json of another validation in the same table; may be repeated",
    )
    parser.add_argument(
        "--quick", action="store_true", help="use 50 000 jets and one chunk of each dataset; takes under a minute"
    )
    parser.add_argument(
        "--max-jets", type=COUNT, metavar="N", help="maximum number of pairs (default: 500 000, with --quick 50 000)"
    )
    for name, what in (("gen", "gen pt"), ("raw", "reco pt before the detector's jet energy scale")):
        parser.add_argument(
            f"--{name}-pt-min", type=GEV, default=20.0, metavar="GEV", help=f"minimum {what} (default: %(default)s)"
        )
    parser.add_argument("--seed", type=SEED, default=1, help="random seed (default: %(default)s)")
    parser.add_argument("--threads", type=WORKERS, default=os.cpu_count(), help="threads for the judges (default: all)")
    parser.add_argument(
        "--spoil", choices=SPOILINGS, help="make the model wrong on purpose, to test whether the report notices"
    )
    add_figure_options(parser)
    parser.add_argument("--plots", action="store_true", help="write the figures as .png and .pdf as well")
    parser.add_argument(
        "--drop-invalid", action="store_true", help="drop gen jets with NaN, infinite, zero or negative pt"
    )
    add_radius_option(parser)
    add_output_option(parser, "DIR", "folder for the report and its metrics")
    parser.set_defaults(run=validate)


def validate(arguments: argparse.Namespace) -> None:
    """Compare a model with the true jets in files and write a report."""
    check_new(arguments.output, force=arguments.force)
    others = [metrics.read(file) for file in arguments.compare]
    emulator = bundle.load(arguments.model)
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    if arguments.quick:
        _cut_short(arguments, datasets)
    trained_on = _trained_on(emulator.card, datasets)
    if trained_on:
        _warn_of(trained_on)
    there = _in_files(arguments, emulator, datasets)
    with whole_folder(arguments.output) as folder, _Steps(emulator, len(datasets), arguments, there.particles) as steps:
        found, hists, events, seen = _measure(arguments, emulator, datasets, steps, there)
        if seen and not trained_on:
            _warn_of(seen)
        steps.begin("drawing figures")
        about = metrics.About(
            model=Path(arguments.model).name + (f", {arguments.spoil}" if arguments.spoil else ""),
            card=emulator.card,
            files={name: [source.path for source in sources] for name, sources in datasets.items()},
            events=events,
            trained_on=trained_on or seen,
        )
        content = metrics.metrics(found, about)
        shown = (*(FEW_HISTOGRAMS if arguments.quick else EVENT_HISTOGRAMS), *OBJECT_HISTOGRAMS * there.objects)
        parts = sections(
            found,
            title=about.model,
            hists=hists,
            shown=shown,
            labels={column.name: column.label for column in emulator.variables.columns},
            **captions(arguments, emulator.card, datasets, PT_MIN, ETA_MAX),
        )
        (folder / "report.html").write_text(report.render(content, parts, others), encoding="utf-8")
        write_json(content, folder / "metrics.json")
        if arguments.plots:
            for part in parts:
                named = {f"{part.key}{k}": figure for k, figure in enumerate(part.figures.values())}
                save_all(named, folder / "plots")
    _print_verdict(content, others)
    for name, why in content["left_out"].items():
        say(f"Left out     {name}: {why}")
    say(f"Report       {arguments.output / 'report.html'}")
    say(f"Metrics      {arguments.output / 'metrics.json'}")


class _InFiles(NamedTuple):
    """What the emulator draws besides four-momenta and all files have: columns, by name, objects, particles in jets."""

    columns: list[str]
    objects: bool
    particles: bool


def _in_files(arguments: argparse.Namespace, emulator: Emulator, datasets: Mapping[str, Sequence[Source]]) -> _InFiles:
    """Look in all files for what is compared; a spoilt model is not folded, so its objects and particles are not."""
    columns = [column.name for column in emulator.variables.columns]
    with_objects, with_particles = (
        model is not None and not arguments.spoil for model in (emulator.objects, emulator.particles)
    )
    if not (columns or with_objects or with_particles):
        return _InFiles([], objects=False, particles=False)
    branches = set.intersection(*(source.branches() for source in every(datasets)))  # that all files have
    with_columns = all({f"{arguments.reco}{dot}{name}" for dot in "_."} & branches for name in columns)
    # what whole events are drawn from, and all that is drawn
    known = all({"prompt", "missing"} <= {*source.context} for source in every(datasets))
    of_kinds = all(any(f"{kind.name}{dot}" in branches for dot in ("_pt", ".PT")) for kind in KINDS)
    missing = any(f"{name}{dot}" in branches for name in MISSING for dot in ("_pt", ".MET"))
    # the particles in gen jets, and those in reco jets
    inside = ((f"{name}_{OF_JET}" for name in of.constituents) for of in (Names.of(dict(arguments.names)), RECO))
    return _InFiles(
        columns if with_columns else [],
        objects=with_objects and known and of_kinds and missing,
        particles=with_particles and all(not branches.isdisjoint(names) for names in inside),
    )


def _measure(
    arguments: argparse.Namespace,
    emulator: Emulator,
    datasets: Mapping[str, Sequence[Source]],
    steps: _Steps,
    there: _InFiles,
) -> tuple[Validation, Any, dict[str, int], list[str]]:
    """Return the figures of a model, histograms of its fold (None for a spoilt one), and numbers of events.

    Also the datasets with jets of its training.
    """
    given = {name: getattr(arguments, name) for name in ("gen_pt_min", "raw_pt_min", "seed", "threads")}
    given |= QUICK if arguments.quick else {}
    given |= {} if arguments.max_jets is None else {"max_jets": arguments.max_jets}
    effort, folds = Effort(**given), None
    with open_executor(arguments) as executor:
        steps.begin("reading jets")
        pairs, unmatched = _pairs(arguments, emulator, datasets, executor, effort, there.columns)
        check_radii(arguments, datasets, pairs, emulator, "gen")
        if not arguments.spoil:
            steps.begin("folding events")
            folds = _fold(arguments, datasets, executor, there)
    if arguments.spoil:
        emulator = spoil(emulator, arguments.spoil, seed=effort.seed)
    names = sorted(datasets)  # pairs number the datasets in this order
    found = validate_pairs(
        emulator,
        pairs,
        effort=effort,
        boxes=arguments.select,
        datasets=names,
        any_radius=arguments.any_radius,
        step=steps.begin,
    )
    not_folded = "a spoilt model is not folded"
    if folds is None:
        found.left_out |= dict.fromkeys(("histograms of events", "judge of whole events"), not_folded)
    else:
        sample: EventsSample = folds["events"]
        first, second = sample.hists
        compare_spectra(found, first, second, datasets=list(datasets))
        steps.begin("judge of whole events")
        compare_events(found, sample.features, sample.overlapping, sample.totals)
        if "particles" in folds:
            steps.begin(PARTICLES)
            compare_particles(found, *folds["particles"])
    if emulator.particles is not None and not there.particles:
        missing = f"files: expected particles in {arguments.gen} and {arguments.reco}, found none"
        found.left_out[PARTICLES] = not_folded if arguments.spoil else missing
    if emulator.objects is not None and not there.objects:
        missing = "files: expected prompt particles, GenMET, and reconstructed objects and MET, found not all"
        found.left_out["electrons, muons, photons, missing momentum"] = not_folded if arguments.spoil else missing
    if pairs.y.shape[1] < len(emulator.variables.names):
        found.left_out["columns"] = f"files: expected all columns of the model in {arguments.reco}, found not all"
    n_events = np.bincount(unmatched.sample, minlength=len(names)).tolist()  # with --quick not all are read
    hists = folds and folds["events"].hists[0]
    return found, hists, dict(zip(names, n_events, strict=True)), _seen_in(emulator.card, pairs, names)


def _trainings(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of a card for its trainings, and for those of the bundles that it learnt from."""
    training = card.get("training") or {}
    before = [of for name in ("teacher", "pretrained") if name in training for of in _trainings(training[name])]
    return [training, *card.get("extended", []), card.get("refinement", {}), *before]


def _trained_on(card: Mapping[str, Any], datasets: Mapping[str, Sequence[Source]]) -> list[str]:
    """Return which files a model was trained on: by their ids, or by name for models without."""
    trainings = _trainings(card)
    uuids = {uuid for of in trainings for uuid in of.get("uuids", ())}
    names = {name for of in trainings if "uuids" not in of for files in of.get("files", {}).values() for name in files}
    return [source.path for source in every(datasets) if source.uuid in uuids or Path(source.path).name in names]


def _warn_of(trained_on: Sequence[str]) -> None:
    msg = f"coffea-iqn: warning: the model was trained on {', '.join(trained_on)}: the report does not show how it does"
    complain(f"{msg} on others")


def _seen_in(card: Mapping[str, Any], pairs: JetPairs, names: Sequence[str]) -> list[str]:
    """Return the datasets with jets that a model was trained on: copied or merged files have other ids."""
    known = [mark for of in _trainings(card) for mark in of.get("marks", ())]
    samples = np.unique(pairs.sample[np.isin(marks(pairs.x), np.array(known, dtype=np.uint64))])
    return [f"events of {names[sample]}" for sample in samples.tolist()]


def _cut_short(arguments: argparse.Namespace, datasets: dict[str, list[Source]]) -> None:
    """Keep the first files of each dataset, and limit the chunk size to the number of events wanted from it."""
    wanted = QUICK_EVENTS // len(datasets)
    arguments.chunksize = min(arguments.chunksize, wanted)
    for sources in datasets.values():
        before = np.cumsum([0] + [source.n_events for source in sources])[:-1]
        del sources[int((before < wanted).sum()) :]


def _pairs(
    arguments: argparse.Namespace,
    emulator: Emulator,
    datasets: Mapping[str, Sequence[Source]],
    executor: Any,
    effort: Effort,
    columns: Sequence[str],
) -> TrainingSample:
    jets = emulator.card["jets"]
    instance = PairsProcessor(
        gen=arguments.gen,
        reco=arguments.reco,
        radius=jets["radius"],
        cone=jets["cone"],
        pt_min=min(CELLS.pt[0], effort.gen_pt_min),
        names=dict(arguments.names),
        columns=columns,
        any_radius=True,  # checked after, with more that the files tell
    )
    branches = [f"{arguments.reco}_{name}" for name in instance.columns]
    sample: TrainingSample = _run(arguments, instance, datasets, executor, branches)
    return sample


class _OnePass(processor.ProcessorABC):  # type: ignore[misc]
    """Several processors, by name, that process the same chunks: each file is read once. Results are by name."""

    def __init__(self, processors: Mapping[str, processor.ProcessorABC]) -> None:
        self.processors = processors

    def process(self, events: ak.Array) -> dict[str, Any]:
        return {name: one.process(events) for name, one in self.processors.items()}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return {name: one.postprocess(accumulator[name]) for name, one in self.processors.items()}


def _fold(
    arguments: argparse.Namespace,
    datasets: Mapping[str, Sequence[Source]],
    executor: Any,
    there: _InFiles,
) -> dict[str, Any]:
    """Fold the files with two seeds, in one pass: the sample of whole events and, if asked for, the shapes of jets."""
    seed = arguments.seed
    options = {
        "gen": arguments.gen,
        "truth": arguments.reco,
        "invalid": "drop" if arguments.drop_invalid else "raise",
        "names": dict(arguments.names),
        "identity": identity_of(datasets),
        "any_radius": True,  # checked before
    }
    processors: dict[str, Any] = {
        "events": EventsProcessor(arguments.model, seed=seed, objects=there.objects, **options)
    }
    if there.particles:
        options["pt_min"] = arguments.gen_pt_min
        processors["particles"] = ShapesProcessor(arguments.model, seed=seed, **options)
    branches = (*OBJECT_BRANCHES * there.objects, *PARTICLE_BRANCHES * there.particles)
    return dict(_run(arguments, _OnePass(processors), datasets, executor, branches))


def _run(
    arguments: argparse.Namespace,
    instance: Any,
    datasets: Mapping[str, Sequence[Source]],
    executor: Any,
    branches: Sequence[str] = (),
) -> Any:
    return running.run(
        instance,
        datasets,
        executor,
        collections=[arguments.gen, arguments.reco],
        branches=branches,
        chunksize=arguments.chunksize,
        maxchunks=max(len(sources) for sources in datasets.values()) if arguments.quick else None,
        status=False,
        ignored=SAID,
    )


def _print_verdict(content: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    table = Table("figure of merit", content["model"]["name"], *(o["model"]["name"] for o in others), "null", "limit")
    for row in report.rows_of(content, others):
        cells = ["" if value is None else f"{_shown(value[1])}[/] {value[0]}" for value in row["values"]]
        table.add_row(row["line"]["title"], *cells, row["null"], row["limit"])
    console.print(table)
    decided = [line["passed"] for line in content["verdict"] if line["passed"] is not None]
    say(f"{sum(decided)} of {len(decided)} figures of merit pass, on {content['sample']['pairs']:,} pairs of jets")


def _shown(result: str) -> str:
    return SHOWN.get(result, f"[yellow]{result}:")


class _Steps(Bars):
    """A progress bar over the steps of a validation."""

    def __init__(
        self, emulator: Emulator, n_datasets: int, arguments: argparse.Namespace, with_particles: bool
    ) -> None:
        columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        super().__init__(*columns, arguments=arguments, at_once=False)
        total = N_STEPS_OF_EVENTS + with_particles + n_steps(emulator, n_datasets) + 1
        self.task = self.progress.add_task("", total=total)
        self.begun = 0

    def begin(self, name: str) -> None:
        """Begin the next step."""
        self.progress.update(self.task, description=name, completed=self.begun)
        self.begun += 1
        self.line(name)
