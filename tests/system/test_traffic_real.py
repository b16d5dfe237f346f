"""Traffic control on a real kernel: two network namespaces, a veth pair between them, limits measured and undone.

Marked root: everything is in namespaces of its own, removed afterwards. Also runs in the emulated machine
(test_traffic_vm.py), whose kernel has netem and fq_codel.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import PATIENCE

from vagus.actuators.apply import apply
from vagus.actuators.traffic import Traffic
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.injector.net_bandwidth import NetBandwidth
from vagus.injector.net_delay import NetDelay
from vagus.model import Action, Target
from vagus.shaping.probe import has
from vagus.undo import netlink as nl
from vagus.undo import perform, undo
from vagus.watchdog import Journal

T = TypeVar("T")

A, B = f"vgta{os.getpid()}", f"vgtb{os.getpid()}"
HERE, THERE = "10.213.8.1", "10.213.8.2"
HERE6, THERE6 = "fd00:213:8::1", "fd00:213:8::2"
ON_WIRE = 1514 / 1448  # of a whole segment, as HTB counts it, to its content
DEVICE = Target("net", f"{A}/va")
IN_VM = "VAGUS_VM" in os.environ
LEAST = 0.2  # of a limit, what passes at least: a busy or emulated machine may be too slow for more

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("tc")), reason="needs ip and tc (iproute2)"),
]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def tc(*words: str, namespace: str = A) -> str:
    return run("tc", "-n", namespace, *words)


def shown(device: str = "va", namespace: str = A) -> str:
    """All that tc shows of a device, but for counters."""
    looks = (("-d", "qdisc"), ("-d", "class"), ("filter",), ("filter", "", "ingress"), ("filter", "", "egress"))
    found = []
    for look in looks:
        words = [*(w for w in look[:2] if w), "show", "dev", device, *look[2:]]
        done = subprocess.run(["tc", "-n", namespace, *words], capture_output=True, text=True, timeout=60)
        found.append(re.sub(r"refcnt \d+|direct_packets_stat \d+", "", done.stdout))
    devices = re.findall(r"^\d+: ([^:@]+)", run("ip", "-n", namespace, "-o", "link"), re.MULTILINE)
    return "\n".join([*found, *devices])


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Works in a thread that is in the namespace."""
    found: list[T | BaseException] = []

    def there() -> None:
        try:
            nl.enter(namespace)
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join(60)
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


