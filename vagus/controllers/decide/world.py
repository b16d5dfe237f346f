"""The world of a replay: what arms are worth when sessions come, what was gained there, and what could have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vagus.controllers.decide.trace import GroupTrace, Trace
from vagus.errors import ConfigError
from vagus.policies.bank import Bools, Floats, Ints

MAX_SESSIONS = 50_000_000
MAX_TICKS = 5_000_000
BLOCK = 65_536  # sessions looked at together


class Setup(NamedTuple):
    """How the world of a replay runs. noise: standard deviation, in the rewards' unit. linear: between two lines."""

    delay_s: float = 2.0
    rate: float = 10.0
    noise: float = 0.0
    tick_s: float = 0.5
    linear: bool = False


class RunResult(NamedTuple):
    """One group, one seed: mean reward per session of the policy, of random choice, of the best arm and the oracle.

    The oracle knows what each arm is worth at each moment; the best static arm is the one with the best mean over the
    whole trace. score: (policy - random) / (oracle - random); NaN where all arms are always alike.
    """

    trace: str
    group: str
    seed: int
    sessions: int
    mean: float
    random: float
    static: float
    static_arm: str
    oracle: float

    @property
    def score(self) -> float:
        return (self.mean - self.random) / (self.oracle - self.random) if self.oracle > self.random else float("nan")

    @property
    def static_score(self) -> float:
        return (self.static - self.random) / (self.oracle - self.random) if self.oracle > self.random else float("nan")


class ReplayResult(NamedTuple):
    """All runs, their means, and curves: what was lost to the oracle so far, per group and seed, at the ticks `t_s`."""

    policy: str
    runs: tuple[RunResult, ...]
    t_s: Floats
    regret: Floats
    random_regret: Floats
    static_regret: Floats

    @property
    def score(self) -> float:
        """Mean normalised score: 0 as random choice, 1 as the oracle."""
        return self._mean([run.score for run in self.runs])

    @property
    def static_score(self) -> float:
        return self._mean([run.static_score for run in self.runs])

    @property
    def mean(self) -> float:
        return self._mean([run.mean for run in self.runs])

    @property
    def random(self) -> float:
        return self._mean([run.random for run in self.runs])

    @property
    def static(self) -> float:
        return self._mean([run.static for run in self.runs])

    @property
    def oracle(self) -> float:
        return self._mean([run.oracle for run in self.runs])

    def scores(self) -> dict[str, float]:
        """Mean normalised score by trace."""
        by: dict[str, list[float]] = {}
        for run in self.runs:
            by.setdefault(run.trace, []).append(run.score)
        return {trace: self._mean(scores) for trace, scores in by.items()}

    @staticmethod
    def _mean(values: Sequence[float]) -> float:
        known = [value for value in values if value == value]
        return float(np.mean(known)) if known else float("nan")


def check_setup(setup: Setup) -> None:
    for what, value, low, high in (
        ("delay_s", setup.delay_s, 0.0, 1e6),
        ("rate", setup.rate, 1e-6, 1e6),
        ("noise", setup.noise, 0.0, 1e100),
        ("tick_s", setup.tick_s, 1e-3, 1e6),
    ):
        if not low <= value <= high:
            raise ConfigError(f"replay: {what} is {value}; it must be from {low:g} to {high:g}")


