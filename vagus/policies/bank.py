"""What policies over many groups have in common: columns of numpy, a row a group, that grow, travel and merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vagus.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
MAX_WIDTH = 10_000
MAX_REWARD = 1e100  # squares stay finite
MAX_STATE = 1e300  # of any number in a saved state


class Bank:
    """Subclasses name their columns with what an empty cell holds, and write `learn`, `tick` and `weights`.

    cells: columns of (rows, width) by name, C-contiguous; whole: columns of (rows,). All float64, as attributes of
    that name. added: columns that a merge adds up; of the others `absorb` must be overridden, or they are left alone.
    counts: columns that cannot be below 0.
    """

    name: ClassVar[str]
    together = False  # whether rows learn anything from each other: then a bank is one service's, not several worlds'
    cells: ClassVar[Mapping[str, float]] = {}
    whole: ClassVar[Mapping[str, float]] = {}
    by_means: ClassVar[bool] = True  # a larger mean is the better choice: for feasible sets never asked for
    added: ClassVar[frozenset[str]] = frozenset()
    counts: ClassVar[frozenset[str]] = frozenset({"count", "squares"})

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows = 0
        self.width = 0
        for name in self.cells:
            setattr(self, name, np.empty((0, 0)))
        for name in self.whole:
            setattr(self, name, np.empty(0))

    def resize(self, rows: int, width: int) -> None:
        """At least so many rows and places; what is there stays."""
        rows, width = max(rows, self.rows), max(width, self.width)
        if width > MAX_WIDTH:
            raise ConfigError(f"{width} arms in one group; at most {MAX_WIDTH}")
        for name, empty in self.cells.items():
            grown = np.full((rows, width), empty)
            grown[: self.rows, : self.width] = getattr(self, name)
            setattr(self, name, grown)
        for name, empty in self.whole.items():
            line = np.full(rows, empty)
            line[: self.rows] = getattr(self, name)
            setattr(self, name, line)
        self.rows, self.width = rows, width

    def named(self, row: int, names: Sequence[str]) -> None:
        """Most policies need no names."""

    def row(self, row: int) -> dict[str, Any]:
        """The row's columns: lists without the empty places at their end, and numbers."""
        lines = {name: getattr(self, name)[row] for name in self.cells}
        used = [np.flatnonzero(lines[name] != empty) for name, empty in self.cells.items()]
        length = max((int(places[-1]) + 1 for places in used if len(places)), default=0)
        found: dict[str, Any] = {name: line[:length].tolist() for name, line in lines.items()}
        found.update((name, float(getattr(self, name)[row])) for name in self.whole)
        return found

    def set_row(self, row: int, state: Mapping[str, Any]) -> None:
        """Columns from `row`, of this or a smaller width. Raises ConfigError, with nothing changed."""
        cells, whole = self.checked(state)
        self.clear(row)
        for name, values in cells.items():
            getattr(self, name)[row, : len(values)] = values
        for name, value in whole.items():
            getattr(self, name)[row] = value

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Adds `share` of the columns that add up."""
        cells, whole = self.checked(state)
        for name in self.added & set(cells):
            getattr(self, name)[row, : len(cells[name])] += share * cells[name]
        for name in self.added & set(whole):
            getattr(self, name)[row] += share * whole[name]

    def clear(self, row: int) -> None:
        """An empty row again."""
        for name, empty in (*self.cells.items(), *self.whole.items()):
            getattr(self, name)[row] = empty

    def moved(self, state: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
        """The columns with what stood at place i at `places[i]`; -1: left out. Raises ConfigError."""
        cells, whole = self.checked(state)
        kept = [(at, place) for at, place in enumerate(places) if place >= 0]
        found: dict[str, Any] = {**whole}
        for name, values in cells.items():
            line = [self.cells[name]] * (max((place for at, place in kept if at < len(values)), default=-1) + 1)
            for at, place in kept:
                if at < len(values):
                    line[place] = float(values[at])
            found[name] = line
        return found

    def checked(self, state: Mapping[str, Any]) -> tuple[dict[str, Floats], dict[str, float]]:
        """A saved row's columns. Raises ConfigError unless they are these columns, finite and not too wide."""
        try:
            cells = {name: np.asarray(state[name], dtype=np.float64) for name in self.cells}
            whole = {name: float(state[name]) for name in self.whole}
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"not a saved state of policy {self.name!r}: {error!r}") from error
        for name, column in (*cells.items(), *((name, np.array([value])) for name, value in whole.items())):
            least = 0.0 if name in self.counts else -MAX_STATE
            sound = column.ndim == 1 and bool(((column >= least) & (column <= MAX_STATE)).all())
            if not sound or (name in cells and len(column) > self.width):
                raise ConfigError(
                    f"saved state of policy {self.name!r}: {name} must be at most {self.width} finite numbers"
                    f"{' of 0 or more' if name in self.counts else ''}"
                )
        if len({len(column) for column in cells.values()}) > 1:
            raise ConfigError(f"saved state of policy {self.name!r} has columns of different lengths")
        return cells, whole


def check_rewards(rewards: Floats) -> None:
    """Raises ConfigError unless all are numbers within ±1e100."""
    if len(rewards) and not np.abs(rewards).max() <= MAX_REWARD:  # so that NaN is refused too
        raise ConfigError(f"rewards must be finite numbers within ±{MAX_REWARD:g}")


def even(feasible: Bools) -> Floats:
    """The same probability for every feasible place, (m, width)."""
    shares: Floats = feasible / feasible.sum(axis=1, keepdims=True)
    return shares
