"""The traces actor: spans from all nodes → execution graphs → who makes requests slow → reports to the health room.

The cores are `vagus.traces.joining`, `vagus.controllers.localise` and the `trace_*` files beside this one. They run in
one thread beside the event loop, so that a burst of spans holds up nobody who asks.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import msgspec

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.following import LinkedSource, subscribe
from vagus.actors.outbox import Outbox
from vagus.actors.telling import Telling
from vagus.actors.trace_entries import Entries
from vagus.actors.trace_labels import Labels
from vagus.actors.trace_reports import Reports, event_of, lines_of
from vagus.actors.trace_signals import SELECTORS, Signals
from vagus.clock import NS
from vagus.config import seconds
from vagus.controllers.localise import Ranking
from vagus.controllers.localise.localiser import Localiser
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.inputs.span_csv import read_csv
from vagus.model import Event, Sample, Span
from vagus.store import Store
from vagus.traces import Graph
from vagus.traces.graph import build
from vagus.traces.joining import Joiner

T = TypeVar("T")

STEP_S = 0.25
HEAR_S = 1.0
MAX_QUEUED = 100_000  # spans that wait for the thread; beyond these new ones are dropped and counted
CHUNK = 2000  # spans joined at once
MAX_COMPONENTS = 1000  # whose signals are asked for: those seen last
ASK_S = 2.0
SAVE_S = 5.0
SAVE_SHARE = 50  # of the thread's time at most a 50th goes into saving
RETAIN_S = 60.0
SHOWN = 100  # rankings in one answer
STATE = "traces.state"
LIFETIMES = 3  # an accusation counts for so many rankings


class TracesActor(Actor):
    """`vagus:traces@HEAD`. Reports as `localise@NODE`; state (the healthy reference, the SVM, what is usual) is saved."""

    role: ClassVar[str] = "traces"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        settings = self.config.traces
        localise = settings.localise
        self._every_s = seconds(localise.every)
        self._joiner = Joiner(settings)
        self._localiser = Localiser(localise)
        self._normal = normal_period(localise.normal_file)
        self._signals = Signals(localise.places, self._every_s, seconds(localise.normal))
        self._entries = Entries(localise.slo_ms, round(seconds(localise.window) * NS), localise.least)
        self._reports = Reports(f"localise@{seat.node}", round(LIFETIMES * max(self._every_s, 1.0) * NS))
        self._labels = Labels(localise.places)
        self._components: dict[str, str] = {}  # component → service, those seen last at the end
        self._queue: deque[Sequence[Span]] = deque()
        self._thread = ThreadPoolExecutor(1, "localise")
        self._outbox = Outbox(seat.node, seat.node, links)
        self._telling = Telling(seat.node, links, self._keep_events)
        self._store: Store | None = None
        self._latest: Ranking | None = None
        self._heard: dict[str, str] = {}  # node → up to which position its injections are learned
        self._hearing: set[str] = set()
        self._queued = 0
        self._taken = self._dropped = self._graphs = self._rankings = self._labelled = self._rows = self._saves = 0
        self._thread_s = 0.0
        self._save_due_s = time.monotonic() + SAVE_S

    # --- for the runtime -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the store, goes on from what a former life saved. Raises ConfigError, StoreError."""
        path = self.seat.store_path
        path.parent.mkdir(parents=True, exist_ok=True)
        store = self._store = Store.open(path, create=True, map_bytes=self.config.store.map_bytes)
        try:
            self._restore(store.load(STATE))
            await self._aside(self._learn_normal)
            self._latest = next(iter(store.records("ranking", Ranking, limit=1)), None)
        except BaseException:
            store.close()
            self._store = None
            raise
        self.every(STEP_S, self._join_queued, "join spans")
        if self.config.traces.localise.on:
            self.every(self._every_s, self._rank, "localise")
            self.every(HEAR_S, self._hear, "hear injections")
        self.every(0.5, self._tell, "tell")
        self.every(1.0, self._save_now_and_then, "save")
        self.every(seconds(self.config.store.sync), self._sync, "sync")
        self.every(RETAIN_S, self._retain, "retain")

    async def stop(self) -> None:
        """Says what it has to say, saves, closes the store. Idempotent."""
        if self._store is None:
            return
        await self._outbox.flush_reports()
        self._telling.close()
        try:
            await self._save()
            self._store.sync()
        finally:
            self._thread.shutdown(wait=False)
            self._store.close()
            self._store = None

    def figures(self) -> dict[str, float]:
        """Counts since the start; trace_*: of what is being joined; labels: injections heard of, label_rows: what the SVM
        learned of them; thread_cpu_s: joining and localising."""
        return {
            "spans": float(self._taken),
            "spans_dropped": float(self._dropped),
            "spans_queued": float(self._queued),
            "traces": float(self._graphs),
            **{f"trace_{name}": float(value) for name, value in self._joiner.figures.items()},
            "components": float(len(self._components)),
            "rankings": float(self._rankings),
            "suspects": float(len(self._reports.subjects)),
            "labels": float(self._labelled),
            "label_rows": float(self._rows),
            "saves": float(self._saves),
            "thread_cpu_s": self._thread_s,
            **(self._store.figures() if self._store is not None else {}),
        }

    def notes(self) -> tuple[str, ...]:
        """Who is suspected, and why."""
        return tuple(lines_of(self._latest))

    # --- called by others ------------------------------------------------------------------------------------------

    async def spans(self, spans: Sequence[Span]) -> int:
        """Spans that a collector took, in a batch; how many were taken: those beyond what may wait are dropped."""
        room = max(0, MAX_QUEUED - self._queued)
        taken = spans if len(spans) <= room else spans[:room]
        self._dropped += len(spans) - len(taken)
        if taken:
            self._taken += len(taken)
            self._queued += len(taken)
            self._queue.append(taken)
        return len(taken)

    async def rankings(self, since_ns: int = 0, limit: int = 1) -> list[Ranking]:
        """The latest ranking, then those kept since `since_ns` (those of slow requests, and the first after), newest
        first, at most `limit`."""
        if self._store is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        limit = max(1, min(limit, SHOWN))
        latest = [self._latest] if self._latest is not None else []
        if limit == 1:
            return latest
        kept = await asyncio.to_thread(list, self._store.records("ranking", Ranking, since_ns, limit=limit))
        return [*latest, *[one for one in kept if not latest or one.t_ns < latest[0].t_ns]][:limit]

    # --- joining ---------------------------------------------------------------------------------------------------

    async def _join_queued(self) -> None:
        batches = list(self._queue)
        self._queue.clear()
        try:
            self._graphs += await self._aside(lambda: self._join(batches))
        finally:
            self._queued -= sum(map(len, batches))

    def _join(self, batches: Sequence[Sequence[Span]]) -> int:
        joined = 0
        for batch in batches:
            for at in range(0, len(batch), CHUNK):
                self._joiner.add(batch[at : at + CHUNK], time.time_ns())
            joined += self._due()
        return joined + self._due()

    def _due(self) -> int:
        now_ns = time.time_ns()
        graphs = self._joiner.due(now_ns)
        if graphs:
            self._localiser.add(graphs, now_ns)
            first = [graph for graph in graphs if not graph.late]  # one that comes again is no other request
            self._entries.add(first, now_ns)
            self._know(graphs)
            return len(first)
        return 0

    def _know(self, graphs: Sequence[Graph]) -> None:
        components = self._components
        seen = {span.component: span.service for graph in graphs for span in graph.spans}
        for component, service in seen.items():
            components.pop(component, None)
            components[component] = service
        while len(components) > MAX_COMPONENTS:
            del components[next(iter(components))]

    async def _aside(self, work: Callable[[], T]) -> T:
        """In the one thread that the cores belong to."""

        def timed() -> T:
            began_s = time.thread_time()
            try:
                return work()
            finally:
                self._thread_s += time.thread_time() - began_s

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    # --- localising ------------------------------------------------------------------------------------------------

    async def _rank(self) -> None:
        samples = await self._ask() if self._components else []
        ranking = await self._aside(lambda: self._ranked(samples))
        if ranking is None:
            return
        before, self._latest = self._latest, ranking
        self._rankings += 1
        self._outbox.note(self._reports.of(ranking, self._entries.judged(ranking.t_ns), ranking.t_ns))
        if ranking.slow or (before is not None and before.slow):
            self._telling.note(event_of(ranking, self.seat.node, self.seat.name))
            if self._store is not None:
                self._store.put("ranking", ranking, t_ns=ranking.t_ns)
                self._store.flush()
        await self._tell()

    def _ranked(self, samples: Sequence[Sample]) -> Ranking | None:
        signals = self._signals.read(samples, self._components)
        ranking = self._localiser.rank(time.time_ns(), signals)
        if ranking is not None and not ranking.slow:
            self._signals.healthy()
        return ranking

    async def _ask(self) -> list[Sample]:
        """The newest samples of all nodes' groups; those of nodes that do not answer are missing."""
        asked = (
            self.links.call(f"vagus:collector@{node}", "latest", SELECTORS, timeout_s=ASK_S)
            for node in self.links.nodes()
        )
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: list[Sample] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                if not isinstance(answer, VagusError):
                    raise answer
            else:
                found += answer
        return found

    async def _tell(self) -> None:
        await self._outbox.flush_reports()
        await self._telling.flush()

    # --- labels ----------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Follows the injections' events of every node that is known; what a node told while this was away comes too."""
        for node in self.links.nodes():
            if node not in self._hearing:
                self._hearing.add(node)
                self.spawn(self._follow(node))

    async def _follow(self, node: str) -> None:
        after = self._heard.get(node, "")
        since_ns = 0 if after else self._since_ns
        try:
            async for page in subscribe(LinkedSource(self.links, node), "", "inject.*", since_ns, after=after):
                for _, event in page.items:
                    if isinstance(event, Event):
                        await self._learn(event)
                self._heard[node] = page.after
        except ConfigError as error:  # what was saved is no position
            self._heard.pop(node, None)
            self.failed(f"hearing of injections at {node}, from now on", error)
        finally:
            self._hearing.discard(node)  # taken up again

    async def _learn(self, event: Event) -> None:
        label = self._labels.hear(event)
        if label is not None:
            try:
                self._rows += await self._aside(lambda: self._localiser.label(*label))
            except ValueError as error:
                self.failed(f"learning from {event.event}", error)
            self._labelled += 1

    # --- what is kept ----------------------------------------------------------------------------------------------

    async def _save(self) -> None:
        if self._store is None:
            return
        began_s = self._thread_s
        state = await self._aside(self._state)
        self._store.save(STATE, state)
        self._store.flush()
        self._saves += 1
        self._save_due_s = time.monotonic() + max(SAVE_S, SAVE_SHARE * (self._thread_s - began_s))

    async def _save_now_and_then(self) -> None:
        if time.monotonic() >= self._save_due_s:
            await self._save()

    def _state(self) -> bytes:
        return msgspec.json.encode(
            {
                "normal": self._normal,
                "localiser": self._localiser.state(),
                "signals": self._signals.state(),
                "accused": self._reports.state(),
                "heard": self._heard,
            }
        )

    def _restore(self, saved: bytes | None) -> None:
        """Each part for itself; one that is damaged is told, and begins afresh."""
        if saved is None:
            return
        try:
            state = msgspec.json.decode(saved, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            self.failed("reading what was saved; it learns afresh", error)
            return
        if self._normal and state.get("normal") != self._normal and isinstance(state.get("localiser"), dict):
            state["localiser"] |= {
                "reference": self._localiser.state()["reference"]
            }  # another file, or none, was normal
        parts: dict[str, Callable[[Any], object]] = {
            "localiser": self._localiser.restore,
            "signals": self._signals.restore,
            "accused": self._reports.restore,
            "heard": self._restore_heard,
        }
        for name, restore in parts.items():
            if name not in state:
                continue
            try:
                restore(state[name])
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                self.failed(f"taking up what was saved of {name}; that begins afresh", error)

    def _learn_normal(self) -> None:
        """The healthy period of a file, unless it is among what was saved. Raises ConfigError."""
        if not self._normal or self._localiser.reference.requests:
            return
        spans, rejects = read_csv(self.config.traces.localise.normal_file)
        if not self._localiser.learn(build(spans)):
            why = f": {'; '.join(rejects.reasons)}"[:500] if rejects.reasons else ""
            raise ConfigError(f"traces.localise.normal_file {self._normal[0]} holds no request{why}")

    def _restore_heard(self, state: Any) -> None:
        try:
            self._heard = msgspec.convert(state, dict[str, str])
        except msgspec.ValidationError as error:
            raise ConfigError(f"not positions by node: {error}") from error

    def _keep_events(self, events: Sequence[Event]) -> None:
        """What the collector does not take."""
        if self._store is not None:
            for event in events:
                self._store.put("event", event, t_ns=event.t_ns, index={"event": event.event})
            self._store.flush()

    def _sync(self) -> None:
        if self._store is not None:
            self._store.sync()

    def _retain(self) -> None:
        if self._store is not None:
            self._store.retain(seconds(self.config.store.retain), self.config.store.retain_bytes)


def normal_period(path: str) -> list[str | int]:
    """What tells one file of a healthy period from another: path, bytes, time of change; empty for none. Raises ConfigError."""
    if not path:
        return []
    try:
        found = os.stat(path)
    except OSError as error:
        raise ConfigError(f"traces.localise.normal_file {path}: {error.strerror}") from error
    return [path, found.st_size, found.st_mtime_ns]
