"""What `train` and `refine` share: options, samples from files, checkpoints, progress."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coffea_iqn import bundle, running
from coffea_iqn.commands.common import check_radii, identity_of, open_executor
from coffea_iqn.commands.options import add_device_option, add_radius_option, add_reco_option, assignment, text
from coffea_iqn.commands.terminal import Bars, complain, show_progress
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.events.checks import BEGINS, ENOUGH, check_units, least_central
from coffea_iqn.files.atomic import at_work, check_new, unfinished
from coffea_iqn.files.inputs import Source, copies, every, first_jets
from coffea_iqn.files.output import versions
from coffea_iqn.jets.features import INPUTS, SCALES
from coffea_iqn.jets.targets import TARGETS
from coffea_iqn.ranges import expect
from coffea_iqn.training.pairs import JetPairs, check_pairs, least_marks
from coffea_iqn.training.recipes import RANGES, SHARE, TrainingSettings
from coffea_iqn.training.thresholds import beginnings, begins_higher, check_alike

if TYPE_CHECKING:
    from coffea_iqn.training.optimise import Check  # imports torch

AUTO, FOUND = "auto", "found in the data"
MOST_AGAIN = 1e-3  # fraction of jets that are there a second time, beyond which events are


class Setting(NamedTuple):
    """A training setting that the command line may override: help text, choices, default if not the recipe's own."""

    says: str
    choices: Iterable[str] | None = None
    default: str | None = None


SETTINGS = {
    "seed": Setting("seed of initial weights and batches"),
    "steps": Setting("most steps in each stage of the jet network; other networks get one or two thirds of them"),
    "minutes": Setting(
        "total training time of all networks, instead of a number of steps; every member of an ensemble takes as long "
        "again as the jets",
        default="no time limit",
    ),
    "stages": Setting(
        "number of stages; each starts from the best state so far, and in recipes of the paper with a "
        "tenth of the learning rate"
    ),
    "batch_size": Setting("jets per batch"),
    "learning_rate": Setting("highest learning rate of the optimiser"),
    "weight_decay": Setting("weight decay of the optimiser"),
    "momentum": Setting("decay of the optimiser's running mean of the gradient"),
    "patience": Setting("end a stage after this many checks of the validation loss without improvement"),
    "check_every": Setting("steps between checks of the validation loss"),
    "holdout": Setting("fraction of the events, or files, held out for validation"),
    "inputs": Setting("how the networks' inputs encode the four-momentum of the jet that is folded", INPUTS),
    "targets": Setting("how the networks' targets encode the four-momentum of the jet that is drawn", TARGETS),
    "scale": Setting("jet scale that the detector applies after its pt threshold", (AUTO, *SCALES), FOUND),
    "raw_pt_min": Setting("the detector's pt threshold before its jet scale, 0 for none", None, FOUND),
    "blind": Setting(
        "probability that conditioning variables of a jet are hidden at random, in addition to the usual hiding"
    ),
}


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the sample of a training and for where it runs."""
    add_reco_option(parser)
    parser.add_argument(
        "--split",
        choices=("event", "file"),
        default="event",
        help="hold out whole events or whole files for validation (default: %(default)s)",
    )
    parser.add_argument(
        "--share",
        action="append",
        type=share,
        default=[],
        metavar="DATASET=FRACTION",
        help="share of a dataset in each batch; give one for every dataset (default: proportional to its jets)",
    )
    add_device_option(parser)
    add_radius_option(parser)
    parser.add_argument(
        "--restart", action="store_true", help="discard the state of an interrupted training and start again"
    )


def add_setting_options(group: Any, settings: Mapping[str, Setting], recipe: TrainingSettings) -> None:
    """Add options for these settings to a group of a parser; their default values are those of a recipe."""
    for name, setting in settings.items():
        default = setting.default or getattr(recipe, name)
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=RANGES.get(name, text),
            choices=setting.choices,
            metavar=None if setting.choices else "GEV" if name == "raw_pt_min" else name.upper(),
            help=f"{setting.says} (default: {default})",
        )


def share(given: str) -> tuple[str, float]:
    """Split DATASET=FRACTION."""
    name, value = assignment(given)
    try:
        return name, SHARE(value)
    except argparse.ArgumentTypeError as error:
        msg = f"{error}, in {given!r}"
        raise argparse.ArgumentTypeError(msg) from None


def given_settings(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of these names, and the sizes of hidden layers, that were given as options.

    Raises
    ------
    ValueError: if both steps and minutes were given.
    """
    if arguments.steps is not None and arguments.minutes is not None:
        msg = f"minutes: expected minutes or steps, got {arguments.minutes:g} minutes and {arguments.steps} steps"
        raise ValueError(msg)
    given = {name: value for name in names if (value := getattr(arguments, name)) not in (None, AUTO)}
    return given if arguments.hidden is None else given | {"hidden": tuple(arguments.hidden)}


def with_shares(settings: TrainingSettings, arguments: argparse.Namespace, datasets: Iterable[str]) -> TrainingSettings:
    """Return the settings with the shares of the datasets in a batch, if given as options.

    Raises
    ------
    ValueError: if they were not given for exactly these datasets.
    """
    shares, names = dict(arguments.share), sorted(datasets)  # `PairsProcessor` numbers datasets in this order
    fits = not shares or sorted(shares) == names
    expect(fits, f"share: expected one for each of {', '.join(names)}, got {', '.join(sorted(shares))}")
    return replace(settings, shares=tuple(shares[name] for name in names)) if shares else settings


