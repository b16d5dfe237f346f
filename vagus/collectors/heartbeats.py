"""Services: whether each is there, looked at every so often by threads that may hang while the collector does not."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from vagus.clock import NS
from vagus.collectors.heartbeat_check import Check, parse_check
from vagus.config import CollectSettings, HeartbeatSettings, seconds
from vagus.model import Event, Field, Level, Sample, Stream

MAX_THREADS = 16  # looks under way; what is due beyond waits for the next tick
GRACE_S = 0.5  # beyond its time-out a look hangs: in name resolution, on a dead mount
MAX_REASON = 300

FIELDS = (
    Field("up", dtype="u4"),
    Field("rtt_s", unit="s"),  # of the look; NaN when down
    Field("age_s", unit="s"),  # since it was last known to be up; NaN: never so far
    Field("failures", dtype="u8", counter=True),
)


class _Look:
    """One look at a service, in a thread of its own, which nobody waits for."""

    def __init__(self, check: Check, t_ns: int) -> None:
        self.began_ns = t_ns
        self.reason: str | None = None  # not yet known; empty: up
        self.rtt_s = math.nan
        self._check = check
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        begin = time.monotonic()
        try:
            reason = self._check()
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else ""
            reason = told or str(error) or type(error).__name__
        self.rtt_s = time.monotonic() - begin
        self.reason = reason[:MAX_REASON]


class _Service:
    """What is known of one service."""

    def __init__(self, node: str, settings: HeartbeatSettings, check: Check) -> None:
        self.stream = Stream(node, "service.heartbeat", FIELDS, {"service": settings.service})
        self.check = check
        self.every_ns = max(1, round(seconds(settings.every) * NS))
        self.patience_ns = round((seconds(settings.timeout) + GRACE_S) * NS)
        self.due_ns = 0
        self.look: _Look | None = None
        self.said = False  # the look that hangs was already counted
        self.up: bool | None = None
        self.up_ns = 0
        self.failures = 0


class HeartbeatsCollector:
    """Kind `service.heartbeat{service=}` after each look, and events `service.up`, `service.down` (with the reason)
    when that changes, `service.down` also when the first look fails. Raises ConfigError when made: a malformed check.
    """

    name = "heartbeat"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._node = node
        self._services = [_Service(node, one, parse_check(one, root)) for one in settings.heartbeats]

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """What the looks that have ended found, and begins those that are due. Never waits."""
        under_way = 0
        for service in self._services:
            if service.look is not None:
                yield from self._hear(service, service.look, t_ns)
            under_way += service.look is not None
        for service in self._services:
            due = not 0 < service.due_ns - t_ns <= service.every_ns
            if due and service.look is None and under_way < MAX_THREADS:
                service.due_ns = (t_ns // service.every_ns + 1) * service.every_ns
                service.look, service.said = _Look(service.check, t_ns), False
                under_way += 1

    def _hear(self, service: _Service, look: _Look, t_ns: int) -> Iterator[Sample | Event]:
        reason = look.reason
        if reason is None:
            if service.said or 0 <= t_ns - look.began_ns < service.patience_ns:
                return
            service.said = True
            waited_s = (t_ns - look.began_ns) / NS
            yield from self._judge(service, f"no answer for {waited_s:.1f} s, and it still hangs", math.nan, t_ns)
            return
        service.look = None
        if not service.said:  # else it came too late, and was judged already
            yield from self._judge(service, reason, look.rtt_s, t_ns)

    def _judge(self, service: _Service, reason: str, rtt_s: float, t_ns: int) -> Iterator[Sample | Event]:
        up = not reason
        if up:
            service.up_ns = t_ns
        else:
            service.failures += 1
        age_s = max(0, t_ns - service.up_ns) / NS if service.up_ns else math.nan
        yield Sample(service.stream, t_ns, (int(up), rtt_s if up else math.nan, age_s, service.failures))
        if up != service.up and not (up and service.up is None):
            name = service.stream.labels["service"]
            if up:
                yield Event(t_ns, "service.up", self._node, Level.INFO, name, {"service": name, "rtt_s": rtt_s})
            else:
                yield Event(t_ns, "service.down", self._node, Level.ERROR, name, {"service": name, "reason": reason})
        service.up = up

    def close(self) -> None:
        """Nothing is open: looks under way end by themselves. Idempotent."""
