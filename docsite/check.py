"""Checks a built site: each link leads to a page and each anchor to a place in it, and nothing is loaded from elsewhere.

`python -m docsite.check site` prints what is wrong, a line each, and then exits with 1.
"""

from __future__ import annotations

import html
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

_TAG = re.compile(r"<([a-zA-Z][\w-]*)((?:\s+[^\s=>]+(?:=(?:\"[^\"]*\"|'[^']*'|[^\s>]+))?)*)\s*/?>")
_ATTRIBUTE = re.compile(r"([^\s=]+)=(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))")
_ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_STYLE_URL = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_LOADS = ("src", "srcset", "poster", "data", "action")


class Page:
    """What one page has: names of places in it, links to others, and what it loads."""

    def __init__(self, text: str) -> None:
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        for tag, rest in _TAG.findall(text):
            for name, *values in _ATTRIBUTE.findall(rest):
                value = html.unescape("".join(values))
                name = name.lower()
                if name == "id" or (name == "name" and tag == "a"):
                    self.ids.add(value)
                elif name == "href":
                    (self.links if tag in ("a", "area") else self.loads).append(value)
                elif name in _LOADS:
                    self.loads.append(value)
        self.loads += _STYLE_URL.findall(" ".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)))


def problems(site: Path) -> list[str]:
    """What is wrong with the site in a folder, as text; empty when all is well."""
    pages = {file.relative_to(site).as_posix(): Page(file.read_text("utf-8")) for file in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site}: no pages"]
    for name, page in pages.items():
        found += _of_page(site, name, page, pages)
    for sheet in sorted(site.rglob("*.css")):
        urls = _STYLE_URL.findall(sheet.read_text("utf-8"))
        found += [f"{sheet.relative_to(site)}: loads {url}" for url in urls]
    return found


def _of_page(site: Path, name: str, page: Page, pages: dict[str, Page]) -> Iterator[str]:
    for url in dict.fromkeys(page.loads):
        if _ELSEWHERE.match(url):
            yield f"{name}: loads {url}"
        elif not _SCHEME.match(url) and not (site / _resolved(name, url)).exists():
            yield f"{name}: loads {url}, which is not there"
    if name == "404.html":
        return  # shown at any address: its links are of the server's root
    for url in dict.fromkeys(page.links):
        if _SCHEME.match(url) or _ELSEWHERE.match(url):
            continue
        path, _, anchor = url.partition("#")
        target = _resolved(name, path) if path else name
        if (site / target).is_dir():
            target = posixpath.join(target, "index.html")
        if not (site / target).exists():
            yield f"{name}: {url} leads nowhere"
        elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
            yield f"{name}: {url}: {target} has no such place"


def _resolved(page: str, url: str) -> str:
    path = unquote(url.partition("#")[0].partition("?")[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if not path.startswith("/") else path[1:]


def main() -> int:
    found = problems(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
