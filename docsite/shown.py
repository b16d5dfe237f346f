"""Files of this repository beside docs/ that pages link to: shown as pages of the site, so that their links lead somewhere.

On GitHub a link such as `../examples/health` leads to the folder; in the site it leads to `repo/examples/health/`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from docsite.words import block, code, prose

DOCS = "docs"
FIRST = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")  # shown whether a page links to them or not
LARGEST = 40_000  # bytes of a file that is shown as a page; a larger one, or one that is no text, is a file to load
_LANGUAGES = {
    ".py": "python",
    ".sh": "sh",
    ".json": "json",
    ".java": "java",
    ".go": "go",
    ".css": "css",
    ".toml": "toml",
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".service", ".timer", ".socket"), "ini"),
}
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()([^()\s]+)((?:\s+\"[^\"]*\")?\))")
_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)


def links(markdown: str) -> list[str]:
    """The targets of the links within this repository, without code, in their order; `#…` of the page itself too."""
    found: list[str] = []

    def note(target: str) -> str:
        found.append(target)
        return target

    _each(markdown, note)
    return [one for one in found if one.startswith("#") or not _SCHEME.match(one)]


def relinked(markdown: str, source: str, here: str, place_of: Callable[[str], str | None]) -> str:
    """The links of a file `source` of this repository, for the page `here` of the site.

    place_of: what a path of this repository is called in the site, or None: then the link stays as it is.
    """

    def new(target: str) -> str:
        if _SCHEME.match(target):
            return target
        path, mark, anchor = target.partition("#")
        place = place_of(resolved(path, source))
        if place is None:
            return target
        return posixpath.relpath(place, posixpath.dirname(here) or ".") + mark + anchor

    return _each(markdown, new)


def resolved(target: str, source: str) -> str:
    """A link's path, from this repository's folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(target)))


def _each(markdown: str, new: Callable[[str], str]) -> str:
    """Each link's target replaced, but in blocks and spans of code."""
    out: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        marks = re.match(r"\s*(`{3,}|~{3,})", line)
        if fence:
            fence = "" if marks and marks[1].startswith(fence) else fence
        elif marks:
            fence = marks[1]
        else:
            spans = [found.span() for found in _SPAN.finditer(line)]

            def one(found: re.Match[str], spans: list[tuple[int, int]] = spans) -> str:
                if any(start <= found.start() and found.end() <= end for start, end in spans):
                    return found[0]
                return found[1] + new(found[2]) + found[3]

            line = _LINK.sub(one, line)
        out.append(line)
    return "\n".join(out)


class Shown:
    """What is shown of the repository in `root`: all that is linked to, from these pages on."""

    def __init__(self, root: Path, pages: Iterable[str]) -> None:
        self.root = root
        self.places: dict[str, str] = {}  # path in this repository -> path in the site's sources
        self.pages: dict[str, str] = {}  # place -> Markdown, its links as in the repository
        self.files: dict[str, Path] = {}  # place -> file
        self.source: dict[str, str] = {}  # place -> path of the file whose links it has
        queue = [*FIRST, *(f"{DOCS}/{page}" for page in pages)]
        seen = set(queue)
        while queue:
            for path in self._take(queue.pop(0)):
                if path not in seen:
                    seen.add(path)
                    queue.append(path)

    def place_of(self, path: str) -> str | None:
        """What a path of this repository is called in the site, or None."""
        if PurePosixPath(path).is_relative_to(DOCS):
            return posixpath.relpath(path, DOCS)
        return self.places.get(path)

    def _take(self, path: str) -> list[str]:
        """Makes a page or a file of a path; returns what it links to."""
        file = self.root / path
        if path.startswith("..") or not file.exists():
            return []  # a link that leads nowhere: the checks say so
        if PurePosixPath(path).is_relative_to(DOCS):
            return [resolved(one, path) for one in _paths(file.read_text("utf-8"))] if file.suffix == ".md" else []
        if file.is_dir():
            return self._folder(path, file)
        if path in self.places:
            return []
        text = _text(file)
        if text is None:
            return self._put(path, f"repo/{path}", None, file)
        if file.suffix == ".md":
            folder = (
                self._folder(posixpath.dirname(path), file.parent) if file.name == "README.md" and "/" in path else []
            )
            if not folder:
                self._put(path, f"repo/{path}", text, file)
            return [*folder, *(resolved(one, path) for one in _paths(text))]
        shown = block(text, _LANGUAGES.get(file.suffix, "text"))
        return self._put(path, f"repo/{path}.md", f"# {prose(path)}\n\n{shown}\n", file)

    def _folder(self, path: str, folder: Path) -> list[str]:
        """A folder is its README, if it has one, and the list of its files."""
        if path in self.places:
            return []
        entries = sorted((e for e in folder.iterdir() if _is_ours(e)), key=lambda e: (e.is_dir(), e.name))
        readme = folder / "README.md"
        text = readme.read_text("utf-8") if readme.exists() else f"# {prose(path)}\n"
        others = [e.name for e in entries if e != readme]
        listed = "\n".join(f"- [{code(name + '/' * (folder / name).is_dir())}]({name})" for name in others)
        place = f"repo/{path}/README.md"
        self._put(path, place, f"{text.rstrip()}\n\n## Files\n\n{listed}\n", readme)
        self.places[f"{path}/README.md"] = place
        return [f"{path}/{name}" for name in others] + [resolved(one, f"{path}/README.md") for one in _paths(text)]

    def _put(self, path: str, place: str, text: str | None, file: Path) -> list[str]:
        self.places[path] = place
        if text is None:
            self.files[place] = file
        else:
            self.pages[place] = text
            self.source[place] = file.relative_to(self.root).as_posix()
        return []


def _paths(markdown: str) -> list[str]:
    return [target.partition("#")[0] for target in links(markdown) if not target.startswith("#")]


def _is_ours(entry: Path) -> bool:
    return not entry.name.startswith((".", "__pycache__")) and entry.suffix != ".pyc"


def _text(file: Path) -> str | None:
    content = file.read_bytes()
    if len(content) > LARGEST and file.suffix != ".md":
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
