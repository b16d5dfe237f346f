"""The tool `print`: one printable line for each item, whatever its format."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, TextIO

import msgspec

from vagus.clock import NS
from vagus.config import Settings
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.expression import Expression
from vagus.feeds.item import Item
from vagus.feeds.tools import checked
from vagus.feeds.tools.fields import expression_of
from vagus.feeds.tools.files import ROTATE_BYTES, append
from vagus.feeds.tools.options import path_of
from vagus.feeds.tools.values import as_json, as_line
from vagus.model import to_builtins

STANDARD_OUTPUT = "-"


class PrintOptions(Settings, frozen=True):
    """Options of `print`."""

    file: str = STANDARD_OUTPUT  # at 16 MiB it becomes FILE.1
    style: Literal["text", "json"] = "text"  # a line to read, or the whole item as JSON
    fields: tuple[str, ...] = ()  # expressions: these instead of the whole value
    where: str = ""  # an expression: only these items
    width: Annotated[int, msgspec.Meta(ge=20, le=1_000_000)] = 2000  # characters of a line of text


class Print:
    """`Print(context, file="-")`; all options: PrintOptions. output: instead of standard output. Raises ConfigError."""

    name = "print"

    def __init__(self, context: ToolContext, output: TextIO | None = None, **options: Any) -> None:
        self.options = given = checked(PrintOptions, options)
        self._path = None if given.file == STANDARD_OUTPUT else path_of(context, given.file)
        self._output = output
        self._fields = [expression_of("fields", text, context) for text in given.fields]
        self._where: Expression | None = expression_of("where", given.where, context) if given.where else None

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Prints an item. Raises OSError."""
        if self._where is None or self._where.test(item.value, item.meta):
            line = self.line(item) + "\n"
            if self._path is not None:
                append(self._path, line.encode(), ROTATE_BYTES)
            else:
                output = self._output or sys.stdout
                output.write(line)
                output.flush()
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Nothing is due by time."""
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Everything is printed."""
        return ()

    def line(self, item: Item[Any]) -> str:
        """An item as one line: when it arrived, where from, how it went, the value."""
        value: Any = item.value
        if self._fields:
            value = {field.text: field.evaluate(item.value, item.meta) for field in self._fields}
        if self.options.style == "json":
            return as_json({"meta": to_builtins(item.meta), "value": value}).decode()
        meta = item.meta
        place = f"{meta.location}#{meta.part}" if meta.part else meta.location
        went = (
            meta.net.value
            if item.value is None and meta.data.value == "None"
            else f"{meta.net.value} {meta.data.value}"
        )
        errors = f" {meta.errors} errors" if meta.errors > 1 else " 1 error" if meta.errors else ""
        note = f" ({meta.note})" if meta.note else ""
        if self._fields and item.value is not None:
            shown = " ".join(f"{name}={as_line(part, self.options.width)}" for name, part in value.items())
        else:
            shown = "" if item.value is None else as_line(item.value, self.options.width)
        return as_line(f"{when(meta.arrived_ns)} {place} {went}{errors}{note} {shown}".rstrip(), self.options.width)


def when(t_ns: int) -> str:
    """A time as `2026-01-31T12:00:00.000Z`; the number itself where there is no such date."""
    try:
        return datetime.fromtimestamp(t_ns / NS, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (OverflowError, ValueError, OSError):
        return str(t_ns)
