"""Declared feeds over the whole cluster: what fetches them, how that goes, and their newest items."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, cast

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus import model
from vagus.feeds.expression import Expression, compile_expression
from vagus.feeds.signals import kind_of
from vagus.gateway.answers import JSON_HEADERS, Envelope, records_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import Gathered, gather
from vagus.gateway.params import NodeName, Params, Since, SubjectParams, TimeText, params_of, span_of
from vagus.gateway.permitted import permitted
from vagus.gateway.route import Route, Site
from vagus.model import FeedStatus

MAX_ITEMS = 10_000


class ItemsParams(Params, frozen=True):
    """Of GET /v1/feeds/{name}/items: how many, and of when."""

    limit: Annotated[int, Meta(ge=1, le=MAX_ITEMS, description="newest items; of a span of time the oldest")] = 100
    since: Annotated[Since, Meta(description="how far back: out of the archive; default: the newest in memory")] = ""
    start: TimeText = ""
    end: TimeText = ""
    node: NodeName = ""
    where: Annotated[str, Meta(max_length=2000, description="an expression over the value, such as load1 > 2")] = ""
    latest: Annotated[bool, Meta(description="of each location only what is of its newest fetch")] = False


class FeedsAnswer(Envelope, frozen=True, kw_only=True):
    """Each declared feed at each node that fetches some of it."""

    feeds: list[FeedStatus]


Shown = tuple[int, str, bytes]  # when it arrived, the node, the item as JSON


class OriginShown(msgspec.Struct, frozen=True):
    """As `Origin` of the records of kind item: which item of which feed one was made from."""

    feed: str
    location: str
    due_ns: int
    part: str = ""


class ItemMeta(msgspec.Struct, frozen=True):
    """As `Meta` of the records of kind item."""

    feed: str
    location: str
    due_ns: int
    arrived_ns: int
    net: str
    data: str
    errors: int
    size_bytes: int
    note: str
    started_ns: int
    part: str
    provenance: list[OriginShown]


class ItemShown(msgspec.Struct, frozen=True):
    """An item: its meta and its value, null after a failure; node: who fetched it."""

    node: str
    meta: ItemMeta
    value: Any


class ItemsAnswer(Envelope, frozen=True, kw_only=True):
    """Items of one feed, oldest first."""

    items: list[ItemShown]


async def feeds(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Each declared feed: its schedule, shape and tools, and of each node its share of locations and how they do."""
    params = params_of(request, SubjectParams)
    gathered = await gather(site.backend, "feeds", (), params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, lambda status: kind_of(status.name))
    found = sorted((s for part in gathered.parts.values() for s in part), key=lambda s: (s.name, s.node))
    return await records_response(request, "feeds", found, gathered)


async def feed_items(site: Site, request: web.BaseRequest, feed: str) -> web.StreamResponse:
    """The newest items of a feed from all nodes, or with a span of time those that arrived in it, parsed again."""
    params = params_of(request, ItemsParams)
    start_ns = end_ns = 0
    if params.since or params.start or params.end:
        start_ns, end_ns = span_of(params.since, params.start, params.end, site.clock.time_ns())
    where = compile_expression(params.where) if params.where else None
    narrowed = where is not None or params.latest
    args = (feed, MAX_ITEMS if narrowed else params.limit, start_ns, end_ns)
    gathered = await gather(site.backend, "feed_items", args, params.node, site.timeout_s)
    answered = {node: part for node, part in gathered.parts.items() if part is not None}
    if not answered and not gathered.missing:
        raise Problem(404, "no_data", f"there is no feed {feed[:80]!r}", "path", "GET /v1/feeds lists them")
    kept = permitted(site, request, Gathered(answered, gathered.missing), lambda _: kind_of(feed))
    body = await asyncio.to_thread(_render, kept, params.limit, bool(end_ns), where, params.latest)
    return web.Response(body=body, headers=JSON_HEADERS)


def _render(gathered: Gathered, limit: int, oldest: bool, where: Expression | None, latest: bool) -> bytes:
    every = sorted(_named(gathered), key=lambda item: item[0])
    if where is not None or latest:
        every = _narrowed(every, where, latest)
    chosen = every[:limit] if oldest else every[-limit:]
    items = b",".join(b'{"node":%b,%b' % (msgspec.json.encode(node), shown[1:]) for _, node, shown in chosen)
    envelope = {"partial": gathered.partial, "missing": gathered.missing, "refused": gathered.refused}
    return b'{"items":[%b],%b' % (items, msgspec.json.encode(envelope)[1:])


def _narrowed(every: list[Shown], where: Expression | None, latest: bool) -> list[Shown]:
    """Those whose value the expression is true for; with `latest` of what is newest, so that none of before shows."""
    decoded = [(shown, msgspec.json.decode(b'{"node":"",' + shown[2][1:], type=ItemShown)) for shown in every]
    if latest:
        due_ns = {(i.meta.feed, i.meta.location): i.meta.due_ns for _, i in decoded}  # of what arrived last
        newest = {
            (i.meta.feed, i.meta.location, i.meta.part): (shown, i)
            for shown, i in decoded
            if i.meta.due_ns == due_ns[i.meta.feed, i.meta.location]
        }
        decoded = sorted(newest.values(), key=lambda pair: pair[0][0])
    return [shown for shown, item in decoded if where is None or where.test(item.value, cast("model.Meta", item.meta))]


def _named(gathered: Gathered) -> Iterable[Shown]:
    return ((t_ns, node, shown) for node, part in gathered.parts.items() for t_ns, shown in part)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/feeds", feeds, "Declared feeds", query=SubjectParams, answer=FeedsAnswer, errors=(404,)),
    Route(
        "GET",
        "/v1/feeds/{feed}/items",
        feed_items,
        "Items of a feed",
        query=ItemsParams,
        answer=ItemsAnswer,
        errors=(404,),
    ),
)
