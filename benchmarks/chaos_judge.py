"""What a run of `benchmarks.chaos` has shown: from observed events to figures and bars. Pure.

Times are seconds of one monotonic clock, since the begin of the run; infinite: not within the time that was waited.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from benchmarks.chaos_ledger import KINDS, Outcome
from benchmarks.chaos_schedule import ACTOR, HEAD, NODE, Kill

VERDICT_S = 7.0
BACK_S = 15.0
SLACK_S = 1.0  # after the lease: a watchdog looks, and writes
NAMES = {"sample": "samples", "report": "reports", "bytes": "archived bodies"}


class Poll(NamedTuple):
    """A gateway was asked, and said so of a subject; status empty: nothing is known there, or it did not answer."""

    t_s: float
    gateway: str
    status: str


class Death(msgspec.Struct):
    """What was seen after a kill.

    dead_s: when each gateway first said DEAD; noticed_s: Ray did not list the node any more; begun_s, joined_s: when Ray
    was started again, and was there; back_s: all actors were HEALTHY, and others than before.
    """

    kill: Kill
    killed_s: float
    pids: list[int] = []
    dead_s: dict[str, float] = {}
    noticed_s: float | None = None
    begun_s: float | None = None
    joined_s: float | None = None
    back_s: float | None = None
    problem: str = ""


class Changes(msgspec.Struct):
    """A limit as it was looked at: its value from each time on. gap_s: the longest time between two looks."""

    node: str
    original: str
    t_s: list[float] = []
    values: list[str] = []
    gap_s: float = 0.0
    last_s: float = 0.0

    def saw(self, t_s: float, value: str) -> None:
        """One look."""
        self.gap_s = max(self.gap_s, t_s - self.last_s) if self.t_s else 0.0
        self.last_s = t_s
        if not self.values or self.values[-1] != value:
            self.t_s.append(t_s)
            self.values.append(value)

    def at(self, t_s: float) -> str:
        """The value at a time; the original before it was first looked at."""
        place = bisect_right(self.t_s, t_s) - 1
        return self.values[place] if place >= 0 else self.original


def first_dead(polls: Iterable[Poll], killed_s: float) -> dict[str, float]:
    """When each gateway first said DEAD after the kill. Polls of before do not count."""
    found: dict[str, float] = {}
    for poll in sorted(polls):
        if poll.t_s >= killed_s and poll.status == "DEAD":
            found.setdefault(poll.gateway, poll.t_s)
    return found


def verdict_s(death: Death) -> float:
    """From the kill to the first verdict DEAD at any surviving gateway."""
    return min(death.dead_s.values(), default=math.inf) - death.killed_s


def back_s(death: Death) -> float:
    """From when its node was there again (an actor: from the kill) until all that was killed ran again."""
    began_s = death.killed_s if death.kill.kind == ACTOR else death.joined_s
    return math.inf if death.back_s is None or began_s is None else death.back_s - began_s


def restored_s(changes: Changes, killed_s: float) -> float | None:
    """From the kill of a limit's controller to the original; None: no limit was in force.

    A look at the file was at most `gap_s` later than the change: the answer is too large by that much at most.
    """
    if changes.at(killed_s) == changes.original:
        return None
    for t_s, value in zip(changes.t_s, changes.values, strict=True):
        if t_s > killed_s and value == changes.original:
            return t_s - killed_s
    return math.inf


def hit(death: Death, changes: Changes) -> bool:
    """Whether the kill took the controller of that limit along."""
    kill = death.kill
    return kill.node == changes.node and (kill.kind != ACTOR or kill.role == "controller")


def rows(
    deaths: Sequence[Death],
    outcomes: Mapping[str, Outcome],
    by_gateway: Mapping[str, Outcome],
    limits: Sequence[Changes],
    lease_s: float,
    problems: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The table. outcomes: as the stores' files say, by_gateway: as the gateways do; none where it was not read."""
    done = [death for death in deaths if not death.problem]
    table = [*_kills(deaths)]
    for kind in KINDS:
        table += _kept(kind, outcomes.get(kind), by_gateway.get(kind))
    table += _limits(done, limits, lease_s)
    nodes = [death for death in done if death.kill.kind != ACTOR]
    verdicts = [verdict_s(death) for death in nodes]
    table += _spread("verdict DEAD on a killed node, at the first of the others", verdicts, VERDICT_S)
    last = [max(d.dead_s.values(), default=math.inf) - d.killed_s for d in nodes]
    table += _spread("verdict DEAD on a killed node, at the last of the others", last)
    table += _spread("all actors of a node back, after it joined", [back_s(death) for death in nodes], BACK_S)
    actors = [back_s(death) for death in done if death.kill.kind == ACTOR]
    table += _spread("a killed actor back, after the kill", actors)
    noticed = [d.noticed_s - d.killed_s for d in nodes if d.kill.kind == NODE and d.noticed_s is not None]
    table += _spread("Ray lists a killed node no more, after the kill", noticed)
    started = [d.joined_s - d.begun_s for d in nodes if d.joined_s is not None and d.begun_s is not None]
    table += _spread("ray start of a node again", started)
    table += [row(f"problem: {problem}"[:300], 1, "", "none", False) for problem in problems]
    return table


