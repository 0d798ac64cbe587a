"""A running training: how each of its networks is fitted, its time limit, its checkpoint, its entry in a card."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from coffea_iqn.closure import nonuniformity
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.iqn.network import Network
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.ranges import expect
from coffea_iqn.training.batches import MAX_VALIDATION, PROMPT_SHARE, drawing, hide, seeded, with_prompt
from coffea_iqn.training.optimise import Fitted, Watch, fit
from coffea_iqn.training.pairs import JetPairs
from coffea_iqn.training.pretrained import Pretrained
from coffea_iqn.training.recipes import Schedule, TrainingSettings

# fraction of the training time that each network takes with the default recipe
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
SHORT = 0.05  # that of any other network
MOST_COMPARED, MOST_OFF = 10_000, 0.2  # pairs compared with a bundle to start from; deviation of their quantile levels


class How(TypedDict, total=False):
    """How a training runs: its checkpoint, watch and device, see `training.train`."""

    checkpoint: Path | None
    watch: Watch | None
    device: str


class TrainingRun:
    """A running training: how each of its networks is fitted. With a checkpoint, it may continue an earlier one.

    Parameters
    ----------
    settings: settings of the training.
    phases: whether each phase takes place, by its name.
    sample, owner: columns of the sample and bundle to start from: together with settings, they identify a checkpoint.
    pretrained: trained networks to begin with, by phase.
    checkpoint, watch, device: see `training.train`.

    Raises
    ------
    ValueError: if the checkpoint belongs to another training.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        phases: Mapping[str, bool],
        sample: Iterable[npt.ArrayLike],
        owner: str = "",
        pretrained: Mapping[str, Pretrained] | None = None,
        *,
        checkpoint: Path | None = None,
        watch: Watch | None = None,
        device: str = "cpu",
    ) -> None:
        if checkpoint is not None:
            _claim(checkpoint, sample, settings, owner)
        self.settings, self.checkpoint, self.watch, self.device = settings, checkpoint, watch, device
        self.pretrained = pretrained or {}
        self.phases = [phase for phase, comes in phases.items() if comes]
        self.fits: dict[str, Fitted] = {}  # by phase

    def report(self, **known: Any) -> dict[str, Any]:
        """Return the entry of a card for this training."""
        return {
            **known,
            "settings": asdict(self.settings),
            "validation_loss": {phase: fit.loss for phase, fit in self.fits.items()},
            "steps": {phase: fit.steps for phase, fit in self.fits.items()},
            "minutes": round(sum(fit.seconds for fit in self.fits.values()) / 60.0, 2),
        }

    def extended(self, emulator: Emulator, known: dict[str, Any], **parts: Any) -> Emulator:
        """Return an emulator with further parts, and with this training under "extended" in its card."""
        card = {key: value for key, value in emulator.card.items() if key != "hash"}
        card["extended"] = [*card.get("extended", []), self.report(**known)]
        return replace(emulator, card=card, **parts)

    def fit(
        self,
        phase: str,
        module: nn.Module,
        loss: Callable[..., Tensor],
        rows: Iterable[tuple[Tensor, ...]],
        schedule: Schedule,
        levels: tuple[str, ...] = (),
    ) -> None:
        """Fit a module, which is in its best state then.

        Parameters
        ----------
        phase: name of the fit, for progress and checkpoint.
        module: the module to train.
        loss: function of the columns of a batch, without the last one, and a generator.
        rows: columns of rows to train on and of rows held out: network inputs first, index of the sample last.
        schedule: schedule of the fit; its minutes are replaced by a share of the training's.
        levels: levels of context in the last columns of the inputs, some of which are hidden.
        """
        (*learnt, sample), (*checked, valid_sample) = rows
        learnt = [t.to(self.device) for t in learnt]
        blind, shares = self.settings.blind, self.settings.shares
        chosen = drawing(valid_sample, shares)(min(len(valid_sample), MAX_VALIDATION), seeded())
        checked = [t[chosen].to(self.device) for t in checked]

        # jets with prompt particles are not added for the network that learns how frequent they are
        prompt = with_prompt(learnt[0], () if phase == "origin" else levels)

        def train_loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            n_prompt = int(PROMPT_SHARE * len(rows)) if len(prompt) else 0
            if n_prompt:
                rows = torch.cat([rows, prompt[torch.randint(len(prompt), (n_prompt,), generator=generator)]])
            inputs, *others = (t.index_select(0, rows.to(self.device)) for t in learnt)
            return loss(hide(inputs, levels, blind, generator, n_prompt=n_prompt), *others, generator)

        def validation_loss() -> Tensor:
            same_each_time = seeded()
            inputs, *others = checked
            return loss(hide(inputs, levels, blind, same_each_time), *others, same_each_time)

        draw = drawing(sample, shares)
        if phase in self.pretrained:
            n_own = learnt[0].shape[1] - sum(WIDTHS[level] for level in levels)
            if not self.pretrained[phase].begin(module, n_own, levels):
                msg = (
                    f"{phase}: the pretrained network has other sizes or inputs, so this one begins with random weights"
                )
                warnings.warn(msg, UserWarning, stacklevel=2)
        module.to(self.device)
        schedule = replace(schedule, minutes=self._minutes(phase))
        self.fits[phase] = fit(
            phase, module, train_loss, validation_loss, draw, schedule, checkpoint=self.checkpoint, watch=self.watch
        )

    def _minutes(self, phase: str) -> float | None:
        """Return the time limit of the next phase: the time left is divided among those to come as is typical."""
        if self.settings.minutes is None:
            return None
        left = self.settings.minutes - sum(fit.seconds for fit in self.fits.values()) / 60.0
        shares = {name: TIMES.get(name, SHORT) for name in self.phases if name not in self.fits}
        # at least a moment, even if earlier phases exceeded their limits
        return max(left * shares[phase] / sum(shares.values()), 1e-6)


