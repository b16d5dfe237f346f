"""The controller actor in doubt, beside strangers, and on a full node."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_actors_controller import LOAD, NODE, WEB, Neighbours, Wants, group, quota, running, seat, steps, stored, until

from vagus.actors.controller import ControllerActor
from vagus.config import ControllerSettings, GuardSettings, LimitSettings
from vagus.controllers.claims import Granted
from vagus.controllers.steering import REFUSED_PAUSE_S, Sight, Steering
from vagus.controllers.view import Snapshot
from vagus.model import Action, Event, Sample, Status, Target
from vagus.store import Store

__all__ = ["group"]
NS = 10**9


def stale() -> list[Sample]:
    return [Sample(LOAD, time.time_ns() - 60 * NS, (1.0,))]


def rungs(actor: ControllerActor) -> str:
    return actor._steering.rung.value


def events(place: Any, name: str) -> list[Event]:
    with Store.open(place.store_path) as store:
        return [event for event in store.records("event", Event) if event.event == name]


async def test_long_doubt_restores_and_afterwards_it_acts_again(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.controllers.ladder.SETTLE_S", 0.1)
    links = Neighbours()
    place = seat(tmp_path, Wants, armed=True, guard=GuardSettings(hold="0.2s", rule="none"))
    async with running(place, links) as actor:
        await until(lambda: quota(group) == "120000")
        fresh, links.samples = links.samples, stale
        await until(lambda: rungs(actor) == "hold")
        assert quota(group) == "120000", "the last safe limit"
        await until(lambda: quota(group) == "200000")
        assert rungs(actor) == "restore"
        await until(lambda: any("[held: restored; the newest sample is" in note for note in actor.notes()))
        assert actor._limits._watchdog.alive
        links.samples = fresh
        await until(lambda: quota(group) == "120000")  # after SETTLE_S
    assert quota(group) == "200000"
    told = sorted(events(place, "controller.rung"), key=lambda event: event.t_ns)
    assert [event.fields["rung"] for event in told] == ["hold", "restore", "trust"]
    assert "restored" in [receipt.reason for receipt in stored(place)]


async def test_the_calibrated_rule_steers_while_the_collector_is_away(tmp_path: Path, group: Path) -> None:
    links = Neighbours()
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpuacct.usage").write_text("0\n")
    links.samples = stale
    place = seat(tmp_path, Wants, armed=True, guard=GuardSettings(hold="0.1s"))
    async with running(place, links) as actor:
        used_ns = 0

        def works() -> bool:
            nonlocal used_ns
            used_ns += 20_000_000
            (group / "cpuacct.usage").write_text(f"{used_ns}\n")
            return quota(group) != "-1"

        await until(works)
        assert rungs(actor) == "rule"
        # the policy is asked all the while, and held: 1.2 cores is what it wishes
        assert quota(group) != "120000"
        await until(lambda: any(receipt.reason.startswith("throttle: uses") for receipt in actor._recent))
        await until(lambda: any("the calibrated rule steers" in receipt.note for receipt in actor._previous))
    assert quota(group) == "-1"


async def test_a_stranger_s_limit_is_left_to_them(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants, armed=True)
    async with running(place) as actor:
        await until(lambda: quota(group) == "120000" and actor._limits.held)
        (group / "cpu.cfs_quota_us").write_text("90000\n")
        await until(lambda: any("someone else set it to 0.9" in note for note in actor.notes()))
        await steps(actor, 5)
        assert quota(group) == "90000"
        await actor.arm(False)
        await actor.arm(True)
        await until(lambda: quota(group) == "120000")
    assert quota(group) == "90000", "that was there before it was armed anew"
    (drifted,) = events(place, "limit.drifted")
    assert drifted.fields == {
        "target": "cgroup:web",
        "resource": "cpu_cores",
        "wrote": "1.2",
        "found": "0.9",
        "then": "yield",
    }


async def test_or_written_again_by_configuration(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants, armed=True, drift="reapply")
    async with running(place) as actor:
        await until(lambda: quota(group) == "120000" and actor._limits.held)
        (group / "cpu.cfs_quota_us").write_text("90000\n")
        await until(lambda: quota(group) == "120000")
    assert quota(group) == "200000"
    assert events(place, "limit.drifted")


async def test_refused_writes_are_a_verdict_on_the_actuator_and_a_pause(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.actuators.apply.read_text", lambda path: "200000")
    monkeypatch.setattr("vagus.actors.controller.SELF_REPORT_S", 0.01)
    links = Neighbours()
    async with running(seat(tmp_path, Wants, armed=True), links) as actor:
        await until(lambda: any("the last 3 writes were refused" in note for note in actor.notes()))
        tried = actor._limits.failures
        await steps(actor, 5)
        assert actor._limits.failures == tried == 3
        about = [report for report in links.reports if report.subject == f"actuator:auto@{NODE}"]
        assert about[-1].contexts["write_c"].status == Status.UNHEALTHY


async def test_two_controllers_of_a_node_share_what_it_has(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    place = seat(tmp_path, Wants, armed=True)
    async with running(place) as actor:
        await until(lambda: quota(group) == "120000" and actor._limits.held)
        other = ControllerSettings(name="d", target="cgroup:db", limits={"cpu_cores": LimitSettings(min=0.1, max=2)})
        from vagus.actors.claims import NodeClaims

        beside = NodeClaims(place.folder / "claims.json", other.name, {"cpu_cores": 2.0})
        assert beside.grant(Target("cgroup", "db"), "cpu_cores", 1.5, 0.5, 0.1).value == pytest.approx(0.8)
        assert beside.grant(WEB, "cpu_cores", 1.5, 0.5, 0.1).value is None
    assert beside.grant(Target("cgroup", "db"), "cpu_cores", 1.5, 0.5, 0.1).value == 1.5, "it is given back"


# --- the core ------------------------------------------------------------------------------------------------------------


class Fake:
    """Limits and replicas in a dict."""

    name = "fake"
    dry = False

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float | None] = {("web", "cpu_cores"): 1.0, ("web", "replicas"): 2.0}

    def supports(self, target: Target) -> tuple[str, ...]:
        return ("cpu_cores", "replicas")

    def usage(self, target: Target) -> Any:
        raise NotImplementedError

    def read(self, target: Target, resource: str) -> float | None:
        return self.values[target.name, resource]

    def plan(self, action: Action) -> Any:
        from vagus.actuators import Plan

        return Plan((), (), action.value)


def steering(**changes: Any) -> Steering:
    settings = ControllerSettings(
        name="c",
        target="cgroup:web",
        limits={
            "cpu_cores": LimitSettings(min=0.1, max=8, cooldown=0),
            "replicas": LimitSettings(min=1, max=4, cooldown="60s"),
        },
        scale_out="replicas:web",
        **changes,
    )

    class Wishes:
        period_s = 1.0

        def step(self, view: Any) -> Any:
            return [Action(WEB, "cpu_cores", 1.4)]

    return Steering(settings, Wishes(), Fake(), {"cpu_cores": 8.0})


def sight(now_s: float, fits: float = 8.0, **changes: Any) -> Sight:
    def grant(target: Target, resource: str, wanted: float, current: float | None, least: float) -> Granted:
        return Granted(min(wanted, fits) if resource == "cpu_cores" else wanted, "full")

    given = {"failures": 0, "doubts": [], "drifts": [], "in_force": {}, **changes}
    return Sight(Snapshot(NODE, NS), round(now_s * NS), True, grant=grant, resolve=lambda t: t, **given)


def test_where_the_node_has_no_more_it_asks_for_a_replica() -> None:
    made = steering()
    assert [p.action.resource for p in made.step(sight(0)).outcome.planned] == ["cpu_cores"], "it fits: scale up"
    full = made.step(sight(1, fits=1.0)).outcome
    (more,) = full.planned
    assert (str(more.action.target), more.action.resource, more.action.value) == ("replicas:web", "replicas", 3.0)
    assert "the node has no more for cgroup:web" in more.receipt.reason
    assert made.step(sight(2, fits=1.0)).outcome.planned == [], "its cool-down gives the new one time"
    assert made.step(sight(62, fits=1.0)).outcome.planned


def test_refused_writes_pause_and_then_it_tries_again() -> None:
    made = steering(guard=GuardSettings(rule="none"))
    assert made.step(sight(0, failures=2)).outcome.planned
    assert made.step(sight(1, failures=3)).outcome.planned == []
    assert made.step(sight(REFUSED_PAUSE_S, failures=3)).outcome.planned == []
    assert made.step(sight(REFUSED_PAUSE_S + 2, failures=3)).outcome.planned
    assert made.step(sight(REFUSED_PAUSE_S + 3, failures=4)).outcome.planned == [], "refused once more: another pause"


def test_what_is_armed_anew_takes_back_what_others_took_over() -> None:
    from vagus.controllers.steering import Drift

    made = steering()
    limited = (WEB, "cpu_cores")
    steered = made.step(sight(0, in_force={limited: 1.2}, drifts=[Drift(limited, 1.2, 1.0)]))
    assert steered.give_up == [limited]
    assert steered.outcome.planned == []
    assert "someone else set it to 1; disarm and arm" in steered.outcome.receipts[0].note
    made.armed()
    assert made.step(sight(1)).outcome.planned


async def test_no_rule_steers_for_a_policy_that_never_worked(tmp_path: Path, group: Path) -> None:
    (group / "cpu.cfs_quota_us").write_text("-1\n")

    class Never(Wants):
        def step(self, view: Any) -> Any:
            (group / "cpuacct.usage").write_text(f"{time.monotonic_ns()}\n")
            raise RuntimeError("it was never tried")

    async with running(seat(tmp_path, Never, armed=True, guard=GuardSettings(hold="0.1s"))) as actor:
        await until(lambda: rungs(actor) == "rule")
        await steps(actor, 10)
        assert quota(group) == "-1"


# --- Ray actors ----------------------------------------------------------------------------------------------------------


async def test_a_ray_actor_is_steered_as_its_process_and_found_anew_when_that_ends(tmp_path: Path, group: Path) -> None:
    from vagus.errors import ActuateError

    asked: list[Target] = []

    class Ray(Neighbours):
        async def process_of(self, target: Target) -> Target:
            asked.append(target)
            if len(asked) < 3:
                raise ActuateError("the actor web is not known to Ray")
            return Target("pid", "1:0")  # not the one that runs under this number: it has ended

    async with running(seat(tmp_path, Wants, target="ray:web"), Ray()) as actor:
        await until(lambda: any("cannot steer ray:web: the actor web is not known to Ray" in n for n in actor.notes()))
        await until(lambda: len(asked) > 5)
        assert actor.errors == 0
    assert set(asked) == {Target("ray", "web")}
