"""Which radius jets have, as far as they tell: by their collection's name, their width, their nearest neighbours.

Anti-kt jets of radius R are as good as never nearer to each other than R, and some are hardly farther away.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from coffea_iqn.numerics.arrays import Floats, Ints

BIN, N_BINS = 0.05, 30  # of distances of nearest neighbours; those from 1.5 on tell nothing
CERTAIN = 10.0  # logarithm of a likelihood ratio; jets come in pairs, so that it counts for half
# shares of neighbours that are nearer than something: of jets of the radius at least, and of others at most. Lowest
# and highest ones that were seen in QCD, ttbar and W/Z + jets of R = 0.4 and 0.5, with thresholds of 10 to 50 GeV
SMALLER, LARGER, MUCH_LARGER = (0.002, 0.03), (0.10, 0.01), (0.20, 0.02)
LEAST_WIDTHS = 30  # jets whose widths tell the radius
REACHED = 0.955  # of the radius: width in φ that a tenth of the jets exceed
NAMED = re.compile(r"(?:ak|antikt)(\d+)", re.IGNORECASE)
FAT = 0.8  # radius of what CMS calls fat jets


def of_name(collection: str | None) -> float | None:
    """The radius that a collection's name tells, or None.

    >>> of_name("GenJetAK8"), of_name("AntiKt4TruthJets"), of_name("GenFatJet"), of_name("GenJet")
    (0.8, 0.4, 0.8, None)
    """
    found = NAMED.search(collection or "")
    if found is not None:
        return int(found[1]) / 10.0
    return FAT if "fatjet" in (collection or "").lower() else None


def of_widths(delta_phi: Floats) -> float | None:
    """The radius, from the greatest distance in φ of a constituent of each jet (N,), as Delphes writes it; or None."""
    width = delta_phi[(delta_phi > 0.0) & (delta_phi < math.pi / 2.0)]
    return float(np.quantile(width, 0.9)) / REACHED if len(width) >= LEAST_WIDTHS else None


def histogram(distance: Floats) -> Ints:
    """How many jets have their nearest neighbour at which ΔR, (30,) bins of 0.05; may be added up."""
    return np.bincount(np.minimum(distance * np.float32(1.0 / BIN), N_BINS).astype(np.int64), minlength=N_BINS)[:N_BINS]


def objection(
    radius: float, distances: Ints, *, collection: str | None = None, width: float | None = None
) -> str | None:
    """What speaks against jets being of a radius; None where nothing does, or there are too few jets to tell.

    Parameters
    ----------
    radius: that they should have.
    distances: `histogram` of their nearest neighbours.
    collection: its name.
    width: as of `of_widths`.
    """
    named = of_name(collection)
    if named is not None and abs(named - radius) > 0.01:
        return f"{collection}, by its name of radius {named:g}"
    if width is not None and abs(width - radius) > BIN:
        return f"jets whose constituents reach out to {width:.2f}"
    place = round(radius / BIN)
    if not 2 <= place <= N_BINS - 6:
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
    distances: Ints,
    shipped: Mapping[str, float],
    *,
    collection: str | None = None,
    width: float | None = None,
    what: str = "gen jets",
) -> None:
    """Refuse jets of another radius; arguments as of `objection`, the radii of shipped bundles, and what jets they are.

    Raises
    ------
    ValueError: where something speaks against the radius; names the bundle that is right.
    """
    against = objection(radius, distances, collection=collection, width=width)
    if against is not None:
        right = fitting(shipped, distances, collection=collection, width=width)
        advice = f"take {' or '.join(right)}" if right else "no shipped bundle is for such"
        msg = (
            f"{what}: expected jets of radius {radius:g}, as the model's, got {against}: {advice}, "
            "or any_radius (--any-radius) to take them all the same"
        )
        raise ValueError(msg)


def fitting(
    shipped: Mapping[str, float], distances: Ints, *, collection: str | None = None, width: float | None = None
) -> list[str]:
    """The bundles whose radius nothing speaks against."""
    return [name for name, r in shipped.items() if objection(r, distances, collection=collection, width=width) is None]


def _odds(k: int, n: int, shares: tuple[float, float]) -> float:
    """Logarithm of the likelihood of k of n with the second share over that with the first."""
    one, other = shares
    return k * math.log(other / one) + (n - k) * math.log((1.0 - other) / (1.0 - one))
