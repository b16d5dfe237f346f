"""The newest outcomes as columns of codes: what groups are learned from, bounded in rows, values and sets of arms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagus.controllers.decide.features import text_of
from vagus.controllers.decide.grouping import compile_grouping, fields_of
from vagus.controllers.decide.records import Grouping, Outcome
from vagus.model import Scalar

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MAX_VALUES = 20_000  # of a feature within the history; more say nothing about a group
MAX_SETS = 4096  # of feasible arms
MISSING, OTHER = 0, 1  # codes of a feature that was not sent, and of what came after the codes were used up


class History:
    """A ring of outcomes. features: the columns kept, in their order; all times are orders of arrival.

    `refused` says by feature why it cannot name groups; such a column reads as if it had not been sent.
    """

    def __init__(self, features: Sequence[str], capacity: int) -> None:
        self.features = tuple(dict.fromkeys(features))
        self.capacity = capacity
        self.refused: dict[str, str] = {}
        self.came = 0
        self._values = [_Codes(MAX_VALUES) for _ in self.features]
        self._arms = _Codes(MAX_VALUES)
        self._sets = _Codes(MAX_SETS)
        self._columns = np.zeros((len(self.features) + 2, 0), np.int32)  # of each feature, the arm, the set of arms
        self._numbers = np.zeros((2, 0))  # reward, propensity

    def __len__(self) -> int:
        return min(self.came, self.capacity)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes in the order they came; beyond `capacity` the oldest go."""
        outcomes = outcomes[-self.capacity :]
        count = len(outcomes)
        self._room(min(self.capacity, self.came + count))
        at = (self.came + np.arange(count)) % self.capacity
        for row, (feature, codes) in enumerate(zip(self.features, self._values, strict=True)):
            self._columns[row, at] = self._coded(feature, codes, outcomes)
        self._columns[-2, at] = [self._arms.code(outcome.arm) for outcome in outcomes]
        self._columns[-1, at] = [self._sets.code(outcome.arms) if outcome.arms else MISSING for outcome in outcomes]
        self._numbers[0, at] = [outcome.reward for outcome in outcomes]
        self._numbers[1, at] = [outcome.propensity for outcome in outcomes]
        self.came += count

    def _coded(self, feature: str, codes: _Codes, outcomes: Sequence[Outcome]) -> list[int]:
        if feature in self.refused:
            return [MISSING] * len(outcomes)
        known, new = codes.by_value.get, codes.code
        found = []
        for outcome in outcomes:
            value = outcome.features.get(feature)
            if type(value) is not str:
                if value is None:
                    found.append(MISSING)
                    continue
                if type(value) is float and not value.is_integer():
                    self.refused[feature] = (
                        f"feature {feature!r} has numbers with fractions ({value:g}); a group needs few values: "
                        "name bins for it in decide.context, or send it rounded or as text"
                    )
                    return [MISSING] * len(outcomes)
                value = text_of(value)
            code = known(value)
            found.append(new(value) if code is None else code)
        return found

    def _room(self, rows: int) -> None:
        have = self._columns.shape[1]
        if rows > have:
            size = min(self.capacity, max(rows, 2 * have, 1024))
            self._columns = np.pad(self._columns, ((0, 0), (0, size - have)))
            self._numbers = np.pad(self._numbers, ((0, 0), (0, size - have)))

    def order(self) -> Ints:
        """Places of the rows, oldest first."""
        count = len(self)
        return (self.came - count + np.arange(count)) % max(1, self.capacity)

    def column(self, feature: str) -> tuple[Ints, list[str]]:
        """A feature's codes, oldest first, and the values' texts by code: 0 not sent, 1 beyond 20,000 values."""
        row = self.features.index(feature)
        codes = self._columns[row, self.order()].astype(np.int64)
        if feature in self.refused:
            codes[:] = MISSING
        elif self._values[row].full:
            self.refused[feature] = f"feature {feature!r} has more than {MAX_VALUES} values: too many to name groups"
        return codes, self._values[row].texts

    def arms(self) -> tuple[Ints, list[str]]:
        """Codes of the arms played, from 0, oldest first, and their names by code."""
        return self._columns[-2, self.order()].astype(np.int64) - 2, self._arms.texts[2:]

    def sets(self) -> tuple[Ints, list[tuple[str, ...]]]:
        """Codes of the feasible sets, oldest first, and the sets by code; 0 and 1: not known."""
        return self._columns[-1, self.order()].astype(np.int64), self._sets.texts

    def numbers(self) -> tuple[Floats, Floats]:
        """Rewards and propensities, oldest first."""
        order = self.order()
        return self._numbers[0, order], self._numbers[1, order]

    def sessions(self, fields: Iterable[str] | None = None) -> Iterator[tuple[dict[str, Scalar], int]]:
        """What features there were, of `fields` (none given: all), with how many sessions had them."""
        chosen = [name for name in self.features if fields is None or name in set(fields)]
        counted, _ = self._combinations(chosen)
        yield from counted

    def groups(self, grouping: Grouping) -> tuple[Ints, list[str]]:
        """By session, oldest first, the number of its group under `grouping`, and the names by number.

        Fields that are no columns read as not sent.
        """
        name_of = compile_grouping(grouping)
        counted, which = self._combinations([name for name in self.features if name in fields_of(grouping)])
        numbers: dict[str, int] = {}
        by_combination = [numbers.setdefault(name_of(features), len(numbers)) for features, _ in counted]
        return np.array(by_combination, np.int64)[which], list(numbers)

    def _combinations(self, fields: Sequence[str]) -> tuple[list[tuple[dict[str, Scalar], int]], Ints]:
        """Different features with their counts, and by session, oldest first, which of them it has."""
        which = np.zeros(len(self), np.int64)
        columns = [self.column(field) for field in fields]
        for codes, _ in columns:
            _, which = np.unique(which * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
        _, first, counts = np.unique(which, return_index=True, return_counts=True)
        counted: list[tuple[dict[str, Scalar], int]] = []
        for row, count in zip(first.tolist(), counts.tolist(), strict=True):
            features: dict[str, Scalar] = {}
            for field, (codes, texts) in zip(fields, columns, strict=True):
                if codes[row] > OTHER:
                    features[field] = texts[codes[row]]
            counted.append((features, count))
        return counted, which

    def forget(self) -> None:
        """Gives codes free that no row has any more: to be called now and then, before the columns are read."""
        rows = self.order()
        everything = [*self._values, self._arms, self._sets]
        for row, codes in enumerate(everything):
            if len(codes.texts) > codes.most // 2:
                self._columns[row, rows] = codes.keep(self._columns[row, rows])


class _Codes:
    """Values as numbers from 2 on; when `most` are given, all others are 1."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.full = False
        self.texts: list[Any] = ["", ""]
        self.by_value: dict[Any, int] = {}

    def code(self, value: Any) -> int:
        code = self.by_value.get(value)
        if code is None:
            if len(self.texts) >= self.most:
                self.full = True
                return OTHER
            code = self.by_value[value] = len(self.texts)
            self.texts.append(value)
        return code

    def keep(self, used: NDArray[np.int32]) -> NDArray[np.int32]:
        """Only these codes stay; returns them as they are called now."""
        present = [code for code in np.unique(used).tolist() if code > OTHER]
        renamed = np.zeros(len(self.texts), np.int32)
        renamed[OTHER] = OTHER
        renamed[present] = np.arange(2, 2 + len(present), dtype=np.int32)
        self.texts = ["", "", *(self.texts[code] for code in present)]
        self.by_value = {value: code for code, value in enumerate(self.texts) if code > OTHER}
        self.full = False
        found: NDArray[np.int32] = renamed[used]
        return found
