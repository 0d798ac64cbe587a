"""Fold of many jets on a dask cluster on this machine, with dask's performance report.

    pip install --group benchmarks
    python benchmarks/cluster.py FILE [FILE ...] [--jets 1e7] [--workers 2] [--output DIR]

The files are read repeatedly, as copies with different names, up to the requested number of gen jets: each copy is a
dataset, so that its jets are drawn anew. Writes DIR/dask-report.html and DIR/cluster.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import site
import sys
import tempfile
import time
import warnings
from pathlib import Path

import uproot
from coffea import processor
from coffea.util import coffea_console
from distributed import Client, LocalCluster, performance_report

from coffea_iqn.files.inputs import NanoSchema
from coffea_iqn.processors import IQNFoldProcessor

CHUNK = 100_000  # events


def peak_memory() -> float:
    """Return the peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def without_paths(report: Path) -> None:
    """Remove the paths of the package and its dependencies from a report."""
    text = report.read_text(encoding="utf-8")
    for folder in (
        *sorted(map(str, site.getsitepackages())),
        sys.base_prefix,
        sys.prefix,
        str(Path(__file__).parents[1]),
    ):
        text = text.replace(f"{folder}/", "")
    report.write_text(text, encoding="utf-8")


def copies(paths: list[str], wanted: float, folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return a fileset of links to the files, repeated until there are enough gen jets."""
    jets = {path: int(uproot.open(path)["Events/nGenJet"].array(library="np").sum()) for path in paths}
    fileset: dict[str, dict[str, dict[str, str]]] = {}
    n = 0
    while n < wanted:
        for path in paths:
            link = folder / f"{len(fileset)}.root"
            link.symlink_to(Path(path).resolve())
            fileset[f"copy{len(fileset)}"] = {"files": {str(link): "Events"}}
            n += jets[path]
            if n >= wanted:
                break
    return fileset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="cms-delphes-ak4")
    parser.add_argument("--jets", type=float, default=1e7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("cluster"))
    arguments = parser.parse_args()
    coffea_console.quiet = True
    warnings.filterwarnings("ignore", message=".*bokeh.*")
    arguments.output.mkdir(parents=True, exist_ok=True)
    workers = arguments.workers
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        fileset = copies(arguments.files, arguments.jets, Path(folder))
        executor = processor.DaskExecutor(client=client, status=False)
        runner = processor.Runner(executor=executor, schema=NanoSchema, chunksize=CHUNK)
        fold = IQNFoldProcessor(arguments.model, truth=None)
        first = dict(list(fileset.items())[:workers])
        runner(first, fold)  # compile and load once
        started = time.perf_counter()
        with performance_report(filename=str(arguments.output / "dask-report.html")):
            out = runner(fileset, fold)
        seconds = time.perf_counter() - started
        without_paths(arguments.output / "dask-report.html")
        memory = client.run(peak_memory)
    flows = out["cutflow"].values()
    found = {
        "gen jets": sum(flow["gen_jets"] for flow in flows),
        "events": sum(flow["events"] for flow in flows),
        "seconds": seconds,
        "workers": workers,
        "GB of each worker, at most": max(memory.values()),
        "GB of the client": peak_memory(),
    }
    found["jets/s"] = found["gen jets"] / seconds
    found["jets/s a worker"] = found["jets/s"] / workers
    (arguments.output / "cluster.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
