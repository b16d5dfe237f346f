"""The weighted strategy: corroborated, sound, standing accusations convict; one observer alone never does."""

from __future__ import annotations

import pytest

from vagus.clock import NS
from vagus.health.evidence import evidence
from vagus.health.strategy_weighted import Weighted, speaks_of_itself
from vagus.model import Inference, Metric, Report, Status

H, P, M, U, DEAD = Status.HEALTHY, Status.PENDING, Status.MAYBE_UNHEALTHY, Status.UNHEALTHY, Status.DEAD
NOW = 1_700_000_000 * NS
LETTERS = {"h": H, "p": P, "m": M, "u": U, "d": DEAD}


def view(observer: str, said: str, *, every_s: float = 1.0, ago_s: float = 0.0, doubt: int = 0) -> list[Report]:
    """One report for each letter, oldest first, the last `ago_s` before NOW."""
    return [
        Report(
            observer,
            "db",
            NOW - round((ago_s + (len(said) - 1 - n) * every_s) * NS),
            {"read": Metric(LETTERS[letter], 10)},
            doubt=doubt,
        )
        for n, letter in enumerate(said)
    ]


def infer(*views: list[Report], subject: str = "db") -> Inference:
    return Weighted().infer(subject, {reports[0].observer: reports for reports in views}, NOW)


def test_two_sound_accusers_whose_accusations_stand_convict() -> None:
    got = infer(view("a", "hhuuuu"), view("b", "hhuuuu"), view("c", "h"))
    assert (got.status, got.contexts["read"].accusers, got.contexts["read"].score) == (U, ("a", "b"), 10)
    assert infer(view("a", "dddd"), view("b", "dddd")).status == DEAD
    assert infer(view("a", "mmmmmmmm"), view("b", "mmmmmmmm")).status == M, "nobody said more"


@pytest.mark.parametrize("said", ["u", "uuuuuuuuuu", "dddddddddd", "pppp", "huhuhuhuhu"])
def test_defect_one_biased_observer_never_convicts(said: str) -> None:
    assert infer(view("biased", said)).status <= M
    assert infer(view("biased", said), view("b", "hhh")).status <= M
    assert infer(view("biased", said), view("b", "hhh", every_s=20), view("c", "hh"), view("d", "h")).status == H


def test_defect_many_overloaded_observers_do_not_convict_a_leader() -> None:
    overloaded = [view(f"slow{n}", "uuuuu", doubt=4) for n in range(8)]
    assert infer(*overloaded, view("a", "hh"), view("b", "hh")).status == M
    assert infer(*overloaded, *[view(o, "hhh") for o in "abcdefgh"]).status == H
    assert infer(*overloaded).status == M, "not even when nobody else looks"
    sound = [view(f"slow{n}", "uuuuu") for n in range(8)]
    assert infer(*sound, view("a", "hh"), view("b", "hh")).status == U, "it is their own health that counts"


def test_one_sound_accuser_among_overloaded_ones_is_still_one() -> None:
    assert infer(view("a", "uuuuuu"), *[view(f"s{n}", "uuuuuu", doubt=8) for n in range(5)]).status == M


def test_a_pause_is_no_failure() -> None:
    assert infer(view("a", "hhuu"), view("b", "hhuu"), view("c", "hhuu")).status == M, "it stands for a second only"
    assert infer(view("a", "hhuuuu"), view("b", "hhuuuu"), view("c", "hhuuuu")).status == U
    quick = [view(o, "uuuuuuuuuu", every_s=0.1) for o in "ab"]
    assert infer(*quick).status == U, "ten failures at once are no pause, and began earlier"
    assert infer(view("a", "uuuuh"), view("b", "uuuuh"), view("c", "uuuuh")).status == H, "it is over at once"


def test_an_observer_that_raised_false_alarms_before_counts_less() -> None:
    calm, alarmist, right = "hhhhhhuuuu", "uhuhuhuuuu", "uuhuuhuuuu"
    assert infer(view("a", calm), view("b", calm)).status == U
    assert infer(view("a", alarmist), view("b", alarmist, ago_s=0.5), view("c", "h")).status <= M, "nobody upheld them"
    assert infer(view("a", right), view("b", right, ago_s=0.5)).status == U, "alarms that another one upheld"
    alone = {"a": view("a", right), "b": view("b", "hhhhh", every_s=3)}
    shared = {"a": view("a", right), "b": view("b", right)}
    weak, strong = (evidence(views, NOW, 3 * NS)["read"][0].strength for views in (alone, shared))
    assert 0 < weak < strong / 2


def test_most_healthy_observers_outweigh_two() -> None:
    assert (
        infer(*[view(f"h{n}", "hhh", every_s=20) for n in range(6)], view("a", "uuuu"), view("b", "uuuu")).status == H
    )


def test_calls_that_hang_age_into_evidence() -> None:
    assert infer(view("a", "p"), view("b", "p")).status == P
    hung = view("a", "hp", every_s=3, ago_s=3.1), view("b", "hp", every_s=3, ago_s=3.2)
    assert infer(*hung).status == U
    assert infer(*hung, view("c", "hhh", every_s=3)).status == U, "a partition that cuts two of three off"
    assert infer(view("a", "pph", every_s=3), view("b", "pph", every_s=3)).status == H, "answered at last"


@pytest.mark.parametrize(
    ("observer", "subject", "itself"),
    [
        ("db@2", "db@2", True),
        ("collector@n1", "node:n1", True),
        ("collector@n1", "sensor:host@n1", True),
        ("kernel@n1", "host@n1", True),
        ("vagus:supervisor", "vagus:feed@n1", True),
        ("vagus:supervisor", "node:n1", True),
        ("collector@n1", "node:n2", False),
        ("collector@n1", "db@n1", False),
        ("kernel@n1", "sensor:host@n1", False),
        ("api@n1", "db@n1", False),
        ("api", "node:", False),
    ],
)
def test_what_speaks_of_itself_needs_no_second_witness(observer: str, subject: str, itself: bool) -> None:
    assert speaks_of_itself(observer, subject) is itself
    assert (infer(view(observer, "u"), subject=subject).status == U) is itself
    assert infer(view(observer, "u", doubt=5), subject=subject).status == M


def test_old_accusations_fade_beside_newer_words() -> None:
    old = [view("a", "uuuu", ago_s=120), view("b", "uuuu", ago_s=120)]
    assert infer(*old).status == U
    assert infer(*old, view("c", "h")).status == H


def test_na_and_nothing() -> None:
    na = [Report("a", "db", NOW, {"read": Metric(Status.NA)})]
    assert infer(na).status == Status.NA
    assert Weighted().infer("db", {}, NOW).status == Status.NA
