"""What is behind the verdicts: each observer's view, all of them at a glance, and the observer of a node itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus.gateway.access import who_asks
from vagus.gateway.answers import JSON_HEADERS, MSGPACK, Envelope, records_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import Gathered, gather
from vagus.gateway.merged_views import merge_panoramas, merge_rows
from vagus.gateway.params import NodeName, Params, SubjectParams, params_of
from vagus.gateway.permitted import permitted, permitted_nodes
from vagus.gateway.route import Route, Site
from vagus.health.matrix import Row, unpacked
from vagus.model import MAX_NAME, Report, Verdict, to_builtins


class PanoramaParams(Params, frozen=True):
    """Of GET /v1/health/{subject}/panorama."""

    observer: Annotated[str, Meta(max_length=MAX_NAME, description="only this observer's view; default: all")] = ""
    node: NodeName = ""


class PanoramasParams(Params, frozen=True):
    """Of GET /v1/panoramas: at most so many subjects, those heard of last."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    node: NodeName = ""


class MatrixParams(Params, frozen=True):
    """Of GET /v1/matrix: at most so many subjects, the worst."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    node: NodeName = ""


class PanoramaAnswer(Envelope, frozen=True, kw_only=True):
    """Of each observer its last reports on the subject, at most ten, oldest first."""

    panorama: dict[str, list[Report]]


class PanoramasAnswer(Envelope, frozen=True, kw_only=True):
    """The panorama of each subject."""

    panoramas: dict[str, dict[str, list[Report]]]


class SubjectTime(msgspec.Struct, frozen=True):
    """A subject, and when it was last heard of."""

    subject: str
    t_ns: int


class SubjectsAnswer(Envelope, frozen=True, kw_only=True):
    """What is observed, by name."""

    subjects: list[SubjectTime]


class MatrixSubject(msgspec.Struct, frozen=True):
    """A subject's verdict."""

    subject: str
    t_ns: int
    status: str
    contexts: dict[str, Verdict]


class MatrixCell(msgspec.Struct, frozen=True):
    """An observer's last word on a subject: its worst context's status, and of each context status and score."""

    observer: str
    subject: str
    t_ns: int
    status: str
    contexts: dict[str, tuple[str, float]]


class MatrixAnswer(Envelope, frozen=True, kw_only=True):
    """Observers by name, subjects with the worst first, a cell where an observer has spoken of a subject.

    left_off: how many more subjects there are at least.
    """

    observers: list[str]
    subjects: list[MatrixSubject]
    cells: list[MatrixCell]
    left_off: int = 0


class ObserverAnswer(msgspec.Struct, frozen=True):
    """What a node's observer says of itself: strategy, peers, what it watches and holds, its memory."""

    observer: dict[str, Any]


async def panorama(site: Site, request: web.BaseRequest, subject: str) -> web.StreamResponse:
    """All views of one subject, merged from all nodes."""
    params = params_of(request, PanoramaParams)
    gathered = await gather(site.backend, "observer", ("panorama", (subject,)), params.node, site.timeout_s)
    listed = {node: [(subject, part)] if part else [] for node, part in gathered.parts.items()}
    gathered = permitted(site, request, Gathered(listed, gathered.missing), lambda item: subject)
    merged = merge_panoramas(part for parts in gathered.parts.values() for _, part in parts)
    if params.observer:
        merged = {name: view for name, view in merged.items() if name == params.observer}
    if not merged:
        who = f"{params.observer[:200]!r} did not report" if params.observer else "nobody reported"
        missing = f" ({len(gathered.missing)} nodes did not answer)" if gathered.partial else ""
        hint = "GET /v1/health lists the subjects; POST /v1/report adds one"
        raise Problem(404, "no_data", f"{who} on {subject[:200]!r}{missing}", "path.subject", hint)
    return await records_response(request, "panorama", merged, gathered)


