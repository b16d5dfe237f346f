"""Bounded decoding of everything that clients send: size, depth, type, finite numbers, plausible times.

JSON goes through msgspec, which checks types while it reads. MessagePack goes through msgpack's unpacker first,
which never reserves more memory than the body is long, and then through the same types.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgpack
import msgspec
from aiohttp import web
from msgspec import Meta

from vagus.clock import NS
from vagus.controllers.decide.features import MAX_FEATURES
from vagus.controllers.decide.outstanding import MAX_REWARD
from vagus.errors import ConfigError
from vagus.gateway.errors import Problem, invalid_input
from vagus.gateway.route import Site
from vagus.inputs.inflate import TooLarge, inflate
from vagus.model import MAX_DOUBT, MAX_LABEL_VALUE, MAX_NAME, MAX_T_NS, Metric, Report, Reward, Status, check_time

T = TypeVar("T")
MAX_ITEMS = 1000
MAX_HANDLE = 2**53 - 1
"""Larger integers are not exact in every language's JSON."""
MAX_HANDLES = 16
"""Different ones in one body: each is a call of its own."""
BODY_TIMEOUT_S = 10.0
AHEAD_S = 3600

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
StatusText = Annotated[
    str, Meta(min_length=1, max_length=20, description="a status name in any case, or its letter: n h p m u d dd")
]
Handle = Annotated[int, Meta(ge=0, le=MAX_HANDLE, description="what POST /v1/register gave for this observer; 0: none")]
Time = Annotated[int, Meta(description="nanoseconds since the epoch, 1970 to 2100, at most 1 h ahead; default: now")]


