"""The example transfer on a real TCP path with delay and a bottleneck: forecasts make it faster, ending restores it.

A collector and a controller as on a node, linked in this process; the transfer, its receiver and the link are processes
of their own. Marked root: it makes network namespaces and TUN devices and removes them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vagus.actors.base import Actor, Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.controller import ControllerActor
from vagus.config import CollectSettings, Config, GatewaySettings, load
from vagus.errors import PeerUnreachable
from vagus.model import Ack, ActorStatus

ROOT = Path(__file__).parents[2]
TRANSFER = str(ROOT / "examples/transfer/transfer.py")
A, B = f"vgta{os.getpid()}", f"vgtb{os.getpid()}"
HERE, THERE, PORT = "10.213.9.1", "10.213.9.2", 5201
DELAY_MS, CARRIES_BYTES_S, QUEUE_BYTES = 40, 5_000_000, 400_000  # a product of 400 kB; the default has 64 KiB

pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(not shutil.which("ip"), reason="needs ip (iproute2)"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="needs TUN devices (/dev/net/tun)"),
]


@pytest.fixture
def path() -> Iterator[None]:
    """Two namespaces, the link between them, and a receiver in the second."""
    if subprocess.run(["ip", "netns", "add", A], capture_output=True).returncode:
        pytest.skip("this kernel or container allows no network namespaces")
    started: list[subprocess.Popen[str]] = []
    try:
        subprocess.run(["ip", "netns", "add", B], check=True)
        shape = [str(DELAY_MS), str(CARRIES_BYTES_S), str(QUEUE_BYTES)]
        link = [sys.executable, str(ROOT / "tests/lab/delaying-link"), A, B, "dl", HERE, THERE, *shape]
        receiver = [sys.executable, TRANSFER, "receive", "--bind", THERE, "--port", str(PORT)]
        for command in (link, ["ip", "netns", "exec", B, *receiver]):
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert started[-1].stdout is not None
            if not started[-1].stdout.readline():
                pytest.skip("this kernel or container allows no TUN devices")
        yield
    finally:
        for process in reversed(started):
            process.kill()
            process.communicate(timeout=10)
        for namespace in (A, B):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


class Node:
    """The links between the actors of this test; there is no observer, and nobody else."""

    def __init__(self) -> None:
        self.actors: dict[str, Actor] = {}

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if actor in self.actors:
            return await getattr(self.actors[actor], method)(*args)
        if method == "inferences":
            return []
        if method == "report":
            return [Ack.ACCEPTED] * len(args[0])
        if method == "describe":
            return ActorStatus(actor, "observer", "n1", "HEALTHY")
        raise PeerUnreachable(f"{actor} is not in this test")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


@asynccontextmanager
async def node(home: Path) -> AsyncIterator[tuple[CollectorActor, ControllerActor]]:
    (controller,) = load(ROOT / "examples/transfer/tune.yaml", Config).controllers
    controller = msgspec.structs.replace(controller, armed=True, options={"period_s": 1.0})
    config = Config(
        gateway=GatewaySettings(port=0), collect=CollectSettings(period_s=0.5, collectors=("host",)), controllers=(controller,)
    )  # fmt: skip
    links = Node()
    collector = CollectorActor(
        Seat("collector", "n1", str(home), config, options={"head": "n1", "token": "t" * 32}), links
    )
    links.actors[collector.seat.name] = collector
    await collector.begin()
    steering = ControllerActor(
        Seat("controller", "n1", str(home), config, label="transfer", options={"controller": controller}), links
    )
    links.actors[steering.seat.name] = steering
    try:
        await steering.begin()
        yield collector, steering
    finally:
        await steering.end()
        await collector.end()


class Sender:
    """The transfer, and what it says each half second."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[dict[str, float]] = []

    async def until(self, enough: Callable[[list[dict[str, float]]], bool], timeout_s: float = 60.0) -> None:
        async def read() -> None:
            assert self.process.stdout is not None
            while not enough(self.seen):
                line = await self.process.stdout.readline()
                assert line, f"the transfer ended; it said {self.seen[-3:]}"
                self.seen.append(json.loads(line))

        try:
            await asyncio.wait_for(read(), timeout_s)
        except asyncio.TimeoutError:
            pytest.fail(f"not within {timeout_s} s; the last that it said: {self.seen[-5:]}")


@asynccontextmanager
async def sending(home: Path) -> AsyncIterator[Sender]:
    command = [sys.executable, TRANSFER, "send", f"{THERE}:{PORT}", "--bytes", "50G", "--period", "0.5", "--json"]
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", A, *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "VAGUS_HOME": str(home)}
    )
    try:
        yield Sender(process)
    finally:
        process.kill()
        await process.wait()


async def test_forecasts_make_a_transfer_fill_its_path_and_all_is_restored(
    path: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    async with sending(tmp_path) as sender:
        await sender.until(lambda seen: len(seen) >= 6)
        alone = statistics.median(one["rate_bytes_s"] for one in sender.seen[1:])
        assert alone < 0.5 * CARRIES_BYTES_S, "its buffer holds it back"
        assert {(one["streams"], one["buffer_bytes"]) for one in sender.seen} == {(1, 65536)}
        async with node(tmp_path) as (collector, steering):
            await sender.until(lambda seen: seen[-1]["buffer_bytes"] > 65536)
            await sender.until(lambda seen: statistics.median(s["rate_bytes_s"] for s in seen[-5:]) > 2 * alone)
            entries = {e.labels.get("name"): e for e in await collector.directory(False) if e.labels.get("service")}
            assert entries["streams"].labels["high"] == "16"
            receipts = await steering.receipts()
            assert {r.resource for r in receipts} >= {"streams", "buffer_bytes"}
            assert not [r.error for r in receipts if r.error]
            assert all("are coming" in r.reason and r.actuator == "tunable" for r in receipts)
            tuned = sender.seen[-1]
            assert tuned["streams"] * tuned["buffer_bytes"] > 3 * 65536
        count = len(sender.seen)
        await sender.until(
            lambda seen: len(seen) > count and (seen[-1]["streams"], seen[-1]["buffer_bytes"]) == (1, 65536)
        )
        after = sender.seen[-1]
        best = statistics.median(one["rate_bytes_s"] for one in sender.seen[count - 5 : count])
        print(
            f"alone {alone / 1e6:.2f} MB/s, steered {best / 1e6:.2f} MB/s of {CARRIES_BYTES_S / 1e6} MB/s; after: {after}"
        )
