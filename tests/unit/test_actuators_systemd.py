"""systemd's units over a stand-in for systemctl: assignments, what comes back, what is refused. The step that runs."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.cgroup_kernel import CgroupKernel
from tests.fixtures.systemd_manager import SystemdManager
from vagus.actuators.apply import apply
from vagus.actuators.systemd import Systemd
from vagus.actuators.systemd_properties import PROPERTIES, seconds
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, perform, undo
from vagus.undo.command import output

NGINX = Target("systemd", "nginx.service")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemdManager:
    kernel = CgroupKernel(tmp_path, 2)
    kernel.install(monkeypatch)
    made = SystemdManager(kernel)
    made.install(monkeypatch)
    made.start("nginx.service")
    return made


@pytest.fixture
def actuator(manager: SystemdManager) -> Systemd:
    return Systemd(manager.kernel.root)


def assigned(actuator: Systemd, resource: str, value: float | None, target: Target = NGINX) -> list[str]:
    """The assignments of the plan, and of its undoing."""
    plan = actuator.plan(Action(target, resource, value))
    assert all(step.op == "run" and step.path == "systemd:nginx.service" for step in (*plan.steps, plan.undo[0]))
    commands = [json.loads(step.value) for step in (plan.steps[0], plan.undo[0])]
    assert all(c[:5] == ["systemctl", "--no-ask-password", "set-property", "--runtime", "--"] for c in commands)
    return [" ".join(command[6:]) for command in commands]


def test_every_resource_has_its_property(actuator: Systemd) -> None:
    assert assigned(actuator, "cpu_cores", 0.5) == ["CPUQuota=50%", "CPUQuota="]
    assert assigned(actuator, "cpu_cores", 1.504) == ["CPUQuota=150%", "CPUQuota="]
    assert assigned(actuator, "cpu_cores", 0.001) == ["CPUQuota=1%", "CPUQuota="]
    assert assigned(actuator, "cpu_weight", 250.0) == ["CPUWeight=250", "CPUWeight="]
    assert assigned(actuator, "memory_bytes", 1e8) == ["MemoryMax=100000000", "MemoryMax=infinity"]
    assert assigned(actuator, "memory_high_bytes", None) == ["MemoryHigh=infinity", "MemoryHigh=infinity"]
    assert assigned(actuator, "cpuset_cpus", 2.0) == ["AllowedCPUs=0-1", "AllowedCPUs="]
    assert assigned(actuator, "cpuset_cpus", None) == ["AllowedCPUs=", "AllowedCPUs="]
    assert assigned(actuator, "io_read_bytes_s", 1e6) == [
        "IOReadBandwidthMax=/dev/block/8:0 1000000",
        "IOReadBandwidthMax=",
    ]
    assert assigned(actuator, "io_write_ops_s@254:0", None) == [
        "IOWriteIOPSMax=/dev/block/254:0 infinity",
        "IOWriteIOPSMax=",
    ]


def test_what_was_set_before_comes_back(manager: SystemdManager, actuator: Systemd) -> None:
    held = manager.units["nginx.service"]
    held["CPUQuotaPerSecUSec"] = ["1s 502.500ms"]
    held["MemoryMax"] = ["209715200"]
    held["AllowedCPUs"] = ["0 2-3"]
    held["IOReadBandwidthMax"] = ["/dev/block/8:0 5000000", "/dev/vda 7000000"]
    assert assigned(actuator, "cpu_cores", 0.5)[1] == "CPUQuota=150.25%"
    assert assigned(actuator, "memory_bytes", 1e8)[1] == "MemoryMax=209715200"
    assert assigned(actuator, "cpuset_cpus", 1.0)[1] == "AllowedCPUs=0 2-3"
    assert assigned(actuator, "io_read_bytes_s", 1e6) == [
        "IOReadBandwidthMax=/dev/block/8:0 1000000",
        "IOReadBandwidthMax= IOReadBandwidthMax=/dev/block/8:0 5000000 IOReadBandwidthMax=/dev/vda 7000000",
    ]
    held["CPUQuotaPerSecUSec"] = ["a while"]
    with pytest.raises(ActuateError, match="systemd shows a time as 'a while'"):
        actuator.plan(Action(NGINX, "cpu_cores", 0.5))


def test_a_value_that_unsetting_leaves_behind_is_written_over(manager: SystemdManager, actuator: Systemd) -> None:
    file = manager.kernel.points[""] / "system.slice/nginx.service/cpuset.cpus"
    plan = actuator.plan(Action(NGINX, "cpuset_cpus", 1.0))
    apply(plan)
    assert file.read_text() == "0\n"
    manager._assign = lambda unit, name, value: None  # as older ones did not reset it
    assert undo(plan.undo) == []
    assert file.read_text() == ""


def test_a_dropin_that_was_there_stays(manager: SystemdManager, actuator: Systemd) -> None:
    folder = manager.kernel.root / "run/systemd/system.control/nginx.service.d"
    plan = actuator.plan(Action(NGINX, "cpu_cores", 0.5))
    apply(plan)
    assert [path.name for path in folder.iterdir()] == ["50-CPUQuota.conf"]
    later = actuator.plan(Action(NGINX, "cpu_cores", 0.7))
    assert (plan.undo[0].op, plan.undo[-1].op) == ("run", "unlink")
    assert "unlink" not in {step.op for step in later.undo}
    assert undo(later.undo) == []
    assert list(folder.iterdir())
    assert undo(plan.undo) == []
    assert not list(folder.iterdir())


def test_without_the_controllers_file_there_is_no_limit(manager: SystemdManager, actuator: Systemd) -> None:
    for path in (manager.kernel.points[""] / "system.slice/nginx.service").glob("*.max*"):
        path.unlink()
    (manager.kernel.points[""] / "system.slice/nginx.service/cpu.weight").unlink()
    assert actuator.read(NGINX, "cpu_cores") is None
    assert actuator.read(NGINX, "io_read_bytes_s") is None
    assert actuator.read(NGINX, "cpu_weight") == 100.0
    assert assigned(actuator, "cpu_cores", 0.5) == ["CPUQuota=50%", "CPUQuota="]


def test_units_are_asked_for_once_and_again_when_they_have_moved(manager: SystemdManager, actuator: Systemd) -> None:
    for _ in range(3):
        assert actuator.read(Target("systemd", "nginx"), "cpu_cores") is None
    assert len(manager.asked) == 1
    manager.kernel.rmdir(manager.kernel.points[""] / "system.slice/nginx.service")
    with pytest.raises(ActuateError, match=r"the unit nginx.service has no group .*: it does not run"):
        actuator.read(NGINX, "cpu_cores")
    manager.start("nginx.service")
    assert actuator.read(NGINX, "cpu_cores") is None


@pytest.mark.parametrize("name", ["-.slice", "init.scope", "--force.service", "a/b.service", "x" + " y.service"])
def test_what_is_no_unit_to_limit(actuator: Systemd, name: str) -> None:
    with pytest.raises(Unsupported, match="is not systemd:UNIT"):
        actuator.plan(Action(Target("systemd", name), "cpu_cores", 0.5))


def test_refusals(manager: SystemdManager, actuator: Systemd) -> None:
    with pytest.raises(Rejected, match="the processors of this machine are 4"):
        actuator.plan(Action(NGINX, "cpu_cores", 5.0))
    with pytest.raises(Unsupported, match="cpu_burst_s has no property"):
        actuator.plan(Action(NGINX, "cpu_burst_s", 0.01))
    with pytest.raises(ActuateError, match=r"does not run \(systemd says: not-found\)"):
        actuator.plan(Action(Target("systemd", "nope"), "cpu_cores", 0.5))
    plan = actuator.plan(Action(NGINX, "cpu_cores", 0.5))
    manager.refusal = "Interactive authentication required."
    with pytest.raises(Rejected, match="Interactive authentication required"):
        apply(plan)
    del manager.units["nginx.service"]
    assert undo(plan.undo[:1]) == [], "a unit that is gone is undone"


@pytest.mark.parametrize(
    ("text", "s"),
    [("200ms", 0.2), ("1min 30s", 90), ("502.500ms", 0.5025), ("1us", 1e-6), ("1h 2min 3s 4ms", 3723.004)],
)
def test_times_as_systemd_shows_them(text: str, s: float) -> None:
    assert seconds(text) == pytest.approx(s)


def test_every_property_takes_back_what_is_unset() -> None:
    for known in PROPERTIES.values():
        assert known.restore([]) in ((f"{known.name}=",), (f"{known.name}=infinity",))


# --- the step `run` ------------------------------------------------------------------------------------------------------


def run(*command: str) -> None:
    perform(Step("run", "systemd:x.service", json.dumps(command)))


def test_a_command_is_run_without_a_shell(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    run(sys.executable, "-I", "-S", "-c", code, str(tmp_path / "made"), "$HOME; `x`")
    assert (tmp_path / "made").read_text() == "$HOME; `x`"


def test_what_a_command_says_is_quoted_and_it_does_not_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Rejected, match=r"sh: no such thing \(EIO\)"):
        run("sh", "-c", "echo no such thing >&2; exit 3")
    with pytest.raises(Rejected, match="exit code 4"):
        run("sh", "-c", "exit 4")
    with pytest.raises(Rejected, match="the program no-such-program is missing"):
        run("no-such-program")
    for value in ("", "{}", "[]", "[1]", '"sh"', json.dumps(["a"] * 201)):
        with pytest.raises(Rejected, match="a command is a JSON list"):
            perform(Step("run", "x", value))
    with pytest.raises(Rejected, match="null byte"):
        run("sh", "a\0b")
    began = time.monotonic()
    with pytest.raises(OSError, match="sh did not end within"):
        output(["sh", "-c", "sleep 60 & wait"], timeout_s=0.05)
    assert time.monotonic() - began < 30
    assert undo([Step("run", "x", json.dumps(["sh", "-c", "echo Unit x.service not found. >&2; exit 5"]))]) == []
    assert len(undo([Step("run", "x", json.dumps(["no-such-program"]))])) == 1, "a missing program undoes nothing"
