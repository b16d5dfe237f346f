"""Nodes on a simulated network that loses, delays, reorders, repeats and parts: they converge. Seeded, no sleeps."""

from __future__ import annotations

import pytest

from benchmarks.health_sim import Network, chatter
from vagus.health.strategy_paper import Paper
from vagus.model import Status


@pytest.mark.parametrize("seed", range(3))
def test_defect_a_peer_that_missed_a_report_never_got_it_now_it_converges(seed: int) -> None:
    network = Network(list("abcde"), seed, loss=0.4)
    chatter(network, 20)
    network.loss = 0.2
    network.until_agreed(40)
    assert all(len(store.panorama("s1")) == 5 for store in network.stores.values())


@pytest.mark.parametrize("seed", range(2))
def test_a_partition_heals_on_both_sides(seed: int) -> None:
    network = Network(list("abcd"), seed)
    network.part("ab", "cd")
    chatter(network, 10)
    assert not network.agree()
    heard = {observer for views in network.stores["a"].panoramas().values() for observer in views}
    assert heard == {"o@a", "o@b"}
    network.part()
    network.until_agreed(15)


def test_news_travel_through_a_third_node() -> None:
    network = Network("abc", 1, strategy=Paper())
    network.part("a", "c")
    network.report("a", "db", Status.UNHEALTHY)
    network.until_agreed(15)
    assert network.stores["c"].inferences()[0].contexts["read"].accusers == ("o@a",)


@pytest.mark.parametrize("disk", [True, False])
def test_defect_a_restarted_peer_recovered_nothing_now_its_history_and_it_catches_up(disk: bool) -> None:
    network = Network(list("abc"), 3, loss=0.1)
    chatter(network, 5)
    network.deaf = {"b"}
    network.report("a", "missed", Status.UNHEALTHY)
    network.run(3)
    if not disk:
        network.disks["b"].clear()
    network.deaf = set()
    used = {(r.origin, r.seq) for r in network.disks["a"] + network.disks["c"]}
    network.boot("b")
    if disk:
        assert network.stores["b"].panorama("s1"), "its own history is there before any message"
    network.until_agreed(30)
    assert "missed" in network.stores["b"].subjects()
    again = network.report("b", "s1", Status.DEAD)
    assert (again.origin, again.seq) not in used
    network.until_agreed(30)
    assert network.stores["a"].view("o@b", "s1")[-1] == again


def test_defect_a_hung_peer_grows_memory_without_bound_now_flat_and_it_converges_at_once() -> None:
    network = Network(list("abc"), 5)
    chatter(network, 2, subjects=50)
    network.deaf = {"b"}
    retained = []
    for _ in range(60):
        for n in range(100):
            network.report("a", f"s{n % 50}", Status.UNHEALTHY, f"o{n % 7}")
        network.run()
        retained.append((len(network.gossips["a"]), len(network.stores["a"]), len(network.travelling)))
        assert retained[-1][0] == retained[-1][1], "retained is what the views hold"
    assert retained[-1] == retained[20], "flat"
    network.deaf = set()
    assert network.until_agreed(5) <= 4
    assert len(network.gossips["b"]) == len(network.stores["b"]) == len(network.stores["a"])
    network.run(2)
    known = [gossip._retained.origins["a"].known for gossip in network.gossips.values()]
    assert all(one.gaps() == known[0].gaps() and one.high == known[0].high for one in known), "and no gap is left"


def test_an_idle_network_is_quiet() -> None:
    network = Network(list("abcd"), 7)
    chatter(network, 5)
    network.until_agreed(10)
    network.run()
    before = network.sent
    network.run(10)
    assert network.sent - before == 40, "one digest a node and tick, and nothing in answer"


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[int, list[int]]:
        network = Network(list("abc"), 11, loss=0.3)
        chatter(network, 5)
        network.run(5)
        return network.sent, [len(store) for store in network.stores.values()]

    assert run() == run()
