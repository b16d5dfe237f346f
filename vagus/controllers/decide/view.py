"""What a node that decides knows of the others: who lives, who claimed whose groups, who leads a group. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vagus.controllers.decide.plan import Claim, acting
from vagus.controllers.decide.records import Plan

DEAD_S = 3.0  # a third of it between two signs of life
SIGNS_PER_S = 60  # that a node sends at most: among more nodes it takes longer until one counts as dead


class View:
    """`changes` counts whatever may change who leads a group. Times are monotonic seconds; `now_s` is the last told."""

    def __init__(self, node: str, plan: Plan, now_s: float, dead_s: float = DEAD_S) -> None:
        self.node = node
        self.plan = plan
        self.now_s = now_s
        self.dead_s = self._least_dead_s = dead_s
        self.changes = 0
        self.nodes: tuple[str, ...] = (node,)
        self._there = frozenset(self.nodes)  # asked for each of them again and again
        self.lives: dict[str, int] = {}  # incarnation last heard of each peer
        self.obeyed: dict[str, int] = {}  # the last claim on itself that each peer has obeyed
        self.plans: dict[str, int] = {}  # version that each peer has
        self.claims: dict[str, Claim] = {}
        self.hears: dict[str, frozenset[str]] = {}  # by peer: the nodes that it has just heard, as it said last
        self._heard_s: dict[str, float] = {}
        self._acting: dict[str, str] = {}
        self._alone_s = -math.inf  # when most of the nodes were out of sight

    @property
    def peers(self) -> tuple[str, ...]:
        """The other nodes that decide, dead or alive."""
        return tuple(peer for peer in self.nodes if peer != self.node)

    def set_nodes(self, nodes: Iterable[str], now_s: float) -> None:
        """The nodes that decide, this one included or not."""
        self.now_s = now_s
        nodes = tuple(sorted({*nodes, self.node}))
        if nodes != self.nodes:
            self.nodes, self._there = nodes, frozenset(nodes)
            self.dead_s = max(self._least_dead_s, 3 * len(nodes) / SIGNS_PER_S)
            self.changed()
        for peer in self.peers:
            self._heard_s.setdefault(peer, now_s)  # a new one has time to be heard

    def follow(self, plan: Plan) -> None:
        """Another Plan from now on."""
        self.plan = plan
        self.changed()

    def changed(self) -> None:
        """Somebody came, went, or claims."""
        self._acting.clear()
        self.changes += 1

    def heard(self, peer: str, incarnation: int, obeyed: int, plan: int, now_s: float) -> bool:
        """A sign of life; whether the peer began anew since the last one."""
        self.now_s = now_s
        was_alive = self.is_alive(peer)
        self._heard_s[peer], self.plans[peer] = now_s, plan
        anew = incarnation > self.lives.get(peer, -1) or obeyed > self.obeyed.get(peer, 0)
        if anew:
            self.lives[peer] = max(incarnation, self.lives.get(peer, -1))
            self.obeyed[peer] = max(obeyed, self.obeyed.get(peer, 0))
        if anew or not was_alive:
            self.changed()
        return anew

    def heard_claim(self, claim: Claim) -> bool:
        """A claim on another node; whether it is news."""
        known = self.claims.get(claim.dead)
        if known is not None and (known.incarnation, known.by) >= (claim.incarnation, claim.by):
            return False
        self.claims[claim.dead] = claim
        self.changed()
        return True

    def is_alive(self, peer: str, within_s: float = 0.0) -> bool:
        """Whether a peer was heard of late."""
        return peer == self.node or (
            peer in self._heard_s
            and peer in self._there
            and self.now_s - self._heard_s[peer] < (within_s or self.dead_s)
        )

    def is_claimed(self, peer: str, obeyed: int | None = None) -> bool:
        """Whether another leads what this peer led, until it knows."""
        claim = self.claims.get(peer)
        return claim is not None and claim.incarnation > (self.obeyed.get(peer, 0) if obeyed is None else obeyed)

    def has_claimed(self, peer: str) -> bool:
        """Whether this node leads what a peer led."""
        claim = self.claims.get(peer)
        return claim is not None and claim.by == self.node

    def leader_of(self, group: str) -> str:
        """Who leads a group at present, as far as this node knows."""
        planned = self.plan.leaders.get(group)
        if planned is None or planned == self.node:
            return self.node
        found = self._acting.get(planned)
        if found is None:
            found = self._acting[planned] = acting(planned, self.node, self.claims, self.is_alive, self.obeyed)
        return found

    def tick(self, now_s: float) -> tuple[str, ...]:
        """Who lives now."""
        self.now_s = now_s
        before, self._acting = self._acting, {}
        if any(acting(p, self.node, self.claims, self.is_alive, self.obeyed) != before[p] for p in before):
            self.changed()
        if not self.sees_most:
            self._alone_s = now_s
        return tuple(peer for peer in self.peers if self.is_alive(peer))

    def may_claim(self, leader: str) -> bool:
        """Whether a leader is gone, as far as anybody says, and nobody stands in for it.

        Who was cut off hears first what became of the others; who lost sight of half of them is cut off itself.
        """
        if self.is_alive(leader) or self.now_s - self._alone_s <= self.dead_s:
            return False
        if any(leader in heard for peer, heard in self.hears.items() if self.is_alive(peer)):
            return False
        return acting(leader, "", self.claims, self.is_alive, self.obeyed) in ("", self.node)

    @property
    def just_heard(self) -> frozenset[str]:
        """Peers of which there was a sign of life a moment ago."""
        return frozenset(peer for peer in self.peers if self.is_alive(peer, self.dead_s / 2))

    @property
    def sees_most(self) -> bool:
        """Whether most of the nodes were heard a moment ago."""
        return self.are_most(self.just_heard)

    def are_most(self, peers: Iterable[str]) -> bool:
        """Whether these and this node are more than half of the nodes, or half with the first by name among them."""
        these = {self.node, *peers}.intersection(self.nodes)
        most = 2 * len(these) - len(self.nodes)
        return most > 0 or (most == 0 and min(self.nodes) in these)

    def notes(self) -> tuple[str, ...]:
        """Lines for people: whom this node stands in for, whom it does not hear."""
        silent = [peer for peer in self.peers if not self.is_alive(peer)]
        claimed = [dead for dead in self.claims if self.has_claimed(dead) and self.is_claimed(dead)]
        lines = [f"{self.node} leads what {dead} led" for dead in claimed]
        if silent:
            lines.append(f"does not hear {', '.join(silent[:10])}")
        return tuple(lines)
