"""Preprocessing: jets to network inputs and standardised targets, and drawn targets back to jets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from coffea_iqn.iqn.network import BELOW_BOUND, ENDS, N_TARGETS, NO_BOUND
from coffea_iqn.iqn.standardisation import Standardisation
from coffea_iqn.jets.context import N_COLUMNS, WIDTHS, select
from coffea_iqn.jets.features import (
    ETA,
    INPUTS,
    MASS,
    MASSLESS,
    PHI,
    PT,
    SCALES,
    Columns,
    Compression,
    log_mass,
    wrap_phi,
)
from coffea_iqn.jets.support import LEAST_PT, Support
from coffea_iqn.jets.targets import TARGETS, Column, Target, decode, encode
from coffea_iqn.ranges import expect


@dataclass(frozen=True, eq=False)
class Variables:
    """The map between jets and network inputs and targets, for numpy arrays, or for tensors after `on`.

    Attributes
    ----------
    inputs, targets: keys of `features.INPUTS` and `targets.TARGETS`.
    scale: key of `features.SCALES`, undone before targets are computed and applied after they are drawn.
    input_scale, target_scale: standardisations.
    compression: compression of the targets' tails, or None.
    context: context levels that the network takes as input.
    raw_pt_min: pt [GeV] before the scale below which the detector has no jets, or 0.
    support: region in which a matched jet y can lie.
    columns: variables drawn in addition to the four-momentum, already standardised: target_scale is trivial for them.
    """

    inputs: str
    targets: str
    scale: str
    input_scale: Standardisation
    target_scale: Standardisation
    support: Support
    compression: Compression | None = None
    context: tuple[str, ...] = ()
    raw_pt_min: float = 0.0
    columns: tuple[Column, ...] = ()

    @property
    def table(self) -> tuple[Target | Column, ...]:
        """All variables that are drawn."""
        return (*TARGETS[self.targets], *self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables that are drawn, as fields of jets."""
        return tuple(target.name for target in self.table)

    @property
    def atoms(self) -> dict[str, Any]:
        """Which targets have atoms at an end of their range, in the format of a `SplineIQN`'s description."""
        four = [k for k, target in enumerate(TARGETS[self.targets]) if target.atom]
        of_columns = ends_of(self.columns)
        return {name: [*four * (name == "atoms"), *(N_TARGETS + k for k in of_columns[name])] for name in ENDS}

    def with_columns(self, columns: Sequence[Column]) -> Variables:
        """Return the same variables with further columns."""
        more = self.target_scale.and_more(len(columns))
        return replace(self, columns=(*self.columns, *columns), target_scale=more)

    def on(self, xp: Any, dtype: Any, device: Any) -> Variables:
        """Return the same for arrays of a namespace (torch or numpy) on a device; network inputs have this dtype."""
        scales = {name: getattr(self, name).on(xp, dtype, device) for name in ("input_scale", "target_scale")}
        compression = None if self.compression is None else self.compression.on(xp, device)
        return replace(self, **scales, compression=compression)

    def _as_seen(self, values: Columns) -> Any:
        """Cast numbers to the precision of the networks, which is that of the standardisations."""
        return array_namespace(values).astype(values, self.target_scale.mean.dtype, copy=False)

    def threshold(self, raw_pt_min: float | None) -> float:
        """Return the threshold to use [GeV]: the given one, but no lower than that of the training sample."""
        return self.raw_pt_min if raw_pt_min is None else max(raw_pt_min, self.raw_pt_min)

    def network_inputs(self, x: Columns, context: Columns | None) -> Any:
        """Return the network inputs (N, n) for jets x (N, 4) and their context (N, 68) or None."""
        xp = array_namespace(x)
        inputs = self._as_seen(self.input_scale.apply(INPUTS[self.inputs](x)))
        if not self.context:
            return inputs
        if context is None:
            context = xp.zeros((len(x), N_COLUMNS), dtype=inputs.dtype, device=device(x))
        return xp.concat([inputs, *select(self._as_seen(context), self.context)], axis=1)

    def column_of(self, level: str) -> int:
        """Return the column of `network_inputs` that is 1 where a context level is known; −1 if it is no input."""
        if level not in self.context:
            return -1
        known = self.context[: self.context.index(level) + 1]
        return len(self.input_scale.mean) + sum(WIDTHS[name] for name in known) - 1

    def encode(self, y: Columns, x: Columns) -> Any:
        """Return standardised targets (N, n) of jets y, with the first n variables of the table, given jets x."""
        xp = array_namespace(x)
        y, x = xp.astype(y, xp.float64), xp.astype(x, xp.float64)
        return self.encode_raw(SCALES[self.scale].undo(y), x)

    def learnt(self, raw: Columns, x: Columns) -> Any:
        """Return the targets of jets y before the scale, compressed but not yet standardised."""
        targets = encode(self.table, raw, x)
        if self.compression is None:
            return targets
        four = self.compression.apply(targets[:, :N_TARGETS], x)
        return (
            four if targets.shape[1] == N_TARGETS else array_namespace(x).concat([four, targets[:, N_TARGETS:]], axis=1)
        )

    def encode_raw(self, raw: Columns, x: Columns) -> Any:
        """Same as `encode` for jets y before the scale."""
        targets = self.learnt(raw, x)
        return self._as_seen(self.target_scale.first(targets.shape[1]).apply(targets))

    def log_slopes(self, raw: Columns, x: Columns) -> Any:
        """Return log |∂z / ∂y'| for each standardised target z and its variable y' before the scale, (N, 4).

        Raises
        ------
        NotImplementedError: if the targets are not residuals.
        """
        fits = self.targets != "ratio"
        expect(fits, "density: expected targets that are residuals, got 'ratio'", NotImplementedError)
        xp = array_namespace(x)
        flat = xp.zeros_like(raw[:, PT])
        slopes = xp.stack([-xp.log(raw[:, PT]), flat, flat, -log_mass(raw[:, MASS])], axis=1)
        if self.compression is not None:
            size = self.compression.size(x)
            slopes = slopes - 0.5 * xp.log(size**2 + encode(self.table, raw, x) ** 2)
        return slopes - xp.log(self.target_scale.first(N_TARGETS).scale)

    def decode(self, drawn: Columns, x: Columns, *, raw_pt_min: float) -> Any:
        """Return jets y (N, n) from standardised targets (N, n); the inverse of `encode`."""
        xp, support = array_namespace(x), self.support.drawn_in()
        raw = self.decode_raw(drawn, x)
        # clip: for unusual jets x with large typical sizes, rounding could carry a jet across a bound
        raw[:, PT] = raw[:, PT].clip(raw_pt_min)
        d_eta = (raw[:, ETA] - x[:, ETA]).clip(-support.cone, support.cone)
        left = xp.sqrt((support.cone**2 - d_eta**2).clip(0.0))
        d_phi = xp.minimum(xp.maximum(wrap_phi(raw[:, PHI] - x[:, PHI]), -left), left)
        raw[:, ETA], raw[:, PHI] = x[:, ETA] + d_eta, wrap_phi(x[:, PHI] + d_phi)
        raw[:, MASS] = xp.minimum(raw[:, MASS], support.mass_over_pt_max * raw[:, PT])
        for k, column in enumerate(self.columns[: raw.shape[1] - N_TARGETS], N_TARGETS):
            if column.under is not None:
                raw[:, k] = xp.minimum(raw[:, k], raw[:, self.names.index(column.under)])
        return self._as_seen(SCALES[self.scale].apply(raw))

    def raw_pt(self, target: Columns, x: Columns) -> Any:
        """Return the pt [GeV] before the scale from the standardised target of pt, (N,)."""
        xp = array_namespace(x)
        others = xp.zeros((len(x), N_TARGETS - 1), dtype=target.dtype, device=device(x))
        return self.decode_raw(xp.concat([target[:, None], others], axis=1), x)[:, PT]

    def decode_raw(self, drawn: Columns, x: Columns) -> Any:
        """Return the inverse of `encode_raw`, without applying bounds."""
        targets = self.target_scale.first(drawn.shape[1]).invert(drawn)
        if self.compression is not None:
            four, others = self.compression.invert(targets[:, :N_TARGETS], x), targets[:, N_TARGETS:]
            targets = array_namespace(x).concat([four, others], axis=1) if others.shape[1] else four
        return decode(self.table, targets, x)

    def bounds(self, k: int, drawn: Columns, x: Columns, raw_pt_min: float) -> tuple[Any, Any]:
        """Return the lower and upper bound of a standardised target given those before it.

        Parameters
        ----------
        k: index of the target.
        drawn: the standardised targets 0 to k − 1, (N, k), or more.
        x: jets x (N, 4).
        raw_pt_min: threshold [GeV], or 0.

        Returns
        -------
        two arrays (N,). A mass without an atom has the lower bound −`NO_BOUND`: masses below zero become zero.
        """
        xp, support = array_namespace(x), self.support.drawn_in()
        if k >= N_TARGETS:
            least, most = bounds_of(self.columns, k - N_TARGETS, drawn[:, N_TARGETS:], x[:, PT])
            return self._as_seen(least), self._as_seen(most)
        padding = xp.zeros((len(x), N_TARGETS - k), dtype=x.dtype, device=device(x))
        raw = self.decode_raw(xp.concat([xp.astype(drawn[:, :k], x.dtype), padding], axis=1), x)
        scale, abs_eta = SCALES[self.scale], xp.abs(x[:, ETA])
        nearest = (abs_eta - support.cone).clip(0.0)  # lowest |eta| of a jet y
        noise = scale.noise(nearest)  # greatest there
        energy = support.energy_max
        low, high = x + 0.0, x + 0.0  # jets with variable k at its bounds
        if k == PT:
            low[:, PT] = xp.full_like(abs_eta, max(raw_pt_min, LEAST_PT))
            most = support.pt_offset + support.pt_slope * x[:, PT]
            high[:, PT] = xp.minimum(energy / xp.cosh(nearest) - 0.5 * noise, most).clip(LEAST_PT)
        elif k == ETA:
            pt = raw[:, PT] + 0.5 * noise
            edge = xp.acosh((energy / pt).clip(1.0)).clip(max=support.abs_eta_max)
            edge = xp.maximum(edge, nearest)  # if no eta is allowed, stay in the cone
            low[:, ETA] = xp.maximum(x[:, ETA] - support.cone, -edge)
            high[:, ETA] = xp.minimum(x[:, ETA] + support.cone, edge)
        elif k == PHI:
            left = xp.sqrt((support.cone**2 - (raw[:, ETA] - x[:, ETA]) ** 2).clip(0.0))
            low[:, PHI], high[:, PHI] = x[:, PHI] - left, x[:, PHI] + left
        else:
            momentum = raw[:, PT] * xp.cosh(raw[:, ETA])
            left = xp.sqrt(((energy / scale.factor(raw)) ** 2 - momentum**2).clip(0.0))
            low[:, MASS] = 0.0
            high[:, MASS] = xp.minimum(support.mass_over_pt_max * raw[:, PT], left)
        ends = [self.encode_raw(edge, x)[:, k] for edge in (low, high)]
        least, most = xp.minimum(*ends), xp.maximum(*ends)  # some targets reverse the sign of eta
        if k == PT:
            least, most = least.clip(support.pt_target[0]), most.clip(max=support.pt_target[1])
        elif k == MASS and MASS not in self.atoms["atoms"]:
            least = xp.full_like(most, -NO_BOUND)
        return least, xp.maximum(least, most)

    def encode_within(self, y: Columns, x: Columns, raw_pt_min: float) -> tuple[Any, tuple[Any, Any]]:
        """Return `encode` and `all_bounds` of jets y; values at an atom, such as masses below `MASSLESS`, lie on it."""
        targets = self.encode(y, x)
        if y.shape[1] > N_TARGETS:
            others = standardised(self.columns[: y.shape[1] - N_TARGETS], y[:, N_TARGETS:])
            targets = array_namespace(x).concat([targets[:, :N_TARGETS], self._as_seen(others)], axis=1)
        bounds = self.all_bounds(targets, x, raw_pt_min)
        if MASS in self.atoms["atoms"]:
            xp, least = array_namespace(x), bounds[0][:, MASS]
            mass = xp.where(y[:, MASS] < MASSLESS, least - BELOW_BOUND, xp.maximum(targets[:, MASS], least))
            targets = xp.concat([targets[:, :MASS], mass[:, None], targets[:, MASS + 1 :]], axis=1)
        return targets, bounds

    def all_bounds(self, targets: Columns, x: Columns, raw_pt_min: float) -> tuple[Any, Any]:
        """Return the `bounds` of all standardised targets (N, n), each given those before it, (N, n) each."""
        every = [self.bounds(k, targets, x, raw_pt_min) for k in range(targets.shape[1])]
        least, most = (array_namespace(x).stack(columns, axis=1) for columns in zip(*every, strict=True))
        return least, most

    def as_decoded(self, z: Columns, x: Columns) -> Any:
        """Return standardised four-momenta (N, 4) with masses below zero replaced by zero, as `decode` does."""
        if MASS in self.atoms["atoms"]:
            return z[:, :N_TARGETS]
        xp, massless = array_namespace(x), x + 0.0
        massless[:, MASS] = 0.0
        mass = xp.maximum(z[:, MASS], self.encode_raw(massless, x)[:, MASS])
        return xp.concat([z[:, :MASS], mass[:, None]], axis=1)

    def within_reach(self, x: Columns) -> Any:
        """Return which jets x (N, 4) can have a matched jet y in the detector, (N,) bool."""
        support = self.support.drawn_in()
        return array_namespace(x).abs(x[:, ETA]) < support.abs_eta_max + support.cone


