"""Speed of folds: rates, and ratios to the paper's network in the same run and to Delphes.

    pip install --group benchmarks
    OMP_NUM_THREADS=1 python benchmarks/speed.py --files qcd=QCD.root ttbar=TTBAR.root
        [--model MODEL] [--most 1e7] [--output speed.json]
    OMP_NUM_THREADS=1 python benchmarks/speed.py --device cuda

Everything runs on one thread unless stated otherwise. Candidates take turns and the best of several rounds counts, as
the machine may be shared. The files are folded without true jets, like those of a user. The comparison with Delphes
uses events per second on one core, for the processes in `DELPHES`: a rate of jets would depend on their pt threshold.
Its numbers are from one quiet machine: for ratios on another machine, time Delphes there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coffea import processor
from coffea.util import coffea_console
from inputs import events_of
from rich.console import Console
from rich.table import Table

from coffea_iqn import Emulator, bundle
from coffea_iqn.commands.options import assignment
from coffea_iqn.data import sample_path
from coffea_iqn.events.collections import GenEvents, flatten_jets, gen_events
from coffea_iqn.events.identity import identity_keys
from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.files.output import versions
from coffea_iqn.files.reading import open_options
from coffea_iqn.folder.folding import Folding
from coffea_iqn.histograms import filling
from coffea_iqn.iqn.members.pinball import IQNx4
from coffea_iqn.jets.table import NOMINAL
from coffea_iqn.numerics.uniforms import Keys, event_keys, levels
from coffea_iqn.processors import IQNFoldProcessor
from coffea_iqn.processors.fold import emulated_pairs

JETS, ROUNDS = 98_304, 7
PAPER_BATCH = 4096  # at which eager torch is fastest
PAPER = "paper's IQNx4, torch"
# seconds an event of Delphes' own part, CMS card, one core: one radius without N-subjettiness; both radii with it
DELPHES = {"qcd": (1.31e-3, 2.02e-3), "ttbar": (2.22e-3, 4.33e-3)}
PAPER_THERE = 905_000.0  # jets a second of the paper's network in eager torch, where Delphes was timed
CHUNK = 100_000  # events


def best_of(candidates: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the time of each candidate [s], the best of several rounds in turns."""
    seconds = dict.fromkeys(candidates, np.inf)
    for _ in range(rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def paper_in_torch() -> Callable[[], Any]:
    """Time four targets of `JETS` jets with the paper's network; its speed does not depend on its weights."""
    network = IQNx4(4)
    tau, x = torch.rand(PAPER_BATCH, 4), torch.randn(PAPER_BATCH, 4)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(JETS // PAPER_BATCH):
                network.sample(tau, x)

    return run


def paper_in_onnx() -> Callable[[], Any]:
    """Time the same network as four ONNX Runtime graphs, each with the earlier targets as input."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = []
    for k, net in enumerate(IQNx4(4).nets):
        nodes, weights, name = [], [], "x"
        for i, layer in enumerate(net):
            if isinstance(layer, torch.nn.Linear):
                for part, tensor in (("w", layer.weight), ("b", layer.bias)):
                    weights.append(numpy_helper.from_array(tensor.detach().numpy(), f"{part}{i}"))
                nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"h{i}"], transB=1))
            else:
                nodes.append(helper.make_node("LeakyRelu", [name], [f"h{i}"], alpha=layer.negative_slope))
            name = f"h{i}"
        ends = (("x", 5 + k), (name, 1))
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width]) for n, width in ends]
        graph = helper.make_graph(nodes, "net", values[:1], values[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        sessions.append(session)
    tau = np.full((PAPER_BATCH, 4), 0.3, dtype=np.float32)
    x = np.random.default_rng(0).normal(size=(PAPER_BATCH, 4)).astype(np.float32)

    def run() -> None:
        for _ in range(JETS // PAPER_BATCH):
            drawn = x[:, :0]
            for k, session in enumerate(sessions):
                inputs = np.concatenate([6.0 * tau[:, k : k + 1] - 3.0, x, drawn], axis=1)
                drawn = np.concatenate([drawn, session.run(None, {"x": inputs})[0]], axis=1)

    return run


def gen_jets_of(path: str) -> GenEvents:
    events = events_of(path, mode="eager")
    flat = flatten_jets(events.GenJet)
    return gen_events(events.GenJet, events, flat, flat.valid())


def fold_alone(emulator: Emulator, path: str) -> dict[str, dict[str, float]]:
    """Time a fold from arrays of gen jets and their context to arrays of reco jets."""
    gen_of_file = gen_jets_of(path)
    rows = np.arange(JETS) % len(gen_of_file.jets.values)
    gen, context = gen_of_file.jets.values[rows], gen_of_file.context()[rows]
    tau = np.random.default_rng(0).uniform(1e-6, 1.0 - 1e-6, gen.shape).astype(np.float32)

    def batches(size: int, backend: str, part: slice = slice(None)) -> None:
        chosen = range(*part.indices(JETS))
        for start in range(chosen.start, chosen.stop, size):
            of = slice(start, min(start + size, chosen.stop))
            emulator.sample(gen[of], tau[of], context[of], backend=backend, levels=gen_of_file.levels)

    def two_threads() -> None:
        with ThreadPoolExecutor(2) as pool:
            halves = (slice(0, JETS // 2), slice(JETS // 2, JETS))
            list(pool.map(lambda half: batches(JETS, "auto", half), halves))

    candidates: dict[str, Callable[[], Any]] = {PAPER: paper_in_torch()}
    try:
        candidates["paper's IQNx4, ONNX Runtime"] = paper_in_onnx()
    except ImportError:
        print("skipped onnx and onnxruntime, which are not installed", file=sys.stderr)
    for backend in ("torch", "numba"):
        for size in (256, 4096, JETS):
            candidates[f"{backend}, {size} jets at once"] = lambda size=size, backend=backend: batches(size, backend)
    candidates["numba, two threads"] = two_threads
    seconds = best_of(candidates)
    return {name: {"jets/s": JETS / s, "of the paper's": seconds[PAPER] / s} for name, s in seconds.items()}


def on_device(emulator: Emulator, path: str, name: str) -> dict[str, dict[str, float]]:
    """Time folds on a device, of gen jets and context that are there already, and including transfers."""
    there = emulator.on(name)
    gen_of_file = gen_jets_of(path)
    rows = np.arange(JETS if there.device.type == "cpu" else 4 * there.block) % len(gen_of_file.jets.values)
    gen, context = gen_of_file.jets.values[rows], gen_of_file.context()[rows]
    keys = event_keys(0, "x", rows, rows, rows)[gen_of_file.jets.event[rows]]
    index = gen_of_file.jets.place[rows]
    tau = levels(keys, index)
    resident = [torch.tensor(columns, device=there.device) for columns in (gen, keys, index, context)]

    def done(made: Any) -> Any:
        if there.device.type == "cuda":
            torch.cuda.synchronize(there.device)
        return made

    paper = paper_in_torch()
    seconds = best_of(
        {
            PAPER: paper,
            f"resident on {name}": lambda: done(there.fold(*resident)),
            f"to {name} and back": lambda: emulator.respond(gen, tau, context, backend="torch", device=name),
            "to the device alone": lambda: done([torch.tensor(c, device=there.device) for c in (gen, tau, context)]),
        }
    )
    n_jets = dict.fromkeys(seconds, len(rows)) | {PAPER: JETS}
    rates = {candidate: n_jets[candidate] / s for candidate, s in seconds.items()}
    return {candidate: {"jets/s": rate, "of the paper's": rate / rates[PAPER]} for candidate, rate in rates.items()}


def stages(model: str, path: str) -> dict[str, float]:
    """Return the time per gen jet [ns] of each part of a fold of one chunk, timed separately."""
    emulator = bundle.load(model)
    folding, without = (Folding(emulator.prepared(), True, unmatched, None) for unmatched in (True, False))

    def read() -> Any:
        events = events_of(path, entry_stop=CHUNK, metadata={"dataset": "x"}, uproot_options=open_options([path]))
        flat = flatten_jets(events.GenJet)
        return events, gen_events(events.GenJet, events, flat, flat.valid()), events.genWeight, identity_keys(events, 0)

    events, known, _, keys = read()
    jets = known.jets
    keys = Keys(keys)
    of_jets = keys.take(jets.event)
    tau, context = of_jets.levels(jets.place), known.context()
    rows = np.empty_like(context)
    made = folding.draw(known, context, known.levels, keys)[0][NOMINAL]
    reco = made.table(len(events))

    def fill() -> None:
        filler = filling.Filler("x", np.ones(len(events)))
        for level, of_level in (("gen", jets), ("reco", reco)):
            filler.fill_jets(level, [of_level], pt_min=20.0, eta_max=5.0)
        filler.fill_response("reco", [emulated_pairs(jets, reco)])
        filling.to_hists(filler.sums, ["x"])

    seconds = best_of(
        {
            "reading": read,
            "context": lambda: known.context(rows, told=known.not_moot if emulator.has_moot else None),
            "levels": lambda: of_jets.levels(jets.place),
            "features, networks, decoding": lambda: emulator.respond(jets.values, tau, context, levels=known.levels),
            "without unmatched jets": lambda: without.draw(known, context, known.levels, keys),
            "with unmatched jets": lambda: folding.draw(known, context, known.levels, keys),
            "assembling": lambda: made.table(len(events)),
            "filling": fill,
        }
    )
    seconds["unmatched jets"] = seconds.pop("with unmatched jets") - seconds.pop("without unmatched jets")
    return {name: 1e9 * s / len(jets.values) for name, s in seconds.items()}


def run_processor(model: str, paths: list[str], workers: int = 1, *, objects: bool = False) -> dict[str, int]:
    """Fold files to histograms, and return the numbers of events and gen jets."""
    executor = processor.IterativeExecutor(status=False)
    if workers > 1:
        import loky

        executor = processor.FuturesExecutor(pool=loky.get_reusable_executor(workers), workers=workers, status=False)
    runner = processor.Runner(executor=executor, schema=NanoSchema, chunksize=CHUNK)
    fileset = {f"file{k}": {"files": {path: "Events"}} for k, path in enumerate(paths)}
    instance = IQNFoldProcessor(model, truth=None, objects=objects)
    out = runner(fileset, instance, uproot_options=open_options(paths))
    return {what: sum(flow[what] for flow in out["cutflow"].values()) for what in ("events", "gen_jets")}


def whole_processor(model: str, name: str, paths: list[str], *, objects: bool) -> dict[str, dict[str, float]]:
    """Time a fold of the files of one process from disk to histograms."""
    run = partial(run_processor, model, objects=objects)
    n = run(paths)
    run(paths * 2, workers=2)  # its processes have everything loaded from here on
    seconds = best_of(
        {
            PAPER: paper_in_torch(),
            "one process": lambda: run(paths),
            "two processes, twice the files": lambda: run(paths * 2, workers=2),
        },
        rounds=5,
    )
    per_second = {"one process": 1.0 / seconds["one process"], "two processes": 2.0 / seconds.popitem()[1]}
    paper = JETS / seconds[PAPER]
    found = {}
    for workers, passes in per_second.items():
        jets, events = passes * n["gen_jets"], passes * n["events"]
        row = {"events/s": events, "gen jets/s": jets, "of the paper's": jets / paper}
        if name in DELPHES:
            ratios = (events * of_event for of_event in DELPHES[name])
            row |= dict(zip(("of Delphes", "of Delphes, fuller card"), ratios, strict=True))
            # on a machine on which the paper's network were as fast as where Delphes was timed
            row["of Delphes, there"] = row["of Delphes"] * PAPER_THERE / paper
        found[f"{name}, {workers}"] = row
    return found


def scaling(model: str, path: str, most: float) -> list[dict[str, float]]:
    """Return cost and peak memory for several numbers of gen jets, each in its own process, including start-up."""
    n_in_file = len(gen_jets_of(path).jets.values)
    rows = []
    for exponent in range(3, int(np.log10(most)) + 1):
        wanted = 10**exponent
        code = (
            "import resource, sys, time, uproot; sys.path.insert(0, sys.argv[1]); import speed\n"
            "from coffea.util import coffea_console; coffea_console.quiet = True\n"
            "model, paths = sys.argv[2], sys.argv[3:]\n"
            "speed.run_processor(model, [str(speed.sample_path('qcd_ak4.root'))])\n"
            "started = time.perf_counter(); n = speed.run_processor(model, paths)['gen_jets']\n"
            "print(n, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        paths = [path] * max(1, round(wanted / n_in_file))
        if wanted < n_in_file:
            paths = [str(cut(path, wanted))]
        command = [sys.executable, "-c", code, str(Path(__file__).parent), model, *paths]
        n, seconds, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        row = {"gen jets": int(n), "seconds": float(seconds), "GB": int(kilobytes) / 1e6}
        rows.append(row | {"jets/s": row["gen jets"] / row["seconds"]})
    return rows


def cut(path: str, n_jets: int) -> Path:
    """Write a file with about n gen jets from the first events of another file."""
    import tempfile

    import awkward as ak
    import uproot

    small = Path(tempfile.mkdtemp()) / f"{n_jets}.root"
    with uproot.open(path) as file, uproot.recreate(small) as out:
        tree = file["Events"]
        counts = ak.to_numpy(tree["nGenJet"].array()).cumsum()
        n_events = int(np.searchsorted(counts, n_jets)) + 1
        names = [b.name for b in tree.branches if b.name.startswith(("GenJet_", "GenMET_"))]
        columns = tree.arrays([*names, "run", "luminosityBlock", "event", "genWeight"], entry_stop=n_events)
        jets = ak.zip({n.removeprefix("GenJet_"): columns[n] for n in names if n.startswith("GenJet_")})
        others = {n: columns[n] for n in columns.fields if not n.startswith("GenJet_")}
        out["Events"] = {"GenJet": jets, **others}
    return small


def starts(model: str, path: str) -> dict[str, dict[str, float]]:
    """Time the first `coffea-iqn fold` of an installation, which compiles, and the next one, without figures."""
    import tempfile

    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for name in ("first", "next"):
            fold = [sys.executable, "-m", "coffea_iqn", "fold", path, "--model", model, "--no-plots", "--quiet"]
            started = time.perf_counter()
            subprocess.run([*fold, "--output", str(Path(folder) / name)], check=True, env=kept)
            summary = json.loads((Path(folder) / name / "summary.json").read_text())
            rows[name] = {"seconds": time.perf_counter() - started, "of them compiling": summary["compile_seconds"]}
    return {name: row | {"of the next": row["seconds"] / rows["next"]["seconds"]} for name, row in rows.items()}


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def show(title: str, rows: dict[str, Any]) -> None:
    rows = {name: row if isinstance(row, dict) else {"ns a gen jet": row} for name, row in rows.items()}
    table = Table("", *next(iter(rows.values())), title=title)
    for name, row in rows.items():
        table.add_row(name, *(f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in row.values()))
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cms-delphes-ak4-fast")
    samples = {"qcd": "qcd_ak4.root", "ttbar": "ttbar_ak4_genonly.root"}
    parser.add_argument(
        "--files",
        nargs="+",
        type=assignment,
        metavar="NAME=FILE",
        default=[(name, str(sample_path(file))) for name, file in samples.items()],
        help="of one process or several; all but the whole processor is measured on the first (default: the samples)",
    )
    parser.add_argument("--most", type=float, default=1e5, help="gen jets of the largest run (default: %(default)g)")
    parser.add_argument("--objects", action="store_true", help="the whole processor with whole events")
    parser.add_argument("--device", help="measure this one alone: cuda, cuda:N")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    coffea_console.quiet = True
    model, files = arguments.model, [path for _, path in arguments.files]
    found: dict[str, Any] = {"machine": machine(), "model": bundle.load(model).card["hash"]}
    if arguments.device is not None:
        found["on a device"] = on_device(bundle.load(model), files[0], arguments.device)
        show(f"On {arguments.device}, with the processor's acceptance", found["on a device"])
        finish(found, arguments.output)
        return
    found["start"] = starts(model, files[0])
    show("A fold from the shell, after an installation and later", found["start"])
    found["fold alone"] = fold_alone(bundle.load(model), files[0])
    show("The fold alone", found["fold alone"])
    found["parts"] = stages(model, files[0])
    show("Parts of the processor", found["parts"])
    for name in dict(arguments.files):
        paths = [path for other, path in arguments.files if other == name]
        of_process = whole_processor(model, name, paths, objects=arguments.objects)
        found.setdefault("whole processor", {}).update(of_process)
        show(f"Branches on disk to filled histograms, {name}", of_process)
    found["scaling"] = scaling(model, files[0], arguments.most)
    show("Cost against number of jets", {f"{row['gen jets']:,} gen jets": row for row in found["scaling"]})
    finish(found, arguments.output)


def finish(found: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
