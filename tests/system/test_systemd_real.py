"""Units that a real systemd manages: test_systemd_vm.py boots one in the emulated machine and runs these."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE

from vagus.actuators import Plan, acting
from vagus.actuators.apply import apply
from vagus.actuators.choose import choose
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, undo
from vagus.watchdog import Journal

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not os.environ.get("VAGUS_VM") or not Path("/run/systemd/private").exists(),
        reason="needs a systemd of its own: tests/system/test_systemd_vm.py boots one in the emulated machine",
    ),
]
TOP = Path("/sys/fs/cgroup")
ID = "4c01db0b339ca50b5e9a7b3f8d4a9f6e0c1b2a39485766778899aabbccddeeff"
VALUES = {
    "cpu_cores": 0.5,
    "cpu_weight": 250.0,
    "memory_bytes": float(64 << 20),
    "memory_high_bytes": float(32 << 20),
    "io_read_bytes_s@254:0": float(3 << 20),
    "io_write_bytes_s@254:0": float(2 << 20),
    "io_read_ops_s@254:0": 300.0,
    "io_write_ops_s@254:0": 200.0,
    "cpuset_cpus": 1.0,
}
SHOWN = ("CPUQuotaPerSecUSec", "CPUWeight", "MemoryMax", "MemoryHigh", "AllowedCPUs", "IOReadBandwidthMax")
SHOWN += ("IOWriteBandwidthMax", "IOReadIOPSMax", "IOWriteIOPSMax")


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout


def shown(unit: str) -> str:
    return systemctl("show", *(word for name in SHOWN for word in ("-p", name)), unit)


def files(group: Path) -> dict[str, str]:
    names = ("cpu.max", "cpu.weight", "memory.max", "memory.high", "io.max", "cpuset.cpus")
    return {name: text for name in names if (group / name).exists() and (text := (group / name).read_text().strip())}


def limited(group: Path) -> dict[str, str]:
    """Those that are limits: which files there are depends on what systemd has enabled just now."""
    idle = ("max", "100", "max 100000", (TOP / "cpuset.cpus.effective").read_text().strip())
    return {name: text for name, text in files(group).items() if text not in idle}


def dropins() -> set[str]:
    return {str(path) for path in Path("/run/systemd").glob("*/*.d/50-*.conf")}


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30 * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module", autouse=True)
def disk() -> None:
    if not Path("/dev/nullb0").exists():
        subprocess.run(["/bin/busybox", "modprobe", "null_blk"], check=True)
    assert Path("/sys/block/nullb0/dev").read_text() == "254:0\n"


def transient(unit: str, *options: str) -> None:
    command = ["systemd-run", f"--unit={unit}", "-p", "DefaultDependencies=no", *options, "sleep", "1000"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def unit() -> Iterator[str]:
    name = f"vagus-test-{time.monotonic_ns()}.service"
    transient(name)
    yield name
    subprocess.run(["systemctl", "stop", name], capture_output=True)


@pytest.fixture
def target(unit: str) -> Target:
    return Target("systemd", unit)


@pytest.fixture
def group(unit: str) -> Path:
    return TOP / "system.slice" / unit


def test_every_property_is_set_read_back_and_restored(unit: str, target: Target, group: Path) -> None:
    auto = choose("auto")
    before, limits, there = shown(unit), limited(group), dropins()
    assert set(auto.supports(target)) == {name.partition("@")[0] for name in VALUES}
    for resource, value in VALUES.items():
        assert acting(auto, target, resource) == "systemd"
        first = auto.read(target, resource)
        plan = auto.plan(Action(target, resource, value))
        assert shown(unit) == before, "planning touches nothing"
        apply(plan)
        now = auto.read(target, resource)
        assert now == pytest.approx(value, rel=0.001), resource
        assert plan.shown(now)
        assert shown(unit) != before
        lifted = auto.plan(Action(target, resource, None))
        apply(lifted)
        assert auto.read(target, resource) == first, resource
        assert undo(lifted.undo) == []
        assert auto.read(target, resource) == now
        assert undo(plan.undo) == []
        assert (shown(unit), limited(group), dropins()) == (before, limits, there), resource


def test_it_outlives_a_reload_and_what_is_written_beside_it_does_not(unit: str, target: Target, group: Path) -> None:
    auto = choose("auto")
    plan = auto.plan(Action(target, "cpu_cores", 0.4049))
    apply(plan)
    assert auto.read(target, "cpu_cores") == 0.4
    (group / "cpu.max").write_text("70000 100000")
    assert auto.read(target, "cpu_cores") == 0.7, "read shows what is in force: it has drifted"
    systemctl("daemon-reload")
    assert auto.read(target, "cpu_cores") == 0.4
    assert undo(plan.undo) == []
    systemctl("daemon-reload")
    assert auto.read(target, "cpu_cores") is None


def test_what_the_units_file_says_is_what_comes_back(tmp_path: Path) -> None:
    auto, name = choose("auto"), "vagus-test-file.service"
    text = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\nCPUQuota={}%\nMemoryMax=200M\n"
    text += "IOReadBandwidthMax=/dev/nullb0 5M\nCPUWeight=77\n"
    file = Path("/run/systemd/system") / name
    file.write_text(text.format(20))
    systemctl("daemon-reload")
    systemctl("start", name)
    try:
        target, group = Target("systemd", name), TOP / "system.slice" / name
        before, limits, there = shown(name), limited(group), dropins()
        assert auto.read(target, "cpu_cores") == 0.2
        assert auto.read(target, "io_read_bytes_s@254:0") == 5e6
        values = {"cpu_cores": 0.6, "memory_bytes": 1e8, "io_read_bytes_s@254:0": 1e6, "cpu_weight": 30.0}
        with Journal(tmp_path / "journal") as journal:
            for resource, value in values.items():
                plan = auto.plan(Action(target, resource, value))
                journal.add(plan.undo)
                apply(plan)
                assert plan.shown(auto.read(target, resource)), resource
            assert journal.restore("test").failures == ()
        assert (shown(name), limited(group), dropins()) == (before, limits, there)
        file.write_text(text.format(30))
        systemctl("daemon-reload")
        assert auto.read(target, "cpu_cores") == 0.3, "nothing of ours stands before the unit's file"
    finally:
        systemctl("stop", name)
        file.unlink()
        systemctl("daemon-reload")


def test_direct_writes_to_a_unit_are_refused_unless_it_is_delegated(unit: str, group: Path) -> None:
    auto = choose("auto")
    with pytest.raises(Rejected, match=f"name systemd:{unit}, or set Delegate=yes"):
        auto.plan(Action(Target("cgroup", f"system.slice/{unit}"), "memory_bytes", 1e8))
    pid = systemctl("show", "-p", "MainPID", "--value", unit).strip()
    with pytest.raises(Rejected, match=f"systemd's unit {unit}"):
        auto.plan(Action(Target("pid", pid), "memory_bytes", 1e8))
    given = "vagus-test-given.service"
    transient(given, "-p", "Delegate=yes")
    try:
        own = TOP / "system.slice" / given
        with pytest.raises(Rejected, match="systemd owns the unit"):
            auto.plan(Action(Target("cgroup", f"system.slice/{given}"), "memory_bytes", 1e8))
        below = own / "workers"
        below.mkdir()
        for process in (own / "cgroup.procs").read_text().split():
            (below / "cgroup.procs").write_text(process)
        (own / "cgroup.subtree_control").write_text("+memory +cpu")
        target = Target("cgroup", f"system.slice/{given}/workers")
        plan = auto.plan(Action(target, "memory_bytes", 1e8))
        assert acting(auto, target, "memory_bytes") == "cgroup2"
        apply(plan)
        assert undo(plan.undo) == []
        tree = Target("pid", (below / "cgroup.procs").read_text().split()[0])
        plan = auto.plan(Action(tree, "cpu_cores", 0.5))
        apply(plan)
        assert auto.read(tree, "cpu_cores") == 0.5
        assert undo(plan.undo) == []
    finally:
        systemctl("stop", given)


def test_a_containers_scope_is_limited_through_systemd() -> None:
    auto, scope = choose("auto"), f"docker-{ID}.scope"
    command = ["systemd-run", "--scope", f"--unit={scope}", "-p", "DefaultDependencies=no", "sleep", "1000"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as container:
        group = TOP / "system.slice" / scope
        await_true(group.is_dir)
        target = Target("container", ID[:12])
        assert acting(auto, target, "memory_bytes") == "systemd"
        plan = auto.plan(Action(target, "memory_bytes", 1e8))
        apply(plan)
        assert plan.shown(auto.read(target, "memory_bytes"))
        assert f"MemoryMax={10**8}" in shown(scope)
        assert undo(plan.undo) == []
        assert auto.read(target, "memory_bytes") is None
        container.terminate()


def test_what_systemd_says_is_quoted(unit: str, target: Target, group: Path) -> None:
    auto = choose("auto")
    before = shown(unit)
    plan = auto.plan(Action(target, "cpu_cores", 0.5))
    wrong = plan.steps[0].value.replace("CPUQuota=50%", "CPUQuota=many")
    with pytest.raises(Rejected, match=r"systemctl: .*many"):
        apply(Plan((Step("run", plan.steps[0].path, wrong),), plan.undo))
    assert shown(unit) == before
    with pytest.raises(ActuateError, match=r"does not run \(systemd says: not-found\)"):
        auto.plan(Action(Target("systemd", "vagus-test-nope.service"), "cpu_cores", 0.5))
    with pytest.raises(Unsupported, match="can limit cpu_burst_s"):
        auto.plan(Action(target, "cpu_burst_s", 0.01))


def test_a_unit_that_has_ended_is_undone(unit: str, target: Target, group: Path) -> None:
    auto = choose("auto")
    plan = auto.plan(Action(target, "memory_bytes", 1e8))
    apply(plan)
    systemctl("stop", unit)
    await_true(lambda: not group.exists())
    assert undo(plan.undo) == []
    with pytest.raises(ActuateError, match="does not run"):
        auto.read(target, "memory_bytes")
