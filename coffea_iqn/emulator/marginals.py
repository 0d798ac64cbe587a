"""Marginal law of one variable of a jet y: its conditional law, averaged over the levels of the variables before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from coffea_iqn.emulator.functions import LEAST_MASS, Functions, at_atom, at_edges
from coffea_iqn.emulator.preprocessing import check_jets
from coffea_iqn.iqn.conditional import Conditional
from coffea_iqn.iqn.device import BLOCK, ROWS, in_blocks
from coffea_iqn.iqn.network import N_TARGETS
from coffea_iqn.jets.features import ETA, MASS, PHI, PT, SCALES, UNSCALED, VARIABLES, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats
from coffea_iqn.numerics.lattice import lattice

AT_ONCE = 4 * BLOCK  # rows (jets x times points) at a time
POINTS = {"pt": 8, "eta": 256, "phi": 256, "mass": 256}  # defaults; pt depends on eta only weakly, through its scale
TURNS = 3  # iterations that each gain three digits
STEP = 1e-5  # relative step of a numerical derivative in double precision
STEPS = 100  # maximum of Newton steps, more than any root takes


@dataclass(frozen=True, eq=False)
class Marginal:
    """p(one variable of the jet y | jet x), from `Emulator.marginal`; values of the variable have shape (N,).

    Attributes
    ----------
    on: the functions of the emulator.
    variable: "pt", "eta", "phi" or "mass".
    points: number of lattice points in the levels of the variables before, over which the conditional law is averaged.
    threshold: minimum pt [GeV] of a jet y, before the detector's scale, or 0.
    """

    on: Functions
    variable: str
    points: int
    threshold: float

    def log_density(
        self, x: Floats, values: Floats, context: Floats | None = None, *, acceptance: bool = False
    ) -> Doubles:
        """Return log p(value | x), (N,), in 1/GeV or 1/rad; at an atom of the mass, the logarithm of its probability.

        With acceptance, the density is multiplied by the efficiency.
        """
        log_density = self._asked("values", x, values, context)[:, 1]
        if not acceptance:
            return log_density
        p = in_blocks(partial(self.on.efficiency, threshold=self.threshold), *doubles(x, context))
        with np.errstate(divide="ignore"):
            return np.asarray(log_density + np.log(p))

    def cdf(self, x: Floats, values: Floats, context: Floats | None = None) -> Doubles:
        """Return P(variable ≤ value | x), (N,); for phi, counted from the direction opposite to the jet x."""
        return self._asked("values", x, values, context)[:, 0]

    def quantile(self, x: Floats, tau: Floats, context: Floats | None = None) -> Doubles:
        """Return the inverse of `cdf` at levels tau in (0, 1), (N,); zero within the atom of the mass."""
        return self._asked("tau", x, tau, context)

    def _asked(self, name: str, x: Floats, given: Floats, context: Floats | None) -> Doubles:
        """Return levels and log-densities of values, or quantiles at levels tau, (N,); computed in blocks of jets x.

        Raises
        ------
        ValueError: for wrong shapes, masks, and invalid jets, values or levels.
        """
        given = np.asanyarray(given)
        if given.shape != (len(x),) or np.ma.isMaskedArray(given):
            got = "a masked array" if np.ma.isMaskedArray(given) else f"shape {given.shape}"
            msg = f"{name}: expected an array with one number for each of {len(x)} jets x, got {got}"
            raise ValueError(msg)
        if name == "tau":
            check_jets(x, given[:, np.newaxis], context, other_is=name, widths=(1,))
        else:
            jets = np.array(x, dtype=np.float64)
            jets[:, VARIABLES.index(self.variable)] = given
            check_jets(x, jets, context, other_is=name)

        def answer(given: Doubles, x: Doubles, context: Doubles | None = None) -> Doubles:
            laws = _Laws.of(self, x, context)
            return laws.quantiles(given) if name == "tau" else laws.levels_and_log_densities(given)

        rows = max(AT_ONCE // self.points // ROWS, 1) * ROWS
        return np.asarray(in_blocks(answer, *doubles(given, x, context), rows=rows))


def doubles(*arrays: Floats | None) -> list[Doubles]:
    """Convert the arrays that are not None to double precision."""
    return [np.asarray(array, dtype=np.float64) for array in arrays if array is not None]


class _Laws(NamedTuple):
    """Conditional laws of one variable for some jets x, with one row for each jet x and lattice point.

    Attributes
    ----------
    of_one: the marginal to compute.
    points: number of rows per jet x.
    k: index of the variable.
    x, inputs: jets x and network inputs of the rows, (rows, 4) and (rows, n).
    u: levels of the variables before, (rows, k); for pt, if its scale depends on eta, levels of eta, (rows, 1).
    z: standardised targets before the variable, (rows, k).
    law: law of the variable given those.
    falls: whether the target falls when the variable rises, (rows,).
    """

    of_one: Marginal
    points: int
    k: int
    x: Doubles
    inputs: Doubles
    u: Doubles
    z: Doubles
    law: Conditional
    falls: Bools

    @classmethod
    def of(cls, of_one: Marginal, x: Doubles, context: Doubles | None) -> _Laws:
        on, v, k = of_one.on, of_one.on.variables, VARIABLES.index(of_one.variable)
        points = 1 if k == PT and SCALES[v.scale] == UNSCALED else of_one.points  # pt alone needs no lattice
        u = np.tile(lattice(points, max(k, 1)), (len(x), 1))
        inputs = np.repeat(on.inputs(x, context), points, axis=0)
        x = np.repeat(x, points, axis=0)
        z = inputs[:, :0]
        for i in range(k):
            drawn = on.network.quantile(i, u[:, i], inputs, z, v.bounds(i, z, x, of_one.threshold))
            z = np.concatenate([z, drawn[:, np.newaxis]], axis=1)
        law = on.network.conditional(k, inputs, z, v.bounds(k, z, x, of_one.threshold))
        beside = x + 0.01 * (np.arange(N_TARGETS) == ETA)
        falls = (v.encode_raw(beside, x) < v.encode_raw(x, x))[:, k]
        return cls(of_one, points, k, x, inputs, u, z, law, falls & (k == ETA))

    def levels_and_log_densities(self, values: Doubles) -> Doubles:
        """Return level and log-density at one value for each jet x, (n, 2)."""
        v, values = self.of_one.on.variables, np.repeat(values, self.points)
        has_atom = self.law.atom is not None
        raw, log_slope = self._before_scale(values.clip(LEAST_MASS) if has_atom else values)
        z = v.encode_raw(raw, self.x)[:, self.k]
        assert self.law.bounds is not None
        least, most = self.law.bounds
        z = np.maximum(z, least) if has_atom else z
        level, log_p = self.law.density(at_edges(z, least, most))
        log_density = log_p + v.log_slopes(raw, self.x)[:, self.k] + log_slope
        if self.k == MASS:
            log_density = at_atom(v, values, level, log_density)
        level = np.where(self.falls, 1.0 - level, level).reshape(-1, self.points)
        log_density = log_density.reshape(-1, self.points)
        greatest = np.maximum(log_density.max(axis=1), np.finfo(np.float64).min)
        with np.errstate(divide="ignore"):
            log_density = np.log(np.exp(log_density - greatest[:, np.newaxis]).mean(axis=1)) + greatest
        return np.stack([level.mean(axis=1), log_density], axis=1)

    def quantiles(self, tau: Doubles) -> Doubles:
        """Return quantiles at one level for each jet x, (n,), by Newton's method between the extremes of its rows."""
        of_rows = self._quantiles_of_rows(np.repeat(tau, self.points)).reshape(-1, self.points)
        low, high = of_rows.min(axis=1), of_rows.max(axis=1)
        least = np.zeros(len(tau))
        is_zero = self.levels_and_log_densities(least)[:, 0] >= tau if self.k == MASS else least > 0.0
        at = 0.5 * (low + high)
        for _ in range(STEPS):
            level, log_density = self.levels_and_log_densities(at).T
            below = level < tau
            low, high = np.where(below, at, low), np.where(below, high, at)
            with np.errstate(over="ignore", invalid="ignore"):
                step = at - (level - tau) * np.exp(-log_density)
            step = np.where((low < step) & (step < high), step, 0.5 * (low + high))
            done = np.abs(step - at).max() < 1e-13 * (1.0 + np.abs(at).max())
            at = step
            if done:
                break
        return np.where(is_zero, 0.0, wrap_phi(at) if self.k == PHI else at)

    def _quantiles_of_rows(self, tau: Doubles) -> Doubles:
        """Return the quantile of each row's law as a value of the variable; phi within π of the jet x, not wrapped."""
        v = self.of_one.on.variables
        z = self.law.quantile(np.where(self.falls, 1.0 - tau, tau))[:, np.newaxis]
        z = self._with_eta(z) if self.k == PT else np.concatenate([self.z, z], axis=1)
        y = SCALES[v.scale].apply(self._raw(z))
        centre = self.x[:, PHI]
        return np.asarray(centre + wrap_phi(y[:, PHI] - centre) if self.k == PHI else y[:, self.k])

    def _raw(self, z: Doubles) -> Doubles:
        """Decode jets before the scale, (rows, 4), from their first standardised targets; the others are zero."""
        rest = np.zeros((len(z), N_TARGETS - z.shape[1]))
        return np.asarray(self.of_one.on.variables.decode_raw(np.concatenate([z, rest], axis=1), self.x))

    def _with_eta(self, z: Doubles) -> Doubles:
        """Append the standardised target of eta at its levels `u` to that of pt, (rows, 1)."""
        on = self.of_one.on
        bounds = on.variables.bounds(ETA, z, self.x, self.of_one.threshold)
        eta = on.network.quantile(ETA, self.u[:, 0], self.inputs, z, bounds)
        return np.concatenate([z, eta[:, np.newaxis]], axis=1)

    def _before_scale(self, values: Doubles) -> tuple[Doubles, Doubles]:
        """Return jets before the scale with these values of the variable, (rows, 4), and log |∂raw/∂value|, (rows,)."""
        scale = SCALES[self.of_one.on.variables.scale]
        if self.k == PT:
            raw = self._raw_of_pt(values)
            if scale == UNSCALED:
                return raw, np.zeros(len(values))
            ends = [self._raw_of_pt((1.0 + step) * values)[:, PT] for step in (-STEP, STEP)]
            return raw, np.log((ends[1] - ends[0]) / (2.0 * STEP * values))
        raw = self._raw(self.z)
        factor = scale.factor(raw) if self.k == MASS else np.ones(len(raw))
        raw[:, self.k] = values / factor
        return raw, -np.log(factor)

    def _raw_of_pt(self, pt: Doubles) -> Doubles:
        """Find jets before the scale that have this pt after it, iterating since scale depends on eta and eta on pt."""
        v, raw = self.of_one.on.variables, np.where(np.arange(N_TARGETS) == PT, pt[:, np.newaxis], self.x)
        scale = SCALES[v.scale]
        for _ in range(0 if scale == UNSCALED else TURNS):
            z = v.encode_raw(scale.undo(raw), self.x)[:, :1]
            raw[:, ETA] = self._raw(self._with_eta(z))[:, ETA]
        return np.asarray(scale.undo(raw))
