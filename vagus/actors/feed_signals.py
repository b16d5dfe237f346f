"""What the feeds of a node say to the rest of it: samples to the collector, reports to the observer, events.

Nothing here blocks: what cannot be handed over now waits, up to MAX_PENDING of a kind; then the oldest give way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from vagus.actors.base import Links, Seat
from vagus.clock import NS
from vagus.errors import PeerUnreachable
from vagus.feeds.contracts import ANY_SHAPE, SOURCES, Notice, Shape
from vagus.feeds.directives import Emit, Fetch
from vagus.feeds.item import Fetched
from vagus.feeds.location import printable, scheme, shown
from vagus.feeds.signals import Kept, Signals
from vagus.model import MAX_NAME, Event, Level, Metric, Report, Sample, Scalar, Status

MAX_PENDING = 20_000  # samples, reports or events that wait for their actor
MAX_BATCH = 5_000
MAX_STANDING = 10_000  # alerts
MAX_FEEDS = 10_000  # named ones and bases; what foreach makes may have many names
MAX_CONTEXTS = 100  # of one report
MAX_TEXT = 1000
REPEAT_NS = 60 * NS  # how often a standing alert is reported again: a report counts for `health.ttl` only


class FeedSignals:
    """`emitted`, `fetched` and `notice` take what happens; `flush_…` hand it over. shapes: of the feeds by name."""

    def __init__(self, seat: Seat, links: Links, shapes: Mapping[str, Shape] | None = None) -> None:
        self.dropped = 0
        self.alerts = 0
        self.samples: deque[Sample] = deque()
        self.reports: deque[Report] = deque()
        self.events: deque[Event] = deque()
        self._seat = seat
        self._links = links
        self.shapes = shapes or {}
        self._signals: Kept[str, Signals] = Kept(MAX_FEEDS)
        self._errors: dict[tuple[str, str], int] = {}  # of what was parsed just now, by base and location
        self._standing: dict[tuple[str, str], dict[str, Metric]] = {}  # alerts by observer and subject
        self._repeated_ns = 0

    def of(self, feed: str) -> Signals:
        """The streams of one feed, or of a base inside of one."""
        signals = self._signals.use(feed)
        if signals is None:
            signals = Signals(feed, self._seat.node, self.shapes.get(feed, ANY_SHAPE))
            self._signals.keep(feed, signals)
        return signals

    # --- in ----------------------------------------------------------------------------------------------------------

    def emitted(self, emit: Emit) -> None:
        """An item of a named feed: its numbers are a sample."""
        if emit.raw is not None and emit.item.meta.errors:
            self._errors[emit.raw.meta.feed, emit.raw.meta.location] = emit.item.meta.errors
        sample = self.of(emit.feed).values(emit.item)
        if sample is not None:
            self.samples.append(sample)

    def fetched(self, fetch: Fetch, fetched: Fetched, duration_s: float, now_ns: int) -> None:
        """A fetch of a base has ended, and its items are out: a sample, and evidence of the location's health."""
        signals = self.of(fetch.feed)
        errors = self._errors.pop((fetch.feed, shown(fetch.location)), 0)
        self.samples.append(signals.fetch(fetch.location, fetched, duration_s, errors, now_ns))
        report = signals.report(fetch.location, fetched, now_ns)
        if report is not None:
            self.reports.append(self._whole(report))

    def notice(self, notice: Notice) -> None:
        """An alert began, goes on or ended: an event, and where it is meant to be, evidence on its subject."""
        standing = notice.status > Status.PENDING
        self.alerts += standing and not notice.again
        subject = self.subject(notice)
        if notice.event:
            fields: dict[str, Scalar] = {
                "feed": notice.feed,
                "tool": notice.tool,
                "subject": subject,
                "rule": _text(notice.rule),
                "status": notice.status.name,
                "text": _text(notice.text),
                "since_ns": notice.since_ns,
                "again": notice.again,
            }
            if notice.value is not None and math.isfinite(notice.value):
                fields["value"] = float(notice.value)
            level = Level.WARNING if standing else Level.INFO
            self.events.append(Event(notice.t_ns, "feed.alert", self._seat.node, level, self._seat.name, fields))
        if notice.report:
            self._report(notice, subject, standing)

    def _report(self, notice: Notice, subject: str, standing: bool) -> None:
        key = self.of(notice.feed).observer, subject
        rule = _text(notice.rule)[:MAX_NAME] or "alert"
        value = notice.value if notice.value is not None and math.isfinite(notice.value) else 0.0
        metric = Metric(notice.status, float(value))
        rules = self._standing.get(key, {})
        if standing and (rule in rules or len(self._standing) < MAX_STANDING):
            self._standing.setdefault(key, {})[rule] = metric
        elif rules.pop(rule, None) is not None and not rules:
            self._standing.pop(key, None)
        self.reports.append(self._whole(Report(*key, notice.t_ns, {rule: metric})))

    def subject(self, notice: Notice) -> str:
        """Whose health an alert is about: a location as the fetches of its feed name it, or what the tool was told."""
        named = notice.subject.endswith(f"@{self._seat.node}")  # the tool knew the node
        if ":" in notice.subject and scheme(notice.subject) in SOURCES and not named:
            return self.of(notice.feed).subject(notice.subject)
        return printable(notice.subject)[:MAX_NAME] or notice.feed

    def _whole(self, report: Report) -> Report:
        """The report with all alerts that stand: an observer keeps ten of us, of which fetches alone may be more."""
        rules = self._standing.get((report.observer, report.subject))
        if not rules:
            return report
        contexts = dict(list({**rules, **report.contexts}.items())[-MAX_CONTEXTS:])
        return msgspec.structs.replace(report, contexts=contexts)

    def repeat(self, now_ns: int) -> None:
        """Reports once a minute again what still stands."""
        if 0 <= now_ns - self._repeated_ns < REPEAT_NS:
            return
        self._repeated_ns = now_ns
        for (observer, subject), rules in self._standing.items():
            contexts = dict(list(rules.items())[-MAX_CONTEXTS:])
            self.reports.append(Report(observer, subject, now_ns, contexts))

    # --- out ---------------------------------------------------------------------------------------------------------

    async def flush_samples(self) -> None:
        """Hands samples to the node's collector."""
        await self._push(self.samples, f"vagus:collector@{self._seat.node}", "ingest")

    async def flush_reports(self) -> None:
        """Hands reports to the node's observer."""
        await self._push(self.reports, f"vagus:observer@{self._seat.node}", "report")

    async def flush_events(self) -> None:
        """Hands events to the node's collector."""
        await self._push(self.events, f"vagus:collector@{self._seat.node}", "told")

    async def _push(self, pending: deque[Any], actor: str, method: str) -> None:
        while len(pending) > MAX_PENDING:
            pending.popleft()
            self.dropped += 1
        while pending:
            batch = [pending.popleft() for _ in range(min(len(pending), MAX_BATCH))]
            try:
                await self._links.call(actor, method, batch)
            except PeerUnreachable:
                pending.extendleft(reversed(batch))  # it may be restarting: again next time
                return

    def figures(self) -> dict[str, float]:
        """Counts since the start, and what waits."""
        return {
            "samples_waiting": float(len(self.samples)),
            "dropped": float(self.dropped),
            "alerts": float(self.alerts),
            "alerts_standing": float(sum(map(len, self._standing.values()))),
            "items_unstreamed": float(sum(signals.unstreamed for signals in self._signals.values())),
        }


def _text(text: str) -> str:
    return printable(text)[:MAX_TEXT]
