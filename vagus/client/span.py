"""Spans of requests: what a service did for which request, as part of a trace that goes through all services.

    with vagus.span("GET /cart", service="cart", kind="server", parent=vagus.continue_from(request.headers)):
        with vagus.span("read", user=7) as s:
            s.note(rows=3)
        requests.get(url, headers=vagus.trace_headers())

    @vagus.span("price")
    async def price(item): ...

A span within another is its child, also across `await`; a thread is told its parent by `parent=vagus.current_trace()`.
Each costs a few microseconds: it is queued and sent by a thread. Nothing here raises into the program; what could not
be sent is counted by `vagus.client.tracer.TRACER.counts()`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from time import perf_counter_ns, time_ns
from types import CodeType, TracebackType
from typing import Any, TypeVar

from vagus.client.trace_context import TraceContext, inject, make, of_headers
from vagus.client.tracer import TRACER, Ended, Tracer

F = TypeVar("F", bound=Callable[..., Any])
_CO_COROUTINE = 0x80
_current: ContextVar[span | None] = ContextVar("vagus-span", default=None)


class span:  # noqa: N801  # reads as a verb: with span(operation)
    """One operation: a context manager, and a decorator of functions and coroutine functions (each call a span).

    service, component: default: those of the span around it, else $OTEL_SERVICE_NAME or the program, and the service
    at this host. kind: internal, server, client, producer, consumer. parent: what `continue_from` gave; default: the
    span around it, else a new trace begins. follows: the parent does not wait for it. Further names are attributes.
    An exception makes it an error. `note(**attributes)` adds, `fail(why)` says that it failed without one.
    """

    __slots__ = (
        *("_attributes", "_begun", "_error", "_follows", "_given", "_kind", "_parent_id", "_start_ns", "_token"),
        *("_tracer", "component", "context", "operation", "service"),
    )

    def __init__(
        self,
        operation: str,
        /,
        *,
        service: str = "",
        component: str = "",
        kind: str = "internal",
        parent: TraceContext | None = None,
        follows: bool = False,
        tracer: Tracer = TRACER,
        **attributes: Any,
    ) -> None:
        self.operation = operation
        self.service = service
        self.component = component
        self.context: TraceContext | None = None
        self._kind = kind
        self._given = parent
        self._follows = follows
        self._tracer = tracer
        self._attributes = attributes
        self._error = False
        self._parent_id = ""
        self._token: Token[span | None] | None = None
        self._start_ns = self._begun = 0

    def begin(self) -> span:
        """Begins without becoming the one around what follows, for what does not end where it began: see `end`."""
        around = _around()
        parent = self._given if isinstance(self._given, tuple) else around.context if around is not None else None
        if around is not None:
            self.service = self.service or around.service
            self.component = self.component or (around.component if self.service == around.service else "")
        context = make(parent)
        if parent is not None:
            self._parent_id = parent.span_id
        elif not self._tracer.sampled(context.trace_id):
            context = context._replace(sampled=False)
        self.context = context
        self._start_ns, self._begun = time_ns(), perf_counter_ns()
        return self

    def end(self, error: BaseException | None = None) -> None:
        """Ends what `begin` began; the exception, if one was the reason."""
        context, begun = self.context, self._begun
        self._begun = 0
        if not begun or context is None or not context.sampled:
            return
        took_ns = perf_counter_ns() - begun
        attributes = self._attributes
        failed = self._error
        if error is not None:
            attributes = {**attributes, **_told(error)}
            failed = failed or isinstance(error, Exception)  # cancelled or interrupted is no failure of its own
        service = self.service or self._tracer.service
        component = self.component or self._tracer.component_of(service)
        self._tracer.put(
            Ended(
                context,
                self._parent_id,
                service,
                component,
                self.operation,
                self._start_ns,
                self._start_ns + took_ns,
                self._kind,
                failed,
                self._follows,
                attributes,
            )
        )

    def note(self, **attributes: Any) -> None:
        """Attributes that are known only now."""
        self._attributes = {**self._attributes, **attributes}

    def fail(self, why: str = "") -> None:
        """It failed, though nothing is raised."""
        self._error = True
        if why:
            self.note(**{"otel.status_description": why})

    def headers(self) -> dict[str, str]:
        """What a request carries that is made for this span."""
        made: dict[str, str] = {}
        if self.context is not None:
            inject(made, self.context)
        return made

    def __enter__(self) -> span:
        self.begin()
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None and self._encloses():
            try:
                _current.reset(self._token)
                self._token = None
            except ValueError:  # left in another context than it was entered in, such as a generator that was closed
                pass
        self.end(error)

    def _encloses(self) -> bool:
        """Whether what runs here is within it: what it ran in itself may have been left before, as by a generator."""
        found = _current.get()
        while found is not None and found is not self:
            found = found._outside()
        return found is self

    def _outside(self) -> span | None:
        outside = self._token.old_value if self._token is not None else None
        return outside if isinstance(outside, span) else None

    async def __aenter__(self) -> span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """The function, each of its calls a span."""
        code: CodeType | None = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:

            @wraps(function)
            async def spanned_async(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return spanned_async  # type: ignore[return-value]

        @wraps(function)
        def spanned(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return spanned  # type: ignore[return-value]

    def _again(self) -> span:
        made = span.__new__(span)
        for name in ("operation", "service", "component", "_kind", "_given", "_follows", "_tracer", "_attributes"):
            setattr(made, name, getattr(self, name))
        made.context = made._token = None
        made._error, made._parent_id, made._start_ns, made._begun = False, "", 0, 0
        return made


def _told(error: BaseException) -> dict[str, Any]:
    try:
        return {"exception.type": type(error).__name__, "exception.message": str(error)[:500]}
    except Exception:  # the exception's own __str__
        return {"exception.type": type(error).__name__}


def _around() -> span | None:
    """The span around the caller. One that ended in another context is still set in that where it began: passed over."""
    found = _current.get()
    while found is not None and found._token is not None and not found._begun:
        found = found._outside()
    return found


def current_trace() -> TraceContext | None:
    """Where in which trace the caller is; None outside of spans."""
    around = _around()
    return around.context if around is not None else None


def trace_headers() -> dict[str, str]:
    """The headers that a request made now should carry; none outside of spans."""
    around = _around()
    return around.headers() if around is not None else {}


def continue_from(headers: Mapping[str, str]) -> TraceContext | None:
    """What a request's headers say of the trace it belongs to, for `span(parent=…)`. None: nothing, or it is malformed."""
    return of_headers(headers)


def trace_ratio(ratio: float) -> None:
    """Of the traces that begin in this process so many are recorded: 0 to 1. Begun ones keep what was decided for them.

    The default is $VAGUS_TRACE_RATIO, or all. Raises ConfigError.
    """
    from vagus.errors import ConfigError

    if not (isinstance(ratio, (int, float)) and 0 <= ratio <= 1):
        raise ConfigError(f"the ratio of traces must be a number from 0 to 1, got {ratio!r}")
    TRACER.ratio = float(ratio)


try:
    trace_ratio(float(os.environ.get("VAGUS_TRACE_RATIO") or 1))
except ValueError:  # no number, or none from 0 to 1: everything is recorded
    TRACER.fail(ValueError("VAGUS_TRACE_RATIO is not a number from 0 to 1"))
