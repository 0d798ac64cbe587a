"""What made the histograms of a processor, which refuses to be added to those of another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coffea_iqn.events.checks import warn_equal_files
from coffea_iqn.ranges import expect


@dataclass(frozen=True)
class MadeBy:
    """What the histograms of a dataset were made with and from; coffea's `accumulate` adds it as it adds these.

    Attributes
    ----------
    dataset: name of the dataset.
    settings: the model and the options that change histograms.
    keys: `identity.least_keys` of its events, by file.

    Adding raises a ValueError if the settings differ, and gives an `EqualEventsWarning` if both have the same events.
    """

    dataset: str
    settings: Mapping[str, Any]
    keys: Mapping[str, Sequence[int]] = field(compare=False)  # depend on the chunks

    def __add__(self, other: MadeBy) -> MadeBy:
        mine, others = self.settings, other.settings
        odd = next((name for name in {**mine, **others} if mine.get(name) != others.get(name)), "")
        got = f"got {odd} {mine.get(odd)!r} and {others.get(odd)!r}"
        expect(not odd, f"{self.dataset}: expected results of one model and its options to add, {got}")
        keys = {file: [*self.keys.get(file, ()), *other.keys.get(file, ())] for file in {**self.keys, **other.keys}}
        made = replace(self, keys=keys)
        made.check_events()
        return made

    def check_events(self) -> None:
        """Warn if events have equal identities, found if a file, or a large part of it, has those of another one."""
        warn_equal_files(self.dataset, self.keys, str(self.settings.get("identity", "")))
