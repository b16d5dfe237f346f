"""The tool `xml`: any feed as XML, an element for each item; the file is well-formed after every item.

A field is an element of its name; one that cannot be such a name is `<field name="5minload">`. Elements of a list are
`<element>`, entries of a mapping `<entry key="…">`, and a union's value is in an element named after its branch. What
is missing has nil="true". Text that XML cannot say (control characters), and bytes, are in base64, with
encoding="base64", so that nothing is lost; texts that are UTF-8 then have charset="UTF-8".
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from vagus.config import Settings
from vagus.feeds.contracts import Notice, Shape, ToolContext
from vagus.feeds.item import Descriptor, Item
from vagus.feeds.tools import checked
from vagus.feeds.tools.files import write_whole
from vagus.feeds.tools.options import path_of
from vagus.feeds.tools.printed import when
from vagus.feeds.tools.walk import Place, Visitor, Walker, kind_of
from vagus.feeds.tools.xml_text import escaped, is_name, legal

END = b"</feed>\n"


class Element(Visitor):
    """Makes an XML element of a value. What `finish` returns: attributes and content, which the part around it names."""

    def start(self, place: Place, value: Any, descriptor: Descriptor | None) -> _Begun:
        return _Begun(place)

    def field(self, begun: _Begun, name: str, result: str) -> None:
        begun.parts.append(_named(name, result, begun.place.kind))

    def element(self, begun: _Begun, index: int, result: str) -> None:
        begun.parts.append(f"<element{result}</element>")

    def finish(self, begun: _Begun, value: Any) -> str:
        if begun.parts:
            return f">{''.join(begun.parts)}"
        return _scalar(value)


class _Begun:
    __slots__ = ("parts", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.parts: list[str] = []


def _named(name: str, result: str, kind: str) -> str:
    if kind == "map":
        return f"<entry {_attribute('key', name)}{result}</entry>"
    if is_name(name):
        return f"<{name}{result}</{name}>"
    return f"<field {_attribute('name', name)}{result}</field>"


def _attribute(name: str, text: str) -> str:
    return f'{name}="{escaped(text)}"'


def _scalar(value: Any) -> str:
    """The end of a start tag, and the content, of a value without parts."""
    if value is None:
        return ' nil="true">'
    if isinstance(value, str):
        if legal(value):
            return f">{escaped(value)}"
        try:
            return f' encoding="base64" charset="UTF-8">{base64.b64encode(value.encode()).decode()}'
        except UnicodeEncodeError:  # half of a surrogate pair
            return f">{escaped(value)}"
    if isinstance(value, bytes):
        return f' encoding="base64">{base64.b64encode(value).decode()}'
    if isinstance(value, bool):
        return ">true" if value else ">false"
    if isinstance(value, float):
        return (
            f">{value!r}" if math.isfinite(value) else f">{'NaN' if value != value else 'INF' if value > 0 else '-INF'}"
        )
    if isinstance(value, int):
        return f">{value:d}" if value.bit_length() < 10_000 else f' encoding="hex">{value:x}'
    kind = kind_of(value)
    if kind in ("list", "map", "record") and not _empty(value):
        return ' cut="true">'  # deeper than a walk goes
    return ">" if kind in ("list", "map", "record") else f' class="{escaped(type(value).__name__)}">'


def _empty(value: Any) -> bool:
    return not (value.__struct_fields__ if isinstance(value, msgspec.Struct) else value)


class XmlWriter:
    """Items of one shape as XML text."""

    def __init__(self, shape: Shape) -> None:
        self._walker = Walker(Element(), shape)

    def item(self, item: Item[Any]) -> str:
        """One item as a line (but for line breaks inside texts): its meta as attributes, and `<value>`."""
        meta = item.meta
        given = {
            "location": meta.location,
            "part": meta.part,
            "due": when(meta.due_ns),
            "arrived": when(meta.arrived_ns),
            "net": meta.net.value,
            "data": meta.data.value,
            "errors": str(meta.errors) if meta.errors else "",
            "note": meta.note,
        }
        attributes = " ".join(_attribute(name, text) for name, text in given.items() if text)
        value = "" if item.value is None else f"<value{self._walker.walk(item.value)}</value>"
        return f"<item {attributes}>{value}</item>\n"


def head(feed: str) -> str:
    """What a file begins with; `</feed>` ends it."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<feed {_attribute("name", feed)}>\n'


class XmlOptions(Settings, frozen=True):
    """Options of `xml`."""

    file: str  # goes on where it was left
    max_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 64 << 20  # at this size it becomes FILE.1


class Xml:
    """`Xml(context, file="comon.xml")`; all options: XmlOptions. Raises ConfigError."""

    name = "xml"

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(XmlOptions, options)
        self._path = path_of(context, given.file)
        self._head = head(context.feed).encode()
        self._writer = XmlWriter(context.shape)

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Adds an item. Raises OSError; the file is then as before."""
        self._add(self._writer.item(item).encode())
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Nothing is due by time."""
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Makes the file if there was no item. Raises OSError."""
        self._add(b"")
        return ()

    def _add(self, line: bytes) -> None:
        """Puts a line before the end tag."""
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        size = _good_size(path, self._head)
        if size is None or (size > len(self._head) + len(END) and size + len(line) > self.options.max_bytes):
            if path.exists():
                path.replace(path.with_name(path.name + ".1"))
            size = 0
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            at = size - len(END) if size else 0
            content = (b"" if size else self._head) + line + END
            os.lseek(file, at, os.SEEK_SET)
            try:
                write_whole(file, content, at)
            except OSError:
                os.lseek(file, at, os.SEEK_SET)
                os.write(file, END if size else b"")
                raise
        finally:
            os.close(file)


def _good_size(path: Path, begin: bytes) -> int | None:
    """The size of a file that this tool wrote to its end; 0 when there is none; None for another file, or a cut one."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return 0
            file.seek(0)
            first = file.read(len(begin))
            file.seek(max(0, size - len(END)))
            return size if first == begin and file.read() == END else None
    except FileNotFoundError:
        return 0
