"""The command line: what coffea-iqn understands, and its exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from uproot.exceptions import KeyInFileError

from coffea_iqn import __version__
from coffea_iqn.commands.common import errors
from coffea_iqn.commands.fold import fold
from coffea_iqn.commands.generate import generate
from coffea_iqn.commands.models import models
from coffea_iqn.commands.train import SETTINGS, train
from coffea_iqn.commands.validate import validate
from coffea_iqn.context import WIDTHS
from coffea_iqn.events import Names
from coffea_iqn.generating import PROCESSES
from coffea_iqn.recipes import RECIPES
from coffea_iqn.running import EXECUTORS
from coffea_iqn.spoiling import SPOILINGS

EXIT_OK, EXIT_INPUT, EXIT_INTERRUPTED = 0, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 for bad input, 130 when interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        errors.print("coffea-iqn: interrupted; nothing half written is left", markup=False)
        return EXIT_INTERRUPTED
    except (ValueError, OSError, KeyInFileError, FloatingPointError) as error:
        if arguments.traceback:
            raise
        errors.print(f"coffea-iqn: error: {error}", markup=False, highlight=False, soft_wrap=True)
        return EXIT_INPUT
    return EXIT_OK


def _assignment(text: str) -> tuple[str, str]:
    """NAME=VALUE in two."""
    name, separator, value = text.partition("=")
    if not separator or not value:
        msg = f"expected NAME=VALUE, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, value


def _share(text: str) -> tuple[str, float]:
    """DATASET=FRACTION in two."""
    name, value = _assignment(text)
    try:
        return name, float(value)
    except ValueError:
        msg = f"expected DATASET=FRACTION, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coffea-iqn",
        description="The detector as a function: gen jets in, reco jets out, drawn by implicit quantile networks.",
        epilog="Exit codes: 0 done, 2 bad input (one line says what), 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"coffea-iqn {__version__}")
    choices = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    files = _files()
    _add_fold(choices, files)
    _add_train(choices, files)
    _add_validate(choices, files)
    _add_generate(choices)
    p = choices.add_parser("models", help="list the shipped bundles")
    p.set_defaults(run=models, traceback=False)
    return parser


def _files() -> argparse.ArgumentParser:
    """What commands that read files have in common."""
    files = argparse.ArgumentParser(add_help=False)
    files.add_argument(
        "files", nargs="+", metavar="FILES", help="ROOT files, NanoAOD-like or Delphes, as PATH or DATASET=PATH"
    )
    files.add_argument("--dataset", help="one dataset's name for all files (default: each file's own name)")
    files.add_argument("--tree", help="name of the tree (default: Events or Delphes)")
    files.add_argument("--gen", default="GenJet", help="collection of gen jets (default: %(default)s)")
    files.add_argument(
        "--name",
        dest="names",
        action="append",
        type=_assignment,
        default=[],
        metavar="WHAT=FIELD",
        help=f"what the files call something they know of gen jets: {', '.join(f.name for f in fields(Names))}",
    )
    files.add_argument("--executor", choices=EXECUTORS, default="iterative", help="default: %(default)s")
    files.add_argument("--workers", type=int, default=2, help="processes, for futures and dask (default: %(default)s)")
    files.add_argument("--scheduler", metavar="ADDRESS", help="a running dask scheduler, such as tcp://host:8786")
    files.add_argument("--chunksize", type=int, default=100_000, help="events a chunk (default: %(default)s)")
    files.add_argument("--quiet", action="store_true", help="no progress bars")
    files.add_argument("--traceback", action="store_true", help="show where an error came from")
    return files


def _add_fold(choices: Any, files: argparse.ArgumentParser) -> None:
    p = choices.add_parser(
        "fold",
        parents=[files],
        help="fold gen jets to reco jets, fill histograms, plot",
        epilog="Example: coffea-iqn fold qcd=nano_1.root qcd=nano_2.root --output folded",
    )
    p.add_argument("--model", default="cms-delphes-ak4", help="a shipped bundle or a path (default: %(default)s)")
    p.add_argument(
        "--truth", default="Jet", help="collection of true reco jets to compare with, or 'none' (default: %(default)s)"
    )
    p.add_argument("--seed", type=int, default=0, help="of the quantile levels (default: %(default)s)")
    p.add_argument(
        "--skip-bad-files",
        action="store_true",
        help="go on without what cannot be read, and list it in the summary (default: stop and name it)",
    )
    p.add_argument(
        "--no-checkpoints",
        dest="checkpoints",
        action="store_false",
        help="do not keep finished chunks in DIR.chunks until all is done",
    )
    p.add_argument("--no-plots", dest="plots", action="store_false", help="histograms and summary alone")
    p.add_argument("--no-acceptance", action="store_true", help="one reco jet for every gen jet, and no others")
    p.add_argument("--no-unmatched", action="store_true", help="no reco jets but those of gen jets")
    p.add_argument(
        "--replicas", type=int, default=1, metavar="K", help="draw each event K times (default: %(default)s)"
    )
    p.add_argument(
        "--drop-invalid", action="store_true", help="drop and count gen jets with NaN, infinite, zero or negative pt"
    )
    p.add_argument(
        "--pt-min",
        type=float,
        default=20.0,
        metavar="GEV",
        help="least pt of jets in the histograms (default: %(default)s)",
    )
    p.add_argument("--output", type=Path, required=True, metavar="DIR")
    p.set_defaults(run=fold)


def _add_train(choices: Any, files: argparse.ArgumentParser) -> None:
    p = choices.add_parser(
        "train",
        parents=[files],
        help="train a bundle on pairs of gen and reco jets",
        epilog="Example: coffea-iqn train delphes_*.root --radius 0.5 --output my-detector. "
        "An interrupted training goes on with the same command.",
    )
    p.add_argument("--output", type=Path, required=True, metavar="BUNDLE")
    p.add_argument("--teacher", metavar="MODEL", help="learn smaller, faster networks from those of a bundle")
    p.add_argument("--recipe", choices=RECIPES, default="default", help="default: %(default)s")
    p.add_argument("--reco", default="Jet", help="collection of reco jets (default: %(default)s)")
    p.add_argument("--radius", type=float, default=0.4, help="of the jets (default: %(default)s)")
    p.add_argument("--cone", type=float, help="matching distance (default: 0.25 for R = 0.4, 0.35 for 0.5)")
    p.add_argument("--gen-pt-min", type=float, default=10.0, metavar="GEV", help="default: %(default)s")
    p.add_argument(
        "--split",
        choices=("event", "file"),
        default="event",
        help="what stays together in the held-out part (default: %(default)s)",
    )
    p.add_argument("--detector", default="", help="a line for the card")
    p.add_argument(
        "--share",
        action="append",
        type=_share,
        default=[],
        metavar="DATASET=FRACTION",
        help="of a batch, one for every dataset (default: as many as it has jets)",
    )
    p.add_argument("--device", default="cpu", help="where to compute, as torch names it (default: %(default)s)")
    p.add_argument("--restart", action="store_true", help="forget an interrupted training")
    settings = p.add_argument_group("settings of the recipe")
    for name, kind in SETTINGS.items():
        settings.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=name.upper())
    settings.add_argument("--hidden", type=int, nargs="+", metavar="N", help="sizes of the hidden layers")
    settings.add_argument(
        "--context", nargs="*", choices=WIDTHS, help="levels to learn from (default: all the files have)"
    )
    p.set_defaults(run=train)


def _add_validate(choices: Any, files: argparse.ArgumentParser) -> None:
    p = choices.add_parser(
        "validate",
        parents=[files],
        help="measure how good a model is, on files that it was not trained on",
        epilog="Example: coffea-iqn validate qcd=test_1.root qcd=test_2.root --model my-detector --output closure",
    )
    p.add_argument("--model", default="cms-delphes-ak4", help="a shipped bundle or a path (default: %(default)s)")
    p.add_argument("--reco", default="Jet", help="collection of true reco jets (default: %(default)s)")
    p.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="BOX",
        help="spectra for gen jets of a region as well, such as '30<pt<35,abs(eta)<1,5<mass<10'; may be repeated",
    )
    p.add_argument(
        "--compare",
        action="append",
        type=Path,
        default=[],
        metavar="METRICS",
        help="metrics.json of another validation, to be shown beside; may be repeated",
    )
    p.add_argument("--quick", action="store_true", help="50 000 jets, one chunk of each dataset: under a minute")
    p.add_argument("--max-jets", type=int, metavar="N", help="pairs looked at (default: 500 000, with --quick 50 000)")
    for name, what in (("gen", "gen pt"), ("raw", "reco pt before the detector's scale")):
        p.add_argument(
            f"--{name}-pt-min", type=float, default=20.0, metavar="GEV", help=f"least {what} (default: %(default)s)"
        )
    p.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: %(default)s)")
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="of the judges (default: all)")
    p.add_argument(
        "--spoil", choices=SPOILINGS, help="make the model wrong on purpose, to see what the report finds of it"
    )
    p.add_argument("--plots", action="store_true", help="write the figures as .png and .pdf as well")
    p.add_argument("--drop-invalid", action="store_true", help="drop gen jets with NaN, infinite, zero or negative pt")
    p.add_argument("--any-radius", action="store_true", help="take jets of another radius than the model's")
    p.add_argument("--output", type=Path, required=True, metavar="DIR")
    p.set_defaults(run=validate)


def _add_generate(choices: Any) -> None:
    p = choices.add_parser(
        "generate",
        help="generate events with Pythia and write their gen jets",
        epilog="Example: coffea-iqn generate --process ttbar --events 10000 --output ttbar.root",
    )
    p.add_argument(
        "--process",
        required=True,
        metavar="PROCESS",
        help=f"{', '.join(PROCESSES)} (13 TeV proton-proton), or a file of Pythia's commands",
    )
    p.add_argument("--events", type=int, required=True, metavar="N")
    p.add_argument("--output", type=Path, required=True, metavar="FILE", help="a ROOT file, NanoAOD-like")
    p.add_argument("--seed", type=int, default=1, help="of all that is random (default: %(default)s)")
    p.add_argument("--workers", type=int, help="processes; the events do not depend on them (default: all cores)")
    p.add_argument("--radius", type=float, default=0.4, help="of the anti-kt jets (default: %(default)s)")
    p.add_argument("--pt-min", type=float, default=10.0, metavar="GEV", help="least pt of jets (default: %(default)s)")
    p.add_argument(
        "--pt-hat-min",
        type=float,
        metavar="GEV",
        help="least pt of the hard process (default: 20 for qcd and wzjets, 15 for qcdflat)",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING",
        help="one of Pythia's, as 'Beams:eCM = 13600'; may be repeated",
    )
    p.add_argument("--substructure", action="store_true", help="N-subjettiness of the jets as well")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--traceback", action="store_true", help="show where an error came from")
    p.set_defaults(run=generate)


if __name__ == "__main__":
    sys.exit(main())
