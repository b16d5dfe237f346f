"""Observation of an aiohttp client's requests, without a change at the calls:

    aiohttp.ClientSession(trace_configs=[vagus.trace_config()])

Exceptions, time-outs and 5xx are UNHEALTHY, anything else that answers is HEALTHY, and a request that hangs is PENDING
while it does. What is observed ends with the answer's headers: aiohttp tells nothing of its body.

Within a `vagus.span` each request is a span as well, and carries the trace's headers on to the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vagus.client.observe import PENDING_S, seconds_of
from vagus.client.reporter import REPORTER, Reporter
from vagus.client.span import current_trace, span
from vagus.client.subjects import Subjects, subjects
from vagus.client.trace_context import inject
from vagus.client.tracer import TRACER, Tracer
from vagus.client.track import Call
from vagus.model import Status

if TYPE_CHECKING:
    from aiohttp import TraceConfig


def _is_failure(status: int) -> bool:
    return status >= 500


def trace_config(
    subject: str | None = None,
    context: str | None = None,
    observer: str | None = None,
    *,
    pending_s: float | None = PENDING_S,
    failed: Callable[[int], bool] = _is_failure,
    names: Subjects = subjects,
    reporter: Reporter = REPORTER,
    tracer: Tracer = TRACER,
) -> TraceConfig:
    """A TraceConfig that observes every request of the sessions it is given to.

    subject: default: what `vagus.subjects` calls the request's host:port; context: default: the method; pending_s:
    None: never; failed: which HTTP statuses speak against the server. A span goes over all hops of a redirect. Each hop of a redirect is a request of its own.
    Raises ImportError without aiohttp.
    """
    pending = seconds_of(pending_s)

    def begin(tracing: SimpleNamespace, method: str, url: Any) -> None:
        named = subject or names.resolve(url.host or "?", url.port)
        track = reporter.track(named, context or method, observer)
        tracing.vagus = reporter.wait_for(track, pending)

    def begin_span(tracing: SimpleNamespace, params: Any) -> None:
        if current_trace() is not None:
            host, port = params.url.host or "?", params.url.port
            made = span(f"{params.method} {subject or names.resolve(host, port)}", kind="client", tracer=tracer).begin()
            tracing.vagus_span = made
            if made.context is not None:
                inject(params.headers, made.context)

    def end_span(tracing: SimpleNamespace, status: int = 0, error: BaseException | None = None) -> None:
        made: span | None = tracing.__dict__.pop("vagus_span", None)
        if made is not None:
            if status:
                made.note(**{"http.status_code": status})
            if status and failed(status):
                made.fail()
            made.end(error)

    def end(tracing: SimpleNamespace, status: Status | None) -> None:
        call: Call | None = tracing.__dict__.pop("vagus", None)
        if call is not None:
            reporter.resolve(call, status)

    async def on_start(_: Any, tracing: SimpleNamespace, params: Any) -> None:
        try:
            begin_span(tracing, params)
            begin(tracing, params.method, params.url)
        except Exception as error:  # the host program must not notice; so below
            reporter.fail(error)

    async def on_redirect(_: Any, tracing: SimpleNamespace, params: Any) -> None:
        try:
            end(tracing, Status.HEALTHY)
            headers = params.response.headers
            begin(tracing, params.method, params.url.join(type(params.url)(headers.get("Location") or headers["URI"])))
        except Exception as error:  # also a location that is none, which aiohttp refuses in its own words
            reporter.fail(error)

    async def on_end(_: Any, tracing: SimpleNamespace, params: Any) -> None:
        try:
            end_span(tracing, params.response.status)
            end(tracing, Status.UNHEALTHY if failed(params.response.status) else Status.HEALTHY)
        except Exception as error:
            end(tracing, None)
            reporter.fail(error)

    async def on_exception(_: Any, tracing: SimpleNamespace, params: Any) -> None:
        try:
            end_span(tracing, error=params.exception)
            if isinstance(params.exception, (asyncio.CancelledError, KeyboardInterrupt, SystemExit)):
                call: Call | None = tracing.__dict__.get("vagus")  # ours to end: a verdict only if it had hung by then
                hung = call is not None and perf_counter() - call[0] >= pending
                end(tracing, Status.PENDING if hung else None)
            else:
                end(tracing, Status.UNHEALTHY)
        except Exception as error:
            reporter.fail(error)

    made: TraceConfig = import_module("aiohttp").TraceConfig()
    made.on_request_start.append(on_start)
    made.on_request_redirect.append(on_redirect)
    made.on_request_end.append(on_end)
    made.on_request_exception.append(on_exception)
    return made
