"""Past to present over HTTP: lines of JSON, and server-sent events that a browser resumes by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus import config, selector
from vagus.client.tail import Tick
from vagus.clock import NS
from vagus.errors import ConfigError, NoData
from vagus.gateway.access import who_asks
from vagus.gateway.answers import JSON_HEADERS
from vagus.gateway.errors import Problem
from vagus.gateway.forms import Chunk, Form, positions_of, positions_text
from vagus.gateway.hub import Selection
from vagus.gateway.params import NodeName, Since, params_of
from vagus.gateway.reader import Reader
from vagus.gateway.route import Route, Site
from vagus.selector import MAX_SELECTOR

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
MAX_READERS = 1000
STALL_S = 30.0
TOGETHER_BYTES = 64 << 10

Wanted = Annotated[
    str,
    Meta(max_length=MAX_SELECTOR, description='samples: kind[.field]{label="value"}; default *, or none with events'),
]
Events = Annotated[str, Meta(max_length=500, description="events: glob patterns of their names, comma-separated")]
After = Annotated[str, Meta(max_length=8000, description="go on after this id of an item (or several, by commas)")]


class SubscribeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of GET /v1/tail and GET /v1/subscribe: what, of which node, from when on."""

    selector: Wanted = ""
    events: Events = ""
    node: NodeName = ""
    since: Since = ""
    after: After = ""


def open_reader(site: Site, request: web.BaseRequest, params: SubscribeParams, form: Form) -> Reader:
    """A reader of what the parameters ask for; `release` it. Raises Problem (422, 429), NoData (an unknown node)."""
    text = params.selector or ("" if params.events else "*")
    try:
        chosen = selector.parse_stored(text).text if text else ""
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "query.selector") from error
    try:
        since_ns = round(config.seconds(params.since) * NS) if params.since else 0
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "query.since") from error
    try:
        after = positions_of(params.after)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "query.after") from error
    nodes = sorted({site.backend.node, *site.backend.nodes()})
    if params.node and params.node not in nodes:
        raise NoData(f"there is no node {params.node[:80]!r}; known nodes: {', '.join(nodes)[:400]}")
    if site.tails >= MAX_READERS:
        hint = "close one, or use GET /v1/query"
        raise Problem(429, "busy", f"{MAX_READERS} subscriptions are open already", "", hint)
    who, door = who_asks(request), site.door

    def allow(node: str, name: str) -> bool:
        if not door.allows(who, "read", name, node):
            door.refuse(who, "read", name, node)
            return False
        return True

    selection = Selection(chosen, params.events, form, "" if door.open else str(who))
    begin_ns = max(1, site.clock.time_ns() - since_ns) if since_ns else 0
    reader = Reader(site.hub, selection, allow, [params.node] if params.node else None, begin_ns, after)
    site.tails += 1
    site.readers.add(reader)
    return reader


def release(site: Site, reader: Reader) -> None:
    """Ends a reader."""
    site.tails -= 1
    site.readers.discard(reader)
    site.tail_dropped += reader.lost
    reader.close()


