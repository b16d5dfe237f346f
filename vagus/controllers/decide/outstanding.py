"""Decisions that wait for their outcome: joined by id however late, once, and forgotten when they are too old or many.

A ring of columns and one dictionary: about 230 bytes a decision, its id included. Names come from outside by the
million and are few, so each is kept once.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec

from vagus.clock import NS
from vagus.controllers.decide.arms import check_arms
from vagus.controllers.decide.features import MAX_GROUP
from vagus.controllers.decide.records import Outcome
from vagus.errors import ConfigError
from vagus.model import Ack, Decision, Reward, Scalar

MAX_ID = 64
MAX_REWARD = 1e100  # a policy may square it
MAX_SHARED = 200_000  # names kept once; then from the beginning
_FIRST = 1024  # places of the ring; doubled as needed
_NO_FEATURES: dict[str, Scalar] = {}


class _Open(msgspec.Struct, frozen=True, array_like=True):
    """An open decision as it is saved."""

    decision_id: str
    group: str
    arm: str
    propensity: float
    since_ns: int
    reward: float | None
    arms: tuple[str, ...] = ()
    features: dict[str, Scalar] = {}


class Outstanding:
    """Remembers decisions, rewarded ones included (so that a repeated reward is recognised), and joins rewards.

    max_open at most, for at most max_age_s; beyond those the oldest go first. features: names of those that outcomes
    carry; None: all that decisions have (they then cost what they are: hundreds of bytes each).
    """

    def __init__(
        self, max_open: int = 1_000_000, max_age_s: float = 3600.0, features: Sequence[str] | None = ()
    ) -> None:
        if max_open < 1 or not max_age_s > 0.0:
            raise ConfigError(f"outstanding: max_open={max_open}, max_age_s={max_age_s} must be above 0")
        self._max_open = max_open
        self._max_age_ns = round(max_age_s * NS)
        self._names = None if features is None else tuple(features)
        self._places: dict[str, int] = {}  # number of each, by id
        self._first = 0  # number of the oldest
        self._next = 0
        self._allocate(_FIRST)
        self._shared: dict[Any, Any] = {}
        self.decisions = 0
        self.rewards = 0
        self.unjoined = 0  # rewards refused: decision unknown or aged out
        self.unrewarded = 0  # decisions that went without a reward

    def _allocate(self, size: int) -> None:
        self._mask = size - 1
        self._ids: list[str] = [""] * size
        self._groups: list[str] = [""] * size
        self._arms: list[str] = [""] * size
        self._sets: list[tuple[str, ...]] = [()] * size
        self._features: list[Any] = [None] * size
        self._since = array("q", bytes(8 * size))
        self._propensities = array("d", bytes(8 * size))
        self._rewards = array("d", [math.nan]) * size

    def __len__(self) -> int:
        return self._next - self._first

    def __contains__(self, decision_id: object) -> bool:
        return decision_id in self._places

    def add(self, decision: Decision, now_ns: int) -> bool:
        """Remembers it; False: it was known already. The oldest is forgotten for it if there are too many."""
        decision_id = decision.decision_id
        number = self._next
        if self._places.setdefault(decision_id, number) != number:
            return False
        if number - self._first > self._mask:
            self._double()
        self._next = number + 1
        at = number & self._mask
        share = self._shared.setdefault
        group, arm, arms = decision.group, decision.arm, decision.arms
        self._ids[at] = decision_id
        self._groups[at] = share(group, group)
        self._arms[at] = share(arm, arm)
        self._sets[at] = share(arms, arms)
        self._since[at] = now_ns
        self._propensities[at] = decision.propensity
        self._rewards[at] = math.nan
        if self._names is None:
            self._features[at] = decision.features
        elif self._names:
            self._features[at] = self._shared_features(tuple(map(decision.features.get, self._names)))
        self.decisions += 1
        if number - self._first >= self._max_open:
            self._forget()
        if len(self._shared) > MAX_SHARED:
            self._shared.clear()
        return True

    def join(self, decision_id: str, reward: float, now_ns: int) -> tuple[Ack, Outcome | None]:
        """An answer, and what is to be learned if this is news.

        ACCEPTED: counted, now or before (the same reward again changes nothing); IGNORED: that decision already has
        another reward, which stays; FAILED: no such decision, or aged out. Raises ConfigError for what is not a finite
        number within ±1e100.
        """
        if not -MAX_REWARD <= reward <= MAX_REWARD:
            raise _refused(decision_id, reward)
        number = self._places.get(decision_id)
        if number is None:
            self.unjoined += 1
            return _FAILED
        at = number & self._mask
        if now_ns - self._since[at] > self._max_age_ns:
            self.unjoined += 1
            return _FAILED
        before = self._rewards[at]
        if before == before:
            return _AGAIN if before == reward else _IGNORED
        self._rewards[at] = reward
        self.rewards += 1
        return Ack.ACCEPTED, Outcome(
            self._groups[at],
            self._arms[at],
            reward,
            self._propensities[at],
            _NO_FEATURES if self._names == () else self._told(self._features[at]),
            self._sets[at],
        )

    def withdraw(self, decision_id: str) -> None:
        """The outcome that `join` just gave could not be kept: as if it had not come."""
        self._rewards[self._places[decision_id] & self._mask] = math.nan
        self.rewards -= 1

    def expire(self, now_ns: int) -> int:
        """Forgets what is too old; returns how many went without a reward. To be called now and then."""
        before = self.unrewarded
        limit_ns = now_ns - self._max_age_ns
        since, mask = self._since, self._mask
        while self._first < self._next and since[self._first & mask] < limit_ns:
            self._forget()
        return self.unrewarded - before

    @property
    def figures(self) -> dict[str, float]:
        """Counts since the start, and how many are open."""
        return {
            "decisions": float(self.decisions),
            "rewards": float(self.rewards),
            "open": float(len(self)),
            "unjoined": float(self.unjoined),
            "unrewarded": float(self.unrewarded),
        }

    def state(self) -> list[Any]:
        """What is open, oldest first, as JSON-ready builtins."""
        return cast("list[Any]", msgspec.to_builtins(list(self._entries())))

    def restore(self, state: Sequence[Any]) -> None:
        """What `state` gave, in place of what is open. Raises ConfigError, with nothing changed."""
        try:
            entries = msgspec.convert(state, list[_Open])
        except msgspec.ValidationError as error:
            raise ConfigError(f"not saved open decisions: {error}") from error
        self._places.clear()
        self._first = self._next = 0
        self._allocate(_FIRST)
        counted = self.decisions, self.unrewarded
        for one in entries:
            decision = Decision(
                one.decision_id, one.since_ns, one.group, one.arm, one.propensity, 0, one.arms, one.features
            )
            if self.add(decision, one.since_ns) and one.reward is not None:
                self._rewards[(self._next - 1) & self._mask] = one.reward
        self.decisions, self.unrewarded = counted

    # --- inside ----------------------------------------------------------------------------------------------------

    def _entries(self) -> Iterator[_Open]:
        for number in range(self._first, self._next):
            at = number & self._mask
            reward = self._rewards[at]
            yield _Open(
                self._ids[at],
                self._groups[at],
                self._arms[at],
                self._propensities[at],
                self._since[at],
                reward if reward == reward else None,
                self._sets[at],
                self._told(self._features[at]),
            )

    def _forget(self) -> None:
        at = self._first & self._mask
        self._first += 1
        del self._places[self._ids[at]]
        self._ids[at] = ""
        self._features[at] = None
        self.unrewarded += self._rewards[at] != self._rewards[at]

    def _double(self) -> None:
        # Each column behind itself: whatever stood at a number's place stands at its new place too.
        self._mask = 2 * self._mask + 1
        columns: list[Any] = [self._ids, self._groups, self._arms, self._sets, self._features]
        for column in (*columns, self._since, self._propensities, self._rewards):
            column += column

    def _shared_features(self, values: tuple[Scalar | None, ...]) -> dict[str, Scalar]:
        key = ("", *values, *map(type, values))  # no arm is called ""; 1, 1.0 and True are different values
        found: dict[str, Scalar] | None = self._shared.get(key)
        if found is None:
            named = zip(self._names or (), values, strict=True)
            found = self._shared[key] = {name: value for name, value in named if value is not None}
        return found

    def _told(self, features: Any) -> dict[str, Scalar]:
        return features or _NO_FEATURES


_FAILED = (Ack.FAILED, None)
_AGAIN = (Ack.ACCEPTED, None)
_IGNORED = (Ack.IGNORED, None)


def _refused(decision_id: str, reward: float) -> ConfigError:
    return ConfigError(
        f"reward {reward} of decision {decision_id[:MAX_ID]!r} must be a finite number within ±{MAX_REWARD:g}"
    )


def check_reward(reward: Reward) -> Reward:
    """A finite reward within ±1e100 with an id of at most 64 characters, else ConfigError."""
    if not -MAX_REWARD <= reward.reward <= MAX_REWARD:
        raise _refused(reward.decision_id, reward.reward)
    if not 0 < len(reward.decision_id) <= MAX_ID:
        raise ConfigError(f"decision_id must be 1 to {MAX_ID} characters, got {len(reward.decision_id)}")
    return reward


def check_decisions(decisions: Iterable[Decision]) -> None:
    """Decisions made elsewhere: ids, groups and arms as they can be, else ConfigError."""
    checked: set[tuple[str, ...]] = set()  # batches repeat their arms
    for decision in decisions:
        if not 0 < len(decision.decision_id) <= MAX_ID:
            raise ConfigError(f"decision_id must be 1 to {MAX_ID} characters, got {len(decision.decision_id)}")
        if len(decision.group) > MAX_GROUP:
            raise ConfigError(f"decision {decision.decision_id}: a group has at most {MAX_GROUP} characters")
        arms = decision.arms or (decision.arm,)
        if arms not in checked:
            check_arms(arms)
            checked.add(arms)
        if decision.arm not in arms:
            raise ConfigError(f"decision {decision.decision_id}: {decision.arm!r} is not one of its arms")
        if not 0.0 < decision.propensity <= 1.0:
            raise ConfigError(f"decision {decision.decision_id}: propensity {decision.propensity} is not in (0, 1]")
