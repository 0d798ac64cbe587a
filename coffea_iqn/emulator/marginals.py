"""The law of one variable of a jet y, whatever the others are: an integral over the levels of those before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from coffea_iqn.emulator.functions import Functions, at_atom, at_edges
from coffea_iqn.emulator.preprocessing import check_jets
from coffea_iqn.iqn.conditional import Conditional
from coffea_iqn.iqn.device import BLOCK, ROWS, in_blocks
from coffea_iqn.iqn.network import BELOW_BOUND, N_TARGETS
from coffea_iqn.jets.features import ETA, MASS, MASSLESS, PHI, PT, SCALES, UNSCALED, VARIABLES, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Doubles, Floats
from coffea_iqn.numerics.lattice import lattice

AT_ONCE = 4 * BLOCK  # jets x times points
POINTS = {"pt": 8, "eta": 256, "phi": 256, "mass": 256}  # by default: pt hardly knows eta, in which its scale differs
TURNS = 3  # of an iteration that gains three digits each
STEP = 1e-5  # relative, of a derivative in double precision
STEPS = 100  # more than any root takes


@dataclass(frozen=True, eq=False)
class Marginal:
    """p(one variable of the jet y | jet x), of `Emulator.marginal`. Values are of that variable, (N,).

    Attributes
    ----------
    on: the functions of the emulator.
    variable: "pt", "eta", "phi" or "mass".
    points: of the lattice of levels of the variables before, over which the law given those is averaged.
    threshold: least pt [GeV] of a jet y, before the detector's scale, or 0.
    """

    on: Functions
    variable: str
    points: int
    threshold: float

    def log_density(
        self, x: Floats, values: Floats, context: Floats | None = None, *, acceptance: bool = False
    ) -> Doubles:
        """Log p(value | x), (N,), in 1/GeV or 1/rad; of a mass that is an atom the logarithm of its probability.

        With acceptance, of the efficiency times the density.
        """
        log_density = self._asked("values", x, values, context)[:, 1]
        if not acceptance:
            return log_density
        p = in_blocks(partial(self.on.efficiency, threshold=self.threshold), *doubles(x, context))
        with np.errstate(divide="ignore"):
            return np.asarray(log_density + np.log(p))

    def cdf(self, x: Floats, values: Floats, context: Floats | None = None) -> Doubles:
        """P(variable ≤ value | x), (N,); that of phi begins behind the jet x."""
        return self._asked("values", x, values, context)[:, 0]

    def quantile(self, x: Floats, tau: Floats, context: Floats | None = None) -> Doubles:
        """The inverse of `cdf` at levels tau in (0, 1), (N,): of an atom zero."""
        return self._asked("tau", x, tau, context)

    def _asked(self, name: str, x: Floats, given: Floats, context: Floats | None) -> Doubles:
        """What the laws of jets x say of values, or levels, (N,), some jets at a time.

        Raises
        ------
        ValueError: for other shapes, masks, and what is no jet, no value or no level.
        """
        given = np.asanyarray(given)
        if given.shape != (len(x),) or np.ma.isMaskedArray(given):
            got = "a masked array" if np.ma.isMaskedArray(given) else f"shape {given.shape}"
            msg = f"{name}: expected an array of one for each of {len(x)} jets x, got {got}"
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
    """Those that are not None, in double precision."""
    return [np.asarray(array, dtype=np.float64) for array in arrays if array is not None]


class _Laws(NamedTuple):
    """The laws of one variable of some jets x, each at every point of a lattice, a row each.

    Attributes
    ----------
    of_one: what is asked for.
    points: how many rows a jet x has.
    k: which variable.
    x, inputs: of the rows, (rows, 4) and (rows, n).
    u: levels of the variables before, (rows, k); where the scale makes pt depend on eta, those of eta.
    z: the standardised targets before, (rows, k).
    law: of the variable, given those.
    falls: whether the target falls where the variable rises, (rows,).
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
        points = 1 if k == PT and SCALES[v.scale] == UNSCALED else of_one.points  # then there is nothing before pt
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
        """Of one value of each jet x, (n, 2)."""
        v, values = self.of_one.on.variables, np.repeat(values, self.points)
        raw, log_slope = self._before_scale(values)
        z = v.encode_raw(raw, self.x)[:, self.k]
        assert self.law.bounds is not None
        least, most = self.law.bounds
        if self.law.atom is not None:
            z = np.where(values < MASSLESS, least - BELOW_BOUND, np.maximum(z, least))
        level, log_p = self.law.density(at_edges(z, least, most))
        log_density = log_p + v.log_slopes(raw, self.x)[:, self.k] + log_slope
        if self.k == MASS:
            log_density = at_atom(v, values, level, log_p, log_density)
        level = np.where(self.falls, 1.0 - level, level).reshape(-1, self.points)
        log_density = log_density.reshape(-1, self.points)
        greatest = np.maximum(log_density.max(axis=1), np.finfo(np.float64).min)
        with np.errstate(divide="ignore"):
            log_density = np.log(np.exp(log_density - greatest[:, np.newaxis]).mean(axis=1)) + greatest
        return np.stack([level.mean(axis=1), log_density], axis=1)

    def quantiles(self, tau: Doubles) -> Doubles:
        """At one level of each jet x, (n,): by Newton's method between the least and the greatest of the rows."""
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
        """Of the law of each row, as values of the variable; phi unwound from the jet x."""
        v = self.of_one.on.variables
        z = self.law.quantile(np.where(self.falls, 1.0 - tau, tau))[:, np.newaxis]
        z = self._with_eta(z) if self.k == PT else np.concatenate([self.z, z], axis=1)
        y = SCALES[v.scale].apply(self._raw(z))
        centre = self.x[:, PHI]
        return np.asarray(centre + wrap_phi(y[:, PHI] - centre) if self.k == PHI else y[:, self.k])

    def _raw(self, z: Doubles) -> Doubles:
        """Jets before the scale, with these first standardised targets, (rows, 4)."""
        rest = np.zeros((len(z), N_TARGETS - z.shape[1]))
        return np.asarray(self.of_one.on.variables.decode_raw(np.concatenate([z, rest], axis=1), self.x))

    def _with_eta(self, z: Doubles) -> Doubles:
        """The first standardised target, (rows, 1), and the second at its level."""
        on = self.of_one.on
        bounds = on.variables.bounds(ETA, z, self.x, self.of_one.threshold)
        eta = on.network.quantile(ETA, self.u[:, 0], self.inputs, z, bounds)
        return np.concatenate([z, eta[:, np.newaxis]], axis=1)

    def _before_scale(self, values: Doubles) -> tuple[Doubles, Doubles]:
        """Jets before the scale whose variable has these values, and log |∂ raw / ∂ value|, (rows, 4) and (rows,)."""
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
        """Jets of this pt after a scale that knows eta, whose law knows pt before it: both, by iteration."""
        v, raw = self.of_one.on.variables, np.where(np.arange(N_TARGETS) == PT, pt[:, np.newaxis], self.x)
        scale = SCALES[v.scale]
        for _ in range(0 if scale == UNSCALED else TURNS):
            z = v.encode_raw(scale.undo(raw), self.x)[:, :1]
            raw[:, ETA] = self._raw(self._with_eta(z))[:, ETA]
        return np.asarray(scale.undo(raw))
