"""What `vagus store export` writes: samples and events of several stores as the bytes of a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vagus.errors import ConfigError

if TYPE_CHECKING:
    from vagus.store import Store

FORMATS = ("csv", "json", "msgpack", "arrow", "parquet", "openmetrics")
EVENT_FORMATS = ("csv", "json", "msgpack", "arrow", "parquet")
_SUFFIXES = {
    "csv": "csv",
    "json": "json",
    "msgpack": "msgpack",
    "mp": "msgpack",
    "arrow": "arrow",
    "parquet": "parquet",
    "openmetrics": "openmetrics",
    "om": "openmetrics",
    "prom": "openmetrics",
}


def format_of(output: Path | None) -> str:
    """The format that a file's name says; csv without a file. Raises ConfigError: a name that says none."""
    if output is None:
        return "csv"
    form = _SUFFIXES.get(output.suffix.lower().lstrip("."))
    if form is None:
        raise ConfigError(f"{output}: name it .{', .'.join(FORMATS)}, or give --format")
    return form


def sample_bytes(
    stores: Sequence[Store], selector: str, start_ns: int, end_ns: int, limit: int, rate: bool, form: str
) -> tuple[bytes, int]:
    """The file and how many rows it has. Raises ConfigError: a malformed selector, too many cells for one table."""
    from vagus.store import export

    batches = [batch for store in stores for batch in store.scan(selector, start_ns, end_ns, limit)]
    if rate:
        batches = [batch.rate() for batch in batches]
    rows = sum(len(batch) for batch in batches)
    if form == "openmetrics":
        from vagus.store.openmetrics import to_openmetrics

        return to_openmetrics(batches).encode(), rows
    writers: dict[str, Any] = {
        "csv": export.to_csv,
        "json": export.to_json,
        "msgpack": export.to_msgpack,
        "arrow": export.to_arrow,
        "parquet": export.to_parquet,
    }
    made: str | bytes = writers[form](batches)
    return made.encode() if isinstance(made, str) else made, rows


def event_bytes(
    stores: Sequence[Store], name: str, start_ns: int, end_ns: int, where: Sequence[str], limit: int, form: str
) -> tuple[bytes, int]:
    """The file, oldest event first, and how many it has. Raises ConfigError: malformed name or predicate."""
    import heapq
    from itertools import islice

    import msgspec

    from vagus.model import Event, to_builtins
    from vagus.store.events import question

    asked = question(name, start_ns, end_ns, where, limit=limit)
    merged = heapq.merge(*(s.timed_events(asked) for s in stores), key=lambda found: found[:2], reverse=True)
    found = [event for _, _, event in islice(merged, limit or None)][::-1]
    if form == "json":
        return msgspec.json.encode(to_builtins(found)) + b"\n", len(found)
    if form == "msgpack":
        return msgspec.msgpack.encode(found), len(found)
    if form == "csv":
        return _csv(found), len(found)
    import pyarrow as pa
    import pyarrow.parquet

    from vagus.store.tables import of_records

    table, sink = of_records(found, Event), pa.BufferOutputStream()
    if form == "parquet":
        pyarrow.parquet.write_table(table, sink, compression="zstd")
    else:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    return bytes(sink.getvalue()), len(found)


def _csv(events: Sequence[Any]) -> bytes:
    """A row for each event: what all have, then a column for each field that any has."""
    names = sorted({name for event in events for name in event.fields})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["t_ns", "event", "node", "level", "source", *names])
    for e in events:
        cells = (e.fields.get(name, "") for name in names)
        writer.writerow([e.t_ns, e.event, e.node, e.level.value, e.source, *cells])
    return out.getvalue().encode()
