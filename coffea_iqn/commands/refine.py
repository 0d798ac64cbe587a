"""coffea-iqn refine: refine the draws of a bundle with a classifier trained on files."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from coffea_iqn import bundle
from coffea_iqn.commands import trainings
from coffea_iqn.commands.common import add_file_options, datasets_of
from coffea_iqn.commands.options import add_output_option, path, text
from coffea_iqn.commands.terminal import complain, say
from coffea_iqn.iqn.device import find_device
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.ranges import GEV
from coffea_iqn.training.recipes import HIDDEN, REFINEMENT

OWN = ("seed", "steps", "minutes", "batch_size", "learning_rate", "weight_decay", "patience", "check_every", "holdout")
EXAMPLES = """examples:
  coffea-iqn refine my-detector qcd=delphes_1.root ttbar=delphes_2.root --output refined
  coffea-iqn refine cms-delphes-ak5 "nano_*.root" --minutes 10 --plots plots --output refined

Preferably use the files that the bundle was trained on. Run the same command again to continue an interrupted training.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `refine`."""
    parser.add_argument("model", type=text, metavar="BUNDLE", help="name of a shipped bundle, or path of a bundle")
    add_file_options(parser)
    add_output_option(parser, "BUNDLE", "folder of the new bundle")
    parser.add_argument(
        "--plots",
        type=path,
        metavar="FOLDER",
        help="folder for a figure of the classifier's reliability (default: none)",
    )
    trainings.add_sample_options(parser)
    parser.add_argument(
        "--gen-pt-min", type=GEV, metavar="GEV", help="minimum pt of gen jets (default: that of the bundle's training)"
    )
    settings = parser.add_argument_group("training settings")
    trainings.add_setting_options(
        settings,
        {name: trainings.SETTINGS[name] for name in OWN} | {"steps": trainings.Setting("most steps")},
        REFINEMENT,
    )
    settings.add_argument(
        "--hidden", type=HIDDEN, nargs="+", metavar="N", help="sizes of the hidden layers (default: 64 64)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Refine the draws of a bundle."""
    with trainings.unfinished_training(arguments) as checkpoint:
        _refine(arguments, checkpoint)


def _refine(arguments: argparse.Namespace, checkpoint: Path) -> None:
    from coffea_iqn.training.refinement import refine  # imports torch

    output: Path = arguments.output
    base, device = bundle.load(arguments.model), find_device(arguments.device)
    jets = base.card["jets"]
    if arguments.gen_pt_min is None:
        arguments.gen_pt_min = base.card["training"].get("gen_pt_min", 10.0)
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    settings = trainings.with_shares(
        replace(REFINEMENT, **trainings.given_settings(arguments, OWN)), arguments, datasets
    )
    known = {"radius": jets["radius"], "cone": jets["cone"], "any_radius": True}  # the radius is checked after
    processor = PairsProcessor(**known, **trainings.sample_options(arguments))
    pairs, _ = trainings.read_files(arguments, processor, datasets, [])
    say(f"{len(pairs.x):,} gen jets, {pairs.matched.sum():,} with a reco jet")
    trainings.check_sample(arguments, datasets, pairs, base)
    trainings.warn_of_members(arguments.model)
    with trainings.TrainingProgress(settings, arguments, checkpoint) as progress:
        made = refine(base, pairs, settings, checkpoint=checkpoint, watch=progress.watch, device=str(device))
    report = made.card["refinement"]
    report |= trainings.about_files(arguments, datasets, pairs)
    digest = bundle.save(made, output)
    gain, error = (1e5 * value for value in report["log_loss_gain"])
    held_out = f"{report['held_out_pairs']:,} pairs held out"
    if made.ratio is None:
        complain(
            f"coffea-iqn: not refined: the classifier cannot distinguish true and drawn jets of {held_out} (log-loss "
            f"gain {gain:.1f} ± {error:.1f} e-5): {output} draws the same as {arguments.model}"
            f"{'' if arguments.plots is None else ', and there is nothing to plot'}"
        )
    else:
        shrunk = f"{report['shrinkage']:.0%}"
        say(f"Log-loss     gain of {gain:.1f} ± {error:.1f} e-5 on {held_out}, log r scaled to {shrunk}")
        say(
            f"Draws        {report['draws_of_a_jet']:.2f} candidates per jet, at most {report['candidates']}; none "
            f"accepted for {report['none_taken']:.2%} of jets; ratios bounded at {report['bound']:g}, "
            f"{report['clipped']:.2%} clipped"
        )
        say(f"Never drawn  {report['never_drawn']:.2%} of true jets lie where no jet is drawn")
        say(
            f"Weights      effective number of jets {report['dilution']:.1%}; the mean weight of a jet has a spread of "
            f"{report['spread_of_mean_weight']:.1%}"
        )
    say(f"Bundle       {output} ({digest[:12]}): {report['minutes']} minutes")
    if arguments.plots is not None and made.ratio is not None:
        from coffea_iqn import plotting

        figure = plotting.plot_reliability(report["reliability"], title=output.name)
        for file in plotting.save_all({"reliability": figure}, arguments.plots):
            say(f"Plot         {file}")
