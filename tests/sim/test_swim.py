"""Membership on a simulated network: deaths, losses, slowness, partitions, restarts. Seeded, no sleeps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vagus.health.swim import VOUCHED_S, Changed, Probed
from vagus.health.swim_messages import State
from vagus.health.vouching import Vouching
from vagus.model import Report, Status

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from swim_network import Network

ALIVE, SUSPECT, DEAD, LEFT = State


@pytest.mark.parametrize(("seed", "loss"), [(1, 0.0), (3, 0.05)])
def test_a_killed_member_of_fifty_is_dead_to_all_within_seconds(seed: int, loss: float) -> None:
    network = Network(50, seed, loss=loss)
    network.run(20)
    network.kill("n7")
    first_s = network.until(lambda: DEAD in network.states("n7"), 15)
    assert network.until(lambda: network.states("n7") == {DEAD}, 3) < 3
    assert first_s > 3, "it had the time to refute"
    network.run(10)
    assert network.accusations(DEAD, {"n7"}) == 0


def test_five_per_cent_loss_kills_nobody_and_costs_little() -> None:
    network = Network(50, 5, loss=0.05)
    network.run(90)
    assert network.accusations(DEAD) == 0
    assert network.accusations(SUSPECT) > 0, "it was a trial"
    assert network.sent / 90 / 50 < 10, "datagrams a second of each member"


def test_heavy_loss_kills_nobody() -> None:
    network = Network(20, 6, loss=0.2)
    network.run(120)
    assert network.accusations(DEAD) == 0


def _false_alarms(awareness: int, lag_s: float) -> tuple[int, int]:
    """Failed probes of well members, and members that came to be suspected by anybody, for one slow member of 24."""
    network = Network(24, 7, awareness=awareness)
    network.run(10)
    network.seen.clear()
    network.nodes["n0"].lag_s = lag_s
    network.run(30)
    failed = [s.what for s in network.seen if isinstance(s.what, Probed) and not s.what.ok and s.what.member != "n0"]
    return len(failed), network.accusations(SUSPECT, {"n0"})


def test_a_slow_member_accuses_few_and_that_is_its_awareness() -> None:
    """Lifeguard's claim: most false alarms come from slow members that take their own slowness for others' death."""
    failed, suspected = _false_alarms(8, 0.8)
    failed_without, suspected_without = _false_alarms(0, 0.8)
    assert failed_without > 20 * max(1, failed)
    assert suspected_without > 20 * max(1, suspected)


@pytest.mark.parametrize("seed", range(2))
def test_a_member_that_was_stopped_knows_and_accuses_nobody(seed: int) -> None:
    network = Network(20, seed)
    network.run(10)
    network.nodes["n3"].stopped_s = network.now_s + 30
    network.run(30)
    assert network.states("n3") == {DEAD}
    network.run(20)
    assert network.states("n3") == {ALIVE}
    assert network.accusations(SUSPECT, {"n3"}) == 0
    assert network.nodes["n3"].swim.counts["slept"] >= 1


def test_pauses_of_all_of_them_kill_nobody() -> None:
    network = Network(20, 8, loss=0.05)
    for number, node in enumerate(network.nodes.values()):
        node.blocked_s, node.cycle_s, node.offset_s = 0.9, 7.0, number * 0.35
    network.run(120)
    assert network.accusations(DEAD) == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_partition_is_seen_by_both_sides_and_heals(seed: int) -> None:
    network = Network(20, seed)
    one, other = set(network.names[:8]), set(network.names[8:])
    network.run(5)
    network.part(one, other)
    network.until(lambda: all(network.state(a, b) is DEAD for a in one for b in other), 60)
    assert all(network.state(b, a) is DEAD for a in one for b in other)
    assert all(network.state(a, b) is ALIVE for a in one for b in one - {a})
    network.run(60)
    network.cut.clear()
    network.until(lambda: all(network.states(name) == {ALIVE} for name in network.names), 30)


def test_a_member_that_was_cut_off_alone_comes_back_and_had_doubted_itself() -> None:
    network = Network(20, 9)
    network.run(5)
    network.part({"n4"}, set(network.names) - {"n4"})
    network.until(lambda: network.states("n4") == {DEAD}, 60)
    network.run(20)
    assert network.nodes["n4"].swim.doubt >= 4
    assert all(node.swim.doubt <= 1 for name, node in network.nodes.items() if name != "n4")
    network.cut.clear()
    network.until(lambda: all(network.states(name) == {ALIVE} for name in network.names), 60)
    network.until(lambda: network.nodes["n4"].swim.doubt == 0, 60)


@pytest.mark.parametrize("pairs", [[("n0", "n1")], [("n0", "n1"), ("n1", "n0")]])
def test_two_that_do_not_reach_each_other_are_reached_through_others(pairs: list[tuple[str, str]]) -> None:
    network = Network(5, 10)
    network.cut |= set(pairs)
    network.run(120)
    assert network.accusations(DEAD) == 0
    assert not network.nodes["n0"].swim.members["n1"].direct
    assert network.nodes["n2"].swim.members["n1"].direct


@pytest.mark.parametrize("incarnation", [0, 7])
def test_a_member_restarts_under_its_name(incarnation: int) -> None:
    """Also with a lower incarnation than before, after a step of its clock: it is told, and refutes."""
    network = Network(10, 11)
    network.kill("n2")
    network.boot("n2", incarnation=5)
    network.run(10)
    network.kill("n2")
    network.until(lambda: network.states("n2") == {DEAD}, 30)
    network.boot("n2", incarnation)
    network.until(lambda: network.states("n2") == {ALIVE}, 40)
    assert network.nodes["n2"].swim.incarnation > 5
    network.run(20)
    assert network.states("n2") == {ALIVE}


def test_a_quick_restart_is_no_death() -> None:
    network = Network(10, 12)
    network.run(10)
    network.kill("n2")
    network.run(0.5)
    network.boot("n2", 7)
    network.run(30)
    assert network.accusations(DEAD) == 0
    assert all(node.swim.members["n2"].incarnation >= 7 for name, node in network.nodes.items() if name != "n2")


def test_half_of_them_die_at_once() -> None:
    network = Network(30, 13)
    network.run(10)
    gone = network.names[:15]
    for name in gone:
        network.kill(name)
    network.until(lambda: all(network.states(name) == {DEAD} for name in gone), 90)
    network.run(30)
    assert network.accusations(DEAD, set(gone)) == 0


def test_who_leaves_is_not_accused_and_all_know() -> None:
    network = Network(30, 14)
    network.run(10)
    network.leave("n5")
    network.until(lambda: network.states("n5") == {LEFT}, 5)
    network.run(60)
    assert network.accusations(SUSPECT) == network.accusations(DEAD) == 0


def _reports(network: Network) -> list[tuple[float, Report]]:
    """The evidence that all members together give."""
    vouching = {name: Vouching(name, 1.0) for name in network.names}
    said = []
    for at_s, observer, what in network.seen:
        report = vouching[observer].report(what, at_s, round(at_s * 1e9))
        if report is not None:
            said.append((at_s, report))
    return said


def test_of_many_each_is_vouched_for_in_time_and_seldom() -> None:
    network = Network(70, 15, loss=0.05)
    network.run(150)
    healthy: dict[str, list[float]] = {}
    for at_s, report in _reports(network):
        if report.contexts["swim"].status == Status.HEALTHY:
            healthy.setdefault(report.subject, []).append(at_s)
    assert len(healthy) == 70
    for times in healthy.values():
        assert len(times) / 150 < 1 / 5, "of one node"
        gaps = [b - a for a, b in zip(times, [*times[1:], network.now_s], strict=True)]
        assert max(gaps) < 0.75 * VOUCHED_S, "renewed before it ends, though some askings were lost"


def test_a_death_is_accused_by_several_who_saw_it_and_those_who_vouched_take_it_back() -> None:
    network = Network(100, 16)
    network.run(120)
    vouched = {r.observer for at_s, r in _reports(network) if r.subject == "node:n7" and at_s > 1000 + 60}
    died_s = network.now_s
    network.kill("n7")
    network.run(20)
    accused = [r for at_s, r in _reports(network) if at_s > died_s and r.subject == "node:n7"]
    dead = {r.observer for r in accused if r.contexts["swim"].status == Status.DEAD}
    assert vouched <= dead, "no stale HEALTHY is left"
    assert 3 <= len(dead) <= 40
    assert len(accused) < 250
    assert all(r.contexts["swim"].status > Status.PENDING for r in accused)


def test_a_member_that_comes_back_is_cleared_by_all_who_accused_it() -> None:
    network = Network(12, 17)
    network.run(20)
    network.kill("n7")
    network.run(30)
    network.boot("n7", 9)
    network.run(60)
    last = {r.observer: r.contexts["swim"].status for _, r in _reports(network) if r.subject == "node:n7"}
    assert set(last.values()) == {Status.HEALTHY}
    assert len(last) >= 5


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> list[tuple[float, str, Changed | Probed]]:
        network = Network(10, 18, loss=0.1)
        network.run(30)
        return [tuple(seen) for seen in network.seen]

    assert run() == run()
