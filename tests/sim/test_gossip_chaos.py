"""Everything at once, at random: loss, partitions, restarts, hung nodes, brief reports, interest that comes and goes."""

from __future__ import annotations

import pytest

from benchmarks.health_sim import Network
from vagus.model import Status


def chaos(seed: int, *, nodes: int = 6, rounds: int = 30) -> Network:
    """A network to which much happens, and then nothing any more."""
    network = Network([f"n{n}" for n in range(nodes)], seed, loss=0.2)
    rng = network.rng
    for name in network.names:
        if rng.random() < 0.5:
            network.boot(name, interest="watched", watch=(f"s{rng.randrange(6)}",))
    watching: dict[str, set[str]] = {name: set() for name in network.names}
    for _ in range(rounds):
        for name in network.names:
            store, subject = network.stores[name], f"s{rng.randrange(6)}"
            chance = rng.random()
            if name in network.deaf:
                if chance < 0.3:
                    network.deaf.discard(name)
            elif chance < 0.5:
                for _ in range(rng.randrange(1, 15)):
                    status = rng.choice([Status.HEALTHY, Status.UNHEALTHY])
                    brief = rng.choice([0, 0, 2, 20]) * 10**9
                    network.report(name, subject, status, f"o{rng.randrange(3)}@{name}", ttl_ns=brief)
            elif chance < 0.6:
                store.watch(subject)
            elif chance < 0.66:
                store.unwatch(subject)
            elif chance < 0.7:
                network.deaf.add(name)
            elif chance < 0.74:
                watching[name] = set(store.watching())
                if rng.random() < 0.3:
                    network.disks[name].clear()
                network.boot(name, interest=store.interest.mode, watch=tuple(watching[name]))
        if rng.random() < 0.1:
            network.part(network.names[: nodes // 2], network.names[nodes // 2 :])
        elif rng.random() < 0.3:
            network.part()
        network.run()
    network.part()
    network.deaf.clear()
    return network


@pytest.mark.parametrize("seed", range(8))
def test_after_anything_all_that_are_interested_agree(seed: int) -> None:
    network = chaos(seed)
    assert network.until_agreed(20) <= 20
    for name, gossip in network.gossips.items():
        gossip.news(network.now_ns)
        assert len(gossip) == len(network.stores[name]), "retained is what the views hold"
        assert gossip.counts["bad"] == gossip.counts["unknown"] == 0
