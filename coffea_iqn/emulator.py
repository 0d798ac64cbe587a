"""Four conditional quantiles composed into p(reco jet | gen jet)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coffea_iqn.features import INPUTS, TARGETS, Array, Standardisation
from coffea_iqn.networks import AcceptanceNetwork, QuantileNetwork

BLOCK = 4096  # rows a network call: what fits the cache runs two to three times faster than a whole chunk
ROWS = 16  # blocks are padded to a multiple, for matrix products of very few rows round differently


@dataclass(frozen=True, eq=False)
class Emulator:
    """The detector's answer to one gen jet at a time: p(reco | gen), and P(reconstructed | gen).

    Attributes
    ----------
    network: the member of the IQN family that draws the four targets.
    inputs: name of the network's inputs, a key of `features.INPUTS`.
    targets: name of its targets, a key of `features.TARGETS`.
    input_scale, target_scale: their standardisations.
    acceptance: the network of P(reconstructed | gen); None keeps every jet.
    card: what is to be known of the emulator: jets, domain of validity, training, closure.

    An emulator is deterministic: all randomness comes in as quantile levels.
    """

    network: QuantileNetwork
    inputs: str
    targets: str
    input_scale: Standardisation
    target_scale: Standardisation
    acceptance: AcceptanceNetwork | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def sample(self, gen: Array, tau: Array) -> Array:
        """One reco jet for each gen jet, by the chain of conditional quantiles.

        Parameters
        ----------
        gen: gen jets (N, 4): pt [GeV], eta, phi [rad], mass [GeV].
        tau: quantile levels (N, 4) in (0, 1), in the order pt, eta, phi, mass.

        Returns
        -------
        reco jets (N, 4), float32, columns as gen.

        Raises
        ------
        ValueError: when the shapes do not agree.
        """
        if gen.ndim != 2 or gen.shape[1] != 4 or tau.shape != gen.shape:
            msg = f"sample: expected gen and tau of one shape (N, 4), got {gen.shape} and {tau.shape}"
            raise ValueError(msg)
        levels = np.ascontiguousarray(tau, dtype=np.float32)
        drawn = _in_blocks(self.network.sample, levels, self.context(gen))
        targets = self.target_scale.invert(drawn)
        return TARGETS[self.targets].decode(targets, gen).astype(np.float32, copy=False)

    def efficiency(self, gen: Array) -> Array:
        """P(a reco jet is matched to the gen jet), (N,) float32, of gen jets (N, 4); ones without acceptance."""
        if self.acceptance is None:
            return np.ones(len(gen), dtype=np.float32)
        network = self.acceptance
        return _in_blocks(lambda context: torch.sigmoid(network(context)), self.context(gen))

    def context(self, gen: Array) -> Array:
        """The standardised network inputs (N, n) of gen jets (N, 4), float32."""
        return self.input_scale.apply(INPUTS[self.inputs](gen)).astype(np.float32, copy=False)


def _in_blocks(function: Callable[..., Tensor], *arrays: Array) -> Array:
    """`function` of the rows of arrays, in blocks of the cache's size, without gradients."""
    n_rows = len(arrays[0])
    out = []
    with torch.inference_mode():
        for start in range(0, n_rows, BLOCK):
            blocks = [a[start : start + BLOCK] for a in arrays]
            n = len(blocks[0])
            padding = -n % ROWS
            if padding:
                blocks = [np.concatenate([b, np.repeat(b[-1:], padding, axis=0)]) for b in blocks]
            out.append(function(*(torch.from_numpy(b) for b in blocks)).numpy()[:n])
        if not out:
            empty = [np.zeros((ROWS, *a.shape[1:]), dtype=np.float32) for a in arrays]
            return function(*(torch.from_numpy(b) for b in empty)).numpy()[:0]
    return np.concatenate(out)
