"""The bank: all forecasters run side by side on every series, and those with the least error of late speak loudest.

After the Network Weather Service (Wolski, Spring and Hayes 1999, "The network weather service"), which takes the
forecaster with the least error so far. A softmax over errors that fade does better, and over absolute errors better
than over squared ones: one spike does not decide who speaks for the next hundred values (benchmarks/forecast.py). Last
value has a head start: on walks and on series that rarely change nothing beats it, and most of what the others win by
chance is lost again.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError
from vagus.forecast import FORECASTERS
from vagus.forecast.columns import Array, Columns, Indices

MAX_VALUE = 1e100  # sums of squares stay finite
MOST_SERIES = 1_000_000
VERSION = 1


class Bank(Columns):
    """Forecasts n series at once, one step ahead; the series are independent of each other.

    forecasters: names out of FORECASTERS, none for all. decay: weight of the errors so far after one more value, from
    0 up to but not 1. sharpness: a forecaster whose error is (1 + x) times the least one's has e^(-sharpness x) of its
    say. head_start: how many times the others' say the forecaster `last` has where all err alike. A prediction never
    leaves the range of what the series has shown so far. Raises ConfigError.
    """

    errors: Array  # float64[forecasters, n], faded sums of absolute errors
    squares: Array  # float64[n], faded sums of the bank's own squared errors
    checked: Array  # float64[n], faded number of both
    low: Array  # float64[n], the least value seen
    high: Array
    _ahead: Array  # what each forecaster says now
    _says: Array  # how much say it has, beside the others
    _scratch: Array  # as large as these: a temporary of this size would be a new mapping each time
    _prediction: Array

    def __init__(
        self,
        n_series: int,
        *,
        forecasters: Sequence[str] = (),
        decay: float = 0.98,
        sharpness: float = 20.0,
        head_start: float = 100.0,
    ) -> None:
        if not (isinstance(n_series, int) and 0 <= n_series <= MOST_SERIES):
            raise ConfigError(f"n_series={n_series} of a forecaster bank must be from 0 to {MOST_SERIES}")
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"decay={decay} of a forecaster bank must be from 0 up to, but not, 1")
        if not 0.0 < sharpness < math.inf:
            raise ConfigError(f"sharpness={sharpness} of a forecaster bank must be a finite number above 0")
        if not 0.0 < head_start < math.inf:
            raise ConfigError(f"head_start={head_start} of a forecaster bank must be a finite number above 0")
        self.names = tuple(dict.fromkeys(forecasters)) or tuple(FORECASTERS)
        self.decay = decay
        self.sharpness = sharpness
        self.head_start = head_start
        self._prior = np.array([[head_start if name == "last" else 1.0] for name in self.names])
        super().__init__(
            n_series,
            errors=np.zeros(len(self.names)),
            squares=0.0,
            checked=0.0,
            low=np.inf,
            high=-np.inf,
        )
        self._members = {name: FORECASTERS.make(name, n_series) for name in self.names}
        self._parts.update(self._members)
        self._ahead = self._says = self._scratch = np.empty(0)
        self._look()

    def update(self, values: npt.ArrayLike) -> None:
        """The next value of each series, float[n]. NaN, infinite ones and those beyond ±1e100 are missing: they change
        nothing for their series. Raises ConfigError when there are not n values."""
        seen = np.asarray(values, dtype=np.float64)
        if seen.shape != (self.n,):
            raise ConfigError(f"the bank has {self.n} series and was given values of shape {seen.shape}")
        present = np.abs(seen) <= MAX_VALUE
        seen = np.where(present, seen, 0.0)
        known = present & (self.low <= self.high)
        if known.any():
            fade = np.where(known, self.decay, 1.0)
            self.errors *= fade
            missed = np.subtract(self._ahead, seen, out=self._scratch)
            np.add(self.errors, np.abs(missed, out=missed), out=self.errors, where=known)
            own = self._prediction - seen
            self.squares *= fade
            np.add(self.squares, own * own, out=self.squares, where=known)
            self.checked *= fade
            self.checked += known
        np.minimum(self.low, seen, out=self.low, where=present)
        np.maximum(self.high, seen, out=self.high, where=present)
        for member in self._members.values():
            member.update(seen, present)
        self._look()

    def predict(self) -> Array:
        """The next value of each series, float64[n]; NaN before a series' first value."""
        return self._prediction.copy()

    def predictions(self) -> Array:
        """What each forecaster says, float64[forecasters, n] in the order of `names`; NaN before the first value."""
        return self._ahead.copy()

    def mse(self) -> Array:
        """The faded mean squared error of the bank's own predictions, float64[n]; NaN until one could be checked."""
        found: Array = np.divide(self.squares, self.checked, out=np.full(self.n, np.nan), where=self.checked > 0)
        return found

    def weights(self) -> Array:
        """Each forecaster's say, float64[forecasters, n] in the order of `names`; sums to 1 for each series."""
        found: Array = self._says / self._says.sum(axis=0)
        return found

    def chosen(self) -> list[str]:
        """For each series the forecaster with the largest say; the first by name among equals."""
        return [self.names[at] for at in self.leaders()]

    def leaders(self) -> Array:
        """The same as places in `names`, int64[n]."""
        found: Array = self._says.argmax(axis=0)
        return found

    def resize(self, n: int) -> None:
        """The first n series stay as they are; further ones start blank."""
        super().resize(n)
        self._look()

    def reset(self, indices: Indices) -> None:
        """These series start anew (a series ended, and another takes its place)."""
        super().reset(indices)
        self._look()

    @property
    def bytes_per_series(self) -> int:
        """Of state, whatever the length of the series."""
        return sum(a.itemsize * math.prod(a.shape[:-1]) for a in self.arrays().values())

    def dump(self) -> bytes:
        """All state as an .npz archive (numpy's; no pickle), about `bytes_per_series` for each."""
        out = io.BytesIO()
        about: dict[str, Any] = {
            "version": VERSION,
            "names": np.array(self.names),
            "options": np.array([self.decay, self.sharpness, self.head_start]),
        }
        np.savez(out, **about, **self.arrays())  # type: ignore[arg-type,unused-ignore]  # keywords are arrays, not allow_pickle
        return out.getvalue()

    @classmethod
    def load(cls, dumped: bytes) -> Bank:
        """A bank from what `dump` returned. Raises ConfigError when it is damaged or of another version."""
        try:
            with np.load(io.BytesIO(dumped), allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
            if int(found.pop("version")) != VERSION:
                raise ConfigError("it is of another version of vagus")
            names = [str(name) for name in found.pop("names")]
            decay, sharpness, head_start = (float(option) for option in found.pop("options"))
            bank = cls(
                found["squares"].size,
                forecasters=names,
                decay=decay,
                sharpness=sharpness,
                head_start=head_start,
            )
            bank.restore(found)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(f"a saved forecaster bank cannot be read, start a new one: {error}") from error
        bank._look()
        return bank

    def _look(self) -> None:
        """What the forecasters say now, and what the bank makes of it."""
        if self._ahead.shape != self.errors.shape:
            self._ahead, self._says, self._scratch = (np.empty_like(self.errors) for _ in range(3))
        ahead, says = self._ahead, self._says
        for row, member in zip(ahead, self._members.values(), strict=True):
            row[:] = member.predict()
        least = np.maximum(self.errors.min(axis=0), 1e-300)
        with np.errstate(over="ignore"):  # somebody was never wrong: the others' ratio is infinite
            np.divide(self.errors, least, out=says)
            # Whoever is never wrong has an error of 0, of which the ratio is 0 and not 1: all of these are equal.
            says -= 1.0
            np.maximum(says, 0.0, out=says)
            says *= -self.sharpness
        np.exp(says, out=says)
        says *= self._prior
        base = ahead[0]
        # Around one of them, so that a constant is predicted to the bit.
        moved = np.einsum("kn,kn->n", says, np.subtract(ahead, base, out=self._scratch)) / says.sum(axis=0)
        self._prediction = np.clip(base + moved, self.low, self.high, where=self.low <= self.high, out=base.copy())
