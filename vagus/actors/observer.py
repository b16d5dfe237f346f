"""The observer actor: takes reports, infers health, gossips with its peers, and keeps every accepted report.

Its parts: `wire` (the socket to the peers), `submits` and `inbox` (sockets of local programs), `keeping` (the store),
`verdicts` (what becomes of a changed verdict).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Any

import msgspec

from vagus.access import Access, Principal, Refusals
from vagus.actors.base import Links, Seat
from vagus.actors.datagrams import Address, own_address, resolve
from vagus.actors.exchange import Exchange
from vagus.actors.exchange import kept as kept_of
from vagus.actors.herald import Herald
from vagus.actors.inbox import Inbox
from vagus.actors.keeping import Keeper, Kept
from vagus.actors.membership import Membership
from vagus.actors.observer_reads import ObserverReads
from vagus.actors.registrations import Registrations
from vagus.actors.submits import Submits
from vagus.actors.topology import Topology
from vagus.actors.usage import rss_bytes
from vagus.actors.verdicts import Verdicts, kept_event
from vagus.actors.wire import MAX_PEERS, Wire
from vagus.clock import SystemClock
from vagus.config import seconds, socket_path
from vagus.errors import ConfigError, PeerUnreachable, Refused, StoreError
from vagus.health.gossip import Gossip
from vagus.model import MAX_T_NS, Ack, Event, Inference, Missing, Report, Status, check_name
from vagus.store import Store

GOSSIP_PERIOD_S = 1.0
LOOK_PERIOD_S = 1.0
TICK_PERIOD_S = 0.25
SWEEP_PERIOD_S = 5.0
SWITCH_S = 0.0005
MAX_BATCH = 10_000
"""Reports in one call."""
MAX_RESTORED = 100_000
"""Newest reports read back at start."""
AUTO_SYNC_BYTES = 8 << 20
"""Small commits in quick succession write much: the disk is waited for each second, not each twenty of them."""
MAX_TOLD = 1000
"""Names of the watch list in `about`."""
TOPOLOGY = "topology"
"""Under which name the store keeps since when what is missing."""

COUNTS = ("accepted", "ignored", "failed", "restored", "changes")
WIRE_COUNTS = ("sent", "received", "dropped", "unsealed")


class ObserverActor(ObserverReads):
    """`vagus:observer@NODE`. Options of its seat: key (32 bytes or their hex), peers, address (of this node).

    What ACCEPTED promises, whichever way a report came: it is committed, so that kill -9 of every process loses
    nothing; a power cut takes at most what was accepted in the last `store.sync` (one second by default).
    """

    role = "observer"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        self.counts: Counter[str] = Counter()
        self.wire = Wire(seat.node, self.failed)
        self.membership = Membership(self.wire, seconds(seat.config.health.probe), self._take_unanswered, self.failed)
        self.doubt: Callable[[], int] = lambda: self.membership.doubt
        """How unwell this node is (Lifeguard's multiplier): it is added to what is reported here."""
        self._registrations = Registrations(self._local)
        self._gossip = Gossip(seat.node, SystemRandom(), local=self._local, window_ns=self._local.ttl_ns)
        self.verdicts = Verdicts(seat.node, seat.name, self._local.panorama, self.failed)
        self._herald = Herald(seat, links, self.verdicts, self._keep_events, self.membership.alive)
        self._exchange = Exchange(self.wire, self._gossip, self._local, self._changed, self._keep, self.failed)
        self._access = Access(seat.config.access, seat.node)
        self._refusals = Refusals(seat.node, seat.name)
        self._inbox = Inbox(self._check, self._take_unanswered, self.failed)
        self._submits = Submits(self._check, self._take, self.failed)
        self._keeper: Keeper | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._topology = Topology(seat.config.expected, seat.node, SystemClock())
        self._accepted: list[Report] = []  # of which the peers are not told yet

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens store and sockets, restores history. Raises ConfigError, StoreError."""
        self._loop = asyncio.get_running_loop()
        # the thread that commits takes turns with the loop at every record: at Python's 5 ms an answer waits for many
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
        try:
            self._keeper = Keeper(await asyncio.to_thread(self._restored))
            self._open_sockets(self._keeper)
            self.membership.start()
            await self._herald.start()
            # what was taken but not told before a crash, or expired meanwhile
            self._keep([kept for inference in self._local.inferences() for kept in self._changed(inference)])
            await self.set_peers(self.seat.options.get("peers", {}), self.seat.options.get("key", b""))
        except BaseException:
            await self.stop()
            raise
        self.every(TICK_PERIOD_S, self._tick, "tick")
        self.every(TICK_PERIOD_S, self._herald.flush, "tell")
        self.every(GOSSIP_PERIOD_S, self._exchange.tick, "gossip")
        self.every(seconds(self.config.store.sync), self._keeper.sync, "sync")
        self.every(SWEEP_PERIOD_S, self._submits.sweep, "sweep")
        if self.config.expected.declared:
            self.every(LOOK_PERIOD_S, self._look, "look for what is missing")
        self.every(60.0, self._retain, "retain")

    async def stop(self) -> None:
        """Closes and removes the sockets, writes what waits, closes the store. Idempotent."""
        if self._accepted:
            self._conclude()
        self.membership.stop()
        self.wire.close()
        self._inbox.stop()
        self._submits.stop()
        await self._herald.stop()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.close()

    def _restored(self) -> Store:
        store = Store.open(
            self.seat.store_path,
            create=True,
            map_bytes=self.config.store.map_bytes,
            auto_sync_bytes=AUTO_SYNC_BYTES,
        )
        try:
            self._registrations.restore(store)
            if self.seat.restarts:  # else the cluster has just started, and all have yet to come
                self._topology.restore(store.load(TOPOLOGY))
            now_ns = time.time_ns()
            since_ns = now_ns - self._local.ttl_ns
            history = list(store.records("report", Report, since_ns, MAX_T_NS, limit=MAX_RESTORED, newest_first=True))
            long = store.records("report", Report, 0, since_ns, where=("ttl", "long"), limit=MAX_RESTORED)
            history = self._registrations.heard([*long, *history])
            self.counts["restored"] = self._local.restore(history, now_ns)
            self._gossip.restore(history, now_ns)
            for subject in self._local.subjects():
                where = ("subject", subject)
                self.verdicts.restore(store.records("inference", Inference, where=where, limit=1, newest_first=True))
        except BaseException:
            store.close()
            raise
        return store

    def _open_sockets(self, keeper: Keeper) -> None:
        host, port = "127.0.0.1", self.config.health.port
        if self.config.gateway.bind == "node":
            host = str(self.seat.options.get("address", "")) or own_address()
        self.wire.open(host, port)
        home = Path(self.seat.home)  # a predecessor's sockets may go: the store's lock says that it is dead
        self._inbox.start(socket_path(home, self.seat.node, "report"))
        self._submits.start(socket_path(home, self.seat.node, "observer"), keeper)

    # --- what others call ------------------------------------------------------------------------------------------

    async def report(self, reports: Sequence[Report], handle: int = 0) -> list[Ack]:
        """An answer for each report; with a handle only its observer may report.

        FAILED: refused (see status), or not stored; then it still counts until this actor ends. IGNORED: too old, or
        not a subject that is kept here. Raises ConfigError for too many.
        """
        if len(reports) > MAX_BATCH:
            raise ConfigError(f"{len(reports)} reports in one call; at most {MAX_BATCH}, send several")
        acks, kept = self._take(reports, handle)
        if kept:
            try:
                await self._kept_by().keep(kept)
            except (StoreError, PeerUnreachable) as error:
                self.failed("report", error)
                acks = [Ack.FAILED if ack is Ack.ACCEPTED else ack for ack in acks]
        return acks

    async def register(self, module: str, observer: str) -> int:
        """A handle for an observer: the same for the same pair, also after restarts, and never another one's.

        What others say of the observer is watched from now on. Raises ConfigError, StoreError.
        """
        handle, save = self._registrations.register(module, observer, time.time_ns())
        self._exchange.news()
        await self._kept_by().run(save)
        return handle

    async def unregister(self, handle: int) -> bool:
        """Ends a registration; False when there is none. Raises StoreError."""
        save = self._registrations.unregister(handle, time.time_ns())
        if save is not None:
            self._exchange.news()
            await self._kept_by().run(save)
        return save is not None

    async def watch(self, subject: str) -> None:
        """Reports of other nodes on `subject`, a name or a glob, count, also after a restart. Raises ConfigError."""
        if self._local.interest.keeps_out(subject):
            raise ConfigError(f"health.subjects of {self.seat.node} keeps {subject!r} out: add it there first")
        save = self._registrations.watch(subject, time.time_ns())
        self._exchange.news()
        await self._kept_by().run(save)

    async def unwatch(self, subject: str) -> None:
        """Forgets `subject`, a name or a glob, until it is watched, or reported on here. Raises ConfigError."""
        save = self._registrations.unwatch(check_name("subject", subject), time.time_ns())
        self.verdicts.keep_only(self._local.subjects())
        self._exchange.news()
        await self._kept_by().run(save)

    async def about(self) -> dict[str, Any]:
        """Who this is, whom it knows, and what it holds, as plain values."""
        members = self.membership.about()
        return {
            "node": self.seat.node,
            "strategy": self.config.health.strategy,
            "pid": os.getpid(),
            "peers": {
                node: {
                    "address": f"{host}:{port}",
                    **members.get(node, {}),
                    **({"foreign": why} if (why := self.wire.foreign.get((host, port))) else {}),
                }
                for node, (host, port) in sorted(self.wire.addresses.items())
            },
            "doubt": self.doubt(),
            "filter": list(self.config.health.subjects),
            "interest": self.config.health.interest,
            "watching": list(self._local.watching()[:MAX_TOLD]),
            "registered": sum(handle.active for handle in self._local.handles()),
            "counts": {name: int(value) for name, value in self.figures().items()},
            "memory_bytes": int(rss_bytes()),
        }

    async def missing(self) -> tuple[Missing, ...]:
        """What of the expected topology is missing now, as this node sees it."""
        return self._topology.missing

    async def address(self) -> Address:
        """Where this observer hears gossip. Raises PeerUnreachable before `start`."""
        return self.wire.address()

    async def set_peers(self, peers: Mapping[str, Address], key: bytes | str = b"") -> None:
        """Whom to gossip with, by node, and the cluster's key if it changed. Raises ConfigError."""
        if len(peers) > MAX_PEERS:
            raise ConfigError(f"{len(peers)} peers; at most {MAX_PEERS}")
        addresses = {}
        for node, (host, port) in peers.items():
            if node != self.seat.node:
                addresses[node] = await resolve(host, port)
        self._exchange.connect(addresses, key)
        self.membership.set_peers()

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Calls back with every `health.changed` event from now on, in this process; returns how to stop that."""
        self.verdicts.told.append(callback)
        return lambda: self.verdicts.told.remove(callback)

    async def stored_events(self, limit: int) -> list[Event]:
        """The newest events in its store, oldest first. Raises PeerUnreachable, StoreError."""
        found = await self._kept_by().run(lambda store: list(store.records("event", Event, limit=limit)))
        return found[::-1]

    def figures(self) -> dict[str, float]:
        """Counters since start, and what is held now."""
        refused = self.wire.sealer.refused.total() if self.wire.sealer else 0
        local, gossip, keeper = self._local.counts, self._gossip.counts, self._keeper
        return {
            **{name: float(self.counts[name]) for name in COUNTS},
            **{f"inbox_{name}": float(self._inbox.counts[name]) for name in ("bad", "refused")},
            **{f"gossip_{name}": float(self.wire.counts[name]) for name in WIRE_COUNTS},
            **self.membership.figures(),
            **self._herald.figures(),
            "merged": float(self._exchange.counts["merged"]),
            "submit_clients": float(len(self._submits)),
            **{
                f"submit_{name}": float(self._submits.counts[name]) for name in ("bad", "refused", "stalled", "crowded")
            },
            "subjects": float(len(self._local.inferences())),
            "reports": float(len(self._local)),
            "peers": float(len(self.wire.addresses)),
            "unwritten": float(keeper.queued if keeper else 0),
            **(keeper.store.figures() if keeper else {}),
            "evicted": float(local["evicted_subjects"] + local["evicted_observers"]),
            "gossip_refused": float(refused + gossip["bad"]),
            "gossip_lost": float(self.wire.lost()),
            "gossip_filled": float(gossip["filled"]),
            "gossip_retained": float(len(self._gossip)),
        }

    def notes(self) -> tuple[str, ...]:
        """What people should know."""
        lines = []
        if self.wire.sealer is None:
            lines.append("gossip is off: this observer has no key")
        if self.wire.namesake is not None:
            host, port = self.wire.namesake
            lines.append(f"another observer, at {host}:{port}, has this node's name: each needs its own")
        for node, (host, port) in self.wire.addresses.items():
            if why := self.wire.foreign.get((host, port)):
                lines.append(f"{node} at {host}:{port} is not understood: {why}")
        if self._local.last_refused:
            lines.append(f"last report refused: {self._local.last_refused}")
        if self._inbox.last_bad:
            lines.append(f"last datagram refused: {self._inbox.last_bad}")
        return (*lines, *self._herald.notes())

    # --- inside: what is expected ----------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Looks for what is missing, and tells of what changed."""
        # alone, without a supervisor, the nodes are those that it was given as peers
        nodes = self.links.nodes() if self.links is not None else self.wire.addresses
        before = self._topology.state()
        for event in self._topology.look(nodes, self._local.verdict, self._looping()):
            self._herald.note(event)
        state = self._topology.state()
        if state != before:
            await self._kept_by().run(lambda store: store.save(TOPOLOGY, state))

    def _looping(self) -> dict[str, str]:
        """Actors that crash-loop, as the supervisor counts: a fact, of which no second observer is needed."""
        found = {}
        for verdict in self._local.verdicts("vagus:"):
            if "restarts" in verdict.contexts:
                reports = self._local.panorama(verdict.subject).get("vagus:supervisor", ())
                said = next((r.contexts["restarts"] for r in reversed(reports) if "restarts" in r.contexts), None)
                if said is not None and said.status >= Status.UNHEALTHY:
                    found[verdict.subject] = f"it ended {said.score:.0f} times within 5 minutes"
        return found

    # --- inside: reports and verdicts ------------------------------------------------------------------------------

    def _check(self, who: Principal, reports: Sequence[Report]) -> None:
        """Raises Refused when the access rules forbid any of them; that is told."""
        for subject in () if self._access.open else {report.subject for report in reports}:
            try:
                self._access.check(who, "send", subject)
            except Refused:
                event = self._refusals.note(str(who), "send", subject, time.time_ns())
                if event is not None:
                    self._herald.note(event)
                raise

    def _take(self, reports: Sequence[Report], handle: int) -> tuple[list[Ack], list[Kept]]:
        """Takes reports made on this node: the acks, and what is to be kept. The peers are told, and the subjects
        judged, once what calls this is done: a report is answered first.
        """
        now_ns, doubt = time.time_ns(), self.doubt()
        acks, accepted, kept = [], [], []
        for report in reports:
            if doubt > report.doubt:
                report = msgspec.structs.replace(report, doubt=doubt)
            ack, numbered, _ = self._local.submit(report, now_ns, handle, judge=False)
            acks.append(ack)
            if ack is Ack.ACCEPTED:
                accepted.append(numbered)
                kept.append(kept_of(numbered, self._local.ttl_ns))
                revived = self._registrations.reported(report.subject)
                if revived is not None:
                    self.spawn(self._kept_by().run(revived))
            self.counts[ack.value.lower()] += 1
        if accepted and self._loop is not None:
            if not self._accepted:
                self._loop.call_soon(self._conclude)
            self._accepted += accepted
        return acks, kept

    def _conclude(self) -> None:
        """Tells the peers of what was taken, and infers."""
        accepted, self._accepted = self._accepted, []
        now_ns = time.time_ns()
        self._exchange.tell(accepted, now_ns)
        self._keep([kept for change in self._local.settle(now_ns, self._no_verdict) for kept in self._changed(change)])

    def _no_verdict(self, subject: str, error: Exception) -> None:
        """A strategy from elsewhere: one subject fails, not those beside it."""
        self.failed(f"infer {subject}", error)

    def _take_unanswered(self, reports: Sequence[Report]) -> None:
        self._keep(self._take(reports, 0)[1])

    def _changed(self, inference: Inference | None) -> list[Kept]:
        """Tells of a new verdict; its records."""
        change = self.verdicts.note(inference) if inference is not None else None
        if change is None:
            return []
        self.counts["changes"] += 1
        return change.kept()

    def _tick(self) -> None:
        changes = self._local.tick(time.time_ns(), self._no_verdict)
        self._keep([kept for change in changes for kept in self._changed(change)])

    def _keep(self, kept: list[Kept]) -> None:
        """Writes in the background; a failure is counted."""
        if kept:
            try:
                self._kept_by().put(kept, self._written)
            except PeerUnreachable as error:
                self.failed("store", error)

    def _keep_events(self, events: Sequence[Event]) -> None:
        if self._keeper is not None:
            self._keep([kept_event(event) for event in events])

    def _written(self, error: Exception | None) -> None:
        """In the thread that commits."""
        if error is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody counts any more
                self._loop.call_soon_threadsafe(self.failed, "store", error)

    def _kept_by(self) -> Keeper:
        if self._keeper is None:
            raise PeerUnreachable(f"{self.seat.name} is not started: it has no store")
        return self._keeper

    async def _retain(self) -> None:
        limits = (seconds(self.config.store.retain), self.config.store.retain_bytes)
        await self._kept_by().run(lambda store: store.retain(*limits))
