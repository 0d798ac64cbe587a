"""Faults that a fold survives without losing or double counting events."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from safetensors.numpy import load, save

from coffea_iqn.data import sample_path
from coffea_iqn.files.finished import SUFFIX
from coffea_iqn.files.trees import _RootFile
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.running import Tolerant, _chunk_error
from conftest import one_error, run

QCD, FLAT = (sample_path(name).read_bytes() for name in ("qcd_ak4.root", "qcdflat_ak4.root"))
CHUNKS = ("--chunksize", 1000, "--no-plots", "--dataset", "jets", "--identity", "event")


def histograms(folder):
    with uproot.open(folder / "histograms.root") as file:
        return {key: file[key].values(flow=True) for key in file.keys(cycle=False, filter_classname="TH*")}


def assert_equal_histograms(one, other):
    one, other = histograms(one), histograms(other)
    assert one.keys() == other.keys()
    for key, values in one.items():
        np.testing.assert_array_equal(values, other[key], err_msg=key)


def corrupt(content):
    """A file that can be opened, with some unreadable events."""
    middle = len(content) // 2
    return content[:middle] + bytes(20_000) + content[middle + 20_000 :]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, content in (("a.root", QCD), ("b.root", FLAT), ("bad.root", corrupt(QCD)), ("none.root", b"root")):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The result of a fold without faults."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert run("fold", files / "a.root", files / "b.root", *CHUNKS, "--output", output) == 0
    return output


@pytest.fixture
def counted(monkeypatch):
    """The chunks that were processed."""
    chunks = []
    original = IQNFoldProcessor.process

    def process(self, events):
        chunks.append((events.metadata["filename"], events.metadata["entrystart"]))
        return original(self, events)

    monkeypatch.setattr(IQNFoldProcessor, "process", process)
    return chunks


def test_a_second_run_goes_on_from_finished_chunks(files, whole, tmp_path, capsys, counted):
    arguments = ("fold", tmp_path / "a.root", tmp_path / "b.root", *CHUNKS, "--output", tmp_path / "out")
    (tmp_path / "a.root").write_bytes(QCD)
    (tmp_path / "b.root").write_bytes(corrupt(FLAT))
    assert run(*arguments) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'b.root'}: " in told
    kept = len(list((tmp_path / "out.chunks").rglob(f"*{SUFFIX}")))
    assert kept >= 5
    assert f"{kept} finished chunks are kept in {tmp_path / 'out.chunks'}" in told
    assert not (tmp_path / "out").exists()

    (tmp_path / "b.root").write_bytes(FLAT)
    counted.clear()
    assert run(*arguments) == 0
    assert counted == [(str(tmp_path / "b.root"), 1000 * k) for k in range(5)]  # the file that changed
    assert_equal_histograms(tmp_path / "out", whole)
    assert {p.name for p in tmp_path.iterdir()} == {"a.root", "b.root", "out"}


def test_chunks_of_another_seed_model_or_setting_are_not_taken(files, tmp_path, counted, capsys):
    stopped = ("fold", files / "a.root", files / "bad.root", *CHUNKS, "--output", tmp_path / "out")
    run(*stopped)
    kept = len(list((tmp_path / "out.chunks").rglob(f"*{SUFFIX}")))
    for options in (["--seed", 7], ["--pt-min", 30], ["--replicas", 2], ["--no-unmatched"], ["--truth", "none"]):
        counted.clear()
        run(*stopped, *options)
        assert len(counted) >= kept, options
        assert f" {kept} finished chunks are kept" in capsys.readouterr().err.splitlines()[-2]
    counted.clear()
    run(*stopped)
    assert len(counted) == 1  # the bad one


class Marker:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def retold(data, change):
    """Change a kept chunk, as somebody could who knows the format but not the digest."""
    tensors = load(data)
    size = int.from_bytes(data[:8], "little")
    kept = json.loads(data[8 : 8 + size])["__metadata__"]
    return save(*change(tensors, kept))


DAMAGES = {
    "empty": lambda data, other: b"",
    "truncated": lambda data, other: data[:-100],
    "cut in its header": lambda data, other: data[:50],
    "garbage": lambda data, other: bytes(range(256)) * 20,
    "a flipped bit in the arrays": lambda data, other: data[:-8] + bytes([data[-8] ^ 64]) + data[-7:],
    "a flipped bit in the text": lambda data, other: data.replace(b"gen_jets", b"gen_jetr", 1),
    "longer": lambda data, other: data + b"more",
    "another chunk's": lambda data, other: other,
    "another structure": lambda data, other: save({"a": np.zeros(3)}, metadata={"content": "[]", "digest": ""}),
    "no text": lambda data, other: save({"0": np.zeros(3)}),
    "a sum missing": lambda data, other: retold(data, lambda t, kept: ({k: t[k] for k in list(t)[:-1]}, kept)),
    "a sum changed": lambda data, other: retold(data, lambda t, kept: (t | {"0": t["0"] + 1.0}, kept)),
}


def test_what_is_not_as_it_was_kept_is_made_again(files, whole, tmp_path, counted, caplog):
    arguments = ("fold", files / "a.root", files / "bad.root", *CHUNKS, "--output", tmp_path / "out")
    run(*arguments)
    kept = sorted((tmp_path / "out.chunks").rglob(f"*{SUFFIX}"))
    right = [path.read_bytes() for path in kept]
    marker = tmp_path / "was here"
    for name, damage in (DAMAGES | {"a pickle": lambda data, other: pickle.dumps(Marker(marker))}).items():
        kept[0].write_bytes(damage(right[0], right[1]))
        counted.clear()
        caplog.clear()
        run(*arguments)
        assert len(counted) == 2, name  # this one, and the bad one
        assert f"{kept[0]}: stored result of a chunk is not valid and is computed again: " in caplog.text, name
        counted.clear()
        run(*arguments)
        assert len(counted) == 1, name  # the repeated chunk is accepted
    assert not marker.exists()
    assert run("fold", files / "a.root", files / "b.root", *CHUNKS, "--output", tmp_path / "out") == 0
    assert_equal_histograms(tmp_path / "out", whole)


def test_bad_files_are_skipped_and_listed_when_asked(files, whole, tmp_path, capsys):
    names = [files / name for name in ("a.root", "bad.root", "none.root", "b.root", "missing.root")]
    options = ["--skip-bad-files", *CHUNKS, "--chunksize", 5000]
    assert run("fold", *names, *options, "--output", tmp_path / "out") == 0
    assert_equal_histograms(tmp_path / "out", whole)
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    found = {one["path"].rsplit("/")[-1]: (one["entries"], one["events"]) for one in skipped}
    assert found == {"bad.root": ([0, 5000], 5000), "none.root": (None, None), "missing.root": (None, None)}
    assert all(one["why"] for one in skipped)
    assert "Skipped      " in capsys.readouterr().out


def test_skipping_goes_on_from_the_chunks_of_a_run_that_stopped(files, tmp_path, counted):
    arguments = ("fold", files / "a.root", files / "bad.root", *CHUNKS, "--output", tmp_path / "out")
    assert run(*arguments) == 2
    kept = len(list((tmp_path / "out.chunks").rglob(f"*{SUFFIX}")))
    counted.clear()
    assert run(*arguments, "--skip-bad-files") == 0
    assert len(counted) == 10 - kept
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    n_skipped = sum(one["events"] for one in summary["skipped"])
    assert summary["datasets"]["jets"]["events"] == 10_000 - n_skipped < 10_000
    with uproot.open(tmp_path / "out" / "histograms.root") as file:
        assert file["jets/gen/njet"].values(flow=True).sum() == 10_000 - n_skipped


def test_what_was_read_and_is_refused_is_not_skipped(files, tmp_path, capsys):
    """Half of the events would be missing, for an option that was forgotten."""
    with uproot.open(files / "a.root") as file:
        arrays = file["Events"].arrays(entry_stop=300)
    jets = ak.zip({name[7:]: arrays[name] for name in arrays.fields if name.startswith("GenJet_")})
    broken = ak.with_field(jets, ak.where(ak.local_index(jets.pt) == 0, np.nan, jets.pt), "pt")
    made = {"GenJet": broken} | {name: arrays[name] for name in ("run", "luminosityBlock", "event")}
    with uproot.recreate(tmp_path / "nan.root") as file:
        file.mktree("Events", {name: column.type.content for name, column in made.items()})
        file["Events"].extend(made)
    arguments = ("fold", tmp_path / "nan.root", "--skip-bad-files", "--no-plots", "--output", tmp_path / "out")
    assert run(*arguments) == 2
    assert "expected finite numbers and pt above 0" in one_error(capsys)


def test_a_full_disk_is_no_bad_file(files, tmp_path, capsys, monkeypatch):
    """A disk that is full for a while would cost events, which are in good files."""
    extend, made = _RootFile.extend, []

    def full_once(self, columns):
        made.append(columns)
        if len(made) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        extend(self, columns)

    monkeypatch.setattr(_RootFile, "extend", full_once)
    arguments = ("fold", files / "a.root", *CHUNKS, "--skim", "root", "--skip-bad-files", "--output", tmp_path / "out")
    assert run(*arguments) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"]["jets"]["events"] == 5000


def test_one_bad_file_stops_a_run_by_default(files, tmp_path, capsys):
    assert run("fold", files / "a.root", files / "bad.root", *CHUNKS, "--output", tmp_path / "out") == 2
    assert f"coffea-iqn: error: {files / 'bad.root'}: " in capsys.readouterr().err


def test_nothing_but_bad_files_is_an_error(files, tmp_path, capsys):
    for names in (["bad.root"], ["none.root"]):
        arguments = ("fold", *(files / name for name in names), "--skip-bad-files", "--no-plots")
        assert run(*arguments, "--output", tmp_path / "out") == 2
        assert names[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def wait_for_a_chunk(folder, process=None):
    while not list(folder.rglob(f"*{SUFFIX}")) and (process is None or process.poll() is None):
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_dask_survives_a_killed_worker_and_says_when_its_scheduler_is_lost(files, whole, tmp_path, capsys):
    """Equal histograms from a cluster of two processes, one of them killed; a lost scheduler loses no chunk."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path / "dask"
    ) as cluster:
        options = ("--executor", "dask", "--scheduler", cluster.scheduler_address, *CHUNKS)
        arguments = ("fold", files / "a.root", files / "b.root", *options)
        with ThreadPoolExecutor() as threads:
            done = threads.submit(run, *arguments, "--output", tmp_path / "killed")
            wait_for_a_chunk(tmp_path / "killed.chunks")
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            assert done.result(timeout=120) == 0
            assert_equal_histograms(tmp_path / "killed", whole)
            capsys.readouterr()

            done = threads.submit(run, *arguments, "--output", tmp_path / "lost")
            wait_for_a_chunk(tmp_path / "lost.chunks")
            cluster.close()
            assert done.result(timeout=120) == 2
    told = capsys.readouterr().err
    assert "coffea-iqn: error: dask: expected a scheduler and workers until the end, lost one" in told
    assert "finished chunks are kept" in told
    assert run("fold", files / "a.root", files / "b.root", *CHUNKS, "--output", tmp_path / "lost") == 0
    assert_equal_histograms(tmp_path / "lost", whole)


