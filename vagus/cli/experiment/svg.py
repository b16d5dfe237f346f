"""Small figures as SVG text: axes, lines, bands, points. Colours are CSS variables, so that a page's dark mode is theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

Number = float | None
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 10.0, 10.0, 34.0
MOST_POINTS = 400  # of a line: more cannot be told apart


class Axis(NamedTuple):
    """What is drawn from `low` to `high`. form: of a tick, in words; ticks: where; log: by ratios, both being positive."""

    low: float
    high: float
    form: Callable[[float], str]
    title: str = ""
    log: bool = False
    ticks: tuple[float, ...] = ()

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high one; what is beyond stays at the end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def marks(self, most: int) -> list[float]:
        """Where ticks are: those that were given, else round numbers, `most` or so at most."""
        if self.ticks:
            return [tick for tick in self.ticks if self.low <= tick <= self.high]
        if not self.log:
            step = nice((self.high - self.low) / most)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [n * step for n in range(first, last + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [
                m * 10.0**d for d in decades for m in steps if self.low * 0.999 <= m * 10.0**d <= self.high * 1.001
            ]
            if len(found) <= most + 2:
                break
        return found


def nice(step: float) -> float:
    """The next of 1, 2, 5 × a power of ten."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


class Figure:
    """width, height: in units of its view box; it grows and shrinks with the page."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def svg(self, title: str, what: str) -> str:
        """The element. title: what it is; what: what it shows, for who cannot see it."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(title)}. {escape(what)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}</svg>"
        )


