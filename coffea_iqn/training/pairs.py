"""Training samples: pairs of jets for p(y | x), unmatched jets, and samples of laws."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.jets.features import PT
from coffea_iqn.jets.support import distances
from coffea_iqn.jets.table import places
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.numerics.uniforms import STREAM_BOOTSTRAP, event_keys, levels, philox
from coffea_iqn.ranges import expect
from coffea_iqn.training.thresholds import beginnings

# number of objects of a file that tell where they begin, and greatest ratio of that pt in two files
ENOUGH, BEGIN = 300, 1.4
MARKED, N_MARKS = 40.0, 256  # GeV, above the selections of trainings and validations; number of `least_marks`
# pt [GeV] and number of jets whose matches tell whether both levels are of the same events, and their median ΔR over
# the greatest: 0.2 in detectors, 0.7 of jets that are matched at random
WELL_MEASURED, TELLING, AT_RANDOM = 30.0, 100, 0.5
MOST_RATIO = 10.0  # between the pt of both levels, in the median: no detector loses or adds more


class JetPairs(NamedTuple):
    """Pairs of jets that an emulator is trained on.

    Attributes
    ----------
    x: input jets, (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV]; gen jets if the emulator folds, reco jets if it
        corrects.
    y: matched jet of the other level for each x, (N, 4) float32, or NaN if there is none. Further columns may follow.
    context: conditioning variables of each x, (N, 68) float32, see `context.encode`.
    split_key: number in (0, 1) of each x, (N,), equal for jets that must stay together; the lowest are held out.
    sample: index of the training sample (dataset) of each x, (N,), from 0.
    """

    x: Floats
    y: Floats
    context: Floats
    split_key: Floats
    sample: Ints

    @property
    def matched(self) -> Bools:
        """Whether each x has a y, (N,)."""
        return ~np.isnan(self.y[:, 0])

    @property
    def four_momenta(self) -> Floats:
        """The first four columns of y, (N, 4)."""
        return self.y[:, :4]


def check_pairs(pairs: JetPairs, what: str = "jets x and y", names: Sequence[str] = ()) -> None:
    """Check that pt is in one unit at both levels, and that both are of the same events.

    what, names: how the message calls the jets, and their samples (datasets).

    Raises
    ------
    ValueError: if the median ratio of pt is that of two units, or matched jets are as far apart as at random.
    """
    ratio = float(np.median(pairs.y[pairs.matched, PT] / pairs.x[pairs.matched, PT])) if pairs.matched.any() else 1.0
    fits = 1.0 / MOST_RATIO < ratio < MOST_RATIO
    expect(fits, f"{what}: expected pt of both in GeV, got a median ratio of {ratio:.3g}")
    hard = pairs.matched & (pairs.x[:, PT] > WELL_MEASURED)
    for number in np.unique(pairs.sample[hard]):
        rows = np.flatnonzero(hard & (pairs.sample == number))
        apart = distances(pairs.x[rows], pairs.y[rows])
        fits = len(rows) < TELLING or np.median(apart) < AT_RANDOM * apart.max()
        got = f"got matched ones as far apart as at random, {len(rows):,} above {WELL_MEASURED:g} GeV"
        of = names[number] if names else f"sample {number}"
        expect(fits, f"{what} of {of}: expected jets of the same events, {got}")


def marks(jets: Floats) -> npt.NDArray[np.uint64]:
    """Return effectively random numbers that identify jets (N, 4), (N,) uint64, from the bits of their four-momenta."""
    rows = np.ascontiguousarray(jets, dtype=np.float32).view(np.uint32)
    return philox(rows, np.zeros((len(rows), 2), dtype=np.uint32))[:, :2].copy().view(np.uint64)[:, 0]


def least_marks(jets: Floats) -> list[int]:
    """Return the smallest `marks` of hard jets, by which jets of a training are known again, wherever they are.

    With 256 of them, a sample with a hundredth of the jets is very likely to have one.
    """
    return [int(mark) for mark in np.sort(marks(jets[jets[:, PT] > MARKED]))[:N_MARKS]]


class UnmatchedJets(NamedTuple):
    """Jets y without a matched x (reco jets without a gen jet, if the emulator folds), from the events of `JetPairs`.

    Attributes
    ----------
    near: unmatched jets near a jet x, (M, n); columns as in `JetPairs.y`.
    near_row: row of that x in the pairs, (M,).
    far: all other unmatched jets, (K, n).
    far_event: event of each, as a row of the following columns, (K,).
    events: conditioning variables of each event, (events, 15), see `unmatched.far_columns`.
    frames: `unmatched.Frames` of each event, axis and side, (events, 2).
    split_key, sample: of each event, (events,), see `JetPairs`.
    x_event: event of each x of the pairs, as a row of these columns, (N,), ascending.
    reach: ΔR within which a jet is near an x.
    """

    near: Floats
    near_row: Ints
    far: Floats
    far_event: Ints
    events: Floats
    frames: Floats
    split_key: Floats
    sample: Ints
    x_event: Ints
    reach: float

    @property
    def counts(self) -> Ints:
        """Number of jets x in each event, (events,)."""
        return np.bincount(self.x_event, minlength=len(self.events))


class TrainingSample(NamedTuple):
    """Pairs of jets, and the unmatched jets of the same events."""

    pairs: JetPairs
    unmatched: UnmatchedJets

    @classmethod
    def joined(cls, chunks: Sequence[tuple[int, TrainingSample]]) -> TrainingSample:
        """Concatenate chunks, each given with the index of its training sample."""
        pairs, unmatched = [], []
        n_jets = n_events = 0
        for which, (of_pairs, others) in chunks:
            pairs.append(of_pairs._replace(sample=of_pairs.sample + which))
            unmatched.append(
                others._replace(
                    near_row=others.near_row + n_jets,
                    far_event=others.far_event + n_events,
                    x_event=others.x_event + n_events,
                    sample=others.sample + which,
                )
            )
            n_jets += len(of_pairs.x)
            n_events += len(others.events)
        arrays = [name for name in UnmatchedJets._fields if name != "reach"]
        joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in unmatched]) for name in arrays}
        return cls(
            JetPairs(*(np.concatenate(column) for column in zip(*pairs, strict=True))),
            UnmatchedJets(**joined, reach=unmatched[0].reach),
        )


class LawSample(NamedTuple):
    """Training sample of a law: sources x, each with any number of ys.

    Attributes
    ----------
    columns, split_key, sample: network inputs (S, n), split_key (S,) and sample (S,) of the sources, see `JetPairs`.
    source: source of each y, as a row of the sources, (M,).
    targets: targets of each y, (M, m).
    least: lower bound of the first target of each y, (M,); −infinity for none.
    context: levels of context in the last columns.
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
        """Make the sample of sources and ys from one dataset; without targets if only the number of ys is modelled."""
        targets = np.zeros((len(source), 0)) if targets is None else targets
        none = np.full(len(source), -np.inf)
        return cls(columns, split_key, np.zeros(len(split_key), dtype=np.int64), source, targets, none, context)

    def split(self, holdout: float) -> tuple[LawSample, LawSample]:
        """Split into sources to train on, and those held out, with their ys."""
        held_out = self.split_key < holdout
        return self.where(~held_out), self.where(held_out)

    def numbers(self) -> Ints:
        """Return the number of ys of each source, (S,)."""
        return np.bincount(self.source, minlength=len(self.columns))

    def where(self, keep: Bools) -> LawSample:
        """Return the sources for which keep (S,) is true, with their ys."""
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

    @classmethod
    def joined(cls, parts: Sequence[LawSample]) -> LawSample:
        """Concatenate samples."""
        first = np.cumsum([0, *(len(part.columns) for part in parts)])
        moved = [part._replace(source=part.source + start) for part, start in zip(parts, first[:-1], strict=True)]
        columns: list[Any] = [np.concatenate(column) for column in list(zip(*moved, strict=True))[:-1]]
        return cls(*columns)._replace(context=parts[0].context)


