"""Finished parts of an output, kept on disk: arrays and JSON, none of which is executed, with a key and a digest."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from coffea_iqn.files.atomic import whole_file
from coffea_iqn.ranges import expect

Array = npt.NDArray[Any]

SUFFIX = ".safetensors"
log = logging.getLogger(__name__)


def read(path: Path, key: Sequence[str]) -> Any:
    """Return the result that a file keeps under this key; None if there is none.

    A file that is damaged, or of another key, counts as none, and a warning is logged.
    """
    if not path.is_file():
        return None
    try:
        return unpacked(path.read_bytes(), key)
    except Exception as error:  # noqa: BLE001 # damaged bytes raise errors of many types
        log.warning("%s: stored result of a chunk is not valid and is computed again: %s", path, error)
        return None


def write(path: Path, key: Sequence[str], result: Any) -> None:
    """Keep a result of tuples, lists, sets, dictionaries, numbers, text and arrays in a file, written atomically."""
    with whole_file(path) as temporary:
        temporary.write_bytes(packed(result, key))


def packed(result: Any, whose: Sequence[str]) -> bytes:
    """Serialise a result and its key to bytes: arrays as safetensors, the rest as JSON, and a digest of both."""
    arrays: list[Array] = []
    content = json.dumps([whose, _plain(result, arrays)])
    kept = {"content": content, "digest": _digest(content, arrays)}
    return bytes(save({str(k): array for k, array in enumerate(arrays)}, metadata=kept))


def unpacked(data: bytes, whose: Sequence[str]) -> Any:
    """Return the result from bytes of `packed`.

    Raises
    ------
    ValueError: if it is of another chunk, or its digest is wrong; damaged bytes may raise other errors.
    """
    tensors = load(data)
    arrays = [tensors[str(k)] for k in range(len(tensors))]
    size = int.from_bytes(data[:8], "little")
    kept = json.loads(data[8 : 8 + size])["__metadata__"]
    fits = _digest(kept["content"], arrays) == kept["digest"]
    expect(fits, "expected content that matches its digest, got other content")
    found, plain = json.loads(kept["content"])
    expect(found == list(whose), f"expected the result of {' '.join(whose[1:])}, got that of {' '.join(found[1:])}")
    return _unplain(plain, arrays)


def _digest(content: str, arrays: Sequence[Array]) -> str:
    digest = hashlib.sha256(content.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _plain(value: Any, arrays: list[Array]) -> Any:
    """Convert a result to JSON types; arrays are appended to the list and replaced by their index in it."""
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, Mapping):
        return {"items": [[_plain(key, arrays), _plain(one, arrays)] for key, one in value.items()]}
    if isinstance(value, tuple | set | list):
        ordered = sorted(value) if isinstance(value, set) else value
        return {type(value).__name__: [_plain(one, arrays) for one in ordered]}
    if value is None or isinstance(value, str | int | float | np.generic):
        return value.item() if isinstance(value, np.generic) else value
    msg = f"result: expected arrays, dictionaries, lists, numbers and text, got {type(value).__name__}"
    raise TypeError(msg)


def _unplain(value: Any, arrays: Sequence[Array]) -> Any:
    """The inverse of `_plain`."""
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        return arrays[inner]
    if kind == "items":
        return {_unplain(key, arrays): _unplain(one, arrays) for key, one in inner}
    return {"tuple": tuple, "set": set, "list": list}[kind](_unplain(one, arrays) for one in inner)
