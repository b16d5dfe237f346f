"""The groups of an application on a kernel of regular files; in version 2 the steps that make them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.fixtures.cgroup_kernel import CgroupKernel
from vagus.cli.application.groups import Groups
from vagus.errors import ActuateError, Rejected, Unsupported, VagusError
from vagus.undo import Step, perform, undo

SERVICES = ["web", "db"]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CgroupKernel:
    made = CgroupKernel(tmp_path, 1)
    made.install(monkeypatch)
    return made


def made(kernel: CgroupKernel, replica_cores: float = 0.0) -> Groups:
    groups = Groups("shop", replica_cores, kernel.root)
    groups.adopt()
    for step in groups.made(SERVICES):
        perform(step)
    return groups


def point(kernel: CgroupKernel) -> Path:
    return kernel.root / "sys/fs/cgroup/cpu"


def test_made_limited_and_removed(kernel: CgroupKernel) -> None:
    groups = made(kernel)
    assert groups.group("web") == "vagus-app-shop/web"
    assert groups.limit("web") == math.inf
    folder = point(kernel) / "vagus-app-shop/web"
    kernel.write(folder / "cpu.cfs_quota_us", "25000")
    assert groups.limit("web") == 0.25
    groups.admit("web", 0)
    assert (folder / "replica-0").is_dir()
    groups.remove("web", 0)
    groups.remove("web", 0)  # it is gone
    assert undo(groups.removed(SERVICES)) == []
    assert not (point(kernel) / "vagus-app-shop").exists()
    with pytest.raises(ActuateError, match="vagus-app-shop/web"):
        groups.limit("web")


def test_replicas_of_a_size_have_a_quota_of_their_own(kernel: CgroupKernel) -> None:
    groups = made(kernel, 0.3)
    groups.admit("web", 1)
    folder = point(kernel) / "vagus-app-shop/web/replica-1"
    assert (folder / "cpu.cfs_quota_us").read_text().strip() == "30000"
    assert groups.limit("web") == math.inf


def test_in_version_2_a_service_takes_strain_unless_its_replicas_are_limited(tmp_path: Path) -> None:
    top = CgroupKernel(tmp_path, 2).root / "sys/fs/cgroup"
    folder = top / "vagus-app-shop"
    control = [Step("write", str(place / "cgroup.subtree_control"), "+cpu") for place in (top, folder, folder / "web")]
    make = [Step("mkdir", str(folder)), *control[:2], Step("mkdir", str(folder / "web"))]
    assert Groups("shop", 0.0, tmp_path).made(["web"]) == make
    assert Groups("shop", 0.5, tmp_path).made(["web"]) == [*make, control[2]]


def test_what_a_killed_deployment_left_is_adopted_unless_it_lives(kernel: CgroupKernel) -> None:
    groups = made(kernel)
    groups.admit("db", 0)
    Groups("shop", 0.0, kernel.root).adopt()
    assert not (point(kernel) / "vagus-app-shop").exists()
    made(kernel)
    (point(kernel) / "vagus-app-shop/db/cgroup.procs").write_text("4711\n")
    with pytest.raises(VagusError, match=r"holds processes already \(4711\)"):
        Groups("shop", 0.0, kernel.root).adopt()


def test_where_there_can_be_none_it_says_why(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    info = tmp_path / "proc/self/mountinfo"
    info.write_text("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    with pytest.raises(Unsupported, match="no cgroup hierarchy with the cpu controller"):
        Groups("shop", 0.0, tmp_path)
    (tmp_path / "sys/fs/cgroup/cpu").mkdir(parents=True)
    info.write_text("31 20 0:28 / /sys/fs/cgroup/cpu ro - cgroup cgroup ro,cpu\n")
    with pytest.raises(Unsupported, match="mounted read-only"):
        Groups("shop", 0.0, tmp_path)


def test_what_the_kernel_refuses_is_told(kernel: CgroupKernel) -> None:
    groups = made(kernel)
    with pytest.raises(Rejected):
        groups.enter("web", 5, 4711)  # no such group
