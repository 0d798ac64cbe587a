"""What an emulator is trained on: pairs of jets, p(y | x) of which is learnt, ys in no pair, and samples of laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.numerics.uniforms import STREAM_BOOTSTRAP, event_keys, levels


class JetPairs(NamedTuple):
    """What an emulator is trained on.

    Attributes
    ----------
    x: the jets that are known, (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV]. Gen jets where an emulator folds,
        reco jets where it corrects.
    y: the jet of the other level that is matched to each, (N, 4) float32; NaN where there is none. Further
        columns may follow.
    context: conditioning variables of each x, (N, 68) float32, as `context.encode` gives it.
    split_key: a number in (0, 1) that jets which must stay together share, (N,); the lowest are held out.
    sample: which of the training samples (datasets) each comes from, (N,), from 0.
    """

    x: Floats
    y: Floats
    context: Floats
    split_key: Floats
    sample: Ints

    @property
    def matched(self) -> Bools:
        """Where an x has a y, (N,)."""
        return ~np.isnan(self.y[:, 0])

    @property
    def four_momenta(self) -> Floats:
        """The first four columns of y, (N, 4)."""
        return self.y[:, :4]


class UnmatchedJets(NamedTuple):
    """Reco jets that match no gen jet, of the events that `JetPairs` are from.

    Attributes
    ----------
    near: those near a gen jet, (M, n), columns as of `JetPairs.y`.
    near_row: the gen jet of each, as a row of the pairs, (M,).
    far: the others, (K, n).
    far_event: the event of each, as a row of the columns that follow, (K,).
    events: conditioning variables of every event, (events, 15), as `unmatched.far_columns` gives it.
    frames: `unmatched.Frames` of every event, axis and side, (events, 2).
    split_key, sample: of every event, as of `JetPairs`, (events,).
    reach: ΔR within which a jet is near a gen jet.
    """

    near: Floats
    near_row: Ints
    far: Floats
    far_event: Ints
    events: Floats
    frames: Floats
    split_key: Floats
    sample: Ints
    reach: float


class TrainingSample(NamedTuple):
    """Pairs of jets, and the unmatched jets of the same events."""

    pairs: JetPairs
    unmatched: UnmatchedJets


class LawSample(NamedTuple):
    """Sources x, and what each has, y.

    Attributes
    ----------
    columns, split_key, sample: of the sources, (S, n), (S,), (S,); split_key and sample as of `pairs.JetPairs`.
    source: of each y, as a row of the sources, (M,).
    targets: of the ys, (M, m).
    least: of the first target of each y, (M,); −infinity for none.
    context: the levels that are the columns' last.
    """

    columns: Floats
    split_key: Floats
    sample: Ints
    source: Ints
    targets: Floats
    least: Floats
    context: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        columns: Floats,
        split_key: Floats,
        source: Ints,
        targets: Floats | None = None,
        context: tuple[str, ...] = (),
    ) -> LawSample:
        """Sources of one training sample, and the ys of some, without targets where only their number is asked."""
        targets = np.zeros((len(source), 0)) if targets is None else targets
        none = np.full(len(source), -np.inf)
        return cls(columns, split_key, np.zeros(len(split_key), dtype=np.int64), source, targets, none, context)

    def split(self, holdout: float) -> tuple[LawSample, LawSample]:
        """Sources and ys to learn from, and those held out."""
        held_out = self.split_key < holdout
        return self.where(~held_out), self.where(held_out)

    def numbers(self) -> Ints:
        """How many ys each source has, (S,)."""
        return np.bincount(self.source, minlength=len(self.columns))

    def where(self, keep: Bools) -> LawSample:
        """The sources where keep (S,) is true, with their ys."""
        ys = keep[self.source]
        place = np.cumsum(keep) - 1
        return self._replace(
            columns=self.columns[keep],
            split_key=self.split_key[keep],
            sample=self.sample[keep],
            source=place[self.source[ys]],
            targets=self.targets[ys],
            least=self.least[ys],
        )

    def with_sample(self, which: int) -> LawSample:
        """The same, of another training sample."""
        return self._replace(sample=np.full_like(self.sample, which))

    @classmethod
    def joined(cls, parts: Sequence[LawSample]) -> LawSample:
        """The sources and ys of several, one after the other."""
        first = np.cumsum([0, *(len(part.columns) for part in parts)])
        moved = [part._replace(source=part.source + start) for part, start in zip(parts, first[:-1], strict=True)]
        columns: list[Any] = [np.concatenate(column) for column in list(zip(*moved, strict=True))[:-1]]
        return cls(*columns)._replace(context=parts[0].context)


class ObjectsSample(NamedTuple):
    """What the laws of `emulator.objects.Objects` are trained on.

    Attributes
    ----------
    laws: by their names; the least first target of objects that have a source is to be raised by log pt_min.
    pt_min, isolation, inputs, context: as of `Objects`.
    """

    laws: dict[str, LawSample]
    pt_min: tuple[float, ...]
    isolation: tuple[str, ...]
    inputs: str
    context: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Sequence[ObjectsSample]) -> ObjectsSample:
        """The samples of several chunks, one after the other."""
        laws = {name: LawSample.joined([part.laws[name] for part in parts]) for name in parts[0].laws}
        pt_min = tuple(min(of_kind) for of_kind in zip(*(part.pt_min for part in parts), strict=True))
        return parts[0]._replace(laws=laws, pt_min=pt_min)


class ParticlesSample(NamedTuple):
    """What the laws of `emulator.particles.Particles` are trained on.

    Attributes
    ----------
    laws: by their names.
    radius: of the jets.
    n_jets: how many pairs of jets they are from.
    """

    laws: dict[str, LawSample]
    radius: float
    n_jets: int

    @classmethod
    def joined(cls, parts: Sequence[ParticlesSample]) -> ParticlesSample:
        """The samples of several chunks, one after the other."""
        laws = {name: LawSample.joined([part.laws[name] for part in parts]) for name in parts[0].laws}
        return parts[0]._replace(laws=laws, n_jets=sum(part.n_jets for part in parts))


AT_MOST = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(12)])  # P(k or fewer) of Poisson's law of mean 1


def bootstrapped(sample: TrainingSample, seed: int, member: int) -> TrainingSample:
    """The sample that a member of an ensemble learns from: every event so many times as Poisson's law of mean 1 says.

    Rows with the same split_key (an event or a file) stay together; their number of copies depends on seed, member and
    split_key alone.
    """
    pairs, unmatched = sample

    def times(split_key: Floats) -> Ints:
        number, zero = split_key.astype(np.float32).view(np.uint32), np.zeros(len(split_key), dtype=np.uint32)
        u = levels(event_keys(seed, "bootstrap", zero, zero, number), member, stream=STREAM_BOOTSTRAP)[:, 0]
        return np.searchsorted(AT_MOST, u, side="right")

    def again(rows: Ints, n: Ints) -> tuple[Ints, Ints]:
        """Of what belongs to rows, each there n times: which to take, and the rows it then belongs to."""
        taken = np.repeat(np.arange(len(rows)), n[rows])
        return taken, (np.cumsum(n) - n)[rows[taken]] + places(n[rows])

    n_jets, n_events = times(pairs.split_key), times(unmatched.split_key)
    (near, near_row), (far, far_event) = again(unmatched.near_row, n_jets), again(unmatched.far_event, n_events)
    of_events: dict[str, Any] = {
        name: getattr(unmatched, name).repeat(n_events, axis=0) for name in ("events", "frames", "split_key", "sample")
    }
    jets: dict[str, Any] = {
        "near": unmatched.near[near],
        "near_row": near_row,
        "far": unmatched.far[far],
        "far_event": far_event,
    }
    copies: dict[str, Any] = {name: column.repeat(n_jets, axis=0) for name, column in pairs._asdict().items()}
    return TrainingSample(JetPairs(**copies), unmatched._replace(**jets, **of_events))
