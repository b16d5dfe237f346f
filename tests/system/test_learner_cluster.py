"""The learner on a real cluster: controllers on two nodes learn one model, and go on through its end by kill -9."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import eventually

import vagus
from vagus.model import ActorStatus
from vagus.runtime.spawn import remove, settings_for, spawn

pytestmark = pytest.mark.system

LEARNER = "vagus:learner@n1"
CONTROLLERS = ("vagus:controller:learns-2@n2", "vagus:controller:learns-3@n3")


@pytest.fixture
def learning(running: str) -> Iterator[Path]:
    home = Path(running)
    for node in ("n2", "n3"):
        settings = settings_for(
            f"learns-{node[1:]}",
            node,
            policy="ddpg",
            period="0.05s",
            limits={"cpu_cores": {"min": 0.1, "max": 1.0}},
            options={"learn": "learner", "explore": 0.2, "every_s": 0.05},
        )
        spawn(home, settings, None)
    yield home
    for node in ("n2", "n3"):
        assert remove(home, f"learns-{node[1:]}")


def test_two_nodes_learn_one_model_which_survives_its_learners_end(
    at: Callable[[str], vagus.Vagus], learning: Path
) -> None:
    connection = at("n1")

    def actors() -> dict[str, ActorStatus]:
        return {a.name: a for n in connection.status() for a in n.actors}

    def versions() -> list[float]:
        found = actors()
        return [found[name].figures["weights_version"] for name in CONTROLLERS]

    def learned() -> ActorStatus | bool:
        learner = actors()[LEARNER]
        return learner.figures["updates"] > 100 and learner

    learner = eventually(learned, 30)
    assert isinstance(learner, ActorStatus)
    assert learner.figures["models"] == 1
    eventually(lambda: min(versions()) > 1, what="weights reach both")
    assert learner.figures["rows"] > 0

    folder = learning / "nodes" / "n1" / "learner"
    connection_call = eventually(lambda: list(folder.glob("*.npz")), 75, "a checkpoint, each minute")
    assert connection_call
    before = versions()
    steps = {name: actors()[name].figures["steps"] for name in CONTROLLERS}
    os.kill(learner.pid, signal.SIGKILL)
    eventually(lambda: all(actors()[n].figures["steps"] > steps[n] + 20 for n in CONTROLLERS), what="they go on")
    again = eventually(lambda: (f := actors().get(LEARNER)) and f.pid != learner.pid and f.state == "HEALTHY" and f, 30)
    assert isinstance(again, ActorStatus)
    assert again.restarts == 1
    assert again.figures["models"] == 1, "it has its checkpoint"
    # the version goes on from the checkpoint's: nobody had to hand in a model, and both take it
    eventually(lambda: min(versions()) > max(before) + 100_000, 30, "the resumed model reaches both")
    assert all(actors()[name].errors == 0 for name in CONTROLLERS)
