"""Traces of rewards, to replay decisions on: what every arm was worth at each time, or what a log says of one each.

Full information, one line per time and group: `t_s,group,ARM,ARM,...`; a number is the arm's reward (larger is better)
from then on, an empty cell says that the arm cannot be chosen then. Logged: `t_s,group,arm,reward[,propensity]`.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vagus.controllers.decide.features import MAX_GROUP
from vagus.errors import ConfigError, unreadable
from vagus.policies.bank import Floats, Ints

MAX_BYTES = 256 << 20
MAX_CELLS = 20_000_000
MAX_ARMS = 1000
MAX_GROUPS = 10_000
MAX_NAME = 200
MAX_LINE = 1 << 20
MAX_SIZE = 1e100  # squares stay finite
LOGGED = ("t_s", "group", "arm", "reward")


class GroupTrace(NamedTuple):
    """What the arms of one group were worth: seconds (n,) that never fall, rewards (n, arms), NaN: not to be had."""

    group: str
    t_s: Floats
    values: Floats

    def at(self, t_s: Floats, *, linear: bool = False) -> Floats:
        """Rewards (m, arms) at m times: the last line's, or on the straight line to the next one."""
        index = np.clip(np.searchsorted(self.t_s, t_s, side="right") - 1, 0, len(self.t_s) - 1)
        now: Floats = self.values[index]
        if not linear:
            return now
        after = np.minimum(index + 1, len(self.t_s) - 1)
        gap = self.t_s[after] - self.t_s[index]
        share = np.clip((t_s - self.t_s[index]) / np.where(gap > 0.0, gap, 1.0), 0.0, 1.0)[:, np.newaxis]
        between = now + share * (self.values[after] - now)
        return np.where(np.isnan(between), now, between)


class Trace(NamedTuple):
    """Full information: the arms, and their rewards in each group."""

    name: str
    arms: tuple[str, ...]
    groups: tuple[GroupTrace, ...]


class LoggedTrace(NamedTuple):
    """What was chosen, and its reward: columns of one length, in the order of the file.

    group, arm: places in `groups` and `arms`. propensity: NaN where the file has none.
    """

    name: str
    arms: tuple[str, ...]
    groups: tuple[str, ...]
    t_s: Floats
    group: Ints
    arm: Ints
    reward: Floats
    propensity: Floats


def read_trace(path: Path) -> Trace | LoggedTrace:
    """A trace from a CSV file of at most 256 MiB. Raises ConfigError, with the line, for anything else."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size >> 20} MiB; a trace has at most {MAX_BYTES >> 20}: give a part of it")
        with path.open(encoding="utf-8", newline="") as lines:
            return parse_trace(path.name, lines)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse_trace(name: str, lines: Iterable[str]) -> Trace | LoggedTrace:
    """A trace from CSV lines; `name` is for messages. Raises ConfigError, with the line."""
    rows = _rows(name, lines)
    _, header = next(rows, (0, []))
    heads = tuple(cell.strip() for cell in header)
    if heads[:2] != LOGGED[:2] or len(heads) < 3:
        raise ConfigError(
            f"{name}: line 1 must be t_s,group,ARM,ARM,... or t_s,group,arm,reward[,propensity], not {','.join(heads)[:80]!r}"
        )
    if heads[:4] == LOGGED and heads[4:] in ((), ("propensity",)):
        return _logged(name, rows, len(heads))
    return _full(name, heads[2:], rows)


def _rows(name: str, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers."""
    reader = csv.reader(_short(name, lines))
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise ConfigError(f"{name}: line {reader.line_num}: {error}") from error


