"""An emulator on disk: a folder with `model.safetensors` (weights) and `model.json` (everything else).

Nothing in a bundle is unpickled or executed. `model.json` holds::

    schema_version   integer; this library reads version 7, and what versions 4 to 6 say in other words
    network          type and sizes of the member of the IQN family; `acceptance` and `origin` likewise, or null
    objects          the model of electrons, muons, photons and missing momentum (`objects.Objects`), its laws in it; or
                     null, or no such key, where there is none
    unmatched        the model of reco jets without a gen jet (`unmatched.Unmatched`), its two laws in it; or null
    variables        the way from jets to the network and back (`emulator.Variables`): names of inputs, targets and
                     jet scale, standardisations, compression, levels of context, threshold, support, columns
                     (`targets.Column`)
    card             jets (algorithm, radius, cone), direction, domain (gen_pt, gen_abs_eta; reco_ where it corrects),
                     detector, training, closure
    hash             SHA-256 of the weights and of all of the above
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from coffea_iqn.data import BUNDLES, CORRECTIONS, bundle_path
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.objects import FAR, JETS, MISSING, NEAR, Objects
from coffea_iqn.emulator.preprocessing import Variables, ends_of
from coffea_iqn.emulator.unmatched import N_BESIDE, N_FAR, N_NEAR, Unmatched
from coffea_iqn.files.atomic import is_taken
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.network import ENDS, MEMBERS, N_TARGETS, Network, shapes_of
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import COMPRESSION_SHAPE, INPUTS, SCALES, VARIABLES, Compression
from coffea_iqn.jets.support import Support
from coffea_iqn.jets.targets import KINDS, TARGETS, Column, check_names
from coffea_iqn.numerics.arrays import Floats, Singles
from coffea_iqn.objects.columns import ISOLATION, N_FOUND, N_MISSING, N_PARTICLE
from coffea_iqn.objects.kinds import KINDS as OBJECTS
from coffea_iqn.ranges import check_choice

GREATEST = 1e30  # numbers from here on are none of a detector's
Arrays = Mapping[str, Singles]


def describe(emulator: Emulator) -> dict[str, Any]:
    """Everything of an emulator but its weights: names and numbers, as JSON takes them."""
    parts = {"network": emulator.network, "acceptance": emulator.acceptance, "origin": emulator.origin}
    return {
        **{name: None if part is None else dict(part.description) for name, part in parts.items()},
        "unmatched": None if emulator.unmatched is None else _describe_unmatched(emulator.unmatched),
        "objects": None if emulator.objects is None else _describe_objects(emulator.objects),
        "variables": _describe_variables(emulator.variables),
        "card": emulator.card,
    }


def weights_of(emulator: Emulator) -> dict[str, Singles]:
    """The weights of all networks of an emulator, by name."""
    networks = {"network": emulator.network, "acceptance": emulator.acceptance, "origin": emulator.origin}
    for part, model in (("unmatched", emulator.unmatched), ("objects", emulator.objects)):
        for name, law in ({} if model is None else model.laws).items():
            networks |= {f"{part}.{name}.number": law.number, f"{part}.{name}.jets": law.targets}
    return {
        f"{name}.{key}": np.ascontiguousarray(array)
        for name, network in networks.items()
        if network is not None
        for key, array in network.arrays.items()
    }


def assemble(content: Mapping[str, Any], arrays: Arrays) -> Emulator:
    """The emulator of a description and its weights.

    Raises
    ------
    ValueError, KeyError, TypeError: an unknown name; a wrong type, shape or value.
    """
    network = _network("network", MEMBERS, content["network"], arrays)
    gate, origin = (
        None if content[name] is None else _network(name, (kind,), content[name], arrays)
        for name, kind in (("acceptance", "AcceptanceNetwork"), ("origin", "OriginNetwork"))
    )
    variables = _variables(content["variables"])
    probe = np.full((1, len(VARIABLES)), 30.0, dtype=np.float32)
    n_inputs = variables.network_inputs(probe, None).shape[1]
    n_seen = n_inputs if origin is None else origin.n_outputs
    wanted: list[tuple[Any, int]] = [(origin, n_inputs), (network, n_seen), (gate, n_seen)]
    for part, n in wanted:
        if part is not None:
            _check_inputs("network", part, n)
    if network.n_targets != len(variables.table):
        msg = f"network: expected {len(variables.table)} targets, for such are the variables, got {network.n_targets}"
        raise ValueError(msg)
    _check_atoms("network", network, variables.atoms)
    known = (-1, *(variables.column_of(level) for level in variables.context))
    if origin is not None and origin.description["moot"] not in known:
        msg = f"origin: expected as moot −1 or the last column of a level, got {origin.description['moot']!r}"
        raise ValueError(msg)
    unmatched = None
    if content["unmatched"] is not None:
        unmatched = _unmatched(content["unmatched"], variables, arrays)
    objects = None if content.get("objects") is None else _objects(content["objects"], variables, arrays)
    _check_card(content["card"])
    return Emulator(network, variables, gate, origin, unmatched, objects, dict(content["card"]))


def _network(name: str, types: Collection[str], description: Any, arrays: Arrays) -> Network:
    """A network of one of these types from its description, with its weights."""
    description = _object(name, description)
    own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
    if description.get("type") not in list(types):
        msg = f"{name} type: expected one of {', '.join(types)}, got {description.get('type')!r}"
        raise ValueError(msg)
    _check_sizes(name, description, sum(array.size for array in own.values()))
    shapes = shapes_of(description)
    for key, shape in shapes.items():
        if key not in own:
            msg = f"expected a tensor {name}.{key}, found none"
            raise ValueError(msg)
        if own[key].shape != shape or own[key].dtype != np.float32:
            what = f"expected shape {shape} of float32"
            msg = f"tensor {name}.{key}: {what}, got {own[key].shape} of {own[key].dtype}"
            raise ValueError(msg)
        if not np.isfinite(own[key]).all():
            msg = f"tensor {name}.{key}: expected finite numbers, got others"
            raise ValueError(msg)
    return Network(description, {key: own[key] for key in shapes})


def _check_sizes(name: str, description: Mapping[str, Any], n_weights: int) -> None:
    """Sizes of layers must be those of so many weights, before a network of such sizes is made."""
    hidden = description.get("hidden", [])
    if not isinstance(hidden, list):
        msg = f"{name}: expected a list of sizes of hidden layers, got {hidden!r}"
        raise TypeError(msg)
    nested = all(isinstance(sizes, list) for sizes in hidden)
    of_each = hidden if nested and hidden else [hidden]
    if nested and hidden and len(hidden) != description["n_targets"]:
        msg = f"{name}: expected sizes of hidden layers for each of its targets, got {len(hidden)}"
        raise ValueError(msg)
    layers = [description["n_inputs"], *(size for sizes in of_each for size in sizes)]
    others = [description[key] for key in ("n_targets", "n_samples", "most") if key in description]
    for size, least in [*((size, 1) for size in layers + others), (description.get("n_event", 0), 0)]:
        if type(size) is not int or not least <= size <= n_weights:
            msg = f"{name}: expected sizes from {least} to {n_weights}, as there are so many weights, got {size!r}"
            raise ValueError(msg)
    needed = sum(a * b for sizes in of_each for a, b in pairwise([description["n_inputs"], *sizes]))
    if needed > n_weights:
        msg = f"{name}: expected layers of at most {n_weights} weights, as there are so many, got {needed}"
        raise ValueError(msg)
    for key in ("slope", "penalty"):
        if key in description:
            _number(f"{name} {key}", description[key], least=0.0)


def _check_inputs(name: str, part: Any, n: int) -> None:
    if part.n_inputs != n:
        msg = f"{name}: expected {n} inputs, for such are the variables, got {part.n_inputs}"
        raise ValueError(msg)


def _check_atoms(name: str, network: Network, atoms: Mapping[str, Sequence[int]]) -> None:
    for key, wanted in atoms.items():
        got = network.description.get(key, [])
        if got != wanted:
            msg = f"{name}: expected {key} {wanted}, for such are the variables, got {got!r}"
            raise ValueError(msg)


def _check_card(card: Any) -> None:
    """What is read of a card must be there and be what it says."""
    jets = _object("card jets", _object("card", card).get("jets", {}))
    for key in ("radius", "cone"):
        if key in jets:
            _number(f"card jets {key}", jets[key], above=0.0)
    if "energy" in card:
        _number("card energy", card["energy"], above=0.0)
    domain = _object("card domain", card.get("domain") or {})
    check_choice(DIRECTIONS, direction=direction_of(card))
    level = DIRECTIONS[direction_of(card)]
    for key in (f"{level}_pt", f"{level}_abs_eta") if domain else ():
        low, high = _array(f"card domain {key}", domain[key], (2,))
        if not low < high:
            msg = f"card domain {key}: expected two rising numbers, got {low} and {high}"
            raise ValueError(msg)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        msg = f"{name}: expected an object, got {type(value).__name__}"
        raise TypeError(msg)
    return value


def _number(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """A finite number in its range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < GREATEST:
        msg = f"{name}: expected a finite number, got {value!r}"
        raise ValueError(msg)
    if (above is not None and value <= above) or (least is not None and value < least):
        bound = f"above {above:g}" if above is not None else f"from {least:g} on"
        msg = f"{name}: expected a number {bound}, got {value!r}"
        raise ValueError(msg)
    return float(value)


