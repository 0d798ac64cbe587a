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

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.exports.tracing import Column, Graph, Lookup, Table
from coffea_iqn.iqn.arrays import with_origin
from coffea_iqn.iqn.conditional import Conditional, sigmoid
from coffea_iqn.iqn.network import LOGIT_KNOTS, Network
from coffea_iqn.jets.context import N_COLUMNS
from coffea_iqn.numerics.arrays import Floats


def model(emulator: Emulator) -> onnx.ModelProto:
    """Return the graph of an emulator."""
    graph, v, network = Graph(), emulator.variables, emulator.network
    n = network.n_targets
    gen, tau, context = graph.input("gen", 4), graph.input("tau", n), graph.input("context", N_COLUMNS)
    seen = v.network_inputs(gen, context)
    if emulator.origin is not None:
        told = (int(emulator.origin.description[name]) for name in ("n_event", "moot"))
        seen = with_origin(seen, _feed(emulator.origin, "net", seen), *told)
    drawn: list[Column] = []
    bounds, knots = partial(v.bounds, x=gen, raw_pt_min=v.raw_pt_min), Lookup(LOGIT_KNOTS)
    for k in range(n):
        out = _feed(network, f"nets.{k}", Table([*seen.columns, *drawn]))
        atom, top = (k in network.description[name] for name in ("atoms", "tops"))
        law = Conditional.of(out, knots, atom=atom, top=top, bounds=bounds(k, Table(drawn)))
        drawn.append(law.quantile(tau.columns[k]))
    outputs = {"reco": (v.decode(Table(drawn), gen, raw_pt_min=v.raw_pt_min).joined(), n)}
    if emulator.acceptance is not None:
        found = sigmoid(_feed(emulator.acceptance, "net", seen)) * v.within_reach(gen)
        outputs["efficiency"] = (found, 1)
    made = graph.model({"gen": 4, "tau": n, "context": N_COLUMNS}, outputs)
    onnx.checker.check_model(made, full_check=True)
    return made


def evaluate(graph: onnx.ModelProto, gen: Floats, tau: Floats, context: Floats) -> list[Floats]:
    """Evaluate a graph with ONNX's reference evaluator, which is slow but needs no runtime."""
    given = {"gen": gen, "tau": tau, "context": context}
    with np.errstate(divide="ignore"):  # both sides of a choice are computed, as in the bundle itself
        return [np.asarray(made) for made in ReferenceEvaluator(graph).run(None, given)]


def _feed(network: Network, name: str, inputs: Table) -> Column:
    """Return the outputs of dense layers with LeakyReLU between them, see `networks.mlp`."""
    x, layers = inputs.joined(), network.layers(name)
    for k, (weight, bias) in enumerate(layers):
        x = x.graph.add("Gemm", x, weight, bias, shape=(1, len(bias)), transB=1)
        if k < len(layers) - 1:
            x = x.graph.add("LeakyRelu", x, alpha=network.slope)
    return x
