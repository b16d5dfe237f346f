"""The joined log out of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vagus.actors.joined import joined
from vagus.model import Decision, Reward
from vagus.store import Store
from vagus.store.reader import Reader, open_all

NS = 10**9
T_NS = 1_700_000_000 * NS


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """100 decisions a second apart, groups g and h in turn; each third has a reward, 5 s later."""
    with Store.open(tmp_path / "decide", create=True) as store:
        for at in range(100):
            made = Decision(f"d{at}", T_NS + at * NS, "gh"[at % 2], "a", 0.5, 1, ("a", "b"))
            store.put("decision", made, t_ns=made.t_ns)
            if at % 3 == 0:
                store.put("reward", Reward(f"d{at}", T_NS + (at + 5) * NS, float(at)), t_ns=T_NS + (at + 5) * NS)
        store.flush()
        with open_all(tmp_path, (store,)) as opened:
            yield opened


def test_newest_first_with_their_rewards(reader: Reader) -> None:
    found = joined(reader, T_NS, T_NS + 1000 * NS, 4)
    assert [(one.decision_id, one.reward) for one in found] == [
        ("d99", 99.0),
        ("d98", None),
        ("d97", None),
        ("d96", 96.0),
    ]
    assert found[0].reward_t_ns - found[0].t_ns == 5 * NS
    assert found[0].arms == ("a", "b")
    assert found[1].reward_t_ns == 0


def test_group_and_span(reader: Reader) -> None:
    found = joined(reader, T_NS + 10 * NS, T_NS + 14 * NS, 100)
    assert [one.decision_id for one in found] == ["d13", "d12", "d11", "d10"]
    assert [one.decision_id for one in joined(reader, T_NS, T_NS + 6 * NS, 100, "h")] == ["d5", "d3", "d1"]
    assert joined(reader, T_NS, T_NS + 1000 * NS, 100, "x") == []
    assert joined(reader, T_NS - 50 * NS, T_NS, 100) == []


def test_rewards_after_the_wait_do_not_count(reader: Reader) -> None:
    found = joined(reader, T_NS, T_NS + NS, 10, wait_s=4.0)
    assert [(one.decision_id, one.reward) for one in found] == [("d0", None)]
    assert joined(reader, T_NS, T_NS + NS, 10, wait_s=6.0)[0].reward == 0.0


def test_work_is_bounded_for_a_group_that_is_seldom(reader: Reader) -> None:
    """Of one decision asked for, at most 20 are looked at: an older one of that group is as if not there."""
    assert joined(reader, T_NS, T_NS + 1000 * NS, 1, "h")[0].decision_id == "d99"
    everything = joined(reader, T_NS, T_NS + 1000 * NS, 10_000_000)
    assert len(everything) == 100
    assert sum(one.reward is not None for one in everything) == 34
