"""What a service owes and how it does: an objective's selectors, read from the collector's newest samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vagus import selector as selectors
from vagus.clock import NS
from vagus.config import ObjectiveSettings, seconds
from vagus.model import Sample


class Objective:
    """Reads `objective` of controller.yaml. selectors: what the collector is to be asked for. Raises ConfigError."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        self._slo_s = seconds(settings.slo) or math.nan
        self._max_age_ns = round(seconds(settings.max_age) * NS)
        named = {"latency_s": settings.latency, "rate_hz": settings.rate}
        named |= {f"mix_{at}": chosen for at, chosen in enumerate(settings.mix)}
        self._chosen = {name: selectors.parse(text) for name, text in named.items() if text}
        self.selectors = tuple(dict.fromkeys(text for text in named.values() if text))
        self._names = tuple(named)

    def read(self, samples: Sequence[Sample], now_ns: int) -> dict[str, float]:
        """latency_s, slo_s, rate_hz, mix_0 …; NaN: not known, or older than `max_age`. now_ns: wall time."""
        found = dict.fromkeys(self._names, math.nan) | {"slo_s": self._slo_s}
        for name, chosen in self._chosen.items():
            newest_ns = now_ns - self._max_age_ns
            for sample in samples:
                if newest_ns <= sample.t_ns <= now_ns + self._max_age_ns:
                    for index in chosen.fields(sample.stream):
                        found[name], newest_ns = float(sample.values[index]), sample.t_ns
                        break
        return found
