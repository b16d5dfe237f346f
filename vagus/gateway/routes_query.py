"""Samples and records of the whole cluster: query, directory, records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from vagus import selector
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.gateway.answers import JSON_HEADERS, QueryAnswer, RecordsAnswer, SensorsAnswer, records_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import Gathered, gather, merge_records, merge_sensors
from vagus.gateway.params import QueryParams, RecordsParams, SensorsParams, params_of, span_of
from vagus.gateway.permitted import permitted, record_name, stream_name
from vagus.gateway.route import Route, Site
from vagus.store import export, openmetrics

if TYPE_CHECKING:
    from vagus.store import Batch

MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "msgpack": "application/msgpack",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "openmetrics": openmetrics.CONTENT_TYPE,
}
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
    return msgspec.json.encode(
        {"batches": ready, "partial": gathered.partial, "missing": gathered.missing, "refused": gathered.refused}
    )


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
    """The directory of streams: those that are, and with `history` those that were."""
    params = params_of(request, SensorsParams)
    chosen = _selector(params.selector)
    gathered = await gather(site.backend, "sensors", (chosen.text,), params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, stream_name)
    found = await asyncio.to_thread(lambda: merge_sensors(gathered.parts.values()))
    shown = [info for info in found if params.history or info.live]
    return await records_response(request, "sensors", shown, gathered, ended=len(found) - len(shown))


async def records(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Events, receipts, decisions, rewards, reports or feed items, newest first."""
    params = params_of(request, RecordsParams)
    if params.kind != "event" and (params.event or params.where or params.level):
        message = f"event, where and level ask for events, not for {params.kind}s"
        raise Problem(422, "invalid", message, "query.kind", "give kind=event, or leave them out")
    start_ns, end_ns = span_of(params.since, params.start, params.end, site.clock.time_ns(), default="1h")
    args: tuple[Any, ...] = (params.kind, start_ns, end_ns, params.limit)
    if params.kind == "event":
        args = (*args, params.event, params.where, params.level)
    gathered = await gather(site.backend, "records", args, params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, record_name(params.kind))
    merged = merge_records(gathered.parts.values(), params.limit)
    return await records_response(request, "records", merged, gathered)


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
)
