"""Whether every link of built pages to another one, to a place in it, a picture or a script has something at its end.

    python docs/check_links.py docs/_build/html

Sphinx checks the links it makes; this one also those that are written as HTML, and what the theme adds. Pages that were
made elsewhere (reports) are looked for, not into. Links that leave the site are left alone: nothing needs a network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ELSEWHERE = ("closure", "cluster", "_static")


class Page(HTMLParser):
    """The links of a page, and the places in it that a link can name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        for name, value in attrs:
            if value and name in {"id", "name"}:
                self.places.add(value)
            elif value and name in {"href", "src"}:
                self.links.append(value)


def broken(root: Path) -> list[str]:
    """Links without an end, each with the page that it is on."""
    pages = {
        path: Page(path) for path in sorted(root.rglob("*.html")) if path.relative_to(root).parts[0] not in ELSEWHERE
    }
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                found.append(f"{path.relative_to(root)}: {link}")
    return found


def main() -> int:
    root = Path(sys.argv[1]).resolve()
    found = broken(root)
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(list(root.rglob('*.html')))} pages, {len(found)} broken links")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