@pytest.fixture
def wire() -> Iterator[None]:
    """Two namespaces and a veth pair between them."""
    for name in (A, B):
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    if subprocess.run(["ip", "netns", "add", A], capture_output=True).returncode:
        pytest.skip("this kernel or container allows no network namespaces")
    try:
        run("ip", "netns", "add", B)
        run("ip", "link", "add", "va", "netns", A, "type", "veth", "peer", "name", "vb", "netns", B)
        for namespace, device, addresses in ((A, "va", (HERE, HERE6)), (B, "vb", (THERE, THERE6))):
            run("ip", "-n", namespace, "address", "add", f"{addresses[0]}/24", "dev", device)
            run("ip", "-n", namespace, "address", "add", f"{addresses[1]}/64", "dev", device, "nodad")
            run("ip", "-n", namespace, "link", "set", device, "up")
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        yield
    finally:
        for name in (A, B):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def measured(seconds: float = 1.0, port: int = 7001, *, back: bool = False, host: str = THERE) -> float:
    """Bytes/s on the wire of a TCP stream from A to B (back: from B to A), after its first burst."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = inside(B, lambda: socket.create_server((host, port), family=family))
    client = inside(A, lambda: socket.create_connection((host, port), timeout=10))
    with server, client:
        end, _ = server.accept()
        end.settimeout(10)
        with end:
            sender, receiver = (end, client) if back else (client, end)
            stop = threading.Event()

            def send() -> None:
                with contextlib.suppress(OSError):
                    while not stop.is_set():
                        sender.send(bytes(1 << 15))

            sender.settimeout(0.2)
            thread = threading.Thread(target=send)
            thread.start()
            arrivals = [(time.monotonic(), 0)]
            try:
                while arrivals[-1][0] < arrivals[0][0] + seconds:
                    arrivals.append((0.0, arrivals[-1][1] + len(receiver.recv(1 << 16))))
                    arrivals[-1] = (time.monotonic(), arrivals[-1][1])
            finally:
                stop.set()
                thread.join()
    first = next(a for a in arrivals if a[0] > arrivals[0][0] + seconds / 4)
    return (arrivals[-1][1] - first[1]) / (arrivals[-1][0] - first[0]) * ON_WIRE


def plan(target: str, value: float | None, resource: str = "net_bytes_s"):  # type: ignore[no-untyped-def]
    return Traffic().plan(Action(Target.parse(target), resource, value))


def test_a_device_is_limited_and_gets_its_default_back(wire: None) -> None:
    traffic, before = Traffic(), shown()
    assert traffic.supports(DEVICE) == ("net_bytes_s", "net_in_bytes_s")
    assert traffic.read(DEVICE, "net_bytes_s") is None
    free = measured(0.5)
    planned = plan(str(DEVICE), 1e6)
    assert shown() == before, "planning touches nothing"
    apply(planned)
    assert planned.shown(traffic.read(DEVICE, "net_bytes_s"))
    limited = measured(1.5)
    again = plan(str(DEVICE), 2e6)
    apply(again)
    assert traffic.read(DEVICE, "net_bytes_s") == 2e6
    assert undo(again.undo) == []
    assert traffic.read(DEVICE, "net_bytes_s") == 1e6
    assert undo(planned.undo) == []
    assert undo(planned.undo) == [], "undone twice is undone"
    assert shown() == before
    assert free > 3e6
    assert LEAST * 1e6 < limited < 1.2e6
    assert measured(0.5) > 3e6


def test_a_limit_is_lifted_and_comes_back(wire: None) -> None:
    first = plan(str(DEVICE), 1e6)
    apply(first)
    limited = shown()
    lift = plan(str(DEVICE), None)
    apply(lift)
    assert lift.shown(Traffic().read(DEVICE, "net_bytes_s"))
    assert measured(0.5) > 3e6
    assert undo(lift.undo) == []
    assert shown() == limited
    assert plan(f"{DEVICE}/dport=1", None).steps == (), "no limit needs nothing"


def test_only_the_flow_is_limited(wire: None) -> None:
    before = shown()
    for text, host in ((f"to={THERE},dport=7001,proto=tcp", THERE), ("dport=7001", THERE6)):
        planned = plan(f"net:{A}/va/{text}", 1e6)
        apply(planned)
        target = Target("net", f"{A}/va/{text}")
        assert Traffic().read(target, "net_bytes_s") == 1e6
        assert LEAST * 1e6 < measured(1.5, host=host) < 1.2e6
        assert measured(0.5, 7002, host=host) > 3e6
        assert Traffic().read(DEVICE, "net_bytes_s") is None, "the device is not"
        assert undo(planned.undo) == []
        assert shown() == before


def test_flows_borrow_from_the_device_and_never_more_than_it_has(wire: None) -> None:
    before = shown()
    flow = plan(f"net:{A}/va/dport=7001", 3e6)
    apply(flow)
    device = plan(str(DEVICE), 1e6)
    apply(device)
    assert LEAST * 1e6 < measured(1.5) < 1.2e6, "3 MB/s are allowed, 1 is there"
    assert Traffic().read(Target("net", f"{A}/va/dport=7001"), "net_bytes_s") == 3e6
    assert undo([*device.undo, *flow.undo]) == []
    assert shown() == before


def test_what_comes_in_is_limited_through_an_ifb(wire: None) -> None:
    before = shown()
    planned = plan(str(DEVICE), 1e6, "net_in_bytes_s")
    apply(planned)
    assert Traffic().read(DEVICE, "net_in_bytes_s") == 1e6
    assert Traffic().read(DEVICE, "net_bytes_s") is None
    assert LEAST * 1e6 < measured(1.5, back=True) < 1.2e6
    assert measured(0.5) > 3e6, "what goes out is not"
    more = plan(f"{DEVICE}/sport=7001", 5e5, "net_in_bytes_s")
    apply(more)
    assert LEAST * 0.5e6 < measured(1.5, back=True) < 0.6e6
    assert undo([*more.undo, *planned.undo]) == []
    assert shown() == before


def test_others_filters_on_what_comes_in_are_left_alone(wire: None) -> None:
    tc("qdisc", "add", "dev", "va", "clsact")
    with pytest.raises(Rejected, match="filters on what comes in, which someone else made"):
        plan(str(DEVICE), 1e6, "net_in_bytes_s")
    with pytest.raises(Unsupported, match="tcp:LISTEN->HOST:PORT"):
        NetDelay(user_space=True).prepare("50ms", f"{A}/va", 10)


@pytest.fixture
def tree(wire: None) -> str:
    """An HTB that someone else made."""
    tc("qdisc", "add", "dev", "va", "root", "handle", "1:", "htb", "default", "10")
    tc(*["class", "add", "dev", "va", "parent", "1:", "classid", "1:1", "htb", "rate", "40mbit", "ceil", "40mbit"])
    tc(
        *[
            "class",
            "add",
            "dev",
            "va",
            "parent",
            "1:1",
            "classid",
            "1:10",
            "htb",
            "rate",
            "4mbit",
            "ceil",
            "40mbit",
            "prio",
            "3",
            "quantum",
            "2000",
            "burst",
            "20k",
        ]
    )
    tc(
        *[
            "class",
            "add",
            "dev",
            "va",
            "parent",
            "1:1",
            "classid",
            "1:20",
            "htb",
            "rate",
            "36gbit",
            "ceil",
            "50gbit",
            "mpu",
            "64",
            "overhead",
            "24",
        ]
    )
    tc(*["class", "add", "dev", "va", "parent", "1:", "classid", "1:30", "htb", "rate", "1mbit"])
    tc(
        *[
            "filter",
            "add",
            "dev",
            "va",
            "parent",
            "1:",
            "protocol",
            "ip",
            "prio",
            "5",
            "u32",
            "match",
            "ip",
            "dport",
            "7003",
            "0xffff",
            "flowid",
            "1:20",
        ]
    )
    return shown()


@pytest.mark.parametrize(
    ("classid", "resource", "value", "line"),
    [
        ("1:10", "net_bytes_s", 1e6, r"class htb 1:10 parent 1:1 .*prio 3 quantum 2000 rate 4Mbit ceil 8Mbit"),
        ("1:10", "net_bytes_s", 1e5, r"1:10 .*rate 800Kbit ceil 800Kbit"),
        ("1:10", "net_rate_bytes_s", 1e6, r"1:10 .*rate 8Mbit ceil 40Mbit"),
        ("1:10", "net_rate_bytes_s", None, r"1:10 .*rate 8Kbit ceil 40Mbit"),
        ("1:20", "net_bytes_s", 6e9, r"1:20 .*rate 36Gbit overhead 24 ceil 48Gbit .*mpu 64b"),
        ("1:20", "net_bytes_s", 1e6, r"1:20 .*rate 8Mbit overhead 24 ceil 8Mbit .*mpu 64b"),
        ("1:30", "net_bytes_s", 1e6, r"1:30 root .*rate 8Mbit ceil 8Mbit"),
        ("1:30", "net_bytes_s", None, r"1:30 root .*rate 100Gbit ceil 100Gbit"),
        ("1:1", "net_bytes_s", 2e6, r"1:1 root rate 16Mbit ceil 16Mbit"),
    ],
)
def test_a_class_of_someone_else_is_changed_back_with_all_it_had(
    tree: str, classid: str, resource: str, value: float | None, line: str
) -> None:
    target = Target("net", f"{A}/va/{classid}")
    planned = plan(str(target), value, resource)
    apply(planned)
    assert planned.shown(Traffic().read(target, resource))
    assert re.search(line, shown()), shown()
    assert undo(planned.undo) == []
    assert shown() == tree


def test_flows_in_an_htb_of_someone_else(tree: str) -> None:
    planned = plan(f"net:{A}/va/dport=7001", 1e6)
    apply(planned)
    assert LEAST * 1e6 < measured(1.5) < 1.2e6
    assert measured(1.0, 7002) > 2e6, "its own default class is as it was"
    own = plan(f"net:{A}/va/dport=7001", 5e5)  # the filter is known again
    apply(own)
    assert Traffic().read(Target("net", f"{A}/va/dport=7001"), "net_bytes_s") == 5e5
    assert undo([*own.undo, *planned.undo]) == []
    assert shown() == tree


def test_what_is_refused_changes_nothing_and_says_what_to_do(tree: str) -> None:
    cases: list[tuple[str, str, float, type[ActuateError], str]] = [
        (f"net:{A}/va", "net_bytes_s", 1e6, Rejected, "root discipline htb 1:, which someone chose: name one of its"),
        (f"net:{A}/va/1:99", "net_bytes_s", 1e6, ActuateError, "no HTB class 1:99; there are: 1:1, 1:10, 1:20, 1:30"),
        (f"net:{A}/va/1:30", "net_rate_bytes_s", 1e6, Rejected, "cannot borrow"),
        (f"net:{A}/va/1:10", "net_bytes_s", 10.0, Rejected, "no less than 1000"),
        (f"net:{A}/va/1:10", "net_bytes_s", 1e12, Rejected, "more than that limits nothing"),
        (f"net:{A}/va/1:10", "net_in_bytes_s", 1e6, Unsupported, "only net_bytes_s, net_rate_bytes_s"),
        (f"net:{A}/nope", "net_bytes_s", 1e6, ActuateError, "there is no device nope"),
        ("net:vagus-nowhere/va", "net_bytes_s", 1e6, ActuateError, "no network namespace 'vagus-nowhere'"),
        ("net:pid=99999999/va", "net_bytes_s", 1e6, ActuateError, "process 99999999"),
    ]
    for target, resource, value, kind, words in cases:
        with pytest.raises(kind, match=re.escape(words)):
            plan(target, value, resource)
    assert shown() == tree
    tc(
        "qdisc",
        "add",
        "dev",
        "va",
        "parent",
        "1:30",
        "handle",
        "30:",
        "tbf",
        *["rate", "1mbit", "burst", "10k", "limit", "10k"],
    )
    with pytest.raises(ActuateError, match=r"class 30:1 is of tbf, not of HTB|no HTB class 30:1"):
        plan(f"net:{A}/va/30:1", 1e6)


def test_a_refusal_quotes_the_kernel_and_undoes_what_was_done(tree: str) -> None:
    planned = plan(f"net:{A}/va/1:30", 1e6)
    tc("class", "del", "dev", "va", "classid", "1:30")
    left = shown()
    with pytest.raises(Rejected, match="class") as caught:
        apply(planned)
    assert "ENOENT" in caught.value.reason or "EINVAL" in caught.value.reason
    assert shown() == left
    assert undo(planned.undo) == [], "gone is undone"
    half = plan(f"net:{A}/va/dport=9", 1e6)
    tc(
        *[
            "filter",
            "add",
            "dev",
            "va",
            "parent",
            "1:",
            "protocol",
            "arp",
            "prio",
            "1",
            "u32",
            "match",
            "u32",
            "0",
            "0",
            "flowid",
            "1:10",
        ]
    )  # takes its priority
    left = shown()
    with pytest.raises(Rejected):
        apply(half)
    assert "1:7600" not in shown(), "its class went again"


@pytest.mark.parametrize("kind", ["pfifo limit 77", "bfifo limit 77777", "tbf rate 8mbit burst 20k latency 50ms"])
def test_a_discipline_that_someone_chose_is_replaced_only_when_told_and_put_back(wire: None, kind: str) -> None:
    tc("qdisc", "add", "dev", "va", "root", "handle", "5:", *kind.split())
    before = shown()
    with pytest.raises(Rejected, match="or say DEVICE/all"):
        plan(str(DEVICE), 1e6)
    planned = plan(f"{DEVICE}/all", 1e6)
    apply(planned)
    assert LEAST * 1e6 < measured(1.5) < 1.2e6
    assert undo(planned.undo) == []
    assert shown() == before


@pytest.mark.skipif(not IN_VM, reason="this machine's kernel may lack them: in the emulated machine it has them")
@pytest.mark.parametrize("kind", ["fq_codel limit 777 target 7ms", "fq limit 777 flow_limit 33", "codel limit 77"])  # fmt: skip
def test_fair_queues_are_put_back_too(wire: None, kind: str) -> None:
    tc("qdisc", "add", "dev", "va", "root", "handle", "5:", *kind.split())
    before = shown()
    planned = plan(f"{DEVICE}/all", 1e6)
    apply(planned)
    assert undo(planned.undo) == []
    assert shown() == before


@pytest.mark.parametrize("queues", [1, 2])
def test_the_kernels_default_comes_back(wire: None, queues: int) -> None:
    """pfifo_fast or fq_codel, or mq with one of them for each queue: whatever this kernel gives such a device."""
    run("ip", "-n", A, "link", "add", "q0", "numtxqueues", str(queues), "type", "ifb")
    run("ip", "-n", A, "link", "set", "q0", "up")
    before = shown("q0")
    assert ("fq_codel 0:" in before) if IN_VM else ("pfifo_fast 0:" in before or "fq_codel 0:" in before)
    assert ("qdisc mq 0: root" in before) == (queues > 1)
    planned = plan(f"net:{A}/q0", 1e6)
    apply(planned)
    assert "qdisc htb 7661: root" in shown("q0")
    assert undo(planned.undo) == []
    assert shown("q0") == before


def test_a_device_or_namespace_that_went_while_limited_counts_as_restored(wire: None, tmp_path: Path) -> None:
    planned = plan(str(DEVICE), 1e6)
    with Journal(tmp_path / "journal") as journal:
        journal.add(planned.undo)
        apply(planned)
        run("ip", "-n", A, "link", "del", "va")
        done = journal.restore("test")
        assert (done.failures, journal.steps()) == ((), [])
    run("ip", "link", "add", "va", "netns", A, "type", "veth", "peer", "name", "vb", "netns", B)
    planned = plan(str(DEVICE), 1e6)
    apply(planned)
    run("ip", "netns", "del", A)
    run("ip", "netns", "add", A)  # the same name, perhaps the same index: another namespace
    run("ip", "-n", A, "link", "add", "va", "type", "veth", "peer", "name", "vx")
    other = plan(str(DEVICE), 2e6)
    apply(other)
    before = shown()
    assert undo(planned.undo) == []
    assert shown() == before, "what another namespace has under that name is not ours to undo"
    assert undo(other.undo) == []


def test_a_namespace_is_found_by_a_process_and_undone_when_that_has_ended(wire: None) -> None:
    before = shown()
    first = subprocess.Popen(
        ["ip", "netns", "exec", A, "sh", "-c", "echo inside; exec sleep 60"], stdout=subprocess.PIPE
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"inside\n"
        target = f"net:pid={first.pid}/va"
        planned = plan(target, 1e6)
        apply(planned)
        assert Traffic().read(Target.parse(target), "net_bytes_s") == 1e6
        assert Traffic().read(DEVICE, "net_bytes_s") == 1e6, "the same device"
        assert all(str(first.pid) not in step.path for step in planned.undo)
    finally:
        first.kill()
        first.communicate()
    assert undo(planned.undo) == []
    assert shown() == before


OWNER = """
import sys
from pathlib import Path
from vagus.actuators.apply import apply
from vagus.actuators.traffic import Traffic
from vagus.model import Action, Target
from vagus.watchdog import Watchdog
folder, *targets = sys.argv[1:]
watchdog = Watchdog(Path(folder), 30.0)
watchdog.start()
for text in targets:
    name, resource = text.split("@")
    plan = Traffic().plan(Action(Target("net", name), resource, 1e6))
    watchdog.journal(plan.undo)
    apply(plan)