class Input(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base: an unknown field is an error, so that a typing mistake is never silently ignored."""


class ContextScore(Input, frozen=True):
    """A status with its score, spelled out."""

    status: StatusText
    score: float = 0.0


class ReportBody(Input, frozen=True):
    """What one observer says of one subject; a context is a status, or a status with its score."""

    # plain str in the union: msgspec 0.22 crashes on a tuple beside a struct and a constrained str

    observer: Name
    subject: Name
    contexts: Annotated[dict[Name, tuple[StatusText, float] | ContextScore | str], Meta(min_length=1, max_length=100)]
    t_ns: Time | None = None
    ttl_ns: Annotated[int, Meta(ge=0, lt=MAX_T_NS, description="for how long it counts; 0: as vagus.yaml says")] = 0
    doubt: Annotated[int, Meta(ge=0, le=MAX_DOUBT, description="how unwell the observer was itself; 0: well")] = 0
    handle: Handle = 0


class ReportsBody(Input, frozen=True):
    """Several reports; all are kept or, when one is malformed, none."""

    reports: Annotated[list[ReportBody], Meta(min_length=1, max_length=MAX_ITEMS)]


Feature = (
    Annotated[str, Meta(max_length=MAX_LABEL_VALUE)]
    | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    | float
    | bool
)


class DecideBody(Input, frozen=True):
    """The features of a request, and the arms that are feasible for it."""

    arms: Annotated[list[Name], Meta(min_length=1, max_length=1000)]
    features: Annotated[dict[Name, Feature], Meta(max_length=MAX_FEATURES)] = {}


class DecidesBody(Input, frozen=True):
    """Several requests at once."""

    requests: Annotated[list[DecideBody], Meta(min_length=1, max_length=MAX_ITEMS)]


class UpdateBody(Input, frozen=True):
    """The outcome of a decision; larger is better."""

    decision_id: Name
    reward: float


class UpdatesBody(Input, frozen=True):
    """Several outcomes."""

    updates: Annotated[list[UpdateBody], Meta(min_length=1, max_length=MAX_ITEMS)]


_JSON = {"application/json": False}
_KINDS = {**_JSON, "application/msgpack": True, "application/x-msgpack": True, "application/vnd.msgpack": True}


async def read_body(
    site: Site, request: web.BaseRequest, kinds: Mapping[str, bool] = _KINDS, *, gzip: bool = False
) -> tuple[bytes, bool]:
    """The body and whether it is packed: MessagePack, unless `kinds` says otherwise; else JSON.

    Refuses other types, encodings (but gzip, where that is allowed), and more than the limit, inflated or not.
    """
    headers = request.headers
    content_type = headers.get("Content-Type", "")
    packed = kinds.get(content_type)
    if packed is None:
        packed = kinds.get(content_type.partition(";")[0].strip().lower())
        if packed is None:
            hint = f"send it as 'Content-Type: {' or '.join(list(kinds)[:2])}'"
            what = f"{content_type!r} is not understood" if content_type else "the request has no content type"
            raise Problem(415, "content_type", what, "header Content-Type", hint)
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity" and not (gzip and encoding == "gzip"):
        raise Problem(415, "encoding", "compressed bodies are refused", "header Content-Encoding", "send it plain")
    length = request.content_length
    if length is not None and length > site.max_body_bytes:
        message = f"the body has {length} bytes; at most {site.max_body_bytes} are read"
        raise Problem(413, "too_large", message, "body", "send smaller batches")
    if "Expect" in headers:
        if headers["Expect"].lower() != "100-continue":
            raise Problem(417, "expectation", "only 100-continue is understood", "header Expect")
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: the interim answer is not part of the answer
    if length is not None and request.content.is_eof():
        body = request.content.read_nowait()
    else:
        body = await _arrived(request)
    return (_inflated(body, site.max_body_bytes) if encoding == "gzip" else body), packed


def _inflated(body: bytes, most: int) -> bytes:
    try:
        return inflate(body, most)
    except TooLarge as error:
        raise Problem(413, "too_large", str(error), "body", "send smaller batches") from error
    except ConfigError as error:
        raise Problem(400, "malformed", str(error), "body") from error


async def _arrived(request: web.BaseRequest) -> bytes:
    if request.content.is_eof():
        return await request.read()
    try:
        return await asyncio.wait_for(request.read(), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        message = f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
        raise Problem(408, "timeout", message, "body", "send it again") from None


def decode(body: bytes, packed: bool, kind: type[T]) -> T:
    """Bytes as a struct of `kind`. Raises Problem (400 not decodable, 422 of the wrong shape)."""
    try:
        if packed:
            return msgspec.convert(_unpack(body), kind)
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise invalid_input(error, "body") from error


def decode_one_or_many(body: bytes, packed: bool, one: type[T], many: type[Any], key: str) -> tuple[list[T], bool]:
    """Bytes as one `one`, or as a `many` whose field `key` lists them; and whether it was a single one."""
    try:
        if packed:
            raw = _unpack(body)
            if isinstance(raw, dict) and key in raw:
                return getattr(msgspec.convert(raw, many), key), False
            return [msgspec.convert(raw, one)], True
        if msgspec.json.decode(body, type=_probe(key)).found is not msgspec.UNSET:
            return getattr(msgspec.json.decode(body, type=many), key), False
        return [msgspec.json.decode(body, type=one)], True
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise invalid_input(error, "body") from error


class _ReportsProbe(msgspec.Struct):
    found: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="reports", default=msgspec.UNSET)


class _SamplesProbe(msgspec.Struct):
    found: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="samples", default=msgspec.UNSET)


class _EventsProbe(msgspec.Struct):
    found: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="events", default=msgspec.UNSET)


class _UpdatesProbe(msgspec.Struct):
    found: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="updates", default=msgspec.UNSET)


class _RequestsProbe(msgspec.Struct):
    found: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="requests", default=msgspec.UNSET)


def _probe(key: str) -> Any:
    return _PROBES[key]


_PROBES = {
    "reports": _ReportsProbe,
    "updates": _UpdatesProbe,
    "samples": _SamplesProbe,
    "events": _EventsProbe,
    "requests": _RequestsProbe,
}


def _unpack(body: bytes) -> Any:
    return msgpack.unpackb(body, strict_map_key=True, max_ext_len=0)


def reports_of(body: bytes, packed: bool, now_ns: int) -> tuple[list[Report], list[int]]:
    """The body of `POST /v1/report` as reports, and the handle of each. Raises Problem."""
    items, single = decode_one_or_many(body, packed, ReportBody, ReportsBody, "reports")
    reports = []
    for index, item in enumerate(items):
        where = "body" if single else f"body.reports[{index}]"
        try:
            contexts = {name: _metric(metric) for name, metric in item.contexts.items()}
            t_ns = now_ns if item.t_ns is None else check_recent(item.t_ns, now_ns)
            report = Report(item.observer, item.subject, t_ns, contexts, ttl_ns=item.ttl_ns, doubt=item.doubt)
            reports.append(report)
        except ConfigError as error:
            raise Problem(422, "invalid", str(error), where) from error
    handles = [item.handle for item in items]
    if len(set(handles)) > MAX_HANDLES:
        message = f"{len(set(handles))} different handles in one body; at most {MAX_HANDLES}"
        raise Problem(422, "invalid", message, "body.reports", "send the reports of each observer by themselves")
    return reports, handles


def _metric(given: tuple[str, float] | ContextScore | str) -> Metric:
    if isinstance(given, str):
        return Metric(Status.parse(given))
    if isinstance(given, tuple):
        return Metric(Status.parse(given[0]), given[1])
    return Metric(Status.parse(given.status), given.score)


def rewards_of(body: bytes, packed: bool, now_ns: int) -> tuple[list[Reward], bool]:
    """The body of `POST /v1/update` as rewards, and whether it was a single one. Raises Problem."""
    items, single = decode_one_or_many(body, packed, UpdateBody, UpdatesBody, "updates")
    for index, item in enumerate(items):
        if not -MAX_REWARD <= item.reward <= MAX_REWARD:
            where = "body.reward" if single else f"body.updates[{index}].reward"
            message = f"reward must be a finite number within ±{MAX_REWARD:g}, got {item.reward}"
            raise Problem(422, "invalid", message, where)
    return [Reward(item.decision_id, now_ns, item.reward) for item in items], single


_one = msgspec.json.Decoder(DecideBody).decode


def decides_of(body: bytes, packed: bool) -> tuple[list[DecideBody], bool]:
    """The body of `POST /v1/decide`, and whether it was a single one. Raises Problem."""
    if not packed:
        try:
            return [_one(body)], True
        except (ValueError, RecursionError):
            pass  # several, or none: what is wrong is said below
    items, single = decode_one_or_many(body, packed, DecideBody, DecidesBody, "requests")
    for index, wanted in enumerate(items):
        for name, value in wanted.features.items():
            if type(value) is float and not math.isfinite(value):
                where = f"body.features.{name}" if single else f"body.requests[{index}].features.{name}"
                raise Problem(422, "invalid", f"a feature must be a finite number, got {value}", where)
    return items, single


def check_recent(t_ns: int, now_ns: int) -> int:
    """A time between 1970 and 2100 that is at most one hour ahead of `now_ns`, else ConfigError."""
    check_time(t_ns)
    if t_ns > now_ns + AHEAD_S * NS:
        raise ConfigError(f"t_ns={t_ns} is more than one hour ahead of this node's clock ({now_ns}); check both clocks")
    return t_ns
