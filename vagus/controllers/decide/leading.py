"""Who learns what: evidence goes to whoever leads its group, and is in one place at any time. Pure.

After Pytheas (NSDI'17, section 4): updates for a group that is led elsewhere are forwarded, which subscribes the sender
to that group's decisions. A node learns from whatever evidence it gets; what it knows of a group that another leads it
hands over. Everything that moves does so in letters (see `mail`), so nothing is learned twice. A leader has a replica at
its deputy, who claims its groups when it is gone; a leader that comes back forgets what was claimed, and is handed it
back. Who lost sight of half the nodes claims nothing: it is more likely that they lost sight of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from vagus.controllers.decide.mail import (
    At,
    Inherited,
    Letter,
    Orphans,
    Outgoing,
    Parcel,
    Receipt,
    Sent,
    accept,
    stamps_of,
)
from vagus.controllers.decide.plan import Claim, acting, deputy_of, renames
from vagus.controllers.decide.records import GroupState, Outcome, Plan, TableUpdate
from vagus.controllers.decide.replicas import Held, Replication
from vagus.controllers.decide.rows import Rows

DEAD_S = 3.0  # a third of it between two signs of life
MAX_HANDED = 1_000  # groups in one letter
MAX_MINE = 500_000


class Learns(Protocol):
    """What is needed of a learner."""

    def learn(self, outcomes: Sequence[Outcome]) -> object: ...
    @property
    def met(self) -> Callable[[str, tuple[str, ...]], object]: ...
    def group(self, name: str) -> GroupState: ...
    def put(self, state: GroupState) -> object: ...
    def absorb(self, state: GroupState, share: float) -> object: ...
    def drop(self, name: str) -> object: ...
    def changed(self) -> Sequence[str]: ...
    def __contains__(self, name: object) -> bool: ...


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is saved in one commit with the groups that changed, and tells how far they have learned."""

    incarnation: int
    birth: int
    fence: int
    position: int  # own outcomes up to here are in the groups, or in letters
    learned: int
    lost: int
    through: dict[str, At]
    claims: tuple[Claim, ...]
    inherited: tuple[Inherited, ...]
    replicated: dict[str, At]
    replicated_position: int
    plan: Plan
    version: int = 0  # of the table


class Out(msgspec.Struct, frozen=True, array_like=True):
    """What is saved in one commit with new letters. position: own outcomes up to here are learned here or in letters."""

    position: int
    lines: dict[str, Sent]


Place = tuple[str, int, int, int]
"""Of a letter: receiver, birth, fence, number."""


Mine = tuple[int, int, Outcome]


class Changes(msgspec.Struct, frozen=True):
    """To be saved in one commit. head: None where groups are left for later."""

    out: Out
    head: Head | None
    states: tuple[GroupState, ...]
    gone: tuple[str, ...]
    letters: dict[Place, Letter]
    done: tuple[Place, ...]


