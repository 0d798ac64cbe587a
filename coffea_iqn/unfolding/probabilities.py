"""Probabilities of bins of the reco jet given the gen jet, from conditional distribution functions, without draws.

The levels of a reco jet are uniform in the unit cube: u of pt before the detector's jet energy scale, v of eta, w of
phi, and that of the mass. Since the scale depends on eta, an edge in pt is a surface u = U(v) in the cube, and the
probability below the edge is the integral of U over v. Distribution functions are evaluated exactly at edges. Smooth
integrands are integrated over levels with the Gauss-Legendre rule, but only for jets that may cross an edge.
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

LEAST = 1e-7  # probabilities below are zero in single precision
ROWS = 1024  # gen jets at a time, because each has a row for every edge and node


@dataclass(frozen=True, eq=False)
class Cells:
    """Compute the probabilities of bins of reco jets.

    Attributes
    ----------
    on: the emulator, a `device.Resident` whose network is a `SplineIQN`.
    pt: edges in pt [GeV].
    second: variable of the second axis, "abs_eta" or "mass"; "" for none.
    edges: edges of the second axis.
    threshold: minimum pt [GeV] of a reco jet, before the detector's jet energy scale.
    points: nodes of the Gauss-Legendre rule in each level.
    """

    on: Any
    pt: Doubles
    second: str
    edges: Doubles
    threshold: float
    points: int

    def __call__(self, gen: Floats, context: Floats | None) -> Doubles:
        """Return probabilities given that a reco jet is found, (N, pt bins, other bins), flow bins included."""

        def answer(gen: Tensor, context: Tensor | None = None) -> Tensor:
            return self._of(gen, self.on.inputs(gen, context))

        tensors = [torch.tensor(array) for array in (gen, context) if array is not None]
        return np.asarray(in_blocks_of_torch(answer, *tensors, rows=ROWS).numpy())

    def _of(self, gen: Tensor, x: Tensor) -> Tensor:
        below = self._below_pt(gen, x)  # (N, edges, points): U at nodes of v
        zero = torch.zeros_like(below[:, :1])
        steps = torch.cat([zero, below, zero + 1.0], dim=1).diff(dim=1).clamp(min=0.0)  # (N, bins, points)
        of_pt = self._mean(steps)
        if not self.second:
            return of_pt[:, :, None]
        if self.second == "mass":
            below_other = self._below_mass(gen, x, torch.cat([zero, below], dim=1), steps)
        else:
            up_to = [self._below_eta(gen, x, torch.tensor(side * self.edges), of_pt) for side in (1.0, -1.0)]
            below_other = up_to[0] - up_to[1]
        zero = torch.zeros_like(of_pt[:, :, None])
        return torch.cat([zero, below_other, of_pt[:, :, None]], dim=2).diff(dim=2).clamp(min=0.0)

    @property
    def _rule(self) -> tuple[list[float], list[float]]:
        """Nodes in (0, 1) of the Gauss-Legendre rule, and their weights, which add up to 1."""
        nodes, weights = np.polynomial.legendre.leggauss(self.points)
        return (0.5 * (nodes + 1.0)).tolist(), (0.5 * weights).tolist()

    def _mean(self, at_nodes: Tensor) -> Tensor:
        """Integrate over the last axis, node by node, so that the result of a row does not depend on other rows."""
        total = torch.zeros_like(at_nodes[..., 0])
        for k, weight in enumerate(self._rule[1]):
            total = total + weight * at_nodes[..., k]
        return total

    def _below_pt(self, gen: Tensor, x: Tensor) -> Tensor:
        """Return the levels of the pt edges at the nodes of the level of eta, (N, edges, points)."""
        eta, cone = gen[:, ETA], self.on.variables.support.cone
        within = ((eta.abs() - cone).clamp(min=0.0), eta, eta.abs() + cone)  # the scale is monotone in |eta|
        edges = torch.tensor(self.pt)[:, None].expand(-1, len(gen))
        targets = torch.stack([self._first_target(gen, pt, at) for at in within for pt in edges], dim=1)
        low, middle, high = self._levels(PT, targets, gen, x, x[:, :0]).chunk(3, dim=1)
        found = middle[:, :, None].repeat(1, 1, self.points)
        if SCALES[self.on.variables.scale] != UNSCALED:
            jet, edge = torch.nonzero((high - low).abs() > LEAST, as_tuple=True)
            pt, v = torch.tensor(self.pt)[edge], torch.tensor(self._rule[0]).expand(len(jet), -1)
            found[jet, edge] = in_blocks(self._levels_at, gen[jet], x[jet], pt, v)
        return found

    def _levels_at(self, gen: Tensor, x: Tensor, pt: Tensor, v: Tensor) -> Tensor:
        """Return the levels of a pt (N,) of each jet at the levels v (N, n) of eta, (N, n).

        The pt before the scale, at which eta is drawn, uses the scale at the gen eta. With the scale at the drawn eta,
        eta would differ by a thousandth of its width.
        """
        y = self._first_target(gen, pt, gen[:, ETA])[:, None]
        etas = [self._decoded(gen, self._draw(ETA, level, gen, x, y))[:, ETA] for level in v.T]
        targets = torch.stack([self._first_target(gen, pt, eta) for eta in etas], dim=1)
        return self._levels(PT, targets, gen, x, x[:, :0])

    def _first_target(self, gen: Tensor, pt: Tensor, eta: Tensor) -> Tensor:
        """Return the first target of jets with this pt after the scale and this eta, (N,)."""
        reco = torch.stack([pt.clamp(min=LEAST).to(gen.dtype), eta, gen[:, PHI], gen[:, MASS]], dim=1)
        target: Tensor = self.on.variables.encode(reco, gen)[:, PT]
        return target

    def _levels(self, k: int, y: Tensor, gen: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """Return the levels of values (N, n) of target k, given the previous targets (N, k), in double precision."""
        bounds = self.on.variables.bounds(k, drawn, gen, self.threshold)
        levels: Tensor = self.on.network.conditional(k, x, drawn, bounds).levels(y).double()
        return levels

    def _draw(self, k: int, level: Tensor, gen: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """Append target k at a level (N,) to the previous targets (N, k), and return (N, k + 1)."""
        inside = level.float().clamp(LEAST_LEVEL, 1.0 - LEAST_LEVEL)
        bounds = self.on.variables.bounds(k, drawn, gen, self.threshold)
        return torch.cat([drawn, self.on.network.quantile(k, inside, x, drawn, bounds)[:, None]], dim=1)

    def _decoded(self, gen: Tensor, drawn: Tensor) -> Tensor:
        """Return jets (N, 4) from their first targets; the other targets are set to zero."""
        whole = torch.cat([drawn, drawn.new_zeros(len(gen), MASS + 1 - drawn.shape[1])], dim=1)
        made: Tensor = self.on.variables.decode(whole, gen, raw_pt_min=self.threshold)
        return made

    def _below_eta(self, gen: Tensor, x: Tensor, edges: Tensor, of_pt: Tensor) -> Tensor:
        """Return P(pt in a bin, eta below an edge), (N, pt bins, edges)."""
        distance = edges.to(gen.dtype) - gen[:, ETA, None]  # (N, edges)
        found = of_pt[:, :, None] * (distance > 0.0)[:, None, :]
        jet, edge = torch.nonzero(distance.abs() < self.on.variables.support.cone, as_tuple=True)
        up_to = in_blocks(self._below_one_eta, gen[jet], x[jet], edges.to(gen.dtype)[edge])
        found[jet, :, edge] = torch.minimum(up_to, of_pt[jet])
        return found

    def _below_one_eta(self, gen: Tensor, x: Tensor, eta: Tensor) -> Tensor:
        """Return P(pt in a bin, eta below this value), (N, pt bins).

        The bin edges are U at half the level of this eta, which is the mean of U up to that level to second order.
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
        """Integrate P(eta below this value) over a step in the level of pt, (N,)."""
        y = [self._draw(PT, start + node * step, gen, x, x[:, :0])[:, PT] for node in self._rule[0]]
        return step * self._mean(torch.stack([self._level_of_eta(gen, x, one, eta) for one in y], dim=1))

    def _level_of_eta(self, gen: Tensor, x: Tensor, y: Tensor, eta: Tensor) -> Tensor:
        """Return P(eta below this value) given the first target, (N,)."""
        reco = self._decoded(gen, y[:, None])
        reco[:, ETA] = eta
        target = self.on.variables.encode(reco, gen)[:, ETA]
        level = self._levels(ETA, target[:, None], gen, x, y[:, None])[:, 0]
        reco[:, ETA] = eta + 0.01
        falls = self.on.variables.encode(reco, gen)[:, ETA] < target  # where the target decreases with eta
        return torch.where(falls, 1.0 - level, level)

    def _below_mass(self, gen: Tensor, x: Tensor, start: Tensor, steps: Tensor) -> Tensor:
        """Return P(pt in a bin, mass below an edge), (N, pt bins, edges)."""
        jet, pt_bin, node = torch.nonzero(steps > LEAST, as_tuple=True)
        rows = gen[jet], x[jet], start[jet, pt_bin, node], steps[jet, pt_bin, node]
        at_nodes = steps.new_zeros((*steps.shape[:2], len(self.edges), self.points))
        at_nodes[jet, pt_bin, :, node] = in_blocks(self._below_masses, *rows, torch.tensor(self._rule[0])[node])
        return self._mean(at_nodes)

    def _below_masses(self, gen: Tensor, x: Tensor, start: Tensor, step: Tensor, v: Tensor) -> Tensor:
        """Integrate P(mass below an edge) over a step in the level of pt and over the level of phi, (N, edges)."""
        of_pt = []
        for node in self._rule[0]:
            drawn = self._draw(ETA, v, gen, x, self._draw(PT, start + node * step, gen, x, x[:, :0]))
            of_phi = [self._draw(PHI, torch.full_like(v, w), gen, x, drawn) for w in self._rule[0]]
            of_pt.append(self._mean(torch.stack([self._levels_of_mass(gen, x, one) for one in of_phi], dim=2)))
        return step[:, None] * self._mean(torch.stack(of_pt, dim=2))

    def _levels_of_mass(self, gen: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        """Return P(mass below an edge) given the other targets, (N, edges)."""
        reco, targets = self._decoded(gen, drawn), []
        for edge in self.edges.tolist():
            reco[:, MASS] = max(edge, 0.0)
            targets.append(self.on.variables.encode(reco, gen)[:, MASS])
        levels = self._levels(MASS, torch.stack(targets, dim=1), gen, x, drawn)
        return levels * torch.tensor(self.edges > 0.0)  # no mass is below zero, but some are exactly zero
