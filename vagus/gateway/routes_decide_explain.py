"""Why a group decides as it does: the way to it, what is drawn from here, and what its leader knows of the arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus.controllers.decide.features import MAX_FEATURES, MAX_GROUP, check_features
from vagus.controllers.decide.way import way
from vagus.errors import ConfigError, NoData, VagusError
from vagus.gateway.answers import json_response
from vagus.gateway.errors import Problem
from vagus.gateway.params import Params, params_of
from vagus.gateway.route import Route, Site
from vagus.model import Scalar, to_builtins


class ExplainParams(Params, frozen=True):
    """Of GET /v1/decide/explain: a group by its name, or features that lead to one."""

    group: Annotated[str, Meta(max_length=MAX_GROUP, description="its name; none: the one of all")] | None = None
    feature: Annotated[
        tuple[Annotated[str, Meta(max_length=1000)], ...],
        Meta(max_length=MAX_FEATURES, description="name=value; given again: several"),
    ] = ()


class ExplainedArm(msgspec.Struct, frozen=True):
    """An arm: the probability that it is drawn with (null: not computed yet), and what the policy says of it."""

    arm: str
    probability: float | None
    figures: dict[str, float | None] = {}


class ExplainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A group. way: the steps of features to it; version: of this gateway's table; sets: of smaller sets of arms the
    probabilities; contextual: they differ by features; note: why something is not known.
    """

    group: str
    way: list[str] = []
    version: int = 0
    policy: str = ""
    options: dict[str, Any] = {}
    leader: str = ""
    epoch: int = 0
    rewards: float | None = None
    arms: list[ExplainedArm] = []
    sets: list[dict[str, float]] = []
    contextual: bool = False
    note: str = ""


async def explain(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """What is known of a group's arms, and what made their probabilities."""
    params = params_of(request, ExplainParams)
    table = site.backend.table
    if params.group is not None and params.feature:
        raise Problem(422, "invalid", "give a group or features, not both", "query", "group=NAME, or feature=isp=10")
    group, steps = params.group or "", list[str]()
    if params.feature:
        try:
            group, steps = way(table.grouping, check_features(features_of(params.feature)))
        except ConfigError as error:
            raise Problem(422, "invalid", str(error), "query.feature") from error
    drawn = table.explain(group)
    known: Mapping[str, Any] = {}
    note = "" if drawn is not None else "this gateway has no table of it: arms are drawn evenly"
    try:
        known = await site.backend.explain(group)
    except NoData as error:
        if drawn is None and not steps:
            raise
        note = f"{note}; {error}" if note else str(error)
    except VagusError as error:  # its leader is gone: what is drawn from goes on
        note = f"what its leader knows is missing: {error}"
    return json_response(to_builtins(_answer(group, steps, table.version, drawn or {}, known, note)))


def _answer(
    group: str, steps: list[str], version: int, drawn: Mapping[str, Any], known: Mapping[str, Any], note: str
) -> ExplainAnswer:
    shares: dict[str, float] = dict(drawn.get("arms", {}))
    told = {str(arm["arm"]): dict(arm) for arm in known.get("arms", ())}
    arms = []
    for arm in dict.fromkeys([*told, *shares]):
        figures = told.get(arm, {})
        probability = shares.get(arm, figures.get("probability"))
        own = {k: _number(v) for k, v in figures.items() if k not in ("arm", "probability")}
        arms.append(ExplainedArm(arm, _number(probability), own))
    return ExplainAnswer(
        group=group,
        way=steps,
        version=int(drawn.get("version", version)),
        policy=str(known.get("policy", "")),
        options=dict(known.get("options", {})),
        leader=str(known.get("leader", "")),
        epoch=int(known.get("epoch", 0)),
        rewards=_number(known.get("rewards")),
        arms=arms,
        sets=list(drawn.get("sets", ())),
        contextual=bool(drawn.get("contextual", False)),
        note=note,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def features_of(pairs: Sequence[str]) -> dict[str, Scalar]:
    """Features of texts `name=value`; numbers, true and false are taken as such. Raises ConfigError."""
    found: dict[str, Scalar] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise ConfigError(f"{pair[:80]!r} is not name=value")
        found[name] = _scalar(text)
    return found


def _scalar(text: str) -> Scalar:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/decide/explain",
        explain,
        "Why a group decides as it does",
        query=ExplainParams,
        answer=ExplainAnswer,
        errors=(404,),
        what="decide",
    ),
)
