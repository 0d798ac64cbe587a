"""Arrays that record their arithmetic as an ONNX graph, with the part of the array API that our formulas use.

A `Column` represents a tensor (N, n), mostly (N, 1), also instead of arrays (N,); a `Table` represents columns side by
side, instead of numpy arrays (N, n). The graph thus uses the same formulas for features, targets, bounds and quantiles
as numpy and torch. All floats are in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from coffea_iqn.numerics.arrays import Floats

OPSET, IR_VERSION = 18, 9
SINGLE, WHOLE, TRUTH = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)
FARTHEST = 80.0  # logit that is 0 or 1 in single precision, while its exponential does not overflow
COMPARISONS = ("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal")


Shape = tuple[int, ...]


class Graph:
    """ONNX graph under construction: nodes and constants."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Any] = {}  # equal nodes are stored once
        self.constants: dict[tuple[Any, ...], Any] = {}
        self.namespace = Namespace()

    def input(self, name: str, n: int) -> Table:
        """Add an input tensor (N, n) and return its columns."""
        given = Column(self, name, SINGLE, (1, n)).columns(n)
        self.namespace.zero = given.columns[0] * 0.0
        return given

    def add(
        self, op: str, *inputs: Any, dtype: np.dtype[Any] = SINGLE, shape: Shape | None = None, **attributes: Any
    ) -> Column:
        """Add an operator on columns and constants and return its output; shape: by default as for arithmetic."""
        found = np.broadcast_shapes(*(np.shape(one) for one in inputs)) if shape is None else shape
        return self.split(op, 1, *inputs, dtype=dtype, shape=found, **attributes)[0]

    def split(
        self, op: str, n: int, *inputs: Any, dtype: np.dtype[Any] = SINGLE, shape: Shape = (1, 1), **attributes: Any
    ) -> list[Column]:
        """Add an operator with n outputs of this shape and return them."""
        names = [one.name if isinstance(one, Column) else self._constant(np.asarray(one)) for one in inputs]
        key = (op, n, *names, *attributes.items())
        if key not in self.nodes:
            outputs = [f"v{len(self.nodes)}_{k}" for k in range(n)]
            self.nodes[key] = helper.make_node(op, names, outputs, **attributes)
        return [Column(self, name, dtype, shape) for name in self.nodes[key].output]

    def _constant(self, value: Any) -> str:
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(value, f"c{len(self.constants)}")
        return str(self.constants[key].name)

    def model(self, inputs: dict[str, int], outputs: dict[str, tuple[Column, int]]) -> ModelProto:
        """Return the ONNX model, without unused nodes. inputs, outputs: number of columns of each, by name."""
        needed, kept = {column.name for column, _ in outputs.values()}, []
        for node in reversed(self.nodes.values()):
            if needed.intersection(node.output):
                needed |= set(node.input)
                kept.append(node)
        named = [helper.make_node("Identity", [column.name], [name]) for name, (column, _) in outputs.items()]
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in of.items()]
            for of in (inputs, {name: n for name, (_, n) in outputs.items()})
        ]
        constants = [one for one in self.constants.values() if one.name in needed]
        graph = helper.make_graph([*reversed(kept), *named], "coffea_iqn", *ends, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _binary(op: str, *, first: bool = True) -> Callable[[Any, Any], Column]:
    """Return the method of a column for a binary operator."""

    def method(self: Column, other: Any) -> Any:
        if isinstance(other, Table):
            return NotImplemented
        if isinstance(other, Column) and other.dtype == TRUTH:
            other = other.graph.add("Cast", other, to=TensorProto.FLOAT)
        return self.of(op, other, first=first)

    return method


def _each(op: str) -> Callable[..., Table]:
    """Return the method of a table that applies a method of `Column` to each column."""

    def method(self: Table, other: Any) -> Any:
        if isinstance(other, Column) and other.shape[1] > 1:
            return getattr(self.joined(), op)(other)
        n = len(self.columns)
        others = other.columns if isinstance(other, Table) else np.broadcast_to(other, n)
        return Table([getattr(one, op)(two) for one, two in zip(self.columns, others, strict=True)])

    return method


class Column:
    """A tensor of a graph; its number of rows, which is symbolic, counts as 1 in its shape."""

    device = "cpu"
    __array_ufunc__ = None  # numpy scalars defer arithmetic to this class

    def __init__(self, graph: Graph, name: str, dtype: np.dtype[Any], shape: Shape) -> None:
        self.graph, self.name, self.dtype, self.shape = graph, name, dtype, shape

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.graph.namespace

    def of(self, op: str, *others: Any, first: bool = True) -> Column:
        """Apply an operator to this column and others; numbers are cast to the type of this column."""
        mine = self.graph.add("Cast", self, to=TensorProto.FLOAT) if self.dtype == TRUTH else self
        given = [other if isinstance(other, Column) else np.asarray(other, dtype=mine.dtype) for other in others]
        made = TRUTH if op in COMPARISONS else mine.dtype
        return self.graph.add(op, *([mine, *given] if first else [*given, mine]), dtype=made)

    __add__ = __radd__ = _binary("Add")
    __mul__ = __rmul__ = _binary("Mul")
    __sub__, __rsub__ = _binary("Sub"), _binary("Sub", first=False)
    __truediv__, __rtruediv__ = _binary("Div"), _binary("Div", first=False)
    __lt__, __gt__ = _binary("Less"), _binary("Greater")
    __le__, __ge__ = _binary("LessOrEqual"), _binary("GreaterOrEqual")
    __eq__ = _binary("Equal")  # type: ignore[assignment]
    __hash__ = object.__hash__

    def __neg__(self) -> Column:
        return self.of("Neg")

    def __pow__(self, power: int) -> Column:
        made = self
        for _ in range(power - 1):
            made = made * self
        return made

    def clip(self, min: Any = None, max: Any = None) -> Column:  # noqa: A002 # as numpy has it
        """Limit the column to a range; None and infinite values are no bounds."""

        def bounds(other: Any) -> bool:
            return isinstance(other, Column) or (other is not None and bool(np.isfinite(other)))

        least = self.of("Max", min) if bounds(min) else self
        return least.of("Min", max) if bounds(max) else least

    def columns(self, n: int) -> Table:
        """Split the tensor into its n columns."""
        return Table(self.graph.split("Split", n, self, axis=1, num_outputs=n))

    @property
    def T(self) -> list[Column]:  # noqa: N802 # as numpy has it
        """The columns of the tensor."""
        return self.columns(self.shape[1]).columns

    def __getitem__(self, key: tuple[slice, Any] | tuple[slice, Any, Any]) -> Column:
        _, at, *more = key
        if more:  # a new axis before or after the columns
            axis = 1 if at is None else 2
            shape = (1, 1, self.shape[1]) if at is None else (*self.shape, 1)
            return self.graph.add("Unsqueeze", self, np.array([axis]), dtype=self.dtype, shape=shape)
        if at is None or (at == 0 and self.shape[1] == 1):
            return self
        ends = at if isinstance(at, slice) else slice(at, at + 1 or None)
        start, stop, _ = ends.indices(self.shape[1])
        return self.graph.add("Slice", self, *(np.array([k]) for k in (start, stop, 1)), shape=(1, stop - start))


class Table:
    """Columns (N, 1) side by side."""

    device, dtype = "cpu", SINGLE
    __array_ufunc__ = None

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = list(columns)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.columns[0].graph.namespace

    @property
    def shape(self) -> tuple[int, int]:
        return 1, len(self.columns)  # the number of rows is symbolic

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: tuple[slice, Any] | tuple[slice, Any, Any]) -> Any:
        found = self.columns[key[1]]
        if not isinstance(found, list):
            return found
        return self.joined()[key] if len(key) > 2 else Table(found)

    def __setitem__(self, key: tuple[slice, int], column: Column | float) -> None:
        self.columns[key[1]] = self.columns[0].graph.namespace.zero + column

    __add__, __sub__, __truediv__ = _each("__add__"), _each("__sub__"), _each("__truediv__")
    __mul__ = __rmul__ = _each("__mul__")

    def __matmul__(self, matrix: Floats) -> Table:
        n, joined = matrix.shape[1], self.joined()
        return joined.graph.add("MatMul", joined, np.asarray(matrix, dtype=SINGLE), shape=(1, n)).columns(n)

    def clip(self, *bounds: float) -> Table:
        """Clip each column."""
        return Table([column.clip(*bounds) for column in self.columns])

    def joined(self) -> Column:
        """Join the columns to a tensor (N, n)."""
        return self.columns[0].graph.add("Concat", *self.columns, shape=self.shape, axis=1)


