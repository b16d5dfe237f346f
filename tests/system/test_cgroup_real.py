"""The actuators on the kernel's own cgroup tree, as root: the same tests run in tests/lab/kernel-vm, for both versions.

They make and remove groups named vagus-test-*; outside of the emulated machine in the cpu and blkio hierarchies only.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE

from vagus.actuators import Actuator, Plan, acting
from vagus.actuators.apply import apply
from vagus.actuators.choose import choose
from vagus.actuators.hierarchy import Mount, mounts
from vagus.errors import ActuateError, Rejected
from vagus.model import Action, Target
from vagus.undo import Step, undo
from vagus.watchdog import Journal

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="writes the real cgroup tree, which only root may"),
]
IN_VM = bool(os.environ.get("VAGUS_VM"))
CONTROLLERS = ("cpu", "memory", "io", "blkio", "cpuset") if IN_VM else ("cpu", "blkio")
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
    if acting(actuator, Target("cgroup", "x"), "cpu_cores") == "dry":
        pytest.skip("this machine has no cpu controller in any cgroup hierarchy")
    return actuator


@pytest.fixture
def folders() -> Iterator[dict[str, Path]]:
    """The test's group in each hierarchy that it may use, by controller."""
    found = {name: m for m in mounts(Path("/")) for name in CONTROLLERS if name in m.controllers}
    made: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        for name, place in found.items():
            control = place.point / "cgroup.subtree_control"
            if place.version == 2 and name not in control.read_text().split():
                if not IN_VM:
                    continue
                control.write_text(f"+{name}")
            made[name] = place.point / f"vagus-test-{os.getpid()}"
            if not made[name].exists():
                made[name].mkdir()
                stack.callback(made[name].rmdir)
        if "cpu" not in made:
            pytest.skip("the cpu controller is not enabled below the root group")
        yield made


@pytest.fixture
def mount(actuator: Actuator) -> Mount:
    return next(m for m in mounts(Path("/")) if "cpu" in m.controllers)


@pytest.fixture
def group(folders: dict[str, Path]) -> Path:
    return folders["cpu"]


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
    deadline = time.monotonic() + timeout_s * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


LIMITS = (
    *(
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.cfs_burst_us",
        "cpu.shares",
        "cpu.max",
        "cpu.max.burst",
        "cpu.weight",
    ),
    *("memory.max", "memory.high", "memory.limit_in_bytes", "io.max", "cpuset.cpus", "cpuset.mems"),
    *(f"blkio.throttle.{way}_{unit}_device" for way in ("read", "write") for unit in ("bps", "iops")),
)


def limits(group: Path, folders: dict[str, Path] | None = None) -> dict[str, str]:
    """The texts of all limits."""
    places = {group} if folders is None else set(folders.values())
    return {str(p / name): (p / name).read_text() for p in places for name in LIMITS if (p / name).exists()}


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
    assert plan.shown(actuator.read(target, "memory_bytes"))
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


VALUES = {
    "cpu_cores": 0.5,
    "cpu_burst_s": 0.02,
    "cpu_weight": 250.0,
    "memory_bytes": float(64 << 20),
    "memory_high_bytes": float(32 << 20),
    "io_read_bytes_s": float(3 << 20),
    "io_write_bytes_s": float(2 << 20),
    "io_read_ops_s": 300.0,
    "io_write_ops_s": 200.0,
    "cpuset_cpus": 1.0,
}


@pytest.fixture
def disk() -> tuple[str, str]:
    """Behind `@`, and the file that lies on it: in the emulated machine, which has none, a device of its own."""
    if not IN_VM:
        return "", ""
    if not Path("/dev/nullb0").exists():
        subprocess.run(["/bin/busybox", "modprobe", "null_blk"], check=True)
    return "@" + Path("/sys/block/nullb0/dev").read_text().strip(), "/dev/nullb0"


def named(resource: str, disk: tuple[str, str]) -> str:
    return resource + (disk[0] if resource.startswith("io_") else "")


