"""Every registered actuator: apply, then undo, is the identity; a rejected write changes nothing and quotes the kernel."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vagus.actuators import ACTUATORS, Actuator, Usage
from vagus.actuators.apply import apply
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import undo

WEB = Target("cgroup", "web")
FILES = {
    "proc/self/mountinfo": "1 2 0:1 / /sys/fs/cgroup/one rw - cgroup cgroup rw,cpu,memory\n"
    "3 2 0:2 / /sys/fs/cgroup/two rw - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/one/web/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/one/web/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/one/web/cpu.stat": "nr_periods 0\n",
    "sys/fs/cgroup/one/web/cgroup.procs": "",
    "sys/fs/cgroup/one/web/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/two/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/two/web/cpu.max": "max 100000\n",
    "sys/fs/cgroup/two/web/cpu.stat": "usage_usec 0\n",
    "sys/fs/cgroup/two/web/memory.max": "max\n",
}
VALUES = {"cpu_cores": 0.5, "memory_bytes": float(1 << 20)}


def contents(root: Path) -> dict[str, str]:
    return {str(path): path.read_text().strip() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def limits_web(name: str) -> bool:
    """Whether it may limit a cgroup's cores at all; the others have contracts of their own."""
    made = ACTUATORS.get(name)
    return bool({"cgroup", "*"} & set(made.kinds)) and bool({"cpu_cores", "*"} & set(made.resources))


@pytest.fixture(params=[name for name in ACTUATORS if limits_web(name)])
def actuator(request: pytest.FixtureRequest, root: Path) -> Actuator:
    return ACTUATORS.make(request.param, root)


def test_apply_then_undo_is_the_identity(actuator: Actuator, root: Path) -> None:
    before = contents(root)
    for resource in actuator.supports(WEB):
        plan = actuator.plan(Action(WEB, resource, VALUES[resource]))
        assert contents(root) == before, "planning touches nothing"
        apply(plan)
        if actuator.dry:
            assert plan.steps == ()
        else:
            assert actuator.read(WEB, resource) == VALUES[resource]
            assert contents(root) != before
        assert undo(plan.undo) == []
        assert contents(root) == before
        assert actuator.read(WEB, resource) is None


def test_a_limit_is_lifted_and_comes_back(actuator: Actuator, root: Path) -> None:
    for resource in actuator.supports(WEB):
        apply(actuator.plan(Action(WEB, resource, VALUES[resource])))
        limited = contents(root)
        plan = actuator.plan(Action(WEB, resource, None))
        apply(plan)
        assert actuator.read(WEB, resource) is None
        undo(plan.undo)
        assert contents(root) == limited


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_rejected_value_changes_nothing(actuator: Actuator, root: Path, value: float) -> None:
    before = contents(root)
    for resource in actuator.supports(WEB):
        with pytest.raises(Rejected):
            actuator.plan(Action(WEB, resource, value))
    assert contents(root) == before


def test_a_refusal_quotes_the_kernel(actuator: Actuator, root: Path) -> None:
    plan = actuator.plan(Action(WEB, "cpu_cores", 0.5))
    if actuator.dry:
        assert plan.steps == (), "what writes nothing can be refused nothing"
        return
    Path(plan.steps[0].path).unlink()
    before = contents(root)
    with pytest.raises(Rejected, match="No such file or directory") as caught:
        apply(plan)
    assert caught.value.path == plan.steps[0].path
    assert caught.value.value == plan.steps[0].value
    assert contents(root) == before


def test_what_it_cannot_do_is_said_in_words(actuator: Actuator) -> None:
    assert isinstance(actuator.usage(WEB), Usage)
    if actuator.dry:
        return
    with pytest.raises(Unsupported, match="limits .*cgroup:"):
        actuator.plan(Action(Target("moon", "x"), "cpu_cores", 1.0))
    with pytest.raises(Unsupported, match="can(not)? limit"):
        actuator.plan(Action(WEB, "phase_of_moon", 1.0))
    with pytest.raises(ActuateError, match="does not exist"):
        actuator.read(Target("cgroup", "nope"), "cpu_cores")
