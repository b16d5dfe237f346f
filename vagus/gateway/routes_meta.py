"""About vagus itself: status of all nodes, Prometheus metrics, the description of this API."""

from __future__ import annotations

import asyncio

from aiohttp import web

from vagus.clock import NS
from vagus.gateway import metrics as exposition
from vagus.gateway.answers import JSON_HEADERS, StatusAnswer, records_response
from vagus.gateway.fanout import gather
from vagus.gateway.openapi import described
from vagus.gateway.params import NoParams, SubjectParams, params_of
from vagus.gateway.permitted import permitted_nodes
from vagus.gateway.route import Route, Site

LOOKBACK_NS = 300 * NS  # as Prometheus looks back: a feed that ticks once a minute is still shown


async def status(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """What each node says of itself: its actors, verdicts, errors, newest receipts."""
    params = params_of(request, SubjectParams)
    gathered = await gather(site.backend, "status", (), params.node, site.timeout_s)
    gathered = permitted_nodes(site, request, gathered, "status")
    nodes = [gathered.parts[node] for node in sorted(gathered.parts)]
    return await records_response(request, "nodes", nodes, gathered, cluster=site.backend.cluster)


async def metrics(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The newest value of every live series of this node, for Prometheus to scrape."""
    params_of(request, NoParams)
    reads = asyncio.gather(site.backend.latest(("*",)), site.backend.status())
    samples, own = await asyncio.wait_for(reads, site.timeout_s)
    after_ns = site.clock.time_ns() - LOOKBACK_NS
    live = [sample for sample in samples if sample.t_ns > after_ns]
    body = await asyncio.to_thread(exposition.render, site, live, own)
    return web.Response(body=body, headers={**JSON_HEADERS, "Content-Type": exposition.CONTENT_TYPE})


async def openapi(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """This description."""
    params_of(request, NoParams)
    return web.Response(body=described(site.routes), headers=JSON_HEADERS)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/status",
        status,
        "All nodes",
        query=SubjectParams,
        answer=StatusAnswer,
        errors=(404,),
        what="status",
    ),
    Route("GET", "/metrics", metrics, "Prometheus metrics", query=NoParams, media=("text/plain",), what="metrics"),
    Route(
        "GET", "/openapi.json", openapi, "This description", query=NoParams, media=("application/json",), public=True
    ),
)
