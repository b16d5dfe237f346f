"""Simulated video players on traces of throughput: what a policy's choice of arms (CDNs) makes of their quality.

A session is a number of chunks. It asks for an arm, downloads a few chunks from it at the arm's throughput of each
second, reports their quality, and asks again. The player is that of the MPC paper (Yin, Jindal, Sekar, Sinopoli,
SIGCOMM 2015): a buffer, a ladder of bitrates, the next chunk's rate by the harmonic mean of the last throughputs.
Quality of a chunk is its QoE_lin: bitrate - |change of bitrate| - penalty x (seconds that playback stood still), in
Mbps; ladder and penalty are Pensieve's (Mao, Netravali, Alizadeh, SIGCOMM 2017). Players do not slow each other down.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vagus.controllers.decide.throughput import MAX_MBPS
from vagus.controllers.decide.trace import GroupTrace, Trace
from vagus.errors import ConfigError
from vagus.policies.bank import Floats

LADDER_MBPS = (0.3, 0.75, 1.2, 1.85, 2.85, 4.3)
MAX_SESSIONS = 1_000_000
LEAST_MBPS = 1e-3  # a dead arm is slow, so that a session on it ends
PAST = 5  # chunks whose throughput is looked back on


class Chooser(Protocol):
    """Decides for players and learns from them, in the trace's time, which `advance` says (never falling)."""

    def advance(self, t_s: float) -> None: ...
    def decide(self, group: str, arms: Sequence[str]) -> tuple[str, Any]:
        """An arm, and what an update names it by."""

    def update(self, decision_id: Any, reward: float) -> None: ...


class PlayerSetup(NamedTuple):
    """players: so many at a time, one gone replaced by the next; 0: `rate` new ones a second. chunks: of a session;
    part: chunks that one decision is for; an update comes `delay_s` after its part."""

    rate: float = 1.0
    players: int = 0
    delay_s: float = 2.0
    chunks: int = 15
    part: int = 5
    chunk_s: float = 4.0
    buffer_s: float = 30.0
    ladder_mbps: tuple[float, ...] = LADDER_MBPS
    penalty: float = LADDER_MBPS[-1]


class Session(NamedTuple):
    """How one session went. quality: mean of its chunks, with the wait for the first; switches: of bitrate."""

    start_s: float
    quality: float
    join_s: float
    stalled_s: float
    played_s: float
    bitrate_mbps: float
    switches: int
    arms: int  # changes of arm


class PlayerResult(NamedTuple):
    """All sessions under one policy."""

    policy: str
    sessions: tuple[Session, ...]

    @property
    def quality(self) -> float:
        """Mean over sessions, Mbps."""
        return self.mean("quality")

    @property
    def rebuffering_ratio(self) -> float:
        """Time that playback stood still, of all time after joining."""
        stalled = sum(session.stalled_s for session in self.sessions)
        watched = stalled + sum(session.played_s for session in self.sessions)
        return stalled / watched if watched else math.nan

    def mean(self, what: str) -> float:
        """Of a field of Session."""
        return float(np.mean([getattr(session, what) for session in self.sessions])) if self.sessions else math.nan


class _Player:
    """One session on its way."""

    def __init__(self, start_s: float, group: int) -> None:
        self.start_s = self.now_s = start_s
        self.group = group
        self.arm = ""
        self.buffer_s = self.join_s = self.stalled_s = self.total = self.bits = 0.0
        self.past: deque[float] = deque(maxlen=PAST)
        self.rate_mbps = 0.0
        self.done = self.switches = self.moves = 0


def play(trace: Trace, chooser: Chooser, setup: PlayerSetup, seed: int = 0) -> tuple[Session, ...]:
    """Sessions that began while the trace lasts, in order of their end. Raises ConfigError for a set-up that cannot be,
    and for a trace of what cannot be throughputs.

    Arrivals are Poisson; those of one seed are the same for every policy. Beyond its end the trace stays as it was
    last, until the sessions that had begun are over.
    """
    check_setup(setup)
    _check_throughputs(trace)
    rng = np.random.default_rng([17, seed])
    waiting: list[tuple[float, int, str, Any]] = []  # when, number (of equal times the first comes first), what, whose
    number = 0
    for group, rewards in enumerate(trace.groups):
        for t_s in _arrivals(rewards, setup, rng):
            waiting.append((t_s, number, "session", _Player(t_s, group)))
            number += 1
    heapq.heapify(waiting)
    done: list[Session] = []
    while waiting:
        t_s, _, what, whose = heapq.heappop(waiting)
        chooser.advance(t_s)
        if what == "update":
            chooser.update(*whose)
            continue
        if what == "end":
            done.append(_session(whose, setup))
            if len(done) > MAX_SESSIONS:
                raise _too_many(len(done))
            if not setup.players or t_s >= trace.groups[whose.group].t_s[-1]:
                continue
            whose = _Player(t_s, whose.group)
        player: _Player = whose
        rewards = trace.groups[player.group]
        arms = _available(trace.arms, rewards, t_s)
        arm, decision_id = chooser.decide(rewards.group, arms)
        player.moves += bool(player.arm) and player.arm != arm
        player.arm = arm
        quality = _part(player, rewards, trace.arms.index(arm), setup)
        after = "end" if player.done >= setup.chunks else "session"
        heapq.heappush(waiting, (player.now_s + setup.delay_s, number, "update", (decision_id, quality)))
        heapq.heappush(waiting, (player.now_s, number + 1, after, player))
        number += 2
    return tuple(done)


