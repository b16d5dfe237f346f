"""What the last seconds were like, while the load runs. Pure."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Of the requests due within the last seconds, and all that were due before and wait still.

    Who waits counts with its age, who failed as if answered when one gives up. None: there was none.
    """

    t_s: float
    p50_s: float | None
    p99_s: float | None
    rate_hz: float  # requests that were due
    failed_ratio: float
    waiting: int  # on their way
    types_hz: dict[str, float]


class Tally:
    """What has become of each request. due_s: (n,) in order; types: (n,) places in `names`."""

    def __init__(
        self, due_s: Floats, types: npt.NDArray[np.int64], names: tuple[str, ...], begin_s: float, given_up_s: float
    ) -> None:
        self.due_s, self.types, self.names = due_s, types, names
        self.latency_s = np.full(len(due_s), np.nan)  # NaN: not known yet, infinite: failed
        self.late_s = np.full(len(due_s), np.nan)  # how late it was sent; NaN: it was not
        self._begin_s = begin_s
        self._given_up_s = given_up_s
        self._oldest = 0  # all before have ended

    def window(self, t_s: float, window_s: float) -> Window:
        """The window that ends at t_s."""
        due, latency = self.due_s, self.latency_s
        first, end = np.searchsorted(due, (t_s - window_s, t_s), side="right")
        while self._oldest < end and not np.isnan(latency[self._oldest]):
            self._oldest += 1
        before = np.arange(self._oldest, max(first, self._oldest))
        chosen = np.concatenate([before[np.isnan(latency[before])], np.arange(first, end)])
        took = latency[chosen]
        waits = np.isnan(took)
        took = np.where(waits, t_s - due[chosen], np.minimum(took, self._given_up_s))
        lasted_s = max(min(window_s, t_s - self._begin_s), 1e-9)
        counts = np.bincount(self.types[first:end], minlength=len(self.names))
        return Window(
            t_s=t_s,
            p50_s=_quantile(took, 0.5),
            p99_s=_quantile(took, 0.99),
            rate_hz=float(end - first) / lasted_s,
            failed_ratio=float(np.isinf(latency[chosen]).mean()) if len(chosen) else 0.0,
            waiting=int(waits.sum()),
            types_hz={name: float(count) / lasted_s for name, count in zip(self.names, counts, strict=True)},
        )


def _quantile(values: Floats, ratio: float) -> float | None:
    return float(np.quantile(values, ratio, method="inverted_cdf")) if len(values) else None


def field_of(name: str) -> str:
    """A type's name as that of a field: `FIELD_hz` of the series `ingress`."""
    text = "".join(c if c.isalnum() else "_" for c in name)
    return text if text[:1].isalpha() else f"type_{text}"
