"""Policies that return nonsense, actuators that raise what they should not: nothing is written, nothing stays, all is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_actors_controller import WEB, Neighbours, Wants, group, quota, running, seat, steps, stored, until

from vagus.actuators import Plan, Step
from vagus.actuators.apply import apply
from vagus.actuators.auto import Auto
from vagus.config import GuardSettings
from vagus.errors import Rejected
from vagus.model import Action, Report, Target

__all__ = ["group"]


class Says(Wants):
    """Returns what the test says, after a good wish."""

    said: Any = None

    def step(self, view: Any) -> Any:
        yield Action(WEB, "cpu_cores", 1.2, "wished")
        if self.said is not None:
            yield self.said


NONSENSE = (
    Action(WEB, "cpu_cores", "lots"),  # type: ignore[arg-type]
    Action(WEB, "cpu_cores", [1.0]),  # type: ignore[arg-type]
    Action(WEB, "cpu_cores", 10**400),
    Action("cgroup:web", "cpu_cores", 1.0),  # type: ignore[arg-type]
    Action(WEB, None, 1.0),  # type: ignore[arg-type]
    Action(WEB, "cpu_cores", 1.0, 7),  # type: ignore[arg-type]
    Action(WEB, "cpu_cores", 1.0, "sure", "very"),  # type: ignore[arg-type]
    Action(Target("cgroup", None), "cpu_cores", 1.0),  # type: ignore[arg-type]
    Report("mine", "db@2", 1, {"read": 3}),  # type: ignore[dict-item]
)


@pytest.mark.parametrize("said", NONSENSE, ids=repr)
async def test_nonsense_of_a_policy_is_a_failure_of_it(tmp_path: Path, group: Path, said: Any) -> None:
    place = seat(tmp_path, Says(), armed=True, guard=GuardSettings(hold="0.1s", rule="none"))
    async with running(place) as actor:
        await until(lambda: quota(group) == "120000")
        assert isinstance(actor._controller, Says)
        actor._controller.said = said
        await until(lambda: "its step fails" in " ".join(actor.notes()))
        await until(lambda: quota(group) == "200000")  # held, and then restored: nobody steers any more
        await steps(actor)
    assert quota(group) == "200000"


@pytest.mark.parametrize("value", [np.float64(1.2), np.float32(1.2), np.int64(1), 1, np.array(1.2)])
async def test_numbers_of_other_libraries_are_numbers(tmp_path: Path, group: Path, value: Any) -> None:
    user = Wants()
    user.wanted = value
    place = seat(tmp_path, user, armed=True)
    async with running(place) as actor:
        await until(lambda: actor._limits.held)
        await steps(actor)
        assert quota(group) == str(round(float(value) * 100_000))
        assert actor._failure == ""
    (wished,) = [receipt for receipt in stored(place) if receipt.reason == "wished"]
    assert wished.requested == pytest.approx(float(value))


@pytest.mark.parametrize("method", ["usage", "read", "plan"])
async def test_an_actuator_that_breaks_is_doubted_and_the_limit_restored(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    broken = False
    whole = getattr(Auto, method)

    def breaks(self: Auto, *args: Any) -> Any:
        if broken:
            raise RuntimeError("no one expected this")
        return whole(self, *args)

    monkeypatch.setattr(Auto, method, breaks)
    user = Wants()
    place = seat(tmp_path, user, armed=True, guard=GuardSettings(hold="0.1s", rule="none"))
    async with running(place, Neighbours()) as actor:
        await until(lambda: actor._limits.held)
        broken = True
        user.wanted = 0.7
        await until(lambda: "RuntimeError: no one expected this" in " ".join(actor.notes()))
        if method != "plan":  # which only says that this wish is none
            await until(lambda: quota(group) == "200000")
        await steps(actor)
    assert quota(group) == "200000"


async def test_a_write_that_cannot_be_looked_at_is_undone(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Auto.read

    def breaks(self: Auto, *args: Any) -> Any:
        if quota(group) == "120000":
            raise RuntimeError("no one expected this")
        return whole(self, *args)

    monkeypatch.setattr(Auto, "read", breaks)
    async with running(seat(tmp_path, Wants(), armed=True)) as actor:
        await until(lambda: any("no one expected this; undone" in r.error for r in actor._recent))
        await until(lambda: quota(group) == "200000")  # it tries again and again: between two tries


async def test_who_fails_before_deciding_restores(tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.actors.controller.MAX_LEASE_BLIND_S", 0.1)
    async with running(seat(tmp_path, Wants(), armed=True)) as actor:
        await until(lambda: actor._limits.held)

        def breaks(*args: Any) -> Any:
            raise RuntimeError("no one expected this")

        monkeypatch.setattr(actor._steering, "step", breaks)
        await until(lambda: quota(group) == "200000")
        await until(lambda: any(receipt.reason == "restored" for receipt in actor._recent))


def test_what_cannot_be_understood_is_refused_and_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "blkio.throttle.read_bps_device"
    file.write_text("8:0 100\n")
    monkeypatch.setattr("vagus.actuators.apply.read_text", lambda path: "8:0 and something new")
    step, back = (Step("write", str(file), f"8:0 {number}", "8:0") for number in (5, 100))
    with pytest.raises(Rejected, match="is not understood"):
        apply(Plan((step,), (back,)))
    assert file.read_text() == "8:0 100\n"