print("limited", flush=True)
sys.stdin.read()
"""


def test_the_watchdog_restores_when_the_owner_is_killed(wire: None, tmp_path: Path) -> None:
    before = shown()
    targets = [f"{A}/va@net_bytes_s", f"{A}/va/dport=7001@net_bytes_s", f"{A}/va@net_in_bytes_s"]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "journal"), *targets],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "limited\n"
        assert Traffic().read(DEVICE, "net_bytes_s") == 1e6
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with Journal(tmp_path / "journal", wait_s=10) as journal:  # the watchdog has ended
        assert journal.steps() == []
    assert shown() == before


# --- injections --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def injected(prepared) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """In force, in the order in which the injector does it."""
    strains = []
    try:
        for command in prepared.commands:
            strain = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
            )
            strains.append(strain)
            assert strain.stdin is not None
            assert strain.stdout is not None
            strain.stdin.write(b"\n")
            strain.stdin.flush()
            assert any(b"begun" in line for line in strain.stdout), "it ended before it had begun"
        for step in prepared.steps:
            perform(step)
        yield
    finally:
        assert undo(prepared.undo) == []
        for strain in strains:
            strain.kill()
            strain.communicate()


def round_trip_ms(port: int = 7001, count: int = 5, host: str = THERE) -> float:
    """The least of some new TCP connections: how long the handshake takes, however busy the machine is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with inside(B, lambda: socket.create_server((host, port), family=family)):
        took = []
        for _ in range(count + 1):  # the first one may wait for a neighbour's address
            begin = time.monotonic()
            inside(A, lambda: socket.create_connection((host, port), timeout=10)).close()
            took.append(time.monotonic() - begin)
    return min(took[1:]) * 1e3


