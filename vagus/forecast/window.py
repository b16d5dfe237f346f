"""A window over each series that is kept in order of size, for medians, trimmed means and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Indices, Mask, Ring, blocks

MOST_ROWS = 1000

At = slice | npt.NDArray[np.int64]


class SortedWindow(Columns):
    """At most `size` (1 to 1000) of the newest values of each series, sorted; a value costs a pass over the window.

    `length` says how many there are; below them the rows are +inf. A value that takes the place of an equal one costs
    nothing: most series of a machine stand still.
    """

    length: Array  # int64[n]
    rows: Array  # float64[size + 1, n], ascending; the last row is always +inf
    recent: Ring

    def __init__(self, n: int, size: int) -> None:
        if not (isinstance(size, int) and 1 <= size <= MOST_ROWS):
            raise ConfigError(f"window={size} of a forecaster must be a whole number from 1 to {MOST_ROWS}")
        super().__init__(n, length=np.int64(0), rows=np.full(size + 1, np.inf), recent=Ring(n, size))
        self.size = size
        self._said: Array | None = None  # what was last made of each window; not state, for it is found again
        self._stale: Mask = np.empty(0, np.bool_)

    def push(self, values: Array, present: Mask) -> None:
        """Adds a value; drops the oldest of a full window before."""
        full = self.length == self.size
        oldest = self.recent.ago(np.maximum(self.length - 1, 0))
        changed = present & ~(full & (oldest == values))
        for at in self._touch(changed):
            rows = self.rows[:, at]
            _leave(rows, np.where(full[at], oldest[at], np.inf))
            lower = np.minimum(rows, values[at])
            np.maximum(lower[1:], rows[:-1], out=rows[1:])
            rows[0] = lower[0]
            self.rows[:, at] = rows
        self.length += present & ~full
        self.recent.push(values, present)

    def drop(self, which: Mask) -> None:
        """Drops the oldest value of these series, which must have one."""
        if not which.any():
            return
        oldest = self.recent.ago(np.maximum(self.length - 1, 0))
        for at in self._touch(which):
            rows = self.rows[:, at]
            _leave(rows, oldest[at])
            self.rows[:, at] = rows
        self.length -= which

    def median(self) -> Array:
        """The middle value, or the mean of the middle two; NaN where there is none. Not to be written into."""
        return self._ask(self._median)

    def mean(self, trim: float = 0.0) -> Array:
        """The mean without the share `trim` (below 0.5) of the values at either end; NaN where there is none.

        The same `trim` at each call. Not to be written into.
        """
        return self._ask(lambda at: self._mean(at, trim))

    def _median(self, at: At) -> Array:
        length = self.length[at]
        column = np.arange(self.n)[at]
        flat = self.rows.reshape(-1)
        low = flat.take(np.maximum(length - 1, 0) // 2 * self.n + column)
        high = flat.take(length // 2 * self.n + column)
        return np.where(length > 0, low * 0.5 + high * 0.5, np.nan)

    def _mean(self, at: At, trim: float) -> Array:
        rows, length = self.rows[:, at], self.length[at]
        cut = (length * trim).astype(np.int64)
        if trim:
            row = np.arange(self.size + 1)[:, np.newaxis]
            inside = (row >= cut) & (row < length - cut)
        else:
            inside = rows < np.inf
        # In order, whatever the columns' number and layout, by which `sum` would round otherwise after a restart.
        total = np.cumsum(np.where(inside, rows, 0.0), axis=0)[-1]
        count = length - 2 * cut
        found: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return found

    # --- what changed ----------------------------------------------------------------------------------------------

    def _touch(self, which: Mask) -> Iterator[At]:
        """The columns of `which` in blocks, and notes that they change."""
        if self._said is not None:
            self._stale |= which
        return self._blocks(which)

    def _blocks(self, which: Mask) -> Iterator[At]:
        if which.all():
            yield from blocks(self.n, self.size + 1)
            return
        found = np.flatnonzero(which)
        for part in blocks(len(found), self.size + 1):
            yield found[part]

    def _ask(self, make: Callable[[At], Array]) -> Array:
        """What `make` makes of windows, asked only for those that changed since."""
        if self._said is None:
            self._said, self._stale = np.full(self.n, np.nan), np.ones(self.n, np.bool_)
        for at in self._blocks(self._stale):
            self._said[at] = make(at)
        self._stale[:] = False
        return self._said

    def resize(self, n: int) -> None:
        """The first n series stay as they are; further ones start blank."""
        super().resize(n)
        self._said = None

    def reset(self, indices: Indices) -> None:
        """These series start anew."""
        super().reset(indices)
        self._said = None

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """What `arrays` returned, of as many series. Raises ConfigError when names, shapes or types differ."""
        super().restore(arrays)
        self._said = None


def _leave(rows: Array, oldest: Array) -> None:
    """Takes a value out of each sorted column; +inf: none."""
    above = rows[:-1] >= oldest
    np.copyto(rows[:-1], rows[1:], where=above)  # numpy minds the overlap
