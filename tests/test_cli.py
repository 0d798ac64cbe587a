from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import subprocess
import sys
import warnings
from argparse import Namespace

import awkward as ak
import numba
import numpy as np
import pytest
import uproot

from coffea_iqn import cli, plotting
from coffea_iqn.commands import fold, terminal, train, trainings, validate
from coffea_iqn.data import BUNDLES, bundle_path, sample_path
from coffea_iqn.folder import EqualEventsWarning
from coffea_iqn.numerics.compiling import timed_compilation
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.training import emulators
from conftest import one_error, run, undrawn

QCD = str(sample_path("qcd_ak4.root"))
PRINTED = {}  # printed text of a fold, by its output
SHORT_TRAINING = ["--steps", "20", "--check-every", "10", "--stages", "1"]


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """Return the output folder of a fold."""
    output = tmp_path_factory.mktemp("fold") / "out"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), undrawn():
        assert run("fold", f"qcd={QCD}", sample_path("ttbar_ak4_genonly.root"), "--seed", 3, "--output", output) == 0
    PRINTED[output] = printed.getvalue()
    return output


def test_fold_writes_everything_and_nothing_else(folded):
    names = {p.name for p in folded.iterdir()}
    assert names == {"histograms.root", "summary.json", "plots"}
    plots = {p.name for p in (folded / "plots").iterdir()}
    for name in ("pt", "pt_eta0", "njet30", "dijet_dphi", "mass", "ht", "dijet_mass", "response", "response_slices"):
        assert {f"qcd_{name}.png", f"qcd_{name}.pdf"} <= plots
    assert [p.name for p in folded.parent.iterdir()] == ["out"]


def test_fold_summary(folded):
    summary = json.loads((folded / "summary.json").read_text())
    flow = summary["datasets"]["qcd"]
    assert flow["events"] == flow["sum_of_weights"] == 5000
    assert flow["gen_jets"] > flow["gen_jets_selected"] > 4000
    assert summary["datasets"]["ttbar_ak4_genonly"]["events"] == 2000
    assert summary["seed"] == 3
    assert summary["context"] == ["flavour", "neighbours", "composition", "event", "flavours", "missing"]
    assert len(summary["bundle_hash"]) == 64
    assert summary["versions"]["torch"]
    assert summary["gen_jets_per_second"] > 0


def test_fold_histograms_are_those_of_the_processor(folded):
    with uproot.open(folded / "histograms.root") as file:
        assert file["qcd/reco/pt"].classname.startswith("TH1")
        assert file["qcd/truth/response"].classname.startswith("TH2")
        total = file["qcd/reco/pt"].values(flow=True).sum()
        sliced = sum(file[f"qcd/reco/response_eta{k}"].values(flow=True).sum() for k in range(4))
        in_slices = sum(file[f"qcd/reco/pt_eta{k}"].values(flow=True).sum() for k in range(4))
        assert "pt_eta" not in file["qcd/reco"]
    summary = json.loads((folded / "summary.json").read_text())
    flow = summary["datasets"]["qcd"]
    assert total == flow["reco_jets_selected"]
    assert in_slices == total
    assert sliced <= flow["gen_jets"] - flow["not_accepted"]
    assert summary["bundle_hash"] == IQNFoldProcessor().folder.hash


def test_fold_prints_a_table_and_names_the_plots(folded):
    assert "reco jets selected" in PRINTED[folded]
    flows = json.loads((folded / "summary.json").read_text())["datasets"].values()
    outside, gen_jets = (sum(flow[key] for flow in flows) for key in ("outside_domain", "gen_jets"))
    assert f"Domain       {outside:,} of {gen_jets:,} gen jets are outside (gen pt 15 to " in PRINTED[folded]
    assert str(folded / "plots" / "qcd_pt.png") in PRINTED[folded]


