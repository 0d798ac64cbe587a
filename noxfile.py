"""Checks in environments of their own: `nox -s lint`, `tests`, `minimums`, `root`, `docs`, `build`."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "tests"]
PROJECT = nox.project.load_toml()
EXTRAS = ".[all,dask,export,generate,judge,members,unfold]"
TWO_AT_A_TIME = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def install(session: nox.Session, *groups: str, constraints: str = "constraints.txt") -> None:
    """The package as it stands, with groups of dependencies, in versions that are known."""
    wanted = [one for group in groups for one in nox.project.dependency_groups(PROJECT, group)]
    session.install("-c", constraints, "-e", EXTRAS, *wanted)
    session.env["OMP_NUM_THREADS"] = "1"  # workers are processes; threads of theirs would only compete


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's checks and format, mypy."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, or what is named: `nox -s tests -- tests/test_skims.py`."""
    install(session, "test")
    session.run("python", "-m", "pytest", *(session.posargs or TWO_AT_A_TIME))


@nox.session
def minimums(session: nox.Session) -> None:
    """The test suite with the oldest versions that pyproject.toml allows."""
    install(session, "test", constraints="minimums.txt")
    # what those versions warned of has been mended since
    session.run("python", "-m", "pytest", "-W", "default", *(session.posargs or TWO_AT_A_TIME))


@nox.session
def root(session: nox.Session) -> None:
    """Whether ROOT itself reads skims; its wheel takes 250 MB, so that the other sessions skip this."""
    install(session, "test", "root")
    session.run("python", "-m", "pytest", "tests/test_skims.py", "-k", "root_reads")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation; warnings are errors."""
    session.run("make", "docs", f"VENV={session.virtualenv.location}", external=True)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and source distribution, with what a package index looks at."""
    session.install("-c", "constraints.txt", *nox.project.dependency_groups(PROJECT, "build"))
    session.run("python", "-m", "build", "--outdir", "dist", ".")
    session.run("twine", "check", "--strict", "dist/*")
