"""What the documentation is built with, where that needs no Sphinx: the check of its links."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def broken():
    return runpy.run_path(str(DOCS / "check_links.py"))["broken"]


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("other.html", False),
        ("other.html#there", False),
        ("other.html?q=1#there", False),
        ("sub/", False),
        ("#here", False),
        ("https://elsewhere.example/none.html", False),
        ("none.html", True),
        ("other.html#nowhere", True),
        ("#nowhere", True),
        ("picture.png", True),
    ],
)
def test_a_link_needs_something_at_its_end(broken, tmp_path, link, is_broken):
    (tmp_path / "index.html").write_text(f'<h1 id="here">A</h1><a href="{link}">B</a>')
    (tmp_path / "other.html").write_text('<p id="there">C</p>')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<a href="../other.html">D</a>')
    assert broken(tmp_path) == ([f"index.html: {link}"] if is_broken else [])


def test_every_notebook_has_a_page_and_is_in_the_readme():
    listed = (DOCS / "notebooks.md").read_text()
    readme = (DOCS.parent / "README.md").read_text()
    notebooks = sorted((DOCS.parent / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        assert f"notebooks/{path.stem}\n" in listed
        assert f"(notebooks/{path.name})" in readme
        assert f"(docs/rendered/{path.stem}.md)" in readme
