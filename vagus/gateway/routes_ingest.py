"""What applications send: samples and events of their own, and OTLP's metrics and logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web

from vagus.errors import ConfigError
from vagus.gateway.access import who_asks
from vagus.gateway.answers import JSON_HEADERS, AckText, json_response
from vagus.gateway.errors import Problem
from vagus.gateway.inputs import decode_one_or_many, read_body
from vagus.gateway.route import Route, Site
from vagus.inputs import otlp
from vagus.inputs.admission import Taken
from vagus.inputs.native import EventBody, EventsBody, SampleBody, SamplesBody, event_of, sample_of
from vagus.inputs.otlp import Rejects, Signal
from vagus.inputs.otlp_json import ExportLogsServiceRequest, ExportMetricsServiceRequest
from vagus.inputs.otlp_logs import read_logs
from vagus.inputs.otlp_metrics import Deltas, read_metrics
from vagus.model import Event, Sample

T = TypeVar("T")
PROTOBUF = "application/x-protobuf"
OTLP = {"application/json": False, PROTOBUF: True}
OFF_LOOP_BYTES = 64 << 10  # a longer body is converted in a thread


class TakenAnswer(msgspec.Struct, frozen=True):
    """One word for each sample or event: ACCEPTED is committed, FAILED is refused; and why, each reason once."""

    results: list[AckText]
    reasons: list[str]


class ExportAnswer(msgspec.Struct, frozen=True):
    """OTLP's answer: empty, or `partialSuccess` with how many were rejected, and why."""

    partialSuccess: dict[str, Any] = {}  # noqa: N815  # OTLP's name


async def samples(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Readings of an application, one or up to 1000; kinds of vagus' own sensors are refused."""
    body, packed = await read_body(site, request)
    now_ns, node = site.clock.time_ns(), site.backend.node
    items, single = decode_one_or_many(body, packed, SampleBody, SamplesBody, "samples")
    made: list[Sample] = []
    for index, item in enumerate(items):
        try:
            made.append(sample_of(item, node, now_ns))
        except ConfigError as error:
            where = "body" if single else f"body.samples[{index}]"
            raise Problem(422, "invalid", str(error), where) from error
    for kind in {item.kind for item in items}:
        site.door.check(who_asks(request), "send", kind)
    return _answer(await _take(site, request, made, ()))


async def events(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Events of an application, one or up to 1000; names of vagus' own events are refused."""
    body, packed = await read_body(site, request)
    now_ns, node = site.clock.time_ns(), site.backend.node
    items, single = decode_one_or_many(body, packed, EventBody, EventsBody, "events")
    made: list[Event] = []
    for index, item in enumerate(items):
        try:
            made.append(event_of(item, node, now_ns))
        except ConfigError as error:
            where = "body" if single else f"body.events[{index}]"
            raise Problem(422, "invalid", str(error), where) from error
    for name in {item.event for item in items}:
        site.door.check(who_asks(request), "send", name)
    return _answer(await _take(site, request, (), made))


async def _take(site: Site, request: web.BaseRequest, samples: Sequence[Sample], events: Sequence[Event]) -> Taken:
    return await asyncio.wait_for(site.backend.take(who_asks(request), samples, events), site.timeout_s)


def _answer(taken: Taken) -> web.Response:
    if taken.refused == len(taken.acks):
        raise Problem(422, "refused", "; ".join(taken.reasons), "body", "nothing of it was stored")
    return json_response(TakenAnswer([ack.value for ack in taken.acks], list(taken.reasons)))


# --- OTLP ------------------------------------------------------------------------------------------------------------


class _Totals:
    """Deltas of a site, and the lock under which they are added up and stored."""

    def __init__(self) -> None:
        self.deltas = Deltas()
        self.lock = asyncio.Lock()


_totals: WeakKeyDictionary[Any, _Totals] = WeakKeyDictionary()


async def export_metrics(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """OTLP/HTTP metrics, as protobuf or JSON, plain or gzipped. What cannot be stored is told as partial success.

    Answered when committed. Sums and histograms of delta temporality are added up.
    """
    body, packed = await read_body(site, request, OTLP, gzip=True)
    totals = _totals.setdefault(site.backend, _Totals())
    rejects = Rejects()

    def read() -> list[Sample]:
        message = decode(body, packed, "metrics")
        return read_metrics(message, site.backend.node, site.clock.time_ns(), totals.deltas, rejects)

    async with totals.lock:
        committed = False
        try:
            made = await converted(body, read)
            taken = await _take(site, request, made, ())
            committed = True
        finally:
            totals.deltas.settle(committed)
    return export_answer(packed, "metrics", rejects, taken)


async def export_logs(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """OTLP/HTTP logs, as protobuf or JSON, plain or gzipped. What cannot be stored is told as partial success."""
    body, packed = await read_body(site, request, OTLP, gzip=True)
    rejects = Rejects()

    def read() -> list[Event]:
        message = decode(body, packed, "logs")
        return read_logs(message, site.backend.node, site.clock.time_ns(), rejects)

    taken = await _take(site, request, (), await converted(body, read))
    return export_answer(packed, "logs", rejects, taken)


async def converted(body: bytes, read: Callable[[], T]) -> T:
    """What `read` makes of a body, in a thread where that may take long."""
    return await asyncio.to_thread(read) if len(body) > OFF_LOOP_BYTES else read()


def decode(body: bytes, packed: bool, signal: Signal) -> Any:
    """`otlp.decode`. Raises Problem."""
    try:
        return otlp.decode(body, packed, signal)
    except ConfigError as error:
        raise Problem(400, "malformed", str(error), "body") from error


def export_answer(packed: bool, signal: Signal, rejects: Rejects, taken: Taken) -> web.Response:
    """OTLP's answer, in the encoding of the request."""
    for reason in taken.reasons:
        rejects.add(reason, 0)
    rejects.count += taken.refused
    headers = {**JSON_HEADERS, "Content-Type": PROTOBUF} if packed else JSON_HEADERS
    return web.Response(body=otlp.answer(packed, signal, rejects), headers=headers)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST", "/v1/samples", samples, "Store samples", body=(SampleBody, SamplesBody), answer=TakenAnswer, verb="send"
    ),
    Route("POST", "/v1/events", events, "Store events", body=(EventBody, EventsBody), answer=TakenAnswer, verb="send"),
    Route(
        "POST",
        "/v1/metrics",
        export_metrics,
        "OTLP metrics",
        body=(ExportMetricsServiceRequest,),
        accepts=tuple(OTLP),
        answer=ExportAnswer,
        media=(PROTOBUF,),
        verb="send",
    ),
    Route(
        "POST",
        "/v1/logs",
        export_logs,
        "OTLP logs",
        body=(ExportLogsServiceRequest,),
        accepts=tuple(OTLP),
        answer=ExportAnswer,
        media=(PROTOBUF,),
        verb="send",
    ),
)
