"""Conversion of an emulator to a JSON description and arrays of weights, and back with a check of every value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from coffea_iqn.bundle.checks import an_object, array, card, levels, number, rising, standardisation
from coffea_iqn.bundle.networks import Arrays, describe_law, law_of, member_of, network_of, plain
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.objects import FAR, JETS, MISSING, NEAR, Objects, asks_of
from coffea_iqn.emulator.overlaps import N_PAIR, Overlaps
from coffea_iqn.emulator.particles import CELLS, LAWS, TAG, Particles
from coffea_iqn.emulator.preprocessing import Variables, ends_of
from coffea_iqn.emulator.refinement import Candidates
from coffea_iqn.emulator.unmatched import N_BALANCE, N_BESIDE, N_FAR, N_NEAR, Unmatched
from coffea_iqn.iqn.network import ENDS, MEMBERS, N_TARGETS, Network
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import COMPRESSION_SHAPE, INPUTS, SCALES, VARIABLES, Compression
from coffea_iqn.jets.support import Support
from coffea_iqn.jets.targets import KINDS, TARGETS, Column, Rule, check_names
from coffea_iqn.numerics.arrays import Singles
from coffea_iqn.objects.columns import ISOLATION, N_FOUND, N_MISSING, N_PARTICLE
from coffea_iqn.objects.kinds import KINDS as OBJECTS
from coffea_iqn.ranges import check_choice, expect

SCHEMA_VERSION, OLDEST_VERSION = 10, 4
MOST_COUNTS = 2  # in a rule of an atom
KEYS = ("schema_version", "network", "acceptance", "origin", "unmatched", "variables", "card", "hash")


def describe(emulator: Emulator) -> dict[str, Any]:
    """Describe an emulator without its weights, in names and numbers for JSON."""
    v, unmatched, objects, particles = emulator.variables, emulator.unmatched, emulator.objects, emulator.particles
    return {
        **{name: network and dict(network.description) for name, network in emulator.networks.items()},
        "unmatched": unmatched and _laws(unmatched) | _plain(unmatched, "context", "reach", "raw_pt_min", "balanced"),
        "overlaps": emulator.overlaps and _laws_of(emulator.overlaps, "radius"),
        "objects": objects
        and _laws_of(objects, "pt_min", "isolation", "isolation_ends", "track_share", "context", "ceilings"),
        "particles": particles and _laws_of(particles, "least", "radius"),
        "variables": {
            **_plain(v, "inputs", "targets", "scale"),
            "input_scale": plain(v.input_scale),
            "target_scale": plain(v.target_scale),
            "compression": v.compression and v.compression.coefficients.tolist(),
            **_plain(v, "context", "raw_pt_min"),
            "columns": [column._asdict() for column in v.columns],
            "support": v.support._asdict(),
        },
        "card": emulator.card,
    }


def _laws(model: Unmatched | Overlaps | Objects | Particles) -> dict[str, Any]:
    return {name: describe_law(law) for name, law in model.laws.items()}


def _laws_of(model: Overlaps | Objects | Particles, *names: str) -> dict[str, Any]:
    return {"laws": _laws(model), **_plain(model, *names)}


def _plain(of: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


def weights_of(emulator: Emulator) -> dict[str, Singles]:
    """Return the weights of all networks of an emulator, by name."""
    networks = emulator.networks
    for part in ("unmatched", "overlaps", "objects", "particles"):
        model = getattr(emulator, part)
        for name, law in ({} if model is None else model.laws).items():
            networks |= {f"{part}.{name}.number": law.number, f"{part}.{name}.jets": law.targets}
    return {
        f"{name}.{key}": np.ascontiguousarray(array)
        for name, network in networks.items()
        if network is not None
        for key, array in network.arrays.items()
    }


def assemble(content: Mapping[str, Any], arrays: Arrays) -> Emulator:
    """Make the emulator of a description and its weights.

    Raises
    ------
    ValueError, KeyError, TypeError: if a name is unknown, or a type, shape or value is wrong.
    """
    variables = _variables(content["variables"])
    gate, origin, unmatched = (content.get(name) for name in ("acceptance", "origin", "unmatched"))
    # older bundles lack these keys
    overlaps, objects, particles, ratio = (content.get(name) for name in ("overlaps", "objects", "particles", "ratio"))
    n_inputs = n_seen = variables.network_inputs(np.full((1, len(VARIABLES)), 30.0, dtype=np.float32), None).shape[1]
    if origin is not None:
        origin = network_of("origin", ("OriginNetwork",), origin, arrays, n_inputs)
        n_seen, moot = origin.n_outputs, origin.description["moot"]
        known = (-1, *(variables.column_of(level) for level in variables.context))
        expect(moot in known, f"origin: expected as moot −1 or the last column of a level, got {moot!r}")
    network = member_of("network", content["network"], arrays, n_seen, len(variables.table), variables.atoms)
    return Emulator(
        network,
        variables,
        None if gate is None else network_of("acceptance", ("AcceptanceNetwork",), gate, arrays, n_seen),
        origin,
        None if unmatched is None else _unmatched(unmatched, variables, arrays),
        None if overlaps is None else _overlaps(overlaps, arrays),
        None if objects is None else _objects(objects, variables, arrays),
        None if particles is None else _particles(particles, variables, arrays),
        None if ratio is None else _ratio(ratio, network, arrays),
        card(content["card"]),
    )


def _ratio(content: Any, network: Network, arrays: Arrays) -> Network:
    """Return the network for the ratio of true and drawn densities of a network's draws."""
    made = network_of("ratio", ("RatioNetwork",), content, arrays, network.n_inputs + N_TARGETS)
    number("ratio bound", made.description["bound"], least=1.0)
    candidates, most = made.description["candidates"], Candidates.most_of(network)
    fits = type(candidates) is int and 1 <= candidates <= most
    expect(fits, f"ratio candidates: expected a whole number from 1 to {most}, got {candidates!r}")
    return made