def test_every_limit_is_written_read_back_and_restored(
    actuator: Actuator, group: Path, folders: dict[str, Path], target: Target, mount: Mount, disk: tuple[str, str]
) -> None:
    before = limits(group, folders)
    possible = actuator.supports(target)
    wanted = {"cpu_cores", "cpu_burst_s", "cpu_weight", *(name for name in VALUES if name.startswith("io_"))}
    if IN_VM:
        wanted |= {"memory_bytes", "cpuset_cpus"} | ({"memory_high_bytes"} if mount.version == 2 else set())
    assert set(possible) == wanted
    for resource in possible:
        name = named(resource, disk)
        first = actuator.read(target, name)
        plan = actuator.plan(Action(target, name, VALUES[resource]))
        apply(plan)
        shown = actuator.read(target, name)
        assert shown == pytest.approx(VALUES[resource], rel=0.01), resource
        assert plan.shown(shown)
        lifted = actuator.plan(Action(target, name, None))
        apply(lifted)
        assert actuator.read(target, name) == first, resource
        assert undo(lifted.undo) == []
        assert actuator.read(target, name) == shown, resource
        assert undo(plan.undo) == []
        assert limits(group, folders) == before, resource


def test_all_limits_at_once_are_undone_from_a_journal_in_any_order_of_making(
    actuator: Actuator, group: Path, folders: dict[str, Path], target: Target, disk: tuple[str, str], tmp_path: Path
) -> None:
    apply(actuator.plan(Action(target, "cpu_cores", 1.0)))
    before = limits(group, folders)
    rounds = (
        {"cpu_burst_s": 0.05},
        {"cpu_cores": 1.5},
        {"cpu_burst_s": 0.14},
        VALUES | {"cpu_burst_s": 0.01, "cpu_cores": 0.4},
    )
    with Journal(tmp_path / "journal") as journal:
        for values in rounds:
            for resource in sorted(set(values) & set(actuator.supports(target))):
                plan = actuator.plan(Action(target, named(resource, disk), values[resource]))
                journal.add(plan.undo)
                apply(plan)
        assert limits(group, folders) != before
        assert journal.restore("test").failures == ()
    assert limits(group, folders) == before


def test_a_burst_above_the_quota_is_refused_by_us_and_by_the_kernel(
    actuator: Actuator, group: Path, target: Target, mount: Mount
) -> None:
    apply(actuator.plan(Action(target, "cpu_cores", 0.5)))
    before = limits(group)
    with pytest.raises(Rejected, match="may not exceed the quota, 50000 us"):
        actuator.plan(Action(target, "cpu_burst_s", 0.2))
    file = group / ("cpu.cfs_burst_us" if mount.version == 1 else "cpu.max.burst")
    with pytest.raises(Rejected, match=r"Invalid argument \(EINVAL\)"):
        apply(Plan((Step("write", str(file), "200000"),), (Step("write", str(file), "0"),)))
    apply(actuator.plan(Action(target, "cpu_burst_s", 0.04)))
    with pytest.raises(Rejected, match="lower cpu_burst_s first"):
        actuator.plan(Action(target, "cpu_cores", 0.3))
    assert limits(group) != before


def test_more_than_the_machine_or_the_group_above_has_is_refused(
    actuator: Actuator, group: Path, target: Target, mount: Mount
) -> None:
    for resource, value in (("cpu_cores", 1e4), ("memory_bytes", 1e15), ("cpuset_cpus", 1e4), ("cpu_weight", 1e5)):
        if resource in actuator.supports(target):
            with pytest.raises(Rejected):
                actuator.plan(Action(target, resource, value))
    if mount.version == 1:
        apply(actuator.plan(Action(target, "cpu_cores", 0.5)))
        inner = group / "inner"
        inner.mkdir()
        try:
            with pytest.raises(Rejected, match=r"raise it for .* above first, whose cores are 0\.5"):
                actuator.plan(Action(Target("cgroup", f"{group.name}/inner"), "cpu_cores", 1.0))
        finally:
            inner.rmdir()


def written_s(file: str, size: int, procs: list[Path]) -> float:
    """How long it takes a process in these groups to write so many bytes past the page cache."""
    child = os.fork()
    if child == 0:
        try:
            for path in procs:
                path.write_text(str(os.getpid()))
            page = mmap.mmap(-1, 1 << 16)
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
            for _ in range(size >> 16):
                os.write(fd, page)
        except BaseException:
            os._exit(1)
        os._exit(0)
    begin = time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    return time.monotonic() - begin


def test_writing_to_a_disk_is_slowed_down(
    actuator: Actuator, folders: dict[str, Path], target: Target, disk: tuple[str, str]
) -> None:
    name = named("io_write_bytes_s", disk)
    plan = actuator.plan(Action(target, name, float(1 << 20)))
    apply(plan)
    procs = [(folders.get("blkio") or folders["io"]) / "cgroup.procs"]
    # beside this file, not in a folder for temporary files, which may be in memory
    file = disk[1] or str(Path(__file__).with_name(f".written-{os.getpid()}"))
    try:
        took_s = written_s(file, 1 << 20, procs)
        assert took_s > 0.7, "it wrote faster than it was allowed to"
        assert undo(plan.undo) == []
        assert written_s(file, 1 << 20, procs) < took_s, "undone, it is not faster"
    finally:
        if not disk[1]:
            os.unlink(file)


