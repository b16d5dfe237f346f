"""The request path of the decision service: a local table answers in microseconds, never a hop to another actor.

After Pytheas (NSDI'17): lists of decisions are computed in the background (see `learner`) and pushed to wherever
requests arrive; a request matches its group and draws. Any probabilities may be drawn from, not ten slots.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from vagus.controllers.decide.arms import Feasible
from vagus.controllers.decide.drawing import Known, by_gaps, cumulated, known_of, shares
from vagus.controllers.decide.features import check_features
from vagus.controllers.decide.grouping import compile_grouping
from vagus.controllers.decide.ids import Ids, Makes
from vagus.controllers.decide.records import ArmSet, Grouping, Row, TableUpdate
from vagus.errors import ConfigError, VagusError
from vagus.model import Decision, Scalar
from vagus.policies import CONTEXTUAL, Contextual

MAX_WEIGHT = 1e9
MAX_UPDATE_BYTES = 256 << 20
MAX_CACHED_CELLS = 1_000_000  # arms in lists kept ready for feasible sets that the policy was not asked for
MAX_UNUSED = 1_000  # tuples of arms that no group has any more
MAX_ORDERS = 64  # in which a group's sets were asked for, kept ready

_Ready = tuple[tuple[str, ...], list[float], list[float]]  # arms, their probabilities, these cumulated


class Stale(VagusError):
    """An update is based on another version than the table has; ask for all of it (`full`)."""


class DecisionTable:
    """Draws decisions from the newest table; `apply` changes it between two calls of `decide`.

    rng: draws arms (seed it for replays); grouping: names groups until an update brings another (or just features to
    group by); prefix: of the ids, or ids: who makes them; labels: features that decisions keep (none: all).
    """

    def __init__(
        self,
        rng: Random,
        grouping: Grouping | Sequence[str] = (),
        version: int = 0,
        *,
        prefix: str = "",
        labels: Sequence[str] = (),
        ids: Makes | None = None,
    ) -> None:
        self.random = rng.random
        self._grouping = grouping if isinstance(grouping, Grouping) else Grouping(group_by=tuple(grouping))
        self.group_of = compile_grouping(self._grouping)  # features that are checked to a group's name
        self._labels = tuple(labels)
        self._ids: Makes = Ids(prefix) if ids is None else ids
        self.feasible = Feasible().checked  # arms as they come to a tuple; raises ConfigError
        self._rows: dict[str, Row] = {}
        self._known: Mapping[str, Known] = {}
        self._made: dict[str, Known] = {}  # _known, where it was made of _rows
        self._arms: dict[tuple[str, ...], tuple[str, ...]] = {}  # groups with the same arms share the tuple
        self._mixed: dict[tuple[str, tuple[str, ...]], _Ready] = {}
        self._cells = 0
        self.version = version
        self.policy_errors = 0
        self.last_policy_error = ""

    @property
    def grouping(self) -> Grouping:
        """The grouping in use."""
        return self._grouping

    @property
    def prefix(self) -> str:
        """Of the ids; another process that draws for this node needs it."""
        return getattr(self._ids, "prefix", "")

    @property
    def labels(self) -> tuple[str, ...]:
        """Features that decisions keep; none: all."""
        return self._labels

    def __len__(self) -> int:
        return len(self._rows) or len(self._known)

    def decide(
        self, features: Mapping[str, Scalar], arms: Sequence[str], now_ns: int, checked: dict[str, Scalar] | None = None
    ) -> Decision:
        """One of `arms` (1 to 1000 unique names), drawn for the group of `features` (at most 100 scalars).

        propensity is the exact probability of the draw. Unknown group: uniform over the feasible arms. Known group:
        the policy's own probabilities where this set of arms is in the table; else each arm that the table does not
        know gets 1/n, and the rest goes to the known ones by what they are worth, in groups that meet many sets, else
        in proportion to their weights (uniform where all of those are 0). The id has 96 random bits or more of the operating system, whatever the seed. Raises ConfigError.
        checked: the features, where whoever decoded them has seen to what check_features asks; nobody changes them.
        """
        kept = check_features(features) if checked is None else checked
        group = self.group_of(kept)
        known = self._known.get(group)
        if known is None and group in self._rows:
            known = self._prepare(group)
        feasible: Any = tuple(arms) if type(arms) is list else arms
        if known is not None and (feasible is known.arms or feasible == known.arms) and (at := known.at) >= 0:
            lists = known.lists
            place = bisect_right(lists.cumulated, self.random(), at, at + lists.width)
            arm, propensity = known.arms[place - at], lists.probabilities[place]
        else:
            feasible = self.feasible(arms)
            arm, propensity = self._choose(group, known, kept, feasible)
        if self._labels:
            kept = {name: kept[name] for name in self._labels if name in kept}
        ready = self._ids.ready
        decision_id = ready.pop() if ready else self._ids.more()
        return Decision(decision_id, now_ns, group, arm, propensity, self.version, feasible, kept)

    def choose(self, group: str, features: Mapping[str, Scalar], feasible: tuple[str, ...]) -> tuple[str, float]:
        """An arm and its propensity, as of `decide`, for a group by its name and arms that `feasible` has checked."""
        known = self._known.get(group)
        if known is None and group in self._rows:
            known = self._prepare(group)
        return self._choose(group, known, features, feasible)

    def shared(self, arms: tuple[str, ...]) -> tuple[str, ...]:
        """The same arms as the table has them, if it has: `decide` knows those without looking at each."""
        return self._arms.get(arms, arms)

    # --- changes ---------------------------------------------------------------------------------------------------

    def apply(self, update: TableUpdate | bytes) -> None:
        """Goes on to the update's version (as bytes: MessagePack) from the next call on; base 0: forgets all before.

        Raises Stale unless its base is 0 or this table's version, ConfigError if it is broken; nothing changes then.
        """
        update = decode_update(update) if isinstance(update, bytes) else check_update(update)
        if update.base not in (0, self.version):
            raise Stale(
                f"the update to version {update.version} is based on {update.base}, and this table has {self.version}"
            )
        if update.grouping is not None:
            self.group_of = compile_grouping(update.grouping)  # may refuse: first
            self._grouping = update.grouping
        if update.base == 0:
            self._rows, self._made, self._arms = {}, {}, {}
        self._known = self._made
        for group, row in update.groups.items():
            shared = self._arms.setdefault(row.arms, row.arms)
            self._rows[group] = row if shared is row.arms else Row(shared, row.weights, row.sets, row.model, row.values)
            self._made.pop(group, None)
        for group in update.gone:
            self._rows.pop(group, None)
            self._made.pop(group, None)
        if len(self._arms) > 2 * len(self._rows) + MAX_UNUSED:  # arms come and go, and their names are clients'
            self._arms = {row.arms: row.arms for row in self._rows.values()}
        self._turn(update.version)

    def follow(self, known: Mapping[str, Known], version: int) -> None:
        """Draws from what a learner in this process has; to be told after each of its ticks."""
        self._rows, self._made, self._known = {}, {}, known
        self._turn(version)

    def full(self) -> TableUpdate:
        """All of it, for a table that has nothing or is stale."""
        rows = dict(self._rows) or {name: _row_of(known) for name, known in self._known.items() if known.at >= 0}
        return TableUpdate(self.version, 0, self._grouping, rows)

    def _turn(self, version: int) -> None:
        self.version = version
        self._mixed.clear()
        self._cells = 0

    # --- for people ------------------------------------------------------------------------------------------------

    def explain(self, group: str) -> dict[str, Any] | None:
        """What is drawn from for a group: {group, version, arms: probabilities, sets: …, contextual}; None: unknown."""
        known = self._known.get(group)
        if known is None and group in self._rows:
            known = self._prepare(group)
        if known is None:
            return None
        sets = [
            {arm: share for arm, share in known.line(at).items() if arm in arms}
            for arms, at in (known.sets or {}).items()
            if arms == tuple(sorted(arms)) and at != known.at
        ]
        return {
            "group": group,
            "version": self.version,
            "arms": known.line(known.at) if known.at >= 0 else {},
            "sets": sets,
            "contextual": known.policy is not None,
        }

    # --- inside ----------------------------------------------------------------------------------------------------

    def _prepare(self, group: str) -> Known:
        row = self._rows[group]
        known = known_of(row)
        if row.model:
            try:
                known.policy = load_model(row.model)
            except Exception as error:  # anybody's
                self._failed(group, error)
        self._made[group] = known
        return known

    def _choose(
        self, group: str, known: Known | None, features: Mapping[str, Scalar], feasible: tuple[str, ...]
    ) -> tuple[str, float]:
        if known is not None and known.policy is not None:
            return self._weighed(group, known.policy, features, feasible)
        if known is not None and known.at >= 0:
            at = self._line(known, feasible)
            if at < 0:
                return self._draw(self._mix(group, known, feasible))
            place = bisect_right(known.lists.cumulated, self.random(), at, at + known.lists.width)
            return known.arms[place - at], known.lists.probabilities[place]
        return feasible[int(self.random() * len(feasible))], 1.0 / len(feasible)

    @staticmethod
    def _line(known: Known, feasible: tuple[str, ...]) -> int:
        """Where the line for these arms in whatever order begins; -1: there is none."""
        if known.sets is None:
            known.sets = {}
        at = known.sets.get(feasible)
        if at is None:
            if len(feasible) == len(known.arms) and set(feasible) == set(known.arms):
                at = known.at
            else:
                at = known.sets.get(tuple(sorted(feasible)), -1)
            if at >= 0 and len(known.sets) < MAX_ORDERS:
                known.sets[feasible] = at
        return at

    def _mix(self, group: str, known: Known, feasible: tuple[str, ...]) -> _Ready:
        key = (group, feasible)
        ready = self._mixed.get(key)
        if ready is None:
            if known.values:
                weights = shares(by_gaps(dict(zip(known.arms, known.values, strict=False)), feasible))
            else:
                weights = shares(_proportional(known.line(known.at), feasible))
            ready = (feasible, weights, cumulated(weights))
            self._cells += len(feasible)
            if self._cells > MAX_CACHED_CELLS:
                self._mixed.clear()
                self._cells = len(feasible)
            self._mixed[key] = ready
        return ready

    def _weighed(
        self, group: str, policy: Contextual, features: Mapping[str, Scalar], feasible: tuple[str, ...]
    ) -> tuple[str, float]:
        try:
            weights = list(policy.weights(features, feasible))
            if len(weights) != len(feasible) or not min(weights) >= 0.0:
                raise ValueError(f"weights must be {len(feasible)} numbers of 0 or more, got {weights[:10]}")
            if not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-6):
                raise ValueError(f"weights must sum to 1, got {weights[:10]}")
        except Exception as error:  # policies may be anybody's
            self._failed(group, error)
            weights = [1.0 / len(feasible)] * len(feasible)
        weights = shares(weights)
        return self._draw((feasible, weights, cumulated(weights)))

    def _draw(self, ready: _Ready) -> tuple[str, float]:
        place = bisect_right(ready[2], self.random())
        return ready[0][place], ready[1][place]

    def _failed(self, group: str, error: Exception) -> None:
        self.policy_errors += 1
        self.last_policy_error = f"group {group[:80]!r}: {type(error).__name__}: {error}"


def _proportional(weights: Mapping[str, float], feasible: tuple[str, ...]) -> list[float]:
    present = [weights[arm] for arm in feasible if arm in weights]
    total = math.fsum(present)
    if not total > 0.0:
        return [1.0] * len(feasible)
    share = len(present) / len(feasible)
    return [weights[arm] / total * share if arm in weights else 1.0 / len(feasible) for arm in feasible]


def _row_of(known: Known) -> Row:
    sets = tuple(
        ArmSet(arms, tuple(known.line(at)[arm] for arm in arms))
        for arms, at in (known.sets or {}).items()
        if at != known.at and arms == tuple(sorted(arms))
    )
    return Row(known.arms, tuple(known.line(known.at).values()), sets, b"", known.values)


# --- models of contextual policies -----------------------------------------------------------------------------------


class Model(msgspec.Struct, array_like=True):
    """What a row carries of a contextual policy: how to build it, and what it knows."""

    policy: str
    options: dict[str, Any]
    model: bytes


def load_model(data: bytes) -> Contextual:
    """The policy of a row. Raises ConfigError."""
    try:
        model = msgspec.msgpack.decode(data, type=Model)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a contextual policy's model: {error}") from error
    policy = CONTEXTUAL.make(model.policy, **model.options)
    policy.load(model.model)
    return policy


# --- updates as bytes ------------------------------------------------------------------------------------------------


def encode_update(update: TableUpdate) -> bytes:
    """An update as MessagePack."""
    return msgspec.msgpack.encode(update)


def decode_update(data: bytes) -> TableUpdate:
    """MessagePack as a checked update. Raises ConfigError."""
    if len(data) > MAX_UPDATE_BYTES:
        raise ConfigError(f"a table of {len(data)} bytes; at most {MAX_UPDATE_BYTES}")
    try:
        update = msgspec.msgpack.decode(data, type=TableUpdate)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"not a decision table: {error}") from error
    return check_update(update)


def check_update(update: TableUpdate) -> TableUpdate:
    """Weights are 0 to 1e9, one per arm and not all 0 in a set; else ConfigError, naming the group."""
    for group, row in update.groups.items():
        if row.arms or not row.model:
            _check_weights(group, row.arms, row.weights)
        if row.values and len(row.values) != len(row.arms):
            raise ConfigError(f"table: group {group[:80]!r} has {len(row.values)} values for {len(row.arms)} arms")
        for one in row.sets:
            _check_weights(group, one.arms, one.weights)
    return update


def _check_weights(group: str, arms: tuple[str, ...], weights: tuple[float, ...]) -> None:
    if len(arms) != len(weights) or len(set(arms)) != len(arms):
        raise ConfigError(f"table: group {group[:80]!r} has {len(weights)} weights for {len(arms)} arms, or one twice")
    # A sum that is a number tells that none of them is not one.
    if not (weights and min(weights) >= 0.0 and sum(weights) > 0.0 and max(weights) <= MAX_WEIGHT):
        raise ConfigError(f"table: weights of group {group[:80]!r} must be 0 to {MAX_WEIGHT:g} and not all 0")
