"""`vagus inject` on this machine: what each type does to others, and that nothing remains, whoever is killed.

Marked root: it makes groups named vagus-test-* below the cpu controller and network namespaces of its own. Also run in
the emulated machine (test_inject_vm.py), where the kernel has cgroup v2 and netem.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

from vagus.actuators.hierarchy import Mount, mounts
from vagus.undo.processes import start_ticks

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: control groups, network namespaces"),
]
LEASE_S = 5.0
SLOW = PATIENCE * (6.0 if os.environ.get("VAGUS_VM") else 1.0)  # the emulated machine's processor
SPIN = "while True: pass"
ROOT = str(Path(__file__).parents[2])


class Place:
    """A state folder of its own: the processes that have it in their environment are ours."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "VAGUS_HOME": str(home), "PYTHONPATH": ROOT}
        for name in ("VAGUS_URL", "VAGUS_TOKEN"):
            self.env.pop(name, None)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vagus", "inject", *arguments]
        pipe = subprocess.PIPE
        self.started.append(subprocess.Popen(command, env=self.env, text=True, stdout=pipe, stderr=pipe, cwd="/"))
        return self.started[-1]

    def run(self, *arguments: str) -> dict[str, Any]:
        """Runs to the end; what it printed as JSON."""
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=100 * PATIENCE)
        assert process.returncode == 0, out + err
        found: dict[str, Any] = json.loads(out)
        return found

    def processes(self, what: str = "") -> list[int]:
        """Ids of the processes of ours whose command has this word."""
        mine = f"VAGUS_HOME={self.home}".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or start_ticks(int(name)) is None:
                continue
            try:
                environment = Path("/proc", name, "environ").read_bytes().split(b"\0")
                command = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if mine in environment and what in command:
                found.append(int(name))
        return found

    def strains(self) -> list[int]:
        return self.processes("vagus.injector.strain")

    def gone(self) -> None:
        """Waits until nothing of ours is left."""
        until(lambda: not self.processes(), LEASE_S + 3)

    def folders(self) -> list[Path]:
        return list(self.home.glob("nodes/*/journal-inject-*"))