def _variables(content: Any) -> Variables:
    """Return variables from their description."""
    content = an_object("variables", content)
    for key, names in (("inputs", INPUTS), ("targets", TARGETS), ("scale", SCALES)):
        check_choice(names, **{key: content[key]})
    columns = tuple(_column(column) for column in content["columns"])
    check_names([column.name for column in columns])
    for k, column in enumerate(columns):
        before = column.under in [None, *(other.name for other in columns[:k])]
        expect(before, f"column {column.name}: expected an earlier column as its upper limit, got {column.under!r}")
        counts = [other.name for other in columns[:k] if other.kind == "count"]
        named = [name for rule in (column.atom_if, column.top_if) if rule for name in rule.counts]
        known = all(name in counts for name in named)
        expect(known, f"column {column.name}: expected earlier counts in rules, got {', '.join(map(str, named))}")
    n_inputs = INPUTS[content["inputs"]](np.ones((1, len(VARIABLES)))).shape[1]
    compression = content["compression"]
    return Variables(
        inputs=content["inputs"],
        targets=content["targets"],
        scale=content["scale"],
        input_scale=standardisation("input_scale", content, n_inputs),
        target_scale=standardisation("target_scale", content, len(VARIABLES) + len(columns)),
        compression=None if compression is None else Compression(array("compression", compression, COMPRESSION_SHAPE)),
        context=levels(content["context"]),
        raw_pt_min=number("raw_pt_min", content["raw_pt_min"], least=0.0),
        support=_support(content["support"]),
        columns=columns,
    )


