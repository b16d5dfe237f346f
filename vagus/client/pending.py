"""Panorama's pending tracker: a request whose answer comes elsewhere in the program, or never.

waiting = vagus.pending("db@2", "commit")
... waiting.clear()          # in the callback of the answer; or waiting.fail()
"""

from __future__ import annotations

from types import TracebackType

from vagus.client.observe import PENDING_S, seconds_of
from vagus.client.reporter import REPORTER, Reporter
from vagus.model import Status


class Pending:
    """A request that is under way: PENDING is reported only when it is not resolved after `expire_s` seconds.

    Resolved once, from any thread: by `clear` (HEALTHY, rate-limited), `fail` (UNHEALTHY, or worse), or `drop` (no
    verdict: given up for a reason of our own). As a context manager: an exception fails it, a cancellation drops it.
    The score is milliseconds. Never raises. 10 000 are tracked at most: beyond them the oldest is let go if it was said
    to be pending, else the new one is not tracked.
    """

    __slots__ = ("_open", "_reporter")

    def __init__(
        self,
        subject: str,
        context: str = "call",
        expire_s: float | None = PENDING_S,
        observer: str | None = None,
        *,
        reporter: Reporter = REPORTER,
    ) -> None:
        self._reporter = reporter
        self._open = [reporter.wait_for(reporter.track(subject, context, observer), seconds_of(expire_s))]

    def clear(self) -> bool:
        """The answer came. False: it was resolved before."""
        return self._resolve(Status.HEALTHY)

    def fail(self, status: Status = Status.UNHEALTHY) -> bool:
        """It failed. False: it was resolved before."""
        return self._resolve(status)

    def drop(self) -> bool:
        """Nobody waits for it any more, and that is not the subject's fault. False: it was resolved before."""
        return self._resolve(None)

    def _resolve(self, status: Status | None) -> bool:
        try:
            call = self._open.pop()
        except IndexError:
            return False
        self._reporter.resolve(call, status)
        return True

    def __enter__(self) -> Pending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.clear()
        elif issubclass(kind, Exception):
            self.fail()
        else:
            self.drop()


pending = Pending
"""The name under which it is public: `vagus.pending(subject, context)`."""
