"""coffea-iqn fold: from files to histograms, a summary and plots."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from coffea_iqn import running
from coffea_iqn.commands.common import console, datasets_of, errors, folding_quietly, open_executor, say, show_progress
from coffea_iqn.faults import Skipped
from coffea_iqn.output import versions, whole_folder, write_histograms, write_json
from coffea_iqn.plotting import plot_all, save_all
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.skims import Skim, branch_patterns


def fold(arguments: argparse.Namespace) -> None:
    """Fold files and write histograms, summary and plots."""
    truth = None if arguments.truth.lower() == "none" else arguments.truth
    checkpoints = arguments.output.with_name(arguments.output.name + ".chunks")
    skim = _skim(arguments, checkpoints)
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
        skim=skim,
    )
    skipped: list[Skipped] | None = [] if arguments.skip_bad_files else None
    datasets = datasets_of(arguments, [arguments.gen], skipped)
    collections = [arguments.gen] + ([truth] if truth else [])
    with whole_folder(arguments.output) as folder:
        started = time.perf_counter()
        # the table below says how many jets are outside, a line after it which context is used
        with folding_quietly(), open_executor(arguments) as executor:
            try:
                out = running.run(
                    instance,
                    datasets,
                    executor,
                    collections=collections,
                    branches=branch_patterns(arguments.keep),
                    chunksize=arguments.chunksize,
                    skipped=skipped,
                    checkpoints=checkpoints if arguments.checkpoints else None,
                    status=show_progress(arguments),
                )
            except BaseException:
                if not arguments.checkpoints:
                    shutil.rmtree(checkpoints, ignore_errors=True)
                _tell_what_is_kept(checkpoints)
                raise
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
            "skim": [f"skim/{Path(file).name}" for file in out["files"]],
            "skipped": [one._asdict() | {"events": one.n_events} for one in skipped or ()],
            "seconds": round(seconds, 3),
            "gen_jets_per_second": round(gen_jets / seconds, 1),
            "versions": versions(),
        }
        write_json(summary, folder / "summary.json")
        if skim is not None:
            (folder / "skim").mkdir()
            for file in out["files"]:
                Path(file).replace(folder / "skim" / Path(file).name)
            shutil.rmtree(arguments.output / "skim", ignore_errors=True)  # parts of another fold are none of this one's
    shutil.rmtree(checkpoints, ignore_errors=True)
    _print_cutflow(summary)
    unknown = [level for level in could_use if level not in summary["context"]]
    known = ", ".join(summary["context"]) or "none"
    lacking = f" (not in all files: {', '.join(unknown)})" if unknown else ""
    say(f"Context      {known}{lacking}")
    for one in skipped or ():
        where = "unknown number of events" if one.entries is None else f"events {one.entries[0]} to {one.entries[1]}"
        say(f"Skipped      {one.path}, {where}: {one.why}")
    say(f"Histograms   {arguments.output / 'histograms.root'}")
    say(f"Summary      {arguments.output / 'summary.json'}")
    if skim is not None:
        say(f"Skim         {arguments.output / 'skim'}: {len(out['files']):,} files")
    for plot in plots:
        if plot.suffix == ".png":
            say(f"Plot         {arguments.output / 'plots' / plot.name}")


def _skim(arguments: argparse.Namespace, folder: Path) -> Skim | None:
    """What is to be written of each chunk, into a folder that outlives an interruption."""
    if arguments.skim is None:
        for option, value in (("--keep", arguments.keep), ("--as", arguments.collection)):
            if value:
                msg = f"{option}: expected --skim root or --skim parquet with it, got neither"
                raise ValueError(msg)
        return None
    return Skim(folder / "skim", arguments.skim, arguments.collection or Skim.collection, arguments.keep)


def _tell_what_is_kept(checkpoints: Path) -> None:
    n_chunks = len(list(checkpoints.glob("*/*.coffea")))
    if n_chunks:
        errors.print(
            f"coffea-iqn: {n_chunks} finished chunks are kept in {checkpoints}: the same command goes on from there",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _print_cutflow(summary: dict[str, Any]) -> None:
    rate = f"{summary['gen_jets_per_second']:,.0f} gen jets/s"
    say(f"Folded with {summary['model']} at {rate}")
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
