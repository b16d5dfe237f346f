"""The request path of the decision service: a local table answers in microseconds, never a hop to another actor.

After Pytheas (NSDI'17): lists of decisions are computed in the background (see controllers.learner) and pushed to
wherever requests arrive; a request matches its group and draws. Any probabilities may be drawn from, not ten slots.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from random import Random

import msgspec

from vagus.controllers.decide.features import check_features, group_of
from vagus.errors import ConfigError
from vagus.model import Decision, Scalar, check_name

MAX_ARMS = 1000
MAX_WEIGHT = 1e9
MAX_SNAPSHOT_BYTES = 256 << 20
MAX_CACHED_CELLS = 4_000_000  # arms in lists kept ready, about 100 bytes each


class ArmSet(msgspec.Struct, frozen=True, array_like=True):
    """Probabilities for one set of feasible arms, in their order."""

    arms: tuple[str, ...]
    weights: tuple[float, ...]


class TableSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """What the learner pushes: per group the probability of each arm, and exact answers for arm sets seen lately.

    groups: {group: {arm: weight}}, over all arms of the group; sets: {group: sets of feasible arms that are smaller}.
    """

    version: int
    group_by: tuple[str, ...] = ()
    groups: dict[str, dict[str, float]] = {}
    sets: dict[str, tuple[ArmSet, ...]] = {}


class DecisionTable:
    """Draws decisions from the newest snapshot; `replace` swaps it between two calls of `decide`.

    rng: draws arms (seed it for replays); group_by: features that name the group, until a snapshot brings its own.
    """

    def __init__(self, rng: Random, group_by: Sequence[str] = (), version: int = 0) -> None:
        self._random = rng.random
        self._use(TableSnapshot(version, tuple(group_by)))

    @property
    def version(self) -> int:
        """The snapshot in use; 0 before the first."""
        return self._snapshot.version

    @property
    def snapshot(self) -> TableSnapshot:
        """The snapshot in use."""
        return self._snapshot

    def decide(self, features: Mapping[str, Scalar], arms: Sequence[str], now_ns: int) -> Decision:
        """One of `arms` (1 to 1000 unique names), drawn for the group of `features` (at most 100 scalars).

        propensity is the exact probability of the draw. Unknown group: uniform over the feasible arms. Known group:
        the policy's own probabilities where this set of arms is in the snapshot; else each arm that the snapshot
        does not know gets 1/n, and the rest goes to the known ones in proportion to their weights (uniform where
        all of those are 0). The id is 128 random bits of the operating system, whatever the seed. Raises ConfigError.
        """
        kept = check_features(features)
        snapshot = self._snapshot
        group = group_of(kept, snapshot.group_by)
        try:
            feasible = tuple(arms)
            key = (group if group in snapshot.groups else None, feasible)
            ready = self._lists.get(key)
        except TypeError as error:
            raise ConfigError(f"arms must be a list of names: {error}") from error
        if ready is None or type(arms) is str:
            ready = self._prepare(key, arms)
        at = bisect_right(ready[1], self._random())
        arm, propensity = ready[0][at]
        return Decision(os.urandom(16).hex(), now_ns, group, arm, propensity, snapshot.version, feasible, kept)

    def replace(self, snapshot: bytes | TableSnapshot) -> None:
        """Uses another snapshot (as bytes: MessagePack) from the next call on. Raises ConfigError and keeps the old."""
        self._use(decode_snapshot(snapshot) if isinstance(snapshot, bytes) else check_snapshot(snapshot))

    def _use(self, snapshot: TableSnapshot) -> None:
        self._snapshot = snapshot
        self._lists: dict[tuple[str | None, tuple[str, ...]], _Ready] = {}
        self._cells = 0

    def _prepare(self, key: tuple[str | None, tuple[str, ...]], arms: Sequence[str]) -> _Ready:
        group, feasible = key
        check_arms(arms)
        weights = [1.0] * len(feasible) if group is None else _weights(self._snapshot, group, feasible)
        ready = _ready(feasible, weights)
        self._cells += len(feasible)
        if self._cells > MAX_CACHED_CELLS:
            self._lists.clear()
            self._cells = len(feasible)
        self._lists[key] = ready
        return ready


_Ready = tuple[list[tuple[str, float]], list[float]]  # (arm, probability) of the possible ones; cumulated probability


def check_arms(arms: Sequence[str]) -> Sequence[str]:
    """1 to 1000 unique names, else ConfigError."""
    if isinstance(arms, (str, bytes)) or not isinstance(arms, Sequence):
        raise ConfigError(f"arms must be a list of 1 to {MAX_ARMS} names, not {type(arms).__name__}")
    if not 1 <= len(arms) <= MAX_ARMS:
        raise ConfigError(f"{len(arms)} arms; a decision takes 1 to {MAX_ARMS}")
    for arm in arms:
        if not isinstance(arm, str):
            raise ConfigError(f"arm {str(arm)[:50]!r} must be text, not {type(arm).__name__}")
        check_name("arm", arm)
    if len(set(arms)) != len(arms):
        twice = next(arm for at, arm in enumerate(arms) if arm in arms[:at])
        raise ConfigError(f"arm {twice!r} is listed twice; each feasible arm once")
    return arms


def _weights(snapshot: TableSnapshot, group: str, feasible: tuple[str, ...]) -> list[float]:
    for known_set in snapshot.sets.get(group, ()):
        if len(known_set.arms) == len(feasible) and set(known_set.arms) == set(feasible):
            by_arm = dict(zip(known_set.arms, known_set.weights, strict=True))
            return [by_arm[arm] for arm in feasible]
    weights = snapshot.groups[group]
    known = [weights[arm] for arm in feasible if arm in weights]
    total = math.fsum(known)
    if not total > 0.0:
        return [1.0] * len(feasible)
    share = len(known) / len(feasible)
    return [weights[arm] / total * share if arm in weights else 1.0 / len(feasible) for arm in feasible]


def _ready(feasible: Sequence[str], weights: Sequence[float]) -> _Ready:
    total = math.fsum(weights)
    possible = [(arm, weight / total) for arm, weight in zip(feasible, weights, strict=True) if weight / total > 0.0]
    cumulated = list(accumulate(probability for _, probability in possible))
    cumulated[-1] = 1.0  # rounding may leave it a hair below what random() can return
    return possible, cumulated


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