def test_tables_are_whole_in_80_columns(capsys, monkeypatch):
    monkeypatch.setattr(terminal.console, "width", 80)
    names = [f"QCD_Pt-15to7000_TuneCP5_Flat_13TeV_number_{k}" for k in range(7)]
    flows = {name: {"events": 123_456_789_012, "gen_jets_selected": k} for k, name in enumerate(names)}
    fold._print_cutflow({"model": "m", "executor": "dask", "gen_jets_per_second": 1.0, "datasets": flows})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert sum(line.count("123,456,789,012") for line in lines) == 7
    assert sum(line.count("QCD_Pt-15to7000_") for line in lines) == 7
    assert any("gen jets selected" in line for line in lines)
    run("models")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_warnings_of_python_are_a_line_each(capsys):
    told = Namespace(quiet=False, traceback=False)
    with warnings.catch_warnings(), terminal.clean_warnings(told):
        warnings.simplefilter("always")
        warnings.warn("something\n  is odd", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "coffea-iqn: warning: something is odd (RuntimeWarning)\n"
    with warnings.catch_warnings(), terminal.clean_warnings(Namespace(quiet=True, traceback=False)):
        warnings.simplefilter("always")
        warnings.warn("something", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_the_rate_of_a_fold_is_without_compiling(folded, capsys):
    with timed_compilation() as seconds:
        assert seconds() == 0.0
        function = numba.njit(lambda x: x + 1)
        function(1)
        compiled = seconds()
        assert compiled > 0.0
        function(2)
        assert seconds() == compiled
    summary = json.loads((folded / "summary.json").read_text())
    gen_jets = sum(flow["gen_jets"] for flow in summary["datasets"].values())
    took = summary["seconds"] - summary["compile_seconds"]
    assert summary["gen_jets_per_second"] == pytest.approx(gen_jets / took, rel=0.01)
    fold._print_cutflow(summary | {"gen_jets_per_second": None})
    assert "Folded with cms-delphes-ak4, including chunks finished by an earlier run" in capsys.readouterr().out
    fold._print_cutflow(summary | {"gen_jets_per_second": 0.0})  # of events without gen jets
    assert "Folded with cms-delphes-ak4 at 0 gen jets/s" in capsys.readouterr().out


def test_fold_hands_to_its_figures_what_they_say(tmp_path, monkeypatch):
    said = {}
    monkeypatch.setattr(plotting, "plot_all", lambda hists, **says: said.update(says) or {})
    says = ["--label", "Mine", "--energy", 13.6, "--reference-label", "GEANT", "--pt-min", 30]
    delphes, out = sample_path("delphes_1000.root"), tmp_path / "out"
    assert run("fold", delphes, "--model", "cms-delphes-ak5", *says, "--output", out) == 0
    selection = said.pop("selection")
    assert said == {"dataset": "delphes_1000", "label": "Mine", "energy": 13.6, "truth_label": "GEANT"}
    assert selection == ("anti-$k_T$, $R$ = 0.5", 30.0, 5.0)


def test_fold_again_replaces_the_files_when_asked(folded):
    before = (folded / "histograms.root").stat().st_mtime_ns
    assert run("fold", f"qcd={QCD}", "--no-plots", "--output", folded) == 2
    assert (folded / "histograms.root").stat().st_mtime_ns == before
    assert run("fold", f"qcd={QCD}", "--no-plots", "--force", "--output", folded) == 0
    assert (folded / "histograms.root").stat().st_mtime_ns > before
    assert set(json.loads((folded / "summary.json").read_text())["datasets"]) == {"qcd"}


def test_fold_again_removes_its_own_skim_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    fold_again = ("fold", QCD, "--no-plots", "--force", "--output", out)
    assert run(*fold_again, "--skim", "parquet") == 0
    (first,) = (out / "skim").iterdir()
    (out / "skim" / "notes.txt").write_text("mine")
    assert run("merge", first, "--output", out / "skim" / "all.root") == 0
    assert run(*fold_again, "--skim", "root") == 0
    assert {path.suffix for path in (out / "skim").iterdir()} == {".root", ".txt"}
    assert not first.exists()
    assert run(*fold_again) == 0  # a skim of another fold would not belong to the new histograms
    assert {path.name for path in (out / "skim").iterdir()} == {"all.root", "notes.txt"}


def test_fold_with_replicas_and_without_unmatched_jets(folded, tmp_path):
    arguments = ("--replicas", 2, "--no-unmatched", "--no-plots", "--seed", 3)
    assert run("fold", f"qcd={QCD}", *arguments, "--output", tmp_path / "out") == 0
    summary, usual = (json.loads((path / "summary.json").read_text()) for path in (tmp_path / "out", folded))
    assert (summary["replicas"], summary["unmatched"]) == (2, False)
    assert (usual["replicas"], usual["unmatched"]) == (1, True)
    assert summary["datasets"]["qcd"]["unmatched"] == 0
    assert usual["datasets"]["qcd"]["unmatched"] > 1000
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        assert file["qcd/reco/pt"].values(flow=True).sum() == summary["datasets"]["qcd"]["reco_jets_selected"] / 2


def write(path, trees):
    with uproot.recreate(path) as file:
        for name, columns in trees.items():
            file.mktree(name, {k: v.dtype for k, v in columns.items()}).extend(columns)
    return path


def damaged(kind, folder):
    path = folder / "bad.root"
    content = sample_path("qcd_ak4.root").read_bytes()
    if kind == "not ROOT":
        path.write_bytes(b"run,event\n1,2\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut in half":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "cut at its end":
        path.write_bytes(content[:-100])
    elif kind == "zeros inside":
        path.write_bytes(content[:1000] + bytes(len(content) - 1000))
    elif kind == "another tree":
        write(path, {"Runs": {"run": np.arange(3)}})
    elif kind == "no gen jets":
        write(path, {"Events": {"run": np.arange(3), "luminosityBlock": np.arange(3), "event": np.arange(3)}})
    elif kind == "an RNTuple of records":
        with uproot.recreate(path) as file:
            file.mkrntuple("Events", {"GenJet": ak.zip({name: [[30.0]] for name in ("pt", "eta", "phi", "mass")})})
    elif kind == "a folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "expected a file, found none"),
        ("a folder", "expected a file, found a folder"),
        ("not ROOT", "expected a ROOT file, got one that begins with b'run,'"),
        ("empty", "expected a ROOT file"),
        ("cut in half", "the file is truncated|expected a readable ROOT file"),
        ("cut at its end", "the file is truncated|expected a readable ROOT file"),
        ("zeros inside", "expected a readable ROOT file|found no tree"),
        ("another tree", "expected a tree named Events or Delphes or CollectionTree, found Runs"),
        ("no gen jets", "expected a collection GenJet, found no jets"),
        ("an RNTuple of records", "found GenJet.pt, which coffea does not read: write it with mktree"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, capsys, kind, message):
    path = damaged(kind, tmp_path)
    for command in ("fold", "train", "validate"):
        assert run(command, QCD, path, "--output", tmp_path / "out") == 2
        line = one_error(capsys)
        assert str(path) in line
        assert any(part in line for part in message.split("|")), line
        assert not (tmp_path / "out").exists()


def test_a_bundle_that_draws_no_unmatched_jets_is_warned_of(tmp_path, capsys, monkeypatch):
    """As of files that hold only reco jets near gen jets."""
    monkeypatch.setattr(emulators, "learn_unmatched", lambda *_: None)
    few = ("--steps", 1, "--hidden", 4, "--quiet")
    assert run("train", QCD, *few, "--output", tmp_path / "made") == 0
    assert "reco jets without a gen jet: expected both near gen jets and far, got " in capsys.readouterr().err


def test_an_unknown_bundle_lists_those_there_are(tmp_path, capsys):
    assert run("fold", QCD, "--model", "cms-fullsim", "--output", tmp_path / "out") == 2
    line = one_error(capsys)
    assert all(name in line for name in (*BUNDLES, "cms-fullsim"))


def spoilt_sample(folder, value):
    """Write a NanoAOD-like file in which one jet has an invalid pt."""
    pt = ak.Array([[50.0, 30.0]] * 10 + [[value, 30.0]])
    one = ak.ones_like(pt)
    columns = {
        "run": np.ones(11, dtype=np.uint32),
        "luminosityBlock": np.ones(11, dtype=np.uint32),
        "event": np.arange(11, dtype=np.uint64),
        "GenJet": ak.zip({"pt": pt, "eta": ak.local_index(pt) * one, "phi": one, "mass": 3.0 * one}),
        "Jet": ak.zip({"pt": 40.0 * one, "eta": ak.local_index(pt) * one, "phi": one, "mass": 3.0 * one}),
    }
    with uproot.recreate(folder / "spoilt.root") as file:
        file.mktree("Events", {name: ak.Array(column).type.content for name, column in columns.items()}).extend(columns)
    return folder / "spoilt.root"


@pytest.mark.parametrize(
    ("value", "executor"),
    [(np.nan, "iterative"), (np.inf, "iterative"), (0.0, "iterative"), (-5.0, "iterative"), (np.nan, "futures")],
)
def test_invalid_jets_are_named_with_their_count_or_dropped(tmp_path, capsys, value, executor):
    path = spoilt_sample(tmp_path, value)
    assert run("fold", path, "--executor", executor, "--output", tmp_path / "out") == 2
    line = one_error(capsys)
    assert "got 1 of 22 jets without" in line
    assert str(path) in line
    assert not (tmp_path / "out").exists()
    if executor == "iterative":
        assert run("fold", path, "--drop-invalid", "--no-plots", "--output", tmp_path / "out") == 0
        assert json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"]["spoilt"]["invalid"] == 1


def test_invalid_jets_are_named_by_a_validation(tmp_path, capsys):
    path = spoilt_sample(tmp_path, np.nan)
    assert run("validate", path, "--any-radius", "--output", tmp_path / "out") == 2
    assert f"{path}: gen jets: expected finite numbers and pt above 0, got 1 of 22" in one_error(capsys)
    assert not (tmp_path / "out").exists()


def test_nanoaod_and_delphes_at_once_are_refused(tmp_path, capsys):
    assert run("fold", QCD, sample_path("delphes_1000.root"), "--output", tmp_path / "out") == 2
    assert "one layout, got Delphes and NanoAOD" in one_error(capsys)


def test_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "out").write_text("precious")
    assert run("fold", QCD, "--output", tmp_path / "out") == 2
    assert "expected a new path" in one_error(capsys)
    assert run("fold", QCD, "--force", "--output", tmp_path / "out") == 2
    assert "expected a folder, found a file" in one_error(capsys)
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize(
    ("sample", "recipe", "options"),
    [
        ("qcd_ak4.root", "default", ["--split", "event"]),
        ("qcd_ak4.root", "paper-iqnx4", ["--learning-rate", "3e-3"]),
        ("delphes_1000.root", "paper-iqnx1", ["--radius", "0.5"]),
    ],
)
def test_train_makes_a_bundle_that_folds(tmp_path, sample, recipe, options, capsys):
    path = sample_path(sample)
    made = tmp_path / "made"
    assert run("train", path, "--recipe", recipe, "--output", made, *SHORT_TRAINING, *options) == 0
    few = "pairs of jets: expected about 100,000 for a useful bundle" in capsys.readouterr().err
    assert few == (sample == "delphes_1000.root")
    card = json.loads((made / "model.json").read_text())["card"]
    assert card["training"]["files"] == {path.stem: [sample]}
    assert card["training"]["settings"]["steps"] == 20
    assert card["jets"]["cone"] == (0.35 if "--radius" in options else 0.25)
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    assert run("fold", path, "--model", made, "--no-plots", "--output", tmp_path / "folded") == 0
    assert {p.name for p in (tmp_path / "folded").iterdir()} == {"histograms.root", "summary.json"}


def test_every_setting_of_the_command_line_reaches_the_training(tmp_path):
    given = {
        "seed": 7, "steps": 20, "stages": 2, "batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.2,
        "momentum": 0.8, "patience": 3, "check_every": 10, "holdout": 0.2, "inputs": "paper", "targets": "residual",
        "scale": "delphes-cms", "raw_pt_min": 10.0, "blind": 0.1,
    }  # fmt: skip
    assert set(given) == set(trainings.SETTINGS) - {"minutes"}  # which would replace steps
    options = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    options += ["--hidden", "8", "8", "--context", "flavour"]
    assert run("train", QCD, "--output", tmp_path / "made", *options) == 0
    settings = json.loads((tmp_path / "made" / "model.json").read_text())["card"]["training"]["settings"]
    for name, value in (given | {"hidden": [8, 8], "context": ["flavour"]}).items():
        assert settings[name] == value, name


def test_train_finds_scale_and_threshold_unless_told(tmp_path, capsys):
    def trained(*options):
        made = tmp_path / "-".join(["made", *map(str, options)])
        assert run("train", QCD, "--output", made, *SHORT_TRAINING, *options) == 0
        settings = json.loads((made / "model.json").read_text())["card"]["training"]["settings"]
        return capsys.readouterr().out, (settings["scale"], settings["raw_pt_min"])

    said, found = trained()
    assert "scale delphes-cms, threshold 10 GeV: found in the data" in said
    assert found == ("delphes-cms", 10.0)
    said, found = trained("--raw-pt-min", 0)
    assert "scale delphes-cms: found in the data" in said
    assert found == ("delphes-cms", 0.0)
    said, found = trained("--scale", "none")
    assert "scale none, threshold 0 GeV: no sharp lower edge of the reco jets" in said
    assert found == ("none", 0.0)


def test_minutes_or_steps(tmp_path, capsys):
    arguments = ["train", QCD, "--output", tmp_path / "made", "--hidden", 8, 8, "--minutes", 0.001]
    assert run(*arguments, "--steps", 10) == 2
    assert "minutes: expected minutes or steps, got 0.001 minutes and 10 steps" in one_error(capsys)
    assert run(*arguments) == 0
    training = json.loads((tmp_path / "made" / "model.json").read_text())["card"]["training"]
    assert training["settings"]["minutes"] == 0.001
    assert min(training["steps"].values()) >= 1


def test_files_without_objects_are_refused_before_jets_are_trained(tmp_path, capsys):
    arguments = ["--objects", "--steps", 2, "--hidden", 8, "--output", tmp_path / "made"]
    assert run("train", sample_path("wzjets_ak4_full.root"), *arguments) == 2
    assert "expected Electron with pt, eta and phi, found" in one_error(capsys)


def test_minutes_are_those_of_jets_columns_and_objects_together(tmp_path):
    files = [f"{name}={sample_path(f'{name}_ak4_full.root')}" for name in ("ttbar", "dilepton")]
    options = ["--hidden", 8, 8, "--columns", "btag", "--objects", "--minutes", 0.03]
    assert run("train", *files, *options, "--output", tmp_path / "made") == 0
    card = json.loads((tmp_path / "made" / "model.json").read_text())["card"]
    for of in (card["training"], *card["extended"]):
        assert of["settings"]["minutes"] == pytest.approx(0.01)
        assert of["minutes"] < 0.1


def test_every_option_of_train_has_help():
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    bare = [action.option_strings for action in parser._actions if not action.help]
    assert bare == []
    for name in trainings.SETTINGS:
        action = next(action for action in parser._actions if action.dest == name)
        assert "(default: " in action.help, name


def test_train_takes_shares_and_names(tmp_path, capsys):
    files = [f"one={QCD}", f"two={sample_path('qcdflat_ak4.root')}"]
    arguments = ["train", *files, "--output", tmp_path / "made", *SHORT_TRAINING]
    assert run(*arguments, "--share", "one=0.7") == 2
    assert "share: expected one for each of one, two, got one" in one_error(capsys)
    assert run(*arguments, "--name", "colour=x") == 2
    assert "names: expected one of flavour" in one_error(capsys)
    assert run(*arguments, "--share", "two=0.3", "--share", "one=0.7", "--name", "flavour=nowhere") == 0
    content = json.loads((tmp_path / "made" / "model.json").read_text())
    assert content["card"]["training"]["settings"]["shares"] == [0.7, 0.3]
    assert content["variables"]["context"] == ["neighbours", "composition", "event", "missing"]
    assert content["origin"]["n_samples"] == 2


@pytest.mark.parametrize("option", [["--share", "one"], ["--share", "one=much"], ["--name", "flavour"]])
def test_assignments_that_are_none_are_refused(capsys, option):
    with pytest.raises(SystemExit) as stopped:
        run("train", QCD, "--output", "nowhere", *option)
    assert stopped.value.code == 2
    assert "=" in capsys.readouterr().err


def test_train_goes_on_after_an_interrupt(tmp_path, capsys, monkeypatch):
    arguments = ["train", QCD, "--output", tmp_path / "made", *SHORT_TRAINING]
    original = trainings.TrainingProgress.watch

    def interrupt(self, check):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings.TrainingProgress, "watch", interrupt)
    assert run(*arguments) == 130
    assert "the same command continues from" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    monkeypatch.setattr(trainings.TrainingProgress, "watch", original)
    assert run(*arguments) == 0
    assert run("train", QCD, "--output", tmp_path / "whole", *SHORT_TRAINING) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("made", "whole")]
    assert weights[0] == weights[1]