def ping_ms(count: int = 5) -> float:
    done = run("ip", "netns", "exec", A, "ping", "-c", str(count), "-i", "0.1", THERE)
    return min(map(float, re.findall(r"time=([\d.]+) ms", done)))


@pytest.mark.parametrize("user_space", [False, True])
def test_packets_are_late_and_on_time_afterwards(wire: None, user_space: bool) -> None:
    if IN_VM and not user_space:
        assert has("netem")
    before = shown()
    prepared = NetDelay(user_space=user_space).prepare("100ms", f"{A}/va", 20)
    assert shown() == before, "preparing touches nothing"
    assert bool(prepared.commands) == (user_space or not has("netem"))
    assert round_trip_ms() < 80
    with injected(prepared):
        assert 100 <= round_trip_ms() < 900
        assert 100 <= round_trip_ms(host=THERE6) < 900
        if shutil.which("ping"):
            assert 100 <= ping_ms() < 900
    assert shown() == before
    assert round_trip_ms() < 80


@pytest.mark.parametrize("user_space", [False, True])
def test_only_the_flows_packets_are_late(wire: None, user_space: bool) -> None:
    before = shown()
    with injected(NetDelay(user_space=user_space).prepare("100ms±5ms", f"{A}/va,to={THERE}:7001", 20)):
        assert 95 <= round_trip_ms() < 900
        assert round_trip_ms(7002) < 80
    assert shown() == before


