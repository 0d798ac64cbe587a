"""Every option of every command accepts only valid values, and refuses others in one line that names the option."""

from __future__ import annotations

import argparse
import functools
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from coffea_iqn import IQNFolder, cli
from coffea_iqn.data import sample_path
from coffea_iqn.generation import Settings
from coffea_iqn.processors import IQNFoldProcessor, PairsProcessor
from coffea_iqn.ranges import Range
from coffea_iqn.training.recipes import RANGES, TrainingSettings
from coffea_iqn.validation.comparison import Effort
from conftest import one_error, run

QCD = str(sample_path("qcd_ak4.root"))
NONSENSE = ("nonsense", "", "nan", "inf", "-inf", "-3", "0", "0.5", "1", "1" + 30 * "0", "1e300")
WHOLE, REAL, TEXT, ONE_OF = {"1"}, {"0.5", "1"}, set(NONSENSE) - {""}, set()
ANY_WHOLE = {"-3", "0", "1", "1" + 30 * "0"}
TAKES = {
    # the nonsensical values that an option accepts; options with the same name accept the same in all commands
    WORDS: taken
    for options, taken in {
        "--dataset --tree --gen --truth --reco --scheduler --output --model --teacher --keep --as --compare": TEXT,
        "--extend --columns --process --lhe --hepmc --set --detector --label --reference-label --reference": TEXT,
        "--pretrained": TEXT,
        "--to --executor --skim --split --recipe --inputs --targets --scale --spoil --context --device": ONE_OF,
        "--direction --take --refinement": ONE_OF,
        "--name --share --select --identity --variations --ensemble": ONE_OF,
        "--workers --chunksize --replicas --events --max-jets --threads": WHOLE,
        "--steps --stages --batch-size --patience --check-every --hidden": WHOLE,
        "--timeout --minutes --learning-rate --radius --cone --pt-hat-min --energy --eta-max": REAL,
        "--weight-decay --gen-pt-min --raw-pt-min --blind": REAL | {"0"},
        "--momentum": {"0", "0.5"},
        "--holdout": {"0.5"},
    }.items()
    for WORDS in options.split()
}
OWN = {
    # options that differ between commands
    ("fold", "--seed"): ANY_WHOLE,
    ("train", "--seed"): {"0", "1"},
    ("validate", "--seed"): {"0", "1"},
    ("generate", "--seed"): {"1"},
    ("fold", "--pt-min"): {"0", "0.5", "1"},
    ("correct", "--pt-min"): {"0", "0.5", "1"},
    ("correct", "--seed"): {"0", "1"},
    ("generate", "--pt-min"): {"0.5", "1"},
    ("train", "--detector"): set(NONSENSE),
    ("refine", "--seed"): {"0", "1"},
    ("refine", "--plots"): TEXT,
}


@functools.cache
def parser_of(command):
    return cli.parser(command)


def subparser_of(command):
    parsers = next(a for a in parser_of(command)._actions if isinstance(a, argparse._SubParsersAction))
    return parsers.choices[command]


def options_of(command):
    return subparser_of(command)._actions


def all_options():
    return [
        (command, action.option_strings[-1])
        for command in cli.COMMANDS
        for action in options_of(command)
        if action.option_strings and action.nargs != 0
    ]


def needed(command, option):
    """Return the required arguments of a command in addition to an option, as few as possible."""
    required = [action for action in options_of(command) if action.required]
    for group in subparser_of(command)._mutually_exclusive_groups:
        given = [name for action in group._group_actions for name in action.option_strings]
        required += group._group_actions[: group.required and option not in given]
    return [word for a in required for word in (*a.option_strings[-1:], next(iter(a.choices or "1")))]


@pytest.mark.parametrize(("command", "option"), all_options())
def test_every_option_takes_what_it_means_and_refuses_the_rest_in_a_line(command, option, capsys):
    takes = OWN.get((command, option), TAKES.get(option))
    assert takes is not None, f"{option} is not in the table"
    for nonsense in NONSENSE:
        words = [command, *needed(command, option), f"{option}={nonsense}"]
        if nonsense in takes:
            parser_of(command).parse_args(words)
            continue
        with pytest.raises(SystemExit) as stop:
            parser_of(command).parse_args(words)
        assert stop.value.code == 2
        line = one_error(capsys)
        assert line.startswith(f"coffea-iqn: error: {option}: "), line
        assert repr(nonsense) in line


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("fold", "--variations", ["jes", "jer"]),
        ("train", "--columns", ["a", "b"]),
        ("train", "--context", ["flavour", "event"]),
        ("generate", "--hepmc", ["a", "b"]),
        ("export", "--reference", ["a", "b"]),
    ],
)
def test_an_option_with_several_values_may_be_given_several_times(command, option, values):
    words = [command, *needed(command, option), *(word for value in values for word in (option, value))]
    assert len(vars(parser_of(command).parse_args(words))[option[2:]]) == len(values)


@pytest.mark.parametrize("command", ["fold", "merge", "models", "train", "validate"])
def test_a_file_without_a_name_is_refused(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command, "", *(() if command == "models" else ("--output", "x")))
    assert stop.value.code == 2
    assert "expected a non-empty text, got ''" in one_error(capsys)


