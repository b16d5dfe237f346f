"""What a program knows of others, or of itself, said outright: queued, or acknowledged.

vagus.inform("db@2", "replication", "UNHEALTHY", lag_s)
vagus.inform_self("queue", "MAYBE_UNHEALTHY", depth)
ack = vagus.inform_acked("db@2", "replication", "UNHEALTHY", lag_s)    # waits; ACCEPTED is committed
"""

from __future__ import annotations

import os
import threading
import time
from time import perf_counter
from typing import TYPE_CHECKING

from vagus.client import endpoint
from vagus.client.reporter import REPORTER, Reporter
from vagus.client.track import default_observer
from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import MAX_T_NS, Ack, Metric, Report, Status

if TYPE_CHECKING:
    from vagus.client.connection import Connection
    from vagus.client.submit import Submitter

TIMEOUT_S = 5.0
MAX_HANDLES = 16
MAX_IDLE = 4


def inform(
    subject: str,
    context: str,
    status: Status | str,
    score: float = 0.0,
    *,
    observer: str | None = None,
    ttl_s: float = 0.0,
    reporter: Reporter = REPORTER,
) -> None:
    """Queues that `context` of `subject` has this status: a Status, its name or letter. Costs microseconds, never raises.

    HEALTHY is rate-limited as in `observe`: the first passes, repeats are averaged and sent at most every 20 s. ttl_s:
    for how long it counts, 0: as long as the node's observer says. A status that is none is counted as failed.
    """
    try:
        given = status if isinstance(status, Status) else Status.parse(status)
        number = Metric(given, float(score)).score
        ttl_ns = round(seconds(ttl_s) * 1e9)
        if ttl_ns >= MAX_T_NS:
            raise ConfigError(f"ttl_s={ttl_s} is more than {MAX_T_NS // NS} seconds")
        track = reporter.track(subject, context, observer)
        track.ttl_ns = ttl_ns
        if given == Status.HEALTHY:
            now = perf_counter()
            track.count += 1
            track.total_s += number / 1e3
            if now >= track.due:
                reporter.healthy(track, now)
            elif not reporter.running:
                reporter.start()
        else:
            if given > Status.HEALTHY:
                track.forget(track.count)
            reporter.put(track, given, number)
    except Exception as error:
        reporter.fail(error)


def inform_self(
    context: str,
    status: Status | str,
    score: float = 0.0,
    *,
    name: str | None = None,
    ttl_s: float = 0.0,
    reporter: Reporter = REPORTER,
) -> None:
    """As `inform`, of this program by itself; name: what the others call it, by default `program:pid@host`."""
    inform(name or default_observer(), context, status, score, observer=name, ttl_s=ttl_s, reporter=reporter)


def inform_acked(
    subject: str,
    context: str,
    status: Status | str,
    score: float = 0.0,
    *,
    observer: str | None = None,
    handle: int = 0,
    ttl_s: float = 0.0,
) -> Ack:
    """Reports and waits for the answer: ACCEPTED is committed, IGNORED not of interest there, FAILED refused.

    handle: as `vagus.register` gave it; the observer must be its own. Over the unix socket of this machine's observer,
    else the gateway. No rate limit. Raises ConfigError, PeerUnreachable.
    """
    given = status if isinstance(status, Status) else Status.parse(status)
    contexts = {context: Metric(given, float(score))}
    ttl_ns, doubt = round(seconds(ttl_s) * 1e9), REPORTER.lateness.doubt
    report = Report(observer or default_observer(), subject, time.time_ns(), contexts, ttl_ns=ttl_ns, doubt=doubt)
    return _WAYS.submit(report, handle)


def register(module: str, observer: str) -> int:
    """The handle of a module's observer at the node: the same pair has the same one, also after restarts of both.

    Raises ConfigError, PeerUnreachable.
    """
    return _WAYS.gateway().register(module, observer)


def unregister(handle: int) -> bool:
    """Gives a handle back; whether it was one. Raises PeerUnreachable."""
    return _WAYS.gateway().unregister(handle)


class _Ways:
    """The connections that are kept for acknowledged reports: to the observer's socket, one for each handle; else to
    the gateway."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """As new; a forked child leaves the parent's connections alone."""
        self._lock = threading.Lock()
        self._idle: dict[int, list[Submitter]] = {}
        self._connection: Connection | None = None

    def submit(self, report: Report, handle: int) -> Ack:
        """One report, one answer. Raises ConfigError, PeerUnreachable."""
        found = endpoint.find()
        line = self._take(handle) if found.home is not None else None
        if line is not None:
            try:
                return self._on(line, report, handle)
            except PeerUnreachable:
                pass  # the observer was another when this was made; a report that comes twice does no harm
        if found.home is not None:
            try:
                return self._on(self._connect(found, handle), report, handle)
            except PeerUnreachable:
                pass  # an older node, or an observer that restarts: the gateway knows
        return self.gateway(found).submit([report], handle)[0]

    def _take(self, handle: int) -> Submitter | None:
        with self._lock:
            idle = self._idle.get(handle)
            return idle.pop() if idle else None

    def _connect(self, found: endpoint.Endpoint, handle: int) -> Submitter:
        from vagus.client.submit import Submitter

        return Submitter.connect(found.home, found.node, handle=handle, timeout_s=TIMEOUT_S)

    def _on(self, line: Submitter, report: Report, handle: int) -> Ack:
        try:
            ack = line.submit([report])[0]
        except BaseException:
            line.close()  # also when interrupted half-way: what would be read next is another's answer
            raise
        with self._lock:
            if len(self._idle) < MAX_HANDLES or handle in self._idle:
                idle = self._idle.setdefault(handle, [])
                if len(idle) < MAX_IDLE:
                    idle.append(line)
                    return ack
        line.close()
        return ack

    def gateway(self, found: endpoint.Endpoint | None = None) -> Connection:
        """The connection to the gateway, made once for each address. Raises PeerUnreachable, ConfigError."""
        from vagus.client.connection import Connection

        found = found or endpoint.find()
        with self._lock:
            if self._connection is None or self._connection.url != found.url:
                self._connection = Connection(found.url, found.token, timeout_s=TIMEOUT_S)
            return self._connection


_WAYS = _Ways()
os.register_at_fork(after_in_child=_WAYS._forget)
