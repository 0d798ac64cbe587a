"""Convert columns of awkward collections to numpy arrays, with a number per object or per event."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt


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
    ValueError: if some are missing.
    """
    return plain(ak.flatten(column, axis=1) if column.ndim > 1 else column, name)


def plain(column: ak.Array, name: str) -> npt.NDArray[Any]:
    """Convert a rectangular awkward array to numpy.

    Raises
    ------
    ValueError: if it has missing values.
    """
    if has_option(column):
        n_missing = int(ak.sum(ak.is_none(column)))
        if n_missing:
            advice = "drop or replace them (ak.drop_none, ak.fill_none)"
            msg = f"{name}: expected no missing values, got {n_missing} of {len(column)}: {advice}"
            raise ValueError(msg)
    return np.asarray(column)


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