def _describe_variables(variables: Variables) -> dict[str, Any]:
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
        "columns": [column._asdict() for column in variables.columns],
        "support": variables.support._asdict(),
    }


def _plain(scale: Standardisation) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in scale._asdict().items()}


def _describe_unmatched(model: Unmatched) -> dict[str, Any]:
    laws = {kind: _describe_law(law) for kind, law in model.laws.items()}
    return {**laws, "context": list(model.context), "reach": model.reach, "raw_pt_min": model.raw_pt_min}


def _describe_law(law: Law) -> dict[str, Any]:
    return {
        "number": None if law.number is None else dict(law.number.description),
        "jets": None if law.targets is None else dict(law.targets.description),
        "input_scale": _plain(law.input_scale),
        "target_scale": _plain(law.target_scale),
        "bounds": law.bounds.tolist(),
    }


def _describe_objects(model: Objects) -> dict[str, Any]:
    return {
        "laws": {name: _describe_law(law) for name, law in model.laws.items()},
        "pt_min": list(model.pt_min),
        "isolation": list(model.isolation),
        "context": list(model.context),
    }


def _law(
    name: str,
    described: Any,
    arrays: Arrays,
    n_inputs: int,
    n_targets: int,
    ends: Mapping[str, Sequence[int]],
    *,
    asks: Collection[str] = ("number", "jets"),
) -> Law:
    """A law from its description and weights: what it asks, so many inputs and targets, and what may be at an end."""
    described = _object(name, described)
    for part in ("number", "jets"):
        if (described[part] is None) == (part in asks):
            msg = f"{name}: expected {' and '.join(asks)}, got {'no' if part in asks else 'a'} network of {part}"
            raise ValueError(msg)
    number = jets = None
    if "number" in asks:
        number = _network(f"{name}.number", ("NumberNetwork",), described["number"], arrays)
        _check_inputs(name, number, n_inputs)
    if "jets" in asks:
        jets = _network(f"{name}.jets", MEMBERS, described["jets"], arrays)
        _check_inputs(name, jets, n_inputs)
        _check_atoms(name, jets, ends)
        if jets.n_targets != n_targets:
            msg = f"{name}: expected {n_targets} targets, got {jets.n_targets}"
            raise ValueError(msg)
    scales = (
        _standardisation("input_scale", described, n_inputs),
        _standardisation("target_scale", described, n_targets),
    )
    bounds = _array(f"{name} bounds", described["bounds"], (2, n_targets)).astype(np.float32)
    flags = np.isin(np.arange(n_targets), ends["flags"])  # which have one value beside the atom
    if not (bounds[0] < bounds[1])[~flags].all() or not (bounds[0] <= bounds[1]).all():
        msg = f"{name} bounds: expected the greatest above the least, got {bounds.tolist()}"
        raise ValueError(msg)
    return Law(number, jets, *scales, bounds)


