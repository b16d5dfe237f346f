"""The decide actor in one process: logs, learns, pushes tables, survives kill -9."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from vagus.actors.base import Seat
from vagus.actors.decide import DecideActor
from vagus.config import Config, DecideSettings
from vagus.controllers.decide.table import DecisionTable, decode_snapshot
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Ack, Decision, Reward

ARMS = ("a", "b")


class Links:
    """Two nodes, each with a collector that is a table; a node can be cut off."""

    def __init__(self) -> None:
        self.tables = {node: DecisionTable(Random(1)) for node in ("n1", "n2")}
        self.down: set[str] = set()
        self.calls: list[str] = []
        self.pushed = asyncio.Event()

    def nodes(self) -> tuple[str, ...]:
        return tuple(self.tables)

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        role, node = actor.split("@")
        assert (role, method) == ("vagus:collector", "set_table")
        self.calls.append(node)
        self.pushed.set()
        if node in self.down:
            raise PeerUnreachable(f"{actor} does not answer")
        self.tables[node].replace(args[0])

    async def settle(self) -> None:
        """Waits until pushes begun so far are through."""
        await asyncio.wait_for(self.pushed.wait(), 5)
        await asyncio.sleep(0)


def _seat(home: Path, **decide: Any) -> Seat:
    settings = DecideSettings(**{"tick": "1h", **decide})
    return Seat("decide", "n1", str(home), Config(decide=settings))


@asynccontextmanager
async def _actor(home: Path, links: Links | None = None, errors: int = 0, **decide: Any) -> AsyncIterator[DecideActor]:
    actor = DecideActor(_seat(home, **decide), links or Links())
    await actor.begin()
    try:
        yield actor
    finally:
        await asyncio.sleep(0)  # what was spawned has begun: a coroutine that never ran would warn
        await actor.end()
    assert actor.errors == errors, actor.last_error


async def _play(actor: DecideActor, count: int, worth: dict[str, float]) -> list[Decision]:
    table = DecisionTable(Random(3))
    table.replace(await actor.snapshot())
    decisions = [table.decide({}, ARMS, at) for at in range(count)]
    await actor.decided(decisions)
    acks = await actor.rewarded([Reward(d.decision_id, d.t_ns, worth[d.arm]) for d in decisions])
    assert acks == [Ack.ACCEPTED] * count
    return decisions


async def test_it_learns_and_every_collector_gets_the_table(tmp_path: Path) -> None:
    links = Links()
    async with _actor(tmp_path, links) as actor:
        await _play(actor, 60, {"a": 0.1, "b": 0.9})
        await actor.tick()
        await links.settle()
        for table in links.tables.values():
            assert table.version == 1
            assert table.full().groups[""].weights[1] > 0.5
        assert decode_snapshot(await actor.snapshot()).version == 1
        figures = actor.figures()
        assert (figures["decisions"], figures["rewards"], figures["groups"], figures["version"]) == (60, 60, 1, 1)
        (note,) = actor.notes()
        assert note.startswith("group '': ")
        assert note.endswith(" % of 60 decisions")


async def test_a_table_is_pushed_once_and_again_to_who_missed_it(tmp_path: Path) -> None:
    links = Links()
    links.down.add("n2")
    async with _actor(tmp_path, links) as actor:
        await _play(actor, 5, {"a": 0.0, "b": 1.0})
        for _ in range(3):
            links.pushed.clear()
            await actor.tick()
            await links.settle()
        assert sorted(links.calls) == ["n1", "n2", "n2", "n2"]
        assert actor.figures()["unreachable"] == 3
        assert links.tables["n2"].version == 0
        links.down.clear()
        links.pushed.clear()
        await actor.tick()
        await links.settle()
        assert links.tables["n2"].version == links.tables["n1"].version == 1
        await actor.tick()
        await asyncio.sleep(0)
        assert len(links.calls) == 5


async def test_a_slow_collector_holds_up_nobody(tmp_path: Path) -> None:
    links, release = Links(), asyncio.Event()
    quick = links.call

    async def call(actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if actor.endswith("n1"):
            await release.wait()
        await quick(actor, method, *args)

    links.call = call  # type: ignore[method-assign]
    async with _actor(tmp_path, links) as actor:
        for version in (1, 2):
            links.pushed.clear()
            await _play(actor, 5, {"a": 0.0, "b": 1.0})
            await actor.tick()
            await links.settle()
            assert links.tables["n2"].version == version
        assert links.calls == ["n2", "n2"]  # and one call to n1 that waits, not two
        release.set()
        while links.tables["n1"].version == 0:
            await asyncio.sleep(0)


async def test_it_ticks_by_itself(tmp_path: Path) -> None:
    links = Links()
    async with _actor(tmp_path, links, tick="10ms"):
        await links.settle()
    assert set(links.calls) == {"n1", "n2"}


async def test_rewards_are_answered_one_by_one(tmp_path: Path) -> None:
    async with _actor(tmp_path) as actor:
        first, second = DecisionTable(Random(1)).decide({}, ARMS, 0), DecisionTable(Random(2)).decide({}, ARMS, 0)
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
        assert list(actor._store.records("reward", Reward)) == [rewards[5], rewards[0]]
        assert list(actor._store.records("decision", Decision)) == [second, first]
        where = ("decision_id", first.decision_id)
        assert list(actor._store.records("decision", Decision, where=where)) == [first]


async def test_many_callers_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _actor(tmp_path) as actor:
        flushes = 0
        flush = actor._store.flush

        def counted() -> None:
            nonlocal flushes
            flushes += 1
            flush()

        monkeypatch.setattr(actor._store, "flush", counted)
        table = DecisionTable(Random(1))
        await asyncio.gather(*(actor.decided([table.decide({}, ARMS, at)]) for at in range(50)))
        assert flushes == 1
        monkeypatch.undo()


async def test_a_commit_that_fails_is_no_acknowledgement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _actor(tmp_path) as actor:

        def full() -> None:
            raise OSError("disk full")

        decision = DecisionTable(Random(1)).decide({}, ARMS, 0)
        with monkeypatch.context() as patch:
            patch.setattr(actor._store, "flush", full)
            with pytest.raises(OSError, match="disk full"):
                await actor.decided([decision])
        assert await actor.rewarded([Reward(decision.decision_id, 1, 1.0)]) == [Ack.ACCEPTED]


async def test_stop_and_start_keep_what_was_learned(tmp_path: Path) -> None:
    async with _actor(tmp_path) as actor:
        decisions = await _play(actor, 60, {"a": 0.1, "b": 0.9})
        waiting = DecisionTable(Random(9)).decide({}, ARMS, 0)
        await actor.decided([waiting])
        await actor.tick()
        version = actor.figures()["version"]
    async with _actor(tmp_path) as successor:
        snapshot = decode_snapshot(await successor.snapshot())
        assert snapshot.version > version
        assert snapshot.groups[""]["b"] > 0.5
        again = [Reward(waiting.decision_id, 1, 1.0), Reward(decisions[0].decision_id, 1, -5.0)]
        assert await successor.rewarded(again) == [Ack.ACCEPTED, Ack.IGNORED]


KILLED = """
import asyncio, sys
from pathlib import Path
from test_actors_decide import Links, _seat, _play
from vagus.actors.decide import DecideActor

