"""The tool `select`: chosen items and columns as CSV or JSON lines: each as it comes, or a table of the newest."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TextIO

import msgspec

from vagus.clock import NS
from vagus.config import Settings
from vagus.config.base import Duration
from vagus.errors import ConfigError
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item
from vagus.feeds.location import printable
from vagus.feeds.tools import checked
from vagus.feeds.tools.files import append, replace
from vagus.feeds.tools.options import path_of, seconds_of
from vagus.feeds.tools.printed import STANDARD_OUTPUT
from vagus.feeds.tools.select_table import Latest, Row, Selection
from vagus.feeds.tools.values import as_json, as_text, csv_line


class SelectOptions(Settings, frozen=True):
    """Options of `select`; what expressions mean: vagus/feeds/expression.py."""

    where: str = ""  # an expression, such as: resptime>0 && (drift>1m || sshstatus>2h)==0
    columns: (
        tuple[str, ...] | dict[str, str]
    ) = ()  # expressions, such as meta.location or vm_stat[3]; or name: expression
    each: Literal["", "item", "latest"] = ""  # a row for each item, or the newest of each location; as the rest needs
    order: str = ""  # an expression, by which the newest are ordered (over the columns, where there is a group)
    descending: bool = False
    limit: Annotated[int, msgspec.Meta(ge=0)] = 0  # of the newest: at most so many rows
    group: str = ""  # an expression: one row for all with the same value
    totals: dict[str, str] = msgspec.field(default_factory=dict)  # of a group, column: sum, mean, min, max or count
    max_age: Duration = 0  # rows of locations that told nothing for so long are left out; 0: never
    every: Duration = "10s"  # how often a table of the newest is written
    file: str = STANDARD_OUTPUT
    style: Literal["csv", "json"] = "csv"
    header: bool = True  # the names of the columns as the first line of CSV
    rotate_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 64 << 20  # a file of items becomes FILE.1 at this size


class Select:
    """`Select(context, where="load1 > 5")`; all options: SelectOptions. output: instead of standard output.

    Raises ConfigError.
    """

    name = "select"

    def __init__(self, context: ToolContext, output: TextIO | None = None, **options: Any) -> None:
        self.options = given = checked(SelectOptions, options, {"descending": "order"})
        table = given.order or given.limit or given.group or given.totals or given.max_age
        if given.each == "item" and table:
            raise ConfigError("order, limit, group, totals and max_age are of a table: each: latest")
        self.selection = Selection(context, given.where, given.columns)
        self.latest: Latest | None = None
        if given.each == "latest" or table:
            self.latest = Latest(
                context,
                self.selection,
                given.order,
                given.descending,
                given.limit,
                given.group,
                given.totals,
                seconds_of("max_age", given.max_age),
            )
        if "every" in options and self.latest is None:
            raise ConfigError("every is of a table; give each: latest, or order, limit, group, max_age")
        self._path = None if given.file == STANDARD_OUTPUT else path_of(context, given.file)
        self._output = output
        self._every_ns = round(seconds_of("every", given.every, 0.1) * NS)
        self._written_ns: int | None = None
        self._headed = False
        self._changed = True

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Adds an item's row, or keeps it for the table. Raises OSError, and VagusError when there are too many rows."""
        if self.latest is not None:
            self._changed = True
            self.latest.take(item)
            return ()
        row = self.selection.row(item)
        if row is not None:
            self._append([row])
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Writes the table, every so often. Raises OSError."""
        if self.latest is not None:
            if self._written_ns is None or now_ns < self._written_ns:
                self._written_ns = now_ns
            due = now_ns - self._written_ns >= self._every_ns
            if due and (self._changed or self.options.max_age):
                self._written_ns = now_ns
                self._write_table(now_ns)
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes the table, or the header that a file without items lacks. Raises OSError."""
        if self.latest is not None:
            self._write_table(now_ns)
        else:
            self._append([])
        return ()

    def _write_table(self, now_ns: int) -> None:
        assert self.latest is not None
        text = self.text(self.latest.rows(now_ns), self.options.header)
        if self._path is not None:
            replace(self._path, text.encode())
        else:
            self._print(text)
        self._changed = False

    def _append(self, rows: Sequence[Row]) -> None:
        path = self._path
        if path is None:
            self._print(self.text(rows, self.options.header and not self._headed))
            self._headed = self._headed or self.selection.header is not None
            return
        begun = path.exists() and path.stat().st_size > 0
        body = self.text(rows, False).encode()
        full = begun and path.stat().st_size + len(body) > self.options.rotate_bytes
        if not begun or full:
            body = self.text(rows, self.options.header).encode()
        append(path, body, self.options.rotate_bytes)

    def _print(self, text: str) -> None:
        output = self._output or sys.stdout
        output.write(text)
        output.flush()

    def text(self, rows: Sequence[Row], header: bool) -> str:
        """Rows as lines of CSV or JSON; of CSV for standard output with printable characters only."""
        names = self.selection.header or ()
        if self.options.style == "json":
            return "".join(as_json(dict(zip(names, row, strict=True))).decode() + "\n" for row in rows)
        shown = printable if self._path is None else str
        lines = [csv_line(shown(as_text(name)) for name in names)] if header and names else []
        return "".join(lines + [csv_line([shown(as_text(cell)) for cell in row]) for row in rows])
