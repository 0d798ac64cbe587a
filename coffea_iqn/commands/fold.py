"""coffea-iqn fold: from files to histograms, a summary and plots."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from coffea_iqn import bundle
from coffea_iqn.commands import chunks
from coffea_iqn.commands.common import add_file_options, captions, datasets_of, device_name
from coffea_iqn.commands.options import checked, text
from coffea_iqn.commands.terminal import console, fitting, say
from coffea_iqn.events import identity
from coffea_iqn.events.constituents import PARTICLE_BRANCHES
from coffea_iqn.events.objects import OBJECT_BRANCHES
from coffea_iqn.files.atomic import at_work, check_new, plain_names, whole_folder
from coffea_iqn.files.inputs import Source, equal_events, first_jets
from coffea_iqn.files.output import versions, write_json
from coffea_iqn.files.skims import branch_patterns
from coffea_iqn.folder.jets import REPLICAS, SEED
from coffea_iqn.histograms.root import write_histograms
from coffea_iqn.iqn.device import find_device
from coffea_iqn.jets import radii
from coffea_iqn.plotting import Selection, plot_all, save_all
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.running import Skipped
from coffea_iqn.variations import FOLDED, VARIATIONS, RequestedVariation

DEFAULT, WHOLE, OF_PARTICLES = "cms-delphes-ak4", "cms-delphes-ak4-events", "cms-delphes-ak5-particles"
DEFAULT_TRUTH = "Jet"  # left out where the files have none; one that was asked for is not

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
    """What fold understands."""
    add_file_options(parser)
    chunks.add_output_options(parser)
    parser.add_argument(
        "--model",
        type=text,
        help=f"a shipped bundle or a path (default: {DEFAULT}, with --objects {WHOLE}, with --particles "
        f"{OF_PARTICLES}, or the shipped bundle of the jets' radius)",
    )
    parser.add_argument(
        "--identity",
        choices=identity.KINDS,
        help="know events by run, luminosityBlock and event, or by their file as well, for files of a dataset that "
        "number their events alike (default: event, and an error where files do)",
    )
    parser.add_argument("--any-radius", action="store_true", help="fold jets of another radius than the model's")
    parser.add_argument(
        "--truth",
        type=text,
        help="collection of true reco jets to compare with, or 'none' (default: Jet, where the files have it)",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="of the quantile levels (default: %(default)s)")
    parser.add_argument(
        "--replicas", type=REPLICAS, default=1, metavar="K", help="draw each event K times (default: %(default)s)"
    )
    parser.add_argument(
        "--device",
        type=device_name,
        default="cpu",
        help="where the network is: cpu, cuda (a GPU), cuda:N, or auto for a GPU where there is one; jets are the same "
        "but for rounding (default: %(default)s)",
    )
    parser.add_argument("--no-acceptance", action="store_true", help="one reco jet for every gen jet, and no others")
    parser.add_argument(
        "--objects",
        action="store_true",
        help="fold whole events: electrons, muons, photons and missing momentum as well, with a model that has them, "
        "of files that tell prompt leptons and photons and missing momentum at gen level (default: jets alone)",
    )
    parser.add_argument(
        "--particles",
        action="store_true",
        help="make jets of particles, with a model that follows them, of files that tell the particles in gen jets "
        "(GenJetCands) (default: jets alone)",
    )
    parser.add_argument(
        "--refinement",
        choices=IQNFoldProcessor.REFINEMENTS,
        default="draw",
        help="of a model that was refined, draw from the refined law, or as before (default: %(default)s)",
    )
    parser.add_argument("--no-unmatched", action="store_true", help="no reco jets but those of gen jets")
    parser.add_argument(
        "--variations",
        nargs="+",
        type=checked(RequestedVariation.parse),
        default=[],
        metavar="NAME[=SIZE]",
        help="systematic variations at the same quantile levels, after the files: "
        + "; ".join(f"{name.lower()}, {VARIATIONS[name].says}" for name in FOLDED)
        + " (default: none)",
    )
    skim = chunks.add_skim_options(parser, "emulated")
    skim.add_argument(
        "--as",
        dest="collection",
        type=text,
        metavar="NAME",
        help="name of the emulated jets in the skim: Jet for analyses as they are (default: IQNJet)",
    )
    bad = parser.add_argument_group("what is wrong with the input, or goes wrong")
    bad.add_argument(
        "--drop-invalid", action="store_true", help="drop and count gen jets with NaN, infinite, zero or negative pt"
    )
    bad.add_argument(
        "--skip-bad-files",
        action="store_true",
        help="go on without what cannot be read, and list it in the summary (default: stop and name it)",
    )
    parser.set_defaults(run=fold)


def fold(arguments: argparse.Namespace) -> None:
    """Fold files and write histograms, summary and plots."""
    check_new(arguments.output, force=arguments.force)
    _check_here(arguments)
    with at_work(arguments.output), chunks.kept(arguments):
        before = _plots_of(arguments.output)
        _fold(arguments)
        for plot in before - _plots_of(arguments.output):  # of other datasets or axes: none of this fold's
            plot.unlink(missing_ok=True)


def _plots_of(output: Path) -> set[Path]:
    """The figures that the fold of a folder drew, and no other file that is there."""
    try:
        names = json.loads((output / "summary.json").read_text())["plots"]
        return {output / "plots" / Path(str(name)).name for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _fold(arguments: argparse.Namespace) -> None:
    truth = _truth(arguments)
    skim = chunks.skim_of(arguments, arguments.collection)
    skipped: list[Skipped] | None = [] if arguments.skip_bad_files else None
    datasets = datasets_of(arguments, [arguments.gen, *([truth] if truth and arguments.truth else [])], skipped)
    _check_truth(truth, datasets)
    _check_identities(arguments, datasets)
    model = _model(arguments, datasets)
    instance = IQNFoldProcessor(
        model,
        gen=arguments.gen,
        truth=truth,
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
        out, seconds, compiled, n_before = chunks.run(
            arguments, instance, datasets, collections, branches=patterns, skipped=skipped
        )
        write_histograms(out["hists"], folder / "histograms.root")
        plots = _draw(arguments, instance, datasets, out["hists"], folder / "plots") if arguments.plots else []
        gen_jets = sum(flow["gen_jets"] for flow in out["cutflow"].values())
        could_use = instance.folder.emulator.variables.context
        in_files = [set(source.context) for sources in datasets.values() for source in sources]
        summary = {
            "model": model,
            "bundle_hash": instance.folder.hash,
            "objects": arguments.objects,
            "particles": arguments.particles,
            **instance.folder.settings,
            "context": [level for level in could_use if level in set.intersection(*in_files)],
            "files": {name: [s.path for s in sources] for name, sources in datasets.items()},
            "datasets": out["cutflow"],
            "plots": [plot.name for plot in plots],
            "skim": [f"skim/{Path(file).name}" for file in out["files"]],
            "skipped": [one._asdict() | {"events": one.n_events} for one in skipped or ()],
            "executor": arguments.executor,
            "seconds": round(seconds, 3),
            "compile_seconds": round(compiled, 3),
            # chunks that were there before took no time of this fold
            "gen_jets_per_second": None if n_before else round(gen_jets / (seconds - compiled), 1),
            "versions": versions(),
        }
        write_json(summary, folder / "summary.json")
        if skim is not None:
            chunks.keep_skim(out["files"], folder, arguments.output)
    _print_cutflow(summary)
    _print_footnotes(summary, instance.folder.card.get("domain"), could_use)
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


def _truth(arguments: argparse.Namespace) -> str | None:
    """The collection to compare with; None for no comparison."""
    name = str(arguments.truth or DEFAULT_TRUTH)
    return None if name.lower() == "none" else name


def _check_truth(truth: str | None, datasets: Mapping[str, Sequence[Source]]) -> None:
    """True jets of some files would be compared with the emulated jets of all."""
    if truth:
        what, advice = f"a collection {truth}", "; --truth none leaves it out"
        chunks.check_all_or_none(datasets, what, lambda source: truth in source.jets, advice)


def _check_here(arguments: argparse.Namespace) -> None:
    """Device and model, before any file is read."""
    if arguments.scheduler is None:  # whose workers are elsewhere, and may have what is not here
        find_device(arguments.device)
    if arguments.model is not None:
        bundle.find(arguments.model)


def _check_identities(arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]]) -> None:
    """Events that are numbered alike would draw equal levels, and scatter together."""
    for name, sources in datasets.items() if arguments.identity is None else ():
        found = equal_events(sources)
        if found is not None:
            one, other, n = found
            msg = (
                f"{name}: expected events of their own in each file, got {n} of equal run, luminosityBlock and event "
                f"in {one.path} and {other.path}: --identity file tells them apart, --identity event leaves them equal"
            )
            raise ValueError(msg)


def _model(arguments: argparse.Namespace, datasets: Mapping[str, Sequence[Source]]) -> str:
    """The model that is asked for, or the shipped one that is right; looks at the first jets of every file.

    Raises
    ------
    ValueError: for jets of another radius, unless told to take them; names the file.
    """
    default = WHOLE if arguments.objects else OF_PARTICLES if arguments.particles else DEFAULT
    model, shipped = arguments.model or default, bundle.shipped_radii()
    if arguments.any_radius:
        return model
    radius = bundle.load(model).card.get("jets", {}).get("radius")
    for name, look in {s.path: partial(first_jets, s, arguments.gen) for f in datasets.values() for s in f}.items():
        if radius is None:
            break
        distances, width = look()
        known: dict[str, Any] = {"collection": arguments.gen, "width": width}
        why = radii.objection(radius, distances, **known)
        right = radii.fitting(shipped, distances, **known)
        is_one = len({shipped[name] for name in right}) == 1
        if why is not None and arguments.model is None and model == DEFAULT and is_one:
            model, radius = right[0], shipped[right[0]]
            say(f"Model        {model}, for the jets are none of the radius of {DEFAULT}: {why}")
            continue
        try:
            radii.check(radius, distances, shipped, **known)
        except ValueError as error:
            msg = f"{name}: {error}"
            raise ValueError(msg) from None
    return model


def _draw(
    arguments: argparse.Namespace,
    instance: IQNFoldProcessor,
    datasets: Mapping[str, Sequence[Source]],
    hists: Mapping[str, Any],
    folder: Path,
) -> list[Path]:
    """The files of all figures."""
    card, names = instance.folder.card, plain_names(datasets)
    shown = captions(arguments, card, datasets)
    shown["selection"] = Selection.of(card.get("jets", {}), instance.pt_min, instance.eta_max)
    paths: list[Path] = []
    for dataset in datasets:
        prefix = f"{names[dataset]}_" if len(datasets) > 1 else ""
        paths += save_all(plot_all(hists, dataset=dataset, **shown), folder, stem_prefix=prefix)
    return paths


def _print_footnotes(summary: dict[str, Any], domain: dict[str, Any] | None, could_use: Sequence[str]) -> None:
    """What the folder warns of, and how long functions were compiled."""
    gen_jets, outside = (
        sum(flow[key] for flow in summary["datasets"].values()) for key in ("gen_jets", "outside_domain")
    )
    if outside and domain:
        low, high = domain["gen_pt"]
        where = f"gen pt {low:g} to {high:g} GeV, |eta| below {domain['gen_abs_eta'][1]:g}"
        say(f"Domain       {outside:,} of {gen_jets:,} gen jets are outside ({where}): folded all the same")
    known = summary["context"]
    unknown = [level for level in could_use if level not in known]
    lacking = f" (not in all files: {', '.join(unknown)})" if unknown else ""
    say(f"Context      {', '.join(known) or 'none'}{lacking}")
    if summary["compile_seconds"] >= 1.0:
        say(f"Compiled     for {summary['compile_seconds']:.0f} s, as the first fold after an installation has to")


def _print_cutflow(summary: dict[str, Any]) -> None:
    rate, alone = summary["gen_jets_per_second"], summary["executor"] == "iterative"
    said = f" at {rate:,.0f} gen jets/s" if rate else ", chunks of before among them"
    say(f"Folded with {summary['model']}{said}{'' if alone or not rate else ', with the start of the workers'}")
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
