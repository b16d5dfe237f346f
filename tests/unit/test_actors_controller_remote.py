"""A controller that is steered from outside: the actor, the gateway, the client and the live world, on made-up groups.

All but Ray: the folders look like the kernel's, the actor runs in the gateway's loop.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, Served, serving
from test_actors_controller import NODE, Neighbours, quota, seat

from vagus.actors.controller import ControllerActor
from vagus.client.connection import Connection
from vagus.config import GuardSettings, LimitSettings, ObjectiveSettings
from vagus.environments.live import LiveWorld
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Acted, Action, ControlState, Field, Sample, Stream, Target

A, B = Target("cgroup", "app/a"), Target("cgroup", "app/b")
INGRESS = Stream(NODE, "ingress", (Field("p99_s"), Field("rate_hz")), {"app": "x"})


class Node(MemoryBackend):
    """The controller's node, alone."""

    def __init__(self) -> None:
        super().__init__(())
        self.node = NODE

    def nodes(self) -> tuple[str, ...]:
        return (NODE,)


class Reached:
    """The actor as the collector reaches it."""

    def __init__(self, actor: ControllerActor) -> None:
        self.actor = actor

    async def state(self, after_ns: int, wait_s: float) -> ControlState:
        return await self.actor.control_state(after_ns, wait_s)

    async def act(self, actions: list[Action], wait_s: float) -> Acted:
        return await self.actor.control_act(actions, wait_s)


