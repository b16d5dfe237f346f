"""Rounds in pairs, and what vagus costs by them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks import overhead
from benchmarks.overhead import Prometheus, Round, Workload, rows
from benchmarks.overhead_pairs import OFF, ON, cost, order
from benchmarks.overhead_work import MAX_WAVE, MIN_WAVE, perform, spin, timed, wave_of
from vagus.errors import Unsupported, VagusError


def test_either_comes_first_in_half_of_the_pairs() -> None:
    for seed in range(20):
        pairs = order(Random(seed), 8)
        assert Counter(first for first, _ in pairs) == {ON: 4, OFF: 4}
        assert all({first, second} == {ON, OFF} for first, second in pairs)
    assert Counter(first for first, _ in order(Random(1), 7))[ON] in (3, 4)
    assert order(Random(3), 8) == order(Random(3), 8)
    assert len({tuple(order(Random(seed), 8)) for seed in range(20)}) > 5


def test_no_pairs_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        order(Random(1), 0)


def test_what_is_slower_by_a_tenth_costs_a_tenth_however_the_machine_drifts() -> None:
    found = cost([(0.9 * off, off) for off in (100.0, 150.0, 80.0, 200.0)], Random(1), 500)
    assert (found.percent, found.low, found.high) == (pytest.approx(10.0), pytest.approx(10.0), pytest.approx(10.0))
    assert found.pairs == 4


def test_the_interval_holds_what_made_the_noise() -> None:
    rng, inside = Random(5), 0
    for _ in range(60):
        rates = [(98.0 * rng.lognormvariate(0, 0.02), 100.0 * rng.lognormvariate(0, 0.02)) for _ in range(10)]
        found = cost(rates, rng, 300)
        assert found.low <= found.percent <= found.high
        inside += found.low <= 2.0 <= found.high
    assert inside >= 45, "about nine tenths: the bootstrap of ten pairs is a little too narrow"


def test_faster_with_it_is_a_negative_cost() -> None:
    assert cost([(110.0, 100.0)] * 3, Random(1), 50).percent == pytest.approx(-10.0)


@pytest.mark.parametrize("rates", [[], [(1.0, 0.0)], [(-1.0, 1.0)], [(float("nan"), 1.0)], [(1.0, float("inf"))]])
def test_rates_that_are_none_are_an_error(rates: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="positive numbers"):
        cost(rates, Random(1))


# --- the table -------------------------------------------------------------------------------------------------------


def rounds(on: float) -> list[Round]:
    """On a machine whose speed is another one in each round."""
    return [
        Round(pair, state, tasks_ms, (on if state == ON else 100.0) / slower, tasks_ms * slower, 0.05 * (state == ON))
        for pair in range(3)
        for state in (ON, OFF)
        for tasks_ms in (10.0, 1.0)
        for slower in [1 + pair + 0.5 * (state == ON)]
    ]


@pytest.mark.parametrize(("on", "met"), [(98.0, True), (96.0, False)])
def test_the_bar_is_three_per_cent_for_each_length_of_task(on: float, met: bool) -> None:
    table = rows(rounds(on), "vagus", 1)
    json.dumps(table, allow_nan=False)
    judged = {row["what"]: row for row in table if row["met"] is not None}
    assert list(judged) == [f"tasks of {ms} ms: fewer with vagus, at equal speed, mean of 3 pairs" for ms in (1, 10)]
    assert all(row["met"] is met and row["value"] == pytest.approx(100 - on) for row in judged.values())
    assert {row["value"] for row in table if row["unit"] == "cores"} == {0.05}
    told = {row["what"]: row["value"] for row in table}
    assert told["tasks of 1 ms: fewer with vagus, as seen, mean"] > 20, "the slower machine is told too"
    assert told["tasks of 1 ms: processor time of one more with vagus, mean"] > 20
    assert told["tasks of 1 ms: processor time of one more with vagus, lower end of 95 %"] < 30


def test_a_peer_is_named_and_not_judged() -> None:
    table = rows(rounds(90.0), "prometheus", 1)
    assert {row["peer"] for row in table} == {"prometheus-node-exporter + prometheus"}
    assert {row["met"] for row in table} == {None}


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead.shutil, "which", lambda program: None)  # type: ignore[attr-defined]
    with pytest.raises(Unsupported, match="prometheus-node-exporter is not installed: apt-get install"):
        Prometheus(tmp_path)


# --- the workload ----------------------------------------------------------------------------------------------------


class Ray:
    """In place of Ray: the tasks are done when they are asked for."""

    def __init__(self) -> None:
        self.waves: list[int] = []

    def get(self, results: list[Any]) -> list[Any]:
        self.waves.append(len(results))
        return results


class Task:
    @staticmethod
    def remote(loops: int) -> float:
        return timed(loops)


def test_waves_go_on_until_the_time_is_over_and_all_of_them_count() -> None:
    ray = Ray()
    found = perform(ray, Task, 100, 50, 0.05)
    assert found["tasks"] == sum(ray.waves) == 50 * found["waves"]
    assert found["tasks_s"] > 0
    assert 0 < found["task_cpu_ms"] < 50
    assert perform(Ray(), Task, 1, 1, 0.0)["tasks_s"] == 0


def test_a_wave_fits_its_time_and_no_wave_is_tiny_or_endless() -> None:
    assert wave_of(1.0, 2) == 1000
    assert wave_of(10.0, 2) == 100
    assert wave_of(1000.0, 2) == MIN_WAVE
    assert wave_of(0.001, 64) == MAX_WAVE


def test_the_work_is_as_much_as_it_is_told() -> None:
    assert spin(8) == 12
    assert spin(0) == 0


def test_a_driver_that_ends_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    work = Workload(tmp_path)  # where there is no cluster
    try:
        with pytest.raises(VagusError, match="driver ended with code 1"):
            work.ready()
    finally:
        work.end()
        work.end()
