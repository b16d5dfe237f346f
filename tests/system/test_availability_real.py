"""CPU availability against what a new process really gets, beside hogs of equal and of little weight.

Not beside a group of hogs as heavy as the process: the kernel then leaves them one core and the process the other, in
its own time, and what a process gets in its first milliseconds, which the sensor sees, is less.

Marked root: it makes a group of its own in the cpu hierarchy (cgroup v1), and removes it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vagus.collectors.availability import CHECK_EVERY_S, AvailabilityCollector
from vagus.config import CollectSettings
from vagus.model import Sample

CPU = Path("/sys/fs/cgroup/cpu")
HOG = "import os,sys\nsys.stdin.readline()\nwhile True: pass"
PROCESS = """import time
begin = time.monotonic(), time.process_time()
while time.monotonic() - begin[0] < 0.5: sum(range(1000))
print((time.process_time() - begin[1]) / (time.monotonic() - begin[0]))"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not os.access(CPU / "cpu.shares", os.W_OK) or os.geteuid() != 0, reason="needs root and cgroup v1's cpu"
    ),
]


@pytest.fixture
def group() -> Iterator[Path]:
    folder = CPU / f"vagus-hogs-{os.getpid()}"
    folder.mkdir()
    yield folder
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            break
        time.sleep(0.02)


@contextlib.contextmanager
def hogs(count: int, group: Path | None) -> Iterator[None]:
    running = []
    try:
        for _ in range(count):
            hog = subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE)
            running.append(hog)
            if group:
                (group / "cgroup.procs").write_text(str(hog.pid))
            assert hog.stdin is not None
            hog.stdin.write(b"\n")
            hog.stdin.close()
        yield
    finally:
        for hog in running:
            hog.send_signal(signal.SIGKILL)
            hog.wait()


def sensed(collector: AvailabilityCollector, calls: int, t_ns: int) -> float:
    for n in range(calls):
        time.sleep(0.1)  # an interval of the kernel's counters, which is what is measured
        (sample,) = collector.collect(t_ns + n)
        assert isinstance(sample, Sample)
    return float(sample.values[0])


def gets() -> float:
    return float(subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, check=True).stdout)


@pytest.mark.parametrize("weight", ["equal", "little"])
def test_a_new_process_gets_about_what_was_sensed(group: Path, weight: str) -> None:
    (group / "cpu.shares").write_text("2")
    collector = AvailabilityCollector("n", Path("/"), CollectSettings())
    step_ns = round(CHECK_EVERY_S * 1e9)
    with hogs(2 * (os.cpu_count() or 1), group if weight == "little" else None):
        estimates, truths = [], []
        for n in range(10):
            estimates.append(sensed(collector, 4, n * step_ns))
            truths.append(gets())
    mean, truth = (sum(values[2:]) / len(values[2:]) for values in (estimates, truths))
    collector.close()
    assert mean == pytest.approx(truth, abs=0.3), (estimates, truths)
