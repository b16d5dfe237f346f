"""The decide actor, one per cluster: logs decisions and rewards, learns from them, pushes tables to all collectors."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from operator import itemgetter
from random import Random
from typing import ClassVar

import msgspec

from vagus.actors.base import Actor, Links, Seat
from vagus.clock import NS
from vagus.config import seconds
from vagus.controllers.decide.table import encode_snapshot
from vagus.controllers.learner import DecisionService, check_reward
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import Ack, Decision, Reward
from vagus.policies import OLD_BANDITS
from vagus.policies import GroupBandit as Bandit
from vagus.store import Store

SAVE_S = 5.0
RESEND_S = 10.0  # a collector that restarted has lost its table, and nobody tells
RETAIN_S = 60.0
PUSH_TIMEOUT_S = 5.0
AFRESH_NS = 3600 * NS
NOTES = 10
STATE = "decide"


class _Saved(msgspec.Struct, array_like=True):
    """What the store keeps: the service's state, and the last record that it has seen."""

    through_ns: int
    service: dict[str, object]


class DecideActor(Actor):
    """Owns the log of decisions and rewards and the decision service that learns from it.

    What `decided` and `rewarded` acknowledge is committed: after `kill -9` the successor restores the last saved state
    and learns what came after it from the log.
    """

    role: ClassVar[str] = "decide"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        settings = self.config.decide
        self._service = DecisionService(self._bandit, Random(), policy=settings.policy, group_by=settings.group_by)
        self._service_saved = True
        self._last_ns = 0
        self._commit: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._table = b""
        self._table_version = -1
        self._sent: dict[str, tuple[int, float]] = {}  # node: version, when
        self._sending: set[str] = set()
        self._unreachable = 0
        self._policy_errors = 0

    def _bandit(self, rng: Random) -> Bandit:
        settings = self.config.decide
        try:
            return OLD_BANDITS.make(settings.policy, rng, **settings.options)
        except TypeError as error:
            raise ConfigError(f"decide.options do not fit policy {settings.policy!r}: {error}") from error

    async def start(self) -> None:
        self._bandit(Random())  # a wrong setting fails here, not at the first request
        path = self.seat.store_path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store = Store.open(path, create=True, map_bytes=self.config.store.map_bytes)
        try:
            self._recover()
        except BaseException:
            self._store.close()
            raise
        self._encode()
        self.every(seconds(self.config.decide.tick), self.tick, "tick")
        self.every(SAVE_S, self.save, "save")
        self.every(seconds(self.config.store.sync), self._sync, "sync")
        self.every(RETAIN_S, self._retain, "retention")

    async def stop(self) -> None:
        if self._syncing is not None:  # its thread must be out of the store before that closes
            await asyncio.gather(self._syncing, return_exceptions=True)
        try:
            await self.save()
            self._store.sync()
        finally:
            self._store.close()
        await super().stop()

    def _recover(self) -> None:
        """The saved state, then what the log has after it (without a state: the log's last hour)."""
        through_ns = time.time_ns() - AFRESH_NS
        saved = self._store.load(STATE)
        if saved is not None:
            try:
                state = msgspec.msgpack.decode(saved, type=_Saved)
                self._service.restore(state.service)
                through_ns = state.through_ns
            except (msgspec.DecodeError, VagusError) as error:
                self.failed("restoring the learner's state; it learns afresh from the log", error)
        self._last_ns = through_ns
        decisions = self._store.timed_records("decision", Decision, through_ns + 1, newest_first=False)
        rewards = self._store.timed_records("reward", Reward, through_ns + 1, newest_first=False)
        try:
            for t_ns, _, record in heapq.merge(decisions, rewards, key=itemgetter(0)):
                if isinstance(record, Decision):
                    self._service.decided([record], t_ns)
                elif isinstance(record, Reward):
                    self._service.rewarded([record], t_ns)
                self._last_ns = t_ns
        except VagusError as error:
            self.failed("replaying the log of decisions; what follows is not learned", error)

    # --- called by others ------------------------------------------------------------------------------------------

    async def decided(self, decisions: Sequence[Decision]) -> None:
        """Logs decisions that were made from the table; returns once they are committed. Raises ConfigError."""
        fresh = self._service.decided(decisions, time.time_ns())
        for decision in fresh:
            index = {"decision_id": decision.decision_id}
            self._store.put("decision", decision, t_ns=self._stamp(), index=index)
        await self._committed()

    async def rewarded(self, rewards: Sequence[Reward]) -> list[Ack]:
        """Learns outcomes; an answer to each, once they are committed (see DecisionService.rewarded).

        A reward that is not a finite number is FAILED here: one bad item does not refuse the others of a batch.
        """
        now_ns = time.time_ns()
        acks = []
        for reward in rewards:
            counted = self._service.rewards
            try:
                check_reward(reward)
            except ConfigError:
                acks.append(Ack.FAILED)
                continue
            acks += self._service.rewarded([reward], now_ns)
            if self._service.rewards > counted:
                index = {"decision_id": reward.decision_id}
                self._store.put("reward", reward, t_ns=self._stamp(), index=index)
        await self._committed()
        return acks

    async def snapshot(self) -> bytes:
        """The table as it was last pushed, for a collector that has just started."""
        return self._table

    # --- loops -----------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Computes the table and hands it to every collector that does not have it yet. Waits for none of them."""
        self._service.tick(time.time_ns())
        if self._service.policy_errors > self._policy_errors:
            self._policy_errors = self._service.policy_errors
            self.failed("computing the table", VagusError(self._service.last_policy_error))
        self._encode()
        nodes = self.links.nodes()
        self._sent = {node: sent for node, sent in self._sent.items() if node in nodes}
        now_s = time.monotonic()
        for node in nodes:
            version, sent_s = self._sent.get(node, (-1, 0.0))
            if node not in self._sending and (version != self._table_version or now_s - sent_s >= RESEND_S):
                self._sending.add(node)
                self.spawn(self._push(node))

    async def _push(self, node: str) -> None:
        version = self._table_version
        try:
            await self.links.call(f"vagus:collector@{node}", "set_table", self._table, timeout_s=PUSH_TIMEOUT_S)
            self._sent[node] = (version, time.monotonic())
        except PeerUnreachable:
            self._unreachable += 1  # the next tick tries again
        finally:
            self._sending.discard(node)

    async def save(self) -> None:
        """Saves the learner's state, if it changed, in one commit with the records that it has seen."""
        if self._service_saved:
            return
        state = _Saved(self._last_ns, self._service.state())
        self._store.save(STATE, msgspec.msgpack.encode(state))
        self._service_saved = True
        await self._committed()

    async def _sync(self) -> None:
        self._syncing = asyncio.get_running_loop().run_in_executor(None, self._store.sync)
        await asyncio.shield(self._syncing)

    def _retain(self) -> None:
        settings = self.config.store
        self._store.retain(seconds(settings.retain), settings.retain_bytes)

    # --- what it says of itself ------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Counts since the start (open: decisions that still may be rewarded)."""
        service = self._service
        return {
            "decisions": float(service.decisions),
            "rewards": float(service.rewards),
            "groups": float(service.groups),
            "version": float(service.snapshot.version),
            "open": float(service.open),
            "unjoined": float(service.unjoined),
            "unrewarded": float(service.unrewarded),
            "unreachable": float(self._unreachable),
        }

    def notes(self) -> tuple[str, ...]:
        """The arm chosen most in each of the groups active last, e.g. `group '': 'b' 83 % of 120 decisions`."""
        return tuple(
            f"group {group!r}: {arm!r} {100 * share:.0f} % of {count} decisions"
            for group, arm, share, count in self._service.shares(NOTES)
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def _encode(self) -> None:
        snapshot = self._service.snapshot
        if snapshot.version != self._table_version:
            self._table = encode_snapshot(snapshot)
            self._table_version = snapshot.version
            self._service_saved = False

    def _stamp(self) -> int:
        """The log's own time: wall time that never repeats or goes back, so that it orders what it stamps."""
        self._last_ns = max(self._last_ns + 1, time.time_ns())
        self._service_saved = False
        return self._last_ns

    async def _committed(self) -> None:
        """Waits for a commit of what was put so far: one for all that wait in this turn of the loop."""
        if self._commit is None:
            self._commit = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._flush, self._commit)
        await asyncio.shield(self._commit)

    def _flush(self, commit: asyncio.Future[None]) -> None:
        self._commit = None
        try:
            self._store.flush()
        except Exception as error:
            commit.set_exception(error)
        else:
            commit.set_result(None)
