"""The table as one snapshot, which today's learner (controllers/learner.py) pushes; `TableUpdate` replaces it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vagus.controllers.decide.records import ArmSet, Grouping, Row, TableUpdate
from vagus.errors import ConfigError

MAX_WEIGHT = 1e9
MAX_SNAPSHOT_BYTES = 256 << 20


class TableSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """What the learner pushes: per group the probability of each arm, and exact answers for arm sets seen lately.

    groups: {group: {arm: weight}}, over all arms of the group; sets: {group: sets of feasible arms that are smaller}.
    """

    version: int
    group_by: tuple[str, ...] = ()
    groups: dict[str, dict[str, float]] = {}
    sets: dict[str, tuple[ArmSet, ...]] = {}


def update_of(snapshot: TableSnapshot) -> TableUpdate:
    """The same as an update."""
    rows = {
        group: Row(tuple(weights), tuple(weights.values()), snapshot.sets.get(group, ()))
        for group, weights in snapshot.groups.items()
    }
    return TableUpdate(snapshot.version, 0, Grouping(group_by=snapshot.group_by), rows)


def encode_snapshot(snapshot: TableSnapshot) -> bytes:
    """A snapshot as MessagePack."""
    return msgspec.msgpack.encode(snapshot)


def decode_snapshot(data: bytes) -> TableSnapshot:
    """MessagePack as a checked snapshot. Raises ConfigError."""
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise ConfigError(f"a table of {len(data)} bytes; at most {MAX_SNAPSHOT_BYTES}")
    try:
        snapshot = msgspec.msgpack.decode(data, type=TableSnapshot)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a decision table: {error}") from error
    return check_snapshot(snapshot)


def check_snapshot(snapshot: TableSnapshot) -> TableSnapshot:
    """Weights are 0 to 1e9 and not all 0 in a set; else ConfigError, naming the group."""
    for group, weights in snapshot.groups.items():
        _check_weights(group, weights.values())
    for group, sets in snapshot.sets.items():
        if group not in snapshot.groups:
            raise ConfigError(f"table {snapshot.version}: arm sets for group {group[:80]!r}, which it does not have")
        for arm_set in sets:
            if len(arm_set.arms) != len(arm_set.weights):
                raise ConfigError(f"table: group {group[:80]!r} has {len(arm_set.weights)} weights for other arms")
            _check_weights(group, arm_set.weights)
    return snapshot


def _check_weights(group: str, weights: Iterable[float]) -> None:
    weights = tuple(weights)
    if not (all(0.0 <= weight <= MAX_WEIGHT for weight in weights) and any(weights)):
        raise ConfigError(f"table: weights of group {group[:80]!r} must be 0 to {MAX_WEIGHT:g} and not all 0")
