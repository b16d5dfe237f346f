"""OTLP's JSON encoding as structs whose attributes are named as those of its protobuf messages.

So one conversion reads both, and JSON needs no protobuf. Unknown fields are ignored, 64-bit numbers may be text and
ids are hexadecimal, as the specification asks (opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class _Message(msgspec.Struct, rename="camel", frozen=True):
    """Base; `WhichOneof` is protobuf's."""

    oneof: ClassVar[tuple[str, ...]] = ()

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802
        """The first of the alternatives that is set."""
        return next((name for name in self.oneof if getattr(self, name) is not None), None)

    def HasField(self, name: str) -> bool:  # noqa: N802
        """Whether an optional field is set."""
        return getattr(self, name) is not None


class ArrayValue(_Message, frozen=True):
    """A list of values."""

    values: list[AnyValue] = []


class KeyValueList(_Message, frozen=True):
    """A map of values."""

    values: list[KeyValue] = []


class AnyValue(_Message, frozen=True):
    """One value of whatever type; none set: null."""

    oneof: ClassVar[tuple[str, ...]] = (
        *("string_value", "bool_value", "int_value", "double_value"),
        *("array_value", "kvlist_value", "bytes_value"),
    )
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | None = None
    double_value: float | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None
    bytes_value: str | None = None  # base64


class KeyValue(_Message, frozen=True):
    """An attribute."""

    key: str = ""
    value: AnyValue = AnyValue()


class Resource(_Message, frozen=True):
    """What sends: its attributes, such as service.name."""

    attributes: list[KeyValue] = []


class NumberDataPoint(_Message, frozen=True):
    """A value of a gauge or sum."""

    oneof: ClassVar[tuple[str, ...]] = ("as_int", "as_double")
    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    as_int: int | None = None
    as_double: float | None = None
    flags: int = 0


class HistogramDataPoint(_Message, frozen=True):
    """Counts in explicit buckets."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: int = 0
    sum: float | None = None
    bucket_counts: list[int] = []
    explicit_bounds: list[float] = []
    flags: int = 0
    min: float | None = None
    max: float | None = None


class ExponentialHistogramDataPoint(_Message, frozen=True):
    """Counts in exponential buckets, of which only the totals are taken."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: int = 0
    sum: float | None = None
    zero_count: int = 0
    flags: int = 0
    min: float | None = None
    max: float | None = None


class ValueAtQuantile(_Message, frozen=True):
    """One quantile."""

    quantile: float = 0.0
    value: float = 0.0


class SummaryDataPoint(_Message, frozen=True):
    """Quantiles as the sender computed them."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: int = 0
    sum: float = 0.0
    quantile_values: list[ValueAtQuantile] = []
    flags: int = 0


class Gauge(_Message, frozen=True):
    """Points of a gauge."""

    data_points: list[NumberDataPoint] = []


class Sum(_Message, frozen=True):
    """Points of a sum. aggregation_temporality: 1 delta, 2 cumulative."""

    data_points: list[NumberDataPoint] = []
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class Histogram(_Message, frozen=True):
    """Points of a histogram."""

    data_points: list[HistogramDataPoint] = []
    aggregation_temporality: int = 0


class ExponentialHistogram(_Message, frozen=True):
    """Points of an exponential histogram."""

    data_points: list[ExponentialHistogramDataPoint] = []
    aggregation_temporality: int = 0


class Summary(_Message, frozen=True):
    """Points of a summary."""

    data_points: list[SummaryDataPoint] = []


class OtlpMetric(_Message, frozen=True):
    """One instrument and its points."""

    oneof: ClassVar[tuple[str, ...]] = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    name: str = ""
    unit: str = ""
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponential_histogram: ExponentialHistogram | None = None
    summary: Summary | None = None


class ScopeMetrics(_Message, frozen=True):
    """Metrics of one library."""

    metrics: list[OtlpMetric] = []


class ResourceMetrics(_Message, frozen=True):
    """Metrics of one sender."""

    resource: Resource = Resource()
    scope_metrics: list[ScopeMetrics] = []


class ExportMetricsServiceRequest(_Message, frozen=True):
    """The body of `POST /v1/metrics`."""

    resource_metrics: list[ResourceMetrics] = []


class LogRecord(_Message, frozen=True):
    """One line of a log."""

    time_unix_nano: int = 0
    observed_time_unix_nano: int = 0
    severity_number: int = 0
    severity_text: str = ""
    body: AnyValue = AnyValue()
    attributes: list[KeyValue] = []
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""


class ScopeLogs(_Message, frozen=True):
    """Lines of one library."""

    log_records: list[LogRecord] = []


class ResourceLogs(_Message, frozen=True):
    """Lines of one sender."""

    resource: Resource = Resource()
    scope_logs: list[ScopeLogs] = []


class ExportLogsServiceRequest(_Message, frozen=True):
    """The body of `POST /v1/logs`."""

    resource_logs: list[ResourceLogs] = []


class SpanLink(_Message, frozen=True):
    """That a span has to do with another one."""

    trace_id: str = ""
    span_id: str = ""


class SpanEvent(_Message, frozen=True):
    """Something that happened during a span, such as an exception."""

    name: str = ""
    attributes: list[KeyValue] = []


class SpanStatus(_Message, frozen=True):
    """code: 0 unset, 1 ok, 2 error."""

    code: int = 0
    message: str = ""


class OtlpSpan(_Message, frozen=True):
    """One operation."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: list[KeyValue] = []
    events: list[SpanEvent] = []
    links: list[SpanLink] = []
    status: SpanStatus = SpanStatus()


class ScopeSpans(_Message, frozen=True):
    """Spans of one library."""

    spans: list[OtlpSpan] = []


class ResourceSpans(_Message, frozen=True):
    """Spans of one sender."""

    resource: Resource = Resource()
    scope_spans: list[ScopeSpans] = []


class ExportTraceServiceRequest(_Message, frozen=True):
    """The body of `POST /v1/traces`."""

    resource_spans: list[ResourceSpans] = []
