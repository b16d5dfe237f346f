"""The replicas of a service: started, admitted, withdrawn, replaced, one step of time after the other."""

from __future__ import annotations

from vagus.cli.application.crew import DRAIN_S, TERM_S, Crew, Death, Order


def orders(crew: Crew, now_s: float, ended: dict[int, int] | None = None, ready: tuple[int, ...] = ()) -> list[str]:
    return [f"{o.todo} {o.number}" for o in crew.step(now_s, ended or {}, frozenset(ready))]


def serving(count: int, now_s: float = 0.0) -> Crew:
    crew = Crew(count, 5.0)
    orders(crew, now_s)
    orders(crew, now_s, ready=tuple(range(count)))
    assert crew.settled
    return crew


def test_starts_what_is_wanted_and_admits_who_answers() -> None:
    crew = Crew(2, 5.0)
    assert orders(crew, 0.0) == ["start 0", "start 1"]
    assert orders(crew, 1.0) == []
    assert orders(crew, 1.1, ready=(1,)) == ["admit 1"]
    assert not crew.settled
    assert orders(crew, 1.2, ready=(0,)) == ["admit 0"]
    assert crew.settled
    assert crew.numbers("serving") == [0, 1]


def test_one_that_is_to_go_is_withdrawn_left_alone_and_then_ended() -> None:
    crew = serving(3)
    crew.wanted = 1
    assert orders(crew, 10.0) == ["withdraw 2", "withdraw 1"]
    assert crew.numbers("serving") == [0]
    assert orders(crew, 10.0 + DRAIN_S / 2) == []
    assert orders(crew, 10.0 + DRAIN_S) == ["end 1", "end 2"]
    assert orders(crew, 11.0, ended={2: 0}) == ["bury 2"]
    assert not crew.settled
    assert orders(crew, 10.0 + DRAIN_S + TERM_S) == ["kill 1"]
    assert orders(crew, 30.0, ended={1: -9}) == ["bury 1"]
    assert crew.settled
    assert crew.deaths == []  # all of it was asked for


def test_while_one_drains_its_number_is_taken() -> None:
    crew = serving(2)
    crew.wanted = 1
    assert orders(crew, 10.0) == ["withdraw 1"]
    crew.wanted = 2
    assert orders(crew, 10.1) == ["start 2"]
    assert not crew.settled


def test_one_that_nobody_knows_yet_goes_first() -> None:
    crew = serving(2)
    crew.wanted = 3
    assert orders(crew, 10.0) == ["start 2"]
    crew.wanted = 2
    assert orders(crew, 10.1) == ["end 2"]
    assert orders(crew, 10.2, ended={2: -15}) == ["bury 2"]
    assert crew.settled
    assert crew.deaths == []


def test_one_that_died_is_replaced_at_once() -> None:
    crew = serving(2)
    assert orders(crew, 10.0, ended={0: -9}) == ["bury 0", "start 0"]
    assert crew.deaths == [Death(0, -9, True)]
    assert orders(crew, 10.2, ready=(0,)) == ["admit 0"]
    assert crew.settled


def test_starts_that_come_to_nothing_are_tried_later_and_later() -> None:
    crew = Crew(1, 5.0)
    orders(crew, 0.0)
    waits, now_s = [], 0.0
    for _ in range(9):
        assert orders(crew, now_s, ended={0: 1}) == ["bury 0"]
        died_s = now_s
        while not orders(crew, now_s):
            now_s += 0.25
        waits.append(now_s - died_s)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert orders(crew, now_s, ready=(0,)) == ["admit 0"]
    assert crew.failures == 0
    assert orders(crew, now_s + 1, ended={0: 1}) == ["bury 0", "start 0"]  # it had served: at once


def test_one_that_is_never_ready_is_killed() -> None:
    crew = Crew(1, 5.0)
    orders(crew, 0.0)
    assert orders(crew, 5.0) == []
    assert orders(crew, 5.1) == ["kill 0"]
    assert crew.deaths == [Death(0, None, False)]
    assert orders(crew, 5.1 + TERM_S)[0] == "kill 0"  # it survived
    assert crew.step(15.0, {0: -9}, frozenset())[0] == Order("bury", 0)
    assert len(crew.deaths) == 1
