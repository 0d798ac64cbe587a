"""Networks and laws from their description in `model.json` and their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from coffea_iqn.bundle.checks import an_object, array, number, standardisation
from coffea_iqn.emulator.preprocessing import ends_of
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.network import AUTOREGRESSIVE, MEMBERS, Network, shapes_of
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.numerics.arrays import Singles
from coffea_iqn.ranges import expect

SIZES = ("n_inputs", "n_targets", "n_samples", "most", "transforms", "bins", "steps", "noise", "latent")
Arrays = Mapping[str, Singles]
Ends = Mapping[str, Sequence[int]]


def plain(scale: Standardisation) -> dict[str, list[float]]:
    """Return a standardisation as lists, for JSON."""
    return {name: column.tolist() for name, column in scale._asdict().items()}


def network_of(name: str, types: Collection[str], description: Any, arrays: Arrays, n_inputs: int) -> Network:
    """Return a network from its description and weights, after checking its type, sizes and number of inputs."""
    description = an_object(name, description)
    own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
    kind = description.get("type")
    expect(kind in list(types), f"{name} type: expected one of {', '.join(types)}, got {kind!r}")
    _check_sizes(name, description, sum(array.size for array in own.values()))
    shapes = shapes_of(description)
    for key, shape in shapes.items():
        expect(key in own, f"expected a tensor {name}.{key}, found none")
        fits, got = own[key].shape == shape and own[key].dtype == np.float32, f"{own[key].shape} of {own[key].dtype}"
        expect(fits, f"tensor {name}.{key}: expected shape {shape} of float32, got {got}")
        expect(np.isfinite(own[key]).all(), f"tensor {name}.{key}: expected finite numbers, got others")
    made = Network(description, {key: own[key] for key in shapes})
    expect(
        made.n_inputs == n_inputs, f"{name}: expected {n_inputs} inputs, as the variables require, got {made.n_inputs}"
    )
    return made


def member_of(
    name: str,
    description: Any,
    arrays: Arrays,
    n_inputs: int,
    n_targets: int,
    ends: Ends,
    *,
    types: Collection[str] = MEMBERS,
) -> Network:
    """Return a member of the IQN family, after checking its number of targets and their atoms (`ends`)."""
    made = network_of(name, types, description, arrays, n_inputs)
    n = made.n_targets
    expect(n == n_targets, f"{name}: expected {n_targets} targets, as the variables require, got {n}")
    for key, wanted in ends.items():
        got = made.description.get(key, [])
        expect(got == wanted, f"{name}: expected {key} {wanted}, as the variables require, got {got!r}")
    return made


def _check_sizes(name: str, description: Mapping[str, Any], n_weights: int) -> None:
    """Check the sizes of a network against its number of weights, before arrays of these sizes are made."""
    hidden = description.get("hidden", [])
    expect(isinstance(hidden, list), f"{name}: expected a list of sizes of hidden layers, got {hidden!r}", TypeError)
    if hidden and all(isinstance(sizes, list) for sizes in hidden):
        fits = len(hidden) == description["n_targets"]
        expect(fits, f"{name}: expected sizes of hidden layers for each target, got {len(hidden)}")
        hidden = [size for sizes in hidden for size in sizes]
    others = [description[key] for key in SIZES if key in description]
    for size, least in [*((size, 1) for size in [*hidden, *others]), (description.get("n_event", 0), 0)]:
        wanted = f"sizes from {least} to {n_weights}, the number of weights"
        expect(type(size) is int and least <= size <= n_weights, f"{name}: expected {wanted}, got {size!r}")
    if "noise" in description:
        fits, got = description["noise"] >= description["n_targets"], description["noise"]
        expect(fits, f"{name}: expected noise of at least {description['n_targets']} numbers, as of targets, got {got}")
    for key in description.keys() & {"slope", "penalty"}:
        number(f"{name} {key}", description[key], least=0.0)


def describe_law(law: Law) -> dict[str, Any]:
    """Describe a law without its weights, for JSON."""
    return {
        "number": None if law.number is None else dict(law.number.description),
        "jets": None if law.targets is None else dict(law.targets.description),
        "input_scale": plain(law.input_scale),
        "target_scale": plain(law.target_scale),
        "bounds": law.bounds.tolist(),
    }


def law_of(
    name: str,
    described: Any,
    arrays: Arrays,
    n_inputs: int,
    n_targets: int,
    ends: Ends | None = None,
    *,
    asks: Collection[str] = ("number", "jets"),
) -> Law:
    """Return a law from its description and weights; `asks` names its networks, `ends` its targets with atoms."""
    described, ends = an_object(name, described), ends or ends_of(())
    for part in ("number", "jets"):
        got = f"{'no' if part in asks else 'a'} network of {part}"
        expect((described[part] is None) != (part in asks), f"{name}: expected {' and '.join(asks)}, got {got}")
    numbers = targets = None
    if "number" in asks:
        numbers = network_of(f"{name}.number", ("NumberNetwork",), described["number"], arrays, n_inputs)
    if "jets" in asks:
        of_targets = described["jets"], arrays, n_inputs, n_targets, ends
        targets = member_of(f"{name}.jets", *of_targets, types=AUTOREGRESSIVE)
    input_scale = standardisation("input_scale", described, n_inputs)
    target_scale = standardisation("target_scale", described, n_targets)
    bounds = array(f"{name} bounds", described["bounds"], (2, n_targets)).astype(np.float32)
    flags = np.isin(np.arange(n_targets), ends["flags"])  # they have a single value besides the atom
    rising = (bounds[0] < bounds[1])[~flags].all() and (bounds[0] <= bounds[1]).all()
    expect(rising, f"{name} bounds: expected upper bounds above lower ones, got {bounds.tolist()}")
    return Law(numbers, targets, input_scale, target_scale, bounds)
