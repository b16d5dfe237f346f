"""Whose a group is, and what follows: systemd's units, delegation, containers, pods, Ray's actors, reused process ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fixtures.actuator_worlds import ID
from tests.fixtures.cgroup_kernel import CgroupKernel
from tests.fixtures.systemd_manager import SystemdManager
from vagus.actuators import acting
from vagus.actuators.apply import apply
from vagus.actuators.auto import Auto
from vagus.actuators.cgroup1 import Cgroup1
from vagus.actuators.cgroup2 import Cgroup2
from vagus.actuators.ray_actors import RayActor, process_of
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import undo

OTHER = "4c01db0b339c" + "0" * 52
POD = "kubepods.slice/kubepods-pod3b0b6a1c_8f2e_4f3a_9c57_0d1e2f3a4b5c.slice"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CgroupKernel:
    made = CgroupKernel(tmp_path, 2)
    made.install(monkeypatch)
    return made


@pytest.fixture
def manager(kernel: CgroupKernel, monkeypatch: pytest.MonkeyPatch) -> SystemdManager:
    made = SystemdManager(kernel)
    made.install(monkeypatch)
    return made


@pytest.fixture
def delegated(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the groups that systemd marked as delegated: extended attributes need a real tree."""
    names: set[str] = set()

    def getxattr(path: Path, name: str) -> bytes:
        if name == "user.delegate" and Path(path).name in names:
            return b"1"
        raise OSError(61, "No data available")

    monkeypatch.setattr(os, "getxattr", getxattr)
    return names


def limit(kernel: CgroupKernel, group: str, resource: str = "cpu_weight") -> None:
    Cgroup2(kernel.root).plan(Action(Target("cgroup", group), resource, 50.0))


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (
            "system.slice/nginx.service",
            "systemd owns the unit nginx.service .* name systemd:nginx.service, or set Delegate",
        ),
        ("system.slice/nginx.service/workers", "systemd owns the unit nginx.service"),
        ("system.slice", "systemd owns the unit system.slice"),
        ("user.slice/user-1.slice/user@1.service/app.slice/a.service", "belongs to the systemd of user@1.service"),
        (f"{POD}/cri-containerd-{ID}.scope", f"systemd owns the unit cri-containerd-{ID}.scope"),
    ],
)
def test_a_units_group_is_systemds(kernel, manager, delegated, group, words) -> None:
    kernel.make(group)
    with pytest.raises(Rejected, match=words):
        limit(kernel, group)


def test_beside_and_below_the_units_and_without_systemd_it_is_whoevers(kernel, delegated) -> None:
    for group in ("system.slice/nginx.service", "vagus/web", "system.slice/made", "system.slice/a.service/workers/x"):
        kernel.make(group)
        limit(kernel, group)
    (kernel.root / "run/systemd/system").mkdir(parents=True)
    limit(kernel, "vagus/web")
    limit(kernel, "system.slice/made")
    with pytest.raises(Rejected, match=r"owns the unit a.service"):
        limit(kernel, "system.slice/a.service/workers/x")
    delegated.add("a.service")
    limit(kernel, "system.slice/a.service/workers/x")
    with pytest.raises(Rejected, match=r"owns the unit nginx.service"):
        limit(kernel, "system.slice/nginx.service")


def test_a_pods_cores_and_memory_are_kubelets(kernel) -> None:
    group = f"kubepods/besteffort/pod3b0b6a1c-8f2e-4f3a-9c57-0d1e2f3a4b5c/{ID}"
    kernel.make(group)
    for target in (Target("cgroup", group), Target("container", ID)):
        with pytest.raises(Rejected, match=r"name the pod, pod:NAMESPACE/NAME"):
            Cgroup2(kernel.root).plan(Action(target, "cpu_cores", 1.0))
        Cgroup2(kernel.root).plan(Action(target, "io_read_bytes_s", 1e6))


def test_processes_in_a_unit_stay_there(kernel, manager, delegated) -> None:
    kernel.make("system.slice/nginx.service/workers")
    kernel.process(4711, "system.slice/nginx.service/workers")
    target = Target("pid", "4711")
    with pytest.raises(Rejected, match=r"in systemd's unit nginx.service: name systemd:nginx.service"):
        Auto(kernel.root).plan(Action(target, "cpu_cores", 1.0))
    delegated.add("nginx.service")
    plan = Auto(kernel.root).plan(Action(target, "cpu_cores", 1.0))
    apply(plan)
    assert (kernel.points[""] / "system.slice/nginx.service/vagus-pid-4711").is_dir()
    assert undo(plan.undo) == []


def test_processes_that_ray_isolates_are_rays(kernel) -> None:
    kernel.make("ray-node_1/user/workers")
    kernel.process(4711, "ray-node_1/user/workers")
    with pytest.raises(Rejected, match=r"belongs to another program"):
        Cgroup2(kernel.root).plan(Action(Target("pid", "4711"), "cpu_cores", 1.0))


# --- containers --------------------------------------------------------------------------------------------------------


