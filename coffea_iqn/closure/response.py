"""Jet response: scale, resolution, tails, and correlations of the four variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from coffea_iqn.closure.estimates import (
    CELLS,
    Cells,
    Estimate,
    OfCells,
    TooFewJetsError,
    around,
    check_enough,
    each_cell,
    estimate_of_square,
    in_cells,
    rms_beyond,
)
from coffea_iqn.jets.features import ETA, MASS, MASS_OFFSET, PHI, PT, VARIABLES, wrap_phi
from coffea_iqn.numerics.arrays import Bools, Floats, Ints
from coffea_iqn.ranges import expect

MASS_ROUNDING = 1e-4  # GeV, below which a mass, of either sign, is what rounding left of a jet of one massless particle
LEAST_MASS = 1.0  # GeV: the mass response of lighter gen jets is not meaningful
ONE_SIGMA = 0.6827
TAIL_WIDTHS = (3.0, 5.0, 8.0)
MIN_IN_CELL = 500


def responses(gen: Floats, reco: Floats) -> Floats:
    """Return pt'/pt, Δη away from η = 0, Δφ [rad] and m'/m, (N, 4); m'/m is NaN for gen masses below 1 GeV."""
    mass = np.where(gen[:, MASS] > LEAST_MASS, gen[:, MASS], np.nan)
    return np.stack([reco[:, PT] / gen[:, PT], *_angles(gen, reco), reco[:, MASS] / mass], axis=1).astype(np.float64)


def residuals(gen: Floats, reco: Floats) -> Floats:
    """Return log pt'/pt, Δη away from η = 0, Δφ [rad] and log((m' + 2)/(m + 2)), (N, 4)."""
    log_m, log_gen_m = (np.log(np.maximum(jets[:, MASS], 0.0) + MASS_OFFSET) for jets in (reco, gen))
    columns = [np.log(reco[:, PT] / gen[:, PT]), *_angles(gen, reco), log_m - log_gen_m]
    return np.stack(columns, axis=1).astype(np.float64)


def _angles(gen: Floats, reco: Floats) -> tuple[Floats, Floats]:
    outwards = np.where(gen[:, ETA] < 0.0, -1.0, 1.0)
    return (reco[:, ETA] - gen[:, ETA]) * outwards, wrap_phi(reco[:, PHI].astype(np.float64) - gen[:, PHI])


