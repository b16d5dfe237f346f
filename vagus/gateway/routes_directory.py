"""Discovery: what there is by type, node and labels, and what tells about a path from A to B."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from aiohttp import web

from vagus.access import Principal
from vagus.clock import NS
from vagus.gateway.access import who_asks
from vagus.gateway.answers import DirectoryAnswer, EarlierPath, PathAnswer, records_response
from vagus.gateway.errors import Problem
from vagus.gateway.fanout import Gathered, gather, merge_sensors
from vagus.gateway.params import DirectoryParams, PathParams, params_of
from vagus.gateway.path import KINDS, Hop, HopStream, Map, Trace, ends, resolve, resolve_earlier
from vagus.gateway.permitted import permitted, stream_name
from vagus.gateway.route import Route, Site
from vagus.model import DirectoryEntry, SensorInfo, Stream, escape_label, to_builtins
from vagus.selector import parse
from vagus.store import Batch

TRACE_TIMEOUT_S = 8.0  # a trace of silent routers takes 4
VALUES_NS = 300 * NS  # how old the newest values may be
VALUE_ROWS = 2  # of a counter: its change between them


async def directory(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """What can be discovered: streams, gateways, observers, feeds, policies, actuators."""
    params = params_of(request, DirectoryParams)
    labels = _labels(params.label)
    parts: list[Gathered] = []
    if params.type in ("", "stream"):
        gathered = await gather(site.backend, "sensors", ("*",), params.node, site.timeout_s)
        streams = await asyncio.to_thread(lambda: list(map(_entry, merge_sensors(gathered.parts.values()))))
        parts.append(Gathered({site.backend.node: streams}, gathered.missing))
    if params.type != "stream":
        parts.append(await gather(site.backend, "directory", (True,), params.node, site.timeout_s))
    whole = permitted(site, request, _joined(parts), lambda e: str(e.name if e.type == "stream" else e.type))

    def chosen() -> tuple[list[DirectoryEntry], int]:
        found = [e for part in whole.parts.values() for e in part if _wanted(e, params.type, labels)]
        shown = [entry for entry in found if params.history or entry.live]
        shown.sort(key=lambda e: (e.type, e.name, e.node, not e.live, -e.last_ns))
        return shown, len(found) - len(shown)

    shown, ended = await asyncio.to_thread(chosen)
    return await records_response(request, "entries", shown, whole, ended=ended)


def _wanted(entry: DirectoryEntry, kind: str, labels: Mapping[str, str]) -> bool:
    return kind in ("", entry.type) and labels.items() <= {**entry.labels, "node": entry.node}.items()


def _joined(parts: Sequence[Gathered]) -> Gathered:
    """All entries by the node that they are of: what access rules are asked for."""
    found: dict[str, list[DirectoryEntry]] = {}
    for entry in (entry for part in parts for entries in part.parts.values() for entry in entries):
        found.setdefault(entry.node, []).append(entry)
    missing = {m.node: m for part in parts for m in part.missing}
    return Gathered(found, tuple(missing.values()))


def _entry(info: SensorInfo) -> DirectoryEntry:
    stream = info.stream
    return DirectoryEntry(
        "stream",
        stream.kind,
        stream.node,
        stream.labels,
        info.live,
        "",
        info.first_ns,
        info.last_ns,
        info.expires_ns,
        info.online,
    )


def _labels(text: str) -> dict[str, str]:
    labels = {}
    for pair in text.split(",") if text else ():
        name, equals, value = pair.partition("=")
        if not (name.strip() and equals):
            raise Problem(422, "invalid", f"{pair[:80]!r} is not name=value", "query.label")
        labels[name.strip()] = value
    return labels


async def path(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The hops of a path and, at each, the streams that tell about it, with their newest values."""
    params = params_of(request, PathParams)
    gathered = await gather(site.backend, "sensors", ("*",), "", site.timeout_s)
    gathered = permitted(site, request, gathered, stream_name)
    kinds = [parse(kind) for kind in KINDS]
    known = [s for s in merge_sensors(gathered.parts.values()) if any(kind.matches(s.stream) for kind in kinds)]
    there = Map(known, params.history)
    nodes = sorted({site.backend.node, *site.backend.nodes()})
    end = ends(params.origin, params.to, there, nodes)
    site.door.check(who_asks(request), "read", "path", end.node)  # as at this node: it traces for whoever asks
    timeout_s = max(site.timeout_s, TRACE_TIMEOUT_S)
    traced = await gather(site.backend, "path", (end.target, params.history), end.node, timeout_s)
    trace: Trace = traced.parts[end.node]
    hops = resolve(end, trace, there)
    values = await _values(site, who_asks(request), hops)
    earlier = [EarlierPath(e.t_ns, resolve_earlier(end, trace, e, there)) for e in trace.earlier]
    more = {"node": end.node, "to": end.to, "target": end.target, "reached": trace.reached, "note": trace.note}
    return await records_response(
        request, "hops", _valued(hops, values), gathered, **more, earlier=to_builtins(earlier)
    )


async def _values(site: Site, who: Principal, hops: Iterable[Hop]) -> dict[Stream, dict[str, float]]:
    """The newest values of the live streams at the hops; one question for each node and kind."""
    wanted = {s.sensor.stream for hop in hops for s in hop.streams if s.sensor.live}
    wanted = {s for s in wanted if site.door.allows(who, "read", s.kind, s.node)}
    now_ns = site.clock.time_ns()
    asked = []
    for node, kind in sorted({(stream.node, stream.kind) for stream in wanted}):
        args = (f'{kind}{{node="{escape_label(node)}"}}', now_ns - VALUES_NS, now_ns + NS, VALUE_ROWS)
        asked.append(gather(site.backend, "query", args, node if node in site.backend.nodes() else "", site.timeout_s))
    found: dict[Stream, dict[str, float]] = {}
    for gathered in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(gathered, Gathered):  # else that node does not answer: its streams have no values
            for batch in (batch for part in gathered.parts.values() for batch in part):
                if batch.stream in wanted:
                    found[batch.stream] = newest(batch)
    return found


def newest(batch: Batch) -> dict[str, float]:
    """The last value of each field, of counters their change per second; without what is missing."""
    last = {name: float(batch.column(name)[-1]) for name in (f.name for f in batch.stream.fields) if len(batch)}
    rated = batch.rate()
    for field in batch.stream.fields:
        if field.counter:
            last.pop(field.name, None)
            if len(rated):
                last[field.name] = float(rated.column(field.name)[-1])
    return {name: value for name, value in last.items() if value == value}


def _valued(hops: Iterable[Hop], values: Mapping[Stream, dict[str, float]]) -> list[Hop]:
    def valued(streams: Iterable[HopStream]) -> tuple[HopStream, ...]:
        return tuple(msgspec.structs.replace(s, values=values.get(s.sensor.stream, {})) for s in streams)

    return [msgspec.structs.replace(hop, streams=valued(hop.streams)) for hop in hops]


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/directory",
        directory,
        "What can be discovered",
        query=DirectoryParams,
        answer=DirectoryAnswer,
        errors=(404,),
    ),
    Route(
        "GET",
        "/v1/path",
        path,
        "The path between two ends, and what tells about it",
        query=PathParams,
        answer=PathAnswer,
        errors=(404,),
        what="path",
    ),
)
