"""Decide actors in one process: they log, learn, push tables, forward, stand in for each other, survive kill -9."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from decide_nodes import ARMS, Cluster, running

from vagus.actors.decide import DecideActor
from vagus.actors.decide_learner import features_kept
from vagus.actors.outbox import Outbox
from vagus.config import Config, DecideSettings, LearnSettings
from vagus.controllers.decide.grouping import grouping_of
from vagus.controllers.decide.plan import prefix_of
from vagus.controllers.decide.records import Grouping, Outcome, Plan
from vagus.controllers.decide.table import DecisionTable, decode_update
from vagus.errors import ConfigError, NoData, PeerUnreachable, StoreError
from vagus.model import Ack, Decision, Reward

GOOD_B = {"a": 0.1, "b": 0.9}


def _weight(cluster: Cluster, node: str, group: str = "", arm: str = "b") -> float:
    found = cluster.gates[node].table.explain(group)
    return 0.0 if found is None else found["arms"].get(arm, 0.0)


def _lead(cluster: Cluster, **leaders: str) -> None:
    """A Plan, and no backend that would make another."""
    cluster.actors["n1"]._planner = None
    plan = Plan(cluster.actors["n1"]._leading.view.plan.version + 1, Grouping(0, ("g",)), leaders)
    cluster.actors["n1"]._leading.follow(plan)


async def test_it_learns_and_its_collector_gets_the_table(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        actor = cluster.actors["n1"]
        await cluster.play("n1", 60, GOOD_B)
        await cluster.until(lambda: _weight(cluster, "n1") > 0.5)
        figures = actor.figures()
        assert (figures["decisions"], figures["rewards"], figures["groups"], figures["learned"]) == (60, 60, 1, 60)
        (note,) = actor.notes()
        assert note.startswith("group '': 'b' ")
        assert note.endswith(" %, 60 rewards")
        assert decode_update(await actor.snapshot()).groups[""].arms == ARMS


async def test_with_one_decide_actor_for_all_every_collector_gets_the_table(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ("n1", "n2"), on="head")
    actor = await cluster.start("n1")
    drawn = [cluster.gates["n2"].table.decide({}, ARMS, at) for at in range(40)]
    await actor.decided(drawn)
    assert await actor.rewarded([Reward(d.decision_id, 1, GOOD_B[d.arm]) for d in drawn]) == [Ack.ACCEPTED] * 40
    await cluster.until(lambda: min(_weight(cluster, "n1"), _weight(cluster, "n2")) > 0.5)
    assert not any(method == "exchange" for _, method in cluster.calls)
    await actor.end()
    assert actor.errors == 0


async def test_a_collector_that_missed_a_table_gets_all_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, group_by=("g",)) as cluster:
        await cluster.play("n1", 10, GOOD_B, {"g": "x"})
        await cluster.until(lambda: _weight(cluster, "n1", "x"))
        cluster.down.add("vagus:collector@n1")
        await cluster.play("n1", 10, GOOD_B, {"g": "y"})
        await cluster.until(lambda: cluster.actors["n1"].figures()["unreachable"] > 0)
        cluster.down.clear()
        await cluster.until(lambda: _weight(cluster, "n1", "y"))
        gate = cluster.gates["n1"]
        gate.table = DecisionTable(Random(1), Grouping(0, ("g",)), prefix=prefix_of("n1"))  # it was restarted
        await cluster.play("n1", 10, GOOD_B, {"g": "z"})
        await cluster.until(lambda: _weight(cluster, "n1", "z"))
        assert _weight(cluster, "n1", "x")


async def test_rewards_are_answered_one_by_one(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        actor, table = cluster.actors["n1"], cluster.gates["n1"].table
        first, second = table.decide({}, ARMS, 0), table.decide({}, ARMS, 0)
        await actor.decided([first, second, first])
        rewards = [
            Reward(first.decision_id, 1, 1.0),
            Reward(first.decision_id, 2, 1.0),
            Reward(first.decision_id, 3, 2.0),
            Reward(second.decision_id, 4, math.nan),
            Reward("unknown", 5, 1.0),
            Reward(second.decision_id, 6, 0.5),
        ]
        expected = [Ack.ACCEPTED, Ack.ACCEPTED, Ack.IGNORED, Ack.FAILED, Ack.FAILED, Ack.ACCEPTED]
        assert await actor.rewarded(rewards) == expected
        store = actor._opened.store
        assert list(store.records("reward", Reward)) == [rewards[5], rewards[0]]
        assert list(store.records("decision", Decision)) == [second, first]
        assert list(store.records("decision", Decision, where=("decision_id", first.decision_id))) == [first]


async def test_many_callers_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as cluster:
        actor, table = cluster.actors["n1"], cluster.gates["n1"].table
        flushes = 0
        flush = actor._opened.store.flush

        def counted() -> None:
            nonlocal flushes
            flushes += 1
            flush()

        with monkeypatch.context() as patch:
            patch.setattr(actor._opened.store, "flush", counted)
            await asyncio.gather(*(actor.decided([table.decide({}, ARMS, at)]) for at in range(50)))
        assert flushes <= 2  # and one of a loop's


async def test_a_commit_that_fails_is_no_acknowledgement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as cluster:
        actor = cluster.actors["n1"]

        def full() -> None:
            raise OSError("disk full")

        decision = cluster.gates["n1"].table.decide({}, ARMS, 0)
        with monkeypatch.context() as patch:
            patch.setattr(actor._opened.store, "flush", full)
            with pytest.raises(OSError, match="disk full"):
                await actor.decided([decision])
        assert await actor.rewarded([Reward(decision.decision_id, 1, 1.0)]) == [Ack.ACCEPTED]


async def test_while_the_disk_is_full_nothing_is_acknowledged_and_afterwards_everything_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, errors=-1) as cluster:
        actor, table = cluster.actors["n1"], cluster.gates["n1"].table
        store = actor._opened.store
        early, late = table.decide({}, ARMS, 0), table.decide({}, ARMS, 1)
        await actor.decided([early])
        rewards = [Reward(early.decision_id, 1, 1.0)]

        def full() -> None:
            raise StoreError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(store, "flush", full)
            patch.setattr(store, "_max_pending", -1)  # no more is held in memory
            for _ in range(2):
                with pytest.raises(StoreError, match="full"):
                    await actor.decided([late])
                with pytest.raises(StoreError, match="full"):
                    await actor.rewarded(rewards)
        await actor.decided([late])
        assert await actor.rewarded([*rewards, Reward(late.decision_id, 2, 0.5)]) == [Ack.ACCEPTED] * 2
        assert {one.decision_id for one in store.records("decision", Decision)} == {early.decision_id, late.decision_id}
        assert {one.decision_id for one in store.records("reward", Reward)} == {early.decision_id, late.decision_id}
        assert (actor.figures()["learned"], actor.figures()["rewards"]) == (2, 2)


async def test_the_outbox_keeps_what_the_learner_cannot_store() -> None:
    taken: list[Decision] = []
    full = True

    class Links:
        def nodes(self) -> tuple[str, ...]:
            return ("n1",)

        async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
            if full:
                raise StoreError("the disk is full")
            taken.extend(args[0])

    outbox = Outbox("n1", "n1", Links())
    outbox.decided(Decision("1", 1, "", "a", 1.0, 0))
    with pytest.raises(StoreError):
        await outbox.flush_decisions()
    assert outbox.waiting == 1
    full = False
    await outbox.flush_decisions()
    assert (len(taken), outbox.waiting) == (1, 0)


async def test_stop_and_start_keep_what_was_learned(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        decisions = await cluster.play("n1", 60, GOOD_B)
        waiting = cluster.gates["n1"].table.decide({}, ARMS, 0)
        await cluster.actors["n1"].decided([waiting])
        await cluster.until(lambda: _weight(cluster, "n1") > 0.5)
        version = cluster.actors["n1"].figures()["version"]
    async with running(tmp_path) as cluster:
        await cluster.until(lambda: _weight(cluster, "n1") > 0.5)
        actor = cluster.actors["n1"]
        assert actor.figures()["version"] > version
        assert actor._learner.group("").rewards == 60
        again = [Reward(waiting.decision_id, 1, 1.0), Reward(decisions[0].decision_id, 1, -5.0)]
        assert await actor.rewarded(again) == [Ack.ACCEPTED, Ack.IGNORED]
        assert actor.figures()["recalled"] == 2


KILLED = """
import asyncio, sys
from pathlib import Path
from decide_nodes import Cluster

