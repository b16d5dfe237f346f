"""The fleet on an engine of plain objects: deaths, hangs, restarts of the supervisor, arming, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from vagus.actors.base import Seat
from vagus.config import Config, ControllerSettings, TraceSettings
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import ActorStatus, Event
from vagus.runtime import fleet as fleet_module
from vagus.runtime import news
from vagus.runtime.fleet import END_ORDER, Fleet
from vagus.runtime.links import ActorGone
from vagus.runtime.names import SUPERVISOR
from vagus.runtime.shell import SHELLS

CONFIG = Config(feeds=(), traces=TraceSettings(on="off"), controllers=(ControllerSettings(name="throttle", on="head"),))
MINE = ControllerSettings(name="mine", on="every-node")


class Process:
    """An actor: what it was asked, and how it behaves."""

    def __init__(self, engine: Ray, seat: Seat, node_id: str) -> None:
        self.engine, self.seat, self.node_id = engine, seat, node_id
        self.asked: list[tuple[Any, ...]] = []
        self.begun = 0
        self.armed = bool(seat.role == "controller" and seat.options["controller"].armed)
        self.silent = False
        self.gone = asyncio.Event()
        self.pid = engine.next_pid()

    async def ask(self, method: str, *args: Any, timeout_s: float) -> Any:
        self.asked.append((method, *args))
        if self.gone.is_set():
            raise ActorGone(f"{self.seat.name}: it died")
        if self.silent:
            raise PeerUnreachable(f"{self.seat.name}.{method} did not answer")
        return await getattr(self, f"_{method}")(*args)

    async def _begin(self) -> str:
        await self.engine.gate.wait()
        if self.gone.is_set():
            raise ActorGone("it died while it started")
        if self.seat.name in self.engine.broken:
            raise ConfigError("its settings are wrong")
        self.begun += 1
        return self.seat.name

    async def _stay(self, for_s: float) -> None:
        await self.gone.wait()
        raise ActorGone(f"{self.seat.name}: it died")

    async def _put_down(self, role: str, pid: int) -> bool:
        return True

    async def _ping(self) -> tuple[int, float]:
        return self.pid, 0.0

    async def _where(self) -> tuple[Seat, str]:
        return self.seat, self.node_id

    async def _know(self, nodes: tuple[str, ...]) -> None:
        pass

    async def _end(self) -> None:
        self.engine.ended.append(self.seat.name)

    async def _call(self, method: str, *args: Any) -> Any:
        if method == "arm":
            self.armed = args[0]
        if method == "describe":
            s = self.seat
            return ActorStatus(s.name, s.role, s.node, "HEALTHY", figures={"armed": float(self.armed)})
        return ("127.0.0.1", self.pid) if method == "address" else None

    def kill(self) -> None:
        self.gone.set()
        if self.engine.running.get(self.seat.name) is self:
            del self.engine.running[self.seat.name]


class Ray:
    """Nodes a (the head) and b."""

    def __init__(self) -> None:
        self.alive = ["id-a", "id-b"]
        self.running: dict[str, Process] = {}
        self.ended: list[str] = []
        self.broken: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.made = 0
        self.kept_left: set[str] = set()

    def next_pid(self) -> int:
        self.made += 1
        return self.made

    async def nodes(self) -> list[Mapping[str, Any]]:
        def node(i: str) -> dict[str, Any]:
            resources = {"node:__internal_head__": 1.0} if i == "id-a" else {}
            return {"NodeID": i, "Alive": i in self.alive, "NodeManagerHostname": i[3:], "Resources": resources}

        return [node(i) for i in ("id-a", "id-b")]

    async def names(self) -> list[str]:
        return [SUPERVISOR, *self.running]

    async def find(self, name: str) -> Process:
        if name not in self.running:
            raise ActorGone(name)
        return self.running[name]

    async def create(self, seat: Seat, node_id: str, nodes: Any) -> Process:
        if seat.name in self.running:
            self.running[seat.name].kill()
            raise PeerUnreachable("an earlier one had the name; it was ended")
        self.running[seat.name] = Process(self, seat, node_id)
        return self.running[seat.name]

    async def left(self) -> set[str]:
        return set(self.kept_left)

    async def set_left(self, node_ids: Iterable[str]) -> None:
        self.kept_left = set(node_ids)


class Time:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def ray():
    return Ray()


@pytest.fixture
async def clock():
    return Time()


@pytest.fixture
async def fleet(ray, clock):
    fleet = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    yield fleet
    await fleet.stop()


async def settled(fleet: Fleet, check: Callable[[], object] = lambda: True) -> None:
    """Rounds until everything is healthy and `check` holds; no time passes."""
    for _ in range(50):
        await fleet.round()
        for _ in range(20):
            await asyncio.sleep(0)
        if check() and fleet.seen and {o.state for o in fleet.seen.values()} == {"HEALTHY"}:
            await fleet.round()
            return
    raise AssertionError([(o.seat.name, o.state, o.last_error) for o in fleet.seen.values()])


def events(process: Process) -> list[Event]:
    return [e for asked in process.asked if asked[:2] == ("call", "set_roster") for e in asked[3]]


async def test_every_seat_is_filled_and_each_actor_knows_what_it_must_once(fleet, ray):
    await settled(fleet)
    assert len(ray.running) == len(fleet.roster()) == 7
    await settled(fleet)
    observer = ray.running["vagus:observer@a"]
    addresses = {node: ("127.0.0.1", ray.running[f"vagus:observer@{node}"].pid) for node in "ab"}
    assert observer.asked.count(("know", ("a", "b"))) == 1
    assert observer.asked.count(("call", "set_peers", addresses)) == 1, "who is told leaves itself out"
    assert observer.asked.count(("call", "address")) == 1
    assert {e.event for e in events(ray.running["vagus:collector@a"])} == {"actor.started"}


async def test_a_death_starts_a_successor_and_is_told(fleet, ray):
    await settled(fleet)
    before = ray.running["vagus:observer@b"]
    before.kill()
    await settled(fleet, lambda: ray.running.get("vagus:observer@b") not in (None, before))
    after = ray.running["vagus:observer@b"]
    assert after.seat.restarts == 1
    told = events(ray.running["vagus:collector@b"])
    assert [e.event for e in told if e.fields["actor"] == "vagus:observer@b"] == [
        "actor.started",
        "actor.died",
        "actor.restarted",
    ]
    assert len(told) == len({(e.t_ns, e.event, e.fields["actor"]) for e in told}), "each is told once"
    told = [asked[2] for asked in ray.running["vagus:observer@a"].asked if asked[:2] == ("call", "set_peers")]
    assert told[-1]["b"] == ("127.0.0.1", after.pid), "the others learn its new address"


async def test_what_happened_waits_for_a_collector_that_takes_it(fleet, ray):
    await settled(fleet)
    collector = ray.running["vagus:collector@b"]
    collector.silent = True
    ray.running["vagus:observer@b"].kill()
    await asyncio.sleep(0)
    await fleet.round()
    collector.silent = False
    await settled(fleet, lambda: "vagus:observer@b" in ray.running)
    assert "actor.died" in {e.event for e in events(collector)}
    assert fleet.errors >= 1


async def test_killed_while_starting_it_starts_again_with_back_off(fleet, ray, clock):
    ray.gate.clear()
    await fleet.round()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ray.running["vagus:collector@a"].gone.set()
    del ray.running["vagus:collector@a"]
    ray.gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert fleet.seen["vagus:collector@a"].state == "UNHEALTHY"
    await fleet.round()
    assert fleet.seen["vagus:collector@a"].state == "UNHEALTHY", "not at once: it may fail again"
    clock.now_s += 1.5
    await settled(fleet)
    assert fleet.seen["vagus:collector@a"].failures == 0


async def test_a_start_that_fails_says_why_and_does_not_stop_the_others(fleet, ray):
    ray.broken = {"vagus:controller:throttle@a"}
    for _ in range(3):
        await fleet.round()
        for _ in range(10):
            await asyncio.sleep(0)
    failed = {a.name: a for a in fleet.roster()}["vagus:controller:throttle@a"]
    assert (failed.state, failed.last_error, failed.figures["failed_starts"]) == (
        "UNHEALTHY",
        "its settings are wrong",
        1.0,
    )
    assert sum(a.state == "HEALTHY" for a in fleet.roster()) == 6


async def test_an_actor_that_ends_again_and_again_is_reported_until_it_stays_up(fleet, ray, clock):
    def said() -> list[tuple[str, float]]:
        reports = [
            r for p in ray.running.values() for asked in p.asked if asked[:2] == ("call", "report") for r in asked[2]
        ]
        return [
            (r.contexts["restarts"].status.name, r.contexts["restarts"].score)
            for r in reports
            if r.subject == "vagus:decide@b" and "restarts" in r.contexts
        ]

    await settled(fleet)
    for _ in range(2):
        ray.running["vagus:decide@b"].kill()
        await settled(fleet, lambda: "vagus:decide@b" in ray.running)
        clock.now_s += 1.0
    assert said() == []
    ray.running["vagus:decide@b"].kill()
    await settled(fleet, lambda: "vagus:decide@b" in ray.running)
    assert said() == [("UNHEALTHY", 3.0)]
    clock.now_s += 59.0
    await settled(fleet)
    assert said() == [("UNHEALTHY", 3.0)]
    clock.now_s += 1.0
    await settled(fleet)
    assert said() == [("UNHEALTHY", 3.0), ("HEALTHY", 3.0)]
    clock.now_s += 100.0
    await settled(fleet)
    assert len(said()) == 2


async def test_a_silent_actor_is_replaced(fleet, ray, clock):
    await settled(fleet)
    frozen = ray.running["vagus:observer@a"]
    frozen.silent = True
    for _ in range(4):
        clock.now_s += 5.0
        await fleet.round()
    assert frozen.gone.is_set()
    await settled(fleet)
    assert ray.running["vagus:observer@a"].seat.restarts == 1
    neighbours = [p for p in ray.running.values() if p.seat.node == "a"]
    assert any(("put_down", "observer", frozen.pid) in p.asked for p in neighbours), (
        "a stopped process does not hear Ray"
    )


async def test_a_new_supervisor_adopts_what_runs_begins_what_had_not_begun_and_ends_what_hangs(ray, clock):
    first = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    await settled(first)
    first.spawn(MINE, dict)
    await settled(first, lambda: "vagus:controller:mine@b" in ray.running)
    await first.arm(True)
    running = dict(ray.running)
    for task in list(first._tasks):  # it dies without a word
        task.cancel()
    running["vagus:observer@b"].silent = True
    running["vagus:collector@b"].begun = 0
    second = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    await settled(second)
    same = {n for n, p in ray.running.items() if p is running.get(n)}
    assert set(running) - same == {"vagus:observer@b"}
    assert running["vagus:collector@b"].begun == 1
    ray.running["vagus:controller:mine@a"].kill()
    await settled(second, lambda: "vagus:controller:mine@a" in ray.running)
    assert ray.running["vagus:controller:mine@a"].armed, "armed is remembered by those who are"
    with pytest.raises(ConfigError, match="already"):
        second.spawn(MINE, dict)
    await second.stop()


async def test_a_node_that_leaves_is_told_and_its_names_are_free(fleet, ray):
    await settled(fleet)
    waiting = ray.running["vagus:collector@b"]
    ray.alive = ["id-a"]
    await settled(fleet)
    assert {a.node for a in fleet.roster()} == {"a"}
    assert waiting.gone.is_set()
    ray.alive = ["id-a", "id-b"]
    await settled(fleet, lambda: "vagus:collector@b" in ray.running)


async def test_a_machine_that_leaves_ends_its_actors_alone(fleet, ray):
    await settled(fleet)
    assert await fleet.leave("id-b") == []
    assert sorted(ray.ended) == ["vagus:collector@b", "vagus:decide@b", "vagus:observer@b"]
    await settled(fleet)
    assert {a.node for a in fleet.roster()} == {"a"}
    ray.alive = ["id-a"]
    await fleet.round()
    ray.alive = ["id-a", "id-b"]
    await settled(fleet, lambda: len(fleet.roster()) == 7)


def replaced(fleet: Fleet, ray: Ray, clock: Time) -> Fleet:
    """The supervisor dies without a word; its successor, which has done nothing yet."""
    for task in list(fleet._tasks):
        task.cancel()
    return Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)


def on_b(ray: Ray) -> list[str]:
    return [name for name in ray.running if name.endswith("@b")]


async def test_a_node_that_took_its_leave_is_not_filled_by_a_new_supervisor(fleet, ray, clock):
    with pytest.raises(PeerUnreachable, match="only just started"):
        await fleet.leave("id-b")
    await settled(fleet)
    await fleet.leave("id-b")
    successor = replaced(fleet, ray, clock)
    await settled(successor)
    assert on_b(ray) == []
    ray.alive = ["id-a"]
    await successor.round()
    ray.alive = ["id-a", "id-b"]
    await settled(successor, lambda: len(successor.roster()) == 7)
    await successor.leave("id-b")
    await successor.stop()
    again = Fleet(CONFIG, "/home", {"token": "t"}, ray, clock)
    await settled(again, lambda: len(again.roster()) == 7)
    await again.stop()


async def test_a_leave_that_its_supervisor_did_not_live_to_end_is_ended_in_order(fleet, ray, clock):
    await settled(fleet)
    fleet.spawn(MINE, dict)
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    ray.kept_left = {"id-b"}
    successor = replaced(fleet, ray, clock)
    await settled(successor, lambda: not on_b(ray))
    assert ray.ended == [f"vagus:{role}@b" for role in ("controller:mine", "collector", "decide", "observer")]
    await successor.stop()


async def test_that_a_leave_cannot_be_kept_is_a_problem_and_it_leaves(fleet, ray, monkeypatch):
    async def silent(node_ids: Iterable[str]) -> None:
        raise PeerUnreachable("Ray's head (nodes that left) did not answer within 10 s")

    await settled(fleet)
    with monkeypatch.context() as patch:
        patch.setattr(ray, "set_left", silent)
        (problem,) = await fleet.leave("id-b")
    assert "its successor fills this node again" in problem
    assert on_b(ray) == []


async def test_nobody_counts_on_a_node_that_took_its_leave(fleet, ray):
    await settled(fleet)
    await fleet.leave("id-b")
    await settled(fleet)
    assert fleet.spawn(MINE, dict) == ["vagus:controller:mine@a"]
    with pytest.raises(ConfigError, match=r"names no node; there are: a$"):
        fleet.spawn(ControllerSettings(name="other", on="b"), dict)
    told = [asked[1] for asked in ray.running["vagus:collector@a"].asked if asked[0] == "know"]
    assert told == [("a", "b"), ("a",)]


async def test_a_round_during_a_leave_does_not_overtake_it(fleet, ray):
    await settled(fleet)
    fleet.spawn(MINE, dict)
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    controller, restored = ray.running["vagus:controller:mine@b"], asyncio.Event()

    async def restore() -> None:
        await restored.wait()
        ray.ended.append(controller.seat.name)

    controller._end = restore
    leaving = asyncio.ensure_future(fleet.leave("id-b"))
    await asyncio.sleep(0)
    for _ in range(3):
        await fleet.round()
        for _ in range(20):
            await asyncio.sleep(0)
    overtook = list(ray.ended)
    restored.set()
    assert overtook == []
    assert await leaving == []
    assert ray.ended == [f"vagus:{role}@b" for role in ("controller:mine", "collector", "decide", "observer")]


async def test_an_actor_that_fails_in_whatever_way_ends_no_round(fleet, ray):
    async def fails(nodes: tuple[str, ...]) -> None:
        raise ValueError("x")

    await fleet.round()
    for _ in range(20):
        await asyncio.sleep(0)
    ray.running["vagus:observer@a"]._know = fails
    await fleet.round()
    assert (fleet.rounds, fleet.last_error) == (2, "ValueError: x")


async def test_whose_controller_it_is_outlives_the_supervisor(fleet, ray, clock):
    await settled(fleet)
    fleet.spawn(MINE, dict, 20.0, "me")
    await settled(fleet, lambda: "vagus:controller:mine@b" in ray.running)
    await fleet.arm(True)
    successor = replaced(fleet, ray, clock)
    await settled(successor)
    for there in (fleet, successor):
        assert there.keep("mine", "you") is None
        assert await there.remove("mine", "you") is False
        assert there.keep("mine", "me") == there.keep("mine") != []
    assert await successor.remove("mine", "me") is True
    assert "vagus:controller:mine@a" not in ray.running
    await successor.stop()


async def test_spawned_controllers_sit_where_they_are_asked_to_and_names_are_taken_until_they_ended(fleet, ray):
    with pytest.raises(PeerUnreachable, match="only just started"):
        fleet.spawn(MINE, dict)
    await settled(fleet)
    assert fleet.spawn(ControllerSettings(name="one", on="head"), dict) == ["vagus:controller:one@a"]
    with pytest.raises(ConfigError, match=r"names no node; there are: a, b"):
        fleet.spawn(ControllerSettings(name="none", on="c"), dict)
    await settled(fleet, lambda: "vagus:controller:one@a" in ray.running)
    first = ray.running["vagus:controller:one@a"]
    assert await fleet.remove("one") is True
    assert first.gone.is_set()
    assert ray.ended == ["vagus:controller:one@a"]
    assert await fleet.remove("one") is False
    fleet.spawn(ControllerSettings(name="one", on="head"), list)
    await settled(fleet, lambda: "vagus:controller:one@a" in ray.running)
    assert ray.running["vagus:controller:one@a"].seat.options["object"] is list


async def test_arming_reaches_a_controller_that_is_just_starting(fleet, ray):
    ray.gate.clear()
    await fleet.round()
    await asyncio.sleep(0)
    assert await fleet.arm(True) == []
    ray.gate.set()
    await settled(fleet)
    assert ray.running["vagus:controller:throttle@a"].armed
    assert fleet.given == CONFIG


async def test_stop_ends_controllers_first_and_leaves_nothing(fleet, ray):
    await settled(fleet)
    ray.running["vagus:collector@b"].silent = True
    problems = await fleet.stop()
    assert ray.running == {}
    assert ray.ended[0] == "vagus:controller:throttle@a"
    assert problems == ["vagus:collector@b.end did not answer"]
    order = [name.split(":")[1].split("@")[0] for name in ray.ended]
    assert order == sorted(order, key=fleet_module.END_ORDER.index)


async def test_a_head_that_does_not_answer_is_waited_out(fleet, ray, monkeypatch):
    await settled(fleet)

    async def silent() -> list[Any]:
        raise PeerUnreachable("Ray's head (list of nodes) did not answer within 10 s")

    with monkeypatch.context() as patch:
        patch.setattr(ray, "nodes", silent)
        with pytest.raises(PeerUnreachable):
            await fleet.round()
    await settled(fleet)


async def test_the_roster_is_repeated_so_that_collectors_know_that_somebody_supervises(fleet, ray, clock):
    await settled(fleet)
    collector = ray.running["vagus:collector@a"]
    told = sum(asked[:2] == ("call", "set_roster") for asked in collector.asked)
    await fleet.round()
    clock.now_s += news.ROSTER_PERIOD_S
    await fleet.round()
    assert sum(asked[:2] == ("call", "set_roster") for asked in collector.asked) == told + 1


async def test_the_state_of_each_node_is_told_to_one_observer(fleet, ray, clock):
    def told() -> list[dict[str, str]]:
        asked = [a for p in ray.running.values() for a in p.asked if a[:2] == ("call", "report")]
        return [{r.subject: r.contexts["ray"].status.name for r in a[2]} for a in asked]

    await settled(fleet)
    assert told() == [{"node:a": "HEALTHY", "node:b": "HEALTHY"}]
    ray.alive = ["id-a"]
    await settled(fleet)
    assert told()[1:] == [{"node:b": "DEAD"}]
    clock.now_s += 61
    await settled(fleet)
    assert told()[2:] == [{"node:a": "HEALTHY", "node:b": "DEAD"}]


def test_every_role_has_its_turn_at_the_end() -> None:
    assert sorted(END_ORDER) == sorted(SHELLS), "who is not in it is killed with what it had to save"