def _objects(content: Any, variables: Variables, arrays: Arrays) -> Objects:
    """The model of objects from its description and weights."""
    content = _object("objects", content)
    context, described = _levels(content["context"]), _object("objects laws", content["laws"])
    of_jets = len(variables.input_scale.mean) + N_FOUND + sum(WIDTHS[level] for level in context)
    # of each law how many inputs and targets, and what it asks
    both, no_ends = ("number", "jets"), ends_of(())
    known: dict[str, tuple[int, int, tuple[str, ...]]] = {
        JETS: (of_jets, 0, both[:1]),
        MISSING: (N_MISSING, 2, both[1:]),
    }
    for kind in OBJECTS:
        known |= {f"{kind.name}{what}": (n, 4, both) for what, n in (("", N_PARTICLE), (NEAR, of_jets), (FAR, N_FAR))}
    wanted = {*(kind.name for kind in OBJECTS), JETS, MISSING}
    if not wanted <= set(described) <= set(known):
        odd = min((wanted - set(described)) | (set(described) - set(known)))
        msg = f"objects: expected laws of {', '.join(sorted(wanted))}, and of {', '.join(sorted(known))}, got {odd!r}"
        raise ValueError(msg)
    laws = {}
    for name, (n_inputs, n_targets, asks) in known.items():
        if name in described:
            of = _object(name, described[name])
            # isolation may be exactly none, or nothing of the training sample was
            isolated = n_targets > ISOLATION and _object(name, of["jets"]).get("atoms") == [ISOLATION]
            ends = {**no_ends, "atoms": [ISOLATION]} if isolated else no_ends
            laws[name] = _law(f"objects.{name}", of, arrays, n_inputs, n_targets, ends, asks=asks)
    pt_min = tuple(_number("objects pt_min", one, above=0.0) for one in content["pt_min"])
    isolation = tuple(content["isolation"])
    if len(pt_min) != len(OBJECTS) or len(isolation) != len(OBJECTS) or not all(type(one) is str for one in isolation):
        msg = f"objects: expected pt_min and isolation of {len(OBJECTS)} kinds, got {pt_min} and {isolation}"
        raise ValueError(msg)
    return Objects(laws, pt_min, isolation, variables.inputs, context)


