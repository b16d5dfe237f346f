"""Ray's head is killed with all of its node, and started again: what ran elsewhere runs on, the rest is made anew.

On nodes of its own, with Ray's tables on disk; nobody calls `vagus up` again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import eventually

from vagus.client.connection import Connection
from vagus.config import Config, GatewaySettings
from vagus.runtime.trial import Trial

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def trial() -> Iterator[Trial]:
    trial = Trial(("n1", "n2"), Config(gateway=GatewaySettings(port=0), controllers=(), feeds=()), lasting=True)
    try:
        trial.start()
        yield trial
    finally:
        assert trial.stop() == []


def actors(trial: Trial, node: str) -> dict[str, Any]:
    with Connection(trial.gateway(node)["url"], trial.token(), timeout_s=5.0) as connection:
        (status,) = connection.get(f"/v1/status?node={node}")["nodes"]
    return {actor["name"]: actor for actor in status["actors"]}


def test_the_other_nodes_actors_are_the_same_and_the_heads_are_new(trial: Trial) -> None:
    before = {node: {name: a["pid"] for name, a in actors(trial, node).items()} for node in trial.nodes}
    trial.kill_node("n1")
    assert trial.processes("n1") == []
    assert {name: a["pid"] for name, a in actors(trial, "n2").items()} == before["n2"], "no head is needed to run"
    trial.restart("n1")
    began_s = time.monotonic()

    def anew() -> bool:
        found = actors(trial, "n1")
        well = all(a["state"] == "HEALTHY" and a["pid"] != before["n1"].get(name) for name, a in found.items())
        return found.keys() >= before["n1"].keys() and well

    eventually(anew, 60.0, "the supervisor is on the new head, and has given it its actors")
    print(f"all of the head's node was back {time.monotonic() - began_s:.1f} s after Ray")
    assert {name: a["pid"] for name, a in actors(trial, "n2").items()} == before["n2"]
    assert trial.running("n2")
    # the supervisor took over what it found
    (victim,) = [pid for name, pid in before["n2"].items() if name == "vagus:observer@n2"]
    trial.kill(victim)
    eventually(lambda: actors(trial, "n2")["vagus:observer@n2"]["pid"] not in (0, victim), 30.0, "it is replaced")
