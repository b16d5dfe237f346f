"""The resctrl actuator on a mounted file system that behaves as the kernel's (FUSE): real tasks, real system calls."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE

from tests.lab.resctrl_fuse import missing, mounted, tell
from vagus.actors.monitoring import Monitoring
from vagus.actuators.apply import apply
from vagus.actuators.resctrl import Resctrl
from vagus.collectors.resctrl import ResctrlCollector
from vagus.config import CollectSettings
from vagus.errors import ActuateError, Rejected
from vagus.model import Action, Sample, Target
from vagus.undo import Step, perform, undo
from vagus.watchdog import recover

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
PROFILES = ("intel", "l2l3mb", "cdp", "mbps", "amd", "sparse")
VALUES = {
    "llc_ways": (2.0, 3.0, 7.0),
    "llc_code_ways": (2.0, 5.0),
    "llc_data_ways": (3.0, 4.0),
    "l2_ways": (2.0, 6.0),
    "memory_bandwidth_percent": (20.0, 55.0),
    "memory_bandwidth_bytes_s": (1e9, 2.5e9),
    "monitor": (1.0,),
}
# a process with threads, that makes a child and says when both are there; another line on its input: one more thread
BUSY = """
import os, subprocess, sys, threading
def rest(): threading.Event().wait()
for _ in range(3): threading.Thread(target=rest, daemon=True).start()
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
for line in sys.stdin:
    threading.Thread(target=rest, daemon=True).start()
    print("one more", flush=True)
child.kill()
"""


class Machine:
    """A root folder with a mounted resctrl, and the actuator on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "sys/fs/resctrl"
        self.actuator = Resctrl(root)

    def __getitem__(self, path: str) -> str:
        return (self.folder / path).read_text()

    def write(self, path: str, text: str) -> None:
        perform(Step("write", str(self.folder / path), text))

    def tasks(self, path: str = "") -> set[int]:
        return set(map(int, self[f"{path}/tasks".lstrip("/")].split()))

    def state(self) -> dict[str, str]:
        """All that can be set: groups, schemata, modes, CPUs."""
        found = {}
        for folder, _, names in os.walk(self.folder):  # which passes over a group that is being removed at this moment
            for name in {"schemata", "mode", "cpus_list"} & set(names):
                path = Path(folder, name)
                try:
                    found[str(path.relative_to(self.folder))] = path.read_text()
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENODEV):
                        raise
        return found


@contextlib.contextmanager
def machine(root: Path, profile: str) -> Iterator[Machine]:
    root.mkdir(parents=True, exist_ok=True)
    (root / "proc").symlink_to("/proc")
    with mounted(root / "sys/fs/resctrl", profile):
        yield Machine(root)


@pytest.fixture(scope="module", params=PROFILES)
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp(request.param) / "root", request.param) as made:
        yield made


@pytest.fixture
def intel(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path / "root", "intel") as made:
        yield made


