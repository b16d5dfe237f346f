"""OTLP metrics as samples: a stream for each metric, resource and set of attributes.

| metric | fields |
|---|---|
| gauge, sum that may fall | `value` |
| sum that only grows | `value`, a counter |
| histogram | `count`, `sum`, `min`, `max`, and for each bound `le_BOUND`: how many were no larger (as Prometheus counts) |
| exponential histogram | `count`, `sum`, `min`, `max`, `zero_count`; its buckets are not kept |
| summary | `count`, `sum`, `q_QUANTILE` |

Sums and histograms of delta temporality are added up, so that both temporalities give counters; the totals begin anew
with the collector, as counters do. Whole numbers stay whole (int64). A point that says "no value recorded" is skipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from vagus.errors import ConfigError
from vagus.inputs.names import legal_kind, legal_label
from vagus.inputs.otlp import Rejects, Who, attributes, resource, text_of, time_of
from vagus.model import MAX_LABEL_VALUE, MAX_LABELS, Field, Sample, Stream

MAX_BUCKETS = 500
MAX_DELTAS = 10_000
DELTA = 1
_NO_VALUE = 1
_UNITS = {"By": "bytes", "bytes": "bytes", "1": "", "%": "percent"}

Values = tuple[float | int, ...]
Found = tuple[tuple[Field, ...], Values]


class Deltas:
    """Totals of what came as differences, of at most 10,000 streams. One request at a time: see `settle`."""

    def __init__(self, most: int = MAX_DELTAS) -> None:
        self._most = most
        self._totals: dict[Stream, Values] = {}
        self._open: dict[Stream, Values] = {}

    def add(self, stream: Stream, values: Values) -> Values:
        """The totals with these values. Raises ConfigError: too many streams."""
        known = self._open.get(stream) or self._totals.get(stream)
        if known is None:
            if len(self._totals) + len(self._open) >= self._most:
                raise ConfigError(f"delta temporality is added up for {self._most} streams; send it cumulative")
            total = values
        else:
            total = tuple(
                new + (old if not math.isnan(old) else 0) if field.counter or field.name == "value" else new
                for field, old, new in zip(stream.fields, known, values, strict=True)
            )
        self._open[stream] = total
        return total

    def settle(self, committed: bool) -> None:
        """The totals since the last call are stored, or were not: then a sender's second try counts once."""
        if committed:
            self._totals.update(self._open)
        self._open = {}


def read_metrics(request: Any, node: str, now_ns: int, deltas: Deltas, rejects: Rejects) -> list[Sample]:
    """The samples of an export request; what cannot be one is added to `rejects`."""
    samples: list[Sample] = []
    for sender in request.resource_metrics:
        who = resource(sender.resource)
        for scope in sender.scope_metrics:
            for metric in scope.metrics:
                samples += _metric(metric, who, node, now_ns, deltas, rejects)
    return samples


def _metric(metric: Any, who: Who, node: str, now_ns: int, deltas: Deltas, rejects: Rejects) -> Iterator[Sample]:
    which = metric.WhichOneof("data")
    if which is None or not metric.name:
        rejects.add(f"metric {metric.name[:80]!r} has no name or no data")
        return
    data = getattr(metric, which)
    kind = legal_kind(metric.name, "metric")
    unit = _UNITS.get(metric.unit, "" if metric.unit.startswith("{") else metric.unit[:40])
    monotonic = which not in ("gauge", "sum") or (which == "sum" and data.is_monotonic)
    is_delta = getattr(data, "aggregation_temporality", 0) == DELTA
    read = _READERS[which]
    for point in data.data_points:
        if point.flags & _NO_VALUE:
            continue
        try:
            fields, values = read(point, unit, monotonic)
            stream = Stream(node, kind, fields, _labels(who, point))
            t_ns = time_of(point.time_unix_nano, now_ns=now_ns)
            yield Sample(stream, t_ns, deltas.add(stream, values) if is_delta else values)
        except ConfigError as error:
            rejects.add(str(error))


def _labels(who: Who, point: Any) -> dict[str, str]:
    labels = dict(who.labels)
    for name, value in attributes(point.attributes).items():
        text = text_of(value)
        if len(text) > MAX_LABEL_VALUE:
            raise ConfigError(f"attribute {name[:80]!r} has {len(text)} characters; at most {MAX_LABEL_VALUE} are kept")
        labels[legal_label(name)] = text
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{len(labels)} attributes; at most {MAX_LABELS} are kept")
    return labels


def _number(point: Any, unit: str, counter: bool) -> Found:
    which = point.WhichOneof("value")
    if which is None:
        raise ConfigError("a data point has no value")
    value = getattr(point, which)
    return (_value(unit, "i8" if which == "as_int" else "f8", counter),), (value,)


def _value(unit: str, dtype: str, counter: bool) -> Field:
    return Field("value", unit, dtype, counter)


def _histogram(point: Any, unit: str, counter: bool) -> Found:
    counts, bounds = list(point.bucket_counts), list(point.explicit_bounds)
    if counts and len(counts) != len(bounds) + 1:
        raise ConfigError(f"a histogram with {len(bounds)} bounds has {len(counts)} buckets, not one more")
    if len(counts) > MAX_BUCKETS:
        raise ConfigError(f"a histogram has {len(counts)} buckets; at most {MAX_BUCKETS} are kept")
    fields, values = _totals(point, unit)
    names = [*(f"le_{_bound(bound)}" for bound in bounds), "le_inf"] if counts else []
    return (
        (*fields, *(Field(name, "", "u8", True) for name in names)),
        (*values, *accumulate(counts)),
    )


def _exponential(point: Any, unit: str, counter: bool) -> Found:
    fields, values = _totals(point, unit)
    return (*fields, Field("zero_count", "", "u8", True)), (*values, point.zero_count)


def _totals(point: Any, unit: str) -> Found:
    fields = (
        Field("count", "", "u8", True),
        Field("sum", unit, "f8", True),
        Field("min", unit),
        Field("max", unit),
    )
    sums = (float(getattr(point, name)) if point.HasField(name) else math.nan for name in ("sum", "min", "max"))
    return fields, (point.count, *sums)


def _summary(point: Any, unit: str, counter: bool) -> Found:
    quantiles = list(point.quantile_values)
    if len(quantiles) > MAX_BUCKETS:
        raise ConfigError(f"a summary has {len(quantiles)} quantiles; at most {MAX_BUCKETS} are kept")
    fields = (
        Field("count", "", "u8", True),
        Field("sum", unit, "f8", True),
        *(Field(f"q_{_bound(q.quantile)}", unit) for q in quantiles),
    )
    return fields, (point.count, point.sum, *(q.value for q in quantiles))


def _bound(value: float) -> str:
    """A number as part of a field's name: `0.005` is `0_005`, `-1.5` is `m1_5`, `1e-05` is `1em05`."""
    text = repr(value).removesuffix(".0")
    return text.replace(".", "_").replace("-", "m").replace("+", "")


_READERS: dict[str, Callable[[Any, str, bool], Found]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
