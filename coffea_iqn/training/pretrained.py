"""Transfer learning: the networks of a training begin as those of a bundle for another detector or other processes.

Much of what they learn is the same for all detectors, so that fewer jets are needed for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.iqn.network import Network, hidden_of
from coffea_iqn.jets.context import OF_EVENT, WIDTHS
from coffea_iqn.ranges import expect
from coffea_iqn.training.recipes import TrainingSettings

NETWORK = "SplineIQN"  # other members have their inputs in another order


class Pretrained(NamedTuple):
    """A trained network to begin with.

    Attributes
    ----------
    network: the network.
    n_own: number of its inputs before those of context.
    levels: levels of context that it takes as input.
    """

    network: Network
    n_own: int
    levels: tuple[str, ...]

    def begin(self, module: Any, n_own: int, levels: Iterable[str]) -> bool:
        """Set the weights of a module, which has n_own inputs before these levels of context, to those of the network.

        Returns whether it did: not for a module of other sizes or inputs.

        Inputs that only one of them has begin with weight 0, as if they were unknown: further levels of context, and
        what an origin network tells, as its samples are others. Multiplicities that only the module has begin as they
        are.
        """
        state = module.state_dict()
        for name, values in state.items():
            known = torch.from_numpy(self.network.arrays[name])
            if name.endswith(".0.weight"):
                theirs = _columns(known, self.network.n_inputs, self.n_own, self.levels)
                ours, by_input = _columns(values, module.n_inputs, n_own, levels), known
                known = known.new_zeros(len(by_input), values.shape[1])
                for column in ours.keys() & theirs.keys():
                    known[:, ours[column]] = by_input[:, theirs[column]]
            n = min(len(known), len(values)) if self.network.type == "NumberNetwork" else len(known)
            if n_own != self.n_own or known[:n].shape != values[:n].shape:
                return False
            state[name] = torch.cat([known[:n], values[n:]])
        module.load_state_dict(state)
        return True


def _columns(weights: Tensor, n_inputs: int, n_own: int, levels: Iterable[str]) -> dict[tuple[str, int], int]:
    """Return which column of the weights of a first layer each input has that is the same for all bundles."""
    found, start = {("own", k): k for k in range(n_own)}, n_own
    for level in (level for level in levels if level not in OF_EVENT):
        found |= {(level, k): start + k for k in range(WIDTHS[level])}
        start += WIDTHS[level]
    return found | {("drawn", k - n_inputs): k for k in range(n_inputs, weights.shape[1])}  # targets drawn before


def networks_of(emulator: Emulator, settings: TrainingSettings) -> tuple[dict[str, Pretrained], TrainingSettings]:
    """Return the networks to begin with, by the name of their phase, and the settings with the sizes of these.

    Raises
    ------
    ValueError: if settings contradict the emulator, or it has another member of the family than a `SplineIQN`.
    """
    variables, network, model = emulator.variables, emulator.network, emulator.unmatched
    expect(network.type == NETWORK, f"pretrained: expected a bundle with a {NETWORK}, got a {network.type}")
    sizes: dict[str, Any] = {"hidden": tuple(hidden_of(network.description["hidden"], 0)), "slope": network.slope}
    alike = {"network": network.type, "inputs": variables.inputs, "targets": variables.targets, **sizes}
    for name, value in alike.items():
        got = getattr(settings, name)
        expect(got in (None, value), f"{name}: expected {value}, as the pretrained bundle has, got {got}")
    n_own = len(variables.input_scale.mean)
    found = {"quantiles": Pretrained(network, n_own, variables.context)}
    if emulator.acceptance is not None:
        found["acceptance"] = Pretrained(emulator.acceptance, n_own, variables.context)
    laws = [] if model is None else [("near", model.near, model.context), ("far", model.far, ())]
    laws += [] if emulator.overlaps is None else [("overlaps", emulator.overlaps.pair, ())]
    for kind, law, levels in laws:
        for what, of_law in (("number", law.number), ("jets", law.targets)):
            assert of_law is not None
            n_own = of_law.n_inputs - sum(WIDTHS[level] for level in levels)
            found[f"{kind} {what}"] = Pretrained(of_law, n_own, levels)
    return found, replace(settings, **sizes)
