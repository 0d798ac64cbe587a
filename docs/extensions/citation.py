"""A directive that says of CITATION.cff what it asks for, and each of its entries as BibTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive

CITATION = Path(__file__).parents[2] / "CITATION.cff"
FIELDS = {"journal": "journal", "volume": "volume", "start": "pages", "doi": "doi", "version": "version"}


def bibtex(entry: dict[str, Any], key: str) -> str:
    """An entry of a citation file as BibTeX."""
    kind = {"article": "article", "software": "software"}[entry["type"]]
    fields = {"title": entry["title"], "author": " and\n    ".join(_author(one) for one in entry["authors"])}
    fields |= {name: str(entry[field]) for field, name in FIELDS.items() if field in entry}
    fields["year"] = str(entry.get("year") or entry["date-released"])[:4]
    lines = [f"  {name:8} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _author(author: dict[str, str]) -> str:
    if "family-names" in author:
        return f"{author['family-names']}, {author['given-names']}"
    return f"{{{author['name']}}}"


class Citation(Directive):
    """All of a citation file."""

    def run(self) -> list[nodes.Node]:
        content = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
        self.state.document.settings.env.note_dependency(str(CITATION))
        entries = {"coffea-iqn": content}
        for reference in content["references"]:
            entries[f"{reference['authors'][0]['family-names']}:{reference['year']}"] = reference
        blocks = []
        for key, entry in entries.items():
            block = nodes.literal_block(text := bibtex(entry, key), text)
            block["language"] = "bibtex"
            blocks.append(block)
        return [nodes.paragraph(text=content["message"]), *blocks]


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("citation", Citation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
