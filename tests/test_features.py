from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.features import INPUTS, SCALES, Compression, wrap_phi
from coffea_iqn.jets.targets import TARGETS, decode, encode


def jets(n):
    columns = (st.floats(10.0, 3000.0), st.floats(-5.0, 5.0), st.floats(-3.14159, 3.14159), st.floats(0.0, 500.0))
    return st.tuples(*(arrays(np.float64, n, elements=c) for c in columns)).map(lambda c: np.stack(c, axis=1))


@pytest.mark.parametrize("name", TARGETS)
@given(gen=jets(5), reco=jets(5))
def test_decode_inverts_encode(name, gen, reco):
    again = decode(TARGETS[name], encode(TARGETS[name], reco, gen), gen)
    np.testing.assert_allclose(again[:, [0, 1, 3]], reco[:, [0, 1, 3]], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(wrap_phi(again[:, 2] - reco[:, 2]), 0.0, atol=1e-9)


@pytest.mark.parametrize("name", TARGETS)
def test_a_jet_across_phi_pi_is_near(name):
    gen = np.array([[50.0, 0.0, 3.14, 5.0]])
    inside, across = np.array([[50.0, 0.0, 3.12, 5.0]]), np.array([[50.0, 0.0, -3.1232, 5.0]])
    learnt = functools.partial(encode, TARGETS[name])
    here = learnt(gen, gen)[0, 2]
    assert abs(learnt(across, gen)[0, 2] - here) == pytest.approx(abs(learnt(inside, gen)[0, 2] - here), rel=1e-2)


@given(arrays(np.float64, 10, elements=st.floats(-100.0, 100.0)))
def test_wrapped_angles_are_in_range_and_equivalent(phi):
    wrapped = wrap_phi(phi)
    assert (wrapped > -np.pi).all()
    assert (wrapped <= np.pi).all()
    np.testing.assert_allclose(np.cos(wrapped), np.cos(phi), atol=1e-9)


@pytest.mark.parametrize("name", INPUTS)
@given(gen=jets(3))
def test_inputs_are_finite_and_row_by_row(name, gen):
    inputs = INPUTS[name](gen)
    assert np.isfinite(inputs).all()
    np.testing.assert_array_equal(inputs[1:2], INPUTS[name](gen[1:2]))


@pytest.mark.parametrize("name", INPUTS)
def test_small_negative_masses_count_as_zero(name):
    gen = np.array([[20.0, 1.0, 0.5, -1e-6]], dtype=np.float32)
    zero = np.array([[20.0, 1.0, 0.5, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(INPUTS[name](gen), INPUTS[name](zero))


def test_standardisation_centres_scales_and_inverts():
    values = np.random.default_rng(0).normal([1.0, -5.0, 3.0], [2.0, 0.1, 0.0], (1000, 3))
    scale = Standardisation.of(values)
    z = scale.apply(values)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(z[:, :2].std(axis=0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scale.invert(z), values, rtol=1e-6)


@pytest.mark.parametrize("name", SCALES)
@given(reco=jets(5))
def test_scales_are_undone(name, reco):
    np.testing.assert_allclose(SCALES[name].apply(SCALES[name].undo(reco)), reco, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("card", "root"), [("cms", 2.5 - 0.15 * 2.0), ("atlas", 3.0 - 0.2 * 2.0)])
def test_scales_are_the_formulas_of_their_cards(card, root):
    raw = np.array([[16.0, -2.0, 0.3, 4.0]])
    factor = np.sqrt(root**2 / 16.0 + 1.0)
    np.testing.assert_allclose(SCALES[f"delphes-{card}"].apply(raw), [[16.0 * factor, -2.0, 0.3, 4.0 * factor]])


def test_symmetric_targets_do_not_know_one_end_from_the_other():
    gen, reco = np.array([[50.0, 1.0, 0.0, 5.0]]), np.array([[48.0, 1.1, 0.1, 4.0]])
    turned = np.array([1.0, -1.0, 1.0, 1.0])
    table = TARGETS["symmetric"]
    np.testing.assert_allclose(encode(table, reco, gen), encode(table, reco * turned, gen * turned))


def test_compression_flattens_and_inverts():
    rng = np.random.default_rng(0)
    gen = np.stack([rng.uniform(10, 1000, 5000), rng.uniform(-5, 5, 5000), np.zeros(5000), rng.uniform(1, 50, 5000)], 1)
    targets = rng.standard_t(2, (5000, 4)) / np.sqrt(gen[:, :1])
    compression = Compression.of(targets, gen)
    small = compression.apply(targets, gen)
    np.testing.assert_allclose(compression.invert(small, gen), targets, rtol=1e-9)
    soft, hard = gen[:, 0] < 100, gen[:, 0] > 500
    assert small[soft].std() == pytest.approx(small[hard].std(), rel=0.15)
    assert np.abs(small).max() < np.abs(targets / targets.std()).max()
