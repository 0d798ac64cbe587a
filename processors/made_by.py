"""What made the histograms of a processor, which refuses to be added to those of another model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coffea.processor import accumulate

from coffea_iqn.events.checks import MixedWeightsWarning, warn_equal_files, warn_mixed_weights
from coffea_iqn.files.inputs import check_one_process
from coffea_iqn.ranges import expect

WEIGHTS = "weights"


@dataclass(frozen=True)
class MadeBy:
    """What the histograms of a dataset were made with and from; coffea's `accumulate` adds it as it adds these.

    Attributes
    ----------
    dataset: name of the dataset.
    settings: the model and the options that change histograms.
    keys: `identity.least_keys` of its events, by file.
    there: numbers of events "with" and "without" weights, "true jets", ..., by what.
    processes: `inputs.cross_sections` of its events, by file.

    Adding raises a ValueError if the settings differ, and otherwise checks both together, see `check`.
    """

    dataset: str
    settings: Mapping[str, Any]
    keys: Mapping[str, Sequence[int]] = field(compare=False)  # depend on the chunks
    there: Mapping[str, Mapping[str, int]] = field(compare=False)  # these are of the events
    processes: Mapping[str, Collection[tuple[float, float]]] = field(compare=False)

    def __add__(self, other: MadeBy) -> MadeBy:
        mine, others = self.settings, other.settings
        odd = next((name for name in {**mine, **others} if mine.get(name) != others.get(name)), "")
        got = f"got {odd} {mine.get(odd)!r} and {others.get(odd)!r}"
        expect(not odd, f"{self.dataset}: expected results of one model and its options to add, {got}")
        of_events = ("keys", "there", "processes")
        made = replace(self, **{name: accumulate([getattr(self, name), getattr(other, name)]) for name in of_events})
        made.check()
        return made

    def check(self) -> None:
        """Check that events are different ones of one process, and that all have weights and true jets, or none.

        Raises
        ------
        ValueError: for generated files of several processes, or true objects or particles in some files only.

        Warns
        -----
        EqualEventsWarning: if events have equal identities, found if a file, or a large part of it, has those of
            another one.
        MixedWeightsWarning: if only some have weights, or jets to compare with.
        """
        check_one_process(self.dataset, self.processes)
        for what, of in self.there.items():
            if what != WEIGHTS and of.get("with", 0) and of.get("without", 0):
                advice = f"{'gen' if what == 'gen jets' else 'truth'}=None leaves them out"
                msg = f"{self.dataset}: expected {what} in all files of the dataset or in none; {advice}"
                expect(what.endswith("jets"), msg)
                warnings.warn(msg, MixedWeightsWarning, stacklevel=3)
        warn_mixed_weights(self.dataset, self.there.get(WEIGHTS, {}))
        drawn = self.settings.get("take", "draw") == "draw"
        warn_equal_files(self.dataset, self.keys, str(self.settings.get("identity", "")), drawn=drawn)


def checked(accumulator: Mapping[str, Any], make: Callable[..., MadeBy]) -> dict[str, MadeBy]:
    """Return what made the result of each dataset, see `MadeBy.check`, from the sums over chunks of a run.

    make: returns a `MadeBy` from a dataset and its keys, "there" and processes.
    """
    names = ("least_keys", "there", "processes")
    of_datasets = sorted(accumulator[names[0]])
    made = {dataset: make(dataset, *(accumulator[name][dataset] for name in names)) for dataset in of_datasets}
    for one in made.values():
        one.check()
    return made