@pytest.mark.parametrize("user_space", [False, True])
def test_packets_are_lost(wire: None, user_space: bool) -> None:
    with injected(NetDelay(user_space=user_space, loss_percent=100).prepare("1ms", f"{A}/va,dport=7001", 20)):
        with inside(B, lambda: socket.create_server((THERE, 7001))), pytest.raises(TimeoutError):
            inside(A, lambda: socket.create_connection((THERE, 7001), timeout=0.3))
        assert round_trip_ms(7002) < 80


def test_much_traffic_is_late_and_whole(wire: None) -> None:
    with injected(NetDelay(user_space=True).prepare("5ms", f"{A}/va,dport=7001", 30)):
        assert measured(1.0) > 1e6


def test_delay_beside_a_limit_of_a_controller(wire: None) -> None:
    """The device has our HTB: netem becomes a leaf of it, or the packets are redirected before they come to it."""
    planned = plan(str(DEVICE), 1e6)
    apply(planned)
    limited = shown()
    with injected(NetDelay().prepare("100ms", f"{A}/va", 20)):
        assert 100 <= round_trip_ms() < 900
    assert shown() == limited
    with injected(NetDelay().prepare("100ms", f"{A}/va,dport=7001", 20)):
        assert 100 <= round_trip_ms() < 900
    assert shown() == limited
    assert undo(planned.undo) == []


