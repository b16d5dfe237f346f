"""SQLite's part of `db`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from vagus.errors import StoreError
from vagus.feeds.tools.columns import ColumnType, type_of
from vagus.feeds.tools.db import KEY, Row, quoted

BUSY_S = 1.0  # how long another writer is waited for
_TYPES: dict[ColumnType, str] = {
    "bool": "BOOLEAN",
    "int": "INTEGER",
    "float": "REAL",
    "string": "TEXT",
    "bytes": "BLOB",
}


class Sqlite:
    """One table of an SQLite file; readers go on while it is written (WAL). Opened at the first write."""

    def __init__(self, path: Path, table: str, columns: Mapping[str, ColumnType], max_bytes: int = 0) -> None:
        self._path = path
        self._table = table
        self._columns = dict(columns)
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._known: dict[str, str] = {}  # lower case → as the table has it

    def write(self, rows: list[Row], keep_from_ns: int | None) -> None:
        """Raises StoreError; then nothing of it is there."""
        try:
            connection = self._open()
            with connection:  # a transaction
                connection.execute("BEGIN IMMEDIATE")
                if not self._known:
                    self._make(connection)
                self._widen(connection, rows)
                if keep_from_ns is not None:
                    connection.execute(f"DELETE FROM {quoted(self._table)} WHERE due_ns < ?", (keep_from_ns,))  # noqa: S608
                for names, alike in _alike(rows).items():
                    self._insert(connection, names, alike)
        except (sqlite3.Error, OSError) as error:
            self._known = {}
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self.close()
            raise StoreError(f"{self._path}: {_advice(error)}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if self._max_bytes:
                [page] = connection.execute("PRAGMA page_size").fetchone()
                connection.execute(f"PRAGMA max_page_count = {max(2, self._max_bytes // page)}")
            self._connection = connection
        return self._connection

    def _make(self, connection: sqlite3.Connection) -> None:
        columns = ", ".join(f"{quoted(name)} {_TYPES[kind]}" for name, kind in self._columns.items())
        key = ", ".join(KEY)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {quoted(self._table)} ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID"
        )
        found = [row[1] for row in connection.execute(f"PRAGMA table_info({quoted(self._table)})")]
        missing = [name for name in KEY if name not in found]
        if missing:
            raise sqlite3.OperationalError(f"table {self._table} is another one's: it has no {', '.join(missing)}")
        self._known = {name.lower(): name for name in found}

    def _widen(self, connection: sqlite3.Connection, rows: list[Row]) -> None:
        for row in rows:
            for name, value in row.items():
                if name.lower() not in self._known:
                    kind = type_of(value)
                    if kind is not None:
                        connection.execute(
                            f"ALTER TABLE {quoted(self._table)} ADD COLUMN {quoted(name)} {_TYPES[kind]}"
                        )
                        self._known[name.lower()] = name

    def _insert(self, connection: sqlite3.Connection, names: tuple[str, ...], rows: list[Row]) -> None:
        used = [name for name in names if name.lower() in self._known]
        columns = ", ".join(quoted(self._known[name.lower()]) for name in used)
        holes = ", ".join("?" * len(used))
        connection.executemany(
            f"INSERT OR REPLACE INTO {quoted(self._table)} ({columns}) VALUES ({holes})",  # noqa: S608  quoted
            [[row[name] for name in used] for row in rows],
        )

    def close(self) -> None:
        """Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _alike(rows: list[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the names of their columns."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row), []).append(row)
    return found


def _advice(error: Exception) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "another program writes it (database is locked); it is tried again"
    if "full" in text or "No space" in text:
        return f"there is no room ({text}): make some, raise max_bytes, or set `keep`; it is tried again"
    if "readonly" in text or "unable to open" in text:
        return f"it cannot be written ({text}): look at its permissions; it is tried again"
    if "not a database" in text or "malformed" in text:
        return f"it is no SQLite database, or damaged ({text}): move it away"
    return f"{text}; it is tried again"
