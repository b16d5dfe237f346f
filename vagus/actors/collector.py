"""The collector actor: senses every second, stores, and serves the node's gateway from its own process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.batcher import Batcher
from vagus.actors.live import Live
from vagus.collectors.run import Runner
from vagus.config import seconds
from vagus.controllers.decision import DecisionTable
from vagus.errors import PeerUnreachable, VagusError
from vagus.feeds import Raw
from vagus.gateway.server import Gateway
from vagus.health import LOG_FILTERS, LogFilter
from vagus.health.rules import SELECTORS, judge_node
from vagus.model import (
    Ack,
    ActorStatus,
    Decision,
    Event,
    Inference,
    Metric,
    NodeStatus,
    Receipt,
    Report,
    Reward,
    Sample,
    SensorInfo,
    Status,
    Stream,
)
from vagus.store import Batch, Store
from vagus.store.reader import open_all

T = TypeVar("T")
RECORDS: dict[str, type] = {
    "event": Event,
    "receipt": Receipt,
    "decision": Decision,
    "reward": Reward,
    "report": Report,
    "item": Raw,
}
SELF_REPORT_S = 10.0
MAX_PENDING_REPORTS = 10_000
MAX_INGEST = 100_000
SPARE_PORTS = 100  # several nodes of one machine take the next free port each
LIVE_S = 60.0  # a stream is live while its newest sample is younger
SILENT_S = 300.0


class CollectorActor(Actor):
    """`vagus:collector@NODE`. It is also the gateway's Backend (vagus/gateway/backend.py)."""

    role = "collector"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        self.node = seat.node
        self.cluster = seat.config.cluster
        self.table = DecisionTable(Random(int.from_bytes(os.urandom(8), "big")), seat.config.decide.group_by)
        self._live = Live()
        self._ids: dict[Stream, int] = {}
        self._roster: list[ActorStatus] = []
        self._reports: deque[Report] = deque(maxlen=MAX_PENDING_REPORTS)
        self._decisions: deque[Decision] = deque(maxlen=100_000)
        self._told: set[str] = set()
        self._told_s = 0.0
        self._ticks = 0
        self._late = 0
        self._tick_cpu_s = 0.0
        self._ingested = 0
        self._busy = False
        self._filters: list[LogFilter] = []
        # one thread owns all writes and may hang on a dead mount without holding up the gateway
        self._writer = ThreadPoolExecutor(1, "sense")
        self._observer = f"vagus:observer@{seat.node}"
        self._decide = f"vagus:decide@{seat.options.get('head', seat.node)}"
        self._to_observer: Batcher[Report, Ack] = Batcher(self._send_reports)
        self._to_learner: Batcher[Reward, Ack] = Batcher(self._send_rewards)

    async def start(self) -> None:
        settings = self.config
        self._store = Store.open(self.seat.store_path, create=True, map_bytes=settings.store.map_bytes)
        self._reader = open_all(self.seat.store_path.parent, stores=[self._store])
        self._runner = Runner.from_settings(self.node, settings.collect)
        for name in settings.collect.log_filters:
            self._filters.append(LOG_FILTERS.make(name, self.node))
        self._gateway = Gateway(
            self,
            token=str(self.seat.options["token"]),
            host="127.0.0.1",
            port=settings.gateway.port,
            spare_ports=SPARE_PORTS,
            max_body_bytes=settings.gateway.max_body_bytes,
            timeout_s=seconds(settings.gateway.timeout),
        )
        url = await self._gateway.start()
        self._publish_endpoint(url)
        self.spawn(self._sense())
        self.every(0.25, self._flush_decisions, "log decisions")
        self.every(1.0, self._flush_reports, "report")
        self.every(seconds(settings.store.sync), self._sync, "sync")
        self.every(60.0, self._retain, "retain")

    async def stop(self) -> None:
        self._endpoint.unlink(missing_ok=True)
        await self._gateway.stop()
        await self._flush_decisions()
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        self._writer.shutdown(wait=False)

    def _close(self) -> None:
        self._runner.close()
        self._reader.close()
        self._store.flush()
        self._store.sync()
        self._store.close()

    def _publish_endpoint(self, url: str) -> None:
        """Where host programs and the command line find this gateway."""
        token_file = self.seat.folder / "token"
        self._endpoint = self.seat.folder / "gateway.json"
        _write_private(token_file, str(self.seat.options["token"]))
        content = {"url": url, "token_file": str(token_file), "node": self.node, "pid": os.getpid()}
        _write_private(self._endpoint, json.dumps(content))
        self._url = url

    # --- sense -------------------------------------------------------------------------------------------------------

    async def _sense(self) -> None:
        """Ticks at whole multiples of the period of wall time, so that all streams share their times."""
        period_ns = round(self.config.collect.period_s * 1e9)
        loop = asyncio.get_running_loop()
        while True:
            now = time.time_ns()
            t_ns = (now // period_ns + 1) * period_ns
            await asyncio.sleep((t_ns - now) / 1e9)
            if self._busy:  # the last tick hangs in the kernel: skip, count, go on serving
                self._late += 1
                continue
            self._busy = True
            loop.run_in_executor(self._writer, self._tick, t_ns).add_done_callback(self._ticked)

    def _tick(self, t_ns: int) -> tuple[list[Sample], list[Event]]:
        started = time.thread_time()
        found = self._runner.tick(t_ns)
        samples = [x for x in found if isinstance(x, Sample)]
        events = [x for x in found if isinstance(x, Event)]
        self._write(samples, events)
        self._tick_cpu_s += time.thread_time() - started
        return samples, events

    def _write(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        store, ids = self._store, self._ids
        for sample in samples:
            stream_id = ids.get(sample.stream)
            if stream_id is None:
                stream_id = ids[sample.stream] = store.declare(sample.stream)
            store.append(stream_id, sample.t_ns, sample.values)
        for event in events:
            store.put("event", event, t_ns=event.t_ns, index={"event": event.event})
        store.flush()

    def _ticked(self, done: asyncio.Future[tuple[list[Sample], list[Event]]]) -> None:
        self._busy = False
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self.failed("sense", error)
            return
        samples, events = done.result()
        self._ticks += 1
        self._live.publish(samples)
        for event in events:
            self._filter(event)
        if time.monotonic() - self._told_s >= SELF_REPORT_S or self._runner.failing().keys() != self._told:
            self._report_senses()
            self._live.forget(time.time_ns() - int(SILENT_S * 1e9))

    def _filter(self, event: Event) -> None:
        if event.event != "log.line":
            return
        for log_filter in self._filters:
            report = log_filter.read(str(event.fields.get("text", "")), event.source, event.t_ns)
            if report is not None:
                self._reports.append(report)

    def _report_senses(self) -> None:
        """The collectors' own health, and what the samples say of the node, to the observer."""
        now, observer = time.time_ns(), f"collector@{self.node}"
        failing = self._runner.failing()
        self._told, self._told_s = set(failing), time.monotonic()
        for name in self._runner.names():
            status = Status.UNHEALTHY if name in failing else Status.HEALTHY
            self._reports.append(Report(observer, f"sensor:{name}@{self.node}", now, {"collect": Metric(status)}))
        contexts = judge_node(self._live.latest(SELECTORS))
        if contexts:
            self._reports.append(Report(observer, f"node:{self.node}", now, contexts))

    async def ingest(self, samples: Sequence[Sample]) -> int:
        """Stores samples that others collected (feeds, applications) and shows them live; returns how many."""
        if len(samples) > MAX_INGEST:
            raise VagusError(f"{len(samples)} samples in one batch; at most {MAX_INGEST}, send several")
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write, samples, ())
        self._live.publish(samples)
        self._ingested += len(samples)
        return len(samples)

    async def latest(self, selectors: Sequence[str]) -> list[Sample]:
        """The newest samples, for controllers."""
        return self._live.latest(selectors)

    async def _sync(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._store.sync)

    async def _retain(self) -> None:
        limits = (seconds(self.config.store.retain), self.config.store.retain_bytes)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._store.retain, *limits)

    # --- news from the supervisor and the learner --------------------------------------------------------------------

    async def set_roster(self, roster: Sequence[ActorStatus], events: Sequence[Event]) -> None:
        """The supervisor's view of this node's actors, and what happened to them: kept, stored, reported."""
        self._roster = list(roster)
        now = time.time_ns()
        for actor in roster:
            status = {"HEALTHY": Status.HEALTHY, "STARTING": Status.PENDING}.get(actor.state, Status.DEAD)
            self._reports.append(Report("vagus:supervisor", actor.name, now, {"alive": Metric(status)}))
        if events:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, (), events)

    async def set_table(self, snapshot: bytes) -> None:
        """A new decision table, from the learner."""
        self.table.replace(snapshot)

    async def _flush_reports(self) -> None:
        if self._reports:
            batch = list(self._reports)
            self._reports.clear()
            try:
                await self._to_observer.put(batch)
            except PeerUnreachable:
                self._reports.extendleft(reversed(batch))  # bounded: the oldest give way

    async def _flush_decisions(self) -> None:
        if self._decisions:
            batch = list(self._decisions)
            self._decisions.clear()
            try:
                await self.links.call(self._decide, "decided", batch)
            except PeerUnreachable:
                self._decisions.extendleft(reversed(batch))

    async def _send_reports(self, reports: list[Report]) -> list[Ack]:
        acks: list[Ack] = await self.links.call(self._observer, "report", reports)
        return acks

    async def _send_rewards(self, rewards: list[Reward]) -> list[Ack]:
        await self._flush_decisions()  # the learner must know a decision before its reward
        acks: list[Ack] = await self.links.call(self._decide, "rewarded", rewards)
        return acks

    # --- the gateway's backend ---------------------------------------------------------------------------------------

    def nodes(self) -> Sequence[str]:
        return self.links.nodes()

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        if node == self.node:
            return await getattr(self, method)(*args)
        return await self.links.call(
            f"vagus:collector@{node}", method, *args, timeout_s=seconds(self.config.gateway.timeout)
        )

    async def report(self, reports: Sequence[Report]) -> list[Ack]:
        return await self._to_observer.put(reports)

    async def query(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        return await asyncio.to_thread(lambda: list(self._store.scan(selector, start_ns, end_ns, limit=limit)))

    async def sensors(self, selector: str) -> list[SensorInfo]:
        live_after = time.time_ns() - int(max(LIVE_S, 3 * self.config.collect.period_s) * 1e9)
        found = await asyncio.to_thread(self._store.sensors, selector)
        return [
            SensorInfo(s.stream, s.first_ns, s.last_ns, s.samples, self._live.last_ns(s.stream) >= live_after)
            for s in found
        ]

    async def inferences(self, subject: str) -> list[Inference]:
        found: list[Inference] = await self.links.call(self._observer, "inferences", subject)
        return found

    async def records(self, kind: str, start_ns: int, end_ns: int, limit: int) -> list[Any]:
        if kind not in RECORDS:
            raise VagusError(f"there are no records of kind {kind!r}; there are: {', '.join(RECORDS)}")
        found = await asyncio.to_thread(
            lambda: list(
                self._reader.records(kind if kind != "item" else "raw", RECORDS[kind], start_ns, end_ns, limit=limit)
            )
        )
        return [r.meta for r in found] if kind == "item" else found

    async def status(self) -> NodeStatus:
        actors = await asyncio.gather(*(self._describe(a) for a in self._roster if a.name != self.seat.name))
        inferences: list[Inference] = []
        errors = [f"{name}: {error}" for name, error in self._runner.failing().items()]
        try:
            inferences = await self.inferences("")
        except PeerUnreachable as error:
            errors.append(str(error))
        mine = next((a for a in self._roster if a.name == self.seat.name), None)
        described = [await self.describe(), *actors] if mine is None else [_seen(await self.describe(), mine), *actors]
        errors += [
            f"{a.name}: {a.state} {a.last_error}".strip() for a in described if a.state not in ("HEALTHY", "STARTING")
        ]
        now = time.time_ns()
        receipts = await self.records("receipt", now - 3600 * 10**9, now + 10**9, 20)
        unhealthy = tuple(i.subject for i in inferences if i.status > Status.PENDING)
        decisions = sum(int(a.figures.get("decisions", 0)) for a in described)
        return NodeStatus(
            node=self.node,
            t_ns=now,
            actors=tuple(sorted(described, key=lambda a: a.name)),
            series=self._live.series(),
            inferences=len(inferences),
            unhealthy=unhealthy,
            errors=tuple(errors),
            receipts=tuple(receipts),
            decisions=decisions,
            gateway=self._url,
        )

    async def _describe(self, known: ActorStatus) -> ActorStatus:
        if known.state != "HEALTHY":
            return known
        try:
            return _seen(await self.links.call(known.name, "describe", timeout_s=2.0), known)
        except PeerUnreachable as error:
            return ActorStatus(
                known.name, known.role, known.node, "UNHEALTHY", restarts=known.restarts, last_error=str(error)
            )

    def subscribe(self, selector: str) -> AsyncIterator[list[Sample]]:
        return self._live.subscribe(selector)

    def decided(self, decision: Decision) -> None:
        self._decisions.append(decision)

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        return await self._to_learner.put(rewards)

    def figures(self) -> dict[str, float]:
        return {
            "series": float(self._live.series()),
            "ticks": float(self._ticks),
            "ticks_skipped": float(self._late),
            "tick_cpu_s": self._tick_cpu_s,
            "ingested": float(self._ingested),
            "collectors_failing": float(len(self._runner.failing())),
            "reports_waiting": float(len(self._reports)),
        }


def _seen(said: ActorStatus, known: ActorStatus) -> ActorStatus:
    """What the actor says, with the supervisor's reason for its last restart where it has no error of its own."""
    if said.last_error or not known.last_error:
        return said
    note = f"restarted {known.restarts} x, last: {known.last_error}"
    return ActorStatus(**{**{f: getattr(said, f) for f in said.__struct_fields__}, "notes": (*said.notes, note)})


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