def row(what: str, value: float | None, unit: str, bar: str | None = None, met: bool | None = None) -> dict[str, Any]:
    """A line of the table; what is infinite is told as `never`, since JSON has no such number."""
    shown: Any = "never" if value is not None and math.isinf(value) else value
    return {"what": what, "value": shown, "unit": unit, "bar": bar, "met": met, "peer": None}


def _kills(deaths: Sequence[Death]) -> list[dict[str, Any]]:
    counts = Counter(death.kill.kind for death in deaths if not death.problem)
    found = [row(f"kill -9 of {kind}s", counts[kind], "") for kind in (ACTOR, NODE, HEAD)]
    failed = sum(bool(death.problem) for death in deaths)
    return [*found, row("kills that could not be made", failed, "", "0", failed == 0)]


def _kept(kind: str, stored: Outcome | None, asked: Outcome | None) -> list[dict[str, Any]]:
    name = NAMES[kind]
    if stored is None:
        return [row(f"{name}: the stores were not read", None, "", "0 lost", None)]
    table = [
        # nothing was shown where nothing was acknowledged
        row(f"{name} acknowledged", stored.acknowledged, "", "> 0", stored.acknowledged > 0),
        row(f"{name} lost", len(stored.lost), "", "0", not stored.lost),
        row(f"{name} with another content", len(stored.changed), "", "0", not stored.changed),
        row(f"{name} there twice", len(stored.doubled), ""),
        row(f"{name} without an answer: sent, there all the same", stored.came, f"of {stored.unanswered}"),
    ]
    if stored.strange:
        table.append(row(f"{name} that nobody sent", len(stored.strange), "", "0", False))
    if asked is not None:
        missing = len(asked.lost)
        table.append(row(f"{name} that the gateways do not show", missing, "", "0", missing == 0))
    return table


def _limits(deaths: Sequence[Death], limits: Sequence[Changes], lease_s: float) -> list[dict[str, Any]]:
    within_s = lease_s + SLACK_S
    if not limits:
        return [row("limits: this user may not make a group with one here", None, "", f"<= {within_s:g} s", None)]
    times = [
        took
        for death in deaths
        for changes in limits
        if hit(death, changes) and (took := restored_s(changes, death.killed_s)) is not None
    ]
    in_force = sum(any(value != changes.original for value in changes.values) for changes in limits)
    left = sum(changes.values[-1:] != [changes.original] for changes in limits)
    return [
        row("limits that were in force at some time", in_force, f"of {len(limits)}", "all", in_force == len(limits)),
        row("limits in force when their controller was killed", len(times), "", "> 0", bool(times)),
        *_spread("limit restored, after the kill", times, within_s),
        row("limits left at the end", left, "", "0", left == 0),
        row("longest time between two looks at a limit", max(changes.gap_s for changes in limits), "s"),
    ]


def _spread(what: str, times: Sequence[float], bar_s: float | None = None) -> list[dict[str, Any]]:
    """Median, 95th percentile and worst of some times; the bar is on the worst, and not met where nothing was timed."""
    bar = None if bar_s is None else f"<= {bar_s:g} s"
    met = None if bar_s is None else bool(times) and max(times) <= bar_s
    if not times:
        return [row(f"{what}: none was timed", None, "s", bar, met)]
    return [
        row(f"{what}: median of {len(times)}", nearest(times, 0.5), "s"),
        row(f"{what}: 95th percentile", nearest(times, 0.95), "s"),
        row(f"{what}: worst", max(times), "s", bar, met),
    ]


def nearest(times: Sequence[float], ratio: float) -> float:
    """The percentile by nearest rank: one of the times, so that a few do not make a number that nobody saw."""
    return sorted(times)[max(0, math.ceil(ratio * len(times)) - 1)]
