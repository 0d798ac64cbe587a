"""What a training step sees: which jets, and which of their conditioning variables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.iqn.network import Network
from coffea_iqn.jets.context import NANOAOD, WIDTHS
from coffea_iqn.jets.prompt import N_INSIDE
from coffea_iqn.ranges import expect
from coffea_iqn.training.optimise import Draw, Fitted, Schedule, Watch, fit
from coffea_iqn.training.recipes import TrainingSettings

# of a batch, beside it: jets with prompt particles, few but unlike all others. They are chosen for what a network is
# shown of them, so that what it learns is what it would learn of more such jets.
PROMPT_SHARE = 0.015  # with a tenth, they are learnt by heart
MAX_VALIDATION = 50_000  # rows a validation loss is taken on: more would not change which state is best

# how often a jet is shown with the levels of context that a kind of input has, for one bundle to serve them all
SHOWN: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.40, tuple(WIDTHS)),
    (0.15, (*NANOAOD, "composition")),
    (0.35, NANOAOD),
    (0.10, ()),
)


def hidden(
    inputs: Tensor, levels: tuple[str, ...], blind: float, generator: torch.Generator, *, n_prompt: int = 0
) -> Tensor:
    """Network inputs with some levels of context hidden.

    Parameters
    ----------
    inputs: (N, n), the columns of the levels last.
    levels: of `context`, in the order of their columns.
    blind: probability that each level of a jet is hidden or not at random; otherwise it is shown as `SHOWN` says.
    generator: on the CPU, whatever the device of inputs.
    n_prompt: so many of the last rows are shown with their prompt particles, whatever else is hidden.
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
    mask = seen.repeat_interleave(torch.tensor([WIDTHS[level] for level in levels]), dim=1).to(inputs.device)
    start = inputs.shape[1] - mask.shape[1]
    return torch.cat([inputs[:, :start], inputs[:, start:] * mask], dim=1)


def with_prompt(inputs: Tensor, levels: tuple[str, ...]) -> Tensor:
    """The rows of jets with prompt particles in them, (n,), of network inputs whose last columns are these levels."""
    if "prompt" not in levels:
        return torch.empty(0, dtype=torch.int64)
    after = sum(WIDTHS[level] for level in levels[levels.index("prompt") :])
    column = inputs.shape[1] - after + N_INSIDE
    return torch.nonzero(inputs[:, column] > 0.0)[:, 0].cpu()


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


# of the time of a training by the default recipe, what each network takes
TIMES = {
    "origin": 0.13,
    "quantiles": 0.40,
    "far tails": 0.35,
    "columns": 0.5,
    "columns of unmatched jets": 0.1,
    "acceptance": 0.18,
    "near number": 0.02,
    "near jets": 0.15,
    "far number": 0.01,
    "far jets": 0.11,
}
SHORT = 0.05  # of that time, what any other network takes


@dataclass
class Budget:
    """Minutes that the networks of a training share, in their usual proportions; what one leaves goes to the others.

    Attributes
    ----------
    minutes: still to be spent; None for as many as the steps take.
    phases: still to come, keys of `TIMES`.
    """

    minutes: float | None = None
    phases: list[str] = field(default_factory=list)

    def of(self, phase: str) -> float | None:
        """The minutes of the next phase."""
        if self.minutes is None:
            return None
        # a moment at least, where those before took longer than theirs
        return max(self.minutes * TIMES.get(phase, SHORT) / sum(TIMES.get(name, SHORT) for name in self.phases), 1e-6)

    def spend(self, phase: str, seconds: float) -> None:
        """Take what a phase took."""
        if self.minutes is not None:
            self.minutes -= seconds / 60.0
            self.phases.remove(phase)


