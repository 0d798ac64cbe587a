"""ONNX graphs that compute reco jets and efficiencies from gen jets, levels and context, for any ONNX runtime.

The graph contains the networks, variables and bounds of the bundle, but not its unmatched jets. Inputs, in single
precision::

    gen      (N, 4)   pt [GeV], eta, phi [rad], mass [GeV], pt above zero
    tau      (N, n)   quantile levels in (0, 1), one for each target: pt, eta, phi, mass
    context  (N, 68)  from `jets.context.conditioning_variables`; zeros for unknown columns

Outputs are reco (N, n), as from `Emulator.sample`, and efficiency (N, 1), as from `Emulator.efficiency`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.exports.tracing import Column, Graph, Namespace, Table, count
from coffea_iqn.iqn.network import (
    BELOW_BOUND,
    ENDS,
    LEAST_INSIDE,
    LOG_LIKELY_MIN,
    LOGIT_KNOTS,
    SLOPE_MIN,
    STEP_MIN,
    Network,
)
from coffea_iqn.jets.context import N_COLUMNS
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.numerics.uniforms import LEAST_LEVEL

KNOTS = np.array(LOGIT_KNOTS, dtype=np.float32)
FARTHEST = 80.0  # logit that is 0 or 1 in single precision, while its exponential does not overflow
Curve = tuple[Column, Column]


def model(emulator: Emulator) -> onnx.ModelProto:
    """Return the graph of an emulator."""
    graph, v, network = Graph(), emulator.variables, emulator.network
    n = network.n_targets
    gen, tau, context = graph.input("gen", 4), graph.input("tau", n), graph.input("context", N_COLUMNS)
    seen = v.network_inputs(gen, context)
    if emulator.origin is not None:
        seen = _with_origin(emulator.origin, seen)
    drawn: list[Column] = []
    bounds = partial(v.bounds, x=gen, raw_pt_min=v.raw_pt_min)
    for k in range(n):
        out = _feed(network, f"nets.{k}", Table([*seen.columns, *drawn]))
        has_atom, has_top, is_flag = (k in network.description[name] for name in ENDS)
        ends = bounds(k, Table(drawn))
        if is_flag:
            drawn.append(Namespace.where(tau.columns[k] < _sigmoid(out), ends[0] - BELOW_BOUND, ends[0]))
        else:
            drawn.append(_quantile(out, tau.columns[k], ends, atom=has_atom, top=has_top))
    outputs = {"reco": (v.decode(Table(drawn), gen, raw_pt_min=v.raw_pt_min).joined(), n)}
    if emulator.acceptance is not None:
        found = _sigmoid(_feed(emulator.acceptance, "net", seen)) * v.within_reach(gen)
        outputs["efficiency"] = (found, 1)
    made = graph.model({"gen": 4, "tau": n, "context": N_COLUMNS}, outputs)
    onnx.checker.check_model(made, full_check=True)
    return made


def evaluate(graph: onnx.ModelProto, gen: Floats, tau: Floats, context: Floats) -> list[Floats]:
    """Evaluate a graph with ONNX's reference evaluator, which is slow but needs no runtime."""
    given = {"gen": gen, "tau": tau, "context": context}
    return [np.asarray(made) for made in ReferenceEvaluator(graph).run(None, given)]


def _feed(network: Network, name: str, inputs: Table) -> Column:
    """Return the outputs of dense layers with LeakyReLU between them, see `networks.mlp`."""
    x, layers = inputs.joined(), network.layers(name)
    for k, (weight, bias) in enumerate(layers):
        x = x.graph.add("Gemm", x, weight, bias, transB=1)
        if k < len(layers) - 1:
            x = x.graph.add("LeakyRelu", x, alpha=network.slope)
    return x


def _with_origin(origin: Network, seen: Table) -> Table:
    """Same as `networks.OriginNetwork.with_origin`."""
    n = int(origin.description["n_samples"])
    logit = _feed(origin, "net", seen)
    likely = logit.graph.add("LogSoftmax", logit, axis=1).columns(n).clip(LOG_LIKELY_MIN, np.inf)
    told = [1.0 - 2.0 * column / LOG_LIKELY_MIN for column in likely.columns]
    moot = int(origin.description["moot"])
    if moot >= 0:
        told = [Namespace.where(seen.columns[moot] == 1.0, 0.0, column) for column in told]
    return Table([*seen.columns[: origin.n_inputs - int(origin.description["n_event"])], *told])


