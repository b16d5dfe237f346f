"""What a program tells of itself: events, actions with a beginning and an end, numbers, heartbeats.

    vagus.event("order.paid", guid=guid, sum=1.5)
    with vagus.action("transfer", file="a.bin") as a: ...      # transfer.start, transfer.end with status and duration_s
    vagus.sample("app.queue", {"queue": "a"}, depth=3)
    requests = vagus.counter("app.requests", method="GET"); requests.add()
    vagus.heartbeat("db")

Each costs about a microsecond: what is said is queued and sent by a thread. Nothing here raises into the program; what
could not be sent is counted by `vagus.client.emitter.EMITTER.counts()`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from time import perf_counter, time_ns
from types import CodeType, TracebackType
from typing import Any, TypeVar

from vagus.client.emitter import EMITTER, MAX_COUNTERS, Counter, Emitter
from vagus.client.reporter import REPORTER
from vagus.client.track import default_observer, name_of
from vagus.model import Event

F = TypeVar("F", bound=Callable[..., Any])
_CO_COROUTINE = 0x80
_beats: dict[str, Counter] = {}


def event(name: str, /, level: str = "info", **fields: Any) -> None:
    """Says that something happened: a dotted name, fields that are text, numbers or truth values (others as text).

    level: debug, info, warning, error, fatal.
    """
    EMITTER.put((time_ns(), name, level, fields, None))


def put(said: Event) -> None:
    """An event with its own time and level; node and source become this program's."""
    EMITTER.put((said.t_ns, said.event, said.level, said.fields, None))


def sample(kind: str, labels: Mapping[str, Any] | None = None, /, **values: float | None) -> None:
    """One reading of a stream: its kind, labels that tell it from others, and a number for each field."""
    EMITTER.put((time_ns(), kind, None, values, labels))


def counter(kind: str, unit: str = "", /, **labels: Any) -> Counter:
    """A count of this process that only grows: `.add(n)`. The stream's field is `total`; sent once a second."""
    return EMITTER.counter(kind, unit, labels)


def heartbeat(service: str) -> None:
    """The service is there: counted in `service.heartbeat.total` of this process, and a HEALTHY report.

    The subject is `service:NAME`, as of the services that a node asks itself (`collect.heartbeats`).

    Call it from the loop that does the work, not from a thread of its own, so that it stops when the work does.
    """
    if service.__class__ is not str:
        service = name_of(service)
    beats = _beats.get(service)
    if beats is None or EMITTER.counters.get((beats.kind, beats.labels)) is not beats:
        if len(_beats) >= MAX_COUNTERS:
            _beats.clear()  # names without end
        beats = _beats[service] = counter("service.heartbeat", service=service, instance=default_observer())
    beats.add()
    track = REPORTER.track(f"service:{service}", "heartbeat", None)
    now = perf_counter()
    track.count += 1
    if now >= track.due:
        REPORTER.healthy(track, now)


class action:  # noqa: N801  # reads as a verb: with action(name)
    """An action with a beginning and an end: `NAME.start` and `NAME.end` with the same guid.

    The end has `status` (0, or -1 after an exception, which makes it an error, with its text as `error`) and
    `duration_s`. A context manager, and a decorator of functions and coroutine functions; `guid` may be given, to join
    what other programs say of the same action. `note(**fields)` adds to the end.
    """

    __slots__ = ("_begun", "_emitter", "_fields", "_more", "guid", "name")

    def __init__(self, name: str, /, *, emitter: Emitter = EMITTER, **fields: Any) -> None:
        self.name = name
        self.guid = str(fields.pop("guid", ""))
        self._emitter = emitter
        self._fields = fields
        self._more: dict[str, Any] = {}
        self._begun = 0.0

    def __enter__(self) -> action:
        if not self.guid:
            self.guid = os.urandom(16).hex()
        self._begun = perf_counter()
        self._emitter.put((time_ns(), f"{self.name}.start", "info", {"guid": self.guid, **self._fields}, None))
        return self

    def note(self, **fields: Any) -> None:
        """Fields for the end: what came out of it."""
        self._more.update(fields)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        fields = {"guid": self.guid, **self._fields, "status": 0 if kind is None else -1, **self._more}
        fields["duration_s"] = perf_counter() - self._begun
        if kind is not None:
            try:
                fields["error"] = f"{kind.__name__}: {error}"[:1000]
            except Exception:  # the exception's own __str__
                fields["error"] = kind.__name__
        level = "info" if kind is None else "error"
        self._emitter.put((time_ns(), f"{self.name}.end", level, fields, None))

    async def __aenter__(self) -> action:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """The function, each of its calls an action with a guid of its own."""
        code: CodeType | None = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:

            @wraps(function)
            async def acted_async(*args: Any, **kwargs: Any) -> Any:
                with action(self.name, emitter=self._emitter, **self._fields):
                    return await function(*args, **kwargs)

            return acted_async  # type: ignore[return-value]

        @wraps(function)
        def acted(*args: Any, **kwargs: Any) -> Any:
            with action(self.name, emitter=self._emitter, **self._fields):
                return function(*args, **kwargs)

        return acted  # type: ignore[return-value]
