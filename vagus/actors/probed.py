"""What probes found, as samples, events and reports, until the collector takes them."""

from __future__ import annotations

import time
from collections import Counter
from typing import TypeVar

from vagus.model import Event, Field, Level, Metric, Report, Sample, Status, Stream
from vagus.probes.clique import Probe, Regenerated
from vagus.probes.latency import Latency
from vagus.probes.messages import Received

LATENCY_FIELDS = (
    Field("rtt_min_s", unit="s"),
    Field("rtt_median_s", unit="s"),
    Field("jitter_s", unit="s"),
    Field("lost_ratio", unit="ratio"),
)
BANDWIDTH_FIELDS = (Field("bytes_s", unit="bytes/s"), Field("duration_s", unit="s"), Field("bytes", dtype="u8"))
REPORT_S = 30.0  # an unchanged verdict is repeated: reports are forgotten after a while
FAILURES = 2  # in a row, before it is said of a node that it cannot be reached: one may be chance
MAX_WAITING = 10_000

T = TypeVar("T")
Fields = dict[str, str | int | float | bool]


class Probed:
    """One node's findings. Bounded: what nobody takes is dropped and counted."""

    def __init__(self, node: str) -> None:
        self.counts: Counter[str] = Counter()
        self._node = node
        self._samples: list[Sample] = []
        self._events: list[Event] = []
        self._reports: list[Report] = []
        self._streams: dict[tuple[str, str, str], Stream] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._reported: dict[str, tuple[Status, float]] = {}

    def take(self) -> tuple[list[Sample], list[Event], list[Report]]:
        """Everything since the last call."""
        taken = self._samples, self._events, self._reports
        self._samples, self._events, self._reports = [], [], []
        return taken

    def latency(self, probe: Probe, found: Latency) -> bool:
        """A series of echoes ended; True when there was any answer."""
        self._sample(probe, LATENCY_FIELDS, tuple(found))
        ok = found.lost_ratio < 1.0
        self._outcome(probe, "" if ok else "none of the echoes was answered")
        failed = self._failures[probe.kind, probe.node]
        if ok or failed >= FAILURES:
            self._report(probe.node, Status.HEALTHY if ok else Status.UNHEALTHY, found.lost_ratio)
        return ok

    def bandwidth(self, probe: Probe, found: Received) -> bool:
        """A transfer ended; True when enough came to tell the rate."""
        ok = found.bytes_s > 0
        if ok:
            self._sample(probe, BANDWIDTH_FIELDS, (found.bytes_s, found.duration_s, found.bytes))
        self._outcome(probe, "" if ok else f"only {found.bytes} bytes came in {found.duration_s:.3f} s")
        return ok

    def failed(self, probe: Probe, error: str) -> None:
        """A probe could not be made."""
        self._outcome(probe, error)

    def regenerated(self, found: Regenerated) -> None:
        """A token was lost, and this node made a new one."""
        fields: Fields = {"clique": found.clique, "epoch": found.epoch, "silent_s": round(found.silent_s, 3)}
        self._event("probe.token_regenerated", Level.WARNING, fields)

    def forget(self, nodes: set[str]) -> None:
        """Only these nodes are probed any longer."""
        self._streams = {key: s for key, s in self._streams.items() if key[1] in nodes}
        self._failures = Counter({key: n for key, n in self._failures.items() if key[1] in nodes})
        self._reported = {node: known for node, known in self._reported.items() if node in nodes}

    def _outcome(self, probe: Probe, error: str) -> None:
        """Counts it; an event when that changes."""
        key = (probe.kind, probe.node)
        before = self._failures[key]
        fields: Fields = {"kind": probe.kind, "dst": probe.node, "clique": probe.clique}
        self.counts["failed" if error else probe.kind] += 1
        if error:
            self._failures[key] += 1
            if not before:
                self._event("probe.failed", Level.WARNING, {**fields, "error": error[:500]})
        elif before:
            del self._failures[key]
            self._event("probe.recovered", Level.INFO, {**fields, "failures": before})

    def _report(self, node: str, status: Status, lost_ratio: float) -> None:
        now_s = time.monotonic()
        known, told_s = self._reported.get(node, (Status.NA, 0.0))
        if known is status and now_s - told_s < REPORT_S:
            return
        self._reported[node] = (status, now_s)
        contexts = {"reach": Metric(status, lost_ratio)}
        self._keep(self._reports, Report(f"probe@{self._node}", f"node:{node}", time.time_ns(), contexts))

    def _sample(self, probe: Probe, fields: tuple[Field, ...], values: tuple[float | int, ...]) -> None:
        key = (probe.kind, probe.node, probe.clique)
        stream = self._streams.get(key)
        if stream is None:
            labels = {"src": self._node, "dst": probe.node, "clique": probe.clique}
            stream = self._streams[key] = Stream(self._node, f"probe.{probe.kind}", fields, labels)
        self._keep(self._samples, Sample(stream, time.time_ns(), values))

    def _event(self, event: str, level: Level, fields: Fields) -> None:
        self._keep(self._events, Event(time.time_ns(), event, self._node, level, f"probe@{self._node}", fields))

    def _keep(self, kept: list[T], item: T) -> None:
        if len(kept) < MAX_WAITING:
            kept.append(item)
        else:
            self.counts["dropped"] += 1
