"""What each component adds to its requests: own time and gaps of every call, RI and CI on the critical path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.model import Kind, Span
from vagus.traces import Graph, Segment
from vagus.traces.critical import background, callee, critical_path

NOBODY = ("", "")
_ID = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*)(?=[/?#]|$)")
MAX_SITES = 50_000  # kinds of calls that are told apart; more are one site for each component
MOSTLY = 3  # times as often answered as not: such a call is expected to be
PEERS = ("peer.service", "server.address", "net.peer.name", "db.system")  # who did not answer with a span

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Site(NamedTuple):
    """A kind of stretch of time that calls spend, and who may be to blame for it.

    own: `component` runs `operation` (below `under`), and waits for nobody. gap: between the span of a client, the one
    `beside`, and that of `component`, which answers (network, queue). call: such a call as a whole, told by the client
    only. between: where only servers tell, a stretch of `component` after the call of one other and before that of the
    next, who are `beside` (empty names: nobody): its own work, or a gap of either call.
    """

    kind: Literal["own", "gap", "call", "between"]
    component: str
    service: str
    operation: str
    under: str = ""
    beside: tuple[tuple[str, str], ...] = ()  # component and service


OTHERS = Site("own", "(others)", "(others)", "")


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request, as far as localisation goes: stretches by site (indices), in ns, and whether on the critical path."""

    t_ns: int
    latency_ns: int
    root: str  # its class: service and operation of the first span
    sites: tuple[int, ...]
    took_ns: tuple[int, ...]
    on: tuple[bool, ...]


class Sites:
    """All sites seen, by index. Bounded: past MAX_SITES operations are no longer told apart, nor in the end components;
    `renewed` forgets those that are not in use."""

    def __init__(self) -> None:
        self.names: list[Site] = []
        self._index: dict[Site, int] = {}
        self._plain: dict[str, str] = {}
        self._callees: dict[tuple[str, str], list[Any]] = {}  # who answers (names, or empty), how often; and not

    @property
    def crowded(self) -> bool:
        """Whether it is time for `renewed`."""
        return len(self.names) > MAX_SITES // 2

    def index(self, site: Site) -> int:
        """The index of a site, a new one where it is not known."""
        found = self._index.get(site)
        if found is None:
            if len(self.names) >= MAX_SITES:
                if site.operation:
                    return self.index(site._replace(operation="", under=""))
                if len(self.names) >= 2 * MAX_SITES:
                    if OTHERS not in self._index:
                        self._index[OTHERS] = len(self.names)
                        self.names.append(OTHERS)
                    return self._index[OTHERS]
            found = self._index[site] = len(self.names)
            self.names.append(site)
        return found

    def plain(self, operation: str) -> str:
        """An operation without the numbers and ids in its path: `/orders/4711` → `/orders/#`."""
        found = self._plain.get(operation)
        if found is None:
            if len(self._plain) >= MAX_SITES:
                self._plain.clear()
            found = self._plain[operation] = _ID.sub("#", operation) if "/" in operation else operation
        return found

    def renewed(self, requests: Iterable[Request]) -> tuple[Sites, list[Request]]:
        """Only what these requests use, and the requests with the new indices."""
        fresh = Sites()
        fresh._callees = self._callees if len(self._callees) < MAX_SITES // 2 else {}
        names = self.names
        moved = [msgspec.structs.replace(r, sites=tuple([fresh.index(names[i]) for i in r.sites])) for r in requests]
        return fresh, moved

    def answered(self, client: Span, server: Span) -> None:
        """Note who answers this kind of call, for when the answer's span does not come."""
        known = self._callees.get((client.service, client.operation))
        if known is None:
            if len(self._callees) < MAX_SITES:
                self._callees[client.service, client.operation] = [server.component, server.service, 1, 0]
            return
        known[2] += 1
        if known[0] != server.component:
            known[0] = server.service if known[1] == server.service else ""
        if known[1] != server.service:
            known[1] = ""  # answered by more than one service: not known

    def answerer(self, client: Span) -> tuple[str, str] | None:
        """Component and service that a call should have been answered by, of which only the client's span came."""
        known = self._callees.get((client.service, client.operation))
        if known is not None:
            known[3] += 1
            if known[1] and known[2] > MOSTLY * known[3]:
                return known[0], known[1]
        if client.kind is Kind.CLIENT:
            for name in PEERS:
                if peer := client.attributes.get(name):
                    return str(peer), str(peer)
        return None


