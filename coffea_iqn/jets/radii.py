"""Checks of the jet radius from the name of the collection, the widths of jets, and the distances between neighbours.

Anti-kt jets of radius R are hardly ever closer to each other than R, and some are only slightly farther apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from coffea_iqn.jets.context import nearest_distance
from coffea_iqn.numerics.arrays import Floats, Ints, Singles

BIN, N_BINS = 0.05, 30  # binning of nearest-neighbour distances; distances above 1.5 carry no information
CERTAIN = 10.0  # threshold of the log-likelihood ratio; both jets of a pair are counted, so half of it is significant
# expected fractions of neighbours below some distance: for jets of the assumed radius, and for others. Extremes
# found in QCD, ttbar and W/Z + jets with R = 0.4 and 0.5 and thresholds of 10 to 50 GeV
SMALLER, LARGER, MUCH_LARGER = (0.002, 0.03), (0.10, 0.01), (0.20, 0.02)
LEAST_WIDTHS = 30  # least number of jets to estimate the radius from their widths
REACHED = 0.955  # 90 % quantile of the width in φ, over the radius
NAMED = re.compile(r"(?:ak|antikt)(\d+)", re.IGNORECASE)
FAT = 0.8  # radius of CMS fat jets


def of_name(collection: str | None) -> float | None:
    """Return the radius implied by the name of a collection, or None.

    >>> of_name("GenJetAK8"), of_name("AntiKt4TruthJets"), of_name("GenFatJet"), of_name("GenJet")
    (0.8, 0.4, 0.8, None)
    """
    found = NAMED.search(collection or "")
    if found is not None:
        return int(found[1]) / 10.0
    return FAT if "fatjet" in (collection or "").lower() else None


def of_widths(delta_phi: Floats) -> float | None:
    """Return the radius estimated from the greatest |Δφ| of a constituent of each jet (N,), as in Delphes; or None."""
    width = delta_phi[(delta_phi > 0.0) & (delta_phi < math.pi / 2.0)]
    return float(np.quantile(width, 0.9)) / REACHED if len(width) >= LEAST_WIDTHS else None


def neighbours(context: Singles) -> Ints:
    """Return the `histogram` of jets given by their conditioning variables, (N, 68)."""
    return histogram(nearest_distance(context))


def histogram(distance: Floats) -> Ints:
    """Return the histogram of ΔR to the nearest neighbour, in 30 bins of 0.05; histograms can be added."""
    return np.bincount(np.minimum(distance * np.float32(1.0 / BIN), N_BINS).astype(np.int64), minlength=N_BINS)[:N_BINS]


def objection(
    radius: float, distances: Ints | None, *, collection: str | None = None, width: float | None = None
) -> str | None:
    """Return the evidence against an assumed jet radius; None if there is none, or too few jets.

    Parameters
    ----------
    radius: the assumed radius.
    distances: `histogram` of nearest-neighbour distances; None if unknown.
    collection: name of the collection.
    width: radius estimated by `of_widths`.
    """
    named = of_name(collection)
    if named is not None and abs(named - radius) > 0.01:
        return f"{collection}, of radius {named:g} by its name"
    if width is not None and abs(width - radius) > BIN:
        return f"jets whose constituents reach out to {width:.2f}"
    place = round(radius / BIN)
    if distances is None or not 2 <= place <= N_BINS - 6:
        return None
    within = np.cumsum(distances)
    nearer, near, around, all_of_them = (int(within[k]) for k in (place - 2, place + 1, place + 5, N_BINS - 1))
    for k, n, shares, reach, what in (
        (nearer, around, SMALLER, -1, "smaller"),
        (near, around, LARGER, 2, "larger"),
        (around, all_of_them, MUCH_LARGER, 6, "larger"),
    ):
        if _odds(k, n, shares) > CERTAIN:
            return f"{k} of {all_of_them} neighbours within ΔR of {radius + reach * BIN:.2f}: {what} ones"
    return None


def check(
    radius: float,
    distances: Ints | None,
    shipped: Mapping[str, float],
    *,
    collection: str | None = None,
    width: float | None = None,
    what: str = "gen jets",
) -> None:
    """Reject jets of the wrong radius.

    Parameters
    ----------
    radius, distances, collection, width: same as in `objection`.
    shipped: radii of the shipped bundles by name.
    what: name of the jets in the message.

    Raises
    ------
    ValueError: when there is evidence against the radius; the message names suitable bundles.
    """
    against = objection(radius, distances, collection=collection, width=width)
    if against is not None:
        right = fitting(shipped, distances, collection=collection, width=width)
        advice = f"use {' or '.join(right)}" if right else "no shipped bundle is for these"
        msg = (
            f"{what}: expected jets of radius {radius:g}, as the model's, got {against}: {advice}, "
            "or any_radius (--any-radius) to accept them"
        )
        raise ValueError(msg)


def fitting(
    shipped: Mapping[str, float], distances: Ints | None, *, collection: str | None = None, width: float | None = None
) -> list[str]:
    """Return the names of the bundles whose radius is compatible with the jets."""
    return [name for name, r in shipped.items() if objection(r, distances, collection=collection, width=width) is None]


def _odds(k: int, n: int, shares: tuple[float, float]) -> float:
    """Return the log-likelihood ratio of k out of n, for the second fraction over the first."""
    one, other = shares
    return k * math.log(other / one) + (n - k) * math.log((1.0 - other) / (1.0 - one))
