"""The guard, rule by rule."""

from __future__ import annotations

import math

import pytest

from vagus.clock import NS
from vagus.config import GuardSettings, LimitSettings
from vagus.controllers.claims import Granted
from vagus.controllers.guard import Guard
from vagus.errors import ConfigError
from vagus.model import Action, Target

WEB = Target("cgroup", "web")
LIMITS = {"cpu_cores": LimitSettings(min=0.5, max=4.0, step_ratio=0.5, cooldown="2s")}


def want(value: float | None, resource: str = "cpu_cores") -> Action:
    return Action(WEB, resource, value, "why")


def test_what_is_allowed_passes_as_it_is() -> None:
    judged = Guard(LIMITS, {"cpu_cores": 8}).judge(want(1.2), 1.0, 0)
    assert judged[:2] == (want(1.2), "")


@pytest.mark.parametrize(
    ("value", "current", "passed", "note"),
    [
        (0.1, 0.6, 0.5, "bounds are 0.5 to 4"),
        (100.0, 3.0, 4.0, "bounds are 0.5 to 4"),
        (3.0, 1.0, 1.5, "at most 50% at once, towards 3"),
        (0.5, 2.0, 1.0, "at most 50% at once"),
        (None, 3.0, 4.0, "bounds are"),
        (0.6, None, 2.0, "at most 50% at once"),  # no limit: steps begin at the upper bound
        (3.5, 100.0, 3.5, ""),  # set by someone to outside the bounds
        (1.0, 0.01, 0.75, "at most 50%"),
    ],
)
def test_bounds_and_steps(value: float | None, current: float | None, passed: float, note: str) -> None:
    judged = Guard(LIMITS, {"cpu_cores": 8}).judge(want(value), current, 0)
    assert judged.action is not None
    assert judged.action.value == pytest.approx(passed)
    assert note in judged.note


def test_the_machine_is_a_bound_too() -> None:
    judged = Guard(LIMITS, {"cpu_cores": 2}).judge(want(3), 2.0, 0)
    assert judged.action is None
    assert judged.note == ""  # it is there already


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_what_is_no_limit_is_held(value: float) -> None:
    judged = Guard(LIMITS, {}).judge(want(value), 1.0, 0)
    assert judged.action is None
    assert judged.note.startswith("held")


def test_cool_down_counts_from_the_last_that_passed() -> None:
    guard = Guard(LIMITS, {})
    assert guard.judge(want(1.2), 1.0, 10 * NS).action
    held = guard.judge(want(1.4), 1.2, 11 * NS)
    assert held[:2] == (None, "held: cool-down, 1 s left")
    assert guard.judge(Action(Target("cgroup", "db"), "cpu_cores", 1.4), 1.2, 11 * NS).action
    assert guard.judge(want(1.4), 1.2, 12 * NS).action


def test_defect_no_recovery_hook_now_doubts_about_the_means_hold_controllers() -> None:
    guard = Guard(LIMITS, {})
    assert guard.judge(want(1.2), 1.0, 0, ["the newest sample is 9 s old"]).note == "held: the newest sample is 9 s old"
    assert guard.judge(want(1.2), 1.0, 0).action  # a held action starts no cool-down


def test_a_change_too_small_is_none() -> None:
    assert Guard(LIMITS, {}).judge(want(1.001), 1.0, 0)[:2] == (None, "")


def test_defaults_come_from_the_machine() -> None:
    guard = Guard({}, {"cpu_cores": 2, "memory_bytes": 1e9})
    assert guard.judge(want(0.01), 0.15, 0).action == want(0.1)
    assert guard.judge(want(64), 1.9, 10 * NS).action == want(2)
    low = guard.judge(want(1, "memory_bytes"), 7e7, 0)
    assert low.action is not None
    assert low.action.value == 64 * 2**20
    held = guard.judge(want(1, "io_read_bytes_s"), None, 0)
    assert held.note == "held: no bounds for io_read_bytes_s; set limits.io_read_bytes_s.min and .max"


def test_an_unknown_capacity_is_no_reason_to_lift_a_limit_without_end() -> None:
    judged = Guard({}, {"memory_bytes": math.inf}).judge(want(None, "memory_bytes"), None, 0)
    assert judged.action is None


@pytest.mark.parametrize(
    "limits",
    [{"min": 2, "max": 1}, {"min": 9, "max": 10}, {"min": math.nan, "max": 1}],
)
def test_limits_that_contradict_each_other(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"limits\.cpu_cores"):
        Guard({"cpu_cores": LimitSettings(**limits)}, {"cpu_cores": 8})


def test_a_limit_that_is_no_number_is_none() -> None:
    """Of a swinging one, too: it is held at the most that it gave, not at nothing that can be compared."""
    guard = Guard({"replicas": LimitSettings(min=1, max=8, step_ratio=1, cooldown=0)}, {}, GuardSettings(swings=1))
    for now_s, (current, wish) in enumerate([(4.0, 8.0), (8.0, 2.0), (2.0, 8.0)]):
        guard.judge(Action(WEB, "replicas", wish), current, now_s * NS)
    judged = guard.judge(Action(WEB, "replicas", 2.0), math.nan, 3 * NS)
    assert judged.action is not None
    assert judged.action.value == 2.0


def test_what_is_counted_is_never_more_than_is_granted() -> None:
    guard = Guard({"replicas": LimitSettings(min=1, max=8, step_ratio=1, cooldown=0)}, {})
    grant = lambda target, resource, wanted, current, least: Granted(2.5, "full")  # noqa: E731
    judged = guard.judge(Action(WEB, "replicas", 8.0), 3.0, 0, grant=grant)
    assert judged.action is not None
    assert judged.action.value == 2.0
