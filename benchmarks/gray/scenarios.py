"""The scenarios: which servers and clients, and what befalls one of the servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.gray import faults
from benchmarks.gray.hosts import Hosts
from benchmarks.gray.servers import FAKETIME, SERVERS


class Culprit(NamedTuple):
    """The server that a fault is for, as seen from outside. tag: begins the names of control groups made for it."""

    host: str
    pid: int
    folder: Path
    data: Path
    device: str
    clock: Path
    port: int
    hosts: Hosts
    clients: tuple[str, ...]
    tag: str


class Scenario(NamedTuple):
    """disk: the culprit's data are on a file system of its own; clock: all servers' clocks are libfaketime's."""

    name: str
    server: str
    client: str
    fault: Callable[[Culprit], None]
    what: str
    needs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    disk: bool = False
    clock: bool = False


def _read_only_disk(culprit: Culprit) -> None:
    faults.make_read_only(culprit.data)


def _slow_disk(culprit: Culprit) -> None:
    group = faults.cgroup("blkio", f"{culprit.tag}-disk", [culprit.pid])
    faults.slow_disk(group, culprit.device, 512)


def _hung_thread(culprit: Culprit) -> None:
    faults.freeze_thread(faults.threads(culprit.pid, "mc-worker")[1])


def _hung_worker(culprit: Culprit) -> None:
    faults.stop(faults.children(culprit.pid)[0])


def _half_open(culprit: Culprit) -> None:
    faults.half_open(culprit.hosts, culprit.host, culprit.port, culprit.clients)


def _exhausted_pool(culprit: Culprit) -> None:
    argv = [sys.executable, "-m", "benchmarks.gray.hog", culprit.hosts.addresses[culprit.host], str(culprit.port)]
    hog = culprit.hosts.start(culprit.host, argv, stdout=subprocess.PIPE)
    assert hog.stdout is not None
    hog.stdout.readline()  # it is the last one gone that is the fault, not the program's start


def _overloaded_peer(culprit: Culprit) -> None:
    stress = culprit.hosts.start(culprit.host, ["stress-ng", "--quiet", "--cpu", "16"])
    group = faults.cgroup("cpu", f"{culprit.tag}-cpu", [culprit.pid, stress.pid])
    faults.less_cpu(group, 0.03)


def _partial_partition(culprit: Culprit) -> None:
    faults.cut_off(culprit.hosts, culprit.host, culprit.clients[:2])


def _clock_step(culprit: Culprit) -> None:
    faults.step_clock(culprit.clock, 3600)


POSTGRES = ("pg8000",)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "read-only-disk",
            "nginx",
            "files",
            _read_only_disk,
            "the file system with the uploads is read-only after an error",
            ("mkfs.ext4",),
            disk=True,
        ),
        Scenario(
            "slow-disk",
            "postgres",
            "orders",
            _slow_disk,
            "the disk takes 512 bytes a second: commits wait, reads do not",
            ("mkfs.ext4", "/sys/fs/cgroup/blkio"),
            POSTGRES,
            disk=True,
        ),
        Scenario(
            "hung-thread",
            "memcached",
            "cache",
            _hung_thread,
            "one of four worker threads stands still",
            modules=("pymemcache",),
        ),
        Scenario("hung-worker", "nginx", "pages", _hung_worker, "one of two worker processes stands still"),
        Scenario(
            "half-open",
            "postgres",
            "orders",
            _half_open,
            "a firewall forgets the connections that there are; new ones work",
            ("nft", "ss"),
            POSTGRES,
        ),
        Scenario(
            "exhausted-pool",
            "postgres",
            "visits",
            _exhausted_pool,
            "another program leaks connections until there are none left",
            modules=POSTGRES,
        ),
        Scenario(
            "overloaded-peer",
            "postgres",
            "sums",
            _overloaded_peer,
            "three hundredths of a core, shared with sixteen busy processes",
            ("stress-ng", "/sys/fs/cgroup/cpu"),
            POSTGRES,
        ),
        Scenario(
            "partial-partition",
            "redis",
            "sessions",
            _partial_partition,
            "two of three clients' hosts are cut off from it, the monitor's is not",
            ("nft",),
            ("redis",),
        ),
        Scenario(
            "clock-step",
            "nginx",
            "links",
            _clock_step,
            "its wall clock jumps an hour ahead: links have expired",
            (FAKETIME,),
            clock=True,
        ),
    )
}
ALWAYS = ("unshare", "nsenter", "ip", "mount")


def needs(scenario: Scenario) -> tuple[str, ...]:
    """Programs and files without which it cannot run."""
    return (*ALWAYS, *SERVERS[scenario.server].needs, *scenario.needs)
