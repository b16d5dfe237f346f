"""A server's part of tracing with aiohttp: each request is a span, within the trace that its headers name.

app = aiohttp.web.Application(middlewares=[vagus.trace_middleware(service="cart")])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from vagus.client.span import span
from vagus.client.trace_context import of_headers
from vagus.client.tracer import TRACER, Tracer

Handler = Callable[[Any], Awaitable[Any]]


def trace_middleware(service: str = "", component: str = "", *, tracer: Tracer = TRACER) -> Any:
    """A middleware for aiohttp's applications.

    The span is called METHOD and the route's path, so that ids in paths make no names without end; answers of 500 and
    more are errors.
    """

    async def traced(request: Any, handler: Handler) -> Any:
        resource = getattr(getattr(request, "match_info", None), "route", None)
        path = getattr(getattr(resource, "resource", None), "canonical", "") or "?"
        parent = of_headers(request.headers)
        name = f"{request.method} {path}"
        with span(name, service=service, component=component, kind="server", parent=parent, tracer=tracer) as made:
            try:
                response = await handler(request)
            except Exception as error:
                status = getattr(error, "status", None)  # aiohttp's answers may be raised
                if isinstance(status, int) and status < 500:
                    made.note(**{"http.status_code": status})
                    made.end()
                raise
            made.note(**{"http.status_code": response.status})
            if response.status >= 500:
                made.fail()
            return response

    traced.__middleware_version__ = 1  # type: ignore[attr-defined]  # what aiohttp.web.middleware sets
    return traced
