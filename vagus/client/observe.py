"""In-situ observation: a program says how its calls to others went, at the price of about a microsecond a call.

    with vagus.observe("db@2", context="read"): ...
    @vagus.observe("db@2")
    async def call(): ...

Success is HEALTHY (the first one passes; repeats are averaged and sent at most every 20 s), an exception UNHEALTHY,
a call that takes longer than 3 s PENDING until it returns: Panorama's client library (OSDI'18, section 4), with its
rate limit and pending tracker. The score is the duration in milliseconds. Nothing here ever raises into the program.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from types import CodeType, TracebackType
from typing import Any, TypeVar

from vagus.client.reporter import REPORTER, Reporter, Track
from vagus.model import Status

F = TypeVar("F", bound=Callable[..., Any])
PENDING_S = 3.0
_CO_COROUTINE = 0x80


class observe:  # noqa: N801  # reads as a verb: with observe(subject)
    """Observes calls to `subject`: a context manager and a decorator, for functions and coroutine functions.

    context: what is done to the subject; observer: who says so (default: this program, process and host);
    expected: exceptions that a well subject raises too, such as KeyError for an absent key; pending_s: a call that
    lasts longer is reported while it lasts. One object may be used again, nested, and from several threads.
    """

    __slots__ = ("_calls", "_expected", "_reporter", "_track", "pending_s")

    def __init__(
        self,
        subject: str,
        context: str = "call",
        observer: str | None = None,
        *,
        expected: tuple[type[BaseException], ...] = (),
        pending_s: float = PENDING_S,
        reporter: Reporter = REPORTER,
    ) -> None:
        self._reporter = reporter
        self._track = reporter.tracks.get((subject, context, observer)) or reporter.track(subject, context, observer)
        self._expected = expected
        self._calls: list[list[Any]] = []
        self.pending_s = pending_s

    def __enter__(self) -> observe:
        begun = perf_counter()
        call = [begun, begun + self.pending_s, self._track]
        self._calls.append(call)
        reporter = self._reporter
        reporter.open_calls[id(call)] = call
        if not reporter.running:
            reporter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        now = perf_counter()
        call = self._calls.pop()
        reporter = self._reporter
        reporter.open_calls.pop(id(call), None)
        track: Track = call[2]
        duration_s = now - call[0]
        if kind is None or issubclass(kind, self._expected):
            track.count += 1
            track.total_s += duration_s
            if now >= track.due:
                reporter.healthy(track, now)
        elif issubclass(kind, Exception):
            track.due = 0.0  # the next success passes at once
            reporter.put(track, Status.UNHEALTHY, duration_s)
        elif duration_s >= self.pending_s:
            # cancelled or interrupted: no verdict on the subject, except that it had not answered for long
            reporter.put(track, Status.PENDING, duration_s)

    async def __aenter__(self) -> observe:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _again(self) -> observe:
        fresh = object.__new__(observe)
        fresh._reporter = self._reporter
        fresh._track = self._track
        fresh._expected = self._expected
        fresh._calls = []
        fresh.pending_s = self.pending_s
        return fresh

    def __call__(self, function: F) -> F:
        """The function, each of its calls observed."""
        code: CodeType | None = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:

            @wraps(function)
            async def observed_async(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return observed_async  # type: ignore[return-value]

        @wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return observed  # type: ignore[return-value]
