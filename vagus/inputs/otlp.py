"""OTLP over HTTP, what metrics, logs, traces and their resources share: decoding, attributes, the answer.

Protobuf is imported when the first body in it arrives (2 MB); JSON needs none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec

from vagus.errors import ConfigError
from vagus.inputs import otlp_json
from vagus.inputs.names import as_text, legal_label
from vagus.model import MAX_LABEL_VALUE, MAX_T_NS, Scalar

Signal = Literal["metrics", "logs", "traces"]
RESOURCE_LABELS = ("service.name", "service.namespace", "service.instance.id", "host.name")
MAX_DEPTH = 20
_JSON = {
    "metrics": otlp_json.ExportMetricsServiceRequest,
    "logs": otlp_json.ExportLogsServiceRequest,
    "traces": otlp_json.ExportTraceServiceRequest,
}
_REJECTED = {  # in protobuf, in JSON
    "metrics": ("rejected_data_points", "rejectedDataPoints"),
    "logs": ("rejected_log_records", "rejectedLogRecords"),
    "traces": ("rejected_spans", "rejectedSpans"),
}


class Rejects:
    """Counts what could not be taken, and why: each reason once."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: dict[str, None] = {}

    def add(self, reason: str, times: int = 1) -> None:
        """One more, or several."""
        self.count += times
        if len(self.reasons) < 5:
            self.reasons[reason] = None

    @property
    def message(self) -> str:
        """All reasons in one sentence."""
        return "; ".join(self.reasons)


class Who(NamedTuple):
    """A resource: its labels for streams, its fields for events, the name of its service."""

    labels: dict[str, str]
    fields: list[tuple[str, Scalar]]
    service: str


def decode(body: bytes, packed: bool, signal: Signal) -> Any:
    """An export request from protobuf (packed) or JSON: messages, or structs like them. Raises ConfigError."""
    if not packed:
        try:
            return msgspec.json.decode(body, type=_JSON[signal], strict=False)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ConfigError(f"not OTLP in JSON: {error}") from error
    request = _message(signal, "Request")
    try:
        request.ParseFromString(body)
    except Exception as error:  # protobuf's DecodeError, which is not imported before it is needed
        raise ConfigError(f"not OTLP in protobuf: {error}") from error
    return request


def answer(packed: bool, signal: Signal, rejects: Rejects) -> bytes:
    """The body of the answer: empty, or the partial success with what was rejected."""
    counted, camel = _REJECTED[signal]
    if packed:
        response = _message(signal, "Response")
        if rejects.count:
            setattr(response.partial_success, counted, rejects.count)
            response.partial_success.error_message = rejects.message
        encoded: bytes = response.SerializeToString()
        return encoded
    if not rejects.count:
        return b"{}"
    return msgspec.json.encode({"partialSuccess": {camel: str(rejects.count), "errorMessage": rejects.message}})


def _message(signal: Signal, kind: str) -> Any:
    if signal == "metrics":
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

        return getattr(metrics_service_pb2, f"ExportMetricsService{kind}")()
    if signal == "traces":
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        return getattr(trace_service_pb2, f"ExportTraceService{kind}")()
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

    return getattr(logs_service_pb2, f"ExportLogsService{kind}")()


def plain(value: Any, depth: int = 0) -> Any:
    """An AnyValue as builtins."""
    which = value.WhichOneof("value")
    if which is None:
        return None
    found = getattr(value, which)
    if which == "array_value":
        return [plain(item, depth + 1) for item in found.values] if depth < MAX_DEPTH else "…"
    if which == "kvlist_value":
        return {pair.key: plain(pair.value, depth + 1) for pair in found.values} if depth < MAX_DEPTH else "…"
    return found


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """Attributes as builtins by name."""
    return {pair.key: plain(pair.value) for pair in pairs}


def resource(message: Any) -> Who:
    """Who sends. Only attributes that tell senders apart become labels: see RESOURCE_LABELS."""
    given = attributes(message.attributes)
    own = {name: text_of(given[name]) for name in RESOURCE_LABELS if given.get(name) not in (None, "")}
    labels = {legal_label(name): text[:MAX_LABEL_VALUE] for name, text in own.items()}
    fields: list[tuple[str, Scalar]] = [(name, text[:MAX_LABEL_VALUE]) for name, text in own.items()]
    return Who(labels, fields, own.get("service.name", ""))


def text_of(value: Any) -> str:
    """A value as a label's text."""
    return value if isinstance(value, str) else as_text(value)


def time_of(*candidates: int, now_ns: int) -> int:
    """The first time that is given; now when none is. Raises ConfigError."""
    t_ns = next((int(candidate) for candidate in candidates if candidate), now_ns)
    if not 0 <= t_ns < MAX_T_NS:
        raise ConfigError(f"timeUnixNano={t_ns} is not a time between 1970 and 2100")
    return t_ns
