"""Dense layers for a tile of jets: arrays have one row per feature and one column per jet.

For each jet, sums run in the order of the inputs, so a jet's result depends neither on the number of jets nor on the
processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from coffea_iqn.numerics.arrays import Ints, Singles
from coffea_iqn.numerics.compiling import part


def _takes_sixteen() -> bool:
    """Return whether the target processor has vectors of sixteen single-precision numbers (AVX-512)."""
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:  # numba is set to compile for another processor
        return "+avx512f" in (config.CPU_FEATURES or "")
    return bool(binding.get_host_cpu_features().get("avx512f", False))


LANES = 16 if _takes_sixteen() else 8  # the result does not depend on it: every jet goes through the same operations
OUTPUTS, JETS = 4, 3 * LANES  # size of a panel: its sums and their inputs just fit into the registers
TILE = 240  # jets per tile, a multiple of JETS for either number of lanes; the working set fits into the L1/L2 caches


class Networks(NamedTuple):
    """The dense layers of several networks, with LeakyReLU in between, in a few flat arrays that compile quickly.

    Attributes
    ----------
    weights, biases: those of all layers of all networks, concatenated.
    shapes: outputs (padded to a multiple of four) and inputs of each layer, (layers, 2).
    first: index of the first layer of each network, then the number of layers, (networks + 1,).
    start: index of the first weight and of the first bias of each network, (networks, 2).
    slopes: negative slope of the LeakyReLU, below 1, (networks,).
    """

    weights: Singles
    biases: Singles
    shapes: Ints
    first: Ints
    start: Ints
    slopes: Singles


Part = tuple[Sequence[tuple[Singles, Singles]], float, Ints | None]
"""A network: weights (outputs, inputs) and biases (outputs,) of each layer, the negative slope, and the indices of the
inputs that can differ from zero (None for all)."""


def singles(values: npt.NDArray[Any]) -> Singles:
    """Convert to contiguous single precision, as compiled code requires; a copy if read-only, whose type is another."""
    return np.require(values, np.float32, ("C_CONTIGUOUS", "WRITEABLE"))


def pack(parts: Sequence[Part]) -> Networks:
    """Pack networks into flat arrays; a network without layers returns its inputs."""
    weights, biases, shapes, first, start = [np.empty(0, np.float32)], [np.empty(0, np.float32)], [], [0], []
    for layers, _, inputs in parts:
        start.append((sum(map(len, weights)), sum(map(len, biases))))
        for k, (weight, bias) in enumerate(layers):
            used = weight if k or inputs is None else weight[:, inputs]
            extra = -len(bias) % OUTPUTS
            weights.append(np.pad(used, ((0, extra), (0, 0))).ravel())
            biases.append(np.pad(bias, (0, extra)))
            shapes.append((len(bias) + extra, used.shape[1]))
        first.append(len(shapes))
    return Networks(
        np.concatenate(weights).astype(np.float32),
        np.concatenate(biases).astype(np.float32),
        np.array(shapes, dtype=np.int64).reshape(-1, 2),
        np.array(first, dtype=np.int64),
        np.array(start, dtype=np.int64).reshape(-1, 2),
        np.array([slope for _, slope, _ in parts], dtype=np.float32),
    )


@part
def feed_forward(x: Singles, n: int, networks: Networks, which: int, one: Singles, two: Singles) -> Singles:
    """Evaluate a network for a tile.

    Parameters
    ----------
    x: inputs, (rows, tile).
    n: number of jets in use in the tile.
    networks, which: packed networks, and index of the one to evaluate.
    one, two: buffers (rows, tile), overwritten; one of them is returned.
    """
    source, target, spare = x, one, two
    n_weights, n_biases = networks.start[which]
    last = networks.first[which + 1] - 1
    for layer in range(networks.first[which], last + 1):
        n_out, n_in = networks.shapes[layer]
        weights = networks.weights[n_weights : n_weights + n_out * n_in].reshape((n_out, n_in))
        biases = networks.biases[n_biases : n_biases + n_out]
        slope = networks.slopes[which] if layer < last else np.float32(1.0)
        _dense(source, n, weights, biases, slope, target)
        source, target, spare = target, spare, target
        n_weights += n_out * n_in
        n_biases += n_out
    return source


@part
def _dense(x: Singles, n: int, weights: Singles, biases: Singles, slope: np.float32, out: Singles) -> None:
    """Evaluate one layer for the first n jets, rounded up to a multiple of `JETS`."""
    for jet in range(0, n, JETS):
        for output in range(0, len(weights), OUTPUTS):
            _panel(x, out, weights, biases, slope, output, jet)


@intrinsic  # type: ignore[untyped-decorator]
def _panel(_typing: Any, x: Any, out: Any, weights: Any, biases: Any, slope: Any, output: Any, jet: Any) -> Any:
    """Compute `OUTPUTS` outputs of a layer for `JETS` jets, starting at the given ones; written in LLVM IR.

    The sums stay in registers throughout, which numba does not achieve with a loop. Every step is a fused
    multiply-add with a single rounding, as defined by IEEE 754, so the result is the same on every processor.
    """
    signature = types.void(x, out, weights, biases, slope, output, jet)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = zip(signature.args[:4], arguments[:4], strict=True)
        x, out, weights, biases = (context.make_array(kind)(context, builder, value) for kind, value in arrays)
        slope, output, jet = arguments[4:]
        lanes = ir.VectorType(ir.FloatType(), LANES)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lanes, [lanes] * 3), f"llvm.fma.v{LANES}f32"
        )
        rows, vectors = range(OUTPUTS), range(JETS // LANES)
        x_width, out_width, n_inputs = (builder.extract_value(array.shape, 1) for array in (x, out, weights))

        def number(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        def everywhere(value: Any) -> Any:
            """Broadcast a number to all lanes."""
            nothing = ir.Constant(lanes, ir.Undefined)
            first = builder.insert_element(nothing, value, number(0))
            return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))

        def place(array: Any, row: Any, width: Any, column: Any) -> Any:
            return builder.gep(array.data, [builder.add(builder.mul(row, width), column)])

        def vector_at(pointer: Any, vector: int) -> Any:
            return builder.bitcast(builder.gep(pointer, [number(vector * LANES)]), lanes.as_pointer())

        of_rows = [builder.add(output, number(row)) for row in rows]
        start = [everywhere(builder.load(builder.gep(biases.data, [row]))) for row in of_rows]
        before, loop, after = builder.block, builder.append_basic_block("inputs"), builder.append_basic_block("outputs")
        builder.branch(loop)

        builder.position_at_end(loop)
        i = builder.phi(ir.IntType(64))
        sums = [[builder.phi(lanes) for _ in vectors] for _ in rows]
        values = [builder.load(vector_at(place(x, i, x_width, jet), v), align=4) for v in vectors]
        grown = []
        for row in rows:
            weight = everywhere(builder.load(place(weights, of_rows[row], n_inputs, i)))
            grown.append([builder.call(fma, [weight, values[v], sums[row][v]]) for v in vectors])
        following = builder.add(i, number(1))
        i.add_incoming(number(0), before)
        i.add_incoming(following, loop)
        for row in rows:
            for v in vectors:
                sums[row][v].add_incoming(start[row], before)
                sums[row][v].add_incoming(grown[row][v], loop)
        builder.cbranch(builder.icmp_signed("<", following, n_inputs), loop, after)

        builder.position_at_end(after)
        slopes = everywhere(slope)
        for row in rows:
            to = place(out, of_rows[row], out_width, jet)
            for v in vectors:
                value = grown[row][v]
                bent = builder.fmul(value, slopes)
                value = builder.select(builder.fcmp_ordered(">", value, bent), value, bent)
                builder.store(value, vector_at(to, v), align=4)
        return context.get_dummy_value()

    return signature, generate
