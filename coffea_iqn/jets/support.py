"""Kinematic bounds of a matched reco jet, exact or with a margin; draws and densities are confined to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coffea_iqn.jets.features import ETA, MASS, PHI, PT, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Floats

LEAST_PT = 1e-3  # GeV, below the pt of any jet, with a finite logarithm
# margin beyond the extremes of training: relative to the range for the pt target, otherwise to the value
HEADROOM = 0.03
# greatest pt: `PT_SLOPE` times that of the gen jet plus an offset, from the training sample and at least this [GeV],
# which a fraction of its jets exceed: those next to a harder gen jet. Without it, the extrapolated tails of soft jets,
# which are a million times more frequent, would make most jets of high pt
PT_SLOPE, LEAST_OFFSET, BEYOND = 2.0, 30.0, 5e-5
UNBOUNDED = 1e6  # slope in older bundles, which have no such bound
ANY_ENERGY = 1e6  # GeV, bound of energies if that of the beams is not known
ROUNDING = 1e-5  # relative amount by which bounds are narrowed, so that rounding cannot move a jet across


class Support(NamedTuple):
    """The bounds of a reco jet given its gen jet.

    Attributes
    ----------
    cone: greatest ΔR to the gen jet, the matching distance.
    abs_eta_max: greatest |eta|, the edge of the detector.
    energy_max: greatest energy [GeV], that of a beam.
    mass_over_pt_max: greatest mass over pt, limited by the jet radius.
    pt_target: least and greatest standardised first target; with compressed targets, this is a response in units of
        its typical size at the given gen pt, |eta| and mass.
    pt_offset, pt_slope: offset [GeV] and slope of the greatest pt before the detector's scale, linear in the gen pt.
    """

    cone: float
    abs_eta_max: float
    energy_max: float
    mass_over_pt_max: float
    pt_target: tuple[float, float]
    pt_offset: float = LEAST_OFFSET
    pt_slope: float = UNBOUNDED

    @classmethod
    def of(
        cls,
        gen: Floats,
        raw: Floats,
        reco: Floats,
        pt_target: Floats,
        *,
        cone: float | None = None,
        abs_eta_max: float | None = None,
        energy_max: float | None = None,
    ) -> Support:
        """Return the support of a training sample.

        Parameters
        ----------
        gen, raw, reco: gen jets (N, 4) and their reco jets before and after the detector's jet energy scale.
        pt_target: their standardised first targets, (N,).
        cone, abs_eta_max, energy_max: known bounds; without them, cone and |eta| are bounded by the greatest value in
            the sample plus a margin, and energies are not: the hardest jet of a sample says little about the beam.
        """
        low, high = float(pt_target.min()), float(pt_target.max())
        margin, more = HEADROOM * (high - low), 1.0 + HEADROOM
        offset = float(np.quantile(raw[:, PT] - PT_SLOPE * gen[:, PT], 1.0 - BEYOND))
        return cls(
            cone=more * float(distances(gen, reco).max()) if cone is None else cone,
            abs_eta_max=more * float(np.abs(reco[:, ETA]).max()) if abs_eta_max is None else abs_eta_max,
            energy_max=ANY_ENERGY if energy_max is None else energy_max,
            mass_over_pt_max=more * float((raw[:, MASS] / raw[:, PT]).max()),
            pt_target=(low - margin, high + margin),
            pt_offset=max(more * offset, LEAST_OFFSET),
            pt_slope=PT_SLOPE,
        )

    def holds(self, gen: Floats, reco: Floats) -> Bools:
        """Return which reco jets (N, 4) of gen jets (N, 4) satisfy the bounds on ΔR, |eta| and energy, (N,)."""
        inside = (distances(gen, reco) < self.cone) & (np.abs(reco[:, ETA]) < self.abs_eta_max)
        return np.asarray(inside & (energies(reco) < self.energy_max))

    def drawn_in(self) -> Support:
        """Return slightly narrower bounds to draw from, so that rounding cannot exceed the actual ones."""
        less = 1.0 - ROUNDING
        return self._replace(
            cone=less * self.cone,
            abs_eta_max=less * self.abs_eta_max,
            energy_max=(1.0 - 10.0 * ROUNDING) * self.energy_max,  # rounding errors of all variables contribute
            mass_over_pt_max=less * self.mass_over_pt_max,
            pt_offset=less * self.pt_offset,
            pt_slope=less * self.pt_slope,
        )


def distances(gen: Floats, reco: Floats) -> Floats:
    """Return ΔR between reco jets (N, 4) and gen jets (N, 4), (N,)."""
    return np.asarray(np.hypot(reco[:, ETA] - gen[:, ETA], wrap_phi(reco[:, PHI] - gen[:, PHI])))


def energies(jets: Floats) -> Floats:
    """Return the energies [GeV] of jets (N, 4), (N,)."""
    return np.asarray(np.hypot(jets[:, PT] * np.cosh(jets[:, ETA]), jets[:, MASS]))
