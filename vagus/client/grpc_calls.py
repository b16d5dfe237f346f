"""Observation of a gRPC client's calls, by interceptors on its channel. Extra: `pip install vagus[grpc]`.

    channel = grpc.intercept_channel(grpc.insecure_channel(address), *vagus.grpc_interceptors(address))
    channel = grpc.aio.insecure_channel(address, interceptors=vagus.grpc_aio_interceptors(address))

Of a stream each message is observed, and its end; by default it may be silent for as long as it likes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vagus.client.observe import PENDING_S, seconds_of
from vagus.client.reporter import REPORTER, Reporter
from vagus.client.subjects import Subjects, subjects
from vagus.client.track import Call
from vagus.model import Status

OURS = frozenset(
    {
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "ABORTED",
        "UNIMPLEMENTED",
    }
)
"""Codes of a server that is well: what HTTP has below 500."""


class Calls:
    """What both kinds of interceptors say of a call."""

    def __init__(
        self,
        target: str,
        context: str | None,
        observer: str | None,
        pending_s: float | None,
        stream_pending_s: float | None,
        names: Subjects,
        reporter: Reporter,
    ) -> None:
        self.reporter = reporter
        self._subject = names.resolve(target)
        self._context = context
        self._observer = observer
        self._pending_s = seconds_of(pending_s)
        self._stream_pending_s = seconds_of(stream_pending_s)

    def begin(self, details: Any) -> Call:
        """A call with one answer."""
        return self._wait(details, self._pending_s)

    def begin_step(self, details: Any) -> Call:
        """The wait for a stream's next message."""
        return self._wait(details, self._stream_pending_s)

    def _wait(self, details: Any, pending_s: float) -> Call:
        method = details.method
        context = self._context or (method.decode("utf-8", "replace") if isinstance(method, bytes) else method)
        return self.reporter.wait_for(self.reporter.track(self._subject, context, self._observer), pending_s)

    def end(self, call: Call, code: Any) -> None:
        """By the status code: CANCELLED, and none, is no verdict."""
        name = getattr(code, "name", None)
        if name in OURS:
            status: Status | None = Status.HEALTHY
        else:
            status = None if name in (None, "CANCELLED") else Status.UNHEALTHY
        self.reporter.resolve(call, status)

    def fail(self, call: Call, error: BaseException) -> None:
        """By an exception that has no code."""
        self.reporter.resolve(call, Status.UNHEALTHY if isinstance(error, Exception) else None)


def grpc_interceptors(
    target: str,
    context: str | None = None,
    observer: str | None = None,
    *,
    pending_s: float | None = PENDING_S,
    stream_pending_s: float | None = None,
    names: Subjects = subjects,
    reporter: Reporter = REPORTER,
) -> list[Any]:
    """Interceptors for `grpc.intercept_channel`.

    target: the address that the channel is made for, or a subject: what `vagus.subjects` makes of it; context: default:
    the method; pending_s: a call that lasts longer is said to be pending; stream_pending_s: a stream that is silent for
    longer is (None: never). Raises ImportError without grpcio.
    """
    calls = Calls(target, context, observer, pending_s, stream_pending_s, names, reporter)
    return [import_module("vagus.client.grpc_sync").Interceptor(calls)]


def grpc_aio_interceptors(
    target: str,
    context: str | None = None,
    observer: str | None = None,
    *,
    pending_s: float | None = PENDING_S,
    stream_pending_s: float | None = None,
    names: Subjects = subjects,
    reporter: Reporter = REPORTER,
) -> list[Any]:
    """The same for `interceptors=` of a channel of `grpc.aio`."""
    calls = Calls(target, context, observer, pending_s, stream_pending_s, names, reporter)
    found: list[Any] = import_module("vagus.client.grpc_aio").interceptors(calls)
    return found
