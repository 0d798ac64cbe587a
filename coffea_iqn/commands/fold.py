"""coffea-iqn fold: fold the gen jets of files and write histograms, a summary, figures and skims."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from coffea_iqn import bundle
from coffea_iqn.commands import chunks
from coffea_iqn.commands.common import (
    add_identity_option,
    check_identities,
    check_others,
    datasets_of,
    fitting_model,
    say_outside,
    warn_emulated,
)
from coffea_iqn.commands.options import add_device_option, add_radius_option, checked, text
from coffea_iqn.commands.terminal import console, fitting, say
from coffea_iqn.events.constituents import PARTICLE_BRANCHES
from coffea_iqn.events.objects import OBJECT_BRANCHES
from coffea_iqn.files.atomic import check_new, whole_folder
from coffea_iqn.files.inputs import every
from coffea_iqn.files.skims import branch_patterns
from coffea_iqn.folder.jets import REPLICAS, SEED
from coffea_iqn.iqn.device import find_device
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.running import Skipped
from coffea_iqn.variations import FOLDED, VARIATIONS, RequestedVariation

DEFAULT, OF_EVENTS, OF_PARTICLES = "cms-delphes-ak4", "cms-delphes-ak4-events", "cms-delphes-ak5-particles"
DEFAULT_TRUTH = "Jet"  # left out if the files have none; a requested collection must be there

EXAMPLES = """examples:
  coffea-iqn fold qcd=nano_1.root qcd=nano_2.root --output folded
  coffea-iqn fold "qcd=store/*.root" ttbar=list.txt --executor futures --workers 8 --output folded
  coffea-iqn fold fileset.json --executor dask --scheduler tcp://host:8786 --output folded
  coffea-iqn fold delphes.root --model cms-delphes-ak5 --output folded
  coffea-iqn fold nano.root --variations jes jer=0.05 eff --output folded
  coffea-iqn fold nano.root --skim root --as Jet --keep "GenJet_*" --output folded
  coffea-iqn fold nano.root --objects --output folded
  coffea-iqn fold pfnano.root --particles --skim root --output folded
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fold`."""
    chunks.add_options(
        parser,
        model=f"name of a shipped bundle, or path of a bundle (default: {DEFAULT}, or the shipped bundle of the jets' "
        f"radius; {OF_EVENTS} with --objects, {OF_PARTICLES} with --particles)",
    )
    add_identity_option(parser)
    add_radius_option(parser)
    parser.add_argument(
        "--truth",
        type=text,
        help="collection of true reco jets to compare with, or 'none' (default: Jet, if the files have it)",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of the quantile levels (default: %(default)s)")
    parser.add_argument(
        "--replicas", type=REPLICAS, default=1, metavar="K", help="draw each event K times (default: %(default)s)"
    )
    add_device_option(parser, "; jets agree up to rounding")
    parser.add_argument(
        "--no-acceptance", action="store_true", help="make exactly one reco jet for each gen jet, and no unmatched ones"
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="fold whole events, with electrons, muons, photons and missing momentum; the model must have them, and "
        "the files prompt leptons and photons and missing momentum at gen level (default: jets only)",
    )
    parser.add_argument(
        "--particles",
        action="store_true",
        help="make jets from reconstructed particles; the model must follow particles, and the files must have the "
        "particles in gen jets (GenJetCands) (default: jets only)",
    )
    parser.add_argument(
        "--refinement",
        choices=IQNFoldProcessor.REFINEMENTS,
        default="draw",
        help="for a refined model, draw from the refined law (draw) or from the unrefined one (off) "
        "(default: %(default)s)",
    )
    parser.add_argument("--no-unmatched", action="store_true", help="make no reco jets without a gen jet")
    parser.add_argument(
        "--variations",
        nargs="+",
        action="extend",
        type=checked(RequestedVariation.parse),
        default=[],
        metavar="NAME[=SIZE]",
        help="systematic variations, at the same quantile levels; give them after the files: "
        + "; ".join(f"{name.lower()}, {VARIATIONS[name].says}" for name in FOLDED)
        + " (default: none)",
    )
    skim = chunks.add_skim_options(parser, "emulated")
    skim.add_argument(
        "--as",
        dest="collection",
        type=text,
        metavar="NAME",
        help="name of the emulated jets in the skim; with Jet, existing analyses run unchanged (default: IQNJet)",
    )
    bad = parser.add_argument_group("handling of bad input")
    bad.add_argument(
        "--drop-invalid", action="store_true", help="drop and count gen jets with NaN, infinite, zero or negative pt"
    )
    bad.add_argument(
        "--skip-bad-files",
        action="store_true",
        help="skip files and chunks that cannot be read and list them in the summary (default: stop with an error)",
    )
    parser.set_defaults(run=fold)


def fold(arguments: argparse.Namespace) -> None:
    """Fold files and write histograms, summary, plots and skims."""
    check_new(arguments.output, force=arguments.force)
    if arguments.scheduler is None and arguments.device != "cpu":  # a scheduler's workers may have another device
        find_device(arguments.device)
    if arguments.model is not None:
        bundle.find(arguments.model)
    with chunks.replacing(arguments):
        _fold(arguments)


def _fold(arguments: argparse.Namespace) -> None:
    truth = str(arguments.truth or DEFAULT_TRUTH)
    truth = "" if truth.lower() == "none" else truth
    skim = chunks.skim_of(arguments, arguments.collection)
    skipped: list[Skipped] | None = [] if arguments.skip_bad_files else None
    datasets = datasets_of(arguments, [arguments.gen, *([truth] if truth and arguments.truth else [])], skipped)
    if truth:  # otherwise true jets of some files would be compared with a fold of all
        what, advice = f"a collection {truth}", "; --truth none leaves it out"
        chunks.check_all_or_none(datasets, what, lambda source: truth in source.jets, advice)
    if truth and not arguments.truth:  # otherwise it is among the collections
        warn_emulated(truth, datasets)
    check_identities(arguments, datasets, arguments.gen)
    default = OF_EVENTS if arguments.objects else OF_PARTICLES if arguments.particles else DEFAULT
    model = fitting_model(arguments, datasets, arguments.model or default, fixed=default != DEFAULT)
    if truth and not arguments.any_radius:
        check_others(datasets, truth, bundle.load(model).radius, "true")
    instance = IQNFoldProcessor(
        model,
        gen=arguments.gen,
        truth=truth or None,
        seed=arguments.seed,
        acceptance=not arguments.no_acceptance,
        unmatched=False if arguments.no_unmatched else None,
        replicas=arguments.replicas,
        device=arguments.device,
        invalid="drop" if arguments.drop_invalid else "raise",
        names=dict(arguments.names),
        any_radius=arguments.any_radius,
        identity=arguments.identity or "event",
        refinement=arguments.refinement,
        pt_min=arguments.pt_min,
        skim=skim,
        variations=arguments.variations,
        objects=arguments.objects,
        particles=arguments.particles,
    )
    collections = [arguments.gen] + ([truth] if truth else [])
    with whole_folder(arguments.output) as folder:
        true = (*OBJECT_BRANCHES * arguments.objects, *PARTICLE_BRANCHES * arguments.particles) if truth else ()
        patterns = [*branch_patterns(arguments.keep), *true]
        ran = chunks.run(arguments, instance, datasets, collections, branches=patterns, skipped=skipped)
        gen_jets, card = sum(flow["gen_jets"] for flow in ran.out["cutflow"].values()), instance.folder.card
        could_use = instance.folder.emulator.variables.context
        in_files = [set(source.context) for source in every(datasets)]
        about = {
            "model": model,
            "bundle_hash": instance.folder.hash,
            "objects": arguments.objects,
            "particles": arguments.particles,
            **instance.folder.settings,
            "context": [level for level in could_use if level in set.intersection(*in_files)],
            "skipped": [one._asdict() | {"events": one.n_events} for one in skipped or ()],
            "compile_seconds": round(ran.compile_seconds, 3),
            # unknown if some chunks were finished by an earlier run
            "gen_jets_per_second": None if ran.n_before else round(gen_jets / (ran.seconds - ran.compile_seconds), 1),
        }
        summary = chunks.finish(arguments, instance, card, about, datasets, ran, folder, figures="plot_all")
    _print_cutflow(summary)
    _print_footnotes(summary, card.get("domain"), could_use)
    if not any(source.has_weights for source in every(datasets)):
        say("Weights      none in the files: every event counts once")
    for one in skipped or ():
        where = "unknown number of events" if one.entries is None else f"events {one.entries[0]} to {one.entries[1]}"
        say(f"Skipped      {one.path}, {where}: {one.why}")
    say(f"Histograms   {arguments.output / 'histograms.root'}")
    say(f"Summary      {arguments.output / 'summary.json'}")
    if skim is not None:
        n_files = len(summary["skim"])
        say(f"Skim         {arguments.output / 'skim'}: {n_files:,} file{'s' * (n_files > 1)}")
    for plot in summary["plots"]:
        if plot.endswith(".png"):
            say(f"Plot         {arguments.output / 'plots' / plot}")


def _print_footnotes(summary: dict[str, Any], domain: dict[str, Any] | None, could_use: Sequence[str]) -> None:
    """Print jets outside of the domain, the context that was used, and the time for compiling."""
    say_outside(summary["datasets"].values(), domain, "gen", "folded")
    known = summary["context"]
    unknown = [level for level in could_use if level not in known]
    lacking = f" (not in all files: {', '.join(unknown)})" if unknown else ""
    say(f"Context      {', '.join(known) or 'none'}{lacking}")
    if summary["compile_seconds"] >= 1.0:
        say(f"Compiled     for {summary['compile_seconds']:.0f} s; only the first fold after an installation does")


def _print_cutflow(summary: dict[str, Any]) -> None:
    rate, alone = summary["gen_jets_per_second"], summary["executor"] == "iterative"
    said = ", including chunks finished by an earlier run" if rate is None else f" at {rate:,.0f} gen jets/s"
    started = "" if alone or rate is None else ", including the start of the workers"
    say(f"Folded with {summary['model']}{said}{started}")
    flows = summary["datasets"]
    rows = list({row: None for flow in flows.values() for row in flow})
    columns = {name: [_cell(flow.get(row)) for row in rows] for name, flow in flows.items()}
    for names in fitting({name: max(map(len, column)) for name, column in columns.items()}, max(map(len, rows))):
        table = Table()
        table.add_column("", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right", overflow="fold")
        for k, row in enumerate(rows):
            table.add_row(row.replace("_", " "), *(columns[name][k] for name in names))
        console.print(table)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
