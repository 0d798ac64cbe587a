"""An emulator on disk: a folder with `model.safetensors` (weights) and `model.json` (everything else).

Nothing in a bundle is unpickled or executed. `model.json` holds::

    schema_version   integer; this library reads version 4
    network          type and sizes of the member of the IQN family; `acceptance` and `origin` likewise, or null
    unmatched        the model of reco jets without a gen jet (`unmatched.Unmatched`), its two laws in it; or null
    variables        the way from jets to the network and back (`emulator.Variables`): names of inputs, targets and
                     jet scale, standardisations, compression, levels of context, threshold, support
    card             jets (algorithm, radius, cone), domain (gen_pt, gen_abs_eta), detector, training, closure
    hash             SHA-256 of the weights and of all of the above
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from coffea_iqn import assembly
from coffea_iqn.data import BUNDLES, bundle_path
from coffea_iqn.emulator import Emulator
from coffea_iqn.whole import is_taken

SCHEMA_VERSION = 4
CARD, WEIGHTS = "model.json", "model.safetensors"
MOST_CARD, MOST_WEIGHTS = 2**24, 2**30  # bytes
_KEYS = ("schema_version", "network", "acceptance", "origin", "unmatched", "variables", "card", "hash")

_CACHE: dict[str, Emulator] = {}


class BundleError(ValueError):
    """A bundle that does not exist, or cannot be read; the message says what was expected and what came."""


def find(model: str | Path) -> Path:
    """The folder of a bundle, from the name of a shipped one or a path.

    Raises
    ------
    BundleError: when it is neither; names the shipped bundles.
    """
    if str(model) in BUNDLES:
        return Path(bundle_path(str(model)))
    path = Path(model)
    if not (path / CARD).is_file():
        msg = (
            f"model {str(model)!r}: expected the path of a bundle (a folder with {CARD}) or one of {', '.join(BUNDLES)}"
        )
        raise BundleError(msg)
    return path.resolve()


def save(emulator: Emulator, path: str | Path) -> str:
    """Write an emulator as a bundle, under a temporary name first, and return its hash.

    Raises
    ------
    FileExistsError: when there is something at the path that is not a bundle.
    """
    path = Path(path)
    check_place(path)
    weights = save_tensors(assembly.weights(emulator))
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **assembly.describe(emulator)}
    content["hash"] = _hash(weights, content)
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / WEIGHTS).write_bytes(weights)
    (temporary / CARD).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return str(content["hash"])


def check_place(path: Path) -> None:
    """Refuse a place where there is what is not a bundle.

    Raises
    ------
    FileExistsError: when there is something else, which a bundle would replace.
    """
    if is_taken(path) and not (path / CARD).is_file():
        msg = f"output {path}: expected a new folder or a bundle to replace, got something else"
        raise FileExistsError(msg)


def load(model: str | Path, *, expected_hash: str | None = None) -> Emulator:
    """The emulator in a bundle; with its hash known, read once a process.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    expected_hash: the content hash the caller knows it by, when it does.

    Raises
    ------
    BundleError: one line that says what is wrong: a missing file or key, an unknown schema version, a shape,
        weights or a card that do not fit the hash, or another hash than expected.
    """
    if expected_hash in _CACHE:
        return _CACHE[expected_hash]
    path = find(model)
    content = read_card(path)
    if expected_hash is not None and content["hash"] != expected_hash:
        hashes = f"expected hash {expected_hash[:12]}, got {content['hash'][:12]}"
        msg = f"bundle {path}: {hashes}: another bundle is at this path"
        raise BundleError(msg)
    weights = _read(path, WEIGHTS, MOST_WEIGHTS)
    actual = _hash(weights, {k: v for k, v in content.items() if k != "hash"})
    if actual != content["hash"]:
        hashes = f"expected content hash {content['hash'][:12]}, got {actual[:12]}"
        msg = f"bundle {path}: {hashes}: its files are damaged or were edited"
        raise BundleError(msg)
    if actual in _CACHE:
        return _CACHE[actual]
    try:
        emulator = assembly.assemble(content, load_tensors(weights))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, SafetensorError) as error:
        detail = f"expected the key {error}, found none" if isinstance(error, KeyError) else str(error)
        msg = f"bundle {path}: {detail}".splitlines()[0]
        raise BundleError(msg) from None
    emulator.card["hash"] = content["hash"]
    return _CACHE.setdefault(content["hash"], emulator)


@functools.cache
def shipped_radii() -> dict[str, float]:
    """The radius of each shipped bundle's jets."""
    return {name: float(read_card(find(name))["card"]["jets"]["radius"]) for name in BUNDLES}


def read_card(path: Path) -> dict[str, Any]:
    """The content of `model.json`, its keys and schema version checked, without the weights."""
    try:
        content = json.loads(_read(path, CARD, MOST_CARD).decode("utf-8"))
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        msg = f"bundle {path}: {CARD} is not JSON: {error}"
        raise BundleError(msg) from None
    if not isinstance(content, dict):
        msg = f"bundle {path}: expected an object in {CARD}, got {type(content).__name__}"
        raise BundleError(msg)
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        versions = f"expected schema version {SCHEMA_VERSION} or lower, got {version}"
        msg = f"bundle {path}: {versions}: a newer coffea-iqn wrote it"
        raise BundleError(msg)
    missing = [key for key in _KEYS if key not in content]
    if missing:
        msg = f"bundle {path}: expected the key {missing[0]!r} in {CARD}, found none"
        raise BundleError(msg)
    if version != SCHEMA_VERSION:
        msg = f"bundle {path}: expected schema version {SCHEMA_VERSION}, got {version!r}"
        raise BundleError(msg)
    if not isinstance(content["hash"], str):
        msg = f"bundle {path}: expected a string as hash, got {type(content['hash']).__name__}"
        raise BundleError(msg)
    return content


def _read(path: Path, name: str, most: int) -> bytes:
    """A file of a bundle, if it is one and not larger than a bundle's can be."""
    file = path / name
    if not file.is_file():
        msg = f"bundle {path}: expected a file {name}, found none"
        raise BundleError(msg)
    size = file.stat().st_size
    if size > most:
        msg = f"bundle {path}: expected {name} of at most {most} bytes, got {size}"
        raise BundleError(msg)
    return file.read_bytes()


def _hash(weights: bytes, content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(hashlib.sha256(weights).digest() + canonical).hexdigest()
