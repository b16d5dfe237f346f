"""The order of the benchmark of faults, on a cluster that is played: what it kills, waits for, starts again, and notes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chaos_run
from benchmarks.chaos import table
from benchmarks.chaos_ledger import KINDS, Outcome
from benchmarks.chaos_run import Asked, Shown
from benchmarks.chaos_schedule import ACTOR, HEAD, NODE, Kill
from vagus.errors import ActuateError, PeerUnreachable, VagusError

ROLES = ("collector", "observer", "controller")
NOTICE_S, START_S, VERDICT_S = 0.3, 0.05, 0.1


class Process:
    def __init__(self, pid: int) -> None:
        self.pid = pid


class Played:
    """Trial and gateways in one: actors return at once, Ray lists a killed node no more after a while."""

    def __init__(self, nodes: list[str], *_: Any, **__: Any) -> None:
        self.nodes, self.lock, self.next_pid = nodes, threading.Lock(), 100
        self.home = self.folder = Path("nowhere")
        self.actors = {node: {role: self._pid() for role in ROLES} for node in nodes}
        self.dead_s: dict[str, float] = {}
        self.done: list[str] = []
        self.comes_back = True

    def _pid(self) -> int:
        self.next_pid += 1
        return self.next_pid

    # --- as a trial

    def start(self) -> None:
        self.done.append("start")

    def stop(self) -> list[str]:
        self.done.append("stop")
        return []

    def kill(self, pid: int) -> None:
        with self.lock:
            self.done.append(f"kill {pid}")
            for actors in self.actors.values():
                for role, there in actors.items():
                    if there == pid and self.comes_back:
                        actors[role] = self._pid()

    def kill_node(self, node: str) -> None:
        with self.lock:
            self.done.append(f"kill {node}")
            self.dead_s[node] = time.monotonic()

    def restart(self, node: str) -> None:
        assert self.dead_s[node]
        time.sleep(START_S)
        with self.lock:
            self.done.append(f"restart {node}")
            self.actors[node] = {role: self._pid() for role in ROLES}
            del self.dead_s[node]

    def running(self, node: str) -> bool:
        return node not in self.dead_s

    def processes(self, node: str = "") -> list[Process]:
        return [] if node in self.dead_s else [Process(pid) for pid in self.actors[node].values()]

    # --- as its gateways

    def close(self) -> None:
        pass

    def get(self, gateway: str, path: str) -> Any:
        with self.lock:
            if gateway in self.dead_s:
                raise PeerUnreachable("connection refused")
            if path.startswith("/v1/status"):
                return {"nodes": [{"actors": [self._actor(gateway, role) for role in ROLES]}]}
            now_s = time.monotonic()
            if path.startswith("/healthz"):
                gone = {node for node, since_s in self.dead_s.items() if now_s - since_s > NOTICE_S}
                return {"details": {"nodes": [node for node in self.nodes if node not in gone]}}
            node = path.removeprefix("/v1/health/node:").partition("?")[0]
            dead = now_s - self.dead_s.get(node, now_s) > VERDICT_S
            return {"inference": {"status": "DEAD" if dead else "HEALTHY"}}

    def _actor(self, node: str, role: str) -> dict[str, Any]:
        name = f"vagus:{role}@{node}"
        return {"name": name, "role": role, "pid": self.actors[node][role], "state": "HEALTHY"}


class Ended:
    """In place of `vagus up`."""

    def poll(self) -> int:
        return 0

    def wait(self) -> int:
        return 0


class Idle:
    """In place of writers and the like."""

    problem = ""
    done = ((chaos_run.time.monotonic(), 5),)

    def __init__(self, *_: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    cluster = Played(["n1", "n2", "n3"])

    def no_group(name: str) -> None:
        raise ActuateError("needs root")

    def titled(trial: Played, node: str, role: str) -> list[Process]:
        return [Process(trial.actors[node][role])] if role in trial.actors[node] else []

    good = dict.fromkeys(KINDS, Outcome(3, 0, (), (), (), 0, ()))
    for name, stand_in in {
        "Trial": lambda *_, **__: cluster,
        "Gates": lambda trial: trial,
        "Writer": Idle,
        "Items": Idle,
        "limited_group": no_group,
        "_titled": titled,
        "_up": lambda trial: Ended(),
        "LAST_S": 0.0,
        "LEASE_S": 0.0,
        "POLL_S": 0.01,
        "LOOK_S": 0.01,
        "QUIET_S": 2.0,
        "NODE_BACK_S": 1.0,
        "ACTOR_BACK_S": 0.5,
        "unwind_on_end": lambda: None,
    }.items():
        monkeypatch.setattr(chaos_run, name, stand_in)
    monkeypatch.setattr(chaos_run._Run._await, "__defaults__", (0.01,))
    monkeypatch.setattr(chaos_run.found, "stored", lambda *_: good)
    monkeypatch.setattr(chaos_run.found, "asked", lambda *_: good)
    return cluster


def run(monkeypatch: pytest.MonkeyPatch, *kills: Kill, gcs: str = "rocksdb") -> Shown:
    monkeypatch.setattr(chaos_run, "plan", lambda *_: list(kills))
    return chaos_run.perform(Asked(3, 0.1, 1, gcs), lambda text: None)


def test_actors_nodes_and_the_head_are_killed_and_their_return_is_noted(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = [
        Kill(0.0, NODE, "n2"),
        Kill(0.0, ACTOR, "n3", "observer"),
        Kill(0.1, HEAD, "n1", "", 0.2),
        Kill(0.2, ACTOR, "n1", "collector"),
    ]
    shown = run(monkeypatch, *kills)
    assert [death.problem for death in shown.deaths] == [""] * 4
    assert shown.problems == []
    node, observer, head, collector = shown.deaths
    assert played.done.index("restart n2") < played.done.index("kill n1"), "the head only once all are back"
    assert set(node.dead_s) == {"n1", "n3"}
    assert set(head.dead_s) == {"n2", "n3"}
    assert node.noticed_s is not None
    assert node.begun_s is not None
    assert node.killed_s + VERDICT_S < min(node.dead_s.values()) < node.noticed_s <= node.begun_s
    assert node.noticed_s - node.killed_s > NOTICE_S, "started again only when Ray lists it no more"
    assert head.noticed_s is None
    assert head.begun_s is not None
    assert head.begun_s - head.killed_s >= 0.2
    for death in (node, observer, head, collector):
        assert death.back_s is not None
        assert death.back_s > death.killed_s
    assert observer.killed_s < node.begun_s, "an actor of another node is killed while the node is away"
    assert played.done.count("stop") >= 1
    rows = {row["what"]: row for row in table(shown)}
    assert [row for row in rows.values() if row["met"] is False] == []


def test_what_does_not_come_back_is_told(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    played.comes_back = False
    shown = run(monkeypatch, Kill(0.0, ACTOR, "n2", "observer"), Kill(0.0, ACTOR, "n3", "traces"))
    first, second = shown.deaths
    assert first.back_s is None
    assert second.problem == "there is no traces at n3 to kill"
    rows = {row["what"]: row for row in table(shown)}
    assert rows["a killed actor back, after the kill: worst"]["value"] == "never"
    assert rows["kills that could not be made"]["met"] is False


def test_nodes_that_end_with_a_head_without_tables_are_started_again(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    restart = played.restart

    def all_end(node: str) -> None:
        restart(node)
        if node == "n1":
            played.dead_s |= dict.fromkeys(("n2", "n3"), time.monotonic())

    monkeypatch.setattr(played, "restart", all_end)
    shown = run(monkeypatch, Kill(0.0, HEAD, "n1", "", 0.05), gcs="memory")
    assert [done for done in played.done if done.startswith("restart")] == ["restart n1", "restart n2", "restart n3"]
    assert shown.problems == []
    monkeypatch.setattr(played, "done", [])
    shown = run(monkeypatch, Kill(0.0, HEAD, "n1", "", 0.05), gcs="rocksdb")
    assert sum("which had kept its tables" in problem for problem in shown.problems) == 2


def test_a_cluster_that_does_not_start_is_ended(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise VagusError("ray start failed")

    monkeypatch.setattr(played, "start", fails)
    with pytest.raises(VagusError, match="ray start failed"):
        run(monkeypatch)
    assert played.done == ["stop"]


def test_an_interrupt_ends_what_follows_and_then_the_cluster(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos_run, "NODE_BACK_S", 60.0)
    monkeypatch.setattr(chaos_run, "NOTICED_S", 60.0)
    monkeypatch.setattr(played, "restart", lambda node: None)  # never again
    known = played.kill

    def interrupted(pid: int) -> None:
        known(pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(played, "kill", interrupted)
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, Kill(0.0, NODE, "n2"), Kill(0.0, ACTOR, "n3", "observer"))
    assert played.done[-1] == "stop"
    assert time.monotonic() - began_s < 30.0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith((NODE, ACTOR))]