class Leading:
    """One node among those that decide. Times are monotonic seconds; stamps order what is in this node's log.

    A cycle: `outcomes`, `meet`, `receive` as they come; `changes` and then `saved`; `parcel` for each peer and then
    `answered`; `ticked` with what the learner made; `tick` each second or so.
    """

    def __init__(
        self,
        node: str,
        learner: Learns,
        plan: Plan,
        *,
        birth: int,
        incarnation: int,
        now_s: float = 0.0,
        dead_s: float = DEAD_S,
        clock_s: Callable[[], float] = lambda: 0.0,
        version: int = 0,
    ) -> None:
        self.node = node
        self.plan = plan
        self.birth, self.incarnation, self.fence = birth, incarnation, 0
        self.rows = Rows(plan.grouping, version)
        self.groups: set[str] = set()  # that the learner has
        self.learned = self.lost = self.claimed = self.handed = 0
        self.sessions: dict[str, dict[str, int]] = {}  # of groups led here, that other nodes saw
        self.rates: dict[str, float] = {}  # sessions per second by arm, of groups led here: to be told to others
        self.urgent = False  # something should be saved and sent at once
        self._learner = learner
        self._clock_s = clock_s
        self._dead_s = dead_s
        self._nodes: tuple[str, ...] = (node,)
        self._heard_s: dict[str, float] = {}
        self._now_s = now_s
        self._lives: dict[str, int] = {}
        self._obeyed: dict[str, int] = {}  # the last claim that each peer has obeyed
        self._plans: dict[str, int] = {}  # version that each peer has
        self._rates: dict[str, dict[str, float]] = {}
        self._claims: dict[str, Claim] = {}
        self._inherited: dict[str, Inherited] = {}
        self._renamed: dict[str, str] = {}
        self._acting: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._lines: dict[str, Outgoing] = {}
        self._through: dict[str, At] = {}
        self._saved_through: dict[str, At] = {}
        self._position = self._saved_position = 0
        # Own outcomes learned here that could still be lost: when that was (a position), stamp, outcome.
        self._mine: deque[Mine] = deque()
        self._leaving: dict[tuple[str, int], list[Mine]] = {}  # those in groups of letters that are held, by place
        self._held: dict[str, Held] = {}
        self._replication = Replication()
        self._unsaved: set[str] = set()
        self._gone: set[str] = set()
        self._done: list[Place] = []
        self._whole = True  # the next changes must be saved with the groups
        self._stray: set[str] | None = None  # groups to be looked at; None: all
        self._met: dict[str, dict[str, set[tuple[str, ...]]]] = {}  # by leader and group
        self._seen: dict[str, dict[str, dict[str, int]]] = {}  # sessions by leader, group and arm
        self._sent_s: dict[str, float] = {}
        self._parcels = 0
        self._alone_s = -math.inf  # when most of the nodes were out of sight
        self._newest: dict[str, tuple[int, int]] = {}  # by peer: life and number of the newest parcel

    # --- who leads -------------------------------------------------------------------------------------------------

    def leader_of(self, group: str) -> str:
        """Who leads a group at present, as far as this node knows."""
        planned = self.plan.leaders.get(group)
        if planned is None or planned == self.node:
            return self.node
        found = self._acting.get(planned)
        if found is None:
            found = acting(planned, self.node, self._claims, self.is_alive, self._obeyed)
            self._acting[planned] = found
        return found

    def is_alive(self, peer: str) -> bool:
        """Whether a peer was heard of late."""
        return peer == self.node or (
            peer in self._heard_s and peer in self._nodes and self._now_s - self._heard_s[peer] < self._dead_s
        )

    @property
    def peers(self) -> tuple[str, ...]:
        """The other nodes that decide, dead or alive."""
        return tuple(peer for peer in self._nodes if peer != self.node)

    def epoch(self, group: str) -> int:
        """How often a group was taken over or handed over, as far as is known here."""
        return self._epochs.get(group, 0)

    @property
    def rates_elsewhere(self) -> dict[str, float]:
        """Sessions per second by arm, of the groups that other live nodes lead."""
        total: dict[str, float] = {}
        for peer, rates in self._rates.items():
            if self.is_alive(peer):
                for arm, rate in rates.items():
                    total[arm] = total.get(arm, 0.0) + rate
        return total

    def notes(self) -> tuple[str, ...]:
        """Lines for people: whom this node stands in for, who stands in for whom, whom it does not hear."""
        silent = [peer for peer in self.peers if not self.is_alive(peer)]
        active = [c for c in self._claims.values() if c.incarnation > self._obeyed.get(c.dead, 0)]
        lines = [f"{claim.by} leads what {claim.dead} led" for claim in active if claim.by == self.node]
        if silent:
            lines.append(f"does not hear {', '.join(silent[:10])}")
        return tuple(lines)

    def set_nodes(self, nodes: Iterable[str], now_s: float) -> None:
        """The nodes that decide, this one included or not."""
        self._now_s = now_s
        nodes = tuple(sorted({*nodes, self.node}))
        if nodes != self._nodes:
            self._nodes = nodes
            self._view_changed()
        for peer in self.peers:
            self._heard_s.setdefault(peer, now_s)  # a new one has time to be heard

    def follow(self, plan: Plan) -> None:
        """Goes by a newer Plan: what is known of groups that were split or merged moves as its moves say."""
        if plan.version <= self.plan.version:
            return
        before, self.plan = self.plan.grouping, plan
        if plan.grouping.version != before.version:
            self.rows.regroup(plan.grouping)
        if plan.grouping.version == before.version + 1:
            self._carry(plan)
        self._view_changed()

    def _carry(self, plan: Plan) -> None:
        targets = {move.target for move in plan.moves}
        renamed = {source: target for source, target in renames(plan).items() if source not in targets}
        self._renamed = {source: renamed.get(target, target) for source, target in self._renamed.items()} | renamed
        self._learner.changed()
        states = {move.source: self._learner.group(move.source) for move in plan.moves if move.source in self._learner}
        for source in states:
            self._drop(source)
        for move in plan.moves:
            if move.source in states:
                self._absorb(msgspec.structs.replace(states[move.source], group=move.target), move.share)
        for source in {move.source for move in plan.moves} - targets:
            self.rows.drop(source)
        self._whole = True

    def _view_changed(self) -> None:
        self._acting.clear()
        self._stray = None

    # --- what happens at this node ---------------------------------------------------------------------------------

    def outcomes(self, stamped: Iterable[tuple[int, Outcome]]) -> None:
        """Outcomes of this node's sessions, with their places in the log."""
        here = []
        for stamp, outcome in stamped:
            outcome = self._named(outcome)
            leader = self.leader_of(outcome.group)
            if leader == self.node:
                here.append(outcome)
                self._position = max(self._position + 1, stamp)  # a new one also for what comes late
                self._mine.append((self._position, stamp, outcome))
            else:
                self._line(leader).add(stamp, outcome)
                self._position = max(self._position, stamp)
        while len(self._mine) > MAX_MINE:
            self._mine.popleft()
        self._learn(here)

    def meet(self, group: str, arms: tuple[str, ...], arm: str, now_s: float) -> None:
        """A session of this node was given `arm` of these."""
        group = self._renamed.get(group, group)
        leader = self.leader_of(group)
        if leader == self.node:
            self._meet(group, arms)
            self._count(self.sessions, group, arm, 1)
            return
        self._count(self._seen.setdefault(leader, {}), group, arm, 1)
        if self.rows.meet(group, now_s) or arms not in self.rows_sets(group):
            self._met.setdefault(leader, {}).setdefault(group, set()).add(arms)

    def rows_sets(self, group: str) -> tuple[tuple[str, ...], ...]:
        """The sets of arms that a group's row answers exactly."""
        row = self.rows.rows.get(group)
        return () if row is None else (row.arms, *(one.arms for one in row.sets))

    def _meet(self, group: str, arms: tuple[str, ...]) -> None:
        self._learner.met(group, arms)
        self._touched((group,))

    @staticmethod
    def _count(into: dict[str, dict[str, int]], group: str, arm: str, count: int) -> None:
        arms = into.setdefault(group, {})
        arms[arm] = arms.get(arm, 0) + count

    def ticked(self, update: TableUpdate, now_s: float) -> None:
        """What the learner made."""
        self._now_s = now_s

        def leads(group: str) -> bool:
            if self.leader_of(group) != self.node:
                return False
            planned = self.plan.leaders.get(group, self.node)
            return planned == self.node or not self.rows.is_fresh(group, now_s) or self._has_claimed(planned)

        self.rows.led(update, leads)
        for group in update.gone:
            if group in self.groups and group not in self._learner:  # it had to make room
                self._forget(group)

    def _has_claimed(self, node: str) -> bool:
        claim = self._claims.get(node)
        return claim is not None and claim.by == self.node

    # --- parcels ---------------------------------------------------------------------------------------------------

    def parcel(self, peer: str, now_s: float) -> Parcel | None:
        """What to send to a peer now; None: nothing. One at a time, with a call of `answered` or `failed` for each."""
        line = self._line(peer)
        letters = line.to_send()
        owed = {g: (self._epochs.get(g, 0), self.rows.rows[g]) for g in self.rows.owed(peer)}
        replica = None
        if peer == self._replication.deputy:
            self._learner.changed()
            replica = self._replication.part(
                self.incarnation,
                now_s,
                self._clock_s,
                [group for group in self.groups if group in self._learner],
                self._state,
                self._through,
                self._position,
                self.learned,
                tuple(self._inherited.values()),
            )
        plan = self.plan if self._plans.get(peer, self.plan.version) < self.plan.version else None
        due = now_s - self._sent_s.get(peer, -self._dead_s) >= self._dead_s / 3
        if not (letters or owed or replica or plan or due or peer in self._met):
            return None
        self._sent_s[peer] = now_s
        self._parcels += 1
        met = {group: tuple(sets) for group, sets in self._met.pop(peer, {}).items()}
        return Parcel(
            self.node,
            self.incarnation,
            self._parcels,
            self.plan.version,
            self._replication.deputy,
            self.fence,
            tuple(self._claims.values()),
            line.birth,
            line.fence,
            line.first,
            letters,
            owed,
            met,
            self._seen.pop(peer, {}),
            self.rates,
            replica,
            plan,
        )

    def receive(self, parcel: Parcel, now_s: float) -> Receipt:
        """A peer's parcel. Harmless when it is late, or comes again."""
        sender = parcel.sender
        self._heard(sender, parcel.incarnation, parcel.obeyed, parcel.plan_version, parcel.claims, now_s)
        if parcel.plan is not None:
            self.follow(parcel.plan)
        received = durable = -1
        if parcel.fence >= self.fence:
            fresh = accept(self._through, sender, parcel.birth, parcel.fence, parcel.first, parcel.letters)
            for letter in fresh:
                self._read(sender, letter)
            received, durable = self._read_so_far(sender, parcel.birth, parcel.fence)
        if (parcel.incarnation, parcel.number) > self._newest.get(sender, (0, 0)):
            self._newest[sender] = (parcel.incarnation, parcel.number)
            self._take(parcel, now_s)
        come = self._held[sender].come if sender in self._held else (0, 0)
        return Receipt(
            self.node,
            self.incarnation,
            self.plan.version,
            self._replication.deputy,
            self.fence,
            tuple(self._claims.values()),
            received,
            durable,
            *come,
        )

    def _take(self, parcel: Parcel, now_s: float) -> None:
        """What a later parcel makes void."""
        sender = parcel.sender
        for group, (epoch, row) in parcel.rows.items():
            if self.leader_of(group) != self.node:
                self.rows.pushed(group, epoch, row, now_s)
        for group, sets in parcel.met.items():
            self.rows.subscribe(sender, group, now_s)
            for arms in sets:
                self._meet(group, arms)
        for group, arms_of in parcel.sessions.items():
            for arm, count in arms_of.items():
                self._count(self.sessions, group, arm, count)
        self._rates[sender] = parcel.rates
        self._keep(parcel)

    def _keep(self, parcel: Parcel) -> None:
        claim = self._claims.get(parcel.sender)
        if claim is not None and claim.incarnation > parcel.obeyed:
            return  # what it says it knows is somebody else's
        if parcel.deputy != self.node:
            self._held.pop(parcel.sender, None)
        elif parcel.replica is not None:
            self._held.setdefault(parcel.sender, Held()).take(parcel.replica)

    def _read_so_far(self, sender: str, birth: int, fence: int) -> tuple[int, int]:
        """Numbers of this line's letters: read; on disk, and with the deputy if there is one."""

        def number(through: dict[str, At]) -> int:
            at = through.get(sender, (0, 0, 0))
            return at[2] if at[:2] == (birth, fence) else 0 if at[:2] < (birth, fence) else -1

        durable = number(self._saved_through)
        if self.peers:
            durable = min(durable, number(self._replication.through))
        return number(self._through), durable

    def answered(self, parcel: Parcel, receipt: Receipt, now_s: float) -> None:
        """What a peer answered to a parcel."""
        peer, line = receipt.node, self._line(receipt.node)
        known = self._lives.get(peer)
        self._heard(peer, receipt.incarnation, receipt.obeyed, receipt.plan_version, receipt.claims, now_s)
        if known is not None and known != receipt.incarnation:
            self.rows.ask_again()  # it may know nothing of who subscribes
        if receipt.received >= 0 and (line.birth, line.fence) == (parcel.birth, parcel.fence):
            done = line.answered(receipt.received, receipt.durable, self._settled())
            self._done += [(peer, line.birth, line.fence, number) for number in done]
        self.rows.paid(peer, parcel.rows)
        if peer == self._replication.deputy and parcel.deputy == peer:
            self._replication.confirmed(receipt.round, receipt.part)
        elif parcel.deputy == self._replication.deputy:
            self._replication.former.discard(peer)

    def failed(self, parcel: Parcel, peer: str) -> None:
        """No answer came: who knows whether it arrived. What was in it is said again."""
        for group, sets in parcel.met.items():
            self._met.setdefault(self.leader_of(group), {}).setdefault(group, set()).update(sets)
        self._met.pop(self.node, None)
        for group, arms in parcel.sessions.items():
            for arm, count in arms.items():
                self._count(self._seen.setdefault(peer, {}), group, arm, count)

    def _heard(
        self, peer: str, incarnation: int, obeyed: int, plan: int, claims: Iterable[Claim], now_s: float
    ) -> None:
        self._now_s = now_s
        was_alive = self.is_alive(peer)
        self._heard_s[peer], self._plans[peer] = now_s, plan
        if incarnation > self._lives.get(peer, -1) or obeyed > self._obeyed.get(peer, 0):
            self._lives[peer] = max(incarnation, self._lives.get(peer, -1))
            self._obeyed[peer] = max(obeyed, self._obeyed.get(peer, 0))
            self.rows.resend(peer)
            self._view_changed()
        elif not was_alive:
            self._view_changed()
        for claim in claims:
            known = self._claims.get(claim.dead)
            if claim.dead == self.node:
                if claim.incarnation > self.fence:
                    self._fenced(claim)
            elif known is None or (known.incarnation, known.by) < (claim.incarnation, claim.by):
                self._claims[claim.dead] = claim
                self._view_changed()
                self._bring_orphans(claim)

    # --- evidence --------------------------------------------------------------------------------------------------

    def _named(self, outcome: Outcome) -> Outcome:
        name = self._renamed.get(outcome.group)
        return outcome if name is None else msgspec.structs.replace(outcome, group=name)

    def _line(self, peer: str) -> Outgoing:
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = Outgoing(self.birth)
        return line

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            self._learner.learn(outcomes)
            self.learned += len(outcomes)
            self._touched({outcome.group for outcome in outcomes})

    def _touched(self, groups: Iterable[str]) -> None:
        groups = set(groups)
        self.groups |= groups
        self._unsaved |= groups
        self._gone -= groups
        self._replication.changed(groups)
        if self._stray is not None:
            self._stray |= groups

    def _absorb(self, state: GroupState, share: float = 1.0) -> None:
        group = self._renamed.get(state.group, state.group)
        self._epochs[group] = max(self._epochs.get(group, 0), state.epoch) + 1
        self._learner.absorb(msgspec.structs.replace(state, group=group, epoch=self._epochs[group]), share)
        self._touched((group,))

    def _state(self, group: str) -> GroupState:
        return msgspec.structs.replace(self._learner.group(group), epoch=self._epochs.get(group, 0))

    def _drop(self, group: str) -> int:
        self._learner.drop(group)
        return self._forget(group)

    def _forget(self, group: str) -> int:
        self.groups.discard(group)
        self._unsaved.discard(group)
        self._gone.add(group)
        return self._replication.dropped(group)

    def _read(self, sender: str, letter: Letter) -> None:
        self._learn([self._named(outcome) for outcome in letter.outcomes])
        for state in letter.handed:
            self._absorb(state)
        if letter.orphans is not None:
            self._read_orphans(sender, letter.orphans)

    def _read_orphans(self, sender: str, orphans: Orphans) -> None:
        """Letters to a node that this one took over: those that were not in its replica."""
        inherited = self._inherited.get(orphans.dead)
        at = inherited.through.get(sender, (0, 0, 0)) if inherited is not None else (0, 0, 0)
        for letter in orphans.letters:
            if (orphans.birth, orphans.fence, letter.number) > at:
                self._read(sender, letter)

    # --- taking over, and being taken over -------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Once a second or so: who is gone, who stands in, what is to be handed over."""
        self._now_s = now_s
        self._acting.clear()
        alive = {peer for peer in self.peers if self.is_alive(peer)}
        self._replication.choose(deputy_of(self.node, alive))
        self._replication.former &= alive
        if not self._sees_most({peer for peer in alive if now_s - self._heard_s[peer] < self._dead_s / 2}):
            self._alone_s = now_s
        elif now_s - self._alone_s > self._dead_s:  # who was cut off hears first what became of the others
            for leader, held in list(self._held.items()):
                if (
                    held.complete
                    and not self.is_alive(leader)
                    and acting(leader, "", self._claims, self.is_alive, self._obeyed) in ("", self.node)
                ):
                    self._claim(leader, held)
        self._hand_over()
        self.rows.forget(now_s)
        settled = self._settled()
        while self._mine and self._mine[0][0] <= settled:
            self._mine.popleft()
        committed = self._replication.committed
        for peer, line in self._lines.items():
            for number in line.release(
                ((self.incarnation, committed) if committed else (0, 0)) if self.peers else None
            ):
                self._leaving.pop((peer, number), None)
                self.urgent = True
        for leader in [leader for leader in (*self._met, *self._seen) if not self.is_alive(leader)]:
            self._met.pop(leader, None)
            self._seen.pop(leader, None)
            self.rows.ask_again()

    def _sees_most(self, alive: set[str]) -> bool:
        """More than half of the nodes, or just half with the first by name among them."""
        seen = 2 * (len(alive) + 1) - len(self._nodes)
        return seen > 0 or (seen == 0 and min(self._nodes) in {*alive, self.node})

    def _claim(self, leader: str, held: Held) -> None:
        incarnation = max(held.incarnation, self._lives.get(leader, 0))
        claim = Claim(leader, incarnation, self.node, held.incarnation, held.round, held.position, held.learned)
        self._claims[leader] = claim
        self._inherited[leader] = Inherited(claim, held.through)
        for one in held.inherited:
            self._inherited.setdefault(one.claim.dead, one)
        for state in held.states.values():
            self._absorb(state)
        del self._held[leader]
        self.claimed += 1
        self._whole = self.urgent = True
        self._view_changed()
        self._bring_orphans(claim)

    def _bring_orphans(self, claim: Claim) -> None:
        """What this node had for one that was taken over goes to who did that."""
        line = self._lines.get(claim.dead)
        if line is None:
            line = self._lines[claim.dead] = Outgoing(self.birth)
        if line.fence >= claim.incarnation:
            return
        self._done += [(claim.dead, line.birth, line.fence, number) for number in line.letters]
        birth, fence = line.birth, line.fence
        left, waiting = line.restart(claim.incarnation), line.waiting
        line.waiting = []
        if left:
            orphans = Orphans(claim.dead, birth, fence, left)
            if claim.by == self.node:
                self._read_orphans(self.node, orphans)
            else:
                self._line(claim.by).write(orphans=orphans)
        self.outcomes(waiting)
        self._whole = self.urgent = True

    def _fenced(self, claim: Claim) -> None:
        """Another leads what this node led, and has it as of its replica: what came after that is sent there again."""
        mine = list(self._mine)
        for peer, line in self._lines.items():
            line.release((claim.life, claim.round))  # the replica was without these groups already
            for number in list(line.holds):
                line.empty(number)
                mine += self._leaving.get((peer, number), ())
        self._leaving.clear()
        again = sorted((stamp, at) for at, (order, stamp, _) in enumerate(mine) if order > claim.position)
        self.lost += max(0, self.learned - claim.learned - len(again))
        for group in list(self.groups):
            self._drop(group)
        self.fence, self.incarnation = claim.incarnation, max(self.incarnation, claim.incarnation) + 1
        self.learned = 0
        position = self._replication.position
        self._replication = Replication()
        self._replication.position = position
        self._mine.clear()
        self._whole = self.urgent = True
        self._view_changed()
        self.outcomes((stamp, mine[at][2]) for stamp, at in again)

    def _hand_over(self) -> None:
        """Groups that others lead go to them, with all that is known here."""
        looked_at = self.groups if self._stray is None else self._stray & self.groups
        strays: dict[str, list[str]] = {}
        self._learner.changed()
        for group in looked_at:
            leader = self.leader_of(group)
            if leader != self.node:
                strays.setdefault(leader, []).append(group)
        self._stray = set()
        for leader, groups in strays.items():
            for start in range(0, len(groups), MAX_HANDED):
                part = set(groups[start : start + MAX_HANDED])
                states = [self._state(group) for group in part if group in self._learner]
                hold = (self.incarnation, max(self._drop(group) for group in part))
                leaving = [entry for entry in self._mine if entry[2].group in part]
                self._mine = deque(entry for entry in self._mine if entry[2].group not in part)
                stamps = tuple(sorted(stamp for _, stamp, _ in leaving))
                letter = self._line(leader).write(states, stamps=stamps, hold=hold)[-1]
                self._leaving[leader, letter.number] = leaving
                self.handed += len(part)
                for state in states:
                    self._met.setdefault(leader, {}).setdefault(state.group, set()).add(state.arms)
            self._whole = self.urgent = True

    # --- what survives ---------------------------------------------------------------------------------------------

    def _settled(self) -> int:
        """Own outcomes up to here are on disk with the groups that learned them, and with the deputy."""
        saved = self._saved_position
        return min(saved, self._replication.position) if self.peers else saved

    @property
    def has_letters(self) -> bool:
        """Whether something waits to be saved before it can be sent."""
        return self.urgent or any(line.waiting or line.unsaved for line in self._lines.values())

    def changes(self, whole: bool) -> Changes:
        """What to save now; whole: with the groups. `saved` is to be called once it is committed."""
        self.urgent = False
        for line in self._lines.values():
            line.write()
        letters = {
            (peer, line.birth, line.fence, number): line.letters[number]
            for peer, line in self._lines.items()
            for number in line.unsaved
            if number in line.letters
        }
        done, self._done = tuple(self._done), []
        out = Out(self._position, {peer: line.state() for peer, line in self._lines.items()})
        if not (whole or self._whole):
            return Changes(out, None, (), (), letters, done)
        head = Head(
            self.incarnation,
            self.birth,
            self.fence,
            self._position,
            self.learned,
            self.lost,
            dict(self._through),
            tuple(self._claims.values()),
            tuple(self._inherited.values()),
            self._replication.through,
            min(self._position, self._replication.position) if self.peers else self._position,
            self.plan,
            self.rows.version,
        )
        self._learner.changed()  # what waits is learned: the groups are there
        states = tuple(self._state(group) for group in self._unsaved if group in self._learner)
        gone = tuple(self._gone)
        self._unsaved, self._gone, self._whole = set(), set(), False
        return Changes(out, head, states, gone, letters, done)

    def saved(self, changes: Changes) -> None:
        """They are committed: letters may leave, and senders be told."""
        for peer, birth, fence, number in changes.letters:
            line = self._lines[peer]
            if (line.birth, line.fence) == (birth, fence) and line.unsaved and line.unsaved[0] == number:
                line.unsaved.pop(0)
        for peer, sent in changes.out.lines.items():
            if (self._lines[peer].birth, self._lines[peer].fence) == (sent.birth, sent.fence):
                self._lines[peer].releasing &= {number for number, _ in sent.held}
        if changes.head is not None:
            self._saved_through, self._saved_position = changes.head.through, changes.head.position
            if not self.peers:
                self._replication.through, self._replication.position = changes.head.through, changes.head.position

    @property
    def settled(self) -> int:
        """From here on a restart needs the log."""
        return self._settled()

    def restore(
        self,
        head: Head,
        out: Out,
        states: Iterable[GroupState],
        letters: Iterable[tuple[Place, Letter]],
        logged: Iterable[tuple[int, Outcome]],
    ) -> None:
        """What was saved in a former life; logged: own outcomes behind `head.replicated_position`, in order."""
        self.plan = head.plan if head.plan.version >= self.plan.version else self.plan
        self.rows.regroup(self.plan.grouping)
        self.fence, self.learned, self.lost = head.fence, head.learned, head.lost
        self._claims = {claim.dead: claim for claim in head.claims}
        self._inherited = {one.claim.dead: one for one in head.inherited}
        self._through, self._saved_through = dict(head.through), head.through
        self._position = self._saved_position = head.position
        self._replication.through, self._replication.position = head.replicated, head.replicated_position
        for state in states:
            self._epochs[state.group] = state.epoch
            self._learner.put(state)
            self.groups.add(state.group)
        self._replication.changed(self.groups)
        self._lines = {peer: Outgoing(self.birth, sent) for peer, sent in out.lines.items()}
        lettered: set[int] = set()
        leaving: dict[int, tuple[str, int]] = {}
        for (peer, birth, fence, number), letter in sorted(letters, key=lambda one: one[0]):
            line = self._lines.get(peer)
            if line is not None and (line.birth, line.fence) == (birth, fence):
                line.restore(number, letter)
                lettered |= set(stamps_of(letter))
                if number in line.holds:
                    leaving.update(dict.fromkeys(letter.stamps, (peer, number)))
                    self._leaving[peer, number] = []
            else:
                self._done.append((peer, birth, fence, number))
        again: list[tuple[int, Outcome]] = []
        for stamp, outcome in logged:
            if stamp in leaving:
                self._leaving[leaving[stamp]].append((stamp, stamp, outcome))
            elif stamp in lettered:
                self._position = max(self._position, stamp)
            elif stamp <= head.position:
                self._mine.append((stamp, stamp, outcome))
            elif stamp <= out.position:  # it was learned here, whoever leads the group now
                self._mine.append((stamp, stamp, outcome))
                self._learn([self._named(outcome)])
            else:
                again.append((stamp, outcome))
        self._position = max(self._position, out.position)
        self.outcomes(again)

    def unsaved(self, changes: Changes) -> None:
        """They could not be committed: they are in the next ones again."""
        self._done = [*changes.done, *self._done]
        if changes.head is not None:
            self._unsaved |= {state.group for state in changes.states} & self.groups
            self._gone |= set(changes.gone) - self.groups
            self._whole = True
