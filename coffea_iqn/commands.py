"""What the commands of coffea-iqn do, each from its arguments to files and a table."""

from __future__ import annotations

import argparse
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from coffea_iqn import bundle, running, training
from coffea_iqn.data import BUNDLES
from coffea_iqn.events import Names
from coffea_iqn.files import Source, inspect
from coffea_iqn.fitting import Check
from coffea_iqn.folder import MissingContextWarning, OutsideDomainWarning
from coffea_iqn.matching import default_cone
from coffea_iqn.output import versions, whole_folder, write_histograms, write_json
from coffea_iqn.plotting import plot_all, save_all
from coffea_iqn.processors import IQNFoldProcessor, PairsProcessor
from coffea_iqn.recipes import RECIPES, TrainingSettings

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

console = Console()
errors = Console(stderr=True)


def fold(arguments: argparse.Namespace) -> None:
    """Fold files and write histograms, summary and plots."""
    truth = None if arguments.truth.lower() == "none" else arguments.truth
    instance = IQNFoldProcessor(
        arguments.model,
        gen=arguments.gen,
        truth=truth,
        seed=arguments.seed,
        acceptance=not arguments.no_acceptance,
        unmatched=False if arguments.no_unmatched else None,
        replicas=arguments.replicas,
        invalid="drop" if arguments.drop_invalid else "raise",
        names=dict(arguments.names),
        pt_min=arguments.pt_min,
    )
    datasets = _datasets(arguments, [arguments.gen])
    collections = [arguments.gen] + ([truth] if truth else [])
    with whole_folder(arguments.output) as folder:
        started = time.perf_counter()
        with warnings.catch_warnings(), _executor(arguments) as executor:
            warnings.simplefilter("ignore", OutsideDomainWarning)  # the table below says how many
            warnings.simplefilter("ignore", MissingContextWarning)  # and the line above it what is used
            out = running.run(
                instance,
                datasets,
                executor,
                collections=collections,
                chunksize=arguments.chunksize,
                status=_show_progress(arguments),
            )
        seconds = time.perf_counter() - started
        write_histograms(out["hists"], folder / "histograms.root")
        plots: list[Path] = []
        for dataset in datasets if arguments.plots else ():
            prefix = f"{dataset}_" if len(datasets) > 1 else ""
            plots += save_all(plot_all(out["hists"], dataset=dataset), folder / "plots", stem_prefix=prefix)
        gen_jets = sum(flow["gen_jets"] for flow in out["cutflow"].values())
        could_use = instance.folder.emulator.variables.context
        in_files = [set(source.context) for sources in datasets.values() for source in sources]
        summary = {
            "model": arguments.model,
            "bundle_hash": instance.folder.hash,
            "seed": arguments.seed,
            "acceptance": instance.folder.acceptance,
            "unmatched": instance.folder.unmatched,
            "replicas": instance.folder.replicas,
            "context": [level for level in could_use if level in set.intersection(*in_files)],
            "files": {name: [s.path for s in sources] for name, sources in datasets.items()},
            "datasets": out["cutflow"],
            "seconds": round(seconds, 3),
            "gen_jets_per_second": round(gen_jets / seconds, 1),
            "versions": versions(),
        }
        write_json(summary, folder / "summary.json")
    _print_cutflow(summary)
    unknown = [level for level in could_use if level not in summary["context"]]
    known = ", ".join(summary["context"]) or "none"
    lacking = f" (not in all files: {', '.join(unknown)})" if unknown else ""
    console.print(f"Context      {known}{lacking}", highlight=False, soft_wrap=True)
    console.print(f"Histograms   {arguments.output / 'histograms.root'}", highlight=False, soft_wrap=True)
    console.print(f"Summary      {arguments.output / 'summary.json'}", highlight=False, soft_wrap=True)
    for plot in plots:
        if plot.suffix == ".png":
            console.print(f"Plot         {arguments.output / 'plots' / plot.name}", highlight=False, soft_wrap=True)