def ends_of(columns: Sequence[Column]) -> dict[str, Any]:
    """Return which columns have atoms that are drawn, in the format of a `SplineIQN`'s description."""
    found = [
        (c.atom is not None and c.atom_if is None, c.top is not None and c.top_if is None, c.kind == "flag")
        for c in columns
    ]
    return {name: [k for k, has in enumerate(found) if has[i]] for i, name in enumerate(ENDS)}


def bounds_of(columns: Sequence[Column], k: int, z: Columns, like: Columns) -> tuple[Any, Any]:
    """Return the bounds of a standardised column given those before it, (N,) each; one point for a decided atom.

    Parameters
    ----------
    columns, k: the columns, and the index of this one.
    z: standardised columns 0 to k − 1, (N, k), or more.
    like: an array (N,) of the type of the bounds.
    """
    xp, column, names = array_namespace(like), columns[k], [one.name for one in columns]

    def value(name: str) -> Any:
        other = names.index(name)
        return columns[other].decode(z[:, other], z)

    low, high = column.ends
    least, most = xp.full_like(like, low), xp.full_like(like, high)
    if column.under is not None:
        most = xp.minimum(most, xp.astype(column.encode(value(column.under), z), most.dtype))
    for rule, at in ((column.top_if, high + BELOW_BOUND), (column.atom_if, low - BELOW_BOUND)):
        if rule is not None:
            decided = sum(value(name) for name in rule.counts) <= rule.most
            least, most = (xp.where(decided, at, end) for end in (least, most))
    return least, most


