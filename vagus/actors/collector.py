"""The collector actor: senses every second, stores, and serves the node's gateway from its own process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from vagus.access import Access, Principal
from vagus.actors.base import Actor, Links, Seat
from vagus.actors.datagrams import Address
from vagus.actors.derived import derive
from vagus.actors.directory import Directory, renewed
from vagus.actors.following import subscribe
from vagus.actors.forwarding import RemoteWrite, packed, position_name, unpacked
from vagus.actors.gateway_file import announce, withdraw
from vagus.actors.intake import Intake
from vagus.actors.joined import joined
from vagus.actors.listeners import Listeners
from vagus.actors.missed import Missed
from vagus.actors.monitoring import PERIOD_S as MONITORING_S
from vagus.actors.monitoring import Monitoring
from vagus.actors.outbox import Outbox
from vagus.actors.paths import Paths
from vagus.actors.patience import Patience
from vagus.actors.probing import Probing
from vagus.actors.roster import Roster
from vagus.actors.sensing import Sensing
from vagus.actors.span_outbox import SpanOutbox
from vagus.actors.span_records import find_traces, spans_of
from vagus.actors.steerable import steerable
from vagus.clock import SystemClock
from vagus.config import Config, RemoteWriteSettings, read_token, seconds
from vagus.controllers.decide.grouping import grouping_of
from vagus.controllers.decide.plan import prefix_of
from vagus.controllers.decide.table import DecisionTable
from vagus.controllers.localise import Ranking
from vagus.errors import NoData, PeerUnreachable, VagusError
from vagus.feeds import Raw
from vagus.feeds.shares import fetches_here
from vagus.gateway.backend import OBSERVER_METHODS
from vagus.gateway.path import Trace
from vagus.gateway.server import Gateway
from vagus.gateway.traces import Found, TraceQuestion
from vagus.inputs.admission import Taken
from vagus.model import (
    Ack,
    Acted,
    Action,
    ActorStatus,
    ControlState,
    Decision,
    DirectoryEntry,
    Event,
    FeedStatus,
    Inference,
    Level,
    Logged,
    Missing,
    NodeStatus,
    Outlook,
    Page,
    Receipt,
    Report,
    Reward,
    Sample,
    SensorInfo,
    Span,
    Status,
    Stream,
)
from vagus.selector import is_derived, parse
from vagus.store import Batch
from vagus.store.events import question
from vagus.store.reader import Reader, open_all

RECORDS: dict[str, type] = {
    "event": Event,
    "receipt": Receipt,
    "decision": Decision,
    "reward": Reward,
    "report": Report,
    "item": Raw,
    "span": Span,
}
MAX_INGEST = 100_000
SPARE_PORTS = 100  # several nodes of one machine take the next free port each
MAX_EVENTS = 2000  # of one name, read for the directory
STATUS_TIMEOUT_S = 2.0
RECEIPTS_SHOWN = 20
MAX_LOOKED_AT = 200_000  # events, for one question: about half a second of CPU
EVEN = ("status", "sensors", "inferences", "records")  # questions that cost about the same each time


class CollectorActor(Actor):
    """`vagus:collector@NODE`. It is also the gateway's Backend (vagus/gateway/backend.py)."""

    role = "collector"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        self.node = seat.node
        self.cluster = seat.config.cluster
        decide = seat.config.decide
        self.table = DecisionTable(
            Random(int.from_bytes(os.urandom(8), "big")),
            grouping_of(decide),
            prefix=prefix_of(seat.node),
            labels=decide.labels,
        )
        self._roster = Roster(links)
        self._directory = Directory(seat.node, seat.config, self._stored_events)
        self._paths = Paths(seat.node, lambda events: self._sensing.put((), events), self._stored_events)
        self._head = str(seat.options.get("head", seat.node))
        self._outbox = Outbox(seat.node, self._head if decide.on == "head" else seat.node, links)
        self._spans = SpanOutbox(f"vagus:traces@{self._head}", links) if seat.config.traces.on != "off" else None
        self._probing = Probing(seat, self.spawn, self.failed)
        collect = seat.config.collect
        self._monitoring = (
            Monitoring(collect.resctrl_monitor, Path(collect.root), seat.folder / "journal-monitor")
            if collect.resctrl_monitor
            else None
        )
        self._ingested = 0
        self._opened: Sensing | None = None
        self._reader: Reader | None = None
        self._gateway: Gateway | None = None
        self._intake: Intake | None = None
        self._listeners: Listeners | None = None
        self._forwarding: list[RemoteWrite] = []
        self._patience = Patience(links, seconds(seat.config.gateway.timeout))
        expected = seat.config.expected.declared
        self._missed = Missed(links, self._outbox.observer, SystemClock()) if expected else None
        self._url = ""

    async def start(self) -> None:
        """Opens the store, listens, announces the gateway, senses. Raises ConfigError, StoreError."""
        settings, path = self.config, self.seat.store_path
        try:
            sensed = devices_at(settings, self.node, self._head)
            self._opened = Sensing(self.seat.name, self.node, path, sensed, self._outbox, self.failed)
            self._reader = open_all(path.parent, stores=[self._opened.store])
            hand_on = self._spans.take if self._spans is not None else lambda spans: None
            self._intake = Intake(self.node, Access(settings.access, self.node), self._opened, hand_on)
            self._listeners = Listeners(self.seat, self._intake)
            await self._listeners.start()
            self._gateway = Gateway(
                self,
                token=str(self.seat.options["token"]),
                host="127.0.0.1",
                port=settings.gateway.port,
                spare_ports=SPARE_PORTS,
                max_body_bytes=settings.gateway.max_body_bytes,
                timeout_s=seconds(settings.gateway.timeout),
                tokens={name: read_token(name, path) for name, path in settings.tokens.items()},
                access=settings.access,
                context=settings.decide.live(),
                processes=settings.gateway.processes,
            )
            self._url = await self._gateway.start()
            announce(self.seat.folder, self.node, self._url, str(self.seat.options["token"]))
        except BaseException:
            await self.stop()
            raise
        self._probing.start()
        self.spawn(self._opened.run(), vital=True)
        self.every(0.25, self._outbox.flush_decisions, "log decisions")
        self.every(1.0, self._outbox.flush_reports, "report")
        if self._spans is not None:
            self.every(0.25, self._spans.flush, "hand on spans")
        self.every(1.0, self._tell_probes, "tell of probes")
        self.every(1.0, self._intake.tell, "tell of refusals")
        self.every(seconds(settings.store.sync), self._opened.sync, "sync")
        self.every(60.0, self._opened.retain, "retain")
        if self._monitoring is not None:
            self.every(MONITORING_S, partial(asyncio.to_thread, self._monitoring.step), "monitor")
        for settings_of in settings.remote_write:
            self._forward(settings_of)

    async def stop(self) -> None:
        """Ends the gateway, sends what waits, closes the store. Idempotent."""
        withdraw(self.seat.folder)
        self._probing.stop()
        if self._monitoring is not None:
            await asyncio.to_thread(self._monitoring.stop)
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            await gateway.stop()
            await self._outbox.flush_decisions()
            await self._outbox.flush_reports()
            if self._spans is not None:
                await self._spans.flush()
        for writing in self._forwarding:
            await writing.close()
        if self._listeners is not None:
            await self._listeners.stop()
        if self._opened is not None:
            if self._reader is not None:
                self._reader.close()
            await self._opened.close()

    def _forward(self, settings: RemoteWriteSettings) -> None:
        """Sends samples on to a Prometheus-compatible server, from where its last life came to."""
        store, name = self._sensing.store, position_name(settings)
        writing = RemoteWrite(
            settings,
            self.node,
            lambda selector, start_ns, end_ns: list(store.scan(selector, start_ns, end_ns)),
            lambda position_ns: store.save(name, packed(position_ns)),
            self.refused,
            unpacked(store.load(name)),
        )
        self._forwarding.append(writing)
        self.every(seconds(settings.every), writing.step, "remote write")

    @property
    def _sensing(self) -> Sensing:
        if self._opened is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        return self._opened

    # --- samples from elsewhere ----------------------------------------------------------------------------------

    async def ingest(self, samples: Sequence[Sample]) -> int:
        """Stores samples that others collected (feeds, applications) and shows them live; returns how many."""
        if len(samples) > MAX_INGEST:
            raise VagusError(f"{len(samples)} samples in one batch; at most {MAX_INGEST}, send several")
        await self._sensing.put(samples, ())
        self._ingested += len(samples)
        return len(samples)

    async def take(self, who: Principal, samples: Sequence[Sample], events: Sequence[Event]) -> Taken:
        if self._intake is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        return await self._intake.take(who, samples, events)

    async def take_spans(self, who: Principal, spans: Sequence[Span]) -> Taken:
        if self._intake is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        return await self._intake.take(who, (), (), spans)

    async def latest(self, selectors: Sequence[str]) -> list[Sample]:
        """The newest samples, for controllers."""
        return self._sensing.live.latest(selectors)

    async def outlooks(self, selectors: Sequence[str]) -> list[tuple[Stream, tuple[Outlook, ...]]]:
        """What is forecast of the live streams of which any field is selected, for controllers."""
        chosen = [parse(text) for text in selectors]
        live = [s for s in self._sensing.live.streams() if any(selector.matches(s) for selector in chosen)]
        return [(stream, found) for stream in live if (found := self._sensing.foretelling.outlook(stream))]

    # --- news from the supervisor and the learner --------------------------------------------------------------------

    async def set_roster(self, roster: Sequence[ActorStatus], events: Sequence[Event]) -> None:
        """The supervisor's view of this node's actors, and what happened to them: kept, stored, reported."""
        fresh = self._roster.told(roster, events)
        self._directory.heard(roster, time.time_ns())
        self._outbox.note(self._roster.reports(time.time_ns()))
        if fresh:
            try:
                await self._sensing.put((), fresh)
            except VagusError:
                self._roster.forget(fresh)
                raise

    async def told(self, events: Sequence[Event]) -> None:
        """Events of another actor of this node, to be stored and shown to those who subscribe to events."""
        await self._sensing.put((), events)

    async def probe_address(self) -> Address | None:
        """Where this node hears probes; None when it makes none."""
        return self._probing.address()

    async def set_probe_peers(self, peers: Mapping[str, Address]) -> None:
        """Which nodes can be probed, and where."""
        await self._probing.set_peers(peers)

    async def _tell_probes(self) -> None:
        await self._probing.tell(self._sensing.put, self._outbox.note)

    async def set_table(self, update: bytes) -> None:
        """What changed in the decision table, from the decide actor. Raises Stale: it must send all of it."""
        self.table.apply(update)
        if self._gateway is not None:
            self._gateway.table_changed(update)

    async def flush_decisions(self) -> None:
        """Hands what was drawn so far to the decide actor: somebody has the reward already."""
        await self._outbox.flush_decisions()

    # --- the gateway's backend ---------------------------------------------------------------------------------------

    def nodes(self) -> Sequence[str]:
        return self.links.nodes()

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        if node == self.node:
            return await getattr(self, method)(*args)
        actor = f"vagus:collector@{node}"
        if method in EVEN:
            return await self._patience.call(actor, method, *args)
        return await self.links.call(actor, method, *args, timeout_s=seconds(self.config.gateway.timeout))

    async def report(self, reports: Sequence[Report]) -> list[Ack]:
        return await self._outbox.report(reports)

    async def observer(self, method: str, args: tuple[Any, ...]) -> Any:
        if method not in OBSERVER_METHODS:
            raise VagusError(f"{method!r} is none of the observer's methods: {', '.join(OBSERVER_METHODS)}")
        return await self.links.call(self._outbox.observer, method, *args)

    async def query(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        store = self._sensing.store
        if is_derived(selector):
            return await asyncio.to_thread(derive, selector, start_ns, end_ns, limit, store.scan)
        return await asyncio.to_thread(lambda: list(store.scan(selector, start_ns, end_ns, limit=limit)))

    async def sensors(self, selector: str) -> list[SensorInfo]:
        sensing, now_ns, period_s = self._sensing, time.time_ns(), self.config.collect.period_s
        senders = self._intake.senders if self._intake is not None else {}

        def source(kind: str) -> str:
            return sensing.source(kind) or senders.get(kind, "")

        def entries() -> list[SensorInfo]:
            found = sensing.store.sensors(selector)
            entries = [renewed(s, now_ns, period_s, source(s.stream.kind), self._url) for s in found]
            outlook = sensing.foretelling.outlook
            return [replace(e, outlook=outlook(e.stream)) if e.live else e for e in entries]

        return await asyncio.to_thread(entries)

    async def directory(self, history: bool) -> list[DirectoryEntry]:
        described = await self._roster.describe(await self.describe())
        self._directory.heard((a for a in described if a.state == "HEALTHY"), time.time_ns())
        found = self._directory.present(described, self._url, await self._feeds_said())
        found += await asyncio.to_thread(steerable, Path(self.seat.home), self.node, self._url)
        if history:
            found += await asyncio.to_thread(self._directory.past, [a.name for a in described])
        return found

    async def feeds(self) -> list[FeedStatus]:
        if not fetches_here(self.config, self.node, self._head):
            return []
        found: list[FeedStatus] = await self.links.call(f"vagus:feed@{self.node}", "statuses")
        return found

    async def feed_items(self, feed: str, limit: int, start_ns: int, end_ns: int) -> list[tuple[int, bytes]] | None:
        if not fetches_here(self.config, self.node, self._head):
            return None
        args = (feed, limit, start_ns, end_ns)
        found: list[tuple[int, bytes]] | None = await self.links.call(f"vagus:feed@{self.node}", "shown_items", *args)
        return found

    async def _feeds_said(self) -> list[FeedStatus]:
        try:
            return await asyncio.wait_for(self.feeds(), STATUS_TIMEOUT_S)
        except (VagusError, asyncio.TimeoutError, TimeoutError):
            return []  # the directory then has what the settings say of them

    async def path(self, target: str, history: bool) -> Trace:
        return await self._paths.find(target, history)

    def _stored_events(self, event: str, since_ns: int) -> list[Event]:
        where = ("event", event)
        return list(self._sensing.store.records("event", Event, since_ns, where=where, limit=MAX_EVENTS))

    async def inferences(self, subject: str) -> list[Inference]:
        found: list[Inference] = await self.links.call(self._outbox.observer, "inferences", subject)
        return found

    async def records(
        self,
        kind: str,
        start_ns: int,
        end_ns: int,
        limit: int,
        event: str = "",
        where: Sequence[str] = (),
        level: str = "",
    ) -> list[Any]:
        if kind not in RECORDS:
            raise VagusError(f"there are no records of kind {kind!r}; there are: {', '.join(RECORDS)}")
        stored = "raw" if kind == "item" else kind
        reader = self._reader
        if reader is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        if kind == "event":
            least = Level(level) if level else Level.DEBUG
            asked = question(event or "*", start_ns, end_ns, where, least, limit, most=MAX_LOOKED_AT)
            return await asyncio.to_thread(lambda: list(reader.events(asked)))
        found: list[Any] = await asyncio.to_thread(
            lambda: list(reader.records(stored, RECORDS[kind], start_ns, end_ns, limit=limit))
        )
        return [r.meta for r in found] if kind == "item" else found

    async def traces(self, asked: TraceQuestion) -> Found:
        return await asyncio.to_thread(find_traces, self._sensing.store, asked)

    async def spans(self, traces: Sequence[str], most: int) -> list[Span]:
        return await asyncio.to_thread(spans_of, self._sensing.store, traces, most)

    async def rankings(self, since_ns: int, limit: int) -> list[Ranking]:
        if self.config.traces.on == "off" or not self.config.traces.localise.on:
            raise NoData("nothing localises slow requests here: traces.on or traces.localise.on is off in vagus.yaml")
        found: list[Ranking] = await self.links.call(f"vagus:traces@{self._head}", "rankings", since_ns, limit)
        return found

    async def controllers(self) -> list[str]:
        return self._roster.controllers()

    async def control_state(self, controller: str, after_ns: int, wait_s: float) -> ControlState:
        found: ControlState = await self._controller(controller, "control_state", after_ns, wait_s)
        return found

    async def control_act(self, controller: str, actions: Sequence[Action], wait_s: float) -> Acted:
        found: Acted = await self._controller(controller, "control_act", actions, wait_s)
        return found

    async def _controller(self, name: str, method: str, *args: Any) -> Any:
        if name not in (known := self._roster.controllers()):
            there = f"there are: {', '.join(known)[:400]}" if known else "there are none"
            raise NoData(f"no controller {name[:80]!r} runs at {self.node}; {there}")
        timeout_s = seconds(self.config.gateway.timeout)
        return await self.links.call(f"vagus:controller:{name}@{self.node}", method, *args, timeout_s=timeout_s)

    async def decision_log(self, start_ns: int, end_ns: int, limit: int, group: str | None) -> list[Logged]:
        """Decisions logged here, newest first, each with its reward; group: None: of all."""
        reader, wait_s = self._reader, seconds(self.config.decide.max_age)
        if reader is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        return await asyncio.to_thread(joined, reader, start_ns, end_ns, limit, group, wait_s)

    async def status(self) -> NodeStatus:
        now = time.time_ns()
        described, (inferences, problems), receipts, missing = await asyncio.gather(
            self._roster.describe(await self.describe()),
            self._verdicts(),
            self.records("receipt", now - 3600 * 10**9, now + 10**9, RECEIPTS_SHOWN),
            self._missing(),
        )
        errors = [f"{name}: {error}" for name, error in self._sensing.failing().items()]
        return NodeStatus(
            node=self.node,
            t_ns=now,
            actors=described,
            series=self._sensing.live.series(),
            inferences=len(inferences),
            unhealthy=tuple(i.subject for i in inferences if i.status > Status.PENDING),
            errors=(*errors, *problems, *self._roster.errors(described)),
            receipts=tuple(receipts),
            decisions=sum(int(a.figures.get("decisions", 0)) for a in described),
            gateway=self._url,
            missing=missing,
        )

    async def _missing(self) -> tuple[Missing, ...]:
        return await self._missed.ask() if self._missed is not None else ()

    async def _verdicts(self) -> tuple[list[Inference], list[str]]:
        """The observer's verdicts, or why there are none: sooner than the gateway gives this node up."""
        try:
            return await self.links.call(self._outbox.observer, "inferences", "", timeout_s=STATUS_TIMEOUT_S), []
        except VagusError as error:
            return [], [str(error)]

    async def follow(self, selector: str, events: str, after: str, since_ns: int, until: str, wait_s: float) -> Page:
        return await self._sensing.following.follow(selector, events, after, since_ns, until, wait_s)

    def subscribe(self, selector: str, since_ns: int = 0, events: str = "") -> AsyncIterator[Page]:
        """Past to present of this node, page by page, for actors of this process; others: `following.subscribe`."""
        return subscribe(self, selector, events, since_ns)

    def refused(self, event: Event) -> None:
        self.spawn(self._sensing.put((), [event]))

    async def explain(self, group: str) -> Mapping[str, Any]:
        """What the group's leader knows of it, by way of this node's decide actor."""
        found: Mapping[str, Any] = await self.links.call(self._outbox.learner, "explain", group)
        return found

    def decided(self, decision: Decision) -> None:
        self._outbox.decided(decision)

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        return await self._outbox.reward(rewards)

    def notes(self) -> tuple[str, ...]:
        ports = self._listeners.notes() if self._listeners is not None else ()
        forwarding = (writing.trouble for writing in self._forwarding if writing.trouble)
        return (*ports, *self._probing.notes(), *forwarding, *(self._monitoring.notes() if self._monitoring else ()))

    def figures(self) -> dict[str, float]:
        if self._opened is None:
            return {}
        return {
            "series": float(self._sensing.live.series()),
            "ticks": float(self._sensing.ticks),
            "ticks_skipped": float(self._sensing.late),
            "tick_cpu_s": self._sensing.cpu_s,
            "ingested": float(self._ingested),
            "collectors_failing": float(len(self._sensing.failing())),
            "waiting": float(self._outbox.waiting),
            **self._opened.store.figures(),
            **self._probing.figures(),
            **(self._spans.figures() if self._spans is not None else {}),
            **(self._intake.figures() if self._intake is not None else {}),
            **({"remote_write_sent": float(sum(w.sent for w in self._forwarding))} if self._forwarding else {}),
        }


def devices_at(config: Config, node: str, head: str) -> Config:
    """The settings with those network devices that this node reads."""
    here = tuple(d for d in config.collect.snmp if d.on in (node, "every-node") or (d.on == "head" and node == head))
    return replace(config, collect=replace(config.collect, snmp=here))
