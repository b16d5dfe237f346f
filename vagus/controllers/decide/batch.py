"""Decisions by the thousand: columns in, columns out, with numpy alone where nothing out of the ordinary is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from vagus.controllers.decide.banks import Banks
from vagus.controllers.decide.features import check_features
from vagus.controllers.decide.grouping import fields_of
from vagus.controllers.decide.outstanding import MAX_REWARD
from vagus.controllers.decide.records import Outcome
from vagus.controllers.decide.ring import ELSEWHERE, Ring, Stray
from vagus.controllers.decide.roll import NUMBER
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import ConfigError
from vagus.model import Scalar
from vagus.policies.bank import Bools, Floats, Ints

MAX_MEMO = 1_000_000
MAX_DIRECT = 1 << 22
_NEW = -2
_SCALARS = {str, int, float, bool}

_Columns = dict[str, list[Scalar] | Ints]


class Batch:
    """Decisions as columns, in the order asked. `keys`, or `ids` as text, go with the rewards.

    index: which of `arms` each is, int64 (n,); propensity: exact, float64 (n,); keys: uint64 (n, 2), big-endian.
    """

    def __init__(self, arms: tuple[str, ...], index: Ints, propensity: Floats, keys: Ints, version: int) -> None:
        self.arms = arms
        self.index = index
        self.propensity = propensity
        self.keys = keys
        self.version = version

    def __len__(self) -> int:
        return len(self.index)

    @property
    def ids(self) -> list[str]:
        """The decisions' ids."""
        text = self.keys.tobytes().hex()
        return [text[at : at + 32] for at in range(0, len(text), 32)]

    @property
    def names(self) -> list[str]:
        """The arms by name."""
        return [self.arms[at] for at in self.index.tolist()]


