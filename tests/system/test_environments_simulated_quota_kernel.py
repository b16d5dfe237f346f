"""Simulated quotas beside the kernel's own: the same bursts of work in a group of each, as root."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from subprocess import run

import pytest

from vagus.actuators.hierarchy import mounts
from vagus.environments.machine import Machine
from vagus.environments.processes import Process
from vagus.environments.quota import PERIOD_S, Group

pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="writes the real cgroup tree, which only root may"),
]
FOR_S = 4.0
TRIES = 4  # others use the machine
BURSTS = """
import os, sys, time
folder, burst_s, every_s, for_s = sys.argv[1], *map(float, sys.argv[2:])

def spin(count):
    for _ in range(count):
        pass

def timed(count):
    begin = time.thread_time()
    spin(count)
    return time.thread_time() - begin

count = int(burst_s * 200_000 / min(timed(200_000) for _ in range(30)))
with open(folder + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
begin, used, waited, n = time.monotonic(), time.process_time(), 0.0, 0
while n * every_s < for_s:  # not one call to the kernel while it works: it would look at the quota each time
    due = begin + n * every_s
    while (left := due - time.monotonic()) > 0:
        time.sleep(left)
    spin(count)
    waited += time.monotonic() - due
    n += 1
used = (time.process_time() - used) / n
print(waited / n, used)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    mount = next((m for m in mounts(Path("/")) if "cpu" in m.controllers and m.version == 1 and m.writable), None)
    if mount is None:
        pytest.skip("the cpu controller of cgroup v1 cannot be written here")
    folder = mount.point / "vagus-test-simulated"
    folder.mkdir()
    (folder / "cpu.shares").write_text("262144")  # before whatever else wants the cores
    try:
        yield folder
    finally:
        folder.rmdir()


def kernel(folder: Path, cores: float, burst_s: float, every_s: float) -> tuple[float, float, float]:
    """Mean seconds until a burst was done, share of periods that were throttled, and what a burst used."""
    (folder / "cpu.cfs_quota_us").write_text(str(round(cores * PERIOD_S * 1e6)))
    before = counted(folder)
    told = run(
        [sys.executable, "-c", BURSTS, str(folder), str(burst_s), str(every_s), str(FOR_S)],
        check=True,
        capture_output=True,
        text=True,
    )
    took_s, used_s = map(float, told.stdout.split())
    return took_s, (counted(folder) - before) * PERIOD_S / FOR_S, used_s


def counted(folder: Path) -> int:
    return int(dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())["nr_throttled"])


class Burst:
    dead = False

    def __init__(self, machine: Machine, due_s: float, took_s: list[float]) -> None:
        self.machine, self.due_s, self.took_s = machine, due_s, took_s

    def done(self) -> None:
        self.took_s.append(self.machine.now_s - self.due_s)


def simulated(cores: float, burst_s: float, every_s: float) -> tuple[float, float]:
    """The same, averaged over when within a period it begins."""
    took_s: list[float] = []
    throttled = 0
    for phase in range(10):
        machine = Machine(2.0)
        group = Group(machine, cores, phase * PERIOD_S / 10)
        process = Process(group)
        for n in range(int(FOR_S / every_s) + 1):
            machine.at(n * every_s, partial(process.add, work_s=burst_s), Burst(machine, n * every_s, took_s))
        machine.advance(FOR_S * 3)
        throttled += group.nr_throttled
    return sum(took_s) / len(took_s), throttled / 10 * PERIOD_S / FOR_S


@pytest.mark.parametrize(
    ("cores", "burst_s", "every_s"),
    [(0.05, 0.010, 0.21), (0.2, 0.045, 0.26), (0.1, 0.016, 0.17), (0.5, 0.120, 0.31), (0.3, 0.010, 0.083)],
)
def test_bursts_wait_and_are_throttled_as_by_the_kernel(
    group: Path, cores: float, burst_s: float, every_s: float
) -> None:
    found = []
    for _ in range(TRIES):
        took_s, throttled, used_s = kernel(group, cores, burst_s, every_s)
        expected_s, share = simulated(cores, used_s, every_s)
        found.append((took_s, expected_s, throttled, share))
        if abs(took_s - expected_s) < 0.3 * expected_s + 0.004 and abs(throttled - share) < 0.12:
            return
    pytest.fail(f"kernel's seconds, simulated, kernel's throttled periods, simulated: {found}")