def _column(content: Any) -> Column:
    content = an_object("column", content)
    check_choice(KINDS, kind=content["kind"])
    limits: dict[str, dict[str, float]] = {"scale": {"above": 0.0}, "unit": {"least": 0.0}}
    names = [*("low", "high", "mean", "scale", "unit"), *(end for end in ("atom", "top") if content[end] is not None)]
    numbers = {name: number(f"column {name}", content[name], **limits.get(name, {})) for name in names}
    rules = {name: _rule(content[name]) for name in ("atom_if", "top_if") if content.get(name) is not None}
    made = Column(**{**content, **numbers, **rules})
    whole = made.kind not in ("count", "flag") and all(
        (end is None) == (rule is None) for end, rule in ((made.atom, made.atom_if), (made.top, made.top_if))
    )
    expect(not rules or whole, f"column {made.name}: expected rules for all of its atoms, got {sorted(rules)}")
    ends = [end for end in (made.atom, made.low, made.high, made.top) if end is not None]
    if made.kind == "flag":
        fits = ends == [0.0, 1.0, 1.0]
    elif made.kind == "count":
        fits = all(a < b for a, b in pairwise(ends))
    else:  # an atom can be inside the range
        fits = made.low < made.high and (made.atom is None or made.atom != made.top)
    expect(fits, f"column {made.name}: expected rising numbers, or 0 and 1 for a flag, got {ends}")
    return made


def _rule(content: Any) -> Rule:
    fits = isinstance(content, list) and len(content) == len(Rule._fields) and isinstance(content[0], list)
    fits = fits and 0 < len(content[0]) <= MOST_COUNTS
    expect(fits, f"rule of an atom: expected one or two columns and their greatest sum, got {content!r}")
    return Rule(tuple(content[0]), number("rule of an atom", content[1]))


def _support(content: Any) -> Support:
    content = an_object("support", content)
    # bounds with a default are not in the bundles of before
    wanted = [name for name in Support._fields if name in content or name not in Support._field_defaults]
    numbers = [name for name in wanted if name != "pt_target"]
    known = {name: number(f"support {name}", content[name], above=0.0) for name in numbers}
    return Support(pt_target=rising("support pt_target", content["pt_target"]), **known)


def _unmatched(content: Any, variables: Variables, arrays: Arrays) -> Unmatched:
    """Return the model of unmatched jets from its description and weights."""
    content = an_object("unmatched", content)
    context, columns = levels(content["context"]), None
    balanced = content.get("balanced", False)  # not in older bundles
    expect(type(balanced) is bool, f"unmatched balanced: expected true or false, got {balanced!r}")
    n_near = len(variables.input_scale.mean) + N_NEAR + N_BALANCE * balanced + sum(WIDTHS[level] for level in context)
    if variables.columns:
        ends, n = ends_of(variables.columns), len(variables.columns)
        columns = law_of("unmatched.columns", content["columns"], arrays, N_BESIDE, n, ends, asks=("jets",))
    return Unmatched(
        law_of("unmatched.near", content["near"], arrays, n_near, N_TARGETS),
        law_of("unmatched.far", content["far"], arrays, N_FAR, N_TARGETS),
        variables.inputs,
        variables.scale,
        context,
        number("unmatched reach", content["reach"], above=0.0),
        number("unmatched raw_pt_min", content["raw_pt_min"], above=0.0),
        variables.support,
        columns,
        balanced,
    )


def _overlaps(content: Any, arrays: Arrays) -> Overlaps:
    """Return the model of overlapping jets from its description and weights."""
    content = an_object("overlaps", content)
    described = an_object("overlaps laws", content["laws"])
    expect(set(described) == {"pair"}, f"overlaps: expected a law of pair, got {', '.join(described)}")
    law = law_of("overlaps.pair", described["pair"], arrays, N_PAIR, N_TARGETS)
    return Overlaps(law, number("overlaps radius", content["radius"], above=0.0))


