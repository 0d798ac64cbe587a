from __future__ import annotations

import contextlib
import functools
import json
from dataclasses import replace

import coffea.util
import numpy as np
import pytest
from coffea import processor
from coffea.nanoevents import DelphesSchema, NanoEventsFactory

from coffea_iqn import IQNFolder, bundle, cli, plotting
from coffea_iqn.commands import terminal
from coffea_iqn.context import event, flavour, neighbours
from coffea_iqn.data import BUNDLES, bundle_path, sample_path
from coffea_iqn.emulator.unmatched import far_columns
from coffea_iqn.events.collections import flatten_jets, gen_events
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.jets.context import encode
from coffea_iqn.plotting import saving
from coffea_iqn.processors import PairsProcessor
from coffea_iqn.training.emulators import train
from coffea_iqn.training.pairs import JetPairs, UnmatchedJets
from coffea_iqn.training.recipes import RECIPES

coffea.util.coffea_console.quiet = True

# the longest files come first, so that two workers end together; the second and third compile nothing, while another
# worker compiles what most files need
FIRST = ("emulator", "networks", "training", "faults", "validation", "cli", "events_of_others", "compiled", "density")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the longest files first; within files the order stays."""
    place = {f"test_{name}": k for k, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))


def run(*arguments):
    """Run the command line in this process, and undo its --quiet."""
    try:
        return cli.main([str(a) for a in arguments])
    finally:
        terminal.console.quiet = False


def one_error(capsys):
    """Check that standard error has exactly one line, an error of the command line, and return it."""
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("coffea-iqn: error: ")
    return lines[0]


TINY = {"steps": 40, "check_every": 20, "stages": 1, "hidden": (8, 8)}


def make_pairs(n: int = 2000, seed: int = 0) -> JetPairs:
    """Make gen jets of two samples, and reco jets with pt 2 % low and a resolution of 10 %; soft jets are often lost.

    In the second sample, which has two jets per event, masses are 20 % lower.
    """
    rng = np.random.default_rng(seed)
    pt = 10.0 + rng.exponential(30.0, n)
    gen = np.stack([pt, rng.uniform(-4.5, 4.5, n), rng.uniform(-np.pi, np.pi, n), 0.1 * pt], axis=1)
    reco = gen * np.stack([rng.normal(0.98, 0.1, n), np.ones(n), np.ones(n), rng.normal(1.0, 0.1, n)], axis=1)
    reco[:, 1:3] += rng.normal(0.0, 0.02, (n, 2))
    reco[rng.uniform(size=n) > pt / 20.0] = np.nan
    sample = np.repeat([0, 1], [n - n // 4 * 2, n // 4 * 2])
    reco[sample == 1, 3] *= 0.8
    counts = np.repeat([1, 2], [n - n // 4 * 2, n // 4])
    known = {
        "flavour": flavour(rng.choice([21, 1, 4, 5, 0], n)),
        "neighbours": neighbours(gen, np.ones(n, dtype=int)),
        "event": event(gen, counts),
        "substructure": np.where(rng.uniform(size=n)[:, None] < 0.3, rng.uniform(size=(n, 3)), np.nan),
        "prompt": np.eye(10)[np.minimum(rng.integers(0, 60, n), 9)],  # 1 in the last column for most jets
    }
    level = rng.uniform(size=n).astype(np.float32)
    return JetPairs(gen.astype(np.float32), reco.astype(np.float32), encode(n, known), level, sample)


def make_unmatched(pairs: JetPairs, seed: int = 1) -> UnmatchedJets:
    """Make unmatched jets: at ΔR = 0.5 from half of the lost gen jets, and opposite to the gen jet in 1/5 of events."""
    rng = np.random.default_rng(seed)

    def jets(n, eta, phi):
        pt = 10.0 + rng.exponential(5.0, n)
        return np.stack([pt, eta, phi, 0.2 * pt], axis=1).astype(np.float32)

    n_events = len(pairs.x)
    near_row = np.flatnonzero(~pairs.matched & (rng.uniform(size=n_events) < 0.5))
    angle = rng.uniform(-np.pi, np.pi, len(near_row))
    eta, phi = pairs.x[near_row, 1:3].T
    near = jets(len(near_row), eta + 0.5 * np.cos(angle), phi + 0.5 * np.sin(angle))
    columns, frames = far_columns(pairs.x, np.ones(n_events, dtype=np.int64), None)
    far_event = np.flatnonzero(rng.uniform(size=n_events) < 0.2)
    n = len(far_event)
    far = jets(n, rng.normal(0.0, 2.0, n), frames.axis[far_event] + rng.normal(0.0, 0.4, n))
    both = np.stack(frames, axis=1)
    of_event, x_event = (pairs.split_key, pairs.sample), np.arange(n_events)
    return UnmatchedJets(near, near_row, far, far_event, columns, both, *of_event, x_event, reach=0.8)


def _write_nothing(figure, to, **_):
    """Replacement of `plotting.save`."""
    (to.write if hasattr(to, "write") else to.write_bytes)(b"a picture")


@contextlib.contextmanager
def undrawn():
    """Make figures without rendering them, which takes most of the time; `test_plotting` renders and saves them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (plotting, saving):
            patch.setattr(module, "save", _write_nothing)
        yield