class Columns:
    """Draws and learns by columns, for a table that follows the banks of a learner. Not for contextual policies."""

    def __init__(self, banks: Banks, table: DecisionTable, ring: Ring, rng: np.random.Generator) -> None:
        self._banks = banks
        self._table = table
        self._ring = ring
        self._rng = rng
        self._tags: dict[Any, int] = {}  # of groups, by the values that name them
        self._by_number: Ints = np.zeros(0, np.int64)  # the same, where one small number names them
        self._fields = tuple(sorted(fields_of(table.grouping)))

    # --- decisions ---------------------------------------------------------------------------------------------------

    def decide(self, features: Mapping[str, Any], arms: Sequence[str], now_ns: int) -> Batch:
        """A decision for each line of the columns `features`, all among the same arms. Raises ConfigError."""
        feasible = self._table.feasible(arms)
        columns, count = self._columns(features)
        tags = self._named(columns, count)
        roll = self._banks.roll
        drawn: Ints = np.full(count, -1, np.int64)
        places: Ints = np.full(count, ELSEWHERE, np.int64)
        propensity: Floats = np.zeros(count)
        kinds = np.full(count, -1, np.int64)
        there = _all(tags >= 0)
        if roll.groups:
            numbers = tags[there] & NUMBER
            kinds[there] = np.where(roll.lines[numbers] >= 0, roll.kinds[numbers], -1)
        for kind in _distinct(kinds):
            order = None if kind < 0 else _order(roll.arms[kind], feasible)
            if order is not None:
                at = _all(kinds == kind)
                places[at], propensity[at] = self._draw(tags[at] & NUMBER)
                drawn[at] = order[places[at]]
        strays: dict[int, Stray] = {}
        for line in np.flatnonzero(drawn < 0).tolist():
            kept = _line(columns, line)
            group = self._table.group_of(kept)
            arm, propensity[line] = self._table.choose(group, kept, feasible)
            drawn[line] = feasible.index(arm)
            tag, place = self._banks.tagged(group, arm)
            tags[line], places[line] = (tag, place) if place >= 0 else (-1, ELSEWHERE)
            if place < 0:
                strays[line] = (group, arm, feasible)
            self._banks.met(group, feasible)
        keys = self._ring.add_many(tags, places, now_ns)
        if strays:
            self._ring.strays.update((int(keys[line, 0]), stray) for line, stray in strays.items())
        return Batch(feasible, drawn, propensity, keys, self._table.version)

    def groups(self, features: Mapping[str, Any]) -> list[str]:
        """The groups' names, line by line."""
        columns, count = self._columns(features)
        return [self._table.group_of(_line(columns, line)) for line in range(count)]

    def _draw(self, numbers: Ints) -> tuple[Ints, Floats]:
        """Places and their probabilities for groups that are drawn from whole."""
        roll = self._banks.roll
        widths, lines = roll.widths[numbers], roll.lines[numbers]
        places: Ints = np.empty(len(numbers), np.int64)
        chance = self._rng.random(len(numbers))
        propensity: Floats = np.empty(len(numbers))
        for width in _distinct(widths):
            at = _all(widths == width)
            banked = self._banks.banked[width]
            np.frombuffer(banked.flags, np.uint8)[lines[at] // width] = 1
            sums = np.frombuffer(banked.lists.cumulated).reshape(-1, width)[lines[at] // width]
            places[at] = (sums <= chance[at, None]).sum(axis=1)
            propensity[at] = np.frombuffer(banked.lists.probabilities)[lines[at] + places[at]]
        return places, propensity

    def _columns(self, features: Mapping[str, Any]) -> tuple[_Columns, int]:
        """Those that name groups, as lists or as arrays of integers, and how many lines there are."""
        lengths = {len(column) for column in features.values()}
        if len(lengths) != 1:
            raise ConfigError(f"columns must be one or more and of one length; these have {sorted(lengths)[:10]}")
        found: _Columns = {}
        for name in self._fields:
            if name in features:
                column = features[name]
                if isinstance(column, np.ndarray) and column.ndim == 1:
                    found[name] = column if column.dtype.kind == "i" and len(self._fields) == 1 else column.tolist()
                else:
                    found[name] = list(column)
                    if not set(map(type, found[name])) <= _SCALARS:
                        for value in found[name]:
                            check_features({name: value})
        return found, lengths.pop()

    def _named(self, columns: _Columns, count: int) -> Ints:
        """The tags of the groups, -1 where there is none."""
        memo: Any = self._tags
        column = next(iter(columns.values()), [])
        keys: Any
        tags: Ints
        if isinstance(column, np.ndarray) and count and column.min() >= 0 and column.max() < MAX_DIRECT:
            keys, memo = column, self._direct(int(column.max()))
            tags = memo[column]
        else:
            parts = [_texts(column) for column in columns.values()]
            keys = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True)) if parts else [()] * count
            tags = np.fromiter(map(memo.get, keys, repeat(_NEW)), np.int64, count)
        roll = self._banks.roll
        stale = tags < 0
        if not stale.all():
            stale |= roll.tags[np.where(stale, 0, tags) & NUMBER] != tags
        if len(self._tags) > MAX_MEMO:
            self._tags.clear()
        for line in np.flatnonzero(stale).tolist():
            group = self._table.group_of(check_features(_line(columns, line)))
            tags[line] = tag = self._banks.tagged(group, "")[0]
            if tag >= 0:
                memo[keys[line]] = tag
        return tags

    def _direct(self, most: int) -> Ints:
        """Tags by a feature that is a small number."""
        if most >= len(self._by_number):
            more = max(1024, 2 * len(self._by_number), most + 1) - len(self._by_number)
            self._by_number = np.concatenate([self._by_number, np.full(more, _NEW)])
        return self._by_number

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def update(self, keys: Any, rewards: Any, now_ns: int) -> tuple[Ints, list[Outcome]]:
        """Codes (`ring.ACKS`) by reward, and outcomes of groups that have no row yet. Raises ConfigError.

        keys: those of batches, (n, 2), or ids as text.
        """
        given = keys_of(keys)
        try:
            values = np.asarray(rewards, np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"rewards must be numbers: {error}") from error
        if values.shape != (len(given),):
            raise ConfigError(f"{len(given)} ids and rewards of shape {values.shape}; one reward for each id")
        if not (np.abs(values) <= MAX_REWARD).all():
            raise ConfigError(f"rewards must be finite numbers within ±{MAX_REWARD:g}")
        again = self._ring.repeated(given)
        if again is not None:  # the later ones come later
            codes = np.empty(len(given), np.int64)
            codes[~again], outcomes = self.update(given[~again], values[~again], now_ns)
            codes[again], more = self.update(given[again], values[again], now_ns)
            return codes, outcomes + more
        at, news, codes = self._ring.join_many(given, values, now_ns)
        news = _all(news)
        return codes, self._learn(at[news], values[news])

    def _learn(self, at: Ints, values: Floats) -> list[Outcome]:
        ring, roll = self._ring, self._banks.roll
        tags = np.frombuffer(ring.tags, np.int64)[at]
        places = np.frombuffer(ring.places, np.int16)[at].astype(np.int64)
        known = tags >= 0
        if known.any():
            numbers = np.where(known, tags, 0) & NUMBER
            known &= roll.tags[numbers] == tags
            rows, widths = roll.rows[numbers], roll.widths[numbers]
            for width in _distinct(widths[_all(known)]):
                mine = _all(known & (widths == width))
                self._banks.banked[width].note(rows[mine], places[mine], values[mine])
        # Those that were decided one by one, or whose group was new, or has gone.
        return [
            outcome for line in np.flatnonzero(~known).tolist() for outcome in self.late(int(at[line]), values[line])
        ]

    def late(self, at: int, reward: float) -> list[Outcome]:
        """The outcome of a decision of which the ring has no row, by the names that it has; [] if it has none."""
        ring = self._ring
        group, place = ring.groups[at] or self._banks.roll.of(ring.tags[at]), ring.places[at]
        if place < 0:
            name, arm, feasible = ring.stray(at)
            return [Outcome(name, arm, float(reward), arms=feasible)]
        return [] if group is None else [Outcome(group.name, group.names[place], float(reward), arms=group.names)]


