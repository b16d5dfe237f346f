"""Whom to ask, how often, how long: the core of the decision client, without sockets or time."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.client.attempts import MAX_LOOK_S, Addresses, Attempts


def addresses(count=3):
    return Addresses(count, Random(1))


def test_the_one_that_answered_last_is_first_and_failures_go_last_the_oldest_first():
    known = addresses()
    assert known.order() == [0, 1, 2]
    known.failed(0, 10.0)
    known.answered(2)
    assert known.order() == [2, 1, 0]
    known.failed(2, 11.0)
    assert known.order() == [1, 0, 2]
    assert not known.down
    known.failed(1, 12.0)
    assert known.order() == [0, 2, 1]
    assert known.down
    known.answered(1)
    assert known.order() == [1, 0, 2]
    assert not known.down


def test_what_failed_is_looked_at_later_each_time_and_at_once_when_somebody_waits():
    known = addresses(1)
    waits, now = [], 0.0
    for _ in range(8):
        known.failed(0, now)
        assert known.to_look_at(now, urgent=False) == []
        assert known.to_look_at(now, urgent=True) == [0]
        begun = now
        while not known.to_look_at(now, urgent=False):
            now += 0.01
        waits.append(now - begun)
    assert waits[0] < 0.2
    assert waits[-1] > waits[0]
    assert max(waits) <= 1.5 * MAX_LOOK_S + 0.01


def test_an_earlier_address_that_is_back_is_preferred_and_a_later_one_is_not_looked_at():
    known = addresses()
    known.failed(0, 1.0)
    known.answered(1)
    known.failed(2, 1.0)
    assert known.to_look_at(100.0, urgent=False) == [0]
    known.back(0)
    assert known.order() == [0, 1, 2]


def test_a_round_is_followed_by_a_pause_and_who_refused_is_left_out():
    attempts = Attempts([1, 0], 5, 0.25, 100.0, Random(1))
    made = [attempts.next(0.0), attempts.next(0.0)]
    assert [(a.which, a.pause_s, a.timeout_s) for a in made] == [(1, 0.0, 0.25), (0, 0.0, 0.25)]
    attempts.refused(1)
    again = [attempts.next(0.0) for _ in range(4)]
    assert [a and a.which for a in again] == [0, 0, 0, None]
    assert 0 < again[0].pause_s < again[2].pause_s
    attempts = Attempts([0], 5, 0.25, 100.0, Random(1))
    attempts.next(0.0)
    attempts.refused(0)
    assert attempts.next(0.0) is None


def test_nobody_is_asked_without_addresses():
    assert Attempts([], 3, 0.25, 1.0, Random(1)).next(0.0) is None


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 4),
    tries=st.integers(1, 10),
    timeout_s=st.floats(0.01, 1),
    deadline_s=st.floats(0.01, 2),
    steps=st.lists(st.floats(0, 1), max_size=20),
    seed=st.integers(0, 99),
)
def test_no_call_lasts_longer_than_its_deadline(count, tries, timeout_s, deadline_s, steps, seed):
    """Whatever share of each time-out is used, the last attempt ends before the deadline, and there are `tries`."""
    attempts = Attempts(list(range(count)), tries, timeout_s, deadline_s, Random(seed))
    now, made = 0.0, 0
    for share in [*steps, *[0.0] * 20]:
        attempt = attempts.next(now)
        if attempt is None:
            break
        made += 1
        assert 0 <= attempt.which < count
        assert attempt.timeout_s <= timeout_s
        now += attempt.pause_s
        assert now + attempt.timeout_s <= deadline_s + 1e-9
        now += share * attempt.timeout_s
    else:
        raise AssertionError("it never gave up")
    assert made <= tries
