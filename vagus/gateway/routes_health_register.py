"""Who observes, and what is observed: registration of observers, and the watch list of a node's observer.

Access rules: to register, and to give a handle back, is to `send` as that observer; to watch and to unwatch is to
`act` on the subject, since it changes what a node keeps for everybody (unwatch forgets the evidence). A glob pattern of
subjects needs a rule for all of them: whether one pattern covers another is not decided here.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus.access import Verb
from vagus.errors import ConfigError
from vagus.gateway.access import who_asks
from vagus.gateway.answers import MSGPACK, AckText, packed_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import gather
from vagus.gateway.inputs import MAX_HANDLE, Input, Name, decode, read_body
from vagus.gateway.params import SubjectParams, params_of
from vagus.gateway.route import Route, Site
from vagus.model import check_name

_GLOB = frozenset("*?[")


class RegisterBody(Input, frozen=True):
    """An observer, and the module (program, library) in which it sits."""

    module: Name
    observer: Name


class UnregisterBody(Input, frozen=True):
    """A handle that is no longer needed."""

    handle: Annotated[int, Meta(ge=1, le=MAX_HANDLE)]


class SubjectBody(Input, frozen=True):
    """A subject of the watch list, or a glob pattern of subjects."""

    subject: Name


class RegisterAnswer(msgspec.Struct, frozen=True):
    """What reports of this observer may carry from now on; the same for the same pair, also after a restart."""

    handle: int


class ResultAnswer(msgspec.Struct, frozen=True):
    """ACCEPTED: done. IGNORED: there was nothing to do."""

    result: AckText


async def register(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """A handle for an observer, which goes on the watch list. It holds at this node, or at `node`."""
    node, body = await _asked(site, request, RegisterBody)
    _names(body)
    site.door.check(who_asks(request), "send", body.observer, node)
    handle = await _call(site, node, "register", body.module, body.observer)
    return packed_response(request, RegisterAnswer(handle))


async def unregister(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Gives a handle back; nobody else ever gets it."""
    node, body = await _asked(site, request, UnregisterBody)
    if not site.door.open:
        known = {handle.number: handle.observer for handle in await _call(site, node, "handles")}
        site.door.check(who_asks(request), "send", known.get(body.handle, "an unknown handle"), node)
    done = await _call(site, node, "unregister", body.handle)
    return packed_response(request, ResultAnswer("ACCEPTED" if done else "IGNORED"))


async def watch(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """From now on this node (or `node`) keeps what others report on the subject."""
    return await _watch_list(site, request, "watch")


async def unwatch(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """This node (or `node`) forgets the subject, until it is watched, or reported on there."""
    return await _watch_list(site, request, "unwatch")


async def _watch_list(site: Site, request: web.BaseRequest, method: str) -> web.StreamResponse:
    node, body = await _asked(site, request, SubjectBody)
    _names(body)
    for what in ("*", "**") if _GLOB & set(body.subject) else (body.subject,):  # both: `?` is no rule for all
        site.door.check(who_asks(request), "act", what, node)
    await _call(site, node, method, body.subject)
    return packed_response(request, ResultAnswer("ACCEPTED"))


async def _asked(site: Site, request: web.BaseRequest, kind: type[Any]) -> tuple[str, Any]:
    node = params_of(request, SubjectParams).node or site.backend.node
    return node, decode(*await read_body(site, request), kind)


def _names(body: Any) -> None:
    """Raises Problem for names that no report could carry."""
    for field in body.__struct_fields__:
        try:
            check_name(field, getattr(body, field))
        except ConfigError as error:
            raise Problem(422, "invalid", str(error), f"body.{field}") from error


async def _call(site: Site, node: str, method: str, *args: Any) -> Any:
    """One method of one node's observer. Raises NoData for an unknown node, PeerUnreachable."""
    return (await gather(site.backend, "observer", (method, args), node, site.timeout_s)).parts[node]


def _post(path: str, handle: Any, summary: str, body: type[Any], answer: type[Any], verb: Verb) -> Route:
    return Route(
        *("POST", path, handle, summary),
        query=SubjectParams,
        body=(body,),
        answer=answer,
        media=(MSGPACK,),
        errors=(404,),
        verb=verb,
    )


ROUTES: tuple[Route, ...] = (
    _post("/v1/register", register, "Register an observer", RegisterBody, RegisterAnswer, "send"),
    _post("/v1/unregister", unregister, "Give a handle back", UnregisterBody, ResultAnswer, "send"),
    _post("/v1/watch", watch, "Watch a subject", SubjectBody, ResultAnswer, "act"),
    _post("/v1/unwatch", unwatch, "Forget a subject", SubjectBody, ResultAnswer, "act"),
)
