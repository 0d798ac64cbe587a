"""coffea-iqn validate: from files and a bundle to a closure report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from coffea_iqn import bundle, running
from coffea_iqn.closure import CELLS
from coffea_iqn.closure.regions import Box
from coffea_iqn.commands.common import SAID, add_file_options, captions, datasets_of, open_executor
from coffea_iqn.commands.options import add_figure_options, add_force_option, checked, path, text
from coffea_iqn.commands.terminal import Bars, console, say
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.constituents import OF_JET, PARTICLE_BRANCHES, RECO
from coffea_iqn.events.names import Names
from coffea_iqn.files.atomic import check_new, whole_folder
from coffea_iqn.files.inputs import Source
from coffea_iqn.files.output import write_json
from coffea_iqn.histograms.filling import ETA_MAX, PT_MIN
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import nearest_distance
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.plotting import Selection, save_all
from coffea_iqn.processors import EventsProcessor, IQNFoldProcessor, PairsProcessor, ShapesProcessor
from coffea_iqn.ranges import COUNT, GEV, SEED, WORKERS
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.validation import metrics, report
from coffea_iqn.validation.comparison import (
    N_STEPS,
    PARTICLES,
    QUICK,
    Effort,
    Validation,
    compare_events,
    compare_particles,
    compare_spectra,
)
from coffea_iqn.validation.comparison import validate as validate_pairs
from coffea_iqn.validation.distortions import spoil
from coffea_iqn.validation.report import EVENT_HISTOGRAMS, FEW_HISTOGRAMS, sections
from coffea_iqn.validation.verdict import BY_KEY, outcome
from coffea_iqn.variations import SPOILINGS

SHOWN = {"pass": "[green]pass", "fail": "[bold red]FAIL"}  # other outcomes by their names
QUICK_EVENTS = 60_000  # read for a quick look
N_READINGS = 5  # pairs, two folds, events, and their judge


EXAMPLES = """examples:
  coffea-iqn validate qcd=test_1.root qcd=test_2.root --model my-detector --output closure
  coffea-iqn validate test.root --quick --select "30<pt<35,abs(eta)<1" --output closure
  coffea-iqn validate test.root --compare other/metrics.json --output closure
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What validate understands."""
    add_file_options(parser)
    parser.add_argument(
        "--model", type=text, default="cms-delphes-ak4", help="a shipped bundle or a path (default: %(default)s)"
    )
    parser.add_argument("--reco", type=text, default="Jet", help="collection of true reco jets (default: %(default)s)")
    parser.add_argument(
        "--select",
        action="append",
        type=checked(Box.parse),
        default=[],
        metavar="BOX",
        help="spectra for gen jets of a region as well, such as '30<pt<35,abs(eta)<1,5<mass<10'; may be repeated",
    )
    parser.add_argument(
        "--compare",
        action="append",
        type=path,
        default=[],
        metavar="METRICS",
        help="metrics.json of another validation, to be shown beside; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="50 000 jets, one chunk of each dataset: under a minute")
    parser.add_argument(
        "--max-jets", type=COUNT, metavar="N", help="pairs looked at (default: 500 000, with --quick 50 000)"
    )
    for name, what in (("gen", "gen pt"), ("raw", "reco pt before the detector's scale")):
        parser.add_argument(
            f"--{name}-pt-min", type=GEV, default=20.0, metavar="GEV", help=f"least {what} (default: %(default)s)"
        )
    parser.add_argument("--seed", type=SEED, default=1, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--threads", type=WORKERS, default=os.cpu_count(), help="of the judges (default: all)")
    parser.add_argument(
        "--spoil", choices=SPOILINGS, help="make the model wrong on purpose, to see what the report finds of it"
    )
    add_figure_options(parser)
    parser.add_argument("--plots", action="store_true", help="write the figures as .png and .pdf as well")
    parser.add_argument(
        "--drop-invalid", action="store_true", help="drop gen jets with NaN, infinite, zero or negative pt"
    )
    parser.add_argument("--any-radius", action="store_true", help="take jets of another radius than the model's")
    parser.add_argument("--output", type=path, required=True, metavar="DIR", help="for the report, and its numbers")
    add_force_option(parser)
    parser.set_defaults(run=validate)


def validate(arguments: argparse.Namespace) -> None:
    """Measure a model on files and write a report."""
    check_new(arguments.output, force=arguments.force)
    others = [metrics.read(file) for file in arguments.compare]
    emulator = bundle.load(arguments.model)
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    if arguments.quick:
        _cut_short(arguments, datasets)
    effort = _effort(arguments)
    follows = emulator.particles is not None and not arguments.spoil and _tells_particles(arguments, datasets)
    with whole_folder(arguments.output) as folder, _Steps(len(datasets), arguments, follows=follows) as steps:
        with open_executor(arguments) as executor:
            steps.begin("reading jets")
            pairs = _pairs(arguments, emulator, datasets, executor, effort)
            if not arguments.any_radius:
                distances = radii.histogram(nearest_distance(pairs.context))
                radii.check(
                    emulator.card["jets"]["radius"], distances, bundle.shipped_radii(), collection=arguments.gen
                )
            folds = None if arguments.spoil else _folds(arguments, datasets, executor, steps, follows=follows)
        name = Path(arguments.model).name
        if arguments.spoil:
            emulator, name = spoil(emulator, arguments.spoil, seed=effort.seed), f"{name}, {arguments.spoil}"
        names = sorted(datasets)  # in this order the pairs number them
        found = validate_pairs(emulator, pairs, effort=effort, boxes=arguments.select, datasets=names, step=steps.begin)
        if folds is None:
            left_out = ("histograms of events", "judge of whole events")
            found.left_out |= dict.fromkeys(left_out, "a spoilt model is not folded")
        else:
            _compare_folds(found, folds, datasets, steps)
        if emulator.particles is not None and not follows:
            of = f"files: expected particles in {arguments.gen} and {arguments.reco}, found none"
            found.left_out[PARTICLES] = "a spoilt model is not folded" if arguments.spoil else of
        steps.begin("drawing figures")
        about = metrics.About(
            model=name,
            card=emulator.card,
            files={name: [source.path for source in sources] for name, sources in datasets.items()},
            events={name: sum(source.n_events for source in sources) for name, sources in datasets.items()},
        )
        if pairs.y.shape[1] < len(emulator.variables.names):
            found.left_out["columns"] = f"files: expected all that the model draws of {arguments.reco}, found not"
        content = metrics.metrics(found, about)
        shown = FEW_HISTOGRAMS if arguments.quick else EVENT_HISTOGRAMS
        parts = sections(
            found,
            title=about.model,
            hists=None if folds is None else folds.hists[0],
            shown=shown,
            selection=Selection.of(emulator.card["jets"], PT_MIN, ETA_MAX),
            labels={column.name: column.label for column in emulator.variables.columns},
            **captions(arguments, emulator.card, datasets),
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


def _cut_short(arguments: argparse.Namespace, datasets: dict[str, list[Source]]) -> None:
    """Keep of each dataset the first files, with chunks no larger than what is to be read of it."""
    wanted = QUICK_EVENTS // len(datasets)
    arguments.chunksize = min(arguments.chunksize, wanted)
    for sources in datasets.values():
        before = np.cumsum([0] + [source.n_events for source in sources])[:-1]
        del sources[int((before < wanted).sum()) :]


def _effort(arguments: argparse.Namespace) -> Effort:
    given: dict[str, Any] = dict(QUICK) if arguments.quick else {}
    if arguments.max_jets is not None:
        given["max_jets"] = arguments.max_jets
    return Effort(
        gen_pt_min=arguments.gen_pt_min,
        raw_pt_min=arguments.raw_pt_min,
        seed=arguments.seed,
        threads=arguments.threads,
        **given,
    )


def _pairs(
    arguments: argparse.Namespace,
    emulator: Emulator,
    datasets: Mapping[str, Sequence[Source]],
    executor: Any,
    effort: Effort,
) -> JetPairs:
    jets = emulator.card["jets"]
    instance = PairsProcessor(
        gen=arguments.gen,
        reco=arguments.reco,
        radius=jets["radius"],
        cone=jets["cone"],
        pt_min=min(CELLS.pt[0], effort.gen_pt_min),
        names=dict(arguments.names),
        columns=_columns(arguments, emulator, datasets),
    )
    branches = [f"{arguments.reco}_{name}" for name in instance.columns]
    pairs, _ = _run(arguments, instance, datasets, executor, branches)
    assert isinstance(pairs, JetPairs)
    return pairs


def _tells_particles(arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]]) -> bool:
    """Whether the files have the particles in gen jets, and those in reco jets."""
    there = _branches(datasets)
    return all(
        any(f"{name}_{OF_JET}" in there for name in names.constituents)
        for names in (Names.of(dict(arguments.names)), RECO)
    )


def _branches(datasets: Mapping[str, Sequence[Source]]) -> set[str]:
    """Names of branches that the first file has."""
    return {branch.rsplit("/", 1)[-1] for branch in next(iter(datasets.values()))[0].open().keys()}  # noqa: SIM118


def _columns(arguments: argparse.Namespace, emulator: Emulator, datasets: Mapping[str, Sequence[Source]]) -> list[str]:
    """The columns that the emulator draws, where the files have all of them."""
    there = _branches(datasets)
    names = [column.name for column in emulator.variables.columns]
    return names if all({f"{arguments.reco}{dot}{name}" for dot in "_."} & there for name in names) else []


def _collections(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Options that all folds of a validation share."""
    return {
        "gen": arguments.gen,
        "truth": arguments.reco,
        "seed": seed,
        "invalid": "drop" if arguments.drop_invalid else "raise",
        "names": dict(arguments.names),
        "any_radius": True,  # looked at before
    }


