"""Batches of a training: choice of jets, and hiding of some of their conditioning variables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coffea_iqn.jets.context import NANOAOD, WIDTHS
from coffea_iqn.jets.prompt import N_INSIDE
from coffea_iqn.training.optimise import Draw

# further jets with prompt particles, as a fraction of the batch: they are few and unlike all other jets. Their number
# is raised only for networks that take this as an input, so that the network learns what more such jets would teach it
PROMPT_SHARE = 0.015  # with a tenth, the networks memorise these jets
MAX_VALIDATION = 50_000  # rows for a validation loss: more would not change which state is best

# how often a jet is shown with the levels that a type of input file has: one bundle serves all types
SHOWN: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.40, tuple(WIDTHS)),
    (0.15, (*NANOAOD, "composition")),
    (0.35, NANOAOD),
    (0.10, ()),
)


def hide(
    inputs: Tensor, levels: tuple[str, ...], blind: float, generator: torch.Generator, *, n_prompt: int = 0
) -> Tensor:
    """Hide some levels of context in network inputs, by setting their columns to 0.

    Parameters
    ----------
    inputs: network inputs, (N, n); the last columns are those of the levels.
    levels: levels of `context`, in the order of their columns.
    blind: probability that levels of a jet are hidden at random, each with probability 1/2; otherwise see `SHOWN`.
    generator: random generator, on the CPU even if the inputs are not.
    n_prompt: number of last rows whose prompt particles are always shown.
    """
    if not levels:
        return inputs
    n = len(inputs)
    shares = torch.tensor([share for share, _ in SHOWN])
    seen_by_kind = torch.tensor([[level in shown for level in levels] for _, shown in SHOWN])
    seen = seen_by_kind[torch.multinomial(shares, n, replacement=True, generator=generator)]  # (N, levels)
    some = torch.rand(n, len(levels), generator=generator) < 0.5
    seen = torch.where(torch.rand(n, 1, generator=generator) < blind, some, seen)
    if n_prompt:
        seen[-n_prompt:, levels.index("prompt")] = True
    level_of_column = torch.arange(len(levels)).repeat_interleave(torch.tensor([WIDTHS[level] for level in levels]))
    mask = seen.index_select(1, level_of_column).to(inputs.device)
    start = inputs.shape[1] - mask.shape[1]
    return torch.cat([inputs[:, :start], inputs[:, start:] * mask], dim=1)


def with_prompt(inputs: Tensor, levels: tuple[str, ...]) -> Tensor:
    """Return the rows of jets with prompt particles, (n,), from network inputs whose last columns are these levels."""
    if "prompt" not in levels:
        return torch.empty(0, dtype=torch.int64)
    after = sum(WIDTHS[level] for level in levels[levels.index("prompt") :])
    column = inputs.shape[1] - after + N_INSIDE
    return torch.nonzero(inputs[:, column] > 0.0)[:, 0].cpu()


def with_origin(origin: Any, inputs: Tensor) -> Tensor:
    """Return network inputs with what an origin network, if there is one, says of their event; without gradients."""
    if origin is None:
        return inputs
    with torch.no_grad():
        told: Tensor = origin.with_origin(inputs)
    return told


def drawing(sample: Tensor, shares: tuple[float, ...]) -> Draw:
    """Return a function that draws the rows of a batch.

    Parameters
    ----------
    sample: index of the training sample of each row, (N,) int64.
    shares: share of each sample in a batch; if empty, proportional to its number of rows.

    Returns
    -------
    a function of the number of rows n and a generator that returns rows, (n,).
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


def seeded() -> torch.Generator:
    """Return a generator that always draws the same."""
    return torch.Generator().manual_seed(0)
