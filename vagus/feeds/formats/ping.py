"""What `ping -c N HOST` prints: iputils, busybox and BSD; a host that answers nothing, or is not known, is a value too.

ping ends with 1 where nothing answers: `options: {source: {proc: {good_exits: [0, 1]}}}` makes that an item with a value.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vagus.errors import NoData
from vagus.feeds.formats.faults import Faults, whole
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.structs import shape_of
from vagus.feeds.item import Data, Descriptor

MAX_LINES = 100_000
MAX_LINE_BYTES = 1000

_N = r"([0-9]{1,18})"
_MS = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)"
_HEAD = re.compile(
    rf"PING (\S+?) ?\(([^()\s]+)\):?(?: from \S+(?: \S+)?:)? {_N}(?:\([0-9]+\))? (?:data )?bytes(?: of data\.?)?\Z"
)
_REPLY = re.compile(
    rf"(?:\[[0-9.]+\] )?{_N} bytes from (\S+?)(?: \((\S+)\))?: (?:icmp_)?seq={_N}(?: (?:ttl|hlim)={_N})?(?: time[=<]{_MS} ms)?"
    r"( \(DUP!\))?(?: \((?:truncated|BAD CHECKSUM!?)\))?\Z"
)
_TROUBLE = re.compile(
    rf"(?:\[[0-9.]+\] )?(?:From (\S+?)(?: \(\S+\))?:? icmp_seq={_N} (.+)|no answer yet for icmp_seq={_N})\Z"
)
_COUNTS = re.compile(
    rf"{_N} packets transmitted, {_N} (?:packets )?received(?:, \+{_N} duplicates)?(?:, \+{_N} corrupted)?(?:, \+{_N} errors)?(?:, \+{_N} duplicates)?"
    rf", {_MS}% packet loss(?:, time {_N}ms)?\Z"
)
_RTT = re.compile(
    rf"(?:rtt|round-trip) min/avg/max(?:/(?:mdev|stddev|std-dev))? = {_MS}/{_MS}/{_MS}(?:/{_MS})? ms(?:,? .*)?\Z"
)
_PIPE = re.compile(r"(?:, )?pipe [0-9]{1,9}\Z")
_FAILED = re.compile(r"(?:\S*/)?ping[46]?: (?:bad address '(\S+)'|(?:cannot resolve )?(\S+?): (.+)|(.+))\Z")


class Reply(msgspec.Struct, frozen=True):
    """One answer. ttl, time_ms: None where ping does not say (packets too small for a time)."""

    seq: int
    size_bytes: int
    ttl: int | None
    time_ms: float | None
    duplicate: bool = False


class Ping(msgspec.Struct, frozen=True):
    """What ping found. sent and received: None, with loss_ratio, when it did not come to that.

    errors: answers of others that the host cannot be reached; trouble: what they said, or why ping gave up, such as
    `Name or service not known`. rtt_*_ms: None without a timed answer; mdev: None where this ping does not tell.
    """

    host: str
    address: str | None
    size_bytes: int | None
    sent: int | None
    received: int | None
    loss_ratio: float | None
    duplicates: int
    errors: int
    rtt_min_ms: float | None
    rtt_avg_ms: float | None
    rtt_max_ms: float | None
    rtt_mdev_ms: float | None
    time_ms: int | None
    replies: list[Reply]
    trouble: str = ""


class PingOutput:
    """A body as a `Ping`; a line that ping does not print is told below the index of its line, and left out."""

    name = "ping"
    shape = shape_of(Ping)

    def parse(self, body: bytes) -> tuple[Ping | None, Descriptor]:
        """None when there is neither ping's first line, nor its counts, nor its words for a failure."""
        found = _Found()
        faults = Faults()
        start = 0
        for number, line in enumerate(body.split(b"\n")):
            end = start + len(line)
            text = line[:MAX_LINE_BYTES].decode("utf-8", errors="replace").strip()
            if number >= MAX_LINES:
                faults.wrong(f"more than {MAX_LINES} lines", Data.SEMANTIC)
                break
            if text and not found.line(text):
                faults.broken(number, f"no line of ping: {text[:60]!r}", start, end)
            start = end + 1
        if not found.host and found.counts is None:
            return None, whole(body, "no output of ping")
        for wrong, code in found.wrong():
            faults.wrong(wrong, code)
        return found.ping(), faults.descriptor(0, len(body))

    def print(self, value: Ping) -> bytes:
        """As iputils prints it. Raises NoData for what it could not say."""
        try:
            return inverse(self, value, "".join(f"{line}\n" for line in _printed(value)).encode())
        except (AttributeError, TypeError, ValueError) as error:
            raise NoData(f"format ping prints values of Ping: {error}") from error


