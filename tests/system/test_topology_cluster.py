"""Expected topology on three Ray nodes: one is killed, one of vagus' actors crash-loops; both are told, and both pass."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import PATIENCE

pytestmark = pytest.mark.system

SCRIPT = """
import json, os, subprocess, sys, time
from pathlib import Path
home = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import vagus
from vagus.config import Config, ExpectedSettings, GatewaySettings
from vagus.runtime.cluster import DASHBOARD_PORT, environment, free_port
os.environ.update(environment(home))
from ray.cluster_utils import Cluster
from vagus.runtime import launch
from test_decide_cluster import PATIENCE, Gate

head = {"num_cpus": 2, "labels": {"vagus/node": "n1"}, "dashboard_port": free_port(DASHBOARD_PORT)}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = {name: cluster.add_node(num_cpus=1, labels={"vagus/node": name}) for name in ("n2", "n3")}
expected = ExpectedSettings(nodes=("n1", "n2", "n3"), services=("web",), grace="20s")
config = Config(home=str(home), gateway=GatewaySettings(port=0), controllers=(), feeds=(), expected=expected)
launch.up(config, address=cluster.address)


def healthz(node, path="/healthz"):
    try:
        return Gate(home, node).ask("GET", path)
    except OSError as error:
        return 0, {"missing": [], "error": str(error)}


def says(node, *wanted):
    # whether it misses exactly these: (what, why)
    status, answer = healthz(node)
    found = sorted((one["what"], one["why"]) for one in answer.get("missing", ()))
    return status == (503 if wanted else 200) and found == sorted(wanted)


def status(node):
    folder = home / "nodes" / node
    endpoint = json.loads((folder / "gateway.json").read_text())
    command = [sys.executable, "-m", "vagus", "--url", endpoint["url"], "--token", Path(endpoint["token_file"]).read_text()]
    done = subprocess.run([*command, "status", "--json"], capture_output=True, text=True, timeout=30)
    return done.returncode, json.loads(done.stdout)


def pids():
    return {a["name"]: a["pid"] for n in status("n1")[1]["nodes"] for a in n["actors"]}


def report(status):
    body = {"observer": "api@1", "subject": "web", "contexts": {"read": [status, 1]}}
    assert Gate(home, "n2").ask("POST", "/v1/report", body) == (200, {"results": ["ACCEPTED"]})


def until(check, within_s, what):
    began = time.monotonic()
    while not (last := check()):
        assert time.monotonic() - began < within_s * PATIENCE, (what, healthz("n1"), healthz("n2"))
        time.sleep(0.1)
    print(f"{what}: after {time.monotonic() - began:.1f} s", flush=True)


def well():
    return all(says(n) for n in ("n1", "n2")) and status("n1")[0] == 0


try:
    report("HEALTHY")
    until(well, 60, "all there")
    report("UNHEALTHY")
    until(lambda: says("n1", ("web", "unhealthy")) and says("n2", ("web", "unhealthy")), 40, "a service is missed")  # n2 may not have looked while it was well
    report("HEALTHY")
    until(well, 30, "and is well again")

    for name, pid in pids().items():
        if name.endswith("@n3"):
            os.kill(pid, 9)
    nodes["n3"].kill_all_processes(check_alive=False, allow_graceful=False)
    until(lambda: says("n1", ("node:n3", "dead")) and says("n2", ("node:n3", "dead")), 12, "a killed node is missed")
    assert healthz("n1", "/healthz?scope=node")[0] == 200
    code, document = status("n1")
    assert (code, document["state"]) == (3, "degraded"), document
    assert {one["what"]: one["why"] for one in document["missing"]} == {"node:n3": "dead"}
    assert all(one["todo"] and one["since_ns"] for one in document["missing"])

    cluster.add_node(num_cpus=1, labels={"vagus/node": "n3"})
    until(well, 120, "it is back")
    events = Gate(home, "n1").ask("GET", "/v1/records?kind=event&event=topology.*&since=10m")[1]["records"]
    told = sorted((e["event"], e["fields"].get("subject", e["fields"].get("was"))) for e in events)
    assert [one for one in told if "n3" in one[1]] == [
        ("topology.complete", "node:n3"),
        ("topology.missing", "node:n3"),
    ], told

    for _ in range(3):
        before = pids()["vagus:decide@n2"]
        os.kill(before, 9)
        until(lambda: pids().get("vagus:decide@n2", 0) not in (0, before), 30, "an actor is replaced")
    loops = ("vagus:decide@n2", "crash-looping")
    until(lambda: says("n1", loops) and says("n2", loops), 15, "one that ends again and again is missed")
    if "steady" in sys.argv:
        until(well, 90, "it stays up, and is not")
    print("all of it passed", flush=True)
finally:
    cluster.shutdown()
    launch.down(home)
"""


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    "until", ["looping", pytest.param("steady", marks=pytest.mark.long)]
)  # a minute without an end
def test_a_killed_node_and_an_actor_that_crash_loops_are_missed_and_come_back(tmp_path: Path, until: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), str(Path(__file__).parent), until],
        env={**os.environ, "RAY_DEDUP_LOGS": "0"},
        capture_output=True,
        text=True,
        timeout=450 * PATIENCE,
        check=False,
    )
    assert "all of it passed" in done.stdout, done.stdout[-3000:] + done.stderr[-4000:]
    print(done.stdout)
