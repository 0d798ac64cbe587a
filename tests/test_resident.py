"""Networks, variables and levels as tensors on a device: a GPU where there is one, and what can be seen without."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from torch import nn

from coffea_iqn import Emulator, IQNFolder, bundle
from coffea_iqn.data import BUNDLES
from coffea_iqn.emulator import device as device_module
from coffea_iqn.emulator.device import Resident, levels_on_device
from coffea_iqn.iqn.device import find_device
from coffea_iqn.jets.context import N_COLUMNS
from coffea_iqn.jets.features import INPUTS, SCALES
from coffea_iqn.jets.targets import TARGETS, decode, encode
from coffea_iqn.numerics.uniforms import STREAM_ACCEPTANCE, event_keys, levels
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.training import run
from coffea_iqn.training.distil import distil
from coffea_iqn.training.emulators import train
from coffea_iqn.training.optimise import Fitted
from coffea_iqn.training.recipes import RECIPES
from conftest import TINY, make_pairs, make_unmatched, open_events

DOCS = Path(__file__).parents[1] / "docs"
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_GPU)]


@pytest.fixture
def keys():
    number = np.arange(500, dtype=np.uint64)
    return event_keys(7, "events", number % 3, number * 5, number * np.uint64(2**41 + 12345))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("use", [{}, {"replica": 2**24 - 1, "stream": STREAM_ACCEPTANCE}])
def test_levels_are_those_of_arrays(device, use, keys):
    index = np.arange(len(keys)) % 17
    there = levels_on_device(torch.tensor(keys, device=device), torch.tensor(index, device=device), **use)
    np.testing.assert_array_equal(there.cpu().numpy(), levels(keys, index, **use))


@pytest.mark.parametrize("device", DEVICES)
def test_features_are_those_of_arrays(device):
    pairs = make_pairs(500)
    gen, reco = pairs.x.astype(np.float64), pairs.y.astype(np.float64)
    gen_there, reco_there = torch.tensor(gen, device=device), torch.tensor(reco, device=device)
    made = [(of(gen_there), of(gen)) for of in INPUTS.values()]
    for targets in TARGETS.values():
        there, here = encode(targets, reco_there, gen_there), encode(targets, reco, gen)
        made += [(there, here), (decode(targets, there, gen_there), decode(targets, here, gen))]
    for scale in SCALES.values():
        made += [(scale.apply(reco_there), scale.apply(reco)), (scale.undo(reco_there), scale.undo(reco))]
    for there, here in made:
        assert there.device.type == device
        np.testing.assert_allclose(there.cpu().numpy(), here, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_jets_are_those_of_the_cpu(emulator, device):
    pairs = make_pairs(3000)
    shape = len(pairs.x), emulator.network.widths[0]
    tau = np.random.default_rng(1).uniform(1e-4, 1 - 1e-4, shape).astype(np.float32)
    reco, efficiency = emulator.respond(pairs.x, tau, pairs.context, backend="torch")
    there = [torch.tensor(columns, device=device) for columns in (pairs.x, tau, pairs.context)]
    reco_there, efficiency_there = emulator.on(device).respond(*there)
    alone = emulator.on(device).sample(*there)
    assert {tensor.device.type for tensor in (reco_there, efficiency_there, alone)} == {device}
    if device == "cpu":
        np.testing.assert_array_equal(reco_there, reco)
        np.testing.assert_array_equal(efficiency_there, efficiency)
    turned = reco_there.cpu().numpy() - reco
    turned[:, 2] = (turned[:, 2] + np.pi) % (2 * np.pi) - np.pi
    # where a jet has all the energy there is, its mass is bounded by the difference of two large numbers
    turned[reco[:, 0] * np.cosh(reco[:, 1]) > 0.999 * emulator.variables.support.energy_max, 3] = 0.0
    np.testing.assert_array_less(np.abs(turned), 1e-4 * (1.0 + np.abs(reco)))
    np.testing.assert_allclose(efficiency_there.cpu(), efficiency, atol=1e-4)
    np.testing.assert_array_equal(alone.cpu(), reco_there.cpu())


@pytest.fixture(params=["train", "distil"])
def training(request):
    """A short training, as a function of its device."""
    pairs, settings = make_pairs(), replace(RECIPES["default"], **TINY)
    if request.param == "train":
        return partial(train, pairs, settings, make_unmatched(pairs))
    return partial(distil, bundle.load("cms-delphes-ak4"), pairs, settings)


OF_TOYS = pytest.mark.filterwarnings("ignore:pairs. the bundle to start from")  # the pairs are no jets of a detector


@NO_GPU
@OF_TOYS
def test_a_training_is_that_of_the_cpu(training):
    there, here = (training(device=device).card["training"] for device in ("cuda", "cpu"))
    assert there["validation_loss"] == pytest.approx(here["validation_loss"], rel=1e-3)


@OF_TOYS
def test_all_of_a_training_is_on_its_device(training, monkeypatch):
    phases, to = [], nn.Module.to

    def fit(phase, module, train_loss, validation_loss, draw, settings, **_):
        generator = torch.Generator()
        train_loss(draw(32, generator), generator).backward()
        assert {loss.device.type for loss in (validation_loss(), *module.parameters())} == {"meta"}
        phases.append(phase)
        return Fitted(0.0, 0.0, 1)

    monkeypatch.setattr(run, "fit", fit)
    monkeypatch.setattr(run, "with_prompt", lambda *_: torch.arange(5))  # which looks at numbers
    monkeypatch.setattr(Emulator, "on", lambda self, device: Resident.of(self, torch.device(device)))

    # there are no numbers to come back
    def moved(module, device, **how):
        return to(module, device, **how) if str(device) == "meta" else module.to_empty(device=device)

    monkeypatch.setattr(nn.Module, "to", moved)
    training(device="meta")
    assert len(phases) >= 4


@pytest.mark.parametrize("device", DEVICES)
def test_a_fold_draws_at_the_levels_of_the_jets(device, shipped, keys):
    resident, gen = bundle.load(shipped).on(device), make_pairs(len(keys)).x
    index = np.arange(len(keys)) % 5
    there = [torch.tensor(columns, device=device) for columns in (gen, keys, index)]
    reco, found = resident.fold(*there, replica=3, raw_pt_min=15.0)
    expected, efficiency = resident.respond(
        there[0], torch.tensor(levels(keys, index, replica=3, n=reco.shape[1]), device=device), raw_pt_min=15.0
    )
    u = levels(keys, index, replica=3, stream=STREAM_ACCEPTANCE)[:, 0]
    np.testing.assert_array_equal(reco.cpu(), expected.cpu())
    np.testing.assert_array_equal(found.cpu(), u < efficiency.cpu().numpy())
    assert 0.2 < found.float().mean() < 1.0


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_that_are_no_jets_are_refused(device, shipped, keys):
    resident, gen = bundle.load(shipped).on(device), make_pairs(len(keys)).x
    gen, keys = torch.tensor(gen, device=device), torch.tensor(keys.astype(np.int64), device=device)
    index, tau = torch.arange(len(keys), device=device), torch.full_like(gen, 0.5)
    for column, bad, message in ((0, 0.0, "pt above 0"), (1, np.nan, "finite numbers"), (3, np.inf, "finite numbers")):
        strange = gen.clone()
        strange[7, column] = bad
        for draw in (resident.sample, resident.respond):
            with pytest.raises(ValueError, match=f"jets x: expected {message}, got 1 of 500"):
                draw(strange, tau)
        with pytest.raises(ValueError, match=f"jets x: expected {message}, got 1 of 500"):
            resident.fold(strange, keys, index)
    for level in (0.0, 1.0, np.nan):
        tau[3, 1] = level
        with pytest.raises(ValueError, match=r"tau: expected levels in \(0, 1\), got"):
            resident.sample(gen, tau)
    with pytest.raises(ValueError, match=r"expected shapes \(500, 4\) and \(500,\), got \(1, 4\) and \(500,\)"):
        resident.fold(gen, keys[:1], index)  # which would draw all jets from one event
    with pytest.raises(ValueError, match=r"expected integers, got torch\.float32 and torch\.int64"):
        resident.fold(gen, keys.float(), index)  # in which the last bits are lost


# of shipped bundles, whose networks are of one type, with one number of jets
@pytest.mark.parametrize(
    ("emulator", "n_jets"),
    [*((name, n) for name in RECIPES for n in (0, 20)), *((name, 20) for name in BUNDLES)],
    indirect=["emulator"],
    scope="session",
)
def test_nothing_leaves_the_device(emulator, n_jets, monkeypatch):
    """The device "meta" computes nothing, but refuses tensors of another one, as a GPU would."""
    monkeypatch.setattr(device_module, "check_jets", lambda *_, **__: None)  # which looks at numbers
    resident = Resident.of(emulator, torch.device("meta"))
    sizes = (4, emulator.network.widths[0], 4, N_COLUMNS)
    gen, tau, keys, context = (torch.ones((n_jets, n), device="meta") for n in sizes)
    reco, found = resident.fold(gen, keys.to(torch.int64), keys[:, 0].to(torch.int64), context)
    bare, efficiency = resident.respond(gen, tau)
    median = resident.median_pt(gen, context, threshold=15.0) if emulator.network.autoregressive else efficiency
    assert {tensor.device.type for tensor in (reco, found, bare, efficiency, median)} == {"meta"}
    n_targets = emulator.network.n_targets
    assert (reco.shape, found.shape, found.dtype) == ((n_jets, n_targets), (n_jets,), torch.bool)
    assert median.shape == (n_jets,)
    assert all(not p.is_meta for p in emulator.network.module.parameters())


@pytest.mark.parametrize("device", ["auto", *DEVICES])
def test_folders_on_a_device(device):
    events = open_events("qcd_ak4.root", entry_stop=300)
    options = {"acceptance": False, "variations": ["jer"]}
    usual = IQNFolder("cms-delphes-ak4", **options)(events.GenJet, events)
    there = IQNFolder("cms-delphes-ak4", device=device, **options)(events.GenJet, events)
    for name in ("pt", "mass"):
        for a, b in ((there, usual), (there.JER.up, usual.JER.up)):
            np.testing.assert_allclose(ak.flatten(a[name]), ak.flatten(b[name]), rtol=1e-4, atol=1e-4)


def test_devices_that_are_none():
    with pytest.raises(ValueError, match=r"^device: expected auto, cpu, cuda or cuda:N, got 'gpu'$"):
        IQNFolder("cms-delphes-ak4", device="gpu")
    with pytest.raises(ValueError, match=r"^device: expected cpu for backend 'numba', got 'cuda'$"):
        IQNFolder("cms-delphes-ak4", device="cuda", backend="numba")
    with pytest.raises(ValueError, match=r"^device: expected cuda:99, but torch .* finds \d+ such devices"):
        find_device("cuda:99")


def test_a_folder_without_its_device_says_so():
    events = open_events("qcd_ak4.root", entry_stop=10)
    folder = IQNFolder("cms-delphes-ak4", device="cuda:99")  # which another machine may have
    with pytest.raises(ValueError, match=r"^device: expected cuda:99"):
        folder(events.GenJet, events)


def test_the_example_of_the_documentation():
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "clusters.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if ".fold(" in block)
    space = {}
    exec(example, space)
    assert space["reco"].shape == (2, 4)
    assert space["found"].dtype == torch.bool


def test_finished_chunks_of_a_device_are_its_own():
    assert len({IQNFoldProcessor(device=device).identity for device in ("cpu", "cuda", "auto")}) == 3