def _unmatched(content: Mapping[str, Any], variables: Variables, arrays: Arrays) -> Unmatched:
    """The model of unmatched jets from its description and weights."""
    content = _object("unmatched", content)
    context = _levels(content["context"])
    reach = _number("unmatched reach", content["reach"], above=0.0)
    raw_pt_min = _number("unmatched raw_pt_min", content["raw_pt_min"], above=0.0)
    n_near = len(variables.input_scale.mean) + N_NEAR + sum(WIDTHS[level] for level in context)
    near, far = (
        _law(f"unmatched.{kind}", content[kind], arrays, n, N_TARGETS, ends_of(()))
        for kind, n in (("near", n_near), ("far", N_FAR))
    )
    names = variables.inputs, variables.scale
    columns = None
    if variables.columns:
        ends, n = ends_of(variables.columns), len(variables.columns)
        columns = _law("unmatched.columns", content["columns"], arrays, N_BESIDE, n, ends, asks=("jets",))
    return Unmatched(near, far, *names, context, reach, raw_pt_min, variables.support, columns)


def _levels(names: Any) -> tuple[str, ...]:
    known = [name for name in WIDTHS if isinstance(names, list) and name in names]
    if names != known:
        msg = f"context: expected of {', '.join(WIDTHS)}, in this order, got {names!r}"
        raise ValueError(msg)
    return tuple(known)


def _variables(content: Mapping[str, Any]) -> Variables:
    """Variables from their description.

    Raises
    ------
    ValueError: an unknown name, or a wrong shape.
    """
    content = _object("variables", content)
    known: dict[str, Collection[str]] = {"inputs": INPUTS, "targets": TARGETS, "scale": SCALES}
    for key, names in known.items():
        if content[key] not in list(names):  # what cannot be hashed is none of them either
            msg = f"{key}: expected one of {', '.join(names)}, got {content[key]!r}"
            raise ValueError(msg)
    context = _levels(content["context"])
    columns = tuple(_column(column) for column in content["columns"])
    check_names([column.name for column in columns])
    for k, column in enumerate(columns):
        if column.under not in [None, *(other.name for other in columns[:k])]:
            msg = f"column {column.name}: expected it under one before, got {column.under!r}"
            raise ValueError(msg)
    n_inputs = INPUTS[content["inputs"]](np.ones((1, len(VARIABLES)))).shape[1]
    compression = None
    if content["compression"] is not None:
        compression = Compression(_array("compression", content["compression"], COMPRESSION_SHAPE))
    return Variables(
        inputs=content["inputs"],
        targets=content["targets"],
        scale=content["scale"],
        input_scale=_standardisation("input_scale", content, n_inputs),
        target_scale=_standardisation("target_scale", content, len(VARIABLES) + len(columns)),
        compression=compression,
        context=context,
        raw_pt_min=_number("raw_pt_min", content["raw_pt_min"], least=0.0),
        support=_support(content["support"]),
        columns=columns,
    )