def test_a_container_by_its_id_wherever_its_runtime_put_it(kernel, manager) -> None:
    kernel.make(f"docker/{ID}")
    kernel.make(f"machine.slice/libpod-conmon-{ID}.scope")
    auto, target = Auto(kernel.root), Target("container", ID[:12])
    assert acting(auto, target, "memory_bytes") == "cgroup2"
    apply(auto.plan(Action(target, "memory_bytes", 1e8)))
    assert auto.read(target, "memory_bytes") == 1e8 // 4096 * 4096
    assert auto.usage(target).cpu_s == 0.0
    kernel.make(f"docker/{OTHER}")
    with pytest.raises(ActuateError, match=r"means several groups .*: give more digits"):
        Auto(kernel.root).read(target, "memory_bytes")
    manager.start(f"docker-{'a' * 64}.scope")
    scope = Target("container", "a" * 64)
    assert acting(auto, scope, "memory_bytes") == "systemd"
    assert auto.plan(Action(scope, "memory_bytes", 1e8)).steps[0].path == f"systemd:docker-{'a' * 64}.scope"
    for nobody in ("b" * 12, "b" * 64):
        with pytest.raises(ActuateError, match=r"no group of container .* is it running on this machine"):
            auto.read(Target("container", nobody), "cpu_cores")
        with pytest.raises(ActuateError, match=r"no group of container"):
            auto.usage(Target("container", nobody))


def test_a_container_by_its_name_is_asked_of_its_runtime(kernel, monkeypatch, tmp_path) -> None:
    kernel.make(f"docker/{ID}")
    programs = tmp_path / "programs"
    programs.mkdir()
    asked = tmp_path / "asked"
    (programs / "docker").write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n[ "$4" = web ] && echo {ID} || {{ echo "Error: No such object: $4" >&2; exit 1; }}\n'
    )
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr("vagus.actuators.owners._RUNTIMES", ("docker",))
    actuator = Cgroup2(kernel.root)
    for _ in range(3):
        assert actuator.read(Target("container", "web"), "cpu_cores") is None
    assert asked.read_text() == "inspect --format {{.Id}} web\n", "asked once"
    with pytest.raises(ActuateError, match=r"No such object: other"):
        actuator.read(Target("container", "other"), "cpu_cores")
    for name in ("--help", "a b", "../x"):
        with pytest.raises(Unsupported, match=r"neither an id .* nor a container's name"):
            actuator.read(Target("container", name), "cpu_cores")
    monkeypatch.setattr("vagus.actuators.owners._RUNTIMES", ("no-such-runtime",))
    with pytest.raises(Unsupported, match=r"give its id"):
        Cgroup2(kernel.root).read(Target("container", "web"), "cpu_cores")


# --- processes -----------------------------------------------------------------------------------------------------------


def test_a_reused_process_id_is_refused(tmp_path, monkeypatch) -> None:
    kernel = CgroupKernel(tmp_path, 1)
    kernel.make("web")
    kernel.process(4711, "web", start=99)
    seen, named, target = Cgroup1(tmp_path), Cgroup1(tmp_path), Target("pid", "4711")
    assert seen.read(target, "cpu_cores") is None
    kernel.process(4711, "web", start=555)
    for actuator, which in ((seen, target), (named, Target("pid", "4711:99"))):
        with pytest.raises(ActuateError, match=r"another has its id now"):
            actuator.read(which, "cpu_cores")
        with pytest.raises(ActuateError, match=r"another has its id now"):
            actuator.plan(Action(which, "cpu_cores", 1.0))
        with pytest.raises(ActuateError, match=r"another has its id now"):
            actuator.usage(which)
    assert named.read(Target("pid", "4711:555"), "cpu_cores") is None
    for wrong in ("0", "x", "4711:", "4711:x", "-1", str(1 << 31)):
        with pytest.raises(Unsupported, match=r"is not pid:NUMBER"):
            named.read(Target("pid", wrong), "cpu_cores")


def test_a_ray_actor_is_its_process(tmp_path) -> None:
    CgroupKernel(tmp_path, 1).process(4711, "", start=42)
    web = RayActor("a" * 32, "web", "shop", "n1", 4711, True)
    actors = [
        web,
        web._replace(actor_id="b" * 32, namespace="test", node="n2"),
        RayActor("c" * 32, "old", "", "n1", 9, False),
    ]

    def found(name: str) -> str:
        return str(process_of(Target("ray", name), actors, "n1", tmp_path))

    assert found("shop/web") == found("a" * 32) == "pid:4711:42"
    assert process_of(Target("pid", "5"), actors, "n1", tmp_path) == Target("pid", "5")
    with pytest.raises(ActuateError, match=r"means several actors \(shop/web .*, test/web"):
        found("web")
    with pytest.raises(Unsupported, match=r"runs on node n2, not here on n1"):
        found("test/web")
    with pytest.raises(ActuateError, match=r"old has no process now"):
        found("old")
    with pytest.raises(ActuateError, match=r"nobody is not known to Ray"):
        found("nobody")
    actors[0] = web._replace(pid=4712)
    with pytest.raises(ActuateError, match=r"process 4712 of ray:shop/web does not exist"):
        found("shop/web")
