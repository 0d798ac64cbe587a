"""What an emulator is trained on: pairs of jets, p(y | x) of which is learnt, and the ys that are in no pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coffea_iqn.numerics.arrays import Bools, Floats, Ints


class JetPairs(NamedTuple):
    """What an emulator is trained on.

    Attributes
    ----------
    x: the jets that are known, (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV]. Gen jets where an emulator folds,
        reco jets where it corrects.
    y: the jet of the other level that is matched to each, (N, 4) float32; NaN where there is none. Columns of
        `targets.MORE` may follow.
    context: conditioning variables of each x, (N, 68) float32, as `context.encode` gives it.
    lot: a number in (0, 1) that jets which must stay together share, (N,); the lowest are held out.
    sample: which of the training samples (datasets) each comes from, (N,), from 0.
    """

    x: Floats
    y: Floats
    context: Floats
    lot: Floats
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
    near: those near a gen jet, (M, 4), columns as of `JetPairs.y`.
    near_row: the gen jet of each, as a row of the pairs, (M,).
    far: the others, (K, 4).
    far_event: the event of each, as a row of the columns that follow, (K,).
    events: conditioning variables of every event, (events, 15), as `unmatched.far_columns` gives it.
    frames: `unmatched.Frames` of every event, axis and side, (events, 2).
    lot, sample: of every event, as of `JetPairs`, (events,).
    reach: ΔR within which a jet is near a gen jet.
    """

    near: Floats
    near_row: Ints
    far: Floats
    far_event: Ints
    events: Floats
    frames: Floats
    lot: Floats
    sample: Ints
    reach: float


class TrainingSample(NamedTuple):
    """Pairs of jets, and the unmatched jets of the same events."""

    pairs: JetPairs
    unmatched: UnmatchedJets
