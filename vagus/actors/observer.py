"""The observer actor: takes reports, infers health, gossips with its peers, and keeps every accepted report."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from vagus.access import Access, Principal, Refusals
from vagus.actors.base import Actor, Links, Seat
from vagus.actors.batcher import Batcher
from vagus.actors.datagrams import Address, arrived_from, open_unix, own_address, resolve
from vagus.actors.wire import GOSSIP, Wire
from vagus.clock import NS
from vagus.config import seconds, socket_path
from vagus.errors import ConfigError, PeerUnreachable, StoreError
from vagus.health import STRATEGIES
from vagus.health.gossip import Gossip, Send
from vagus.health.inbox import MAX_INBOX_BYTES, read_reports
from vagus.health.local import LocalStore
from vagus.model import MAX_T_NS, Ack, Event, Inference, Level, Report, Status
from vagus.store import Store

GOSSIP_PERIOD_S = 1.0
TICK_PERIOD_S = 0.25
MAX_BATCH = 10_000
"""Reports in one call."""
MAX_RESTORED = 100_000
"""Newest reports read back at start."""

COUNTS = ("accepted", "ignored", "failed", "merged", "restored", "changes", "inbox_bad", "inbox_refused")
WIRE_COUNTS = ("sent", "received", "dropped", "unsealed")

Kept = tuple[str, Report | Event, int, dict[str, str]]


class ObserverActor(Actor):
    """`vagus:observer@NODE`. Options of its seat: key (32 bytes or their hex), peers, address (of this node)."""

    role = "observer"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        settings = seat.config.health
        ttl_ns, pending_ns = round(seconds(settings.ttl) * NS), round(seconds(settings.pending) * NS)
        strategy = STRATEGIES.make(settings.strategy, pending_ns=pending_ns)
        self.counts: Counter[str] = Counter()
        self._local = LocalStore(seat.node, strategy, ttl_ns=ttl_ns, pending_ns=pending_ns)
        self._gossip = Gossip(seat.node, Random(int.from_bytes(os.urandom(8), "big")), window_ns=ttl_ns)
        self._was: dict[str, Status] = {}
        self._access = Access(seat.config.access, seat.node)
        self._refusals = Refusals(seat.node, seat.name)
        self._subscribers: list[Callable[[Event], None]] = []
        self._wire = Wire(seat.node, self.failed)
        self._wire.hear(GOSSIP, self._hear)
        self._wire.met.append(lambda _: self._gossip.peers(self._wire.addresses))
        self._wire.drained.append(self._heard)
        self._merged: list[Kept] = []
        self._store: Store | None = None
        self._inbox: socket.socket | None = None
        self._inbox_path = socket_path(Path(seat.home), seat.node, "report")
        # one thread writes: a slow disk delays acknowledgements, never gossip or inference
        self._writer = ThreadPoolExecutor(1, "observer-store")
        self._closing = threading.Lock()
        self._writes: Batcher[Kept, None] = Batcher(self._write)

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens store and sockets, restores history. Raises ConfigError, StoreError."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._restore)
            self._open_sockets()
            await self.set_peers(self.seat.options.get("peers", {}), _key(self.seat.options.get("key", b"")))
        except BaseException:
            await self.stop()
            raise
        self.every(TICK_PERIOD_S, self._tick, "tick")
        self.every(GOSSIP_PERIOD_S, self._gossip_tick, "gossip")
        self.every(seconds(self.config.store.sync), self._sync, "sync")
        self.every(60.0, self._retain, "retain")

    async def stop(self) -> None:
        """Closes and removes the sockets, writes what waits, closes the store. Idempotent."""
        loop = asyncio.get_running_loop()
        self._wire.close()
        if self._inbox is not None:
            loop.remove_reader(self._inbox.fileno())
            self._inbox.close()
            self._inbox_path.unlink(missing_ok=True)
            self._inbox = None
        if self._store is not None:
            store, self._store = self._store, None
            try:
                await self._writes.put([])  # after everything that waits
            finally:
                await loop.run_in_executor(self._writer, self._close, store)
        self._writer.shutdown(wait=False)

    def _restore(self) -> None:
        store = Store.open(self.seat.store_path, create=True, map_bytes=self.config.store.map_bytes)
        self._store = self._written = store
        now_ns = time.time_ns()
        history = list(
            store.records(
                "report", Report, now_ns - self._local.ttl_ns, MAX_T_NS, limit=MAX_RESTORED, newest_first=True
            )
        )
        self.counts["restored"] = self._local.restore(history, now_ns)
        self._gossip.restore(history, now_ns)
        self._was = {inference.subject: inference.status for inference in self._local.inferences()}

    # --- what others call ------------------------------------------------------------------------------------------

    async def report(self, reports: Sequence[Report]) -> list[Ack]:
        """An answer for each report. ACCEPTED: it survives kill -9 of every process, and a power cut after `sync`.

        FAILED: refused (see status), or not stored; then it still counts until this actor ends.
        """
        if len(reports) > MAX_BATCH:
            raise ConfigError(f"{len(reports)} reports in one call; at most {MAX_BATCH}, send several")
        acks, kept = self._submit(reports)
        if kept:
            try:
                await self._writes.put(kept)
            except (StoreError, PeerUnreachable) as error:
                self.failed("report", error)
                acks = [Ack.FAILED if ack is Ack.ACCEPTED else ack for ack in acks]
        return acks

    async def inferences(self, subject: str = "") -> list[Inference]:
        """Every subject's verdict without reports, or that of one with them; an empty list for an unknown one."""
        if not subject:
            return self._local.inferences()
        found = self._local.inference(subject)
        return [found] if found is not None else []

    async def panorama(self, subject: str) -> dict[str, tuple[Report, ...]]:
        """Each observer's last reports on a subject, oldest first."""
        return self._local.panorama(subject)

    async def watch(self, subject: str) -> None:
        """Reports of other nodes on `subject` count again."""
        self._local.watch(subject)

    async def unwatch(self, subject: str) -> None:
        """Forgets `subject` until it is watched, or reported on here."""
        self._local.unwatch(subject)
        self._was.pop(subject, None)

    async def address(self) -> Address:
        """Where this observer hears gossip. Raises PeerUnreachable before `start`."""
        return self._wire.address()

    async def set_peers(self, peers: Mapping[str, Address], key: bytes | str = b"") -> None:
        """Whom to gossip with, by node, and the cluster's key if it changed. Raises ConfigError."""
        addresses = {}
        for node, (host, port) in peers.items():
            if node != self.seat.node:
                addresses[node] = await resolve(host, port)
        new = self._wire.connect(addresses, _key(key))
        self._gossip.peers(self._wire.addresses)
        for node in new:
            self._send(self._gossip.greet(node))

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Calls back with every `health.changed` event from now on, in this process; returns how to stop that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def figures(self) -> dict[str, float]:
        """Counters since start, and what is held now."""
        refused = self._wire.sealer.refused.total() if self._wire.sealer else 0
        local, gossip = self._local.counts, self._gossip.counts
        return {
            **{name: float(self.counts[name]) for name in COUNTS},
            **{f"gossip_{name}": float(self._wire.counts[name]) for name in WIRE_COUNTS},
            "subjects": float(len(self._local.inferences())),
            "reports": float(len(self._local)),
            "peers": float(len(self._wire.addresses)),
            "evicted": float(local["evicted_subjects"] + local["evicted_observers"]),
            "gossip_refused": float(refused + gossip["bad"]),
            "gossip_filled": float(gossip["filled"]),
            "gossip_retained": float(len(self._gossip)),
        }

    def notes(self) -> tuple[str, ...]:
        """What people should know."""
        lines = []
        if self._wire.sealer is None:
            lines.append("gossip is off: this observer has no key")
        if self._local.last_refused:
            lines.append(f"last report refused: {self._local.last_refused}")
        return tuple(lines)

    # --- inside: reports and verdicts ------------------------------------------------------------------------------

    def _submit(self, reports: Iterable[Report]) -> tuple[list[Ack], list[Kept]]:
        now_ns = time.time_ns()
        acks, accepted, kept = [], [], []
        for report in reports:
            ack, numbered, change = self._local.submit(report, now_ns)
            acks.append(ack)
            if ack is Ack.ACCEPTED:
                accepted.append(numbered)
                kept.append(_kept(numbered))
            kept += self._changed(change)
            self.counts[ack.value.lower()] += 1
        self._send(self._gossip.on_local(accepted, now_ns))
        return acks, kept

    def _changed(self, change: Inference | None) -> list[Kept]:
        """Tells the subscribers of a new verdict; the event, to be kept."""
        if change is None:
            return []
        was = self._was.get(change.subject, Status.NA)
        if change.observers:
            self._was[change.subject] = change.status
        else:
            self._was.pop(change.subject, None)
        accusers = sorted({name for verdict in change.contexts.values() for name in verdict.accusers})
        event = Event(
            change.t_ns,
            "health.changed",
            self.seat.node,
            Level.WARNING if change.status > Status.PENDING else Level.INFO,
            self.seat.name,
            {"subject": change.subject, "status": change.status.name, "was": was.name, "accusers": ",".join(accusers)},
        )
        self.counts["changes"] += 1
        for callback in list(self._subscribers):
            try:
                callback(event)
            except Exception as error:
                self.failed("subscriber", error)
        return [("event", event, event.t_ns, {"event": event.event, "subject": change.subject})]

    def _tick(self) -> None:
        now_ns = time.time_ns()
        self._keep([kept for change in self._local.tick(now_ns) for kept in self._changed(change)])

    # --- inside: the store -----------------------------------------------------------------------------------------

    def _keep(self, kept: list[Kept]) -> None:
        """Writes in the background; a failure is counted."""
        if kept:

            async def write() -> None:
                await self._writes.put(kept)

            self.spawn(write())

    async def _write(self, kept: list[Kept]) -> list[None]:
        """One commit for everything that came while the last one was under way."""
        if kept:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._commit, kept)
        return [None] * len(kept)

    def _commit(self, kept: list[Kept]) -> None:
        for kind, record, t_ns, index in kept:
            self._written.put(kind, record, t_ns=t_ns, index=index)
        self._written.flush()

    async def _sync(self) -> None:
        await asyncio.to_thread(self._sync_store)  # beside the writer: commits go on meanwhile

    def _sync_store(self) -> None:
        with self._closing:
            if self._store is not None:
                self._store.sync()

    def _close(self, store: Store) -> None:
        with self._closing:
            try:
                store.flush()
                store.sync()
            finally:
                store.close()

    async def _retain(self) -> None:
        if self._store is not None:
            limits = (seconds(self.config.store.retain), self.config.store.retain_bytes)
            await asyncio.get_running_loop().run_in_executor(self._writer, self._store.retain, *limits)

    # --- inside: gossip --------------------------------------------------------------------------------------------

    def _gossip_tick(self) -> None:
        self._send(self._gossip.tick(time.time_ns()))

    def _send(self, sends: Iterable[Send]) -> None:
        for send in sends:
            self._wire.send(send.to, send.payload)

    def _hear(self, node: str, body: bytes) -> None:
        now_ns = time.time_ns()
        reports, answers = self._gossip.on_message(node, body, now_ns)
        for report in reports:
            self._merged += self._merge(report, now_ns)
        self._send(answers)

    def _heard(self) -> None:
        """After everything that came together: one commit for it."""
        self._local.advance(self._gossip.highest(self.seat.node))
        kept, self._merged = self._merged, []
        self._keep(kept)

    def _merge(self, report: Report, now_ns: int) -> list[Kept]:
        try:
            ack, change = self._local.merge(report, now_ns)
        except Exception as error:  # a strategy from elsewhere: one subject fails, not the gossip
            self.failed(f"infer {report.subject}", error)
            return [_kept(report)]
        if ack is not Ack.ACCEPTED:
            return self._changed(change)
        self.counts["merged"] += 1
        return [_kept(report), *self._changed(change)]

    # --- inside: sockets -------------------------------------------------------------------------------------------

    def _open_sockets(self) -> None:
        host, port = "127.0.0.1", self.config.health.port
        if self.config.gateway.bind == "node":
            host = str(self.seat.options.get("address", "")) or own_address()
        self._wire.open(host, port)
        self._inbox = open_unix(self._inbox_path)  # a predecessor's file may go: the store's lock says it is dead
        asyncio.get_running_loop().add_reader(self._inbox.fileno(), self._take)

    def _refused(self, who: Principal, reports: Iterable[Report]) -> bool:
        """Whether the access rules refuse any of them; that is told."""
        for subject in () if self._access.open else {report.subject for report in reports}:
            if not self._access.allows(who, "send", subject):
                self.counts["inbox_refused"] += 1
                event = self._refusals.note(str(who), "send", subject, time.time_ns())
                if event is not None:
                    self._keep([("event", event, event.t_ns, {"event": event.event})])
                return True
        return False

    def _take(self) -> None:
        """Reads reports of local processes; bad ones are counted. Nobody waits for an answer."""
        for data, uid in arrived_from(self._inbox, MAX_INBOX_BYTES):
            try:
                reports = read_reports(data)
                if self._refused(Principal("uid", str(uid)), reports):
                    continue
                _, kept = self._submit(reports)
            except ConfigError as error:
                self.counts["inbox_bad"] += 1
                self.last_error = f"report socket: {error}"[:500]
                continue
            except Exception as error:  # a strategy from elsewhere
                self.failed("report socket", error)
                continue
            self._keep(kept)


def _kept(report: Report) -> Kept:
    return "report", report, report.t_ns, {"subject": report.subject}


def _key(key: bytes | str) -> bytes:
    """The key from bytes or hex. Raises ConfigError."""
    if isinstance(key, bytes):
        return key
    try:
        return bytes.fromhex(key)
    except ValueError as error:
        raise ConfigError("the gossip key is not hexadecimal; 64 digits are needed") from error
