"""Fold gen-level events to detector level: their jets, all their objects, or the particles in their jets."""

from __future__ import annotations

from coffea_iqn.events.checks import (
    EqualEventsWarning,
    IgnoredWeightsWarning,
    MissingContextWarning,
    NotEmulatedWarning,
    OddContextWarning,
    OutsideDomainWarning,
    PartOfEventWarning,
    ThresholdWarning,
)
from coffea_iqn.folder.constituents import ConstituentFolder
from coffea_iqn.folder.events import EventFolder
from coffea_iqn.folder.jagged import FoldCounts, Folded
from coffea_iqn.folder.jets import IQNFolder

__all__ = [
    "ConstituentFolder",
    "EqualEventsWarning",
    "EventFolder",
    "FoldCounts",
    "Folded",
    "IQNFolder",
    "IgnoredWeightsWarning",
    "MissingContextWarning",
    "NotEmulatedWarning",
    "OddContextWarning",
    "OutsideDomainWarning",
    "PartOfEventWarning",
    "ThresholdWarning",
]