def test_the_end_of_a_batch_job_is_an_interrupt(capsys, monkeypatch):
    """Batch systems send SIGTERM, which would end the process without removing incomplete outputs."""
    monkeypatch.setattr(cli, "_run", lambda _: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main() == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "interrupted" in capsys.readouterr().err


def test_models_lists_the_shipped_bundles(capsys):
    assert run("models") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in BUNDLES)


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """Return the output folder of a validation."""
    output = tmp_path_factory.mktemp("validate") / "out"
    printed = io.StringIO()
    options = ["--quick", "--max-jets", 2000, "--select", "20<pt<40", "--threads", 1]
    with contextlib.redirect_stdout(printed), undrawn(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "QUICK_EVENTS", 3000)  # the second chunk is not read
        assert run("validate", f"qcd={QCD}", *options, "--output", output) == 0
    PRINTED[output] = printed.getvalue()
    return output


def test_validate_writes_a_page_and_its_numbers(validated):
    assert {p.name for p in validated.iterdir()} == {"report.html", "metrics.json"}
    content = json.loads((validated / "metrics.json").read_text())
    assert content["sample"]["files"] == {"qcd": [QCD]}
    assert content["sample"]["events"] == {"qcd": 2500}
    assert content["sample"]["pairs"] == 2000
    assert content["figures"]["truth"]["histograms"]["qcd"]["njet"]["ndf"] > 1
    assert "20<pt<40" in content["figures"]["truth"]["spectra"]
    assert len(content["model"]["hash"]) == 64
    assert "figures of merit pass, on 2,000 pairs" in PRINTED[validated]
    assert str(validated / "report.html") in PRINTED[validated]


