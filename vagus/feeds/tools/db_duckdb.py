"""DuckDB's part of `db`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vagus.errors import ConfigError, StoreError
from vagus.feeds.tools.columns import Cell, ColumnType, type_of, wider
from vagus.feeds.tools.db import KEY, Row, quoted

MEMORY = "512MB"
_TYPES: dict[ColumnType, str] = {
    "bool": "BOOLEAN",
    "int": "BIGINT",
    "float": "DOUBLE",
    "string": "VARCHAR",
    "bytes": "BLOB",
}
_KINDS = {sql: kind for kind, sql in _TYPES.items()}


class DuckDb:
    """One table of a DuckDB file, opened for each batch: DuckDB lets nobody else in while a writer has it open."""

    def __init__(self, path: Path, table: str, columns: Mapping[str, ColumnType]) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise ConfigError(
                "DuckDB is not installed: pip install 'vagus[sql]'; or write to an SQLite file"
            ) from error
        self._duckdb: Any = duckdb
        self._path = path
        self._table = table
        self._columns = dict(columns)

    def write(self, rows: list[Row], keep_from_ns: int | None) -> None:
        """Raises StoreError; then nothing of it is there."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            settings = {"memory_limit": MEMORY, "threads": 1, "autoinstall_known_extensions": False}
            with self._duckdb.connect(str(self._path), config=settings) as db:
                db.execute("BEGIN")  # closing without COMMIT takes it back
                kinds = self._prepare(db, rows)
                if keep_from_ns is not None:
                    db.execute(f"DELETE FROM {quoted(self._table)} WHERE due_ns < ?", [keep_from_ns])  # noqa: S608
                self._insert(db, rows, kinds)
                db.execute("COMMIT")
        except (self._duckdb.Error, OSError) as error:
            raise StoreError(f"{self._path}: {_advice(error)}") from error

    def _prepare(self, db: Any, rows: list[Row]) -> dict[str, tuple[str, ColumnType]]:
        """Makes the table as these rows need it; its columns by their name in lower case."""
        columns = ", ".join(f"{quoted(name)} {_TYPES[kind]}" for name, kind in self._columns.items())
        db.execute(f"CREATE TABLE IF NOT EXISTS {quoted(self._table)} ({columns}, PRIMARY KEY ({', '.join(KEY)}))")
        known: dict[str, tuple[str, ColumnType]] = {}
        for _, name, sql, *_ in db.execute(f"PRAGMA table_info({quoted(quoted(self._table))})").fetchall():
            known[name.lower()] = (name, _KINDS.get(sql, "string"))
        missing = [name for name in KEY if name not in known]
        if missing:
            raise self._duckdb.Error(f"table {self._table} is another one's: it has no {', '.join(missing)}")
        before = dict(known)
        for row in rows:
            for name, value in row.items():
                kind = type_of(value)
                if kind is not None:
                    had = known.get(name.lower())
                    known[name.lower()] = (name, kind) if had is None else (had[0], wider(had[1], kind))
        for lower, (name, kind) in known.items():
            if lower not in before:
                db.execute(f"ALTER TABLE {quoted(self._table)} ADD COLUMN {quoted(name)} {_TYPES[kind]}")
            elif before[lower][1] != kind:
                db.execute(f"ALTER TABLE {quoted(self._table)} ALTER {quoted(name)} SET DATA TYPE {_TYPES[kind]}")
        return known

    def _insert(self, db: Any, rows: list[Row], kinds: dict[str, tuple[str, ColumnType]]) -> None:
        import pyarrow as pa

        types = {
            "bool": pa.bool_(),
            "int": pa.int64(),
            "float": pa.float64(),
            "string": pa.string(),
            "bytes": pa.binary(),
        }
        lowered = [{name.lower(): value for name, value in row.items()} for row in rows]
        arrays = {
            name: pa.array([_fit(row.get(lower), kind) for row in lowered], types[kind])
            for lower, (name, kind) in kinds.items()
        }
        db.register("batch", pa.table(arrays))
        db.execute(f"INSERT OR REPLACE INTO {quoted(self._table)} BY NAME SELECT * FROM batch")  # noqa: S608  quoted

    def close(self) -> None:
        """Nothing is open between batches."""


def _fit(value: Cell, kind: ColumnType) -> Cell:
    """A value in a column that was made wide enough for it."""
    if value is None or type_of(value) == kind:
        return value
    if kind == "string":
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return float(value) if kind == "float" else int(value)


def _advice(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    if "lock" in text.lower():
        return f"another program has it open ({text}); it is tried again"
    if "No space" in text or "full" in text.lower():
        return f"there is no room ({text}): make some, or set `keep`; it is tried again"
    if "not a valid DuckDB" in text or "corrupt" in text.lower():
        return f"it is no DuckDB database, or damaged ({text}): move it away"
    return f"{text}; it is tried again"
