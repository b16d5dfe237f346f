"""Round trips from four times, rates from arrival curves, messages from bytes, periods from the number of nodes."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import msgspec
import pytest

from vagus.errors import ConfigError
from vagus.probes.bandwidth import rate_bytes_s
from vagus.probes.latency import ECHOES, MAX_SERIES, Responder, Series
from vagus.probes.messages import Answer, Echo, Token, decode, encode
from vagus.probes.schedule import BANDWIDTH, BANDWIDTH_BYTES_S, LATENCY, LATENCY_PER_S, Schedule, periods

MS = 1_000_000


def exchange(series: Series, *, offset_ns: int, lost: frozenset[int] = frozenset(), busy_ns: int = 0) -> None:
    """Echoes over a path of 2 ms each way, answered after 5 ms, read `busy_ns` after they came."""
    responder, now = Responder(), 1000 * MS
    while (number := series.next()) is not None:
        series.sent(now, now)
        t2 = now + 2 * MS + offset_ns
        answer = responder.answer("a", series.series, number)
        responder.answered("a", series.series, number, t2, t2 + 5 * MS)
        now += 9 * MS
        if number not in lost:
            assert series.answered(answer, now, now + busy_ns)
        now += MS


@pytest.mark.parametrize("offset_ns", [0, 10**15, -(10**12)])
def test_neither_the_clocks_offset_nor_busy_processes_count(offset_ns: int) -> None:
    series = Series(7)
    exchange(series, offset_ns=offset_ns + 10**14, busy_ns=300 * MS)
    assert series.round_trips_ns() == [4 * MS] * ECHOES
    assert series.result() == (0.004, 0.004, 0.0, 0.0)


def test_lost_answers_are_counted_and_the_others_still_exact() -> None:
    series = Series(7)
    exchange(series, offset_ns=10**14, lost=frozenset({1, ECHOES}))
    assert series.result() == (0.004, 0.004, 0.0, 1 / ECHOES)


def test_without_the_other_sides_times_the_whole_is_an_upper_bound() -> None:
    series = Series(7)
    exchange(series, offset_ns=0, lost=frozenset(range(1, ECHOES + 1)))
    assert series.result()[:2] == (0.009, 0.009)


def test_nobody_there_is_given_up_early() -> None:
    series = Series(7)
    sent = 0
    while series.next() is not None:
        series.sent(sent, sent)
        sent += 1
    assert sent == 3
    found = series.result()
    assert found.lost_ratio == 1.0
    assert math.isnan(found.rtt_min_s)


def test_a_clock_that_was_set_makes_no_round_trip() -> None:
    series = Series(7)
    series.sent(10**18, 0)
    assert series.answered(Answer(7, 0, ()), 10**18 + 3600 * 10**9, 5 * MS)  # an hour, although 5 ms have passed
    assert series.round_trips_ns() == []
    assert series.result().lost_ratio == 0.0


def test_foreign_and_repeated_answers_are_not_taken() -> None:
    series = Series(7)
    series.sent(0, 0)
    assert not series.answered(Answer(8, 0, ()), 1, 1)
    assert not series.answered(Answer(7, 1, ()), 1, 1)
    assert series.answered(Answer(7, 0, ()), 1, 1)
    assert not series.answered(Answer(7, 0, ()), 1, 1)


def test_a_responder_remembers_a_bounded_number_of_series() -> None:
    responder = Responder()
    for n in range(2 * MAX_SERIES):
        responder.answered(f"n{n}", 1, 0, 1, 2)
    assert len(responder._series) == MAX_SERIES
    responder.answered("n", 1, 0, 1, 2)
    assert responder.answer("n", 1, 1).times == ((0, 1, 2),)
    assert responder.answer("n", 2, 0).times == ()


def shaped(rate: float, lumps: list[int], *, burst: int, debt: bool) -> list[tuple[int, int]]:
    """Arrivals behind a token bucket that goes into debt for a lump, or behind a link that stores and forwards."""
    arrivals, free_s, so_far, tokens = [], 0.0, 0, float(burst)
    for size in lumps:
        wait_s = 0.0 if tokens > 0 else size / rate
        tokens -= size
        if debt:
            arrivals.append((round(free_s * 1e9), so_far + size))
            free_s += wait_s or 1e-6
        else:
            free_s += wait_s or 1e-6
            arrivals.append((round(free_s * 1e9), so_far + size))
        so_far += size
    return arrivals


@pytest.mark.parametrize("rate", [1.25e5, 1.25e6, 25e6, 1.25e9])
@pytest.mark.parametrize("debt", [True, False])
@pytest.mark.parametrize("burst", [0, 100_000, 400_000])
def test_neither_bursts_nor_lumps_bias_the_rate(rate: float, debt: bool, burst: int) -> None:
    random = Random(burst)
    lumps = []
    while sum(lumps) < 1 << 20:
        lumps.append(random.choice([1448, 14480, 40_000, 65_160]))
    assert rate_bytes_s(shaped(rate, lumps, burst=burst, debt=debt)) == pytest.approx(rate, rel=0.03)


def test_too_little_is_no_rate() -> None:
    assert rate_bytes_s([]) == 0.0
    assert rate_bytes_s([(1, 1000)]) == 0.0
    assert rate_bytes_s([(1, 1000), (1, 2000)]) == 0.0, "all at once"
    assert rate_bytes_s([(0, 1000), (10**9, 2000)]) == 1000.0
    assert rate_bytes_s([(10**9, 1000), (0, 2000), (5, 3000)]) == 0.0, "a clock that was set back"


@pytest.mark.parametrize("message", [Token("all", 3, "a", 4, 2.5, ("a", "b")), Echo(5, 1), Answer(5, 1, ((0, 1, 2),))])
def test_messages_come_back(message: msgspec.Struct) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        encode([99, 1]),
        encode([6, -1, 0]),
        encode([6, 1, 10**6]),
        encode([0, "", 1, "a", 1, 1.0, []]),
        encode([0, "all", 1, "a", 1, 1.0, ["n"] * 257]),
        encode([0, "all", 1, "a", 1, float("nan"), []]),
        b"\x91" * 5000,
    ],
)
def test_broken_messages_are_an_error(body: bytes) -> None:
    with pytest.raises(ConfigError, match="no message of the probes"):
        decode(body)


def test_periods_are_the_settings_until_there_are_many_pairs() -> None:
    assert periods(3, 10.0, 300.0, 1 << 20) == (10.0, 300.0, 10.0)
    many = periods(100, 10.0, 300.0, 1 << 20)
    assert 9900 / many.latency_s <= LATENCY_PER_S
    assert 9900 * (1 << 20) / many.bandwidth_s <= BANDWIDTH_BYTES_S
    assert periods(3, 10.0, 0.0, 1 << 20) == (10.0, 0.0, 10.0)
    assert periods(3, 0.0, 0.0, 1 << 20).round_s == 0.0


def test_a_pair_that_fails_is_tried_more_seldom() -> None:
    schedule = Schedule(periods(2, 10.0, 0.0, 1))
    schedule.nodes(["b"], schedule.periods, 0.0)
    now, tries = 0.0, []
    while now < 500:
        if schedule.next(now) == (LATENCY, "b"):
            tries.append(now)
            schedule.done(LATENCY, "b", now, ok=False)
        now += 10.0
    assert tries[:3] == [0, 10, 20], "chance is ruled out first"
    assert max(b - a for a, b in pairwise(tries)) == 80


def test_a_visit_makes_no_burst_of_transfers() -> None:
    plan = periods(20, 10.0, 300.0, 1 << 20)
    schedule = Schedule(plan)
    schedule.nodes([f"n{i}" for i in range(19)], plan, 0.0)
    schedule.visit()
    made = []
    while (due := schedule.next(0.0)) is not None:
        made.append(due[0])
        schedule.done(*due, 0.0, ok=True)
    assert made.count(LATENCY) == 19
    assert made.count(BANDWIDTH) == 1
