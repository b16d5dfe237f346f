"""One cluster for all system tests: three Ray nodes on this machine, as `ray.cluster_utils.Cluster` makes them."""

from __future__ import annotations

import http.server
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vagus
from vagus.config import (
    Config,
    ControllerSettings,
    FeedSettings,
    GatewaySettings,
    LocaliseSettings,
    SourceSettings,
    TraceSettings,
)

NODES = ("n1", "n2", "n3")
PATIENCE = 3  # times what a wait takes at most on a machine at rest: one with busy neighbours is slow, and no failure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit of a whole test is as patient as its waits; how fast things are is measured in benchmarks/."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            own = item.get_closest_marker("timeout")
            limit_s = own.args[0] if own else float(item.config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(limit_s * PATIENCE), append=False)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """A SIGTERM, which Ray turns into an exit within whatever test runs, ends the run as people expect."""
    if call.excinfo is not None and call.excinfo.errisinstance(SystemExit):
        item.session.shouldstop = f"ended within {item.nodeid}"


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(home: Path) -> Iterator[Any]:
    from vagus.runtime.cluster import DASHBOARD_PORT, environment, free_port

    before = dict(os.environ)
    os.environ.update(environment(home))
    from ray.cluster_utils import Cluster

    # where another cluster on this machine has the dashboard's port, Ray complains and leaves a socket open
    head = {"num_cpus": 2, "labels": {"vagus/node": "n1"}, "dashboard_port": free_port(DASHBOARD_PORT)}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for name in NODES[1:]:
        cluster.add_node(num_cpus=1, labels={"vagus/node": name})
    yield cluster
    cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)


class Asked(http.server.ThreadingHTTPServer):
    """A server of this machine that feeds fetch from; notes when each path was asked for, in seconds."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked: list[tuple[float, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Asked

    def do_GET(self) -> None:
        self.server.asked.append((time.monotonic(), self.path))
        body = b'{"load1": 1.5}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="session")
def web() -> Iterator[Asked]:
    with Asked() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="session")
def running(cluster: Any, home: Path, web: Asked) -> Iterator[str]:
    """vagus on all three nodes; gives the state folder. Feeds are spread: 12 locations of `web`, each second."""
    from vagus.runtime import launch

    source = SourceSettings(all=tuple(f"{web.url}/h{n}" for n in range(12)))
    spread = FeedSettings(name="spread", source=source, every="1s", timeout="2s", format="json")
    config = Config(
        home=str(home),
        gateway=GatewaySettings(port=0),
        feeds=(*Config().feeds, spread),
        feeds_on="every-node",
        controllers=(ControllerSettings(name="throttle", on="n1", period="0.5s"),),
        traces=TraceSettings(wait="500ms", localise=LocaliseSettings(every="1s", window="4s", least=20)),
    )
    said: list[str] = []
    launch.up(config, address=cluster.address, say=said.append)
    assert any("healthy on 3 node(s)" in line for line in said), said
    yield str(home)
    assert launch.down(home) == []


@pytest.fixture
def at(running: str) -> Iterator[Callable[[str], vagus.Vagus]]:
    """Connections to the gateways of nodes, by name."""
    import json

    open_connections = []

    def connect(node: str) -> vagus.Vagus:
        folder = Path(running) / "nodes" / node
        endpoint = json.loads((folder / "gateway.json").read_text())
        connection = vagus.connect(endpoint["url"], Path(endpoint["token_file"]).read_text(), home=running)
        open_connections.append(connection)
        return connection

    yield connect
    for connection in open_connections:
        connection.close()


def eventually(check: Callable[[], object], within_s: float = 15.0, what: str = "") -> object:
    """Waits until `check` gives something true; its last answer or error is in the failure."""
    deadline, last = time.monotonic() + within_s * PATIENCE, None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except Exception as error:  # the thing under test may be down for a moment: that is the test
            last = error
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s * PATIENCE} s: {what or check}; last: {last!r}")