class _Folds(NamedTuple):
    """What folds of the files come to: histograms of two seeds, whole events, and jets of particles or None."""

    hists: tuple[dict[str, Any], dict[str, Any]]
    events: tuple[Floats, Floats, Floats]
    particles: tuple[Floats, Floats, Floats, Floats, float] | None


def _folds(
    arguments: argparse.Namespace,
    datasets: Mapping[str, Sequence[Source]],
    executor: Any,
    steps: _Steps,
    *,
    follows: bool,
) -> _Folds:
    """Fold the files, and the particles in their jets where these are followed."""
    seed = arguments.seed
    first, second = (_fold(arguments, datasets, executor, steps, one) for one in (seed, seed + 1))
    steps.begin("folding events, for the judge")
    options = _collections(arguments, seed)
    events = _run(arguments, EventsProcessor(arguments.model, **options), datasets, executor)
    particles = None
    if follows:
        steps.begin("folding particles")
        of_particles = ShapesProcessor(arguments.model, pt_min=arguments.gen_pt_min, **options)
        particles = _run(arguments, of_particles, datasets, executor, PARTICLE_BRANCHES)
    return _Folds((first, second), events, particles)


def _fold(
    arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], executor: Any, steps: _Steps, seed: int
) -> dict[str, Any]:
    """Histograms of the files."""
    steps.begin(f"folding events, seed {seed}")
    instance = IQNFoldProcessor(arguments.model, **_collections(arguments, seed))
    return dict(_run(arguments, instance, datasets, executor)["hists"])


