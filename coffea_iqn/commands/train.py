"""coffea-iqn train: from files to a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coffea_iqn import bundle, running
from coffea_iqn.commands.common import add_file_options, datasets_of, device_name, open_executor
from coffea_iqn.commands.options import add_force_option, assignment, path, text
from coffea_iqn.commands.terminal import Bars, complain, say, show_progress
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.objects import JETS, MISSING
from coffea_iqn.events.constituents import B_TAG, PARTICLE_BRANCHES
from coffea_iqn.events.objects import OBJECT_BRANCHES
from coffea_iqn.files.atomic import at_work, check_new, unfinished
from coffea_iqn.files.inputs import Source
from coffea_iqn.files.output import versions
from coffea_iqn.iqn.device import find_device
from coffea_iqn.iqn.network import BOUNDED
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import WIDTHS, nearest_distance
from coffea_iqn.jets.features import ETA, INPUTS, PT, SCALES, VARIABLES
from coffea_iqn.jets.matching import default_cone
from coffea_iqn.jets.targets import TARGETS
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.processors import ObjectsProcessor, PairsProcessor, ParticlesProcessor
from coffea_iqn.ranges import CONE, ENERGY, ETA_EDGE, GEV, RADIUS, Range, check_choice
from coffea_iqn.training import emulators
from coffea_iqn.training.columns import extend
from coffea_iqn.training.distil import distil
from coffea_iqn.training.objects import RARE, with_objects
from coffea_iqn.training.optimise import Check
from coffea_iqn.training.pairs import JetPairs, ObjectsSample, ParticlesSample, TrainingSample, bootstrapped
from coffea_iqn.training.particles import with_particles
from coffea_iqn.training.recipes import HIDDEN, RANGES, RECIPES, SHARE, TrainingSettings
from coffea_iqn.training.thresholds import find_edge

ENSEMBLE = Range(least=2, most=100, whole=True)
BESIDE = ("objects", "particles")  # what may be learnt beside jets, their columns apart
AUTO, FOUND = "auto", "found in the data"
KNOWN_OF_RECO = ("neighbours", "event")  # levels of context that reco jets have; of these the first unless asked
PT_TRUSTED = 15.0  # GeV: below, the thresholds of usual samples sculpt the response


class Setting(NamedTuple):
    """A setting of a recipe that the command line may override: what it is, and what it may be if no number."""

    says: str
    choices: Iterable[str] | None = None
    default: str | None = None  # where it is not the recipe's own


SETTINGS = {
    "seed": Setting("of weights and batches"),
    "steps": Setting("at most, in each stage, of the jets' network; the others make a third or two of them"),
    "minutes": Setting("to train for in place of --steps, all networks together", default="as long as it takes"),
    "stages": Setting("each from the best state so far, at a tenth of the learning rate where the recipe says so"),
    "batch_size": Setting("jets a step"),
    "learning_rate": Setting("greatest, of the optimiser"),
    "weight_decay": Setting("of the optimiser"),
    "momentum": Setting("decay of the optimiser's mean gradient"),
    "patience": Setting("looks at the validation loss without improvement that end a stage"),
    "check_every": Setting("steps between looks at the validation loss"),
    "holdout": Setting("fraction of the events, or files, held out to validate on"),
    "inputs": Setting("what the networks see of a gen jet's four-momentum", INPUTS),
    "targets": Setting("what they draw of a reco jet", TARGETS),
    "scale": Setting("what the detector does to jets after its threshold", (AUTO, *SCALES), FOUND),
    "raw_pt_min": Setting("the detector's threshold on pt [GeV] before its scale, 0 for none", None, FOUND),
    "blind": Setting("probability that a jet is shown with some conditioning variables hidden, beyond the usual"),
}


EXAMPLES = """examples:
  coffea-iqn train qcd=delphes_1.root ttbar=delphes_2.root --radius 0.5 --output my-detector
  coffea-iqn train "qcd=delphes_*.root" --radius 0.5 --minutes 10 --output a-first-try
  coffea-iqn train "qcd=nano_*.root" --recipe paper-iqnx4 --output theirs
  coffea-iqn train "qcd=delphes_*.root" --radius 0.5 --direction correct --output my-correction
  coffea-iqn train nano.root --teacher my-detector --hidden 40 40 --output smaller
  coffea-iqn train nano.root --extend my-detector --columns btagDeepFlavB nConstituents --output with-b-tags
  coffea-iqn train nano.root --extend with-b-tags --objects --output whole-events
  coffea-iqn train pfnano.root --radius 0.5 --extend cms-delphes-ak5 --particles --gen-pt-min 130 --output particles

