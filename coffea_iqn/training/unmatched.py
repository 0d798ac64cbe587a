"""Reco jets that match no gen jet to the model of them: as `training`, for the laws of `unmatched`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.emulator.preprocessing import Variables
from coffea_iqn.emulator.unmatched import (
    CONTEXT,
    MASS_FLOOR,
    Frames,
    Unmatched,
    far_targets,
    near_columns,
    near_targets,
)
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.network import Network
from coffea_iqn.iqn.networks import NumberNetwork, SplineIQN
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import MASS, PT, SCALES
from coffea_iqn.jets.support import HEADROOM
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.training.batches import Course
from coffea_iqn.training.optimise import Fitted
from coffea_iqn.training.pairs import JetPairs, UnmatchedJets
from coffea_iqn.training.recipes import TrainingSettings, shorter

WEIGHT_DECAY = 0.1  # at least: with less, so few jets are learnt by heart
MOST = 6  # unmatched jets of one source; more are rarer than the uncertainty of six
HIDDEN = (32, 32)  # sizes of the hidden layers: there are far fewer unmatched jets than pairs


def learn_unmatched(
    pairs: JetPairs,
    jets: UnmatchedJets,
    variables: Variables,
    settings: TrainingSettings,
    course: Course,
) -> tuple[Unmatched | None, dict[str, Fitted]]:
    """Train the model of unmatched jets.

    Parameters
    ----------
    pairs, jets: the training sample, the part to be held out included.
    variables: of the emulator: inputs, scale, levels of context.
    settings: the recipe.
    course: how networks are fitted.

    Returns
    -------
    the model, or None where a kind of unmatched jets is too rare to learn from, and how each network was fitted.
    """
    near, far = (SCALES[variables.scale].undo(j.astype(np.float64)) for j in (jets.near, jets.far))
    raw_pt_min = settings.raw_pt_min
    if raw_pt_min <= 0.0:
        raw_pt_min = min((float(raw[:, PT].min()) for raw in (near, far) if len(raw)), default=1.0)
    context = tuple(level for level in CONTEXT if level in variables.context)
    of_gen_jets = near_columns(pairs.x, pairs.y, pairs.matched, pairs.context, inputs=variables.inputs, levels=context)
    targets = near_targets(near, pairs.x[jets.near_row].astype(np.float64))
    samples = {"near": _Sample(of_gen_jets, pairs.lot, pairs.sample, jets.near_row, targets, context)}
    targets = far_targets(far, Frames(*jets.frames[jets.far_event].T))
    samples["far"] = _Sample(jets.events, jets.lot, jets.sample, jets.far_event, targets, ())
    parts = {kind: sample.split(settings.holdout) for kind, sample in samples.items()}
    if not all(len(part.source) for both in parts.values() for part in both):
        return None, {}
    laws: dict[str, Law] = {}
    fits: dict[str, Fitted] = {}
    for kind, (learn, check) in parts.items():
        bounds = _bounds(kind, learn.targets, np.log(raw_pt_min), jets.reach, variables.support.abs_eta_max)
        laws[kind], fits_of_law = _learn_law(kind, learn, check, settings, course, bounds)
        fits |= fits_of_law
    model = Unmatched(
        laws["near"], laws["far"], variables.inputs, variables.scale, context, jets.reach, raw_pt_min, variables.support
    )
    return model, fits


def _bounds(kind: str, targets: Floats, log_pt_min: float, reach: float, abs_eta_max: float) -> Floats:
    """The least and the greatest of each target of unmatched jets, (2, 4): known, or extremes and some head-room."""
    low, high = targets.min(axis=0), targets.max(axis=0)
    margin = HEADROOM * (high - low)
    place = [(0.0, reach), (-np.pi, np.pi)] if kind == "near" else [(-abs_eta_max, abs_eta_max), (-np.pi, np.pi)]
    lightest = np.log(MASS_FLOOR) - (high[PT] + margin[PT])  # of a mass of zero
    return np.array(
        [(log_pt_min, high[PT] + margin[PT]), *place, (min(lightest, low[MASS]), high[MASS] + margin[MASS])]
    ).T


class _Sample(NamedTuple):
    """Sources and their unmatched jets.

    columns, lot, sample: of the sources, (S, n), (S,), (S,).
    source: of each jet, as a row of the sources, (M,).
    targets: of the jets, (M, 4).
    context: the levels that are the columns' last.
    """

    columns: Floats
    lot: Floats
    sample: Ints
    source: Ints
    targets: Floats
    context: tuple[str, ...]

    def split(self, holdout: float) -> tuple[_Sample, _Sample]:
        """Sources and jets to learn from, and those held out."""
        held_out = self.lot < holdout
        return self._part(~held_out), self._part(held_out)

    def numbers(self) -> Ints:
        """How many jets each source has, (S,)."""
        return np.bincount(self.source, minlength=len(self.columns))

    def _part(self, keep: Bools) -> _Sample:
        jets = keep[self.source]
        place = np.cumsum(keep) - 1
        return self._replace(
            columns=self.columns[keep],
            lot=self.lot[keep],
            sample=self.sample[keep],
            source=place[self.source[jets]],
            targets=self.targets[jets],
        )


def _learn_law(
    kind: str, learn: _Sample, check: _Sample, settings: TrainingSettings, course: Course, bounds: Floats
) -> tuple[Law, dict[str, Fitted]]:
    """Train the networks of one kind of unmatched jets; how each was fitted beside them."""
    known = sum(WIDTHS[level] for level in learn.context)  # of order one already, and 0 where hidden
    own = learn.columns.shape[1] - known
    scale = Standardisation.of(learn.columns[:, :own])
    input_scale = Standardisation(np.pad(scale.mean, (0, known)), np.pad(scale.scale, (0, known), constant_values=1.0))
    target_scale = Standardisation.of(learn.targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        most = min(int(learn.numbers().max()), MOST)
        number = NumberNetwork(learn.columns.shape[1], most=most, hidden=HIDDEN)
        jets = SplineIQN(learn.columns.shape[1], hidden=HIDDEN)
    standardised = target_scale.apply(bounds).astype(np.float32)
    ends = [torch.from_numpy(end) for end in standardised]

    def number_loss(inputs: Tensor, numbers: Tensor, _: torch.Generator) -> Tensor:
        return functional.cross_entropy(number(inputs), numbers)

    def jets_loss(inputs: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        least, most = (end.to(target.device).expand_as(target) for end in ends)
        return jets.loss(inputs, target, (least, most), generator)

    def inputs_of(columns: Floats) -> Tensor:
        return torch.from_numpy(input_scale.apply(columns))

    def of_sources(part: _Sample) -> tuple[Tensor, ...]:
        numbers = np.minimum(part.numbers(), number.most)
        return inputs_of(part.columns), torch.from_numpy(numbers), torch.from_numpy(part.sample)

    def of_jets(part: _Sample) -> tuple[Tensor, ...]:
        targets = target_scale.apply(part.targets).astype(np.float32)
        sample = torch.from_numpy(part.sample[part.source])
        return inputs_of(part.columns[part.source]), torch.from_numpy(targets), sample

    fits = {}
    schedule = shorter(settings, 1, weight_decay=max(settings.weight_decay, WEIGHT_DECAY))
    for phase, module, loss, tensors in (
        (f"{kind} number", number, number_loss, of_sources),
        (f"{kind} jets", jets, jets_loss, of_jets),
    ):
        fits[phase] = course.fit(phase, module, loss, tensors(learn), tensors(check), schedule, learn.context)
        module.to("cpu").eval()
    return Law(Network.of(number), Network.of(jets), input_scale, target_scale, standardised), fits