def until(holds: Callable[[], Any], within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s * SLOW
    while not (found := holds()):
        assert time.monotonic() < deadline, f"it did not happen within {within_s * SLOW} s"
        time.sleep(0.005)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home")
    yield made
    for process in made.started:
        if process.returncode is None:
            process.kill()
            process.communicate()
    made.gone()


@pytest.fixture
def group() -> Iterator[Path]:
    """A group below the cpu controller, as the target `cgroup:NAME`."""
    mount: Mount | None = next((m for m in mounts(Path("/")) if "cpu" in m.controllers), None)
    if mount is None:
        pytest.skip("this machine has no cpu controller in any cgroup hierarchy")
    control = mount.point / "cgroup.subtree_control"
    if mount.version == 2 and "cpu" not in control.read_text().split():
        control.write_text("+cpu +memory +cpuset")
    path = mount.point / f"vagus-test-inject-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        path.rmdir()  # refused while anything is in it


@contextlib.contextmanager
def victim(group: Path) -> Iterator[int]:
    """A process in the group that takes all the CPU it gets."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def only(found: dict[str, Any]) -> dict[str, Any]:
    """The one injection of a run, well ended."""
    (one,) = found["injections"]
    assert (one["why"], one["undone"]) == ("done", True)
    assert [e["event"] for e in found["events"]] == ["inject.begin", "inject.end"]
    assert found["events"][0]["fields"]["id"] == one["id"]
    assert 0 < one["begin_ns"] < one["end_ns"]
    return dict(one)


# --- what each does --------------------------------------------------------------------------------------------------


def test_cpu_takes_its_share_from_whoever_is_in_the_group(place: Place, group: Path) -> None:
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text("50000 100000")
    else:
        (group / "cpu.cfs_quota_us").write_text("50000")
    with victim(group) as pid:
        process = place.start(
            "cpu", "--intensity", "100%", "--for", f"{5 * SLOW}s", "--target", f"cgroup:{group.name}", "--json"
        )
        strains = until(place.strains)
        until(lambda: str(strains[0]) in (group / "cgroup.procs").read_text().split())
        reached(place)
        before = [cpu_s(p) for p in (pid, strains[0])]
        until(lambda: cpu_s(pid) + cpu_s(strains[0]) - sum(before) > 0.4)
        took = [cpu_s(p) - b for p, b in zip((pid, strains[0]), before, strict=True)]
        out, err = process.communicate(timeout=100 * PATIENCE)
        assert process.returncode == 0, err
    assert took[0] / sum(took) < 0.8, "alone it would have all of it"
    one = only(json.loads(out))
    assert one["figures"]["cpu_cores"] < 0.4, "the quota is shared"
    assert one["intensity"] == "100%"
    place.gone()
    assert not place.folders()
    assert (group / "cgroup.procs").read_text() == ""


def test_memory_is_copied_at_the_rate_that_was_asked_for(place: Place) -> None:
    one = only(place.run("memory", "--intensity", "500 MB/s", "--for", "2s", "--component", "cart"))
    assert 0.5e8 < one["figures"]["bytes_s"] < 5.6e8
    assert (one["component"], one["resource"]) == ("cart", "memory_bandwidth")


def test_the_last_level_cache_is_read_through(place: Place) -> None:
    one = only(place.run("llc", "--intensity", "16 MiB", "--for", "1s"))
    assert one["figures"]["lines_s"] > 16 * 2**20 / 64, "all of it more than once a second"


@pytest.mark.parametrize(("mode", "column"), [("write", 9), ("read", 5)])
def test_the_disk_works_as_hard_as_it_is_told(place: Place, tmp_path: Path, mode: str, column: int) -> None:
    device = os.stat(tmp_path).st_dev
    own = [f"{os.major(device)}", f"{os.minor(device)}"]

    def sectors() -> int:
        rows = (line.split() for line in Path("/proc/diskstats").read_text().splitlines())
        return next((int(row[column]) for row in rows if row[:2] == own), -1)

    if sectors() < 0:
        pytest.skip(f"{tmp_path} is on no disk of its own")
    free = os.statvfs(tmp_path).f_bavail
    before = sectors()
    one = only(place.run("disk", "--intensity", "20 MB/s", "--mode", mode, "--for", "2s", "--target", str(tmp_path)))
    assert one["figures"]["bytes_s"] < 24e6
    if one["figures"]["direct_ratio"]:
        done = one["figures"]["bytes_s"] * one["in_force_s"]
        assert (sectors() - before) * 512 > 0.6 * done, "the kernel's own count"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    until(lambda: os.statvfs(tmp_path).f_bavail > free - (256 << 20) // os.statvfs(tmp_path).f_frsize / 2)


async def test_load_is_seen_by_the_service(place: Place) -> None:
    from aiohttp import web

    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(text="ok", status=503 if request.path == "/bad" else 200)

    application = web.Application()
    application.router.add_get("/{name}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        target = f"{url}/good {url}/bad"
        one = only(await asyncio.to_thread(place.run, "load", "--intensity", "60/s", "--for", "2s", "--target", target))
    finally:
        await runner.cleanup()
    assert 60 < len(seen) <= 60 * 2.5
    assert abs(seen.count("/good") - seen.count("/bad")) <= 2, "in turn"
    figures = one["figures"]
    assert figures["requests_s"] == pytest.approx(60, rel=0.2)
    assert figures["failed_s"] == pytest.approx(figures["requests_s"] / 2, rel=0.3)
    assert figures["p50_ms"] > 0


# --- the network -----------------------------------------------------------------------------------------------------

NET = f"vgi{os.getpid()}"


@pytest.fixture
def wire() -> Iterator[str]:
    """A namespace with one end of a veth pair; the target that names it. The other end is in a second namespace."""
    if not shutil.which("ip") or subprocess.run(["ip", "netns", "add", NET], capture_output=True).returncode:
        pytest.skip("this machine has no ip (iproute2), or allows no network namespaces")
    try:
        for command in (
            f"ip netns add {NET}b",
            f"ip link add va netns {NET} type veth peer name vb netns {NET}b",
            f"ip -n {NET} address add 10.213.9.1/30 dev va",
            f"ip -n {NET}b address add 10.213.9.2/30 dev vb",
            f"ip -n {NET} link set va up",
            f"ip -n {NET}b link set vb up",
            f"ip -n {NET}b link set lo up",
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True)
            assert done.returncode == 0, f"{command}: {done.stderr}"
        yield f"{NET}/va"
    finally:
        for name in (NET, f"{NET}b"):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def shown() -> str:
    """What the kernel has for the device: disciplines, classes, filters, and which devices there are."""
    said = []
    for command in ("qdisc show dev va", "class show dev va", "filter show dev va egress"):
        said.append(subprocess.run(["tc", "-n", NET, *command.split()], capture_output=True, text=True).stdout)
    links = subprocess.run(["ip", "-n", NET, "-o", "link"], capture_output=True, text=True).stdout
    return "\n".join([*said, *sorted(line.split(":")[1] for line in links.splitlines())])


ROUND_TRIP = """
import socket, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(5)
took = []
for n in range(7):
    begin = time.monotonic()
    one.sendto(b"%d" % n, ("10.213.9.2", 7))
    one.recv(100)
    took.append(time.monotonic() - begin)
print(sorted(took)[3])
"""
ECHO = """
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("10.213.9.2", 7))
print(flush=True)
while True:
    one.sendto(*one.recvfrom(100))