class World:
    """Rows (trace, group, seed), what their arms are worth, their clocks, and what was gained.

    Sources are the groups of traces: rows of several seeds share one. A trace's groups share its clock: time 0 is the
    first line of any of them.
    """

    def __init__(self, rows: Sequence[tuple[Trace, GroupTrace, int]], setup: Setup) -> None:
        self.rows, self.setup = rows, setup
        self.width = max(len(trace.arms) for trace, _, _ in rows)
        first = {id(trace): min(float(group.t_s[0]) for group in trace.groups) for trace, _, _ in rows}
        sources = {id(group): (group, first[id(trace)]) for trace, group, _ in rows}
        self.sources = list(sources.values())
        places = {key: at for at, key in enumerate(sources)}
        self.source: Ints = np.array([places[id(group)] for _, group, _ in rows], dtype=np.int64)
        span = max(float(group.t_s[-1]) - start for group, start in self.sources)
        if (span * setup.rate + 1.0) * len(rows) > MAX_SESSIONS or span / setup.tick_s > MAX_TICKS:
            raise ConfigError(
                f"replay: {span:g} s of {len(rows)} groups and seeds are more than {MAX_SESSIONS} sessions or "
                f"{MAX_TICKS} ticks; give a smaller rate, a longer tick, a part of the trace, or fewer seeds"
            )
        self.sessions = int(span * setup.rate + 1e-9) + 1
        self.ticks = int((self.sessions - 1) / setup.rate / setup.tick_s + 1e-9) + 1
        self.gained: Floats = np.zeros((self.ticks, len(rows)))

    def times(self, tick: int) -> Floats:
        """When the sessions of a tick come, in seconds since the start."""
        step = self.setup.tick_s * self.setup.rate
        low, high = (int(np.ceil(at * step - 1e-9)) for at in (tick, tick + 1))
        return np.arange(low, min(high, self.sessions)) / self.setup.rate

    def worth(self, t_s: Floats, sources: Sequence[int]) -> tuple[Floats, Bools]:
        """Rewards (sources, n, width), NaN: not to be had, and whether a group has sessions then (sources, n)."""
        found = np.full((len(sources), len(t_s), self.width), np.nan)
        live = np.zeros((len(sources), len(t_s)), dtype=bool)
        for at, source in enumerate(sources):
            group, start = self.sources[source]
            when = t_s + start
            live[at] = (when >= group.t_s[0] - 1e-9) & (when <= group.t_s[-1] + 1e-9)
            found[at, :, : group.values.shape[1]] = group.at(when, linear=self.setup.linear)
        found[~live] = np.nan
        return found, live

    def result(self, policy: str) -> ReplayResult:
        """Gains beside those of random choice, the best arm and the oracle."""
        best, mean, arms, count = self._yardsticks()
        runs, static = [], np.empty((self.ticks, len(self.rows)))
        for at, (trace, group, seed) in enumerate(self.rows):
            source = self.source[at]
            arm = int(np.argmax(arms[source, :, : len(trace.arms)].sum(axis=0)))
            static[:, at] = arms[source, :, arm]
            sums = (self.gained[:, at], mean[source], static[:, at], best[source])
            gained, random, fixed, oracle = (float(column.sum() / max(count[source], 1)) for column in sums)
            runs.append(
                RunResult(
                    trace.name, group.group, seed, int(count[source]), gained, random, fixed, trace.arms[arm], oracle
                )
            )
        oracle_gain = best[self.source].T
        lost: list[Floats] = [
            np.cumsum((oracle_gain - gain).mean(axis=1)) for gain in (self.gained, mean[self.source].T, static)
        ]
        t_s: Floats = np.arange(1.0, self.ticks + 1.0) * self.setup.tick_s
        return ReplayResult(policy, tuple(runs), t_s, *lost)

    def _yardsticks(self) -> tuple[Floats, Floats, Floats, Ints]:
        """Per source and tick the sums of the best, the mean and each arm's reward; sessions per source."""
        best, mean = np.zeros((2, len(self.sources), self.ticks))
        arms = np.zeros((len(self.sources), self.ticks, self.width))
        count = np.zeros(len(self.sources), dtype=np.int64)
        for low in range(0, self.sessions, BLOCK):
            number = np.arange(low, min(low + BLOCK, self.sessions))
            ticks = np.minimum((number / self.setup.rate / self.setup.tick_s + 1e-9).astype(np.int64), self.ticks - 1)
            for source in range(len(self.sources)):
                found, live = self.worth(number / self.setup.rate, (source,))
                values, at = found[0][live[0]], ticks[live[0]]
                there = ~np.isnan(values)
                average = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
                np.add.at(best[source], at, np.where(there, values, -np.inf).max(axis=1))
                np.add.at(mean[source], at, average)
                # Where an arm is not to be had, who stays with it gets what random choice does.
                np.add.at(arms[source], at, np.where(there, values, average[:, np.newaxis]))
                count[source] += len(at)
        return best, mean, arms, count
