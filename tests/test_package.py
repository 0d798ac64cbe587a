"""The package as a whole: its public names, and who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import coffea_iqn
import coffea_iqn.processors

ROOT = Path(coffea_iqn.__file__).parent

# room: the rooms of ours that it may know
ALLOWED = {
    "features": set(),
    "uniforms": set(),
    "splines": set(),
    "exact": set(),
    "binning": set(),
    "observables": {"doubles", "features"},
    "matching": set(),
    "radii": set(),
    "closure": set(),
    "kernels": set(),
    "doubles": {"kernels"},
    "surroundings": {"doubles"},
    "context": {"surroundings"},
    "networks": {"splines"},
    "compiled": {"kernels", "context", "features", "networks", "splines", "support"},
    "caches": set(),
    "blocks": set(),
    "unmatched_targets": {"doubles", "features"},
    "unmatched_columns": {"kernels", "context", "doubles", "features", "unmatched_targets"},
    "unmatched": {
        "blocks",
        "compiled",
        "context",
        "doubles",
        "features",
        "networks",
        "support",
        "unmatched_columns",
        "unmatched_targets",
    },
    "support": {"features"},
    "variables": {"context", "features", "networks", "support"},
    "resident": {"blocks", "networks", "uniforms", "variables"},
    "summaries": set(),
    "emulator": {
        "blocks",
        "compiled",
        "context",
        "features",
        "networks",
        "resident",
        "summaries",
        "unmatched",
        "variables",
    },
    "assembly": {
        "context",
        "emulator",
        "features",
        "networks",
        "support",
        "unmatched",
        "unmatched_columns",
        "variables",
    },
    "bundle": {"assembly", "data", "emulator", "whole"},
    "whole": set(),
    "ranges": set(),
    "reading": {"ranges"},
    "fitting": {"ranges", "whole"},
    "batches": {"context", "fitting"},
    "samples": set(),
    "thresholds": {"features"},
    "recipes": {"context", "features", "fitting", "networks", "ranges"},
    "training": {
        "batches",
        "context",
        "emulator",
        "features",
        "fitting",
        "networks",
        "recipes",
        "samples",
        "support",
        "training_unmatched",
        "variables",
    },
    "training_unmatched": {
        "batches",
        "context",
        "features",
        "fitting",
        "networks",
        "recipes",
        "samples",
        "support",
        "unmatched",
        "unmatched_columns",
        "unmatched_targets",
        "variables",
    },
    "distilling": {
        "batches",
        "emulator",
        "features",
        "fitting",
        "networks",
        "recipes",
        "samples",
        "training",
        "variables",
    },
    "ordering": set(),
    "identity": {"uniforms"},
    "events": {"context", "doubles", "identity"},
    "folding": {"emulator", "events", "features", "uniforms"},
    "folder": {
        "bundle",
        "context",
        "data",
        "emulator",
        "events",
        "features",
        "folding",
        "identity",
        "ordering",
        "radii",
        "ranges",
        "resident",
    },
    "trees": {"whole"},
    "skims": {"events", "features", "identity", "trees", "whole"},
    "merging": {"trees", "whole"},
    "histograms": {"binning", "events", "exact", "features", "observables"},
    "plotting": {"closure", "whole"},
    "selections": set(),
    "spoiling": {"emulator", "features"},
    "copies": {"closure", "context", "emulator", "features", "ranges", "samples"},
    "validation": {"closure", "copies", "emulator", "samples", "selections"},
    "verdict": {"closure", "validation"},
    "metrics": {"closure", "output", "validation", "verdict"},
    "sections": {"closure", "plotting", "validation"},
    "report": {"metrics", "plotting", "sections", "verdict"},
    "files": {"context", "events", "identity", "radii", "reading"},
    "filesets": {"files", "reading"},
    "faults": {"whole"},
    "generating": {"ranges", "whole"},
    "running": {"faults", "files", "reading"},
    "output": {"whole"},
    "data": set(),
}


def imports_of(paths):
    """Names of our rooms that modules import."""
    rooms = set()
    for node in (node for path in paths for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("coffea_iqn"):
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return rooms


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_go_one_way(room):
    paths = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").is_file() else list((ROOT / room).glob("*.py"))
    if room == "data":
        paths = [Path(sys.modules["coffea_iqn.data"].__file__)]
    assert paths
    assert imports_of(paths) - {room} <= ALLOWED[room]


def test_every_room_is_known():
    rooms = {p.stem for p in (*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/"))} - {"__init__", "__main__", "cli", "commands"}
    assert rooms == set(ALLOWED) - {"data"}


def test_public_names():
    assert sorted(coffea_iqn.processors.__all__) == ["IQNFoldProcessor", "PairsProcessor"]


def test_names_of_the_package_are_frozen():
    assert dir(coffea_iqn) == ["Emulator", "IQNFolder", "__version__"]
    assert coffea_iqn.IQNFolder.__module__ == "coffea_iqn.folder"
    with pytest.raises(AttributeError, match="has no attribute 'IQNJet'"):
        coffea_iqn.IQNJet  # noqa: B018


@pytest.mark.skipif(not (ROOT.parent / "minimums.txt").is_file(), reason="installed without the repository")
def test_the_oldest_versions_are_those_that_are_tested():
    """The bounds of pyproject.toml, and the versions of the session that tests with the oldest ones."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(project["dependencies"]), re.MULTILINE))
    lines = (ROOT.parent / "minimums.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert bounds.keys() == tested.keys()
    for name in bounds.keys() - {"torch"}:
        assert tested[name].startswith(bounds[name]), name


def test_importing_prints_nothing_and_sets_nothing():
    code = "import os; before = dict(os.environ); import coffea_iqn.processors; assert dict(os.environ) == before"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.skipif(not (ROOT.parent / "pyproject.toml").is_file(), reason="installed without the repository")
def test_what_is_imported_is_declared():
    """Every package that modules import is a dependency, or one of an extra; llvmlite comes with numba."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    modules = {"pyyaml": "yaml", "pythia8mc": "pythia8mc", "xgboost-cpu": "xgboost", "fsspec-xrootd": "fsspec_xrootd"}
    names = [re.match(r"[\w-]+", one).group() for one in declared]
    known = {modules.get(name, name.replace("-", "_")) for name in names} | {"coffea_iqn", "llvmlite"}
    imported = set()
    for path in (*ROOT.rglob("*.py"), *(ROOT.parent / "processors").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= known
