"""Spans as OTLP's JSON, as `POST /v1/traces` of any OpenTelemetry collector takes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from vagus.model import Kind, Scalar, Span

_KINDS = {Kind.INTERNAL: 1, Kind.SERVER: 2, Kind.CLIENT: 3, Kind.PRODUCER: 4, Kind.CONSUMER: 5}
_DESCRIPTION = "otel.status_description"


def request_of(spans: Iterable[Span], scope: str = "vagus") -> dict[str, Any]:
    """An export request, JSON-ready: a resource for each service and component."""
    senders: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for span in spans:
        senders.setdefault((span.service, span.component), []).append(_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_pair("service.name", service), _pair("service.instance.id", component)]},
                "scopeSpans": [{"scope": {"name": scope}, "spans": made}],
            }
            for (service, component), made in senders.items()
        ]
    }


def _span(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.operation,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
    }
    if span.parent_id and span.follows and span.kind is not Kind.CONSUMER:
        made["links"] = [{"traceId": span.trace_id, "spanId": span.parent_id}]
    elif span.parent_id:
        made["parentSpanId"] = span.parent_id
    given = [_pair(name, value) for name, value in span.attributes.items() if name != _DESCRIPTION]
    if given:
        made["attributes"] = given
    if span.error:
        why = span.attributes.get(_DESCRIPTION)
        made["status"] = {"code": 2, **({"message": str(why)} if why else {})}
    return made


def _pair(name: str, value: Scalar) -> dict[str, Any]:
    if isinstance(value, bool):
        typed: dict[str, Any] = {"boolValue": value}
    elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        typed = {"intValue": str(value)}
    elif isinstance(value, float) and math.isfinite(value):
        typed = {"doubleValue": value}
    else:
        typed = {"stringValue": str(value)}
    return {"key": name, "value": typed}
