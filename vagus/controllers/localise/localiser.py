"""Execution graphs as they come → who makes requests slow; what is healthy is learned as it goes. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from vagus.clock import NS
from vagus.config.act import LocaliseSettings
from vagus.config.base import seconds
from vagus.controllers.localise import Ranking
from vagus.controllers.localise.features import Request, Sites, Window, extract
from vagus.controllers.localise.ranking import rank
from vagus.controllers.localise.reference import BINS_PER_OCTAVE, Reference
from vagus.controllers.localise.svm import Svm, row_of
from vagus.traces import Graph

MAX_REQUESTS = 50_000  # of a window, and as many that wait to be learned
MAX_STRETCHES = 5_000_000  # calls in all of these together
MAX_PAST = 400  # rankings whose features are kept for labels that come later
MOST_SUSPECTS = 50  # of a ranking
HEALTHY = 0.95  # the quantile of healthy latencies above which a request counts as slow
TOO_MANY = 3.0  # times the requests that are above it in health
ROUNDED = 2 ** (0.5 / BINS_PER_OCTAVE)  # healthy latencies are known to half a bin
SURE = 3.0  # standard deviations
FELT = 0.3  # of what the requests through a component take: what it adds to them is felt, also where they are few
FELT_BY = 5  # of such requests at least
NEW = 0.05  # of such requests, of a kind that nobody knows: what is added cannot be told from what they always take


class _Past(NamedTuple):
    """A ranking, as the SVM sees it."""

    begin_ns: int
    end_ns: int
    slow: bool
    rows: tuple[tuple[str, str, tuple[float, ...]], ...]  # component, service, features


class Localiser:
    """Holds the requests of a window, ranks on demand, and learns the healthy period from windows that were not slow.

    Bounded whatever comes: MAX_REQUESTS, MAX_STRETCHES, MAX_SITES (features). Requests join the healthy period when
    they leave a window that was not slow, so that the begin of an anomaly is not learned as health.
    """

    def __init__(self, settings: LocaliseSettings, seed: int = 0) -> None:
        self._settings = settings
        self._window_ns = int(seconds(settings.window) * NS)
        self._normal_s = seconds(settings.normal)
        self._sites = Sites()
        self._reference = Reference()
        self._svm = Svm(seed)
        self._requests: OrderedDict[str, Request] = OrderedDict()  # by when they came
        self._stretches = 0
        self._past: deque[_Past] = deque(maxlen=MAX_PAST)
        self._fixed = bool(settings.normal_file)
        self._learned_ns = 0
        self._accept_ns = 0 if settings.slo_ms or self._fixed else int(seconds(settings.accept) * NS)
        self._slow_since_ns = 0

    @property
    def reference(self) -> Reference:
        """The healthy period."""
        return self._reference

    @property
    def requests(self) -> int:
        """How many are held."""
        return len(self._requests)

    def learn(self, graphs: Iterable[Graph]) -> int:
        """Take these requests as healthy, such as those of a file; how many there were."""
        told = [extract(graph, self._sites) for graph in graphs if graph.latency_ns > 0]
        if told:
            self._reference.learn(Window.of(told), self._sites.names)
        return len(told)

    def add(self, graphs: Iterable[Graph], now_ns: int) -> None:
        """Requests that are complete. One that comes again with late spans takes the place of what was known of it."""
        for graph in graphs:
            if graph.latency_ns <= 0 or graph.spans[graph.root].parent_id in graph.lost:
                continue  # the begin is lost: nobody knows how long it took
            before = self._requests.pop(graph.trace_id, None)
            request = self._requests[graph.trace_id] = extract(graph, self._sites)
            self._stretches += len(request.sites) - (len(before.sites) if before else 0)
        while self._requests and (len(self._requests) > 2 * MAX_REQUESTS or self._stretches > MAX_STRETCHES):
            self._drop()

    def _drop(self) -> Request:
        return self._taken(next(iter(self._requests)))

    def _taken(self, trace_id: str) -> Request:
        request = self._requests.pop(trace_id)
        self._stretches -= len(request.sites)
        return request

    def rank(self, now_ns: int, signals: Mapping[str, Mapping[str, float]] | None = None) -> Ranking | None:
        """Who makes the requests of the last window slow; None: fewer than `least` requests.

        now_ns: the window's end, by the clock of the spans. signals: component or service → resource → ratio to usual.
        """
        begin_ns = now_ns - self._window_ns
        held = [r for r in self._requests.values() if begin_ns <= r.t_ns + r.latency_ns <= now_ns][-MAX_REQUESTS:]
        if len(held) < self._settings.least:
            self._settle(begin_ns, healthy=False)
            return None
        window = Window.of(held)
        first = not self._reference.requests
        ranking = self.judge(window, now_ns, signals)
        if first and not self._fixed and not (self._settings.slo_ms and ranking.slow):
            self._reference.learn(window, self._sites.names)  # the first that is seen stands for health
            self._learned_ns = now_ns
        services = {site.component: site.service for site in self._sites.names}
        self._past.append(
            _Past(
                begin_ns,
                now_ns,
                ranking.slow,
                tuple((s.component, services.get(s.component, ""), row_of(s, len(held))) for s in ranking.suspects),
            )
        )
        self._settle(begin_ns, healthy=not ranking.slow)
        if ranking.slow:
            self._learned_ns = now_ns  # nor is any of it healthy that leaves the window when all is well again
            self._slow_since_ns = self._slow_since_ns or now_ns
            if self._accept_ns and now_ns - self._slow_since_ns >= self._accept_ns:
                self._reference, self._slow_since_ns = Reference(), 0
                self._reference.learn(window, self._sites.names)
        else:
            self._slow_since_ns = 0
        return ranking

    def judge(self, window: Window, now_ns: int, signals: Mapping[str, Mapping[str, float]] | None = None) -> Ranking:
        """The ranking of any window, against the healthy period as it is known now; changes nothing."""
        suspects = rank(window, self._sites.names, self._reference, signals)[:MOST_SUSPECTS]
        chances = self._svm.probability([row_of(s, len(window.latency_ns)) for s in suspects])
        suspects = tuple(msgspec.structs.replace(s, probability=p) for s, p in zip(suspects, chances, strict=True))
        p50, p99 = (float(v) / 1e6 for v in np.percentile(window.latency_ns, [50, 99]))
        mix: dict[str, float] = {}
        for root in window.roots:
            mix[root] = mix.get(root, 0.0) + 1
        slow = p99 > self._settings.slo_ms if self._settings.slo_ms else self._slower(window)
        if not self._settings.slo_ms and suspects and self._reference.requests:
            of = suspects[0].features
            slow = slow or (
                of["requests"] >= FELT_BY and of["excess_ms"] >= FELT * self._usual_ms(window, suspects[0].component)
            )
        return Ranking(
            now_ns,
            suspects,
            len(window.latency_ns),
            bool(slow),
            p50,
            p99,
            self._reference.latency_ns(0.5, mix) / 1e6,
            self._reference.latency_ns(0.99, mix) / 1e6,
        )

    def _usual_ms(self, window: Window, component: str) -> float:
        """What the requests through a component take, in the mean; infinite where some are of a kind never seen before."""
        mine = np.array([site.component == component for site in self._sites.names], np.bool_)
        which = np.unique(window.request[mine[window.site]]).tolist()
        new = sum(not self._reference.requests_of(window.roots[i]) for i in which)
        return float(window.latency_ns[which].mean() / 1e6) if new < max(1, NEW * len(which)) else math.inf

    def _slower(self, window: Window) -> bool:
        """Whether surely more requests are above what 95 % of healthy ones of their class take.

        Sure: beyond what chance does to those of the window, and to the healthy ones that the limit comes from.
        """
        counts: dict[str, int] = {}
        for root in window.roots:
            counts[root] = counts.get(root, 0) + 1
        limits = {root: self._reference.latency_ns(HEALTHY, {root: 1.0}) * ROUNDED for root in counts}
        limit = np.array([limits[root] for root in window.roots])
        known = {root: n for root, n in counts.items() if math.isfinite(limits[root])}
        above = int((window.latency_ns > limit).sum())  # above a NaN is nothing
        usual = (1 - HEALTHY) * sum(known.values())
        chance = HEALTHY * (1 - HEALTHY) * sum(n + n * n / self._reference.requests_of(r) for r, n in known.items())
        return above > max(TOO_MANY * usual, usual + SURE * math.sqrt(chance))

    def _settle(self, begin_ns: int, healthy: bool) -> None:
        """Requests that left the window: part of the healthy period, or not."""
        left = [trace_id for trace_id, r in self._requests.items() if r.t_ns + r.latency_ns < begin_ns]
        gone = [self._taken(trace_id) for trace_id in left]
        gone = [r for r in gone if r.t_ns + r.latency_ns > self._learned_ns]
        if healthy and gone and not self._fixed:
            newest_ns = max(r.t_ns + r.latency_ns for r in gone)
            over_s = (newest_ns - max(self._learned_ns, gone[0].t_ns)) / NS
            keep = math.exp(-max(0.0, over_s) / self._normal_s) if self._normal_s > 0 else 0.0
            self._reference.learn(Window.of(gone), self._sites.names, keep)
            self._learned_ns = newest_ns
        if self._sites.crowded:
            self._sites, moved = self._sites.renewed(self._requests.values())
            self._requests = OrderedDict(zip(self._requests, moved, strict=True))

    def label(self, component: str, resource: str, begin_ns: int, end_ns: int) -> int:
        """An injection hit this component (or service) in this resource: the SVM learns from the rankings of then, and
        of as many before in which nothing was slow. How many rows there were.

        A ranking counts when at least half of its window lies within.
        """
        hit = [past for past in self._past if _overlap(past, begin_ns, end_ns) >= 0.5 * (past.end_ns - past.begin_ns)]
        calm = (
            [past for past in self._past if past.end_ns <= begin_ns and not past.slow][-max(1, len(hit)) :]
            if hit
            else []
        )
        rows: list[tuple[float, ...]] = []
        critical: list[bool] = []
        for past in [*calm, *hit]:
            for name, service, row in past.rows:
                rows.append(row)
                critical.append(past in hit and component in (name, service))
        if any(critical):
            self._svm.learn(rows, critical)
            return len(rows)
        return 0

    def state(self) -> dict[str, Any]:
        """What was learned, ready for JSON."""
        return {"reference": self._reference.state(), "svm": self._svm.state(), "learned_ns": self._learned_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state`. Raises KeyError, TypeError or ValueError where it is none; then nothing is taken up."""
        reference, svm = Reference(), Svm()
        try:
            reference.restore(state["reference"])
            svm.restore(state["svm"])
            learned_ns = int(state["learned_ns"])
        except (AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"no state of a localiser: {error}") from error
        self._reference, self._svm, self._learned_ns = reference, svm, learned_ns


def _overlap(past: _Past, begin_ns: int, end_ns: int) -> int:
    return min(past.end_ns, end_ns) - max(past.begin_ns, begin_ns)
