"""What each injection does to others, and that nothing of it remains: after its end, and after a kill -9.

Run as root: python -m benchmarks.act_inject [--json] [--quick] [--only cpu disk …]
A victim's own figure beside the injection and without it: its share of a control group, bytes or reads per second of
its own CPU time (so that others on the machine do not count), its disk, the requests that a server sees, a round trip
and a stream over a wire between two network namespaces. Without netem in this kernel, the wire is also measured in the
emulated machine (tests/lab/kernel-vm), not with --quick.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import math
import mmap
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vagus.actuators.hierarchy import mounts
from vagus.undo.processes import start_ticks

ROOT = Path(__file__).parents[1]
NAME = f"vagus-bench-{os.getpid()}"
NET = f"vgbi{os.getpid()}"
BAR_S = 5.0
MODULES = "veth sch_htb sch_netem sch_ingress cls_u32 act_mirred ifb tun"
SPIN = "while True: pass"
TURNS = 20
IN_TURNS = ("memory", "llc")
ROUND_S = 6.0


class Injector:
    """`vagus inject` with a state folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.core, *self.others = sorted(os.sched_getaffinity(0))
        self.env = {**os.environ, "VAGUS_HOME": str(home), "PYTHONPATH": str(ROOT)}
        for name in ("VAGUS_URL", "VAGUS_TOKEN"):
            self.env.pop(name, None)

    def start(self, type_: str, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vagus", "inject", type_, *more, "--for", "120s", "--json"]
        if self.others and type_ in IN_TURNS:
            command = ["chrt", "--rr", "1", "taskset", "--cpu-list", ",".join(map(str, self.others)), *command]
        return subprocess.Popen(
            command, env=self.env, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def in_force(self, process: subprocess.Popen[str]) -> None:
        """Waits for it. Raises RuntimeError with its words."""
        while not any(file.stat().st_size for file in self.home.glob("nodes/*/journal-inject-*/begun.jsonl")):
            if process.poll() is not None:
                raise RuntimeError(process.communicate()[1].strip()[-500:])
            time.sleep(0.01)

    def processes(self) -> list[int]:
        """Those that still run, but for this one."""
        mine = f"VAGUS_HOME={self.home}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and start_ticks(int(name)) is not None:
                with contextlib.suppress(OSError):
                    if mine in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                        found.append(int(name))
        return found

    @contextlib.contextmanager
    def injected(self, type_: str, *more: str) -> Iterator[dict[str, Any]]:
        """In force inside; afterwards what it said itself."""
        told: dict[str, Any] = {}
        process = self.start(type_, *more)
        try:
            self.in_force(process)
            yield told
        finally:
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate()
        told.update(json.loads(out)["injections"][0])


class Case:
    """One type: how it is injected, what a victim measures, and what must be as before."""

    def __init__(
        self, what: str, arguments: list[str], measure: Callable[[], float], bar: str, met: Callable[[float], bool]
    ) -> None:
        self.what, self.arguments, self.measure, self.bar, self.met = what, arguments, measure, bar, met
        self.remains: Callable[[], object] = lambda: None
        self.in_turns = False

    def rounds(self, quick: bool) -> int:
        return (2 if quick else 8) if self.in_turns else (1 if quick else 3)


class Effect:
    """Figures of a victim without and with it, as they came, and what the injection said itself at last."""

    def __init__(self) -> None:
        self.without: list[float] = []
        self.beside: list[float] = []
        self.told: dict[str, Any] = {}
        self.by_round: list[float] = []

    @property
    def seen(self) -> bool:
        return self.chance < 0.01

    @property
    def chance(self) -> float:
        """How likely so many turns or more would be slower if it did nothing (sign test)."""
        slower = sum(b < w for b, w in zip(self.beside, self.without, strict=True))
        number = len(self.beside)
        return float(sum(math.comb(number, k) for k in range(slower, number + 1)) / 2**number)


def effect(injector: Injector, type_: str, case: Case, rounds: int) -> Effect:
    """The victim's figure without and with it, in turns where the case says so. Where two CPUs of a virtual machine run
    is the host's choice, and only at one cache can they strain each other: so there are rounds, a while apart, and all of
    them count; how many was fixed before the first."""
    found = Effect()
    for number in range(rounds):
        if number and case.in_turns:
            time.sleep(ROUND_S)  # the host may have moved the CPUs by then
        first = len(found.beside)
        if not case.in_turns:
            found.without.append(case.measure())
        with injector.injected(type_, *case.arguments) as told:
            if case.in_turns:
                turns(injector, case, found)
            else:
                found.beside.append(case.measure())
        found.told = told
        pair = statistics.median(found.beside[first:]), statistics.median(found.without[first:])
        found.by_round.append(pair[0] / max(pair[1], 1e-9))
    return found


def turns(injector: Injector, case: Case, found: Effect) -> None:
    """The victim alone on the first core, the injection on the others, stopped every other time. Both in real time for
    these seconds: whatever else runs here, they run at the same time."""
    strains = [p for p in injector.processes() if b"injector.strain" in Path(f"/proc/{p}/cmdline").read_bytes()]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {injector.core})
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        for number in range(2 * TURNS):
            alone = bool(number % 2)
            for strain in strains:
                os.kill(strain, signal.SIGSTOP if alone else signal.SIGCONT)
            case.measure()  # until it shows
            (found.without if alone else found.beside).append(case.measure())
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)
        for strain in strains:
            os.kill(strain, signal.SIGCONT)


