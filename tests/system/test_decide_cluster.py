"""Decisions while parts die: a decide actor, a gateway, a whole node under load, Ray's head, the head's node."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import PATIENCE, eventually

import vagus
from vagus.model import ActorStatus

pytestmark = pytest.mark.system


class Gate:
    """A gateway by plain HTTP."""

    def __init__(self, home: Path, node: str) -> None:
        folder = home / "nodes" / node
        endpoint = json.loads((folder / "gateway.json").read_text())
        self._address = urlsplit(endpoint["url"]).netloc
        self._token = Path(endpoint["token_file"]).read_text()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=5)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def decide(self, **features: str) -> dict[str, Any]:
        status, answer = self.ask("POST", "/v1/decide", {"features": features, "arms": ["a", "b"]})
        assert status == 200, answer
        assert answer["decision"] in ("a", "b")
        assert 0 < answer["propensity"] <= 1
        return answer

    def update(self, decided: dict[str, Any]) -> tuple[int, Any]:
        reward = 1.0 if decided["decision"] == "b" else 0.0
        return self.ask("POST", "/v1/update", {"decision_id": decided["decision_id"], "reward": reward})


def actors(connection: vagus.Vagus) -> dict[str, ActorStatus]:
    return {a.name: a for n in connection.status() for a in n.actors}


def test_a_killed_decide_actor_comes_back_with_what_it_knew_while_its_gateway_goes_on(at, running):
    gate, name = Gate(Path(running), "n2"), "vagus:decide@n2"
    for _ in range(30):
        status, answer = gate.update(gate.decide(city="Bern"))
        assert status == 200, answer
    waiting = gate.decide(city="Bern")
    before = eventually(lambda: (f := actors(at("n1"))[name]).figures["rewards"] >= 30 and f)
    time.sleep(0.5)  # the gateway hands decisions over four times a second
    os.kill(before.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    refused = 0
    while True:
        gate.decide(city="Bern")  # its own table goes on
        status, answer = gate.update(waiting)
        if status == 200:
            break
        assert status == 503, answer
        refused += 1
        assert time.monotonic() - killed_s < 20 * PATIENCE, answer
        time.sleep(0.05)
    print(f"decide actor killed: rewards are taken again after {time.monotonic() - killed_s:.2f} s")
    after = eventually(lambda: (f := actors(at("n1")).get(name)) and f.pid not in (0, before.pid) and f)
    assert after.restarts > before.restarts
    assert after.figures["recalled"] >= 1, "the decision was found in the log"


def test_a_reward_may_be_given_to_any_gateway_and_at_once(at, running):
    n2, n3 = Gate(Path(running), "n2"), Gate(Path(running), "n3")
    for _ in range(20):
        status, answer = n3.update(n2.decide(city="Bern"))
        assert status == 200, answer


def test_a_killed_gateway_leaves_the_others_deciding(at, running):
    other = Gate(Path(running), "n3")
    before = eventually(lambda: actors(at("n1"))["vagus:collector@n2"])
    os.kill(before.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    for _ in range(50):
        status, answer = other.update(other.decide(city="Bern"))
        assert status == 200, answer

    def back() -> bool:
        return Gate(Path(running), "n2").decide(city="Bern")["version"] > 0

    eventually(back, 30.0, "its successor has a table")
    print(f"gateway killed: it decides from its table again after {time.monotonic() - killed_s:.2f} s")


SCRIPT = """
import os, sys, time
from pathlib import Path
home = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import vagus
from vagus.config import Config, DecideSettings, GatewaySettings
from vagus.runtime.cluster import DASHBOARD_PORT, environment, free_port
os.environ.update(environment(home))
from ray.cluster_utils import Cluster
from vagus.runtime import launch
from test_decide_cluster import PATIENCE, Gate

head = {"num_cpus": 2, "labels": {"vagus/node": "n1"}, "dashboard_port": free_port(DASHBOARD_PORT)}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = {"n1": cluster.head_node}
for name in ("n2", "n3"):
    nodes[name] = cluster.add_node(num_cpus=1, labels={"vagus/node": name})
decide = DecideSettings(group_by=("city",), tick="0.2s", policy="ucb")
config = Config(home=str(home), gateway=GatewaySettings(port=0), controllers=(), feeds=(), decide=decide)
launch.up(config, address=cluster.address)


def at(node):
    return Gate(home, node)


def known(node, group="x"):
    try:
        return at(node).ask("GET", f"/v1/decide/explain?group={group}")[1]
    except OSError:
        return {}


def figures(node):
    status = at(node).ask("GET", "/v1/status")[1]
    return {a["name"]: a for n in status["nodes"] for a in n["actors"]}


def load(names, rounds):
    for _ in range(rounds):
        for node in names:
            status, answer = at(node).update(at(node).decide(city="x"))
            assert status == 200, answer


def until(check, within_s, what):
    deadline = time.monotonic() + within_s * PATIENCE
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def end(node, pids):
    for pid in pids:
        os.kill(pid, 9)
    nodes[node].kill_all_processes(check_alive=False, allow_graceful=False)


try:
    load(("n2", "n2", "n2", "n1", "n3"), 15)
    until(lambda: known("n1").get("leader") == "n2", 30, "n2 leads: most sessions are there")
    load(("n2", "n2", "n2", "n1", "n3"), 5)
    until(lambda: known("n3").get("rewards") == 100, 10, "n2 knows all outcomes")
    time.sleep(2.5)  # replicas are sent each second
    pids = {name: a["pid"] for name, a in figures("n1").items()}

    end("n2", [pid for name, pid in pids.items() if name.endswith("@n2")])
    began = time.monotonic()
    made = 0
    while known("n3").get("leader") in ("n2", ""):
        load(("n1", "n3"), 1)
        made += 2
        assert time.monotonic() - began < 30 * PATIENCE, known("n3")
    took_s = time.monotonic() - began
    until(lambda: (known("n3").get("rewards") or 0) == 100 + made, 20, "with its statistics: nothing is missing")
    print(f"node killed: another leads after {took_s:.2f} s with all {100 + made} outcomes, epoch {known('n3')['epoch']}")
    probability = {a["arm"]: a["probability"] for a in known("n3")["arms"]}
    assert probability["b"] > 0.5, probability

    gcs = nodes["n1"].all_processes["gcs_server"][0].process
    gcs.kill()
    gcs.wait(10)
    load(("n1", "n3"), 10)
    made += 20
    until(lambda: (known("n3").get("rewards") or 0) == 100 + made, 20, "learning goes on without a head")
    print("head killed: decisions and learning go on")

    left = [pid for name, pid in pids.items() if name.endswith("@n1")]
    end("n1", left)
    began = time.monotonic()
    load(("n3",), 30)
    print(f"the head's node killed: n3 alone answers 30 in {time.monotonic() - began:.2f} s", flush=True)
finally:
    cluster.shutdown()
    launch.down(home)
"""


def test_a_whole_node_the_head_and_the_heads_node_killed_under_load(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), str(Path(__file__).parent)],
        env={**os.environ, "RAY_DEDUP_LOGS": "0"},
        capture_output=True,
        text=True,
        timeout=110 * PATIENCE,
        check=False,
    )
    assert "n3 alone answers" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
    print(done.stdout)