class Service:
    """A process with threads and a child."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.child = int(self._line())
        self.target = Target("pid", str(self.process.pid))

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def one_more(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self._line() == "one more\n"

    def tasks(self) -> set[int]:
        return {int(name) for name in os.listdir(f"/proc/{self.process.pid}/task")} | {self.child}

    def end(self) -> None:
        self.process.communicate(timeout=20)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.end()


# --- contract ----------------------------------------------------------------------------------------------------------


def test_apply_then_undo_is_the_identity(each: Machine, service: Service) -> None:
    os.mkdir(each.folder / "web")
    try:
        for target in (Target("resctrl", "web"), service.target):
            for resource in each.actuator.supports(target):
                before = each.state()
                plan = each.actuator.plan(Action(target, resource, VALUES[resource][0]))
                assert each.state() == before, "planning touches nothing"
                apply(plan)
                assert plan.shown(each.actuator.read(target, resource))
                assert each.state() != before
                assert undo(plan.undo) == []
                assert each.state() == before
                assert each.actuator.read(target, resource) is None
    finally:
        os.rmdir(each.folder / "web")


def test_a_limit_is_lifted_and_comes_back(each: Machine, service: Service) -> None:
    for resource in each.actuator.supports(service.target):
        first = each.actuator.plan(Action(service.target, resource, VALUES[resource][-1]))
        apply(first)
        limited, tasks = each.state(), service.tasks()
        plan = each.actuator.plan(Action(service.target, resource, None))
        apply(plan)
        assert each.actuator.read(service.target, resource) is None
        assert undo(plan.undo) == []
        assert each.state() == limited
        where = Path(first.undo[-1].path).relative_to(each.folder)
        assert each.tasks(str(where)) == tasks
        assert undo(first.undo) == []


def test_any_actions_in_any_order_are_all_undone(each: Machine, service: Service) -> None:
    """Undo steps as the journal keeps them: the first of each change wins, the newest plan's are performed first."""
    draw = random.Random(7)
    os.mkdir(each.folder / "web")
    os.mkdir(each.folder / "web/mon_groups/others")
    each_before = each.state()
    for _ in range(8):
        journal: list[list[Step]] = []
        known: set[tuple[str, str, str]] = set()
        for _ in range(draw.randint(1, 6)):
            target = draw.choice([Target("resctrl", "web"), Target("resctrl", "/"), service.target])
            resource = draw.choice([r for r in each.actuator.supports(target) if r != "monitor" or not journal])
            at = draw.choice(["", "@0"]) if resource != "monitor" else ""
            value = draw.choice([None, *VALUES[resource]])
            try:
                plan = each.actuator.plan(Action(target, resource + at, value))
            except Rejected:
                continue  # such as a monitored service that is to be monitored again
            journal.append([step for step in plan.undo if step.key not in known])
            known |= {step.key for step in plan.undo}
            apply(plan)
            assert plan.shown(each.actuator.read(target, resource + at))
        assert undo([step for steps in reversed(journal) for step in steps]) == []
        assert each.state() == each_before
        assert service.tasks() <= each.tasks()
    os.rmdir(each.folder / "web")


def test_a_rejected_write_changes_nothing_and_quotes_the_kernel(each: Machine) -> None:
    os.mkdir(each.folder / "web")
    before = each.state()
    path = str(each.folder / "web/schemata")
    line = "L3CODE" if "L3CODE" in each["schemata"] else "L3"
    for value, words in {
        f"{line}:0=fffffff": "Invalid argument (EINVAL): Mask out of range",
        f"{line}:0=f;0=f": "Duplicate domain 0",
        "L9:0=f": "Unknown or unsupported resource name 'L9'",
    }.items():
        with pytest.raises(Rejected) as caught:
            perform(Step("write", path, value, "L3"))
        assert words in str(caught.value)
        failed = undo([Step("write", path, value, "L3")])
        assert words in failed[0][1], "a watchdog says it too"
    assert each.state() == before
    os.rmdir(each.folder / "web")


# --- tasks ---------------------------------------------------------------------------------------------------------------


def test_every_thread_moves_and_new_ones_inherit(intel: Machine, service: Service) -> None:
    plan = intel.actuator.plan(Action(service.target, "llc_ways", 3.0))
    own = Path(plan.steps[0].path).name
    service.one_more()  # between planning and writing
    apply(plan)
    assert intel.tasks(own) == service.tasks()
    assert len(service.tasks()) == 6
    service.one_more()
    assert intel.tasks(own) == service.tasks(), "forks and threads inherit"
    again = intel.actuator.plan(Action(service.target, "llc_ways", 4.0))
    assert [step.op for step in again.steps] == ["write"], "nobody is outside"
    apply(again)
    assert undo([*again.undo, *plan.undo]) == []
    assert service.tasks() <= intel.tasks()


