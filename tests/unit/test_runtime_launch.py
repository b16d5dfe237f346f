"""Starting and ending, as far as it goes without Ray: folders, locks, ports, secrets, what an earlier cluster left."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vagus import config as configuration
from vagus.config import Config, ControllerSettings
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch
from vagus.runtime.cluster import MARK, ClusterFile
from vagus.runtime.connect import check_head
from vagus.runtime.spawn import settings_for, spawn


@pytest.fixture(autouse=True)
def _no_token(monkeypatch, tmp_path):
    """Nobody's own Ray token; the environment is put back afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VagusError, match=r"cannot write the state folder .*/file.*VAGUS_HOME"):
        launch.up(Config(home=str(tmp_path / "file")))


def test_down_where_nothing_runs_is_well_and_makes_nothing(tmp_path):
    said: list[str] = []
    assert launch.down(tmp_path / "none", say=said.append) == []
    assert said == ["no cluster runs here"]
    assert not (tmp_path / "none").exists()
    assert launch.down(tmp_path) == []
    assert launch.down(tmp_path) == []


def test_who_comes_second_waits_says_for_whom_and_gives_up(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "LOCK_TIMEOUT_S", 0.2)
    with open(tmp_path / "lock", "w") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        said: list[str] = []
        with pytest.raises(VagusError, match=r"process 4711\) has held .*/lock"):
            launch.down(tmp_path, say=said.append)
        assert said == [f"another `vagus up` or `down` is at work on {tmp_path} (process 4711): waiting for it"]
    assert launch.down(tmp_path) == []
    assert (tmp_path / "lock").read_text() == str(os.getpid())


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:70000", "host:x", "ray://host:10001/"])
def test_an_address_that_is_none_is_refused_before_anything_starts(tmp_path, address):
    with pytest.raises(ConfigError, match="is not host:port"):
        launch.up(Config(home=str(tmp_path)), address=address)


def test_joining_where_nobody_listens_says_so_at_once(tmp_path):
    port = ray_cluster.free_port(0)
    with pytest.raises(PeerUnreachable, match=f"nothing listens at 127.0.0.1:{port}"):
        launch.up(Config(home=str(tmp_path)), address=f"127.0.0.1:{port}")
    with pytest.raises(PeerUnreachable, match="nothing listens"):
        check_head(f"127.0.0.1:{port}")
    assert ray_cluster.read(tmp_path) is None


def test_a_taken_port_is_left_alone():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ray_cluster.free_port(port) != port
        assert ray_cluster.free_port(port, "") != port
    assert ray_cluster.free_port(port) == port


def test_what_an_earlier_cluster_left_is_removed(tmp_path):
    temp = tmp_path / "ray-session"
    temp.mkdir()
    folder = configuration.node_folder(tmp_path, "n1")
    folder.mkdir(parents=True)
    for name in ("gateway.json", "token", "report.sock"):
        (folder / name).write_text("{}")
    (folder / "store").mkdir()
    ray_cluster.write(tmp_path, ClusterFile(id="f" * 16, address="127.0.0.2:1", started_ray=True, temp_dir=str(temp)))
    assert launch.down(tmp_path) == []
    assert not temp.exists()
    assert [p.name for p in folder.iterdir()] == ["store"]
    assert ray_cluster.read(tmp_path) is None


def test_a_socket_of_a_long_path_is_removed_too(tmp_path):
    home = tmp_path / ("x" * 100)
    configuration.node_folder(home, "n1").mkdir(parents=True)
    path = configuration.socket_path(home, "n1", "report")
    assert home not in path.parents
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text("")
    assert launch.down(home) == []
    assert not path.exists()


def test_a_cluster_file_that_cannot_be_read_says_what_to_do(tmp_path):
    ray_cluster.path_of(tmp_path).write_text("{")
    with pytest.raises(VagusError, match="remove it if no cluster of yours runs"):
        launch.down(tmp_path)


def test_exactly_the_marked_processes_are_ended(tmp_path):
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with (
        subprocess.Popen(command, env={**os.environ, MARK: "a" * 16}, stdout=subprocess.PIPE) as ours,
        subprocess.Popen(command, env={**os.environ, MARK: "b" * 16}, stdout=subprocess.PIPE) as other,
    ):
        for process in (ours, other):
            assert process.stdout is not None
            process.stdout.readline()
        cluster = ClusterFile(id="a" * 16, address="127.0.0.2:1", started_ray=True)
        assert [p.pid for p in ray_cluster.processes(cluster.id)] == [ours.pid]
        assert not ray_cluster.running(cluster), "no raylet among them"
        assert ray_cluster.stop(tmp_path, cluster) == []
        assert ray_cluster.processes(cluster.id) == []
        survived = other.poll() is None
        other.kill()
    assert survived


@pytest.mark.says("token-file", "secret-file", "ray-token-file")
def test_secrets_are_the_owners_alone_and_kept(tmp_path):
    path = tmp_path / "deep" / "token"
    made = configuration.secret(path)
    assert len(made) == 64
    assert configuration.secret(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["token"]
    with pytest.raises(VagusError, match="cannot be used"):
        configuration.secret(tmp_path)


def test_the_token_is_that_of_the_cluster_whatever_came_later(tmp_path, monkeypatch):
    own = ray_cluster.environment(tmp_path)["RAY_AUTH_TOKEN_PATH"]
    assert own == str(tmp_path / "ray_auth_token")
    later = Path.home() / ".ray" / "auth_token"
    later.parent.mkdir(parents=True)
    later.write_text("x")
    cluster = ClusterFile(id="a", address="127.0.0.2:1", started_ray=True, auth_token_path=own)
    assert ray_cluster.environment(tmp_path)["RAY_AUTH_TOKEN_PATH"] == str(later)
    assert ray_cluster.environment(tmp_path, cluster)["RAY_AUTH_TOKEN_PATH"] == own
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert "RAY_AUTH_TOKEN_PATH" not in ray_cluster.environment(tmp_path, cluster)
    assert ray_cluster.environment(tmp_path)["VAGUS_HOME"] == str(tmp_path)


def test_rays_folder_is_ours_alone_and_short_enough_for_its_sockets(tmp_path, monkeypatch):
    long = tmp_path / ("t" * 60)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = ray_cluster._temp_dir("abcdef0123")
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 50
        with pytest.raises(VagusError, match="cannot make"):
            ray_cluster._temp_dir("abcdef0123")  # whoever made it: it is not taken over
    finally:
        (folder / "tmp").rmdir()
        folder.rmdir()


def test_settings_that_a_running_cluster_cannot_take_are_told_from_those_that_it_can():
    asked = Config(home="/a", controllers=(ControllerSettings(name="x", armed=True),))
    assert launch._comparable(asked) == launch._comparable(Config(controllers=(ControllerSettings(name="x"),)))
    assert launch._comparable(asked) != launch._comparable(Config(cluster="other"))


def test_spawning_without_a_cluster_or_with_wrong_settings_says_so(tmp_path):
    with pytest.raises(PeerUnreachable, match="vagus up"):
        spawn(tmp_path, settings_for("mine", "head"), dict)
    with pytest.raises(ConfigError, match=r"spawn 'mine': .*unknown field `colour`"):
        settings_for("mine", "head", colour="red")
    with pytest.raises(ConfigError, match=r"spawn 'mine': .*period: duration 'often'"):
        settings_for("mine", "head", period="often")
