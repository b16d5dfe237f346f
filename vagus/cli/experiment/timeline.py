"""What sessions got, second by second, and what each loss did to it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 3
SERVED = 0.99
LOSS = 0.1
"""Recovered: for three seconds 99 % were answered by the service, with a score within .1 of the one before."""


@dataclass
class Second:
    """served: answered by the service; the others by the client's default. score: sum over sessions."""

    asked: int = 0
    served: int = 0
    score: float = 0.0
    slowest_s: float = 0.0


@dataclass
class Timeline:
    """seconds: since the players began; phases: (what was lost, when), the first is `before`."""

    seconds: dict[int, Second] = field(default_factory=dict)
    phases: list[tuple[str, float]] = field(default_factory=list)
    end_s: float = 0.0

    def begin(self, what: str, t_s: float) -> None:
        """From now on `what` is lost, too."""
        self.phases.append((what, t_s))

    def note(self, t_s: float, served: bool, score: float, took_s: float) -> None:
        """A session that asked then."""
        second = self.seconds.setdefault(int(t_s), Second())
        second.asked += 1
        second.served += served
        second.score += score
        second.slowest_s = max(second.slowest_s, took_s)
        self.end_s = max(self.end_s, t_s)

    def part(self, start_s: float, end_s: float) -> list[Second]:
        """The whole seconds between."""
        return [second for at, second in sorted(self.seconds.items()) if start_s <= at and at + 1 <= end_s]

    def spans(self) -> list[tuple[str, float, float]]:
        """Each phase with its begin and end."""
        ends = [start for _, start in self.phases[1:]] + [math.floor(self.end_s) + 1]
        return [(what, start, end) for (what, start), end in zip(self.phases, ends, strict=True)]


def served_share(seconds: Sequence[Second]) -> float:
    """The share that the service answered; NaN of none."""
    asked = sum(second.asked for second in seconds)
    return sum(second.served for second in seconds) / asked if asked else math.nan


def score(seconds: Sequence[Second]) -> float:
    """The mean score; NaN of none."""
    asked = sum(second.asked for second in seconds)
    return sum(second.score for second in seconds) / asked if asked else math.nan


def summarise(timeline: Timeline, warm_s: float) -> dict[str, Any]:
    """Figures of each phase. warm_s: at the beginning, when everything is still being learned, and not counted."""
    phases: list[dict[str, Any]] = []
    before = math.nan
    for what, start_s, end_s in timeline.spans():
        part = timeline.part(start_s + (warm_s if not phases else 0), end_s)
        reached = score(part)
        if not phases:
            before = reached
        phases.append(
            {
                "lost": what if phases else "",
                "start_s": start_s,
                "end_s": end_s,
                "sessions": sum(second.asked for second in part),
                "served_ratio": served_share(part),
                "worst_second_ratio": min((served_share([s]) for s in part if s.asked), default=math.nan),
                "score": reached,
                "score_ratio": reached / before if before else math.nan,
                "recovered_s": recovered(timeline, start_s, end_s, before) if phases else 0.0,
                "slowest_ms": 1000 * max((second.slowest_s for second in part), default=math.nan),
            }
        )
    every = timeline.part(0, math.inf)
    return {
        "sessions": sum(second.asked for second in every),
        "served_ratio": served_share(every),
        "score_before": before,
        "phases": phases,
    }


def recovered(timeline: Timeline, start_s: float, end_s: float, before: float) -> float | None:
    """Seconds from a loss until three good ones began; None: not before the next loss."""
    for at in range(math.floor(start_s), math.ceil(end_s) - WINDOW_S + 1):
        window = timeline.part(at, at + WINDOW_S)
        if window and served_share(window) >= SERVED and score(window) >= before - LOSS:
            return max(0.0, at - start_s)
    return None
