"""`FIELD.forecast` and `FIELD.mse`: what was predicted for each stored value before it was seen, and the error estimate.

Derived from the archive when asked for, so that it costs nothing to store and any stored series has it: a fresh bank
runs over the rows, `WARM_ROWS` of them before the span to learn from. Counters are forecast as rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.foretell import foretell
from vagus.model import Field, Stream
from vagus.store import Batch

WARM_ROWS = 200
MAX_ROWS = 20_000  # of all streams of different times: half a millisecond each
WIDE = 250  # series of one time that cost as much again

Scan = Callable[[str, int, int, int], Iterable[Batch]]
"""(selector, start_ns, end_ns, limit) → the batches of the archive."""


def derive(selector: str, start_ns: int, end_ns: int, limit: int, scan: Scan) -> list[Batch]:
    """The predictions in [start_ns, end_ns), a batch for each stream; limit: the newest rows of each.

    Raises ConfigError when the span has too many rows.
    """
    name, brace, labels = selector.partition("{")
    base, _, suffix = name.strip().rpartition(".")
    base += brace + labels
    before = {batch.stream.key: batch for batch in scan(base, 0, start_ns, WARM_ROWS)}
    groups: dict[bytes, list[Batch]] = {}  # streams of the same times share a bank, which costs no more than for one
    for batch in scan(base, start_ns, end_ns, limit and limit + WARM_ROWS):
        joined = _joined(before.get(batch.stream.key), batch)
        groups.setdefault(joined.t_ns.tobytes(), []).append(joined)
    rows = sum(len(group[0]) for group in groups.values())
    work = sum(len(group[0]) * (1 + sum(len(b.columns) for b in group) // WIDE) for group in groups.values())
    if work > MAX_ROWS:
        raise ConfigError(f"forecasts of {rows} rows are too much work: narrow the selector or the time")
    return [found for group in groups.values() for found in _foretold(group, suffix, start_ns, limit)]


def _joined(before: Batch | None, batch: Batch) -> Batch:
    """The rows before and those of the span in one batch; the fields are the span's."""
    if before is None or before.stream.fields != batch.stream.fields:
        return batch
    t_ns = np.concatenate([before.t_ns, batch.t_ns])
    columns = tuple(np.concatenate(pair) for pair in zip(before.columns, batch.columns, strict=True))
    return Batch(batch.stream, t_ns, columns)


def _foretold(group: Sequence[Batch], suffix: str, start_ns: int, limit: int) -> list[Batch]:
    t_ns = group[0].t_ns
    counters = [field.counter for batch in group for field in batch.stream.fields]
    both = foretell(t_ns, np.hstack([batch.values for batch in group]), counters)
    table = both[0] if suffix == "forecast" else both[1]
    first = int(np.searchsorted(t_ns, start_ns))
    first = max(first, len(t_ns) - limit) if limit else first
    found, at = [], 0
    for batch in group:
        columns = tuple(np.ascontiguousarray(table[first:, at + i]) for i in range(len(batch.columns)))
        at += len(batch.columns)
        found.append(Batch(_derived(batch.stream, suffix), t_ns[first:], columns))
    return found


def _derived(stream: Stream, suffix: str) -> Stream:
    fields = []
    for field in stream.fields:
        unit = f"{field.unit or '1'}/s" if field.counter else field.unit
        if suffix == "mse" and unit:
            unit = f"({unit})^2"
        fields.append(Field(f"{field.name}.{suffix}", unit))
    return Stream(stream.node, stream.kind, tuple(fields), stream.labels)
