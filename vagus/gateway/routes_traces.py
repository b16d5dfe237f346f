"""Traces: spans come in as OTLP or as Jaeger's JSON, and are shown as the execution graphs of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus import config
from vagus.clock import NS
from vagus.errors import ConfigError, NoData, Refused
from vagus.gateway.access import who_asks
from vagus.gateway.answers import Envelope, json_response, records_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import Gathered, MissingNode, gather
from vagus.gateway.inputs import read_body
from vagus.gateway.params import NodeName, Params, Since, SubjectParams, TimeText, params_of, span_of
from vagus.gateway.permitted import permitted
from vagus.gateway.route import Route, Site
from vagus.gateway.routes_ingest import OTLP, PROTOBUF, ExportAnswer, converted, decode, export_answer
from vagus.gateway.traces import Found, TraceQuestion, TraceSummary, TraceView, summaries, view_of
from vagus.inputs.admission import Taken
from vagus.inputs.jaeger import read_jaeger
from vagus.inputs.otlp import Rejects
from vagus.inputs.otlp_json import ExportTraceServiceRequest
from vagus.inputs.otlp_traces import read_traces
from vagus.model import MAX_NAME, Span
from vagus.traces.graph import build

MAX_LISTED = 1000
MAX_SPANS = 20_000  # of one node, in one answer to the gateway
CHUNK = 50  # traces of which the spans are asked for at once


class TracesParams(Params, frozen=True):
    """Of GET /v1/traces: which traces."""

    service: Annotated[str, Meta(max_length=MAX_NAME, description="with a span of this service")] = ""
    operation: Annotated[str, Meta(max_length=MAX_NAME, description="with a span of this name")] = ""
    since: Annotated[Since, Meta(description="how far back; default: 1h")] = ""
    start: TimeText = ""
    end: TimeText = ""
    least: Annotated[Since, Meta(description="the least latency, such as 200ms")] = ""
    errors: Annotated[bool, Meta(description="only traces with a failed span")] = False
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = 20
    node: NodeName = ""


class TracesAnswer(Envelope, frozen=True, kw_only=True):
    """Traces, newest first. more: there are others, or might be: narrow the question, or raise the limit."""

    traces: list[TraceSummary]
    more: bool = False


class TraceAnswer(Envelope, frozen=True, kw_only=True):
    """One trace with its critical path. cut: a node has more than 20,000 spans of it, of which the first are shown."""

    trace: TraceView
    cut: bool = False


class JaegerTrace(msgspec.Struct, frozen=True):
    """Jaeger's own: traceID, spans, processes."""

    traceID: str = ""  # noqa: N815  # Jaeger's name
    spans: list[dict[str, msgspec.Raw]] = []
    processes: dict[str, msgspec.Raw] = {}


class JaegerBody(msgspec.Struct, frozen=True):
    """What Jaeger's query API answers and its user interface saves."""

    data: list[JaegerTrace]


class SpansTakenAnswer(msgspec.Struct, frozen=True):
    """How many spans are committed, how many were refused or malformed, and why, each reason once."""

    accepted: int
    rejected: int
    reasons: list[str]


# --- in --------------------------------------------------------------------------------------------------------------


