"""An emulator on disk: a folder with `model.safetensors` (weights) and `model.json` (everything else).

Nothing in a bundle is unpickled or executed. `model.json` holds

    schema_version   integer; this library reads version 3
    network          type and sizes of the member of the IQN family; `acceptance` and `origin` likewise, or null
    unmatched        the model of reco jets without a gen jet (`unmatched.Unmatched`), its two laws in it; or null
    variables        the way from jets to the network and back (`emulator.Variables`): names of inputs, targets and
                     jet scale, standardisations, compression, levels of context, threshold
    card             jets (algorithm, radius, cone), domain (gen_pt, gen_abs_eta), detector, training, closure
    hash             SHA-256 of the weights and of all of the above
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from coffea_iqn.context import WIDTHS
from coffea_iqn.data import BUNDLES, bundle_path
from coffea_iqn.emulator import Emulator, Variables
from coffea_iqn.features import (
    COMPRESSION_SHAPE,
    INPUTS,
    SCALES,
    TARGETS,
    VARIABLES,
    Array,
    Compression,
    Standardisation,
)
from coffea_iqn.networks import N_TARGETS, AcceptanceNetwork, NumberNetwork, OriginNetwork, build
from coffea_iqn.unmatched import N_FAR, N_NEAR, Law, Unmatched

SCHEMA_VERSION = 3
CARD, WEIGHTS = "model.json", "model.safetensors"
_KEYS = ("schema_version", "network", "acceptance", "origin", "unmatched", "variables", "card", "hash")

_CACHE: dict[str, Emulator] = {}
Part = TypeVar("Part", bound=nn.Module)


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
    if path.exists() and not (path / CARD).is_file():
        msg = f"output {path}: expected a new folder or a bundle to replace, got something else"
        raise FileExistsError(msg)
    networks = {"network": emulator.network, "acceptance": emulator.acceptance, "origin": emulator.origin}
    modules: dict[str, nn.Module | None] = {**networks}
    if emulator.unmatched is not None:
        for kind, law in emulator.unmatched.laws.items():
            modules |= {f"unmatched.{kind}.number": law.number, f"unmatched.{kind}.jets": law.jets}
    tensors: dict[str, Any] = {}
    for name, module in modules.items():
        if module is not None:
            tensors |= {f"{name}.{k}": v.contiguous() for k, v in module.state_dict().items()}
    weights = save_tensors(tensors)
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        **{name: None if part is None else part.description() for name, part in networks.items()},
        "unmatched": None if emulator.unmatched is None else _describe_unmatched(emulator.unmatched),
        "variables": _describe(emulator.variables),
        "card": emulator.card,
    }
    content["hash"] = _hash(weights, content)
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / WEIGHTS).write_bytes(weights)
    (temporary / CARD).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return str(content["hash"])


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
    if not (path / WEIGHTS).is_file():
        msg = f"bundle {path}: expected a file {WEIGHTS}, found none"
        raise BundleError(msg)
    weights = (path / WEIGHTS).read_bytes()
    actual = _hash(weights, {k: v for k, v in content.items() if k != "hash"})
    if actual != content["hash"]:
        hashes = f"expected content hash {content['hash'][:12]}, got {actual[:12]}"
        msg = f"bundle {path}: {hashes}: its files are damaged or were edited"
        raise BundleError(msg)
    try:
        emulator = _assemble(content, weights)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        msg = f"bundle {path}: {error}".splitlines()[0]
        raise BundleError(msg) from None
    return _CACHE.setdefault(content["hash"], emulator)


def read_card(path: Path) -> dict[str, Any]:
    """The content of `model.json`, its keys and schema version checked, without the weights."""
    try:
        content = json.loads((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"bundle {path}: expected a file {CARD}, found none"
        raise BundleError(msg) from None
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


def _assemble(content: dict[str, Any], weights: bytes) -> Emulator:
    tensors = load_tensors(weights)
    network = build(content["network"])
    _fill(network, "network.", tensors)
    gate = _part(AcceptanceNetwork, "acceptance", content, tensors)
    origin = _part(OriginNetwork, "origin", content, tensors)
    variables = _variables(content["variables"])
    probe = np.full((1, len(VARIABLES)), 30.0, dtype=np.float32)
    n_inputs = variables.network_inputs(probe, None).shape[1]
    n_described = n_inputs if origin is None else origin.n_outputs
    wanted: list[tuple[Any, int]] = [(origin, n_inputs), (network, n_described), (gate, n_described)]
    for part, n in wanted:
        if part is not None and part.n_context != n:
            msg = f"network: expected {n} inputs, for such are the variables, got {part.n_context}"
            raise ValueError(msg)
    unmatched = None
    if content["unmatched"] is not None:
        unmatched = _unmatched(content["unmatched"], variables, tensors)
    card = {**content["card"], "hash": content["hash"]}
    return Emulator(network.eval(), variables, gate, origin, unmatched, card)


def _part(kind: type[Part], name: str, content: dict[str, Any], tensors: dict[str, Any]) -> Part | None:
    """A network that a bundle may lack."""
    if content[name] is None:
        return None
    part = kind(**{k: v for k, v in content[name].items() if k != "type"})
    _fill(part, f"{name}.", tensors)
    return part.eval()


def _fill(module: nn.Module, prefix: str, tensors: dict[str, Any]) -> None:
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        key = prefix + name
        if key not in tensors:
            msg = f"expected a tensor {key} in {WEIGHTS}, found none"
            raise ValueError(msg)
        if tensors[key].shape != tensor.shape:
            msg = f"tensor {key}: expected shape {tuple(tensor.shape)}, got {tuple(tensors[key].shape)}"
            raise ValueError(msg)
    module.load_state_dict({name: tensors[prefix + name] for name in wanted})


def _describe(variables: Variables) -> dict[str, Any]:
    compression = variables.compression
    return {
        "inputs": variables.inputs,
        "targets": variables.targets,
        "scale": variables.scale,
        "input_scale": _plain(variables.input_scale),
        "target_scale": _plain(variables.target_scale),
        "compression": None if compression is None else compression.coefficients.tolist(),
        "context": list(variables.context),
        "raw_pt_min": variables.raw_pt_min,
        "mass_over_pt_max": variables.mass_over_pt_max,
    }


def _plain(scale: Standardisation) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in scale._asdict().items()}


def _describe_unmatched(model: Unmatched) -> dict[str, Any]:
    laws = {
        kind: {
            "number": law.number.description(),
            "jets": law.jets.description(),
            "input_scale": _plain(law.input_scale),
            "target_scale": _plain(law.target_scale),
        }
        for kind, law in model.laws.items()
    }
    return {**laws, "context": list(model.context), "reach": model.reach, "raw_pt_min": model.raw_pt_min}


def _unmatched(content: dict[str, Any], variables: Variables, tensors: dict[str, Any]) -> Unmatched:
    """The model of unmatched jets from its description and tensors.

    Raises
    ------
    ValueError: an unknown name, or a wrong shape or value.
    """
    context = _levels(content["context"])
    reach, raw_pt_min = float(content["reach"]), float(content["raw_pt_min"])
    if not (0.0 < reach < np.inf and 0.0 < raw_pt_min < np.inf):
        msg = f"unmatched: expected a reach and a raw_pt_min above 0, got {reach} and {raw_pt_min}"
        raise ValueError(msg)
    n_inputs = len(variables.input_scale.mean)
    columns = {"near": n_inputs + N_NEAR + sum(WIDTHS[level] for level in context), "far": N_FAR}
    laws = {}
    for kind, n in columns.items():
        described = content[kind]
        number = NumberNetwork(**{k: v for k, v in described["number"].items() if k != "type"})
        jets = build(described["jets"])
        for name, part in (("number", number), ("jets", jets)):
            if part.n_context != n:
                msg = f"unmatched {kind}: expected {n} inputs, got {part.n_context}"
                raise ValueError(msg)
            _fill(part, f"unmatched.{kind}.{name}.", tensors)
        scales = (_standardisation("input_scale", described, n), _standardisation("target_scale", described, N_TARGETS))
        laws[kind] = Law(number.eval(), jets.eval(), *scales)
    return Unmatched(laws["near"], laws["far"], variables.inputs, variables.scale, context, reach, raw_pt_min)


def _levels(names: Any) -> tuple[str, ...]:
    unknown = set(names) - set(WIDTHS)
    if unknown:
        msg = f"context: expected of {', '.join(WIDTHS)}, got {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    return tuple(names)


def _variables(content: dict[str, Any]) -> Variables:
    """Variables from their description.

    Raises
    ------
    ValueError: an unknown name, or a wrong shape.
    """
    known: dict[str, Collection[str]] = {"inputs": INPUTS, "targets": TARGETS, "scale": SCALES}
    for key, names in known.items():
        if content[key] not in names:
            msg = f"{key}: expected one of {', '.join(names)}, got {content[key]!r}"
            raise ValueError(msg)
    context = _levels(content["context"])
    n_inputs = INPUTS[content["inputs"]](np.ones((1, len(VARIABLES)))).shape[1]
    compression = None
    if content["compression"] is not None:
        compression = Compression(_array("compression", content["compression"], COMPRESSION_SHAPE))
    return Variables(
        inputs=content["inputs"],
        targets=content["targets"],
        scale=content["scale"],
        input_scale=_standardisation("input_scale", content, n_inputs),
        target_scale=_standardisation("target_scale", content, len(VARIABLES)),
        compression=compression,
        context=context,
        raw_pt_min=float(content["raw_pt_min"]),
        mass_over_pt_max=float(content["mass_over_pt_max"]),
    )


def _standardisation(name: str, content: dict[str, Any], n: int) -> Standardisation:
    columns = (_array(name, content[name][key], (n,)).astype(np.float32) for key in Standardisation._fields)
    return Standardisation(*columns)


def _array(name: str, values: Any, shape: tuple[int, ...]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        msg = f"{name}: expected {shape} finite numbers, got shape {array.shape}"
        raise ValueError(msg)
    return array


def _hash(weights: bytes, content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(hashlib.sha256(weights).digest() + canonical).hexdigest()
