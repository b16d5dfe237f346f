"""Simulated players: one session by hand, and what cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vagus.controllers.decide.choosing import Always, Fixed, chooser_of
from vagus.controllers.decide.players import PlayerResult, PlayerSetup, play
from vagus.controllers.decide.trace import GroupTrace, Trace
from vagus.errors import ConfigError


def steady(**mbps: float) -> Trace:
    """One group, 100 s, arms of constant throughput."""
    values = np.tile(list(mbps.values()), (100, 1))
    return Trace("t", tuple(mbps), (GroupTrace("g", np.arange(100.0), values),))


class Watched(Always):
    """Always the same arm; writes down what happens."""

    def __init__(self, arm: str, trace: Trace) -> None:
        super().__init__(arm, trace)
        self.seen: list[tuple[str, Any]] = []

    def advance(self, t_s: float) -> None:
        self.seen.append(("time", t_s))

    def decide(self, group: str, arms: Sequence[str]) -> tuple[str, None]:
        self.seen.append(("decide", tuple(arms)))
        return super().decide(group, arms)

    def update(self, decision_id: Any, reward: float) -> None:
        self.seen.append(("update", reward))


ONE = PlayerSetup(players=1, chunks=4, part=2, ladder_mbps=(1.0, 2.0), penalty=2.0, delay_s=3.0)


def test_a_session_by_hand() -> None:
    """2 Mbps: the first chunk at 1 Mbps takes 2 s, which is the join time; the others at 2 Mbps take 4 s each."""
    trace = steady(a=2.0)
    (first, *_) = play(trace, Always("a", trace), ONE)
    assert first.join_s == pytest.approx(2.0)
    assert first.stalled_s == 0.0  # each chunk lasts as long as the next one takes
    assert (first.switches, first.arms) == (1, 0)
    assert first.bitrate_mbps == pytest.approx((1 + 2 + 2 + 2) / 4)
    assert first.played_s == 16.0
    quality = (1 - 2.0 * 2.0) + (2 - 1) + 2 + 2  # bitrate - change - penalty x wait
    assert first.quality == pytest.approx(quality / 4)


def test_a_slow_arm_stalls() -> None:
    """1/2 Mbps under a ladder of 1: each chunk takes 8 s and plays 4."""
    trace = steady(a=0.5)
    setup = ONE._replace(ladder_mbps=(1.0,), chunks=3)
    (first, *_) = play(trace, Always("a", trace), setup)
    assert first.join_s == pytest.approx(8.0)
    assert first.stalled_s == pytest.approx(8.0)
    result = PlayerResult("static:a", (first,))
    assert result.rebuffering_ratio == pytest.approx(8 / (8 + 12))
    assert result.quality == pytest.approx(1 - 2.0 * 16 / 3)


def test_throughput_of_each_second_counts() -> None:
    """1 Mbps for 3 s, then 5: a chunk of 4 Mbit that starts at 1.5 takes 1.5 s and (4 - 1.5) / 5 s."""
    values = np.array([[1.0], [1.0], [1.0], [5.0], [5.0]])
    trace = Trace("t", ("a",), (GroupTrace("g", np.arange(5.0), values),))
    setup = ONE._replace(ladder_mbps=(1.0,), chunks=1)
    sessions = play(trace, Always("a", trace), setup, seed=1)
    for session in sessions[:1]:
        early = max(0.0, 3.0 - session.start_s)
        rest = 4.0 - min(4.0, early)
        assert session.join_s == pytest.approx(min(4.0, early) + rest / 5)


def test_a_full_buffer_waits() -> None:
    """A fast arm downloads no further ahead than the buffer: a session of 40 s of video takes about as long."""
    trace = steady(a=1000.0)
    watched = Watched("a", trace)
    play(trace, watched, ONE._replace(chunks=10, buffer_s=8.0))
    ends = [what for kind, what in watched.seen if kind == "time"]
    assert max(ends) > 100.0
    (first, *_) = play(trace, Always("a", trace), ONE._replace(chunks=10, buffer_s=8.0))
    assert first.stalled_s == 0.0


def test_updates_come_late_and_each_decision_has_one() -> None:
    trace = steady(a=2.0, b=1.0)
    watched = Watched("a", trace)
    play(trace, watched, ONE)
    kinds = [kind for kind, _ in watched.seen if kind != "time"]
    assert kinds.count("decide") == kinds.count("update") > 10
    assert kinds[:2] == ["decide", "decide"]  # the first update comes 3 s behind its part
    times = [what for kind, what in watched.seen if kind == "time"]
    assert times == sorted(times)


def test_arms_that_are_gone_are_not_offered() -> None:
    values = np.tile([2.0, math.nan], (100, 1))
    trace = Trace("t", ("a", "b"), (GroupTrace("g", np.arange(100.0), values),))
    watched = Watched("b", trace)
    play(trace, watched, ONE)
    assert {what for kind, what in watched.seen if kind == "decide"} == {("a",)}


def test_arrivals_are_the_same_for_every_policy() -> None:
    trace = steady(a=2.0, b=0.4)
    setup = PlayerSetup(rate=0.5, chunks=5)
    runs = [play(trace, chooser_of(name, trace), setup, seed=3) for name in ("uniform", "ucb", "static:a")]
    starts = [sorted(session.start_s for session in run) for run in runs]
    assert starts[0] == starts[1] == starts[2]
    assert 30 < len(starts[0]) < 75
    assert play(trace, chooser_of("ucb", trace), setup, seed=3) == runs[1]


def test_a_policy_that_learns_finds_the_fast_arm() -> None:
    trace = steady(slow=0.4, fast=4.0, slower=0.3)
    setup = PlayerSetup(rate=2.0, chunks=10)
    found = {n: PlayerResult(n, play(trace, chooser_of(n, trace), setup)) for n in ("ucb", "uniform", "static:fast")}
    assert found["uniform"].quality < found["ucb"].quality < found["static:fast"].quality
    assert found["ucb"].rebuffering_ratio < found["uniform"].rebuffering_ratio


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": 0.0}, "rate is 0"),
        ({"chunks": 0}, "chunks is 0"),
        ({"buffer_s": 1.0}, "buffer_s is 1"),
        ({"delay_s": math.nan}, "delay_s is nan"),
        ({"ladder_mbps": (2.0, 1.0)}, "must be bitrates in Mbps that grow"),
        ({"ladder_mbps": ()}, "must be bitrates"),
        ({"players": 0, "rate": 1e4, "chunks": 1}, None),
    ],
)
def test_setups_that_cannot_be(change: dict[str, Any], words: str | None) -> None:
    trace = steady(a=2.0)
    if words is None:
        values = np.ones((2, 1))
        long = Trace("t", ("a",), (GroupTrace("g", np.array([0.0, 1e6]), values),))
        with pytest.raises(ConfigError, match="sessions; at most 1000000"):
            play(long, Always("a", long), ONE._replace(**change))
        return
    with pytest.raises(ConfigError, match=words):
        play(trace, Always("a", trace), ONE._replace(**change))


def test_an_arm_faster_than_the_clock_can_tell() -> None:
    """A chunk in no time: by the seconds since 1970 what is left of a second is coarse."""
    fast = steady(a=1e9)
    late = Trace("t", ("a",), (fast.groups[0]._replace(t_s=fast.groups[0].t_s + 1.8e9),))
    (first, *_) = play(late, Always("a", late), ONE._replace(players=0, rate=0.1))
    assert first.stalled_s == 0.0
    assert first.bitrate_mbps == pytest.approx((1 + 3 * 2) / 4)


@pytest.mark.parametrize("value", [-1.0, 1e100])
def test_what_cannot_be_a_throughput_is_refused(value: float) -> None:
    trace = steady(a=1.0, b=value)
    with pytest.raises(ConfigError, match="throughputs are from 0 to 1e"):
        play(trace, Always("a", trace), ONE)


def test_unknown_arms_and_policies() -> None:
    trace = steady(a=1.0)
    with pytest.raises(ConfigError, match="no such arm; there are: a"):
        chooser_of("static:b", trace)
    with pytest.raises(ConfigError, match="has no 'ucbb'"):
        chooser_of("ucbb", trace)
    with pytest.raises(ConfigError, match="tick is 0"):
        chooser_of("ucb", trace, tick_s=0.0)
    assert Fixed("x").decide({}, ["a", "b"]).arm == "a"
