"""Names, inputs and nodes of correctionlib schema version 2, and writing, for both correctionlib formats.

A response is applied to gen jets: it is the factor from gen pt to reco pt. Names and inputs are those that coffea's
`CorrectionLibJECStack.from_file` requires, with the bundle's name as `jec_tag` and `jer_tag`, "MC", and `jec_level`
"Response".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coffea_iqn.exports.reference import FLAVOURS, Z_MAX, Reference, Z
from coffea_iqn.files.atomic import whole_file
from coffea_iqn.iqn.conditional import sigmoid
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.numerics.arrays import Floats

DIGITS = 7
CODES = np.array([codes[0] for codes in FLAVOURS.values()] + [0])  # PDG code by index in FLAVOURS; the last is −1

_DESCRIBED = {
    "JetPt": ("real", "pt of the gen jet [GeV]"),
    "ptRaw": ("real", "pt of the gen jet [GeV], under the name that coffea's factory uses for pt before the response"),
    "JetEta": ("real", "eta of the gen jet"),
    "JetFlavour": ("int", "PDG code that labels the jet (NanoAOD's partonFlavour): 21, 1 to 5; 0 for unknown"),
    "tau": ("real", "quantile level, limited to 1e-4 and 1 - 1e-4"),
    "seed": ("real", "any number; different seeds give independent draws"),
    "run": ("int", "run number"),
    "luminosityBlock": ("int", "luminosity block"),
    "event": ("int", "event number"),
    "jet": ("int", "index of the gen jet in the event, before any cut"),
    "systematic": ("string", "nom, up or down; all are the same"),
}


def correction(name: str, inputs: Sequence[str], output: str, description: str, data: Any) -> dict[str, Any]:
    """Return a correction node."""
    described = [{"name": one, "type": _DESCRIBED[one][0], "description": _DESCRIBED[one][1]} for one in inputs]
    return {
        "name": name,
        "version": 1,
        "description": description,
        "inputs": described,
        "output": {"name": output, "type": "real"},
        "data": data,
    }


def formula(expression: str, *variables: str) -> dict[str, Any]:
    """Return a formula node with variables x, y, z and t, or x[0], x[1] and so on."""
    return {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": list(variables)}


def transformed(variable: str, rule: Any, content: Any) -> dict[str, Any]:
    """Return a node that evaluates content with one input replaced by the result of a rule."""
    return {"nodetype": "transform", "input": variable, "rule": rule, "content": content}


def within(edge: float, content: Any) -> dict[str, Any]:
    """Return a node that is 0 beyond an edge in |eta|, where content would be evaluated at its outermost jets."""
    return {"nodetype": "binning", "input": "JetEta", "edges": [-edge, edge], "content": [content], "flow": 0.0}


def by_flavour(contents: Sequence[Any]) -> dict[str, Any]:
    """Return a node with one content for each of FLAVOURS, and the last content for other jets."""
    keys = [(code, content) for codes, content in zip(FLAVOURS.values(), contents, strict=False) for code in codes]
    signed = [{"key": sign * code, "value": content} for code, content in keys for sign in (1, -1)]
    return {"nodetype": "category", "input": "JetFlavour", "content": signed, "default": contents[-1]}


def with_logit(variable: str, content: Any) -> dict[str, Any]:
    """Return a node that evaluates content with a level replaced by its logit, limited to ±`Z_MAX`."""
    least = f"{1.0 / (1.0 + np.exp(Z_MAX)):.6f}"
    level = f"max({least},min(1-{least},x))"
    return transformed(variable, formula(f"log({level}/(1-{level}))", variable), content)


def rounded(value: float) -> float:
    """Round a number to the digits that a file keeps."""
    return float(f"{value:.{DIGITS}g}")


def evaluate(corrections: Any, ends: tuple[str, str], jets: Reference) -> tuple[Floats, Floats | None]:
    """Evaluate corrections for jets: `reference.curves`, and efficiencies or None. ends: as for `binned.content`."""
    of_jets = jets.gen[:, PT].astype(np.float64), jets.gen[:, ETA].astype(np.float64), CODES[jets.flavour]
    quantile, found = (f"{ends[0]}_{kind}_{ends[1]}" for kind in ("Quantile", "Efficiency"))
    columns = [np.log(corrections[quantile].evaluate(*of_jets, float(level))) for level in sigmoid(Z)]
    return np.stack(columns, axis=1), corrections[found].evaluate(*of_jets) if found in list(corrections) else None


def test_vector(content: Mapping[str, Any], corrections: Any, jets: Reference) -> dict[str, Any]:
    """Return inputs, by name, and expected output of each correction for a few jets."""
    n = len(jets.gen)
    known = {
        "JetPt": jets.gen[:, PT].astype(np.float64),
        "ptRaw": jets.gen[:, PT].astype(np.float64),
        "JetEta": jets.gen[:, ETA].astype(np.float64),
        "JetFlavour": CODES[jets.flavour],
        "tau": (np.arange(n) + 0.5) / n,
        "seed": np.ones(n),
        **dict.fromkeys(("run", "luminosityBlock"), np.ones(n, dtype=np.int64)),
        **dict.fromkeys(("event", "jet"), np.arange(n)),
    }
    vector = {}
    for one in content["corrections"]:
        inputs = {described["name"]: known.get(described["name"], "nom") for described in one["inputs"]}
        answer = np.asarray(corrections[one["name"]].evaluate(*inputs.values()))
        listed = {name: value if isinstance(value, str) else value.tolist() for name, value in inputs.items()}
        vector[one["name"]] = {"inputs": listed, "expected": answer.tolist()}
    return vector


def evaluators(content: Mapping[str, Any]) -> Any:
    """Validate corrections against the schema of correctionlib and return its evaluator."""
    from correctionlib import schemav2

    return schemav2.CorrectionSet.model_validate(content).to_evaluator()


def write(content: Mapping[str, Any], path: Path) -> None:
    """Write corrections as JSON, compressed for .gz; the bytes are reproducible."""
    text = json.dumps(content, separators=(",", ":")).encode()
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
