"""The supervisor's decisions: which seats there should be, and what to do about the difference."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from vagus.actors.base import Seat
from vagus.config import (
    Config,
    ControllerSettings,
    DecideSettings,
    FeedSettings,
    LearnerSettings,
    SourceSettings,
    TraceSettings,
)
from vagus.runtime import plan
from vagus.runtime.names import node_names
from vagus.runtime.plan import Node, Observed, Spawned, Start, Stop, desired, reconcile

HEAD, WORKER = Node("id-a", "a", True), Node("id-b", "b", False)


def seats(*nodes: Node, config: Config | None = None, spawned: tuple[Spawned, ...] = ()):
    return desired(config or Config(), "/home", nodes, spawned, {"token": "t"})


def observed(wanted, state: str, since_s: float = 0.0, **more):
    return {name: Observed(seat, node, state, since_s, **more) for name, (seat, node) in wanted.items()}


def test_every_node_senses_observes_and_decides():
    assert sorted(seats(HEAD, WORKER)) == [
        "vagus:collector@a",
        "vagus:collector@b",
        "vagus:controller:throttle@a",
        "vagus:controller:throttle@b",
        "vagus:decide@a",
        "vagus:decide@b",
        "vagus:feed@a",
        "vagus:observer@a",
        "vagus:observer@b",
        "vagus:traces@a",
    ]


def test_traces_are_joined_at_the_head_or_nowhere():
    assert "vagus:traces@a" not in seats(HEAD, WORKER, config=Config(traces=TraceSettings(on="off")))


def test_the_head_alone_decides_where_settings_say_so():
    found = seats(HEAD, WORKER, config=Config(decide=DecideSettings(on="head")))
    assert [name for name in found if ":decide@" in name] == ["vagus:decide@a"]


@pytest.mark.parametrize(("on", "nodes"), [("every-node", {"a", "b"}), ("head", {"a"}), ("b", {"b"}), ("c", set())])
def test_a_controller_sits_where_its_settings_say(on, nodes):
    own = Spawned(ControllerSettings(name="mine", on=on), object=dict)
    found = seats(HEAD, WORKER, spawned=(own,))
    mine = {seat.node: seat for seat, _ in found.values() if seat.label == "mine"}
    assert set(mine) == nodes
    assert all(seat.options["object"] is dict and seat.options["head"] == "a" for seat in mine.values())


def test_no_feeds_no_feed_actor():
    assert "vagus:feed@a" not in seats(HEAD, config=Config(feeds=()))


def test_feeds_are_fetched_at_the_head_or_everywhere():
    def fed(**settings: Any) -> list[str]:
        found = seats(HEAD, WORKER, config=Config(**settings))
        return sorted(seat.node for seat, _ in found.values() if seat.role == "feed")

    assert fed() == ["a"]
    assert fed(feeds_on="every-node") == ["a", "b"]
    many = FeedSettings(name="many", source=SourceSettings(all=tuple(f"http://h{n}/" for n in range(1001))))
    assert fed(feeds=(many,)) == ["a", "b"]
    assert fed(feeds=(many,), feeds_on="head") == ["a"]
    few = FeedSettings(name="few", source=SourceSettings(all=tuple(f"proc:echo {n}" for n in range(2000))))
    assert fed(feeds=(few,)) == ["a"], "commands stay at the head"
    hosts = FeedSettings(name="hosts", source=SourceSettings(all=("http://a/hosts",)))
    driven = FeedSettings(name="each", foreach="hosts", source=SourceSettings(all=("http://{}/",)))
    assert fed(feeds=(hosts, driven)) == ["a", "b"]


def test_who_does_not_come_up_gives_its_locations_to_the_others():
    seen = [Observed(Seat("feed", node, "", Config()), node, "HEALTHY") for node in "abcd"]
    seen[0].state, seen[0].failures = "UNHEALTHY", plan.FAILED_STARTS - 1
    seen[1].state, seen[1].failures = "STARTING", plan.FAILED_STARTS
    seen[2].state = "DRAINING"
    assert plan.feeders([*seen, Observed(Seat("collector", "e", "", Config()), "e", "HEALTHY")]) == ("a", "d")


def test_missing_seats_are_started_and_healthy_ones_left_alone():
    wanted = seats(HEAD)
    assert {s.seat.name for s in reconcile(wanted, {}, ["id-a"], 0.0)} == set(wanted)
    assert reconcile(wanted, observed(wanted, "HEALTHY"), ["id-a"], 1e6) == []


def test_a_dead_actor_is_started_again_and_counted():
    wanted = seats(HEAD)
    seen = observed(wanted, "HEALTHY")
    seen["vagus:collector@a"].state = "UNHEALTHY"
    seen["vagus:collector@a"].restarts = 2
    (step,) = reconcile(wanted, seen, ["id-a"], 5.0)
    assert isinstance(step, Start)
    assert step.seat.restarts == 3


def test_failing_starts_back_off_and_never_give_up():
    wanted = seats(HEAD)
    seen = observed(wanted, "UNHEALTHY", since_s=100.0, failures=4)
    assert reconcile(wanted, seen, ["id-a"], 107.9) == []
    assert len(reconcile(wanted, seen, ["id-a"], 108.1)) == len(wanted)
    assert plan.backoff_s(0) == 0.0
    assert plan.backoff_s(10_000) == plan.MAX_BACKOFF_S


def test_a_silent_actor_and_a_start_that_hangs_are_replaced():
    wanted = seats(HEAD)
    silent = observed(wanted, "HEALTHY", missed=plan.PINGS_MISSED)
    assert {s.graceful for s in reconcile(wanted, silent, ["id-a"], 1.0)} == {False}
    starting = observed(wanted, "STARTING")
    assert reconcile(wanted, starting, ["id-a"], plan.START_TIMEOUT_S - 1) == []
    assert all(isinstance(s, Stop) for s in reconcile(wanted, starting, ["id-a"], plan.START_TIMEOUT_S + 1))


def test_actors_are_asked_whether_they_hang_all_while_they_are_few_and_in_turns_when_they_are_many():
    some = [Observed(Seat("observer", f"n{n}", "", Config()), "", "HEALTHY", pinged_s=float(n % 3)) for n in range(9)]
    some[0].state = "STARTING"
    assert plan.pings(some, plan.PING_PERIOD_S - 0.1) == []
    assert plan.pings(some, plan.PING_PERIOD_S + 1) == [o for o in some[1:] if o.pinged_s <= 1.0]
    seat, asked = some[0].seat, []
    many = [Observed(seat, "", "HEALTHY", pinged_s=-math.inf, pid=n) for n in range(3 * plan.PINGS_A_ROUND)]
    many[-1].missed = 1
    for round_ in range(3):
        found = plan.pings(many, float(round_))
        assert len(found) <= plan.PINGS_A_ROUND + 1
        assert any(o is many[-1] for o in found), "who missed one is asked each time"
        asked += found
        for o in found:
            o.pinged_s = float(round_)
    assert {o.pid for o in asked} == set(range(len(many))), "nobody is left out"


def test_what_is_not_wanted_ends_gracefully_where_its_node_lives():
    wanted = seats(HEAD)
    seen = observed(seats(HEAD, WORKER), "HEALTHY")
    assert {(s.name, s.graceful) for s in reconcile(wanted, seen, ["id-a"], 1.0)} == {
        (n, False) for n in seen if n.endswith("@b")
    }
    assert all(s.graceful for s in reconcile(wanted, seen, ["id-a", "id-b"], 1.0))


def test_seats_survive_the_wire():
    for seat, _ in seats(HEAD).values():
        assert seat.store_path.name in (seat.role, f"{seat.role}-{seat.label}")
        assert msgspec.structs.replace(seat, restarts=1).name == seat.name


def ray_node(identity: str, host: str, *, alive: bool = True, head: bool = False, label: str = ""):
    return {
        "NodeID": identity,
        "Alive": alive,
        "NodeManagerHostname": host,
        "NodeName": "10.0.0.1",
        "Resources": {"node:__internal_head__": 1.0} if head else {},
        "Labels": {"vagus/node": label} if label else {},
    }


def test_nodes_are_named_by_label_then_host_and_never_twice():
    table = [
        ray_node("bbbbbbbb", "box"),
        ray_node("aaaaaaaa", "box", head=True),
        ray_node("cccccccc", "box", label="third"),
        ray_node("dddddddd", "box", alive=False),
        ray_node("eeeeeeee", "host/with:odd name"),
    ]
    assert node_names(table) == {
        "aaaaaaaa": "box",
        "bbbbbbbb": "box-bbbbbb",
        "cccccccc": "third",
        "eeeeeeee": "host-with-odd-name",
    }


def test_a_learner_sits_at_the_head_once_a_controller_is_to_be_taught():
    taught = ControllerSettings(name="mine", on="b", policy="ddpg", options={"learn": "learner"})
    assert "vagus:learner@a" in seats(HEAD, WORKER, spawned=(Spawned(taught),))
    assert "vagus:learner@a" in seats(HEAD, WORKER, config=Config(controllers=(taught,)))
    assert "vagus:learner@a" not in seats(
        HEAD, WORKER, config=Config(learner=LearnerSettings(on="off")), spawned=(Spawned(taught),)
    )
    alone = msgspec.structs.replace(taught, options={"learn": "here"})
    assert "vagus:learner@a" not in seats(HEAD, WORKER, spawned=(Spawned(alone),))
