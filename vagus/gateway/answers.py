"""What handlers send back: JSON by default, MessagePack of the native records when the client accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import msgspec
from aiohttp import web

from vagus.gateway.fanout import Gathered, MissingNode
from vagus.gateway.path import Hop
from vagus.gateway.plain_answer import PlainAnswer
from vagus.gateway.problem import ErrorDetail
from vagus.model import DirectoryEntry, Inference, Missing, NodeStatus, Scalar, SensorInfo, Stream, to_builtins

MSGPACK = "application/msgpack"
JSON_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "Server": "vagus"}
OFF_LOOP_ITEMS = 200  # more records than this are rendered in a thread

AckText = Literal["ACCEPTED", "IGNORED", "FAILED"]


class HealthzAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Alive; degraded when something on the node is not healthy. Details only with a valid token."""

    status: Literal["ok", "degraded"]
    node: str
    version: str
    details: dict[str, Any] | None = None


class IncompleteAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Alive, but something that is expected is missing: an error like any other, and what is missing, at most a hundred.
    Without a token only the kind of each, why, and since when."""

    error: ErrorDetail
    status: Literal["degraded"]
    node: str
    version: str
    missing: tuple[Missing, ...]
    details: dict[str, Any] | None = None


class ReportAnswer(msgspec.Struct, frozen=True):
    """One word for each report, in their order."""

    results: list[AckText]


class DecideAnswer(msgspec.Struct, frozen=True):
    """The arm to use, and what a later update and off-policy estimates need. context: features that were added."""

    decision: str
    decision_id: str
    propensity: float
    group: str
    version: int
    context: dict[str, Scalar] = {}


class DecidesAnswer(msgspec.Struct, frozen=True):
    """One decision for each request, in their order."""

    decisions: list[DecideAnswer]


class UpdateAnswer(msgspec.Struct, frozen=True):
    """One word for each outcome: FAILED for an unknown decision, IGNORED when it already has another reward."""

    results: list[AckText]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Of every answer that several nodes make together: whether any is missing, which, and what was not shown."""

    partial: bool = False
    missing: tuple[MissingNode, ...] = ()
    refused: tuple[str, ...] = ()  # names of what the access rules left out


class HealthAnswer(Envelope, frozen=True, kw_only=True):
    """Verdicts over the cluster, the newest of each subject."""

    inferences: list[Inference]


class SubjectAnswer(Envelope, frozen=True, kw_only=True):
    """One verdict with its accusers, contexts and the reports behind it."""

    inference: Inference


class SensorsAnswer(Envelope, frozen=True, kw_only=True):
    """The directory of streams. ended: how many more there are in history, when that was not asked for."""

    sensors: list[SensorInfo]
    ended: int = 0


class DirectoryAnswer(Envelope, frozen=True, kw_only=True):
    """What there is, by type, name and node. ended: as of SensorsAnswer."""

    entries: list[DirectoryEntry]
    ended: int = 0


class EarlierPath(msgspec.Struct, frozen=True):
    """A route that was in use before, since when, and its hops."""

    t_ns: int
    hops: list[Hop]


class PathAnswer(Envelope, frozen=True, kw_only=True):
    """The hops from one end to the other. note: why the target was not reached."""

    node: str
    to: str
    target: str
    reached: bool
    note: str
    hops: list[Hop]
    earlier: list[EarlierPath] = []


class StatusAnswer(Envelope, frozen=True, kw_only=True):
    """What each node says of itself."""

    cluster: str
    nodes: list[NodeStatus]


class RecordsAnswer(Envelope, frozen=True, kw_only=True):
    """Records, newest first."""

    records: list[dict[str, Any]]


class BatchAnswer(msgspec.Struct, frozen=True):
    """Samples of one stream as columns of equal length; null where a float is missing."""

    stream: Stream
    t_ns: list[int]
    columns: dict[str, list[float | int | None]]


class QueryAnswer(Envelope, frozen=True, kw_only=True):
    """Samples, a batch for each stream."""

    batches: list[BatchAnswer]


def json_response(answer: Any, status: int = 200) -> web.Response:
    """A small answer as JSON."""
    return web.Response(status=status, body=msgspec.json.encode(answer), headers=JSON_HEADERS)


def plain_response(answer: Any, request: web.BaseRequest) -> web.StreamResponse:
    """The same, cheaper, for what is asked for very often."""
    if request.method == "HEAD":
        return json_response(answer)
    return cast("web.StreamResponse", PlainAnswer(answer))


def packed_response(request: web.BaseRequest, answer: Any) -> web.Response:
    """A small answer in MessagePack when the client accepts it, else JSON."""
    if MSGPACK not in request.headers.get("Accept", ""):
        return json_response(answer)
    return web.Response(body=msgspec.msgpack.encode(answer), headers={**JSON_HEADERS, "Content-Type": MSGPACK})


async def records_response(
    request: web.BaseRequest, name: str, records: Any, gathered: Gathered, **more: Any
) -> web.Response:
    """Records under `name` with the envelope; records as objects in JSON, array-like in MessagePack."""
    envelope = {**more, "partial": gathered.partial, "missing": gathered.missing, "refused": gathered.refused}
    packed = MSGPACK in request.headers.get("Accept", "")

    def render() -> bytes:
        if packed:
            return msgspec.msgpack.encode({name: records, **envelope})
        return msgspec.json.encode({name: to_builtins(records), **envelope})

    big = isinstance(records, (Sequence, Mapping)) and len(records) > OFF_LOOP_ITEMS
    body = await asyncio.to_thread(render) if big else render()
    return web.Response(body=body, headers={**JSON_HEADERS, "Content-Type": MSGPACK} if packed else JSON_HEADERS)
