"""What a training step sees: which jets, and how much of what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from coffea_iqn.context import NANOAOD, WIDTHS
from coffea_iqn.fitting import Draw, Fitted, Schedule, Watch, fit

MAX_VALIDATION = 50_000  # rows a validation loss is taken on: more would not change which state is best

# how often a jet is shown with the levels of context that a kind of input has, for one bundle to serve them all
SHOWN: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.40, tuple(WIDTHS)),
    (0.15, (*NANOAOD, "composition")),
    (0.35, NANOAOD),
    (0.10, ()),
)


def hidden(inputs: Tensor, levels: tuple[str, ...], blind: float, generator: torch.Generator) -> Tensor:
    """Network inputs with some levels of context hidden.

    Parameters
    ----------
    inputs: (N, n), the columns of the levels last.
    levels: of `context`, in the order of their columns.
    blind: chance that each level of a jet is hidden or not at random; otherwise it is shown as `SHOWN` says.
    generator: on the CPU, whatever the device of inputs.
    """
    if not levels:
        return inputs
    n = len(inputs)
    shares = torch.tensor([share for share, _ in SHOWN])
    seen_by_kind = torch.tensor([[level in shown for level in levels] for _, shown in SHOWN])
    seen = seen_by_kind[torch.multinomial(shares, n, replacement=True, generator=generator)]  # (N, levels)
    some = torch.rand(n, len(levels), generator=generator) < 0.5
    seen = torch.where(torch.rand(n, 1, generator=generator) < blind, some, seen)
    mask = seen.repeat_interleave(torch.tensor([WIDTHS[level] for level in levels]), dim=1).to(inputs.device)
    start = inputs.shape[1] - mask.shape[1]
    return torch.cat([inputs[:, :start], inputs[:, start:] * mask], dim=1)


def drawing(sample: Tensor, shares: tuple[float, ...]) -> Draw:
    """How to draw rows for a batch.

    Parameters
    ----------
    sample: which training sample each row is of, (N,) int64.
    shares: of each sample in a batch; none for each as its number of rows.

    Returns
    -------
    a function of the number of rows and a generator that gives rows, (n,).
    """
    order = sample.argsort(stable=True)
    sizes = sample.bincount(minlength=len(shares))
    starts = sizes.cumsum(0) - sizes
    wanted = torch.tensor(shares, dtype=torch.float64) if shares else sizes.double()
    wanted = torch.where(sizes > 0, wanted, 0.0)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(wanted, n, replacement=True, generator=generator)
        place = (torch.rand(n, dtype=torch.float64, generator=generator) * sizes[which]).long()
        return order[starts[which] + place]

    return draw


@dataclass(frozen=True)
class Course:
    """A training under way: how each of its networks is fitted.

    Attributes
    ----------
    blind: as of `hidden`.
    shares: as of `drawing`.
    device: where to compute, as torch names it.
    checkpoint, watch: as of `fitting.fit`.
    """

    blind: float
    shares: tuple[float, ...]
    device: str
    checkpoint: Path | None
    watch: Watch | None

    def fit(
        self,
        phase: str,
        module: nn.Module,
        loss: Callable[..., Tensor],
        learn: tuple[Tensor, ...],
        check: tuple[Tensor, ...],
        schedule: Schedule,
        levels: tuple[str, ...] = (),
    ) -> Fitted:
        """Fit a module, and return its best validation loss, and the time spent.

        Parameters
        ----------
        phase: a name for progress and for the checkpoint.
        module: what is trained.
        loss: of a batch of `learn` but its last, and a generator.
        learn, check: rows to learn from and rows held out: inputs first, the training sample of each last.
        schedule: steps and the like.
        levels: of context, the last columns of the inputs, of which some are hidden.
        """
        *learnt, sample = learn
        learnt = [t.to(self.device) for t in learnt]
        *checked, valid_sample = check
        chosen = drawing(valid_sample, self.shares)(min(len(valid_sample), MAX_VALIDATION), _seeded())
        checked = [t[chosen].to(self.device) for t in checked]

        def train_loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            inputs, *others = (t[rows.to(self.device)] for t in learnt)
            return loss(hidden(inputs, levels, self.blind, generator), *others, generator)

        def validation_loss() -> Tensor:
            same_each_time = _seeded()
            inputs, *others = checked
            return loss(hidden(inputs, levels, self.blind, same_each_time), *others, same_each_time)

        draw = drawing(sample, self.shares)
        module.to(self.device)
        return fit(
            phase, module, train_loss, validation_loss, draw, schedule, checkpoint=self.checkpoint, watch=self.watch
        )


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