def _quantile(out: Column, tau: Column, bounds: tuple[Column, Column], *, atom: bool, top: bool) -> Column:
    """Same as `networks.SplineIQN.quantile`, from the outputs of the network of a target."""
    n = len(KNOTS)
    steps = _positive(out.part(1, n)) + STEP_MIN
    rise = out.graph.add("Concat", out.part(0, 1) * 0.0, out.graph.add("CumSum", steps, np.array(1)), axis=1)
    middle = (rise.part(n // 2 - 1, n // 2) + rise.part(n // 2, n // 2 + 1)) * 0.5
    curve = out.part(0, 1) + rise - middle, out.part(n, 2 * n)
    if not atom and not top:
        return _between(tau, curve, bounds)
    level = tau
    if atom:
        p = _sigmoid(out.part(2 * n, 2 * n + 1))
        level = ((tau - p) / (1.0 - p)).clip(LEAST_LEVEL, 1.0 - LEAST_LEVEL)
    if top:
        rest = _sigmoid(-out.part(2 * n + atom, 2 * n + atom + 1))
        y = _between((level / rest).clip(LEAST_LEVEL, 1.0 - LEAST_LEVEL), curve, bounds)
        y = Namespace.where(level < rest, y, bounds[1] + BELOW_BOUND)
    else:
        y = _between(level, curve, bounds)
    return Namespace.where(tau < p, bounds[0] - BELOW_BOUND, y) if atom else y


def _between(tau: Column, curve: Curve, bounds: tuple[Column, Column]) -> Column:
    """Return the quantiles of a law truncated at bounds."""
    low, high = (_inverse(bound, curve) for bound in bounds)
    upper = Namespace.where(low + high > 0.0, -1.0, 1.0)
    inside = (upper * (_sigmoid(upper * high) - _sigmoid(upper * low))).clip(LEAST_INSIDE)
    below, above = _sigmoid(low) + tau * inside, _sigmoid(-high) + (1.0 - tau) * inside
    y = _spline(below.of("Log") - above.of("Log"), curve)
    return y.clip(*bounds)


def _sigmoid(x: Column) -> Column:
    return x.clip(-FARTHEST, FARTHEST).of("Sigmoid")


def _positive(x: Column) -> Column:
    return (x + (x * x + 4.0).of("Sqrt")) * 0.5


class _Piece:
    """Piece of a spline between two knots, or its extrapolation beyond the ends."""

    def __init__(self, curve: Curve, below: Column) -> None:
        graph, low = below.graph, (count(below) - 1).clip(0, len(KNOTS) - 2)

        def at(table: Any, place: Column) -> Column:
            return (
                graph.add("GatherElements", table, place, axis=1)
                if isinstance(table, Column)
                else graph.add("Gather", table, place)
            )

        self.x0, self.x1, self.y0, self.y1 = (at(table, low + k) for table in (KNOTS, curve[0]) for k in (0, 1))
        self.d0, self.d1 = (_positive(at(curve[1], low + k)) + SLOPE_MIN for k in (0, 1))
        self.width, self.height = self.x1 - self.x0, self.y1 - self.y0
        self.s = self.height / self.width
        self.bend = self.d0 + self.d1 - 2.0 * self.s


def _spline(x: Column, curve: Curve) -> Column:
    """Same as `splines.spline`."""
    p = _Piece(curve, x.of("Greater", KNOTS[np.newaxis]))
    t = ((x - p.x0) / p.width).clip(0.0, 1.0)
    u = t * (1.0 - t)
    y = p.y0 + p.height * (p.s * t * t + p.d0 * u) / (p.s + p.bend * u)
    return y + p.d0 * (x - float(KNOTS[0])).clip(max=0.0) + p.d1 * (x - float(KNOTS[-1])).clip(0.0)


def _inverse(y: Column, curve: Curve) -> Column:
    """Same as `splines.inverse`."""
    p = _Piece(curve, y.of("GreaterOrEqual", curve[0]))
    rise = (y - p.y0).clip(0.0, p.height)
    a = p.height * (p.s - p.d0) + rise * p.bend
    b = p.height * p.d0 - rise * p.bend
    c = -(p.s * rise)
    t = 2.0 * c / (-b - (b * b - 4.0 * a * c).clip(0.0).of("Sqrt"))
    return p.x0 + p.width * t + (y - p.y0).clip(max=0.0) / p.d0 + (y - p.y1).clip(0.0) / p.d1
