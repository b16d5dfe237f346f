"""A refused request, and the one JSON shape of every error; without aiohttp, for processes that answer decisions alone.

`{"error": {"code", "message", "where", "hint"}}`: code for programs, message says what was wrong, where names the
header, parameter or position in the body, hint says what to do. No traceback ever leaves the process.
"""

from __future__ import annotations

import re

import msgspec

MAX_MESSAGE = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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

    @property
    def body(self) -> bytes:
        """The answer's; text is cut and made printable, since it may quote what came in."""
        detail = self.detail
        shown = ErrorDetail(detail.code, *map(_printable, (detail.message, detail.where, detail.hint)))
        return msgspec.json.encode(ErrorAnswer(shown))


INTERNAL = Problem(500, "internal", "the gateway failed on this request", "", "the log of the node says why")


def unknown_decision(decision_id: str) -> Problem:
    """The refusal of an outcome that nobody waits for."""
    message = f"no decision {decision_id[:80]!r} is waiting for an outcome"
    hint = "ids come from POST /v1/decide and are kept for a while only"
    return Problem(404, "no_data", message, "body.decision_id", hint)


def _printable(text: str) -> str:
    return _CONTROL.sub(" ", text[:MAX_MESSAGE]).encode("utf-8", "replace").decode()
