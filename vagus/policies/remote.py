"""Limits that are wished from outside, over the gateway: FIRM's remote action interface (Qiu et al., OSDI'20, section 3.4).

Who learns or decides elsewhere reads GET /v1/state and sends POST /v1/action. A wish stands until another one for the
same limit comes: where the guard goes by steps, it is reached. Until the first word nothing is wished; when nothing more
is heard for `silence`, the policy fails, and the guard's ladder holds what is in force, lets the rule steer, restores.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vagus.config import seconds
from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish

if TYPE_CHECKING:
    import numpy as np

CORES = "cpu_cores"
LEAST_SILENCE_S, MOST_SILENCE_S = 0.1, 86400.0
MAX_SHOWN = 10


class Remote:
    """The joint policy `remote`. Option: silence, a duration. `tell` and `step` may be called by different threads.

    told, taken: how often `tell` was called, and up to which call the last `step` knew. Raises ConfigError.
    """

    name: ClassVar[str] = "remote"
    learned: ClassVar[bool] = True  # whoever is there may be learning: within what the shield holds safe

    def __init__(self, field: Field, rng: np.random.Generator | None = None, *, silence: str | float = "10s") -> None:
        self.field = field
        self.silence_s = seconds(silence) if isinstance(silence, (str, int, float)) else math.nan
        if isinstance(silence, bool) or not LEAST_SILENCE_S <= self.silence_s <= MOST_SILENCE_S:
            raise ConfigError(f"policy 'remote': option silence={silence!r} must be a duration from 0.1s to 1d")
        self.resources = tuple(field.bounds) or (CORES,)
        self.told = self.taken = 0
        self._wished: dict[tuple[str, str], Wish] = {}
        self._heard_s: float | None = None
        self._fresh = False  # told, and not yet stepped: its time begins with the step
        self._lock = threading.Lock()

    def tell(self, wishes: Sequence[Wish]) -> int:
        """What is wished from now on; none: what was wished stands, and somebody is there. Returns `told`.

        Raises ConfigError, with nothing changed, for a target or resource that is not steered here, or a value that is
        no limit.
        """
        for place, wish in enumerate(wishes):
            self._check(wish, f"actions[{place}]")
        with self._lock:
            for wish in wishes:
                self._wished[wish.target, wish.resource] = wish
            self.told += 1
            self._fresh = True
            return self.told

    def _check(self, wish: Wish, where: str) -> None:
        if wish.target not in self.field.targets:
            raise ConfigError(f"{where}: {wish.target[:200]!r} is not steered here, but {_some(self.field.targets)}")
        if wish.resource not in self.resources and wish.resource.partition("@")[0] not in self.resources:
            raise ConfigError(f"{where}: {wish.resource[:80]!r} is not steered here, but {_some(self.resources)}")
        if not (math.isfinite(wish.value) and wish.value > 0):
            raise ConfigError(f"{where}: {wish.value} is not a limit; send a number above 0")
        if not 0 <= wish.confidence <= 1:
            raise ConfigError(f"{where}: confidence {wish.confidence} is not from 0 to 1")

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        """What is wished for the targets that are seen. Raises PolicyError when nothing was heard for `silence`."""
        with self._lock:
            if self._fresh:
                self._fresh, self.taken, self._heard_s = False, self.told, now_s
            if self._heard_s is None:
                return []
            if (silent_s := now_s - self._heard_s) > self.silence_s:
                self._wished.clear()  # who speaks again says anew what is wanted
                raise PolicyError(
                    f"remote: nothing was heard for {silent_s:.1f} s (options.silence is {self.silence_s:g} s); whoever "
                    "steers it sends POST /v1/action, with no actions to leave all as it is"
                )
            return [wish for wish in self._wished.values() if wish.target in signals]

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        """The outsider sees it in the state."""

    def state(self) -> dict[str, Any]:
        """Nothing: after a restart it waits for a word."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes anything."""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more
