"""coffea-iqn refine: from a bundle and files to a bundle whose draws are refined."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from coffea_iqn import bundle
from coffea_iqn.commands.common import add_file_options, datasets_of
from coffea_iqn.commands.options import add_force_option, path, text
from coffea_iqn.commands.terminal import complain, say
from coffea_iqn.commands.train import (
    SETTINGS,
    TrainingProgress,
    about_files,
    add_sample_options,
    given_settings,
    kept,
    read_files,
    shares_of,
)
from coffea_iqn.files.atomic import at_work, check_new
from coffea_iqn.iqn.device import find_device
from coffea_iqn.jets import radii
from coffea_iqn.jets.context import nearest_distance
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.ranges import GEV
from coffea_iqn.training.recipes import HIDDEN, RANGES, TrainingSettings
from coffea_iqn.training.refinement import DEFAULT, refine

OWN = ("seed", "steps", "minutes", "batch_size", "learning_rate", "weight_decay", "patience", "check_every", "holdout")
EXAMPLES = """examples:
  coffea-iqn refine my-detector qcd=delphes_1.root ttbar=delphes_2.root --output refined
  coffea-iqn refine cms-delphes-ak5 "nano_*.root" --minutes 10 --plots plots --output refined

Files are best those that the bundle was trained on. An interrupted training goes on with the same command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What refine understands."""
    parser.add_argument("model", type=text, metavar="BUNDLE", help="a shipped bundle or a path")
    add_file_options(parser)
    parser.add_argument("--output", type=path, required=True, metavar="BUNDLE", help="the folder to write")
    add_force_option(parser)
    parser.add_argument("--plots", type=path, metavar="FOLDER", help="draw the reliability there (default: nowhere)")
    add_sample_options(parser)
    parser.add_argument(
        "--gen-pt-min", type=GEV, default=10.0, metavar="GEV", help="least pt of gen jets (default: %(default)s)"
    )
    settings = parser.add_argument_group("settings of the training")
    for name in OWN:
        default = SETTINGS[name].default or getattr(DEFAULT, name)
        says = "at most" if name == "steps" else SETTINGS[name].says
        settings.add_argument(f"--{name.replace('_', '-')}", type=RANGES[name], help=f"{says} (default: {default})")
    settings.add_argument(
        "--hidden", type=HIDDEN, nargs="+", metavar="N", help="sizes of the hidden layers (default: 64 64)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Refine a bundle by files."""
    check_new(arguments.output, force=arguments.force)
    bundle.check_place(arguments.output)
    with at_work(arguments.output), kept(arguments) as checkpoint:
        _refine(arguments, checkpoint)


def _refine(arguments: argparse.Namespace, checkpoint: Path) -> None:
    output: Path = arguments.output
    base, device = bundle.load(arguments.model), find_device(arguments.device)
    jets = base.card["jets"]
    datasets = datasets_of(arguments, [arguments.gen, arguments.reco])
    settings = _settings(arguments, sorted(datasets))
    processor = PairsProcessor(
        gen=arguments.gen,
        reco=arguments.reco,
        radius=jets["radius"],
        cone=jets["cone"],
        pt_min=arguments.gen_pt_min,
        split=arguments.split,
        names=dict(arguments.names),
    )
    pairs, _ = read_files(arguments, processor, datasets, [])
    say(f"{len(pairs.x):,} gen jets, {pairs.matched.sum():,} with a reco jet")
    radii.check(jets["radius"], radii.histogram(nearest_distance(pairs.context)), bundle.shipped_radii())
    try:
        with TrainingProgress(settings, arguments=arguments) as progress:
            made = refine(base, pairs, settings, checkpoint=checkpoint, watch=progress.watch, device=str(device))
    except KeyboardInterrupt:
        complain(f"coffea-iqn: stopped; the same command goes on from {checkpoint}")
        raise
    report = made.card["refinement"]
    report |= about_files(arguments, datasets)
    digest = bundle.save(made, output)
    gain, error = (1e5 * value for value in report["log_loss_gain"])
    held_out = f"{report['held_out_pairs']:,} pairs held out"
    if made.ratio is None:
        complain(
            f"coffea-iqn: not refined: true and drawn jets of {held_out} are not told apart (log-loss gained "
            f"{gain:.1f} ± {error:.1f} e-5): {output} is {arguments.model} as it is"
        )
    else:
        shrunk = f"{report['shrinkage']:.0%}"
        say(f"Log-loss     {gain:.1f} ± {error:.1f} e-5 gained on {held_out}, log r shrunk to {shrunk}")
        say(
            f"Draws        {report['draws_of_a_jet']:.2f} candidates each, at most {report['candidates']}, of "
            f"{report['none_taken']:.2%} of jets none taken; ratios end at {report['bound']:g}, "
            f"{report['clipped']:.2%} clipped"
        )
        say(f"Out of reach {report['never_drawn']:.2%} of true jets, for they lie where none is drawn")
        say(
            f"Weights      {report['dilution']:.1%} of the number of jets is left; their mean of a jet scatters by "
            f"{report['spread_of_mean_weight']:.1%}"
        )
    say(f"Bundle       {output} ({digest[:12]}): {report['minutes']} minutes")
    if arguments.plots is not None and made.ratio is not None:
        from coffea_iqn import plotting

        figure = plotting.plot_reliability(report["reliability"], title=output.name)
        for file in plotting.save_all({"reliability": figure}, arguments.plots):
            say(f"Plot         {file}")


def _settings(arguments: argparse.Namespace, datasets: list[str]) -> TrainingSettings:
    given = given_settings(arguments, OWN)
    if arguments.share:
        given["shares"] = shares_of(dict(arguments.share), datasets)
    return replace(DEFAULT, **given)
