"""A node takes its leave, and the supervisor is killed: its successor, made by Ray, starts nothing there again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import eventually

from vagus.config import Config, GatewaySettings
from vagus.errors import PeerUnreachable
from vagus.runtime.connect import call, connected, supervisor
from vagus.runtime.shell import SHELLS
from vagus.runtime.trial import Trial

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def trial() -> Iterator[Trial]:
    trial = Trial(("n1", "n2"), Config(gateway=GatewaySettings(port=0), controllers=(), feeds=()))
    try:
        trial.start()
        yield trial
    finally:
        assert trial.stop() == []


def described() -> dict[str, Any]:
    try:
        state: dict[str, Any] = call(supervisor().describe.remote())
    except PeerUnreachable:  # Ray is making its successor
        return {}
    return state


def hosted(trial: Trial) -> list[str]:
    """The processes of vagus' actors on n2, as Ray calls them."""
    called = ["".join(process.cmdline()[:1]) for process in trial.processes("n2")]
    return [name for name in called if name.startswith(tuple(f"ray::{shell.__name__}" for shell in SHELLS.values()))]


def test_a_new_supervisor_knows_who_took_its_leave(trial: Trial) -> None:
    with connected(trial.home, trial.clusters["n1"]):
        before = described()
        assert {actor.node for actor in before["actors"]} == {"n1", "n2"}
        (node_id,) = [node_id for node_id, name in before["nodes"].items() if name == "n2"]
        assert len(hosted(trial)) >= 2
        assert call(supervisor().leave.remote(node_id)) == []
        trial.kill(before["pid"])

        def succeeded() -> bool:
            state = described()
            well = {actor.state for actor in state.get("actors", ())} == {"HEALTHY"}
            return well and state["pid"] != before["pid"] and state["rounds"] >= 5

        eventually(succeeded, 60.0, "a new supervisor, after some rounds")
        after = described()
        assert node_id in after["nodes"], "its Ray goes on"
        assert {actor.node for actor in after["actors"]} == {"n1"}
        assert hosted(trial) == []
