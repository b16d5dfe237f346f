"""What outsiders are told of a controller's steps, and which step is the one that knew of their word."""

from __future__ import annotations

import asyncio

import pytest

from vagus.actors.steered import Outside
from vagus.config import ControllerSettings, LimitSettings
from vagus.controllers.joint import JointController
from vagus.controllers.load import load
from vagus.controllers.view import Snapshot
from vagus.errors import ConfigError
from vagus.model import Action, Receipt, Target

A = Target("cgroup", "app/a")
SEEN = {"usage_cores": 0.2, "limit_cores": 0.5, "limit_cpu_cores": 0.5, "throttled_ratio": 0.0, "elapsed_s": 1.0}


def made() -> tuple[JointController, Outside]:
    settings = ControllerSettings(
        name="c", policy="remote", targets=(str(A),), limits={"cpu_cores": LimitSettings(min=0.1, max=2.0)}
    )
    controller = load(settings)
    assert isinstance(controller, JointController)
    return controller, Outside("n", settings, controller, (A,), {"cpu_cores": (0.1, 2.0)})


def receipt(after: float, dry: bool = False, error: str = "") -> Receipt:
    return Receipt(1, "n", "c", "cgroup1", A, "cpu_cores", 0.5, 0.4, after, dry, error=error)


async def test_an_answer_waits_for_the_step_that_knew_of_the_word() -> None:
    controller, outside = made()
    view = Snapshot("n", 7, by_target={A: SEEN})
    list(controller.step(view))  # a step is under way when the word comes
    asked = asyncio.ensure_future(outside.act([Action(A, "cpu_cores", 0.4)], 5.0))
    await asyncio.sleep(0)
    outside.saw(view)
    outside.stepped([], True, "trust")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not asked.done(), "that step did not know of it"
    (wanted,) = controller.step(view)
    assert isinstance(wanted, Action)
    assert wanted.value == 0.4
    outside.stepped([receipt(0.4)], True, "trust")
    acted = await asked
    assert (acted.done, acted.limits) == (True, {str(A): {"cpu_cores": 0.4}})
    assert [found.after for found in acted.receipts] == [0.4]


@pytest.mark.parametrize("what", [receipt(0.4, dry=True), receipt(0.4, error="refused")])
async def test_what_was_not_written_is_not_in_force(what: Receipt) -> None:
    _, outside = made()
    outside.saw(Snapshot("n", 7, by_target={A: SEEN}))
    outside.stepped([what], True, "trust")
    assert (await outside.state()).limits == {str(A): {"cpu_cores": 0.5}}


async def test_what_is_wrong_is_refused_whole() -> None:
    controller, outside = made()
    with pytest.raises(ConfigError, match="not steered here"):
        await outside.act([Action(A, "cpu_cores", 0.4), Action(Target("cgroup", "b"), "cpu_cores", 0.4)])
    assert list(controller.step(Snapshot("n", 7, by_target={A: SEEN}))) == []
