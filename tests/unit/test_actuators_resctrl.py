"""resctrl's actuator without a kernel: what is read, chosen and planned on small made trees."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import pytest

from tests.fixtures.resctrl_kernel import Kernel
from tests.fixtures.resctrl_machines import PROFILES
from vagus.actuators import Plan
from vagus.actuators.readback import same
from vagus.actuators.resctrl import Resctrl
from vagus.actuators.resctrl_machine import Bandwidth, Cache, choose, widest
from vagus.actuators.resctrl_schemata import Schemata, runs
from vagus.actuators.resctrl_tasks import own_name
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, perform, undo
from vagus.undo.resctrl import last_words

ALL = Target("resctrl", "/")
WEB = Target("resctrl", "web")


def tree(root: Path, kernel: Kernel, path: str = "") -> None:
    """The files of the stand-in as plain ones: enough to read and plan."""
    here = root / "sys/fs/resctrl" / path.lstrip("/")
    here.mkdir(parents=True, exist_ok=True)
    for name in kernel.folder(path or "/") or ():
        inner = f"{path}/{name}"
        if kernel.folder(inner) is not None:
            tree(root, kernel, inner)
        else:
            (here / name).write_text(kernel.read(inner))


def machine(root: Path, profile: str, *groups: str, **schemata: str) -> Resctrl:
    kernel = Kernel(PROFILES[profile])
    for group in groups:
        kernel.mkdir(f"/{group}")
    for group, lines in schemata.items():
        path = "/schemata" if group == "default" else f"/{group}/schemata"
        kernel.write(path, lines.encode() + b"\n")
    tree(root, kernel)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    return Resctrl(root)


def process(root: Path, pid: int, parent: int = 1, threads: tuple[int, ...] = ()) -> None:
    for task in (pid, *threads):
        (root / f"proc/{pid}/task/{task}").mkdir(parents=True)
    fields = ["S", str(parent), *["0"] * 30]
    (root / f"proc/{pid}/stat").write_text(f"{pid} (a) b) {' '.join(fields)}\n")


def written(plan: Plan) -> list[tuple[str, str]]:
    return [(step.value, step.part) for step in plan.steps if step.op == "write"]


# --- values ----------------------------------------------------------------------------------------------------------


def test_schemata_with_the_kernels_padding() -> None:
    text = "    MB:0=  100;1=   20\nL3CODE:0=0ffff;1=00001\n    L2:uninitialized\n"
    schemata = Schemata.parse(text)
    assert schemata.lines == {"MB": {0: 100, 1: 20}, "L3CODE": {0: 0xFFFF, 1: 1}, "L2": {}}
    assert str(schemata) == "MB:0=100;1=20\nL3CODE:0=ffff;1=1"


@pytest.mark.parametrize("text", ["L3", "L3:0", "L3:x=f", "L3:0=g", "MB:0=f", "L3:0=f" + ";1=f" * 20_000])
def test_a_malformed_schemata_is_named(text: str) -> None:
    with pytest.raises(ActuateError, match="schemata"):
        Schemata.parse(text)


L3 = Cache("L3", 0xFFF, 1, 0xC00, False)


def test_ways_are_chosen_beside_the_others() -> None:
    assert choose(L3, 4, 0, [], 0) == 0xF
    assert choose(L3, 4, 0, [0xF], 0) == 0xF0, "beside what another group has for itself"
    assert choose(L3, 4, 0x3C0, [0xF], 0) == 0x3C0, "where it is now"
    assert choose(L3, 2, 0x3C0, [], 0) == 0xC0, "it shrinks in place"
    assert choose(L3, 5, 0, [], 0x1F) == 0x3E0, "not the exclusive ones, few of the devices'"
    assert choose(L3, 8, 0, [], 0xF0) == 0, "no such run is free"
    assert choose(L3._replace(sparse=True), 8, 0, [], 0xF0) == 0xF0F
    assert choose(L3._replace(sparse=True), 9, 0, [], 0xF0) == 0
    assert widest(L3, 0) == 0xFFF
    assert widest(L3, 0x8) == 0xFF0
    assert widest(L3._replace(sparse=True), 0x8) == 0xFF7
    assert widest(L3, 0xFFF) == 0
    assert runs(0b1011001) == [(0, 1), (3, 2), (6, 1)]


def test_bandwidth_is_rounded_as_the_kernel_rounds() -> None:
    percent = Bandwidth("MB", "percent", 10, 100, 10)
    assert [percent.units(value) for value in (10, 10.5, 31, 99.1)] == [10, 20, 40, 100]
    assert (percent.value(40), percent.value(100)) == (40.0, None)
    amd = Bandwidth("MB", "eighths", 0, 2048, 1)
    assert [amd.units(value) for value in (1e9, 1.3e9, 1.0)] == [8, 10, 1]
    assert (amd.value(8), amd.value(2048)) == (1e9, None)
    mbps = Bandwidth("MB", "mbps", 10, 2**32 - 1, 10)
    assert mbps.units(1024.0 * (1 << 20)) == 1024
    assert (mbps.value(3), mbps.value(2**32 - 1)) == (3.0 * (1 << 20), None)


def test_names_of_our_groups_are_folders_and_differ() -> None:
    assert own_name(Target("pid", "47")) == "vagus-pid-47"
    odd = [own_name(Target("cgroup", name)) for name in ("a/b", "a-b", "a b", "x" * 300)]
    assert len(set(odd)) == 4
    assert all("/" not in name and len(name) < 120 for name in odd)


# --- reading and planning ----------------------------------------------------------------------------------------------


def test_what_each_machine_can_limit(tmp_path: Path) -> None:
    expected = {
        "intel": ("llc_ways", "memory_bandwidth_percent"),
        "l2l3mb": ("llc_ways", "l2_ways", "memory_bandwidth_percent"),
        "cdp": ("llc_ways", "llc_code_ways", "llc_data_ways", "memory_bandwidth_percent"),
        "mbps": ("llc_ways", "memory_bandwidth_bytes_s"),
        "amd": ("llc_ways", "memory_bandwidth_bytes_s"),
        "haswell": ("llc_ways",),
    }
    for profile, resources in expected.items():
        assert machine(tmp_path / profile, profile).supports(ALL) == resources


def test_a_line_for_every_domain_or_one(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel", "web", web="L3:0=f;1=ff")
    assert actuator.read(WEB, "llc_ways") == 4.0, "the tightest"
    assert actuator.read(WEB, "llc_ways@1") == 8.0
    assert actuator.read(ALL, "llc_ways") is None
    assert actuator.read(WEB, "memory_bandwidth_percent") is None
    plan = actuator.plan(Action(WEB, "llc_ways", 2.0))
    assert written(plan) == [("L3:0=3;1=3", "L3")]
    assert plan.undo == (Step("write", str(tmp_path / "sys/fs/resctrl/web/schemata"), "L3:0=f;1=ff", "L3"),)
    assert plan.expected == 2.0
    plan = actuator.plan(Action(WEB, "llc_ways@1", 2.4))
    assert (written(plan), plan.undo[0].value, plan.expected) == ([("L3:1=3", "L3@1")], "L3:1=ff", 2.0)
    plan = actuator.plan(Action(WEB, "memory_bandwidth_percent", 33.0))
    assert (written(plan), plan.expected) == ([("MB:0=40;1=40", "MB")], 40.0)
    plan = actuator.plan(Action(WEB, "llc_ways", None))
    assert (written(plan), plan.expected) == ([("L3:0=fffff;1=fffff", "L3")], None)
    assert actuator.plan(Action(WEB, "llc_ways", 20.0)).expected is None, "all ways are no limit"


def test_code_and_data_get_the_same_ways(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "cdp", "web", web="L3CODE:0=3;1=3")
    plan = actuator.plan(Action(WEB, "llc_ways", 3.0))
    assert written(plan) == [("L3CODE:0=7;1=7\nL3DATA:0=7;1=7", "L3CODE+L3DATA")]
    assert written(actuator.plan(Action(WEB, "llc_data_ways@0", 3.0))) == [("L3DATA:0=7", "L3DATA@0")]
    assert (actuator.read(WEB, "llc_code_ways"), actuator.read(WEB, "llc_data_ways")) == (2.0, None)
    assert actuator.read(WEB, "llc_ways") == 2.0


def test_bytes_per_second_in_the_machines_units(tmp_path: Path) -> None:
    amd = machine(tmp_path / "amd", "amd", "web", web="MB:0=16")
    assert amd.read(WEB, "memory_bandwidth_bytes_s") == 2e9
    plan = amd.plan(Action(WEB, "memory_bandwidth_bytes_s@1", 3.1e9))
    assert (written(plan), plan.expected) == ([("MB:1=25", "MB@1")], 3.125e9)
    assert written(amd.plan(Action(WEB, "memory_bandwidth_bytes_s@0", None))) == [("MB:0=2048", "MB@0")]
    mbps = machine(tmp_path / "mbps", "mbps", "web", web="MB:0=100;1=100")
    assert mbps.read(WEB, "memory_bandwidth_bytes_s") == 100.0 * (1 << 20)
    assert written(mbps.plan(Action(WEB, "memory_bandwidth_bytes_s", 1e9))) == [("MB:0=954;1=954", "MB")]
    (mbps.folder / "mba_MBps_event").unlink()
    (mbps.folder / "schemata").write_text("MB:0=90;1=90\nL3:0=7ff;1=7ff\n")
    (tmp_path / "mbps/proc/self/mounts").write_text("resctrl /sys/fs/resctrl resctrl rw,mba_MBps 0 0\n")
    assert mbps.read(ALL, "memory_bandwidth_bytes_s") == 90.0 * (1 << 20), "an older kernel: the mount says it"


def test_exclusive_groups_are_left_alone(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel", "web", "db", default="L3:0=ff;1=ff", web="L3:0=ff;1=ff", db="L3:0=f00;1=f00")
    (actuator.folder / "db/mode").write_text("exclusive\n")
    assert written(actuator.plan(Action(WEB, "llc_ways", None))) == [("L3:0=ff;1=ff", "L3")], (
        "the longest run that is free"
    )
    with pytest.raises(Rejected, match="no 9 consecutive ways of L3 domain 0 are outside exclusive"):
        actuator.plan(Action(WEB, "llc_ways", 9.0))
    db = Target("resctrl", "db")
    assert written(actuator.plan(Action(db, "llc_ways@0", 10.0))) == [("L3:0=3ff00", "L3@0")], (
        "nor on what devices fill"
    )
    with pytest.raises(Rejected, match="no 11 consecutive ways"):
        actuator.plan(Action(db, "llc_ways", 11.0))


@pytest.mark.parametrize(
    ("resource", "value", "words"),
    [
        ("llc_ways", 0.2, "from 1 to 20"),
        ("llc_ways", 21.0, "from 1 to 20"),
        ("llc_ways", math.nan, "above 0"),
        ("llc_ways", -1.0, "above 0"),
        ("llc_ways@7", 3.0, "no domain 7, only 0, 1"),
        ("memory_bandwidth_percent", 9.0, "from 10 to 100"),
        ("memory_bandwidth_percent", 101.0, "from 10 to 100"),
    ],
)
def test_values_that_the_machine_has_not(tmp_path: Path, resource: str, value: float, words: str) -> None:
    actuator = machine(tmp_path, "intel", "web")
    with pytest.raises(Rejected, match=words):
        actuator.plan(Action(WEB, resource, value))


@pytest.mark.parametrize(
    ("target", "resource", "error", "words"),
    [
        (WEB, "l2_ways", Unsupported, "only llc_ways, memory_bandwidth_percent"),
        (WEB, "llc_code_ways", Unsupported, "mount with -o cdp"),
        (WEB, "memory_bandwidth_bytes_s", Unsupported, "mount with -o mba_MBps"),
        (WEB, "cpu_cores", Unsupported, "cannot limit cpu_cores"),
        (WEB, "llc_ways@x", Unsupported, "the number of a cache domain"),
        (WEB, "monitor", Unsupported, "monitored as it is"),
        (Target("resctrl", "none"), "llc_ways", ActuateError, "does not exist"),
        (Target("resctrl", "../x"), "llc_ways", Unsupported, "a control group's name"),
        (Target("resctrl", "info"), "llc_ways", Unsupported, "a control group's name"),
        (Target("net", "eth0"), "llc_ways", Unsupported, "resctrl limits resctrl:"),
        (Target("pid", "x"), "llc_ways", Unsupported, "not pid:NUMBER"),
        (Target("pid", "4711"), "llc_ways", ActuateError, "process 4711 does not exist"),
        (Target("cgroup", "none"), "llc_ways", ActuateError, "no group of cgroup:none"),
        (Target("systemd", "none"), "llc_ways", ActuateError, "no group of systemd:none"),
        (Target("container", "0" * 12), "llc_ways", ActuateError, "no group of container:"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    tmp_path: Path, target: Target, resource: str, error: type[ActuateError], words: str
) -> None:
    actuator = machine(tmp_path, "intel", "web")
    with pytest.raises(error, match=words):
        actuator.plan(Action(target, resource, 1.0))


def test_where_it_is_not_mounted(tmp_path: Path) -> None:
    actuator = Resctrl(tmp_path)
    assert not actuator.holds(WEB, "llc_ways")
    with pytest.raises(Unsupported, match="neither cat_l3, cat_l2 nor mba"):
        actuator.supports(WEB)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nflags\t\t: fpu cat_l3 mba\n")
    with pytest.raises(Unsupported, match="has cat_l3, mba: mount -t resctrl resctrl /sys/fs/resctrl"):
        actuator.read(WEB, "llc_ways")


def test_a_process_gets_a_group_of_its_own(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel", "web")
    process(tmp_path, 40, threads=(41,))
    process(tmp_path, 50, parent=40)
    process(tmp_path, 60)
    target, own = Target("pid", "40"), tmp_path / "sys/fs/resctrl/vagus-pid-40"
    assert actuator.read(target, "llc_ways") is None
    assert actuator.plan(Action(target, "llc_ways", None)) == Plan((), (), None)
    before = sorted(map(str, tmp_path.rglob("*")))
    plan = actuator.plan(Action(target, "llc_ways", 4.0))
    assert sorted(map(str, tmp_path.rglob("*"))) == before, "planning touches nothing"
    assert [step.op for step in plan.steps] == ["mkdir", "write", "gather"]
    assert plan.undo == (Step("rmdir", str(own)),)
    # in the folder as it would be, the steps do what they say
    own.mkdir()
    (own / "tasks").write_text("40\n")
    source = json.loads(plan.steps[2].value)
    assert (source["proc"], source["pid"]) == (str(tmp_path / "proc"), 40)
    (tmp_path / "sys/fs/resctrl/web/tasks").write_text("40\n41\n50\n")
    with pytest.raises(Rejected, match="new tasks keep appearing"):
        perform(Step("gather", str(tmp_path / "sys/fs/resctrl/tasks"), plan.steps[2].value))  # a plain file takes one
    perform(Step("gather", str(tmp_path / "sys/fs/resctrl/web/tasks"), plan.steps[2].value))


def test_another_process_with_its_id_is_not_put_into_its_group(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel", "vagus-pid-40")
    process(tmp_path, 40)
    target = Target("pid", "40")
    assert actuator.read(target, "llc_ways") is None
    stat = tmp_path / "proc/40/stat"
    fields = stat.read_text().split()
    stat.write_text(" ".join([*fields[:22], "777", *fields[23:]]) + "\n")
    with pytest.raises(ActuateError, match="has ended, and another has its id now"):
        actuator.plan(Action(target, "llc_ways", 4.0))


def test_who_is_elsewhere_comes_back_there(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel", "web", "db")
    for pid in (40, 50):
        process(tmp_path, pid)
    folder = actuator.folder
    (folder / "web/tasks").write_text("40\n")
    (folder / "web/mon_groups/m").mkdir()
    (folder / "web/mon_groups/m/tasks").write_text("40\n")
    plan = actuator.plan(Action(Target("pid", "40"), "llc_ways", 4.0))
    own = f"{folder}/vagus-pid-40"
    assert [(step.op, step.path) for step in plan.steps] == [
        ("mkdir", own),
        ("write", f"{own}/schemata"),
        ("mkdir", f"{own}/mon_groups/m"),
        ("gather", f"{own}/mon_groups/m/tasks"),
        ("gather", f"{own}/tasks"),
    ]
    assert plan.undo == (
        Step("return", f"{own}/mon_groups/m/tasks", f"{folder}/web/mon_groups/m/tasks"),
        Step("return", f"{own}/tasks", f"{folder}/web/tasks"),
        Step("rmdir", own),
    )
    with pytest.raises(Rejected, match="monitored already, in m"):
        actuator.plan(Action(Target("pid", "40"), "monitor", 1.0))
    group = tmp_path / "sys/fs/cgroup/both"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("40\n50\n")
    with pytest.raises(Rejected, match=r"different control groups \(/, web\)"):
        actuator.plan(Action(Target("cgroup", "both"), "llc_ways", 4.0))


def test_units_are_found_by_their_processes(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel")
    process(tmp_path, 40)
    (tmp_path / "proc/40/cgroup").write_text("0::/system.slice/nginx.service/inner\n")
    inner = tmp_path / "sys/fs/cgroup/system.slice/nginx.service/inner"
    inner.mkdir(parents=True)
    (inner.parent / "cgroup.procs").write_text("")
    (inner / "cgroup.procs").write_text("40\n")
    plan = actuator.plan(Action(Target("systemd", "nginx"), "llc_ways", 4.0))
    assert json.loads(plan.steps[-1].value)["groups"] == [str(inner.parent)]
    assert not math.isnan(actuator.usage(Target("systemd", "nginx.service")).cpu_s)


def test_containers_are_found_by_their_id(tmp_path: Path) -> None:
    actuator = machine(tmp_path, "intel")
    identity = "0123456789ab" + "c" * 52
    scope = tmp_path / f"sys/fs/cgroup/system.slice/docker-{identity}.scope"
    scope.mkdir(parents=True)
    (scope / "cgroup.procs").write_text("40\n")
    process(tmp_path, 40)
    plan = actuator.plan(Action(Target("container", identity[:12]), "llc_ways", 4.0))
    assert json.loads(plan.steps[-1].value)["groups"] == [str(scope)]
    with pytest.raises(ActuateError, match="no group of container:"):
        actuator.plan(Action(Target("container", "f" * 12), "llc_ways", 4.0))


def test_reading_back_looks_at_what_was_written() -> None:
    step = Step("write", "/sys/fs/resctrl/a/schemata", "L3:0=f\nMB:1=20")
    assert same(step, "    MB:0=100;1=   20\n    L3:0=0000f;1=fffff")
    assert not same(step, "    MB:0=100;1=30\n    L3:0=f;1=fffff")
    assert not same(step, "    MB:0=100;1=20\n")


def test_the_kernels_last_words_are_quoted_once_they_are_of_this_command(tmp_path: Path) -> None:
    (tmp_path / "info").mkdir()
    status = tmp_path / "info/last_cmd_status"
    status.write_text("Mask out of range\nand more\n")
    assert last_words(f"{tmp_path}/web/schemata", errno.EINVAL) == "Mask out of range; and more"
    assert last_words(f"{tmp_path}/web/mon_groups/m/tasks", errno.ESRCH) == "Mask out of range; and more"
    assert last_words(f"{tmp_path}/web/schemata", errno.ENOENT) == ""
    assert last_words("/nowhere/at/all", errno.EINVAL) == ""
    status.write_text("ok\n")
    assert last_words(f"{tmp_path}/web/schemata", errno.EINVAL) == ""
    assert undo([Step("return", str(tmp_path / "gone/tasks"), str(tmp_path / "tasks"))]) == []


@pytest.mark.parametrize("value", ["", "{}", "[]", "7", '{"proc": "/proc", "pid": "x"}'])
def test_a_gathering_that_names_no_tasks_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "tasks").write_text("")
    with pytest.raises(Rejected, match="says not whose tasks"):
        perform(Step("gather", str(tmp_path / "tasks"), value))