class Lookup:
    """Constant array, to be indexed by columns."""

    def __init__(self, values: Any) -> None:
        self.values, self.dtype = np.asarray(values, dtype=SINGLE), SINGLE

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, places: Column | int) -> Any:
        if isinstance(places, int):
            return float(self.values[places])
        return places.graph.add("Gather", self.values, places, shape=places.shape)


def _elementwise(op: str) -> Any:
    def function(x: Any) -> Any:
        return Table([column.of(op) for column in x.columns]) if isinstance(x, Table) else x.of(op)

    return staticmethod(function)


def _whatever_comes_first(op: str) -> Any:
    """Return a commutative function of two arguments, at least one of them a column."""
    return staticmethod(lambda x, y: x.of(op, y) if isinstance(x, Column) else y.of(op, x))


class Namespace:
    """Functions of the array API standard that the formulas use.

    Attributes
    ----------
    zero: a column of zeros, one for each jet.
    """

    __name__ = "onnx"  # required by array_api_compat
    zero: Column

    float32, float64 = SINGLE, SINGLE
    log, exp, sqrt, abs, round = (_elementwise(op) for op in ("Log", "Exp", "Sqrt", "Abs", "Round"))
    sin, cos, tanh, floor = (_elementwise(op) for op in ("Sin", "Cos", "Tanh", "Floor"))
    sinh, asinh, cosh, acosh = (_elementwise(op) for op in ("Sinh", "Asinh", "Cosh", "Acosh"))
    minimum, maximum = _whatever_comes_first("Min"), _whatever_comes_first("Max")
    sigmoid = staticmethod(lambda x: x.clip(-FARTHEST, FARTHEST).of("Sigmoid"))
    zeros_like, ones_like = staticmethod(lambda x: x * 0.0), staticmethod(lambda x: x * 0.0 + 1.0)
    full_like = staticmethod(lambda x, value: x * 0.0 + value)
    asarray = staticmethod(lambda values, **_: Lookup(values))

    def zeros(self, shape: tuple[int, int], **_: Any) -> Table:
        """Return columns of zeros."""
        return Table([self.zero] * shape[1])

    @staticmethod
    def astype(x: Any, dtype: Any, **_: Any) -> Any:
        """Cast numpy arrays; columns stay as they are, because there is only one float type."""
        return x.astype(dtype) if isinstance(x, np.ndarray) else x

    @staticmethod
    def stack(columns: Sequence[Column], **_: Any) -> Table:
        """Put columns side by side."""
        return Table(columns)

    @staticmethod
    def concat(parts: Sequence[Any], **_: Any) -> Any:
        """Put tables and tensors side by side; the result is a table if one of them is."""
        if any(isinstance(part, Table) for part in parts):
            return Table([one for part in parts for one in (part.columns if isinstance(part, Table) else part.T)])
        shape = 1, sum(part.shape[1] for part in parts)
        return parts[0].graph.add("Concat", *parts, shape=shape, axis=1)

    @staticmethod
    def cumulative_sum(x: Column, *, axis: int) -> Column:
        return x.graph.add("CumSum", x, np.array(axis))

    @staticmethod
    def mean(x: Column, *, axis: int, keepdims: bool) -> Column:
        return x.graph.add("ReduceMean", x, np.array([axis]), shape=(1, 1), keepdims=int(keepdims))

    @staticmethod
    def log_softmax(x: Column, *, dim: int) -> Column:
        return x.graph.add("LogSoftmax", x, axis=dim)

    @staticmethod
    def take_along_axis(table: Column, places: Column, *, axis: int) -> Column:
        return table.graph.add("GatherElements", table, places, shape=places.shape, axis=axis)

    @staticmethod
    def where(condition: Column, one: Any, other: Any) -> Column:
        """Return one where a condition holds, and other elsewhere."""
        given = [x if isinstance(x, Column) else np.asarray(x, dtype=SINGLE) for x in (one, other)]
        return condition.graph.add("Where", condition, *given)

    @staticmethod
    def searchsorted(edges: Lookup, x: Column, *, side: str = "left") -> Column:
        """Return the number of edges that are at most x, or less than x for side "left"."""
        return Namespace.sum(x.of("GreaterOrEqual" if side == "right" else "Greater", edges.values), axis=1)

    @staticmethod
    def sum(true: Column, *, axis: int) -> Column:
        """Count the entries along an axis that are true."""
        whole, last = true.graph.add("Cast", true, to=TensorProto.INT64, dtype=WHOLE), axis == 2
        shape = true.shape[:2] if last else (1, 1)
        return true.graph.add("ReduceSum", whole, np.array([axis]), dtype=WHOLE, shape=shape, keepdims=int(not last))
