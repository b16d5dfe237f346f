"""What is said and acknowledged: over an observer's socket, and over a gateway; handles; views."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, serving
from observers import observer, statuses

import vagus
from vagus.client import inform as inform_module
from vagus.client.connection import Connection
from vagus.client.endpoint import Endpoint
from vagus.client.inform import inform_acked, register, unregister
from vagus.client.transport import Transport
from vagus.clock import NS, SystemClock
from vagus.errors import ConfigError, NoData, PeerUnreachable
from vagus.model import Ack, Metric, Report, Status


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(inform_module, "_WAYS", inform_module._Ways())
    yield
    ways = inform_module._WAYS
    for line in [line for lines in ways._idle.values() for line in lines]:
        line.close()
    if ways._connection is not None:
        ways._connection.close()


@pytest.fixture
def gateway(monkeypatch):
    with serving() as served:
        served.gateway.site.clock = SystemClock()
        served.backend.now_ns = time.time_ns()
        monkeypatch.setenv("VAGUS_URL", served.url)
        monkeypatch.setenv("VAGUS_TOKEN", TOKEN)
        yield served


def test_the_public_names():
    assert (vagus.inform_acked, vagus.register, vagus.unregister) == (inform_acked, register, unregister)


def test_over_the_gateway(gateway):
    assert inform_acked("db@2", "lag", "u", 12.5, observer="api@1", ttl_s=60) is Ack.ACCEPTED
    (kept,) = gateway.backend.reports
    assert (kept.observer, kept.subject, kept.ttl_ns) == ("api@1", "db@2", 60 * NS)
    assert kept.contexts == {"lag": Metric(Status.UNHEALTHY, 12.5)}


def test_handles(gateway):
    handle = register("test", "api@1")
    assert register("test", "api@1") == handle != register("test", "api@2")
    assert inform_acked("db@2", "lag", "u", observer="api@1", handle=handle) is Ack.ACCEPTED
    assert inform_acked("db@2", "lag", "u", observer="api@2", handle=handle) is Ack.FAILED
    assert unregister(handle) is True
    assert unregister(handle) is False
    assert inform_acked("db@2", "lag", "u", observer="api@1", handle=handle) is Ack.FAILED


def test_what_is_wrong_is_told(gateway):
    with pytest.raises(ConfigError, match="fine"):
        inform_acked("db@2", "lag", "fine")
    with pytest.raises(ConfigError, match="subject"):
        inform_acked("", "lag", "u")
    with pytest.raises(ConfigError):
        register("", "")


def test_nobody_there(monkeypatch, tmp_path):
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path))
    monkeypatch.delenv("VAGUS_URL", raising=False)
    with pytest.raises(PeerUnreachable, match="vagus up"):
        inform_acked("db@2", "lag", "u")


def announce(home: Path, node: str = "n1") -> None:
    folder = home / "nodes" / node
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text("t")
    entry = {"url": "http://127.0.0.1:9", "token_file": "token", "node": node, "pid": os.getpid()}
    (folder / "gateway.json").write_bytes(msgspec.json.encode(entry))


async def test_over_the_observers_socket(tmp_path, monkeypatch):
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path))
    monkeypatch.delenv("VAGUS_URL", raising=False)
    announce(tmp_path)
    actor = observer(tmp_path)
    await actor.begin()
    try:
        for subject in ("db@1", "db@2"):
            assert await asyncio.to_thread(inform_acked, subject, "lag", "DEAD", observer="api@1") is Ack.ACCEPTED
        assert statuses(actor) == {"db@1": Status.DEAD, "db@2": Status.DEAD}
        handle = await actor.register("test", "api@1")
        assert (
            await asyncio.to_thread(inform_acked, "db@3", "lag", "u", observer="api@1", handle=handle) is Ack.ACCEPTED
        )
        assert await asyncio.to_thread(inform_acked, "db@3", "lag", "u", observer="api@9", handle=handle) is Ack.FAILED
        assert {h: len(lines) for h, lines in inform_module._WAYS._idle.items()} == {0: 1, handle: 1}
    finally:
        await actor.end()
    actor = observer(tmp_path)
    await actor.begin()  # another one: what is kept leads nowhere
    try:
        assert await asyncio.to_thread(inform_acked, "db@4", "lag", "u", observer="api@1") is Ack.ACCEPTED
        assert statuses(actor)["db@4"] == Status.UNHEALTHY
    finally:
        await actor.end()
    with pytest.raises(PeerUnreachable):
        await asyncio.to_thread(inform_acked, "db@5", "lag", "u")


def test_views_of_a_connection(gateway):
    with Connection(gateway.url, TOKEN) as connection:
        assert connection.report("db@2", {"lag": ("u", 3)}, observer="api@1", ttl="1m") == "ACCEPTED"
        views = connection.panorama("db@2")
        assert list(views) == ["api@1"]
        assert views["api@1"][0].contexts == {"lag": Metric(Status.UNHEALTHY, 3.0)}
        assert views["api@1"][0].ttl_ns == 60 * NS
        assert connection.panorama("db@2", observer="api@1") == views
        with pytest.raises(NoData):
            connection.panorama("db@2", observer="nobody")
        connection.unwatch("db@2")
        with pytest.raises(NoData):
            connection.panorama("db@2")
        connection.watch("db@2")


def test_what_a_sink_elsewhere_said_is_found_over_the_gateway(gateway):
    said = Report("api@1", "worker@3", time.time_ns(), {"job": Metric(Status.HEALTHY)}, ttl_ns=NS * 60, doubt=3)
    transport = Transport(lambda: Endpoint(gateway.url, TOKEN, "a"))
    transport.send([said])
    ((kept),) = gateway.backend.reports
    assert kept == said
    (found,) = transport.view("api@1", "worker@3")
    assert (found.t_ns, found.contexts, found.doubt) == (said.t_ns, said.contexts, 3)
    assert transport.view("api@2", "worker@3") == ()
    transport.close()
    nowhere = Transport(lambda: Endpoint("http://127.0.0.1:9", "t", "a"))
    with pytest.raises(PeerUnreachable):
        nowhere.view("api@1", "worker@3")
