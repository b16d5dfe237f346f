"""Health alone: an observer and its gateway in one process, found as a collector's is, without Ray."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from observers import until

from vagus.actors.health_server import HealthServer
from vagus.client import endpoint
from vagus.config import AccessRule, Config, ExpectedSettings, GatewaySettings
from vagus.errors import ConfigError, PeerUnreachable, StoreError

REPORT = {"observer": "api@1", "subject": "db@2", "contexts": {"read": ["UNHEALTHY", 30]}}
FREE = Config(gateway=GatewaySettings(port=0))


class Asker:
    """Asks a server over HTTP with its own token."""

    def __init__(self, server: HealthServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    async def __call__(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        token = (self.server.home / "token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.request(method, self.server.url + path, headers=headers, **more) as answer:
            text = answer.content_type != "application/json"
            return answer.status, await (answer.text() if text else answer.json())


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Any]:
    """Starts servers and answers an Asker for each; ends all of them afterwards."""
    session, servers = aiohttp.ClientSession(), []

    async def serve(node: str = "n1", config: Config = FREE, **more: Any) -> Asker:
        server = HealthServer(tmp_path, node, config, **more)
        await server.start()
        servers.append(server)
        return Asker(server, session)

    yield serve
    for server in servers:
        await server.stop()
    await session.close()


async def test_feature_10_a_server_of_health_alone_takes_reports_and_infers(serve):
    ask = await serve()
    assert await ask("POST", "/v1/report", json=REPORT) == (200, {"results": ["ACCEPTED"]})
    status, answer = await ask("GET", "/v1/health/db@2")
    assert (status, answer["inference"]["status"]) == (200, "UNHEALTHY")
    assert (await ask("GET", "/healthz"))[1]["details"]["unhealthy"] == ["db@2"]


async def test_peers_and_services_that_are_expected_are_missed(serve):
    expected = ExpectedSettings(nodes=("n1", "n2"), services=("db@2",), grace=0)
    ask = await serve(config=Config(gateway=GatewaySettings(port=0), expected=expected))
    await ask("POST", "/v1/report", json=REPORT)
    await until(lambda: ask.server.observer._local.verdict("db@2"))
    await ask.server.observer._look()
    status, answer = await ask("GET", "/healthz")
    assert (status, {m["what"]: m["why"] for m in answer["missing"]}) == (
        503,
        {"db@2": "unhealthy", "node:n2": "missing"},
    )
    assert (await ask("GET", "/healthz?scope=node"))[0] == 200


async def test_metrics_and_description_are_of_health_alone(serve):
    ask = await serve()
    await ask("POST", "/v1/report", json=REPORT)
    assert 'vagus_node_unhealthy{node="n1"} 1' in (await ask("GET", "/metrics"))[1]
    described = (await ask("GET", "/openapi.json"))[1]["paths"]
    assert "/v1/report" in described
    assert "/v1/query" not in described
    assert (await ask("GET", "/v1/query?selector=*"))[0] == 404


async def test_the_command_line_finds_it_while_it_runs(serve, tmp_path):
    ask = await serve()
    found = endpoint.find(home=tmp_path, here=True)
    assert (found.url, found.node) == (ask.server.url, "n1")
    await ask.server.stop()
    await ask.server.stop()
    with pytest.raises(PeerUnreachable):
        endpoint.find(home=tmp_path, here=True)


async def test_what_was_accepted_is_there_after_a_restart(serve):
    ask = await serve()
    await ask("POST", "/v1/report", json=REPORT)
    await ask.server.stop()
    again = await serve()
    assert (await again("GET", "/v1/health/db@2"))[1]["inference"]["status"] == "UNHEALTHY"


async def test_two_of_them_gossip(serve):
    one = await serve("n1")
    peers = {"n1": await one.server.address()}
    two = await serve("n2", peers=peers, gossip_address=("localhost", 0))
    await two("POST", "/v1/report", json=REPORT)
    async with asyncio.timeout(60):
        while (await one("GET", "/v1/health/db@2"))[0] != 200:
            await asyncio.sleep(0.02)
    assert (await one("GET", "/v1/health/db@2"))[1]["inference"]["reports"][0]["origin"] == "n2"


async def test_a_second_one_of_the_same_node_is_refused_and_the_first_goes_on(serve):
    ask = await serve()
    with pytest.raises(StoreError):
        await serve()
    assert (await ask("GET", "/v1/health"))[0] == 200


async def test_a_start_that_fails_leaves_nothing_open(serve, tmp_path):
    config = Config(gateway=GatewaySettings(port=0), tokens={"ci": str(tmp_path / "absent")})
    with pytest.raises(ConfigError, match="absent"):
        await serve(config=config)
    await serve()  # the store is free again


async def test_a_gateway_that_cannot_stop_leaves_no_observer_behind(serve, monkeypatch):
    ask = await serve()
    stop = ask.server._gateway.stop

    async def failing() -> None:
        await stop()
        raise OSError("it does not go")

    monkeypatch.setattr(ask.server._gateway, "stop", failing)
    with pytest.raises(OSError, match="does not go"):
        await ask.server.stop()
    await serve()  # the store is free again


async def test_rules_of_access_hold(serve, tmp_path):
    (tmp_path / "ci").write_text("a-token-of-the-ci-system")
    (tmp_path / "ci").chmod(0o600)
    rules = (AccessRule(who=("token:ci",), read=("db*",)),)
    config = Config(gateway=GatewaySettings(port=0), tokens={"ci": str(tmp_path / "ci")}, access=rules)
    ask = await serve(config=config)
    assert (await ask("POST", "/v1/report", json=REPORT))[0] == 403


def test_ray_is_never_imported(tmp_path):
    program = f"""
import asyncio, sys
from vagus.actors.health_server import HealthServer
from vagus.config import Config, GatewaySettings
async def main():
    server = HealthServer({str(tmp_path)!r}, "n1", Config(gateway=GatewaySettings(port=0)))
    await server.start()
    await server.stop()
asyncio.run(main())
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("ray", "pyarrow", "matplotlib", "torch")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)
