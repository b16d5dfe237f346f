"""Jaeger's JSON, as its query API answers and its user interface exports: {"data": [{traceID, spans, processes}]}.

Read and written. A bare trace and a list of traces are read as well. Spans name their parent by a reference (CHILD_OF,
FOLLOWS_FROM) or, in older files, `parentSpanID`; times are microseconds; kind, error and status are tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from vagus.errors import ConfigError
from vagus.inputs.names import printable, scalar
from vagus.inputs.otlp import Rejects
from vagus.inputs.otlp_traces import NO_SERVICE, bounded, who_of
from vagus.inputs.span_ids import span_id_of, trace_id_of
from vagus.model import Kind, Scalar, Span

_FOLLOWS = "FOLLOWS_FROM"
_KINDS = {kind.value: kind for kind in Kind}
_TYPES = {bool: "bool", int: "int64", float: "float64", str: "string"}
_OWN = frozenset({"span.kind", "error"})  # tags that are fields of ours
_HOSTS = {"hostname": "host.name"}  # what Jaeger's own clients called it


class _Tag(msgspec.Struct, frozen=True):
    key: str = ""
    value: Any = None


class _Reference(msgspec.Struct, frozen=True, rename={"kind": "refType", "trace_id": "traceID", "span_id": "spanID"}):
    kind: str = "CHILD_OF"
    trace_id: str = ""
    span_id: str = ""


class _Process(msgspec.Struct, frozen=True, rename={"service": "serviceName"}):
    service: str = ""
    tags: list[_Tag] | None = None


class _Span(
    msgspec.Struct,
    frozen=True,
    rename={
        "trace_id": "traceID",
        "span_id": "spanID",
        "parent_id": "parentSpanID",
        "operation": "operationName",
        "start_us": "startTime",
        "duration_us": "duration",
        "process_id": "processID",
    },
):
    span_id: str
    start_us: int
    trace_id: str = ""
    parent_id: str = ""
    operation: str = ""
    references: list[_Reference] | None = None
    duration_us: int = 0
    tags: list[_Tag] | None = None
    process_id: str = ""
    process: _Process | None = None  # elsewhere than in `processes`, as Jaeger stores it


class _Trace(msgspec.Struct, frozen=True, rename={"trace_id": "traceID"}):
    trace_id: str = ""
    spans: list[msgspec.Raw] | None = None
    processes: dict[str, _Process] | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Trace] | _Trace | None = None
    spans: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_span = msgspec.json.Decoder(_Span).decode


def read_jaeger(body: bytes, node: str, rejects: Rejects) -> list[Span]:
    """The spans of all traces; what cannot be one is added to `rejects`. Raises ConfigError: this is none of it."""
    spans: list[Span] = []
    for trace in _traces(body):
        processes = {name: _who(process) for name, process in (trace.processes or {}).items()}
        for raw in trace.spans or ():
            try:
                spans.append(_read(_span(raw), trace.trace_id, processes, node))
            except (ConfigError, msgspec.DecodeError, ValueError, RecursionError) as error:
                rejects.add(str(error)[:300])
    return spans


def _traces(body: bytes) -> list[_Trace]:
    try:
        if body.lstrip()[:1] == b"[":
            return msgspec.json.decode(body, type=list[_Trace])
        answer = msgspec.json.decode(body, type=_Answer)
        if answer.spans is not msgspec.UNSET:
            return [msgspec.json.decode(body, type=_Trace)]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"not Jaeger's JSON: {error}") from error
    if answer.data is None:
        raise ConfigError("not Jaeger's JSON: it has neither `data`, a list of traces, nor `spans`")
    return answer.data if isinstance(answer.data, list) else [answer.data]


def _who(process: _Process) -> tuple[str, str]:
    tags = {_HOSTS.get(tag.key, tag.key): tag.value for tag in process.tags or ()}
    return who_of({**tags, "service.name": process.service})


def _read(span: _Span, trace_id: str, processes: dict[str, tuple[str, str]], node: str) -> Span:
    span_id = span_id_of(span.span_id, shorter=True)
    trace_id = trace_id_of(span.trace_id or trace_id, shorter=True)
    parent_id, follows = span_id_of(span.parent_id, shorter=True, optional=True), False
    if span.references:
        parent_id, follows = _parent(span.references, trace_id, parent_id)
    who = _who(span.process) if span.process is not None else processes.get(span.process_id)
    service, component = who or (NO_SERVICE, NO_SERVICE)
    if span.duration_us < 0:
        raise ConfigError(f"span {span_id} has the duration {span.duration_us} µs")
    tags = {tag.key: tag.value for tag in span.tags or ()}
    kind = _KINDS.get(str(tags.get("span.kind")).lower(), Kind.INTERNAL)
    error = tags.get("error") in (True, "true", "1", 1) or tags.get("otel.status_code") == "ERROR"
    kept: dict[str, Scalar] = {}
    bounded(((key, value) for key, value in tags.items() if key not in _OWN), kept)
    times = (span.start_us * 1000, (span.start_us + span.duration_us) * 1000)
    name = printable(span.operation, "?")
    return Span(trace_id, span_id, parent_id, service, component, name, *times, kind, error, follows, node, kept)


def _parent(references: Sequence[_Reference], trace_id: str, otherwise: str) -> tuple[str, bool]:
    """The parent within the trace, one that waits before one that does not; and whether it does not."""
    following = ""
    for reference in references:
        if reference.trace_id and trace_id_of(reference.trace_id, shorter=True) != trace_id:
            continue
        named = span_id_of(reference.span_id, shorter=True, optional=True)
        if reference.kind != _FOLLOWS:
            return named or otherwise, False
        following = following or named
    return (following, True) if following and not otherwise else (otherwise, False)


def write_jaeger(spans: Iterable[Span]) -> dict[str, Any]:
    """Spans as the answer of Jaeger's query API, which its user interface opens as a file; JSON-ready."""
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    data = []
    for trace_id, group in traces.items():
        processes = {who: f"p{n}" for n, who in enumerate(dict.fromkeys((s.service, s.component) for s in group), 1)}
        data.append(
            {
                "traceID": trace_id,
                "spans": [_written(span, processes[span.service, span.component]) for span in group],
                "processes": {
                    place: {"serviceName": service, "tags": [_tag("service.instance.id", component)]}
                    for (service, component), place in processes.items()
                },
            }
        )
    return {"data": data}


def _written(span: Span, process: str) -> dict[str, Any]:
    reference = {
        "refType": _FOLLOWS if span.follows else "CHILD_OF",
        "traceID": span.trace_id,
        "spanID": span.parent_id,
    }
    own: dict[str, Scalar] = {"span.kind": span.kind.value, **({"error": True} if span.error else {})}
    start_us = span.start_ns // 1000
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.operation,
        "references": [reference] if span.parent_id else [],
        "startTime": start_us,
        "duration": span.end_ns // 1000 - start_us,
        "tags": [_tag(key, value) for key, value in {**span.attributes, **own}.items()],
        "processID": process,
    }


def _tag(key: str, value: Scalar) -> dict[str, Any]:
    return {"key": key, "type": _TYPES.get(type(value), "string"), "value": scalar(value)}
