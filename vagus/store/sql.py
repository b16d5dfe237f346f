"""SQL over streams and records, by DuckDB over Arrow tables: every kind is a table, and so is every kind of record.

`host.cpu` may be written as it is (schema host, table cpu) or quoted as one name; events, receipts, decisions,
rewards and reports are tables of these names, `sensors` is the directory. DuckDB sees these tables alone: no file,
no network, no extension.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vagus.errors import ConfigError, Unsupported, VagusError
from vagus.model import Decision, Event, Receipt, Report, Reward, SensorInfo, labels_text
from vagus.store import tables
from vagus.store.batch import Batch

if TYPE_CHECKING:
    import pyarrow as pa

MAX_SQL = 100_000
MEMORY = "2GB"
MOST_TOLD = 12  # tables, when one is asked for that there is not
_SHOW_TABLES = re.compile(r"\s*show\s+(all\s+)?tables\s*;?\s*", re.IGNORECASE)
_ASKED = re.compile(r"Table with name \"?([^\s\"]+)")
RECORDS: Mapping[str, type[Any]] = {
    "events": Event,
    "receipts": Receipt,
    "decisions": Decision,
    "rewards": Reward,
    "reports": Report,
}
_OWN = {"main", "pg_catalog", "information_schema", "temp", "system", "memory"}


class Source(Protocol):
    """Where the tables' rows come from: a gateway, or the stores of a folder."""

    def sensors(self) -> Sequence[SensorInfo]:
        """All streams there are."""

    def batches(self, kind: str) -> Sequence[Batch]:
        """The samples of one kind in the span that is asked about."""

    def records(self, kind: str) -> Sequence[Any]:
        """Records in that span; kind is the singular: event, receipt …"""


def query(text: str, source: Source, say: Callable[[str], None] = lambda _: None) -> pa.Table:
    """The result of one statement as an Arrow table; only tables that it names are read, `say` is told which.

    Raises ConfigError (not one statement, not valid, unknown table), Unsupported (DuckDB is not installed).
    """
    try:
        import duckdb
    except ImportError as error:
        raise Unsupported("SQL needs DuckDB: pip install 'vagus[sql]'") from error
    if not text.strip() or len(text) > MAX_SQL:
        raise ConfigError(f"the statement has {len(text)} characters; 1 to {MAX_SQL} are allowed")
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=settings) as db:
        try:
            statements = db.extract_statements(text)
            if len(statements) != 1:
                raise ConfigError(f"one statement is expected, got {len(statements)}")
            db.execute("SET TimeZone = 'UTC'")
            db.execute(f"SET memory_limit = '{MEMORY}'")
            if _SHOW_TABLES.fullmatch(text):
                return _tables(source.sensors())
            known = _fill(db, text, source, say)
            db.execute("SET enable_external_access = false")
            db.execute("SET lock_configuration = true")
            result = db.sql(text)
            return _nothing() if result is None else result.to_arrow_table()
        except duckdb.CatalogException as error:
            raise ConfigError(_unknown(_first_line(error), known)) from error
        except duckdb.OutOfMemoryException as error:
            raise VagusError(f"the statement needs more than {MEMORY} of memory: {_first_line(error)}") from error
        except duckdb.Error as error:
            raise ConfigError(f"SQL: {str(error).strip()}") from error


def _fill(db: Any, text: str, source: Source, say: Callable[[str], None]) -> list[str]:
    """Registers what the statement may mean; the names of all tables there are."""
    streams = source.sensors()
    kinds = sorted({info.stream.kind for info in streams})
    for kind in kinds:
        if mentions(text, kind):
            batches = source.batches(kind)
            table = tables.of_batches(batches)
            say(f"{kind}: {table.num_rows} rows of {len(batches)} streams")
            _add(db, kind, table)
    for name, struct in RECORDS.items():
        if mentions(text, name):
            records = source.records(name[:-1])
            say(f"{name}: {len(records)} rows")
            _add(db, name, tables.of_records(records, struct))
    if mentions(text, "sensors"):
        _add(db, "sensors", _directory(streams))
    return [*kinds, *RECORDS, "sensors"]


def mentions(text: str, name: str) -> bool:
    """Whether a statement may mean the table `name`: as it is, quoted as a whole or part by part, in any case."""
    parts = r'"?\s*\.\s*"?'.join(map(re.escape, name.split(".")))
    return re.search(rf'(?<![\w.])"?{parts}"?(?!\w)', text, re.IGNORECASE) is not None


def _add(db: Any, name: str, table: pa.Table) -> None:
    db.register(name, table)  # as one name, in main
    schema, _, rest = name.partition(".")
    if rest and schema not in _OWN:
        db.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        # names of kinds are dotted words: nothing in them can leave the quotes
        db.execute(f'CREATE VIEW "{schema}"."{rest}" AS SELECT * FROM "{name}"')  # noqa: S608


def _directory(streams: Sequence[SensorInfo]) -> pa.Table:
    import pyarrow as pa

    us = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "kind": pa.array([s.stream.kind for s in streams], pa.string()),
            "node": pa.array([s.stream.node for s in streams], pa.string()),
            "labels": pa.array([labels_text(s.stream.labels) for s in streams], pa.string()),
            "fields": pa.array([[f.name for f in s.stream.fields] for s in streams], pa.list_(pa.string())),
            "first": pa.array([s.first_ns // 1000 for s in streams], us),
            "last": pa.array([s.last_ns // 1000 for s in streams], us),
            "samples": pa.array([s.samples for s in streams], pa.int64()),
            "live": pa.array([s.live for s in streams], pa.bool_()),
            "source": pa.array([s.source for s in streams], pa.string()),
        }
    )


def _tables(streams: Sequence[SensorInfo]) -> pa.Table:
    """All tables there are: what SHOW TABLES is asked for, though only those that a statement names are filled."""
    import pyarrow as pa

    held: dict[str, list[SensorInfo]] = {}
    for info in streams:
        held.setdefault(info.stream.kind, []).append(info)
    kinds = sorted(held)
    fields = [len({f.name for info in held[kind] for f in info.stream.fields}) for kind in kinds]
    others = [*RECORDS, "sensors"]
    return pa.table(
        {
            "name": pa.array([*kinds, *others], pa.string()),
            "streams": pa.array([*(len(held[kind]) for kind in kinds), *[None] * len(others)], pa.int64()),
            "fields": pa.array([*fields, *[None] * len(others)], pa.int64()),
        }
    )


def _unknown(said: str, known: Sequence[str]) -> str:
    """What DuckDB does not know, and what was meant, or some of the tables there are."""
    asked = _ASKED.search(said)
    if asked is None:
        return f"SQL: {said}"
    close = difflib.get_close_matches(asked[1], known, n=1)
    if close:
        return f"there is no table {asked[1]}; did you mean {close[0]}?"
    more = f" and {len(known) - MOST_TOLD} more" if len(known) > MOST_TOLD else ""
    return f"there is no table {asked[1]}; tables here: {', '.join(known[:MOST_TOLD])}{more}; SHOW TABLES lists them"


def _nothing() -> pa.Table:
    import pyarrow as pa

    return pa.table({})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
