"""The file of an alert: a line for each notice, as JSON or text."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import msgspec

from vagus.clock import NS
from vagus.feeds.contracts import Notice
from vagus.feeds.location import printable
from vagus.feeds.tools.files import append

MAX_WAITING = 10_000


class AlertFile:
    """Adds lines to a file; those that could not be written wait for the next time, the newest MAX_WAITING of them."""

    def __init__(self, path: Path, style: Literal["json", "text"]) -> None:
        self._path = path
        self._line = _json if style == "json" else _text
        self._waiting: list[bytes] = []

    def write(self, notices: list[Notice]) -> None:
        """Raises OSError."""
        self._waiting += map(self._line, notices)
        del self._waiting[:-MAX_WAITING]
        if self._waiting:
            append(self._path, b"".join(self._waiting))
            self._waiting.clear()


def shown_notice(notice: Notice) -> dict[str, object]:
    """What is told of a notice outside: times in ns, the status by its name."""
    return {
        "t_ns": notice.t_ns,
        "feed": notice.feed,
        "subject": notice.subject,
        "rule": notice.rule,
        "status": notice.status.name,
        "since_ns": notice.since_ns,
        "again": notice.again,
        "value": notice.value,
        "text": notice.text,
    }


def _json(notice: Notice) -> bytes:
    return msgspec.json.encode(shown_notice(notice)) + b"\n"


def _text(notice: Notice) -> bytes:
    time = datetime.fromtimestamp(notice.t_ns // NS, timezone.utc).isoformat().replace("+00:00", "Z")
    line = printable(f"{time} {notice.status.name} {notice.feed}: {notice.text}")  # a rule may be of several lines
    return f"{line}\n".encode("utf-8", "replace")