def test_new_threads_while_others_are_moved(intel: Machine) -> None:
    """This process starts threads as fast as it can while it is moved."""
    stop, ended = threading.Event(), threading.Event()
    done: list[threading.Thread] = []

    def start() -> None:
        while not stop.is_set() and len(done) < 300:
            thread = threading.Thread(target=ended.wait, daemon=True)
            thread.start()
            done.append(thread)

    starter = threading.Thread(target=start)
    target = Target("pid", str(os.getpid()))
    plan = intel.actuator.plan(Action(target, "llc_ways", 3.0))
    starter.start()
    try:
        apply(plan)
    finally:
        stop.set()
        starter.join()
        here = {os.getpid(), *(thread.native_id for thread in done)}
        inside = intel.tasks(Path(plan.steps[0].path).name)
        ended.set()
        for thread in done:
            thread.join()
        assert undo(plan.undo) == []
    assert here <= inside


def test_tasks_return_to_the_group_and_the_monitor_that_they_were_in(intel: Machine, service: Service) -> None:
    os.mkdir(intel.folder / "web")
    os.mkdir(intel.folder / "web/mon_groups/others")
    for task in service.tasks():
        intel.write("web/tasks", str(task))
    intel.write("web/mon_groups/others/tasks", str(service.child))
    plan = intel.actuator.plan(Action(service.target, "llc_ways", 3.0))
    apply(plan)
    own = Path(plan.steps[0].path).name
    assert intel.tasks(own) == service.tasks()
    assert intel.tasks(f"{own}/mon_groups/others") == {service.child}, "whoever monitors goes on"
    assert intel.tasks("web") == set()
    assert undo(plan.undo) == []
    assert intel.tasks("web") == service.tasks()
    assert intel.tasks("web/mon_groups/others") == {service.child}
    # the group where they were may have gone meanwhile: then it is the default one
    apply(plan := intel.actuator.plan(Action(service.target, "llc_ways", 3.0)))
    os.rmdir(intel.folder / "web")
    assert undo(plan.undo) == []
    assert service.tasks() <= intel.tasks()
    assert not (intel.folder / own).exists()


def test_a_process_that_ends_meanwhile(intel: Machine) -> None:
    service = Service()
    plan = intel.actuator.plan(Action(service.target, "llc_ways", 3.0))
    service.end()
    apply(plan)
    assert undo(plan.undo) == []
    with pytest.raises(ActuateError, match="does not exist"):
        intel.actuator.plan(Action(service.target, "llc_ways", 3.0))


# --- what runs out, what is exclusive ------------------------------------------------------------------------------------


def test_no_class_is_left(intel: Machine, service: Service) -> None:
    for number in range(7):
        os.mkdir(intel.folder / f"g{number}")
    plan = intel.actuator.plan(Action(service.target, "llc_ways", 3.0))
    before = intel.state()
    with pytest.raises(Rejected, match=r"No space left on device \(ENOSPC\): Out of CLOSIDs"):
        apply(plan)
    assert intel.state() == before
    os.rmdir(intel.folder / "g0")
    apply(plan)
    assert undo(plan.undo) == []


def test_ways_beside_an_exclusive_group(intel: Machine, service: Service) -> None:
    os.mkdir(intel.folder / "db")
    intel.write("schemata", "L3:0=ff;1=ff")
    intel.write("db/schemata", "L3:0=3ff00;1=3ff00")
    intel.write("db/mode", "exclusive")
    plan = intel.actuator.plan(Action(service.target, "llc_ways", 6.0))
    apply(plan)
    own = Path(plan.steps[0].path).name
    assert "L3:0=3f;1=3f" in intel[f"{own}/schemata"]
    lifted = intel.actuator.plan(Action(service.target, "llc_ways", None))
    apply(lifted)
    assert intel.actuator.read(service.target, "llc_ways") == lifted.expected == 8.0, "as far as others leave it"
    assert undo([*lifted.undo, *plan.undo]) == []
    with pytest.raises(Rejected, match="no 9 consecutive ways"):
        intel.actuator.plan(Action(service.target, "llc_ways", 9.0))
    assert intel["info/L3/bit_usage"].startswith("0=HHEEEEEEEEEESSSSSSSS")


