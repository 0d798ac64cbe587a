"""Files as users name them: paths, patterns, lists, filesets as coffea writes them."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from coffea_iqn.files import check_is_file
from coffea_iqn.reading import REMOTE

FILESETS = (".json", ".yaml", ".yml")
LIST = ".txt"
PATTERN = "*?["


class Named(NamedTuple):
    """A file as it was named.

    Attributes
    ----------
    dataset: its dataset; None where nothing was said.
    path: of the file.
    tree: name of its tree; None where nothing was said.
    """

    dataset: str | None
    path: str
    tree: str | None


def expand(items: Iterable[str]) -> list[Named]:
    """The files that are meant, in the order given, those of a pattern sorted.

    Parameters
    ----------
    items: each a path, a pattern ("nano_*.root"), a list (a .txt with one of these a line, # for comments), or a
        fileset as coffea has it (.json, .yaml); all but filesets may be preceded by "DATASET=".

    Raises
    ------
    ValueError: when a pattern matches nothing, a list or fileset cannot be read, or a file is named twice.

    >>> expand(["qcd=a.root", "b.root"])
    [Named(dataset='qcd', path='a.root', tree=None), Named(dataset=None, path='b.root', tree=None)]
    """
    named = [one for item in items for one in _expand(item)]
    seen: set[tuple[str | None, str]] = set()
    for one in named:
        if one[:2] in seen:
            of = f" of {one.dataset}" if one.dataset else ""
            msg = f"files: expected each file once, got {one.path}{of} twice"
            raise ValueError(msg)
        seen.add(one[:2])
    return named


def _expand(item: str) -> Iterator[Named]:
    name, _, path = item.rpartition("=")
    dataset = name or None
    suffix = Path(path).suffix
    if suffix in FILESETS:
        yield from _fileset(path)
    elif suffix == LIST:
        for line in _text(path).splitlines():
            if line.split("#")[0].strip():
                yield from (
                    one if one.dataset else one._replace(dataset=dataset) for one in _expand(line.split("#")[0].strip())
                )
    elif REMOTE not in path and set(PATTERN) & set(path) and not Path(path).exists():
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 # a path may be absolute, which pathlib refuses
        if not found:
            msg = f"{path}: expected a pattern that files match, found none"
            raise ValueError(msg)
        yield from (Named(dataset, file, None) for file in found)
    else:
        yield Named(dataset, path, None)


def _text(path: str) -> str:
    check_is_file(path)
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"{path}: expected text, got bytes that are none: {error.reason}"
        raise ValueError(msg) from error


def _fileset(path: str) -> Iterator[Named]:
    """Files of a fileset: a list, or a mapping to trees, of each dataset."""
    text = _text(path)
    try:
        content = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        msg = f"{path}: expected JSON or YAML: {' '.join(str(error).split())}"
        raise ValueError(msg) from error
    if not isinstance(content, Mapping) or not content:
        msg = f"{path}: expected datasets with their files, got {type(content).__name__}"
        raise ValueError(msg)
    for dataset, given in content.items():
        inner = given if isinstance(given, Mapping) and "files" in given else {"files": given}
        files, tree = inner["files"], inner.get("treename") or inner.get("object_path")
        if isinstance(files, str):
            files = [files]
        if not isinstance(files, list | Mapping) or not files:
            msg = f"{path}: expected files of {dataset}, as a list or with their trees, got {files!r}"
            raise ValueError(msg)
        for file in files:
            yield Named(str(dataset), str(file), _tree(files[file]) if isinstance(files, Mapping) else tree)


def _tree(said: Any) -> str | None:
    """What a fileset says of one file: its tree, or more with the tree in it."""
    if isinstance(said, Mapping):
        said = said.get("object_path")
    return None if said is None else str(said)
