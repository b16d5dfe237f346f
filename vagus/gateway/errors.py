"""One JSON shape for every error of the gateway, whoever raised it.

`{"error": {"code", "message", "where", "hint"}}`: code for programs, message says what was wrong, where names the
header, parameter or position in the body, hint says what to do. No traceback ever leaves the process.
"""

from __future__ import annotations

import asyncio
import re

import msgspec
from aiohttp import web

from vagus.errors import ConfigError, NoData, PeerUnreachable, PolicyError, Refused, StoreError, Unsupported, VagusError

MAX_MESSAGE = 1000


class ErrorDetail(msgspec.Struct, frozen=True):
    """What was wrong, where, and what to do."""

    code: str
    message: str
    where: str = ""
    hint: str = ""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer with a status of 400 or more."""

    error: ErrorDetail


class Problem(Exception):
    """A request that is refused: HTTP status, code, and the sentence for the user."""

    def __init__(self, status: int, code: str, message: str, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(code, message, where, hint)
        self.headers: dict[str, str] = {}


INTERNAL = Problem(500, "internal", "the gateway failed on this request", "", "the log of the node says why")

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
    """The refusal as an HTTP answer; text is cut and made printable, since it may quote what came in."""
    detail = problem.detail
    answer = ErrorAnswer(ErrorDetail(detail.code, *map(_printable, (detail.message, detail.where, detail.hint))))
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Server": "vagus", **problem.headers}
    return web.Response(status=problem.status, body=msgspec.json.encode(answer), headers=headers)


def _printable(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text[:MAX_MESSAGE]).encode("utf-8", "replace").decode()