def undone(injector: Injector, type_: str, case: Case, kills: int, rng: random.Random) -> float:
    """The longest time after a kill -9 at any moment until everything is as before; infinite: it never was."""
    before, slowest = case.remains(), 0.0
    for number in range(kills):
        process = injector.start(type_, *case.arguments)
        if number % 2:
            injector.in_force(process)
        else:
            time.sleep(rng.uniform(0.2, 1.0))
        process.kill()
        process.communicate()
        begin = time.monotonic()
        while injector.processes() or case.remains() != before:
            if time.monotonic() - begin > 20:
                return float("inf")
            time.sleep(0.01)
        slowest = max(slowest, time.monotonic() - begin)
        shutil.rmtree(injector.home, ignore_errors=True)
    return slowest


# --- victims ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def cpu(_: Path) -> Iterator[Case]:
    mount = next(m for m in mounts(Path("/")) if "cpu" in m.controllers)
    group = mount.point / NAME
    if mount.version == 2:
        (mount.point / "cgroup.subtree_control").write_text("+cpu")
    group.mkdir()
    victim = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        limit = ("cpu.max", "50000 100000") if mount.version == 2 else ("cpu.cfs_quota_us", "50000")
        (group / limit[0]).write_text(limit[1])
        (group / "cgroup.procs").write_text(str(victim.pid))

        def cores() -> float:
            def used() -> float:
                fields = Path("/proc", str(victim.pid), "stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

            first, begin = used(), time.monotonic()
            time.sleep(2)
            return (used() - first) / (time.monotonic() - begin)

        what = "CPU of a process in a group of .5 cores, beside 100% in it / alone"
        case = Case(what, ["--intensity", "100%", "--target", f"cgroup:{NAME}"], cores, "≤ 0.8", lambda r: r <= 0.8)
        case.remains = (group / "cgroup.procs").read_text
        yield case
    finally:
        victim.kill()
        victim.wait()
        deadline = time.monotonic() + 5
        while True:
            try:
                group.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def per_cpu_s(work: Callable[[], float], for_s: float = 0.05) -> float:
    """What is done per second of this thread's own CPU time."""
    done, begin = 0.0, time.thread_time()
    while True:
        done += work()
        took = time.thread_time() - begin
        if took >= for_s:
            return done / took


@contextlib.contextmanager
def memory(_: Path) -> Iterator[Case]:
    source, sink = np.ones(8 << 20), np.zeros(8 << 20)  # 64 MiB each

    def copied() -> float:
        np.copyto(sink, source)
        return 2.0 * source.nbytes

    what = "bytes copied per CPU second, beside copies on the other cores / alone"
    case = Case(what, ["--intensity", "100%"], lambda: per_cpu_s(copied), "< 1", lambda r: r < 1)
    case.in_turns = True
    yield case


@contextlib.contextmanager
def llc(_: Path) -> Iterator[Case]:
    array = np.ones(2 << 20)  # 16 MiB: in the last-level cache, in no other
    order = np.random.default_rng(1).permutation(len(array) // 8) * 8
    found = np.empty(len(order))

    def read() -> float:
        np.take(array, order, out=found, mode="clip")
        return float(len(order))

    what = "random reads of 16 MiB per CPU second, beside 100% of the cache / alone"
    case = Case(what, ["--intensity", "100%"], lambda: per_cpu_s(read), "< 1", lambda r: r < 1)
    case.in_turns = True
    yield case


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Case]:
    place = folder / "disk"
    place.mkdir()
    with mmap.mmap(-1, 1 << 20) as block:

        def written() -> float:
            fd = os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o600)
            try:
                number, begin = 0, time.monotonic()
                while (took := time.monotonic() - begin) < 1.5:
                    os.pwrite(fd, block, (number % 64) << 20)
                    number += 1
                return number * (1 << 20) / took
            finally:
                os.close(fd)

        what = "bytes written per second to the same disk, beside 4 streams / alone"
        arguments = ["--intensity", "100%", "--workers", "4", "--target", str(place)]
        case = Case(what, arguments, written, "≤ 0.8", lambda r: r <= 0.8)
        case.remains = lambda: os.listdir(place)
        yield case


