from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from coffea_iqn.numerics.uniforms import STREAM_ACCEPTANCE, event_keys, levels, philox

FULL = 0xFFFFFFFF
WORD = st.integers(0, FULL)


def philox_slowly(counter, key):
    """Philox4x32-10 as defined in the paper, in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & FULL, (p0 >> 32) ^ c[3] ^ k[1], p0 & FULL]
        k = [(k[0] + 0x9E3779B9) & FULL, (k[1] + 0xBB67AE85) & FULL]
    return c


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([FULL] * 4, [FULL] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    words = philox(np.array([counter], dtype=np.uint32), np.array([key], dtype=np.uint32))
    assert words[0].tolist() == expected


@given(st.lists(WORD, min_size=4, max_size=4), st.lists(WORD, min_size=2, max_size=2))
def test_philox_equals_slow_reference(counter, key):
    words = philox(np.array([counter], dtype=np.uint32), np.array([key], dtype=np.uint32))
    assert words[0].tolist() == philox_slowly(counter, key)


def keys_of(n, *, seed=1, dataset="qcd", run=1, block=1):
    return event_keys(seed, dataset, np.full(n, run), np.full(n, block), np.arange(n))


def test_levels_are_uniform_and_independent():
    u = levels(keys_of(20_000), np.zeros(20_000))
    assert u.dtype == np.float32
    assert 0.0 < u.min() < u.max() < 1.0
    for column in u.T:
        assert kstest(column, "uniform").pvalue > 1e-4
    cells = np.bincount((u[:, 0] * 10).astype(int) * 10 + (u[:, 1] * 10).astype(int), minlength=100)
    assert chisquare(cells).pvalue > 1e-4
    assert np.abs(np.corrcoef(np.concatenate([u[1:], u[:-1]], axis=1).T) - np.eye(8)).max() < 0.03


def test_levels_never_reach_zero_or_one():
    # the largest and smallest possible words, through the same arithmetic
    words = np.array([0, FULL], dtype=np.uint32)
    u = ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    assert u[0] > 0.0
    assert u[1] < 1.0


@pytest.mark.parametrize("change", [{"seed": 2}, {"dataset": "ttbar"}, {"run": 2}, {"block": 2}])
def test_every_part_of_the_identity_matters(change):
    same = levels(keys_of(50), np.zeros(50))
    other = levels(keys_of(50, **change), np.zeros(50))
    assert not (same == other).any()


def test_index_replica_and_stream_give_other_levels():
    keys = keys_of(50)
    draws = [
        levels(keys, np.zeros(50)),
        levels(keys, np.ones(50)),
        levels(keys, np.zeros(50), replica=1),
        levels(keys, np.zeros(50), stream=STREAM_ACCEPTANCE),
    ]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert not (a == b).any()


def test_events_differing_only_above_32_bits_differ():
    keys = event_keys(1, "qcd", [1, 1], [1, 1], np.array([7, 7 + 2**32], dtype=np.uint64))
    assert keys[0].tolist() != keys[1].tolist()


def test_levels_do_not_depend_on_the_company():
    keys = keys_of(100)
    assert (levels(keys, np.zeros(100))[40:45] == levels(keys[40:45], np.zeros(5))).all()


N = 100_000
NEIGHBOURS = {
    "the next event": (levels(keys_of(N), np.zeros(N))[:-1], levels(keys_of(N), np.zeros(N))[1:]),
    "the next jet": (levels(keys_of(N), np.zeros(N)), levels(keys_of(N), np.ones(N))),
    "the next replica": (levels(keys_of(N), np.zeros(N)), levels(keys_of(N), np.zeros(N), replica=1)),
    "another stream": (levels(keys_of(N), np.zeros(N)), levels(keys_of(N), np.zeros(N), stream=STREAM_ACCEPTANCE)),
    "the next seed": (levels(keys_of(N), np.zeros(N)), levels(keys_of(N, seed=2), np.zeros(N))),
    "the next run": (levels(keys_of(N), np.zeros(N)), levels(keys_of(N, run=2), np.zeros(N))),
    "another dataset": (levels(keys_of(N), np.zeros(N)), levels(keys_of(N, dataset="ttbar"), np.zeros(N))),
}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_levels_tell_nothing_of_their_neighbours(neighbour):
    """Check the independence of all pairs of variables in 16 × 16 cells, and of sums and low digits."""
    one, other = NEIGHBOURS[neighbour]
    worst = 1.0
    for a in one.T:
        for b in other.T:
            cells = np.bincount((a * 16).astype(int) * 16 + (b * 16).astype(int), minlength=256)
            worst = min(worst, chisquare(cells).pvalue, kstest((a + b) % 1.0, "uniform").pvalue)
            low = ((a * 2**23).astype(np.int64) ^ (b * 2**23).astype(np.int64)) & 15
            worst = min(worst, chisquare(np.bincount(low, minlength=16)).pvalue)
    assert worst > 1e-5  # the smallest p-value of 48 tests


def test_runs_up_and_down_are_those_of_random_numbers():
    """Check the signs of differences along jets and events: a turning point has a probability of 2/3."""
    u = levels(np.repeat(keys_of(N // 4), 4, axis=0), np.tile(np.arange(4), N // 4))
    for column in (*u.T, u.ravel()):
        turns = (np.diff(column[:-1]) > 0) != (np.diff(column[1:]) > 0)
        expected, variance = 2 / 3 * len(turns), 8 / 45 * len(turns)
        assert abs(turns.sum() - expected) < 4.5 * np.sqrt(variance)
