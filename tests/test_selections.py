from __future__ import annotations

import numpy as np
import pytest

from coffea_iqn.closure.regions import Box

JETS = np.array([[32.0, -0.5, 3.0, 7.0], [32.0, 1.5, 0.0, 7.0], [40.0, 0.5, 0.0, 7.0], [32.0, 0.5, 0.0, 12.0]])


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("30<pt<35,abs(eta)<1,5<mass<10", [1, 0, 0, 0]),
        ("pt > 35", [0, 0, 1, 0]),
        ("35 < pt", [0, 0, 1, 0]),
        ("35>pt>=32", [1, 1, 0, 1]),
        ("eta<=-.5e0", [1, 0, 0, 0]),
        ("mass>=12,phi<1", [0, 0, 0, 1]),
    ],
)
def test_boxes_hold_what_they_say(text, inside):
    assert Box.parse(text).contains(JETS).tolist() == [bool(one) for one in inside]


@pytest.mark.parametrize("text", ["5<pt<3", "pt>50,eta<1,20>pt", "30<pt<35,abs(eta)<-1", "mass<-1", "pt>1e999,pt<3"])
def test_regions_without_any_jets_are_refused(text):
    with pytest.raises(ValueError, match="select: expected a region that jets can be in, got "):
        Box.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "pt", "pt<", "energy<3", "abs(pt<3", "pt<30<35", "30<pt<40<50", "1<2", "__import__('os')<1", "pt<1;eta<2"],
)
def test_anything_else_is_named(text):
    with pytest.raises(ValueError, match="select: expected comparisons of pt, eta, phi, mass"):
        Box.parse(text)
