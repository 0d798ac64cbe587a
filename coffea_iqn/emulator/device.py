"""An emulator on a device such as a GPU: networks, variables and levels as torch tensors."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from array_api_compat import array_namespace
from array_api_compat import torch as xtorch
from torch import Tensor

from coffea_iqn.emulator.functions import Functions
from coffea_iqn.emulator.preprocessing import Variables, check_jets
from coffea_iqn.emulator.refinement import Candidates, take
from coffea_iqn.iqn.device import BLOCK, in_blocks_of_torch
from coffea_iqn.iqn.network import Network
from coffea_iqn.numerics import uniforms
from coffea_iqn.ranges import expect

BLOCK_ON_GPU = 2**20  # jets at a time, in a thousand small kernels and about 2 GB


@dataclass(frozen=True, eq=False, kw_only=True)
class Resident(Functions):
    """An emulator's networks and variables on a device; inputs and outputs are tensors on that device.

    Attributes
    ----------
    device: the device.
    network, variables, acceptance, origin, ratio: see `emulator.Emulator`.
    candidates: layout of the levels of refined draws, None without refinement.

    Jets are rows (pt [GeV], eta, phi [rad], mass [GeV]), in the precision of the networks; context is (N, 68) or None.
    Unmatched jets, how overlapping gen jets depend on each other, and overlaps of drawn jets within a radius are not
    handled here because they need whole events.
    """

    device: torch.device
    candidates: Candidates | None = None

    @classmethod
    def of(cls, emulator: Any, device: torch.device, *, double: bool = False) -> Resident:
        """Move the parts of an emulator to a device; networks and their inputs in single precision, or double."""
        dtype = torch.float64 if double else torch.float32

        def there(part: Any) -> Any:
            if isinstance(part, Variables):
                return part.on(xtorch, dtype, device)
            part = part.module if isinstance(part, Network) else part
            # `to` moves a module in place, so copy the emulator's; on the CPU the two share their weights
            alone = part is None or (device.type == "cpu" and not double)
            return part if alone else deepcopy(part).to(device=device, dtype=dtype)

        names = [field.name for field in fields(Functions)]
        parts = {name: there(getattr(emulator, name)) for name in names}
        return cls(device=device, candidates=emulator.candidates, **parts)

    def sample(
        self, x: Tensor, tau: Tensor, context: Tensor | None = None, *, raw_pt_min: float | None = None
    ) -> Tensor:
        """Draw one jet y for each jet x, (N, 4); arguments and errors are those of `Emulator.sample`."""
        return self._in_blocks(x, tau, context, raw_pt_min, with_efficiency=False)

    def respond(
        self, x: Tensor, tau: Tensor, context: Tensor | None = None, *, raw_pt_min: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return jets y (N, 4) and efficiencies (N,); arguments and errors are those of `Emulator.respond`."""
        both = self._in_blocks(x, tau, context, raw_pt_min, with_efficiency=True)
        return both[:, :-1], both[:, -1]

    @property
    def n_levels(self) -> int:
        """Number of levels of a draw, see `Emulator`."""
        return int(self.network.n_levels if self.candidates is None else self.candidates.n_levels)

    def fold(
        self,
        x: Tensor,
        keys: Tensor,
        index: Tensor,
        context: Tensor | None = None,
        *,
        replica: int = 0,
        raw_pt_min: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Fold jets x (N, 4): return jets y, drawn at levels from keys and index, and whether each is found, (N,) bool.

        Parameters
        ----------
        x, context, raw_pt_min: see `sample`.
        keys: `uniforms.event_keys` of each jet's event, (N, 4), as integers.
        index: index of each jet x in its event, before any cut, (N,).
        replica: number of the independent draw.

        Raises
        ------
        ValueError: for invalid jets, and for keys or indices that are not integers or have the wrong shape.
        """
        wanted, got = ((len(x), 4), (len(x),)), (tuple(keys.shape), tuple(index.shape))
        shapes = f"expected shapes {wanted[0]} and {wanted[1]}, got {got[0]} and {got[1]}"
        expect(got == wanted, f"keys, index: {shapes}")
        fits = all(array_namespace(words).isdtype(words.dtype, "integral") for words in (keys, index))
        expect(fits, f"keys, index: expected integers, got {keys.dtype} and {index.dtype}")
        tau = levels_on_device(keys, index, replica=replica, n=self.n_levels)
        y, efficiency = self.respond(x, tau, context, raw_pt_min=raw_pt_min)
        return y, levels_on_device(keys, index, replica=replica, stream=uniforms.STREAM_ACCEPTANCE)[:, 0] < efficiency

    @property
    def block(self) -> int:
        """Number of jets processed at a time."""
        return BLOCK if self.device.type == "cpu" else BLOCK_ON_GPU

    def answer(
        self, x: Tensor, tau: Tensor, context: Tensor | None = None, *, threshold: float, with_efficiency: bool
    ) -> Tensor:
        """Return jets y above a threshold [GeV], (N, 4); with_efficiency adds a column with the efficiencies.

        If there is a ratio network, levels are those of one candidate, and the last column is its `share_of`.
        """
        inputs = self.inputs(x, context)
        drawn = self.network.sample(tau, inputs, partial(self.variables.bounds, x=x, raw_pt_min=threshold))
        columns = [self.variables.decode(drawn, x, raw_pt_min=threshold)]
        if with_efficiency:
            columns.append(self.efficiency_of(x, inputs, threshold)[:, None])
        if self.ratio is not None:
            columns.append(self.share_of(x, inputs, drawn)[:, None])
        return torch.cat(columns, dim=1)

    def _in_blocks(
        self, x: Tensor, tau: Tensor, context: Tensor | None, raw_pt_min: float | None, *, with_efficiency: bool
    ) -> Tensor:
        of, threshold = self.candidates, self.variables.threshold(raw_pt_min)
        check_jets(x, tau, context, other_is="tau", widths=self.network.widths if of is None else (of.n_levels,))

        def draw(rows: Any, levels: Tensor, *, with_efficiency: bool = False) -> Tensor:
            answer = partial(self.answer, threshold=threshold, with_efficiency=with_efficiency)
            known = None if context is None else context[rows]
            made: Tensor = in_blocks_of_torch(answer, x[rows], levels, known, rows=self.block)
            return made

        if of is None:
            return draw(slice(None), tau, with_efficiency=with_efficiency)
        first = draw(slice(None), of.levels(tau, 0), with_efficiency=with_efficiency)
        made: Tensor = take(of, tau, first, draw)
        return made


def levels_on_device(
    keys: Tensor, index: Tensor, *, replica: int = 0, stream: int = uniforms.STREAM_JET, n: int = 4
) -> Tensor:
    """Return the same bits as `uniforms.levels` on the device of the tensors, (N, n) float32.

    Parameters
    ----------
    keys, index: see `uniforms.levels`, of any integer type.
    replica, stream, n: see `uniforms.levels`.
    """
    low = int(uniforms.LOW)
    key0, key1, key2, key3 = (keys[:, k].to(torch.int64) & low for k in range(4))
    blocks = []
    for use in uniforms.uses(replica, stream, n):
        counter = [index.to(torch.int64) & low, torch.full_like(key0, use), key2, key3]
        blocks += _block_of_tensors(counter, [key0, key1])
    words = torch.stack(blocks[:n], dim=1)
    return ((words >> int(uniforms.DROPPED)).to(torch.float32) + float(uniforms.HALF)) * float(uniforms.STEP)


def _block_of_tensors(counter: list[Tensor], key: list[Tensor]) -> list[Tensor]:
    """Same as `uniforms._block` with words in 64-bit integers, whose products keep all 64 bits."""
    low, high = int(uniforms.LOW), int(uniforms.HIGH)
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(uniforms.ROUNDS):
        p0, p1 = c0 * int(uniforms.M0), c2 * int(uniforms.M1)
        c0, c1, c2, c3 = (p1 >> high & low) ^ c1 ^ k0, p1 & low, (p0 >> high & low) ^ c3 ^ k1, p0 & low
        k0, k1 = k0 + int(uniforms.W0) & low, k1 + int(uniforms.W1) & low
    return [c0, c1, c2, c3]