class Panel:
    """A pair of axes in a figure, from y `top` to `bottom` of it."""

    def __init__(
        self,
        figure: Figure,
        x: Axis,
        y: Axis,
        top: float = 0.0,
        bottom: float = 0.0,
        *,
        ticks_x: bool = True,
        most_y: int = 5,
    ) -> None:
        self.x, self.y, self._parts = x, y, figure.parts
        self.left, self.right = _LEFT, figure.width - _RIGHT
        self.top = top + _TOP
        self.bottom = (bottom or figure.height) - (_BOTTOM if ticks_x else 6)
        for mark in y.marks(most_y):
            at = self.py(mark)
            self._parts.append(f'<path class="grid" d="M{self.left:.1f} {at:.1f}H{self.right:.1f}"/>')
            self._text(self.left - 6, at + 4, y.form(mark), "end")
        for mark in x.marks(6):
            at = self.px(mark)
            if x.log:
                self._parts.append(f'<path class="grid" d="M{at:.1f} {self.top:.1f}V{self.bottom:.1f}"/>')
            if ticks_x:
                self._parts.append(f'<path class="tick" d="M{at:.1f} {self.bottom:.1f}v4"/>')
                self._text(at, self.bottom + 16, x.form(mark), "middle")
        self._parts.append(f'<path class="axis" d="M{self.left:.1f} {self.bottom:.1f}H{self.right:.1f}"/>')
        if ticks_x and x.title:
            self._text((self.left + self.right) / 2, self.bottom + 30, x.title, "middle")
        if y.title:
            middle = (self.top + self.bottom) / 2
            self._parts.append(
                f'<text class="t" text-anchor="middle" transform="translate(9 {middle:.1f}) rotate(-90)">{escape(y.title)}</text>'
            )

    def px(self, value: float) -> float:
        """Where a value is in the figure."""
        return self.left + self.x.at(value) * (self.right - self.left)

    def py(self, value: float) -> float:
        """Where a value is in the figure."""
        return self.bottom - self.y.at(value) * (self.bottom - self.top)

    def band(self, begin: float, end: float, name: str, mark: str = "") -> None:
        """A span of x, shaded; name: told when it is pointed at; mark: written at its top."""
        if end <= self.x.low or begin >= self.x.high:
            return
        left, right = self.px(begin), self.px(end)
        self._parts.append(
            f'<rect class="band" x="{left:.1f}" y="{self.top:.1f}" width="{max(1.0, right - left):.1f}" '
            f'height="{self.bottom - self.top:.1f}"><title>{escape(name)}</title></rect>'
        )
        if mark:
            self._text((left + right) / 2, self.top + 10, mark, "middle", "m")

    def level(self, value: float, name: str) -> None:
        """A line across, such as the SLO, with its name."""
        at = self.py(value)
        self._parts.append(f'<path class="slo" d="M{self.left:.1f} {at:.1f}H{self.right:.1f}"/>')
        self._text(self.right - 2, at - 4, name, "end", "slot")

    def wall(self, value: float, name: str) -> None:
        """A line up, such as the SLO, with its name at its foot."""
        at = self.px(value)
        self._parts.append(f'<path class="slo" d="M{at:.1f} {self.top:.1f}V{self.bottom:.1f}"/>')
        self._text(at + 4, self.bottom - 6, name, "start", "slot")

    def line(
        self, xs: Sequence[float], ys: Sequence[Number], style: str, *, steps: bool = False, name: str = ""
    ) -> None:
        """A line with gaps where there is no value. style: a class; steps: a value stays until the next one."""
        path: list[str] = []
        down = False
        for x, y in thin(*self._within(xs, ys)):
            if y is None or not math.isfinite(y):
                down = False
                continue
            px, py = self.px(x), self.py(y)
            path.append(f"H{px:.1f}V{py:.1f}" if steps and down else f"{'L' if down else 'M'}{px:.1f} {py:.1f}")
            down = True
        if path:
            told = f"<title>{escape(name)}</title>" if name else ""
            self._parts.append(f'<path class="line {style}" d="{"".join(path)}">{told}</path>')

    def area(self, xs: Sequence[float], ys: Sequence[Number], style: str) -> None:
        """What is below a line, filled."""
        path: list[str] = []
        last: float | None = None
        for x, y in thin(*self._within(xs, ys)):
            if y is None or not math.isfinite(y):
                continue
            px, py = self.px(x), self.py(y)
            path.append(f"L{px:.1f} {py:.1f}" if path else f"M{px:.1f} {self.bottom:.1f}L{px:.1f} {py:.1f}")
            last = px
        if last is not None:
            self._parts.append(f'<path class="area {style}" d="{"".join(path)}L{last:.1f} {self.bottom:.1f}Z"/>')

    def _within(self, xs: Sequence[float], ys: Sequence[Number]) -> tuple[list[float], list[Number]]:
        """What is between the ends of the axis."""
        inside = [(x, y) for x, y in zip(xs, ys, strict=True) if self.x.low <= x <= self.x.high]
        return [x for x, _ in inside], [y for _, y in inside]

    def point(self, x: float, y: float, style: str, name: str, shape: int = 0, radius: float = 5.0) -> None:
        """A mark; shape: 0 to 3, so that colours are not needed to tell them apart; name: told when it is pointed at."""
        px, py, r = self.px(x), self.py(y), radius
        d = (
            f"M{px - r:.1f} {py:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
            f"M{px - r:.1f} {py - r:.1f}h{2 * r}v{2 * r}h{-2 * r}Z",
            f"M{px:.1f} {py - 1.3 * r:.1f}l{1.3 * r:.1f} {2.2 * r:.1f}h{-2.6 * r:.1f}Z",
            f"M{px:.1f} {py - 1.4 * r:.1f}l{1.4 * r:.1f} {1.4 * r:.1f}l{-1.4 * r:.1f} {1.4 * r:.1f}l{-1.4 * r:.1f} {-1.4 * r:.1f}Z",
        )[shape % 4]
        self._parts.append(f'<path class="point {style}" d="{d}"><title>{escape(name)}</title></path>')

    def label(self, px: float, py: float, text: str, anchor: str = "start", style: str = "t") -> None:
        """Text at a place of the figure."""
        self._text(px, py, text, anchor, style)

    def _text(self, x: float, y: float, text: str, anchor: str, style: str = "t") -> None:
        self._parts.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        )


def thin(xs: Sequence[float], ys: Sequence[Number], most: int = MOST_POINTS) -> list[tuple[float, Number]]:
    """At most `most` points or so: of each stretch the smallest and the largest, so that no peak is lost."""
    points = list(zip(xs, ys, strict=True))
    size = math.ceil(2 * len(points) / most)
    if size <= 2:
        return points
    found: list[tuple[float, Number]] = []
    for first in range(0, len(points), size):
        part = points[first : first + size]
        known = [n for n, (_, y) in enumerate(part) if y is not None and math.isfinite(y)]
        if not known:
            found.append(part[0])
            continue
        ends = {min(known, key=lambda n: part[n][1] or 0.0), max(known, key=lambda n: part[n][1] or 0.0)}
        found += [part[n] for n in sorted(ends)]
    return found
