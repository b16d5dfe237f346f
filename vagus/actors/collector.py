"""The collector actor: senses every second, stores, and serves the node's gateway from its own process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.outbox import Outbox
from vagus.actors.roster import Roster
from vagus.actors.sensing import Sensing
from vagus.config import read_token, seconds, write_private
from vagus.controllers.decision import DecisionTable
from vagus.errors import PeerUnreachable, VagusError
from vagus.feeds import Raw
from vagus.gateway.server import Gateway
from vagus.model import (
    Ack,
    ActorStatus,
    Decision,
    Event,
    Inference,
    NodeStatus,
    Receipt,
    Report,
    Reward,
    Sample,
    SensorInfo,
    Status,
)
from vagus.store import Batch
from vagus.store.reader import Reader, open_all

RECORDS: dict[str, type] = {
    "event": Event,
    "receipt": Receipt,
    "decision": Decision,
    "reward": Reward,
    "report": Report,
    "item": Raw,
}
MAX_INGEST = 100_000
SPARE_PORTS = 100  # several nodes of one machine take the next free port each
LIVE_S = 60.0  # a stream is live while its newest sample is younger
STATUS_TIMEOUT_S = 2.0
RECEIPTS_SHOWN = 20


class CollectorActor(Actor):
    """`vagus:collector@NODE`. It is also the gateway's Backend (vagus/gateway/backend.py)."""

    role = "collector"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        self.node = seat.node
        self.cluster = seat.config.cluster
        self.table = DecisionTable(Random(int.from_bytes(os.urandom(8), "big")), seat.config.decide.group_by)
        self._roster = Roster(links)
        self._outbox = Outbox(seat.node, str(seat.options.get("head", seat.node)), links)
        self._ingested = 0
        self._opened: Sensing | None = None
        self._reader: Reader | None = None
        self._gateway: Gateway | None = None
        self._url = ""

    async def start(self) -> None:
        """Opens the store, listens, announces the gateway, senses. Raises ConfigError, StoreError."""
        settings, path = self.config, self.seat.store_path
        try:
            self._opened = Sensing(self.seat.name, self.node, path, settings, self._outbox, self.failed)
            self._reader = open_all(path.parent, stores=[self._opened.store])
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
            )
            self._url = await self._gateway.start()
            self._announce()
        except BaseException:
            await self.stop()
            raise
        self.spawn(self._opened.run())
        self.every(0.25, self._outbox.flush_decisions, "log decisions")
        self.every(1.0, self._outbox.flush_reports, "report")
        self.every(seconds(settings.store.sync), self._opened.sync, "sync")
        self.every(60.0, self._opened.retain, "retain")

    async def stop(self) -> None:
        """Ends the gateway, sends what waits, closes the store. Idempotent."""
        (self.seat.folder / "gateway.json").unlink(missing_ok=True)
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            await gateway.stop()
            await self._outbox.flush_decisions()
            await self._outbox.flush_reports()
        if self._opened is not None:
            if self._reader is not None:
                self._reader.close()
            await self._opened.close()

    def _announce(self) -> None:
        """Where host programs and the command line find this gateway."""
        token_file = self.seat.folder / "token"
        write_private(token_file, str(self.seat.options["token"]).encode())
        content = {"url": self._url, "token_file": str(token_file), "node": self.node, "pid": os.getpid()}
        write_private(self.seat.folder / "gateway.json", json.dumps(content).encode())

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
        self._sensing.live.publish(samples)
        self._ingested += len(samples)
        return len(samples)

    async def latest(self, selectors: Sequence[str]) -> list[Sample]:
        """The newest samples, for controllers."""
        return self._sensing.live.latest(selectors)

    # --- news from the supervisor and the learner --------------------------------------------------------------------

    async def set_roster(self, roster: Sequence[ActorStatus], events: Sequence[Event]) -> None:
        """The supervisor's view of this node's actors, and what happened to them: kept, stored, reported."""
        fresh = self._roster.told(roster, events)
        self._outbox.note(self._roster.reports(time.time_ns()))
        if fresh:
            try:
                await self._sensing.put((), fresh)
            except VagusError:
                self._roster.forget(fresh)
                raise

    async def set_table(self, snapshot: bytes) -> None:
        """A new decision table, from the learner."""
        self.table.replace(snapshot)

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
        return await self._outbox.report(reports)

    async def query(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        store = self._sensing.store
        return await asyncio.to_thread(lambda: list(store.scan(selector, start_ns, end_ns, limit=limit)))

    async def sensors(self, selector: str) -> list[SensorInfo]:
        live_after = time.time_ns() - int(max(LIVE_S, 3 * self.config.collect.period_s) * 1e9)
        found = await asyncio.to_thread(self._sensing.store.sensors, selector)
        return [
            SensorInfo(s.stream, s.first_ns, s.last_ns, s.samples, self._sensing.live.last_ns(s.stream) >= live_after)
            for s in found
        ]

    async def inferences(self, subject: str) -> list[Inference]:
        found: list[Inference] = await self.links.call(self._outbox.observer, "inferences", subject)
        return found

    async def records(self, kind: str, start_ns: int, end_ns: int, limit: int) -> list[Any]:
        if kind not in RECORDS:
            raise VagusError(f"there are no records of kind {kind!r}; there are: {', '.join(RECORDS)}")
        stored = "raw" if kind == "item" else kind
        reader = self._reader
        if reader is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        found: list[Any] = await asyncio.to_thread(
            lambda: list(reader.records(stored, RECORDS[kind], start_ns, end_ns, limit=limit))
        )
        return [r.meta for r in found] if kind == "item" else found

    async def status(self) -> NodeStatus:
        now = time.time_ns()
        described, (inferences, problems), receipts = await asyncio.gather(
            self._roster.describe(await self.describe()),
            self._verdicts(),
            self.records("receipt", now - 3600 * 10**9, now + 10**9, RECEIPTS_SHOWN),
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
        )

    async def _verdicts(self) -> tuple[list[Inference], list[str]]:
        """The observer's verdicts, or why there are none: sooner than the gateway gives this node up."""
        try:
            return await self.links.call(self._outbox.observer, "inferences", "", timeout_s=STATUS_TIMEOUT_S), []
        except VagusError as error:
            return [], [str(error)]

    def subscribe(self, selector: str) -> AsyncIterator[list[Sample]]:
        return self._sensing.live.subscribe(selector)

    def refused(self, event: Event) -> None:
        self.spawn(self._sensing.put((), [event]))

    def decided(self, decision: Decision) -> None:
        self._outbox.decided(decision)

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        return await self._outbox.reward(rewards)

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
        }
