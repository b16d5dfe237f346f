"""The log of decisions over the cluster, each with what became of it: what off-policy estimates are made of."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta

from vagus.controllers.decide.features import MAX_GROUP
from vagus.gateway.answers import Envelope, records_response
from vagus.gateway.fanout import gather
from vagus.gateway.params import NodeName, Params, Since, TimeText, params_of, span_of
from vagus.gateway.permitted import permitted, record_name
from vagus.gateway.route import Route, Site
from vagus.model import Logged


class DecideLogParams(Params, frozen=True):
    """Of GET /v1/decide/log: of which group and time, how many, newest first. Older ones: end=t_ns of the last one."""

    group: Annotated[str, Meta(max_length=MAX_GROUP, description="only this group; default: all")] | None = None
    since: Annotated[Since, Meta(description="how far back; default: 1h")] = ""
    start: TimeText = ""
    end: TimeText = ""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    node: NodeName = ""


class DecideLogAnswer(Envelope, frozen=True, kw_only=True):
    """Decisions, newest first; reward null: none came yet."""

    decisions: list[Logged]


async def decide_log(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Decisions with propensities and rewards, newest first."""
    params = params_of(request, DecideLogParams)
    start_ns, end_ns = span_of(params.since, params.start, params.end, site.clock.time_ns(), default="1h")
    args = (start_ns, end_ns, params.limit, params.group)
    gathered = await gather(site.backend, "decision_log", args, params.node, site.timeout_s)
    for kind in ("decision", "reward"):  # an answer has both
        gathered = permitted(site, request, gathered, record_name(kind))
    every = {one.decision_id: one for part in gathered.parts.values() for one in part}
    newest = sorted(every.values(), key=lambda one: one.t_ns, reverse=True)[: params.limit]
    return await records_response(request, "decisions", newest, gathered)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/decide/log",
        decide_log,
        "Decisions and what became of them",
        query=DecideLogParams,
        answer=DecideLogAnswer,
        errors=(404,),
    ),
)