async def tail(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Samples and events, a JSON object a line (or server-sent events when asked for), until either side ends it.

    With `since` the past comes first, then the present, without gap or duplicate. Each item has an `id`; the newest
    id of each node, comma-separated as `after`, goes on from there. Other lines are notices: `at` (positions without
    an item), `dropped` (items that this reader was too slow for), `missing` and `back` (a node), `gap`, `refused`,
    `end`.
    """
    params = params_of(request, SubscribeParams)
    if SSE in request.headers.get("Accept", ""):
        return await _sse(site, request, params)
    reader = open_reader(site, request, params, "lines")
    response = web.StreamResponse(headers={**JSON_HEADERS, "Content-Type": NDJSON})
    return await _pour(site, request, response, reader, _Lines())


async def subscribe(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """As GET /v1/tail, as server-sent events: EventSource's Last-Event-ID goes on without gap or duplicate."""
    return await _sse(site, request, params_of(request, SubscribeParams))


async def _sse(site: Site, request: web.BaseRequest, params: SubscribeParams) -> web.StreamResponse:
    last = request.headers.get("Last-Event-ID", "")
    if last:
        params = msgspec.structs.replace(params, after=last)
    one = bool(params.node) or len({site.backend.node, *site.backend.nodes()}) == 1
    if one:
        params = msgspec.structs.replace(params, node=params.node or site.backend.node)
    reader = open_reader(site, request, params, "events" if one else "parts")
    response = web.StreamResponse(headers={**JSON_HEADERS, "Content-Type": SSE})
    return await _pour(site, request, response, reader, _Events(reader))


class _Lines:
    """Notices between lines of JSON."""

    beat = b"\n"

    def notice(self, about: object) -> bytes:
        return msgspec.json.encode(about) + b"\n"

    def at(self, positions: dict[str, str]) -> bytes:
        return self.notice({"at": positions})

    def chunk(self, chunk: Chunk) -> bytes:
        return chunk.data


class _Events:
    """Notices between server-sent events, as events named `notice`; an id alone moves Last-Event-ID on."""

    beat = b":\n\n"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._at: dict[str, str] = {}

    def notice(self, about: object) -> bytes:
        return b"event: notice\ndata: " + msgspec.json.encode(about) + b"\n\n"

    def at(self, positions: dict[str, str]) -> bytes:
        self._at.update(positions)
        return b"id: " + positions_text(self._at).encode() + b"\n\n"

    def chunk(self, chunk: Chunk) -> bytes:
        if chunk.data:
            return chunk.data
        lines = []
        for position, line in chunk.parts:
            self._at[chunk.node] = position
            lines.append(b"id: %b\ndata: %b\n\n" % (positions_text(self._at).encode(), line))
        return b"".join(lines)


async def _pour(
    site: Site, request: web.BaseRequest, response: web.StreamResponse, reader: Reader, shape: _Lines | _Events
) -> web.StreamResponse:
    known: set[str] = set()
    try:
        await response.prepare(request)
        beaten = False
        while True:
            start = reader.positions()  # at first, so that a reader that has no item can resume as well
            parts = [shape.at(start)] if start.keys() - known else []
            known |= start.keys()
            chunks, lost = reader.take()
            if lost:
                parts.append(shape.notice({"dropped": lost}))
            parts += [shape.notice(c.notice) if c.notice is not None else shape.chunk(c) for c in chunks]
            del chunks  # what is sent is not kept
            if beaten:
                parts.append(shape.at(reader.positions()) + shape.beat)
            if reader.error is not None:
                parts.append(shape.notice({"error": str(reader.error)[:500]}))
            elif reader.closed:
                parts.append(shape.notice({"end": True}))  # tells an end from a loss
            await write_parts(request, response, parts)
            if reader.closed or reader.error is not None:
                return response
            beaten = not await reader.wait()
    except ConnectionError:
        response.force_close()  # the reader went away, or stood still too long
    finally:
        release(site, reader)
    return response


async def write_parts(request: web.BaseRequest, response: web.StreamResponse, parts: list[bytes]) -> None:
    """Small ones together, large ones as they are: a reader that is slow holds no copy of what waits for it."""
    abort: Callable[[], object] = request.transport.abort if request.transport is not None else lambda: None
    while parts:
        count = size = 0
        while count < len(parts) and (not count or size + len(parts[count]) <= TOGETHER_BYTES):
            size += len(parts[count])
            count += 1
        content = parts[0] if count == 1 else b"".join(parts[:count])
        del parts[:count]
        if content:
            stalled = asyncio.get_running_loop().call_later(STALL_S, abort)  # one that stands still is let go
            try:
                await response.write(content)
            finally:
                stalled.cancel()


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/tail",
        tail,
        "Past to present, a line each",
        query=SubscribeParams,
        answer=Tick,
        media=(SSE,),
        errors=(404, 429),
    ),
    Route(
        "GET",
        "/v1/subscribe",
        subscribe,
        "Past to present as server-sent events",
        query=SubscribeParams,
        media=(SSE,),
        errors=(404, 429),
    ),
)