def decoded(columns: Sequence[Column], z: Columns) -> Any:
    """Return the inverse of `standardised`, (N, n), without the random numbers added to counts."""
    found: dict[str, Any] = {}
    for k, column in enumerate(columns):
        y = column.decode(z[:, k], z)
        found[column.name] = y if column.under is None else array_namespace(z).minimum(y, found[column.under])
    return array_namespace(z).stack([*found.values()], axis=1)


def standardised(columns: Sequence[Column], values: Columns) -> Any:
    """Standardise columns (N, n): atoms are moved beyond the ends; counts must already have their random numbers."""
    xp, found = array_namespace(values), []
    for k, column in enumerate(columns):
        y, (low, high) = values[:, k], column.ends
        z = column.encode(y, values)
        if column.atom is not None:
            z = xp.where((y < column.low) | (y == column.atom), low - BELOW_BOUND, z)
        if column.top is not None:
            z = xp.where((y > column.high) | (y == column.top), high + BELOW_BOUND, z)
        found.append(z)
    return xp.stack(found, axis=1)


def check_jets(x: Any, other: Any, context: Any | None, *, other_is: str, widths: Sequence[int] = (N_TARGETS,)) -> None:
    """Check that arrays or tensors are valid jets and levels.

    Parameters
    ----------
    x: jets x, (N, 4).
    other: second array, (N, n), with n one of widths: quantile levels if `other_is` "tau", otherwise jets.
    context: (N, 68), or None.

    Raises
    ------
    TypeError: for lists, and anything else but arrays and tensors.
    ValueError: for wrong shapes, masks, numbers that are not finite, pt not above zero, levels outside (0, 1).
    """
    for name, values in (("jets x", x), (other_is, other), ("context", context)):
        if values is not None and not hasattr(values, "shape"):
            msg = f"{name}: expected an array or a tensor, got {type(values).__name__}"
            raise TypeError(msg)
    if x.ndim != 2 or x.shape[1] != N_TARGETS or tuple(other.shape) not in [(len(x), n) for n in widths]:
        others = "".join(f", or {other_is} (N, {n})" for n in dict.fromkeys(widths) if n != N_TARGETS)
        shapes = f"two arrays of one shape (N, 4){others}" if N_TARGETS in widths else f"jets x (N, 4){others}"
        msg = f"emulator: expected {shapes}, got {tuple(x.shape)} and {tuple(other.shape)}"
        raise ValueError(msg)
    if context is not None and tuple(context.shape) != (len(x), N_COLUMNS):
        msg = f"context: expected shape {(len(x), N_COLUMNS)}, got {tuple(context.shape)}"
        raise ValueError(msg)
    for name, values in (("jets x", x), (other_is, other), ("context", context)):
        if np.ma.isMaskedArray(values):
            msg = f"{name}: expected an array without a mask, got a masked array: drop masked entries first"
            raise ValueError(msg)
        if values is None or not len(values):
            continue
        xp = array_namespace(values)
        # check in single precision, in which they are used: there 1 − 1e-9 is 1, and 1e-50 GeV is 0
        with np.errstate(over="ignore"):
            single = xp.astype(values, xp.float32, copy=False)
        if name == "tau":
            if not (xp.min(single) > 0.0 and xp.max(single) < 1.0):  # or NaN
                msg = f"tau: expected levels in (0, 1), got {float(xp.min(values))} to {float(xp.max(values))}"
                raise ValueError(msg)
            continue
        finite = xp.isfinite(single)
        wrong = 0 if xp.all(finite) else int(xp.sum(xp.any(~finite, axis=1)))
        expect(not wrong, f"{name}: expected finite numbers, got {wrong} of {len(values)} rows with inf or NaN")
        if name != "context" and not xp.min(single[:, PT]) > 0.0:
            msg = f"{name}: expected pt above 0, got {int(xp.sum(single[:, PT] <= 0.0))} of {len(values)} jets without"
            raise ValueError(msg)
