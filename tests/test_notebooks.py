"""Notebooks are stored without outputs, and copied with them; the build of the documentation runs them."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RENDERED = ROOT / "docs" / "rendered"

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own
of_each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@of_each
def test_is_stored_without_output(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@of_each
def test_its_copy_has_the_same_cells_and_its_figures(path):
    again = "changed since it was copied: run python docs/render_notebooks.py"
    text = (RENDERED / f"{path.stem}.md").read_text(encoding="utf-8")
    assert f"(../../notebooks/{path.name})" in text
    end = 0
    for cell in nbformat.read(path, as_version=4).cells:
        shown = f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source
        start = text.find(shown, end)
        assert start >= 0, f"{path.name}, {cell.id}: {again}"
        end = start + len(shown)
    figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert figures == [f"{path.stem}_{k}.png" for k in range(len(figures))]
    assert {file.name for file in RENDERED.glob(f"{path.stem}_*.png")} == set(figures) != set()
    assert not re.search(r"/(home|root|tmp|usr|work)/|site-packages", text)


def test_copies_are_small_and_of_notebooks():
    assert {file.stem for file in RENDERED.glob("*.md")} == {path.stem for path in NOTEBOOKS}
    assert sum(file.stat().st_size for file in RENDERED.iterdir()) < 1_500_000
