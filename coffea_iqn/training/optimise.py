"""The training loop of all networks: steps, checks of the validation loss, checkpoints."""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from coffea_iqn.files.atomic import whole_file
from coffea_iqn.training.recipes import Schedule

CLIP = 1.0  # maximum norm of a gradient
WARM_UP = 500  # steps of the rise of the cosine schedule; at most a tenth of all steps


class Check(NamedTuple):
    """A check of the validation loss, for showing progress.

    Attributes
    ----------
    phase, stage, step: name of the fit, and its stage and step, counted from 1.
    steps: maximum number of steps of the stage; None if time limits them.
    done: completed fraction of the stage's steps or time.
    loss, best: the current validation loss, and the lowest so far.
    """

    phase: str
    stage: int
    step: int
    steps: int | None
    done: float
    loss: float
    best: float


class Fitted(NamedTuple):
    """The best validation loss of a fit, its duration up to the last check without interruptions, and its steps."""

    loss: float
    seconds: float
    steps: int


@contextmanager
def fixed_weights(seed: int) -> Iterator[None]:
    """Make the initial weights of networks depend on this seed only, and leave torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


Watch = Callable[[Check], None]
Loss = Callable[[Tensor, torch.Generator], Tensor]
Draw = Callable[[int, torch.Generator], Tensor]


def fit(
    phase: str,
    module: nn.Module,
    train_loss: Loss,
    validation_loss: Callable[[], Tensor],
    draw: Draw,
    settings: Schedule,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Minimise a loss, and keep the state with the lowest validation loss.

    Parameters
    ----------
    phase: name of the fit, for progress and checkpoint.
    module: the module to train; it has the best state at the end.
    train_loss: function of rows of the training sample, (batch,) int64, and a generator.
    validation_loss: returns the validation loss of the module in its current state.
    draw: function of the batch size and a generator that returns rows of the training sample, (batch,) int64.
    settings: schedule.
    checkpoint: folder where the state is saved at every check, and restored from.
    watch: called at each check.

    Returns
    -------
    the best validation loss, the time spent and the steps made.

    Raises
    ------
    FloatingPointError: if the loss becomes infinite or NaN; the module then has the best state.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    best_state = copy.deepcopy(module.state_dict())
    parameters = [*module.parameters()]  # once, as searching the module for them takes time
    average = [p.detach().clone() for p in parameters]
    state: dict[str, Any] = dict.fromkeys(("stage", "step", "made", "waited"), 0)
    state |= {"best": float("inf"), "seconds": 0.0, "done": False}
    saved, file = None, None if checkpoint is None else checkpoint / f"{phase}.pt"
    if file is not None and file.is_file():
        saved = torch.load(file, weights_only=True)
        state, best_state, average = saved["state"], saved["best_state"], saved["average"]
        module.load_state_dict(saved["module"])
        generator.set_state(saved["generator"])

    steps = settings.steps if settings.minutes is None else None
    started = time.monotonic() - state["seconds"]
    for stage in range(state["stage"], 0 if state["done"] else settings.stages):
        optimiser = _optimiser(module, settings)
        if saved is not None:
            optimiser.load_state_dict(saved["optimiser"])
            saved = None
        else:
            module.load_state_dict(best_state)
            state |= {"stage": stage, "step": 0, "waited": 0}
        while (done := _done(stage, state["step"], started, settings)) < 1.0 and state["waited"] < settings.patience:
            before = step = state["step"]
            while step < before + settings.check_every and done < 1.0:
                optimiser.param_groups[0]["lr"] = settings.learning_rate * _rate(stage, step, done, settings)
                loss = train_loss(draw(settings.batch_size, generator), generator)
                _descend(loss, parameters, optimiser, clip=settings.schedule == "cosine")
                # early on, a short average, to forget the initial weights
                _follow(average, parameters, keep=min(settings.average, (1.0 + step) / (10.0 + step)))
                step += 1
                done = _done(stage, step, started, settings)
            state |= {"step": step, "made": state["made"] + step - before, "seconds": time.monotonic() - started}
            value, candidate = _validate(module, average, validation_loss)
            if not np.isfinite(value):
                module.load_state_dict(best_state)
                where = f"stage {stage + 1}, step {state['step']}"
                msg = f"{phase}: the loss is {value} at {where}: try a lower learning rate"
                raise FloatingPointError(msg)
            if value < state["best"]:
                state |= {"best": value, "waited": 0}
                best_state = candidate
            else:
                state["waited"] += 1
            if file is not None:
                _save(file, module, optimiser, generator, best_state=best_state, average=average, state=state)
            if watch is not None:
                watch(Check(phase, stage + 1, step, steps, min(done, 1.0), value, state["best"]))
    module.load_state_dict(best_state)
    if file is not None and not state["done"]:
        _save(file, module, optimiser, generator, best_state=best_state, average=average, state=state | {"done": True})
    return Fitted(float(state["best"]), float(state["seconds"]), int(state["made"]))


def _optimiser(module: nn.Module, settings: Schedule) -> torch.optim.Optimizer:
    parameters, rate, betas = module.parameters(), settings.learning_rate, (settings.momentum, 0.999)
    if settings.schedule == "stages":
        return torch.optim.Adam(parameters, lr=rate, betas=betas, amsgrad=True, fused=True)
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=settings.weight_decay, fused=True)


def _descend(loss: Tensor, parameters: list[nn.Parameter], optimiser: torch.optim.Optimizer, *, clip: bool) -> None:
    """Take one step of the optimiser."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip:
        nn.utils.clip_grad_norm_(parameters, CLIP)
    optimiser.step()


def _done(stage: int, step: int, started: float, settings: Schedule) -> float:
    """Return the completed fraction of a stage; a stage has at least one step, even without time left."""
    if step == 0:
        return 0.0
    if settings.minutes is None:
        return step / settings.steps
    return (time.monotonic() - started) / (60.0 * settings.minutes / settings.stages) - stage


def _rate(stage: int, step: int, done: float, settings: Schedule) -> float:
    """Return the learning rate as a fraction of the settings', after a number of steps and a fraction of the stage."""
    if settings.schedule == "stages":
        return 10.0 ** (-stage)
    rise = WARM_UP if settings.minutes is not None else min(WARM_UP, max(settings.steps // 10, 1))
    warm_up = min(1.0, max((step + 1) / rise, 10.0 * done if settings.minutes is not None else 0.0))
    return warm_up * 0.5 * (1.0 + math.cos(math.pi * done))


def _follow(average: list[Tensor], parameters: list[nn.Parameter], *, keep: float) -> None:
    """Update the moving average of the weights."""
    with torch.no_grad():
        for mean, parameter in zip(average, parameters, strict=True):
            mean.lerp_(parameter, 1.0 - keep)


def _validate(
    module: nn.Module, average: list[Tensor], validation_loss: Callable[[], Tensor]
) -> tuple[float, dict[str, Tensor]]:
    """Return the validation loss of the averaged weights, and those weights."""
    own = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for parameter, mean in zip(module.parameters(), average, strict=True):
            parameter.copy_(mean)
        value, candidate = float(validation_loss()), copy.deepcopy(module.state_dict())
    module.load_state_dict(own)
    return value, candidate


def _save(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator, **others: Any
) -> None:
    of_these = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "generator": generator.get_state()}
    content = io.BytesIO()
    torch.save(of_these | others, content)  # to a file on a full disk it raises an error that does not say so
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getvalue())
