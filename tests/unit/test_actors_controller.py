"""The controller actor without Ray: its links are faked, its target is a folder that looks like the kernel's."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vagus.actors.base import Seat
from vagus.actors.controller import ControllerActor
from vagus.config import Config, ControllerSettings, LimitSettings
from vagus.controllers import View
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import (
    Action,
    Event,
    Field,
    Inference,
    Metric,
    Outlook,
    Receipt,
    Report,
    Sample,
    Status,
    Stream,
    Target,
    Verdict,
)
from vagus.store import Store
from vagus.undo import Step
from vagus.watchdog import Journal

NODE = "n1"
WEB = Target("cgroup", "web")
LOAD = Stream(NODE, "host.load", (Field("load1"),))


class Neighbours:
    """The collector and the observer of the node."""

    def __init__(self) -> None:
        self.samples: Callable[[], list[Sample]] = lambda: [Sample(LOAD, time.time_ns(), (0.5,))]
        self.inferences: list[Inference] = []
        self.reports: list[Report] = []
        self.asked: list[Any] = []
        self.told: list[Event] | None = None  # the collector takes no events

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if (actor, method) == (f"vagus:collector@{NODE}", "latest"):
            self.asked.append(args[0])
            return self.samples()
        if (actor, method) == (f"vagus:collector@{NODE}", "outlooks"):
            assert args == (["host.load.load1"],)
            return [(LOAD, (Outlook("load1", 0.5, 0.7, 0.01, "rising"),))]
        if (actor, method) == (f"vagus:collector@{NODE}", "told"):
            if self.told is None:
                raise PeerUnreachable("away")
            self.told += args[0]
            return None
        assert actor == f"vagus:observer@{NODE}"
        if method == "inferences":
            assert args == ("",)
            return self.inferences
        assert method == "report"
        self.reports += args[0]
        return []

    def nodes(self) -> tuple[str, ...]:
        return (NODE,)


class Wants:
    """A user's controller that wants what the test says."""

    period_s = 0.02
    wanted: float | None = 1.2
    selectors = ("host.load",)

    def __init__(self) -> None:
        self.views: list[View] = []

    def step(self, view: View) -> Iterable[Any]:
        self.views.append(view)
        if self.wanted is not None:
            yield Action(WEB, "cpu_cores", self.wanted, "wished")


class Loud(Wants):
    def step(self, view: View) -> Iterable[Any]:
        now = time.time_ns()
        yield Report("mine", "db@2", now, {"read": Metric(Status.UNHEALTHY, 3)})
        yield Event(now, "mine.event", NODE)


class Foreseeing(Wants):
    foresees = ("host.load.load1",)


class Broken(Wants):
    def step(self, view: View) -> Iterable[Any]:
        raise RuntimeError("out of ideas")