@pytest.mark.parametrize("incoming", [False, True])
def test_bandwidth_is_taken_and_given_back(wire: None, incoming: bool) -> None:
    before = shown()
    where = "sport" if incoming else "dport"
    for target in (f"{A}/va", f"{A}/va,{where}=7001"):
        prepared = NetBandwidth(incoming=incoming).prepare("8Mbit", target, 10)
        with injected(prepared):
            assert LEAST * 1e6 < measured(1.5, back=incoming) < 1.2e6
        assert shown() == before
    assert measured(0.5, back=incoming) > 3e6


def test_the_loopback_is_delayed_too(wire: None) -> None:
    """In a namespace of its own, by a process: what comes back through user space is let in for as long."""
    script = f"""
import socket, subprocess, sys, time
sys.path[:0] = [{str(Path(__file__).parents[2])!r}, {str(Path(__file__).parent)!r}]
from tests.system.test_traffic_real import injected
from vagus.injector.net_delay import NetDelay
server = socket.create_server(("127.0.0.1", 7001))
def took():
    begin = time.monotonic()
    socket.create_connection(("127.0.0.1", 7001), timeout=5).close()
    return (time.monotonic() - begin) * 1e3
look = lambda: [open("/proc/sys/net/ipv4/conf/lo/" + n).read() for n in ("route_localnet", "accept_local")]
before, usual = look(), took()
with injected(NetDelay(user_space=True).prepare("100ms", "lo,to=127.0.0.1:7001", 20)):
    late = took()
assert usual < 80 and 100 <= late < 900, (usual, late)
assert look() == before
print("ok", took() < 80)
"""
    done = subprocess.run(
        ["ip", "netns", "exec", A, sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ok True\n", done.stderr[-2000:]


def test_the_injector_killed_leaves_nothing(wire: None, tmp_path: Path) -> None:
    """The whole command, killed while delay and bandwidth are in force: the watchdog undoes both."""
    before = shown()
    environment = {**os.environ, "VAGUS_HOME": str(tmp_path / "home")}
    for type_, intensity, sign in (("net-delay", "50ms", "7662:|clsact"), ("net-bandwidth", "8Mbit", "7661:")):
        command = [sys.executable, "-m", "vagus", "inject", type_, "--intensity", intensity, "--target", f"{A}/va"]
        injector = subprocess.Popen(
            [*command, "--for", "60s"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        with noticing(A) as changed:
            changed.until(lambda sign=sign: re.search(sign, shown()) is not None)  # type: ignore[misc]
        with noticing(A) as changed:
            injector.kill()
            injector.communicate()
            changed.until(lambda: shown() == before)


def test_a_delaying_process_that_is_killed_ends_the_injection(wire: None, tmp_path: Path) -> None:
    """Without it packets would be redirected to nowhere."""
    before = shown()
    command = [sys.executable, "-m", "vagus", "inject", "net-delay", "--target", f"{A}/va", "--for", "60s"]
    command += ["--user-space"] if has("netem") else []
    environment = {**os.environ, "VAGUS_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as injector:
        with noticing(A) as changed:
            changed.until(lambda: "clsact" in shown())
        children = Path(f"/proc/{injector.pid}/task/{injector.pid}/children").read_text().split()
        strains = [pid for pid in children if b"strain" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(strains) == 1
        os.kill(int(strains[0]), signal.SIGKILL)
        injector.communicate(timeout=30)
        assert injector.returncode
    assert shown() == before
    assert round_trip_ms() < 80


class Noticing:
    """Waits for the kernel's notices of changed queues, rather than looking again and again."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30 * PATIENCE
        while not true():
            assert time.monotonic() < deadline, shown()
            with contextlib.suppress(TimeoutError):
                self._link.recv(1 << 16)


@contextlib.contextmanager
def noticing(namespace: str) -> Iterator[Noticing]:
    with nl.opened(namespace) as link:
        link.bind((0, 1 | 1 << 3))  # RTMGRP_LINK, RTMGRP_TC
        link.settimeout(1.0)
        yield Noticing(link)
