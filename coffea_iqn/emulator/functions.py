"""What an emulator says of jets as functions: levels, quantiles, densities, efficiencies; without drawing anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from array_api_compat import numpy as xnp

from coffea_iqn.emulator.preprocessing import Variables, check_jets
from coffea_iqn.iqn.arrays import ArrayNetwork
from coffea_iqn.iqn.conditional import sigmoid
from coffea_iqn.iqn.network import N_TARGETS
from coffea_iqn.jets.features import MASS, MASSLESS, PT, SCALES

Columns = Any  # arrays of numpy, or tensors of torch
EDGE = 3e-5  # of a standardised target: so far beyond a bound single precision may carry a jet that lies at it


@dataclass(frozen=True, eq=False)
class Functions:
    """An emulator's networks and variables where the jets are: one formula for numpy's arrays and torch's tensors.

    Attributes
    ----------
    network, variables, acceptance, origin, ratio: as of `emulator.Emulator`, for arrays of this kind and precision.

    Arguments are as of the emulator's methods; thresholds are numbers [GeV].
    """

    network: Any
    variables: Variables
    acceptance: Any
    origin: Any
    ratio: Any

    @classmethod
    def of_arrays(cls, emulator: Any) -> Functions:
        """Those of an emulator whose network is exact, for arrays of numpy, in double precision."""
        networks = (emulator.network, emulator.acceptance, emulator.origin, emulator.ratio)
        quantiles, *others = (None if network is None else ArrayNetwork(network) for network in networks)
        return cls(quantiles, emulator.variables.on(xnp, np.float64, "cpu"), *others)

    def log_density(
        self,
        x: Columns,
        y: Columns,
        context: Columns | None = None,
        *,
        raw_pt_min: float | None = None,
        acceptance: bool = False,
    ) -> Columns:
        """As of `Emulator.log_density`, (N,); of tensors it can be differentiated by jets x and y.

        For that ask for double precision, `emulator.on("cpu", double=True)`: of tensors in single precision little
        is left of a derivative's digits where a density is steep.
        """
        check_jets(x, y, context, other_is="jets y")
        xp, threshold = array_namespace(x), self.variables.threshold(raw_pt_min)
        density = xp.sum(self.log_densities(x, y, context, threshold=threshold), axis=1)
        return density + xp.log(self.efficiency(x, context, threshold=threshold)) if acceptance else density

    def inputs(self, x: Columns, context: Columns | None) -> Columns:
        """What the quantile and the acceptance network see of jets x."""
        inputs = self.variables.network_inputs(x, context)
        return inputs if self.origin is None else self.origin.with_origin(inputs)

    def efficiency(self, x: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """P(a jet y is matched, above a threshold), (N,)."""
        return self.efficiency_of(x, self.inputs(x, context), threshold)

    def efficiency_of(self, x: Columns, inputs: Columns, threshold: float) -> Columns:
        """`efficiency`, from what the networks see of jets x."""
        if self.acceptance is None:
            return array_namespace(x).ones(len(x), dtype=inputs.dtype, device=device(x))
        v = self.variables
        p = sigmoid(self.acceptance(inputs)) * v.within_reach(x)
        if threshold > v.raw_pt_min:
            check_unrefined(self, "efficiency above a raw_pt_min")
            none = inputs[:, :0]
            asked, _ = v.bounds(0, none, x, threshold)
            below, _ = self.network.density(0, asked, inputs, none, v.bounds(0, none, x, v.raw_pt_min))
            p = p * (1.0 - below)
        return p

    def weights(self, x: Columns, y: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """What `Emulator.weights` gives of jets y drawn from above a threshold, (N,)."""
        z, _ = self.variables.encode_within(y[:, :N_TARGETS], x, threshold)
        return self.ratio.bound * self.share_of(x, self.inputs(x, context), z)

    def share_of(self, x: Columns, inputs: Columns, z: Columns) -> Columns:
        """The ratio of standardised targets as a fraction of its bound, at most 1, (N,), from what the networks see."""
        xp = array_namespace(inputs)
        log_ratio = self.ratio(xp.concat([inputs, self.variables.as_decoded(z, x)], axis=1))
        return xp.exp((log_ratio - math.log(self.ratio.bound)).clip(max=0.0))

    def median_pt(self, x: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """The median pt [GeV] of a jet y above a threshold, both before the scale, (N,)."""
        check_unrefined(self, "median pt")
        xp, v, inputs = array_namespace(x), self.variables, self.inputs(x, context)
        none, half = inputs[:, :0], xp.full_like(inputs[:, 0], 0.5)
        median = self.network.quantile(PT, half, inputs, none, v.bounds(PT, none, x, threshold))
        return v.raw_pt(median, x).clip(threshold)

    def quantiles(
        self, x: Columns, tau: Columns, y: Columns, context: Columns | None = None, *, threshold: float
    ) -> Columns:
        """What `Emulator.quantile` gives above a threshold, (N, 4)."""
        check_unrefined(self, "quantile")
        xp, v = array_namespace(x), self.variables
        inputs, (z, _) = self.inputs(x, context), v.encode_within(y, x, threshold)
        columns = []
        for k in range(z.shape[1]):
            q = self.network.quantile(k, tau[:, k], inputs, z[:, :k], v.bounds(k, z, x, threshold))
            one_changed = xp.concat([z[:, :k], q[:, None], z[:, k + 1 :]], axis=1)
            columns.append(v.decode(one_changed, x, raw_pt_min=threshold)[:, k])
        return xp.stack(columns, axis=1)

    def levels(self, x: Columns, y: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """What `Emulator.cdf` gives above a threshold, (N, 4)."""
        return self._of_targets(x, y, context, threshold)[0]

    def log_densities(self, x: Columns, y: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """The terms of `Emulator.log_density` above a threshold, (N, 4)."""
        xp, v = array_namespace(x), self.variables
        levels, of_targets = self._of_targets(x, y, context, threshold)
        x, y = xp.astype(x, xp.float64, copy=False), xp.astype(y, xp.float64, copy=False)
        scale = SCALES[v.scale]
        raw = scale.undo(y)
        terms = of_targets + v.log_slopes(raw, x)
        pt, mass = terms[:, PT] + scale.log_slope(y, raw), terms[:, MASS] + xp.log(raw[:, PT] / y[:, PT])
        if self.network.autoregressive:
            mass = at_atom(v, y[:, MASS], levels[:, MASS], of_targets[:, MASS], mass)
        else:  # of all that are drawn below zero there is no probability, and of zero alone no density
            mass = xp.where(y[:, MASS] <= 0.0, xp.full_like(mass, xp.nan), mass)
        return xp.concat([pt[:, None], terms[:, PT + 1 : MASS], mass[:, None]], axis=1)

    def _of_targets(self, x: Columns, y: Columns, context: Columns | None, threshold: float) -> tuple[Columns, Columns]:
        """Levels and log-densities of standardised targets, (N, 4) each."""
        check_unrefined(self, "density")
        v = self.variables
        inputs, (z, (least, most)) = self.inputs(x, context), v.encode_within(y, x, threshold)
        z = at_edges(z, least, most)
        both: tuple[Columns, Columns] = self.network.levels_and_log_densities(z, inputs, (least, most))
        return both


def check_unrefined(of: Any, what: str) -> None:
    """Raise NotImplementedError for what is known of the law of an emulator's network, if its draws are refined."""
    if of.ratio is not None:
        expected = "expected an emulator whose draws are not refined, for a refined law has no formula"
        msg = f"{what}: {expected}, got a refined one; Emulator.unrefined has it"
        raise NotImplementedError(msg)


def at_edges(z: Columns, least: Columns, most: Columns) -> Columns:
    """Standardised targets, those just beyond a bound brought to it: single precision rounds jets that lie there."""
    xp = array_namespace(z)
    z = xp.where(z > least - EDGE, xp.maximum(z, least), z)
    return xp.where(z < most + EDGE, xp.minimum(z, most), z)


def at_atom(v: Variables, mass: Columns, level: Columns, log_p: Columns, log_density: Columns) -> Columns:
    """The log-density of masses [GeV], (N,), or, where they are an atom, the logarithm of its probability.

    Parameters
    ----------
    v: the variables: an atom of their own has log_p; without one a mass below zero is drawn as zero, up to its level.
    mass, level, log_p, log_density: (N,) each.
    """
    xp = array_namespace(mass)
    if MASS in v.atoms["atoms"]:
        return xp.where(mass < MASSLESS, log_p, log_density)
    return xp.where(mass <= 0.0, xp.log(level), log_density)
