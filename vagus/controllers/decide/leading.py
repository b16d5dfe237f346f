"""Who learns what: evidence goes to whoever leads its group, and is in one place at any time. Pure.

After Pytheas (NSDI'17, section 4): updates for a group that is led elsewhere are forwarded, which subscribes the sender
to that group's decisions. A node learns from whatever evidence it gets; what it knows of a group that another leads it
hands over. Everything that moves does so in letters (see `mail`), so nothing is learned twice. A leader has a replica at
its deputy, who claims its groups when it is gone; a leader that comes back forgets what was claimed, and is handed it
back. `parcels` is how this is told, `saving` how it survives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from vagus.controllers.decide.evidence import Evidence, Learns
from vagus.controllers.decide.mail import MAX_SENT, Letter, Orphans, Outgoing, Place, Round, portions, weight_of
from vagus.controllers.decide.plan import At, Claim, deputy_of
from vagus.controllers.decide.records import GroupState, Outcome, Plan, TableUpdate
from vagus.controllers.decide.replicas import Held
from vagus.controllers.decide.rows import Rows
from vagus.controllers.decide.view import DEAD_S, View

MAX_HANDED = 1_000  # groups in one letter
MAX_MINE = 500_000

Mine = tuple[int, int, Outcome]
"""An own outcome that was learned here and could still be lost: when that was (a position), its stamp, itself."""


class Leading:
    """One node among those that decide. Times are monotonic seconds; stamps order what is in this node's log.

    `outcomes` and `meet` as sessions come; `ticked` with what the learner made; `tick` twice a second or so.
    birth: of the log; incarnation: of this life, larger than those before. sessions: by group led here and arm, of all
    nodes, since somebody last took them. wanted: own outcomes of the log behind one place and up to another, but for
    those in `lettered`, that must be given to `outcomes` before anything is saved. urgent: something should be saved and sent at once.
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
        version: int = 0,
    ) -> None:
        self.node = node
        self.view = View(node, plan, now_s, dead_s)
        self.evidence = Evidence(learner)
        self.rows = Rows(plan.grouping, version)
        self.birth, self.incarnation, self.fence = birth, incarnation, 0
        self.lost = self.claimed = self.handed = 0
        self.configured = 0  # a hash of the settings that groups come from
        self.sessions: dict[str, dict[str, int]] = {}
        self.urgent = False
        self.whole = True  # the next thing saved must be saved with the groups
        self.position = self.saved_position = 0
        self.saved_plan = -1
        self.lines: dict[str, Outgoing] = {}
        self.through: dict[str, At] = {}  # letters read, by sender
        self.saved_through: dict[str, At] = {}
        self.done: list[Place] = []  # letters that need not be kept
        self.held: dict[str, Held] = {}  # replicas of leaders whose deputy this node is
        # What was claimed, or taken back, and this node's own deputy has not got yet.
        self.kept: dict[Place, Letter] = {}
        self.kept_unsaved: set[Place] = set()
        self.mine: deque[Mine] = deque()
        self.leaving: dict[tuple[str, int], list[Mine]] = {}  # those in groups of letters that are held, by line
        self.returned: dict[Place, list[Mine]] = {}  # those in letters that are kept
        self.met: dict[str, dict[str, set[tuple[str, ...]]]] = {}  # to be told: by leader and group
        self.seen: dict[str, dict[str, dict[str, int]]] = {}  # sessions, by leader, group and arm
        self.wanted: tuple[int, int] | None = None
        self.lettered: set[int] = set()  # of a former life: own outcomes that were not learned here
        self.unread = 0  # own outcomes up to here are of a former life
        self._looked = -1

    # --- what happens at this node ---------------------------------------------------------------------------------

    def leader_of(self, group: str) -> str:
        """Who leads a group at present, as far as this node knows."""
        return self.view.leader_of(group)

    def follow(self, plan: Plan) -> None:
        """Goes by a newer Plan: what is known of groups that were split or merged moves as its moves say."""
        before = self.view.plan
        if plan.version <= before.version:
            return
        self.view.follow(plan)
        if plan.grouping.version != before.grouping.version:
            self.rows.regroup(plan.grouping)
        if plan.grouping.version == before.grouping.version + 1:
            for group in self.evidence.carry(plan):
                self.rows.drop(group)
            self.whole = True

    def outcomes(self, stamped: Iterable[tuple[int, Outcome]]) -> None:
        """Outcomes of this node's sessions, with their places in the log."""
        here = []
        for stamp, outcome in stamped:
            outcome = self.evidence.named(outcome)
            leader = self.view.leader_of(outcome.group)
            if leader == self.node:
                here.append(outcome)
                self.position = max(self.position + 1, stamp)  # a new one also for what comes late
                self.mine.append((self.position, stamp, outcome))
            else:
                self.line(leader).add(stamp, outcome)
                self.position = max(self.position, stamp)
        while len(self.mine) > MAX_MINE:
            self.mine.popleft()
        self.evidence.learn(here)

    def meet(self, group: str, arms: tuple[str, ...], arm: str, now_s: float) -> None:
        """A session of this node was given `arm` of these."""
        group = self.evidence.name(group)
        leader = self.view.leader_of(group)
        if leader == self.node:
            self.evidence.meet(group, arms)
            count(self.sessions, group, arm, 1)
            return
        count(self.seen.setdefault(leader, {}), group, arm, 1)
        if self.rows.meet(group, now_s) or not self.rows.answers(group, arms):
            self.met.setdefault(leader, {}).setdefault(group, set()).add(arms)

    def ticked(self, update: TableUpdate, now_s: float) -> None:
        """What the learner made."""
        self.view.now_s = now_s

        def leads(group: str) -> bool:
            if self.view.leader_of(group) != self.node:
                return False
            planned = self.view.plan.leaders.get(group, self.node)
            return planned == self.node or not self.rows.is_fresh(group, now_s) or self.view.has_claimed(planned)

        self.rows.led(update, leads)
        for group in update.gone:
            if group in self.evidence.groups and group not in self.evidence.learner:  # it had to make room
                self.evidence.forget(group)

    # --- letters ---------------------------------------------------------------------------------------------------

    def line(self, peer: str) -> Outgoing:
        """The line to a peer."""
        line = self.lines.get(peer)
        if line is None:
            line = self.lines[peer] = Outgoing(self.birth)
        return line

    def read(self, sender: str, letter: Letter) -> None:
        """A letter, for the first time."""
        self.evidence.learn([self.evidence.named(outcome) for outcome in letter.outcomes])
        for state in letter.handed:
            self.evidence.absorb(state)
        if letter.orphans is not None:
            self._read_orphans(sender, letter.orphans)

    def _read_orphans(self, sender: str, orphans: Orphans) -> None:
        """Letters to a node that this one took over: those that were not in its replica."""
        claim = self.view.claims.get(orphans.dead)
        at = (0, 0, 0) if claim is None else claim.through.get(sender, (0, 0, 0))
        for letter in orphans.letters:
            if (orphans.birth, orphans.fence, letter.number) > at:
                self.read(sender, letter)

    @property
    def settled(self) -> int:
        """Own outcomes up to here are on disk with the groups that learned them, and with the deputy."""
        replicated = self.evidence.replication.position
        return min(self.saved_position, replicated) if self.view.peers else self.saved_position

    # --- taking over, and being taken over -------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Who is gone, who stands in, what is to be handed over."""
        alive = self.view.tick(now_s)
        if self.view.sees_most:
            self.evidence.replication.choose(deputy_of(self.node, alive))
        for leader, held in list(self.held.items()):
            if held.complete and self.view.may_claim(leader):
                self._claim(leader, held)
        if self._looked != self.view.changes:
            self._looked, self.evidence.strays = self.view.changes, None
        self._hand_over()
        self.rows.forget(now_s)
        settled = self.settled
        while self.mine and self.mine[0][0] <= settled:
            self.mine.popleft()
        for place, letter in list(self.kept.items()):
            if not self.view.peers or self._committed >= letter.since:
                self._keep_no_more(place)
        for peer in self.lines:
            self._release(peer)
        for leader in {*self.met, *self.seen} - {*alive}:
            self.met.pop(leader, None)
            self.seen.pop(leader, None)
            self.rows.ask_again()

    @property
    def _committed(self) -> Round:
        """The round that the deputy holds."""
        committed = self.evidence.replication.committed
        return (self.incarnation, committed) if committed else (0, 0)

    def _release(self, peer: str) -> None:
        """Groups that the deputy has no more may leave."""
        for number in self.lines[peer].release(self._committed if self.view.peers else None):
            self.leaving.pop((peer, number), None)
            self.urgent = True

    def _claim(self, leader: str, held: Held) -> None:
        incarnation = max(held.incarnation, self.view.lives.get(leader, 0))
        claim = Claim(
            leader,
            incarnation,
            self.node,
            held.incarnation,
            held.round,
            held.position,
            held.learned,
            held.through,
        )
        self.view.claims[leader] = claim
        self.view.changed()
        del self.held[leader]
        self.claimed += 1
        orphans, waiting = self._orphans(claim)
        kept: list[tuple[tuple[GroupState, ...], Orphans | None]] = [
            *((part, None) for part in portions(held.states.values(), MAX_HANDED)),
            *(((), part) for part in orphans),
        ]
        for number, part in enumerate(kept, 1):
            self._keep(("", self.birth, incarnation, number), *part)
        self.outcomes(waiting)

    def _keep(
        self,
        place: Place,
        states: tuple[GroupState, ...],
        orphans: Orphans | None,
        stamps: tuple[int, ...] = (),
        hold: Round = (0, 0),
    ) -> None:
        """Learns what was claimed, and keeps it until the deputy has it, too: it may be claimed in turn."""
        since = (self.incarnation, self.evidence.replication.round + 1)
        letter = self.kept[place] = Letter(0, stamps, (), states, orphans, since, hold)
        self.kept_unsaved.add(place)
        self.whole = self.urgent = True
        self.read(self.node, letter)

    def _keep_no_more(self, place: Place) -> list[Mine]:
        """The own outcomes that were in it."""
        del self.kept[place]
        self.done.append(place)
        return self.returned.pop(place, [])

    def bring_orphans(self, claim: Claim) -> None:
        """What this node had for one that was taken over goes to who did that."""
        if self.line(claim.dead).fence < claim.incarnation:
            orphans, waiting = self._orphans(claim)
            for part in orphans:
                self.line(claim.by).write(orphans=part)
            self.outcomes(waiting)
            self.whole = self.urgent = True

    def _orphans(self, claim: Claim) -> tuple[list[Orphans], list[tuple[int, Outcome]]]:
        """What of the line to one that was taken over is not durable, and what is not yet in a letter; a new line.

        Groups that could not leave yet, since the replica may still have them, are taken back.
        """
        line = self.line(claim.dead)
        self._release(claim.dead)
        for number, hold in list(line.holds.items()):
            letter, place = line.letters[number], ("", self.birth, claim.incarnation, -number)
            self.returned[place] = self.leaving.pop((claim.dead, number), [])
            self._keep(place, letter.handed, None, letter.stamps, hold)
            line.empty(number)
        self.done += [(claim.dead, line.birth, line.fence, number) for number in line.letters]
        birth, fence = line.birth, line.fence
        left, waiting = line.restart(claim.incarnation), line.waiting
        line.waiting = []
        parts: list[list[Letter]] = []
        weight = 0
        for letter in left:
            weight += weight_of(letter)
            if not parts or weight > MAX_SENT:
                parts.append([])
                weight = weight_of(letter)
            parts[-1].append(letter)
        return [Orphans(claim.dead, birth, fence, tuple(part)) for part in parts], waiting

    def obey(self, claim: Claim) -> None:
        """Another leads what this node led, and has it as of its replica: what came after that is sent there again."""
        mine = list(self.mine)
        for peer, line in self.lines.items():
            line.release((claim.life, claim.round))  # the replica was without these groups already
            for number in list(line.holds):
                self.lettered.difference_update(line.letters[number].stamps)
                line.empty(number)
                mine += self.leaving.get((peer, number), ())
        self.leaving.clear()
        for place, letter in list(self.kept.items()):
            if (claim.life, claim.round) < letter.hold:  # the replica has them as before
                self.lettered.difference_update(letter.stamps)
                mine += self._keep_no_more(place)
        if claim.position < self.unread:
            self.wanted = (claim.position, self.unread)
        self.unread = 0
        again = sorted((stamp, at) for at, (order, stamp, _) in enumerate(mine) if order > claim.position)
        self.lost += max(0, self.evidence.learned - claim.learned - len(again))
        self.evidence.drop_all()
        self.fence, self.incarnation = claim.incarnation, max(self.incarnation, claim.incarnation) + 1
        self.mine.clear()
        self.whole = self.urgent = True
        self.view.changed()
        for place, letter in list(self.kept.items()):
            if letter.since > (claim.life, claim.round):
                self._keep(place, letter.handed, letter.orphans, letter.stamps, letter.hold)
        self.outcomes((stamp, mine[at][2]) for stamp, at in again)

    def _hand_over(self) -> None:
        """Groups that others lead go to them, with all that is known here."""
        strays: dict[str, list[str]] = {}
        for group in self.evidence.take_strays(lambda group: self.view.leader_of(group) != self.node):
            strays.setdefault(self.view.leader_of(group), []).append(group)
        for leader, groups in strays.items():
            for start in range(0, len(groups), MAX_HANDED):
                part = set(groups[start : start + MAX_HANDED])
                states = self.evidence.states(part)
                hold = (self.incarnation, max(self.evidence.drop(group) for group in part))
                leaving = [entry for entry in self.mine if entry[2].group in part]
                self.mine = deque(entry for entry in self.mine if entry[2].group not in part)
                stamps = tuple(sorted(stamp for _, stamp, _ in leaving))
                if not states:
                    continue
                at = 0
                for handed in portions(states, MAX_HANDED):
                    at += len(handed)
                    last = at == len(states)
                    letter = self.line(leader).write(handed, stamps=stamps if last else (), hold=hold)[-1]
                    self.leaving[leader, letter.number] = leaving if last else []
                self.handed += len(states)
                for state in states:
                    self.met.setdefault(leader, {}).setdefault(state.group, set()).add(state.arms)
            self.whole = self.urgent = True


def count(into: dict[str, dict[str, int]], group: str, arm: str, more: int) -> None:
    """Adds to a count by group and arm."""
    arms = into.setdefault(group, {})
    arms[arm] = arms.get(arm, 0) + more
