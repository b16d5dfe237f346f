"""Resource control from outside: what a controller sees, and limits that somebody else decides on.

FIRM's server and client did this (Qiu et al., OSDI'20). Actions go to a controller with the policy `remote`, and from
there through the guard like anybody's. Access rules: the state is read as `controller:NAME`; an action is to `act` on its
target, at the controller's node; no actions (all stays as it is) is to `act` on `controller:NAME`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta

from vagus.errors import ConfigError, NoData
from vagus.gateway.access import who_asks
from vagus.gateway.answers import json_response, packed_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import gather
from vagus.gateway.inputs import MAX_ITEMS, Input, Name, decode, read_body
from vagus.gateway.params import NodeName, NoParams, Params, params_of
from vagus.gateway.route import Route, Site
from vagus.model import MAX_NAME, MAX_T_NS, Acted, Action, ControlState, Target, to_builtins

PATIENCE = 0.8  # of the time-out: for so long an answer may wait for a step
ControllerName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="of controller.yaml")]
ControllerNode = Annotated[
    str, Meta(max_length=MAX_NAME, description="where it runs; default: here, or the only node that has it")
]


class StateParams(Params, frozen=True):
    """Of GET /v1/state: of which controller, and newer than what."""

    controller: ControllerName
    node: ControllerNode = ""
    after: Annotated[
        int, Meta(ge=0, lt=MAX_T_NS, description="t_ns of the last answer: waits for the next step, for a few seconds")
    ] = 0


class ActionItem(Input, frozen=True):
    """A limit that is wished, in the unit that the resource's name ends with."""

    target: Annotated[str, Meta(min_length=3, max_length=4096)]
    resource: Name
    value: float
    reason: Annotated[str, Meta(max_length=400)] = ""
    confidence: Annotated[float, Meta(ge=0, le=1)] = 1.0


class ActionBody(Input, frozen=True):
    """Limits for a controller's next step; all are taken or, when one is wrong, none. wait: until that step is over."""

    controller: ControllerName
    actions: Annotated[list[ActionItem], Meta(max_length=MAX_ITEMS)]
    node: NodeName = ""
    wait: bool = False


async def control_state(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Signals of its targets, the objective, the limits in force and their bounds, as of its last step."""
    params = params_of(request, StateParams)
    node = await _place(site, request, params.controller, params.node)
    site.door.check(who_asks(request), "read", f"controller:{params.controller}", node)
    wait_s = PATIENCE * site.timeout_s if params.after else 0.0
    state: ControlState = await _call(site, node, "control_state", params.controller, params.after, wait_s)
    return _answer(request, state)


async def control_act(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Wishes limits; the guard judges them at the controller's next step. A wish stands until another one comes."""
    params_of(request, NoParams)
    body = decode(*await read_body(site, request), ActionBody)
    actions = [_action(item, f"body.actions[{place}]") for place, item in enumerate(body.actions)]
    node = await _place(site, request, body.controller, body.node)
    for what in dict.fromkeys(str(a.target) for a in actions) or (f"controller:{body.controller}",):
        site.door.check(who_asks(request), "act", what, node)
    wait_s = PATIENCE * site.timeout_s if body.wait else 0.0
    try:
        acted: Acted = await _call(site, node, "control_act", body.controller, actions, wait_s)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "body") from error
    return _answer(request, acted)


def _action(item: ActionItem, where: str) -> Action:
    if not (math.isfinite(item.value) and item.value > 0):
        raise Problem(422, "invalid", f"a limit must be a number above 0, got {item.value}", f"{where}.value")
    try:
        return Action(Target.parse(item.target), item.resource, item.value, item.reason, item.confidence)
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), f"{where}.target") from error


async def _place(site: Site, request: web.BaseRequest, controller: str, node: str) -> str:
    """The node whose controller is meant. Raises NoData when there is none, Problem when there are several."""
    if node or controller in await site.backend.controllers():
        return node or site.backend.node
    found = await gather(site.backend, "controllers", (), "", site.timeout_s)
    having = sorted(name for name, names in found.parts.items() if controller in names)
    if len(having) == 1:
        return having[0]
    if having:
        hint = f"it runs at {', '.join(having)[:400]}"
        raise Problem(422, "invalid", f"{controller!r} runs at {len(having)} nodes: name one", "node", hint)
    who = who_asks(request)
    shown = {
        n for at, names in found.parts.items() for n in names if site.door.allows(who, "read", f"controller:{n}", at)
    }
    known = sorted(shown)
    gone = f"; without an answer: {', '.join(m.node for m in found.missing)[:200]}" if found.missing else ""
    there = f"there are: {', '.join(known)[:400]}" if known else "there are none"
    raise NoData(f"no controller {controller[:80]!r} runs here; {there}{gone}")


async def _call(site: Site, node: str, method: str, *args: Any) -> Any:
    gathered = await gather(site.backend, method, args, node, site.timeout_s)
    return gathered.parts[node]


def _answer(request: web.BaseRequest, record: ControlState | Acted) -> web.Response:
    packed = packed_response(request, record)
    return packed if packed.content_type != "application/json" else json_response(to_builtins(record))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/state",
        control_state,
        "What a controller sees, and the limits in force",
        query=StateParams,
        answer=ControlState,
        errors=(404,),
    ),
    Route(
        "POST",
        "/v1/action",
        control_act,
        "Limits for a controller with the policy remote",
        query=NoParams,
        body=(ActionBody,),
        answer=Acted,
        errors=(404,),
        verb="act",
    ),
)
