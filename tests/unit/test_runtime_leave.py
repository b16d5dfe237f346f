"""`vagus down --leave`: one node's actors end, and the cluster goes on. Ray is played."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import ray
from click.testing import CliRunner

from vagus import config as configuration
from vagus.cli.up import down
from vagus.errors import PeerUnreachable, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch
from vagus.runtime.cluster import ClusterFile


class Played:
    """A supervisor that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.addresses: list[str] = []
        self.problems: list[str] = []
        self.reachable = True
        self.leave = SimpleNamespace(remote=lambda node: self._answer(f"leave {node}"))
        self.stop = SimpleNamespace(remote=lambda: self._answer("stop"))

    def _answer(self, what: str) -> list[str]:
        self.asked.append(what)
        return self.problems

    @contextmanager
    def connected(self, home, cluster):
        self.addresses.append(cluster.address)
        if not self.reachable:
            raise PeerUnreachable("Ray's head does not answer")
        yield


@pytest.fixture
def played(monkeypatch, tmp_path):
    made = Played()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path))
    monkeypatch.setattr(launch, "connected", made.connected)
    monkeypatch.setattr(launch, "supervisor", lambda: made)
    monkeypatch.setattr(launch, "call", lambda answer, *_: answer)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "n17"))
    monkeypatch.setattr(ray, "kill", lambda _: made.asked.append("kill"))
    return made


def test_only_this_nodes_actors_end(played, tmp_path):
    assert launch.down(tmp_path, leave=True) == []
    assert (played.asked, played.addresses) == (["leave n17"], ["auto"])


@pytest.mark.parametrize(
    ("told", "address"), [("head.vagus.svc:6379", "head.vagus.svc:6379"), ("auto", "auto"), ("ray://h:1/", "auto")]
)
def test_the_head_is_where_ray_address_says(played, tmp_path, monkeypatch, told, address):
    monkeypatch.setenv("RAY_ADDRESS", told)
    launch.down(tmp_path, leave=True)
    assert played.addresses == [address]


def test_a_cluster_that_runs_on_rays_nodes_is_left_and_not_ended(played, tmp_path):
    """`vagus up --address auto` was called here; `down` without more would end it everywhere."""
    ray_cluster.write(tmp_path, ClusterFile(id="", address="10.0.0.1:6379", started_ray=False))
    launch.down(tmp_path, leave=True)
    assert (played.asked, played.addresses) == (["leave n17"], ["10.0.0.1:6379"])
    assert ray_cluster.read(tmp_path) is not None, "the cluster goes on"


def test_who_started_the_cluster_cannot_leave_it(played, tmp_path):
    ray_cluster.write(tmp_path, ClusterFile(id="f" * 16, address="127.0.0.2:1", started_ray=True))
    with pytest.raises(VagusError, match="cannot leave it; `vagus down` ends it"):
        launch.down(tmp_path, leave=True)
    assert played.asked == []


def test_without_a_head_limits_are_restored_all_the_same(played, tmp_path, monkeypatch):
    restored = []
    monkeypatch.setattr(launch.watchdog, "restore", lambda folder: restored.append(folder.name) or ["cgroup x: gone"])
    (configuration.node_folder(tmp_path, "n1") / "journal-web").mkdir(parents=True)
    played.reachable = False
    said: list[str] = []
    problems = launch.down(tmp_path, leave=True, say=said.append)
    assert problems == [
        "Ray's head does not answer: this node's actors may run on; try again, or end its Ray",
        "cgroup x: gone",
    ]
    assert (restored, said) == (["journal-web"], [])


@pytest.mark.parametrize("there", [True, False], ids=["head is silent", "no state folder"])
def test_who_could_not_be_asked_to_leave_has_not_left(played, tmp_path, there):
    played.reachable = False
    done = CliRunner().invoke(down, ["--leave"], obj=SimpleNamespace(home=str(tmp_path if there else tmp_path / "no")))
    assert done.exit_code == 1
    assert "has left" not in done.output
    assert ("actors may run on" if there else "there is no state folder") in done.output


def test_a_joined_node_whose_ray_ends_is_left_to_its_watchdogs(played, tmp_path, monkeypatch):
    """Not so where Ray stays."""
    played.reachable = False
    joined = ClusterFile(id="f" * 16, address="10.0.0.1:6379", started_ray=True, head=False)
    ray_cluster.write(tmp_path, joined)
    monkeypatch.setattr(ray_cluster, "running", lambda cluster: True)
    monkeypatch.setattr(ray_cluster, "stop", lambda home, cluster: [])
    said: list[str] = []
    assert launch.down(tmp_path, leave=True, say=said.append) == []
    assert "does not answer: the watchdogs restore" in said[0]


def test_the_command_says_what_it_did_and_what_is_left(played):
    done = CliRunner().invoke(down, ["--leave"], obj=SimpleNamespace(home=""))
    assert done.exit_code == 0, done.output
    assert "this node has left; its data stays in" in done.output
    played.problems = ["cgroup:web cpu_cores: gone"]
    done = CliRunner().invoke(down, ["--leave", "--json"], obj=SimpleNamespace(home=""))
    assert done.exit_code == 1
    assert '{"stopped": false, "problems": ["cgroup:web cpu_cores: gone"]}' in done.output
