from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from coffea_iqn.jets.features import SCALES
from coffea_iqn.training import thresholds
from coffea_iqn.training.thresholds import Edge, check_alike, find_edge
from conftest import open_events


def cut_jets(scale, threshold, n=6000, seed=0):
    """Make jets of a falling spectrum with a threshold, then scale them."""
    rng = np.random.default_rng(seed)
    pt = threshold + rng.exponential(8.0, n)
    jets = np.stack([pt, rng.uniform(-4.5, 4.5, n), rng.uniform(-np.pi, np.pi, n), 0.1 * pt], axis=1)
    return SCALES[scale].apply(jets).astype(np.float32)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("threshold", [5.0, 10.0, 12.5, 20.0])
def test_scale_and_threshold_are_found(scale, threshold):
    assert find_edge(cut_jets(scale, threshold)) == Edge(scale, threshold)
    assert find_edge(cut_jets(scale, threshold), [scale]) == Edge(scale, threshold)


@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_that_is_not_the_detectors_is_not_taken(scale):
    others = [name for name in SCALES if name != scale]
    assert find_edge(cut_jets(scale, 10.0), others) is None


def test_odd_thresholds_come_out_as_they_are():
    assert find_edge(cut_jets("none", 17.3)) == Edge("none", 17.3)
    assert find_edge(cut_jets("none", np.pi)).raw_pt_min == pytest.approx(np.pi, abs=0.01)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (cut_jets("none", 20.0, seed=1), "10 GeV before scale none in soft, 20 GeV before scale none in hard"),
        (cut_jets("delphes-cms", 10.0, seed=1), "none in soft, 10 GeV before scale delphes-cms in hard"),
        (cut_jets("none", 10.0, seed=1), None),
        (cut_jets("none", 20.0, n=400, seed=1), None),  # too few to find an edge
    ],
)
def test_datasets_of_different_thresholds_are_not_trained_together(other, found):
    both = {"soft": cut_jets("none", 10.0), "hard": other}
    if found is None:
        check_alike(both)
    else:
        with pytest.raises(ValueError, match=f"one scale and threshold in all datasets and files, found .*{found}"):
            check_alike(both)


def test_no_edge_no_scale():
    rng = np.random.default_rng(1)
    smooth = cut_jets("none", 10.0)
    smooth[:, 0] = rng.gamma(3.0, 8.0, len(smooth))
    for jets in (smooth, cut_jets("none", 10.0, n=400), smooth[:0]):
        assert find_edge(jets) is None
    turned_on = cut_jets("none", 10.0)
    late = rng.uniform(size=len(turned_on)) < np.clip((turned_on[:, 0] - 10.0) / 10.0, 0.0, 1.0)
    assert find_edge(turned_on[late]) is None


@pytest.mark.parametrize("name", ["qcd_ak4.root", "qcd_ak5.root", "qcdflat_ak4.root", "delphes_1000.root"])
def test_the_card_of_the_samples_is_found(name):
    jet = open_events(name).Jet
    columns = [ak.to_numpy(ak.flatten(jet[field])) for field in ("pt", "eta", "phi", "mass")]
    assert find_edge(np.stack(columns, axis=1)) == Edge("delphes-cms", 10.0)


def test_without_rounding_the_lowest_jet_is_the_threshold(monkeypatch):
    monkeypatch.setattr(thresholds, "STEPS", ())
    jets = cut_jets("none", 10.0)
    assert find_edge(jets).raw_pt_min == pytest.approx(float(jets[:, 0].min()), rel=1e-4)