class _Found:
    """What the lines said so far."""

    def __init__(self) -> None:
        self.host = ""
        self.address: str | None = None
        self.size: int | None = None
        self.replies: list[Reply] = []
        self.trouble = ""
        self.errors = 0
        self.counts: re.Match[str] | None = None
        self.rtt: re.Match[str] | None = None
        self.failed = False

    def line(self, text: str) -> bool:
        """False for a line that is none of ping's."""
        if found := _REPLY.match(text):
            seq, ttl, time_ms = int(found[4]), found[5], found[6]
            duplicate = bool(found[7])
            self.replies.append(
                Reply(seq, int(found[1]), int(ttl) if ttl else None, float(time_ms) if time_ms else None, duplicate)
            )
        elif found := _HEAD.match(text):
            self.host, self.address, self.size = found[1], found[2], int(found[3])
        elif found := _TROUBLE.match(text):
            self.errors += bool(found[1])
            self.trouble = self.trouble or found[3] or ""
        elif found := _COUNTS.match(text):
            self.counts = found
        elif found := _RTT.match(text):
            self.rtt = found
        elif _PIPE.match(text):
            pass  # how many packets were on their way at once
        elif text.startswith("--- ") and text.endswith(" ping statistics ---"):
            self.host = self.host or text.removeprefix("--- ").removesuffix(" ping statistics ---")
        elif found := _FAILED.match(text):
            if ": warning: " not in text.lower():
                self.failed = True
                self.host = self.host or found[1] or found[2] or ""
                self.trouble = self.trouble or found[3] or found[4] or "bad address"
        else:
            return False
        return True

    def wrong(self) -> list[tuple[str, Data]]:
        """What is missing or cannot be."""
        if self.counts is None:
            return [] if self.failed else [("the counts at the end are missing", Data.SYNTAX)]
        sent, received, loss = int(self.counts[1]), int(self.counts[2]), float(self.counts[7])
        told: list[tuple[str, Data]] = []
        if not self.host:
            told.append(("the first line is missing", Data.SYNTAX))
        if received > sent:
            told.append((f"{received} of {sent} packets were received", Data.SEMANTIC))
        elif sent and abs(loss - 100 * (1 - received / sent)) > 1:
            told.append((f"{received} of {sent} packets are no loss of {loss:g} %", Data.SEMANTIC))
        if received and self.rtt is None and any(reply.time_ms is not None for reply in self.replies):
            told.append(("the times at the end are missing", Data.SYNTAX))
        return told

    def ping(self) -> Ping:
        counts, rtt = self.counts, self.rtt
        sent, received = (int(counts[1]), int(counts[2])) if counts else (None, None)
        loss = max(0.0, 1 - (received or 0) / sent) if sent else None
        least, mean, most, deviation = (
            float(part) if part else None for part in (rtt.groups() if rtt else (None,) * 4)
        )
        return Ping(
            self.host,
            self.address,
            self.size,
            sent,
            received,
            loss,
            int(counts[3] or counts[6] or 0) if counts else 0,
            int(counts[5] or 0) if counts else self.errors,
            least,
            mean,
            most,
            deviation,
            int(counts[8]) if counts and counts[8] else None,
            self.replies,
            self.trouble,
        )


def _printed(value: Ping) -> list[str]:
    if value.address is None and value.sent is None:
        return [f"ping: {value.host}: {value.trouble}"]
    size = value.size_bytes
    lines = [f"PING {value.host} ({value.address}) {size}({(size or 0) + 28}) bytes of data."]
    for reply in value.replies:
        ttl = "" if reply.ttl is None else f" ttl={reply.ttl}"
        time_ms = "" if reply.time_ms is None else f" time={_ms(reply.time_ms)} ms"
        again = " (DUP!)" if reply.duplicate else ""
        lines.append(f"{reply.size_bytes} bytes from {value.address}: icmp_seq={reply.seq}{ttl}{time_ms}{again}")
    if value.trouble:
        lines.append(f"From {value.address} icmp_seq=1 {value.trouble}")
    if value.sent is not None:
        lines += ["", f"--- {value.host} ping statistics ---", _counted(value)]
    if value.rtt_min_ms is not None:
        times: list[Any] = [value.rtt_min_ms, value.rtt_avg_ms, value.rtt_max_ms]
        names = "min/avg/max"
        if value.rtt_mdev_ms is not None:
            times, names = [*times, value.rtt_mdev_ms], f"{names}/mdev"
        lines.append(f"rtt {names} = {'/'.join(map(_ms, times))} ms")
    return lines


def _counted(value: Ping) -> str:
    duplicates = f", +{value.duplicates} duplicates" if value.duplicates else ""
    errors = f", +{value.errors} errors" if value.errors else ""
    time_ms = "" if value.time_ms is None else f", time {value.time_ms}ms"
    loss = int(100 * (value.loss_ratio or 0))
    return (
        f"{value.sent} packets transmitted, {value.received} received{duplicates}{errors}, {loss}% packet loss{time_ms}"
    )


def _ms(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
