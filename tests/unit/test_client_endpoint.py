"""Finding the gateway: as told, from the environment, from what nodes of this machine announced."""

import json
import os
import socket
import subprocess
import sys

import pytest

from vagus.client.endpoint import Endpoint, find
from vagus.errors import ConfigError, PeerUnreachable


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in ("VAGUS_URL", "VAGUS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path))


def announce(home, node, pid=None, port=1, token="secret", mtime=None):
    folder = home / "nodes" / node
    folder.mkdir(parents=True)
    (folder / "token").write_text(token + "\n")
    path = folder / "gateway.json"
    entry = {
        "url": f"http://127.0.0.1:{port}",
        "token_file": str(folder / "token"),
        "node": node,
        "pid": pid or os.getpid(),
    }
    path.write_text(json.dumps(entry))
    if mtime:
        os.utime(path, (mtime, mtime))
    return path


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_told_or_from_the_environment(monkeypatch):
    assert find("http://x:1/", "t") == Endpoint("http://x:1", "t")
    monkeypatch.setenv("VAGUS_URL", "http://y:2")
    monkeypatch.setenv("VAGUS_TOKEN", "u")
    assert find() == Endpoint("http://y:2", "u")
    assert find("http://x:1") == Endpoint("http://x:1", "u")


def test_a_live_node(tmp_path):
    announce(tmp_path, "n1", port=7)
    assert find() == Endpoint("http://127.0.0.1:7", "secret", "n1", tmp_path)
    assert find(token="mine").token == "mine"
    assert find("http://127.0.0.1:7").token == "secret"


def test_nodes_whose_process_is_gone_are_passed_over(tmp_path):
    announce(tmp_path, "gone", pid=dead_pid(), port=1)
    announce(tmp_path, "here", port=2)
    assert find().node == "here"


def test_this_host_first_then_the_newest(tmp_path):
    announce(tmp_path, "older", mtime=1000)
    announce(tmp_path, "newer", mtime=2000)
    assert find().node == "newer"
    announce(tmp_path, socket.gethostname(), mtime=500)
    assert find().node == socket.gethostname()


def test_nothing_runs(tmp_path):
    with pytest.raises(PeerUnreachable, match="vagus up"):
        find()
    announce(tmp_path, "gone", pid=dead_pid())
    with pytest.raises(PeerUnreachable, match="vagus up"):
        find(home=tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"url": 1}', b'{"url":"u","token_file":"t","node":"n","pid":"x"}', b"\xff"],
)
def test_broken_announcements_are_passed_over(tmp_path, content):
    announce(tmp_path, "broken").write_bytes(content)
    with pytest.raises(PeerUnreachable):
        find()
    announce(tmp_path, "good")
    assert find().node == "good"


@pytest.mark.parametrize("pid", [-1, 0, 1 << 62, 1 << 80])
def test_impossible_process_ids(tmp_path, pid):
    path = announce(tmp_path, "odd")
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": pid}))
    with pytest.raises(PeerUnreachable):
        find()


def test_a_token_that_cannot_be_read(tmp_path):
    announce(tmp_path, "n1")
    (tmp_path / "nodes" / "n1" / "token").unlink()
    with pytest.raises(PeerUnreachable, match="VAGUS_TOKEN"):
        find()


def test_an_address_without_token(tmp_path):
    with pytest.raises(ConfigError, match="VAGUS_TOKEN"):
        find("http://x:1")
