"""A table of a feed's items in SQLite or DuckDB: a row for each, failures too, made as the values want it.

A row is told by feed, location, scheduled time and part: what comes again (a replay) replaces itself.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Protocol

import msgspec

from vagus.clock import NS
from vagus.config import Duration, Settings
from vagus.errors import ConfigError
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item
from vagus.feeds.tools import checked
from vagus.feeds.tools.columns import Cell, ColumnType, cell, columns_of, flat
from vagus.feeds.tools.options import path_of, seconds_of

BATCH_ROWS = 2_000  # written at once when as many wait, or after `every`
MAX_WAITING = 20_000  # while the database cannot be written; the oldest give way
META: dict[str, ColumnType] = {
    "feed": "string",
    "location": "string",
    "due_ns": "int",
    "part": "string",
    "arrived_ns": "int",
    "net": "string",
    "data": "string",
    "errors": "int",
    "note": "string",
}
KEY = ("feed", "location", "due_ns", "part")
Row = dict[str, Cell]
_SUFFIXES = {".duckdb": "duckdb", ".ddb": "duckdb"}
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Database(Protocol):
    """One table of a database file. `write` is one transaction; it raises StoreError, which says what to do."""

    def write(self, rows: list[Row], keep_from_ns: int | None) -> None: ...

    def close(self) -> None: ...


class DbOptions(Settings, frozen=True):
    """Options of `db`."""

    file: str  # NAME.duckdb is DuckDB's, any other SQLite's
    engine: Literal["", "sqlite", "duckdb"] = ""  # empty: by the file's name
    table: str = ""  # empty: the feed's name
    every: Duration = "5s"  # how long a row may wait for its transaction
    keep: Duration = 0  # rows that were due longer ago are deleted; 0: none are
    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 44)] = 0  # of SQLite's file; 0: no limit of its own
    failures: bool = True  # rows of items that failed, too


class Db:
    """`Db(context, file="comon.db")`; all options: DbOptions. Raises ConfigError.

    Columns: META's, then those of the values (columns.py); new ones are added as they come. Where the file is locked or
    the disk full, rows wait, MAX_WAITING of them. lost: rows that gave way.
    """

    name = "db"

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(DbOptions, options)
        path = path_of(context, given.file)
        table = given.table or re.sub(r"[^A-Za-z0-9_]+", "_", context.feed)
        table = table if given.table or not table[:1].isdigit() else f"_{table}"
        if not _TABLE.fullmatch(table) or table.lower().startswith("sqlite_"):
            raise ConfigError(f"table: {table!r} is no name of a table: letters, digits and _")
        self._every_ns = round(seconds_of("every", given.every) * NS)
        self._keep_ns = round(seconds_of("keep", given.keep) * NS)
        known = {**META, **columns_of(context.shape, META)}
        engine = given.engine or _SUFFIXES.get(path.suffix.lower(), "sqlite")
        self._database: Database
        if engine == "duckdb":
            from vagus.feeds.tools.db_duckdb import DuckDb

            if given.max_bytes:
                raise ConfigError("max_bytes: DuckDB has no such limit; use `keep`")
            self._database = DuckDb(path, table, known)
        else:
            from vagus.feeds.tools.db_sqlite import Sqlite

            self._database = Sqlite(path, table, known, given.max_bytes)
        self._waiting: deque[Row] = deque()
        self._since_ns: int | None = None
        self.lost = 0

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Notes a row; a full batch is written. Raises StoreError."""
        meta = item.meta
        if item.value is None and not self.options.failures:
            return ()
        row: Row = {
            "feed": meta.feed,
            "location": meta.location,
            "due_ns": meta.due_ns,
            "part": meta.part,
            "arrived_ns": meta.arrived_ns,
            "net": meta.net.value,
            "data": meta.data.value,
            "errors": meta.errors,
            "note": cell(meta.note),
        }
        row.update(flat(item.value, META))
        self._waiting.append(row)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.lost += 1
        if self._since_ns is None:
            self._since_ns = meta.arrived_ns
        self._write_if_due(meta.arrived_ns)
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Writes what waited for long enough. Raises StoreError."""
        self._write_if_due(now_ns)
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes what waits. Raises StoreError."""
        try:
            self._write(now_ns)
        finally:
            self._database.close()
        return ()

    def _write_if_due(self, now_ns: int) -> None:
        since_ns = self._since_ns
        if since_ns is not None and (
            len(self._waiting) % BATCH_ROWS == 0 or not 0 <= now_ns - since_ns < self._every_ns
        ):
            self._since_ns = now_ns  # where it fails, it is tried again as late as this
            self._write(now_ns)

    def _write(self, now_ns: int) -> None:
        if self._waiting:
            newest = {tuple(row[key] for key in KEY): row for row in self._waiting}
            self._database.write(list(newest.values()), now_ns - self._keep_ns if self._keep_ns else None)
            self._waiting.clear()
        self._since_ns = None


def quoted(name: str) -> str:
    """A name of a table or column in SQL."""
    return '"' + name.replace('"', '""') + '"'