def test_a_process_tree_is_limited_in_several_hierarchies(
    actuator: Actuator, group: Path, folders: dict[str, Path], hog: subprocess.Popen[bytes], disk: tuple[str, str]
) -> None:
    before = limits(group, folders)
    tree = Target("pid", str(hog.pid))
    homes = Path(f"/proc/{hog.pid}/cgroup").read_text()
    possible = actuator.supports(tree)
    assert {"cpu_cores", "cpu_burst_s", "cpu_weight", "io_write_bytes_s"} <= set(possible)
    plans = []
    for resource in possible:
        plans.append(actuator.plan(Action(tree, named(resource, disk), VALUES[resource])))
        apply(plans[-1])
        assert actuator.read(tree, named(resource, disk)) == pytest.approx(VALUES[resource], rel=0.01)
    assert f"vagus-pid-{hog.pid}" in Path(f"/proc/{hog.pid}/cgroup").read_text()
    for plan in reversed(plans):
        assert undo(plan.undo) == []
    assert Path(f"/proc/{hog.pid}/cgroup").read_text() == homes
    assert limits(group, folders) == before
    with pytest.raises(ActuateError, match="another has its id now"):
        actuator.read(Target("pid", f"{hog.pid}:1"), "cpu_cores")


@pytest.fixture
def fat(folders: dict[str, Path]) -> Iterator[subprocess.Popen[str]]:
    """A process in the group with 48 MiB of its own; takes 48 MiB more for each line."""
    if "memory" not in folders:
        pytest.skip("the memory hierarchy is left alone outside of the emulated machine")
    code = f"""
import os, sys
open({str(folders["memory"] / "cgroup.procs")!r}, "w").write(str(os.getpid()))
kept = []
while True:
    kept.append(b"x" * (48 << 20)); print(len(kept), flush=True)
    if not sys.stdin.readline(): break
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fat:
        assert fat.stdout is not None
        assert fat.stdout.readline() == "1\n"
        yield fat
        fat.kill()
    await_true(lambda: not members(folders["memory"]))


def test_memory_below_its_use_is_refused(
    actuator: Actuator, folders: dict[str, Path], target: Target, mount: Mount, fat: subprocess.Popen[str]
) -> None:
    before = limits(folders["cpu"], folders)
    words = "can give back only" if mount.version == 2 else r"Device or resource busy \(EBUSY\)"
    with pytest.raises(Rejected, match=words):
        apply(actuator.plan(Action(target, "memory_bytes", float(8 << 20))))
    assert limits(folders["cpu"], folders) == before
    assert fat.poll() is None


def test_above_memory_high_processes_are_slowed_down_not_ended(
    actuator: Actuator, folders: dict[str, Path], target: Target, mount: Mount, fat: subprocess.Popen[str]
) -> None:
    if mount.version == 1:
        with pytest.raises(ActuateError, match="version 1 has no limit that slows down"):
            choose("cgroup1").plan(Action(target, "memory_high_bytes", 1e8))
        return
    events = folders["memory"] / "memory.events"
    assert "\nhigh 0\n" in events.read_text()
    plan = actuator.plan(Action(target, "memory_high_bytes", float(40 << 20)))
    apply(plan)
    assert fat.stdin is not None
    fat.stdin.write("more\n")
    fat.stdin.flush()
    await_true(lambda: "\nhigh 0\n" not in events.read_text())
    assert fat.poll() is None
    assert undo(plan.undo) == []


def test_processes_run_on_the_processors_that_were_chosen(
    actuator: Actuator, folders: dict[str, Path], target: Target
) -> None:
    if "cpuset" not in folders:
        pytest.skip("the cpuset hierarchy is left alone outside of the emulated machine")
    plan = actuator.plan(Action(target, "cpuset_cpus", 1.0))
    apply(plan)
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        (folders["cpuset"] / "cgroup.procs").write_text(str(sleeper.pid))
        assert len(os.sched_getaffinity(sleeper.pid)) == 1
        sleeper.kill()
    await_true(lambda: not members(folders["cpuset"]))
    assert undo(plan.undo) == []
