"""Arrays that record their arithmetic as an ONNX graph, with the part of the array API that `jets` and `emulator` use.

A `Column` represents a tensor (N, n), mostly (N, 1); a `Table` represents columns side by side, instead of numpy
arrays (N, n). The graph thus uses the same formulas for features, targets and bounds as numpy and torch. All floats
are in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from coffea_iqn.numerics.arrays import Floats

OPSET, IR_VERSION = 18, 9
SINGLE, WHOLE, TRUTH = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)
COMPARISONS = ("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal")


class Graph:
    """ONNX graph under construction: nodes and constants."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Any] = {}  # equal nodes are stored once
        self.constants: dict[tuple[Any, ...], Any] = {}
        self.namespace = Namespace()

    def input(self, name: str, n: int) -> Table:
        """Add an input tensor (N, n) and return its columns."""
        given = Column(self, name, SINGLE).columns(n)
        self.namespace.zero = given.columns[0] * 0.0
        return given

    def add(self, op: str, *inputs: Any, dtype: np.dtype[Any] = SINGLE, **attributes: Any) -> Column:
        """Add an operator on columns and constants and return its output."""
        return self.split(op, 1, *inputs, dtype=dtype, **attributes)[0]

    def split(self, op: str, n: int, *inputs: Any, dtype: np.dtype[Any] = SINGLE, **attributes: Any) -> list[Column]:
        """Add an operator with n outputs and return them."""
        names = [one.name if isinstance(one, Column) else self._constant(np.asarray(one)) for one in inputs]
        key = (op, n, *names, *attributes.items())
        if key not in self.nodes:
            outputs = [f"v{len(self.nodes)}_{k}" for k in range(n)]
            self.nodes[key] = helper.make_node(op, names, outputs, **attributes)
        return [Column(self, name, dtype) for name in self.nodes[key].output]

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

    def method(self: Table, other: Any) -> Table:
        n = len(self.columns)
        others = other.columns if isinstance(other, Table) else np.broadcast_to(other, n)
        return Table([getattr(one, op)(two) for one, two in zip(self.columns, others, strict=True)])

    return method


class Column:
    """A tensor of a graph."""

    device = "cpu"
    __array_ufunc__ = None  # numpy scalars defer arithmetic to this class

    def __init__(self, graph: Graph, name: str, dtype: np.dtype[Any]) -> None:
        self.graph, self.name, self.dtype = graph, name, dtype

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

    def part(self, start: int, stop: int) -> Column:
        """Return the columns from start up to, not including, stop."""
        return self.graph.add("Slice", self, np.array([start]), np.array([stop]), np.array([1]))


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

    def __getitem__(self, key: tuple[slice, Any]) -> Any:
        found = self.columns[key[1]]
        return Table(found) if isinstance(found, list) else found

    def __setitem__(self, key: tuple[slice, int], column: Column | float) -> None:
        self.columns[key[1]] = self.columns[0].graph.namespace.zero + column

    __add__, __sub__, __truediv__ = _each("__add__"), _each("__sub__"), _each("__truediv__")
    __mul__ = __rmul__ = _each("__mul__")

    def __matmul__(self, matrix: Floats) -> Table:
        return self.joined().of("MatMul", matrix).columns(matrix.shape[1])

    def clip(self, *bounds: float) -> Table:
        """Clip each column."""
        return Table([column.clip(*bounds) for column in self.columns])

    def joined(self) -> Column:
        """Join the columns to a tensor (N, n)."""
        return self.columns[0].graph.add("Concat", *self.columns, axis=1)


class Lookup:
    """Constant array, to be indexed by columns."""

    def __init__(self, values: Any) -> None:
        self.values, self.dtype = np.asarray(values, dtype=SINGLE), SINGLE

    def __getitem__(self, places: Column) -> Column:
        return places.graph.add("Gather", self.values, places)


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
    ones_like = staticmethod(lambda x: x * 0.0 + 1.0)
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
    def concat(tables: Sequence[Table], **_: Any) -> Table:
        """Put tables side by side."""
        return Table([column for table in tables for column in table.columns])

    @staticmethod
    def where(condition: Column, one: Any, other: Any) -> Column:
        """Return one where a condition holds, and other elsewhere."""
        given = [x if isinstance(x, Column) else np.asarray(x, dtype=SINGLE) for x in (one, other)]
        return condition.graph.add("Where", condition, *given)

    @staticmethod
    def searchsorted(edges: Lookup, x: Column, *, side: str) -> Column:
        """Return the number of edges that are at most x, or less than x for side "left"."""
        below = x.of("GreaterOrEqual" if side == "right" else "Greater", edges.values)
        return count(below)


def count(true: Column) -> Column:
    """Count the columns that are true, (N, 1)."""
    return true.graph.add(
        "ReduceSum", true.graph.add("Cast", true, to=TensorProto.INT64, dtype=WHOLE), np.array([1]), dtype=WHOLE
    )