def _short(name: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise ConfigError(f"{name}: line {number} has {len(line)} characters; at most {MAX_LINE}")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _full(name: str, arms: tuple[str, ...], rows: Iterator[tuple[int, list[str]]]) -> Trace:
    if len(set(arms)) < len(arms) or not all(0 < len(arm) <= MAX_NAME for arm in arms) or len(arms) > MAX_ARMS:
        raise ConfigError(
            f"{name}: line 1: arms must be at most {MAX_ARMS} different names of 1 to {MAX_NAME} characters"
        )
    times: dict[str, array[float]] = {}
    values: dict[str, array[float]] = {}
    cells = 0
    for number, row in rows:
        where = f"{name}: line {number}"
        if len(row) != len(arms) + 2:
            raise ConfigError(f"{where}: {len(row)} cells, where line 1 names {len(arms) + 2}")
        group = _group(where, row[1], times)
        t_s, found = _number(where, "t_s", row[0]), [_reward(where, arm, cell) for arm, cell in zip(arms, row[2:])]  # noqa: B905
        if all(math.isnan(value) for value in found):
            raise ConfigError(f"{where}: no arm has a reward; leave such a line out")
        seen = times.setdefault(group, array("d"))
        if seen and t_s < seen[-1]:
            raise ConfigError(
                f"{where}: t_s {t_s:g} of group {group[:50]!r} is before {seen[-1]:g}; sort the file by time"
            )
        seen.append(t_s)
        values.setdefault(group, array("d")).extend(found)
        cells += len(found)
        if cells > MAX_CELLS:
            raise ConfigError(f"{where}: more than {MAX_CELLS} rewards; give a part of the file")
    if not times:
        raise ConfigError(f"{name}: has no line after its first; a trace has at least one")
    return Trace(
        name,
        arms,
        tuple(
            GroupTrace(group, np.array(times[group]), np.array(values[group]).reshape(-1, len(arms))) for group in times
        ),
    )


def _logged(name: str, rows: Iterator[tuple[int, list[str]]], width: int) -> LoggedTrace:
    groups: dict[str, int] = {}
    arms: dict[str, int] = {}
    numbers = array("d")
    places = array("q")
    for number, row in rows:
        where = f"{name}: line {number}"
        if len(row) != width:
            raise ConfigError(f"{where}: {len(row)} cells, where line 1 names {width}")
        group, arm = _group(where, row[1], groups), row[2].strip()
        if not 0 < len(arm) <= MAX_NAME or (arm not in arms and len(arms) >= MAX_ARMS):
            raise ConfigError(f"{where}: arms must be at most {MAX_ARMS} names of 1 to {MAX_NAME} characters")
        propensity = math.nan
        if width == 5 and row[4].strip():
            propensity = _number(where, "propensity", row[4])
            if not 0.0 < propensity <= 1.0:
                raise ConfigError(f"{where}: propensity {propensity:g} must be above 0 and at most 1")
        numbers.extend((_number(where, "t_s", row[0]), _number(where, "reward", row[3]), propensity))
        places.extend((groups.setdefault(group, len(groups)), arms.setdefault(arm, len(arms))))
        if len(numbers) > MAX_CELLS:
            raise ConfigError(f"{where}: more than {MAX_CELLS // 3} lines; give a part of the file")
    if not numbers:
        raise ConfigError(f"{name}: has no line after its first; a trace has at least one")
    table, named = np.array(numbers).reshape(-1, 3), np.array(places, dtype=np.int64).reshape(-1, 2)
    return LoggedTrace(
        name,
        tuple(arms),
        tuple(groups),
        *(np.ascontiguousarray(column) for column in (table[:, 0], named[:, 0], named[:, 1], table[:, 1], table[:, 2])),
    )


def _group(where: str, text: str, known: dict[str, array[float]] | dict[str, int]) -> str:
    group = text.strip()
    if len(group) > MAX_GROUP:
        raise ConfigError(f"{where}: the group's name has {len(group)} characters; at most {MAX_GROUP}")
    if group not in known and len(known) >= MAX_GROUPS:
        raise ConfigError(f"{where}: more than {MAX_GROUPS} groups; give a part of the file")
    return group


def _reward(where: str, arm: str, cell: str) -> float:
    return math.nan if not cell or cell.isspace() else _number(where, arm, cell)


def _number(where: str, what: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not -MAX_SIZE <= value <= MAX_SIZE:
        raise ConfigError(f"{where}: {what[:50]} is {cell[:50]!r}; it must be a finite number within ±{MAX_SIZE:g}")
    return value
