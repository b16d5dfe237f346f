"""What the injector reads, plans and tells: nothing here strains anything."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from vagus.clock import NS
from vagus.config import CampaignSettings, InjectionSettings
from vagus.errors import ConfigError, Rejected, Unsupported
from vagus.injector import INJECTIONS, RESOURCES, Prepared
from vagus.injector.caches import last_level
from vagus.injector.campaign import schedule
from vagus.injector.cpu import Cpu
from vagus.injector.disk import Disk
from vagus.injector.events import BEGIN, END, Injected, begin_event, end_event, killed_event
from vagus.injector.llc import Llc
from vagus.injector.load import Load
from vagus.injector.memory import Memory
from vagus.injector.pacing import Pace
from vagus.injector.session import Outcome
from vagus.injector.strain import STRAINS
from vagus.model import Level
from vagus.undo import Step, perform, undo
from vagus.undo.processes import named, start_ticks

MIB = 1 << 20
SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Four CPUs with two last-level caches of 32 MiB, cgroup v1 as this kernel has it, and a group `web` of 1.5 CPUs."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n")
    mounts = (
        "25 24 0:22 / / rw - ext4 /dev/vda rw\n"
        "30 25 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "31 25 0:27 / /sys/fs/cgroup/cpuset rw shared:10 - cgroup cgroup rw,cpuset\n"
    )
    (tmp_path / "proc/self/mountinfo").write_text(mounts)
    cpus = tmp_path / "sys/devices/system/cpu"
    for cpu in range(4):
        for index, (level, kind, size, shared) in enumerate(
            [(1, "Data", "48K", str(cpu)), (1, "Instruction", "64K", str(cpu)), (3, "Unified", "32M", "0-1" if cpu < 2 else "2-3")]
        ):  # fmt: skip
            folder = cpus / f"cpu{cpu}/cache/index{index}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(f"{text}\n")
    (cpus / "online").write_text("0-3\n")
    for controller in ("cpu", "cpuset"):
        for group in ("", "web", "web/inner", "ray_node_1", "system.slice/nginx.service"):
            folder = tmp_path / "sys/fs/cgroup" / controller / group
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cgroup.procs").write_text("")
    web = tmp_path / "sys/fs/cgroup/cpu/web"
    (web / "cpu.cfs_quota_us").write_text("150000\n")
    (web / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "sys/fs/cgroup/cpuset/web/cpuset.effective_cpus").write_text("2-3\n")
    (tmp_path / "proc/4711").mkdir()
    (tmp_path / "proc/4711/cgroup").write_text("3:cpuset:/web/inner\n2:cpu,cpuacct:/web/inner\n")
    return tmp_path


# --- plans -----------------------------------------------------------------------------------------------------------


def cores(prepared: Prepared) -> float:
    """CPUs that the processes of a plan ask for, read from their argument lists."""
    import json

    return sum(float(json.loads(command[-1])["duty"]) for command in prepared.commands)


@pytest.mark.parametrize(
    ("intensity", "target", "expected", "processes"),
    [
        ("", "", 3.2, 4),
        ("50%", "", 2.0, 4),
        ("2 cores", "", 2.0, 2),
        ("0.5 cores", "", 0.5, 1),
        ("2.5cores", "", 2.5, 3),
        ("80%", "cgroup:web", 1.2, 2),
        ("80%", "cgroup:/web/inner", 1.2, 2),
        ("100%", "pid:4711", 1.5, 2),
        ("100%", "systemd:nginx.service", 4.0, 4),
    ],
)
def test_cpu_is_a_share_of_what_the_target_has(
    machine: Path, intensity: str, target: str, expected: float, processes: int
) -> None:
    prepared = Cpu(machine).prepare(intensity, target, 5.0)
    assert cores(prepared) == pytest.approx(expected)
    assert len(prepared.commands) == processes
    assert bool(prepared.enter) == bool(target)
    assert not prepared.steps
    for procs in prepared.enter:
        assert Path(procs).is_file()
        assert Path(procs).read_text() == "", "a plan touches nothing"


def test_the_groups_of_both_hierarchies_are_entered(machine: Path) -> None:
    entered = Cpu(machine).prepare("80%", "cgroup:web", 5.0).enter
    assert [str(Path(p).relative_to(machine)) for p in entered] == [
        "sys/fs/cgroup/cpu/web/cgroup.procs",
        "sys/fs/cgroup/cpuset/web/cgroup.procs",
    ]


@pytest.mark.parametrize(
    ("intensity", "target", "words"),
    [
        ("120%", "", "120% of what there is; at most 100%"),
        ("much", "", "'much' is not a share such as 80%"),
        ("0%", "", "nothing at all"),
        ("80", "", "is not a share"),
        ("nan cores", "", "is not a share"),
        ("1e9 cores", "", "is not a share"),
        ("17 cores", "", "at most 4 times as many"),
        ("80%", "cgroup:none", "there is no group"),
        ("80%", "cgroup:../cpu", "without '..'"),
        ("80%", "cgroup:/", "without '..'"),
        ("80%", "web", "is not kind:name"),
        ("80%", "pid:1", "there is no such process"),
        ("80%", "pid:x", "is not pid:NUMBER"),
        ("80%", "systemd:none.service", "no group below"),
        ("80%", "tunable:x", "processes can be put beside"),
    ],
)
def test_what_cannot_be_read_is_told(machine: Path, intensity: str, target: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        Cpu(machine).prepare(intensity, target, 5.0)


def test_a_container_is_named_by_as_much_of_its_id_as_tells_it_apart(machine: Path) -> None:
    for start in ("abc1", "abd2"):
        folder = machine / f"sys/fs/cgroup/cpu/docker/{start}{'0' * 60}/inner"
        folder.mkdir(parents=True)
        for place in (folder, folder.parent):
            (place / "cgroup.procs").write_text("")
    (entered,) = Cpu(machine).prepare("80%", "container:abc", 5.0).enter
    assert Path(entered).parent.name == f"abc1{'0' * 60}", "its outermost group"
    with pytest.raises(ConfigError, match="2 containers are called so"):
        Cpu(machine).prepare("80%", "container:ab", 5.0)
    with pytest.raises(ConfigError, match="does it run here"):
        Cpu(machine).prepare("80%", "container:ffff", 5.0)


def test_groups_of_others_are_left_alone(machine: Path) -> None:
    with pytest.raises(Unsupported, match="manages its groups alone"):
        Cpu(machine).prepare("80%", "cgroup:ray_node_1", 5.0)


def test_caches_of_the_last_level_and_who_shares_them(machine: Path) -> None:
    found = last_level(machine)
    assert [(cache.size_bytes, cache.cpus) for cache in found] == [(32 * MIB, (0, 1)), (32 * MIB, (2, 3))]
    with pytest.raises(Unsupported, match="give the intensity in MiB"):
        last_level(machine / "nowhere")


def test_llc_is_an_array_for_each_cache_of_the_target(machine: Path) -> None:
    whole = Llc(machine).prepare("200%", "", 5.0)
    assert len(whole.commands) == 2
    assert f'"array_bytes":{64 * MIB}' in whole.commands[0][-1]
    assert '"cpus":[0,1]' in whole.commands[0][-1]
    pinned = Llc(machine, workers=2).prepare("100%", "cgroup:web", 5.0)
    assert len(pinned.commands) == 2
    assert all('"cpus":[2,3]' in command[-1] for command in pinned.commands)
    assert f'"array_bytes":{8 * MIB}' in Llc(machine).prepare("8 MiB", "", 5.0).commands[0][-1]
    with pytest.raises(ConfigError, match="at most 1600%"):
        Llc(machine).prepare("1700%", "", 5.0)
    with pytest.raises(Unsupported, match="its arrays need"):
        Llc(machine, workers=64).prepare("800%", "", 5.0)


def test_memory_copies_arrays_that_no_cache_holds(machine: Path) -> None:
    prepared = Memory(machine).prepare("4 GB/s", "", 5.0)
    assert len(prepared.commands) == 4
    assert '"bytes_s":1000000000.0' in prepared.commands[0][-1]
    assert f'"array_bytes":{32 * MIB}' in prepared.commands[0][-1]
    assert len(Memory(machine).prepare("1 core", "", 5.0).commands) == 1
    (machine / "proc/meminfo").write_text("MemAvailable: 100000 kB\n")
    with pytest.raises(Unsupported, match="only 98 MiB are free"):
        Memory(machine).prepare("80%", "", 5.0)
    with pytest.raises(ConfigError, match="5 cores"):
        Memory(machine).prepare("5 cores", "", 5.0)


def test_a_group_of_version_two_is_not_filled_to_its_memory_limit(tmp_path: Path, machine: Path) -> None:
    group = machine / "sys/fs/cgroup/web"
    group.mkdir()
    (machine / "proc/self/mountinfo").write_text("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (machine / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io memory\n")
    for name, text in (
        ("cgroup.procs", ""),
        ("cpu.max", "200000 100000"),
        ("memory.max", str(200 * MIB)),
        ("memory.current", str(100 * MIB)),
        ("cpuset.cpus.effective", "0-1"),
    ):
        (group / name).write_text(text)
    assert cores(Cpu(machine).prepare("50%", "cgroup:web", 5.0)) == 1.0
    with pytest.raises(Unsupported, match="only 100 MiB are free there"):
        Memory(machine).prepare("80%", "cgroup:web", 5.0)


def test_disk_is_bounded_by_what_is_free(tmp_path: Path) -> None:
    prepared = Disk().prepare("50 MB/s", str(tmp_path), 5.0)
    assert '"bytes_s":50000000.0' in prepared.commands[0][-1]
    assert not list(tmp_path.iterdir())
    assert [step.op for step in prepared.undo] == ["unlink"]
    assert Path(prepared.undo[0].path).parent == tmp_path
    assert undo(prepared.undo) == [], "a name that was never used is undone"
    for folder, words in ((str(tmp_path / "none"), "is not the absolute path"), (".", "is not the absolute path")):
        with pytest.raises(ConfigError, match=words):
            Disk().prepare("50 MB/s", folder, 5.0)
    with pytest.raises(Unsupported, match="which has no disk"):
        Disk().prepare("50 MB/s", "/proc/self" if os.geteuid() else "/proc", 5.0)
    with pytest.raises(ConfigError, match="neither read nor write"):
        Disk(mode="append")
    with pytest.raises(ConfigError, match="50 MB/s, 200 IOPS"):
        Disk().prepare("50 MB", str(tmp_path), 5.0)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "1 to 100 URLs"),
        ("ftp://127.0.0.1/", "is not http"),
        ("http:///x", "is not http"),
        ("http://u:p@127.0.0.1/", "is not http"),
        ("http://127.0.0.1:99999/", "is no URL"),
        ("http://[::1/", "is no URL"),
        ("http://192.0.2.300/", "has no address|no URL"),
        ("http://1.1.1.1/", "neither of this machine"),
        ("http://169.254.169.254/latest", "neither of this machine"),
    ],
)
def test_load_is_for_ones_own_services(target: str, words: str) -> None:
    with pytest.raises((ConfigError, Unsupported), match=words):
        Load().prepare("100/s", target, 5.0)


def test_load_says_how_much() -> None:
    one = Load().prepare("200/s", "http://127.0.0.1:1/ http://127.0.0.1:1/b", 5.0)
    assert len(one.commands) == 1
    assert '"rate":200.0' in one.commands[0][-1]
    assert '"addresses":{"127.0.0.1":["127.0.0.1"]}' in one.commands[0][-1]
    assert len(Load().prepare("4000/s", "http://127.0.0.1:1/", 5.0).commands) == 3
    assert '"rate":150.0' in Load(base=150.0).prepare("x2", "http://127.0.0.1:1/", 5.0).commands[0][-1]
    for intensity, words in (
        ("x2", "of how much"),
        ("x1", "not more than"),
        ("60000/s", "at most"),
        ("fast", "a rate"),
    ):
        with pytest.raises(ConfigError, match=words):
            Load().prepare(intensity, "http://127.0.0.1:1/", 5.0)
    assert Load(allow=True).prepare("1/s", "http://1.1.1.1/", 5.0).commands


def test_every_type_says_what_it_is() -> None:
    for name in INJECTIONS:
        made = INJECTIONS.get(name)
        assert made.name == name
        assert name in RESOURCES
        assert (made.__doc__ or "").strip()
        assert made.default
    for path in STRAINS.values():
        module, _, function = path.partition(":")
        assert callable(getattr(import_module(module), function))


def test_lost_time_is_not_made_up_for() -> None:
    pace = Pace(100.0, 0.0)
    assert pace.wait_s(1.0, 0.0) == pytest.approx(0.01)
    assert pace.wait_s(1.0, 5.0) == 0.0
    waits = [pace.wait_s(1.0, 5.0) for _ in range(20)]
    assert sum(wait == 0.0 for wait in waits) <= 6, "after a stall of 5 s no burst of 500"
    assert Pace(None, 0.0).wait_s(1.0, 0.0) == 0.0


# --- events ----------------------------------------------------------------------------------------------------------

INJECTED = Injected("1", "memory", "80%", "cgroup:web", 10.0, "cart", "c")


def test_events_label_the_data() -> None:
    begun = begin_event(INJECTED, 100 * NS, "n1")
    assert begun.event == BEGIN
    assert begun.fields == {
        "id": "1",
        "type": "memory",
        "resource": "memory_bandwidth",
        "intensity": "80%",
        "target": "cgroup:web",
        "component": "cart",
        "duration_s": 10.0,
        "campaign": "c",
    }
    ended = end_event(INJECTED, Outcome("done", 100 * NS, 110 * NS, {"bytes_s": 3e9}), "n1")
    assert (ended.event, ended.t_ns, ended.level) == (END, 110 * NS, Level.INFO)
    assert ended.fields["bytes_s"] == 3e9
    assert ended.fields["in_force_s"] == 10.0
    assert ended.fields.items() >= begun.fields.items()
    left = end_event(INJECTED, Outcome("done", 100 * NS, 110 * NS, {}, ("write /x: EIO",)), "n1")
    assert left.level is Level.ERROR


@pytest.mark.parametrize(("restored_s", "expected_s"), [(104, 104), (500, 110), (50, 100)])
def test_the_end_of_a_killed_one_is_within_its_duration(restored_s: int, expected_s: int) -> None:
    ended = killed_event(begin_event(INJECTED, 100 * NS, "n1"), restored_s * NS)
    assert ended.t_ns == expected_s * NS
    assert ended.fields["why"] == "killed"
    assert ended.fields["id"] == "1"


# --- campaigns -------------------------------------------------------------------------------------------------------


def lines(*each: dict[str, object], **more: object) -> CampaignSettings:
    made = tuple(InjectionSettings(**{"type": "cpu", **one}) for one in each)  # type: ignore[arg-type]
    return CampaignSettings(name="c", injections=made, **more)  # type: ignore[arg-type]


def test_lines_come_one_after_the_other_or_when_they_say() -> None:
    campaign = lines(
        {"duration": "10s", "jitter": "2s"}, {"duration": "5s"}, {"at": "3s", "duration": "1s"}, repeat=2, pause="4s"
    )
    found = schedule(campaign)
    begins = {(due.repetition, due.number): due.begin_s for due in found}
    assert 0 <= begins[0, 0] <= 2
    assert begins[0, 1] == 12.0
    assert begins[0, 2] == 3.0
    assert begins[1, 1] == 12.0 + 17.0 + 4.0
    assert begins[1, 0] - 21.0 != begins[0, 0], "each repetition has a jitter of its own"


@pytest.mark.parametrize(
    ("campaign", "words"),
    [
        (lines(), "there are none"),
        (lines({"duration": "0s"}), r"injections\[0\]: an injection lasts"),
        (lines({"duration": "2d"}), r"injections\[0\]: an injection lasts"),
        (lines({}, {"at": "soon"}), r"injections\[1\]: duration 'soon'"),
        (lines({}, pause="long"), "pause: duration 'long'"),
        (lines({}, {}, repeat=5001), "at most 10000"),
        (lines({"duration": "1d"}, repeat=8), "lasts 8 days"),
        (lines(*[{"at": "0s"}] * 65), "more than 64 injections at once"),
    ],
)
def test_campaigns_out_of_bounds_are_told(campaign: CampaignSettings, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        schedule(campaign)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_kill_ends_a_process_and_no_other() -> None:
    first = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    other = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    try:
        step = Step("kill", named(first.pid))
        perform(Step("kill", f"process:{other.pid}:1"))  # that process had this id once
        assert other.poll() is None
        perform(step)
        assert start_ticks(first.pid) is None, "it waits until it has ended, also where nobody reaped it"
        assert first.wait() == -15
        perform(step)
        assert other.poll() is None
    finally:
        for process in (first, other):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def test_kill_ends_one_that_does_not_listen() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    perform(Step("kill", named(process.pid)))
    assert process.wait() == -9
    process.stdout.close()


@pytest.mark.parametrize(
    "path", ["", "process:1:1", "process:0:5", "process:-1:5", "process:x:1", "pid:44:1", "process:44"]
)
def test_kill_takes_only_a_process_to_end(path: str) -> None:
    with pytest.raises(Rejected, match="names no process to end"):
        perform(Step("kill", path))


def test_kill_never_ends_its_own_process() -> None:
    with pytest.raises(Rejected, match="names no process to end"):
        perform(Step("kill", named(os.getpid())))


def test_unlink_takes_only_regular_files(tmp_path: Path) -> None:
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_text("x")
    folder.mkdir()
    link.symlink_to(file)
    for path in (folder, link):
        with pytest.raises(Rejected, match="no regular file"):
            perform(Step("unlink", str(path)))
    perform(Step("unlink", str(file)))
    assert not file.exists()
    assert undo([Step("unlink", str(file))]) == []