def test_ranges_know_their_ends_and_say_them():
    assert 1 in Range(least=1, most=2)
    assert 1 not in Range(above=1)
    assert 2 not in Range(below=2)
    assert str(Range(least=1, most=2, whole=True)) == "a whole number from 1 to 2"
    assert str(Range(above=0, below=1)) == "a finite number above 0 and below 1"
    assert np.int64(3) in Range(whole=True)
    assert all(value not in Range(whole=True) for value in (True, 1.0, np.nan, "1", None))
    assert all(value not in Range() for value in (True, np.nan, np.inf, "1", 1j))


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (PairsProcessor, {"radius": 4.0}),
        (PairsProcessor, {"radius": np.nan}),
        (PairsProcessor, {"cone": -1.0}),
        (PairsProcessor, {"cone": 0.0}),
        (PairsProcessor, {"cone": 0.41}),
        (PairsProcessor, {"pt_min": np.nan}),
        (PairsProcessor, {"split": "jet"}),
        (IQNFoldProcessor, {"pt_min": np.nan}),
        (IQNFoldProcessor, {"pt_min": -1.0}),
        (IQNFoldProcessor, {"eta_max": 0.0}),
        (IQNFolder, {"model": "cms-delphes-ak4", "raw_pt_min": np.nan}),
        (IQNFolder, {"model": "cms-delphes-ak4", "seed": 1.5}),
        (IQNFolder, {"model": "cms-delphes-ak4", "replicas": 0}),
        (Effort, {"gen_pt_min": np.inf}),
        (Effort, {"max_jets": 0}),
        (Settings, {"process": "qcd", "n_events": 10, "radius": 4.0}),
        (TrainingSettings, {"scale": "foo"}),
        (TrainingSettings, {"network": "IQNx5"}),
        (TrainingSettings, {"schedule": "never"}),
        (TrainingSettings, {"context": ("colour",)}),
        (TrainingSettings, {"hidden": (8, 0)}),
        (TrainingSettings, {"shares": (0.5, np.nan)}),
        *((TrainingSettings, {name: value}) for name in RANGES for value in (-1, np.nan, np.inf, "many")),
    ],
)
def test_the_library_refuses_the_same_nonsense(made, options):
    name = list(options)[-1]
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        made(**options)


def test_a_cone_beyond_the_radius_is_refused_before_files_are_read(tmp_path, capsys):
    assert run("train", "nowhere.root", "--cone", 0.5, "--output", tmp_path / "made") == 2
    assert "cone: expected at most the jets' radius 0.4, got 0.5" in one_error(capsys)


@pytest.mark.parametrize("option", ["--truth", "--gen"])
def test_a_collection_that_was_asked_for_has_to_be_there(option, tmp_path, capsys):
    assert run("fold", QCD, option, "FatJet", "--output", tmp_path / "out") == 2
    assert f"{QCD}: expected a collection FatJet, found GenJet, Jet" in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_truth_of_some_files_of_a_dataset_is_refused(tmp_path, capsys):
    without = sample_path("ttbar_ak4_genonly.root")
    assert run("fold", f"a={QCD}", f"a={without}", "--output", tmp_path / "out") == 2
    assert f"a: expected a collection Jet in all files of the dataset or in none, found none in {without}" in one_error(
        capsys
    )


def test_a_scheduler_needs_dask(tmp_path, capsys):
    assert run("fold", QCD, "--scheduler", "tcp://nowhere:1", "--output", tmp_path / "out") == 2
    assert "--scheduler: expected --executor dask with it, got --executor iterative" in one_error(capsys)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fold", QCD, "--ouput", "x"], "expected one of coffea-iqn fold --help, got --ouput: did you mean --output?"),
        (["train", QCD, "--batchsize=3"], "got --batchsize: did you mean --batch-size?"),
        (["fold", QCD, "--zzzz"], "option: expected one of coffea-iqn fold --help, got --zzzz"),
        (["--versoin"], "did you mean --version?"),
        (["fodl", QCD], "got fodl: did you mean fold?"),
        (["fold", QCD], "the following arguments are required: --output (coffea-iqn fold --help)"),
    ],
)  # fmt: skip
def test_a_mistyped_word_is_answered_in_a_line(words, line, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*words)
    assert stop.value.code == 2
    assert one_error(capsys).endswith(line)


def test_options_may_still_be_shortened():
    assert cli.parser("fold").parse_args(["fold", "x", "--exec=dask", "--out", "y"]).executor == "dask"


def test_names_that_coffea_cannot_read_are_refused(tmp_path, capsys):
    assert run("fold", f"τ={QCD}", "--output", tmp_path / "out") == 2
    assert "expected names of datasets and paths in ASCII, as coffea does, got τ=" in one_error(capsys)


def test_a_terminal_without_our_characters_shows_others():
    poor = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "coffea_iqn", "train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=poor)
    assert "matching distance in ?R" in done.stdout


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "coffea_iqn", "--version"], capture_output=True, text=True, check=False
    )
    assert re.fullmatch(r"coffea-iqn \d+\.\d+\.\d+\n", done.stdout), done
    assert done.returncode == 0