CARD = {
    "jets": {"algorithm": "anti-kt", "radius": 0.4, "cone": 0.25},
    "domain": {"gen_pt": [15.0, 3000.0], "gen_abs_eta": [0.0, 5.0]},
}


@functools.cache
def trained(recipe: str):
    """Train an emulator of a recipe for a few steps, once in a process."""
    pairs = make_pairs()
    made = train(pairs, replace(RECIPES[recipe], **TINY), make_unmatched(pairs))
    made.card.update(CARD)
    return made


NETWORKS = {name: settings.network for name, settings in RECIPES.items()}
NETWORKS |= {name: json.loads((bundle_path(name) / "model.json").read_text())["network"]["type"] for name in BUNDLES}
"""Types of the networks of recipes and shipped bundles."""


@pytest.fixture(scope="session", params=NETWORKS)
def emulator(request):
    """An emulator of each recipe, trained for a few steps, and each shipped one."""
    return bundle.load(request.param) if request.param in BUNDLES else trained(request.param)


def emulators_of(types):
    """Leave a test only the emulators with networks of these types."""
    names = [name for name, network in NETWORKS.items() if network in types]
    return pytest.mark.parametrize("emulator", names, indirect=True, scope="session")


@pytest.fixture
def emulator_bundle(emulator, tmp_path):
    """Path of a bundle of each emulator."""
    path = tmp_path / "bundle"
    bundle.save(emulator, path)
    return path


@pytest.fixture(params=BUNDLES)
def shipped(request):
    """Name of each shipped bundle."""
    return request.param


@pytest.fixture
def folder():
    return IQNFolder("cms-delphes-ak4", seed=1)


def open_events(name: str, **keywords):
    """Open the events of a shipped sample."""
    delphes = name.startswith("delphes")
    return NanoEventsFactory.from_root(
        {str(sample_path(name)): "Delphes" if delphes else "Events"},
        schemaclass=DelphesSchema if delphes else NanoSchema,
        **keywords,
    ).events()


@pytest.fixture
def nano_events():
    return open_events("qcd_ak4.root", entry_stop=300)


@pytest.fixture
def delphes_events():
    return open_events("delphes_1000.root", entry_stop=100)


def context_of(jets, events, names=None):
    """Return the conditioning variables of jagged jets that are all valid."""
    flat = flatten_jets(jets)
    return gen_events(jets, events, flat, flat.valid(), names).context()


def run_over(instance, files, chunksize=100_000):
    """Run a processor over shipped samples as one dataset."""
    runner = processor.Runner(executor=processor.IterativeExecutor(retries=0), schema=NanoSchema, chunksize=chunksize)
    return runner({"x": [str(sample_path(f)) for f in files]}, instance, treename="Events")


def collect(files, chunksize=100_000, **options):
    """Collect the training pairs of shipped samples."""
    return run_over(PairsProcessor(**options), files, chunksize)