def median_and_width(values: Floats) -> Floats:
    """Return the median, its uncertainty, half the central 68 % width and its uncertainty, (4,); NaNs are ignored.

    For the uncertainties see `median_and_width_from`.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return np.full(4, np.nan)
    return median_and_width_from(lambda level: np.quantile(values, level), len(values))


def median_and_width_from(quantiles: Callable[[Floats], Floats], n: float) -> Floats:
    """Return the same as `median_and_width` for a sample given by its quantile function.

    Parameters
    ----------
    quantiles: function that returns the quantiles at levels of any shape.
    n: number of entries; the effective number for weighted entries.

    The uncertainty of a quantile is half the distance between the quantiles one binomial standard deviation below and
    above it; the correlation of the two ends of the width is that of a large sample.
    """
    tail = (1.0 - ONE_SIGMA) / 2.0
    level = np.array([tail, 0.5, 1.0 - tail])
    step = np.sqrt(level * (1.0 - level) / n)
    at = quantiles(np.clip(np.stack([level, level - step, level + step]), 0.0, 1.0))
    errors = (at[2] - at[1]) / 2.0
    together = tail / (1.0 - tail)
    variance = errors[0] ** 2 + errors[2] ** 2 - 2.0 * together * errors[0] * errors[2]
    return np.array([at[0, 1], errors[1], (at[0, 2] - at[0, 0]) / 2.0, np.sqrt(variance) / 2.0])


def response_in_cells(
    emulated: Floats, real: Floats, gen: Floats, *, cells: Cells = CELLS, min_jets: int = MIN_IN_CELL
) -> OfCells:
    """Return `median_and_width` of each variable, emulated and real, in cells of gen pt and |eta|.

    Parameters
    ----------
    emulated, real: `responses` to the gen jets, (N, 4).
    gen: gen jets (N, 4).

    Returns
    -------
    values (P, E, 4 variables, 2, 4): for emulated and real jets the median, its error, the width, and its error.
    """

    def figure(inside: Bools) -> Floats:
        columns = zip(emulated[inside].T, real[inside].T, strict=True)
        return np.array([[median_and_width(side) for side in sides] for sides in columns])

    return in_cells(figure, gen, cells, min_jets)


def scale_deviation(found: OfCells, variable: int) -> Estimate:
    """RMS over cells of the difference between emulated and real medians, beyond statistics.

    The difference is relative for pt and mass, and in units of the width for the angles.
    """
    (drawn, drawn_error, _, _), (median, error, width, _) = np.moveaxis(found.values[:, :, variable], (2, 3), (0, 1))
    unit = median if variable in {PT, MASS} else width
    return rms_beyond((drawn - median) / unit, np.hypot(drawn_error, error) / unit)


def scale_around(emulated: Floats, real: Floats, gen: Floats, *, min_jets: int = MIN_IN_CELL) -> Estimate:
    """RMS over regions `around` of the relative difference between medians of pt'/pt, beyond statistics.

    Parameters
    ----------
    emulated, real, gen: see `response_in_cells`.
    min_jets: least number of jets in a region; others are ignored.

    Raises
    ------
    TooFewJetsError: when no region has enough jets.
    """
    region = around(gen)
    rows = [np.flatnonzero(region == one) for one in np.flatnonzero(np.bincount(region) >= min_jets)]
    medians = [[median_and_width(side[inside, PT])[:2] for side in (emulated, real)] for inside in rows]
    values, errors = np.moveaxis(np.reshape(medians, (-1, 2, 2)), 2, 0)
    return rms_beyond(values[:, 0] / values[:, 1] - 1.0, np.hypot(*errors.T) / values[:, 1])


def resolution_deviation(found: OfCells, variable: int) -> Estimate:
    """RMS over cells of the relative difference between emulated and real widths, beyond statistics."""
    (_, _, drawn, drawn_error), (_, _, width, error) = np.moveaxis(found.values[:, :, variable], (2, 3), (0, 1))
    ratio = drawn / width
    return rms_beyond(ratio - 1.0, ratio * np.hypot(drawn_error / drawn, error / width))


def smearing(found: OfCells, variable: int) -> Estimate:
    """Quadratic difference of the emulated and the real resolution: √|⟨σ'² − σ²⟩|, with weights 1 / variance.

    This is the constant smearing that the narrower of the two needs to become as wide as the other; relative to the
    resolution, it matters most where the resolution is best.

    Raises
    ------
    TooFewJetsError: when no cell had enough jets.
    """
    (_, _, drawn, drawn_error), (_, _, width, error) = np.moveaxis(found.values[:, :, variable], (2, 3), (0, 1))
    variance = 4.0 * ((drawn * drawn_error) ** 2 + (width * error) ** 2)
    there = variance > 0.0  # not where NaN
    expect(there.any(), "resolution: expected a cell with enough jets, got none", TooFewJetsError)
    weight = 1.0 / variance[there]
    square = float(np.sum(weight * (drawn**2 - width**2)[there]) / weight.sum())
    return estimate_of_square(abs(square), float(weight.sum() ** -0.5))


class Tails(NamedTuple):
    """Numbers of jets far from the median of their cell, in half central 68 % widths of the real jets.

    Attributes
    ----------
    z: distances from the median, emulated and real, (2, N, 4), for jets in cells with enough jets.
    widths: distances beyond which jets are counted, (W,).
    counts: numbers of jets, emulated and real, below and above, (2, 4 variables, 2 sides, W).
    """

    z: Floats
    widths: tuple[float, ...]
    counts: Ints

    @property
    def worst(self) -> Estimate:
        """|emulated / real − 1| of the tail in which it most exceeds twice its uncertainty.

        Only tails with at least 100 real jets are considered.

        Raises
        ------
        TooFewJetsError: when no tail has 100 real jets.
        """
        emulated, real = self.counts.reshape(2, -1).astype(np.float64)
        enough = real >= 100
        expect(enough.any(), f"tails: expected one with 100 jets, got at most {int(real.max())}", TooFewJetsError)
        ratio = emulated[enough] / real[enough]
        error = np.sqrt(ratio**2 / real[enough] + np.maximum(emulated[enough], 1.0) / real[enough] ** 2)
        worst = int(np.argmax(np.abs(ratio - 1.0) - 2.0 * error))
        return Estimate(float(abs(ratio[worst] - 1.0)), float(error[worst]))


def tails(emulated: Floats, real: Floats, gen: Floats, *, cells: Cells = CELLS, min_jets: int = MIN_IN_CELL) -> Tails:
    """Count the jets in the tails of `residuals` (N, 4), with medians and widths from the real jets of each cell.

    Raises
    ------
    TooFewJetsError: when no cell has enough jets.
    """
    parts = []
    for _, _, inside in each_cell(gen, cells):
        if inside.sum() >= min_jets:
            median, _, width, _ = np.array([median_and_width(column) for column in real[inside].T]).T
            parts.append((np.stack([emulated[inside], real[inside]]) - median) / width)
    expect(parts, f"tails: expected a cell with {min_jets} jets, got none", TooFewJetsError)
    z = np.concatenate(parts, axis=1)
    counts = [[(z < -w).sum(axis=1), (z > w).sum(axis=1)] for w in TAIL_WIDTHS]  # (W, sides, 2, 4)
    return Tails(z, TAIL_WIDTHS, np.moveaxis(np.array(counts), (2, 3, 1, 0), (0, 1, 2, 3)))


class MedianRow(NamedTuple):
    """Distance of the real jets from the predicted medians, and from the gen jets.

    Attributes
    ----------
    predicted, gen: mean and spread of |predicted median − real| and of |gen − real|, in GeV or rad.
    """

    predicted: tuple[float, float]
    gen: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Mean distance of the predicted median over that of the gen jet: below 1 if the median is closer."""
        return self.predicted[0] / self.gen[0]