def _column(content: Any) -> Column:
    """A column from its description."""
    content = _object("column", content)
    check_choice(KINDS, kind=content["kind"])
    low, high, mean = (_number(f"column {name}", content[name]) for name in ("low", "high", "mean"))
    scale, unit = (
        _number("column scale", content["scale"], above=0.0),
        _number("column unit", content["unit"], least=0.0),
    )
    atom, top = (content[name] if content[name] is None else _number(name, content[name]) for name in ("atom", "top"))
    made = Column(content["name"], content["kind"], low, high, mean, scale, unit, atom, top, content["under"])
    rising = [end for end in (made.atom, made.low, made.high, made.top) if end is not None]
    if rising != [0.0, 1.0, 1.0] if made.kind == "flag" else any(b <= a for a, b in pairwise(rising)):
        msg = f"column {made.name}: expected rising numbers, of a flag 0 and 1, got {rising}"
        raise ValueError(msg)
    return made


def _support(content: Any) -> Support:
    content = _object("support", content)
    low, high = _array("support pt_target", content["pt_target"], (2,)).tolist()
    if not low < high:
        msg = f"support pt_target: expected two rising numbers, got {low} and {high}"
        raise ValueError(msg)
    numbers = [name for name in Support._fields if name != "pt_target"]
    known = {name: _number(f"support {name}", content[name], above=0.0) for name in numbers}
    return Support(pt_target=(low, high), **known)


def _standardisation(name: str, content: Mapping[str, Any], n: int) -> Standardisation:
    described = _object(name, content[name])
    columns = (_array(name, described[key], (n,)).astype(np.float32) for key in Standardisation._fields)
    made = Standardisation(*columns)
    if not (made.scale > 0.0).all():
        msg = f"{name}: expected scales above 0, got {made.scale.min()} among them"
        raise ValueError(msg)
    return made


def _array(name: str, values: Any, shape: tuple[int, ...]) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{name}: expected {shape} finite numbers: {error}"
        raise ValueError(msg) from None
    if array.shape != shape or not (np.abs(array) < GREATEST).all():
        msg = f"{name}: expected {shape} finite numbers, got shape {array.shape}"
        raise ValueError(msg)
    return array


SCHEMA_VERSION, OLDEST_VERSION = 7, 4
CARD, WEIGHTS = "model.json", "model.safetensors"
MEMBERS_FOLDER = "members"  # of an ensemble, bundles in the folder of one
MOST_CARD, MOST_WEIGHTS = 2**24, 2**30  # bytes
_KEYS = ("schema_version", "network", "acceptance", "origin", "unmatched", "variables", "card", "hash")

DIRECTIONS = {"fold": "gen", "correct": "reco"}
"""What a bundle may be for, and the level of the jets that it takes: it draws those of the other."""

_CACHE: dict[str, Emulator] = {}


class BundleError(ValueError):
    """A bundle that does not exist, or cannot be read; the message says what was expected and what came."""


def find(model: str | Path) -> Path:
    """The folder of a bundle, from the name of a shipped one or a path.

    Raises
    ------
    BundleError: when it is neither; names the shipped bundles.
    """
    shipped = (*BUNDLES, *CORRECTIONS)
    if str(model) in shipped:
        return Path(bundle_path(str(model)))
    path = Path(model)
    if not (path / CARD).is_file():
        known = f"the path of a bundle (a folder with {CARD}) or one of {', '.join(shipped)}"
        msg = f"model {str(model)!r}: expected {known}"
        raise BundleError(msg)
    return path.resolve()


def members(model: str | Path) -> dict[str, str]:
    """The members of an ensemble, as ENS0, ENS1, ..., and where each is.

    Parameters
    ----------
    model: a bundle that was trained with members, or a folder of bundles.

    Raises
    ------
    BundleError: when there are fewer than two.
    """
    path = Path(bundle_path(str(model))) if str(model) in BUNDLES else Path(model)
    folder = path / MEMBERS_FOLDER if (path / CARD).is_file() else path
    found = sorted((card.parent for card in folder.glob(f"*/{CARD}")), key=lambda one: (len(one.name), one.name))
    if len(found) < 2:
        wanted = "expected a bundle of train --ensemble, or a folder of two bundles or more"
        msg = f"ensemble {str(model)!r}: {wanted}, found {len(found)} in {folder}"
        raise BundleError(msg)
    return {f"ENS{k}": str(one) for k, one in enumerate(found)}


