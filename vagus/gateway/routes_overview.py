"""GET /v1/overview: the cluster at a glance as server-sent events, for the page `/`."""

from __future__ import annotations

import asyncio

from aiohttp import web

from vagus.gateway.access import who_asks
from vagus.gateway.answers import JSON_HEADERS
from vagus.gateway.errors import Problem
from vagus.gateway.overview_events import Events, event
from vagus.gateway.params import NoParams, params_of
from vagus.gateway.route import Route, Site
from vagus.gateway.routes_subscribe import SSE, write_parts

MAX_VIEWERS = 100
HEARTBEAT_S = 10.0
BEAT = b":\n\n"


async def overview(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Sections by name, each sent when it differs: `hello`, `signals` and then `tick` with the newest of them, `nodes`,
    `verdicts`, `feeds`, `decisions`, `limits`, at last `end`. A comment every ten seconds says that it lives.

    All viewers share one round of questions to the nodes, which goes on while anybody looks. A section says which nodes
    are `missing`, why it is not newer (`error`), and what is not its reader's to see (`refused`).
    """
    params_of(request, NoParams)
    board = site.board
    if len(board) >= MAX_VIEWERS:
        raise Problem(429, "busy", f"{MAX_VIEWERS} pages look at the overview already", "", "close one")
    events = Events(board, site.door, who_asks(request))
    response = web.StreamResponse(headers={**JSON_HEADERS, "Content-Type": SSE})
    woken = board.join()
    try:
        await response.prepare(request)
        while True:
            woken.clear()
            await write_parts(request, response, [event("end", {})] if board.closed else events.news())
            if board.closed:
                return response
            try:
                await asyncio.wait_for(woken.wait(), HEARTBEAT_S)
            except (asyncio.TimeoutError, TimeoutError):
                await write_parts(request, response, [BEAT])
    except ConnectionError:
        response.force_close()  # the page went away, or stood still too long
    finally:
        board.leave(woken)
    return response


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/overview",
        overview,
        "The cluster at a glance, live",
        query=NoParams,
        media=(SSE,),
        errors=(429,),
        what="overview",
    ),
)
