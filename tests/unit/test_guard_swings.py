"""A limit that goes up and down is held at the most that it gave; a saw-tooth is none."""

from __future__ import annotations

import pytest

from vagus.config import GuardSettings, LimitSettings
from vagus.controllers.guard import Guard
from vagus.controllers.swings import Swings
from vagus.model import Action, Target

NS = 10**9
WEB = Target("cgroup", "web")


def guard(**settings: object) -> Guard:
    rule = LimitSettings(min=0.1, max=8, step_ratio=10, cooldown=0)
    return Guard({"cpu_cores": rule}, {"cpu_cores": 8}, GuardSettings(**settings))  # type: ignore[arg-type]


def drive(guard: Guard, wishes: list[float], now_s: float = 0.0) -> tuple[list[float], list[str]]:
    """What is in force after each wish, a second apart, and what the guard noted."""
    current, course, notes = 2.0, [], []
    for wish in wishes:
        judged = guard.judge(Action(WEB, "cpu_cores", wish), current, round(now_s * NS))
        if judged.action is not None and judged.action.value is not None:
            current = judged.action.value
        course.append(current)
        notes.append(judged.note)
        now_s += 1
    return course, notes


def test_swinging_is_held_at_the_most() -> None:
    course, notes = drive(guard(swings=5, swing_hold="30s"), [1, 3, 1, 3, 1, 3, 1, 1, 1, 1])
    assert course == [1, 3, 1, 3, 1, 3, 3, 3, 3, 3]
    assert notes[6].startswith("held: oscillates: not below 3 for 29 s")


def test_it_may_come_down_after_the_hold_and_is_held_longer_when_it_goes_on() -> None:
    watched = guard(swings=3, swing_hold="10s")
    course, _ = drive(watched, [1, 3, 1, 3, 1])
    assert course == [1, 3, 1, 3, 3]
    course, notes = drive(watched, [1, 3, 1, 1], now_s=20)
    assert course[-2:] == [3, 3]
    assert "for 19 s" in notes[-2], "twice as long"


def test_more_is_given_all_the_while() -> None:
    course, _ = drive(guard(swings=3, swing_hold="30s"), [1, 3, 1, 3, 5, 1])
    assert course == [1, 3, 1, 3, 5, 5]


def test_a_saw_tooth_is_no_oscillation() -> None:
    course, notes = drive(guard(swings=3), [2.2, 2.6, 3.0, 1.5, 1.8, 2.2, 2.6, 3.0, 1.5, 1.8] * 3)
    assert not any("oscillates" in note for note in notes)
    assert course[-1] == 1.8


def test_small_turns_do_not_count() -> None:
    assert not any("oscillates" in note for note in drive(guard(swings=3), [2.0, 2.1, 2.0, 2.1] * 5)[1])


def test_it_can_be_switched_off() -> None:
    assert drive(guard(swings=0), [1, 3] * 10)[0] == [1, 3] * 10


def test_what_was_restored_is_forgotten() -> None:
    swings = Swings(2, 10)
    for now, (before, value) in enumerate([(2, 1), (1, 3), (3, 1), (1, 3)]):
        swings.passed("web", before, value, now)
    assert swings.most("web", 5) == 3
    swings.forget()
    assert swings.most("web", 5) is None


@pytest.mark.parametrize(
    ("resource", "current", "wish", "passed"),
    [
        ("llc_ways", 4.0, 5.0, 5.0),
        ("llc_ways@0", 4.0, 11.0, 6.0),  # half of four at once
        ("replicas", 1.0, 3.0, 2.0),  # one at least
        ("replicas", 3.0, 1.2, 2.0),
        ("cpuset_cpus", 4.0, 2.5, 3.0),
        ("llc_ways", None, 3.4, 4.0),
    ],
)
def test_what_is_counted_changes_by_whole_numbers(
    resource: str, current: float | None, wish: float, passed: float
) -> None:
    name = resource.partition("@")[0]
    judged = Guard({name: LimitSettings(min=1, max=8)}, {}).judge(Action(WEB, resource, wish), current, 0)
    assert judged.action is not None
    assert judged.action.value == passed


def test_an_unsure_policy_is_held() -> None:
    for confidence in (0.3, float("nan")):
        judged = guard().judge(Action(WEB, "cpu_cores", 3.0, confidence=confidence), 2.0, 0)
        assert judged.action is None
        assert "guard.confidence is 0.5" in judged.note
    assert guard(confidence=0.2).judge(Action(WEB, "cpu_cores", 3.0, confidence=0.3), 2.0, 0).action


def test_an_actuator_may_say_that_a_tunable_is_counted() -> None:
    limits = {"streams": LimitSettings(min=1, max=16)}
    judged = Guard(limits, {}).judge(Action(Target("tunable", "copy"), "streams", 8.0), 1.0, 0, whole=True)
    assert judged.action is not None
    assert judged.action.value == 2.0
    judged = Guard(limits, {}).judge(Action(Target("tunable", "copy"), "streams", 8.0), 1.0, 0)
    assert judged.action is not None
    assert judged.action.value == 1.5
