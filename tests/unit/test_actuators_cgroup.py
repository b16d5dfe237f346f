"""Both cgroup versions over a folder that looks like the kernel's: regular files, as an ordinary user."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vagus.actuators import acting
from vagus.actuators.apply import apply
from vagus.actuators.cgroup1 import Cgroup1
from vagus.actuators.cgroup2 import Cgroup2
from vagus.actuators.choose import choose
from vagus.actuators.hierarchy import mounts
from vagus.errors import ActuateError, ConfigError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, undo

WEB = Target("cgroup", "vagus/web")
NOBODY = 65534
STAT = "4711 (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 100 50 30 20 20 0 1 0 99 1000000 256 0 0"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def v1(root: Path, options: str = "rw") -> Path:
    write(
        root / "proc/self/mountinfo",
        f"31 23 0:28 / /sys/fs/cgroup {options} - tmpfs tmpfs rw\n"
        f"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct {options},relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
        f"35 31 0:32 / /sys/fs/cgroup/memory {options} - cgroup cgroup rw,memory\n"
        f"41 31 0:38 / /sys/fs/cgroup/unified {options} - cgroup2 cgroup2 rw\n"
        "broken line\n",
    )
    group = root / "sys/fs/cgroup/cpu,cpuacct/vagus/web"
    write(group / "cpu.cfs_quota_us", "-1\n")
    write(group / "cpu.cfs_period_us", "50000\n")
    write(group / "cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 2500000000\n")
    write(group / "cpuacct.usage", "3500000000\n")
    write(root / "sys/fs/cgroup/memory/vagus/web/memory.limit_in_bytes", "9223372036854771712\n")
    write(root / "sys/fs/cgroup/memory/vagus/web/memory.usage_in_bytes", "1048576\n")
    write(root / "proc/4711/stat", STAT)
    write(root / "proc/4711/cgroup", "4:memory:/vagus/web\n3:cpu,cpuacct:/vagus/web\n0::/\n")
    return group


def v2(root: Path, inside: str = "/") -> Path:
    write(root / "proc/self/mountinfo", f"30 23 0:26 {inside} /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n")
    top = root / "sys/fs/cgroup"
    write(top / "cgroup.controllers", "cpu memory\n")
    write(top / "cgroup.subtree_control", "cpu memory\n")
    write(top / "vagus/cgroup.subtree_control", "cpu\n")
    group = top / "vagus/web"
    write(group / "cpu.max", "max 200000\n")
    write(group / "memory.max", "max\n")
    write(group / "memory.current", "4096\n")
    write(
        group / "cpu.stat",
        "usage_usec 1500000\nuser_usec 1\nnr_periods 7\nnr_throttled 2\nthrottled_usec 250000\n",
    )
    write(root / "proc/4711/stat", STAT)
    write(root / "proc/4711/cgroup", f"0::{inside.rstrip('/')}/vagus/web\n")
    return group


def test_v1_reads_limits_and_usage(tmp_path: Path) -> None:
    v1(tmp_path)
    actuator = Cgroup1(tmp_path)
    assert actuator.read(WEB, "cpu_cores") is None
    assert actuator.read(WEB, "memory_bytes") is None
    usage = actuator.usage(WEB)
    assert (usage.cpu_s, usage.periods, usage.throttled_periods, usage.throttled_s) == (3.5, 10, 4, 2.5)
    assert (usage.memory_bytes, usage.period_s) == (1048576, 0.05)
    assert actuator.supports(WEB) == ("cpu_cores", "memory_bytes")


def test_v1_keeps_the_period_and_undoes_to_the_same_bytes(tmp_path: Path) -> None:
    group = v1(tmp_path)
    actuator = Cgroup1(tmp_path)
    plan = actuator.plan(Action(WEB, "cpu_cores", 1.5))
    assert plan.steps == (Step("write", str(group / "cpu.cfs_quota_us"), "75000"),)
    apply(plan)
    assert actuator.read(WEB, "cpu_cores") == 1.5
    assert undo(plan.undo) == []
    assert (group / "cpu.cfs_quota_us").read_text().strip() == "-1"
    apply(actuator.plan(Action(WEB, "memory_bytes", 8192.7)))
    assert actuator.read(WEB, "memory_bytes") == 8192
    assert actuator.plan(Action(WEB, "memory_bytes", None)).steps[0].value == "-1"


def test_v1_usage_without_cpuacct_is_that_of_its_processes(tmp_path: Path) -> None:
    group = v1(tmp_path)
    (group / "cpuacct.usage").unlink()
    write(group / "cgroup.procs", "4711\n")
    write(group / "sub/cgroup.procs", "4711\n99999\n")
    assert Cgroup1(tmp_path).usage(WEB).cpu_s == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))


def test_v2_reads_limits_and_usage(tmp_path: Path) -> None:
    group = v2(tmp_path)
    actuator = Cgroup2(tmp_path)
    assert actuator.read(WEB, "cpu_cores") is None
    assert actuator.read(WEB, "memory_bytes") is None
    usage = actuator.usage(WEB)
    assert (usage.cpu_s, usage.periods, usage.throttled_periods, usage.throttled_s) == (1.5, 7, 2, 0.25)
    assert (usage.memory_bytes, usage.period_s) == (4096, 0.2)
    plan = actuator.plan(Action(WEB, "cpu_cores", 0.5))
    apply(plan)
    assert (group / "cpu.max").read_text() == "100000 200000\n"
    assert actuator.read(WEB, "cpu_cores") == 0.5
    assert actuator.plan(Action(WEB, "cpu_cores", None)).steps[0].value == "max 200000"
    undo(plan.undo)
    assert (group / "cpu.max").read_text() == "max 200000\n"
    apply(actuator.plan(Action(WEB, "memory_bytes", 1 << 20)))
    assert actuator.read(WEB, "memory_bytes") == 1 << 20


def test_a_process_tree_gets_a_group_of_its_own(tmp_path: Path) -> None:
    group = v1(tmp_path)
    tree = Target("pid", "4711")
    write(tmp_path / "proc/4712/stat", STAT.replace("4711", "4712").replace("S 1 ", "S 4711 "))
    write(tmp_path / "proc/4712/cgroup", "3:cpu,cpuacct:/vagus/web\n")
    write(tmp_path / "proc/1/stat", STAT.replace("4711", "1").replace("S 1 ", "S 0 "))
    actuator = Cgroup1(tmp_path)
    assert actuator.read(tree, "cpu_cores") is None
    assert actuator.supports(tree) == ("cpu_cores",)
    usage = actuator.usage(tree)
    assert usage.cpu_s == pytest.approx(400 / os.sysconf("SC_CLK_TCK"))
    assert math.isnan(usage.throttled_periods)
    own = group / "vagus-pid-4711"
    plan = actuator.plan(Action(tree, "cpu_cores", 0.5))
    assert plan.steps == (
        Step("mkdir", str(own)),
        Step("write", str(own / "cpu.cfs_quota_us"), "50000"),
        Step("move", str(own / "cgroup.procs"), "4711"),
        Step("move", str(own / "cgroup.procs"), "4712"),
    )
    assert plan.undo == (
        Step("write", str(own / "cpu.cfs_quota_us"), "-1"),
        Step("drain", str(own / "cgroup.procs"), str(group / "cgroup.procs")),
        Step("rmdir", str(own)),
    )
    with pytest.raises(Unsupported, match="cannot limit memory_bytes"):
        actuator.plan(Action(tree, "memory_bytes", 1e9))


def test_a_process_tree_in_several_groups_is_refused(tmp_path: Path) -> None:
    v1(tmp_path)
    write(tmp_path / "proc/4712/stat", STAT.replace("4711", "4712").replace("S 1 ", "S 4711 "))
    write(tmp_path / "proc/4712/cgroup", "3:cpu,cpuacct:/other\n")
    with pytest.raises(Rejected, match="different groups"):
        Cgroup1(tmp_path).plan(Action(Target("pid", "4711"), "cpu_cores", 1))


def test_on_v2_the_group_of_a_tree_stands_beside_the_present_one(tmp_path: Path) -> None:
    group = v2(tmp_path)
    plan = Cgroup2(tmp_path).plan(Action(Target("pid", "4711"), "cpu_cores", 0.5))
    assert plan.steps[0] == Step("mkdir", str(group.parent / "vagus-pid-4711"))
    write(group.parent / "cgroup.subtree_control", "\n")
    with pytest.raises(Unsupported, match=r"echo \+cpu > .*/vagus/cgroup.subtree_control"):
        Cgroup2(tmp_path).plan(Action(Target("pid", "4711"), "cpu_cores", 0.5))


def test_a_group_seen_through_a_container_mount(tmp_path: Path) -> None:
    group = v2(tmp_path, inside="/docker/abc")
    plan = Cgroup2(tmp_path).plan(Action(Target("pid", "4711"), "cpu_cores", 0.5))
    assert [step.value for step in plan.undo if step.op == "drain"] == [str(group / "cgroup.procs")]
    write(tmp_path / "proc/4711/cgroup", "0::/../other\n")
    with pytest.raises(Unsupported, match="not visible"):
        Cgroup2(tmp_path).supports(Target("pid", "4711"))


@pytest.mark.parametrize("name", ["/", "..", "a/../b", "ray-node_1/user", "process_api/x", "ray"])
def test_groups_of_others_and_the_root_are_refused(tmp_path: Path, name: str) -> None:
    v1(tmp_path)
    with pytest.raises(Rejected):
        Cgroup1(tmp_path).plan(Action(Target("cgroup", name), "cpu_cores", 1))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_values_that_are_no_limits_are_refused(tmp_path: Path, value: float) -> None:
    v1(tmp_path)
    with pytest.raises(Rejected, match="finite number above 0"):
        Cgroup1(tmp_path).plan(Action(WEB, "cpu_cores", value))


def test_what_is_missing_is_said_with_its_remedy(tmp_path: Path) -> None:
    group = v1(tmp_path, options="ro")
    with pytest.raises(Unsupported, match="read-only, as in containers"):
        Cgroup1(tmp_path).supports(WEB)
    v1(tmp_path)
    with pytest.raises(Unsupported, match="vagus/nope does not exist"):
        Cgroup1(tmp_path).supports(Target("cgroup", "vagus/nope"))
    with pytest.raises(ActuateError, match="vagus/nope does not exist"):
        Cgroup1(tmp_path).usage(Target("cgroup", "vagus/nope"))
    with pytest.raises(ActuateError, match="process 5 does not exist"):
        Cgroup1(tmp_path).usage(Target("pid", "5"))
    with pytest.raises(Unsupported, match="limits cgroup:PATH, pid:NUMBER and container:ID"):
        Cgroup1(tmp_path).supports(Target("unit", "x"))
    with pytest.raises(Unsupported, match="no cgroup v2 hierarchy with the cpu"):
        Cgroup2(tmp_path).supports(WEB)
    (group / "cpu.cfs_quota_us").unlink()
    assert Cgroup1(tmp_path).supports(WEB) == ("memory_bytes",)
    with pytest.raises(ActuateError, match=r"cannot read .*mountinfo"):
        mounts(tmp_path / "nowhere")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root steps down for the block, and keeps the right to come back; others are what they are."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_without_permission_the_user_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies in a folder that only its owner may enter
        root = Path(folder)
        root.chmod(0o755)
        group = v1(root)
        (group / "cpu.cfs_quota_us").chmod(0o444)
        with ordinary_user(), pytest.raises(Unsupported, match="run vagus as root"):
            Cgroup1(root).plan(Action(WEB, "cpu_cores", 1))


def test_permission_is_asked_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v1(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Unsupported, match="run vagus as root, or give that group to this user"):
        Cgroup1(tmp_path).plan(Action(WEB, "cpu_cores", 1))


def test_damaged_files_are_errors_that_name_them(tmp_path: Path) -> None:
    group = v1(tmp_path)
    write(group / "cpu.cfs_quota_us", "many\n")
    with pytest.raises(ActuateError, match=r"cpu\.cfs_quota_us"):
        Cgroup1(tmp_path).read(WEB, "cpu_cores")
    (group / "cpu.stat").unlink()
    with pytest.raises(ActuateError, match=r"cpu\.stat"):
        Cgroup1(tmp_path).usage(WEB)


def test_auto_takes_the_version_that_has_the_cpu_controller(tmp_path: Path) -> None:
    v1(tmp_path / "one")
    v2(tmp_path / "two")
    write(tmp_path / "none/proc/self/mountinfo", "1 2 0:1 / / rw - ext4 /dev/vda rw\n")
    assert acting(choose("auto", tmp_path / "one"), WEB, "cpu_cores") == "cgroup1"
    assert acting(choose("auto", tmp_path / "two"), WEB, "cpu_cores") == "cgroup2"
    assert acting(choose("auto", tmp_path / "none"), WEB, "cpu_cores") == "dry"
    assert acting(choose("dry", tmp_path / "one"), WEB, "cpu_cores") == "dry"
    with pytest.raises(ConfigError, match="no 'cgroup9'"):
        choose("cgroup9", tmp_path)


def test_paths_with_spaces_are_unescaped(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/mountinfo", r"1 2 0:1 / /my\040groups rw - cgroup cgroup rw,cpu" + "\n")
    assert mounts(tmp_path)[0].point == tmp_path / "my groups"
