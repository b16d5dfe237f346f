"""Decisions: answered from the node's own table, logged in batches, rewarded later by their id."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from vagus.errors import ConfigError
from vagus.gateway.answers import DecideAnswer, DecidesAnswer, UpdateAnswer, plain_response
from vagus.gateway.errors import Problem
from vagus.gateway.inputs import DecideBody, DecidesBody, UpdateBody, UpdatesBody, decides_of, read_body, rewards_of
from vagus.gateway.problem import unknown_decision
from vagus.gateway.route import Route, Site
from vagus.model import Ack, Decision, Scalar


async def decide(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """A feasible arm for these features, and those of `decide.context`, with the exact propensity of the draw.

    Of several requests all are answered, or, when one is malformed, none.
    """
    items, single = decides_of(*await read_body(site, request))
    live = await site.context.features() if site.context is not None else {}
    drawn = [_draw(site, wanted, live, index, single) for index, wanted in enumerate(items)]
    for made, _answer in drawn:
        site.backend.decided(made)
    return plain_response(drawn[0][1] if single else DecidesAnswer([answer for _made, answer in drawn]), request)


def _draw(
    site: Site, wanted: DecideBody, live: Mapping[str, Scalar], index: int, single: bool
) -> tuple[Decision, DecideAnswer]:
    features: dict[str, Scalar] = wanted.features
    table, now_ns = site.backend.table, site.clock.time_ns()
    try:
        if not live:
            made = table.decide(features, wanted.arms, now_ns, features)
            return made, DecideAnswer(made.arm, made.decision_id, made.propensity, made.group, made.version)
        made = table.decide({**live, **features}, wanted.arms, now_ns)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "body" if single else f"body.requests[{index}]") from error
    context = {name: value for name, value in live.items() if name not in features}
    return made, DecideAnswer(made.arm, made.decision_id, made.propensity, made.group, made.version, context)


async def update(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The outcomes of decisions; sending one again changes nothing."""
    body, packed = await read_body(site, request)
    rewards, single = rewards_of(body, packed, site.clock.time_ns())
    acks = await site.backend.reward(rewards)
    if single and acks[0] is Ack.FAILED:
        raise unknown_decision(rewards[0].decision_id)
    return plain_response(UpdateAnswer([ack.value for ack in acks]), request)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/decide",
        decide,
        "Draw a decision, or several",
        body=(DecideBody, DecidesBody),
        answer=DecideAnswer,
        many=DecidesAnswer,
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
