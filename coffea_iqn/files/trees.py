"""Events in the layout of NanoAOD, as a ROOT tree or as Parquet, written and read in parts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

from coffea_iqn.files.atomic import whole_file
from coffea_iqn.files.inputs import ABOUT
from coffea_iqn.ranges import expect

FORMATS = ("root", "parquet")  # also their suffixes
TREE = "Events"
ROWS = 100_000  # events read at a time

Columns = Mapping[str, ak.Array]  # by branch: one number per event, or a list of numbers (events × var)


def format_of(path: Path) -> str:
    """Return the format given by the suffix of a file.

    Raises
    ------
    ValueError: if the suffix is not .root or .parquet.
    """
    kind = path.suffix.removeprefix(".")
    expect(kind in FORMATS, f"{path}: expected a file that ends in .root or .parquet, got {path.name!r}")
    return kind


@contextlib.contextmanager
def written(path: Path, about: Mapping[str, Any]) -> Iterator[_RootFile | _ParquetFile]:
    """Open a file to extend by events, with the same columns each time; it appears at its path only when complete.

    Parameters
    ----------
    path: path of the file; its suffix gives the format.
    about: metadata, stored in the file as JSON.

    Jagged columns with the same name up to an underscore form a collection with one counter: `IQNJet_pt` and
    `IQNJet_eta` get `nIQNJet`.

    Raises
    ------
    ValueError: if the suffix is not .root or .parquet.
    IsADirectoryError: if there is a folder at the path.
    """
    kind = _RootFile if format_of(path) == "root" else _ParquetFile
    with whole_file(path) as temporary, contextlib.closing(kind(temporary, json.dumps(about))) as file:
        yield file


class _RootFile:
    def __init__(self, path: Path, about: str) -> None:
        self._file = uproot.recreate(path, compression=uproot.ZSTD(1))
        self._file[ABOUT] = about
        self._tree: Any = None

    def extend(self, columns: Columns) -> None:
        data = {
            name: ak.zip(parts) if isinstance(parts, dict) else parts for name, parts in _collections(columns).items()
        }
        if self._tree is None:
            self._tree = self._file.mktree(TREE, data)
        else:
            self._tree.extend(data)

    def close(self) -> None:
        self._file.close()


class _ParquetFile:
    def __init__(self, path: Path, about: str) -> None:
        self._path, self._about = path, about
        self._writer: pq.ParquetWriter | None = None

    def extend(self, columns: Columns) -> None:
        flat: dict[str, ak.Array] = {}
        for name, array in _plain(columns).items():
            counter = f"n{name.partition('_')[0]}"
            if array.ndim > 1 and counter not in flat:
                flat[counter] = ak.values_astype(ak.num(array), "int32")
            flat[name] = array
        table = ak.to_arrow_table(ak.zip(flat, depth_limit=1), extensionarray=False, list_to32=True)
        table = table.replace_schema_metadata({ABOUT: self._about})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _plain(columns: Columns) -> dict[str, ak.Array]:
    """Return the arrays packed, without parameters from coffea."""
    return {name: ak.to_packed(ak.without_parameters(array)) for name, array in columns.items()}


def _collections(columns: Columns) -> dict[str, Any]:
    """Group the fields of each jagged collection."""
    out: dict[str, Any] = {}
    for name, array in _plain(columns).items():
        collection, _, field = name.partition("_")
        if array.ndim > 1 and field:
            out.setdefault(collection, {})[field] = array
        else:
            out[name] = array
    return out


def read_about(path: Path) -> dict[str, Any]:
    """Return the metadata of a file that `written` wrote.

    Raises
    ------
    ValueError: if it is not such a file, or cannot be read.
    """
    try:
        if format_of(path) == "root":
            with uproot.open(path) as file:
                text = str(file[ABOUT])
        else:
            text = pq.read_schema(path).metadata[ABOUT.encode()].decode()
        content = json.loads(text)
    except ValueError:
        raise
    except Exception as error:  # uproot and pyarrow raise any type of error on damaged bytes
        msg = f"{path}: expected a skim that coffea-iqn wrote, found none ({type(error).__name__})"
        raise ValueError(msg) from error
    assert isinstance(content, dict)
    return content


def iterate(path: Path) -> Iterator[dict[str, ak.Array]]:
    """Iterate over the columns of a file without counters, `ROWS` events at a time; once for a file without events."""
    with contextlib.ExitStack() as stack:
        if format_of(path) == "root":
            tree = stack.enter_context(uproot.open(path))[TREE]
            parts: Iterable[ak.Array] = tree.iterate(step_size=ROWS) if tree.num_entries else [tree.arrays()]
        else:
            file = stack.enter_context(pq.ParquetFile(path))
            batches = file.iter_batches(batch_size=ROWS) if file.metadata.num_rows else [file.read()]
            parts = (ak.from_arrow(pa.table(batch)) for batch in batches)
        for part in parts:
            jagged = {name.partition("_")[0] for name in part.fields if part[name].ndim > 1}
            yield {name: part[name] for name in part.fields if name.removeprefix("n") not in jagged or name in jagged}