def check_setup(setup: PlayerSetup) -> None:
    """Raises ConfigError for numbers that cannot be."""
    for what, value, low, high in (
        ("rate", setup.rate, 1e-6, 1e4),
        ("players", setup.players, 0, 100_000),
        ("delay_s", setup.delay_s, 0.0, 1e6),
        ("chunks", setup.chunks, 1, 100_000),
        ("part", setup.part, 1, 100_000),
        ("chunk_s", setup.chunk_s, 0.01, 1e4),
        ("buffer_s", setup.buffer_s, setup.chunk_s, 1e6),
        ("penalty", setup.penalty, 0.0, 1e9),
    ):
        if not low <= value <= high:
            raise ConfigError(f"players: {what} is {value}; it must be from {low:g} to {high:g}")
    ladder = setup.ladder_mbps
    if not 1 <= len(ladder) <= 100 or not all(0 < rate < 1e6 for rate in ladder) or list(ladder) != sorted(set(ladder)):
        raise ConfigError(f"players: the ladder {list(ladder)[:10]} must be bitrates in Mbps that grow")


def _check_throughputs(trace: Trace) -> None:
    for group in trace.groups:
        low, high = float(np.nanmin(group.values)), float(np.nanmax(group.values))
        if not 0.0 <= low <= high <= MAX_MBPS:
            raise ConfigError(
                f"players: group {group.group[:80]!r} has values from {low:g} to {high:g}; "
                f"throughputs are from 0 to {MAX_MBPS:g} Mbps"
            )


def _arrivals(rewards: GroupTrace, setup: PlayerSetup, rng: np.random.Generator) -> list[float]:
    first, last = float(rewards.t_s[0]), float(rewards.t_s[-1])
    if setup.players:  # not all in step
        staggered: list[float] = (first + setup.chunk_s * np.sort(rng.random(setup.players))).tolist()
        return staggered
    count = rng.poisson(min(setup.rate * (last - first), 10.0 * MAX_SESSIONS))
    if count > MAX_SESSIONS:
        raise _too_many(count)
    times: list[float] = np.sort(first + (last - first) * rng.random(count)).tolist()
    return times


def _too_many(sessions: int) -> ConfigError:
    return ConfigError(f"{sessions} sessions; at most {MAX_SESSIONS}: fewer a second, or a part of the trace")


def _available(arms: tuple[str, ...], rewards: GroupTrace, t_s: float) -> tuple[str, ...]:
    worth = rewards.values[_line(rewards.t_s, t_s)]
    return tuple(arm for arm, value in zip(arms, worth.tolist(), strict=True) if value == value)


def _line(t_s: Floats, now_s: float) -> int:
    return min(max(int(np.searchsorted(t_s, now_s, side="right")) - 1, 0), len(t_s) - 1)


def _part(player: _Player, rewards: GroupTrace, arm: int, setup: PlayerSetup) -> float:
    """The next chunks from one arm; the mean of their qualities."""
    count = min(setup.part, setup.chunks - player.done)
    quality = 0.0
    for _ in range(count):
        quality += _chunk(player, rewards, arm, setup)
    player.total += quality
    return quality / count


def _chunk(player: _Player, rewards: GroupTrace, arm: int, setup: PlayerSetup) -> float:
    if player.buffer_s + setup.chunk_s > setup.buffer_s:  # the buffer is full: playback makes room
        rest = player.buffer_s + setup.chunk_s - setup.buffer_s
        player.now_s += rest
        player.buffer_s -= rest
    rate = _next_rate(player, setup.ladder_mbps)
    size = rate * setup.chunk_s
    took_s = _download_s(rewards.t_s, rewards.values[:, arm], player.now_s, size)
    player.now_s += took_s
    player.past.append(took_s / size)
    stood = took_s if not player.done else max(0.0, took_s - player.buffer_s)
    if player.done:
        player.stalled_s += stood
        player.buffer_s = max(0.0, player.buffer_s - took_s)
    else:
        player.join_s = took_s
    player.buffer_s += setup.chunk_s
    change = abs(rate - player.rate_mbps) if player.done else 0.0
    player.switches += change > 0.0
    player.rate_mbps = rate
    player.bits += rate
    player.done += 1
    return rate - change - setup.penalty * stood


def _next_rate(player: _Player, ladder: tuple[float, ...]) -> float:
    """The highest bitrate that the harmonic mean of the last throughputs carries; the lowest at first."""
    if not player.past:
        return ladder[0]
    each_s = sum(player.past) / len(player.past)  # for a megabit; 0: faster than clocks of that time can tell
    return max((rate for rate in ladder if rate * each_s <= 1.0), default=ladder[0])


def _download_s(t_s: Floats, mbps: Floats, now_s: float, megabits: float) -> float:
    """Seconds that so much takes from `now_s` on; throughput is as the trace's last line says, then as its last."""
    at, start_s = _line(t_s, now_s), now_s
    last = len(t_s) - 1
    speed = LEAST_MBPS
    while True:
        if mbps[at] == mbps[at]:  # an arm that is gone meanwhile goes on as it was
            speed = max(float(mbps[at]), LEAST_MBPS)
        needed_s = megabits / speed
        left_s = float(t_s[at + 1]) - now_s if at < last else math.inf
        if needed_s <= left_s:
            return now_s + needed_s - start_s
        megabits -= speed * max(left_s, 0.0)
        now_s = max(now_s, float(t_s[at + 1]))
        at += 1


def _session(player: _Player, setup: PlayerSetup) -> Session:
    count = player.done
    return Session(
        player.start_s,
        player.total / count,
        player.join_s,
        player.stalled_s,
        count * setup.chunk_s,
        player.bits / count,
        player.switches,
        player.moves,
    )
