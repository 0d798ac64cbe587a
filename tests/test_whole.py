"""Outputs: nothing that is there is replaced unasked, and nobody else writes to the same place."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from coffea_iqn.cli import EXIT_INTERRUPTED, main
from coffea_iqn.data import sample_path
from coffea_iqn.files import atomic
from coffea_iqn.files.atomic import at_work, check_new, whole_file
from conftest import one_error, run, undrawn

SAMPLE = sample_path("ttbar_ak4_genonly.root")


def test_what_is_there_is_refused_unless_it_may_be_replaced(tmp_path):
    check_new(tmp_path / "new", force=False)
    check_new(tmp_path, force=False)  # empty
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="expected a new path, got one where something is already: --force"):
            check_new(path, force=False)
        check_new(path, force=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fold", SAMPLE, "--output"),
        ("train", "no-such-file.root", "--output"),
        ("generate", "--process", "qcd", "--events", 1, "--output"),
    ],
)
def test_commands_refuse_an_output_that_is_there_before_they_read(arguments, tmp_path, capsys):
    output = tmp_path / "output"
    output.mkdir()
    (output / "thesis.tex").write_text("precious")
    assert run(*arguments, output) == 2
    assert f"output {output}: expected a new path" in one_error(capsys)
    assert (output / "thesis.tex").read_text() == "precious"


def test_a_fold_that_replaces_another_leaves_none_of_its_plots_and_all_other_files(tmp_path):
    output = tmp_path / "out"
    with undrawn():
        assert run("fold", SAMPLE, "--output", output) == 0
    plots = set(json.loads((output / "summary.json").read_text())["plots"])
    assert plots == {path.name for path in (output / "plots").iterdir()} != set()
    (output / "plots" / "mine.png").write_text("precious")
    assert run("fold", SAMPLE, "--no-plots", "--force", "--output", output) == 0
    assert [path.name for path in (output / "plots").iterdir()] == ["mine.png"]


def test_only_one_process_is_at_work_on_an_output(tmp_path, capsys):
    output = tmp_path / "out"
    with at_work(output):
        with pytest.raises(
            FileExistsError, match=rf"expected no other process at work there, found process {os.getpid()}"
        ):
            at_work(output).__enter__()
        assert run("fold", SAMPLE, "--no-plots", "--output", output) == 2
        assert "at work there" in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_killed_is_not_at_work(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock = tmp_path / ".out.lock"
    lock.write_text(f"{gone.pid} {socket.gethostname()}")
    with at_work(tmp_path / "out"):
        assert lock.read_text().startswith(str(os.getpid()))
    lock.write_text("1 another.machine")
    with pytest.raises(FileExistsError, match=r"on another\.machine; if that process no longer exists, remove"):
        at_work(tmp_path / "out").__enter__()


def test_of_two_that_find_the_lock_of_a_killed_process_one_is_at_work(tmp_path, monkeypatch):
    """The second has found it before the first takes it over."""
    output, lock = tmp_path / "out", tmp_path / ".out.lock"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock.write_text(f"{gone.pid} {socket.gethostname()}")
    first = at_work(output)

    def found_dead(pid):
        monkeypatch.undo()
        first.__enter__()
        return False

    monkeypatch.setattr(atomic, "_is_alive", found_dead)
    with pytest.raises(FileExistsError, match=f"found process {os.getpid()}"):
        at_work(output).__enter__()
    assert lock.read_text().startswith(f"{os.getpid()} ")
    first.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_what_was_to_be_written(tmp_path):
    def write():
        with whole_file(tmp_path / "a"):
            Path("/dev/full").write_text("more than nothing")

    with pytest.raises(OSError, match=f"output {tmp_path / 'a'}: No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interrupted", ["coffea_iqn.commands.terminal", "coffea_iqn.commands.fold"])
def test_an_interrupt_while_modules_are_imported_is_one_line(interrupted, monkeypatch, capsys):
    class Interrupts:
        def find_spec(self, name, path=None, target=None):
            if name == interrupted:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in sys.modules if name == interrupted]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    try:
        assert main(["fold", str(SAMPLE), "--output", "nowhere"]) == EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "coffea-iqn: interrupted; no incomplete output is left\n"
