"""The cgroup collector on the kernel's own tree, v1 or v2, as root; for v2 the same tests run in tests/lab/kernel-vm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE

from vagus.collectors.cgroup_tree import hierarchies
from vagus.collectors.cgroups import CgroupsCollector
from vagus.config import CollectSettings
from vagus.model import Sample

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a cgroup, which only root may"),
]
NS = 10**9
NAME = f"vagus-test-{os.getpid()}"


@pytest.fixture
def group() -> Iterator[Path]:
    found = hierarchies(Path("/"), Path("/proc/mounts").read_bytes())
    hierarchy = next((h for h in found if "cpu" in h.controllers), None) or next(
        (h for h in found if h.version == 2), None
    )
    if hierarchy is None:
        pytest.skip("this machine has no cgroup hierarchy")
    control = Path(hierarchy.point, "cgroup.subtree_control")
    if hierarchy.version == 2 and "cpu" not in control.read_text().split():
        if not os.environ.get("VAGUS_VM"):
            pytest.skip("the cpu controller is not enabled below the root group")
        control.write_text("+cpu +memory")
    path = Path(hierarchy.point, NAME)
    path.mkdir()
    try:
        yield path
    finally:
        if path.is_dir():
            path.rmdir()


def cpu(collector: CgroupsCollector, t_ns: int) -> dict[str, float]:
    for record in collector.collect(t_ns):
        if isinstance(record, Sample) and record.stream.kind == "cgroup.cpu":
            return dict(zip([field.name for field in record.stream.fields], record.values, strict=True))
    return {}


def await_true(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_throttled_child_is_seen_and_a_removed_group_is_no_failure(group: Path) -> None:
    collector = CgroupsCollector("n", Path("/"), CollectSettings(cgroups=(NAME,)))
    t_ns = time.time_ns()
    before = cpu(collector, t_ns)
    assert before["nr_throttled"] == 0
    assert before["limit_cores"] != before["limit_cores"]
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text("20000 100000")
    else:
        (group / "cpu.cfs_quota_us").write_text("20000")
    code = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as busy:
        try:
            await_true(lambda: cpu(collector, t_ns)["nr_throttled"] > 5)
            first = cpu(collector, t_ns)
            await_true(lambda: cpu(collector, t_ns)["nr_throttled"] > first["nr_throttled"])
            assert first["limit_cores"] == 0.2
            assert first["throttled_us"] > 0
            assert first["nr_periods"] >= first["nr_throttled"]
        finally:
            busy.send_signal(signal.SIGKILL)
    await_true(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()
    assert cpu(collector, t_ns) == {}  # raises nothing
    assert cpu(collector, t_ns + 6 * NS) == {}
    collector.close()
