from __future__ import annotations

import numpy as np
import pytest

from conftest import make_pairs


@pytest.fixture
def gen():
    return make_pairs(300).gen


def uniforms(n):
    return np.random.default_rng(3).uniform(0.001, 0.999, (n, 4)).astype(np.float32)


def test_sample_gives_jets(emulator, gen):
    reco = emulator.sample(gen, uniforms(len(gen)))
    assert reco.shape == gen.shape
    assert reco.dtype == np.float32
    assert np.isfinite(reco).all()
    assert (reco[:, 0] > 0).all()
    assert (np.abs(reco[:, 2]) <= np.float32(np.pi)).all()
    assert (reco[:, 3] >= 0).all()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 16, 17, 299])
def test_a_jet_does_not_depend_on_its_batch(emulator, gen, n):
    tau = uniforms(len(gen))
    np.testing.assert_array_equal(emulator.sample(gen[:n], tau[:n]), emulator.sample(gen, tau)[:n])
    np.testing.assert_array_equal(emulator.efficiency(gen[:n]), emulator.efficiency(gen)[:n])


def test_blocks_do_not_show(emulator):
    gen = make_pairs(5000).gen
    tau = uniforms(len(gen))
    np.testing.assert_array_equal(emulator.sample(gen, tau)[4000:], emulator.sample(gen[4000:], tau[4000:]))


def test_levels_matter(emulator, gen):
    low, high = (emulator.sample(gen, np.full(gen.shape, level, dtype=np.float32)) for level in (0.1, 0.9))
    assert (low != high).all(axis=0).any()


def test_efficiency_is_a_probability(emulator, gen):
    efficiency = emulator.efficiency(gen)
    assert efficiency.shape == (len(gen),)
    assert ((efficiency > 0) & (efficiency < 1)).all()


def test_wrong_shapes_are_refused(emulator, gen):
    with pytest.raises(ValueError, match=r"one shape \(N, 4\)"):
        emulator.sample(gen, uniforms(len(gen))[:, :3])
