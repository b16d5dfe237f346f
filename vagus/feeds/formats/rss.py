"""RSS and Atom, as they really are, by feedparser; nothing is fetched, and no entity is resolved."""

from __future__ import annotations

import calendar
import codecs
import io
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from vagus.errors import ConfigError, NoData
from vagus.feeds.formats.faults import Faults, whole
from vagus.feeds.formats.structs import shape_of
from vagus.feeds.item import Data, Descriptor

MAX_ENTRIES = 10_000
MAX_LINKS = 100  # of one entry; also tags and enclosures
MAX_WORD = 1000  # feedparser looks for an e-mail address in a time that grows with the square of a word's length

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]{1,40})["'][^>]{0,100}\?>""")
_ENCODINGS = re.compile(
    r"utf-?8|us-ascii|ascii|latin-?1|iso-?8859-\d+|windows-\d+|cp\d+|koi8-[ru]|shift[_-]?jis|euc-(jp|kr)|gb\d+|gbk|big5",
    re.IGNORECASE,
)
_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,400}\?>")
_LONG_WORD = re.compile(rf"[A-Za-z0-9_.+-]{{{MAX_WORD}}}")
_LONG_BLANK = re.compile(rf"\s{{{MAX_WORD}}}")  # it looks for declarations behind blanks in such a time, too
_REFERENCE = re.compile(r"&#(?:[xX]([0-9a-fA-F]{1,12})|([0-9]{1,12}));?")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class Enclosure(msgspec.Struct, frozen=True):
    """A file that belongs to an entry."""

    href: str
    type: str = ""
    bytes: int | None = None


class RssEntry(msgspec.Struct, frozen=True):
    """An RSS item or Atom entry; texts are as they were written, HTML included, and empty where there is none."""

    title: str
    link: str
    id: str
    summary: str
    content: str
    author: str
    published_s: float | None  # seconds since 1970
    updated_s: float | None
    tags: list[str]
    enclosures: list[Enclosure]


class RssFeed(msgspec.Struct, frozen=True):
    """A whole feed. version: as feedparser names it, such as `rss20` or `atom10`."""

    title: str
    link: str
    description: str
    updated_s: float | None
    version: str
    entries: list[RssEntry]


class Rss:
    """A body as an `RssFeed`. max_bytes: of the body; feedparser takes up to 2 s of processor time for each MiB."""

    name = "rss"
    shape = shape_of(RssFeed)

    def __init__(self, max_bytes: int = 4 << 20) -> None:
        if not 1 <= max_bytes <= 64 << 20:
            raise ConfigError(f"format rss: max_bytes must be 1 to {64 << 20}, got {max_bytes}")
        self._max_bytes = max_bytes

    def parse(self, body: bytes) -> tuple[RssFeed | None, Descriptor]:
        """The feed; what could be read of it where it is not well-formed (feedparser's `bozo`). None for what is none."""
        import feedparser

        if len(body) > self._max_bytes:
            return None, whole(body, f"more than max_bytes={self._max_bytes}", Data.SEMANTIC)
        faults = Faults()
        text = _safe(body, faults)
        try:
            # a file object: of text, feedparser would open the file or fetch the URL that it names
            found = feedparser.parse(
                io.BytesIO(text.encode()),
                response_headers={"content-type": "application/xml; charset=utf-8"},
                resolve_relative_uris=False,
                sanitize_html=False,
            )
        except Exception as error:  # its loose parser gives up on some bodies in its own ways
            return None, whole(body, f"feedparser raised {type(error).__name__}: {error}")
        version, entries = _text(found.get("version")), found.get("entries") or []
        if not version and not entries:
            return None, whole(body, f"no RSS or Atom: {found.get('bozo_exception', 'there is no such element')}")
        if found.get("bozo"):
            faults.wrong(str(found.get("bozo_exception", "not well-formed")))
        if len(entries) > MAX_ENTRIES:
            faults.wrong(f"{len(entries)} entries; {MAX_ENTRIES} are read", Data.SEMANTIC)
        about: Any = found.get("feed") or {}
        value = RssFeed(
            _text(about.get("title")),
            _text(about.get("link")),
            _text(about.get("subtitle")),
            _seconds(about, "updated"),
            version,
            [_entry(entry) for entry in entries[:MAX_ENTRIES]],
        )
        inside = Faults()
        for index, entry in enumerate(entries[:MAX_ENTRIES]):
            inside.part(index, _times(entry))
        faults.part("entries", inside.descriptor(0, len(body)))
        return value, faults.descriptor(0, len(body))

    def print(self, value: RssFeed) -> bytes:
        """Raises NoData: a feed has more in it than is read here. The tool `rss` writes feeds."""
        raise NoData("format rss cannot be printed; the tool rss writes feeds")