def joined_laws(chunks: Sequence[tuple[int, dict[str, LawSample]]]) -> dict[str, LawSample]:
    """Concatenate the samples of each law over chunks, each chunk given with the index of its training sample."""
    numbered = [
        {name: law._replace(sample=np.full_like(law.sample, which)) for name, law in laws.items()}
        for which, laws in chunks
    ]
    every = dict.fromkeys(name for laws in numbered for name in laws)
    for name in every:
        everywhere = all(name in laws for laws in numbered)
        expect(everywhere, f"training: expected {name} in all files or in none, found some with and some without")
    return {name: LawSample.joined([laws[name] for laws in numbered]) for name in every}


class ObjectsSample(NamedTuple):
    """Training samples of the laws of `emulator.objects.Objects`.

    Attributes
    ----------
    laws: samples by name of the law; log pt_min is still to be added to `least` of objects that have a source.
    begins: lowest pt [GeV] of the objects, and of the prompt particles, of each kind in each file, and their number, by
        plural name and file.
    isolation, inputs, context: see `Objects`.
    """

    laws: dict[str, LawSample]
    begins: dict[str, dict[str, tuple[float, int]]]
    isolation: tuple[str, ...]
    inputs: str
    context: tuple[str, ...]

    @classmethod
    def joined(cls, chunks: Sequence[tuple[int, ObjectsSample]]) -> ObjectsSample:
        """Concatenate chunks, see `joined_laws`.

        Raises
        ------
        ValueError: if the chunks have different isolations of a kind, or only some of them have one.

        Warns
        -----
        UserWarning: if objects or prompt particles of a kind begin at another pt in some files.
        """
        found = sorted({" ".join(name or "none" for name in chunk.isolation) for _, chunk in chunks})
        expect(len(found) == 1, f"objects: expected one isolation of each kind in all files, got {' and '.join(found)}")
        begins: dict[str, dict[str, tuple[float, int]]] = {what: {} for what in chunks[0][1].begins}
        for what, of_files in begins.items():
            for file, (least, n) in (one for _, chunk in chunks for one in chunk.begins[what].items()):
                before, n_before = of_files.get(file, (math.inf, 0))
                of_files[file] = min(before, least), n_before + n
            got = beginnings(of_files, factor=BEGIN, enough=ENOUGH)
            if got is not None:  # the generator may have none below
                msg = f"{what}: expected one threshold in all files, found the lowest pt at {got}"
                lost = "if those between were cut, they count as lost, or as made by nothing"
                warnings.warn(f"{msg}: {lost}", UserWarning, stacklevel=2)
        laws = joined_laws([(which, chunk.laws) for which, chunk in chunks])
        return chunks[0][1]._replace(laws=laws, begins=begins)

    def least_pt(self, what: str) -> float:
        """Return the lowest pt [GeV] of the objects of this plural name, in all files."""
        return min(least for least, _ in self.begins[what].values())


