"""What probes measure against the truth: two network namespaces, a link between them shaped by HTB (and netem).

Marked root: it makes namespaces of its own and removes them. The test of netem's delay also runs in the emulated
machine (test_probes_vm.py), where the kernel has netem.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

END = str(Path(__file__).parents[1] / "lab/probe-end")
A, B = f"vgpa{os.getpid()}", f"vgpb{os.getpid()}"
HERE, THERE = "10.213.7.1", "10.213.7.2"
SIZE_ON_WIRE = 1514 / 1448  # of a whole segment, as HTB counts it, to its content

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("tc")), reason="needs ip and tc (iproute2)"),
]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def try_to(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def within(namespace: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command]


@pytest.fixture(scope="module")
def link() -> Iterator[None]:
    """Two namespaces and a veth pair between them; a responder in the second."""
    if not try_to("ip", "netns", "add", A):
        pytest.skip("this kernel or container allows no network namespaces")
    server = None
    try:
        run("ip", "netns", "add", B)
        run("ip", "link", "add", "va", "netns", A, "type", "veth", "peer", "name", "vb", "netns", B)
        for namespace, device, address in ((A, "va", HERE), (B, "vb", THERE)):
            run("ip", "-n", namespace, "address", "add", f"{address}/30", "dev", device)
            run("ip", "-n", namespace, "link", "set", device, "up")
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        server = subprocess.Popen(
            within(B, sys.executable, END, "serve", THERE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        if server is not None:
            server.communicate("", timeout=30)
        for namespace in (A, B):
            try_to("ip", "netns", "delete", namespace)


@contextlib.contextmanager
def shaped(rate: str, burst: str) -> Iterator[None]:
    """What `here` sends is held to a rate."""
    if not try_to("tc", "-n", A, "qdisc", "add", "dev", "va", "root", "handle", "1:", "htb", "default", "10"):
        pytest.skip("this kernel has no HTB")
    try:
        parts = ["parent", "1:", "classid", "1:10", "htb", "rate", rate, "burst", burst, "cburst", burst]
        run("tc", "-n", A, "class", "add", "dev", "va", *parts)
        yield
    finally:
        run("tc", "-n", A, "qdisc", "delete", "dev", "va", "root")


def probe(kind: str, count: int) -> list[list[float]]:
    """The values of so many probes from the first namespace to the second."""
    return [
        json.loads(line) for line in run(*within(A, sys.executable, END, kind, HERE, THERE, str(count))).splitlines()
    ]


FLOOD = """
import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def flood(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sock.sendto(bytes(1472), ("{there}", 9))
    return int(open("/sys/class/net/va/statistics/tx_bytes").read()), time.monotonic()
(before, begun), (after, ended) = flood(0.1), flood(0.3)
print((after - before) / (ended - begun))
"""


def carried() -> float:
    """Bytes/s that the shaped link carries just now of a flood, past its burst."""
    return float(run(*within(A, sys.executable, "-c", FLOOD.format(there=THERE))))


def is_right(rates: list[float], truth: float) -> bool:
    every = all(abs(rate / truth - 1) <= 0.10 for rate in rates)
    return every and abs(statistics.median(rates) * SIZE_ON_WIRE / truth - 1) <= 0.03


@pytest.mark.parametrize("mbit", [10, 50, 200])
@pytest.mark.parametrize("burst", ["1600", "15k", "256k"])
def test_the_rate_of_a_shaped_link_whatever_its_burst(link: None, mbit: int, burst: str) -> None:
    """Measured again where the link itself, flooded, was slower before or after.

    Where others have the processor for longer than a burst lasts (1600 bytes at 200 Mbit/s: 64 us), HTB lets less
    through than its rate: the probe then rightly tells less.
    """
    truth, wrong, flooded = mbit * 1e6 / 8, [], []
    while len(wrong) < 4 and len(flooded) < 20:
        with shaped(f"{mbit}mbit", burst):
            flooded.append(carried())
            rates = [values[0] for values in probe("bandwidth", 3)]
            flooded.append(carried())
        if is_right(rates, truth):
            return
        if min(flooded[-2:]) >= 0.97 * truth:
            wrong.append(rates)
    assert len(wrong) < 4, f"a link of {truth:.0f} bytes/s, also when flooded, was measured as {wrong}"
    pytest.skip(f"a link of {truth:.0f} bytes/s carries, flooded, {[round(rate) for rate in flooded]}: others' work")


def test_the_rate_when_every_core_is_busy(link: None) -> None:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    medians = []
    try:
        while len(medians) < 4 and (not medians or abs(medians[-1] * 8 / 50e6 - 1) > 0.10):  # not only ours are busy
            with shaped("50mbit", "15k"):
                medians.append(statistics.median(values[0] for values in probe("bandwidth", 5)))
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert medians[-1] == pytest.approx(50e6 / 8, rel=0.10), medians


@pytest.mark.skipif(not shutil.which("ping"), reason="needs ping (iputils-ping)")
def test_round_trips_are_those_of_ping_or_less(link: None) -> None:
    found = run(*within(A, "ping", "-c", "5", "-i", "0.1", "-q", THERE))
    match = re.search(r"= ([\d.]+)/[\d.]+/([\d.]+)/", found)
    assert match, found
    median_s = statistics.median(values[1] for values in probe("latency", 5))
    assert 0 < median_s <= float(match[2]) / 1e3, "ping adds the time that its process takes"


def queued_s() -> float:
    """Seconds until what waits in the queue of a 1 Mbit/s link has left it."""
    told = run("tc", "-n", A, "-s", "qdisc", "show", "dev", "va", "parent", "1:10")
    match = re.search(r"backlog (\d+)b ", told)
    assert match, told
    return int(match[1]) * 8 / 1e6


def test_round_trips_over_a_queue_of_known_delay(link: None) -> None:
    """A sender keeps its buffer's worth of packets in the queue of a 1 Mbit/s link: an echo waits for all of them."""
    with shaped("1mbit", "1600"):
        run("tc", "-n", A, "qdisc", "add", "dev", "va", "parent", "1:10", "handle", "10:", "pfifo", "limit", "1000")
        filling = (
            "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
            "s.setsockopt(socket.SOL_SOCKET,socket.SO_SNDBUF,20000)\ns.setblocking(False)\nn=0\n"
            "while True:\n"
            f" try:\n  s.sendto(bytes(1000),('{THERE}',9))\n  n+=1\n  n==50 and print(flush=True)\n"
            " except BlockingIOError: pass\n"
        )
        with subprocess.Popen(within(A, sys.executable, "-c", filling), stdout=subprocess.PIPE) as sender:
            try:
                assert sender.stdout is not None
                sender.stdout.readline()
                for _ in range(6):  # a sender without a processor fills nothing: the queue is shorter meanwhile
                    before_s = queued_s()
                    found = probe("latency", 3)
                    median_s, after_s = statistics.median(values[1] for values in found), queued_s()
                    if all(abs(median_s / queue_s - 1) <= 0.10 for queue_s in (before_s, after_s)):
                        break
            finally:
                sender.kill()
    assert (before_s, after_s) == pytest.approx((median_s, median_s), rel=0.10)
    assert median_s >= 0.04, "five packets"


def test_round_trips_over_netem(link: None) -> None:
    if not try_to("tc", "-n", A, "qdisc", "add", "dev", "va", "root", "netem", "delay", "20ms"):
        pytest.skip("this kernel has no netem; test_probes_vm.py runs this where there is one")
    delayed, plain = [], []
    try:
        for last in (False, False, True):
            run("tc", "-n", A, "qdisc", "replace", "dev", "va", "root", "netem", "delay", "20ms")
            delayed = probe("latency", 5)
            run("tc", "-n", A, "qdisc", "replace", "dev", "va", "root", "netem", "delay", "0ms")
            plain = probe("latency", 5)
            medians = [statistics.median(values[1] for values in found) for found in (delayed, plain)]
            # an emulated machine takes milliseconds for what is no delay of the link
            if last or 0.9 * 0.020 <= medians[0] - medians[1] <= 1.1 * 0.020:
                break
    finally:
        run("tc", "-n", A, "qdisc", "delete", "dev", "va", "root")
    assert medians[0] >= 0.020, delayed
    assert medians[0] - medians[1] == pytest.approx(0.020, rel=0.10), (delayed, plain)
    assert all(values[3] == 0.0 for values in delayed)
