"""Training of a `Law`: the number of ys of a source x, and the distribution of each y."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.network import BELOW_BOUND, Network
from coffea_iqn.iqn.networks import NumberNetwork, build
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.numerics.arrays import Floats, Ints
from coffea_iqn.training.optimise import fixed_weights
from coffea_iqn.training.pairs import LawSample
from coffea_iqn.training.recipes import Schedule
from coffea_iqn.training.run import TrainingRun

MOST = 6  # greatest number of ys of a source; more are negligible
FAR_OFF, HALVINGS = 3.0, 40  # bisection in `_level`: greatest shift of the logits, number of steps
HIDDEN = (32, 32)  # sizes of the hidden layers; samples are far smaller than those of pairs


class Part(NamedTuple):
    """The sample of one of several laws that are learnt together.

    Attributes
    ----------
    learn, check: samples to train on, and held out.
    bounds: bounds of the targets, (2, m).
    target_scale: standardisation of the targets.
    """

    learn: LawSample
    check: LawSample
    bounds: Floats
    target_scale: Standardisation

    def ends(self) -> Floats:
        """Return the standardised bounds, (2, m) float32."""
        return np.asarray(self.target_scale.apply(self.bounds), dtype=np.float32)

    def encoded(self, sample: LawSample, atoms: Sequence[int]) -> tuple[Floats, Floats, Floats]:
        """Return the standardised targets of a sample and their lower and upper bounds, (M, m) each."""
        targets, ends = self.target_scale.apply(sample.targets).astype(np.float32), self.ends()
        for k in atoms:  # the value that a `SplineIQN` takes for its atom
            targets[sample.targets[:, k] <= self.bounds[0, k], k] = ends[0, k] - BELOW_BOUND
        least, most = (np.repeat(end[np.newaxis], len(targets), axis=0) for end in ends)
        first = (sample.least - self.target_scale.mean[0]) / self.target_scale.scale[0]
        least[:, 0] = np.maximum(least[:, 0], first.astype(np.float32))
        return targets, least, most


def learn_law(
    kind: str,
    learn: LawSample,
    check: LawSample,
    schedule: Schedule,
    run: TrainingRun,
    bounds: Floats,
    **options: Any,
) -> Law:
    """Train the networks of a law: `learn_laws` of a single one."""
    part = Part(learn, check, bounds, Standardisation.of(learn.targets))
    (law,) = learn_laws(kind, [part], schedule, run, **options)
    return law


def learn_laws(
    kind: str,
    parts: Sequence[Part],
    schedule: Schedule,
    run: TrainingRun,
    *,
    hidden: tuple[int, ...] = HIDDEN,
    atoms: Sequence[int] = (),
    asks: tuple[str, ...] = ("number", "jets"),
) -> list[Law]:
    """Train laws that share their networks, so that those with small samples learn from the others.

    The networks are told by further inputs, one for each law, which of them a row belongs to. As these are constants of
    a law, they are then included in the biases of its first layer.

    Parameters
    ----------
    kind: first word of the names of the phases.
    parts: the sample of each law.
    schedule, run: schedule of the fits, and the running training.
    hidden, atoms: sizes of the hidden layers; indices of targets with an atom at their lower bound.
    asks: networks to train: "number", "jets" (the targets), or both.
    """
    learnt, n_more = LawSample.joined([part.learn for part in parts]), len(parts) if len(parts) > 1 else 0
    known = sum(WIDTHS[level] for level in learnt.context)  # not standardised: of order one, and 0 if hidden
    own = learnt.columns.shape[1] - known
    input_scale = Standardisation.of(learnt.columns[:, :own]).and_more(known)
    n_inputs, n_targets = n_more + own + known, max(learnt.targets.shape[1], 1)
    with fixed_weights(schedule.seed):
        most = max(min(int(learnt.numbers().max(initial=0)), MOST), 1)
        number = NumberNetwork(n_inputs, most=most, hidden=hidden)
        _start(number, learnt.numbers())
        jets = SplineIQN(n_inputs, n_targets, hidden=hidden, atoms=atoms)
        for k in atoms:
            in_atom = np.concatenate([part.learn.targets[:, k] <= part.bounds[0, k] for part in parts])
            jets.start_atom(k, float(in_atom.mean()))

    def number_loss(inputs: Tensor, numbers: Tensor, _: torch.Generator) -> Tensor:
        return functional.cross_entropy(number(inputs), numbers)

    def jets_loss(inputs: Tensor, target: Tensor, least: Tensor, most: Tensor, generator: torch.Generator) -> Tensor:
        return jets.loss(inputs, target, (least, most), generator)

    def inputs_of(columns: Floats, which: int) -> Floats:
        of_law = np.zeros((len(columns), n_more), dtype=np.float32)
        of_law[:, which : which + 1] = 1.0
        return np.concatenate([of_law, input_scale.apply(columns)], axis=1)

    def of_sources(sample: LawSample, which: int) -> tuple[Any, ...]:
        return inputs_of(sample.columns, which), np.minimum(sample.numbers(), number.most), sample.sample

    def of_jets(sample: LawSample, which: int) -> tuple[Any, ...]:
        return (
            inputs_of(sample.columns[sample.source], which),
            *parts[which].encoded(sample, atoms),
            sample.sample[sample.source],
        )

    def tensors(rows: Any, samples: Sequence[LawSample]) -> tuple[Tensor, ...]:
        of_each = (rows(sample, which) for which, sample in enumerate(samples))
        return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*of_each, strict=True))

    for asked, module, loss, rows in (("number", number, number_loss, of_sources), ("jets", jets, jets_loss, of_jets)):
        if asked in asks:
            samples = [part.learn for part in parts], [part.check for part in parts]
            run.fit(f"{kind} {asked}", module, loss, (tensors(rows, of) for of in samples), schedule, learnt.context)
            module.to("cpu").eval()
    laws = []
    for which, part in enumerate(parts):
        its_number, its_jets = (_with_known(module, which, n_more) for module in (number, jets))
        if "number" in asks:
            every = LawSample.joined([part.learn, part.check])
            inputs = torch.from_numpy(input_scale.apply(every.columns))
            _level(its_number, inputs, np.minimum(every.numbers(), number.most))
        laws.append(
            Law(
                Network.of(its_number) if "number" in asks else None,
                Network.of(its_jets) if "jets" in asks else None,
                input_scale,
                part.target_scale,
                part.ends(),
            )
        )
    return laws


def _with_known(module: Any, which: int, n: int) -> Any:
    """Return a network without its first n inputs, of which one is 1 and the others are 0."""
    if n == 0:
        return module
    made, state = build({**module.description(), "n_inputs": module.n_inputs - n}), module.state_dict()
    for name in state:
        if name.endswith(".0.weight"):  # of a first layer
            bias = f"{name.removesuffix('weight')}bias"
            state[bias] = state[bias] + state[name][:, which]
            state[name] = state[name][:, n:]
    made.load_state_dict(state)
    return made.eval()


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
