"""Events in, what the detector makes of them out: `IQNFolder` of their jets, `EventFolder` of all their objects."""

from __future__ import annotations

from coffea_iqn.events.checks import MissingContextWarning, OutsideDomainWarning, PartOfEventWarning
from coffea_iqn.folder.events import EventFolder
from coffea_iqn.folder.jagged import FoldCounts, Folded
from coffea_iqn.folder.jets import IQNFolder

__all__ = [
    "EventFolder",
    "FoldCounts",
    "Folded",
    "IQNFolder",
    "MissingContextWarning",
    "OutsideDomainWarning",
    "PartOfEventWarning",
]