def test_an_ordinary_user_may_not(intel: Machine) -> None:
    command = ["sh", "-c", "echo L3:0=f > schemata"]
    done = subprocess.run(command, cwd=intel.folder, user=65534, capture_output=True, text=True)
    assert "Permission denied" in done.stderr
    assert "L3:0=fffff" in intel["schemata"]


def test_files_are_as_the_kernels(intel: Machine) -> None:
    assert os.stat(intel.folder / "schemata").st_size == 0
    assert len(intel["schemata"]) > 0
    with pytest.raises(Rejected, match="E2BIG"):
        intel.write("schemata", "L3:0=f;1=f\n" * 1000)
    with pytest.raises(Rejected, match="EPERM"):
        perform(Step("rmdir", str(intel.folder / "info")))
    with pytest.raises(
        Rejected, match=r"No such process \(ESRCH\): No task 4194303; Error while processing task 4194303"
    ):
        intel.write("tasks", "4194303")  # above pid_max


# --- sensing, restoring ----------------------------------------------------------------------------------------------------


def test_a_monitored_service_is_sensed(intel: Machine, service: Service) -> None:
    plan = intel.actuator.plan(Action(service.target, "monitor", 1.0))
    apply(plan)
    name = Path(plan.steps[0].path).name
    assert intel.tasks(f"mon_groups/{name}") == service.tasks()
    collector = ResctrlCollector("n", intel.root, CollectSettings())
    try:

        def counts(t_ns: int) -> dict[str, float]:
            (sample,) = [
                found
                for found in collector.collect(t_ns)
                if isinstance(found, Sample)
                and found.stream.labels["mon_group"] == name
                and found.stream.labels["cache"] == "L3_00"
            ]
            return {f.name: v for f, v in zip(sample.stream.fields, sample.values, strict=True)}

        first, second = counts(10**18), counts(10**18 + 10**9)
        assert second["mbm_total_bytes"] > first["mbm_total_bytes"]
        assert second["llc_occupancy_bytes"] > 0
        tell(intel.folder, "says 0 llc_occupancy Unavailable")
        third = counts(10**18 + 2 * 10**9)
        assert str(third["llc_occupancy_bytes"]) == "nan"
    finally:
        collector.close()
    limited = intel.actuator.plan(Action(service.target, "llc_ways", 3.0))
    apply(limited)
    own = Path(limited.steps[0].path).name
    assert intel.tasks(f"{own}/mon_groups/{name}") == service.tasks(), "still monitored, in its new group"
    assert undo(limited.undo) == []
    assert intel.tasks(f"mon_groups/{name}") == service.tasks()
    assert undo(plan.undo) == []


