"""Decisions: answered from the node's own table, logged in batches, rewarded later by their id."""

from __future__ import annotations

from aiohttp import web

from vagus.errors import ConfigError
from vagus.gateway.answers import DecideAnswer, UpdateAnswer, json_response
from vagus.gateway.errors import Problem
from vagus.gateway.inputs import DecideBody, UpdateBody, UpdatesBody, decide_of, read_body, rewards_of
from vagus.gateway.route import Route, Site
from vagus.model import Ack


async def decide(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """A feasible arm for these features, and those of `decide.context`, with the exact propensity of the draw."""
    wanted = decide_of(*await read_body(site, request))
    live = await site.context.features() if site.context is not None else {}
    try:
        made = site.backend.table.decide({**live, **wanted.features}, wanted.arms, site.clock.time_ns())
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "body") from error
    site.backend.decided(made)
    context = {name: value for name, value in live.items() if name not in wanted.features}
    answer = DecideAnswer(made.arm, made.decision_id, made.propensity, made.group, made.version, context)
    return json_response(answer)


async def update(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The outcomes of decisions; sending one again changes nothing."""
    body, packed = await read_body(site, request)
    rewards, single = rewards_of(body, packed, site.clock.time_ns())
    acks = await site.backend.reward(rewards)
    if single and acks[0] is Ack.FAILED:
        message = f"no decision {rewards[0].decision_id[:80]!r} is waiting for an outcome"
        hint = "ids come from POST /v1/decide and are kept for a while only"
        raise Problem(404, "no_data", message, "body.decision_id", hint)
    return json_response(UpdateAnswer([ack.value for ack in acks]))


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/decide",
        decide,
        "Draw a decision",
        body=(DecideBody,),
        answer=DecideAnswer,
        verb="act",
        what="decide",
    ),
    Route(
        "POST",
        "/v1/update",
        update,
        "Report the outcome of decisions",
        body=(UpdateBody, UpdatesBody),
        answer=UpdateAnswer,
        errors=(404,),
        verb="send",
        what="reward",
    ),
)
