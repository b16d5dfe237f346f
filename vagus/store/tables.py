"""Streams and records as Arrow tables: a table for each kind, a row for each sample or record.

A kind's table has `time` (timestamp[us, UTC]), `t_ns` (int64, exact), `node`, a text column for each label and a typed
column for each field; streams of other labels or fields have null there. A label named like a field or like one of
the first three columns is called `label_NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vagus.model import DTYPES, to_builtins
from vagus.store.batch import Batch

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = (str, type(None))


def of_batches(batches: Sequence[Batch]) -> pa.Table:
    """The samples of one kind, in order of stream and time."""
    import pyarrow as pa

    fields = {f.name: f for batch in batches for f in batch.stream.fields}
    labels = sorted({label for batch in batches for label in batch.stream.labels})
    taken = {"time", "t_ns", "node", *fields}
    named = {label: f"label_{label}" if label in taken else label for label in labels}
    t_ns = np.concatenate([batch.t_ns for batch in batches]) if batches else np.empty(0, np.int64)
    columns: dict[str, Any] = {
        "time": pa.array(t_ns // 1000, pa.timestamp("us", tz="UTC")),
        "t_ns": pa.array(t_ns),
        "node": _repeated([batch.stream.node for batch in batches], batches),
    }
    for label in labels:
        columns[named[label]] = _repeated([batch.stream.labels.get(label) for batch in batches], batches)
    for name, field in fields.items():
        dtype = pa.from_numpy_dtype(np.dtype(DTYPES[field.dtype]))
        parts = [_values(batch, name, dtype) for batch in batches]
        columns[name] = pa.chunked_array(parts, dtype)
    return pa.table(columns)


def _repeated(texts: Sequence[str | None], batches: Sequence[Batch]) -> Any:
    import pyarrow as pa

    parts = [pa.repeat(pa.scalar(text, pa.string()), len(b)) for text, b in zip(texts, batches, strict=True)]
    return pa.chunked_array(parts, pa.string())


def _values(batch: Batch, name: str, dtype: Any) -> Any:
    import pyarrow as pa

    for field, column in zip(batch.stream.fields, batch.columns, strict=True):
        if field.name == name:
            values = pa.array(column, mask=np.isnan(column) if column.dtype.kind == "f" else None)
            return values.cast(dtype, safe=False)
    return pa.nulls(len(batch), dtype)


def of_records(records: Sequence[Any], kind: type[Any]) -> pa.Table:
    """Records of a kind: `time`, then a column for each of their attributes; what is nested is JSON text."""
    import pyarrow as pa

    rows = [to_builtins(record) for record in records]
    stamp = "t_ns" if "t_ns" in kind.__struct_fields__ else "arrived_ns"
    times = np.array([row[stamp] for row in rows], np.int64)
    columns: dict[str, Any] = {"time": pa.array(times // 1000, pa.timestamp("us", tz="UTC"))}
    hints = msgspec.structs.fields(kind)
    for field in hints:
        values = [row[field.name] for row in rows]
        dtype = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}.get(field.type)
        if dtype is None and field.type == float | None:
            dtype = pa.float64()
        if dtype is None:
            dtype = pa.string()
            values = [v if isinstance(v, TEXTS) else msgspec.json.encode(v).decode() for v in values]
        columns[field.name] = pa.array(values, dtype)
    return pa.table(columns)