@contextlib.contextmanager
def load(_: Path) -> Iterator[Case]:
    seen = 0

    class Server(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            nonlocal seen
            seen += 1
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # who asked was killed

    server = Quiet(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def arrived() -> float:
        first, begin = seen, time.monotonic()
        time.sleep(2)
        return (seen - first) / (time.monotonic() - begin)

    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        what = "requests per second that a server sees, of 200 asked for"
        yield Case(what, ["--intensity", "200/s", "--target", url], arrived, "190 to 210", lambda v: 190 <= v <= 210)
    finally:
        server.shutdown()
        server.server_close()


ROUND_TRIP = """
import socket, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(5)
took = []
for n in range(9):
    begin = time.monotonic()
    one.sendto(b"%d" % n, ("10.213.10.2", 7))
    one.recv(100)
    took.append(time.monotonic() - begin)
print(sorted(took)[4] * 1000)
"""
STREAM = """
import socket, time
one = socket.create_connection(("10.213.10.2", 8))
block, sent, begin = b"x" * 65536, 0, time.monotonic()
while time.monotonic() - begin < 2:
    sent += one.send(block)
one.shutdown(socket.SHUT_WR)
print(int(one.makefile().read()) / (time.monotonic() - begin) * 8e-6)
"""
ENDS = """
import socket, threading
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("10.213.10.2", 7))
sink = socket.create_server(("10.213.10.2", 8))
def take():
    while True:
        peer, _ = sink.accept()
        count = 0
        while data := peer.recv(1 << 20):
            count += len(data)
        peer.sendall(b"%d" % count)
        peer.close()
threading.Thread(target=take, daemon=True).start()
print(flush=True)
while True:
    echo.sendto(*echo.recvfrom(100))
"""


@contextlib.contextmanager
def wire(program: str, case: Case) -> Iterator[Case]:
    """Two namespaces with a veth pair, both ends of a measurement in them."""
    for command in (
        f"ip netns add {NET}",
        f"ip netns add {NET}b",
        f"ip link add va netns {NET} type veth peer name vb netns {NET}b",
        f"ip -n {NET} address add 10.213.10.1/30 dev va",
        f"ip -n {NET}b address add 10.213.10.2/30 dev vb",
        f"ip -n {NET} link set va up",
        f"ip -n {NET}b link set vb up",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    server = subprocess.Popen(["ip", "netns", "exec", f"{NET}b", sys.executable, "-c", ENDS], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        server.stdout.readline()
        client = ["ip", "netns", "exec", NET, sys.executable, "-c", program]
        case.measure = lambda: float(subprocess.run(client, check=True, capture_output=True, text=True).stdout)

        def shown() -> list[str]:
            commands = ["tc qdisc show dev va", "tc class show dev va", "tc filter show dev va egress", "ip -br link"]
            return [
                subprocess.run(
                    ["ip", "netns", "exec", NET, *c.split()], check=False, capture_output=True, text=True
                ).stdout
                for c in commands
            ]

        case.remains = shown
        yield case
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        for name in (NET, f"{NET}b"):
            subprocess.run(["ip", "netns", "delete", name], check=True, capture_output=True)


def net_delay(_: Path) -> contextlib.AbstractContextManager[Case]:
    how = ["--intensity", "100ms", "--target", f"{NET}/va"]
    what = "round trip in ms with 100 ms one way (median of nine)"
    return wire(ROUND_TRIP, Case(what, how, lambda: 0.0, "98 to 130", lambda v: 98 <= v <= 130))


def net_bandwidth(_: Path) -> contextlib.AbstractContextManager[Case]:
    how = ["--intensity", "20Mbit", "--target", f"{NET}/va"]
    what = "TCP in Mbit/s over a wire held to 20 Mbit/s"
    return wire(STREAM, Case(what, how, lambda: 0.0, "16 to 22", lambda v: 16 <= v <= 22))


CASES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Case]]] = {
    "cpu": cpu,
    "memory": memory,
    "llc": llc,
    "disk": disk,
    "net-delay": net_delay,
    "net-bandwidth": net_bandwidth,
    "load": load,
}
ABSOLUTE = ("load", "net-delay", "net-bandwidth")  # the figure itself, not its ratio to the one without


def rows(types: list[str], quick: bool, note: str = "") -> list[dict[str, Any]]:
    found = []
    for type_ in types:
        with tempfile.TemporaryDirectory(prefix="vagus-bench-", dir="/var/tmp") as name:
            folder = Path(name)
            injector = Injector(folder / "home")
            try:
                with CASES[type_](folder) as case:
                    did = effect(injector, type_, case, case.rounds(quick))
                    slowest = undone(injector, type_, case, 2 if quick else 6, random.Random(7))
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                found.append(row(f"{type_}{note}: cannot be measured here: {error}"[:500], None, "", None, None))
                continue
            without, beside = statistics.median(did.without), statistics.median(did.beside)
            value = beside if type_ in ABSOLUTE else beside / without
            own = ", ".join(f"{k} {v:.4g}" for k, v in did.told["figures"].items())
            beside_it = f"without: {without:.4g}, with: {beside:.4g}; its own: {own or 'none'}"
            met = case.met(value)
            if case.in_turns:
                met = did.seen
                beside_it += f"; rounds: {', '.join(f'{r:.3f}' for r in did.by_round)}; by chance: {did.chance:.2g}"
            unit = {"load": "1/s", "net-delay": "ms", "net-bandwidth": "Mbit/s"}.get(type_, "ratio")
            found.append(row(f"{type_}{note}: {case.what}", value, unit, case.bar, met, beside_it))
            what = f"{type_}{note}: all undone after kill -9 at {2 if quick else 6} moments, slowest"
            found.append(row(what, slowest, "s", f"≤ {BAR_S:g} s", slowest <= BAR_S))
    return found


def row(what: str, value: float | None, unit: str, bar: str | None, met: bool | None, peer: str | None = None) -> dict[str, Any]:  # fmt: skip
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": peer}


def emulated() -> list[dict[str, Any]]:
    """The same with netem, under Debian's kernel."""
    script = f"PATH=$PATH:/usr/sbin:/sbin; for module in {MODULES}; do modprobe $module || exit 1; done; exec "
    command = f"{sys.executable} -m benchmarks.act_inject --json --quick --here --only net-delay"
    lab = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "400", "sh", "-c", script + command]
    done = subprocess.run(lab, check=False, cwd=ROOT, capture_output=True, text=True)
    at = done.stdout.find("[{")
    if done.returncode or at < 0:
        return [row(f"net-delay, netem: {(done.stderr or done.stdout).strip()[-300:]}", None, "", None, None)]
    found: list[dict[str, Any]] = json.JSONDecoder().raw_decode(done.stdout[at:])[0]
    for one in found:
        one["what"] = one["what"].replace("net-delay:", "net-delay, netem in the emulated machine:")
        if one["unit"] == "ms":
            one["bar"], one["met"] = "98 to 200", 98 <= one["value"] <= 200  # its processor is 20 times as slow
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="shorter, less exact, without the emulated machine")
    parser.add_argument("--here", action="store_true", help="without the emulated machine")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    if os.geteuid():
        found = [row("needs root: control groups, network namespaces", None, "", None, None)]
    else:
        found = rows(options.only, options.quick)
        if "net-delay" in options.only and not (options.quick or options.here):
            found += emulated()
    if options.json:
        print(json.dumps(found))
        return
    for one in found:
        value = "-" if one["value"] is None else f"{one['value']:.3f}"
        met = "" if one["met"] is None else "met" if one["met"] else "NOT MET"
        print(f"{one['what']:95} {value:>9} {one['unit']:7} {one['bar'] or '':11} {met:8} {one['peer'] or ''}")


if __name__ == "__main__":
    main()
