from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coffea_iqn.jets.matching import crowded, default_cone, match_jets

JET = st.tuples(st.integers(-8, 8).map(lambda i: i / 4), st.integers(-12, 12).map(lambda i: i / 4))
EVENT = st.tuples(st.lists(JET, max_size=5), st.lists(JET, max_size=5))


def match_slowly(gen, reco, cone):
    """Match jets by repeatedly taking the nearest pair of an event."""
    match = [-1] * len(gen)
    pairs = []
    for i, (eta, phi) in enumerate(gen):
        for j, (eta2, phi2) in enumerate(reco):
            d_phi = (phi - phi2) - 2 * np.pi * np.round((phi - phi2) / (2 * np.pi))
            distance2 = (eta - eta2) ** 2 + d_phi**2
            if distance2 < cone**2:
                pairs.append((distance2, i, j))
    for _, i, j in sorted(pairs):
        if match[i] < 0 and j not in match:
            match[i] = j
    return match


def flat(jets):
    array = np.array([jet for event in jets for jet in event], dtype=float).reshape(-1, 2)
    return array[:, 0], array[:, 1], np.array([len(event) for event in jets])


@settings(deadline=None)  # the first call compiles
@given(st.lists(EVENT, max_size=4))
def test_equals_slow_reference(events):
    match = match_jets(*flat([g for g, _ in events]), *flat([r for _, r in events]), cone=0.9)
    expected, offset = [], 0
    for gen, reco in events:
        expected += [j + offset if j >= 0 else -1 for j in match_slowly(gen, reco, 0.9)]
        offset += len(reco)
    assert match.tolist() == expected


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.tuples(st.integers(1, 4), *[st.integers(-12, 12)] * 2, st.booleans()), max_size=6)))
def test_crowded_jets_are_those_with_a_harder_one_near(events):
    rows = [(pt, eta / 4, phi / 4, there) for event in events for pt, eta, phi, there in event]
    expected, start = [], 0
    for event in events:
        jets = rows[start : start + len(event)]
        start += len(event)
        for i, (pt, eta, phi, there) in enumerate(jets):
            near = [
                np.hypot(eta - eta2, np.angle(np.exp(1j * (phi - phi2)))) < 0.6 and there2 and (pt2, -j) > (pt, -i)
                for j, (pt2, eta2, phi2, there2) in enumerate(jets)
            ]
            expected.append(there and any(near))
    columns = np.array(rows, dtype=np.float32).reshape(-1, 4)
    counts = np.array([len(event) for event in events], dtype=np.int64)
    jets, there = np.ascontiguousarray(columns[:, [0, 1, 2, 0]]), columns[:, 3] > 0
    assert crowded(0.6, jets, there, counts, np.arange(len(counts))).tolist() == expected


def test_jets_that_are_not_finite_match_none():
    one, nan = np.array([1]), np.array([np.nan])
    assert match_jets(nan, nan, one, np.zeros(1), np.zeros(1), one, cone=np.inf).tolist() == [-1]
    assert match_jets(np.zeros(1), np.zeros(1), one, nan, np.zeros(1), one, cone=np.inf).tolist() == [-1]


def test_nothing_matches_in_no_events():
    none = np.zeros(0, dtype=int)
    assert match_jets(np.zeros(0), np.zeros(0), none, np.zeros(0), np.zeros(0), none, cone=0.4).tolist() == []


def test_across_phi_pi():
    one = np.array([1])
    assert match_jets(np.zeros(1), np.array([3.1]), one, np.zeros(1), np.array([-3.1]), one, cone=0.25)[0] == 0


def test_cones_of_the_usual_radii():
    assert default_cone(0.4) == 0.25
    assert default_cone(0.5) == 0.35
    assert default_cone(0.8) == pytest.approx(0.52)


@pytest.mark.parametrize(("n_phi", "counts", "n_reco"), [(1, [2], [1]), (2, [3], [1]), (2, [2], [2]), (2, [2], [1, 0])])
def test_lengths_that_do_not_agree_are_refused(n_phi, counts, n_reco):
    zero = np.zeros(2)
    with pytest.raises(ValueError, match="match_jets: expected arrays that agree with the counts"):
        match_jets(zero, zero[:n_phi], np.array(counts), zero[:1], zero[:1], np.array(n_reco), cone=0.4)
