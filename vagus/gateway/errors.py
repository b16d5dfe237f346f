"""Every exception as a refusal (see `problem`), and refusals as aiohttp's answers."""

from __future__ import annotations

import asyncio
import re

import msgspec
from aiohttp import web

from vagus.errors import ConfigError, NoData, PeerUnreachable, PolicyError, Refused, StoreError, Unsupported, VagusError
from vagus.gateway.problem import INTERNAL, ErrorAnswer, ErrorDetail, Problem

__all__ = ["INTERNAL", "ErrorAnswer", "ErrorDetail", "Problem", "invalid_input", "problem_of", "response_of"]

_MAPPED: tuple[tuple[type[BaseException], int, str, str], ...] = (
    (ConfigError, 422, "invalid", ""),
    (NoData, 404, "no_data", ""),
    (PeerUnreachable, 503, "unreachable", "try again, or see GET /v1/status"),
    (Refused, 403, "refused", "ask whoever keeps vagus.yaml for a rule under `access`"),
    (PolicyError, 503, "policy", "hold the last safe action and try again"),
    (StoreError, 503, "store", "see GET /v1/status and the free space of the disk"),
    (Unsupported, 501, "unsupported", ""),
    (VagusError, 500, "failed", ""),
    (asyncio.TimeoutError, 504, "timeout", "the node is overloaded or hangs; see GET /v1/status"),
    (web.HTTPRequestEntityTooLarge, 413, "too_large", "send smaller batches"),
    (web.RequestPayloadError, 400, "malformed", ""),
)


_TOO_LONG = re.compile(r"Expected `str` of length <= (\d+)")


def problem_of(error: BaseException) -> Problem | None:
    """The refusal that stands for an exception; None for an unexpected one, which is a defect of ours."""
    if isinstance(error, Problem):
        return error
    for kind, status, code, hint in _MAPPED:
        if isinstance(error, kind):
            return Problem(status, code, str(error) or kind.__name__, "", hint)
    if isinstance(error, web.HTTPException):
        return Problem(error.status, "http", error.reason or "refused")
    return None


def invalid_input(error: Exception, where: str) -> Problem:
    """A refusal from a decoding error of msgspec or msgpack; `where` is `body` or `query`."""
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        message, _, path = text.replace(" - at `key` in `$", " as a key - at `$").partition(" - at `$")
        message = _TOO_LONG.sub(r"must have at most \1 characters", message)
        return Problem(
            422, "invalid", message, where + path.rstrip("`"), "GET /openapi.json describes what is expected"
        )
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    return Problem(400, "malformed", f"cannot be decoded: {text}", where)


def response_of(problem: Problem) -> web.Response:
    """The refusal as an HTTP answer."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Server": "vagus", **problem.headers}
    return web.Response(status=problem.status, body=problem.body, headers=headers)
