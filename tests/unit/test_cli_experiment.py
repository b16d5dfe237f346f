"""The failover experiment's pure half: the world, the timeline and its figures; and how the command refuses."""

import asyncio
import sys
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import decide_server as servers
from decide_server import good, serving

from vagus.cli import cli
from vagus.cli.experiment import timeline as lines
from vagus.cli.experiment.figure import draw
from vagus.cli.experiment.players import Players
from vagus.cli.experiment.timeline import Timeline, summarise
from vagus.cli.experiment.world import BEST, World
from vagus.client.decisions_aio import AioDecisions


def test_each_group_has_one_best_arm_which_changes_in_turn():
    world = World(groups=4, arms=3, period_s=10.0, seed=1)
    for t in range(30):
        for group in range(4):
            scores = [world.score(group, arm, t) for arm in range(3)]
            assert max(scores) == scores[world.best(group, t)] == pytest.approx(1.0)
            assert sum(scores) == pytest.approx(0.0)
    changes = [sum(world.best(group, t) != world.best(group, t + 1) for group in range(4)) for t in range(10)]
    assert sum(changes) == 4
    assert max(changes) == 1
    seen = [world.quality(0, world.best(0, 0), 0, Random(n)) for n in range(200)]
    assert sum(seen) / 200 == pytest.approx(BEST, abs=0.03)


def story(served_after_loss: int, bad_s: int) -> Timeline:
    """20 s of ten sessions a second; at 10 s something is lost, and for `bad_s` seconds only some are served."""
    timeline = Timeline()
    timeline.begin("before", 0.0)
    timeline.begin("a gateway", 10.0)
    for t in range(20):
        bad = 10 <= t < 10 + bad_s
        for n in range(10):
            served = n < served_after_loss if bad else True
            timeline.note(t + n / 10, served, 0.8 if served else 0.0, 0.2 if bad else 0.01)
    return timeline


def test_what_a_loss_did():
    told = summarise(story(served_after_loss=4, bad_s=3), warm_s=2.0)
    before, after = told["phases"]
    assert (before["lost"], before["sessions"], before["served_ratio"]) == ("", 80, 1.0)
    assert before["score"] == pytest.approx(0.8)
    assert after["lost"] == "a gateway"
    assert after["served_ratio"] == pytest.approx(0.82)
    assert after["worst_second_ratio"] == 0.4
    assert after["score_ratio"] == pytest.approx(0.82)
    assert after["recovered_s"] == 3.0
    assert after["slowest_ms"] == pytest.approx(200.0)
    assert told["sessions"] == 200


def test_what_does_not_recover_is_said():
    assert summarise(story(4, 10), 0.0)["phases"][1]["recovered_s"] is None
    assert summarise(story(4, 8), 0.0)["phases"][1]["recovered_s"] is None  # two good seconds are not three
    assert summarise(story(4, 0), 0.0)["phases"][1]["recovered_s"] == 0.0


def test_nothing_happened():
    timeline = Timeline()
    timeline.begin("before", 0.0)
    assert summarise(timeline, 1.0)["sessions"] == 0
    assert lines.served_share([]) != lines.served_share([])


def test_it_is_drawn():
    assert draw(story(4, 3), "title").startswith(b"\x89PNG")


async def test_players_get_an_arm_whoever_answers(monkeypatch):
    monkeypatch.setattr("vagus.cli.experiment.players.REWARD_S", 0.05)
    world, timeline = World(3, 2, 30.0, 1), Timeline()
    timeline.begin("before", 0.0)
    with serving(good, servers.close) as both:
        clients = [AioDecisions(server.url, "t", timeout_s=5.0, rng=Random(1)) for server in both]
        players = Players(world, clients, timeline, rate=200.0, seed=1)
        await players.play(lambda: sum(second.asked for second in timeline.seconds.values()) >= 20)
        for client in clients:
            await client.close()
        told = both[0].paths("/v1/update")
    asked = timeline.part(0, 100) or list(timeline.seconds.values())
    assert sum(second.asked for second in asked) >= 20
    assert 0.3 < lines.served_share(asked) < 0.7
    assert players.infeasible == 0
    assert len(told) >= 10


async def test_a_session_that_raises_is_not_swallowed():
    class Broken:
        async def decide(self, features, arms):
            raise RuntimeError("a mistake")

    players = Players(World(1, 2, 30.0, 1), [Broken()], Timeline(), 500.0, 1)
    count = iter(range(5))
    with pytest.raises(RuntimeError, match="a mistake"):
        await asyncio.wait_for(players.play(lambda: next(count, None) is None), 10)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--phase", "1s"],
        ["--warm", "1h"],
        ["-o", "x.pdf"],
        ["-o", "/nonexistent/x.png"],
    ],
)
def test_wrong_usage_starts_nothing(arguments, monkeypatch):
    def never(*_):
        raise AssertionError("a cluster was made")

    monkeypatch.setattr("vagus.runtime.trial.Trial", never)
    done = CliRunner().invoke(cli, ["experiment", "failover", *arguments])
    assert done.exit_code in (1, 2)
    assert not isinstance(done.exception, AssertionError)
    assert "Traceback" not in done.output