An interrupted training goes on with the same command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What train understands."""
    add_file_options(parser)
    parser.add_argument("--output", type=path, required=True, metavar="BUNDLE", help="the folder to write")
    add_force_option(parser)
    parser.add_argument(
        "--teacher", type=text, metavar="MODEL", help="learn smaller, faster networks from those of a bundle"
    )
    parser.add_argument(
        "--extend", type=text, metavar="MODEL", help="keep the jets of a bundle, and learn what is asked beside them"
    )
    parser.add_argument(
        "--columns",
        type=text,
        nargs="+",
        default=[],
        metavar="FIELD",
        help="fields of reco jets to draw beside the four-momentum, each given those before (default: none)",
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="learn electrons, muons, photons and missing momentum as well, for whole events (EventFolder)",
    )
    parser.add_argument(
        "--particles",
        action="store_true",
        help="learn what becomes of the particles in jets as well (ConstituentFolder), of files with GenJetCands and "
        "PFCands; --gen-pt-min well above the threshold of the reco jets in the files",
    )
    parser.add_argument(
        "--direction",
        choices=bundle.DIRECTIONS,
        default="fold",
        help="fold gen jets to reco jets, or correct reco jets to gen jets (default: %(default)s)",
    )
    parser.add_argument("--recipe", choices=RECIPES, default="default", help="default: %(default)s")
    parser.add_argument("--radius", type=RADIUS, default=0.4, help="of the jets (default: %(default)s)")
    parser.add_argument("--cone", type=CONE, help="matching distance (default: 0.25 for R = 0.4, 0.35 for 0.5)")
    parser.add_argument(
        "--energy", type=ENERGY, metavar="TEV", help="of the collisions: no jet has more than half of it"
    )
    parser.add_argument(
        "--eta-max", type=ETA_EDGE, metavar="ETA", help="edge of the detector (default: a little beyond its last jet)"
    )
    parser.add_argument(
        "--gen-pt-min",
        type=GEV,
        default=10.0,
        metavar="GEV",
        help="least pt of gen jets, or of the reco jets to correct (default: %(default)s)",
    )
    add_sample_options(parser)
    parser.add_argument("--detector", default="", help="a line for the card")
    parser.add_argument(
        "--ensemble",
        type=ENSEMBLE,
        default=0,
        metavar="N",
        help="train N members more, each on the events drawn anew (bootstrap), whose spread is the uncertainty of the "
        "training: fold --variations ens (default: none)",
    )
    settings = parser.add_argument_group("settings of the recipe", "Defaults are those of the recipe 'default'.")
    for name, setting in SETTINGS.items():
        default = setting.default or getattr(RECIPES["default"], name)
        settings.add_argument(
            f"--{name.replace('_', '-')}",
            type=RANGES.get(name, text),
            choices=setting.choices,
            metavar=None if setting.choices else "GEV" if name == "raw_pt_min" else name.upper(),
            help=f"{setting.says} (default: {default})",
        )
    settings.add_argument(
        "--hidden",
        type=HIDDEN,
        nargs="+",
        metavar="N",
        help="sizes of the hidden layers (default: 48 48, with --teacher 36 36, those of the paper for its recipes)",
    )
    settings.add_argument(
        "--context", nargs="*", choices=WIDTHS, help="levels to learn from (default: all the files have)"
    )
    parser.set_defaults(run=train)


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """What every training understands of its sample and where it runs."""
    parser.add_argument("--reco", type=text, default="Jet", help="collection of reco jets (default: %(default)s)")
    parser.add_argument(
        "--split",
        choices=("event", "file"),
        default="event",
        help="what stays together in the held-out part (default: %(default)s)",
    )
    parser.add_argument(
        "--share",
        action="append",
        type=share,
        default=[],
        metavar="DATASET=FRACTION",
        help="of a batch, one for every dataset (default: as many as it has jets)",
    )
    parser.add_argument(
        "--device",
        type=device_name,
        default="cpu",
        help="where to compute: cpu, cuda (a GPU), cuda:N, or auto for a GPU where there is one (default: %(default)s)",
    )
    parser.add_argument("--restart", action="store_true", help="forget an interrupted training")


def train(arguments: argparse.Namespace) -> None:
    """Train a bundle on files."""
    check_new(arguments.output, force=arguments.force)
    bundle.check_place(arguments.output)
    with at_work(arguments.output), kept(arguments) as checkpoint:
        _train(arguments, checkpoint)


def kept(arguments: argparse.Namespace) -> AbstractContextManager[Path]:
    """Where an unfinished training is as long as a block lasts, and after one that fails."""
    output: Path = arguments.output
    return unfinished(output.with_name(output.name + ".training"), restart=arguments.restart)


def _train(arguments: argparse.Namespace, checkpoint: Path) -> None:
    settings, device = _settings(arguments), find_device(arguments.device)
    direction = arguments.direction
    settings = _of_correction(settings) if direction == "correct" else settings
    start = _start(arguments)
    if start.base is not None:
        arguments.radius, arguments.cone = (start.base.card["jets"][name] for name in ("radius", "cone"))
    cone = default_cone(arguments.radius) if arguments.cone is None else arguments.cone
    pairs_of = PairsProcessor(
        gen=arguments.gen,
        reco=arguments.reco,
        radius=arguments.radius,
        cone=cone,
        direction=direction,
        pt_min=arguments.gen_pt_min,
        split=arguments.split,
        names=dict(arguments.names),
        columns=[*start.columns, *arguments.columns],
    )
    beam = None if arguments.energy is None else 500.0 * arguments.energy
    settings = replace(settings, cone=cone, abs_eta_max=arguments.eta_max, energy_max=beam)
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    if arguments.share:
        settings = replace(settings, shares=shares_of(dict(arguments.share), sorted(datasets)))
    sample = read_files(arguments, pairs_of, datasets, [f"{arguments.reco}_{name}" for name in pairs_of.columns])
    pairs, unmatched = sample
    n_unmatched = len(unmatched.near) + len(unmatched.far)
    x, y = ("gen", "reco") if direction == "fold" else ("reco", "gen")
    counts = f"{len(pairs.x):,} {x} jets, {pairs.matched.sum():,} with a {y} jet"
    say(f"{counts}; {n_unmatched:,} {y} jets without a {x} jet")
    if start.base is not None:
        radii.check(arguments.radius, radii.histogram(nearest_distance(pairs.context)), bundle.shipped_radii())
    elif start.teacher is None:
        settings = _with_edge(settings, arguments, sample)
    members = []
    try:
        with TrainingProgress(settings, arguments=arguments) as progress:
            options: dict[str, Any] = {"watch": progress.watch, "device": str(device)}
            learn = partial(_learn, start, arguments.columns, options)
            emulator = learn(sample, settings, checkpoint)
            if arguments.objects:
                objects = _objects(arguments, emulator, datasets, cone)
                emulator = with_objects(emulator, objects, settings, checkpoint=checkpoint / "objects", **options)
            if arguments.particles:
                particles = _particles(arguments, datasets, cone)
                where = checkpoint / "particles"
                emulator = with_particles(emulator, particles, settings, checkpoint=where, **options)
            for k in range(arguments.ensemble):
                progress.member = f"member {k + 1} of {arguments.ensemble}, "
                own = replace(settings, seed=settings.seed + 1 + k)
                members.append(learn(bootstrapped(sample, settings.seed, k), own, checkpoint / f"member{k}"))
    except KeyboardInterrupt:
        complain(f"coffea-iqn: stopped; the same command goes on from {checkpoint}")
        raise
    _save(arguments, (emulator, members), datasets, pairs, cone)


def _save(
    arguments: argparse.Namespace,
    made: tuple[Emulator, list[Emulator]],
    datasets: Mapping[str, Sequence[Source]],
    pairs: JetPairs,
    cone: float,
) -> None:
    """Write an emulator and the members of its ensemble, and say what was learnt."""
    emulator, members = made
    for one in (emulator, *members):
        _describe(one.card, arguments, datasets, pairs.x[pairs.matched], cone)
    digest = bundle.save(emulator, arguments.output, members)
    report, phase = emulator.card["training"], "quantiles"
    if arguments.extend is not None:
        report = emulator.card["extended"][-1]
        phase = next(reversed(report["validation_loss"]))
    x = "gen" if arguments.direction == "fold" else "reco"
    say(
        f"Bundle {arguments.output} ({digest[:12]}): {len(pairs.x):,} {x} jets, {report['minutes']} minutes, "
        f"validation loss {report['validation_loss'][phase]:.5f}" + (f", and {len(members)} members" if members else "")
    )


def read_files(
    arguments: argparse.Namespace, processor: Any, datasets: Mapping[str, Sequence[Source]], branches: Sequence[str]
) -> Any:
    """What a processor makes of the files.

    Raises
    ------
    ValueError: for a file that is there twice.
    """
    seen: dict[str, str] = {}
    for source in (source for sources in datasets.values() for source in sources):
        if source.uuid in seen:
            msg = f"files: expected each once, got {source.path} and {seen[source.uuid]}, which are one, or copies"
            raise ValueError(msg)
        seen[source.uuid] = source.path
    with open_executor(arguments) as executor:
        return running.run(
            processor,
            datasets,
            executor,
            collections=[arguments.gen, arguments.reco],
            branches=branches,
            chunksize=arguments.chunksize,
            status=show_progress(arguments),
        )


class _Start(NamedTuple):
    """What a training begins with: a bundle to learn from, one to extend, or neither."""

    teacher: Emulator | None
    base: Emulator | None

    @property
    def columns(self) -> list[str]:
        """Fields of reco jets that it draws beside the four-momentum."""
        before = self.teacher or self.base
        return [] if before is None else [column.name for column in before.variables.columns]


def _start(arguments: argparse.Namespace) -> _Start:
    """The bundles to begin with.

    Raises
    ------
    ValueError: for options that do not go together.
    """
    for name in ("teacher", "extend"):
        if arguments.ensemble and getattr(arguments, name) is not None:
            msg = f"ensemble: expected no --{name} with it, whose bundles share its jets, got one"
            raise ValueError(msg)
    beside = [*arguments.columns, *(name for name in BESIDE if getattr(arguments, name))]
    if arguments.extend is not None and (arguments.teacher is not None or not beside):
        asked = beside or "none"
        expected = "--columns, --objects or --particles, and no --teacher"
        msg = f"extend: expected {expected}, got {asked} and {arguments.teacher}"
        raise ValueError(msg)
    if arguments.direction == "correct" and beside:
        msg = f"direction correct: expected no --columns, --objects or --particles with it, got {beside[0]}"
        raise ValueError(msg)
    models = arguments.teacher, arguments.extend
    return _Start(*(model and bundle.load(model, direction=arguments.direction) for model in models))


def _learn(
    start: _Start,
    columns: Sequence[str],
    options: Mapping[str, Any],
    sample: TrainingSample,
    settings: TrainingSettings,
    checkpoint: Path,
) -> Emulator:
    """The emulator of a sample, and its columns after it."""
    if columns and start.base is None and settings.minutes is not None:
        settings = replace(settings, minutes=0.5 * settings.minutes)  # for either training
    (pairs, unmatched), emulator = sample, start.base
    before = pairs._replace(y=pairs.y[:, : len(VARIABLES) + len(start.columns)])
    if start.teacher is not None:
        emulator = distil(start.teacher, before, settings, checkpoint=checkpoint, **options)
    elif emulator is None:
        emulator = emulators.train(before, settings, unmatched, checkpoint=checkpoint, **options)
    if not columns:
        return emulator
    return extend(emulator, *sample, columns, settings, checkpoint=checkpoint / "columns", **options)


def _objects(
    arguments: argparse.Namespace, emulator: Emulator, datasets: Mapping[str, Sequence[Source]], cone: float
) -> ObjectsSample:
    """What the laws of objects are trained on."""
    samples = ObjectsProcessor(
        emulator.variables,
        cone=cone,
        gen=arguments.gen,
        reco=arguments.reco,
        pt_min=arguments.gen_pt_min,
        split=arguments.split,
        names=dict(arguments.names),
    )
    sample: ObjectsSample = read_files(arguments, samples, datasets, OBJECT_BRANCHES)
    for name, law in sample.laws.items():
        rare = (
            "" if len(law.source) >= RARE or name.endswith((JETS, MISSING)) else ": too rare to learn, none are drawn"
        )
        say(f"objects, {name}: {len(law.source):,} of {len(law.columns):,}{rare}")
    return sample


def _particles(arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], cone: float) -> ParticlesSample:
    """What the laws of particles in jets are trained on."""
    samples = ParticlesProcessor(
        radius=arguments.radius,
        cone=cone,
        gen=arguments.gen,
        reco=arguments.reco,
        pt_min=arguments.gen_pt_min,
        split=arguments.split,
        names=dict(arguments.names),
    )
    tags = [f"{arguments.reco}{dot}{name}" for dot in "_." for name in B_TAG]
    sample: ParticlesSample = read_files(arguments, samples, datasets, [*PARTICLE_BRANCHES, *tags])
    for name, law in sample.laws.items():
        say(f"particles, {name}: {len(law.source):,} of {len(law.columns):,}")
    return sample


def _describe(
    card: dict[str, Any],
    arguments: argparse.Namespace,
    datasets: Mapping[str, Sequence[Source]],
    x: Floats,
    cone: float,
) -> None:
    """What the card of a bundle says beside what its training does, from the jets that it was trained to take."""
    about = about_files(arguments, datasets)
    if "extended" in card:
        card["extended"][-1] |= about
    if arguments.extend is not None:
        return
    level = bundle.DIRECTIONS[arguments.direction]
    card.update(
        detector=arguments.detector,
        direction=arguments.direction,
        jets={"algorithm": "anti-kt", "radius": arguments.radius, "cone": cone},
        domain={
            f"{level}_pt": [max(PT_TRUSTED, arguments.gen_pt_min), float(f"{x[:, PT].max():.3g}")],
            f"{level}_abs_eta": [0.0, float(f"{np.abs(x[:, ETA]).max():.2g}")],
        },
    )
    if arguments.energy is not None:
        card["energy"] = arguments.energy  # TeV
    card["training"] |= about


def about_files(arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]]) -> dict[str, Any]:
    """What a card says of the files of a training, and of who did it."""
    return {
        "files": {name: [Path(s.path).name for s in sources] for name, sources in datasets.items()},
        "events": sum(s.n_events for sources in datasets.values() for s in sources),
        "gen_pt_min": arguments.gen_pt_min,
        "split": arguments.split,
        "versions": versions(),
    }


def _of_correction(settings: TrainingSettings) -> TrainingSettings:
    """The settings of a correction: data know of a reco jet but its neighbours, and gen jets have no jet scale.

    Raises
    ------
    ValueError: for settings that say otherwise.
    """
    if settings.context == TrainingSettings.context:
        settings = replace(settings, context=KNOWN_OF_RECO[:1])
    for level in settings.context:
        check_choice(KNOWN_OF_RECO, context=level)
    check_choice(("none",), scale=settings.scale)
    return replace(settings, unmatched=False)


def share(given: str) -> tuple[str, float]:
    """DATASET=FRACTION in two."""
    name, value = assignment(given)
    try:
        return name, SHARE(value)
    except argparse.ArgumentTypeError as error:
        msg = f"{error}, in {given!r}"
        raise argparse.ArgumentTypeError(msg) from None


class TrainingProgress(Bars):
    """A bar for each phase."""

    def __init__(self, settings: TrainingSettings, arguments: argparse.Namespace) -> None:
        self.settings = settings
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.5f}  best {task.fields[best]:.5f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        super().__init__(*columns, arguments=arguments)
        self.tasks: dict[str, Any] = {}
        self.member = ""  # of an ensemble, where one is trained

    def watch(self, check: Check) -> None:
        if self.visible:
            key = f"{self._name(check)} {check.stage}"
            if key not in self.tasks:
                self.tasks[key] = self.progress.add_task(self._name(check), total=1.0, loss=np.nan, best=np.nan)
            self.progress.update(self.tasks[key], completed=check.done, loss=check.loss, best=check.best)
        of = f"of {check.steps}" if check.steps else f"after {100.0 * check.done:.0f} % of its time"
        self.line(f"{self._name(check)}: step {check.step} {of}, loss {check.loss:.5f}, best {check.best:.5f}")

    def _name(self, check: Check) -> str:
        stages = self.settings.stages
        return self.member + (check.phase if stages == 1 else f"{check.phase}, stage {check.stage} of {stages}")


def shares_of(shares: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
    """The share of each dataset, in the order of names, in which `PairsProcessor` numbers them."""
    if sorted(shares) != list(names):
        msg = f"share: expected one for each of {', '.join(names)}, got {', '.join(sorted(shares))}"
        raise ValueError(msg)
    return tuple(shares[name] for name in names)


def _with_edge(settings: TrainingSettings, arguments: argparse.Namespace, sample: TrainingSample) -> TrainingSettings:
    """The settings with scale and threshold of the detector: those that were not given, found in its jets."""
    scale_given, threshold_given = arguments.scale not in (None, AUTO), arguments.raw_pt_min is not None
    # quantiles that may cross cannot be cut off: such a network learns the sample as it is
    if (scale_given and threshold_given) or settings.network not in BOUNDED:
        return settings
    pairs, unmatched = sample
    reco = np.concatenate([pairs.four_momenta[pairs.matched], unmatched.near[:, :4], unmatched.far[:, :4]])
    scale_known = scale_given or arguments.direction == "correct"
    edge = find_edge(reco, [settings.scale] if scale_known else None)
    if edge is None:
        say(
            f"scale {settings.scale}, threshold {settings.raw_pt_min:g} GeV: no sharp end of the reco jets found in "
            "the data; where the detector has a threshold, give it by --scale and --raw-pt-min"
        )
        return settings
    threshold = settings.raw_pt_min if threshold_given else edge.raw_pt_min
    found = f"scale {edge.scale}" if threshold_given else f"scale {edge.scale}, threshold {threshold:g} GeV"
    say(f"{found}: {FOUND}")
    return replace(settings, scale=edge.scale, raw_pt_min=threshold)


def given_settings(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Settings of these names, and sizes of hidden layers, that were given.

    Raises
    ------
    ValueError: for steps and minutes together.
    """
    if arguments.steps is not None and arguments.minutes is not None:
        msg = f"minutes: expected it or steps, got {arguments.minutes:g} minutes and {arguments.steps} steps"
        raise ValueError(msg)
    given = {name: value for name in names if (value := getattr(arguments, name)) not in (None, AUTO)}
    return given if arguments.hidden is None else given | {"hidden": tuple(arguments.hidden)}


def _settings(arguments: argparse.Namespace) -> TrainingSettings:
    given = given_settings(arguments, SETTINGS)
    if arguments.context is not None:
        given["context"] = tuple(arguments.context)
    return replace(RECIPES[arguments.recipe], **given)