def test_validate_compares_a_spoilt_model(validated, tmp_path, capsys):
    options = ["--spoil", "independent", "--max-jets", 3000, "--quick", "--threads", 1, "--plots"]
    with undrawn():
        arguments = ["validate", f"qcd={QCD}", *options, "--compare", validated, "--output", tmp_path / "out"]
        assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "FAIL" in next(line for line in printed.splitlines() if "Correlations" in line)
    assert "a spoilt model is not folded" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Closure of cms-delphes-ak4, independent" in page
    assert 'data-label="cms-delphes-ak4"' in page
    names = {p.name for p in (tmp_path / "out" / "plots").iterdir()}
    assert {"spectra0.png", "spectra0.pdf", "joint0.pdf"} <= names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "nowhere.json"], "compare nowhere.json: expected a file, found none"),
        (["--model", "cms-delphes-ak5"], "expected jets of radius 0.5, as the model's, got"),
        (["--gen-pt-min", "5000"], "expected gen jets above 5000 GeV with a reco jet above 20 GeV, got none"),
        (["--reco", "FatJet"], "expected a collection FatJet, found GenJet, Jet"),
    ],
)
def test_validate_says_what_is_wrong_and_leaves_nothing(tmp_path, capsys, options, message):
    assert run("validate", QCD, *options, "--quick", "--output", tmp_path / "out") == 2
    assert message in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], *([command, "--help"] for command in cli.COMMANDS)])
