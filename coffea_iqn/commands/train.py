"""coffea-iqn train: from files to a bundle."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coffea_iqn import bundle, running, training
from coffea_iqn.commands.common import add_file_options, assignment, datasets_of, open_executor
from coffea_iqn.commands.terminal import Bars, complain, say, show_progress
from coffea_iqn.context import WIDTHS
from coffea_iqn.distilling import distil
from coffea_iqn.fitting import Check
from coffea_iqn.matching import default_cone
from coffea_iqn.output import versions
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.recipes import RECIPES, TrainingSettings
from coffea_iqn.resident import find_device

GEN_PT_TRUSTED = 15.0  # GeV: below, the thresholds of usual samples sculpt the response

# settings of a recipe that the command line may override
SETTINGS = {
    "seed": int,
    "steps": int,
    "stages": int,
    "batch_size": int,
    "learning_rate": float,
    "weight_decay": float,
    "patience": int,
    "check_every": int,
    "holdout": float,
    "inputs": str,
    "targets": str,
    "scale": str,
    "raw_pt_min": float,
    "blind": float,
}


EXAMPLES = """examples:
  coffea-iqn train qcd=delphes_1.root ttbar=delphes_2.root --radius 0.5 --output my-detector
  coffea-iqn train "nano_*.root" --recipe paper-iqnx4 --output theirs
  coffea-iqn train nano.root --teacher my-detector --hidden 40 40 --output smaller