@dataclass(frozen=True)
class TrainingRun:
    """A training under way: how each of its networks is fitted.

    Attributes
    ----------
    blind: as of `hidden`.
    shares: as of `drawing`.
    device: where to compute, as torch names it.
    checkpoint, watch: as of `optimise.fit`.
    budget: of time.
    fits: how each network was fitted, by its phase.
    """

    blind: float
    shares: tuple[float, ...]
    device: str
    checkpoint: Path | None
    watch: Watch | None
    budget: Budget = field(default_factory=Budget)
    fits: dict[str, Fitted] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        settings: TrainingSettings,
        phases: Mapping[str, bool],
        sample: Iterable[npt.ArrayLike],
        checkpoint: Path | None,
        watch: Watch | None,
        device: str,
        owner: str = "",
    ) -> TrainingRun:
        """A training that begins, or goes on from its checkpoint.

        Parameters
        ----------
        settings: of it.
        phases: what is to be fitted, and whether it is.
        sample, owner: what a checkpoint belongs to beside the settings: all columns, and a bundle that is there before.
        checkpoint, watch, device: as of `training.train`.

        Raises
        ------
        ValueError: when the checkpoint belongs to another one.
        """
        if checkpoint is not None:
            _claim(checkpoint, sample, settings, owner)
        budget = Budget(settings.minutes, [phase for phase, comes in phases.items() if comes])
        return cls(settings.blind, settings.shares, device, checkpoint, watch, budget)

    def report(self, settings: TrainingSettings, **known: Any) -> dict[str, Any]:
        """What a card says of this training."""
        return {
            **known,
            "settings": asdict(settings),
            "validation_loss": {phase: fit.loss for phase, fit in self.fits.items()},
            "steps": {phase: fit.steps for phase, fit in self.fits.items()},
            "minutes": round(sum(fit.seconds for fit in self.fits.values()) / 60.0, 2),
        }

    def extended(self, emulator: Emulator, settings: TrainingSettings, known: dict[str, Any], **parts: Any) -> Emulator:
        """An emulator with further parts, whose card has this training among "extended"."""
        card = {key: value for key, value in emulator.card.items() if key != "hash"}
        card["extended"] = [*card.get("extended", []), self.report(settings, **known)]
        return replace(emulator, card=card, **parts)

    def fit(
        self,
        phase: str,
        module: nn.Module,
        loss: Callable[..., Tensor],
        learn: tuple[Tensor, ...],
        check: tuple[Tensor, ...],
        schedule: Schedule,
        levels: tuple[str, ...] = (),
        *,
        more_prompt: bool = True,
    ) -> Fitted:
        """Fit a module, and return its best validation loss, the time spent and the steps made.

        Parameters
        ----------
        phase: a name for progress and for the checkpoint.
        module: what is trained.
        loss: of a batch of `learn` but its last, and a generator.
        learn, check: rows to learn from and rows held out: inputs first, the training sample of each last.
        schedule: steps and the like; its minutes are those of all networks.
        levels: of context, the last columns of the inputs, of which some are hidden.
        more_prompt: whether to see more of the jets with prompt particles; not where their share is what is learnt.
        """
        *learnt, sample = learn
        learnt = [t.to(self.device) for t in learnt]
        *checked, valid_sample = check
        chosen = drawing(valid_sample, self.shares)(min(len(valid_sample), MAX_VALIDATION), _seeded())
        checked = [t[chosen].to(self.device) for t in checked]

        prompt = with_prompt(learnt[0], levels) if more_prompt else torch.empty(0, dtype=torch.int64)

        def train_loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            n_prompt = int(PROMPT_SHARE * len(rows)) if len(prompt) else 0
            if n_prompt:
                rows = torch.cat([rows, prompt[torch.randint(len(prompt), (n_prompt,), generator=generator)]])
            inputs, *others = (t[rows.to(self.device)] for t in learnt)
            return loss(hidden(inputs, levels, self.blind, generator, n_prompt=n_prompt), *others, generator)

        def validation_loss() -> Tensor:
            same_each_time = _seeded()
            inputs, *others = checked
            return loss(hidden(inputs, levels, self.blind, same_each_time), *others, same_each_time)

        draw = drawing(sample, self.shares)
        module.to(self.device)
        schedule = replace(schedule, minutes=self.budget.of(phase))
        fitted = fit(
            phase, module, train_loss, validation_loss, draw, schedule, checkpoint=self.checkpoint, watch=self.watch
        )
        self.budget.spend(phase, fitted.seconds)
        self.fits[phase] = fitted
        return fitted


def _claim(checkpoint: Path, columns: Iterable[npt.ArrayLike], settings: TrainingSettings, owner: str) -> None:
    """Make the checkpoint folder, or make sure that it belongs to this training.

    Raises
    ------
    ValueError: when it belongs to another one.
    """
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode() + owner.encode())
    for column in columns:
        digest.update(np.ascontiguousarray(column).tobytes())
    file = checkpoint / "training.txt"
    if not file.is_file():
        checkpoint.mkdir(parents=True, exist_ok=True)
        file.write_text(digest.hexdigest() + "\n")
    what = "expected one of this training, got one of other pairs or settings"
    fits = file.read_text().strip() == digest.hexdigest()
    expect(fits, f"checkpoint {checkpoint}: {what}; --restart forgets it")


def learnt(**modules: nn.Module | None) -> dict[str, Any]:
    """The networks of modules that were trained, by name, or None."""
    return {name: module and Network.of(module.to("cpu").eval()) for name, module in modules.items()}


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
