"""Who is who among the nodes that decide: whose a decision is, who leads a group, who stands in for a leader. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b

import msgspec

from vagus.controllers.decide.records import Plan

TAG = 7  # hexadecimal digits; where two nodes share one, both are asked
SEPARATOR = "-"

At = tuple[int, int, int]
"""A place in a line of letters (see `mail`): birth, fence, number."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """`by` leads what `dead` led up to its life `incarnation`, from a round of its replica.

    life, round: of that replica; through: how far the dead node had read the line of each sender; position: the last of the dead node's own outcomes in it; learned: how many outcomes it had learned by then.
    """

    dead: str
    incarnation: int
    by: str
    life: int = 0
    round: int = 0
    position: int = 0
    learned: int = 0
    through: dict[str, At] = {}


def tag_of(node: str) -> str:
    """What decision ids of a node begin with."""
    return blake2b(node.encode()).hexdigest()[:TAG]


def prefix_of(node: str) -> str:
    """The prefix of a node's ids (see `ids`)."""
    return tag_of(node) + SEPARATOR


def nodes_of(decision_id: str, nodes: Iterable[str]) -> tuple[str, ...]:
    """The nodes that may have made a decision; none: an id without a node, or of one that is not known."""
    tag, separator, _ = decision_id.partition(SEPARATOR)
    return tuple(node for node in nodes if tag_of(node) == tag) if separator else ()


def deputy_of(leader: str, nodes: Iterable[str]) -> str:
    """Who keeps the replica of what `leader` knows: the next one by name, around; empty when it is alone."""
    ring = sorted({*nodes, leader})
    return "" if len(ring) < 2 else ring[(ring.index(leader) + 1) % len(ring)]


def acting(
    node: str, here: str, claims: Mapping[str, Claim], alive: Callable[[str], bool], obeyed: Mapping[str, int]
) -> str:
    """Who leads at present what the Plan has `node` lead: itself, who claimed it, or nobody but `here`.

    obeyed: the last claim on itself that each node has obeyed; it leads again from then on.
    """
    seen: set[str] = set()
    while node != here and node not in seen:
        seen.add(node)
        claim = claims.get(node)
        if claim is not None and claim.incarnation > obeyed.get(node, 0):
            node = claim.by
        elif alive(node):
            return node
        else:
            return here
    return here


def renames(plan: Plan) -> dict[str, str]:
    """Of groups that are no more: the group that most of what was known of each went to."""
    heaviest: dict[str, tuple[float, str]] = {}
    for move in plan.moves:
        if move.share > heaviest.get(move.source, (0.0, ""))[0]:
            heaviest[move.source] = (move.share, move.target)
    return {source: target for source, (_, target) in heaviest.items() if source != target}