def test_help_and_version(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert "coffea-iqn" in told
    assert ("examples:" in told) == (arguments[0] in cli.COMMANDS)


def test_help_is_there_at_once():
    """Slow packages are imported only by the commands that need them."""
    code = "import sys, coffea_iqn.cli as c; c.parser(''); assert not {'torch', 'numba', 'coffea'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    # of all commands, and where options contradict each other
    code = "c.parser(); c.main(['train', 'a.root', '--overlaps', '--output', 'x']); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, coffea_iqn.cli as c; {code}"], check=True, text=True, capture_output=True
    )
    assert "overlaps: expected --extend" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(capsys, shell):
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in (*cli.COMMANDS, "skip-bad-files"))


def test_patterns_and_filesets_name_files_as_paths_do(folded, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / f"{name}.root").symlink_to(sample_path("ttbar_ak4_genonly.root"))
    fileset = {"b": {"files": {str(tmp_path / "one.root"): "Events"}}}
    (tmp_path / "fileset.json").write_text(json.dumps(fileset))
    files = [f"a={tmp_path}/*.root", tmp_path / "fileset.json"]
    options = ["--no-plots", "--verbose", "--identity", "event"]  # both files are the same
    with warnings.catch_warnings():
        warnings.simplefilter("always", EqualEventsWarning)
        assert run("fold", *files, *options, "--output", tmp_path / "out") == 0
    told = capsys.readouterr().err
    assert "(EqualEventsWarning)" in told
    assert f"a: {tmp_path / 'two.root'}, 2000 events, NanoAOD, context: flavour, " in told
    assert "3 chunks, 0 of them already finished" in told
    flows = json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"]
    assert {name: flow["events"] for name, flow in flows.items()} == {"a": 4000, "b": 2000}


