"""Notebooks run from a clean kernel, two at a time, and are stored without what comes out of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own
of_each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


async def execute(path, folder, places):
    notebook = nbformat.read(path, as_version=4)
    async with places:
        await NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).async_execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed(request, tmp_path_factory):
    """By path, the cells of those notebooks that this session asks for, or what went wrong."""
    functions = (item for item in request.session.items if item.path == request.path)
    paths = [item.callspec.params["path"] for item in functions if "executed" in item.fixturenames]

    async def execute_all():
        places = asyncio.Semaphore(2)
        jobs = (execute(path, tmp_path_factory.mktemp(path.stem), places) for path in paths)
        return await asyncio.gather(*jobs, return_exceptions=True)

    return dict(zip(paths, asyncio.run(execute_all()), strict=True))


@of_each
def test_runs_from_a_clean_kernel(path, executed):
    cells = executed[path]
    if isinstance(cells, BaseException):
        raise cells
    assert all(cell.execution_count for cell in cells)
    shown = [output.get("data", {}) for cell in cells for output in cell.outputs]
    assert any("image/png" in data for data in shown)


@of_each
def test_is_stored_without_output(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
