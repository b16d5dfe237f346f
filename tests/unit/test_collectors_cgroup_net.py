"""Network of a group with a namespace of its own, and who runs in it: made trees, and a real namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagus.collectors.cgroup_net import FIELDS, hostname, parse_dev
from vagus.collectors.cgroups import CgroupsCollector
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

T = 1_700_000_000 * 10**9
NS = 10**9
ID = "4c01db0b339ca50b5e9a7b3f8d4a9f6e0c1b2a39485766778899aabbccddeeff"
UID = "3b0b6a1c-8f2e-4f3a-9c57-0d1e2f3a4b5c"
POD = f"kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice"
GROUP = f"{POD}/cri-containerd-{ID}.scope"
DEV = b"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9999999     999    0    0    0     0          0         0  9999999     999    0    0    0     0       0          0
  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0
eth0:1:    5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine with cgroup v2, a pod's container (process 70) and this process in the host's network."""
    group = tmp_path / "sys/fs/cgroup" / GROUP
    group.mkdir(parents=True)
    (group / "cpu.stat").write_bytes(b"usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
    (group / "cgroup.procs").write_bytes(b"70\n71\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_bytes(b"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    for pid, namespace in (("self", 1), ("70", 2), ("71", 2)):
        (tmp_path / "proc" / pid / "ns").mkdir(parents=True)
        (tmp_path / "proc" / pid / "ns/net").symlink_to(f"net:[{namespace}]")
        (tmp_path / "proc" / pid / "net").mkdir()
        (tmp_path / "proc" / pid / "net/dev").write_bytes(DEV)
        (tmp_path / "proc" / pid / "environ").write_bytes(b"PATH=/bin\0HOSTNAME=web-7d9f-x2x\0")
    return tmp_path


@pytest.fixture
def collector(tree: Path):
    made = CgroupsCollector("n", tree, CollectSettings(cgroups=("**",)))
    yield made
    made.close()


def read(collector: CgroupsCollector, after_s: int) -> dict[str, Sample]:
    records = collector.collect(T + after_s * NS)
    return {r.stream.kind: r for r in records if isinstance(r, Sample) and r.stream.labels.get("cgroup") == GROUP}


def test_devices_are_summed_without_the_loopback() -> None:
    assert parse_dev(DEV) == (1005, 2007, 11, 21, 1, 3, 2, 4)
    assert [field.name for field in FIELDS][:3] == ["rx_bytes", "tx_bytes", "rx_packets"]
    assert parse_dev(b"") == (0,) * 8
    with pytest.raises(ValueError, match="eth0: 1 2 3' has 3 columns"):
        parse_dev(b"a\nb\neth0: 1 2 3\n")


def test_a_container_has_its_network_and_its_names(collector: CgroupsCollector) -> None:
    found = read(collector, 1)
    assert found["cgroup.net"].values == (1005, 2007, 11, 21, 1, 3, 2, 4)
    labels = {"cgroup": GROUP, "pod": UID, "container": ID, "hostname": "web-7d9f-x2x"}
    assert found["cgroup.net"].stream.labels == found["cgroup.cpu"].stream.labels == labels
    assert "cgroup.net" not in read(collector, 2)  # every 5 s


def test_when_its_process_ends_the_next_one_is_read_and_labels_stay(tree: Path, collector: CgroupsCollector) -> None:
    before = read(collector, 1)["cgroup.net"].stream
    (tree / "proc/70/ns/net").unlink()
    (tree / "sys/fs/cgroup" / GROUP / "cgroup.procs").write_bytes(b"71\n")
    assert "cgroup.net" not in read(collector, 6)  # noticed, no failure
    after = read(collector, 11)["cgroup.net"].stream
    assert after is before
    (tree / "proc/71/ns/net").unlink()
    (tree / "sys/fs/cgroup" / GROUP / "cgroup.procs").write_bytes(b"")
    read(collector, 16)
    found = read(collector, 21)
    assert set(found) == {"cgroup.cpu"}
    assert found["cgroup.cpu"].stream.labels["hostname"] == "web-7d9f-x2x"


def test_a_reused_process_id_is_not_taken_for_the_old_one(tree: Path, collector: CgroupsCollector) -> None:
    read(collector, 1)
    (tree / "proc/70/ns/net").unlink()
    (tree / "proc/70/ns/net").symlink_to("net:[1]")
    (tree / "sys/fs/cgroup" / GROUP / "cgroup.procs").write_bytes(b"")
    assert "cgroup.net" not in read(collector, 6)


def test_the_hosts_network_is_not_a_groups(tree: Path, collector: CgroupsCollector) -> None:
    for pid in ("70", "71"):
        (tree / "proc" / pid / "ns/net").unlink()
        (tree / "proc" / pid / "ns/net").symlink_to("net:[1]")
    found = read(collector, 1)
    assert set(found) == {"cgroup.cpu"}
    assert "hostname" not in found["cgroup.cpu"].stream.labels


def test_a_container_that_starts_later_is_seen(tree: Path, collector: CgroupsCollector) -> None:
    procs = tree / "sys/fs/cgroup" / GROUP / "cgroup.procs"
    procs.write_bytes(b"")
    assert "cgroup.net" not in read(collector, 1)
    procs.write_bytes(b"70\n")
    assert "cgroup.net" in read(collector, 7)  # a scan


def test_content_of_an_unexpected_form_is_an_error_that_names_the_file(tree: Path, collector) -> None:
    (tree / "proc/70/net/dev").write_bytes(b"a\nb\neth0: 1 2 x 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
    with pytest.raises(CollectError, match="proc/70/net/dev"):
        list(collector.collect(T))


def test_containers_come_first_when_there_are_too_many_groups(tree: Path) -> None:
    for name in ("a", "b", "c"):
        (tree / "sys/fs/cgroup" / name).mkdir()
        (tree / "sys/fs/cgroup" / name / "cpu.stat").write_bytes(b"usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
    made = CgroupsCollector("n", tree, CollectSettings(cgroups=("**",), max_cgroups=1))
    assert "cgroup.cpu" in read(made, 1)
    made.close()


@pytest.mark.parametrize("content", [b"", b"HOSTNAME=", b"HOSTNAME=a\nb\0", b"HOSTNAME=" + b"a" * 300 + b"\0", b"\xff"])
def test_a_hostname_is_a_name_or_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/environ").write_bytes(content)
    assert hostname(tmp_path, "1") == ""
    assert hostname(tmp_path, "2") == ""


def test_the_kernels_own_file_is_read() -> None:
    assert all(value >= 0 for value in parse_dev(Path(f"/proc/{os.getpid()}/net/dev").read_bytes()))
