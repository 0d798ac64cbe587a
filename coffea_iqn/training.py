"""Pairs of jets to an emulator.

Read from the bottom: `train` is the recipe, `fit` the loop that both networks go through.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from coffea_iqn.emulator import Emulator
from coffea_iqn.features import INPUTS, TARGETS, Array, Standardisation
from coffea_iqn.networks import AcceptanceNetwork, build

MAX_VALIDATION = 50_000  # jets a validation loss is taken on: more would not change which state is best


class JetPairs(NamedTuple):
    """What an emulator is trained on.

    Attributes
    ----------
    gen: gen jets (N, 4) float32: pt [GeV], eta, phi [rad], mass [GeV].
    reco: the reco jet matched to each, (N, 4) float32; NaN where there is none.
    level: a number in (0, 1) that jets which must stay together share, (N,); the lowest are held out.
    """

    gen: Array
    reco: Array
    level: Array

    @property
    def matched(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where a gen jet has a reco jet, (N,)."""
        return ~np.isnan(self.reco[:, 0])


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides which weights come out, the pairs aside.

    network, inputs, targets: keys of `networks.MEMBERS`, `features.INPUTS` and `features.TARGETS`.
    hidden, slope, penalty: layer sizes, LeakyReLU slope, and λ of the penalty on crossing quantiles.
    batch_size, learning_rate: of AMSGrad; the rate is divided by ten at each stage.
    stages, steps: how many stages, and at most how many steps in each.
    check_every, patience: steps between looks at the validation loss; looks without improvement that end a stage.
    holdout: fraction of the pairs held out for validation.
    acceptance: whether to learn P(reconstructed | gen jet) as well.
    seed: of weights and batches.
    """

    network: str = "IQNx4"
    inputs: str = "calorimeter"
    targets: str = "residual"
    hidden: tuple[int, ...] = (50,) * 5
    slope: float = 0.3
    penalty: float = 100.0
    batch_size: int = 512
    learning_rate: float = 1e-3
    stages: int = 3
    steps: int = 15_000
    check_every: int = 500
    patience: int = 10
    holdout: float = 0.1
    acceptance: bool = True
    seed: int = 1


RECIPES: dict[str, TrainingSettings] = {
    "default": TrainingSettings(),
    "paper-iqnx4": TrainingSettings(network="IQNx4", inputs="paper", targets="ratio"),
    "paper-iqnx1": TrainingSettings(network="IQNx1", inputs="paper", targets="ratio"),
}


class Check(NamedTuple):
    """One look at the validation loss, for whoever shows progress."""

    phase: str
    stage: int
    step: int
    steps: int
    loss: float
    best: float


Watch = Callable[[Check], None]
Loss = Callable[[Tensor, torch.Generator], Tensor]


def fit(
    phase: str,
    module: nn.Module,
    train_loss: Loss,
    validation_loss: Callable[[], Tensor],
    n_rows: int,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> float:
    """Minimise a loss in stages, each from the best state so far at a tenth of the learning rate.

    Parameters
    ----------
    phase: a name for progress and for the checkpoint.
    module: what is trained; holds the best state at the end.
    train_loss: of rows of the training sample, (batch,) int64, and a generator.
    validation_loss: of the module as it stands.
    n_rows: size of the training sample.
    checkpoint: a folder; the state is kept there at every check, and taken up from there.

    Returns
    -------
    the best validation loss.

    Raises
    ------
    FloatingPointError: when the loss is no longer finite; the module then holds the best state.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    best_state = copy.deepcopy(module.state_dict())
    state: dict[str, Any] = {"stage": 0, "step": 0, "waited": 0, "best": float("inf"), "done": False}
    saved = None
    if checkpoint is not None and (checkpoint / f"{phase}.pt").is_file():
        saved = torch.load(checkpoint / f"{phase}.pt", weights_only=True)
        state, best_state = saved["state"], saved["best_state"]
        module.load_state_dict(saved["module"])
        generator.set_state(saved["generator"])

    for stage in range(state["stage"], settings.stages):
        if state["done"]:
            break
        rate = settings.learning_rate / 10.0**stage
        optimiser = torch.optim.Adam(module.parameters(), lr=rate, amsgrad=True, fused=True)
        if saved is not None:
            optimiser.load_state_dict(saved["optimiser"])
            saved = None
        else:
            module.load_state_dict(best_state)
            state |= {"stage": stage, "step": 0, "waited": 0}
        while state["step"] < settings.steps and state["waited"] < settings.patience:
            for _ in range(settings.check_every):
                rows = torch.randint(n_rows, (settings.batch_size,), generator=generator)
                optimiser.zero_grad(set_to_none=True)
                loss = train_loss(rows, generator)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            with torch.no_grad():
                value = float(validation_loss())
            if not np.isfinite(value):
                module.load_state_dict(best_state)
                msg = f"{phase}: the loss is {value} at stage {stage + 1}, step {state['step']}: a lower learning rate may help"
                raise FloatingPointError(msg)
            state["step"] += settings.check_every
            if value < state["best"]:
                state |= {"best": value, "waited": 0}
                best_state = copy.deepcopy(module.state_dict())
            else:
                state["waited"] += 1
            if checkpoint is not None:
                _save(checkpoint / f"{phase}.pt", module, best_state, optimiser, generator, state)
            if watch is not None:
                watch(Check(phase, stage + 1, state["step"], settings.steps, value, state["best"]))
    module.load_state_dict(best_state)
    if checkpoint is not None and not state["done"]:
        _save(checkpoint / f"{phase}.pt", module, best_state, optimiser, generator, state | {"done": True})
    return float(state["best"])


