"""CFS quotas and processes of the simulated application, against what the kernel's code does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vagus.environments.machine import Machine
from vagus.environments.processes import Process, SharingProcess
from vagus.environments.quota import Group


class Piece:
    """Notes when it was done."""

    dead = False

    def __init__(self, machine: Machine, ended_s: dict[str, float], name: str) -> None:
        self.machine, self.ended_s, self.name = machine, ended_s, name

    def done(self) -> None:
        self.ended_s[self.name] = self.machine.now_s


class Lab:
    """A machine with processes that get pieces of work at given times."""

    def __init__(self, cores: float = 2.0) -> None:
        self.machine = Machine(cores)
        self.ended_s: dict[str, float] = {}

    def work(self, process: Process, t_s: float, work_s: float, name: str) -> None:
        piece = Piece(self.machine, self.ended_s, name)
        self.machine.at(t_s, lambda _: process.add(piece, work_s))


def exact(lab: Lab, cores: float = math.inf) -> Group:
    return Group(lab.machine, cores, 0.0, tick_s=0.0)


def test_pieces_of_an_asyncio_process_are_done_in_order() -> None:
    lab = Lab()
    process = Process(exact(lab))
    lab.work(process, 0.0, 0.010, "a")
    lab.work(process, 0.001, 0.002, "b")
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx({"a": 0.010, "b": 0.012})


def test_a_sharing_process_serves_all_at_once() -> None:
    lab = Lab()
    process = SharingProcess(exact(lab))
    lab.work(process, 0.0, 0.010, "a")
    lab.work(process, 0.002, 0.002, "b")  # both get half: b until 6 ms, when a has had 2 + 2
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx({"b": 0.006, "a": 0.012})


def test_a_process_runs_on_one_core_and_all_share_the_machine() -> None:
    lab = Lab(cores=2.0)
    processes = [Process(exact(lab)) for _ in range(3)]
    for name, process in zip("abc", processes, strict=True):
        lab.work(process, 0.0, 0.010, name)
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx(dict.fromkeys("abc", 0.015))  # two thirds of a core each

    alone = Lab(cores=2.0)
    process = Process(exact(alone))
    alone.work(process, 0.0, 0.010, "a")
    alone.work(process, 0.0, 0.010, "b")
    alone.machine.advance(1.0)
    assert alone.ended_s["b"] == pytest.approx(0.020)  # the other core is of no use to it


@pytest.mark.parametrize("kind", [Process, SharingProcess])
def test_a_quota_used_up_is_waited_for_until_the_period_ends(kind: type[Process]) -> None:
    lab = Lab()
    group = exact(lab, cores=0.1)  # 10 ms in each 100
    process = kind(group)
    lab.work(process, 0.0, 0.025, "a")
    lab.machine.advance(0.05)
    assert group.throttled
    assert group.usage_s() == pytest.approx(0.010)
    lab.machine.advance(1.0)
    assert lab.ended_s["a"] == pytest.approx(0.205)
    assert (group.nr_throttled, group.usage_s()) == (2, pytest.approx(0.025))
    assert group.nr_periods == 4  # the timer ticks once more after the last work, and once to find nobody


def test_work_that_comes_while_throttled_waits_too_and_unused_quota_is_not_carried_over() -> None:
    lab = Lab()
    group = exact(lab, cores=0.1)
    process = Process(group)
    lab.work(process, 0.01, 0.002, "a")  # 8 ms of this period are left unused
    lab.work(process, 0.21, 0.012, "b")
    lab.work(process, 0.25, 0.003, "c")
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx({"a": 0.012, "b": 0.302, "c": 0.305})
    assert group.nr_throttled == 1


def test_two_replicas_use_up_a_quota_twice_as_fast() -> None:
    lab = Lab()
    group = exact(lab, cores=0.2)
    one, other = Process(group), Process(group)
    lab.work(one, 0.0, 0.015, "a")
    lab.work(other, 0.0, 0.015, "b")
    lab.machine.advance(0.05)
    assert group.usage_s() == pytest.approx(0.020)
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx({"a": 0.105, "b": 0.105})


def test_a_hog_takes_of_the_quota() -> None:
    lab = Lab()
    group = exact(lab, cores=0.3)
    process = Process(group)
    group.strain(0.5)
    for n in range(20):
        lab.work(process, 0.1 * n + 0.07, 0.005, str(n))
    lab.machine.advance(2.0)
    assert group.usage_s() == pytest.approx(0.6, rel=0.02)
    assert group.nr_throttled == group.nr_periods == 19
    assert lab.ended_s["0"] > 0.1  # 30 ms were gone at 60 ms
    group.strain(0.0)
    lab.work(process, 5.07, 0.005, "later")
    lab.machine.advance(6.0)
    assert lab.ended_s["later"] == pytest.approx(5.075)


def test_a_new_quota_is_handed_out_at_once() -> None:
    lab = Lab()
    group = exact(lab, cores=0.1)
    process = Process(group)
    lab.work(process, 0.0, 0.025, "a")
    lab.machine.advance(0.05)
    group.limit(0.2)
    lab.machine.advance(1.0)
    assert lab.ended_s["a"] == pytest.approx(0.065)
    group.limit(math.inf)
    lab.work(process, 1.0, 0.5, "b")
    lab.machine.advance(3.0)
    assert lab.ended_s["b"] == pytest.approx(1.5)
    periods = group.nr_periods
    lab.machine.advance(4.0)
    assert group.nr_periods == periods  # nothing ticks without a limit
    group.limit(0.1)
    lab.work(process, 4.0, 0.02, "c")
    lab.machine.advance(5.0)
    assert group.nr_periods > periods


def test_what_is_run_in_excess_until_a_tick_is_owed() -> None:
    lab = Lab()
    group = Group(lab.machine, 0.05, 0.0, tick_s=0.004)  # 5 ms, seen at 8
    process = Process(group)
    lab.work(process, 0.0, 1.0, "a")
    lab.machine.advance(0.05)
    assert group.usage_s() == pytest.approx(0.008)
    lab.machine.advance(0.15)  # 2 ms are left of the next: seen at 104
    assert group.usage_s() == pytest.approx(0.012)
    lab.machine.advance(10.0)
    assert group.usage_s() == pytest.approx(0.5, abs=0.005)  # no more in the long run


def test_a_piece_that_ends_before_the_tick_is_not_held_up_but_who_comes_next_is() -> None:
    lab = Lab()
    group = Group(lab.machine, 0.05, 0.0, tick_s=0.004)
    process = Process(group)
    lab.work(process, 0.0, 0.006, "a")
    lab.work(process, 0.05, 0.001, "b")
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx({"a": 0.006, "b": 0.101})
    assert group.nr_throttled == 1


def test_a_piece_for_whom_nobody_waits_costs_nothing() -> None:
    lab = Lab()
    process = Process(exact(lab))
    lab.work(process, 0.0, 0.010, "a")
    dead: Any = Piece(lab.machine, lab.ended_s, "b")
    dead.dead = True
    lab.machine.at(0.0, lambda _: process.add(dead, 5.0))
    lab.machine.advance(1.0)
    assert lab.ended_s == pytest.approx({"a": 0.010, "b": 0.010})
