"""Training of further columns for an existing emulator, whose previous draws stay identical to the last bit.

A `SplineIQN` has one network per target, so the networks of further targets follow the existing ones: each takes as
input what those do, everything that they draw, and the columns before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.emulator.preprocessing import bounds_of, ends_of, standardised
from coffea_iqn.emulator.unmatched import beside, of_near
from coffea_iqn.iqn.conditional import Bounds
from coffea_iqn.iqn.distribution import Law
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.network import ENDS, Network, hidden_of
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import WIDTHS
from coffea_iqn.jets.features import VARIABLES
from coffea_iqn.jets.targets import FEW, Column, Rule
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.ranges import expect
from coffea_iqn.training.batches import with_origin
from coffea_iqn.training.emulators import MOST_OUTSIDE, continuous, split, target_rows
from coffea_iqn.training.laws import HIDDEN
from coffea_iqn.training.optimise import fixed_weights
from coffea_iqn.training.pairs import JetPairs, UnmatchedJets
from coffea_iqn.training.recipes import TrainingSettings, of_few
from coffea_iqn.training.run import How, TrainingRun, warn_other_response
from coffea_iqn.training.unmatched import WEIGHT_DECAY

OF_COLUMNS = (48, 48)  # sizes of the hidden layers


def extend(
    emulator: Emulator,
    pairs: JetPairs,
    unmatched: UnmatchedJets | None,
    names: Sequence[str],
    settings: TrainingSettings,
    **how: Unpack[How],
) -> Emulator:
    """Train an emulator to draw further columns of its jets, and of its unmatched jets.

    Parameters
    ----------
    emulator: emulator with a `SplineIQN`; its networks, variables and card are kept.
    pairs, unmatched: training sample; its reco jets have the columns that the emulator draws, and then the new ones.
    names: names of the new columns.
    settings: training settings; uses schedule, hidden (48, 48 by default), shares, blind, reflect and holdout.
    how: checkpoint, watch and device, see `training.train`.

    Returns
    -------
    the emulator; its card has this training under "extended".

    Raises
    ------
    TypeError: if its network is not a `SplineIQN`, or its draws are refined.
    ValueError: see `training.train`; also if a column does not vary or is not finite, or if the emulator draws
        unmatched jets and the sample has none.
    FloatingPointError: if a loss becomes infinite or NaN.

    Warns
    -----
    UserWarning: if the emulator is a bundle of another response than the pairs, as of another radius or detector.
    """
    v, old = emulator.variables, emulator.network
    got = f"got {emulator.draws_by}: columns come before the refinement, whose levels follow theirs"
    expect(emulator.exact, f"extend: expected a SplineIQN, {got}", TypeError)
    warn_other_response(emulator, pairs)
    reco = [pairs.y[pairs.matched]] if unmatched is None else [pairs.y[pairs.matched], unmatched.near, unmatched.far]
    columns = described(reco, v.columns, names)
    variables = v.with_columns(columns)
    settings = replace(settings, scale=v.scale, raw_pt_min=v.raw_pt_min, context=v.context)
    phases = {"columns": True, "columns of unmatched jets": emulator.unmatched is not None}
    owner, sample = f"{emulator.card.get('hash')} {names}", [*pairs, *(unmatched or ())]
    run = TrainingRun(settings, phases, sample, owner, **how)
    pairs = pairs._replace(y=continuous(pairs.y, variables.columns, settings.seed))
    learn, check = split(pairs, settings)
    known, n = emulator.on(run.device), len(v.table)
    further = _network(old.n_inputs + n, columns, settings, settings.hidden or OF_COLUMNS)

    def loss(inputs: Tensor, target: Tensor, least: Tensor, most: Tensor, _: torch.Generator) -> Tensor:
        x = torch.cat([with_origin(known.origin, inputs), target[:, :n]], dim=1)
        y, bounds = target[:, n:], (least[:, n:], most[:, n:])
        return further.tail_loss(x, y, bounds, cells=_cells(columns, y))

    rows = target_rows(learn, check, variables, settings)
    run.fit("columns", further, loss, rows, settings, v.context)
    network = _appended(old, Network.of(further.to("cpu").eval()))
    model = emulator.unmatched
    if model is not None:
        model = replace(model, columns=_learn_unmatched(pairs, unmatched, variables.columns, run))
    known_of_it = {"columns": list(names), "gen_jets": len(pairs.x)}
    parts = {"network": network, "variables": variables, "unmatched": model}
    return run.extended(emulator, known_of_it, **parts)


def described(reco: Sequence[Floats], before: Sequence[Column], names: Sequence[str]) -> list[Column]:
    """Return the new columns, described from all reco jets, matched or not."""
    first, every = len(VARIABLES) + len(before), [*before]
    for jets in reco:
        fits = jets.shape[1] == first + len(names)
        wanted = f"{first} columns and {', '.join(names)}"
        expect(fits, f"pairs: expected reco jets with {wanted}, got {jets.shape[1]} columns")
    values = np.concatenate([jets[:, len(VARIABLES) :] for jets in reco]).T
    for k, name in enumerate(names, len(before)):
        made, earlier = Column.of(name, values[k]), [*zip(every, values[:k], strict=True)]
        under = [one.name for one, y in earlier if _never_above(made, values[k], one, y)]
        made = made._replace(under=under[-1] if under else None)
        every.append(_decided(made, values[k], {one.name: y for one, y in earlier if one.kind == "count"}))
    return every[len(before) :]


def _decided(column: Column, y: Floats, counts: Mapping[str, Floats]) -> Column:
    """Return a column with rules for its atoms if, without exception, sums of preceding counts decide about them.

    y, counts: the values of the column, and of the counts, (N,) each.
    """
    names = [*((name,) for name in counts), *combinations(counts, 2)]
    rules: dict[str, Any] = {}
    rest = np.full(len(y), column.kind not in ("count", "flag"))
    for name, atom in (("atom_if", column.atom), ("top_if", column.top)):
        if atom is None:
            continue
        has, others = rest & (y == atom), rest & (y != atom)
        for of in names:
            total = np.stack([counts[one] for one in of], dtype=np.float64).sum(axis=0)
            if has.sum() > FEW and others.any() and total[has].max() < total[others].min():
                rules[name] = Rule(of, float(total[has].max()))
                break
        else:
            return column
        rest = others
    return column._replace(**rules)


def _never_above(column: Column, y: Floats, other: Column, of_other: Floats) -> bool:
    """Whether a column is almost never above another one; not for counts, flags, and columns with a top or a peak."""
    peaked = column.has_peak or other.has_peak
    able = not peaked and column.top is None and not {"count", "flag"} & {column.kind, other.kind}
    return able and bool((y > of_other).mean() < MOST_OUTSIDE)


def _cells(columns: Sequence[Column], z: Tensor) -> dict[int, Bounds]:
    """Return the standardised interval of each count, (N,) each, which its uniform random number stays within."""
    found = {}
    for k, column in enumerate(columns):
        if column.kind == "count":
            number = column.decode(z[:, k].clamp(*column.ends), z)
            found[k] = column.encode(number, z), column.encode(number + 1.0, z)
    return found


def _network(
    n_inputs: int, columns: Sequence[Column], settings: TrainingSettings, hidden: tuple[int, ...]
) -> SplineIQN:
    """Return the untrained network of the columns; it depends on the seed only."""
    with fixed_weights(settings.seed):
        return SplineIQN(n_inputs, len(columns), hidden=hidden, **ends_of(columns))


def _appended(network: Network, further: Network) -> Network:
    """Append to a `SplineIQN` the targets of another one, which takes its inputs and targets as input."""
    n, m = network.n_targets, further.n_targets
    of, of_further = network.description, further.description
    ends = {name: [*of[name], *(n + k for k in of_further[name])] for name in ENDS}
    sizes = [*(hidden_of(of["hidden"], k) for k in range(n)), *(hidden_of(of_further["hidden"], k) for k in range(m))]
    arrays = dict(network.arrays)
    for name, array in further.arrays.items():
        _, k, layer = name.split(".", 2)
        arrays[f"nets.{n + int(k)}.{layer}"] = array
    return Network({**of, **ends, "n_targets": n + m, "hidden": [list(one) for one in sizes]}, arrays)


def _learn_unmatched(pairs: JetPairs, jets: UnmatchedJets | None, columns: Sequence[Column], run: TrainingRun) -> Law:
    """Train the law of all columns of unmatched jets, including the existing ones: one law has all of them."""
    if jets is None or not len(jets.near) + len(jets.far):
        msg = "extend: expected unmatched jets to learn the columns of, as the emulator draws some, got none"
        raise ValueError(msg)
    settings, row, n = run.settings, jets.near_row, len(VARIABLES)
    reco = continuous(np.concatenate([jets.near, jets.far]), columns, settings.seed)
    x = beside(reco[:, :n], of_near(pairs.matched[row], pairs.context[row], len(jets.far)))
    known = WIDTHS["flavour"]
    scale = Standardisation.of(x[:, :-known]).and_more(known)
    split_key = np.concatenate([pairs.split_key[row], jets.split_key[jets.far_event]])
    sample = np.concatenate([pairs.sample[row], jets.sample[jets.far_event]])
    network = _network(x.shape[1], columns, settings, HIDDEN)
    bounds = np.array([column.ends for column in columns], dtype=np.float32).T

    def loss(inputs: Tensor, target: Tensor, _: torch.Generator) -> Tensor:
        every = [bounds_of(columns, k, target, target[:, k]) for k in range(len(columns))]
        least, most = (torch.stack(ends, dim=1) for ends in zip(*every, strict=True))
        return network.tail_loss(inputs, target, (least, most), cells=_cells(columns, target))

    every = (scale.apply(x), standardised(columns, reco[:, n:].astype(np.float64)).astype(np.float32), sample)
    held_out = split_key < settings.holdout
    rows = (tuple(torch.from_numpy(c[part]) for c in every) for part in (~held_out, held_out))
    schedule = of_few(settings, WEIGHT_DECAY)
    run.fit("columns of unmatched jets", network, loss, rows, schedule, ("flavour",))
    of = Standardisation.of(np.zeros((1, 0))).and_more(len(columns))
    return Law(None, Network.of(network.to("cpu").eval()), scale, of, bounds)
