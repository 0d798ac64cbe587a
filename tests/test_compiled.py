"""Compiled code against what it stands for: libraries of functions, torch, and itself in other company."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba as nb
import numpy as np
import pytest
import torch
from numba.core import caching, event

from coffea_iqn import bundle
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.network import COMPILED, Network
from coffea_iqn.iqn.networks import mlp
from coffea_iqn.jets.context import known_levels
from coffea_iqn.numerics import compiling, single
from coffea_iqn.numerics.caches import forget_stale
from coffea_iqn.numerics.dense import TILE, feed_forward, pack
from conftest import emulators_of, make_pairs

# function: range, reference, and how far off it may be, relative to one plus the size of the result
FUNCTIONS = {
    "exp": (-20.0, 1.0, np.exp, 2e-7),
    "log": (1e-6, 1e6, np.log, 2e-7),
    "sine": (-40.0, 40.0, lambda turns: np.sin(2 * np.pi * turns), 4e-7),
    "tanh": (-20.0, 20.0, np.tanh, 2e-7),
    "sinh": (-9.0, 9.0, np.sinh, 2e-6),
    "arcsinh": (-1e4, 1e4, np.arcsinh, 2e-7),
    "logistic": (-50.0, 50.0, lambda x: 1 / (1 + np.exp(-x)), 2e-7),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions(name):
    low, high, reference, tolerance = FUNCTIONS[name]
    one = getattr(single, name)

    @nb.njit(error_model="numpy")
    def all_of(x, out):
        for i in range(len(x)):
            out[i] = one(x[i])

    x = np.random.default_rng(0).uniform(low, high, 100_000).astype(np.float32)
    x = np.concatenate([x, np.linspace(max(low, -1), min(high, 1), 1001, dtype=np.float32)])
    found = np.empty_like(x)
    all_of(x, found)
    expected = reference(x.astype(np.float64))
    assert (np.abs(found - expected) / (1 + np.abs(expected))).max() < tolerance
    all_of(x[:7], found[:7])  # where the compiler takes them one by one, and not eight at once
    alone = np.empty(7, dtype=np.float32)
    all_of(x[:7], alone)
    np.testing.assert_array_equal(alone, found[:7])


@nb.njit
def compiled_layers(x, n, networks, which, one, two):
    return feed_forward(x, n, networks, which, one, two)


@pytest.mark.parametrize(
    ("n_inputs", "n_outputs", "hidden"), [(5, 3, (7,)), (38, 28, (36, 36)), (1, 1, ()), (9, 200, (150, 6))]
)
@pytest.mark.parametrize("n", [1, 23, TILE])
def test_layers_equal_those_of_torch(n_inputs, n_outputs, hidden, n):
    torch.manual_seed(0)
    network = mlp(n_inputs, n_outputs, hidden, 0.2)
    x = np.full((200, TILE), np.nan, dtype=np.float32)
    x[:n_inputs, :n] = np.random.default_rng(0).normal(size=(n_inputs, n))
    one, two = (np.full((200, TILE), np.nan, dtype=np.float32) for _ in range(2))
    layers = [(of.weight.detach().numpy(), of.bias.detach().numpy()) for of in network if hasattr(of, "weight")]
    networks = pack([(layers[:1], 0.1, None), (layers, 0.2, None)])
    out = compiled_layers(x, n, networks, 1, one, two)[:n_outputs, :n]
    with torch.inference_mode():
        expected = network(torch.from_numpy(x[:n_inputs, :n].T.copy())).numpy().T
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def shipped_one():
    return bundle.load("cms-delphes-ak4")


def levels(shape, seed=0):
    return np.random.default_rng(seed).uniform(1e-7, 1 - 1e-7, shape).astype(np.float32)


def assert_same_jets(some, others, tolerance=1e-5):
    """Within the tolerance, relative; angles within it in rad, and masses, which may be zero, ten times it in GeV."""
    np.testing.assert_allclose(some[:, 0], others[:, 0], rtol=tolerance)
    turned = (some[:, 2] - others[:, 2] + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(some[:, 1], others[:, 1], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(turned, 0.0, atol=tolerance)
    np.testing.assert_allclose(some[:, 3], others[:, 3], rtol=tolerance, atol=10 * tolerance)


@emulators_of(COMPILED)
def test_backends_agree(emulator):
    assert emulator.is_compiled
    pairs = make_pairs(5000)
    tau = levels(pairs.x.shape)
    for threshold in (None, 20.0):
        options = {"raw_pt_min": threshold}
        both = [emulator.sample(pairs.x, tau, pairs.context, backend=b, **options) for b in ("numba", "torch")]
        # a threshold in the tail of a law, or a law hardly learnt, leaves single precision few digits in each backend.
        # One that was learnt for long is steep: one mass in a thousand of jets of ttbar differs by 0.3 MeV
        learnt = "hash" in emulator.card
        assert_same_jets(*both, tolerance=3e-5 if learnt and threshold is None else 1e-4)
    reco, efficiency = emulator.respond(pairs.x, tau, pairs.context)
    np.testing.assert_array_equal(reco, emulator.sample(pairs.x, tau, pairs.context))
    np.testing.assert_allclose(efficiency, emulator.efficiency(pairs.x, pairs.context), atol=1e-5)
    _, above = emulator.respond(pairs.x, tau, pairs.context, raw_pt_min=20.0)
    np.testing.assert_array_equal(above, emulator.efficiency(pairs.x, pairs.context, raw_pt_min=20.0))


@pytest.mark.parametrize(
    "change", [{"targets": "residual"}, {"scale": "none"}, {"compression": None}, {"raw_pt_min": 0.0}]
)
def test_backends_agree_on_all_variables(shipped_one, change):
    # a form of the four-momentum without an atom goes with a network that has none
    one = bundle.load("cms-delphes-ak4-fast") if "targets" in change else shipped_one
    emulator = replace(one, variables=replace(one.variables, **change))
    gen = make_pairs(2000).x
    both = [emulator.sample(gen, levels(gen.shape) * 0.98 + 0.01, backend=backend) for backend in ("numba", "torch")]
    assert_same_jets(*both)


@pytest.mark.parametrize("hidden", [(3,), (150, 21), (40, 40, 40)])
def test_networks_of_any_size(shipped_one, hidden):
    torch.manual_seed(0)
    atoms = shipped_one.network.description["atoms"]
    network = SplineIQN(shipped_one.network.n_inputs, hidden=hidden, atoms=atoms)
    emulator = replace(shipped_one, network=Network.of(network.eval()))
    gen = make_pairs(500).x
    assert_same_jets(*(emulator.sample(gen, levels(gen.shape), backend=backend) for backend in ("numba", "torch")))


def test_a_jet_does_not_depend_on_its_company(shipped_one):
    pairs = make_pairs(3 * TILE + 11)
    tau = levels(pairs.x.shape)
    reco, efficiency = shipped_one.respond(pairs.x, tau, pairs.context)
    order = np.random.default_rng(1).permutation(len(reco))
    for rows in (order, order[:1], order[: TILE + 1], np.arange(5)):
        some, found = shipped_one.respond(pairs.x[rows], tau[rows], pairs.context[rows])
        np.testing.assert_array_equal(some, reco[rows])
        np.testing.assert_array_equal(found, efficiency[rows])


def test_levels_unknown_of_all_cost_nothing_and_change_nothing(shipped_one):
    pairs = make_pairs(300)
    tau, context = levels(pairs.x.shape), pairs.context.copy()
    context[150:] = 0.0
    reco = shipped_one.sample(pairs.x, tau, context)
    np.testing.assert_array_equal(shipped_one.sample(pairs.x[150:], tau[150:]), reco[150:])
    some = {"levels": known_levels(context)}
    np.testing.assert_array_equal(shipped_one.sample(pairs.x, tau, context, **some), reco)
    np.testing.assert_array_equal(shipped_one.sample(pairs.x[:150], tau[:150], context[:150]), reco[:150])


@pytest.mark.parametrize("value", [3e38, -3e38, 0.0])
def test_no_number_breaks_it(shipped_one, value):
    gen = make_pairs(50).x
    tau = levels(gen.shape)
    expected = shipped_one.sample(gen, tau)
    for column in range(0 if value > 0.0 else 1, 4):  # no pt is below zero
        strange = gen.copy()
        strange[7, column] = value
        others = np.arange(50) != 7
        np.testing.assert_array_equal(shipped_one.sample(strange, tau)[others], expected[others])


FOLD = """
import hashlib
import warnings
import awkward as ak
import numpy as np
from conftest import open_events
from coffea_iqn.processors import IQNFoldProcessor
warnings.simplefilter("ignore")
for name, model in (("qcd_ak4.root", "cms-delphes-ak4"), ("delphes_1000.root", "cms-delphes-ak5")):
    events = open_events(name, entry_stop=500, metadata={"dataset": "x"})
    processor = IQNFoldProcessor(model, truth=None)
    reco = processor.folder(events.GenJet, events)
    columns = [np.asarray(ak.flatten(reco[column])) for column in ("pt", "eta", "phi", "mass", "genJetIdx")]
    hists = processor.postprocess(processor.process(events))["hists"]
    columns += [np.ascontiguousarray(hists[name].view(flow=True)[of]) for name in hists for of in ("value", "variance")]
    print(len(reco), *(hashlib.sha256(column.tobytes()).hexdigest() for column in columns))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="compiles for x86-64")
