"""Functions of an emulator other than drawing: levels, quantiles, densities, efficiencies, weights."""

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
LEAST_MASS = 1.000001 * MASSLESS  # GeV, not massless despite rounding
EDGE = 3e-5  # how far rounding to single precision may carry a standardised target beyond its bound


@dataclass(frozen=True, eq=False)
class Functions:
    """An emulator's networks and variables for one kind of arrays, numpy or torch, with the same formulas for both.

    Attributes
    ----------
    network, variables, acceptance, origin, ratio: see `emulator.Emulator`, for arrays of this kind and precision.

    Arguments are the same as in the emulator's methods; thresholds are numbers [GeV].
    """

    network: Any
    variables: Variables
    acceptance: Any
    origin: Any
    ratio: Any

    @classmethod
    def of_arrays(cls, emulator: Any) -> Functions:
        """Return the functions of an emulator with an exact network, for numpy arrays in double precision."""
        networks = {name: network and ArrayNetwork(network) for name, network in emulator.networks.items()}
        return cls(variables=emulator.variables.on(xnp, np.float64, "cpu"), **networks)

    def log_density(
        self,
        x: Columns,
        y: Columns,
        context: Columns | None = None,
        *,
        raw_pt_min: float | None = None,
        acceptance: bool = False,
    ) -> Columns:
        """Same as `Emulator.log_density`, (N,); for tensors it is differentiable with respect to jets x and y.

        Derivatives need double precision, `emulator.on("cpu", double=True)`: in single precision they lose most of
        their digits where the density is steep.
        """
        check_jets(x, y, context, other_is="jets y")
        xp, threshold = array_namespace(x), self.variables.threshold(raw_pt_min)
        density = xp.sum(self.log_densities(x, y, context, threshold=threshold), axis=1)
        return density + xp.log(self.efficiency(x, context, threshold=threshold)) if acceptance else density

    def inputs(self, x: Columns, context: Columns | None) -> Columns:
        """Return the inputs of the quantile and acceptance networks for jets x."""
        inputs = self.variables.network_inputs(x, context)
        return inputs if self.origin is None else self.origin.with_origin(inputs)

    def efficiency(self, x: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """Return P(a jet y above the threshold is matched to the jet x), (N,)."""
        return self.efficiency_of(x, self.inputs(x, context), threshold)

    def efficiency_of(self, x: Columns, inputs: Columns, threshold: float) -> Columns:
        """Same as `efficiency`, given the network inputs of jets x."""
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
        """Same as `Emulator.weights` for jets y drawn above a threshold, (N,)."""
        z, _ = self.variables.encode_within(y[:, :N_TARGETS], x, threshold)
        return self.ratio.bound * self.share_of(x, self.inputs(x, context), z)

    def share_of(self, x: Columns, inputs: Columns, z: Columns) -> Columns:
        """Return the density ratio over its bound, at most 1, (N,), given network inputs and standardised targets."""
        xp = array_namespace(inputs)
        log_ratio = self.ratio(xp.concat([inputs, self.variables.as_decoded(z, x)], axis=1))
        return xp.exp((log_ratio - math.log(self.ratio.bound)).clip(max=0.0))

    def median_pt(self, x: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """Return the median pt [GeV] of jets y above a threshold, both before the scale, (N,)."""
        check_unrefined(self, "median pt")
        xp, v, inputs = array_namespace(x), self.variables, self.inputs(x, context)
        none, half = inputs[:, :0], xp.full_like(inputs[:, 0], 0.5)
        median = self.network.quantile(PT, half, inputs, none, v.bounds(PT, none, x, threshold))
        return v.raw_pt(median, x).clip(threshold)

    def quantiles(
        self, x: Columns, tau: Columns, y: Columns, context: Columns | None = None, *, threshold: float
    ) -> Columns:
        """Same as `Emulator.quantile` above a threshold, (N, 4)."""
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
        """Same as `Emulator.cdf` above a threshold, (N, 4)."""
        return self._of_targets(x, y, context, threshold)[0]

    def log_densities(self, x: Columns, y: Columns, context: Columns | None = None, *, threshold: float) -> Columns:
        """Return the terms of `Emulator.log_density` above a threshold, (N, 4)."""
        xp, v = array_namespace(x), self.variables
        levels, of_targets = self._of_targets(x, y, context, threshold)
        x, y = xp.astype(x, xp.float64, copy=False), xp.astype(y, xp.float64, copy=False)
        scale = SCALES[v.scale]
        raw = scale.undo(y)
        terms = of_targets + v.log_slopes(raw, x)
        pt, mass = terms[:, PT] + scale.log_slope(y, raw), terms[:, MASS] + xp.log(raw[:, PT] / y[:, PT])
        if self.network.autoregressive:
            mass = at_atom(v, y[:, MASS], levels[:, MASS], mass)
        else:  # masses drawn below zero become zero; such a member does not give the probability of that
            mass = xp.where(y[:, MASS] <= 0.0, xp.full_like(mass, xp.nan), mass)
        return xp.concat([pt[:, None], terms[:, PT + 1 : MASS], mass[:, None]], axis=1)

    def _of_targets(self, x: Columns, y: Columns, context: Columns | None, threshold: float) -> tuple[Columns, Columns]:
        """Return levels and log-densities of standardised targets, (N, 4) each."""
        check_unrefined(self, "density")
        xp, v = array_namespace(x), self.variables
        if MASS in v.atoms["atoms"]:  # what is drawn between zero and this mass counts as massless, too
            mass = y[:, MASS].clip(LEAST_MASS)
            y = xp.concat([y[:, :MASS], mass[:, None], y[:, MASS + 1 :]], axis=1)
        inputs, (z, (least, most)) = self.inputs(x, context), v.encode_within(y, x, threshold)
        z = at_edges(z, least, most)
        both: tuple[Columns, Columns] = self.network.levels_and_log_densities(z, inputs, (least, most))
        return both


def check_unrefined(of: Any, what: str) -> None:
    """Raise NotImplementedError if the draws of an emulator are refined; what names the function not available then."""
    if of.ratio is not None:
        expected = "expected an emulator whose draws are not refined, since a refined law has no formula"
        msg = f"{what}: {expected}, got a refined one: use Emulator.unrefined"
        raise NotImplementedError(msg)


def at_edges(z: Columns, least: Columns, most: Columns) -> Columns:
    """Move standardised targets that lie beyond a bound by no more than rounding onto the bound."""
    xp = array_namespace(z)
    z = xp.where(z > least - EDGE, xp.maximum(z, least), z)
    return xp.where(z < most + EDGE, xp.minimum(z, most), z)


def at_atom(v: Variables, mass: Columns, level: Columns, log_density: Columns) -> Columns:
    """Return the log-density of masses [GeV], (N,), or at the atom the logarithm of its probability, the level.

    Parameters
    ----------
    v: the variables. If they have an atom of the mass, it is the masses below `MASSLESS`; otherwise masses drawn below
        zero become zero.
    mass, level, log_density: (N,) each; level is that of `MASSLESS`, or of zero, for masses in the atom.
    """
    xp = array_namespace(mass)
    massless = mass < MASSLESS if MASS in v.atoms["atoms"] else mass <= 0.0
    return xp.where(massless, xp.log(level), log_density)
