"""What passes between the parts of the decision service, within a node and between nodes: typed, array-like, bounded."""

from __future__ import annotations

from typing import Any

import msgspec

from vagus.model import Scalar


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """A reward joined to its decision: what a policy learns from.

    features: the reduced labels alone (`decide.reduced`): what contextual policies and the learning of groups see.
    arms: the feasible ones; empty where nobody told.
    """

    group: str
    arm: str
    reward: float
    propensity: float = 1.0
    features: dict[str, Scalar] = {}
    arms: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """A node of the rule tree: the value of `field`, as text, leads to a rule below or to a group's name.

    rest: where a value leads that the table has not; None: where the nearest rule above says.
    """

    field: str
    table: dict[str, Rule | str]
    rest: Rule | str | None = None


class Grouping(msgspec.Struct, frozen=True):
    """How features name a group: by rules; where none matches by the feature `fallback`; without rules by `group_by`.

    version: grows with each change; 0: as configured.
    """

    version: int = 0
    group_by: tuple[str, ...] = ()
    rules: Rule | None = None
    fallback: str = ""


class ArmSet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Probabilities for one set of feasible arms, in their order."""

    arms: tuple[str, ...]
    weights: tuple[float, ...]


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A group in the table: its arms with their probabilities, and exact answers for smaller sets met lately.

    model: of a contextual policy: what `vagus.policies.CONTEXTUAL` needs to weigh the arms for a request's features.
    values: of a group that meets more sets than are answered exactly, what its arms are worth (see drawing.by_gaps);
    NaN: not known; empty: any other set is answered in proportion to the weights.
    """

    arms: tuple[str, ...]
    weights: tuple[float, ...]
    sets: tuple[ArmSet, ...] = ()
    model: bytes = b""
    values: tuple[float, ...] = ()


class TableUpdate(msgspec.Struct, frozen=True, array_like=True):
    """What a table needs to come from version `base` to `version`; base 0: everything anew.

    groups: rows that are new or changed; gone: groups that are no more; grouping: None where it is as before.
    """

    version: int
    base: int = 0
    grouping: Grouping | None = None
    groups: dict[str, Row] = {}
    gone: tuple[str, ...] = ()


class GroupState(msgspec.Struct, frozen=True, array_like=True):
    """All that is known of a group, to be saved, replicated, handed over, split or merged.

    epoch: grows when another node takes the group over: what has the higher one goes on from the other. state: of the
    policy named, places in the order of `arms`.
    """

    group: str
    epoch: int
    policy: str
    arms: tuple[str, ...]
    state: dict[str, Any]
    rewards: int = 0


class Move(msgspec.Struct, frozen=True, array_like=True):
    """Part of a change of groups: this share of what is known of one group is evidence on another."""

    source: str
    target: str
    share: float


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """Groups and who leads them, as the backend sees it; versions grow. moves: from the grouping before this one.

    leaders: node by group; a group that is not listed is led where its sessions arrive.
    """

    version: int
    grouping: Grouping
    leaders: dict[str, str] = {}
    moves: tuple[Move, ...] = ()