def _print_cutflow(summary: dict[str, Any]) -> None:
    rate = f"{summary['gen_jets_per_second']:,.0f} gen jets/s"
    console.print(f"Folded with {summary['model']} at {rate}", highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("")
    for dataset in summary["datasets"]:
        table.add_column(dataset, justify="right")
    rows: dict[str, None] = {}
    for flow in summary["datasets"].values():
        rows |= dict.fromkeys(flow)
    for row in rows:
        values = [flow.get(row) for flow in summary["datasets"].values()]
        table.add_row(
            row.replace("_", " "),
            *("" if v is None else f"{v:,.6g}" if isinstance(v, float) else f"{v:,}" for v in values),
        )
    console.print(table)


def train(arguments: argparse.Namespace) -> None:
    """Train a bundle on files."""
    settings = _settings(arguments)
    output: Path = arguments.output
    cone = default_cone(arguments.radius) if arguments.cone is None else arguments.cone
    datasets = _datasets(arguments, [arguments.gen, arguments.reco])
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
    with _executor(arguments) as executor:
        sample = running.run(
            pairs_of,
            datasets,
            executor,
            collections=[arguments.gen, arguments.reco],
            chunksize=arguments.chunksize,
            status=_show_progress(arguments),
        )
    pairs, unmatched = sample
    n_unmatched = len(unmatched.near) + len(unmatched.far)
    counts = f"{len(pairs.gen):,} gen jets, {pairs.matched.sum():,} with a reco jet"
    console.print(f"{counts}; {n_unmatched:,} reco jets without a gen jet", highlight=False, soft_wrap=True)
    if arguments.restart:
        shutil.rmtree(checkpoint, ignore_errors=True)
    try:
        with _TrainingProgress(settings, visible=_show_progress(arguments)) as progress:
            emulator = training.train(
                pairs, settings, unmatched, checkpoint=checkpoint, watch=progress.watch, device=arguments.device
            )
    except KeyboardInterrupt:
        errors.print(f"coffea-iqn: stopped; the same command goes on from {checkpoint}", markup=False, soft_wrap=True)
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
    console.print(
        f"Bundle {output} ({digest[:12]}): {report['pairs']:,} pairs, {report['minutes']} minutes, "
        f"validation loss {report['validation_loss']['quantiles']:.5f}",
        highlight=False,
        soft_wrap=True,
    )


class _TrainingProgress:
    """A bar for each phase on a terminal, now and then a line where there is none."""

    def __init__(self, settings: TrainingSettings, *, visible: bool) -> None:
        self.settings = settings
        self.visible = visible
        self.lines = 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.5f}  best {task.fields[best]:.5f}"),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=errors, disable=not visible)
        self.tasks: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def watch(self, check: Check) -> None:
        if self.visible:
            key = (check.phase, check.stage)
            if key not in self.tasks:
                name = f"{check.phase}, stage {check.stage} of {self.settings.stages}"
                self.tasks[key] = self.progress.add_task(name, total=check.steps, loss=np.nan, best=np.nan)
            self.progress.update(self.tasks[key], completed=check.step, loss=check.loss, best=check.best)
        elif time.monotonic() - self.lines > 30.0:
            self.lines = time.monotonic()
            where = f"{check.phase}: stage {check.stage}, step {check.step} of {check.steps}"
            errors.print(f"{where}, loss {check.loss:.5f}, best {check.best:.5f}", highlight=False)


def models(_: argparse.Namespace) -> None:
    """List the shipped bundles."""
    table = Table(title="Shipped bundles")
    table.add_column("name", no_wrap=True)
    for column in ("jets", "domain", "context it can use", "hash"):
        table.add_column(column)
    for name in BUNDLES:
        content = bundle.read_card(bundle.find(name))
        jets, domain = content["card"]["jets"], content["card"]["domain"]
        low, high = domain["gen_pt"]
        table.add_row(
            name,
            f"{jets['algorithm']}\nR = {jets['radius']}",
            f"gen pt {low:g} to {high:g} GeV\n|eta| below {domain['gen_abs_eta'][1]:g}",
            "\n".join(content["variables"]["context"]) or "none",
            content["hash"][:8],
        )
    console.print(table)


def _datasets(arguments: argparse.Namespace, collections: Sequence[str]) -> dict[str, list[Source]]:
    """FILES as inspected files by dataset: NAME=PATH, or the file's own name without its suffix."""
    datasets: dict[str, list[Source]] = {}
    names = Names.of(dict(arguments.names))
    for item in arguments.files:
        name, _, path = item.rpartition("=")
        source = inspect(path, tree=arguments.tree, collections=collections, names=names)
        name = name or arguments.dataset or Path(path).stem
        datasets.setdefault(name, []).append(source)
    return datasets


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


def _show_progress(arguments: argparse.Namespace) -> bool:
    return errors.is_terminal and not arguments.quiet


def _executor(arguments: argparse.Namespace) -> Any:
    return running.open_executor(
        arguments.executor,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        status=_show_progress(arguments),
    )
