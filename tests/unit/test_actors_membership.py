"""Observers on loopback that probe each other: real sockets, one of them silent, one of them a stopped process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from observers import KEY, introduce, until

from vagus.actors.base import Seat
from vagus.actors.observer import ObserverActor
from vagus.config import Config, HealthSettings
from vagus.errors import ConfigError
from vagus.model import Ack, Metric, Report, Status

NOBODY: Any = None
Begin = Callable[..., Awaitable[ObserverActor]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Begins an observer on a node of its own that probes twenty times a second; ends all of them afterwards."""
    made: list[ObserverActor] = []

    async def begin(node: str, probe: str = "50ms", **options: Any) -> ObserverActor:
        config = Config(health=HealthSettings(probe=probe))
        actor = ObserverActor(Seat("observer", node, str(tmp_path), config, options={"key": KEY, **options}), NOBODY)
        made.append(actor)
        await actor.begin()
        return actor

    yield begin
    for actor in made:
        await actor.end()


def state(actor: ObserverActor, node: str) -> str:
    return str(actor.membership.about()[node]["state"])


def said(actor: ObserverActor, subject: str) -> dict[str, Report]:
    """The newest word of each observer on a subject."""
    return {observer: view[-1] for observer, view in actor._local.panorama(subject).items()}


def swim(actor: ObserverActor, subject: str) -> dict[str, Status]:
    """What each observer's newest word says of it."""
    return {observer: word.contexts["swim"].status for observer, word in said(actor, subject).items()}


async def test_a_silent_observer_is_dead_to_both_others_and_back_when_it_speaks(begin: Begin) -> None:
    one, two, three = [await begin(node) for node in ("n1", "n2", "n3")]
    await introduce(one, two, three)
    await until(lambda: one.figures()["swim_probes"] > 3 and state(one, "n3") == "alive")
    address = three.wire.address()
    three.wire.close()  # as a process that was killed: nothing is heard, nothing is said
    await until(lambda: state(one, "n3") == state(two, "n3") == "dead")
    both = {"vagus:observer@n1": Status.DEAD, "vagus:observer@n2": Status.DEAD}
    await until(lambda: swim(one, "node:n3") == swim(two, "node:n3") == both)  # saw it themselves, told each other
    words = said(one, "node:n3")
    assert all(word.contexts["swim"].score > 0 and word.ttl_ns > 0 for word in words.values())
    (inference,) = await two.inferences("node:n3")
    assert inference.status == Status.DEAD
    about = await one.about()
    assert (about["peers"]["n3"]["state"], about["peers"]["n2"]["state"]) == ("dead", "alive")
    assert about["counts"]["swim_dead"] == 1
    three.wire.open(*address)
    await until(lambda: state(one, "n3") == state(two, "n3") == "alive")
    await until(lambda: all(word.contexts["swim"].status == Status.HEALTHY for word in said(one, "node:n3").values()))
    assert one.errors == two.errors == three.errors == 0


async def test_who_ends_properly_or_leaves_the_news_is_not_accused(begin: Begin) -> None:
    one, two, three = [await begin(node) for node in ("n1", "n2", "n3")]
    await introduce(one, two, three)
    await until(lambda: one.figures()["swim_alive"] == 2)
    await three.end()
    await until(lambda: state(one, "n3") == state(two, "n3") == "left")
    await one.set_peers({})
    assert state(one, "n2") == "left"
    assert one.figures()["swim_suspect"] == one.figures()["swim_dead"] == 0
    assert said(one, "node:n3") == {}
    await one.set_peers({"n2": await two.address()})
    assert state(one, "n2") == "alive"


async def test_a_peer_that_nobody_told_of_is_met(begin: Begin) -> None:
    one = await begin("n1")
    await begin("n2", peers={"n1": await one.address()})
    await until(lambda: one.membership.about() and one.membership.about()["n2"]["rtt_ms"] > 0)


async def test_without_a_key_nobody_is_suspected(begin: Begin) -> None:
    one, two = await begin("n1"), await begin("n2", key="")
    await introduce(one, two)
    assert two.membership.about() == {}
    assert two.figures()["swim_probes"] == 0


async def test_malformed_bodies_are_counted(begin: Begin) -> None:
    one, two = await begin("n1"), await begin("n2")
    await introduce(one, two)
    for body in (b"S", b"S\x90", b"S" + b"\x91" * 1000, b"S" + os.urandom(200)):
        two.wire.send(["n1"], body)
    await until(lambda: one.figures()["swim_bad"] == 4)
    await until(lambda: state(one, "n2") == "alive")
    assert one.errors == 0


async def test_what_is_reported_here_carries_this_nodes_own_doubt(begin: Begin) -> None:
    one = await begin("n1")
    time.sleep(0.3)  # the loop does not run: a pause that it notices itself
    await until(lambda: one.membership.doubt > 0)
    told = Report("api", "db", time.time_ns(), {"read": Metric(Status.UNHEALTHY)})
    assert await one.report([told]) == [Ack.ACCEPTED]
    assert said(one, "db")["api"].doubt > 0
    assert one.figures()["swim_slept"] >= 1


async def test_a_period_that_is_none_is_refused(begin: Begin) -> None:
    with pytest.raises(ConfigError, match=r"health\.probe"):
        await begin("n1", probe="1ms")


CHILD = """
    import asyncio, json, sys
    from vagus.actors.base import Seat
    from vagus.actors.observer import ObserverActor
    from vagus.config import Config, HealthSettings
    from vagus.model import Status

    async def main():
        config = Config(health=HealthSettings(probe="100ms"))
        options = {"key": bytes(range(32)), "peers": json.loads(sys.argv[2])}
        actor = ObserverActor(Seat("observer", "n3", sys.argv[1], config, options=options), None)
        await actor.begin()
        print("ready", flush=True)
        while True:
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            states = {node: about["state"] for node, about in actor.membership.about().items()}
            counts = actor.membership.figures()
            accused = []
            for node in ("n1", "n2"):
                for report in (await actor.panorama(f"node:{node}")).get(actor.seat.name, ()):
                    accused += [node] if report.contexts["swim"].status > Status.PENDING else []
            print(json.dumps({"states": states, "slept": counts["swim_slept"], "accused": accused}), flush=True)

    asyncio.run(main())
"""


async def test_a_stopped_process_is_accused_and_when_it_goes_on_it_accuses_nobody(begin: Begin, tmp_path: Path) -> None:
    one, two = await begin("n1"), await begin("n2")
    await introduce(one, two)
    peers = {actor.seat.node: list(await actor.address()) for actor in (one, two)}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path), json.dumps(peers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert await asyncio.to_thread(child.stdout.readline) == "ready\n"
        await until(lambda: all("n3" in a.membership.about() and state(a, "n3") == "alive" for a in (one, two)))
        child.send_signal(signal.SIGSTOP)
        await until(lambda: state(one, "n3") == state(two, "n3") == "dead")
        child.send_signal(signal.SIGCONT)
        await until(lambda: state(one, "n3") == state(two, "n3") == "alive")
        child.stdin.write("\n")
        child.stdin.flush()
        told = json.loads(await asyncio.to_thread(child.stdout.readline))
        assert told["states"] == {"n1": "alive", "n2": "alive"}
        assert told["slept"] >= 1
        assert told["accused"] == [], "nobody was accused by who had slept"
    finally:
        child.send_signal(signal.SIGCONT)
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