def in_a_process(*arguments, **options):
    command = [sys.executable, "-m", "coffea_iqn.cli", *(str(a) for a in arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def test_an_interrupt_ends_within_seconds_and_loses_no_finished_chunk(files, whole, tmp_path):
    arguments = ("fold", files / "a.root", files / "b.root", *CHUNKS, "--output", tmp_path / "out")
    # SIGINT is ignored in background processes, and child processes inherit that
    process = in_a_process(*arguments, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for_a_chunk(tmp_path, process)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert time.monotonic() - started < 20
    assert "finished chunks are kept" in told
    assert "Traceback" not in told
    assert {p.name for p in tmp_path.iterdir()} == {"out.chunks"}
    assert run(*arguments) == 0
    assert_equal_histograms(tmp_path / "out", whole)


def test_an_interrupt_while_an_object_is_deleted_is_not_lost():
    """Python itself ignores it, and the fold would go on."""
    code = """
import signal, sys, time
from coffea_iqn import cli
class Deleted:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
def run(argv):
    Deleted()
    time.sleep(60)
cli._run = run
sys.exit(cli.main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (130, "coffea-iqn: interrupted; no incomplete output is left\n")


def no_room():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_leaves_nothing_half_written(files, tmp_path):
    arguments = ("fold", files / "a.root", "--no-checkpoints", "--no-plots", "--output", tmp_path / "out")
    process = in_a_process(*arguments, preexec_fn=no_room)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert "coffea-iqn: error: " in told
    assert "File too large" in told
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_training_in_one_line(files, tmp_path):
    arguments = ("train", files / "a.root", "--steps", 2, "--output")
    assert run(*arguments, tmp_path / "compiled") == 0  # what is compiled is kept on the disk as well
    process = in_a_process(*arguments, tmp_path / "out", preexec_fn=no_room)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert re.fullmatch(r"coffea-iqn: error: .* output .*/out.training/quantiles.pt: File too large", told.strip())
    assert [path.name for path in (tmp_path / "out.training").glob("*.p*")] == []


def test_errors_of_the_operating_system_in_a_chunk_are_shown_without_their_number():
    error = "Failed on WorkItem(filename='a.root'). The error was: OSError(28, 'output b: No space left on device')."
    assert _chunk_error(Exception(error)) == "a.root: output b: No space left on device"


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="another disk is needed")
def test_an_output_may_be_a_link_to_another_disk(files, tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        (tmp_path / "link").symlink_to(disk, target_is_directory=True)
        arguments = ("fold", files / "a.root", "--no-plots", "-q", "--skim", "root", "--output", tmp_path / "link")
        assert run(*arguments) == 0
        assert {path.name for path in Path(disk).iterdir()} == {"histograms.root", "summary.json", "skim"}
        assert len([*Path(disk, "skim").iterdir()]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


class Odd(UserWarning):
    pass


class Warns:
    """A processor that warns."""

    identity = "it"

    def process(self, events):
        warnings.warn("something is odd", Odd, stacklevel=1)
        return {}


@pytest.mark.filterwarnings("error")
def test_warnings_that_commands_put_into_their_own_words_are_not_shown_wherever_a_chunk_is():
    with pytest.raises(Odd):
        Tolerant(Warns(), skip=False).process(Namespace(metadata={}))
    made = Tolerant(Warns(), skip=False, ignored=[Odd]).process(Namespace(metadata={}))
    assert made == {"out": {}, "skipped": []}
