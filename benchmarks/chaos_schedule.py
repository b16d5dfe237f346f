"""What is killed when, in `benchmarks.chaos`: drawn from a seed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

ACTOR, NODE, HEAD = "actor", "node", "head"
BEGIN_S = 10.0  # clients have written for so long before the first kill
ACTOR_S = (11.0, 16.0)  # from the kill of an actor to what is killed next: it is back in a few seconds
NODE_S = 95.0  # a node's turn: Ray notices its end after about a minute, as it shall; then it starts again
ALONE_S = 45.0  # at the end of a node's turn nothing else is killed: that it comes back is measured
HEAD_S = 65.0  # the head's turn: without it, no actor comes back
AWAY_S = (10.0, 20.0)  # how long there is no head
NODES_RATIO = 0.7  # of the time that heads leave: for nodes; the rest is for actors
END_S = 30.0  # after the last turn: all must be as it should


class Kill(NamedTuple):
    """Due so long after the begin. role: of the actor; away_s: after so long the head is started again."""

    at_s: float
    kind: str
    node: str
    role: str = ""
    away_s: float = 0.0


def plan(rng: Random, seats: Mapping[str, Sequence[str]], head: str, length_s: float) -> list[Kill]:
    """Kills in the order in which they are due.

    seats: the roles of the actors at each node. Each kind comes at least once, however short `length_s` is, which is
    then exceeded; nodes take turns, so do roles. While a node is away only actors of other nodes are killed; while the
    head is, nothing.
    """
    others = [node for node in seats if node != head]
    heads = max(1, round(length_s / 300.0))
    rest_s = max(0.0, length_s - BEGIN_S - END_S - heads * HEAD_S)
    nodes = max(1, round(NODES_RATIO * rest_s / NODE_S)) if others else 0
    turns = [HEAD] * heads + [NODE] * nodes
    rng.shuffle(turns)
    free_s = max(0.0, rest_s - nodes * NODE_S)
    victims = _Turns(rng, others)
    roles = _Turns(rng, sorted({role for found in seats.values() for role in found}))
    kills: list[Kill] = []
    now_s = BEGIN_S
    for turn in turns:
        until_s = now_s + free_s / len(turns)
        now_s = max(until_s, _actors(rng, kills, roles, seats, now_s, until_s))
        if turn == HEAD:
            kills.append(Kill(now_s, HEAD, head, "", rng.uniform(*AWAY_S)))
            now_s += HEAD_S
            continue
        node = victims.next()
        kills.append(Kill(now_s, NODE, node))
        staying = {name: found for name, found in seats.items() if name != node}
        _actors(rng, kills, roles, staying, now_s + rng.uniform(*ACTOR_S), now_s + NODE_S - ALONE_S)
        now_s += NODE_S
    return kills


def length(kills: Sequence[Kill]) -> float:
    """Seconds that they take, with what follows the last one."""
    takes = {ACTOR: ACTOR_S[1], NODE: NODE_S, HEAD: HEAD_S}
    return max((kill.at_s + takes[kill.kind] for kill in kills), default=BEGIN_S) + END_S


def _actors(
    rng: Random,
    kills: list[Kill],
    roles: _Turns,
    seats: Mapping[str, Sequence[str]],
    from_s: float,
    until_s: float,
) -> float:
    """Adds kills of actors; when the last one is told."""
    while from_s + ACTOR_S[1] <= until_s:
        role = roles.next()
        having = [node for node in seats if role in seats[node]]
        if having:  # the traces of the head's are not elsewhere
            kills.append(Kill(from_s, ACTOR, rng.choice(having), role))
        from_s += rng.uniform(*ACTOR_S)
    return from_s


class _Turns:
    """Each once before any comes again, in a new order each time."""

    def __init__(self, rng: Random, names: Sequence[str]) -> None:
        self._rng = rng
        self._names = list(names)
        self._left: list[str] = []

    def next(self) -> str:
        if not self._left:
            self._left = list(self._names)
            self._rng.shuffle(self._left)
        return self._left.pop()
