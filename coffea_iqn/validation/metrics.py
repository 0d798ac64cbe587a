"""Numbers of a validation for `metrics.json`, so that other validations can be compared with it.

Its keys::

    schema_version   integer; this library reads and writes version 1
    model            name, hash and card of the bundle
    sample           files and number of events by dataset, number of pairs, selection
    trained_on       files that the model was trained on
    effort           amount of computation (`comparison.Effort`)
    verdict          list of key, title, value, uncertainty, null, limit, passed, measurable, says
    datasets         the same list for each dataset, if there are several
    figures          numbers behind the verdict, and further ones, for `truth` and for `null`
    exact_levels     whether quantile levels are from the cdf
    left_out         reason why a figure, or its line in the verdict, is missing, by its name
    versions         versions of the packages
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coffea_iqn import closure
from coffea_iqn.closure import VARIABLES, OfCells
from coffea_iqn.files.output import versions
from coffea_iqn.ranges import expect
from coffea_iqn.validation.comparison import Comparison, Validation
from coffea_iqn.validation.verdict import BY_KEY, Line, judged

SCHEMA_VERSION = 1
KEYS = ("schema_version", "model", "sample", "verdict")
LINE_KEYS = ("key", "value", "uncertainty", "limit", "passed")


@dataclass(frozen=True)
class About:
    """Model and files of a validation.

    Attributes
    ----------
    model: name or path of the bundle.
    card: card of the bundle, including its hash.
    files: paths by dataset.
    events: number of events in the files by dataset, of which a quick validation reads only a part.
    trained_on: those of the files that the model was trained on.
    """

    model: str
    card: Mapping[str, Any]
    files: Mapping[str, Sequence[str]]
    events: Mapping[str, int]
    trained_on: Sequence[str] = ()


def metrics(found: Validation, about: About) -> dict[str, Any]:
    """Return all numbers of a validation, ready for JSON."""
    effort = asdict(found.effort)
    selection = {name: effort.pop(name) for name in ("gen_pt_min", "raw_pt_min")}
    effort.pop("threads")
    lines, left_out = judged(found.truth, found.null)
    left_out = found.left_out | left_out
    datasets = {}
    for name, of in found.by_dataset.items():
        # single datasets have no null of their own, so use that of all jets
        datasets[name], of_dataset = judged(of, found.null)
        left_out |= {f"{figure} in {name}": why for figure, why in of_dataset.items()}
    content = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": about.model, "hash": about.card.get("hash"), "card": about.card},
        "sample": {"files": about.files, "events": about.events, "pairs": found.n_jets, "selection": selection},
        "trained_on": [*about.trained_on],
        "effort": effort,
        "verdict": [_line(line) for line in lines],
        "datasets": {name: [_line(line) for line in of] for name, of in datasets.items()},
        "figures": {"truth": figures(found.truth), "null": figures(found.null)},
        "exact_levels": found.exact_levels,
        "left_out": left_out,
        "versions": versions(),
    }
    return dict(_plain(content))


def _line(line: Line) -> dict[str, Any]:
    check = BY_KEY[line.key]
    return {
        "key": line.key,
        "title": check.title,
        "value": line.value.value,
        "uncertainty": line.value.uncertainty,
        "null": None if line.null is None else line.null._asdict(),
        "limit": line.limit,
        "passed": line.passed,
        "measurable": line.measurable,
        "says": check.says.format(check.text(*line.value)),
    }


def line_of(content: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """Return the line of the verdict with this key from metrics, or None if it is missing."""
    return next((line for line in content["verdict"] if line["key"] == key), None)


def figures(found: Comparison) -> dict[str, Any]:
    """Return the numbers behind the figures of a comparison, without missing figures."""
    out: dict[str, Any] = {}
    for name, marginals in {"all": found.marginals, **found.boxes}.items():
        if marginals is not None:
            out.setdefault("spectra", {})[name] = {
                variable: {"chi2": one.agreement.chi2, "ndf": one.agreement.ndf, "deviation": one.deviation._asdict()}
                for variable, one in zip(VARIABLES, marginals, strict=True)
            }
    if found.response is not None:
        axes = "variable, emulated and real, median, error, half width, error"
        out["response"] = {"axes": axes, **_of_cells(found.response)}
    if found.tails is not None:
        out["tails"] = {"axes": "emulated and real, variable, below and above, beyond each of the widths"}
        out["tails"] |= {"widths": found.tails.widths, "counts": found.tails.counts, "jets": found.tails.z.shape[1]}
    if found.levels is not None:
        out["levels"] = {"chi2_per_ndf": dict(zip(VARIABLES, closure.uniformity(found.levels), strict=True))}
    if found.levels_in_cells is not None:
        out["levels"]["cells"] = _of_cells(found.levels_in_cells)
    if found.ks is not None:
        out["ks"] = {
            variable: {
                "real_real": {"mean": test.real_real.mean(), "std": test.real_real.std()},
                "real_emulated": {"mean": test.real_emulated.mean(), "std": test.real_emulated.std()},
            }
            for variable, test in zip(VARIABLES, found.ks, strict=True)
        }
    for name, judgement in found.judges.items():
        below, above = closure.outside(judgement.weights[1])
        out.setdefault("judges", {})[name] = {
            "auc": judgement.auc,
            "uncertainty": judgement.uncertainty,
            "importance": dict(zip(judgement.names, judgement.importance, strict=True)),
            "weights": {"below_half": below, "above_two": above, "mean": judgement.weights[1].mean()},
        }
    if found.wasserstein is not None:
        axes = "variable, distance, mean of the null, its spread"
        out["wasserstein"] = {"axes": axes, **_of_cells(found.wasserstein)}
    efficiencies = (f"efficiency_{of}" for of in ("around", "of_contents", "of_overlapping"))
    sizes = ((name, getattr(found, name)) for name in ("scale_around", "frechet", "kernel", *efficiencies))
    out |= {name: size._asdict() for name, size in sizes if size is not None}
    if found.medians is not None:
        out["medians"] = {v: row._asdict() for v, row in zip(VARIABLES, found.medians, strict=True)}
    out |= {name: of._asdict() for name in ("correlations", "profile") if (of := getattr(found, name)) is not None}
    if found.efficiency is not None:
        out["efficiency"] = {"axes": "emulated and real", **_of_cells(found.efficiency)}
    if found.column_levels is not None:
        levels = closure.uniformity(found.column_levels)
        out["columns"] = {
            name: {"chi2": one.agreement.chi2, "ndf": one.agreement.ndf, "levels_chi2_per_ndf": level}
            for (name, one), level in zip(found.columns.items(), levels, strict=True)
        }
    if found.flags:
        out["flags"] = {name: of._asdict() for name, of in found.flags.items()}
    if found.particles is not None:
        of = found.particles
        out["particles"] = {"jets": of.n_jets, "microseconds": of.microseconds}
        out["particles"] |= {name: getattr(of, name)._asdict() for name in ("frechet", "kernel")}
        out["particles"]["observables"] = {
            name: {"distance_over_null": size._asdict(), "shift_in_widths": of.shifts[name]._asdict()}
            for name, size in of.distances.items()
        }
    if found.totals:
        out["totals"] = {name: of._asdict() for name, of in found.totals.items()}
    if found.spectra:
        out["histograms"] = {
            dataset: {name: {"chi2": one.chi2, "ndf": one.ndf} for name, one in agreements.items()}
            for dataset, agreements in found.spectra.items()
        }
    return out


def read(path: Path) -> dict[str, Any]:
    """Read the metrics of another validation.

    Raises
    ------
    ValueError: if the file does not exist, is not JSON, has another schema version, or lacks a key.
    """
    if path.is_dir():
        path /= "metrics.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        msg = f"compare {path}: expected a file, found none"
        raise ValueError(msg) from None
    except (ValueError, RecursionError) as error:
        msg = f"compare {path}: expected the metrics.json of a validation: {error}"
        raise ValueError(msg) from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    fits = version == SCHEMA_VERSION
    expect(fits, f"compare {path}: expected metrics of schema version {SCHEMA_VERSION}, got {version!r}")
    try:
        _check(content)
    except (KeyError, TypeError) as error:
        msg = f"compare {path}: expected the metrics of a validation, found no {error}"
        raise ValueError(msg) from None
    return dict(content)


def _check(content: dict[str, Any]) -> None:
    """Access everything that a comparison shows, which raises for missing keys."""
    for key in KEYS:
        content[key]
    for line in content["verdict"]:
        for key in LINE_KEYS:
            line[key]
        float(line["value"]), float(line["uncertainty"])
    content["model"]["name"], content["sample"]["pairs"], content["sample"]["files"]


def _of_cells(found: OfCells) -> dict[str, Any]:
    return {"pt": found.cells.pt, "abs_eta": found.cells.abs_eta, "jets": found.n_jets, "values": found.values}


def _plain(value: Any) -> Any:
    """Convert arrays to lists, numpy numbers to Python numbers, and NaN to None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
