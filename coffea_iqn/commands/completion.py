"""coffea-iqn completion: print the script that makes a shell complete commands and options."""

from __future__ import annotations

import argparse

import shtab

EXAMPLES = """examples:
  coffea-iqn completion bash > ~/.local/share/bash-completion/completions/coffea-iqn
  coffea-iqn completion zsh > ~/.zfunc/_coffea-iqn
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(run=completion)


def completion(arguments: argparse.Namespace) -> None:
    """Print the completion script for a shell."""
    from coffea_iqn.cli import parser

    print(shtab.complete(parser(), arguments.shell))  # not by rich, which would break lines
