"""The bar: 100 nodes, 20 % loss, a partition healed: all interested stores equal within 10 rounds. Seeded."""

from __future__ import annotations

import pytest

from benchmarks.health_sim import healed_partition


@pytest.mark.parametrize("seed", range(2))
def test_a_hundred_nodes_agree_within_ten_rounds_of_a_healed_partition(seed: int) -> None:
    rounds, network = healed_partition(seed, share=0.06, before=1, during=2)
    assert 1 <= rounds <= 10
    assert len(network.stores) == 100
    one = network.stores["n000"]
    assert len(one) >= 10
    assert all(len(gossip) == len(one) for gossip in network.gossips.values()), "retained is what the views hold"


def test_a_hundred_nodes_that_care_for_different_subjects_agree_too() -> None:
    rounds, network = healed_partition(1, interest="watched", share=0.06, before=1, during=2)
    assert 1 <= rounds <= 10
    assert len({len(store) for store in network.stores.values()}) > 5, "they hold different things"
