"""Every registered actuator: apply, then undo, is the identity; a rejected write changes nothing and quotes the kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.actuator_worlds import WORLDS, World
from vagus.actuators import ACTUATORS, Usage, acting, base
from vagus.actuators.apply import apply
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import undo
from vagus.watchdog import Journal

ALL = [(name, i) for name in WORLDS for i in range(len(WORLDS[name]))]
# what writes nothing has nothing to hold; what shapes real devices is held to this in tests/system
APART = {"dry", "traffic"}


def test_every_actuator_is_tried() -> None:
    assert set(ACTUATORS) - APART == set(WORLDS)


@pytest.fixture(params=ALL, ids=[f"{name}-{i}" for name, i in ALL])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    name, i = request.param
    made = WORLDS[name][i](tmp_path / "root", monkeypatch)
    with made.stack:
        yield made


def test_apply_then_undo_is_the_identity(world: World) -> None:
    actuator, target, before = world.actuator, world.target, world.state()
    assert set(actuator.supports(target)) == {base(resource) for resource in world.values}
    for resource, value in world.values.items():
        first = actuator.read(target, resource)
        plan = actuator.plan(Action(target, resource, value))
        assert world.state() == before, "planning touches nothing"
        apply(plan)
        shown = actuator.read(target, resource)
        assert shown == pytest.approx(value, rel=0.01), resource
        assert plan.shown(shown)
        assert world.state() != before
        assert undo(plan.undo) == []
        assert world.state() == before, resource
        assert actuator.read(target, resource) == first


def test_a_limit_is_lifted_and_comes_back(world: World) -> None:
    actuator, target, before = world.actuator, world.target, world.state()
    if not world.lifts:  # what it sets cannot be without a value
        with pytest.raises(ActuateError):
            actuator.plan(Action(target, next(iter(world.values)), None))
        assert world.state() == before
        return
    for resource, value in world.values.items():
        plan = actuator.plan(Action(target, resource, value))
        apply(plan)
        limited = world.state()
        lifted = actuator.plan(Action(target, resource, None))
        apply(lifted)
        assert lifted.shown(actuator.read(target, resource)), resource
        assert undo(lifted.undo) == []
        assert world.state() == limited, resource
        assert undo(plan.undo) == []
        assert world.state() == before, resource


def test_all_that_was_journalled_is_undone_at_once(world: World, tmp_path: Path) -> None:
    before = world.state()
    with Journal(tmp_path / "journal") as journal:
        for _ in range(2):
            for resource, value in world.values.items():
                plan = world.actuator.plan(Action(world.target, resource, value))
                journal.add(plan.undo)
                apply(plan)
        assert journal.restore("test").failures == ()
    assert world.state() == before


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_rejected_value_changes_nothing(world: World, value: float) -> None:
    before = world.state()
    for resource in world.values:
        with pytest.raises(Rejected):
            world.actuator.plan(Action(world.target, resource, value))
    assert world.state() == before


def test_a_refusal_quotes_the_kernel_and_changes_nothing(world: World) -> None:
    resource, value = next(iter(world.values.items()))
    plan = world.actuator.plan(Action(world.target, resource, value))
    before = world.state()
    world.refuse()
    with pytest.raises(Rejected, match=world.words) as caught:
        apply(plan)
    assert any(step.path in caught.value.path for step in plan.steps)
    assert world.state() == before


def test_what_it_knows_and_what_it_does_not_is_said(world: World) -> None:
    actuator, target = world.actuator, world.target
    assert isinstance(actuator.usage(target), Usage)
    assert {target.kind, "*"} & set(actuator.kinds)
    for resource in world.values:
        assert {base(resource), "*"} & set(actuator.resources)
        assert acting(actuator, target, resource) in ACTUATORS
    with pytest.raises(Unsupported, match="moon"):
        actuator.plan(Action(Target("moon", "x"), next(iter(world.values)), 1.0))
    with pytest.raises(Unsupported, match="phase_of_moon"):
        actuator.plan(Action(target, "phase_of_moon", 1.0))


def test_dry_writes_nothing() -> None:
    plan = ACTUATORS.make("dry").plan(Action(Target("cgroup", "web"), "cpu_cores", 0.5))
    assert (plan.steps, plan.undo) == ((), ())