CONTROLLER = """
import asyncio, sys, time
from vagus.actors.base import Seat
from vagus.actors.controller import ControllerActor
from vagus.config import Config, ControllerSettings, LimitSettings
from vagus.model import Action, Field, Sample, Stream, Target
root, home, pid = sys.argv[1:]
service = Target("pid", pid)
LOAD = Stream("n", "host.load", (Field("load1"),))
WANTED = {("llc_ways", service): 3.0, ("memory_bandwidth_percent", service): 35.0, ("llc_ways", Target("resctrl", "web")): 5.0}
class Links:
    async def call(self, actor, method, *args, timeout_s=5.0):
        return [Sample(LOAD, time.time_ns(), (0.5,))] if method == "latest" else []
    def nodes(self):
        return ("n",)
class Wishes:
    period_s = 0.05
    selectors = ("host.load",)
    def step(self, view):
        return [Action(target, resource, value, "wished") for (resource, target), value in WANTED.items()]
async def run():
    limits = {"llc_ways": LimitSettings(min=1, max=20, cooldown=0),
              "memory_bandwidth_percent": LimitSettings(min=10, max=100, cooldown=0)}
    settings = ControllerSettings(name="c", target=str(service), armed=True, actuator="auto", limits=limits)
    options = {"controller": settings, "object": Wishes(), "root": root}
    actor = ControllerActor(Seat("controller", "n", home, Config(), label="c", options=options), Links())
    await actor.begin()
    while True:  # the guard goes there in steps
        latest = {}
        for receipt in await actor.receipts(200):
            latest.setdefault((receipt.resource, receipt.target.kind), receipt)
        there = [f"{r} {kind} {found.after} {found.actuator}" for (r, kind), found in sorted(latest.items()) if not found.dry]
        if there == ["llc_ways pid 3.0 resctrl", "llc_ways resctrl 5.0 resctrl", "memory_bandwidth_percent pid 40.0 resctrl"]:
            print("limited", flush=True)
            await asyncio.sleep(1000)
        await asyncio.sleep(0.05)
asyncio.run(run())
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_controller_that_is_gone_leaves_nothing_behind(
    intel: Machine, service: Service, tmp_path: Path, end: signal.Signals
) -> None:
    """An armed controller of controller.yaml over all that it may limit; stopped, its lease ends it."""
    os.mkdir(intel.folder / "web")
    before = intel.state()
    home = tmp_path / "home"
    command = [sys.executable, "-c", CONTROLLER, str(intel.root), str(home), str(service.process.pid)]
    controller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "limited\n"
        assert intel.actuator.read(service.target, "llc_ways") == 3.0
        controller.send_signal(end)
        journal = home / "nodes/n/journal-c"
        deadline = time.monotonic() + 30 * PATIENCE
        while intel.state() != before and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        assert intel.state() == before
        assert service.tasks() <= intel.tasks()
    finally:
        controller.kill()
        controller.communicate()
    assert recover(journal, wait_s=20.0).failures == ()


def test_the_collectors_groups_follow_what_starts_and_go_with_it(intel: Machine, tmp_path: Path) -> None:
    service = Service()
    late = "cgroup:vagus-not-yet-there"
    monitoring = Monitoring([str(service.target), late], intel.root, tmp_path / "journal-monitor")
    monitoring.step()
    path = f"mon_groups/vagus-pid-{service.process.pid}"
    assert intel.tasks(path) == service.tasks()
    (problem,) = monitoring.notes()
    assert problem.startswith(f"{late}: not monitored")
    # limited, it goes into a group of its own, and is monitored there; the limit gone, it is monitored as before
    limited = intel.actuator.plan(Action(service.target, "llc_ways", 3.0))
    apply(limited)
    service.one_more()
    monitoring.step()
    own = Path(limited.steps[0].path).name
    assert intel.tasks(f"{own}/{path}") == service.tasks()
    os.rmdir(intel.folder / own)  # by hand, with all that is in it
    assert intel.tasks(path) == set()
    monitoring.step()
    assert intel.tasks(path) == service.tasks()
    monitoring.stop()
    assert not (intel.folder / path).exists()
    assert service.tasks() <= intel.tasks()
    service.end()


KEEPER = """
import sys
from pathlib import Path
from vagus.actors.monitoring import Monitoring
monitoring = Monitoring([sys.argv[3]], Path(sys.argv[1]), Path(sys.argv[2]))
monitoring.step()
print(*monitoring.notes() or ["monitored"], flush=True)
sys.stdin.read()
"""


def test_a_killed_collector_leaves_no_groups(intel: Machine, service: Service, tmp_path: Path) -> None:
    journal = tmp_path / "journal-monitor"
    command = [sys.executable, "-c", KEEPER, str(intel.root), str(journal), str(service.target)]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "monitored\n"
    assert os.listdir(intel.folder / "mon_groups") == [f"vagus-pid-{service.process.pid}"]
    keeper.send_signal(signal.SIGKILL)
    keeper.communicate()
    recover(journal, wait_s=20.0)
    assert os.listdir(intel.folder / "mon_groups") == []
