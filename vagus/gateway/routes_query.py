"""Samples and records of the whole cluster: query, directory, records, live tail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from vagus import selector
from vagus.client.tail import Tick
from vagus.clock import NS
from vagus.errors import ConfigError, NoData
from vagus.gateway.answers import JSON_HEADERS, QueryAnswer, RecordsAnswer, SensorsAnswer, records_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import Gathered, gather, merge_records, merge_sensors
from vagus.gateway.params import QueryParams, RecordsParams, SensorsParams, params_of, span_of
from vagus.gateway.permitted import permitted, record_name, stream_name
from vagus.gateway.route import Route, Site
from vagus.gateway.tail import Tail
from vagus.store import export, openmetrics

if TYPE_CHECKING:
    from vagus.store import Batch

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "msgpack": "application/msgpack",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "openmetrics": openmetrics.CONTENT_TYPE,
}
MAX_TAILS = 64
HEARTBEAT_S = 10.0
STALL_S = 30.0
ESTIMATE_FROM_NS = 600 * NS  # shorter spans are cheaper to read than to estimate


async def query(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Samples of all matching streams in a span of time, one batch for each stream."""
    params = params_of(request, QueryParams)
    chosen = _selector(params.selector)
    start_ns, end_ns = span_of(params.since, params.start, params.end, site.clock.time_ns())
    if end_ns - start_ns > ESTIMATE_FROM_NS:
        await _refuse_large(site, chosen, params, start_ns, end_ns)
    args = (chosen.text, start_ns, end_ns, params.limit)
    gathered = await gather(site.backend, "query", args, params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, stream_name)
    batches: list[Batch] = [batch for part in gathered.parts.values() for batch in part]
    batches.sort(key=lambda batch: batch.stream.key)
    _check_size(site, sum(len(batch.t_ns) * len(batch.stream.fields) for batch in batches))
    body = await asyncio.to_thread(_render, batches, params, gathered)
    headers = {**JSON_HEADERS, "Content-Type": MEDIA[params.format], "X-Content-Type-Options": "nosniff"}
    if gathered.partial:
        named = [{"node": m.node, "error": m.error[:100]} for m in gathered.missing[:30]]
        headers |= {"X-Vagus-Partial": "true", "X-Vagus-Missing": json.dumps(named)}
    if gathered.refused:
        headers["X-Vagus-Refused"] = json.dumps(gathered.refused)
    return web.Response(body=body, headers=headers)


def _render(batches: Sequence[Batch], params: QueryParams, gathered: Gathered) -> bytes:
    if params.rate:
        batches = [batch.rate() for batch in batches]
    if params.format == "csv":
        return export.to_csv(batches).encode()
    if params.format == "msgpack":
        return export.to_msgpack(batches)
    if params.format == "arrow":
        return export.to_arrow(batches)
    if params.format == "parquet":
        return export.to_parquet(batches)
    if params.format == "openmetrics":
        return openmetrics.to_openmetrics(batches).encode("utf-8", "replace")
    ready = msgspec.Raw(export.to_json(batches).encode())
    return msgspec.json.encode({"batches": ready, "partial": gathered.partial, "missing": gathered.missing, "refused": gathered.refused})


async def _refuse_large(site: Site, chosen: selector.Selector, params: QueryParams, start_ns: int, end_ns: int) -> None:
    gathered = await gather(site.backend, "sensors", (chosen.text,), params.node, site.timeout_s)
    values = 0.0
    for info in merge_sensors(gathered.parts.values()):
        overlap_ns = min(end_ns, info.last_ns + 1) - max(start_ns, info.first_ns)
        if overlap_ns > 0:
            ticks = info.samples * overlap_ns / (info.last_ns + 1 - info.first_ns)
            values += min(ticks, params.limit or ticks) * len(chosen.fields(info.stream))
    _check_size(site, round(values * 0.5))  # an estimate: only what is surely too much is refused before reading


def _check_size(site: Site, values: int) -> None:
    if values > site.max_values:
        message = f"the answer would have about {values} values; at most {site.max_values} are sent"
        hint = "narrow the selector or the span of time, or set limit to the newest ticks of each stream"
        raise Problem(413, "too_large", message, "query", hint)


async def sensors(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The directory of streams, those that have ended included."""
    params = params_of(request, SensorsParams)
    chosen = _selector(params.selector)
    gathered = await gather(site.backend, "sensors", (chosen.text,), params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, stream_name)
    return await records_response(request, "sensors", merge_sensors(gathered.parts.values()), gathered)


async def records(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Events, receipts, decisions, rewards, reports or feed items, newest first."""
    params = params_of(request, RecordsParams)
    start_ns, end_ns = span_of(params.since, "", "", site.clock.time_ns())
    args = (params.kind, start_ns, end_ns, params.limit)
    gathered = await gather(site.backend, "records", args, params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, record_name(params.kind))
    merged = merge_records(gathered.parts.values(), params.limit)
    return await records_response(request, "records", merged, gathered)


async def tail(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Live samples, a JSON object a line (or server-sent events when asked for), until either side ends it."""
    params = params_of(request, SensorsParams)
    chosen = _selector(params.selector)
    nodes = sorted({site.backend.node, *site.backend.nodes()})
    if params.node and params.node not in nodes:
        raise NoData(f"there is no node {params.node[:80]!r}; known nodes: {', '.join(nodes)[:400]}")
    if site.tails >= MAX_TAILS:
        raise Problem(429, "busy", f"{MAX_TAILS} tails are open already", "", "close one, or use GET /v1/query")
    events = SSE in request.headers.get("Accept", "")
    response = web.StreamResponse(headers={**JSON_HEADERS, "Content-Type": SSE if events else NDJSON})
    site.tails += 1
    try:
        await response.prepare(request)
        await _pour(Tail(site, chosen, [params.node] if params.node else nodes), response, events)
    except (ConnectionError, asyncio.TimeoutError):
        response.force_close()  # the reader went away, or stood still too long
    finally:
        site.tails -= 1
    return response


async def _pour(source: Tail, response: web.StreamResponse, events: bool) -> None:
    before, after = (b"data: ", b"\n\n") if events else (b"", b"\n")
    encode = msgspec.json.Encoder().encode
    async with source as buffer:
        told = 0
        while True:
            lines = await buffer.get(HEARTBEAT_S)
            if not lines and buffer.closed:
                await response.write(before + b'{"end":true}' + after)  # tells an end from a loss
                return
            if buffer.dropped > told:
                lines.insert(0, {"dropped": buffer.dropped - told})
                told = buffer.dropped
            chunk = b"".join([before + encode(line) + after for line in lines]) or (b":\n\n" if events else b"\n")
            await asyncio.wait_for(response.write(chunk), STALL_S)


def _selector(text: str) -> selector.Selector:
    try:
        return selector.parse(text)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "query.selector") from error


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/query",
        query,
        "Samples of a span of time",
        query=QueryParams,
        answer=QueryAnswer,
        media=tuple(media.partition(";")[0] for name, media in MEDIA.items() if name != "json"),
        errors=(404, 413),
    ),
    Route("GET", "/v1/sensors", sensors, "The streams", query=SensorsParams, answer=SensorsAnswer, errors=(404,)),
    Route("GET", "/v1/records", records, "Stored records", query=RecordsParams, answer=RecordsAnswer, errors=(404,)),
    Route("GET", "/v1/tail", tail, "Live samples", query=SensorsParams, answer=Tick, media=(SSE,), errors=(404, 429)),
)
