"""Time-outs of probes and calls from forecasts of how long they take (Network Weather Service; Allen, Wolski and
Plank 2002, "Adaptive timeout discovery using the Network Weather Service").

A time-out is the forecast and four times the error to be expected, the root of the mean squared error, as TCP takes
four mean deviations (Jacobson 1988, RFC 6298). After a time-out it backs off: twice what was waited in vain, until an
answer tells the truth (Karn and Partridge 1987).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np

from vagus.errors import ConfigError
from vagus.forecast.bank import Bank

FORECASTERS = ("last", "median_21", "ses_20", "ses_50")
# Errors fade within ten answers: when the latency moves to r times its level, the first answer's error alone lifts
# the time-out to 1 + 4 (r - 1) / sqrt(10) times the old level, above r.
DECAY = 0.9
FIRST_SLOTS = 16


class Timeouts:
    """How long to wait for each of at most `most_keys` peers or methods; the one unused for longest is forgotten.

    All times in seconds. floor_s, ceiling_s: bounds of every time-out; first_s: before anything is known of a key;
    errors: how many times the expected error is added; backoff: factor after a time-out. `timeout_s` costs about
    0.1 ms where answers came since it was asked last, else a microsecond. Raises ConfigError.
    """

    def __init__(
        self,
        floor_s: float,
        ceiling_s: float,
        *,
        first_s: float = 1.0,
        errors: float = 4.0,
        backoff: float = 2.0,
        most_keys: int = 1000,
    ) -> None:
        if not 0.0 < floor_s <= ceiling_s < math.inf:
            raise ConfigError(f"time-outs from floor_s={floor_s} to ceiling_s={ceiling_s}: 0 < floor_s <= ceiling_s")
        if not (first_s > 0 and 0 <= errors < math.inf and 1 <= backoff < math.inf and most_keys >= 1):
            raise ConfigError(
                f"time-outs need first_s={first_s} and most_keys={most_keys} above 0, errors={errors} of at least 0, "
                f"backoff={backoff} of at least 1"
            )
        self.floor_s, self.ceiling_s, self.first_s = floor_s, ceiling_s, first_s
        self._errors, self._backoff, self._most_keys = errors, backoff, most_keys
        self._bank = Bank(min(FIRST_SLOTS, most_keys), forecasters=FORECASTERS, decay=DECAY, head_start=1.0)
        self._keys: OrderedDict[Hashable, _Key] = OrderedDict()  # used longest ago first
        self._free = list(range(self._bank.n))
        self._new: dict[Hashable, float] = {}  # answers that the bank was not told yet, one a key at most

    def __len__(self) -> int:
        return len(self._keys)

    def observed(self, key: Hashable, duration_s: float) -> None:
        """An answer came after so long. Not to be called for an answer that may belong to an earlier attempt (Karn).

        Raises ConfigError when it is negative or not finite.
        """
        known = self._key(key)
        if key in self._new:
            self._tell()
        self._new[key] = _checked(duration_s)
        known.backed_off_s = 0.0

    def failed(self, key: Hashable, waited_s: float) -> None:
        """No answer came within so long. Raises ConfigError when it is negative or not finite."""
        known = self._key(key)
        known.backed_off_s = max(known.backed_off_s, _checked(waited_s) * self._backoff)

    def timeout_s(self, key: Hashable) -> float:
        """How long to wait for the next answer."""
        known = self._keys.get(key)
        if known is None:
            return min(max(self.first_s, self.floor_s), self.ceiling_s)
        self._keys.move_to_end(key)
        if self._new:
            self._tell()
        return min(max(known.timeout_s, known.backed_off_s, self.floor_s), self.ceiling_s)

    def forget(self, key: Hashable) -> None:
        """The peer is gone."""
        known = self._keys.pop(key, None)
        if known is not None:
            self._new.pop(key, None)
            self._bank.reset(known.slot)
            self._free.append(known.slot)

    def _key(self, key: Hashable) -> _Key:
        known = self._keys.get(key)
        if known is None:
            if len(self._keys) >= self._most_keys:
                self.forget(next(iter(self._keys)))
            if not self._free:
                more = min(2 * self._bank.n, self._most_keys)
                self._free.extend(range(self._bank.n, more))
                self._bank.resize(more)
            known = self._keys[key] = _Key(self._free.pop(), self.first_s)
        self._keys.move_to_end(key)
        return known

    def _tell(self) -> None:
        """The new answers to the bank, all at once."""
        told = [self._keys[key] for key in self._new]
        slots = [known.slot for known in told]
        durations_s = np.full(self._bank.n, np.nan)
        durations_s[slots] = list(self._new.values())
        self._bank.update(durations_s)
        mse, forecast_s = self._bank.mse()[slots], self._bank.predict()[slots]
        # After one answer no error is known yet: TCP takes half of it for the deviation (RFC 6298, 2.2).
        waits_s = forecast_s + self._errors * np.where(np.isnan(mse), forecast_s / 2, np.sqrt(mse))
        for known, wait_s in zip(told, waits_s, strict=True):
            known.timeout_s = float(wait_s)
        self._new.clear()


class _Key:
    __slots__ = ("backed_off_s", "slot", "timeout_s")

    def __init__(self, slot: int, timeout_s: float) -> None:
        self.slot = slot
        self.timeout_s = timeout_s  # by the forecast
        self.backed_off_s = 0.0  # 0: the last attempt was answered


def _checked(duration_s: float) -> float:
    if not 0.0 <= duration_s < math.inf:
        raise ConfigError(f"a duration of {duration_s} s must be a finite number of at least 0")
    return duration_s