def test_files_of_one_name_in_different_folders_need_a_dataset(tmp_path, capsys):
    """Their events would be one dataset, named like the files."""
    for folder, sample in (("qcd", "qcd_ak4.root"), ("ttbar", "ttbar_ak4_genonly.root")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nano.root").symlink_to(sample_path(sample))
    assert run("fold", *tmp_path.glob("*/nano.root"), "--output", tmp_path / "out") == 2
    assert "files: expected different names of datasets, got" in one_error(capsys)


def test_an_output_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("fold", sample_path("ttbar_ak4_genonly.root"), "-q", "--no-plots", "--output=~/out") == 0
    assert (tmp_path / "out" / "summary.json").is_file()


def test_names_of_datasets_stay_inside_the_output(tmp_path, capsys):
    """Names of CMS datasets begin with a slash."""
    ttbar = sample_path("ttbar_ak4_genonly.root")
    fileset = {"/QCD_Pt-20/Run3-v1/NANOAODSIM": [QCD], "/../TT/Run3-v1/NANOAODSIM": [str(ttbar)]}
    (tmp_path / "fileset.json").write_text(json.dumps(fileset))
    with undrawn():
        assert run("fold", tmp_path / "fileset.json", "--skim", "root", "--output", tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "plots").glob("QCD_Pt-20-Run3-v1-NANOAODSIM_*.png"))) > 10
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        assert {key.split("/")[0] for key in file.keys(cycle=False)} == {
            "QCD_Pt-20-Run3-v1-NANOAODSIM",
            "TT-Run3-v1-NANOAODSIM",
        }
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"].keys() == fileset.keys()
    assert run("merge", tmp_path / "out" / "skim", "--output", tmp_path / "merged") == 0
    assert len(list((tmp_path / "merged").iterdir())) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"fileset.json", "out", "merged"}
    capsys.readouterr()
    assert run("fold", f"a/b={QCD}", f"a-b={ttbar}", "--output", tmp_path / "other") == 2
    assert "got 'a/b' and 'a-b'" in one_error(capsys)


def test_quiet_says_nothing_but_errors(tmp_path, capsys):
    assert run("fold", sample_path("ttbar_ak4_genonly.root"), "-q", "--no-plots", "--output", tmp_path / "out") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert run("fold", "nowhere.root", "-q", "--output", tmp_path / "other") == 2
    assert "nowhere.root" in one_error(capsys)


def test_models_lists_a_bundle_of_ones_own(capsys):
    assert run("models", bundle_path("cms-delphes-ak5")) == 0
    assert "R = 0.5" in capsys.readouterr().out


def test_wrong_arguments_exit_with_two(capsys):
    with pytest.raises(SystemExit) as stop:
        run("fold", QCD)
    assert stop.value.code == 2
    assert "--output" in capsys.readouterr().err


def test_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "coffea_iqn.cli", "fold", "nowhere.root", "--output", "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["fold", "train"])
def test_a_device_that_is_not_there_is_said_at_once(command, tmp_path, capsys):
    sample = sample_path("qcd_ak4.root")
    assert run(command, sample, "--device", "cuda:99", "--output", tmp_path / "out") == 2
    assert "device: expected cuda:99, but torch" in one_error(capsys)
    assert list(tmp_path.iterdir()) == []
