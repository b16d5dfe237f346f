"""A window over each series that is kept in order of size, for medians, trimmed means and the like."""

from __future__ import annotations

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.columns import Array, Columns, Mask, Ring

MOST_ROWS = 1000


class SortedWindow(Columns):
    """At most `size` (1 to 1000) of the newest values of each series, sorted; a value costs a pass over the window.

    `length` says how many there are; below them the rows are +inf.
    """

    length: Array  # int64[n]
    rows: Array  # float64[size + 1, n], ascending; the last row is always +inf
    recent: Ring

    def __init__(self, n: int, size: int) -> None:
        if not (isinstance(size, int) and 1 <= size <= MOST_ROWS):
            raise ConfigError(f"window={size} of a forecaster must be a whole number from 1 to {MOST_ROWS}")
        super().__init__(n, length=np.int64(0), rows=np.full(size + 1, np.inf), recent=Ring(n, size))
        self.size = size

    def push(self, values: Array, present: Mask) -> None:
        """Adds a value; drops the oldest of a full window before."""
        self.drop(present & (self.length == self.size))
        lower = np.minimum(self.rows, np.where(present, values, np.inf))
        np.maximum(lower[1:], self.rows[:-1], out=self.rows[1:])
        self.rows[0] = lower[0]
        self.length += present
        self.recent.push(values, present)

    def drop(self, which: Mask) -> None:
        """Drops the oldest value of these series, which must have one."""
        if not which.any():
            return
        oldest = np.where(which, self.recent.ago(np.maximum(self.length - 1, 0)), np.inf)
        above = self.rows[:-1] >= oldest
        np.copyto(self.rows[:-1], self.rows[1:], where=above)  # numpy minds the overlap
        self.length -= which

    def median(self) -> Array:
        """The middle value, or the mean of the middle two; NaN where there is none."""
        at = np.arange(self.n)
        flat = self.rows.reshape(-1)
        low = flat.take(np.maximum(self.length - 1, 0) // 2 * self.n + at)
        high = flat.take(self.length // 2 * self.n + at)
        return np.where(self.length > 0, low * 0.5 + high * 0.5, np.nan)

    def mean(self, trim: float = 0.0) -> Array:
        """The mean without the share `trim` (below 0.5) of the values at either end; NaN where there is none."""
        if trim:
            cut = (self.length * trim).astype(np.int64)
            row = np.arange(self.size + 1)[:, np.newaxis]
            inside = (row >= cut) & (row < self.length - cut)
        else:
            cut = np.zeros_like(self.length)
            inside = self.rows < np.inf
        total = np.where(inside, self.rows, 0.0).sum(axis=0)
        count = self.length - 2 * cut
        found: Array = np.divide(total, count, out=np.full(self.n, np.nan), where=count > 0)
        return found