An interrupted training goes on with the same command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What train understands."""
    add_file_options(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--teacher", metavar="MODEL", help="learn smaller, faster networks from those of a bundle")
    parser.add_argument("--recipe", choices=RECIPES, default="default", help="default: %(default)s")
    parser.add_argument("--reco", default="Jet", help="collection of reco jets (default: %(default)s)")
    parser.add_argument("--radius", type=float, default=0.4, help="of the jets (default: %(default)s)")
    parser.add_argument("--cone", type=float, help="matching distance (default: 0.25 for R = 0.4, 0.35 for 0.5)")
    parser.add_argument("--gen-pt-min", type=float, default=10.0, metavar="GEV", help="default: %(default)s")
    parser.add_argument(
        "--split",
        choices=("event", "file"),
        default="event",
        help="what stays together in the held-out part (default: %(default)s)",
    )
    parser.add_argument("--detector", default="", help="a line for the card")
    parser.add_argument(
        "--share",
        action="append",
        type=_share,
        default=[],
        metavar="DATASET=FRACTION",
        help="of a batch, one for every dataset (default: as many as it has jets)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="where to compute: cpu, cuda (a GPU), cuda:N, or auto for a GPU where there is one (default: %(default)s)",
    )
    parser.add_argument("--restart", action="store_true", help="forget an interrupted training")
    settings = parser.add_argument_group("settings of the recipe")
    for name, kind in SETTINGS.items():
        settings.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=name.upper())
    settings.add_argument("--hidden", type=int, nargs="+", metavar="N", help="sizes of the hidden layers")
    settings.add_argument(
        "--context", nargs="*", choices=WIDTHS, help="levels to learn from (default: all the files have)"
    )
    parser.set_defaults(run=train)


def train(arguments: argparse.Namespace) -> None:
    """Train a bundle on files."""
    settings, device = _settings(arguments), find_device(arguments.device)
    teacher = None if arguments.teacher is None else bundle.load(arguments.teacher)
    output: Path = arguments.output
    cone = default_cone(arguments.radius) if arguments.cone is None else arguments.cone
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    if arguments.share:
        settings = replace(settings, shares=_shares(dict(arguments.share), sorted(datasets)))
    checkpoint = output.with_name(output.name + ".training")
    pairs_of = PairsProcessor(
        gen=arguments.gen,
        reco=arguments.reco,
        radius=arguments.radius,
        cone=cone,
        gen_pt_min=arguments.gen_pt_min,
        split=arguments.split,
        names=dict(arguments.names),
    )
    with open_executor(arguments) as executor:
        sample = running.run(
            pairs_of,
            datasets,
            executor,
            collections=[arguments.gen, arguments.reco],
            chunksize=arguments.chunksize,
            status=show_progress(arguments),
        )
    pairs, unmatched = sample
    n_unmatched = len(unmatched.near) + len(unmatched.far)
    counts = f"{len(pairs.gen):,} gen jets, {pairs.matched.sum():,} with a reco jet"
    say(f"{counts}; {n_unmatched:,} reco jets without a gen jet")
    if arguments.restart:
        shutil.rmtree(checkpoint, ignore_errors=True)
    try:
        with _TrainingProgress(settings, arguments=arguments) as progress:
            if teacher is None:
                emulator = training.train(
                    pairs, settings, unmatched, checkpoint=checkpoint, watch=progress.watch, device=str(device)
                )
            else:
                emulator = distil(teacher, pairs, settings, checkpoint=checkpoint, watch=progress.watch)
    except KeyboardInterrupt:
        complain(f"coffea-iqn: stopped; the same command goes on from {checkpoint}")
        raise
    pt, abs_eta = pairs.gen[pairs.matched, 0], np.abs(pairs.gen[pairs.matched, 1])
    emulator.card.update(
        detector=arguments.detector,
        jets={"algorithm": "anti-kt", "radius": arguments.radius, "cone": cone},
        domain={
            "gen_pt": [max(GEN_PT_TRUSTED, arguments.gen_pt_min), float(f"{pt.max():.3g}")],
            "gen_abs_eta": [0.0, float(f"{abs_eta.max():.2g}")],
        },
    )
    emulator.card["training"] |= {
        "files": {name: [Path(s.path).name for s in sources] for name, sources in datasets.items()},
        "events": sum(s.n_events for sources in datasets.values() for s in sources),
        "gen_pt_min": arguments.gen_pt_min,
        "split": arguments.split,
        "versions": versions(),
    }
    digest = bundle.save(emulator, output)
    shutil.rmtree(checkpoint)
    report = emulator.card["training"]
    say(
        f"Bundle {output} ({digest[:12]}): {report['gen_jets']:,} gen jets, {report['minutes']} minutes, "
        f"validation loss {report['validation_loss']['quantiles']:.5f}"
    )


def _share(text: str) -> tuple[str, float]:
    """DATASET=FRACTION in two."""
    name, value = assignment(text)
    try:
        return name, float(value)
    except ValueError:
        msg = f"expected DATASET=FRACTION, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


class _TrainingProgress(Bars):
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
        self.tasks: dict[tuple[str, int], Any] = {}

    def watch(self, check: Check) -> None:
        if self.visible:
            key = (check.phase, check.stage)
            if key not in self.tasks:
                name = f"{check.phase}, stage {check.stage} of {self.settings.stages}"
                self.tasks[key] = self.progress.add_task(name, total=check.steps, loss=np.nan, best=np.nan)
            self.progress.update(self.tasks[key], completed=check.step, loss=check.loss, best=check.best)
        where = f"{check.phase}: stage {check.stage}, step {check.step} of {check.steps}"
        self.line(f"{where}, loss {check.loss:.5f}, best {check.best:.5f}")


def _shares(shares: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
    """The share of each dataset, in the order of names, in which `PairsProcessor` numbers them."""
    if sorted(shares) != list(names):
        msg = f"share: expected one for each of {', '.join(names)}, got {', '.join(sorted(shares))}"
        raise ValueError(msg)
    return tuple(shares[name] for name in names)


def _settings(arguments: argparse.Namespace) -> TrainingSettings:
    given = {name: value for name in SETTINGS if (value := getattr(arguments, name)) is not None}
    given |= {name: tuple(value) for name in ("context", "hidden") if (value := getattr(arguments, name)) is not None}
    return replace(RECIPES[arguments.recipe], **given)
