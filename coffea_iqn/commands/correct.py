"""coffea-iqn correct: from files of reco jets to corrected jets: histograms, figures, skims."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import hist

from coffea_iqn import bundle
from coffea_iqn.commands import chunks
from coffea_iqn.commands.common import add_file_options, captions, datasets_of
from coffea_iqn.commands.options import text
from coffea_iqn.commands.terminal import say
from coffea_iqn.files.atomic import at_work, check_new, plain_names, whole_folder
from coffea_iqn.files.inputs import Source
from coffea_iqn.files.output import versions, write_json
from coffea_iqn.files.skims import branch_patterns
from coffea_iqn.histograms.root import write_histograms
from coffea_iqn.plotting import Selection, plot_all, save_all
from coffea_iqn.processors import IQNCorrectProcessor
from coffea_iqn.processors.correct import TAKE
from coffea_iqn.ranges import SEED

EXAMPLES = """examples:
  coffea-iqn correct qcd=nano_1.root qcd=nano_2.root --output corrected
  coffea-iqn correct "delphes_*.root" --model cms-delphes-ak5-correct --output corrected
  coffea-iqn correct data.root --skim root --keep "Jet_*" --output corrected
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What correct understands."""
    add_file_options(parser)
    chunks.add_output_options(parser)
    parser.add_argument(
        "--model",
        type=text,
        default="cms-delphes-ak4-correct",
        help="a shipped bundle that corrects, or a path (default: %(default)s)",
    )
    parser.add_argument("--reco", type=text, default="Jet", help="collection of reco jets (default: %(default)s)")
    parser.add_argument(
        "--take",
        choices=TAKE,
        default="median",
        help="of the gen jets that a reco jet may have come from: medians and means are nearest to them, spectra of "
        "draws are theirs (default: %(default)s)",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="of draws (default: %(default)s)")
    parser.add_argument("--any-radius", action="store_true", help="take jets of another radius than the model's")
    chunks.add_skim_options(parser, "corrected")
    parser.set_defaults(run=correct)


def correct(arguments: argparse.Namespace) -> None:
    """Correct reco jets and write histograms, a summary and plots; gen jets are compared with where files have them."""
    check_new(arguments.output, force=arguments.force)
    bundle.find(arguments.model)
    with at_work(arguments.output), chunks.kept(arguments):
        _correct(arguments)


def _correct(arguments: argparse.Namespace) -> None:
    skim = chunks.skim_of(arguments)
    datasets = datasets_of(arguments, [arguments.reco])
    with_gen = all(arguments.gen in source.jets for sources in datasets.values() for source in sources)
    gen = arguments.gen if with_gen else None
    instance = IQNCorrectProcessor(
        arguments.model,
        reco=arguments.reco,
        gen=gen,
        take=arguments.take,
        seed=arguments.seed,
        any_radius=arguments.any_radius,
        pt_min=arguments.pt_min,
        skim=skim,
    )
    collections = [arguments.reco] + ([gen] if gen else [])
    with whole_folder(arguments.output) as folder:
        patterns = branch_patterns(arguments.keep)
        ran = chunks.run(arguments, instance, datasets, collections, branches=patterns)
        write_histograms(ran.out["hists"], folder / "histograms.root")
        plots = _draw(arguments, instance, datasets, ran.out["hists"], folder / "plots") if arguments.plots else []
        summary = {
            "model": str(instance.corrector.model),
            "take": instance.take,
            "seed": instance.corrector.seed,
            "bundle_hash": instance.corrector.card["hash"],
            "files": {name: [s.path for s in sources] for name, sources in datasets.items()},
            "datasets": ran.out["cutflow"],
            "plots": [plot.name for plot in plots],
            "skim": [f"skim/{Path(file).name}" for file in ran.out["files"]],
            "executor": arguments.executor,
            "seconds": round(ran.seconds, 3),
            "versions": versions(),
        }
        write_json(summary, folder / "summary.json")
        if skim is not None:
            chunks.keep_skim(ran.out["files"], folder, arguments.output)
    for name, flow in ran.out["cutflow"].items():
        say(f"{name}: {flow['reco_jets']:,} reco jets of {flow['events']:,} events corrected with {arguments.model}")
    for what in ("histograms.root", "summary.json", *(["skim"] if skim else []), *(["plots"] if plots else [])):
        say(f"{arguments.output / what}")


def _draw(
    arguments: argparse.Namespace,
    instance: IQNCorrectProcessor,
    datasets: Mapping[str, Sequence[Source]],
    hists: Mapping[str, hist.Hist],
    folder: Path,
) -> list[Path]:
    """The files of all figures: spectra beside those of gen jets, responses beside those before the correction."""
    card, names = instance.corrector.card, plain_names(datasets)
    shown = captions(arguments, card, datasets) | {"emulated_label": "Corrected", "gen_label": "Reco"}
    shown["selection"] = Selection.of(card.get("jets", {}), instance.pt_min, instance.eta_max)
    # what figures show as emulated, true, and beside them
    spectra = {n: _with_levels(h, ("truth", "gen", "reco")) for n, h in hists.items() if n != "response"}
    response = {"response": _with_levels(hists["response"], ("gen", "truth", "reco"))}
    paths: list[Path] = []
    for dataset in datasets:
        prefix = f"{names[dataset]}_" if len(datasets) > 1 else ""
        figures = plot_all(spectra, dataset=dataset, **shown | {"truth_label": "Gen"})
        figures |= plot_all(response, dataset=dataset, **shown | {"truth_label": "Reco"})
        paths += save_all(figures, folder, stem_prefix=prefix)
    return paths


def _with_levels(histogram: hist.Hist, levels: Sequence[str]) -> hist.Hist:
    """A histogram with other names of its levels, in their order."""
    dataset, _, *axes = histogram.axes
    level = hist.axis.StrCategory(levels, name="level")
    return hist.Hist(dataset, level, *axes, storage=hist.storage.Weight(), data=histogram.view(flow=True))