def test_another_processor_gives_the_same_bits():
    """From gen jets to histograms, on this processor, and as on one of 2009: fewer numbers at once, nothing fused."""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)} | plain
    there = subprocess.run([sys.executable, "-c", FOLD], env=environment, capture_output=True, text=True, check=False)
    assert there.returncode == 0, there.stderr
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(FOLD, {})
    assert here.getvalue() == there.stdout
    assert there.stdout.startswith("500 ")


def test_what_is_older_than_the_package_is_compiled_again(tmp_path):
    (tmp_path / "inner" / "__pycache__").mkdir(parents=True)
    module, index = tmp_path / "inner" / "kernels.py", tmp_path / "inner" / "__pycache__" / "kernels.nbi"
    other = tmp_path / "other.py"
    for path, age in ((module, 300), (other, 200), (index, 100)):
        path.write_text("")
        os.utime(path, (1e9 - age, 1e9 - age))
    forget_stale(tmp_path)
    assert index.exists()
    os.utime(other, (1e9, 1e9))
    forget_stale(tmp_path)
    assert not index.exists()


def test_without_a_folder_to_write_to_every_process_compiles(monkeypatch):
    """A container with a read-only installation and no home."""
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    compiling._warn_uncached.cache_clear()
    with pytest.warns(RuntimeWarning, match="numba: expected a folder for compiled code that can be written") as said:
        one, two = compiling.kernel(lambda x: x + 1), compiling.kernel(lambda x: x + 2)
    assert (one(1), two(1), len(said)) == (2, 3, 1)


def test_what_compiled_code_alone_calls_cannot_be_called_from_python():
    """Where it would run without being compiled: slowly, and rounding as numpy's numbers do."""
    with pytest.raises(TypeError, match="exp: expected a call from compiled code"):
        single.exp(np.float32(1.0))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_cycles_are_not_collected_while_code_of_the_package_is_compiled(monkeypatch, enabled, ours):
    """Nor afterwards where a user has switched it off."""
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(compiling, "_warn_uncached", lambda: None)

    def seen(x):
        return x + 1

    if ours:
        seen.__module__ = compiling.__name__
    compiled = compiling.kernel(seen)
    if not enabled:
        gc.disable()
    try:
        with event.install_timer("numba:compile", lambda _: None) as timer:
            collected: list[bool] = []
            monkeypatch.setattr(timer, "on_start", lambda _: collected.append(gc.isenabled()))
            monkeypatch.setattr(timer, "on_end", lambda _: None)
            assert compiled(1) == 2
        assert collected == [enabled and not ours]
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
