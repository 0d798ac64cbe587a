"""The command line: its commands and exit codes. The options and the work of each command are in `commands`."""

from __future__ import annotations

import argparse
import difflib
import io
import signal
import sys
import threading
from collections.abc import Collection, Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any, NoReturn

from coffea_iqn import __version__

EXIT_OK, EXIT_INPUT, EXIT_INTERRUPTED = 0, 2, 130

# the module of a command is imported only when needed: with torch and coffea that takes seconds
COMMANDS = {
    "fold": "fold gen jets to reco jets: histograms, plots, skims",
    "correct": "correct reco jets to gen jets: histograms, plots, skims",
    "merge": "merge the files of a skim",
    "generate": "generate events with Pythia and write their gen jets",
    "train": "train a bundle on pairs of gen and reco jets",
    "refine": "refine the draws of a bundle with a classifier of true and drawn jets",
    "validate": "measure how well a model describes files that it was not trained on",
    "export": "write a model in the format of another framework: correctionlib, ONNX",
    "models": "list the shipped bundles",
    "completion": "print a shell script that completes commands and options",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for bad input, 130 when interrupted.

    Without arguments given, those of the process are used, and its end by a batch system (SIGTERM) is an interrupt.
    """
    try:
        if argv is None:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            sys.unraisablehook = _interrupt_again
            if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without our characters shows others
                sys.stdout.reconfigure(errors="replace")
        return _run(sys.argv[1:] if argv is None else argv)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("coffea_iqn"):
            raise
        sys.stderr.write(f"coffea-iqn: error: expected {error.name}, found none: pip install 'coffea-iqn[all]'\n")
        return EXIT_INPUT
    except KeyboardInterrupt:
        # the interrupt may have come while the module of `complain` was being imported
        sys.stderr.write("coffea-iqn: interrupted; no incomplete output is left\n")
        return EXIT_INTERRUPTED


def _interrupt_again(ignored: sys.UnraisableHookArgs) -> None:
    """Repeat an interrupt that Python ignored because it came while an object was deleted."""
    if ignored.exc_type is KeyboardInterrupt:
        # SIGTERM is an interrupt too, also where SIGINT is ignored, as in the background
        again = threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGTERM])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


def _run(argv: Sequence[str]) -> int:
    from coffea_iqn.commands.terminal import clean_warnings, complain, set_up

    command = next((word for word in argv if not word.startswith("-")), "")
    arguments = parser(command).parse_args(argv)
    set_up(arguments)
    try:
        with clean_warnings(arguments):
            arguments.run(arguments)
    except Exception as error:
        from uproot.exceptions import KeyInFileError

        bad_input = ValueError, OSError, KeyInFileError, FloatingPointError  # shown without a traceback
        if arguments.traceback or not isinstance(error, bad_input):
            raise
        complain(f"coffea-iqn: error: {error}")
        return EXIT_INPUT
    return EXIT_OK


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line and suggests the most similar command or option for a mistyped one."""

    def error(self, message: str) -> NoReturn:
        hint = f" ({self.prog} --help)" if "required" in message else ""
        self.exit(EXIT_INPUT, f"coffea-iqn: error: {message.removeprefix('argument ')}{hint}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(takewhile(lambda word: word != "--", sys.argv[1:] if args is None else args))
        if self.get_default("run") is None:  # the main parser: what follows the command is the command's
            command = next((k for k, word in enumerate(words) if not word.startswith("-")), None)
            if command is not None and words[command] not in COMMANDS:
                self.error(f"command: expected one of {', '.join(COMMANDS)}, got {_likely(words[command], COMMANDS)}")
            words = words[:command]
        # argparse would first report missing arguments, which may be the mistyped ones
        for word in words:
            option = word.partition("=")[0]
            known = [one for one in self._option_string_actions if one.startswith("--")]
            if option.startswith("--") and " " not in option and not any(one.startswith(option) for one in known):
                self.error(f"option: expected one of {self.prog} --help, got {_likely(option, known)}")
        return super().parse_known_args(args, namespace)


def _likely(word: str, known: Collection[str]) -> str:
    """Return a mistyped word, followed by the known word most similar to it, if any."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"{word}: did you mean {close[0]}?" if close else word


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, or of one command without the options of the others."""
    from coffea_iqn.commands.terminal import add_terminal_options

    main_parser = Parser(
        prog="coffea-iqn",
        description="Fast simulation of jets: gen jets in, reco jets out, sampled from implicit quantile networks.",
        epilog="Exit codes: 0 success, 2 bad input (explained in one line), 130 interrupted.",
    )
    main_parser.add_argument("--version", action="version", version=f"coffea-iqn {__version__}")
    choices = main_parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        one = choices.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command in (None, name):
            module = import_module(f"coffea_iqn.commands.{name}")
            module.add_arguments(one)
            add_terminal_options(one)
            one.epilog = module.EXAMPLES
    return main_parser


if __name__ == "__main__":
    sys.exit(main())
