"""Lines of a plot that stay small: at most so many points each, thinned so that peaks remain. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vagus.clock import NS


class Line:
    """Points of one series, at most `most`: when there are more, of each two neighbours one is left, the one that
    sticks out further from what was left before it. NaN is a gap.
    """

    __slots__ = ("most", "t_ns", "values")

    def __init__(self, most: int) -> None:
        self.most = most
        self.t_ns: list[int] = []
        self.values: list[float] = []

    def add(self, t_ns: int, value: float) -> None:
        """Adds a point; one that is not later than the last is left out, and so is a gap after a gap."""
        if self.t_ns and (t_ns <= self.t_ns[-1] or (value != value and self.values[-1] != self.values[-1])):
            return
        self.t_ns.append(t_ns)
        self.values.append(value)
        if len(self.values) > self.most:
            self._thin()

    def _thin(self) -> None:
        times, values = self.t_ns, self.values
        kept_t, kept = [times[0]], [values[0]]
        last = len(values) - 2  # the newest stay: a number, and the gap that may follow it
        for at in range(1, last, 2):
            other = min(at + 1, last - 1)
            stays = at if _reach(values[at], kept[-1]) >= _reach(values[other], kept[-1]) else other
            kept_t.append(times[stays])
            kept.append(values[stays])
        self.t_ns, self.values = kept_t + times[last:], kept + values[last:]

    def forget(self, before_ns: int) -> None:
        """Leaves out what is older."""
        keep = next((at for at, t_ns in enumerate(self.t_ns) if t_ns >= before_ns), len(self.t_ns))
        if keep:
            del self.t_ns[:keep]
            del self.values[:keep]


def _reach(value: float, base: float) -> float:
    """How far a value sticks out; a number more than a gap."""
    if value != value:
        return -1.0
    return 0.0 if base != base else abs(value - base)


class Lines:
    """Series by key and field: at most `most_lines` of `most_points`, no older than `span_s`.

    left_out: how many further series came while there was no room; a series that has only old points makes room.
    """

    def __init__(self, most_lines: int, most_points: int, span_s: float) -> None:
        self._most_lines = most_lines
        self._most_points = most_points
        self._span_ns = round(span_s * NS)
        self._lines: dict[tuple[str, str], Line] = {}
        self._left_out: set[tuple[str, str]] = set()

    def add(self, key: str, fields: Iterable[tuple[str, float]], t_ns: int) -> None:
        """Adds the numbers of one item."""
        for field, value in fields:
            line = self._lines.get((key, field))
            if line is None:
                if len(self._lines) >= self._most_lines:
                    if len(self._left_out) < 10_000:
                        self._left_out.add((key, field))
                    continue
                line = self._lines[(key, field)] = Line(self._most_points)
                self._left_out.discard((key, field))
            line.add(t_ns, value)

    def gap(self, key: str, t_ns: int) -> None:
        """Nothing is known of a key at this time."""
        for (other, _), line in self._lines.items():
            if other == key:
                line.add(t_ns, math.nan)

    def at(self, now_ns: int) -> list[tuple[str, str, Line]]:
        """Key, field and line of each series that has something to show, by field and key."""
        for name, line in list(self._lines.items()):
            line.forget(now_ns - self._span_ns)
            if not line.values:
                del self._lines[name]
        shown = sorted(self._lines.items(), key=lambda entry: (entry[0][1], entry[0][0]))
        return [(key, field, line) for (key, field), line in shown]

    @property
    def left_out(self) -> int:
        """How many series had no room."""
        return len(self._left_out)
