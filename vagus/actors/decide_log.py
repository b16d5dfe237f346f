"""What a decide actor has on disk: the log of decisions and rewards, what is known of each group, letters not yet read.

Groups and letters are saved each for itself, in slots that are used again; what changed goes into one commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from vagus.controllers.decide.mail import Letter, Place
from vagus.controllers.decide.records import GroupState, Outcome, Plan
from vagus.controllers.decide.saving import Changes, Head, Out
from vagus.model import MAX_T_NS, Decision, Reward
from vagus.store import Store

HEAD, OUT, PLAN, SLOTS = "decide/head", "decide/out", "decide/plan", "decide/slots"
MAX_LOGGED = 500_000  # rewards that a restart looks at
_encode = msgspec.msgpack.Encoder().encode


class Slots(msgspec.Struct, frozen=True, array_like=True):
    """How many slots there are, used or free."""

    groups: int = 0
    letters: int = 0


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    place: Place
    letter: Letter


class Saved(msgspec.Struct):
    """What a former life left."""

    head: Head
    out: Out
    states: list[GroupState]
    letters: dict[Place, Letter]
    plan: Plan | None = None


class DecideLog:
    """Owns the store. `committed` waits for a commit of all that was put so far, one for all that wait."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store = Store.open(path, create=True, map_bytes=map_bytes)
        self.last_ns = 0
        self._groups: dict[str, int] = {}
        self._letters: dict[Place, int] = {}
        self._free_groups: list[int] = []
        self._free_letters: list[int] = []
        self._slots = Slots()
        self._commit: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None

    # --- the log ---------------------------------------------------------------------------------------------------

    def stamp(self) -> int:
        """The log's own time: wall time that never repeats or goes back, so that it orders what it stamps."""
        self.last_ns = max(self.last_ns + 1, time.time_ns())
        return self.last_ns

    def put_decision(self, decision: Decision) -> None:
        """With the next commit."""
        self.store.put("decision", decision, t_ns=self.stamp(), index={"decision_id": decision.decision_id})

    def put_reward(self, reward: Reward) -> int:
        """With the next commit; returns its place in the log."""
        stamp = self.stamp()
        self.store.put("reward", reward, t_ns=stamp, index={"decision_id": reward.decision_id})
        return stamp

    def find(self, decision_id: str) -> tuple[int, Decision, float | None] | None:
        """A decision that was logged, when, and its first reward. Raises StoreError."""
        where = ("decision_id", decision_id)
        for t_ns, _, decision in self.store.timed_records("decision", Decision, where=where, limit=1):
            rewards = self.store.records("reward", Reward, where=where, limit=1, newest_first=False)
            return t_ns, decision, next((reward.reward for reward in rewards), None)
        return None

    def rewards_after(self, stamp: int, until: int = MAX_T_NS - 1) -> Iterator[tuple[int, Reward, Decision]]:
        """Rewards behind a place in the log with their decisions, oldest first. Raises StoreError while iterating."""
        found = self.store.timed_records("reward", Reward, stamp + 1, until + 1, limit=MAX_LOGGED, newest_first=False)
        for t_ns, _, reward in found:
            where = ("decision_id", reward.decision_id)
            for decision in self.store.records("decision", Decision, where=where, limit=1):
                yield t_ns, reward, decision

    # --- state -----------------------------------------------------------------------------------------------------

    def load(self) -> Saved | None:
        """What a former life saved. Raises VagusError, msgspec.DecodeError: it is damaged, or of an older version."""
        head, out, slots = self.store.load(HEAD), self.store.load(OUT), self.store.load(SLOTS)
        if head is None or out is None or slots is None:
            return None
        self._slots = msgspec.msgpack.decode(slots, type=Slots)
        states, letters = [], {}
        decode_state = msgspec.msgpack.Decoder(GroupState).decode
        for slot in range(self._slots.groups):
            packed = self.store.load(_group(slot))
            if packed:
                state = decode_state(packed)
                states.append(state)
                self._groups[state.group] = slot
            else:
                self._free_groups.append(slot)
        for slot in range(self._slots.letters):
            packed = self.store.load(_letter(slot))
            if packed:
                kept = msgspec.msgpack.decode(packed, type=_Kept)
                letters[kept.place] = kept.letter
                self._letters[kept.place] = slot
            else:
                self._free_letters.append(slot)
        saved = Saved(msgspec.msgpack.decode(head, type=Head), msgspec.msgpack.decode(out, type=Out), states, letters)
        plan = self.store.load(PLAN)
        if plan is not None:
            saved.plan = msgspec.msgpack.decode(plan, type=Plan)
        self.last_ns = max(self.last_ns, saved.head.position, saved.out.position)
        return saved

    def save(self, changes: Changes) -> None:
        """All of it, with the next commit."""
        groups, letters = self._slots.groups, self._slots.letters
        for group in changes.gone:
            slot = self._groups.pop(group, None)
            if slot is not None:
                self.store.save(_group(slot), b"")
                self._free_groups.append(slot)
        for state in changes.states:
            slot = self._groups.get(state.group)
            if slot is None:
                slot, groups = (self._free_groups.pop(), groups) if self._free_groups else (groups, groups + 1)
                self._groups[state.group] = slot
            self.store.save(_group(slot), _encode(state))
        for place in changes.done:
            slot = self._letters.pop(place, None)
            if slot is not None:
                self.store.save(_letter(slot), b"")
                self._free_letters.append(slot)
        for place, letter in changes.letters.items():
            slot = self._letters.get(place)
            if slot is None:
                slot, letters = (self._free_letters.pop(), letters) if self._free_letters else (letters, letters + 1)
                self._letters[place] = slot
            self.store.save(_letter(slot), _encode(_Kept(place, letter)))
        if (groups, letters) != (self._slots.groups, self._slots.letters):
            self._slots = Slots(groups, letters)
            self.store.save(SLOTS, _encode(self._slots))
        if changes.head is not None:
            self.store.save(HEAD, _encode(changes.head))
            if self.store.load(SLOTS) is None:
                self.store.save(SLOTS, _encode(self._slots))
        if changes.plan is not None:
            self.store.save(PLAN, _encode(changes.plan))
        self.store.save(OUT, _encode(changes.out))

    # --- commits ---------------------------------------------------------------------------------------------------

    async def committed(self) -> None:
        """Waits for a commit of what was put so far: one for all that wait in this turn of the loop."""
        if self._commit is None:
            self._commit = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._flush, self._commit)
        await asyncio.shield(self._commit)

    def _flush(self, commit: asyncio.Future[None]) -> None:
        self._commit = None
        try:
            self.store.flush()
        except Exception as error:
            commit.set_exception(error)
            commit.exception()  # who waited is told; that nobody did is no defect
        else:
            commit.set_result(None)

    async def sync(self) -> None:
        """Puts what is committed on disk, in a thread."""
        self._syncing = asyncio.get_running_loop().run_in_executor(None, self.store.sync)
        await asyncio.shield(self._syncing)

    async def close(self) -> None:
        """Commits, syncs and closes."""
        if self._syncing is not None:  # its thread must be out of the store before that closes
            await asyncio.gather(self._syncing, return_exceptions=True)
        self.store.close()


def _group(slot: int) -> str:
    return f"decide/group/{slot}"


def _letter(slot: int) -> str:
    return f"decide/letter/{slot}"


def outcomes_of(
    logged: Iterable[tuple[int, Reward, Decision]], features: Sequence[str] | None
) -> Iterator[tuple[int, Outcome]]:
    """Rewards with their decisions as outcomes; features: that outcomes carry, None: all."""
    for stamp, reward, decision in logged:
        kept = decision.features
        if features is not None:
            kept = {name: kept[name] for name in features if name in kept}
        yield stamp, Outcome(decision.group, decision.arm, reward.reward, decision.propensity, kept, decision.arms)
