"""Simulated processes under quotas: whatever comes, nothing is lost, and nobody gets more than the quota."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.environments.machine import Machine
from vagus.environments.processes import Process, SharingProcess
from vagus.environments.quota import KEPT_S, PERIOD_S, TICK_S, Group

END_S = 3.0
pieces = st.lists(
    st.tuples(st.floats(0.0, END_S), st.floats(0.0, 0.05), st.integers(0, 1)),  # when, how much, for which process
    max_size=40,
)
changes = st.lists(st.tuples(st.floats(0.0, END_S), st.sampled_from([0.02, 0.1, 0.3, math.inf])), max_size=6)
hogs = st.lists(st.tuples(st.floats(0.0, END_S), st.sampled_from([0.0, 0.2, 1.0])), max_size=4)


class Piece:
    dead = False

    def __init__(self, number: int, ended: list[int]) -> None:
        self.number, self.ended = number, ended

    def done(self) -> None:
        self.ended.append(self.number)


@settings(deadline=None, max_examples=100)
@given(
    work=pieces,
    limits=changes,
    strains=hogs,
    kind=st.sampled_from([Process, SharingProcess]),
    tick_s=st.sampled_from([0.0, TICK_S]),
    cores=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_all_work_is_done_once_and_is_what_was_used(
    work: list[tuple[float, float, int]],
    limits: list[tuple[float, float]],
    strains: list[tuple[float, float]],
    kind: type[Process],
    tick_s: float,
    cores: float,
) -> None:
    machine = Machine(cores)
    group = Group(machine, 0.2, 0.03, tick_s)
    processes = [kind(group), kind(group)]
    ended: list[list[int]] = [[], []]
    work = sorted(work)
    for number, (t_s, work_s, which) in enumerate(work):
        piece = Piece(number, ended[which])
        machine.at(t_s, lambda given: processes[given[0]].add(given[1], given[2]), (which, piece, work_s))
    for t_s, limit in limits:
        machine.at(t_s, group.limit, limit)
    for t_s, strain in strains:
        machine.at(t_s, group.strain, strain)
    machine.at(END_S, group.strain, 0.0)
    machine.at(END_S, group.limit, 0.3)
    before_s, before = 0.0, (0, 0)
    while machine.now_s < END_S + 20.0:
        machine.advance(machine.now_s + 0.25)
        used_s, counted = group.usage_s(), (group.nr_periods, group.nr_throttled)
        assert before_s <= used_s <= before_s + 0.25 * cores + 1e-9
        assert before[0] <= counted[0] <= before[0] + 4
        assert before[1] <= counted[1] <= before[1] + counted[0] - before[0]
        before_s, before = used_s, counted
    for which in (0, 1):
        expected = [number for number, (_, _, one) in enumerate(work) if one == which]
        assert sorted(ended[which]) == expected
        if kind is Process:
            assert ended[which] == expected
    assert abs(machine.running) < 1e-9
    wanted_s = sum(work_s for _, work_s, _ in work)
    if not any(strain for _, strain in strains):
        assert abs(used_s - wanted_s) < 1e-6
    else:
        assert used_s > wanted_s - 1e-6


@settings(deadline=None, max_examples=60)
@given(
    work=pieces,
    cores=st.sampled_from([0.05, 0.2, 0.7]),
    hog=st.sampled_from([0.0, 0.5]),
    tick_s=st.sampled_from([0.0, TICK_S]),
)
def test_nobody_gets_more_than_the_quota(
    work: list[tuple[float, float, int]], cores: float, hog: float, tick_s: float
) -> None:
    machine = Machine(2.0)
    group = Group(machine, cores, 0.0, tick_s)
    process = Process(group)
    group.strain(hog)
    for number, (t_s, work_s, _) in enumerate(work):
        machine.at(t_s, lambda given: process.add(*given), (Piece(number, []), work_s))
    used_s, owed_s = 0.0, 2.5 * tick_s + (KEPT_S if tick_s else 0.0)
    for _ in range(40):
        machine.advance(machine.now_s + PERIOD_S)
        now_s = group.usage_s()
        assert now_s - used_s <= cores * PERIOD_S + owed_s + 1e-9
        used_s = now_s
        assert used_s <= (machine.now_s / PERIOD_S) * cores * PERIOD_S + owed_s + 1e-9