def _objects(content: Any, variables: Variables, arrays: Arrays) -> Objects:
    """Return the model of electrons, muons, photons and missing momentum from its description and weights."""
    content = an_object("objects", content)
    context, described = levels(content["context"]), an_object("objects laws", content["laws"])
    of_jets = len(variables.input_scale.mean) + N_FOUND + sum(WIDTHS[level] for level in context)
    n_kinds = len(OBJECTS)
    ends = array("objects isolation_ends", content["isolation_ends"], (n_kinds, 2))
    expect((ends > 0.0).all(), f"objects isolation_ends: expected numbers above 0, got {ends.tolist()}")
    shares = array("objects track_share", content["track_share"], (n_kinds,))
    expect((shares >= 0.0).all() and (shares <= 1.0).all(), f"objects track_share: expected 0 to 1, got {shares}")
    known = {JETS: (of_jets, 0), MISSING: (N_MISSING, 2)}  # numbers of inputs and targets of each law
    for kind in OBJECTS:
        known |= {f"{kind.name}{what}": (n, 4) for what, n in (("", N_PARTICLE), (NEAR, of_jets), (FAR, N_FAR))}
    wanted, got = {*(kind.name for kind in OBJECTS), JETS, MISSING}, set(described)
    odd = min((wanted - got) | (got - set(known)), default=None)
    names = f"of {', '.join(sorted(wanted))}, and of {', '.join(sorted(known))}"
    expect(odd is None, f"objects: expected laws {names}, got {odd!r}")
    laws = {}
    for name, (n_inputs, n_targets) in known.items():
        if name in described:
            of = an_object(name, described[name])
            # isolation has an atom at zero if the training sample had such objects
            isolated = n_targets > ISOLATION and an_object(name, of["jets"]).get("atoms") == [ISOLATION]
            exact = {**ends_of(()), "atoms": [ISOLATION] * isolated}
            laws[name] = law_of(f"objects.{name}", of, arrays, n_inputs, n_targets, exact, asks=asks_of(name))
    pt_min = tuple(number("objects pt_min", one, above=0.0) for one in content["pt_min"])
    isolation = tuple(content["isolation"])
    fits = len(pt_min) == len(isolation) == n_kinds and all(type(one) is str for one in isolation)
    expect(fits, f"objects: expected pt_min and isolation of {n_kinds} kinds, got {pt_min} and {isolation}")
    of_kinds = pt_min, isolation, tuple((a, b) for a, b in ends.tolist()), tuple(shares.tolist())
    ceilings = array("objects ceilings", content.get("ceilings", [1.0] * n_kinds), (n_kinds,))  # not in older bundles
    expect(((ceilings > 0.0) & (ceilings <= 1.0)).all(), f"objects ceilings: expected above 0 to 1, got {ceilings}")
    return Objects(laws, *of_kinds, variables.inputs, context, tuple(ceilings.tolist()))


def _particles(content: Any, variables: Variables, arrays: Arrays) -> Particles:
    """Return the model of the particles in jets from its description and weights."""
    content = an_object("particles", content)
    described, laws = an_object("particles laws", content["laws"]), {}
    got = {TAG, *described}  # the b-tag is optional
    expect(got == set(LAWS), f"particles: expected laws of {', '.join(LAWS)}, got {', '.join(described)}")
    for name in described:
        known = LAWS[name]
        laws[name] = law_of(f"particles.{name}", described[name], arrays, known.inputs, known.targets, asks=known.asks)
    least = tuple(tuple(number("particles least", end, above=0.0) for end in one) for one in content["least"])
    fits = [len(one) for one in least] == [2] * len(CELLS)
    expect(fits, f"particles: expected two least energies in {len(CELLS)} calorimeters, got {least}")
    radius = number("particles radius", content["radius"], above=0.0)
    return Particles(laws, tuple((one[0], one[1]) for one in least), radius, variables.scale)


def migrated(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content of `model.json` converted to version 10.

    Version 4 used the name context for inputs and always had four targets; origin networks of version 5 had no moot
    column, and targets no atoms; version 6 had no atoms at the upper end; version 8 drew the tracks of a cell one by
    one; version 9 had no widening of the pt of objects.

    Raises
    ------
    ValueError: for columns of version 6 or older, which had no atoms, particles of version 8 or older, and objects of
        version 9 or older: they must be trained again.
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
    for part, since in (("particles", 9), ("objects", SCHEMA_VERSION)):
        kept = content.get(part) is None or content["schema_version"] >= since
        expect(kept, f"{part}: expected schema version {since}, got an older one: train them again with train --{part}")
    parts = ("network", "acceptance", "origin", "unmatched")
    variables = content["variables"]
    if isinstance(variables, dict):
        more = [*(variables.get("more") or ()), None][0]
        expect(more is None, f"expected a bundle of four variables, got one with {more}, from before columns had atoms")
        variables = {"columns": [], **variables}
    return {**content, **{name: renamed(content[name]) for name in parts}, "variables": variables}
