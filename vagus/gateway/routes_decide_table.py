"""What decisions are drawn from at this gateway, and the published form in which Pytheas' players ask for them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus.controllers.decide.features import MAX_GROUP
from vagus.errors import ConfigError, NoData
from vagus.gateway.access import who_asks
from vagus.gateway.answers import json_response
from vagus.gateway.errors import Problem
from vagus.gateway.inputs import read_body
from vagus.gateway.params import Params, params_of
from vagus.gateway.pytheas import FEATURES, Asks, PytheasForm, Sessions, Tells, read_form
from vagus.gateway.route import Route, Site
from vagus.model import Reward

FORM = "application/x-www-form-urlencoded"
TEXT_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "Server": "vagus"}


class GroupsParams(Params, frozen=True):
    """Of GET /v1/decide/groups: groups whose names begin so, at most so many."""

    prefix: Annotated[str, Meta(max_length=MAX_GROUP)] = ""
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1000


class TableParams(Params, frozen=True):
    """Of GET /v1/decide/table: a group by its name."""

    group: Annotated[str, Meta(max_length=MAX_GROUP, description="its name; empty: the one of all")]


class KnownGroup(msgspec.Struct, frozen=True):
    """A group that has decisions, and how many arms they are drawn from."""

    group: str
    arms: int


class GroupsAnswer(msgspec.Struct, frozen=True):
    """Groups by name. version: of the table; grouping: its version; count: of all that begin so."""

    version: int
    grouping: int
    count: int
    groups: list[KnownGroup]


class TableAnswer(msgspec.Struct, frozen=True):
    """What a group's decisions are drawn from: probabilities by arm, and those of smaller sets of feasible arms.

    contextual: they differ by features.
    """

    group: str
    version: int
    arms: dict[str, float]
    sets: list[dict[str, float]]
    contextual: bool


async def groups(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The groups that this gateway's table has; any other draws evenly."""
    params = params_of(request, GroupsParams)
    rows = site.backend.table.full().groups
    names = sorted(name for name in rows if name.startswith(params.prefix))
    found = [KnownGroup(name, len(rows[name].arms)) for name in names[: params.limit]]
    table = site.backend.table
    return json_response(GroupsAnswer(table.version, table.grouping.version, len(names), found))


async def table(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """What decisions of a group are drawn from at this gateway."""
    params = params_of(request, TableParams)
    known = site.backend.table.explain(params.group)
    if known is None:
        raise NoData(f"the table has no group {params.group[:80]!r}; GET /v1/decide/groups lists those that it has")
    return json_response(msgspec.convert(known, TableAnswer))


async def pytheas(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Pytheas' published form: a request is answered by a decision, an update by nothing.

    An update whose request is unknown, such as one of before a restart, counts as a decision without an alternative.
    """
    who, door = who_asks(request), site.door
    if not door.allows(who, "send", "reward"):
        door.check(who, "act", "decide")
    body, _packed = await read_body(site, request, {FORM: False})
    now_ns = site.clock.time_ns()
    try:
        form = read_form(body)
        features = dict(zip(FEATURES, form.values, strict=True))
        sessions = site.sessions
        if isinstance(form, Asks):
            door.check(who, "act", "decide")
            made = site.backend.table.decide(features, form.arms, now_ns)
            site.backend.decided(made)
            sessions.decided((form.values, made.arm), made.decision_id, now_ns)
            return web.Response(text=made.arm, headers=TEXT_HEADERS)
        door.check(who, "send", "reward")
        await _tell(site, sessions, form, now_ns)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "body") from error
    return web.Response(text="", headers=TEXT_HEADERS)


async def _tell(site: Site, sessions: Sessions, form: Tells, now_ns: int) -> None:
    session = (form.values, form.arm)
    decision_id = sessions.told(session, form.cost, now_ns)
    if decision_id is None:
        made = site.backend.table.decide(dict(zip(FEATURES, form.values, strict=True)), (form.arm,), now_ns)
        site.backend.decided(made)
        decision_id = made.decision_id
        sessions.joined(session, decision_id, form.cost, now_ns)
    await site.backend.reward([Reward(decision_id, now_ns, -form.cost)])


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/decide/groups",
        groups,
        "Groups that have decisions",
        query=GroupsParams,
        answer=GroupsAnswer,
        what="decide",
    ),
    Route(
        "GET",
        "/v1/decide/table",
        table,
        "What a group's decisions are drawn from",
        query=TableParams,
        answer=TableAnswer,
        errors=(404,),
        what="decide",
    ),
    Route(
        "POST",
        "/pytheas",
        pytheas,
        "Pytheas' published form",
        body=(PytheasForm,),
        accepts=(FORM,),
        media=("text/plain",),
        verb="act",  # or `send`, for what rewards a decision
    ),
)
