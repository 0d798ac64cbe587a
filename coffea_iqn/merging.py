"""Files of skims to one file a dataset, with a look at whether each chunk is there once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from coffea_iqn.trees import FORMATS, iterate, read_about, written
from coffea_iqn.whole import check_new, plain_names


class Merged(NamedTuple):
    """A file that was merged.

    Attributes
    ----------
    path: of it.
    dataset: whose events it holds.
    n_parts: files that went in.
    n_events: events in it.
    gaps: ranges of events of an input, (file, first, one after the last), that no part holds though later ones do.
    """

    path: Path
    dataset: str
    n_parts: int
    n_events: int
    gaps: list[tuple[str, int, int]]


def merge(
    parts: Iterable[Path], output: Path, *, force: bool = False, watch: Callable[[int], None] | None = None
) -> list[Merged]:
    """Merge files of skims, in the order of inputs and events, whatever the order they are given in.

    Parameters
    ----------
    parts: files, or folders of them, of either format.
    output: a file that ends in .root or .parquet, for one dataset; or a folder for a file of each dataset, of the
        format of the parts.
    force: whether files that are there may be replaced.
    watch: told now and then how many events more are written.

    Raises
    ------
    ValueError: when there is no file, a file is none of ours, files were made with other models, settings or branches,
        events are in two of them, or several datasets are to go into one file. Nothing is written then.
    FileExistsError: when a file is there that would be replaced.
    """
    datasets: dict[str, dict[Path, dict[str, Any]]] = {}
    for path in _files(parts):
        about = read_about(path)
        datasets.setdefault(about["dataset"], {})[path] = about
    if output.suffix.removeprefix(".") in FORMATS:
        if len(datasets) > 1:
            msg = f"{output}: expected files of one dataset, got {', '.join(sorted(datasets))}: give a folder instead"
            raise ValueError(msg)
        targets = dict.fromkeys(datasets, output)
    else:
        plain = plain_names(datasets)
        targets = {dataset: output / f"{plain[dataset]}{next(iter(of)).suffix}" for dataset, of in datasets.items()}
    for target in targets.values():
        check_new(target, force=force)
    checked = {dataset: _in_order(dataset, of) for dataset, of in datasets.items()}
    return [_merge(dataset, checked[dataset], targets[dataset], watch) for dataset in sorted(datasets)]


def _files(parts: Iterable[Path]) -> list[Path]:
    """The files that are meant, each once."""
    found: dict[Path, None] = {}
    for path in parts:
        if path.is_dir():
            found |= dict.fromkeys(p for p in sorted(path.iterdir()) if p.suffix.removeprefix(".") in FORMATS)
        elif path.is_file():
            found[path] = None
        else:
            msg = f"{path}: expected a file or a folder, found none"
            raise ValueError(msg)
    if not found:
        msg = "merge: expected files that end in .root or .parquet, found none"
        raise ValueError(msg)
    return list(found)


def _in_order(dataset: str, parts: Mapping[Path, dict[str, Any]]) -> list[tuple[Path, dict[str, Any]]]:
    """Parts in the order of their inputs and events, checked to belong together."""
    first_path, first = next(iter(parts.items()))
    for path, about in parts.items():
        for key in first.keys() | about.keys():
            if key != "parts" and first.get(key) != about.get(key):
                msg = (
                    f"{path}: expected {key} {first.get(key)!r} as in {first_path}, got {about.get(key)!r}: "
                    "these files are of different runs"
                )
                raise ValueError(msg)
    held = sorted((_input(part), *part["entries"], path) for path, about in parts.items() for part in about["parts"])
    for (one, _, stop, path), (other, start, _, other_path) in pairwise(held):
        if one == other and start < stop:
            msg = f"{other_path}: expected events that are in no other file, got some of {dataset} that {path} holds"
            raise ValueError(msg)
    return sorted(parts.items(), key=lambda item: [(_input(part), part["entries"]) for part in item[1]["parts"]])


def _input(part: Mapping[str, Any]) -> tuple[str, str]:
    return part["file"], part["uuid"]


def _merge(
    dataset: str, parts: Sequence[tuple[Path, dict[str, Any]]], output: Path, watch: Callable[[int], None] | None
) -> Merged:
    held = [part for _, about in parts for part in about["parts"]]
    types: dict[str, str] | None = None
    n_events = 0
    with written(output, parts[0][1] | {"parts": held}) as file:
        for path, _ in parts:
            for columns in iterate(path):
                found = {name: str(array.type.content) for name, array in columns.items()}
                types = found if types is None else types
                if found != types:
                    odd = min(set(found.items()) ^ set(types.items()))[0]
                    msg = f"{path}: expected {odd} as in {parts[0][0]} ({types.get(odd)}), got {found.get(odd)}"
                    raise ValueError(msg)
                file.extend({name: columns[name] for name in types})
                n = len(next(iter(columns.values())))
                n_events += n
                if watch is not None:
                    watch(n)
    return Merged(output, dataset, len(parts), n_events, _gaps(held))


def _gaps(held: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Ranges of events between those that parts hold."""
    gaps = []
    last: tuple[tuple[str, str] | None, int] = (None, 0)
    for part in held:
        start, stop = part["entries"]
        expected = last[1] if last[0] == _input(part) else 0
        if start > expected:
            gaps.append((part["file"], expected, start))
        last = (_input(part), stop)
    return gaps
