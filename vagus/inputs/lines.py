"""NetLogger's lines as they come: from a stream in pieces, from datagrams whole; each line an event.

DATE=20020329210355.443568 HOST=10.1.1.10 PROG=nliperf NL.EVNT=SlowStart ID=2746 VAL=2
ts=2006-12-08T18:48:27.598448Z event=transfer.end level=Info guid=8A5F prog=copy host=a status=0
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import Event
from vagus.netlogger import MAX_LINE_BYTES, read_cedps, read_pairs, read_ulm

MAX_ACTIONS = 10_000


def read_line(line: bytes) -> Event:
    """A line without its end: CEDPS when it has `ts=`, else ULM. Bytes that are no UTF-8 become replacement characters.

    Raises ConfigError: too long, malformed, a required name is missing, the time is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ConfigError(f"the line has {len(line)} bytes; at most {MAX_LINE_BYTES} are read")
    pairs = read_pairs(line.decode("utf-8", "replace"))
    return read_cedps(pairs) if "ts" in pairs and "DATE" not in pairs else read_ulm(pairs)


class Splitter:
    """Bytes of a stream into lines without their ends (LF or CRLF); empty ones are left out.

    `oversize` counts lines longer than `most`, which are skipped to their end.
    """

    def __init__(self, most: int = MAX_LINE_BYTES) -> None:
        self.oversize = 0
        self._most = most
        self._begun = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *whole, rest = data.split(b"\n")
        lines = []
        for line in whole:
            if self._skipping:
                self._skipping = False
                continue
            if self._begun:
                line, self._begun = self._begun + line, b""
            line = line.removesuffix(b"\r")
            if len(line) > self._most:
                self.oversize += 1
            elif line:
                lines.append(line)
        if not self._skipping:
            self._begun += rest
            if len(self._begun) > self._most + 1:  # one more: the CR of a line that is as long as allowed
                self.oversize += 1
                self._begun, self._skipping = b"", True
        return lines

    def end(self) -> list[bytes]:
        """The last line, when the stream ended without one."""
        line, self._begun = self._begun.removesuffix(b"\r"), b""
        if len(line) > self._most:
            self.oversize += 1
            return []
        return [line] if line and not self._skipping else []


class Actions:
    """Adds `duration_s` to the `.end` of an action whose `.start` came with the same guid, among the last 10,000."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], int] = OrderedDict()

    def complete(self, event: Event) -> Event:
        """The event, with the duration where it is known and not given."""
        name, _, part = event.event.rpartition(".")
        if part not in ("start", "end"):
            return event
        guid = event.fields.get("guid")
        if not isinstance(guid, str):
            return event
        if part == "start":
            if len(self._open) >= MAX_ACTIONS:
                self._open.popitem(last=False)
            self._open[name, guid] = event.t_ns
            return event
        began_ns = self._open.pop((name, guid), None)
        if began_ns is None or "duration_s" in event.fields:
            return event
        fields = {**event.fields, "duration_s": (event.t_ns - began_ns) / NS}
        return msgspec.structs.replace(event, fields=fields)


def read_at(line: bytes, node: str, actions: Actions) -> Event:
    """A line as an event of the node that takes it: the sender's own name becomes the field `host`.

    Raises ConfigError.
    """
    event = actions.complete(read_line(line))
    fields = {"host": event.node, **event.fields} if event.node else event.fields
    return msgspec.structs.replace(event, node=node, fields=fields)
