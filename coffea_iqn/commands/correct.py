"""coffea-iqn correct: correct the reco jets of files and write histograms, figures and skims."""

from __future__ import annotations

import argparse

from coffea_iqn import bundle
from coffea_iqn.commands import chunks
from coffea_iqn.commands.common import (
    add_identity_option,
    check_identities,
    datasets_of,
    fitting_model,
    say_outside,
    warn_emulated,
)
from coffea_iqn.commands.options import add_radius_option, add_reco_option
from coffea_iqn.commands.terminal import say
from coffea_iqn.files.atomic import check_new, whole_folder
from coffea_iqn.files.inputs import every
from coffea_iqn.files.skims import branch_patterns
from coffea_iqn.processors import IQNCorrectProcessor
from coffea_iqn.processors.correct import TAKE
from coffea_iqn.ranges import SEED, expect

DEFAULT = "cms-delphes-ak4-correct"
EXAMPLES = """examples:
  coffea-iqn correct qcd=nano_1.root qcd=nano_2.root --output corrected
  coffea-iqn correct "delphes_*.root" --model cms-delphes-ak5-correct --output corrected
  coffea-iqn correct data.root --skim root --keep "Jet_*" --output corrected
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `correct`."""
    chunks.add_options(
        parser,
        model="name of a shipped bundle that corrects, or path of a bundle "
        f"(default: {DEFAULT}, or the one for the radius of the gen jets, if the files have them)",
    )
    add_reco_option(parser)
    parser.add_argument(
        "--take",
        choices=TAKE,
        default="median",
        help="estimate of the gen jet from p(gen jet | reco jet): medians and means are closest to it jet by jet, "
        "draws reproduce the gen spectra (default: %(default)s)",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="random seed of draws (default: %(default)s)")
    add_identity_option(parser)
    add_radius_option(parser)
    chunks.add_skim_options(parser, "corrected")
    parser.set_defaults(run=correct)


def correct(arguments: argparse.Namespace) -> None:
    """Correct reco jets and write histograms, summary and plots, compared with gen jets if the files have them."""
    check_new(arguments.output, force=arguments.force)
    if arguments.model is not None:
        bundle.find(arguments.model)
    with chunks.replacing(arguments):
        _correct(arguments)


def _correct(arguments: argparse.Namespace) -> None:
    skim = chunks.skim_of(arguments)
    datasets = datasets_of(arguments, [arguments.reco])
    for source in every(datasets):
        got = f"got jets with a purity, which were corrected before, in {source.path}"
        expect(arguments.reco not in source.corrected, f"reco jets: expected uncorrected {arguments.reco}, {got}")
    warn_emulated(arguments.reco, datasets)
    if arguments.take == "draw":
        check_identities(arguments, datasets, arguments.reco)
    advice = "; --gen none leaves it out"
    chunks.check_all_or_none(datasets, f"a collection {arguments.gen}", lambda s: arguments.gen in s.jets, advice)
    with_gen = any(arguments.gen in source.jets for source in every(datasets))
    gen = arguments.gen if with_gen else None
    instance = IQNCorrectProcessor(
        fitting_model(arguments, datasets, arguments.model or DEFAULT, direction="correct"),
        reco=arguments.reco,
        gen=gen,
        take=arguments.take,
        seed=arguments.seed,
        identity=arguments.identity or "event",
        any_radius=arguments.any_radius,
        pt_min=arguments.pt_min,
        skim=skim,
    )
    collections = [arguments.reco] + ([gen] if gen else [])
    with whole_folder(arguments.output) as folder:
        patterns = branch_patterns(arguments.keep)
        ran = chunks.run(arguments, instance, datasets, collections, branches=patterns)
        card = instance.corrector.card
        about = {
            "model": str(instance.corrector.model),
            "take": instance.take,
            "seed": instance.corrector.seed,
            "identity": instance.corrector.identity,
            "bundle_hash": card["hash"],
        }
        summary = chunks.finish(arguments, instance, card, about, datasets, ran, folder, figures="plot_correction")
    for name, flow in ran.out["cutflow"].items():
        of_events = f"{flow['reco_jets']:,} reco jets of {flow['events']:,} events"
        say(f"{name}: {of_events} corrected with {instance.corrector.model}")
    say_outside(ran.out["cutflow"].values(), card.get("domain"), "reco", "corrected")
    for what, there in (("histograms.root", True), ("summary.json", True), ("skim", skim), ("plots", summary["plots"])):
        if there:
            say(f"{arguments.output / what}")