def extract(graph: Graph, sites: Sites, segments: Sequence[Segment] | None = None) -> Request:
    """The stretches of one request, each call's by itself; without what runs in the background.

    A span's own time is its duration without that of its children (which may overlap). They are taken of all calls, so
    that a call which is on the path only since it is slow can be compared with what it took when it was not.
    """
    spans, parents = graph.spans, graph.parents
    if segments is None:
        segments = critical_path(graph)
    count = len(spans)
    on = [False] * count
    for segment in segments:
        i = segment.span
        while i >= 0 and not on[i]:
            on[i] = True
            i = parents[i]
    waits = callee(graph)
    waited = [False] * count  # for: not in the background
    below: dict[int, list[int]] = {}
    waited[graph.root] = True
    for i, parent in enumerate(parents):
        if parent >= 0 and waited[parent] and not background(spans[parent], spans[i]):
            waited[i] = True
            if parent in below:
                below[parent].append(i)
            else:
                below[parent] = [i]
    found: list[int] = []
    took: list[int] = []
    path: list[bool] = []
    plain = sites.plain
    for i, span in enumerate(spans):
        if not waited[i]:
            continue
        parent = parents[i]
        operation = plain(span.operation)
        under = plain(spans[parent].operation) if parent >= 0 else ""
        whole = span.end_ns - span.start_ns
        if waits[i] >= 0:
            server = spans[waits[i]]
            sites.answered(span, server)
            caller = ((span.component, span.service),)
            gap = Site("gap", server.component, server.service, operation, "", caller)
            found += (sites.index(gap), sites.index(gap._replace(kind="call")))
            took += (max(0, whole - (server.end_ns - server.start_ns)), whole)
            path += (on[i], False)
            continue
        children = below.get(i, ())
        if parent >= 0 and span.kind is not Kind.SERVER and all(spans[c].parent_id != span.span_id for c in children):
            answerer = sites.answerer(span)
            if answerer is not None and answerer[0] != span.component:
                caller = ((span.component, span.service),)
                found.append(sites.index(Site("call", *answerer, operation, "", caller)))
                took.append(whole)
                path.append(on[i])
                continue
        own = 0
        left: tuple[str, str] = NOBODY
        cursor, end = span.start_ns, span.end_ns
        for c in children:
            child = spans[c]
            right = (child.component, child.service) if child.component != span.component else NOBODY
            if min(child.start_ns, end) > cursor:
                if left is NOBODY and right is NOBODY:
                    own += min(child.start_ns, end) - cursor
                else:
                    found.append(
                        sites.index(Site("between", span.component, span.service, operation, under, (left, right)))
                    )
                    took.append(min(child.start_ns, end) - cursor)
                    path.append(on[i])
                cursor = min(child.start_ns, end)
            if min(child.end_ns, end) >= cursor:
                cursor, left = min(child.end_ns, end), right
        if left is not NOBODY:
            found.append(sites.index(Site("between", span.component, span.service, operation, under, (left, NOBODY))))
            took.append(end - cursor)
            path.append(on[i])
        else:
            own += end - cursor
        if own or not children:
            found.append(sites.index(Site("own", span.component, span.service, operation, under)))
            took.append(own)
            path.append(on[i])
    root = spans[graph.root]
    return Request(
        root.start_ns,
        root.end_ns - root.start_ns,
        f"{root.service} {plain(root.operation)}",
        tuple(found),
        tuple(took),
        tuple(path),
    )


class Window(NamedTuple):
    """Requests as columns: a row for each stretch (float64 ns), and one for each request."""

    request: Ints
    site: Ints
    took_ns: Floats
    on: npt.NDArray[np.bool_]
    latency_ns: Floats
    roots: tuple[str, ...]

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Window:
        held = list(requests)
        sizes = [len(r.sites) for r in held]
        total = sum(sizes)

        def flat(rows: Iterable[Iterable[Any]], dtype: Any) -> Any:
            return np.fromiter((v for row in rows for v in row), dtype, total)

        return cls(
            np.repeat(np.arange(len(held)), sizes),
            flat((r.sites for r in held), np.int64),
            flat((r.took_ns for r in held), np.float64),
            flat((r.on for r in held), np.bool_),
            np.array([r.latency_ns for r in held], np.float64),
            tuple(r.root for r in held),
        )


class Component(NamedTuple):
    """FIRM's features of a component in a window. ri: Pearson correlation of its time on the path with the latency,
    over the requests that have it there; ci: P99/P50 of that time; requests: how many; path_ms: its mean."""

    ri: float
    ci: float
    requests: int
    path_ms: float
    p99_ms: float


def owners(sites: Sequence[Site], gaps: bool = True) -> tuple[list[str], Ints]:
    """Names of components, and of each site the index of whose time it is, -1: of none.

    gaps: those between client and server are the callee's; else they are, as in the paper, nobody's.
    """
    index: dict[str, int] = {}
    whose = np.full(len(sites), -1, np.int64)
    for i, site in enumerate(sites):
        if site.kind in ("own", "between") or gaps:
            whose[i] = index.setdefault(site.component, len(index))
    return list(index), whose


def components(window: Window, sites: Sequence[Site], gaps: bool = True) -> dict[str, Component]:
    """RI, CI and time on the critical path of each component."""
    names, whose = owners(sites, gaps)
    requests = len(window.latency_ns)
    owner = whose[window.site]
    rows = window.on & (owner >= 0)
    if not rows.any():
        return {}
    key = owner[rows] * requests + window.request[rows]
    pairs, inverse = np.unique(key, return_inverse=True)
    took = np.bincount(inverse, window.took_ns[rows])
    whom, which = np.divmod(pairs, requests)
    found = {}
    for i in np.unique(whom).tolist():
        mine = whom == i
        times, ends = took[mine], window.latency_ns[which[mine]]
        p50, p99 = np.percentile(times, [50, 99])
        found[names[i]] = Component(
            pearson(times, ends),
            float(p99 / p50) if p50 > 0 else 1.0,
            len(times),
            float(times.mean() / 1e6),
            float(p99 / 1e6),
        )
    return found


def pearson(a: Floats, b: Floats) -> float:
    """Pearson's correlation; 0 where one does not vary or there are fewer than three."""
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
