"""A controller actor that steers several groups by one policy, on folders that look like the kernel's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_actors_controller import NODE, Neighbours, quota, running, seat, steps, until

from vagus.config import ObjectiveSettings
from vagus.model import Field, Sample, Stream
from vagus.policies import Field as Ground
from vagus.policies import Wish

INGRESS = Stream(NODE, "ingress", (Field("p99_s"),), {"app": "x"})


class Follows:
    """Twice the latency, in cores, for every target that is seen."""

    name = "follows"
    learned = False

    def __init__(self, field: Ground, rng: np.random.Generator) -> None:
        self.field = field

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        return [Wish(target, "cpu_cores", 2 * objective["latency_s"], "twice") for target in signals]

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        return None

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


@pytest.fixture
def groups(tmp_path: Path) -> list[Path]:
    top = tmp_path / "root/sys/fs/cgroup"
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/proc/self/mountinfo").write_text("1 2 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu,cpuacct\n")
    (tmp_path / "root/proc/meminfo").write_text("MemTotal: 1000000 kB\n")
    made = [top / "app" / name for name in ("a", "b")]
    for group in made:
        group.mkdir(parents=True)
        (group / "cpu.cfs_quota_us").write_text("100000\n")
        (group / "cpu.cfs_period_us").write_text("100000\n")
        (group / "cpu.stat").write_text("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
        (group / "cpuacct.usage").write_text("0\n")
    return made


async def test_both_are_steered_by_the_objective_and_one_that_goes_is_left_out(
    tmp_path: Path, groups: list[Path]
) -> None:
    place = seat(
        tmp_path,
        Follows,
        armed=True,
        targets=("cgroup:app/a", "cgroup:app/b"),
        objective=ObjectiveSettings(latency='ingress.p99_s{app="x"}', slo="200ms"),
    )
    links = Neighbours()
    links.samples = lambda: [Sample(INGRESS, time.time_ns(), (0.3,))]
    async with running(place, links) as actor:
        await until(lambda: [quota(group) for group in groups] == ["60000", "60000"])
        assert 'ingress.p99_s{app="x"}' in links.asked[-1]
        shutil.rmtree(groups[1])
        links.samples = lambda: [Sample(INGRESS, time.time_ns(), (0.4,))]
        await until(lambda: quota(groups[0]) == "80000")
        await steps(actor)
        assert any("app/b" in note for note in actor.notes()), "people are told which target is gone"
        figures = actor.figures()
        assert 0 < figures["own_steps"] <= figures["steered_steps"]
    assert quota(groups[0]) == "100000", "restored"


async def test_without_any_target_it_is_in_doubt_and_restores(tmp_path: Path, groups: list[Path]) -> None:
    place = seat(tmp_path, Follows, armed=True, targets=("cgroup:app/none", "cgroup:app/neither"))
    async with running(place) as actor:
        await steps(actor)
        assert any("app/none" in note and "app/neither" in note for note in actor.notes())
        assert actor.figures()["actions"] == 0