async def export_traces(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """OTLP/HTTP traces, as protobuf or JSON, plain or gzipped. What cannot be stored is told as partial success.

    Answered when committed.
    """
    body, packed = await read_body(site, request, OTLP, gzip=True)
    rejects = Rejects()

    def read() -> list[Span]:
        return read_traces(decode(body, packed, "traces"), site.backend.node, rejects)

    taken = await _take(site, request, await converted(body, read))
    return export_answer(packed, "traces", rejects, taken)


async def jaeger_traces(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Traces in Jaeger's JSON, plain or gzipped. A span that cannot be read is refused by itself."""
    body, _packed = await read_body(site, request, {"application/json": False}, gzip=True)
    rejects = Rejects()

    def read() -> list[Span]:
        try:
            return read_jaeger(body, site.backend.node, rejects)
        except ConfigError as error:
            raise Problem(400, "malformed", str(error), "body") from error

    made = await converted(body, read)
    taken = await _take(site, request, made)
    accepted = len(made) - taken.refused
    reasons = [*taken.reasons, *rejects.reasons]
    if reasons and not accepted:
        raise Problem(422, "refused", "; ".join(reasons)[:1000], "body", "nothing of it was stored")
    return json_response(SpansTakenAnswer(accepted, rejects.count + taken.refused, reasons))


async def _take(site: Site, request: web.BaseRequest, spans: Sequence[Span]) -> Taken:
    return await asyncio.wait_for(site.backend.take_spans(who_asks(request), spans), site.timeout_s)


# --- out -------------------------------------------------------------------------------------------------------------


async def traces(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Traces of the whole cluster in a line each, newest first, each joined from the spans of all nodes."""
    params = params_of(request, TracesParams)
    start_ns, end_ns = span_of(params.since, params.start, params.end, site.clock.time_ns(), default="1h")
    least_ns = _least_ns(params.least)
    sifted = bool(params.errors or least_ns)  # what is asked for shows only in the whole trace
    most = MAX_LISTED if sifted else params.limit
    question = TraceQuestion(start_ns, end_ns, most, params.service, params.operation, least_ns)
    gathered = await gather(site.backend, "traces", (question,), params.node, site.timeout_s)
    ids, whole = _merged(gathered, most)
    listing = _Listing(site, request, params.node, gathered.missing)
    found: list[TraceSummary] = []
    at = 0
    while at < len(ids) and len(found) < params.limit:
        chunk, at = ids[at : at + CHUNK], at + CHUNK
        spans = await listing.spans(chunk)
        made = await asyncio.to_thread(summaries, spans)
        found += [t for t in made if t.latency_ns >= least_ns and (t.errors or not params.errors)]
    if not found:
        listing.raise_refused()
    shown = sorted(found, key=lambda summary: -summary.t_ns)[: params.limit]
    more = not whole or at < len(ids) or len(shown) < len(found)
    return await records_response(request, "traces", shown, listing.gathered(), more=more)


def _least_ns(least: str) -> int:
    try:
        return round(config.seconds(least) * NS) if least else 0
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "query.least") from error


def _merged(gathered: Gathered, most: int) -> tuple[list[str], bool]:
    """Trace ids that any node knows, newest first; whether that is all of them."""
    newest: dict[str, int] = {}
    whole = True
    for part in gathered.parts.values():
        found: Found = part
        whole = whole and found.whole
        for t_ns, trace_id in found.traces:
            newest[trace_id] = max(t_ns, newest.get(trace_id, 0))
    ids = sorted(newest, key=lambda trace_id: (-newest[trace_id], trace_id))
    return ids[:most], whole and len(ids) <= most


class _Listing:
    """Gets the spans of traces from all nodes, and remembers what was missing and refused on the way."""

    def __init__(self, site: Site, request: web.BaseRequest, node: str, missing: Sequence[MissingNode]) -> None:
        self._site = site
        self._request = request
        self._node = node
        self._missing = {entry.node: entry for entry in missing}
        self._names: set[str] = set()
        self._refused: Refused | None = None
        self.cut = False  # a trace has more spans than a node tells

    async def spans(self, traces: Sequence[str]) -> list[Span]:
        """As far as nodes answer and the rules of access allow. Traces that are too many for one answer in parts."""
        asked = (tuple(traces), MAX_SPANS)
        away = self._missing  # a node that hangs is waited for once
        gathered = await gather(self._site.backend, "spans", asked, self._node, self._site.timeout_s, away)
        full = any(len(part) >= MAX_SPANS for part in gathered.parts.values())
        self.cut = self.cut or (full and len(traces) == 1)
        if full and len(traces) > 1:
            half = len(traces) // 2
            return [*await self.spans(traces[:half]), *await self.spans(traces[half:])]
        self._missing.update((entry.node, entry) for entry in gathered.missing)
        try:
            gathered = permitted(self._site, self._request, gathered, span_name)
        except Refused as error:
            self._refused = error
            return []
        self._names.update(gathered.refused)
        return [span for part in gathered.parts.values() for span in part]

    def raise_refused(self) -> None:
        """Raises Refused where something was found and nothing of it may be read."""
        if self._refused is not None:
            raise self._refused

    def gathered(self) -> Gathered:
        """What the envelope of the answer says."""
        missing = tuple(self._missing[name] for name in sorted(self._missing))
        return Gathered({}, missing, tuple(sorted(self._names)))


def span_name(span: Span) -> str:
    """What access rules call a span: `span.SERVICE`."""
    return f"span.{span.service}"


async def trace(site: Site, request: web.BaseRequest, trace_id: str) -> web.StreamResponse:
    """One trace, joined from the spans of all nodes: its execution graph and critical path."""
    params = params_of(request, SubjectParams)
    listing = _Listing(site, request, params.node, ())
    spans = await listing.spans([trace_id])
    gathered = listing.gathered()
    if not spans:
        listing.raise_refused()
        away = f"; nodes that did not answer: {', '.join(m.node for m in gathered.missing)}" if gathered.partial else ""
        raise NoData(f"no span of trace {trace_id[:80]!r} is stored{away}; GET /v1/traces lists those that are")
    view = await asyncio.to_thread(lambda: view_of(build(spans)[0]))
    return await records_response(request, "trace", view, gathered, cut=listing.cut)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/traces",
        export_traces,
        "OTLP traces",
        body=(ExportTraceServiceRequest,),
        accepts=tuple(OTLP),
        answer=ExportAnswer,
        media=(PROTOBUF,),
        verb="send",
    ),
    Route(
        "POST",
        "/api/traces",
        jaeger_traces,
        "Jaeger's JSON",
        body=(JaegerBody,),
        accepts=("application/json",),
        answer=SpansTakenAnswer,
        verb="send",
    ),
    Route("GET", "/v1/traces", traces, "Traces, newest first", query=TracesParams, answer=TracesAnswer, errors=(404,)),
    Route(
        "GET",
        "/v1/traces/{trace_id}",
        trace,
        "A trace with its critical path",
        query=SubjectParams,
        answer=TraceAnswer,
        errors=(404,),
    ),
)