@contextmanager
def unfinished_training(arguments: argparse.Namespace) -> Iterator[Path]:
    """Lock the output of a training during a block, and keep its checkpoints after a block that fails.

    Raises
    ------
    FileExistsError: if there is something at the output that must not be replaced, or another process works there.
    """
    output: Path = arguments.output
    check_new(output, force=arguments.force)
    bundle.check_place(output)
    folder = output.with_name(output.name + ".training")
    with at_work(output), unfinished(folder, restart=arguments.restart) as checkpoint:
        yield checkpoint


def sample_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments that all processors of training samples share."""
    return {
        "gen": arguments.gen,
        "reco": arguments.reco,
        "pt_min": arguments.gen_pt_min,
        "split": arguments.split,
        "names": dict(arguments.names),
    }


def read_files(
    arguments: argparse.Namespace, processor: Any, datasets: Mapping[str, Sequence[Source]], branches: Sequence[str]
) -> Any:
    """Run a processor over the files and return its result; events of equal numbers in two files are told apart.

    Raises
    ------
    ValueError: if a file is given twice.
    """
    if (twice := copies(every(datasets))) is not None:
        msg = f"files: expected each once, got {twice[1]} and {twice[0]}, which are the same or copies"
        raise ValueError(msg)
    if processor.split == "event" and identity_of(datasets) == "file":
        processor.split = "event of file"
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


def check_sample(
    arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], pairs: JetPairs, base: Emulator | None
) -> None:
    """Check that every dataset has jets in GeV, and that they have the radius of the bundle to be made.

    base: the bundle whose radius it has; None if that is an option.

    Raises
    ------
    ValueError: if a dataset has none, or reco jets of other events; for pt in other units, files with different
        thresholds, or jets of another radius, unless --any-radius is given.
    """
    direction = getattr(arguments, "direction", "fold")
    level, names = bundle.DIRECTIONS[direction], sorted(datasets)  # pairs number the datasets in this order
    empty = [name for name, n in zip(names, np.bincount(pairs.sample, minlength=len(names)), strict=True) if not n]
    least = f"{level} jets above {arguments.gen_pt_min:g} GeV"
    expect(not empty, f"datasets: expected {least} in each, got none in {', '.join(empty)}")
    energy, other = arguments.energy if base is None else base.card.get("energy"), "reco" if level == "gen" else "gen"
    check_units(pairs.x, energy, f"{level} jets")
    check_units(pairs.y[pairs.matched], energy, f"{other} jets")
    n_again = len(pairs.x) - len(np.unique(np.ascontiguousarray(pairs.x).view("V16")))
    if n_again > MOST_AGAIN * len(pairs.x):
        same = f"{n_again:,} of {len(pairs.x):,} {level} jets are there a second time, as in copies of events"
        complain(f"coffea-iqn: warning: {same}: they count twice, and held-out jets are not independent")
    check_pairs(pairs, f"{arguments.gen} and {arguments.reco}", names)
    check_radii(arguments, datasets, pairs, base, level)
    _check_thresholds(arguments, datasets, base, level)
    if base is not None and getattr(arguments, "extend", None) and not (arguments.columns or arguments.overlaps):
        from coffea_iqn.training.run import warn_other_response  # imports torch

        warn_other_response(base, pairs)  # for objects and particles: other trainings have these pairs themselves


def _check_thresholds(
    arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], base: Emulator | None, level: str
) -> None:
    """Check that the first jets of all files begin alike, at both levels, of which level is that of the jets x."""
    given = getattr(arguments, "scale", None)
    scale = "none" if level == "reco" else given if base is None else base.variables.scale
    reco = {source.path: first_jets(source, arguments.reco).values for source in every(datasets)}
    edges = check_alike(reco, None if scale in {None, AUTO} else [scale])
    for path, jets in reco.items():
        begin = begins_higher(jets, edges[path])
        if begin:
            complain(
                f"coffea-iqn: warning: {path}: reco jets {begin}: a bundle has one threshold for all |eta|, so those "
                "between are drawn, and too few above; cut the others at the higher pt"
            )
    begins = {}
    for source in every(datasets):
        least, n, _ = least_central(first_jets(source, arguments.gen).values)
        begins[source.path] = max(least, arguments.gen_pt_min if level == "gen" else 0.0), n
    got = beginnings(begins, factor=BEGINS, enough=ENOUGH)
    expect(got is None, f"gen jets: expected one threshold in all files, found the lowest pt at {got}")


def warn_of_members(model: str) -> None:
    """Warn that the new bundle will not have the members of an ensemble, if the one to start from has any."""
    with suppress(bundle.BundleError):
        n = len(bundle.members(model))
        complain(f"coffea-iqn: warning: {model}: its {n} ensemble members are not changed with it, nor kept")


def about_files(
    arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]], pairs: JetPairs
) -> dict[str, Any]:
    """Return the entries of a card for the files of a training, its selection, and package versions."""
    return {
        "files": {name: [Path(s.path).name for s in sources] for name, sources in datasets.items()},
        "uuids": sorted(source.uuid for source in every(datasets)),
        "marks": least_marks(pairs.x),
        "events": sum(source.n_events for source in every(datasets)),
        "gen_pt_min": arguments.gen_pt_min,
        "split": arguments.split,
        "versions": versions(),
    }


class TrainingProgress(Bars):
    """A progress bar for each phase of a training, and a line that says on interruption how to continue."""

    def __init__(self, settings: TrainingSettings, arguments: argparse.Namespace, checkpoint: Path) -> None:
        self.settings, self.checkpoint = settings, checkpoint
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
        self.member = ""  # of an ensemble, if one is trained

    def __exit__(self, *error: object) -> None:
        super().__exit__()
        if error[0] is KeyboardInterrupt:
            complain(f"coffea-iqn: stopped; the same command continues from {self.checkpoint}")

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
