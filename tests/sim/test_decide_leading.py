"""Leading in simulated time: nothing learned twice or forgotten, through loss, partitions, crashes, moves, deaths."""

from __future__ import annotations

from random import Random

import pytest
from decide_world import World

from vagus.controllers.decide.records import Move


def _spread(world: World) -> dict[str, str]:
    return {group: world.names[at % len(world.names)] for at, group in enumerate(world.groups)}


def test_evidence_goes_to_the_leader_once_and_its_decisions_come_back():
    world = World(3, seed=1)
    world.lead(_spread(world))
    world.run(5.0, sessions=1)
    world.settle(5.0)
    world.check()
    for member in world.live():
        assert set(member.leading.rows.rows) == set(world.groups), "leaders push to who meets their groups"
    for group, leader in world.plan.leaders.items():
        rows = {member.leading.rows.rows[group] for member in world.live()}
        assert rows == {world.members[leader].leading.rows.rows[group]}


def test_groups_without_a_leader_are_learned_where_they_are_met_and_handed_over_once_they_have_one():
    world = World(3, seed=2)
    world.run(3.0, sessions=1)
    assert all(len(m.memory.known) == len(world.groups) for m in world.live())
    world.lead(_spread(world))
    world.settle(10.0)
    world.check()
    world.lead(dict.fromkeys(world.groups, "n2"))
    world.run(3.0, sessions=1)
    world.settle(10.0)
    world.check()
    assert world.members["n2"].memory.total().total() == len(world.accepted)


def test_a_leader_that_is_gone_for_good_is_replaced_with_its_statistics():
    world = World(3, seed=3)
    world.lead(_spread(world))
    world.run(5.0, sessions=1)
    world.run(3.0)  # replicas are complete
    known = world.members["n1"].memory.total()
    world.kill("n1")
    world.run(6.0, sessions=1)
    world.settle(10.0)
    world.check()
    assert not known - world.learned(), "all that was in its replica is known"
    assert world.members["n2"].leading.claimed == 1


def test_what_was_claimed_of_many_groups_is_kept_in_letters_of_a_size_that_can_be_saved(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("vagus.controllers.decide.mail.MAX_ARMS", 4)
    monkeypatch.setattr("vagus.controllers.decide.leading.MAX_SENT", 2)
    world = World(3, seed=4, groups=12)
    world.lead(dict.fromkeys(world.groups, "n1"))
    world.run(5.0, sessions=1)
    world.kill("n1")
    largest = letters = 0
    for _ in range(100):
        world.run(0.05, sessions=1)
        kept = world.members["n2"].leading.kept.values()
        letters = max(letters, len(kept))
        largest = max([largest, *(len(letter.handed) for letter in kept)])
    assert letters > 6, "six of groups, and those that were on their way"
    assert largest == 2
    world.settle(10.0)
    world.check()


def test_a_dead_node_that_comes_back_is_handed_its_groups_and_nothing_is_counted_twice():
    world = World(3, seed=4)
    world.lead(_spread(world))
    world.run(5.0, sessions=1)
    world.crash("n1", back_after_s=8.0)
    world.run(7.0, sessions=1)
    assert world.members["n2"].leading.leader_of("g1") == "n2"
    world.run(4.0, sessions=1)
    world.settle()
    world.check()
    assert world.members["n1"].leading.leader_of("g1") == "n1"


def test_a_leader_cut_off_from_all_is_fenced_and_what_it_learned_alone_is_kept():
    world = World(4, seed=5)
    world.lead(_spread(world))
    world.run(4.0, sessions=1)
    world.isolate("n2")
    world.run(8.0, sessions=1)
    assert world.members["n2"].leading.claimed == 0, "who lost sight of most claims nothing"
    world.settle()
    world.check()


def test_of_two_nodes_that_lose_sight_of_each_other_one_leads():
    world = World(2, seed=6)
    world.lead({"g0": "n0", "g1": "n1"})
    world.run(4.0, sessions=1)
    world.isolate("n1")
    world.run(8.0, sessions=1)
    assert [m.leading.claimed for m in world.live()] == [1, 0]
    world.settle()
    world.check()


def test_nobody_claims_whom_another_hears_and_a_deputy_of_old_claims_nothing():
    world = World(4, seed=8)
    world.lead(_spread(world))
    world.run(4.0, sessions=1)
    world.cut.add(frozenset(("n2", "n3")))
    world.run(8.0, sessions=1)
    assert [m.leading.claimed for m in world.live()] == [0, 0, 0, 0], "n2 lives, as n0 and n1 say"
    assert world.members["n2"].leading.evidence.replication.deputy == "n0"
    world.run(2.0)  # its replica is complete
    known = world.members["n2"].memory.total()
    world.kill("n2")
    world.run(6.0, sessions=1)
    assert [m.leading.claimed for m in world.live()] == [1, 0, 0]
    world.settle(10.0)
    world.check()
    assert not known - world.learned()


def test_groups_that_are_merged_carry_what_is_known_of_them():
    world = World(3, seed=7)
    world.lead(_spread(world))
    world.run(4.0, sessions=1)
    merged = tuple(Move(group, "all", 1.0) for group in world.groups[:3])
    leaders = {"all": "n1", **{g: n for g, n in _spread(world).items() if g in world.groups[3:]}}
    world.lead(leaders, merged, grouping=1)
    world.run(4.0, sessions=1)  # outcomes of the old groups still come
    world.settle(10.0)
    world.check()
    assert not set(world.groups[:3]) & {g for m in world.live() for g in m.memory.known}


@pytest.mark.parametrize("seed", [*range(20), 60, 116])  # 60: groups that may not leave yet; 116: a deputy of old
def test_whatever_happens_everything_acknowledged_is_learned_exactly_once(seed: int):
    chance = Random(seed)
    world = World(chance.choice([3, 4, 5]), seed, loss=chance.choice([0.0, 0.05, 0.2]))
    world.lead(_spread(world))
    for _ in range(6):
        world.run(chance.uniform(0.5, 4.0), sessions=1)
        fault = chance.randrange(4)
        victim = chance.choice(world.names)
        if fault == 0:
            world.crash(victim, chance.uniform(0.2, 6.0))
        elif fault == 1:
            world.isolate(victim)
        elif fault == 2:
            world.heal()
        else:
            world.lead({group: chance.choice(world.names) for group in world.groups})
    world.run(2.0, sessions=1)
    world.settle(40.0)
    world.check()


@pytest.mark.parametrize("seed", range(6))
def test_a_node_that_dies_for_good_takes_at_most_its_own_sessions_with_it(seed: int):
    world = World(4, seed, loss=0.05)
    world.lead(_spread(world))
    world.run(4.0 + seed, sessions=1)
    world.kill(world.names[seed % 4])
    world.run(6.0, sessions=1)
    world.settle(40.0)
    world.check()
