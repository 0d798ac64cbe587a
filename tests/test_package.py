"""The package as a whole: its public names, and who may import whom."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import coffea_iqn
import coffea_iqn.processors
from coffea_iqn import moved
from coffea_iqn.data import sample_path
from conftest import make_pairs

ROOT = Path(coffea_iqn.__file__).parent

# package: those of ours that it may import; none of them, at whatever remove, imports it
ALLOWED = {
    "data": set(),
    "moved": set(),
    "ranges": set(),
    "numerics": set(),
    "jets": {"numerics", "ranges"},
    "closure": {"jets", "numerics", "ranges"},
    "iqn": {"numerics", "ranges"},
    "objects": {"jets", "numerics"},
    "particles": {"jets", "numerics"},
    "emulator": {"iqn", "jets", "numerics", "objects", "particles", "ranges"},
    "events": {"jets", "numerics", "objects", "ranges"},
    "files": {"events", "jets", "numerics", "ranges"},
    "variations": {"emulator", "jets", "numerics", "objects", "ranges"},
    "bundle": {"data", "emulator", "files", "iqn", "jets", "numerics", "objects", "ranges"},
    "folder": {"bundle", "data", "emulator", "events", "iqn", "jets", "numerics", "objects", "ranges", "variations"},
    "corrector": {"bundle", "data", "emulator", "events", "folder", "jets", "numerics", "ranges"},
    "histograms": {"files", "jets", "numerics", "objects"},
    "unfolding": {"events", "files", "folder", "histograms", "iqn", "jets", "numerics", "ranges"},
    "running": {"files", "numerics", "ranges"},
    "plotting": {"closure", "files", "numerics", "ranges"},
    "generation": {"files", "jets", "numerics", "ranges"},
    "training": {"closure", "emulator", "files", "iqn", "jets", "numerics", "objects", "particles", "ranges"},
    "exports": {"bundle", "data", "emulator", "events", "files", "iqn", "jets", "numerics", "ranges", "training"},
    "validation": {
        "bundle",
        "closure",
        "emulator",
        "files",
        "jets",
        "numerics",
        "objects",
        "plotting",
        "ranges",
        "training",
        "variations",
    },
}


def imports_of(paths):
    """Names of our packages that modules import."""
    found = set()
    for node in (node for path in paths for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("coffea_iqn"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    paths = [ROOT / f"{package}.py"] if (ROOT / f"{package}.py").is_file() else list((ROOT / package).rglob("*.py"))
    if package == "data":
        paths = [Path(sys.modules["coffea_iqn.data"].__file__)]
    assert paths
    assert imports_of(paths) - {package} <= ALLOWED[package]
    earlier = list(ALLOWED)[: list(ALLOWED).index(package)]
    assert ALLOWED[package] <= set(earlier)


def test_every_package_is_known():
    there = {p.stem for p in (*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/"))} - {"__init__", "__main__", "cli", "commands"}
    assert there == set(ALLOWED) - {"data"}


PUBLIC = """
skims.Skim context.encode context.describe uniforms.event_keys training.train validation.validate
recipes.TrainingSettings verdict.judged verdict.BY_KEY spoiling.spoil copies.Effort selections.Box resident.Resident
merging.merge generating.generate fitting.Schedule fitting.Check events.Names distilling.distil variables.Variables
files.NanoSchema files.inspect files.Source files.InputError histograms.AXES emulator.Emulator bundle.load
folder.FoldCounts matching.match_jets features.SCALES networks.MEMBERS trees.iterate context.flavour
context.neighbours context.event features.Standardisation features.ratio_targets features.jets_from_ratios
features.residual_targets features.jets_from_residuals features.symmetric_targets features.jets_from_symmetric
networks.QuantileNetwork uniforms.levels_on_device validation.Validation validation.Comparison
validation.compare_spectra
"""


def test_what_was_public_is_importable_where_it_was():
    """Names of README, documentation and API pages of before the packages."""
    for name in PUBLIC.split():
        module, _, attribute = name.partition(".")
        assert hasattr(importlib.import_module(f"coffea_iqn.{module}"), attribute), name
    assert importlib.import_module("coffea_iqn.skims").Skim is importlib.import_module("coffea_iqn.files.skims").Skim
    for there in moved.MOVED.values():
        importlib.import_module(f"coffea_iqn.{there}")
    before, pairs = importlib.import_module("coffea_iqn.features"), make_pairs(50)
    for there, back in (("ratio_targets", "jets_from_ratios"), ("symmetric_targets", "jets_from_symmetric")):
        targets = getattr(before, there)(pairs.y, pairs.x)
        np.testing.assert_allclose(getattr(before, back)(targets, pairs.x), pairs.y, rtol=1e-4, atol=1e-4)
    with pytest.raises(AttributeError, match="has no attribute 'cows'"):
        before.cows  # noqa: B018


HEAVY = ("torch", "coffea", "uproot", "hist", "matplotlib", "pandas", "dask")
FLAT = """
import sys, numpy as np
{hidden}
from coffea_iqn import bundle
jets = np.array([[50.0, 0.3, 1.0, 8.0], [90.0, 2.0, -1.0, 12.0]], dtype=np.float32)
reco = bundle.load("cms-delphes-ak4").sample(jets, np.full((2, 4), 0.3, dtype=np.float32))
assert reco.shape == (2, 4) and reco[0, 0] > 10.0
{more}
print(*[name for name in {names} if name in sys.modules])
"""


def loaded(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_fold_on_the_cpu_imports_no_torch_and_no_coffea(tmp_path):
    more = "from coffea_iqn import IQNFolder; IQNFolder('cms-delphes-ak4').fold_flat(jets, reco * 0 + 0.5)\n"
    more += f"assert not [name for name in {HEAVY} if name in sys.modules]\nfrom coffea_iqn import cli\n"
    words = ["fold", str(sample_path("qcd_ak4.root")), "--no-plots", "--quiet", "--output", str(tmp_path / "out")]
    more += f"assert cli.main({words}) == 0"
    there = loaded(FLAT.format(hidden="", more=more, names=(*HEAVY, "scipy.stats")))
    assert "coffea" in there
    assert not {"torch", "matplotlib", "scipy.stats"} & set(there)


def test_flat_arrays_are_folded_where_nothing_but_the_core_is_installed():
    """With numpy, numba, safetensors and array-api-compat, and without all the others."""
    others = (
        *HEAVY,
        "awkward",
        "vector",
        "scipy",
        "rich",
        "yaml",
        "jinja2",
        "mplhep",
        "loky",
        "shtab",
        "boost_histogram",
    )
    hidden = f"class Hidden:\n def find_spec(name, *_):\n  if name.split('.')[0] in {others}: raise ModuleNotFoundError"
    hidden += "\nsys.meta_path.insert(0, Hidden)"
    more = "law = bundle.load('cms-delphes-ak4'); again = law.quantile(jets, law.cdf(jets, reco), reco)\n"
    more += "assert np.allclose(again, reco, rtol=1e-4)\n"
    more += "assert np.isfinite(law.log_density(jets, reco, acceptance=True)).all()\n"
    more += "assert np.isfinite(law.marginal('mass', points=8).log_density(jets, reco[:, 3])).all()"
    assert loaded(FLAT.format(hidden=hidden, more=more, names=())) == []
    for code, hint in (
        ("from coffea_iqn import IQNFolder", "[all]"),
        ("bundle.load('cms-delphes-ak4').on('cpu')", "[train]"),
        ("bundle.load('cms-delphes-ak4').prepared(device='auto')", "[train]"),
    ):
        with pytest.raises(
            AssertionError, match=rf"to be installed, found none: pip install 'coffea-iqn{re.escape(hint)}'"
        ):
            loaded(FLAT.format(hidden=hidden, more=code, names=()))


def test_the_command_line_says_what_it_needs(tmp_path):
    code = "import sys; sys.modules['uproot'] = sys.modules['coffea'] = None; from coffea_iqn import cli; {run}"
    run = f"sys.exit(cli.main(['fold', 'a.root', '--output', '{tmp_path / 'out'}']))"
    done = subprocess.run([sys.executable, "-c", code.format(run=run)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "found none: pip install 'coffea-iqn[all]'" in done.stderr


def test_public_names():
    assert sorted(coffea_iqn.processors.__all__) == [
        "EventsProcessor",
        "IQNCorrectProcessor",
        "IQNFoldProcessor",
        "ObjectsProcessor",
        "PairsProcessor",
        "ParticlesProcessor",
        "ShapesProcessor",
    ]


def test_names_of_the_package_are_frozen():
    public = [
        "ConstituentFolder",
        "Emulator",
        "EventFolder",
        "IQNCorrector",
        "IQNFolder",
        "__version__",
        "event_uniforms",
        "response",
    ]
    assert dir(coffea_iqn) == public
    assert coffea_iqn.IQNFolder.__module__ == "coffea_iqn.folder.jets"
    with pytest.raises(AttributeError, match="has no attribute 'IQNJet'"):
        coffea_iqn.IQNJet  # noqa: B018


@pytest.mark.skipif(not (ROOT.parent / "minimums.txt").is_file(), reason="installed without the repository")
def test_the_oldest_versions_are_those_that_are_tested():
    """The bounds of pyproject.toml, and the versions of the session that tests with the oldest ones."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(one for name in ("coffea", "plot", "train", "members") for one in extras[name]),
    ]
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(wanted), re.MULTILINE))
    lines = (ROOT.parent / "minimums.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert bounds.keys() == tested.keys()
    for name in bounds.keys() - {"torch"}:
        assert tested[name].startswith(bounds[name]), name
    installed = [re.search(r"\.\[[\w,]+\]", (ROOT.parent / of).read_text()) for of in ("Makefile", "noxfile.py")]
    assert installed[0][0] == installed[1][0]  # every session installs what the tests import


def test_importing_prints_nothing_and_sets_nothing():
    code = "import os; before = dict(os.environ); import coffea_iqn.processors; assert dict(os.environ) == before"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.skipif(not (ROOT.parent / "pyproject.toml").is_file(), reason="installed without the repository")
def test_wheels_have_every_package():
    built = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {f"coffea_iqn.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in ROOT.glob("*/**/__init__.py")}
    assert set(built) == {"coffea_iqn", "coffea_iqn.data", "coffea_iqn.processors"} | there


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
