"""Limits on stand-ins for both versions' trees: what is refused and why, disks, processors, what comes back."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.cgroup_kernel import CgroupKernel
from vagus.actuators import Actuator
from vagus.actuators.apply import apply
from vagus.actuators.auto import Auto
from vagus.actuators.limits_cpuset import choose
from vagus.actuators.machine import Machine, list_text, parse_list
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, perform, undo
from vagus.watchdog import Journal

WEB = Target("cgroup", "web")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(params=[1, 2])
def kernel(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> CgroupKernel:
    made = CgroupKernel(root, request.param)
    made.install(monkeypatch)
    made.make("web")
    return made


@pytest.fixture
def actuator(kernel: CgroupKernel) -> Actuator:
    return Auto(kernel.root)


def group(kernel: CgroupKernel, controller: str) -> Path:
    return kernel.points.get(controller, kernel.points.get("", Path())) / "web"


# --- processors' time ------------------------------------------------------------------------------------------------


def test_more_than_there_is_is_refused(actuator: Actuator) -> None:
    for resource, value, words in (
        ("cpu_cores", 5.0, "the processors of this machine are 4"),
        ("memory_bytes", 18e9, "the bytes of this machine are"),
        ("cpuset_cpus", 5.0, "the processors of the group above it are 4"),
        ("cpuset_cpus", 0.5, "the least is 1"),
        ("cpu_weight", 0.5, "from 1 to 10000"),
        ("cpu_weight", 10_001.0, "from 1 to 10000"),
        ("io_read_ops_s", 0.5, "the least is 1"),
    ):
        with pytest.raises(Rejected, match=words):
            actuator.plan(Action(WEB, resource, value))


def test_weights_mean_the_same_in_both_versions(kernel: CgroupKernel, actuator: Actuator) -> None:
    assert actuator.read(WEB, "cpu_weight") == 100.0
    apply(actuator.plan(Action(WEB, "cpu_weight", 50.0)))
    text = (group(kernel, "cpu") / ("cpu.shares" if kernel.version == 1 else "cpu.weight")).read_text()
    assert text == ("512\n" if kernel.version == 1 else "50\n")


def test_the_burst_and_its_quota_come_back_in_the_order_that_the_kernel_takes(
    kernel: CgroupKernel, actuator: Actuator, tmp_path: Path
) -> None:
    for resource, value in (("cpu_cores", 1.0), ("cpu_burst_s", 0.09)):
        apply(actuator.plan(Action(WEB, resource, value)))
    with pytest.raises(Rejected, match="may not exceed the quota, 100000 us"):
        actuator.plan(Action(WEB, "cpu_burst_s", 0.11))
    with pytest.raises(Rejected, match="its burst of 90000 us is larger: lower cpu_burst_s first"):
        actuator.plan(Action(WEB, "cpu_cores", 0.5))
    before = {path: path.read_text() for path in group(kernel, "cpu").iterdir()}
    with Journal(tmp_path / "journal") as journal:
        for resource, value in (("cpu_cores", 3.0), ("cpu_burst_s", 0.25), ("cpu_burst_s", None), ("cpu_cores", 0.2)):
            plan = actuator.plan(Action(WEB, resource, value))
            journal.add(plan.undo)
            apply(plan)
        assert journal.restore("test").failures == ()
    assert {path: path.read_text() for path in group(kernel, "cpu").iterdir()} == before


def test_on_version_1_no_group_has_more_than_the_one_above(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = CgroupKernel(root, 1)
    kernel.install(monkeypatch)
    kernel.make("web/inner/most")
    actuator = Auto(root)
    apply(actuator.plan(Action(WEB, "cpu_cores", 1.5)))
    most = Target("cgroup", "web/inner/most")
    with pytest.raises(Rejected, match=r"raise it for .*/web above first, whose cores are 1\.5"):
        actuator.plan(Action(most, "cpu_cores", 2.0))
    apply(actuator.plan(Action(most, "cpu_cores", 1.5)))


# --- memory ------------------------------------------------------------------------------------------------------------


def test_memory_that_cannot_be_given_back_is_not_taken(kernel: CgroupKernel, actuator: Actuator) -> None:
    here = group(kernel, "memory")
    if kernel.version == 1:
        (here / "memory.usage_in_bytes").write_text("50000000\n")
        with pytest.raises(Rejected, match=r"Device or resource busy \(EBUSY\)"):
            apply(actuator.plan(Action(WEB, "memory_bytes", 1e7)))
        with pytest.raises(Unsupported, match=r"version 1 has no limit that slows down .* use memory_bytes"):
            actuator.plan(Action(WEB, "memory_high_bytes", 1e7))
        return
    (here / "memory.current").write_text("50000000\n")
    (here / "memory.stat").write_text(
        "anon 20000000\nactive_file 10000000\ninactive_file 15000000\nslab_reclaimable 5000000\n"
    )
    with pytest.raises(Rejected, match="it uses 50000000 bytes and can give back only 30000000"):
        actuator.plan(Action(WEB, "memory_bytes", 1.9e7))
    apply(actuator.plan(Action(WEB, "memory_high_bytes", 1.9e7)))
    apply(actuator.plan(Action(WEB, "memory_bytes", 2.1e7)))
    assert actuator.read(WEB, "memory_bytes") == 21_000_000 // 4096 * 4096


# --- disks ---------------------------------------------------------------------------------------------------------------


def test_disks_are_whole_and_each_gets_back_what_it_had(kernel: CgroupKernel, actuator: Actuator) -> None:
    name = "io_write_bytes_s"
    apply(actuator.plan(Action(WEB, name + "@8:1", 5e6)))
    assert actuator.read(WEB, name) == actuator.read(WEB, name + "@8:0") == 5e6, "a partition means its disk"
    apply(actuator.plan(Action(WEB, name + "@254:0", 3e6)))
    assert actuator.read(WEB, name) == 5e6, "no file system is on the other one"
    kernel.file(
        "proc/self/mountinfo", (kernel.root / "proc/self/mountinfo").read_text() + "9 1 254:0 / /x rw - xfs /dev/vda rw"
    )
    assert actuator.read(WEB, name) == 3e6, "the tightest"
    here = group(kernel, "blkio") / ("blkio.throttle.write_bps_device" if kernel.version == 1 else "io.max")
    before = here.read_text()
    plan = actuator.plan(Action(WEB, name, 1e6))
    assert [step.part.split()[0] for step in plan.steps] == ["8:0", "254:0"]
    apply(plan)
    assert [actuator.read(WEB, f"{name}@{disk}") for disk in ("8:0", "254:0")] == [1e6, 1e6]
    other = actuator.plan(Action(WEB, "io_read_ops_s@8:0", 10.0))
    apply(other)
    assert undo(plan.undo) == []
    assert undo(other.undo) == []
    assert here.read_text() == before
    for wrong in ("sda", "9:9", "8:", "8:0/../8:1"):
        with pytest.raises(
            Unsupported, match="is no block device of this machine, by MAJ:MIN; its disks are 8:0, 254:0"
        ):
            actuator.plan(Action(WEB, f"{name}@{wrong}", 1e6))
    with pytest.raises(Unsupported, match="cpu_cores has no parts"):
        actuator.plan(Action(WEB, "cpu_cores@8:0", 1.0))


def test_what_holds_file_systems_without_being_a_disk(root: Path) -> None:
    kernel = CgroupKernel(root, 2)
    kernel.file("sys/class/block/sda1/dev", "8:1")
    (root / "dev/mapper").mkdir(parents=True)
    (root / "dev/sda1").touch()
    (root / "dev/mapper/data").symlink_to("../sda1")
    lines = ["1 2 7:0 / /snap rw - squashfs /dev/loop0 ro", "2 2 0:44 / /data rw - btrfs /dev/mapper/data rw"]
    lines += ["3 2 0:45 / /nfs rw - nfs host:/x rw", "4 2 0:46 / /t rw - tmpfs tmpfs rw", "broken"]
    kernel.file("proc/self/mountinfo", "\n".join(lines))
    assert Machine(root).disks() == ("8:0",)
    kernel.file("proc/self/mountinfo", "\n".join(lines[2:]))
    kernel.make("web")
    kernel.file("proc/self/mountinfo", "\n".join([*lines[2:], "5 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"]))
    with pytest.raises(
        Unsupported, match=r"no disk of this machine holds a mounted file system .* io_read_bytes_s@8:0"
    ):
        Auto(root).plan(Action(WEB, "io_read_bytes_s", 1e6))


# --- processors ------------------------------------------------------------------------------------------------------------


def test_processors_of_one_node_that_neighbours_leave_alone(kernel: CgroupKernel, actuator: Actuator) -> None:
    kernel.make("other")
    other = Target("cgroup", "other")
    apply(actuator.plan(Action(WEB, "cpuset_cpus", 1.0)))
    apply(actuator.plan(Action(other, "cpuset_cpus", 1.0)))
    places = {
        name: (group(kernel, "cpuset").parent / name / "cpuset.cpus").read_text().strip() for name in ("web", "other")
    }
    assert places == {"web": "0", "other": "1"}
    apply(actuator.plan(Action(other, "cpuset_cpus", 2.0)))
    assert (group(kernel, "cpuset").parent / "other/cpuset.cpus").read_text() == "0-1\n", "the node of the one it has"
    apply(actuator.plan(Action(other, "cpuset_cpus", 4.0)))
    assert actuator.read(other, "cpuset_cpus") is None
    if kernel.version == 1:
        assert (group(kernel, "cpuset") / "cpuset.mems").read_text() == "0-1\n", "else it could hold no process"
        (kernel.points["cpuset"] / "cpuset.cpus").write_text("")
        (kernel.points["cpuset"] / "cpuset.effective_cpus").write_text("")
        with pytest.raises(Rejected, match="the group above has no processors: set "):
            actuator.plan(Action(WEB, "cpuset_cpus", 1.0))


def test_a_list_that_processes_use_cannot_be_emptied(kernel: CgroupKernel, actuator: Actuator) -> None:
    plan = actuator.plan(Action(WEB, "cpuset_cpus", 1.0))
    apply(plan)
    kernel.file("proc/4711/stat", "x")
    kernel.write(group(kernel, "cpuset") / "cgroup.procs", "4711")
    with pytest.raises(OSError, match="No space left") as caught:
        kernel.write(group(kernel, "cpuset") / "cpuset.cpus", "")
    assert caught.value.errno == errno.ENOSPC
    assert undo(plan.undo)[1:] == []  # version 1 keeps its memory nodes as well
    assert actuator.read(WEB, "cpuset_cpus") is None
    with pytest.raises(Rejected, match="ENOENT"):
        perform(Step("clear", str(kernel.root / "sys/fs/cgroup/nowhere"), "0-3"))


NUMBERS = st.frozensets(st.integers(0, 200), max_size=40)


@settings(deadline=None, max_examples=100)
@given(NUMBERS)
def test_lists_are_read_as_they_are_written(numbers: frozenset[int]) -> None:
    assert parse_list(list_text(numbers)) == numbers


@settings(deadline=None, max_examples=100)
@given(NUMBERS.filter(bool), st.data())
def test_as_many_as_asked_for_and_never_more_nodes_than_needed(there: frozenset[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(there)))
    held = data.draw(st.frozensets(st.sampled_from(sorted(there))))
    nodes = [frozenset(range(start, start + 16)) for start in range(0, 208, 16)]
    chosen = choose(count, there, held, nodes, Counter())
    assert len(chosen) == count
    assert chosen <= there
    assert chosen <= held or held <= chosen, "none that it has is given up for another"
    if not held and any(len(node & there) >= count for node in nodes):
        assert any(chosen <= node for node in nodes)


# --- what is missing ---------------------------------------------------------------------------------------------------------


def test_auto_on_a_machine_without_any(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("1 2 0:1 / / rw - ext4 /dev/vda rw\n")
    auto = Auto(tmp_path)
    assert auto.read(WEB, "cpu_cores") is None, "a controller may think"
    with pytest.raises(Unsupported, match=r"no cgroup v\d hierarchy with the cpu controller is mounted"):
        auto.plan(Action(WEB, "cpu_cores", 1.0))
    with pytest.raises(Unsupported, match=r"no cgroup v1 hierarchy .*; no cgroup v2 hierarchy"):
        auto.supports(WEB)
    with pytest.raises(Unsupported, match="systemd does not manage this machine; name systemd:x by its group"):
        auto.plan(Action(Target("systemd", "x"), "cpu_cores", 1.0))


def test_a_hybrid_machine_has_each_resource_where_its_controller_is(root: Path, tmp_path: Path) -> None:
    CgroupKernel(root, 1).make("web")
    other = CgroupKernel(tmp_path / "two", 2)
    other.make("web")
    memory = root / "sys/fs/cgroup/unified"
    (tmp_path / "two/sys/fs/cgroup").rename(memory)
    lines = (root / "proc/self/mountinfo").read_text().splitlines()
    lines = [line for line in lines if not line.endswith("rw,memory")] + [
        "9 2 0:9 / /sys/fs/cgroup/unified rw - cgroup2 x rw"
    ]
    (root / "proc/self/mountinfo").write_text("\n".join(lines))
    (memory / "cgroup.controllers").write_text("memory\n")
    auto = Auto(root)
    assert auto.who(WEB, "cpu_cores") == "cgroup1"
    assert auto.who(WEB, "memory_bytes") == auto.who(WEB, "memory_high_bytes") == "cgroup2"
    assert {"cpu_cores", "memory_bytes", "memory_high_bytes"} <= set(auto.supports(WEB))
    with pytest.raises(ActuateError, match="does not exist"):
        auto.read(Target("cgroup", "nope"), "memory_bytes")