"""


@contextlib.contextmanager
def echo() -> Iterator[Callable[[], float]]:
    """Measures the round trip over the wire, median seconds of seven."""
    server = subprocess.Popen(["ip", "netns", "exec", f"{NET}b", sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        server.stdout.readline()
        client = ["ip", "netns", "exec", NET, sys.executable, "-c", ROUND_TRIP]
        yield lambda: float(
            subprocess.run(client, check=True, capture_output=True, text=True, timeout=60 * PATIENCE).stdout
        )
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_packets_are_late(place: Place, wire: str) -> None:
    before = shown()
    with echo() as round_trip_s:
        assert round_trip_s() < 0.1
        process = place.start("net-delay", "--intensity", "150ms", "--for", "60s", "--target", wire)
        until(lambda: shown() != before)
        until(lambda: 0.14 < round_trip_s() < 2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60 * PATIENCE)
        assert shown() == before
        assert round_trip_s() < 0.1


@pytest.mark.parametrize("type_", ["net-delay", "net-bandwidth"])
def test_the_network_is_as_before_after_a_kill(place: Place, wire: str, type_: str) -> None:
    before = shown()
    process = place.start(type_, "--for", "60s", "--target", wire)
    until(lambda: shown() != before)
    process.kill()
    process.communicate()
    until(lambda: shown() == before, LEASE_S + 2)
    place.gone()


def test_what_both_killed_leave_the_next_command_undoes_and_tells(place: Place, wire: str) -> None:
    before = shown()
    process = place.start("net-bandwidth", "--intensity", "5Mbit", "--for", "60s", "--target", wire)
    begun = until(lambda: next(iter(place.home.glob("nodes/*/journal-inject-*/begun.jsonl")), None))
    until(lambda: begun.read_text())
    for pid in [*place.processes("vagus.watchdog"), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    place.gone()
    assert shown() != before, "nobody is left to undo it"
    found = place.run("cpu", "--intensity", "0.1 cores", "--for", "0.2s")
    assert shown() == before
    assert [(e["event"], e["fields"]["type"]) for e in found["events"]] == [
        ("inject.end", "net-bandwidth"),
        ("inject.begin", "cpu"),
        ("inject.end", "cpu"),
    ]
    assert found["events"][0]["fields"]["why"] == "killed"
    assert not place.folders()


# --- whoever is killed -----------------------------------------------------------------------------------------------

MOMENTS: dict[str, Callable[[Place], Any]] = {
    "the watchdog starts": lambda place: place.folders(),
    "the watchdog is there": lambda place: place.processes("vagus.watchdog"),
    "a process has started": lambda place: place.strains(),
    "the journal is written": lambda place: any("kill" in f.read_text() for f in place.home.glob("**/journal.jsonl")),
    "it is in force": lambda place: any(f.stat().st_size for f in place.home.glob("**/begun.jsonl")),
}


def reached(place: Place, moment: str = "it is in force") -> None:
    """Waits for it; what ends before that tells why."""
    process = place.started[-1]
    until(lambda: MOMENTS[moment](place) or process.poll() is not None)
    if process.returncode is not None and not MOMENTS[moment](place):
        raise AssertionError("".join(process.communicate()))


TYPES = {
    "cpu": ("cpu", "--intensity", "100%"),
    "memory": ("memory", "--intensity", "2 cores"),
    "llc": ("llc",),
    "disk": ("disk", "--intensity", "20 MB/s"),
    "load": ("load", "--intensity", "20/s", "--target", "http://127.0.0.1:9/"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("type_", ["cpu", "disk"])
def test_killed_at_any_moment_nothing_remains(
    place: Place, group: Path, tmp_path: Path, type_: str, moment: str
) -> None:
    target = str(tmp_path) if type_ == "disk" else f"cgroup:{group.name}"
    process = place.start(*TYPES[type_], "--for", "60s", "--target", target)
    reached(place, moment)
    process.kill()
    process.communicate()
    place.gone()
    assert (group / "cgroup.procs").read_text() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("type_", TYPES)
def test_each_type_ends_with_its_injector(place: Place, type_: str) -> None:
    process = place.start(*TYPES[type_], "--for", "60s")
    reached(place)
    process.kill()
    process.communicate()
    place.gone()


def test_a_killed_watchdog_is_replaced_and_everything_ends_in_time(place: Place, group: Path) -> None:
    process = place.start("cpu", "--for", "3s", "--target", f"cgroup:{group.name}", "--json")
    reached(place)
    (first,) = place.processes("vagus.watchdog")
    os.kill(first, signal.SIGKILL)
    until(lambda: set(place.processes("vagus.watchdog")) - {first})
    out, err = process.communicate(timeout=100 * PATIENCE)
    assert process.returncode == 0, err
    only(json.loads(out))
    place.gone()
    assert not place.folders()


def test_without_both_the_processes_end_by_themselves(place: Place) -> None:
    process = place.start("cpu", "--for", "60s")
    reached(place)
    for pid in [*place.processes("vagus.watchdog"), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    place.gone()


def test_a_stopped_injector_is_given_up_after_its_lease(place: Place) -> None:
    process = place.start("cpu", "--for", "60s")
    reached(place)
    process.send_signal(signal.SIGSTOP)
    until(lambda: not place.strains(), LEASE_S + 3)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 1, err


def test_a_stopped_strain_ends_too(place: Place) -> None:
    process = place.start("cpu", "--for", "60s")
    reached(place)
    os.kill(place.strains()[0], signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60 * PATIENCE)
    place.gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(place: Place, number: signal.Signals) -> None:
    process = place.start("cpu", "--for", "60s", "--json")
    reached(place)
    process.send_signal(number)
    out, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 130, err
    found = json.loads(out)
    assert [e["event"] for e in found["events"]] == ["inject.begin", "inject.end"]
    assert found["injections"][0]["why"] == "interrupted"
    place.gone()
    assert not place.folders()


def test_a_strain_that_dies_is_told(place: Place) -> None:
    process = place.start("cpu", "--for", "60s", "--json")
    reached(place)
    os.kill(place.strains()[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 1
    assert "ended by itself: signal 9" in err
    assert json.loads(out)["events"][1]["level"] == "warning"


def test_a_strain_ends_at_its_own_deadline_whatever_holds_its_line_open() -> None:
    from vagus.injector.strain import GRACE_S, command

    one = subprocess.Popen(
        command("cpu", 0.3, duty=1.0),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert one.stdin is not None
    assert one.stdout is not None
    one.stdin.write(b"\n")
    one.stdin.flush()
    assert [b"ready" in one.stdout.readline(), b"begun" in one.stdout.readline()] == [True, True]
    assert one.wait(0.3 + GRACE_S + 10) == -signal.SIGALRM
    one.stdin.close()
    one.stdout.close()


# --- campaigns and events --------------------------------------------------------------------------------------------

CAMPAIGN = """
name: both
repeat: 2
injections:
  - {type: cpu, intensity: 0.2 cores, at: 0s, duration: 1s, component: a, options: {nice: 5}}
  - {type: llc, intensity: 2 MiB, at: 0.5s, duration: 1s, component: b}
  - {type: cpu, intensity: 0.1 cores, duration: 0.3s, jitter: 0.2s}