def _save(
    path: Path,
    module: nn.Module,
    best_state: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    state: dict[str, Any],
) -> None:
    whole = {
        "module": module.state_dict(),
        "best_state": best_state,
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "state": state,
    }
    torch.save(whole, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(
    pairs: JetPairs,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Emulator:
    """Train an emulator on pairs of jets.

    Parameters
    ----------
    pairs: the training sample, the part to be held out included.
    settings: the recipe.
    checkpoint: a folder for the state of an unfinished training, made when missing; a call with the same
        pairs and settings goes on from there, and ends with the weights of an uninterrupted one.
    watch: called at each look at the validation loss.

    Returns
    -------
    the emulator, whose card holds "training" (settings, number of pairs, losses, minutes).

    Raises
    ------
    ValueError: when a part of the sample is empty, or the checkpoint belongs to another training.
    FloatingPointError: when the loss is no longer finite.
    """
    started = time.monotonic()
    held_out = pairs.level < settings.holdout
    matched = pairs.matched
    n_train, n_valid = int((matched & ~held_out).sum()), int((matched & held_out).sum())
    if n_train == 0 or n_valid == 0:
        msg = f"training: expected matched pairs to train and to validate on, got {n_train} and {n_valid} of {len(matched)} gen jets"
        raise ValueError(msg)
    if checkpoint is not None:
        _claim(checkpoint, pairs, settings)

    raw_inputs = INPUTS[settings.inputs](pairs.gen)
    raw_targets = TARGETS[settings.targets].encode(pairs.reco[matched], pairs.gen[matched])
    input_scale = Standardisation.of(raw_inputs[~held_out])
    target_scale = Standardisation.of(raw_targets[~held_out[matched]])
    inputs = torch.from_numpy(input_scale.apply(raw_inputs).astype(np.float32))  # (N, n_context)
    targets = torch.from_numpy(target_scale.apply(raw_targets).astype(np.float32))  # (N matched, 4)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        description = {"type": settings.network, "n_context": inputs.shape[1], "hidden": settings.hidden}
        network = build(description | {"slope": settings.slope, "penalty": settings.penalty})
        gate = AcceptanceNetwork(inputs.shape[1])

    context = inputs[torch.from_numpy(matched)]
    train_rows = torch.from_numpy(np.flatnonzero(~held_out[matched]))
    valid_rows = torch.from_numpy(np.flatnonzero(held_out[matched])[:MAX_VALIDATION])

    def quantile_loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        rows = train_rows[rows]
        return network.loss(context[rows], targets[rows], generator)

    def quantile_validation() -> Tensor:
        same_each_time = torch.Generator().manual_seed(0)
        return network.loss(context[valid_rows], targets[valid_rows], same_each_time)

    losses = {
        "quantiles": fit(
            "quantiles",
            network,
            quantile_loss,
            quantile_validation,
            n_train,
            settings,
            checkpoint=checkpoint,
            watch=watch,
        )
    }

    if settings.acceptance:
        label = torch.from_numpy(matched.astype(np.float32))
        gate_rows = torch.from_numpy(np.flatnonzero(~held_out))
        gate_valid = torch.from_numpy(np.flatnonzero(held_out)[:MAX_VALIDATION])
        entropy = nn.functional.binary_cross_entropy_with_logits

        def gate_loss(rows: Tensor, _: torch.Generator) -> Tensor:
            rows = gate_rows[rows]
            return entropy(gate(inputs[rows]), label[rows])

        losses["acceptance"] = fit(
            "acceptance",
            gate,
            gate_loss,
            lambda: entropy(gate(inputs[gate_valid]), label[gate_valid]),
            len(gate_rows),
            # a smooth probability in a few variables: larger batches, fewer steps
            replace(settings, batch_size=8 * settings.batch_size, steps=max(settings.steps // 5, settings.check_every)),
            checkpoint=checkpoint,
            watch=watch,
        )

    report = {
        "settings": asdict(settings),
        "gen_jets": len(pairs.gen),
        "pairs": n_train,
        "validation_pairs": n_valid,
        "validation_loss": losses,
        "minutes": round((time.monotonic() - started) / 60.0, 2),
    }
    return Emulator(
        network=network.eval(),
        inputs=settings.inputs,
        targets=settings.targets,
        input_scale=input_scale,
        target_scale=target_scale,
        acceptance=gate.eval() if settings.acceptance else None,
        card={"training": report},
    )


def _claim(checkpoint: Path, pairs: JetPairs, settings: TrainingSettings) -> None:
    """Make the checkpoint folder, or make sure that it belongs to this training."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for column in pairs:
        digest.update(np.ascontiguousarray(column).tobytes())
    owner = checkpoint / "training.txt"
    if not owner.is_file():
        checkpoint.mkdir(parents=True, exist_ok=True)
        owner.write_text(digest.hexdigest() + "\n")
    elif owner.read_text().strip() != digest.hexdigest():
        msg = f"checkpoint {checkpoint}: expected one of this training, got one of other pairs or settings: remove it to start anew"
        raise ValueError(msg)