async def main() -> None:
    actor = DecideActor(_seat(Path(sys.argv[1])), Links())
    await actor.begin()
    await _play(actor, 30, {"a": 0.1, "b": 0.9})
    await actor.tick()
    await actor.save()
    first = await _play(actor, 20, {"a": 0.1, "b": 0.9})  # acknowledged, not in the saved state
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
    async with _actor(tmp_path) as actor:
        state = actor._service.state()
        assert len(state["open"]) == 50
        assert sum(entry[4] is not None for entry in state["open"]) == 50
        counts = [count for count, _ in state["groups"][""]["bandit"]["arms"].values()]
        assert sum(counts) == pytest.approx(30 * 0.98 + 20)
        assert await actor.rewarded([Reward(decision_id, 0, -1.0)]) == [Ack.IGNORED]
        assert actor.figures()["version"] > float(version)


async def test_a_damaged_state_is_told_and_the_log_is_learned_afresh(tmp_path: Path) -> None:
    async with _actor(tmp_path) as actor:
        await _play(actor, 10, {"a": 0.0, "b": 1.0})
    async with _actor(tmp_path) as actor:
        actor._store.save("decide", b"\xc1 not a state")
        actor._service_saved = True
    async with _actor(tmp_path, errors=1) as actor:
        assert "afresh" in actor.last_error
        assert actor._service.rewards == 10


async def test_a_damaged_record_is_told_and_stops_nothing(tmp_path: Path) -> None:
    async with _actor(tmp_path) as actor:
        await _play(actor, 10, {"a": 0.0, "b": 1.0})
        await actor.save()
        actor._store.put("reward", Seat("not", "a", "reward", Config()), t_ns=actor._stamp())
        actor._service_saved = True  # as after kill -9: the state does not cover that record
    async with _actor(tmp_path, errors=1) as actor:
        assert "replaying" in actor.last_error
        await _play(actor, 10, {"a": 0.0, "b": 1.0})
        assert actor.figures()["open"] == 20


@pytest.mark.parametrize(
    ("decide", "match"),
    [
        ({"policy": "oracle"}, "oracle"),
        ({"options": {"gama": 0.9}}, "gama"),
        ({"options": {"gamma": 2.0}}, "gamma"),
    ],
)
async def test_wrong_settings_fail_at_the_start(tmp_path: Path, decide: dict[str, Any], match: str) -> None:
    actor = DecideActor(_seat(tmp_path, **decide), Links())
    with pytest.raises(ConfigError, match=match):
        await actor.begin()


async def test_a_policy_that_fails_is_an_error_of_the_actor(tmp_path: Path) -> None:
    async with _actor(tmp_path, errors=1) as actor:
        await _play(actor, 1, {"a": 0.0, "b": 1.0})
        actor._service._groups[""].bandit.weights = lambda arms: []  # type: ignore[method-assign]
        await actor.tick()
        assert "weights" in actor.last_error
