"""Spans sent to two nodes' gateways: a slow service is accused within seconds, recovers, is learned; the actor is killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import eventually

import vagus
from vagus.model import ActorStatus

pytestmark = pytest.mark.system
NAME = "vagus:traces@n1"
WEB, CART, DB = "live-web-1", "live-cart-1", "live-db-1"


class Gate:
    """A gateway by plain HTTP."""

    def __init__(self, home: Path, node: str) -> None:
        endpoint = json.loads((home / "nodes" / node / "gateway.json").read_text())
        self._address = urlsplit(endpoint["url"]).netloc
        self._token = Path(endpoint["token_file"]).read_text()

    def post(self, path: str, body: Any) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=5)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said
        finally:
            connection.close()


def resource(service: str, component: str, *spans: dict[str, Any]) -> dict[str, Any]:
    """OTLP's spans of one instance of a service."""
    attributes = [
        {"key": key, "value": {"stringValue": value}}
        for key, value in (("service.name", service), ("service.instance.id", component))
    ]
    return {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [*spans]}]}


def span(trace: str, number: int, parent: int, name: str, begin_ns: int, end_ns: int, kind: int) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(begin_ns),
        "endTimeUnixNano": str(end_ns),
    }


class Shop(threading.Thread):
    """Twenty requests a second to web, which calls cart and then db; web's and db's spans go to one node, cart's to another."""

    def __init__(self, here: Gate, there: Gate) -> None:
        super().__init__(daemon=True)
        self._gates = (here, there)
        self._over = threading.Event()
        self.cart_ms = 5.0
        self.failures: list[Exception] = []

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.25):
            mine, theirs = [], []
            for _ in range(5):
                number += 1
                a, b = self._request(number)
                mine += a
                theirs += b
            for gate, spans in zip(self._gates, (mine, theirs), strict=True):
                try:
                    gate.post("/v1/traces", {"resourceSpans": spans})
                except Exception as error:
                    self.failures.append(error)

    def _request(self, number: int) -> tuple[list[Any], list[Any]]:
        trace, cart_ms = f"{os.getpid():08x}{number:024x}", self.cart_ms + number % 7 / 10
        end_ns = time.time_ns()
        begin_ns = end_ns - round((cart_ms + 8) * 1e6)

        def at(ms: float) -> int:
            return begin_ns + round(ms * 1e6)

        web = (
            span(trace, 1, 0, "GET /", begin_ns, end_ns, 2),
            span(trace, 2, 1, "cart", at(1), at(3 + cart_ms), 3),
            span(trace, 4, 1, "db", at(4 + cart_ms), at(7 + cart_ms), 3),
        )
        cart = span(trace, 3, 2, "add", at(2), at(2 + cart_ms), 2)
        db = span(trace, 5, 4, "read", at(4.5 + cart_ms), at(6 + cart_ms), 2)
        return [resource("live-web", WEB, *web), resource("live-db", DB, db)], [resource("live-cart", CART, cart)]

    def end(self) -> None:
        self._over.set()
        self.join(10)


@pytest.fixture
def shop(running: str) -> Iterator[Shop]:
    made = Shop(Gate(Path(running), "n1"), Gate(Path(running), "n2"))
    made.start()
    yield made
    made.end()


def health(running: str) -> dict[str, str]:
    """`vagus health --json`: statuses by subject."""
    done = subprocess.run(
        [sys.executable, "-m", "vagus", "health", "--json"],
        env={**os.environ, "VAGUS_HOME": running},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return {one["subject"]: one["status"] for one in json.loads(done.stdout)["inferences"]}


def traces_actor(connection: vagus.Vagus) -> ActorStatus:
    return next(a for n in connection.status() for a in n.actors if a.name == NAME and a.state == "HEALTHY")


@pytest.mark.timeout(240)
def test_from_spans_to_verdicts_over_two_nodes(at: Any, running: str, shop: Shop) -> None:
    connection = at("n3")

    def figure(name: str) -> float:
        return traces_actor(connection).figures[name]

    def latest() -> dict[str, Any]:
        found: list[dict[str, Any]] = connection.get("/v1/localise")["rankings"]
        return found[0] if found else {"slow": None, "suspects": []}

    eventually(lambda: figure("rankings") >= 5 and latest()["slow"] is False, 30, "it knows what is normal")
    assert figure("components") >= 3
    assert CART not in health(running)

    labelled = {"id": "live-1", "type": "cpu", "resource": "cpu", "component": CART, "duration_s": 60.0}
    begin = {"event": "inject.begin", "fields": labelled}
    Gate(Path(running), "n2").post("/v1/events", {"events": [begin]})
    shop.cart_ms = 60.0
    eventually(lambda: health(running).get(CART) == "UNHEALTHY", 20, "cart is accused")
    assert health(running).get(DB) in (None, "HEALTHY")
    ranking = latest()
    assert (ranking["slow"], ranking["suspects"][0]["component"]) == (True, CART)
    assert any(CART in note for note in traces_actor(connection).notes)
    Gate(Path(running), "n2").post("/v1/events", {"events": [{"event": "inject.end", "fields": labelled}]})
    eventually(lambda: figure("labels") == 1, 10, "the injection is a label")

    shop.cart_ms = 5.0
    eventually(lambda: health(running).get(CART) == "HEALTHY", 20, "cart has recovered")
    saves = figure("saves")
    eventually(lambda: figure("saves") > saves, 60, "what it knows is saved")  # as seldom as saving is slow
    before = traces_actor(connection)
    os.kill(before.pid, signal.SIGKILL)
    after = eventually(lambda: (a := traces_actor(connection)).pid != before.pid and a, 20, "it is started again")
    assert isinstance(after, ActorStatus)
    assert after.restarts == before.restarts + 1
    shop.cart_ms = 60.0  # it has no healthy period of its own life: what is normal is what was saved
    eventually(lambda: health(running).get(CART) == "UNHEALTHY", 20, "cart is accused again")
    shop.cart_ms = 5.0
    eventually(lambda: health(running).get(CART) == "HEALTHY", 20, "and recovers")
    assert shop.failures == []
    stored = connection.records("event", since="5m", event="localise.ranked")
    assert CART in {event.fields.get("component") for event in stored}
