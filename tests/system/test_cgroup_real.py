"""The actuators on the kernel's own cgroup tree, v1 or v2, as root: the same tests run in tests/lab/kernel-vm for v2.

They make and remove groups named vagus-test-*, and on v1 touch the cpu hierarchy only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vagus.actuators import Actuator
from vagus.actuators.apply import apply
from vagus.actuators.choose import choose
from vagus.actuators.hierarchy import Mount, mounts
from vagus.errors import ActuateError, Rejected
from vagus.model import Action, Target
from vagus.undo import undo

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="writes the real cgroup tree, which only root may"),
]
BUSY = "while True: pass"
CONTROLLER = """
import sys, time
from pathlib import Path
from vagus.actuators.apply import apply
from vagus.actuators.choose import choose
from vagus.model import Action, Target
from vagus.watchdog import Watchdog
actuator = choose("auto")
plan = actuator.plan(Action(Target.parse(sys.argv[2]), "cpu_cores", 0.25))
dog = Watchdog(Path(sys.argv[1]), 30.0)
dog.start()
dog.journal(plan.undo)
apply(plan)
print(dog.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def actuator() -> Actuator:
    actuator = choose("auto")
    if actuator.dry:
        pytest.skip("this machine has no cpu controller in any cgroup hierarchy")
    return actuator


@pytest.fixture
def mount(actuator: Actuator) -> Mount:
    version = 1 if actuator.name == "cgroup1" else 2
    return next(m for m in mounts(Path("/")) if m.version == version and "cpu" in m.controllers)


@pytest.fixture
def group(mount: Mount) -> Iterator[Path]:
    control = mount.point / "cgroup.subtree_control"
    if mount.version == 2 and "cpu" not in control.read_text().split():
        if not os.environ.get("VAGUS_VM"):
            pytest.skip("the cpu controller is not enabled below the root group")
        control.write_text("+cpu +memory")
    path = mount.point / f"vagus-test-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        path.rmdir()


@pytest.fixture
def target(group: Path) -> Target:
    return Target("cgroup", group.name)


@pytest.fixture
def hog(group: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its child in the group, both as busy as they can be."""
    code = f"import os; os.fork(); open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n{BUSY}"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as hog:
        await_true(lambda: len(members(group)) == 2)
        yield hog
        os.killpg(hog.pid, signal.SIGKILL)
    await_true(lambda: not members(group))


def members(group: Path) -> list[str]:
    return (group / "cgroup.procs").read_text().split()


def await_true(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def limits(group: Path) -> dict[str, str]:
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", "memory.max")
    return {name: (group / name).read_text() for name in names if (group / name).exists()}


def test_apply_read_back_restore(actuator: Actuator, group: Path, target: Target) -> None:
    before = limits(group)
    assert actuator.read(target, "cpu_cores") is None
    plan = actuator.plan(Action(target, "cpu_cores", 0.5))
    apply(plan)
    assert actuator.read(target, "cpu_cores") == 0.5
    second = actuator.plan(Action(target, "cpu_cores", 1.25))
    apply(second)
    assert actuator.read(target, "cpu_cores") == 1.25
    assert undo(second.undo) == []
    assert actuator.read(target, "cpu_cores") == 0.5
    assert undo(plan.undo) == []
    assert limits(group) == before


def test_memory(actuator: Actuator, group: Path, target: Target) -> None:
    if "memory_bytes" not in actuator.supports(target):
        pytest.skip("the group has no memory controller: on v1 that hierarchy is left alone here")
    before = limits(group)
    plan = actuator.plan(Action(target, "memory_bytes", 10_000_000.0))
    apply(plan)
    page = os.sysconf("SC_PAGE_SIZE")
    assert actuator.read(target, "memory_bytes") == 10_000_000 // page * page
    assert undo(plan.undo) == []
    assert limits(group) == before


def test_an_invalid_write_changes_nothing_and_quotes_the_kernel(
    actuator: Actuator, group: Path, target: Target
) -> None:
    before = limits(group)
    with pytest.raises(Rejected, match=r"was refused: Invalid argument \(EINVAL\)") as caught:
        apply(actuator.plan(Action(target, "cpu_cores", 0.0001)))
    assert caught.value.path.startswith(str(group))
    assert limits(group) == before


def test_throttling_is_counted(actuator: Actuator, target: Target, hog: subprocess.Popen[bytes]) -> None:
    plan = actuator.plan(Action(target, "cpu_cores", 0.2))
    apply(plan)
    first = actuator.usage(target)
    await_true(lambda: actuator.usage(target).throttled_periods > first.throttled_periods)
    later = actuator.usage(target)
    assert later.cpu_s > first.cpu_s
    assert later.periods > first.periods
    assert later.period_s == 0.1
    undo(plan.undo)


def test_a_process_tree_is_limited_and_let_go(
    actuator: Actuator, group: Path, hog: subprocess.Popen[bytes], mount: Mount
) -> None:
    tree = Target("pid", str(hog.pid))
    pids = members(group)
    plan = actuator.plan(Action(tree, "cpu_cores", 0.2))
    apply(plan)
    try:
        own = (group if mount.version == 1 else mount.point) / f"vagus-pid-{hog.pid}"
        assert sorted(members(own)) == sorted(pids)
        assert members(group) == []
        assert actuator.read(tree, "cpu_cores") == 0.2
        await_true(lambda: actuator.usage(tree).throttled_periods > 0)
        again = actuator.plan(Action(tree, "cpu_cores", 0.4))
        assert [step.op for step in again.steps] == ["write"]
        apply(again)
        assert actuator.read(tree, "cpu_cores") == 0.4
        assert undo(again.undo) == []
    finally:
        assert undo(plan.undo) == []
    assert not own.exists()
    assert sorted(members(group)) == sorted(pids)
    assert actuator.read(tree, "cpu_cores") is None


def test_a_vanished_group_is_undone(actuator: Actuator, group: Path) -> None:
    inner = group / "inner"
    inner.mkdir()
    control = group / "cgroup.subtree_control"
    if control.exists():
        control.write_text("+cpu")
    target = Target("cgroup", f"{group.name}/inner")
    plan = actuator.plan(Action(target, "cpu_cores", 0.5))
    apply(plan)
    inner.rmdir()
    assert undo(plan.undo) == []
    with pytest.raises(ActuateError, match="does not exist"):
        actuator.read(target, "cpu_cores")


@pytest.mark.parametrize("kind", ["cgroup", "pid"])
def test_a_killed_controller_has_its_limit_restored(
    actuator: Actuator, group: Path, hog: subprocess.Popen[bytes], tmp_path: Path, kind: str
) -> None:
    target = Target(kind, group.name if kind == "cgroup" else str(hog.pid))
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path / "journal"), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as controller:
        assert controller.stdout is not None
        watchdog = int(controller.stdout.readline())
        assert actuator.read(target, "cpu_cores") == 0.25
        os.killpg(controller.pid, signal.SIGKILL)
    await_true(lambda: not Path(f"/proc/{watchdog}").exists())
    assert actuator.read(target, "cpu_cores") is None
    assert len(members(group)) == 2
