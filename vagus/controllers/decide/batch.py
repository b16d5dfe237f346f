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
from vagus.policies.bank import Floats, Ints

MAX_MEMO = 1_000_000
_NEW = -2
_UNKNOWN = -1


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
        numbers = tags & NUMBER
        kinds = np.full(count, -1, np.int64)
        there = np.flatnonzero(tags >= 0)
        if len(there):
            kinds[there] = np.where(roll.lines[numbers[there]] >= 0, roll.kinds[numbers[there]], -1)
        for kind in np.unique(kinds).tolist():
            order = None if kind < 0 else _order(roll.arms[kind], feasible)
            if order is not None:
                at = np.flatnonzero(kinds == kind)
                places[at], propensity[at] = self._draw(numbers[at])
                drawn[at] = order[places[at]]
        strays: dict[int, Stray] = {}
        for line in np.flatnonzero(drawn < 0).tolist():
            kept = {name: column[line] for name, column in columns.items()}
            group = self._table.group_of(kept)
            arm, propensity[line] = self._table.choose(group, kept, feasible)
            drawn[line] = feasible.index(arm)
            tags[line], place = self._banks.tagged(group, arm)
            places[line] = place
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
        names = tuple(columns)
        lines = zip(*columns.values(), strict=True) if names else repeat((), count)
        return [self._table.group_of(dict(zip(names, line, strict=True))) for line in lines]

    def _draw(self, numbers: Ints) -> tuple[Ints, Floats]:
        """Places and their probabilities for groups that are drawn from whole."""
        roll = self._banks.roll
        widths, rows, lines = roll.widths[numbers], roll.rows[numbers], roll.lines[numbers]
        places: Ints = np.empty(len(numbers), np.int64)
        chance = self._rng.random(len(numbers))
        propensity: Floats = np.empty(len(numbers))
        alike = (widths == widths[0]).all()
        for width in [int(widths[0])] if alike else np.unique(widths).tolist():
            at: Any = slice(None) if alike else np.flatnonzero(widths == width)
            banked = self._banks.banked[width]
            np.frombuffer(banked.flags, np.uint8)[rows[at]] = 1
            sums = np.frombuffer(banked.lists.cumulated).reshape(-1, width)[lines[at] // width]
            places[at] = (sums <= chance[at, None]).sum(axis=1)
            propensity[at] = np.frombuffer(banked.lists.probabilities)[lines[at] + places[at]]
        return places, propensity

    def _columns(self, features: Mapping[str, Any]) -> tuple[dict[str, list[Scalar]], int]:
        """Those that name groups, as lists of checked scalars, and how many lines there are."""
        lengths = {len(column) for column in features.values()}
        if len(lengths) != 1:
            raise ConfigError(
                f"columns of features must be one or more and of one length; these have {sorted(lengths)}"
            )
        found: dict[str, list[Scalar]] = {}
        for name in self._fields:
            if name in features:
                column = features[name].tolist() if isinstance(features[name], np.ndarray) else list(features[name])
                found[name] = column
                if not (set(map(type, column)) <= {str} and max(map(len, column), default=0) <= 100):
                    for value in column:
                        check_features({name: value})
        return found, lengths.pop()

    def _named(self, columns: Mapping[str, list[Scalar]], count: int) -> Ints:
        """The tags of the groups, -1 where there is none."""
        parts: list[list[Any]] = list(columns.values())
        if len(parts) != 1 or not set(map(type, parts[0])) <= {str}:
            # 1, 1.0 and True are one key, but not one group
            parts = [
                part if set(map(type, part)) <= {str} else list(zip(part, map(type, part), strict=True))
                for part in parts
            ]
        keys = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True)) if parts else [()] * count
        tags = np.fromiter(map(self._tags.get, keys, repeat(_NEW)), np.int64, count)
        roll = self._banks.roll
        stale = tags < 0
        if not stale.all():
            stale |= roll.tags[np.where(stale, 0, tags) & NUMBER] != tags
        if len(self._tags) > MAX_MEMO:
            self._tags.clear()
        for line in np.flatnonzero(stale).tolist():
            group = self._table.group_of({name: column[line] for name, column in columns.items()})
            tags[line] = tag = self._banks.tagged(group, "")[0]
            if tag >= 0:
                self._tags[keys[line]] = tag
        return tags

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def update(self, keys: Any, rewards: Any, now_ns: int) -> tuple[Ints, list[Outcome]]:
        """Codes (`ring.ACKS`) by reward, and outcomes of groups that have no row yet. Raises ConfigError.

        keys: those of batches, (n, 2), or ids as text.
        """
        given = keys_of(keys)
        values = np.asarray(rewards, np.float64)
        if values.shape != (len(given),):
            raise ConfigError(f"{len(given)} ids and rewards of shape {values.shape}; one reward for each id")
        if not (np.abs(values) <= MAX_REWARD).all():
            raise ConfigError(f"rewards must be finite numbers within ±{MAX_REWARD:g}")
        if len(np.unique(given[:, 0])) < len(given):  # of those with one number, the later ones come later
            first = np.zeros(len(given), np.bool_)
            first[np.unique(given[:, 0], return_index=True)[1]] = True
            codes = np.empty(len(given), np.int64)
            codes[first], outcomes = self.update(given[first], values[first], now_ns)
            codes[~first], more = self.update(given[~first], values[~first], now_ns)
            return codes, outcomes + more
        at, news, codes = self._ring.join_many(given, values, now_ns)
        return codes, self._learn(at[news], values[news])

    def _learn(self, at: Ints, values: Floats) -> list[Outcome]:
        ring, roll = self._ring, self._banks.roll
        tags = np.frombuffer(ring.tags, np.int64)[at]
        places = np.frombuffer(ring.places, np.int16)[at].astype(np.int64)
        known = places >= 0
        numbers = np.where(known, tags, 0) & NUMBER
        if known.any():
            known[known] = roll.tags[numbers[known]] == tags[known]
            rows, widths = roll.rows[numbers], roll.widths[numbers]
            for width in np.unique(widths[known]).tolist():
                mine = known & (widths == width)
                self._banks.banked[width].note(rows[mine], places[mine], values[mine])
        found = []
        for line in np.flatnonzero(places == ELSEWHERE).tolist():
            group, arm, feasible = ring.stray(int(at[line]))
            found.append(Outcome(group, arm, float(values[line]), arms=feasible))
        return found


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


def _order(names: tuple[str, ...], feasible: tuple[str, ...]) -> Ints | None:
    """Where each of a group's arms stands in what is feasible; None: these are other arms."""
    if names == feasible:
        return np.arange(len(feasible))
    if len(names) != len(feasible) or set(names) != set(feasible):
        return None
    return np.array([feasible.index(name) for name in names], np.int64)