async def main() -> None:
    cluster = Cluster(Path(sys.argv[1]), ("n1",))
    actor = await cluster.start("n1")
    await cluster.play("n1", 30, {"a": 0.1, "b": 0.9})
    await actor.tick()
    await actor.save()
    first = await cluster.play("n1", 20, {"a": 0.1, "b": 0.9})  # acknowledged, not with the saved groups
    print(first[0].decision_id, actor.figures()["version"], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    with process:
        assert process.stdout is not None
        decision_id, version = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    async with running(tmp_path) as cluster:
        actor = cluster.actors["n1"]
        assert actor._learner.group("").rewards == 50
        assert await actor.rewarded([Reward(decision_id, 0, -1.0)]) == [Ack.IGNORED]
        assert actor.figures()["version"] > float(version)


async def test_damaged_state_is_told_and_it_starts_afresh(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.play("n1", 10, GOOD_B)
        await cluster.actors["n1"].save()
        cluster.actors["n1"]._opened.store.save("decide/head", b"\xc1 not a state")
        await cluster.kill("n1")
    async with running(tmp_path, errors=1) as cluster:
        assert "afresh" in cluster.actors["n1"].last_error
        await cluster.play("n1", 10, GOOD_B)


async def test_a_damaged_record_is_told_and_stops_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.play("n1", 10, GOOD_B)
        actor = cluster.actors["n1"]
        await actor.save()
        actor._opened.store.put("reward", actor.seat, t_ns=actor._opened.stamp())
        await cluster.kill("n1")
    async with running(tmp_path, errors=1) as cluster:
        assert "log of rewards" in cluster.actors["n1"].last_error
        assert cluster.actors["n1"]._learner.group("").rewards == 10


@pytest.mark.parametrize(
    ("decide", "match"),
    [
        ({"policy": "oracle"}, "oracle"),
        ({"options": {"gama": 0.9}}, "gama"),
        ({"policy": "ucb", "options": {"gamma": 2.0}}, "gamma"),
    ],
)
async def test_wrong_settings_fail_at_the_start(tmp_path: Path, decide: dict[str, Any], match: str) -> None:
    cluster = Cluster(tmp_path, ("n1",), **decide)
    with pytest.raises(ConfigError, match=match):
        await cluster.start("n1")


async def test_another_policy_or_grouping_learns_afresh(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.play("n1", 10, GOOD_B)
    async with running(tmp_path, policy="thompson") as cluster:
        with pytest.raises(NoData):
            cluster.actors["n1"]._learner.group("")
    async with running(tmp_path, policy="thompson", group_by=("g",)) as cluster:
        assert len(cluster.actors["n1"]._learner) == 0
        assert decode_update(await cluster.actors["n1"].snapshot()).grouping == Grouping(0, ("g",))


# --- several nodes -----------------------------------------------------------------------------------------------


async def test_updates_go_to_the_leader_and_its_decisions_come_to_who_meets_the_group(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2", group_by=("g",)) as cluster:
        _lead(cluster, x="n2")
        await cluster.until(lambda: cluster.actors["n2"]._leading.view.plan.version == 1)
        await cluster.play("n1", 60, GOOD_B, {"g": "x"})
        await cluster.until(lambda: _weight(cluster, "n1", "x") > 0.5)
        assert cluster.actors["n2"]._learner.group("x").rewards == 60
        assert "x" not in cluster.actors["n1"]._learner
        told = await cluster.actors["n1"].explain("x")
        assert (told["leader"], told["policy"], told["rewards"]) == ("n2", "ucb", 60)
        assert {arm["arm"] for arm in told["arms"]} == set(ARMS)


async def test_leaders_tell_each_other_what_their_groups_put_on_each_arm(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2", group_by=("g",), capacity={"a": 500.0, "b": 500.0}) as cluster:
        _lead(cluster, x="n1", y="n2")
        await cluster.until(lambda: cluster.actors["n2"]._leading.view.plan.version == 1)
        parcels = cluster.actors["n1"]._peers.parcels
        while not parcels.rates_elsewhere.get("b"):
            await cluster.play("n1", 40, GOOD_B, {"g": "y"})  # seen here, led there
            await cluster.tick()
            await asyncio.sleep(0.05)
        assert parcels.rates.get("b", 0.0) == 0.0, "nothing of what n1 leads"


async def test_a_reward_given_to_another_node_is_joined_where_the_decision_was_made(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2") as cluster:
        drawn = cluster.gates["n1"].table.decide({}, ARMS, 0)
        cluster.gates["n1"].kept.append(drawn)  # its gateway has not handed it over yet
        reward = Reward(drawn.decision_id, 1, 1.0)
        assert await cluster.actors["n1"].rewarded([reward]) == [Ack.FAILED]
        assert await cluster.actors["n1"].rewarded([reward], True) == [Ack.ACCEPTED]
        cluster.down.add("vagus:collector@n1")
        unknown = Reward(prefix_of("n1") + "0" * 24, 1, 1.0)
        assert await cluster.actors["n1"].rewarded([reward, unknown], True) == [Ack.ACCEPTED, Ack.FAILED]


async def test_a_killed_actor_goes_on_where_it_was_and_its_peers_send_again_what_it_had_not_saved(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, "n1", "n2", group_by=("g",)) as cluster:
        _lead(cluster, x="n2", y="n1")
        await cluster.until(lambda: cluster.actors["n2"]._leading.view.plan.version == 1)
        await cluster.play("n1", 30, GOOD_B, {"g": "x"})
        await cluster.play("n2", 30, GOOD_B, {"g": "x"})
        await cluster.until(lambda: cluster.actors["n2"].figures()["learned"] == 60)
        await cluster.kill("n2")
        await cluster.play("n1", 10, GOOD_B, {"g": "x"})
        await cluster.start("n2")
        await cluster.until(
            lambda: "x" in cluster.actors["n2"]._learner and cluster.actors["n2"]._learner.group("x").rewards == 70
        )
        await cluster.until(lambda: _weight(cluster, "n1", "x") > 0.5)


async def test_of_a_node_that_is_gone_the_deputy_leads_with_its_statistics(tmp_path: Path) -> None:
    async with running(tmp_path, "n1", "n2", "n3", group_by=("g",)) as cluster:
        for actor in cluster.actors.values():
            actor._leading.view.dead_s = 0.8
        _lead(cluster, x="n2")
        await cluster.until(lambda: all(a._leading.view.plan.version == 1 for a in cluster.actors.values()))
        await cluster.play("n1", 40, GOOD_B, {"g": "x"})
        held = cluster.actors["n3"]._leading.held
        await cluster.until(lambda: "n2" in held and held["n2"].states and held["n2"].learned == 40)
        await cluster.kill("n2")
        await cluster.until(lambda: cluster.actors["n1"]._leading.leader_of("x") == "n3")
        assert cluster.actors["n3"]._learner.group("x").rewards == 40
        assert cluster.actors["n3"].notes()[-2:] == ("n3 leads what n2 led", "does not hear n2")
        await cluster.play("n1", 10, GOOD_B, {"g": "x"})
        await cluster.until(lambda: cluster.actors["n3"]._learner.group("x").rewards == 50)
        back = await cluster.start("n2")
        await cluster.until(lambda: "x" in back._learner and back._learner.group("x").rewards == 50)
        await cluster.until(lambda: "x" not in cluster.actors["n3"]._learner)


async def test_the_backend_lets_lead_who_sees_most_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.controllers.decide.backend.PLAN_S", 0.2)
    monkeypatch.setattr("vagus.actors.decide.SUMMARY_S", 0.2)
    async with running(tmp_path, "n1", "n2", group_by=("g",)) as cluster:
        await cluster.play("n1", 5, GOOD_B, {"g": "x"})
        await cluster.play("n2", 50, GOOD_B, {"g": "x"})
        await cluster.until(lambda: all(a._leading.view.plan.leaders == {"x": "n2"} for a in cluster.actors.values()))
        await cluster.until(lambda: cluster.actors["n2"]._learner.group("x").rewards == 55)


async def test_groups_are_learned_from_features_and_take_effect_everywhere(tmp_path: Path) -> None:
    learn = LearnSettings(features=("isp", "city"), every="1s", min_sessions=50, history=5000)
    async with running(tmp_path, "n1", "n2", learn=learn, policy="thompson") as cluster:
        random = Random(5)
        for node in ("n1", "n2"):
            table = cluster.gates[node].table
            drawn = [table.decide({"isp": random.choice("pq"), "city": "c"}, ARMS, at) for at in range(800)]
            await cluster.actors[node].decided(drawn)
            worth = {("p", "a"): 1.0, ("q", "b"): 1.0}
            rewards = [
                Reward(d.decision_id, 1, worth.get((str(d.features["isp"]), d.arm), 0.0) + random.gauss(0, 0.1))
                for d in drawn
            ]
            await cluster.actors[node].rewarded(rewards)
        await cluster.until(lambda: all(g.table.grouping.version >= 1 for g in cluster.gates.values()))
        for node in ("n1", "n2"):
            groups = {cluster.gates[node].table.decide({"isp": isp}, ARMS, 1).group for isp in "pq"}
            assert len(groups) == 2
    kept = learn.__class__(features=learn.features, every="1h")
    async with running(tmp_path, "n1", "n2", learn=kept, policy="thompson") as cluster:
        assert cluster.actors["n1"]._leading.view.plan.version >= 1, "the same features: it goes on"
    async with running(tmp_path, "n1", "n2", group_by=("city",), policy="thompson") as cluster:
        assert cluster.actors["n1"]._leading.view.plan.version == 0
        assert decode_update(await cluster.actors["n1"].snapshot()).grouping == Grouping(0, ("city",))


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x90", msgspec.msgpack.encode({"a": 1})])
async def test_what_is_no_parcel_is_refused(tmp_path: Path, packed: bytes) -> None:
    async with running(tmp_path) as cluster:
        with pytest.raises(ConfigError, match="not a parcel"):
            await cluster.actors["n1"].exchange(packed)
        with pytest.raises(ConfigError, match="not a summary"):
            await cluster.actors["n1"].summary(packed)


async def test_before_it_has_started_it_says_so(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ("n1",))
    actor = DecideActor(cluster.seat("n1"), object())  # type: ignore[arg-type]
    assert actor.figures() == {}
    assert actor.notes() == ()
    with pytest.raises(PeerUnreachable, match="STARTING"):
        await actor.rewarded([])


def test_outcomes_carry_what_policies_and_learning_need() -> None:
    def kept(**settings: Any) -> tuple[str, ...] | None:
        given = DecideSettings(**settings)
        return features_kept(given, grouping_of(given))

    assert kept(policy="ucb") == ()
    assert kept(policy="linear") is None
    assert kept(policy="linear", reduced=("isp",)) == ("isp",)
    learn = LearnSettings(features=("isp", "city"))
    assert set(kept(policy="ucb", learn=learn, group_by=("os",)) or ()) == {"isp", "city", "os"}
    assert kept(policy="ucb", learn=learn, reduced=("city",)) == ("city",)
    assert Config().decide.on == "every-node"
    assert Outcome("g", "a", 1.0).features == {}
