"""Past to present without gap or duplicate, whatever the order of commits, publications, scans and restarts."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.actors import live as live_module
from vagus.actors.arrivals import Arrivals, Journal, Position, stream_number
from vagus.actors.interest import Interest
from vagus.actors.live import Live
from vagus.actors.seam import Found, Scan, begin, joined, plan
from vagus.model import Event, Field, Page, Sample, Stream

STREAMS = [Stream("n", f"s.k{i}", (Field("value"), Field("other"))) for i in range(3)]


class Node:
    """A collector in slow motion: written, committed and told are separate steps; it may die between them."""

    def __init__(self) -> None:
        self.state: dict[str, bytes] = {}
        self.rows: dict[tuple[int, int], Sample] = {}  # committed
        self.stored: list[Event] = []
        self.names = count(1)
        self.open()

    def open(self) -> None:
        self.pending: dict[str, bytes] = {}
        self.untold: list = []
        self.uncommitted: list = []
        self.journal = Journal(self.state.get, self.pending.__setitem__, "a1")
        self.state.update(self.pending)  # as Sensing does: a life has its own number
        self.pending.clear()
        journal = self.journal
        self.live = Live(Arrivals(journal.archive, journal.life, journal.before, journal.complete))

    def write(self, samples: list[Sample], events: list[Event]) -> None:
        arrival = self.journal.enter(
            [stream_number(s.stream.key) for s in samples], [s.t_ns for s in samples], [e.t_ns for e in events]
        )
        self.uncommitted.append((arrival, samples, events))

    def commit(self) -> None:
        self.state.update(self.pending)
        self.pending.clear()
        for _, samples, events in self.uncommitted:
            for sample in samples:
                self.rows[stream_number(sample.stream.key), sample.t_ns] = sample
            self.stored += events
        self.untold += self.uncommitted
        self.uncommitted = []
        self.journal.committed = self.journal.begun

    def tell(self) -> None:
        for told in self.untold:
            self.live.publish(*told)
        self.untold = []

    def scan(self, scan: Scan) -> Found:
        inside = [
            (n, Sample(s.stream, s.t_ns, s.values))
            for (n, t), s in self.rows.items()
            if scan.start_ns <= t < scan.end_ns
        ]
        events = [e for e in self.stored if scan.start_ns <= e.t_ns < scan.end_ns]
        return Found(inside, sorted(events, key=lambda e: e.t_ns), self.journal.committed)


class Reader:
    """Follows a node; a scan is answered some steps after it was planned."""

    def __init__(self, node: Node, since_ns: int) -> None:
        self.node = node
        self.wanted = Interest("s.*", "e.*")
        self.began_seq = node.live.arrivals.newest().key
        self.after = str(begin(node.live.arrivals, since_ns))
        self.got: list[Sample | Event] = []
        self.found: tuple[Scan, Found, tuple[int, int]] | None = None
        self.until: Position | None = None  # as a reader that meets a feed there

    def meet(self) -> None:
        """Goes no further, for now, than where the node is."""
        self.until, self.found = self.node.live.arrivals.newest(), None

    def step(self, now_ns: int, window_ns: int, most: int, broken_after: int) -> bool:
        """One plan, or the answer of a scan; the connection may break in the middle of a page."""
        node = self.node
        if self.found is None:
            made = plan(node.live, self.wanted, Position.parse(self.after), self.until, now_ns, window_ns, most)
            if isinstance(made, Scan):
                self.found = (made, node.scan(made), node.journal.begun)
                return True
        else:
            scan, found, begun = self.found
            if node.live.arrivals.published < begun:
                return False  # as the shell waits
            self.found = None
            made = joined(node.live.arrivals, self.wanted, scan, found, self.until, most)
        if made is None:
            met, self.until = self.until is not None, None
            return met
        assert isinstance(made, Page)
        if self.until is not None:
            after = Position.parse(made.after)
            assert after.past_ns >= 0 or after.key <= self.until.key
        assert not made.gap
        items = made.items[:broken_after] if broken_after < len(made.items) else made.items
        self.got += [record for _, record in items]
        if len(items) < len(made.items):
            self.after = items[-1][0] if items else self.after
        else:
            self.after = made.after
        return True

    def reconnect(self) -> None:
        self.found = None


STEP = st.one_of(
    st.tuples(
        st.just("write"),
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=4),
        st.lists(st.integers(0, 60), max_size=2),
    ),
    st.tuples(st.just("commit")),
    st.tuples(st.just("tell")),
    st.tuples(st.just("read"), st.integers(1, 40), st.integers(1, 5), st.integers(0, 6)),
    st.tuples(st.just("read"), st.integers(1, 40), st.integers(1, 5), st.integers(0, 6)),
    st.tuples(st.just("subscribe"), st.integers(0, 70)),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("meet")),
    st.tuples(st.just("die")),
)


@given(st.lists(STEP, max_size=60), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_each_item_once_and_in_order(steps, kept_ticks):
    old, live_module.MAX_TICKS = live_module.MAX_TICKS, kept_ticks
    try:
        _run(steps)
    finally:
        live_module.MAX_TICKS = old


def _run(steps):
    node = Node()
    readers: list[tuple[Reader, int, set]] = []
    names = count()
    used: set[tuple[int, int]] = set()
    for step in steps:
        if step[0] == "write":
            samples, events = [], []
            for stream, t in step[1]:
                if (stream, t) not in used:
                    used.add((stream, t))
                    samples.append(Sample(STREAMS[stream], t, (float(next(names)), 0.0)))
            events = [Event(t, f"e.{next(names)}", "n") for t in step[2]]
            if samples or events:
                node.write(samples, events)
        elif step[0] == "commit":
            node.commit()
        elif step[0] == "tell":
            node.tell()
        elif step[0] == "subscribe":
            told = {identity(r) for r in everything(node)} - {identity(r) for _, s, e in node.untold for r in (*s, *e)}
            readers.append((Reader(node, step[1]), step[1], told))
        elif step[0] == "read":
            for reader, _, _ in readers:
                reader.step(100, *step[1:])
        elif step[0] == "reconnect":
            for reader, _, _ in readers:
                reader.reconnect()
        elif step[0] == "meet":
            for reader, _, _ in readers:
                reader.meet()
        else:
            lost = {(STREAMS.index(s.stream), s.t_ns) for _, samples, _ in node.uncommitted for s in samples}
            used -= lost
            node.open()
            for reader, _, _ in readers:
                reader.reconnect()
    node.commit()
    node.tell()
    for reader, since_ns, told in readers:
        while reader.step(100, 7, 3, 99):
            pass
        got = [identity(r) for r in reader.got]
        assert len(set(got)) == len(got), "a duplicate"
        due = {
            identity(r) for r in everything(node) if identity(r) not in told or (since_ns > 0 and r.t_ns >= since_ns)
        }
        assert set(got) == due
        past = [r for r in reader.got if identity(r) in told]
        assert [r.t_ns for r in past] == sorted(r.t_ns for r in past)
        live = [identity(r) for r in reader.got if identity(r) not in told]
        assert live == [i for i in order(node) if i in set(live)]


def everything(node: Node) -> list:
    return [*node.rows.values(), *node.stored]


def order(node: Node) -> list:
    """Identities in the order of arrival: names only grow, samples before events within one arrival."""
    listed = []
    at = {(n, t): s for (n, t), s in node.rows.items()}
    left: dict[int, list[Event]] = {}
    for event in node.stored:
        left.setdefault(event.t_ns, []).append(event)
    for arrival in node.live.arrivals.after(Position(node.journal.archive, 0, 0)):
        listed += [identity(at[row]) for row in arrival.rows() if row in at]
        listed += [identity(left[t].pop(0)) for t in arrival.events if left.get(t)]
    return listed


def identity(record) -> object:
    return record.values[0] if isinstance(record, Sample) else record.event
