"""Traffic of a real group in a real network namespace, as root: cgroup v1's cpu hierarchy, or v2."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vagus.actuators.hierarchy import mounts
from vagus.collectors.cgroups import CgroupsCollector
from vagus.config import CollectSettings
from vagus.model import Sample

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a control group and a network namespace"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)"),
]
NAME = f"vagus-net-{os.getpid()}"
INSIDE = """
ip link set lo up; ip link add va type veth peer name vb && ip addr add 10.99.0.1/24 dev va && ip link set va up && ip link set vb up || exit 1
echo ready
while read line; do
    for i in 1 2 3 4 5 6 7 8 9 10; do ip neigh flush dev va; echo x > /dev/udp/10.99.0.2/9; done
    echo sent
done
"""


@pytest.fixture
def inside() -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own and a network of its own, which sends when it is told to."""
    mount = next((m for m in mounts(Path("/")) if "cpu" in m.controllers and m.writable), None)
    if mount is None:
        pytest.skip("no cpu hierarchy can be written")
    group = mount.point / NAME
    group.mkdir()
    process = subprocess.Popen(
        ["unshare", "-n", "bash", "-c", INSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.skip("this kernel makes no veth in a namespace")
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process
    finally:
        process.kill()
        process.communicate()
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.02)


def test_packets_of_the_groups_own_network_are_counted(inside: subprocess.Popen[str]) -> None:
    collector = CgroupsCollector("n", Path("/"), CollectSettings(cgroups=(NAME,)))

    def read(at_s: int) -> dict[str, float]:
        for record in collector.collect((1_700_000_000 + at_s) * 10**9):
            if isinstance(record, Sample) and record.stream.kind == "cgroup.net":
                assert record.stream.labels["cgroup"] == NAME
                return dict(zip((f.name for f in record.stream.fields), record.values, strict=True))
        return {}

    try:
        before = read(0)
        assert inside.stdin is not None
        assert inside.stdout is not None
        inside.stdin.write("go\n")
        inside.stdin.flush()
        assert inside.stdout.readline() == "sent\n"
        after = read(10)
        assert after["tx_packets"] > before["tx_packets"]
        assert after["rx_bytes"] > before["rx_bytes"]
        inside.kill()
        inside.wait()
        assert read(20) == {}  # gone with its process, and no failure
    finally:
        collector.close()