def _compare_folds(found: Validation, folds: _Folds, datasets: Mapping[str, Sequence[Source]], steps: _Steps) -> None:
    """Add what the folds come to."""
    compare_spectra(found, *folds.hists, datasets=list(datasets))
    steps.begin("judge of whole events")
    compare_events(found, *folds.events)
    if folds.particles is not None:
        steps.begin(PARTICLES)
        compare_particles(found, *folds.particles)


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
    for line in content["verdict"]:
        check = BY_KEY[line["key"]]
        cells = []
        for side in (content, *others):
            one = metrics.line_of(side, check.key)
            text = "" if one is None else check.text(one["value"], one["uncertainty"])
            cells.append("" if one is None else f"{_shown(outcome(one))}[/] {text}")
        null = "" if line["null"] is None else check.text(**line["null"])
        table.add_row(line["title"], *cells, null, check.text(line["limit"]))
    console.print(table)
    decided = [line["passed"] for line in content["verdict"] if line["passed"] is not None]
    say(f"{sum(decided)} of {len(decided)} figures of merit pass, on {content['sample']['pairs']:,} pairs of jets")


def _shown(result: str) -> str:
    return SHOWN.get(result, f"[yellow]{result}:")


class _Steps(Bars):
    """A bar over the parts of the work."""

    def __init__(self, n_datasets: int, arguments: argparse.Namespace, *, follows: bool) -> None:
        columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        super().__init__(*columns, arguments=arguments, at_once=False)
        n_steps = N_READINGS + 2 * follows + N_STEPS + n_datasets * (n_datasets > 1) + 1
        self.task = self.progress.add_task("", total=n_steps)
        self.begun = 0

    def begin(self, name: str) -> None:
        """Say what comes next."""
        self.progress.update(self.task, description=name, completed=self.begun)
        self.begun += 1
        self.line(name)
