"""The decide actor of a node: logs decisions and rewards, learns the groups that it leads, pushes tables to its gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from vagus.actors.base import Actor, Links, Seat
from vagus.actors.decide_backend import Planner
from vagus.actors.decide_joins import Joins, Stamped
from vagus.actors.decide_learner import features_kept, learner_of
from vagus.actors.decide_log import DecideLog, Saved, outcomes_of
from vagus.actors.decide_peers import TURN_S, Peers
from vagus.actors.decide_tables import Tables
from vagus.config import hash_text, seconds
from vagus.controllers.decide import saving
from vagus.controllers.decide.backend import Gathering, Summary
from vagus.controllers.decide.grouping import grouping_of
from vagus.controllers.decide.leading import Leading
from vagus.controllers.decide.learner import SKIPPED_VERSIONS, Learner
from vagus.controllers.decide.load import LoadBalance
from vagus.controllers.decide.outstanding import Outstanding, check_decisions
from vagus.controllers.decide.records import Plan
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import Ack, Decision, Reward

SAVE_S = 2.0
SAVE_SHARE = 20  # of the time at most a 20th goes into saving groups
RETAIN_S = 60.0
SUMMARY_S = 1.0
NOTES = 10


class DecideActor(Actor):
    """Owns the log of the node's decisions, and all that is known of the groups that it leads.

    What `decided` and `rewarded` acknowledge is committed: after `kill -9` the successor goes on from what was saved
    and learns what came after it from the log; decisions that wait are found in the log when their reward comes.
    """

    role: ClassVar[str] = "decide"

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        settings = self.config.decide
        self._head = str(seat.options.get("head", seat.node))
        self._alone = settings.on == "head"  # no other node decides
        self._grouping = grouping_of(settings)
        self._features = features_kept(settings, self._grouping)
        self._waiting = Outstanding(settings.max_open, seconds(settings.max_age), self._features)
        self._load = LoadBalance(settings.capacity) if settings.capacity else None
        self._gathering = Gathering(seat.node, outcomes=bool(settings.learn.features))
        self._planner: Planner | None = None
        self._log: DecideLog | None = None
        self._saving = False
        self._save_due_s = 0.0
        self._policy_errors = 0

    async def start(self) -> None:
        """Opens the log, goes on from what a former life saved. Raises ConfigError, StoreError."""
        settings = self.config.decide
        learner = learner_of(
            settings, self._grouping, self._load
        )  # a wrong setting fails here, not at the first request
        log = self._log = DecideLog(self.seat.store_path, self.config.store.map_bytes)
        try:
            self._go_on(log, learner)
        except BaseException:
            log.store.close()
            raise
        self._joins = Joins(self.seat.node, self.links, log, self._waiting, self._learn, everything=self._alone)
        self._tables = Tables(self.links, self._leading.rows, self.spawn)
        self._peers = Peers(self.links, self._leading, self.spawn, self.failed)
        if self.seat.node == self._head:
            self._planner = Planner(settings, self._leading.view.plan, self._leading.follow, self._grouping)
        self.every(seconds(settings.tick), self.tick, "tick")
        self.every(TURN_S, self._turn, "telling the other nodes")
        self.every(0.5, self._look, "leading")
        self.every(SUMMARY_S, self._summarise, "telling the backend")
        self.every(seconds(self.config.store.sync), log.sync, "sync")
        self.every(RETAIN_S, self._retain, "retention")

    def _go_on(self, log: DecideLog, learner: Learner) -> None:
        saved: Saved | None = None
        try:
            saved = log.load()
        except (msgspec.DecodeError, VagusError) as error:
            self.failed("reading what was saved; it learns afresh", error)
        self._learner = learner
        incarnation = log.stamp() if saved is None else max(log.stamp(), saved.head.incarnation + 1)
        birth = incarnation if saved is None else saved.head.birth
        plan = Plan(0, self._grouping)
        configured = hash_text(repr((self._grouping, sorted(self.config.decide.learn.features))))
        if saved is not None and saved.head.configured != configured:
            saved.states.clear()  # groups were named in another way, also those that were learned
            saved.plan = None
        leading = self._leading = Leading(
            self.seat.node,
            learner,
            plan,
            birth=birth,
            incarnation=incarnation,
            now_s=time.monotonic(),
            version=0 if saved is None else saved.head.version + SKIPPED_VERSIONS,
        )
        leading.configured = configured
        leading.view.set_nodes(self._deciders(), time.monotonic())
        if saved is None:
            return
        states = [state for state in saved.states if state.policy == self.config.decide.policy]
        try:
            again = list(outcomes_of(log.rewards_after(saved.head.position), self._features))
        except VagusError as error:
            again = []
            self.failed("reading the log of rewards; those since the last save are not learned", error)
        try:
            saving.restore(leading, saved.head, saved.out, saved.plan, states, saved.letters.items(), again)
        except ConfigError as error:
            self.failed("taking up what was saved; it learns afresh", error)

    async def stop(self) -> None:
        if self._log is not None:
            try:
                await self.save()
            finally:
                await self._log.close()
        await super().stop()

    @property
    def _opened(self) -> DecideLog:
        if self._log is None:
            raise PeerUnreachable(f"{self.seat.name} is {self.state}: its store is not open")
        return self._log

    # --- called by others ------------------------------------------------------------------------------------------

    async def decided(self, decisions: Sequence[Decision]) -> None:
        """Logs decisions that were made from the table; returns once they are committed.

        Raises ConfigError, and StoreError when they could not be committed: to be given again then.
        """
        log, now_ns, now_s = self._opened, time.time_ns(), time.monotonic()
        check_decisions(decisions)
        for decision in decisions:
            if decision.decision_id not in self._waiting:
                log.put_decision(decision)  # first: what there is no room for is not known
                self._waiting.add(decision, now_ns)
                arms = decision.arms or (decision.arm,)
                self._leading.meet(decision.group, arms, decision.arm, now_s)
                self._gathering.session(decision.group)
        await log.committed()

    async def rewarded(self, rewards: Sequence[Reward], from_elsewhere: bool = False) -> list[Ack]:
        """Learns outcomes; an answer to each, once they are committed (see Outstanding.join).

        A reward that is not a finite number is FAILED here: one bad item does not refuse the others of a batch.
        from_elsewhere: another node's gateway was told: this one's may not have handed over the decision yet.
        """
        log = self._opened
        acks = await self._joins.join(rewards, from_elsewhere)
        await log.committed()
        return acks

    def _learn(self, stamped: Stamped) -> None:
        self._leading.outcomes(stamped)
        self._gathering.outcomes([outcome for _, outcome in stamped])

    async def exchange(self, parcel: bytes) -> bytes:
        """A parcel of another node's decide actor; the receipt."""
        return self._peers.take(parcel)

    async def summary(self, packed: bytes) -> None:
        """What another node saw, for the backend."""
        if self._planner is not None:
            try:
                self._planner.hear(msgspec.msgpack.decode(packed, type=Summary))
            except msgspec.DecodeError as error:
                raise ConfigError(f"not a summary of a node that decides: {error}") from error

    async def snapshot(self) -> bytes:
        """The table, for a collector that has just started."""
        return self._tables.full()

    async def explain(self, group: str, asked_here: bool = False) -> Mapping[str, Any]:
        """What the group's leader knows of it: policy, options, leader, epoch, rewards, arms. Raises NoData."""
        leader = self._leading.leader_of(group)
        if leader != self.seat.node and not asked_here:
            found: Mapping[str, Any] = await self.links.call(f"vagus:decide@{leader}", "explain", group, True)
            return found
        arms = self._learner.explain(group)
        return {
            "policy": self.config.decide.policy,
            "options": self.config.decide.options,
            "leader": self.seat.node,
            "epoch": self._leading.evidence.epoch(group),
            "rewards": self._learner.group(group).rewards,
            "arms": arms,
        }

    # --- loops -----------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Computes what is led here, and hands the node's table to its collector."""
        now_ns, now_s = time.time_ns(), time.monotonic()
        leading = self._leading
        sessions, leading.sessions = leading.sessions, {}
        if self._load is not None:
            for group, arms in sessions.items():
                for arm, count in arms.items():
                    self._load.decided(group, arm, count)
            self._load.tick(now_ns, self._peers.parcels.rates_elsewhere)
            self._peers.parcels.rates = self._load.rates()
        leading.ticked(self._learner.tick(now_ns), now_s)
        self._waiting.expire(now_ns)
        if self._learner.policy_errors > self._policy_errors:
            self._policy_errors = self._learner.policy_errors
            self.failed("computing the table", VagusError(self._learner.last_policy_error))
        self._tables.push(self.links.nodes() if self._alone else (self.seat.node,))

    def _deciders(self) -> tuple[str, ...]:
        return (self.seat.node,) if self._alone else self.links.nodes()

    async def _turn(self) -> None:
        """Saves what is to be sent, sends what is saved; the groups from time to time."""
        whole = time.monotonic() >= self._save_due_s
        if whole or saving.has_letters(self._leading):
            await self.save(whole)
        self._peers.turn()

    async def save(self, whole: bool = True) -> None:
        """Saves what changed, in one commit with the records that it was learned from."""
        if self._saving:
            return
        self._saving = True
        began_s = time.monotonic()
        self._read_again()
        changes = saving.changes(self._leading, whole)
        try:
            self._opened.save(changes)
            await self._opened.committed()
        except BaseException:
            saving.unsaved(self._leading, changes)
            raise
        finally:
            self._saving = False
        saving.saved(self._leading, changes)
        if changes.head is not None:
            now_s = time.monotonic()
            self._save_due_s = now_s + max(SAVE_S, SAVE_SHARE * (now_s - began_s))

    def _read_again(self) -> None:
        """Another took over what this node led in a former life: what that one lacks is in the log."""
        if self._leading.wanted is None:
            return
        (behind, until), self._leading.wanted = self._leading.wanted, None
        try:
            logged = self._opened.rewards_after(behind, until)
            again = [one for one in outcomes_of(logged, self._features) if one[0] not in self._leading.lettered]
        except VagusError as error:
            self.failed("reading the log of rewards; what the node that took over lacks is lost", error)
            return
        self._leading.outcomes(again)

    def _look(self) -> None:
        now_s = time.monotonic()
        self._leading.view.set_nodes(self._deciders(), now_s)
        self._leading.tick(now_s)

    async def _summarise(self) -> None:
        summary = self._gathering.take()
        if self._planner is not None:
            self._planner.backend.know(self._leading.view.plan)
            self._planner.hear(summary)
            alive = tuple(node for node in self._deciders() if self._leading.view.is_alive(node))
            await self._planner.tick(alive)
        elif summary.sessions or summary.outcomes or summary.dropped:
            packed = msgspec.msgpack.encode(summary)
            try:
                await self.links.call(f"vagus:decide@{self._head}", "summary", packed, timeout_s=2.0)
            except PeerUnreachable:
                pass  # Plans stay as they are

    def _retain(self) -> None:
        settings = self.config.store
        self._opened.store.retain(seconds(settings.retain), settings.retain_bytes)

    # --- what it says of itself ------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Counts since the start (open: decisions of this node that still may be rewarded; left_out: outcomes that the
        learning of groups did not see)."""
        if self._log is None:
            return {}
        leading = self._leading
        return {
            **self._waiting.figures,
            **self._log.store.figures(),
            "groups": float(len(self._learner)),
            "version": float(leading.rows.version),
            "learned": float(leading.evidence.learned),
            "lost": float(leading.lost),
            "claimed": float(leading.claimed),
            "handed_over": float(leading.handed),
            "plan": float(leading.view.plan.version),
            "recalled": float(self._joins.recalled),
            "unreachable": float(self._tables.unreachable),
            "peer_bytes": float(self._peers.sent_bytes),
            "peer_unanswered": float(self._peers.unanswered),
            "left_out": 0.0 if self._planner is None else float(self._planner.backend.dropped),
        }

    def notes(self) -> tuple[str, ...]:
        """The likeliest arm of the groups active last, e.g. `group '': 'b' 83 %, 120 rewards`; who is stood in for."""
        if self._log is None:
            return ()
        favourites = tuple(
            f"group {group!r}: {arm!r} {100 * share:.0f} %, {count} reward{'' if count == 1 else 's'}"
            for group, arm, share, count in self._learner.favourites(NOTES)
        )
        return (*favourites, *self._leading.view.notes())
