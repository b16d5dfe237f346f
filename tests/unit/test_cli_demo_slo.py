"""The demo's client: an objective that a noisy quiet phase does not make too tight, a verdict that does not flap."""

from __future__ import annotations

import pytest

from vagus.cli.demo.slo import Judge, learn, quantile

NAN = float("nan")


def test_the_slo_leaves_room_above_the_noise_of_the_quiet_seconds() -> None:
    assert learn([10.0] * 20, 36.0) == 36.0  # the floor
    assert learn([20.0] * 17 + [60.0] * 3, 36.0) == 120.0  # noise in 15 % of the seconds counts
    assert learn([20.0] * 19 + [900.0], 36.0) == 40.0  # a single outlier does not
    assert learn([], 36.0) == 36.0
    assert learn([NAN, NAN], 36.0) == 36.0


def test_the_first_seconds_are_warm_up_where_enough_others_remain() -> None:
    assert learn([900.0] * 3 + [20.0] * 5, 36.0, warm_up=3) == 40.0
    assert learn([900.0] * 3 + [20.0], 36.0, warm_up=3) == 1800.0


def test_quantile() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert quantile([1.0], 0.95) == 1.0
    assert quantile([], 0.5) != quantile([], 0.5)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ("gggg", "hhhh"),
        ("gbgbg", "hhhhh"),  # one bad second is noise
        ("gbbgg", "hhuuh"),
        ("bbgbgbggb", "huuuuuuhh"),  # one good second is no recovery
        ("nngg", "huuh"),  # nothing answered is bad
    ],
)
def test_two_in_a_row_change_the_verdict(seen: str, said: str) -> None:
    judge = Judge()
    judge.slo_ms = 50.0
    p95s = {"g": 50.0, "b": 51.0, "n": NAN}
    letters = {"HEALTHY": "h", "UNHEALTHY": "u"}
    assert "".join(letters[judge.verdict(p95s[letter])] for letter in seen) == said


def test_without_an_slo_nothing_is_bad() -> None:
    judge = Judge()
    assert {judge.verdict(p95) for p95 in (1e6, 1e6, NAN, NAN)} == {"HEALTHY"}
