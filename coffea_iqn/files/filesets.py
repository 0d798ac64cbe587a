"""Files as users name them: paths, patterns, lists, and coffea filesets."""

from __future__ import annotations

import glob
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from coffea_iqn.files.inputs import check_is_file
from coffea_iqn.files.reading import REMOTE
from coffea_iqn.ranges import expect

FILESETS = (".json", ".yaml", ".yml")
ZIPPED = ".gz"  # as coffea writes filesets
LIST = ".txt"
PATTERN = "*?["


class Named(NamedTuple):
    """A file as given by the user.

    Attributes
    ----------
    dataset: its dataset, or None if not given.
    path: its path.
    tree: name of its tree, or None if not given.
    """

    dataset: str | None
    path: str
    tree: str | None


def expand(items: Iterable[str]) -> list[Named]:
    """Return all files that the items stand for, in the order given; files of a pattern are sorted.

    Parameters
    ----------
    items: paths, patterns ("nano_*.root"), lists (.txt files with one of these per line, # for comments), or coffea
        filesets (.json, .yaml); all but filesets may be preceded by "DATASET=".

    Raises
    ------
    ValueError: if a pattern matches nothing, a list or fileset cannot be read, or a file is given twice.

    >>> expand(["qcd=a.root", "b.root"])
    [Named(dataset='qcd', path='a.root', tree=None), Named(dataset=None, path='b.root', tree=None)]
    """
    named = [one for item in items for one in _expand(item)]
    seen: set[tuple[str | None, str]] = set()
    for one in named:
        of = f" of {one.dataset}" if one.dataset else ""
        expect(one[:2] not in seen, f"files: expected each file once, got {one.path}{of} twice")
        seen.add(one[:2])
    return named


def _expand(item: str) -> Iterator[Named]:
    name, _, path = item.rpartition("=")
    dataset = name or None
    suffix = Path(path.removesuffix(ZIPPED)).suffix
    if suffix in FILESETS:
        yield from _fileset(path)
    elif suffix == LIST:
        for line in (line.split("#")[0].strip() for line in _text(path).splitlines()):
            if line:
                yield from (one if one.dataset else one._replace(dataset=dataset) for one in _expand(line))
    elif REMOTE not in path and set(PATTERN) & set(path) and not Path(path).exists():
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 # a path may be absolute, which pathlib refuses
        expect(found, f"{path}: expected a pattern that files match, found none")
        yield from (Named(dataset, file, None) for file in found)
    else:
        yield Named(dataset, path, None)


def _text(path: str) -> str:
    check_is_file(path)
    try:
        content = Path(path).read_bytes()
        return (gzip.decompress(content) if path.endswith(ZIPPED) else content).decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path}: expected a file compressed with gzip: {error}"
        raise ValueError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: expected text in UTF-8, got other bytes: {error.reason}"
        raise ValueError(msg) from error


def _fileset(path: str) -> Iterator[Named]:
    """Read a fileset, which has for each dataset a list of files, or a mapping from files to trees."""
    text = _text(path)
    try:
        is_json = path.removesuffix(ZIPPED).endswith(".json")
        content = json.loads(text, object_pairs_hook=_each_once) if is_json else yaml.load(text, _YAML)
    except (ValueError, yaml.YAMLError) as error:
        msg = f"{path}: expected JSON or YAML: {' '.join(str(error).split())}"
        raise ValueError(msg) from error
    got = type(content).__name__
    expect(isinstance(content, Mapping) and content, f"{path}: expected datasets with their files, got {got}")
    for dataset, given in content.items():
        inner = given if isinstance(given, Mapping) and "files" in given else {"files": given}
        files, tree = inner["files"], inner.get("treename") or inner.get("object_path")
        if isinstance(files, str):
            files = [files]
        wanted = f"files of {dataset}, as a list or with their trees"
        expect(isinstance(files, list | Mapping) and files, f"{path}: expected {wanted}, got {files!r}")
        for file, said in files.items() if isinstance(files, Mapping) else ((file, tree) for file in files):
            _check_steps(f"{path}: {file}", said)
            own = said.get("object_path") if isinstance(said, Mapping) else said
            yield Named(str(dataset), str(file), None if own is None else str(own))


def _each_once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a mapping of keys and values, of which parsers would keep the last one of a repeated key."""
    made: dict[Any, Any] = {}
    for key, value in pairs:
        expect(key not in made, f"each key once, got {key!r} twice")
        made[key] = value
    return made


class _YAML(yaml.SafeLoader):  # type: ignore[misc]
    """The safe loader, which refuses mappings with a repeated key."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        _each_once([(str(key.value), None) for key, _ in node.value])
        return node


def _check_steps(where: str, said: Any) -> None:
    """Raise unless the steps of a preprocessed file cover all its events once, which are read whatever the steps."""
    steps = said.get("steps") if isinstance(said, Mapping) else None
    if steps is not None:
        try:
            edges = [0, *(edge for start, stop in sorted(steps) for edge in (start, stop)), said.get("num_entries")]
        except (TypeError, ValueError):  # no pairs of numbers
            edges = [0, 1]
        fits = edges[::2] == edges[1::2]
        got = f"got {str(steps)[:60]} and num_entries {said.get('num_entries')}"
        expect(fits, f"{where}: expected steps of all events, which are read whatever the steps, {got}")
