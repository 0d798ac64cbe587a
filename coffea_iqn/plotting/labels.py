"""Labels of figures: names of variables, legends and notes."""

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
from coffea_iqn.numerics.arrays import Doubles
from coffea_iqn.plotting.panels import COLOURS, STYLE, plain
from coffea_iqn.ranges import check_choice

BLUE = COLOURS[0]
NOTHING = "Too few jets"
MIN_OF_BIN = 20  # minimum number of effective entries in a bin of a spectrum, in each compared sample
# legend title for samples whose fluctuations are correlated
SHARED: dict[str, Any] = {"title": "From the same gen events", "title_fontsize": 17, "alignment": "right"}
styled = plt.style.context(STYLE)


class Selection(NamedTuple):
    """Selection of jets, as printed in a figure.

    Attributes
    ----------
    jets: jet algorithm, in mathtext: "anti-$k_T$, $R$ = 0.4".
    pt_min: minimum pt [GeV]; not printed if None.
    eta_max: maximum |eta|; not printed if None.
    """

    jets: str = ""
    pt_min: float | None = None
    eta_max: float | None = None

    @classmethod
    def of(cls, jets: Mapping[str, Any], pt_min: float | None = None, eta_max: float | None = None) -> Selection:
        """Build from the jets entry of a bundle's card, which may be empty."""
        algorithm = str(jets.get("algorithm", "")).replace("anti-kt", "anti-$k_T$")
        radius = f"$R$ = {jets['radius']:g}" if "radius" in jets else ""
        return cls(", ".join(part for part in (algorithm, radius) if part), pt_min, eta_max)

    def lines(self, axis: str = "") -> str:
        """Return the lines to print, without cuts that the label of an axis already contains."""
        pt = "" if self.pt_min is None or "$p_T$ >" in axis else f"$p_T$ > {self.pt_min:g} GeV"
        eta = "" if self.eta_max is None or re.search(r"<.*\||\|.*<", axis) else rf"$|\eta|$ < {self.eta_max:g}"
        return "\n".join(line for line in (self.jets, ", ".join(part for part in (pt, eta) if part)) if line)


EVERY = Selection()


class Variable(NamedTuple):
    """Labels of a variable.

    Attributes
    ----------
    name, axis, unit: name, axis label and unit of the variable.
    response: axis label of its response.
    factor, least: factor applied to responses, and minimum range of a panel after that.
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
"""Axis labels of observables in `jets.shapes.NAMES`."""
GEN_PT, ABS_ETA = "Gen $p_T$ [GeV]", r"Gen $|\eta|$"


def number_of(variable: str) -> int:
    check_choice(VARIABLES, variable=variable)
    return VARIABLES.index(variable)


def middles(edges: Doubles) -> Doubles:
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def chi2_text(chi2: float, ndf: int) -> str:
    return rf"$\chi^2$/ndf = {chi2:.1f} / {ndf}"


def note(panel: Axes, text: str, at: tuple[float, float] = (0.04, 0.95), **style: Any) -> None:
    """Write a text with its upper edge at a position in axes coordinates."""
    panel.text(*at, text, transform=panel.transAxes, **{"va": "top", "fontsize": 22, **style})


def name_levels(panel: Axes, emulated: Any, truth: Any, truth_label: str) -> None:
    same = {**SHARED, "title": "For the same gen jets"}
    panel.legend([emulated, truth], ["Emulated", plain(truth_label)], loc="upper right", **same)


def label_grid(panels: npt.NDArray[Any], x: str, y: str) -> None:
    """Label the outer axes of adjacent panels, without tick labels at the ends that would overlap."""
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], prune="both"))
    for panel in panels[:, 0]:
        panel.set_ylabel(y)
    for panel in panels[-1]:
        panel.set_xlabel(x)
