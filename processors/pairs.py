"""Processor for the training sample of an emulator: pairs of gen and reco jets, and unmatched jets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import awkward as ak
import numpy as np

from coffea_iqn.bundle import DIRECTIONS
from coffea_iqn.emulator.unmatched import REACH, far_columns
from coffea_iqn.events.checks import check_level, check_valid, warn_ignored_weights
from coffea_iqn.events.collections import GenEvents, flatten_jets, gen_events, missing_momentum
from coffea_iqn.events.columns import flat
from coffea_iqn.events.identity import event_weights, file_uuid, identity_keys
from coffea_iqn.events.names import Names
from coffea_iqn.jets import radii
from coffea_iqn.jets.features import PT
from coffea_iqn.jets.matching import default_cone, match_tables, nearest
from coffea_iqn.jets.table import JetTable
from coffea_iqn.jets.targets import check_names
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.numerics.uniforms import STREAM_SPLIT, event_keys, levels
from coffea_iqn.processors.ordered import OrderedProcessor
from coffea_iqn.ranges import CONE, GEV, RADIUS, check_choice, expect
from coffea_iqn.training.pairs import JetPairs, TrainingSample, UnmatchedJets

SPLIT_SEED = 0
# what is held out as a whole: an event; an event, told apart from those of equal number in other files; a file
SPLITS = ("event", "event of file", "file")
MOST_WHOLE = 2**24  # up to which single precision has every whole number
ENOUGH = 20  # events with a number of their own that tell that it is of events, not of jets


def split_keys(events: ak.Array, split: str) -> Floats:
    """Return a number in (0, 1) for each event, (events,), equal for all events that belong together; see `SPLITS`."""
    if split != "file":
        keys = identity_keys(events, SPLIT_SEED, "event" if split == "event" else "file")
    else:
        one = np.zeros(1, dtype=np.uint64)
        key = event_keys(SPLIT_SEED, file_uuid(events), one, one, one)
        keys = np.repeat(key, len(events), axis=0)
    return levels(keys, np.zeros(len(keys)), stream=STREAM_SPLIT)[:, 0]


class PairsProcessor(OrderedProcessor):  # type: ignore[misc]
    """Match jets x of one level to jets y of the other level, for the training of p(y | x) and of unmatched jets y.

    Parameters
    ----------
    gen, reco: names of the collections of gen and reco jets.
    direction: "fold" (x are gen jets, y are reco jets) or "correct" (the opposite). The only conditioning variables of
        reco jets are the other reco jets of the event: others in simulation files, such as flavour, are not in data.
    radius: jet radius of both collections, for the default matching distance and for what is near an x.
    cone: maximum ΔR of a matched pair; by default `matching.default_cone(radius)`.
    pt_min: minimum pt [GeV] of x, applied after matching all jets.
    split: one of `SPLITS`, the unit that is held out for validation as a whole.
    names: names of gen-level quantities in the files, if different from `events.Names`.
    columns: fields of y to learn in addition to the four-momentum.
    any_radius: whether to match jets that can be seen to have another radius, too.

    Raises
    ------
    ValueError: if an option is invalid; at the end of a run, if jets can be seen to have another radius.

    The result of a run is a `pairs.TrainingSample`, in an order that depends on the fileset only.
    """

    def __init__(
        self,
        *,
        gen: str = "GenJet",
        reco: str = "Jet",
        direction: str = "fold",
        radius: float = 0.4,
        cone: float | None = None,
        pt_min: float = 10.0,
        split: str = "event",
        names: Mapping[str, str] | None = None,
        columns: Sequence[str] = (),
        any_radius: bool = False,
    ) -> None:
        check_choice(SPLITS, split=split)
        check_choice(DIRECTIONS, direction=direction)
        RADIUS.check(radius=radius)
        CONE.check(cone=cone)
        within = cone is None or cone <= radius
        expect(within, f"cone: expected at most the jets' radius {radius:g}, got {cone}")
        GEV.check(pt_min=pt_min)
        self.direction = direction
        self.x, self.y = (gen, reco) if direction == "fold" else (reco, gen)
        self.cone = default_cone(radius) if cone is None else cone
        self.radius = radius
        self.reach = REACH * radius
        self.pt_min = pt_min
        self.split = split
        self.names = Names.of(names)
        check_names(columns)
        self.columns = tuple(columns)
        self.any_radius = any_radius

    def chunk(self, events: ak.Array) -> TrainingSample:
        missing = [name for name in sorted((self.x, self.y)) if name not in events.fields]
        expect(not missing, f"collections: expected {self.x} and {self.y}, found no {' and no '.join(missing)}")
        of_x, of_y = ("gen", "reco") if self.direction == "fold" else ("reco", "gen")
        if self.direction == "correct":
            warn_ignored_weights(event_weights(events))
        for name, level in ((self.x, of_x), (self.y, of_y)):
            check_level(events[name], events, level)
        x, y = flatten_jets(events[self.x], of_x), flatten_jets(events[self.y], of_y)
        check_valid(y, f"{of_y} jets", events=events)
        row, match = match_tables(x, y, self.cone)
        y = y._replace(
            values=np.concatenate([y.values, *self._further_columns(events[self.y])], axis=1, dtype=np.float32)
        )
        pairs = np.full((len(x.values), y.values.shape[1]), np.nan, dtype=np.float32)
        pairs[row] = y.values[match]

        split_key = split_keys(events, self.split)
        valid = x.valid()
        keep = valid & (x.values[:, PT] >= self.pt_min)
        known = GenEvents(x.where(valid))
        if self.direction == "fold":
            known = gen_events(events[self.x], events, x, valid, self.names, radius=self.radius)
        context = known.context()[keep[valid]]
        sample = np.zeros(int(keep.sum()), dtype=np.int64)
        columns = JetPairs(x.values[keep], pairs[keep], context, split_key[x.event][keep], sample)
        free = np.ones(len(y.values), dtype=bool)
        free[match] = False
        unmatched = self._unmatched(events, x.where(keep), y.where(free), split_key)
        return TrainingSample(columns, unmatched)

    def joined(self, chunks: Sequence[tuple[int, TrainingSample]]) -> TrainingSample:
        """Merge the samples of all chunks, whose jets together tell their radius."""
        made = TrainingSample.joined(chunks)
        for name, distances in ((self.x, radii.neighbours(made.pairs.context)), (self.y, None)):
            against = None if self.any_radius else radii.objection(self.radius, distances, collection=name)
            expected = f"expected jets of radius {self.radius:g}, got {against}"
            expect(against is None, f"{name}: {expected}: give theirs as radius, or any_radius to accept them")
        return made

    def _further_columns(self, y: ak.Array) -> list[Floats]:
        """Return the further columns of the jets y, (M, 1) each."""
        found = []
        for name in self.columns:
            expect(name in y.fields, f"columns: expected {name} of {self.y}, found no such field")
            column = flat(y, name) if y[name].ndim == 2 else None
            if column is None or column.dtype.kind not in "biuf":
                msg = f"columns: expected a number for each {self.y}, got lists or text in {name}"
                raise ValueError(msg)
            n_bad = int((~np.isfinite(column)).sum())
            expect(n_bad == 0, f"columns: expected finite numbers in {name} of {self.y}, got {n_bad} others")
            most = np.abs(column.astype(np.float64)).max(initial=0.0)
            limit = np.finfo(np.float32).max if column.dtype.kind == "f" else MOST_WHOLE
            expect(most <= limit, f"columns: expected numbers up to {limit:.8g} in {name} of {self.y}, got {most:.8g}")
            expect(
                not _of_events(y[name]),
                f"columns: expected numbers of jets in {name} of {self.y}, got one number for each event",
            )
            found.append(column[:, np.newaxis])
        return found

    def _unmatched(self, events: ak.Array, x: JetTable, y: JetTable, split_key: Floats) -> UnmatchedJets:
        """Return the unmatched jets y, each with the nearby x or else the event that it belongs to."""
        row, distance = nearest(y.values, y.event, x.values, x.counts)
        near = distance < self.reach
        columns, frames = far_columns(x.values, x.counts, missing_momentum(events, self.names))
        return UnmatchedJets(
            near=y.values[near],
            near_row=row[near],
            far=y.values[~near],
            far_event=y.event[~near],
            events=columns,
            frames=np.stack(frames, axis=1),
            split_key=split_key,
            sample=np.zeros(len(split_key), dtype=np.int64),
            x_event=x.event,
            reach=self.reach,
        )


def _of_events(column: ak.Array) -> bool:
    """Whether all jets of an event have one number, which others do not have: jets would be drawn with several."""
    several = column[ak.num(column) > 1]
    low, high = (ak.to_numpy(of(several, axis=1)) for of in (ak.min, ak.max))
    most_common = np.unique(low, return_counts=True)[1].max(initial=0)
    return bool((low == high).all()) and len(low) - most_common >= ENOUGH
