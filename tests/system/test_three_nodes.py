"""vagus on three Ray nodes: every node has its actors, answers cover all, reports gossip, the dead come back."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import NODES, eventually

import vagus
import vagus.errors
from vagus.model import ActorStatus, Status

pytestmark = pytest.mark.system


def actors(connection: vagus.Vagus) -> dict[str, ActorStatus]:
    return {a.name: a for n in connection.status() for a in n.actors}


def test_every_node_has_its_actors_and_status_answers_for_all(at):
    def all_healthy():
        status = at("n2").status()
        assert not status.partial, status.missing
        assert {n.node for n in status} == set(NODES)
        found = actors(at("n2"))
        expected = {f"vagus:{r}@{n}" for r in ("collector", "observer", "feed", "decide") for n in NODES}
        expected |= {"vagus:controller:throttle@n1", "vagus:traces@n1"}
        assert set(found) == expected
        assert {a.state for a in found.values()} == {"HEALTHY"}
        assert all(n.series >= 100 for n in status)
        return all(n.inferences >= 1 for n in status)

    eventually(all_healthy, what="three healthy nodes")


def test_query_covers_all_nodes_and_can_be_narrowed(at):
    def from_all():
        return {b.stream.node for b in at("n3").query("host.cpu.user", since="1m")} == set(NODES)

    eventually(from_all)
    (batch,) = at("n3").query('host.cpu{node="n1"}', since="1m")
    assert batch.stream.node == "n1"
    assert (batch.t_ns[1:] > batch.t_ns[:-1]).all()
    assert len(at("n1").sensors("host.load")) == 3


def test_a_report_on_one_node_is_a_verdict_on_the_others(at):
    assert at("n1").report("db@2", {"read": ("UNHEALTHY", 30)}, observer="api@1") == "ACCEPTED"
    for node in NODES:
        verdict = eventually(lambda node=node: at(node).inference("db@2"), what=f"verdict at {node}")
        assert verdict.status is Status.UNHEALTHY
        assert verdict.contexts["read"].accusers == ("api@1",)


def test_decisions_and_rewards_reach_the_learner(at):
    connection = at("n2")
    before = actors(connection)["vagus:decide@n2"].figures["rewards"]
    for _ in range(20):
        answer = connection.decide({"city": "Bern"}, ["a", "b"])
        assert answer.arm in ("a", "b")
        assert 0 < answer.propensity <= 1
        connection.update(answer.decision_id, 1.0 if answer.arm == "b" else 0.0)
    eventually(lambda: actors(connection)["vagus:decide@n2"].figures["rewards"] >= before + 20)
    eventually(lambda: connection.decide({}, ["a", "b"]).version > 0, what="a table was pushed")
    assert connection.records("decision", since="1m", limit=50)


def test_feeds_are_fetched_and_typed(at):
    batches = eventually(lambda: at("n1").query("feed.uptime.load1", since="1m"), what="a fetched feed")
    assert float(batches[0].column("load1")[-1]) >= 0.0
    eventually(
        lambda: [i for i in at("n1").records("item", since="1m", limit=50) if i.feed == "gateway" and i.net == "ok"],
        what="a typed Meta: the first fetch may come before the gateway",
    )


@pytest.mark.parametrize(
    "name", ["vagus:collector@n2", "vagus:observer@n2", "vagus:controller:throttle@n1", "vagus:feed@n1"]
)
def test_a_killed_actor_is_back_and_lost_nothing_acknowledged(at, name):
    subject = f"kept-{name.replace(':', '-')}"
    assert at("n2").report(subject, {"write": ("UNHEALTHY", 1)}, observer="test") == "ACCEPTED"
    old = eventually(lambda: actors(at("n1"))[name])
    samples = sum(len(b.t_ns) for b in at("n1").query('host.load.load1{node="n2"}', since="6h"))
    os.kill(old.pid, signal.SIGKILL)

    def back():
        found = actors(at("n1")).get(name)
        return found and found.state == "HEALTHY" and found.pid != old.pid and found

    new = eventually(back, within_s=10.0, what=f"{name} is back")
    assert new.restarts == old.restarts + 1
    node = name.rpartition("@")[2]
    assert eventually(lambda: at("n2").inference(subject)).status is Status.UNHEALTHY
    assert sum(len(b.t_ns) for b in at("n1").query('host.load.load1{node="n2"}', since="6h")) >= samples
    died = eventually(
        lambda: [
            e
            for e in at(node).records("event", since="5m", limit=100)
            if e.event == "actor.died" and e.fields["actor"] == name
        ],
        what="status says what happened",
    )
    assert died[0].fields["reason"]


class Watch:
    """A user's controller: it notes what it sees."""

    period_s = 0.2

    def step(self, view):
        from vagus.model import Event

        return [Event(view.now_ns, "test.saw", view.node, fields={"user": view.last("host.cpu.user")})]


def test_a_controller_of_ones_own_is_supervised_like_ours(at):
    import ray.cloudpickle
    import test_three_nodes

    ray.cloudpickle.register_pickle_by_value(test_three_nodes)  # the test's folder is not on the workers' path
    names = at("n1").spawn(Watch, "watch", on="every-node", period="0.2s")
    assert sorted(names) == [f"vagus:controller:watch@{n}" for n in NODES]
    seen = eventually(
        lambda: [e for e in at("n3").records("event", since="1m", limit=500) if e.event == "test.saw"],
        what="events of the user's controller",
    )
    assert 0.0 <= seen[0].fields["user"] <= 1.0
    with pytest.raises(vagus.errors.ConfigError, match="already"):
        at("n1").spawn(Watch, "watch")
    assert at("n1").remove("watch") is True
    eventually(lambda: not [n for n in actors(at("n1")) if "watch" in n], what="it is gone")