def keys_of(ids: Any) -> Ints:
    """Ids as numbers and nonces, uint64 (n, 2); what is no id becomes one that nobody has. Raises ConfigError."""
    if isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.shape[1] == 2 and ids.dtype.kind == "u":
        return ids
    try:
        texts = list(ids)
        if all(len(text) == 32 for text in texts):
            return np.frombuffer(bytes.fromhex("".join(texts)), ">u8").reshape(-1, 2)
    except (TypeError, ValueError):
        pass
    try:
        return np.frombuffer(b"".join(map(_key, ids)), ">u8").reshape(-1, 2)
    except TypeError as error:
        raise ConfigError(f"ids must be those of a batch, or a list of texts: {error}") from error


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    return key if len(key) == 16 else bytes(16)


def _line(columns: _Columns, line: int) -> dict[str, Any]:
    return {
        name: int(column[line]) if isinstance(column, np.ndarray) else column[line] for name, column in columns.items()
    }


def _texts(column: Any) -> list[Any]:
    """A column as keys: 1, 1.0 and True are one key of a dictionary, but not one group."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return values if set(map(type, values)) <= {str} else [(type(value), value) for value in values]


def _all(chosen: Bools) -> Any:
    """Which they are, as an index; fast where it is all of them."""
    return slice(None) if chosen.all() else np.flatnonzero(chosen)


def _distinct(values: Ints) -> list[int]:
    if len(values) and (values == values[0]).all():
        return [int(values[0])]
    return np.unique(values).tolist()  # type: ignore[no-any-return]


def _order(names: tuple[str, ...], feasible: tuple[str, ...]) -> Ints | None:
    """Where each of a group's arms stands in what is feasible; None: these are other arms."""
    if names == feasible:
        return np.arange(len(feasible))
    if len(names) != len(feasible) or set(names) != set(feasible):
        return None
    return np.array([feasible.index(name) for name in names], np.int64)
