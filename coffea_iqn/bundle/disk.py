"""Bundles on disk: finding, writing, and reading them once per process, with a check of their hash."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from coffea_iqn.bundle.checks import DIRECTIONS, direction_of
from coffea_iqn.bundle.schema import KEYS, OLDEST_VERSION, SCHEMA_VERSION, assemble, describe, migrated, weights_of
from coffea_iqn.data import BUNDLES, CORRECTIONS, bundle_path
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.files.atomic import is_taken, whole_folder
from coffea_iqn.ranges import expect

CARD, WEIGHTS = "model.json", "model.safetensors"
MEMBERS_FOLDER = "members"  # in a bundle's folder: the bundles of its ensemble
MOST_BYTES = {CARD: 2**24, WEIGHTS: 2**30}

_CACHE: dict[str, Emulator] = {}


class BundleError(ValueError):
    """A bundle that does not exist or cannot be read; the message says what was expected and what was found."""


_expect = functools.partial(expect, error=BundleError)


def find(model: str | Path) -> Path:
    """Return the folder of a bundle, from the name of a shipped bundle or a path.

    Raises
    ------
    BundleError: if it is neither; the message lists the shipped bundles. Also for the name of a shipped bundle that
        another one in the working directory has.
    """
    shipped, path = (*BUNDLES, *CORRECTIONS), Path(model)
    if str(model) in shipped:
        folder, ours = Path(bundle_path(str(model))), path / CARD
        other = ours.is_file() and ours.read_bytes() != (folder / CARD).read_bytes()
        both = f"expected one bundle of this name, got the shipped one and {path.resolve()}: rename that"
        _expect(not other, f"model {str(model)!r}: {both}, or give its whole path")
        return folder
    known = f"the path of a bundle (a folder with {CARD}) or one of {', '.join(shipped)}"
    _expect((path / CARD).is_file(), f"model {str(model)!r}: expected {known}")
    return path.resolve()


def members(model: str | Path) -> dict[str, str]:
    """Return the paths of the members of an ensemble by their names ENS0, ENS1, ....

    Parameters
    ----------
    model: a bundle trained with an ensemble, or a folder of bundles.

    Raises
    ------
    BundleError: if there are fewer than two members.
    """
    path = bundle_path(str(model)) if str(model) in BUNDLES else Path(model)
    folder = path / MEMBERS_FOLDER if (path / CARD).is_file() else path
    found = sorted((card.parent for card in folder.glob(f"*/{CARD}")), key=lambda one: (len(one.name), one.name))
    wanted = "expected a bundle trained with --ensemble, or a folder of at least two bundles"
    _expect(len(found) >= 2, f"ensemble {str(model)!r}: {wanted}, found {len(found)} in {folder}")
    return {f"ENS{k}": str(one) for k, one in enumerate(found)}


def save(emulator: Emulator, path: str | Path, ensemble: Sequence[Emulator] = ()) -> str:
    """Write an emulator as a bundle, first under a temporary name, and return its hash.

    ensemble: emulators of its ensemble, written as bundles to a folder inside this one.

    Raises
    ------
    FileExistsError: if there is something at the path that is not a bundle.
    """
    path = Path(path).resolve()  # a link cannot be replaced by a folder
    check_place(path)
    weights = save_arrays(weights_of(emulator))
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **describe(emulator)}
    content["hash"] = _hash(weights, content)
    with whole_folder(path, replace=True) as folder:
        (folder / WEIGHTS).write_bytes(weights)
        (folder / CARD).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        for k, member in enumerate(ensemble):
            save(member, folder / MEMBERS_FOLDER / str(k))
    return str(content["hash"])


def check_place(path: Path) -> None:
    """Check that a path is free, or has a bundle that can be replaced.

    Raises
    ------
    FileExistsError: if there is something else.
    """
    fits = not is_taken(path) or (path / CARD).is_file()
    expect(fits, f"output {path}: expected a new folder or a bundle to replace, got something else", FileExistsError)


def load(model: str | Path, *, expected_hash: str | None = None, direction: str = "fold") -> Emulator:
    """Load the emulator of a bundle; with a known hash, it is read only once per process.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    expected_hash: the content hash that the bundle must have, if known.
    direction: the direction that it must have, one of `DIRECTIONS`.

    Raises
    ------
    BundleError: if a file or key is missing, the schema version is unknown, shapes are wrong, weights or card do not
        match the hash, the hash is not the expected one, or the bundle has the other direction; one line says which.
    """
    emulator = _CACHE[expected_hash] if expected_hash in _CACHE else _load(find(model), expected_hash)
    found, wanted = direction_of(emulator.card), f"that takes {DIRECTIONS[direction]} jets (direction {direction!r})"
    _expect(found == direction, f"model {str(model)!r}: expected a bundle {wanted}, got one of direction {found!r}")
    return emulator


def _load(path: Path, expected_hash: str | None) -> Emulator:
    content, weights = read_card(path), _read(path, WEIGHTS)
    digest, wanted = content["hash"], (expected_hash or content["hash"])[:12]
    fits = expected_hash in {None, digest}
    _expect(fits, f"bundle {path}: expected hash {wanted}, got {digest[:12]}: another bundle is at this path")
    actual = _hash(weights, {k: v for k, v in content.items() if k != "hash"})
    hashes = f"expected content hash {digest[:12]}, got {actual[:12]}"
    _expect(actual == digest, f"bundle {path}: {hashes}: its files are damaged or were edited")
    if digest in _CACHE:
        return _CACHE[digest]
    try:
        emulator = assemble(migrated(content), load_arrays(weights))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, SafetensorError) as error:
        detail = f"expected the key {error}, found none" if isinstance(error, KeyError) else str(error)
        msg = f"bundle {path}: {detail}".splitlines()[0]
        raise BundleError(msg) from None
    emulator.card["hash"] = digest
    return _CACHE.setdefault(digest, emulator)


@functools.cache
def shipped_radii(direction: str = "fold") -> dict[str, float]:
    """Return the jet radius of each shipped bundle of a direction."""
    names = BUNDLES if direction == "fold" else CORRECTIONS
    return {name: float(read_card(find(name))["card"]["jets"]["radius"]) for name in names}


def read_card(path: Path) -> dict[str, Any]:
    """Return the content of `model.json` without the weights, after checking its keys and schema version."""
    written, where = _read(path, CARD), f"bundle {path}"
    try:
        content = json.loads(written.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{where}: {CARD} is not JSON: {error}"
        raise BundleError(msg) from None
    _expect(isinstance(content, dict), f"{where}: expected an object in {CARD}, got {type(content).__name__}")
    version, digest = content.get("schema_version"), content.get("hash", "")
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    versions = f"expected schema version {SCHEMA_VERSION} or lower, got {version}"
    _expect(not newer, f"{where}: {versions}: a newer coffea-iqn wrote it")
    missing = [*(key for key in KEYS if key not in content), None][0]
    _expect(missing is None, f"{where}: expected the key {missing!r} in {CARD}, found none")
    versions = f"{OLDEST_VERSION} to {SCHEMA_VERSION}, got {version!r}"
    known = version in range(OLDEST_VERSION, SCHEMA_VERSION + 1)
    _expect(known, f"{where}: expected schema version {versions}")
    _expect(isinstance(digest, str), f"{where}: expected a string as hash, got {type(digest).__name__}")
    return dict(content)


def _read(path: Path, name: str) -> bytes:
    """Read a file of a bundle, after checking that it exists and that its size is plausible."""
    file, most = path / name, MOST_BYTES[name]
    _expect(file.is_file(), f"bundle {path}: expected a file {name}, found none")
    size = file.stat().st_size
    _expect(size <= most, f"bundle {path}: expected {name} of at most {most} bytes, got {size}")
    return file.read_bytes()


def _hash(weights: bytes, content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(hashlib.sha256(weights).digest() + canonical).hexdigest()
