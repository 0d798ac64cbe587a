"""Remote files are read like local ones, with a time limit for servers that do not answer."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import threading
import time

import numpy as np
import pytest
import uproot

from coffea_iqn import running
from coffea_iqn.data import sample_path
from coffea_iqn.files import reading
from coffea_iqn.files.inputs import InputError, inspect
from coffea_iqn.processors import IQNFoldProcessor
from conftest import one_error, run

QCD = sample_path("qcd_ak4.root")


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serve the bytes of the QCD sample, but only for the first requests."""

    def do_HEAD(self):
        self._answer(b"", QCD.stat().st_size)

    def do_GET(self):
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        self.server.n_requests += 1
        if self.server.n_requests > self.server.most_requests:
            self.server.stopped.wait()
        data = self.server.data[first : last + 1]
        self._answer(data, len(data))

    def _answer(self, data, length):
        self.send_response(206 if data else 200)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(most_requests=10**9):
    """Return the address of the QCD sample on a server that answers a limited number of requests."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    server.daemon_threads = True
    server.data, server.n_requests, server.most_requests = QCD.read_bytes(), 0, most_requests
    server.stopped = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/qcd.root", server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent():
    """Return the address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_file_on_a_server_is_read_as_one_here(tmp_path):
    with serving() as (address, _):
        run("fold", f"qcd={address}", "--output", tmp_path / "there", "--no-plots", "--quiet")
    run("fold", f"qcd={QCD}", "--output", tmp_path / "here", "--no-plots", "--quiet")
    there, here = (json.loads((tmp_path / where / "summary.json").read_text()) for where in ("there", "here"))
    assert there["datasets"] == here["datasets"]
    ours, theirs = (uproot.open(tmp_path / where / "histograms.root") for where in ("here", "there"))
    for key in ours.keys(filter_classname="TH*"):
        assert np.array_equal(ours[key].values(), theirs[key].values()), key


@pytest.mark.parametrize("protocol", ["http", "root"])
def test_a_server_that_never_answers_is_named_and_given_up(protocol, silent, tmp_path, capsys, monkeypatch):
    if protocol == "root":
        pytest.importorskip("fsspec_xrootd")
    monkeypatch.setattr(reading, "NOTICE", 0.2)
    started = time.monotonic()
    path = f"{protocol}://{silent}//store/a.root"
    assert run("fold", path, "--timeout", "0.5", "--output", tmp_path / "out") == 2
    assert time.monotonic() - started < 30.0  # the client itself would wait for minutes
    *said, error = capsys.readouterr().err.strip().splitlines()
    assert [line.split(" ", 1)[1] for line in said] == [f"{path}: waiting for its server, for at most 0.5 s"]
    assert error == f"coffea-iqn: error: {path}: expected an answer from its server within 0.5 s, got none"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stops_answering_in_the_middle_is_given_up(tmp_path, capsys):
    """The time limit also applies to reading a chunk; the error names the file."""
    with serving() as (address, server):
        source = inspect(address, collections=["GenJet"], timeout=1.0)
        server.most_requests = server.n_requests + 3  # the number of requests to open the file
        with running.open_executor("iterative", status=False) as executor, pytest.raises(InputError) as error:
            running.run(IQNFoldProcessor(truth=None), {"qcd": [source]}, executor, collections=["GenJet"], status=False)
    assert str(error.value) == f"{address}: {address}: expected an answer from its server within 1 s, got none"


def test_what_is_not_there_is_said_at_once(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert run("fold", f"http://127.0.0.1:{port}/a.root", "--output", tmp_path / "out") == 2
    assert "expected a readable ROOT file" in one_error(capsys)
