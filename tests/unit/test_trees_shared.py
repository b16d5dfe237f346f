"""Groups that several share: process trees within each other, two controllers with a journal each, groups that vanish."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.cgroup_kernel import CgroupKernel
from vagus.actors.limits import Limits
from vagus.actuators import Actuator
from vagus.actuators.apply import apply
from vagus.actuators.auto import Auto
from vagus.controllers import View
from vagus.controllers.guard import Guard
from vagus.controllers.run import Bench, judge_all
from vagus.controllers.view import Snapshot
from vagus.model import Action, Target
from vagus.undo import Step, undo
from vagus.watchdog import Journal

OUTER, INNER = Target("pid", "4711"), Target("pid", "4712")
QUOTA = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
UNLIMITED = {1: "-1", 2: "max 100000"}


@pytest.fixture(params=[1, 2])
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CgroupKernel:
    made = CgroupKernel(tmp_path / "root", request.param)
    made.install(monkeypatch)
    made.make("shop/web")
    made.process(4711, "shop/web")
    made.process(4712, "shop/web", parent=4711)
    return made


def act(kernel: CgroupKernel, journal: Journal, target: Target, value: float) -> Actuator:
    """What a controller of its own does."""
    actuator = Auto(kernel.root)
    plan = actuator.plan(Action(target, "cpu_cores", value))
    journal.add(plan.undo)
    apply(plan)
    return actuator


def limits_of(kernel: CgroupKernel, pid: int) -> list[str]:
    """What limits a process's time: its group's file, and those above."""
    point = next(iter(kernel.points.values()))
    inside = next(
        line.rpartition(":")[2].lstrip("/")
        for line in (kernel.root / f"proc/{pid}/cgroup").read_text().splitlines()
        if line.split(":")[1] in ("cpu", "")
    )
    group, found = point / inside, []
    while group != point:
        found.append((group / QUOTA[kernel.version]).read_text().strip())
        group = group.parent
    return found


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_trees_within_each_other_leave_no_limit_whoever_ends_first(
    kernel: CgroupKernel, tmp_path: Path, first: str
) -> None:
    with Journal(tmp_path / "outer") as outer, Journal(tmp_path / "inner") as inner:
        act(kernel, outer, OUTER, 2.0)
        act(kernel, inner, INNER, 0.5)
        assert len(set(limits_of(kernel, 4712))) >= 2
        order = [outer, inner] if first == "outer" else [inner, outer]
        order[0].restore("ends")
        order[1].restore("ends")
        for pid in (4711, 4712):
            assert set(limits_of(kernel, pid)) == {UNLIMITED[kernel.version]}
        order[0].restore("once more, by whoever starts next")
        assert outer.steps() == [] or kernel.version == 2


def test_a_home_that_vanished_is_the_group_above_it(kernel: CgroupKernel, tmp_path: Path) -> None:
    if kernel.version == 2:
        pytest.skip("there the group above takes no processes: the limit is lifted, as the test above shows")
    with Journal(tmp_path / "journal") as journal:
        act(kernel, journal, OUTER, 0.5)
        (drain,) = (step for step in journal.steps() if step.op == "drain")
        # as if the tree had been in a group of its own, which was removed when it was empty
        gone = drain.value.replace("shop/web/", "shop/web/job-7/run/")
        assert undo([Step("drain", drain.path, gone)]) == []
        assert (kernel.points["cpu"] / "shop/web/cgroup.procs").read_text().split() == ["4711", "4712"]
        assert journal.restore("ends").failures == ()


def test_a_refused_limit_of_a_tree_leaves_the_one_that_the_same_step_set(kernel: CgroupKernel, tmp_path: Path) -> None:
    """Both are planned before either is written, when the tree has no group yet."""
    if kernel.version == 1:
        pytest.skip("each controller has a group of its own")
    actuator = Auto(kernel.root)
    limits = Limits(actuator, tmp_path / "journal", 30.0)
    limits.allow()
    view: View = Snapshot("n", 10**18)
    bounds = {"cpu_cores": 4.0, "memory_bytes": float(16 << 30)}
    bench = Bench("c", Guard({}, bounds), actuator, True, 10**12)
    wishes = [Action(OUTER, "cpu_cores", 2.0), Action(OUTER, "memory_bytes", float(12 << 30))]
    outcome = judge_all(wishes, view, bench)
    write = kernel._kept

    def refuses(path: Path, name: str, text: str) -> str:
        if name == "memory.max":
            raise OSError(16, "Device or resource busy")
        return write(path, name, text)

    kernel._kept = refuses  # type: ignore[method-assign]
    try:
        receipts = limits.perform_all(outcome.planned, limits.permit)
        assert [bool(receipt.error) for receipt in receipts] == [False, True]
        assert "Device or resource busy" in receipts[1].error
        assert actuator.read(OUTER, "cpu_cores") == receipts[0].after is not None
        assert limits.drifted() == []
    finally:
        limits.release("n", "c", 0)
    assert actuator.read(OUTER, "cpu_cores") is None
