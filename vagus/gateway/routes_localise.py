"""Which components make requests slow: the latest ranking with its evidence, and recent ones."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus.controllers.localise import Ranking
from vagus.gateway.answers import json_response
from vagus.gateway.params import Params, Since, TimeText, params_of, span_of
from vagus.gateway.route import Route, Site
from vagus.model import to_builtins


class LocaliseParams(Params, frozen=True):
    """Of GET /v1/localise: with a time also the rankings kept since then."""

    since: Annotated[Since, Meta(description="also those of so far back; default: the latest only")] = ""
    start: TimeText = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class SuspectView(msgspec.Struct, frozen=True):
    """A component, its share of what requests lost, and the evidence; probability: by the SVM, once it is trained."""

    component: str
    score: float | None
    features: dict[str, float | None]
    resource: str
    says: str
    probability: float | None


class RankingView(msgspec.Struct, frozen=True):
    """What a window of requests says; slow: whether it is slower than it should be. null: not known."""

    t_ns: int
    suspects: list[SuspectView]
    requests: int
    slow: bool
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    normal_p50_ms: float | None
    normal_p99_ms: float | None


class LocaliseAnswer(msgspec.Struct, frozen=True):
    """The newest first. Of windows in which nothing was slow only the latest, and the first after slow ones, are kept."""

    rankings: list[RankingView]


async def localise(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Suspects of the latest window, the most probable first; empty while too few requests were seen."""
    params = params_of(request, LocaliseParams)
    since_ns, limit = 0, 1
    if params.since or params.start:
        since_ns, _end = span_of(params.since, params.start, "", site.clock.time_ns())
        limit = params.limit
    found: list[Ranking] = await site.backend.rankings(since_ns, limit)
    answer: dict[str, Any] = {"rankings": to_builtins(found)}
    return json_response(answer)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/localise",
        localise,
        "Which components make requests slow, and why",
        query=LocaliseParams,
        answer=LocaliseAnswer,
        errors=(404,),
        what="localise",
    ),
)
