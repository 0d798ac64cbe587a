"""How closure figures are labelled: variables, legends, notes; and the histograms they draw."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from coffea_iqn.closure import VARIABLES
from coffea_iqn.numerics.arrays import Doubles, Floats
from coffea_iqn.plotting.panels import COLOURS, STYLE, plain

BLUE = COLOURS[0]
NOTHING = "Too few jets"
MIN_OF_BIN = 20  # effective entries of a bin of a spectrum, on every side that is compared
# how legends say that what they name fluctuates together
SHARED: dict[str, Any] = {"title": "From the same gen events", "title_fontsize": 17, "alignment": "right"}
styled = plt.style.context(STYLE)


class Selection(NamedTuple):
    """Which jets a figure shows.

    Attributes
    ----------
    jets: what they are, in matplotlib's mathtext: "anti-$k_T$, $R$ = 0.4".
    pt_min: their least pt [GeV]; None for no word of it.
    eta_max: their greatest |eta|; None for no word of it.
    """

    jets: str = ""
    pt_min: float | None = None
    eta_max: float | None = None

    @classmethod
    def of(cls, jets: Mapping[str, Any], pt_min: float | None = None, eta_max: float | None = None) -> Selection:
        """From what a bundle's card says of its jets, if anything."""
        algorithm = str(jets.get("algorithm", "")).replace("anti-kt", "anti-$k_T$")
        radius = f"$R$ = {jets['radius']:g}" if "radius" in jets else ""
        return cls(", ".join(part for part in (algorithm, radius) if part), pt_min, eta_max)

    def lines(self, axis: str = "") -> str:
        """Lines of text, without what the label of an axis says already."""
        pt = "" if self.pt_min is None or "$p_T$ >" in axis else f"$p_T$ > {self.pt_min:g} GeV"
        eta = "" if self.eta_max is None or re.search(r"<.*\||\|.*<", axis) else rf"$|\eta|$ < {self.eta_max:g}"
        return "\n".join(line for line in (self.jets, ", ".join(part for part in (pt, eta) if part)) if line)


EVERY = Selection()


class Variable(NamedTuple):
    """How a variable is written.

    Attributes
    ----------
    name, axis, unit: of itself.
    response: what a detector does to it.
    factor, least: what responses are multiplied with, and the least spread that then fills a panel.
    """

    name: str
    axis: str
    unit: str
    response: str
    factor: float = 1.0
    least: float = 0.02


WRITTEN = (
    Variable("$p_T$", "Jet $p_T$ [GeV]", "GeV", "$p_T^{reco}/p_T^{gen}$"),
    Variable(r"$\eta$", r"Jet $\eta$", "unit", r"$\Delta\eta$ away from the centre [$10^{-3}$]", 1e3, 1.0),
    Variable(r"$\phi$", r"Jet $\phi$ [rad]", "rad", r"$\Delta\phi$ [mrad]", 1e3, 1.0),
    Variable("mass", "Jet mass [GeV]", "GeV", "$m^{reco}/m^{gen}$"),
)
NAMES = tuple(written.name for written in WRITTEN)
OBSERVABLES = {
    "mass": "Jet mass [GeV]",
    "multiplicity": "Number of particles in jet",
    "tau21": r"Jet $\tau_2 / \tau_1$",
    "soft-drop mass": "Soft-drop mass [GeV]",
    "pTD": r"Jet $p_T^D$",
    "flow 1": r"Momentum flow, $\Delta R < R/4$",
    "flow 2": r"Momentum flow, $R/4 < \Delta R < R/2$",
    "flow 3": r"Momentum flow, $R/2 < \Delta R < 3R/4$",
    "flow 4": r"Momentum flow, $3R/4 < \Delta R < R$",
}
"""What particles say of jets, of `jets.shapes.NAMES`."""
GEN_PT, ABS_ETA = "Gen $p_T$ [GeV]", r"Gen $|\eta|$"


def number_of(variable: str) -> int:
    if variable not in VARIABLES:
        msg = f"variable: expected one of {', '.join(VARIABLES)}, got {variable!r}"
        raise ValueError(msg)
    return VARIABLES.index(variable)


def middles(edges: Doubles) -> Doubles:
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def histogram(values: Floats, edges: Doubles) -> Doubles:
    """Entries in bins, what lies beyond in the first and the last."""
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.float64)


def chi2_text(chi2: float, ndf: int) -> str:
    return rf"$\chi^2$/ndf = {chi2:.1f} / {ndf}"


def note(panel: Axes, text: str, at: tuple[float, float] = (0.04, 0.95), **style: Any) -> None:
    """A text whose upper edge is at a place in the panel, which is 1 wide and 1 high."""
    panel.text(*at, text, transform=panel.transAxes, **{"va": "top", "fontsize": 22, **style})


def name_levels(panel: Axes, emulated: Any, truth: Any, truth_label: str) -> None:
    same = {**SHARED, "title": "For the same gen jets"}
    panel.legend([emulated, truth], ["Emulated", plain(truth_label)], loc="upper right", **same)


def label_ratio(panel: Axes, truth_label: str) -> None:
    panel.set_ylabel(f"Emulated /\n{plain(truth_label)}", loc="center", fontsize="small")


def label_grid(panels: npt.NDArray[Any], x: str, y: str) -> None:
    """Labels at the outer sides of panels that touch, where numbers at their ends would meet those of the next."""
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], prune="both"))
    for panel in panels[:, 0]:
        panel.set_ylabel(y)
    for panel in panels[-1]:
        panel.set_xlabel(x)
