"""Errors in the words of the command line: what a gateway says to programs, with the command that comes next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vagus.client.answers import Refusal
    from vagus.errors import VagusError

_NEXT = {
    "path.subject": "`vagus health` lists subjects; `vagus report SUBJECT ctx:status` adds one",
    "body.decision_id": "ids come from `vagus decide` and are kept for a while only",
    "header Authorization": "give the right one with --token, or leave out --token and --url to ask this machine's own",
    "query": "",
}
_COMMANDS = {
    "GET /v1/status": "`vagus status`",
    "GET /v1/health": "`vagus health`",
    "GET /v1/sensors": "`vagus sensors`",
}
_HTTP = re.compile(r"(GET|POST) /|[Hh]eader|Content-Type|Authorization|parameters:")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_EMPTY = re.compile(r"Expected `(?:str|array)` of length >= 1")
_NAMES = {"arms": "an arm", "selector": "a selector", "subject": "the subject", "observer": "--observer"}


def words(error: VagusError) -> str:
    """The error as a sentence for a terminal: without places in an HTTP request, with the next step here."""
    from vagus.client.answers import Refusal

    refusal = error.__cause__
    if not isinstance(refusal, Refusal):
        return str(error)
    message, hint = _message(refusal), _hint(refusal)
    return f"{message}; {hint}" if hint else message


def _message(refusal: Refusal) -> str:
    message, where = refusal.message, refusal.where
    if missing := _MISSING.match(message):
        example = ", such as host.cpu" if missing[1] == "selector" else ""
        return f"{_NAMES.get(missing[1], missing[1])} is missing{example}"
    field = where.partition(".")[2]
    name = _NAMES.get(re.split(r"[.\[]", field)[0], field)
    if _EMPTY.match(message):
        return f"{name} must not be empty"
    if name and message.startswith("must "):
        return f"{name} {message}"
    return f"{name}: {message}" if name and message.startswith("Expected ") else message


def _hint(refusal: Refusal) -> str:
    if refusal.message.startswith("there is no /v1/"):
        return "health alone is served there, or an older vagus: `vagus up` serves the rest"
    if refusal.where in _NEXT:
        return _NEXT[refusal.where] if refusal.code != "too_large" else refusal.hint
    hint = refusal.hint
    for request, command in _COMMANDS.items():
        hint = hint.replace(request, command)
    return "" if _HTTP.search(hint) else hint