@pytest.fixture
def group(tmp_path: Path) -> Path:
    group = tmp_path / "root/sys/fs/cgroup/web"
    group.mkdir(parents=True)
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/proc/self/mountinfo").write_text("1 2 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu,cpuacct\n")
    (tmp_path / "root/proc/meminfo").write_text("MemTotal: 1000000 kB\n")
    (group / "cpu.cfs_quota_us").write_text("200000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "cpu.stat").write_text("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
    (group / "cpuacct.usage").write_text("0\n")
    return group


def quota(group: Path) -> str:
    return (group / "cpu.cfs_quota_us").read_text().strip()


def seat(tmp_path: Path, user: object = None, **changes: Any) -> Seat:
    changes = {
        "target": "cgroup:web",
        "period": 0.02,
        "limits": {"cpu_cores": LimitSettings(min=0.1, max=2, cooldown=0)},
        **changes,
    }
    settings = ControllerSettings(name="c", **changes)
    options = {"controller": settings, "object": user, "root": str(tmp_path / "root"), "self_pid": os.getpid()}
    return Seat("controller", NODE, str(tmp_path / "home"), Config(), label="c", options=options)


@asynccontextmanager
async def running(place: Seat, links: Neighbours | None = None) -> AsyncIterator[ControllerActor]:
    actor = ControllerActor(place, links or Neighbours())
    await actor.begin()
    try:
        yield actor
    finally:
        await actor.end()


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def steps(actor: ControllerActor, count: int = 2) -> None:
    goal = actor.figures()["steps"] + count
    await until(lambda: actor.figures()["steps"] >= goal)


def stored(place: Seat) -> list[Receipt]:
    with Store.open(place.store_path) as store:
        return list(store.records("receipt", Receipt))


async def test_dry_says_once_what_it_would_do(tmp_path: Path, group: Path) -> None:
    place, user = seat(tmp_path, Wants()), None
    async with running(place) as actor:
        await steps(actor, 5)
        user = actor._controller
        assert actor.notes() == ("would set cpu_cores of cgroup:web to 1.2 (now 2): wished",)
        (receipt,) = await actor.receipts(10)
        assert (receipt.before, receipt.after, receipt.dry, receipt.actuator) == (2.0, 1.2, True, "cgroup1")
        status = await actor.describe()
        assert (status.name, status.errors, status.figures["armed"]) == ("vagus:controller:c@n1", 0, 0.0)
    assert quota(group) == "200000"
    assert stored(place) == [receipt]
    assert not (place.folder / "journal-c").exists()  # no watchdog without a write
    assert isinstance(user, Wants)
    view = user.views[-1]
    assert view.last("host.load.load1") == 0.5
    assert view.signals["limit_cores"] == 2.0
    assert view.receipts()[0].after == 1.2


async def test_a_controller_sees_what_is_coming_of_the_series_that_it_names(tmp_path: Path, group: Path) -> None:
    async with running(seat(tmp_path, Foreseeing())) as actor:
        await steps(actor)
        user = actor._controller
    assert isinstance(user, Foreseeing)
    outlook = user.views[-1].outlook("host.load.*")
    assert outlook is not None
    assert (outlook.forecast, outlook.trend) == (0.7, "rising")
    assert user.views[-1].outlook("host.cpu.user") is None


async def test_armed_it_writes_and_restores_when_it_ends(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants, armed=True)
    async with running(place) as actor:
        await until(lambda: quota(group) == "120000")
        await steps(actor)
        assert actor.notes()[0].startswith("set cpu_cores of cgroup:web to 1.2 (was 2)")
        assert actor.figures()["limits"] == 1
        Wants.wanted = 1.5
        try:
            await until(lambda: quota(group) == "150000")
        finally:
            Wants.wanted = 1.2
    assert quota(group) == "200000"
    receipts = stored(place)
    assert (receipts[-1].before, receipts[-1].after, receipts[-1].dry) == (2.0, 1.2, False)
    assert (receipts[0].reason, receipts[0].after) == ("restored", 2.0)


async def test_arming_and_disarming(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants)
    async with running(place) as actor:
        await steps(actor)
        await actor.arm(True)
        await until(lambda: quota(group) == "120000")
        await actor.arm(False)
        assert quota(group) == "200000"
        await steps(actor)
        assert quota(group) == "200000"
        await actor.arm(True)
        await until(lambda: quota(group) == "120000" and not actor._recent[-1].dry)
    assert quota(group) == "200000"
    with Store.open(place.store_path) as store:
        names = [event.event for event in store.records("event", Event)]
    assert names == ["controller.armed", "controller.disarmed", "controller.armed"]


async def test_a_refused_write_is_a_receipt_with_the_kernels_words(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.actuators.apply.read_text", lambda path: "200000")
    async with running(seat(tmp_path, Wants, armed=True)) as actor:
        await until(lambda: actor._recent)
        (receipt,) = (await actor.receipts(10))[-1:]
        assert "the kernel keeps '200000'" in receipt.error
        assert receipt.after == 2.0
        assert actor.state == "HEALTHY"
        assert "could not set" in actor.notes()[0]
        await until(lambda: quota(group) == "200000")


async def test_a_lost_watchdog_holds_and_is_replaced(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants, armed=True)
    async with running(place) as actor:
        await until(lambda: quota(group) == "120000")
        old = actor._limits._watchdog.pid
        os.kill(old, signal.SIGKILL)
        await until(lambda: actor._limits._watchdog.pid != old and actor._limits._watchdog.alive)
        await steps(actor)
        assert quota(group) == "120000"
    assert quota(group) == "200000"
    assert any("held: the watchdog was killed" in receipt.note for receipt in stored(place))
    with Store.open(place.store_path) as store:
        assert "controller.watchdog_lost" in [event.event for event in store.records("event", Event)]


async def test_what_an_earlier_life_left_is_restored_first(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants)
    with Journal(place.folder / "journal-c") as journal:
        journal.add([Step("write", str(group / "cpu.cfs_quota_us"), "170000")])
    async with running(place) as actor:
        assert quota(group) == "170000"
        await steps(actor)
    with Store.open(place.store_path) as store:
        (event,) = store.records("event", Event)
    assert event.fields["note"] == "restored 1 limits left by an earlier life"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("silent", "the collector does not answer"),
        ("stale", "the newest sample is"),
        ("empty", "the collector has no samples"),
        ("accused", "node:n1 is DYING in gossip"),
    ],
)
async def test_defect_no_recovery_hook_now_doubts_about_the_means_hold_controllers(
    tmp_path: Path, group: Path, spoil: str, words: str
) -> None:
    links = Neighbours()

    def silent() -> list[Sample]:
        raise PeerUnreachable("vagus:collector@n1 is being restarted")

    if spoil == "silent":
        links.samples = silent
    elif spoil == "stale":
        links.samples = lambda: [Sample(LOAD, time.time_ns() - 60 * 10**9, (1,))]
    elif spoil == "empty":
        links.samples = list
    else:
        contexts = {"gossip": Verdict(Status.DYING, 0)}
        links.inferences = [Inference(f"node:{NODE}", time.time_ns(), Status.DYING, contexts, ())]
    async with running(seat(tmp_path, Wants, armed=True), links) as actor:
        await steps(actor)
        assert words in actor.notes()[0]
        assert actor.errors == 0
        assert quota(group) == "200000"