def save(emulator: Emulator, path: str | Path, ensemble: Sequence[Emulator] = ()) -> str:
    """Write an emulator as a bundle, under a temporary name first, and return its hash.

    ensemble: members of its own, which become bundles in a folder of this one.

    Raises
    ------
    FileExistsError: when there is something at the path that is not a bundle.
    """
    path = Path(path)
    check_place(path)
    weights = save_arrays(weights_of(emulator))
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **describe(emulator)}
    content["hash"] = _hash(weights, content)
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / WEIGHTS).write_bytes(weights)
    (temporary / CARD).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for k, member in enumerate(ensemble):
        save(member, temporary / MEMBERS_FOLDER / str(k))
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


def direction_of(card: Mapping[str, Any]) -> str:
    """What the bundle of a card is for, one of `DIRECTIONS`."""
    return str(card.get("direction", "fold"))


def load(model: str | Path, *, expected_hash: str | None = None, direction: str = "fold") -> Emulator:
    """The emulator in a bundle; with its hash known, read once a process.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    expected_hash: the content hash the caller knows it by, when it does.
    direction: what it is to be for, one of `DIRECTIONS`.

    Raises
    ------
    BundleError: one line that says what is wrong: a missing file or key, an unknown schema version, a shape,
        weights or a card that do not fit the hash, another hash than expected, or a bundle of the other direction.
    """
    emulator = _load(model, expected_hash)
    found = direction_of(emulator.card)
    if found != direction:
        what = f"expected a bundle that takes {DIRECTIONS[direction]} jets"
        msg = f"model {str(model)!r}: {what} (direction {direction!r}), got one of direction {found!r}"
        raise BundleError(msg)
    return emulator


def _load(model: str | Path, expected_hash: str | None) -> Emulator:
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
        emulator = assemble(migrated(content), load_arrays(weights))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, SafetensorError) as error:
        detail = f"expected the key {error}, found none" if isinstance(error, KeyError) else str(error)
        msg = f"bundle {path}: {detail}".splitlines()[0]
        raise BundleError(msg) from None
    emulator.card["hash"] = content["hash"]
    return _CACHE.setdefault(content["hash"], emulator)


@functools.cache
def shipped_radii(direction: str = "fold") -> dict[str, float]:
    """The radius of the jets of each shipped bundle of a direction."""
    names = BUNDLES if direction == "fold" else CORRECTIONS
    return {name: float(read_card(find(name))["card"]["jets"]["radius"]) for name in names}


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
    if version not in range(OLDEST_VERSION, SCHEMA_VERSION + 1):
        msg = f"bundle {path}: expected schema version {OLDEST_VERSION} to {SCHEMA_VERSION}, got {version!r}"
        raise BundleError(msg)
    if not isinstance(content["hash"], str):
        msg = f"bundle {path}: expected a string as hash, got {type(content['hash']).__name__}"
        raise BundleError(msg)
    return content


def migrated(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of `model.json` in the words of version 7.

    Version 4 called inputs context, and had four targets; origin networks of version 5 told of every jet, and nothing
    had an atom; in version 6 nothing had one at its greatest value.

    Raises
    ------
    ValueError: for columns of version 6, which had no atoms: they are to be learnt again.
    """

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(one) for one in value]
        if not isinstance(value, dict):
            return value
        new = {"n_inputs" if key == "n_context" else key: renamed(one) for key, one in value.items()}
        if "n_context" in value and value.get("type") in MEMBERS:
            new["n_targets"] = N_TARGETS
        if value.get("type") == "OriginNetwork":
            new = {"moot": -1, **new}
        if value.get("type") == "SplineIQN":
            new = {**{name: [] for name in ENDS}, **new}
        return new

    if content["schema_version"] == SCHEMA_VERSION:
        return content
    parts = ("network", "acceptance", "origin", "unmatched")
    variables = content["variables"]
    if isinstance(variables, dict):
        if variables.get("more"):
            msg = (
                f"expected a bundle of four variables, got one with {variables['more'][0]}, of before columns had atoms"
            )
            raise ValueError(msg)
        variables = {"columns": [], **variables}
    return {**content, **{name: renamed(content[name]) for name in parts}, "variables": variables}


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
