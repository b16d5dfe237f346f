"""The backend of the decision service: from what all nodes see, who leads which group and which groups there are. Pure.

After Pytheas (NSDI'17, section 4): every update reaches it in batches, so does who is alive; it learns groups on the timescale of minutes, and the leader of a group is the node where most of its sessions
are. Its loss freezes Plans and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp

import msgspec

from vagus.controllers.decide.records import Grouping, Move, Outcome, Plan

PLAN_S = 5.0  # how often it looks, and so at most how often a Plan is made
HALF_S = 60.0  # sessions fade by e in so many seconds
KEEP = 1.5  # times as many sessions as its leader has another node must see to lead a group
LEAST = 3.0  # sessions of a node, faded, before it counts
FADED = 0.01
MAX_SUMMARY = 20_000  # outcomes in one summary; what is beyond is counted
MAX_GROUPS = 200_000  # that are looked at; those that come beyond are led where they are met


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """What a node saw since the one before. sessions: by group; dropped: outcomes left out."""

    node: str
    sessions: dict[str, int] = {}
    outcomes: tuple[Outcome, ...] = ()
    dropped: int = 0


class Gathering:
    """What a node has seen and not yet told the backend, bounded."""

    def __init__(self, node: str, outcomes: bool) -> None:
        self._node = node
        self._wants = outcomes
        self._begin()

    def _begin(self) -> None:
        self._sessions: dict[str, int] = {}
        self._outcomes: list[Outcome] = []
        self._dropped = 0

    def session(self, group: str) -> None:
        """A decision of this node."""
        if group in self._sessions or len(self._sessions) < MAX_GROUPS:
            self._sessions[group] = self._sessions.get(group, 0) + 1

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Rewards of this node's decisions."""
        if not self._wants:
            return
        room = MAX_SUMMARY - len(self._outcomes)
        self._outcomes += outcomes[:room]
        self._dropped += max(0, len(outcomes) - room)

    def take(self) -> Summary:
        """All of it; what comes now is for the next one."""
        summary = Summary(self._node, self._sessions, tuple(self._outcomes), self._dropped)
        self._begin()
        return summary


class Backend:
    """Hears summaries, gives Plans. dropped: outcomes that nodes had to leave out of theirs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dropped = 0
        self._sessions: dict[str, dict[str, float]] = {}  # by group and node, fading
        self._alive: frozenset[str] = frozenset()
        self._faded_s: float | None = None
        self._made_s = -PLAN_S

    def hear(self, summary: Summary, now_s: float) -> None:
        """A node's summary."""
        for group, count in summary.sessions.items():
            if group in self._sessions or len(self._sessions) < MAX_GROUPS:
                nodes = self._sessions.setdefault(group, {})
                nodes[summary.node] = nodes.get(summary.node, 0.0) + count
        self.dropped += summary.dropped

    def know(self, plan: Plan) -> None:
        """A newer Plan than its own, which a former backend made."""
        if plan.version > self.plan.version:
            self.plan = plan

    def regroup(self, grouping: Grouping, moves: tuple[Move, ...]) -> None:
        """Another grouping from now on, its version one higher; moves: what becomes of the groups there are."""
        moving = {move.source for move in moves}
        seen = {group: nodes for group, nodes in self._sessions.items() if group not in moving}
        for move in moves:
            for node, count in self._sessions.get(move.source, {}).items():
                target = seen.setdefault(move.target, {})
                target[node] = target.get(node, 0.0) + move.share * count
        self._sessions = seen
        leaders = self._leaders()
        self.plan = Plan(self.plan.version + 1, grouping, leaders, moves)

    def tick(self, alive: Iterable[str], now_s: float) -> Plan | None:
        """A new Plan if leaders change; alive: the nodes that live."""
        self._alive = frozenset(alive)
        if now_s - self._made_s < PLAN_S:
            return None
        self._made_s = now_s
        self._fade(now_s)
        leaders = self._leaders()
        if leaders == self.plan.leaders:
            return None
        self.plan = Plan(self.plan.version + 1, self.plan.grouping, leaders, self.plan.moves)
        return self.plan

    def _fade(self, now_s: float) -> None:
        if self._faded_s is None:
            self._faded_s = now_s
        kept, self._faded_s = exp(-(now_s - self._faded_s) / HALF_S), now_s
        faded = {
            group: {node: count * kept for node, count in nodes.items() if count * kept > FADED}
            for group, nodes in self._sessions.items()
        }
        self._sessions = {group: nodes for group, nodes in faded.items() if nodes}

    def _leaders(self) -> dict[str, str]:
        """The node with most of each group's sessions; who leads goes on until another has half as many again.

        A group that one node alone sees has no entry, and is led there; one that has an entry keeps it.
        """
        leaders: dict[str, str] = {}
        for group, nodes in self._sessions.items():
            leader = self.plan.leaders.get(group)
            if leader is None and sum(count >= LEAST for count in nodes.values()) < 2:
                continue
            seen = {node: count for node, count in nodes.items() if node in self._alive}
            if not seen:
                if leader is not None:
                    leaders[group] = leader
                continue
            most = max(seen, key=lambda node: (seen[node], node))
            if leader is None or leader not in self._alive or seen[most] > max(KEEP * seen.get(leader, 0.0), LEAST):
                leader = most
            leaders[group] = leader
        return leaders
