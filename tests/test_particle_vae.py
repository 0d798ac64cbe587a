"""The autoencoder that emulated particles are compared with, which is a script of the benchmarks."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from coffea_iqn.jets.constituents import Constituents
from coffea_iqn.jets.shapes import shapes

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "particle_vae.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="installed without the repository")


@pytest.fixture(scope="module")
def vae():
    return runpy.run_path(str(SCRIPT))


def jets(n, seed=0):
    """Jets of one to sixty particles."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 61, n)
    m = counts.sum()
    values = np.stack([rng.exponential(5.0, m), *rng.normal(0.0, 0.1, (2, m)), np.zeros(m)], axis=1)
    return Constituents(values, np.zeros(m, dtype=np.int64), counts)


def test_the_loss_by_hand(vae):
    target, output = torch.zeros((2, 1, 3, 50))
    target[0, :, 0] = torch.tensor([3.0, 0.0, 4.0])
    output[0, :, 0] = torch.tensor([3.0, 4.0, 0.0])
    mean, log_variance = torch.full((1, 20), 0.5), torch.zeros(1, 20)
    chamfer = 25.0 + 25.0  # each is nearer to what is padded than to the other
    expected = 0.5 * 0.25 * 20 / 9.0 + 8.0 / 9.0 * (chamfer + 0.1 * (5.0 - 3.0) ** 2)
    assert float(vae["loss"](output, target, mean, log_variance)) == pytest.approx(expected, rel=1e-3)
    assert float(vae["loss"](target, target, 0.0 * mean, log_variance)) == pytest.approx(0.0, abs=1e-3)


def test_what_goes_in_are_the_hardest_particles(vae):
    some = jets(40)
    made = vae["momenta"](some)
    pt = np.hypot(made[:, 0], made[:, 1])
    assert (np.diff(pt, axis=1) <= 0.0).all()
    assert ((pt > 0.0).sum(axis=1) == np.minimum(some.counts, 50)).all()
    few = some.counts <= 50
    np.testing.assert_allclose(np.hypot(*made.sum(axis=2)[few, :2].T), shapes(some, 0.5)[few, 0], rtol=1e-5)


def test_a_jet_is_drawn_the_same_in_other_company(vae, tmp_path):
    gen, levels = jets(130), np.random.default_rng(1).uniform(size=(130, 20)).astype(np.float32)
    trained = vae["train"](gen, jets(130, seed=2), 0.0, watch=lambda _: None)
    drawn = trained.draw(gen, levels)
    n = gen.counts[:7].sum()
    few = trained.draw(Constituents(gen.values[:n], gen.code[:n], gen.counts[:7]), levels[:7])
    assert np.array_equal(few.values, drawn.values[: len(few.values)])
    assert np.array_equal(few.counts, drawn.counts[:7])
    assert drawn.values[:, 0].min() > 0.25
    assert not np.array_equal(trained.draw(gen, 1.0 - levels).values, drawn.values)
    trained.save(tmp_path / "vae")
    again = type(trained).load(tmp_path / "vae").draw(gen, levels)
    assert np.array_equal(again.values, drawn.values)