async def test_reports_and_events_find_their_way(tmp_path: Path, group: Path) -> None:
    place, links = seat(tmp_path, Loud), Neighbours()
    async with running(place, links) as actor:
        await steps(actor)
    assert links.reports[0].subject == "db@2"
    assert links.asked[0] == ["host.load"]
    with Store.open(place.store_path) as store:
        assert next(iter(store.records("event", Event))).event == "mine.event", "kept, since no collector took it"


async def test_events_go_to_the_collector_which_has_the_subscribers(tmp_path: Path, group: Path) -> None:
    place, links = seat(tmp_path, Loud), Neighbours()
    links.told = []
    async with running(place, links) as actor:
        await steps(actor)
        await actor._telling.flush()
    assert links.told[0].event == "mine.event"
    with Store.open(place.store_path) as store:
        assert not {e.t_ns for e in links.told} & {e.t_ns for e in store.records("event", Event)}


async def test_a_broken_controller_is_counted_and_goes_on(tmp_path: Path, group: Path) -> None:
    async with running(seat(tmp_path, Broken, armed=True)) as actor:
        await steps(actor, 3)
        assert actor.errors >= 3
        assert "RuntimeError: out of ideas" in actor.last_error
        assert actor.state == "HEALTHY"
        assert quota(group) == "200000"


async def test_a_target_that_is_gone_is_said(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, target="cgroup:absent")
    async with running(place) as actor:
        await steps(actor)
        assert actor.state == "HEALTHY"
        assert "absent does not exist; create it" in actor.notes()[-1]
        assert "absent does not exist" in (await actor.receipts())[0].error


async def test_the_throttle_policy_on_this_very_process(tmp_path: Path) -> None:
    place = seat(tmp_path, target="pid:self", limits={})
    place.options["root"] = "/"
    async with running(place) as actor:
        await until(lambda: any("would set" in note for note in actor.notes()))
        (note,) = (note for note in actor.notes() if "would set" in note)
        assert note.startswith("would set cpu_cores of pid:self to ")
        assert "(now no limit): throttle: uses " in note
        assert (await actor.receipts())[-1].target == Target("pid", "self")


async def test_what_was_learned_survives(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path)
    async with running(place) as actor:
        await steps(actor, 3)
        uses = actor._controller.state()["uses"]  # type: ignore[attr-defined]
        assert uses
    async with running(place) as actor:
        assert actor._controller.state()["uses"][: len(uses)] == uses  # type: ignore[attr-defined]


async def test_settings_may_come_as_builtins(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path)
    place.options["controller"] = {"name": "c", "target": "cgroup:web"}
    assert ControllerActor(place, Neighbours()).settings.target == "cgroup:web"
    for wrong in ({"nam": "c"}, {"name": "c", "policy": "nope"}, {"name": "c", "options": {"x": 1}}):
        place.options["controller"] = wrong
        with pytest.raises(ConfigError):
            ControllerActor(place, Neighbours())


async def test_a_hanging_step_lets_the_lease_run_out(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.actors.controller.MAX_LEASE_BLIND_S", 0.1)
    begun = asyncio.Event()
    gate = threading.Event()
    loop = asyncio.get_running_loop()

    class Hangs(Wants):
        def step(self, view: View) -> Iterable[Any]:
            if quota(group) != "200000":
                loop.call_soon_threadsafe(begun.set)
                gate.wait(10)
                return ()
            return super().step(view)

    async with running(seat(tmp_path, Hangs, armed=True, lease=0.3)):
        await begun.wait()
        await until(lambda: quota(group) == "200000")
        gate.set()


async def test_a_step_that_always_fails_says_so_with_the_line_and_is_a_verdict_on_itself(
    tmp_path: Path, group: Path, caplog: pytest.LogCaptureFixture
) -> None:
    links = Neighbours()
    place = seat(tmp_path, Broken)
    async with running(place, links) as actor:
        await steps(actor, 5)
        (note,) = actor.notes()
        assert "RuntimeError: out of ideas (test_actors_controller.py:" in note
        assert "limits in force stay" in note
        assert actor.errors >= 5
    said = [r for r in links.reports if r.subject == place.name]
    assert [r.contexts["step"].status for r in said] == [Status.UNHEALTHY]
    assert len([r for r in caplog.records if r.getMessage() == "failed"]) == 1, "the same line is logged once a minute"
