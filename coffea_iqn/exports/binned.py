"""correctionlib, binned: median, resolution, efficiency and quantiles of the response in gen pt, |eta| and flavour.

Any correctionlib with schema version 2 reads it. Each cell holds the quantiles of the mean of the laws of its reference
jets, each jet counted once. A cell with few jets of a flavour uses all flavours; a cell with few jets in total uses the
next cell of lower pt, or else of lower |eta|.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coffea_iqn.exports import corrections as c
from coffea_iqn.exports.reference import FLAVOURS, Z_MAX, Reference, averaged
from coffea_iqn.iqn.conditional import logit
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.numerics.arrays import Bools, Floats

PT_EDGES = (15, 17, 20, 23, 26, 30, 35, 40, 47, 55, 65, 80, 100, 130, 170, 230, 320, 450, 650, 1000, 3500)  # GeV
ETA_EDGES = (0.0, 0.75, 1.5, 2.0, 2.5, 3.0, 4.0, 5.1)
LEAST = 12  # minimum number of jets in a cell
STEPS = 24  # intervals in the logit of the level; quantiles are interpolated linearly


def content(ends: tuple[str, str], jets: Reference, curves: Floats, efficiency: Floats | None) -> dict[str, Any]:
    """Return the corrections of a bundle, without a description.

    Parameters
    ----------
    ends: prefix and suffix of the names of corrections, such as "cms-delphes-ak4_MC" and "AK4".
    jets: jets to average over.
    curves: `reference.curves` of the jets, (N, 47).
    efficiency: efficiencies of the jets, (N,), or None.
    """
    edges = np.linspace(-Z_MAX, Z_MAX, STEPS + 1)
    middle = logit(np.array([0.16, 0.5, 0.84]))
    median, resolution, quantile, found = ([] for _ in range(4))
    for of_flavour in _cells(jets):
        functions = [averaged(curves[rows]) for rows in of_flavour]
        at = [[float(x) for x in function(middle)] for function in functions]
        median.append(_table([c.rounded(m) for _, m, _ in at]))
        resolution.append(_table([c.rounded(0.5 * (up - down) / m) for down, m, up in at], "ptRaw"))
        quantile.append(_table([_lines(edges, function(edges)) for function in functions]))
        if efficiency is not None:
            found.append(_table([c.rounded(float(efficiency[rows].mean())) for rows in of_flavour]))

    begin, end = ends
    jet = ("JetPt", "JetEta", "JetFlavour")

    abs_eta = c.formula("abs(x)", "JetEta")

    def made(kind: str, inputs: tuple[str, ...], output: str, says: str, tables: list[Any]) -> dict[str, Any]:
        return c.correction(
            f"{begin}_{kind}_{end}", inputs, output, says, c.transformed("JetEta", abs_eta, c.by_flavour(tables))
        )

    # coffea evaluates a resolution at the pt after the response, and keeps the gen pt before it as ptRaw
    raw = ("ptRaw", *jet[1:])
    at_level = made("Quantile", (*jet, "tau"), "response", "Quantile of reco pt over gen pt at level tau.", quantile)
    at_level["data"] = c.with_logit("tau", at_level["data"])
    at_level["generic_formulas"] = [c.formula("[0]+[1]*x", "tau")]
    every = [
        made("Median", jet, "response", "Median of reco pt over gen pt.", median),
        made(
            "PtResolution",
            raw,
            "resolution",
            "Half the central 68 % width of reco pt over gen pt, over its median.",
            resolution,
        ),
        c.correction(
            f"{begin}_ScaleFactor_{end}",
            ("JetEta", "systematic"),
            "scale factor",
            "Square root of 2, so that stochastic smearing has the full resolution.",
            {
                "nodetype": "category",
                "input": "systematic",
                "content": [{"key": key, "value": c.rounded(float(np.sqrt(2.0)))} for key in ("nom", "up", "down")],
            },
        ),
        at_level,
    ]
    if found:
        every.append(made("Efficiency", jet, "probability", "P(a reco jet is matched to the gen jet).", found))
    response = {
        "name": f"{begin}_Response_{end}",
        "description": "Median of reco pt over gen pt, as a compound correction with one entry.",
        "inputs": every[0]["inputs"],
        "output": every[0]["output"],
        "inputs_update": [],
        "input_op": "*",
        "output_op": "*",
        "stack": [every[0]["name"]],
    }
    return {"schema_version": 2, "corrections": every, "compound_corrections": [response]}


def _cells(jets: Reference) -> list[list[Bools]]:
    """Return the rows of each cell of pt and |eta|, with |eta| as the fast index, for each flavour and for all jets."""
    n_pt, n_eta = len(PT_EDGES) - 1, len(ETA_EDGES) - 1
    p = np.searchsorted(PT_EDGES, jets.gen[:, PT], side="right") - 1
    e = np.searchsorted(ETA_EDGES, np.abs(jets.gen[:, ETA]), side="right") - 1
    every = np.ones(len(jets.gen), dtype=bool)

    def cell(i: int, k: int, flavour: Bools) -> Bools:
        rows: Bools = (p == i) & (e == k)
        if (rows & flavour).sum() >= LEAST:
            return rows & flavour
        if rows.sum() >= LEAST:
            return rows
        if not i and not k:
            msg = f"reference: expected {LEAST} central jets of {PT_EDGES[0]} to {PT_EDGES[1]} GeV, got {rows.sum()}"
            raise ValueError(msg)
        return cell(i - 1, k, flavour) if i else cell(i, k - 1, flavour)

    flavours = [*(jets.flavour == number for number in range(len(FLAVOURS))), every]
    return [[cell(i, k, flavour) for i in range(n_pt) for k in range(n_eta)] for flavour in flavours]


def _table(contents: list[Any], pt: str = "JetPt") -> dict[str, Any]:
    """Return a table in cells of pt and |eta|; values beyond the edges use the nearest cell."""
    edges = [[float(edge) for edge in of_one] for of_one in (PT_EDGES, ETA_EDGES)]
    return {"nodetype": "multibinning", "inputs": [pt, "JetEta"], "edges": edges, "content": contents, "flow": "clamp"}


def _lines(z: Floats, values: Floats) -> dict[str, Any]:
    """Return linear interpolation between values at equal steps of tau, which is a logit at this point."""
    slopes = np.diff(values) / np.diff(z)
    pieces = [
        {"nodetype": "formularef", "index": 0, "parameters": [c.rounded(y - slope * x), c.rounded(slope)]}
        for x, y, slope in zip(z[:-1], values[:-1], slopes, strict=True)
    ]
    edges = {"n": len(pieces), "low": float(z[0]), "high": float(z[-1])}
    return {"nodetype": "binning", "input": "tau", "edges": edges, "content": pieces, "flow": "clamp"}
