"""What goes wrong on three nodes: a frozen collector, a killed supervisor, a node that leaves, bad input, remove and spawn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import NODES, PATIENCE, eventually

import vagus
from vagus.model import ActorStatus
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.connect import call, connected, supervisor

pytestmark = pytest.mark.system


def actors(connection: vagus.Vagus) -> dict[str, ActorStatus]:
    return {a.name: a for n in connection.status() for a in n.actors}


def all_healthy(connection: vagus.Vagus) -> dict[str, ActorStatus] | None:
    status = connection.status()
    found = {a.name: a for n in status for a in n.actors}
    well = not status.partial and {a.state for a in found.values()} == {"HEALTHY"}
    return found if well and {n.node for n in status} == set(NODES) else None


def test_a_frozen_collector_makes_answers_partial_and_is_replaced(at):
    before = eventually(lambda: all_healthy(at("n1")))["vagus:collector@n3"]
    os.kill(before.pid, signal.SIGSTOP)
    try:
        status = at("n1").status()
        assert status.partial
        assert [node for node, _ in status.missing] == ["n3"]
        assert {n.node for n in status} == {"n1", "n2"}
        back = eventually(lambda: (f := all_healthy(at("n1"))) and f["vagus:collector@n3"], 40.0, "it is replaced")
    finally:
        try:
            os.kill(before.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    assert back.pid != before.pid
    assert back.restarts > before.restarts  # more than once, while the frozen one still holds the store


def test_a_killed_supervisor_comes_back_and_finds_what_runs(at, running):
    before = eventually(lambda: all_healthy(at("n2")))
    os.kill(supervisor_pid(Path(running)), signal.SIGKILL)
    os.kill(before["vagus:observer@n2"].pid, signal.SIGKILL)
    after = eventually(
        lambda: (f := all_healthy(at("n2"))) and f["vagus:observer@n2"].pid != before["vagus:observer@n2"].pid and f,
        20.0,
        "the new supervisor replaces what died without one",
    )
    same = {name for name in before if before[name].pid == after[name].pid}
    assert set(before) - same == {"vagus:observer@n2"}, "what ran goes on"
    assert all(after[name].restarts == before[name].restarts for name in same)


def supervisor_pid(home: Path) -> int:
    """The supervisor of this cluster: other clusters may run on this machine."""
    cluster = ray_cluster.read(home)
    assert cluster is not None
    with connected(home, cluster):
        return int(call(supervisor().describe.remote())["pid"])


def test_a_program_that_loaded_ray_already_can_spawn_and_remove(running):
    code = f"""
import os, ray, vagus
before = dict(os.environ)
class Idle:
    period_s = 0.5
    def step(self, view): return []
with vagus.connect(home={running!r}) as v:
    print(v.spawn(Idle, "idle", on="head"))
    assert v.remove("idle") is True
    print(v.spawn(Idle, "idle", on="n2"))
    assert v.remove("idle") is True
    assert v.remove("idle") is False
assert dict(os.environ) == before
assert not ray.is_initialized()
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=clean, capture_output=True, text=True, timeout=90 * PATIENCE
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["['vagus:controller:idle@n1']", "['vagus:controller:idle@n2']"]


@pytest.mark.parametrize(
    ("path", "body", "token", "status"),
    [
        ("/v1/report", b"{}", "", 401),
        ("/v1/report", b"{}", "wrong" * 8, 403),
        ("/v1/report", b"{not json", None, 400),
        ("/v1/report", b"{}", None, 422),
        ("/v1/report", b'{"x": "' + b"a" * (5 << 20) + b'"}', None, 413),
        ("/v1/report", b'{"subject":"s","observer":"o","contexts":{"c":{"status":"HEALTHY","score":NaN}}}', None, 400),
        ("/v1/health/nobody", None, None, 404),
        ("/v1/query?selector=host.load&since=9999-01-01", None, None, 422),
        ("/nowhere", None, None, 404),
    ],
)  # fmt: skip
def test_bad_input_at_the_live_gateway_is_a_clear_error_of_one_shape(at, running, path, body, token, status):
    connection, folder = at("n2"), Path(running) / "nodes" / "n2"
    url = json.loads((folder / "gateway.json").read_text())["url"]
    headers = {"Content-Type": "application/json"}
    bearer = (folder / "token").read_text() if token is None else token
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url + path, body, headers), timeout=10)
    answer = msgspec.json.decode(caught.value.read())
    assert caught.value.code == status, answer
    assert set(answer["error"]) >= {"code", "message"}
    assert actors(connection)["vagus:collector@n2"].state == "HEALTHY"


def test_a_node_that_joins_is_served_and_one_that_leaves_is_gone(at, cluster):
    node = cluster.add_node(num_cpus=1, labels={"vagus/node": "n4"})
    try:
        joined = eventually(
            lambda: (
                {n for n in actors(at("n1")) if n.endswith("@n4")}
                == {"vagus:collector@n4", "vagus:observer@n4", "vagus:feed@n4", "vagus:decide@n4"}
                and all_of("n4", at)
            ),
            30.0,
            "n4 has its actors",
        )
        assert joined
    finally:
        cluster.remove_node(node)
    eventually(lambda: all_healthy(at("n1")), 30.0, "status is of three nodes again")
    left = [e for e in at("n1").records("event", since="2m", limit=200) if e.event == "actor.node_left"]
    assert all(e.fields["node"] == "n4" for e in left)


def all_of(node: str, at: Any) -> bool:
    return all(a.state == "HEALTHY" for a in actors(at("n1")).values() if a.node == node)
