"""What the collector's actor keeps of collectors between two lives, and what it reports of services."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.config import CollectSettings, Config, GatewaySettings, HeartbeatSettings
from vagus.model import Ack, Report, Status


class Neighbours:
    """Links that take reports."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        if method == "report":
            self.reports += args[0]
            return [Ack.ACCEPTED] * len(args[0])
        return None

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


async def until(condition: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 20)


def actor(home: Path, links: Neighbours, **collect: Any) -> CollectorActor:
    settings = CollectSettings(period_s=0.05, **collect)
    config = Config(gateway=GatewaySettings(port=0), collect=settings)
    return CollectorActor(Seat("collector", "n1", str(home), config, options={"token": "t" * 32}), links)


async def lines(one: CollectorActor) -> list[str]:
    return [str(e.fields["text"]) for e in await one.records("event", 0, 1 << 61, 100) if e.event == "log.line"]


async def test_a_log_goes_on_in_the_next_life(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("long ago\n")
    first = actor(tmp_path, Neighbours(), collectors=("logs",), logs=(str(log),))
    await first.begin()
    await until(lambda: first.figures()["ticks"] > 0)
    with open(log, "a") as file:
        file.write("one\n")

    async def seen(one: CollectorActor, count: int) -> None:
        async def wait() -> None:
            while len(await lines(one)) < count:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), 20)

    await seen(first, 1)
    await first.end()
    with open(log, "a") as file:
        file.write("while it was down\n")
    second = actor(tmp_path, Neighbours(), collectors=("logs",), logs=(str(log),))
    await second.begin()
    await seen(second, 2)
    assert sorted(await lines(second)) == ["one", "while it was down"]
    await second.end()


async def test_a_service_that_goes_is_reported_at_once_and_again_when_it_comes_back(tmp_path: Path) -> None:
    links = Neighbours()
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    beats = (HeartbeatSettings(service="web", check=f"tcp:127.0.0.1:{port}", every=0.1),)
    one = actor(tmp_path, links, collectors=("heartbeat",), heartbeats=beats)

    def said() -> list[Status]:
        return [r.contexts["heartbeat"].status for r in links.reports if r.subject == "service:web"]

    async def hear(check: Callable[[], bool]) -> None:
        while not check():
            await one._outbox.flush_reports()  # which otherwise come together each second
            await asyncio.sleep(0.01)

    await one.begin()
    try:
        await until(lambda: one.figures()["series"] >= 4)
        server.close()
        await asyncio.wait_for(hear(lambda: Status.UNHEALTHY in said()), 20)  # long before the regular report
        server = socket.create_server(("127.0.0.1", port))
        await asyncio.wait_for(hear(lambda: said()[-1] is Status.HEALTHY), 20)
        report = next(r for r in links.reports if r.subject == "service:web")
        assert report.observer == "collector@n1"
    finally:
        server.close()
        await one.end()
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(10)


@pytest.mark.parametrize("state", [b"\xff", b"\xc0"])
async def test_damaged_state_of_a_collector_keeps_nothing_from_starting(tmp_path: Path, state: bytes) -> None:
    log = tmp_path / "app.log"
    log.write_text("")
    one = actor(tmp_path, Neighbours(), collectors=("logs",), logs=(str(log),))
    await one.begin()
    assert one._opened is not None
    one._opened.store.save("collector.logs", state)
    one._opened.store.flush()
    await one.end()
    two = actor(tmp_path, Neighbours(), collectors=("logs",), logs=(str(log),))
    await two.begin()
    await until(lambda: two.figures()["ticks"] > 0)
    await two.end()