async def panoramas(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The panoramas of the subjects heard of last, merged from all nodes."""
    params = params_of(request, PanoramasParams)
    gathered = await gather(site.backend, "observer", ("panoramas", (params.limit,)), params.node, site.timeout_s)
    gathered = permitted(site, request, _items(gathered), lambda item: str(item[0]))
    parts: dict[str, list[Any]] = {}
    for items in gathered.parts.values():
        for subject, part in items:
            parts.setdefault(subject, []).append(part)

    def merge() -> dict[str, Any]:
        merged = {subject: merge_panoramas(found) for subject, found in parts.items()}
        newest = sorted(merged, key=lambda subject: (-_newest(merged[subject]), subject))[: params.limit]
        return {subject: merged[subject] for subject in sorted(newest)}

    return await records_response(request, "panoramas", await asyncio.to_thread(merge), gathered)


def _newest(views: dict[str, list[Report]]) -> int:
    return max((view[-1].t_ns for view in views.values()), default=0)


def _items(gathered: Gathered) -> Gathered:
    """Parts that are dicts, as lists of their items."""
    return Gathered({node: list(part.items()) for node, part in gathered.parts.items()}, gathered.missing)


async def subjects(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Everything that is observed, and when it was last heard of."""
    params = params_of(request, SubjectParams)
    gathered = await gather(site.backend, "observer", ("subjects", ()), params.node, site.timeout_s)
    gathered = permitted(site, request, _items(gathered), lambda item: str(item[0]))
    newest: dict[str, int] = {}
    for items in gathered.parts.values():
        for subject, t_ns in items:
            newest[subject] = max(t_ns, newest.get(subject, 0))
    found = [SubjectTime(subject, newest[subject]) for subject in sorted(newest)]
    return await records_response(request, "subjects", found, gathered)


async def matrix(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Observers x subjects at a glance. With the ETag of an earlier answer in If-None-Match: 304 while it is the same."""
    params = params_of(request, MatrixParams)
    held = dict(site.matrices.values())
    asked = ("matrix", (params.limit, tuple(held)))
    gathered = await gather(site.backend, "observer", asked, params.node, site.timeout_s)
    tags, parts = {}, {}
    for node, (tag, body) in gathered.parts.items():
        parts[node] = held[tag] if tag in held else unpacked(body)
        tags[node] = tag
        site.matrices[node] = (tag, parts[node])
    for node in site.matrices.keys() - {site.backend.node, *site.backend.nodes()}:
        del site.matrices[node]
    packed = MSGPACK in request.headers.get("Accept", "")
    # rules differ by principal, what is missing by the moment
    seen = (sorted(tags.items()), params.limit, packed, str(who_asks(request)), [m.node for m in gathered.missing])
    etag = f'"{hashlib.blake2b(repr(seen).encode(), digest_size=12).hexdigest()}"'
    headers = {**JSON_HEADERS, "ETag": etag, **({"Content-Type": MSGPACK} if packed else {})}
    if same(request, etag):
        return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Cache-Control", "Server")})
    gathered = Gathered({node: found.rows for node, found in parts.items()}, gathered.missing)
    gathered = permitted(site, request, gathered, lambda row: str(row.subject))
    left_off = max(found.left_off for found in parts.values())

    def render() -> bytes:
        rows = merge_rows(gathered.parts.values())
        answer = _answer(rows[: params.limit], max(left_off, len(rows) - params.limit), gathered)
        return msgspec.msgpack.encode(answer) if packed else msgspec.json.encode(answer)

    return web.Response(body=await asyncio.to_thread(render), headers=headers)


def _answer(rows: Sequence[Row], left_off: int, gathered: Gathered) -> dict[str, Any]:
    """The shape of MatrixAnswer as builtins."""
    return {
        "observers": sorted({cell.observer for row in rows for cell in row.cells}),
        "subjects": [
            {
                "subject": row.subject,
                "t_ns": row.t_ns,
                "status": row.status.name,
                "contexts": to_builtins(row.contexts),
            }
            for row in rows
        ],
        "cells": [
            {
                "observer": cell.observer,
                "subject": row.subject,
                "t_ns": cell.t_ns,
                "status": cell.status.name,
                "contexts": {name: (metric.status.name, metric.score) for name, metric in cell.contexts.items()},
            }
            for row in rows
            for cell in row.cells
        ],
        "left_off": left_off,
        "partial": gathered.partial,
        "missing": gathered.missing,
        "refused": gathered.refused,
    }


async def observer(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The observer of this node, or of `node`: that it answers, who it is, whom it knows, what it holds."""
    node = params_of(request, SubjectParams).node or site.backend.node
    gathered = await gather(site.backend, "observer", ("about", ()), node, site.timeout_s)
    gathered = permitted_nodes(site, request, gathered, "status")
    return await records_response(request, "observer", gathered.parts[node], gathered)


def same(request: web.BaseRequest, etag: str) -> bool:
    """Whether the client has what `etag` names."""
    return etag in [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]


def _get(path: str, handle: Any, summary: str, query: type[Any], answer: type[Any], **more: Any) -> Route:
    return Route("GET", path, handle, summary, query=query, answer=answer, media=(MSGPACK,), errors=(404,), **more)


ROUTES: tuple[Route, ...] = (
    _get("/v1/health/{subject}/panorama", panorama, "All views of a subject", PanoramaParams, PanoramaAnswer),
    _get("/v1/panoramas", panoramas, "All panoramas", PanoramasParams, PanoramasAnswer),
    _get("/v1/subjects", subjects, "What is observed", SubjectParams, SubjectsAnswer),
    _get("/v1/matrix", matrix, "Observers x subjects", MatrixParams, MatrixAnswer, tagged=True),
    _get("/v1/observer", observer, "A node's observer", SubjectParams, ObserverAnswer),
)
