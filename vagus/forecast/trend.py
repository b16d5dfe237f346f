"""What a series is doing, in a word: rising, falling, steady, oscillating, level_shift.

Qualitative synthesis of the NGI architecture, over a window of each series:
- oscillating: the autocorrelation of what a straight line leaves has a peak at some period of which the window holds
  three, with a trough before it (Box and Jenkins 1970).
- rising, falling, level_shift: the share of the variance that a straight line explains (least squares), against the
  share that one step explains (the largest of the cumulative sums: Page 1954, Hinkley 1971). The larger one names it,
  if it is large. Single spikes are taken out first by a median of three.
- steady: none of these.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.forecast.bank import MAX_VALUE
from vagus.forecast.columns import Array, Columns, Ring, blocks

LABELS = ("", "steady", "rising", "falling", "oscillating", "level_shift")
UNKNOWN, STEADY, RISING, FALLING, OSCILLATING, LEVEL_SHIFT = range(len(LABELS))
EXPLAINED = 0.5  # share of the variance that makes a line or a step of it; noise alone reaches 0.2 in 60 values
PEAK, TROUGH = 0.5, 0.1  # of the autocorrelation; noise alone stays below 0.45
KEPT = 0.8  # a label that holds needs only so much of the above
EDGE = 4  # values that a step must have on either side
TINY = 1e-20  # of the mean square: what is left is rounding


class Trend(Columns):
    """Names what each of n series does, from its last `window` values (24 to 1000), looked at every `every` updates.

    A new label must be found twice in a row, and one that holds needs less evidence to stay: labels do not flap.
    Counters are rising, always: give their rates (`rates.Rates`). Raises ConfigError.
    """

    seen: Array  # int64[n], how many values, at most window
    label: Array  # int64[n], an index into LABELS
    candidate: Array  # int64[n], what was found last
    recent: Ring

    def __init__(self, n_series: int, *, window: int = 60, every: int = 10) -> None:
        if not (isinstance(window, int) and 24 <= window <= 1000):
            raise ConfigError(f"window={window} of a trend must be a whole number from 24 to 1000")
        if not (isinstance(every, int) and every >= 1):
            raise ConfigError(f"every={every} of a trend must be a whole number above 0")
        zero = np.int64(0)
        super().__init__(n_series, seen=zero, label=zero, candidate=zero, recent=Ring(n_series, window))
        self.window = window
        self.every = every
        self._ticks = 0

    def update(self, values: npt.ArrayLike) -> None:
        """The next value of each series, float[n]; NaN and what is beyond ±1e100 is missing and changes nothing."""
        now = np.asarray(values, dtype=np.float64)
        if now.shape != (self.n,):
            raise ConfigError(f"there are {self.n} series, and values of shape {now.shape} were given")
        present = np.abs(now) <= MAX_VALUE
        self.recent.push(now, present)
        np.minimum(self.seen + present, self.window, out=self.seen)
        self._ticks += 1
        if self._ticks % self.every == 0:
            self._look()

    def labels(self) -> list[str]:
        """rising, falling, steady, oscillating or level_shift for each series; empty: not yet known."""
        return [LABELS[at] for at in self.label]

    def _look(self) -> None:
        full = np.flatnonzero(self.seen == self.window)
        for part in blocks(full.size, self.window):
            at = full[part]
            held = self.label[at]
            found = classify(self.recent.ordered(at)[::-1], held)
            agreed = (found == self.candidate[at]) | (held == UNKNOWN)
            self.candidate[at] = found
            self.label[at] = np.where(agreed, found, held)


def classify(rows: Array, held: Array | None = None) -> Array:
    """Indices into LABELS, int64[n], of windows float64[window, n] without gaps, oldest first.

    held: the labels so far, which need less evidence to stay.
    """
    held = np.full(rows.shape[1], UNKNOWN) if held is None else held
    low, high = rows.min(axis=0), rows.max(axis=0)
    found = np.full(rows.shape[1], STEADY)
    moving = np.flatnonzero(low < high)  # the others are steady: most series of a machine
    if moving.size:
        found[moving] = _classify(rows[:, moving], low[moving], high[moving], held[moving])
    return found


def _classify(rows: Array, low: Array, high: Array, held: Array) -> Array:
    window, n = rows.shape
    span = np.where(high > low, high - low, 1.0)
    unit = (rows - low) / span  # 0 to 1: squares neither overflow nor vanish
    unit -= unit.mean(axis=0)

    x = np.arange(window) - (window - 1) / 2
    x /= np.sqrt((x * x).sum())
    left = unit - x[:, np.newaxis] * (x @ unit)
    oscillates = _peak(left) >= np.where(held == OSCILLATING, KEPT, 1.0)

    smooth = np.maximum(np.minimum(unit[:-2], unit[1:-1]), np.minimum(np.maximum(unit[:-2], unit[1:-1]), unit[2:]))
    smooth -= smooth.mean(axis=0)
    total = (smooth * smooth).sum(axis=0)
    varies = total > TINY * window
    total = np.where(varies, total, 1.0)
    count = window - 2
    x = np.arange(count) - (count - 1) / 2
    slope = (x @ smooth) / np.sqrt((x * x).sum())
    line = slope * slope / total
    sums = smooth.cumsum(axis=0)[EDGE - 1 : count - EDGE]
    before = np.arange(EDGE, count - EDGE + 1)[:, np.newaxis]
    step = (sums * sums * (count / (before * (count - before)))).max(axis=0) / total

    needed = EXPLAINED * np.where((held == RISING) | (held == FALLING) | (held == LEVEL_SHIFT), KEPT, 1.0)
    found = np.full(n, STEADY)
    moves = varies & (np.maximum(line, step) >= needed)
    found[moves] = np.where(step > line, LEVEL_SHIFT, np.where(slope > 0, RISING, FALLING))[moves]
    # A clear line or step is not an oscillation, even where it ripples.
    found[oscillates & ~moves] = OSCILLATING
    return found


def _peak(left: Array) -> Array:
    """How clear the best period is, float64[n]: 1 and above is clear.

    A period counts by the mean of the autocorrelation at it and at twice it: two spikes have a distance, not a period.
    """
    window, n = left.shape
    power = (left * left).sum(axis=0)
    alive = power > TINY * window
    power = np.where(alive, power, 1.0)
    longest = window // 3
    together = np.empty((2 * longest + 1, n))
    for lag in range(1, 2 * longest + 1):
        np.einsum("tn,tn->n", left[lag:], left[:-lag], out=together[lag])
        together[lag] *= window / (window - lag)
    together[1:] /= power
    trough = np.minimum.accumulate(together[1:longest], axis=0)  # of the lags before each
    clear = np.where(trough <= TROUGH, (together[2 : longest + 1] + together[4::2]) / 2, 0.0)
    found: Array = np.where(alive, clear.max(axis=0) / PEAK, 0.0)
    return found
