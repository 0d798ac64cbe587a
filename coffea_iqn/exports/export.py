"""Export a bundle to a file of another format and measure its closure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coffea_iqn import bundle
from coffea_iqn.emulator.emulator import Emulator
from coffea_iqn.exports import corrections
from coffea_iqn.exports.reference import FLAVOURS, HELD_OUT, Closure, Reference, curves
from coffea_iqn.files.atomic import check_new, whole_file
from coffea_iqn.jets.features import PT, VARIABLES
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.ranges import check_choice, expect

FORMATS = {"correctionlib": (".json", ".json.gz"), "correctionlib-lwtnn": (".json", ".json.gz"), "onnx": (".onnx",)}
"""Export formats and their file suffixes."""

N_VECTOR, N_COMPARED = 6, 2000  # jets in a test vector, and in the closure test of a graph
LOST = (
    "The inputs are pt, |eta| and flavour of a gen jet, without the rest of its context. The output is pt alone: eta, "
    "phi and mass, with the atom of massless jets, and correlations are lost. Levels end at 1e-4 and 1 - 1e-4, so "
    "tails beyond are cut off. Reco jets that match no gen jet are left out."
)
LOST_BY_GRAPH = (
    "The graph has no reco jets that match no gen jet, draws gen jets that overlap independently, does not separate "
    "jets that are drawn within a radius of each other, and uses single precision throughout."
)


class Exported(NamedTuple):
    """Result of an export.

    Attributes
    ----------
    path: path of the file.
    closure: differences from the bundle, as lines to print.
    lost: features of the bundle that the file does not have.
    """

    path: Path
    closure: list[str]
    lost: str


def export(
    model: str | Path, to: str, output: str | Path, *, files: Sequence[str] = (), force: bool = False
) -> Exported:
    """Write a bundle as a file of another format.

    Parameters
    ----------
    model: name of a shipped bundle, or the path of one.
    to: one of `FORMATS`.
    output: path of the file.
    files: files with the gen jets to average over, see `Reference.of`; by default the shipped samples.
    force: whether to replace an existing file.

    Raises
    ------
    ValueError: for an unknown format, bundle or suffix, or a bundle whose quantiles may cross.
    FileExistsError: if the path exists, unless `force` is set.
    """
    check_choice(FORMATS, to=to)
    path = Path(output)
    fits = path.name.endswith(FORMATS[to])
    expect(fits, f"output {path}: expected a name that ends in {' or '.join(FORMATS[to])}, got {path.name}")
    check_new(path, force=force)
    emulator = bundle.load(model)
    fits = emulator.exact
    expect(fits, f"export {model}: expected a SplineIQN, whose quantiles do not cross, got {emulator.draws_by}")
    jets = Reference.of(emulator, files)
    about = {"bundle": Path(model).name or Path(model).resolve().name, "hash": emulator.card.get("hash")}
    if to == "onnx":
        return _graph(emulator, jets, path, about)
    return _corrections(emulator, jets, path, about, with_network=to == "correctionlib-lwtnn")


def _corrections(
    emulator: Emulator, jets: Reference, path: Path, about: dict[str, Any], *, with_network: bool
) -> Exported:
    """Write corrections, averaged over the reference jets and tested on those held out."""
    jets = jets.with_missing_flavours()
    law = curves(emulator, jets)
    efficiency = None if emulator.acceptance is None else emulator.efficiency(jets.gen, jets.context)
    radius = emulator.radius
    ends = f"{about['bundle']}_MC", "Jet" if radius is None else f"AK{10 * radius:g}"

    def part(rows: Any) -> tuple[Reference, Floats, Floats | None]:
        return jets.where(rows), law[rows], None if efficiency is None else efficiency[rows]

    learn, check = part(~jets.held_out), part(jets.held_out)  # jets given a flavour are held out
    if with_network:
        from coffea_iqn.exports import lwtnn  # imports torch

        content = lwtnn.content(ends, lwtnn.learn(*learn), learn[0], with_efficiency=efficiency is not None)
        edges = zip(FLAVOURS, lwtnn.known_up_to(learn[0]), strict=True)
        sparse = (
            "A flavour counts as unknown, 0, from the |eta| on where few gen jets of the sample have it: "
            f"{', '.join(f'{name} {edge:.2f}' for name, edge in edges)}."
        )
    else:
        from coffea_iqn.exports import binned

        content = binned.content(ends, *learn)
        sparse = f"A flavour that fewer than {binned.LEAST} gen jets in a cell have is evaluated as all flavours."
    edge = emulator.variables.support.abs_eta_max
    for one in content["corrections"]:
        if one["name"] == f"{ends[0]}_Efficiency_{ends[1]}":
            one["data"] = corrections.within(edge, one["data"])
    made = corrections.evaluators(content)
    closure = Closure.of(check[0], check[1:], corrections.evaluate(made, ends, check[0]))
    few = check[0].where(np.linspace(0, len(check[1]) - 1, N_VECTOR).astype(int))
    known = {**about, "closure": closure._asdict(), "test_vector": corrections.test_vector(content, made, few)}
    low, high = (f"{end:.0f}" for end in (learn[0].gen[:, PT].min(), learn[0].gen[:, PT].max()))
    lost = LOST if efficiency is not None else f"{LOST} The bundle has no acceptance, so there is no efficiency."
    says = (
        f"Response of gen jets by the coffea-iqn bundle {about['bundle']}, averaged over {len(learn[1])} gen jets of "
        f"{', '.join(jets.files)} (pt {low} to {high} GeV, each jet counted once, one event in {HELD_OUT} held out), "
        f"with their context. Gen jets outside this pt range are evaluated at its ends. {sparse} The efficiency is 0 "
        f"beyond the edge of the detector, |eta| of {edge:g}. {lost}"
    )
    corrections.write({**content, "description": f"{says}\n{json.dumps(known)}"}, path)
    return Exported(path, closure.lines(), lost)


def _graph(emulator: Emulator, jets: Reference, path: Path, about: dict[str, Any]) -> Exported:
    """Write a graph and compare it with the bundle jet by jet."""
    import onnx

    from coffea_iqn.exports import graphs

    model, n = graphs.model(emulator), emulator.network.n_targets
    few = jets.where(np.linspace(0, len(jets.gen) - 1, N_COMPARED).astype(int))
    # levels that fill the unit cube evenly: multiples of square roots of primes, modulo 1
    roots = np.sqrt([p for p in range(2, 20 * n) if all(p % q for q in range(2, p))][:n])
    tau = ((np.arange(1, len(few.gen) + 1)[:, None] * roots) % 1.0).clip(1e-4, 1.0 - 1e-4).astype(np.float32)
    given = few.gen, tau, few.context
    wanted, found = emulator.respond(*given, backend="torch")
    reco, *efficiency = graphs.evaluate(model, *given)
    unit = np.where(np.isin(np.arange(n), (PT, VARIABLES.index("mass"))), np.maximum(np.abs(wanted), 1.0), 1.0)
    off = np.abs(reco - wanted) / unit
    closure = {name: (float(x.mean()), float(x.max())) for name, x in zip(VARIABLES, off.T, strict=False)}
    if efficiency:
        off = np.abs(efficiency[0][:, 0] - found)
        closure["efficiency"] = float(off.mean()), float(off.max())
    inputs = {name: x[:N_VECTOR].tolist() for name, x in zip(("gen", "tau", "context"), given, strict=True)}
    vector = {"inputs": inputs, "expected": {"reco": wanted[:N_VECTOR].tolist()}}
    if efficiency:
        vector["expected"]["efficiency"] = found[:N_VECTOR, None].tolist()
    says = f"p(reco jet | gen jet) of the coffea-iqn bundle {about['bundle']}. {graphs.__doc__.partition(chr(10))[2]}"
    texts = {**about, "lost": LOST_BY_GRAPH, "closure": json.dumps(closure), "test_vector": json.dumps(vector)}
    model.doc_string = f"{says}\n{LOST_BY_GRAPH}"
    onnx.helper.set_model_props(model, {key: str(value) for key, value in texts.items()})
    with whole_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    differences = ", ".join(f"{name} {mean:.1e} ({most:.1e})" for name, (mean, most) in closure.items())
    what = f"mean (greatest) difference in {len(few.gen):,} jets, relative for pt and mass above 1 GeV"
    return Exported(path, [f"Closure      {what}: {differences}"], LOST_BY_GRAPH)
