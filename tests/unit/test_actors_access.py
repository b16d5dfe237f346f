"""Access rules over a real collector: gateway, listener and unix socket, reading and sending, refusals in the store."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.config import AccessRule, CollectSettings, Config, GatewaySettings, InputSettings, ProbeSettings
from vagus.model import MAX_T_NS, Ack, Event

CLUSTER, ALICE = "c" * 32, "the-token-of-alice"


class Alone:
    """A node without neighbours."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        return [Ack.ACCEPTED] * len(args[0]) if method == "report" else []

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def actor(tmp_path: Path) -> AsyncIterator[CollectorActor]:
    token = tmp_path / "alice"
    token.write_text(ALICE)
    token.chmod(0o600)
    config = Config(
        gateway=GatewaySettings(port=0),
        collect=CollectSettings(period_s=0.05, collectors=("host", "pressure")),
        probes=ProbeSettings(enabled=False),
        inputs=InputSettings(ulm_port=free_port()),
        tokens={"alice": str(token)},
        access=(
            AccessRule(who=("token:alice",), read=("host.*",), send=("app.*",)),
            AccessRule(who=("listener:ulm",), send=("transfer.*",)),
        ),
    )
    seat = Seat("collector", "n1", str(tmp_path), config, options={"token": CLUSTER, "head": "n1"})
    made = CollectorActor(seat, Alone())
    await made.begin()
    yield made
    await made.end()


async def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def stored(actor: CollectorActor, event: str = "") -> list[Event]:
    where = ("event", event) if event else None
    return list(actor._sensing.store.records("event", Event, 0, MAX_T_NS, where=where))


async def ask(actor: CollectorActor, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, actor._url + path, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_principal_reads_and_sends_what_its_rule_says_and_refusals_are_stored(actor: CollectorActor) -> None:
    await until(lambda: actor.figures()["ticks"] >= 2)
    status, answer = await ask(actor, ALICE, "GET", "/v1/query?selector=*")
    assert status == 200
    assert {b["stream"]["kind"].partition(".")[0] for b in answer["batches"]} == {"host"}
    assert "pressure.cpu" in answer["refused"]
    assert (await ask(actor, CLUSTER, "GET", "/v1/query?selector=host.load"))[0] == 403
    assert (await ask(actor, ALICE, "GET", "/v1/query?selector=pressure.*.forecast"))[0] == 403
    sample = {"kind": "app.queue", "values": {"depth": 3}}
    assert (await ask(actor, ALICE, "POST", "/v1/samples", sample))[0] == 200
    assert (await ask(actor, ALICE, "POST", "/v1/samples", {**sample, "kind": "other.queue"}))[0] == 403

    def told(name: str) -> bool:
        return any(name in str(e.fields["what"]) for e in stored(actor, "access.refused"))

    await until(lambda: told("pressure.cpu") and told("other.queue"))
    assert {e.fields["who"] for e in stored(actor, "access.refused")} == {"token:alice", "token:cluster"}
    assert await actor.query("other.queue", 0, MAX_T_NS, 0) == []


async def test_a_listener_is_a_principal_of_its_own(actor: CollectorActor) -> None:
    port = actor.config.inputs.ulm_port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for name in ("other.start", "transfer.start"):
            line = f"ts=2026-11-21T12:00:00Z event={name} host=h prog=p\n"
            sender.sendto(line.encode(), ("127.0.0.1", port))
    await until(lambda: stored(actor, "transfer.start"))
    assert stored(actor, "other.start") == []
    await until(lambda: any(e.fields["who"] == "listener:ulm" for e in stored(actor, "access.refused")))
