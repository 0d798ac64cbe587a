"""Our docstrings to reStructuredText: sections with `name: what it is`, names in single backticks.

Types stand in signatures and need not be said again, so that sections have no types in them as numpydoc's have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.roles import XRefRole
from sphinx.util.nodes import make_refnode

ITEMS = ("Parameters", "Attributes", "Raises", "Warns")
SECTIONS = (*ITEMS, "Returns")
NAMED = re.compile(r"([\w.*]+(?:, [\w.*]+)*): (.*)")
CODE = re.compile(r"(`[^`]*`)")


def rewrite(lines: list[str]) -> list[str]:
    """Sections as field lists.

    >>> rewrite(["Parameters", "----------", "gen, reco: jets,", "    flat.", "", "More."])
    [':Parameters:', '   - **gen**, **reco** – jets,', '     flat.', '', 'More.']
    """
    out: list[str] = []
    at = 0
    while at < len(lines):
        if lines[at] in SECTIONS and at + 1 < len(lines) and set(lines[at + 1]) == {"-"}:
            name, stop = lines[at], at + 2
            while stop < len(lines) and lines[stop].strip():
                stop += 1
            body = lines[at + 2 : stop]
            out += [f":{name}:", *(_items(body) if name in ITEMS else (f"   {line}" for line in body))]
            at = stop
        else:
            out.append(lines[at])
            at += 1
    return [line if line.lstrip().startswith((">>>", "...")) else _escaped(line) for line in out]


def _escaped(line: str) -> str:
    """A line whose |eta| is no substitution."""
    parts = CODE.split(line)
    return "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def _items(body: list[str]) -> Iterator[str]:
    for line in body:
        named = NAMED.fullmatch(line)
        if named is not None:
            names = ", ".join(f"**{name}**".replace("***", r"**\*") for name in named[1].split(", "))
            yield f"   - {names} – {named[2]}"
        else:
            yield f"     {line.strip()}"


class Ours(XRefRole):
    """A name in backticks: a link where it is one documented thing, code where it is not."""

    def process_link(self, env: Any, refnode: nodes.Element, *texts: Any) -> tuple[str, str]:
        _, title, target = texts
        refnode["place"] = [env.ref_context.get(key) for key in ("py:module", "py:class")]
        return title, target


def _docstring(_app: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = rewrite(lines)


def _skip(_app: Any, _what: str, _name: str, thing: Any, skip: bool, _options: Any) -> bool | None:
    """Fields of named tuples, which the class says all of."""
    doc = getattr(thing, "__doc__", None) or ""
    return True if skip or doc.startswith("Alias for field number") else None


def _resolve(app: Any, env: Any, node: nodes.Element, content: nodes.Node) -> nodes.Node | None:
    if node["reftype"] != "ours":
        return None
    found = env.get_domain("py").find_obj(env, *node["place"], node["reftarget"], "obj", searchmode=1)
    if len(found) != 1:
        return content
    ((name, thing),) = found
    return make_refnode(app.builder, node["refdoc"], thing.docname, thing.node_id, content, name)


def setup(app: Any) -> dict[str, bool]:
    app.add_role("ours", Ours(innernodeclass=nodes.literal))
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