def median_table(median: Floats, gen: Floats, real: Floats) -> list[MedianRow]:
    """Return the distances of real jets from predicted medians and from gen jets, for each of pt, eta, phi and mass.

    Parameters
    ----------
    median: reco jets (N, 4) drawn at level 1/2 for every target; they do not depend on the real jets.
    gen, real: gen and real jets, (N, 4).
    """
    rows = []
    for k in range(len(VARIABLES)):
        sides = []
        for guess in (median, gen):
            distance = guess[:, k].astype(np.float64) - real[:, k]
            distance = np.abs(wrap_phi(distance) if k == PHI else distance)
            sides.append((float(distance.mean()), float(distance.std())))
        rows.append(MedianRow(*sides))
    return rows


class Correlations(NamedTuple):
    """Rank correlations of the four residuals, emulated and real, (4, 4) each, and their statistical uncertainty."""

    emulated: Floats
    real: Floats
    uncertainty: float

    @property
    def worst(self) -> Estimate:
        """The greatest absolute difference of an element, with its uncertainty."""
        difference = float(np.abs(self.emulated - self.real).max())
        return Estimate(difference, self.uncertainty * float(np.sqrt(2.0)))


def correlations(emulated: Floats, real: Floats) -> Correlations:
    """Spearman's rank correlations of `residuals` (N, 4).

    Raises
    ------
    TooFewJetsError: for fewer than `estimates.MIN_JETS` jets.
    """
    check_enough("correlations", len(real))
    rank = scipy.stats.spearmanr
    return Correlations(rank(emulated).statistic, rank(real).statistic, len(real) ** -0.5)


class Profile(NamedTuple):
    """The mass response in bins of the pt response.

    Attributes
    ----------
    edges: of the pt response, (B + 1,).
    emulated, real: median, error, half width, error of the mass response, (B, 4).
    """

    edges: Floats
    emulated: Floats
    real: Floats


def profile(emulated: Floats, real: Floats, *, bins: int = 12, min_jets: int = 100) -> Profile:
    """Return the mass response as a function of the pt response, from `responses` (N, 4) of emulated and real jets.

    Bins contain equal numbers of real jets, except for the first and the last, which contain a fifth as many.

    Raises
    ------
    TooFewJetsError: when the bins would contain fewer than min_jets jets.
    """
    check_enough("profile", len(real), 5 * min_jets * bins)
    level = np.concatenate([[0.0005], np.linspace(0.2, bins - 1.2, bins - 1) / (bins - 1), [0.9995]])
    edges = np.quantile(real[:, PT], level)
    sides = []
    for side in (emulated, real):
        place = np.digitize(side[:, PT], edges) - 1
        sides.append(np.array([median_and_width(side[place == k, MASS]) for k in range(bins)]))
    return Profile(edges, *sides)
