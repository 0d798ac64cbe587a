"""Training of a `Law`: the number of ys of a source x, and the distribution of each y."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.network import BELOW_BOUND, Network
from coffea_iqn.iqn.networks import NumberNetwork
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.training.batches import TrainingRun
from coffea_iqn.training.optimise import Schedule, fixed_weights
from coffea_iqn.training.pairs import LawSample

MOST = 6  # greatest number of ys of a source; more are negligible
FAR_OFF, HALVINGS = 3.0, 40  # bisection in `_level`: greatest shift of the logits, number of steps
HIDDEN = (32, 32)  # sizes of the hidden layers; samples are far smaller than those of pairs


def learn_law(
    kind: str,
    learn: LawSample,
    check: LawSample,
    schedule: Schedule,
    run: TrainingRun,
    bounds: Floats,
    *,
    hidden: tuple[int, ...] = HIDDEN,
    atoms: Sequence[int] = (),
    asks: tuple[str, ...] = ("number", "jets"),
    input_scale: Standardisation | None = None,
    target_scale: Standardisation | None = None,
) -> Law:
    """Train the networks of a law.

    Parameters
    ----------
    kind: first word of the names of its phases.
    learn, check: samples to train on, and held out.
    schedule, run: schedule of the fits, and the running training.
    bounds: bounds of the targets, (2, m).
    hidden, atoms: sizes of the hidden layers; indices of targets with an atom at their lower bound.
    asks: networks to train: "number", "jets" (the targets), or both.
    input_scale, target_scale: standardisations of the columns without context and of the targets; by default mean and
        standard deviation.
    """
    known = sum(WIDTHS[level] for level in learn.context)  # not standardised: of order one, and 0 if hidden
    own = learn.columns.shape[1] - known
    input_scale = (Standardisation.of(learn.columns[:, :own]) if input_scale is None else input_scale).and_more(known)
    target_scale = Standardisation.of(learn.targets) if target_scale is None else target_scale
    with fixed_weights(schedule.seed):
        most = max(min(int(learn.numbers().max(initial=0)), MOST), 1)
        number = NumberNetwork(learn.columns.shape[1], most=most, hidden=hidden)
        _start(number, learn.numbers())
        jets = SplineIQN(learn.columns.shape[1], max(learn.targets.shape[1], 1), hidden=hidden, atoms=atoms)
        for k in atoms:
            jets.start_atom(k, float((learn.targets[:, k] <= bounds[0, k]).mean()))
    standardised = target_scale.apply(bounds).astype(np.float32)
    ends = [torch.from_numpy(end) for end in standardised]

    def number_loss(inputs: Tensor, numbers: Tensor, _: torch.Generator) -> Tensor:
        return functional.cross_entropy(number(inputs), numbers)

    def jets_loss(inputs: Tensor, target: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
        least, most = (end.to(target.device).expand_as(target) for end in ends)
        least = torch.cat([torch.maximum(least[:, :1], first[:, None]), least[:, 1:]], dim=1)
        return jets.loss(inputs, target, (least, most), generator)

    def inputs_of(columns: Floats) -> Tensor:
        return torch.from_numpy(input_scale.apply(columns))

    def of_sources(part: LawSample) -> tuple[Tensor, ...]:
        numbers = np.minimum(part.numbers(), number.most)
        return inputs_of(part.columns), torch.from_numpy(numbers), torch.from_numpy(part.sample)

    def of_jets(part: LawSample) -> tuple[Tensor, ...]:
        targets = target_scale.apply(part.targets).astype(np.float32)
        for k in atoms:  # the value that a `SplineIQN` takes for its atom
            targets[part.targets[:, k] <= bounds[0, k], k] = standardised[0, k] - BELOW_BOUND
        first = np.maximum((part.least - target_scale.mean[0]) / target_scale.scale[0], standardised[0, 0])
        sample = torch.from_numpy(part.sample[part.source])
        known = torch.from_numpy(targets), torch.from_numpy(first.astype(np.float32))
        return inputs_of(part.columns[part.source]), *known, sample

    for asked, module, loss, tensors in (
        ("number", number, number_loss, of_sources),
        ("jets", jets, jets_loss, of_jets),
    ):
        if asked in asks:
            phase = f"{kind} {asked}"
            run.fit(phase, module, loss, tensors(learn), tensors(check), schedule, learn.context)
            module.to("cpu").eval()
    if "number" in asks:
        every = LawSample.joined([learn, check])
        _level(number, inputs_of(every.columns), np.minimum(every.numbers(), number.most))
    return Law(
        Network.of(number) if "number" in asks else None,
        Network.of(jets) if "jets" in asks else None,
        input_scale,
        target_scale,
        standardised,
    )


def _start(number: NumberNetwork, seen: Ints) -> None:
    """Initialise with the observed frequency of each number: rare ones would take most of a training to get there."""
    often = np.bincount(np.minimum(seen, number.most), minlength=number.most + 1) + 0.5
    with torch.no_grad():
        *_, weight, bias = number.net.parameters()
        weight.mul_(0.1)
        bias.copy_(torch.from_numpy(np.log(often / often.sum())))


def _level(number: NumberNetwork, inputs: Tensor, seen: Ints) -> None:
    """Shift the bias of all numbers above 0 such that the expected total number agrees with the observed one.

    This holds at the maximum of the likelihood, but not exactly for averaged weights after early stopping.
    """
    *_, bias = number.net.parameters()
    rising = torch.arange(number.most + 1)
    with torch.no_grad():
        logits, low, high = number(inputs).double(), -FAR_OFF, FAR_OFF
        for _ in range(HALVINGS):
            shift = (low + high) / 2.0
            expected = ((logits + shift * (rising > 0)).softmax(dim=1) * rising).sum()
            low, high = (low, shift) if expected > seen.sum() else (shift, high)
        bias[1:] += shift