class ParticlesSample(NamedTuple):
    """Training samples of the laws of `emulator.particles.Particles`.

    Attributes
    ----------
    laws: samples by name of the law.
    radius: jet radius.
    n_jets: number of pairs of jets they are made from.
    """

    laws: dict[str, LawSample]
    radius: float
    n_jets: int

    @classmethod
    def joined(cls, chunks: Sequence[tuple[int, ParticlesSample]]) -> ParticlesSample:
        """Concatenate chunks, see `joined_laws`."""
        laws = joined_laws([(which, chunk.laws) for which, chunk in chunks])
        return chunks[0][1]._replace(laws=laws, n_jets=sum(chunk.n_jets for _, chunk in chunks))


AT_MOST = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(12)])  # P(at most k), Poisson with mean 1


def bootstrapped(sample: TrainingSample, seed: int, member: int) -> TrainingSample:
    """Return the bootstrap sample of an ensemble member: the number of copies of each event is Poisson with mean 1.

    Rows with the same split_key (an event or a file) stay together; the number of copies depends only on seed, member
    and split_key.

    Raises
    ------
    ValueError: if nothing is left of a dataset, as may happen with few files.
    """
    pairs, unmatched = sample

    def times(split_key: Floats) -> Ints:
        number, zero = split_key.astype(np.float32).view(np.uint32), np.zeros(len(split_key), dtype=np.uint32)
        u = levels(event_keys(seed, "bootstrap", zero, zero, number), member, stream=STREAM_BOOTSTRAP)[:, 0]
        return np.searchsorted(AT_MOST, u, side="right")

    def again(rows: Ints, n: Ints) -> tuple[Ints, Ints]:
        """For items that belong to rows copied n times: return the items to take, and the new row of each."""
        taken = np.repeat(np.arange(len(rows)), n[rows])
        return taken, (np.cumsum(n) - n)[rows[taken]] + places(n[rows])

    n_jets, n_events = times(pairs.split_key), times(unmatched.split_key)
    n_lost = len(np.setdiff1d(pairs.sample, pairs.sample[n_jets > 0]))
    what = f"expected jets of each dataset in member {member}, got {n_lost} without: bootstrap events, not files"
    expect(not n_lost, f"ensemble: {what}")
    (near, near_row), (far, far_event) = again(unmatched.near_row, n_jets), again(unmatched.far_event, n_events)
    of_events: dict[str, Any] = {
        name: getattr(unmatched, name).repeat(n_events, axis=0) for name in ("events", "frames", "split_key", "sample")
    }
    taken = np.repeat(np.arange(len(n_jets)), n_jets)
    x_event = (np.cumsum(n_events) - n_events)[unmatched.x_event[taken]] + places(n_jets)
    order = np.argsort(x_event, kind="stable")  # the jets of each copy of an event together
    jets: dict[str, Any] = {
        "near": unmatched.near[near],
        "near_row": np.argsort(order)[near_row],
        "far": unmatched.far[far],
        "far_event": far_event,
        "x_event": x_event[order],
    }
    copies: dict[str, Any] = {name: column[taken[order]] for name, column in pairs._asdict().items()}
    return TrainingSample(JetPairs(**copies), unmatched._replace(**jets, **of_events))
