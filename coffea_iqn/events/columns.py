"""Convert columns of awkward collections to numpy arrays, with a number per object or per event."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from coffea_iqn.ranges import expect


def flat(collection: ak.Array, field: str) -> npt.NDArray[Any]:
    """Return a field of all objects of a collection (events × var) as a flat array, (N,) or (N, n).

    Raises
    ------
    ValueError: if the field has missing values.
    """
    return plain(ak.flatten(collection[field], axis=1), f"{name_of(collection)}.{field}")


def numbers(column: ak.Array, name: str) -> npt.NDArray[Any]:
    """Return a column with one number per event, (events,); Delphes wraps each in a list. The name is for errors.

    Raises
    ------
    ValueError: if some are missing, or an event has several.
    """
    if column.ndim == 1:
        return plain(column, name)
    n_others = int(ak.sum(ak.num(column, axis=1) != 1))
    expect(n_others == 0, f"{name}: expected one number of each event, got other lists in {n_others} of {len(column)}")
    return plain(ak.flatten(column, axis=1), name)


def plain(column: ak.Array, name: str) -> npt.NDArray[Any]:
    """Convert a rectangular awkward array to numpy.

    Raises
    ------
    TypeError: see `check_has_data`.
    ValueError: if it has missing values.
    """
    check_has_data(column, name)
    if has_option(column):
        n_missing = int(ak.sum(ak.is_none(column)))
        advice = "drop or replace them (ak.drop_none, ak.fill_none)"
        expect(not n_missing, f"{name}: expected no missing values, got {n_missing} of {len(column)}: {advice}")
    return np.asarray(column)


def check_has_data(array: Any, name: str) -> None:
    """Refuse arrays of dask-awkward, and typetracers, with which it follows what a function reads.

    Raises
    ------
    TypeError: for these.
    """
    of_dask = type(array).__module__.startswith("dask_awkward")
    if of_dask or (isinstance(array, ak.Array) and ak.backend(array) == "typetracer"):
        got = f"{'one' if of_dask else 'a typetracer'} of dask-awkward"
        msg = f'{name}: expected an awkward array, got {got}: open the events with mode="virtual"'
        raise TypeError(msg)


def name_of(collection: ak.Array) -> str:
    """Return the name of a collection, as error messages give it."""
    parameter = collection.layout.purelist_parameter
    return str(parameter("collection_name") or parameter("__record__") or "events")


def has_option(column: ak.Array) -> bool:
    """Whether the type has options (missing values) at any depth."""
    layout: Any = column.layout
    while layout is not None:
        if layout.is_option:
            return True
        layout = getattr(layout, "content", None)
    return False
