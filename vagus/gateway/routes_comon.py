"""This cluster's nodes as CoMon's: a list of them, and of each its report and its slices, as plain text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from vagus.clock import NS
from vagus.gateway import comon
from vagus.gateway.fanout import gather
from vagus.gateway.params import NodeName, NoParams, Params, params_of
from vagus.gateway.permitted import permitted, stream_name
from vagus.gateway.route import Route, Site
from vagus.store import Batch

TEXT = "text/plain; charset=utf-8"
RECENT_NS = 60 * NS  # costly sources are read every ten seconds


class ComonParams(Params, frozen=True):
    """Of GET /v1/comon: of which node; empty: this one."""

    node: NodeName = ""


async def comon_nodes(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """A host name on each line; a line with `#` is a comment."""
    params_of(request, NoParams)
    names = sorted({site.backend.node, *site.backend.nodes()})
    head = f"# nodes of the cluster {site.backend.cluster}\n"
    return _text(head + "".join(f"{name}\n" for name in names))


async def node_report(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The node report: Date, VMStat, CPUUse, load, memory, disk, as lines of `Key: values`."""
    return await _answer(site, request, "host.*", comon.node_report)


async def comon_slices(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """What each program uses, in the columns of CoMon's slice dump."""
    return await _answer(site, request, "host.memory", comon.slice_dump)


async def _answer(
    site: Site, request: web.BaseRequest, host: str, write: Callable[[str, list[Batch], int], str]
) -> web.StreamResponse:
    node = params_of(request, ComonParams).node or site.backend.node
    now_ns = site.clock.time_ns()
    batches: list[Batch] = []
    for selector in (host, "process", "net.link"):
        args = (selector, now_ns - RECENT_NS, now_ns + NS, 2)
        gathered = await gather(site.backend, "query", args, node, site.timeout_s)
        batches += permitted(site, request, gathered, stream_name).parts.get(node, [])
    return _text(await asyncio.to_thread(write, node, batches, now_ns))


def _text(body: str) -> web.Response:
    return web.Response(body=body.encode(), headers={"Content-Type": TEXT, "X-Content-Type-Options": "nosniff"})


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/comon",
        node_report,
        "A node's report, in CoMon's format",
        ComonParams,
        media=("text/plain",),
        what="comon",
        errors=(404,),
    ),
    Route(
        "GET",
        "/v1/comon/slices",
        comon_slices,
        "A node's slices, in CoMon's",
        ComonParams,
        media=("text/plain",),
        what="comon",
        errors=(404,),
    ),
    Route(
        "GET",
        "/v1/comon/nodes",
        comon_nodes,
        "The nodes, a name on each line",
        NoParams,
        media=("text/plain",),
        what="status",
    ),
)
