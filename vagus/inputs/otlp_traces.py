"""OTLP traces as spans: which instance did what for which request, how long it took, and how it went.

| of OTLP | of vagus |
|---|---|
| resource `service.name` | `service`; `unknown_service` where there is none |
| resource `k8s.pod.name`, `service.instance.id`, `container.id`, `host.name` | `component`: the first that is given, else the service |
| status ERROR | `error`, its message as the attribute `otel.status_description` |
| event `exception` | attributes `exception.type` and `exception.message` |
| no parent, but a link into the same trace | a child of that span that does not hold it up (`follows`) |
| a parent, and kind CONSUMER | `follows`: who sends a message does not wait for its consumer |

A span that cannot be one (ids, times) is rejected by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vagus.errors import ConfigError
from vagus.inputs.names import printable, scalar
from vagus.inputs.otlp import Rejects, attributes, plain, text_of
from vagus.inputs.span_ids import span_id_of, trace_id_of
from vagus.model import MAX_LABEL_VALUE, MAX_NAME, Kind, Scalar, Span

COMPONENT = ("k8s.pod.name", "service.instance.id", "container.id", "host.name")
"""Attributes of a resource that name the instance: the first that is given does."""
NO_SERVICE = "unknown_service"  # as OpenTelemetry's own exporters say
MAX_ATTRIBUTES = 32
KINDS = (Kind.INTERNAL, Kind.INTERNAL, Kind.SERVER, Kind.CLIENT, Kind.PRODUCER, Kind.CONSUMER)  # by OTLP's number
ERROR = 2
_EXCEPTION = ("exception.type", "exception.message")


def read_traces(request: Any, node: str, rejects: Rejects) -> list[Span]:
    """The spans of an export request; what cannot be one is added to `rejects`. node: whose gateway took them."""
    spans = []
    for sender in request.resource_spans:
        service, component = who_of(attributes(sender.resource.attributes))
        for scope in sender.scope_spans:
            for span in scope.spans:
                try:
                    spans.append(_span(span, service, component, node))
                except ConfigError as error:
                    rejects.add(str(error))
    return spans


def who_of(given: dict[str, Any]) -> tuple[str, str]:
    """Service and component of a resource's attributes."""
    service = printable(text_of(given.get("service.name") or NO_SERVICE), NO_SERVICE)
    component = next((given[name] for name in COMPONENT if given.get(name)), service)
    return service, printable(text_of(component), service)


def _span(span: Any, service: str, component: str, node: str) -> Span:
    trace_id, span_id = trace_id_of(span.trace_id), span_id_of(span.span_id)
    parent_id = span_id_of(span.parent_span_id, optional=True)
    kind = KINDS[span.kind] if 0 <= span.kind < len(KINDS) else Kind.INTERNAL
    follows = bool(parent_id) and kind is Kind.CONSUMER
    if not parent_id and span.links:
        parent_id = _linked(span, trace_id, span_id)
        follows = bool(parent_id)
    kept: dict[str, Scalar] = {}
    error = span.status.code == ERROR
    if error and span.status.message:
        kept["otel.status_description"] = _cut(span.status.message)
    for event in span.events:
        if event.name == "exception":
            bounded(((pair.key, plain(pair.value)) for pair in event.attributes if pair.key in _EXCEPTION), kept)
            break
    bounded(((pair.key, plain(pair.value)) for pair in span.attributes), kept)
    if not span.start_time_unix_nano or not span.end_time_unix_nano:
        raise ConfigError(f"span {span_id} has no {'end' if span.start_time_unix_nano else 'start'}TimeUnixNano")
    times = (int(span.start_time_unix_nano), int(span.end_time_unix_nano))
    name = printable(span.name, "?")
    return Span(trace_id, span_id, parent_id, service, component, name, *times, kind, error, follows, node, kept)


def _linked(span: Any, trace_id: str, span_id: str) -> str:
    """The span of the same trace that this one says it has to do with, or nothing."""
    for link in span.links:
        try:
            if trace_id_of(link.trace_id) == trace_id:
                found = span_id_of(link.span_id)
                if found != span_id:
                    return found
        except ConfigError:  # a link that is none speaks not against the span
            continue
    return ""


def bounded(pairs: Iterable[tuple[str, Any]], kept: dict[str, Scalar]) -> None:
    """Adds attributes to those that are kept: 32 at most, names of 200 and texts of 500 characters, others cut."""
    for key, value in pairs:
        if len(kept) >= MAX_ATTRIBUTES:
            return
        if value is not None and key:
            name = key if len(key) <= MAX_NAME else key[:MAX_NAME]
            found = scalar(value)
            kept[name] = _cut(found) if isinstance(found, str) else found


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL_VALUE else text[: MAX_LABEL_VALUE - 1] + "…"