@pytest.fixture
def groups(tmp_path: Path) -> list[Path]:
    top = tmp_path / "root/sys/fs/cgroup"
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/proc/self/mountinfo").write_text("1 2 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu,cpuacct\n")
    (tmp_path / "root/proc/meminfo").write_text("MemTotal: 1000000 kB\n")
    made = [top / "app" / name for name in ("a", "b")]
    for group in made:
        group.mkdir(parents=True)
        (group / "cpu.cfs_quota_us").write_text("100000\n")
        (group / "cpu.cfs_period_us").write_text("100000\n")
        (group / "cpu.stat").write_text("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
        (group / "cpuacct.usage").write_text("0\n")
    return made


@contextmanager
def steered(tmp_path: Path, **changes: Any) -> Iterator[tuple[Served, Connection, ControllerActor]]:
    given = {
        "policy": "remote",
        "targets": (str(A), str(B)),
        "armed": True,
        "limits": {"cpu_cores": LimitSettings(min=0.2, max=1.0, step_ratio=0.25, cooldown=0)},
        "objective": ObjectiveSettings(latency="ingress.p99_s", rate="ingress.rate_hz", slo="200ms"),
        "guard": GuardSettings(shield="none"),
        **changes,
    }
    links = Neighbours()
    links.samples = lambda: [Sample(INGRESS, time.time_ns(), (0.3, 50.0))]

    async def make() -> ControllerActor:
        actor = ControllerActor(seat(tmp_path, **given), links)
        await actor.begin()
        return actor

    with serving(Node()) as served:
        actor = served.call(make())
        served.backend.controlled["a"]["c"] = Reached(actor)
        try:
            with Connection(served.url, TOKEN, timeout_s=5.0) as client:
                yield served, client, actor
        finally:
            served.call(actor.end())


def seen(client: Connection, check: Callable[[ControlState], object]) -> ControlState:
    """The first state of which it is true."""
    state = client.state("c")
    for _ in range(500):
        if check(state):
            return state
        state = client.state("c", after_ns=state.t_ns)
    raise AssertionError(state)


@pytest.mark.says("guard-bounds")
def test_a_limit_goes_by_the_guards_steps_to_what_is_wished(tmp_path: Path, groups: list[Path]) -> None:
    with steered(tmp_path) as (_served, client, actor):
        state = seen(client, lambda s: s.targets[str(A)])
        assert (state.rung, state.armed, state.steerable) == ("trust", True, True)
        assert state.limits == {str(A): {"cpu_cores": 1.0}, str(B): {"cpu_cores": 1.0}}
        assert state.objective["latency_s"] == 0.3
        done = client.act("c", [Action(A, "cpu_cores", 0.05, "cheap")])
        (receipt,) = done.receipts
        assert (receipt.before, receipt.requested, receipt.after, receipt.error) == (1.0, 0.05, 0.75, "")
        assert "bounds are 0.2 to 1" in receipt.note
        assert "at most 25%" in receipt.note
        assert "cheap" in receipt.reason
        assert done.limits == {str(A): {"cpu_cores": 0.75}}
        seen(client, lambda s: s.limits[str(A)]["cpu_cores"] == 0.2)  # what is wished stands
        assert quota(groups[0]) == "20000"
        assert quota(groups[1]) == "100000"
        again = client.act("c", [Action(A, "cpu_cores", 0.2)])
        assert (again.done, again.receipts) == (True, ()), "it is so already"
        with pytest.raises(ConfigError, match="app/none"):
            client.act("c", [Action(B, "cpu_cores", 0.5), Action(Target("cgroup", "app/none"), "cpu_cores", 0.5)])
        seen(client, lambda s: actor.figures()["own_steps"])
    assert [quota(group) for group in groups] == ["100000", "100000"], "restored"


@pytest.mark.says("dry-until-armed")
def test_dry_says_what_it_would_do(tmp_path: Path, groups: list[Path]) -> None:
    with steered(tmp_path, armed=False) as (_served, client, _actor):
        seen(client, lambda s: s.targets[str(A)])
        done = client.act("c", [Action(A, "cpu_cores", 0.9)])
        (receipt,) = done.receipts
        assert (receipt.dry, receipt.after, done.armed) == (True, 0.9, False)
        assert done.limits == {str(A): {"cpu_cores": 1.0}}
        assert quota(groups[0]) == "100000"


@pytest.mark.says("guard-silence")
def test_in_silence_it_holds_then_restores_and_hears_again(tmp_path: Path, groups: list[Path]) -> None:
    guard = GuardSettings(shield="none", rule="none", hold="0.3s")
    with steered(tmp_path, options={"silence": "0.2s"}, guard=guard) as (_served, client, actor):
        seen(client, lambda s: s.targets[str(A)])
        client.act("c", [Action(A, "cpu_cores", 0.8)])
        assert quota(groups[0]) == "80000"
        held = seen(client, lambda s: s.rung == "hold")
        assert held.limits[str(A)] == {"cpu_cores": 0.8}
        seen(client, lambda s: s.rung == "restore")
        seen(client, lambda s: s.limits[str(A)] == {"cpu_cores": 1.0})
        assert quota(groups[0]) == "100000"
        assert any("nothing was heard" in note for note in actor.notes())
        refused = client.act("c", [Action(A, "cpu_cores", 0.8)])
        assert refused.receipts[0].note.startswith("held: restored")


def test_who_never_speaks_changes_nothing_however_long(tmp_path: Path, groups: list[Path]) -> None:
    with steered(tmp_path, options={"silence": "0.1s"}) as (_served, client, actor):
        (groups[0] / "cpu.stat").write_text("nr_periods 9\nnr_throttled 9\nthrottled_time 9\n")
        state = seen(client, lambda s: actor.figures()["steps"] >= 20)
        assert state.rung == "trust"
        assert actor.figures()["actions"] == 0
        assert [quota(group) for group in groups] == ["100000", "100000"]


def test_the_live_world(tmp_path: Path, groups: list[Path]) -> None:
    with steered(tmp_path) as (served, client, _actor):
        world = LiveWorld(client, "c")
        assert world.field.targets == (str(A), str(B))
        assert world.field.bounds == {"cpu_cores": (0.2, 1.0)}
        assert world.period_s == pytest.approx(0.04)
        before = world.reset(1)
        assert set(before.signals) == {str(A), str(B)}
        after = world.step({(str(A), "cpu_cores"): 0.8})
        assert after.now_s > before.now_s
        assert after.signals[str(A)]["limit_cpu_cores"] == 0.8
        assert after.requests == pytest.approx(50 * (after.now_s - before.now_s), rel=1e-3)
        assert after.violations == after.requests, "0.3 s is over 0.2 s"
        assert world.step({}).signals[str(A)]["limit_cpu_cores"] == 0.8
        with pytest.raises(ConfigError, match="app/none"):
            world.step({("cgroup:app/none", "cpu_cores"): 0.8})
        world.close()
        served.backend.controlled["a"].clear()


def test_a_live_world_needs_a_controller_that_steps_and_takes_actions(
    tmp_path: Path, groups: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = pytest.raises(ConfigError, match=r"'throttle'.*policy: remote")
    with steered(tmp_path, policy="throttle") as (_served, client, _actor), refused:
        LiveWorld(client, "c")
    with steered(tmp_path) as (served, client, actor):
        world = LiveWorld(client, "c")
        world.reset(1)
        monkeypatch.setattr("vagus.environments.live.PATIENCE_S", 0.0)

        async def hang() -> None:
            await actor._stepping.acquire()

        async def go_on() -> None:
            actor._stepping.release()

        served.gateway.site.timeout_s = 0.2
        served.call(hang())
        try:
            with pytest.raises(PeerUnreachable, match="takes no step"):
                world.step({(str(A), "cpu_cores"): 0.8})
        finally:
            served.call(go_on())


async def test_many_may_wait_and_no_more(tmp_path: Path, groups: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.actors.steered.MAX_WAITING", 2)
    actor = ControllerActor(seat(tmp_path, policy="remote", targets=(str(A),)), Neighbours())
    waiting = [asyncio.ensure_future(actor.control_state(0, 0.2)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PeerUnreachable, match="2 requests wait"):
        await actor.control_state(0, 0.2)
    for state in await asyncio.gather(*waiting):
        assert state.t_ns == 0
        assert math.isfinite(state.bounds["cpu_cores"][1])