def _claim(checkpoint: Path, columns: Iterable[npt.ArrayLike], settings: TrainingSettings, owner: str) -> None:
    """Create the checkpoint folder, or check that it belongs to this training.

    Raises
    ------
    ValueError: if it belongs to another training.
    """
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode() + owner.encode())
    for column in columns:
        digest.update(np.ascontiguousarray(column).tobytes())
    file = checkpoint / "training.txt"
    if not file.is_file():
        checkpoint.mkdir(parents=True, exist_ok=True)
        file.write_text(digest.hexdigest() + "\n")
    what = "expected that of this training, got one with other pairs or settings"
    fits = file.read_text().strip() == digest.hexdigest()
    expect(fits, f"checkpoint {checkpoint}: {what}; --restart discards it")


def learnt(**modules: nn.Module | None) -> dict[str, Any]:
    """Return the networks of trained modules by name, or None for modules that are None."""
    return {name: module and Network.of(module.to("cpu").eval()) for name, module in modules.items()}


def came_from(emulator: Emulator) -> dict[str, Any]:
    """Return the entry of a card for an emulator that a training learnt from."""
    return {name: emulator.card[name] for name in ("hash", "training", "extended") if name in emulator.card}


def warn_other_response(emulator: Emulator, pairs: JetPairs) -> None:
    """Warn if jets y of pairs are not those that a bundle to start from draws: their quantile levels are not uniform.

    Pairs do not know their radius, direction and detector. An emulator without a hash was only just trained.
    """
    rows = np.flatnonzero(pairs.matched)
    if "hash" not in emulator.card or not emulator.exact or not len(rows):
        return
    rows = rows[:: len(rows) // MOST_COMPARED + 1]
    within = np.random.default_rng(0).uniform(size=len(rows))
    levels = emulator.cdf(pairs.x[rows], pairs.four_momenta[rows], pairs.context[rows], within_atom=within)
    off = max(one.value - 2.0 * one.uncertainty for one in nonuniformity(levels))
    if off > MOST_OFF:
        msg = (
            "pairs: the bundle to start from has another response than their jets, as if these were of another "
            f"radius, direction or detector: the density of their quantile levels is off by {off:.0%} or more"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