def _safe(body: bytes, faults: Faults) -> str:
    """The text without declarations of entities, which could grow without limit, and without words that cost too much."""
    encoding = next((name for bom, name in _BOMS if body.startswith(bom)), "")
    if not encoding:
        named = _ENCODING.match(body[:1000])
        encoding = named[1].decode() if named else "utf-8"
        if not _ENCODINGS.fullmatch(encoding):
            faults.wrong(f"encoding {encoding!r} is not known here; read as utf-8")
            encoding = "utf-8"
    try:
        text = body.decode(encoding, errors="replace")
    except (LookupError, UnicodeError):
        text = body.decode(errors="replace")
    text = text.removeprefix("\ufeff")
    if undecodable := text.count("\ufffd"):
        faults.wrong(f"bytes that are not {encoding}", errors=undecodable)
    text, strange = _NOT_XML.subn(" ", text)
    if strange:
        faults.wrong("characters that XML has not", errors=strange)
    if declared := _DECLARATION.match(text):
        text = text[declared.end() :]
    text = _REFERENCE.sub(_character, text)
    if text.count("<!DOCTYPE") > 1:
        faults.wrong("more than one DOCTYPE")
        text = text.replace("<!DOCTYPE", "<!NOTATION")
    if "<!ENTITY" in text:
        faults.wrong("declarations of entities are left out", Data.SEMANTIC)
        text = text.replace("<!ENTITY", "<!NOTATION")
    text = _LONG_BLANK.sub(" ", text)
    text, long = _LONG_WORD.subn(r"\g<0> ", text)
    if long:
        faults.wrong(f"words of more than {MAX_WORD} characters are cut", Data.SEMANTIC, errors=long)
    return text


def _character(found: re.Match[str]) -> str:
    """A reference to a character as it is; feedparser gives up on those to none, and to halves of surrogate pairs."""
    code = int(found[1], 16) if found[1] else int(found[2])
    return found[0] if 0 < code < 0xD800 or 0xE000 <= code <= 0x10FFFF else "\ufffd"


def _entry(entry: Mapping[str, Any]) -> RssEntry:
    content = entry.get("content") or []
    return RssEntry(
        _text(entry.get("title")),
        _text(entry.get("link")),
        _text(entry.get("id")),
        _text(entry.get("summary")),
        _text(content[0].get("value")) if content else "",
        _text(entry.get("author")),
        _seconds(entry, "published"),
        _seconds(entry, "updated"),
        [_text(tag.get("term")) for tag in (entry.get("tags") or [])[:MAX_LINKS]],
        [
            Enclosure(_text(part.get("href")), _text(part.get("type")), _length(part.get("length")))
            for part in (entry.get("enclosures") or [])[:MAX_LINKS]
        ],
    )


def _text(found: Any) -> str:
    """Text as JSON has it; feedparser gives other things, and halves of surrogate pairs, for broken elements."""
    return found.encode("utf-8", "replace").decode() if isinstance(found, str) else ""


def _length(found: Any) -> int | None:
    text = _text(found).strip()
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _seconds(found: Mapping[str, Any], key: str) -> float | None:
    if f"{key}_parsed" not in found:  # feedparser's own `get` warns, and gives another key's value
        return None
    try:
        return float(calendar.timegm(found[f"{key}_parsed"]))
    except (TypeError, ValueError, OverflowError):
        return None


def _times(entry: Mapping[str, Any]) -> Descriptor:
    """What is wrong with the times of an entry."""
    faults = Faults()
    for key in ("published", "updated"):
        if key in entry and entry[key] and _seconds(entry, key) is None:
            faults.broken(f"{key}_s", f"not a time: {_text(entry[key])[:60]!r}", 0, 0)
    return faults.descriptor(0, 0)
