"""The probabilities of a gen jet's reco jet to lie in bins, from conditional distribution functions, without draws.

The levels of a reco jet are uniform in the unit cube: u of pt before the detector's scale, v of eta, w of phi, and that
of the mass. An edge of a bin of pt is a surface u = U(v) in it, for the scale makes of one pt several, by eta; what is
below the edge is the integral of U over v. Distribution functions are exact at edges; what is integrated over is
smooth, by the rule of Gauss and Legendre in the levels, and not at all where a reco jet is all on one side of an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coffea_iqn.iqn.device import in_blocks, in_blocks_of_torch
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, SCALES, UNSCALED
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.numerics.uniforms import LEAST_LEVEL

LEAST = 1e-7  # less than that single precision does not tell from nothing
ROWS = 1024  # gen jets at a time: each has a row for every edge and node


@dataclass(frozen=True, eq=False)
class Cells:
    """What finds the probabilities of bins of reco jets.

    Attributes
    ----------
    on: the emulator, a `device.Resident` whose network is a `SplineIQN`.
    pt: edges [GeV].
    beside: what the second axis is of, "abs_eta" or "mass"; "" for none.
    edges: of that axis.
    threshold: least pt [GeV] of a reco jet, before the detector's scale.
    points: of the rule, in each level.
    """

    on: Any
    pt: Doubles
    beside: str
    edges: Doubles
    threshold: float
    points: int

    def __call__(self, gen: Floats, context: Floats | None) -> Doubles:
        """The probabilities of a reco jet that is found, (N, bins of pt, bins of the other), flow bins included."""

        def answer(gen: Tensor, context: Tensor | None = None) -> Tensor:
            return self._of(gen, self.on.inputs(gen, context))

        tensors = [torch.tensor(array) for array in (gen, context) if array is not None]
        return np.asarray(in_blocks_of_torch(answer, *tensors, rows=ROWS).numpy())

    def _of(self, gen: Tensor, x: Tensor) -> Tensor:
        below = self._below_pt(gen, x)  # (N, edges, points): U at nodes of v
        zero = torch.zeros_like(below[:, :1])
        steps = torch.cat([zero, below, zero + 1.0], dim=1).diff(dim=1).clamp(min=0.0)  # (N, bins, points)
        of_pt = self._mean(steps)
        if not self.beside:
            return of_pt[:, :, None]
        if self.beside == "mass":
            below_other = self._below_mass(gen, x, torch.cat([zero, below], dim=1), steps)
        else:
            up_to = [self._below_eta(gen, x, torch.tensor(side * self.edges), of_pt) for side in (1.0, -1.0)]
            below_other = up_to[0] - up_to[1]
        zero = torch.zeros_like(of_pt[:, :, None])
        return torch.cat([zero, below_other, of_pt[:, :, None]], dim=2).diff(dim=2).clamp(min=0.0)

    @property
    def _rule(self) -> tuple[list[float], list[float]]:
        """Nodes in (0, 1), and their weights, which add up to 1."""
        nodes, weights = np.polynomial.legendre.leggauss(self.points)
        return (0.5 * (nodes + 1.0)).tolist(), (0.5 * weights).tolist()

    def _mean(self, at_nodes: Tensor) -> Tensor:
        """The integral over the last axis, one node after the other, so that no row's sum depends on the others."""
        total = torch.zeros_like(at_nodes[..., 0])
        for k, weight in enumerate(self._rule[1]):
            total = total + weight * at_nodes[..., k]
        return total

    def _below_pt(self, gen: Tensor, x: Tensor) -> Tensor:
        """The levels of the edges of pt at nodes of the level of eta: (N, edges, points)."""
        eta, cone = gen[:, ETA], self.on.variables.support.cone
        within = ((eta.abs() - cone).clamp(min=0.0), eta, eta.abs() + cone)  # the scale is monotone in |eta|
        targets = torch.cat([self._first_targets(gen, at) for at in within], dim=1)
        low, middle, high = self._levels_of_pt(gen, x, targets).chunk(3, dim=1)
        found = middle[:, :, None].repeat(1, 1, self.points)
        if SCALES[self.on.variables.scale] != UNSCALED:
            jet, edge = torch.nonzero((high - low).abs() > LEAST, as_tuple=True)
            pt, v = torch.tensor(self.pt)[edge], torch.tensor(self._rule[0]).expand(len(jet), -1)
            found[jet, edge] = in_blocks(self._levels_at, gen[jet], x[jet], pt, v)
        return found

    def _levels_at(self, gen: Tensor, x: Tensor, pt: Tensor, v: Tensor) -> Tensor:
        """The levels of a pt (N,) of each jet where eta has levels v (N, n), (N, n).

        Eta is drawn at the pt before the scale that this is at the eta of the gen jet. At that which it is at the eta
        drawn, eta would be another, by a thousandth of its width.
        """
        y = self._first_target(gen, pt, gen[:, ETA])[:, None]
        etas = [self._decoded(gen, self._draw(ETA, level, gen, x, y))[:, ETA] for level in v.T]
        return self._levels_of_pt(gen, x, torch.stack([self._first_target(gen, pt, eta) for eta in etas], dim=1))

    def _first_targets(self, gen: Tensor, eta: Tensor) -> Tensor:
        """Of all edges of pt, (N, edges)."""
        edges = torch.tensor(self.pt)
        return torch.stack([self._first_target(gen, edge.expand(len(gen)), eta) for edge in edges], dim=1)

    def _first_target(self, gen: Tensor, pt: Tensor, eta: Tensor) -> Tensor:
        """The first target of jets that have this pt after the scale, at this eta, (N,)."""
        reco = torch.stack([pt.clamp(min=LEAST).to(gen.dtype), eta, gen[:, PHI], gen[:, MASS]], dim=1)
        target: Tensor = self.on.variables.encode(reco, gen)[:, PT]
        return target

    def _levels_of_pt(self, gen: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self._levels(PT, y, gen, x, x[:, :0])

    def _levels(self, k: int, y: Tensor, gen: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """The levels of targets k (N, n), given those before, (N, k): (N, n), in double precision from here on."""
        bounds = self.on.variables.bounds(k, drawn, gen, self.threshold)
        levels: Tensor = self.on.network.conditional(k, x, drawn, bounds).levels(y).double()
        return levels

    def _draw(self, k: int, level: Tensor, gen: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """Targets 0 to k, the last at a level (N,), given those before, (N, k): (N, k + 1)."""
        inside = level.float().clamp(LEAST_LEVEL, 1.0 - LEAST_LEVEL)
        bounds = self.on.variables.bounds(k, drawn, gen, self.threshold)
        return torch.cat([drawn, self.on.network.quantile(k, inside, x, drawn, bounds)[:, None]], dim=1)

    def _decoded(self, gen: Tensor, drawn: Tensor) -> Tensor:
        """Jets (N, 4) of their first targets; the other columns are those of nothing drawn."""
        whole = torch.cat([drawn, drawn.new_zeros(len(gen), MASS + 1 - drawn.shape[1])], dim=1)
        made: Tensor = self.on.variables.decode(whole, gen, raw_pt_min=self.threshold)
        return made

    def _below_eta(self, gen: Tensor, x: Tensor, edges: Tensor, of_pt: Tensor) -> Tensor:
        """P(in a bin of pt, and eta up to an edge), (N, bins of pt, edges)."""
        distance = edges.to(gen.dtype) - gen[:, ETA, None]  # (N, edges)
        found = of_pt[:, :, None] * (distance > 0.0)[:, None, :]
        jet, edge = torch.nonzero(distance.abs() < self.on.variables.support.cone, as_tuple=True)
        up_to = in_blocks(self._below_one_eta, gen[jet], x[jet], edges.to(gen.dtype)[edge])
        found[jet, :, edge] = torch.minimum(up_to, of_pt[jet])
        return found

    def _below_one_eta(self, gen: Tensor, x: Tensor, eta: Tensor) -> Tensor:
        """P(in a bin of pt, and up to this eta), (N, bins of pt).

        The bins end where U is at half the level of this eta: its integral over v up to there, to second order.
        """
        u = [torch.zeros(len(gen), dtype=torch.float64)]
        for edge in torch.tensor(self.pt):
            pt = edge.expand(len(gen))
            v = self._level_of_eta(gen, x, self._first_target(gen, pt, eta), eta)
            u.append(self._levels_at(gen, x, pt, 0.5 * v[:, None])[:, 0])
        ends = torch.stack([*u, torch.ones_like(u[0])], dim=1)
        steps = ends.diff(dim=1).clamp(min=0.0)
        row, pt_bin = torch.nonzero(steps > LEAST, as_tuple=True)
        found = torch.zeros_like(steps)
        found[row, pt_bin] = in_blocks(self._within, gen[row], x[row], eta[row], ends[row, pt_bin], steps[row, pt_bin])
        return found

    def _within(self, gen: Tensor, x: Tensor, eta: Tensor, start: Tensor, step: Tensor) -> Tensor:
        """The integral of P(up to this eta) over levels of pt from a start on, (N,)."""
        y = [self._draw(PT, start + node * step, gen, x, x[:, :0])[:, PT] for node in self._rule[0]]
        return step * self._mean(torch.stack([self._level_of_eta(gen, x, one, eta) for one in y], dim=1))

    def _level_of_eta(self, gen: Tensor, x: Tensor, y: Tensor, eta: Tensor) -> Tensor:
        """P(up to this eta), given the first target, (N,)."""
        reco = self._decoded(gen, y[:, None])
        reco[:, ETA] = eta
        target = self.on.variables.encode(reco, gen)[:, ETA]
        level = self._levels(ETA, target[:, None], gen, x, y[:, None])[:, 0]
        reco[:, ETA] = eta + 0.01
        falls = self.on.variables.encode(reco, gen)[:, ETA] < target  # where the target is towards the other beam
        return torch.where(falls, 1.0 - level, level)

    def _below_mass(self, gen: Tensor, x: Tensor, start: Tensor, steps: Tensor) -> Tensor:
        """P(in a bin of pt, and the mass below an edge), (N, bins of pt, edges)."""
        jet, pt_bin, node = torch.nonzero(steps > LEAST, as_tuple=True)
        rows = gen[jet], x[jet], start[jet, pt_bin, node], steps[jet, pt_bin, node]
        at_nodes = steps.new_zeros((*steps.shape[:2], len(self.edges), self.points))
        at_nodes[jet, pt_bin, :, node] = in_blocks(self._below_masses, *rows, torch.tensor(self._rule[0])[node])
        return self._mean(at_nodes)

    def _below_masses(self, gen: Tensor, x: Tensor, start: Tensor, step: Tensor, v: Tensor) -> Tensor:
        """The integral of P(mass below an edge) over levels of pt from a start on, and of phi, (N, edges)."""
        of_pt = []
        for node in self._rule[0]:
            drawn = self._draw(ETA, v, gen, x, self._draw(PT, start + node * step, gen, x, x[:, :0]))
            of_phi = [self._draw(PHI, torch.full_like(v, w), gen, x, drawn) for w in self._rule[0]]
            of_pt.append(self._mean(torch.stack([self._levels_of_mass(gen, x, one) for one in of_phi], dim=2)))
        return step[:, None] * self._mean(torch.stack(of_pt, dim=2))

    def _levels_of_mass(self, gen: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """P(mass below an edge), given the other targets, (N, edges)."""
        reco, targets = self._decoded(gen, drawn), []
        for edge in self.edges.tolist():
            reco[:, MASS] = max(edge, 0.0)
            targets.append(self.on.variables.encode(reco, gen)[:, MASS])
        levels = self._levels(MASS, torch.stack(targets, dim=1), gen, x, drawn)
        return levels * torch.tensor(self.edges > 0.0)  # no mass is below zero, and some are zero
