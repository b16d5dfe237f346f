"""An RSS 2.0 file of a feed: entries such as the nodes with little disk, rewritten on a schedule."""

from __future__ import annotations

import hashlib
import html
import re
from collections import OrderedDict
from collections.abc import Iterable
from email.utils import formatdate
from typing import Annotated, Any, Literal
from xml.etree import ElementTree as ET

import msgspec

from vagus.clock import NS
from vagus.config import Duration, Settings
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item
from vagus.feeds.location import HTTP, scheme, shown
from vagus.feeds.tools import checked
from vagus.feeds.tools.fields import Key, expression_of, text_of
from vagus.feeds.tools.files import replace
from vagus.feeds.tools.judge import judge_of
from vagus.feeds.tools.options import path_of, seconds_of
from vagus.feeds.tools.wording import Wording

MAX_REMEMBERED = 10_000  # what was last told of so many locations
MAX_OWN_BYTES = 16 << 20
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KEY = "vagus:key"  # domain of the category that says of which location or key an entry is


class RssOptions(Settings, frozen=True):
    """Options of `rss`."""

    file: str
    title: str
    link: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$", max_length=2000)] = "http://localhost/"
    description: str = ""
    path: str = ""  # the field (an expression) whose value is an entry's title; empty: `entry`, or the location
    entry: str = ""  # an entry's title with values in it, such as: {location} has {disk_free} GB left
    detail: str = ""  # an entry's text, in the same way
    when: str = ""  # an expression: which items become entries
    key: str = ""  # what entries are about: an expression; empty: the location
    entries: Literal["change", "item"] = "change"  # an entry when a key's title changes, or for each item
    every: Duration = "5m"  # how often the file is rewritten
    max_entries: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class _Entry(msgspec.Struct, frozen=True):
    guid: str
    title: str
    link: str
    detail: str
    date_s: int
    key: str


class Rss:
    """`Rss(context, file="comon.rss", title="…", path="disk_free", when="disk_free < 5")`; all options: RssOptions.

    Texts from outside are escaped, also as HTML where readers take it for that. An entry keeps its GUID over restarts
    and replays. Raises ConfigError.
    """

    name = "rss"

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(RssOptions, options)
        self._path = path_of(context, given.file)
        self._every_s = seconds_of("every", given.every)
        self._field = expression_of("path", given.path, context) if given.path else None
        self._title = Wording("entry", given.entry or "{location}", context)
        self._detail = Wording("detail", given.detail, context) if given.detail else None
        self._wanted = judge_of(expression_of("when", given.when, context)) if given.when else None
        self._key = Key(given.key, context)
        self._entries: OrderedDict[str, _Entry] | None = None  # by GUID, the oldest first; None: not read yet
        self._newest: OrderedDict[str, str] = OrderedDict()  # key → title of its newest entry
        self._changed = True
        self._written_ns: int | None = None

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Makes an entry of an item that is wanted. What is missing neither makes one nor ends one."""
        entries = self._known()
        key = self._key.of(item)
        if item.value is None or key is None:
            return ()
        wanted = True if self._wanted is None else self._wanted(item.value, item.meta)
        if wanted is False:
            self._newest.pop(key, None)  # when it is wanted again, it is told again
        title = self._titled(item) if wanted else None
        if title is None or (self.options.entries == "change" and self._newest.get(key) == title):
            return ()
        meta = item.meta
        self._newest[key] = title
        self._newest.move_to_end(key)
        while len(self._newest) > MAX_REMEMBERED:
            self._newest.popitem(last=False)
        name = "\0".join((self._path.name, meta.feed, meta.location, str(meta.due_ns), meta.part))
        guid = f"urn:vagus:{hashlib.blake2b(name.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
        if guid not in entries:
            link = shown(meta.location) if scheme(meta.location) in HTTP else ""
            detail = self._detail.of(item) if self._detail else f"{meta.feed}: {shown(meta.location)}"
            entries[guid] = _Entry(guid, title, link, detail, meta.due_ns // NS, key)
            self._changed = True
            while len(entries) > self.options.max_entries:
                entries.popitem(last=False)
        return ()

    def _titled(self, item: Item[Any]) -> str | None:
        if self._field is not None:
            value = self._field.evaluate(item.value, item.meta)
            if value is None or value != value:
                return None
            if not self.options.entry:
                return text_of(value)
        return self._title.of(item)

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Rewrites the file when it is due and something is new. Raises OSError."""
        since_ns = self._written_ns
        if since_ns is None or not 0 <= now_ns - since_ns < self._every_s * NS:
            self._write(now_ns)
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes what is new. Raises OSError."""
        self._write(now_ns)
        return ()

    def _write(self, now_ns: int) -> None:
        entries = self._known()
        if self._changed or not self._path.exists():
            replace(self._path, self._xml(entries.values(), now_ns))
            self._changed = False
        self._written_ns = now_ns

    def _xml(self, entries: Iterable[_Entry], now_ns: int) -> bytes:
        given = self.options
        root = ET.Element("rss", version="2.0")
        channel = ET.SubElement(root, "channel")
        _text(channel, "title", given.title)
        _text(channel, "link", given.link)
        _text(channel, "description", given.description or given.title)
        _text(channel, "generator", "vagus")
        _text(channel, "lastBuildDate", formatdate(now_ns // NS, usegmt=True))
        if self._every_s >= 60:
            _text(channel, "ttl", str(int(self._every_s // 60)))
        for entry in reversed(list(entries)):
            item = ET.SubElement(channel, "item")
            _text(item, "title", entry.title)
            if entry.link:
                _text(item, "link", entry.link)
            _text(item, "description", html.escape(entry.detail))
            _text(item, "category", entry.key).set("domain", _KEY)
            _text(item, "guid", entry.guid).set("isPermaLink", "false")
            _text(item, "pubDate", formatdate(entry.date_s, usegmt=True))
        ET.indent(root)
        made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        return made + b"\n"

    def _known(self) -> OrderedDict[str, _Entry]:
        """The entries; at first those of the file that a former run wrote."""
        if self._entries is None:
            self._entries = OrderedDict((entry.guid, entry) for entry in reversed(self._read()))
            while len(self._entries) > self.options.max_entries:
                self._entries.popitem(last=False)
            self._newest.update((entry.key, entry.title) for entry in self._entries.values())
        return self._entries

    def _read(self) -> list[_Entry]:
        """The entries of the file, the newest first; none where it is no file of ours."""
        from email.utils import parsedate_to_datetime

        found = []
        try:
            if not 0 < self._path.stat().st_size <= MAX_OWN_BYTES:
                return []
            for item in ET.parse(self._path).getroot().iterfind("channel/item"):  # noqa: S314  this tool wrote it
                texts = {child.tag: child.text or "" for child in item}
                date_s = int(parsedate_to_datetime(texts["pubDate"]).timestamp())
                detail = html.unescape(texts["description"])
                found.append(
                    _Entry(texts["guid"], texts["title"], texts.get("link", ""), detail, date_s, texts["category"])
                )
        except (OSError, ET.ParseError, KeyError, ValueError, TypeError):
            return []
        return found


def _text(parent: ET.Element, tag: str, text: str) -> ET.Element:
    """A child with this text, without the characters that XML cannot hold."""
    child = ET.SubElement(parent, tag)
    child.text = _NOT_XML.sub("\ufffd", text)
    return child