"""


def test_a_campaign_is_told_to_the_nodes_collector(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(CAMPAIGN)
    found = asyncio.run(_with_collector(place, "campaign", str(file)))
    told, kept = found
    done = sorted(told["injections"], key=lambda one: one["id"])
    assert [(i["type"], i["component"], i["campaign"], i["why"]) for i in done] == [
        ("cpu", "a", "both", "done"),
        ("llc", "b", "both", "done"),
        ("cpu", "", "both", "done"),
    ] * 2
    first, second, third = done[:3]
    assert second["begin_ns"] < first["end_ns"], "these overlap"
    assert third["begin_ns"] > second["end_ns"], "this one comes after"
    assert len(kept) == 12
    begun = {e.fields["id"]: e for e in kept if e.event == "inject.begin"}
    for end in (e for e in kept if e.event == "inject.end"):
        assert begun[end.fields["id"]].t_ns < end.t_ns
        assert (end.node, end.source) == ("n1", "inject")


async def _with_collector(place: Place, *arguments: str) -> Any:
    from vagus.actors.base import Seat
    from vagus.actors.collector import CollectorActor
    from vagus.config import CollectSettings, Config, GatewaySettings, ProbeSettings
    from vagus.model import MAX_T_NS, Ack, Event

    class Alone:
        async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
            return [Ack.ACCEPTED] * len(args[0]) if method == "report" else []

        def nodes(self) -> tuple[str, ...]:
            return ("n1",)

    config = Config(
        gateway=GatewaySettings(port=0),
        collect=CollectSettings(period_s=1.0, collectors=("host",)),
        probes=ProbeSettings(enabled=False),
    )
    place.home.mkdir(mode=0o700)
    collector = CollectorActor(
        Seat("collector", "n1", str(place.home), config, options={"token": "c" * 32, "head": "n1"}), Alone()
    )
    await collector.begin()
    try:
        with contextlib.suppress(FileExistsError):
            (place.home / "token").touch(mode=0o600, exist_ok=False)
            (place.home / "token").write_text("c" * 32)
        told = await asyncio.to_thread(place.run, *arguments)
        kept = [
            e for e in collector._sensing.store.records("event", Event, 0, MAX_T_NS) if e.event.startswith("inject.")
        ]
    finally:
        await collector.end()
    return told, kept


def test_two_that_change_the_same_at_once_are_refused_before_anything_begins(
    place: Place, wire: str, tmp_path: Path
) -> None:
    file = tmp_path / "campaign.yaml"
    one = f"{{type: net-bandwidth, intensity: 10Mbit, target: {wire}, duration: 2s, at: 0s}}"
    file.write_text(f"name: both\ninjections:\n  - {one}\n  - {one}\n")
    process = place.start("campaign", str(file))
    _, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 1
    assert "overlap" in err
    assert not place.folders()


def test_a_port_that_nobody_listens_at_is_a_figure_not_an_error(place: Place) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one = only(place.run("load", "--intensity", "50/s", "--for", "1s", "--target", f"http://127.0.0.1:{port}/"))
    assert one["figures"]["answered_s"] == 0
    assert one["figures"]["failed_s"] > 10
