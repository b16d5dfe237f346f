"""`vagus health serve` as processes: three of one configuration exchange reports, one is killed, comes back, catches up."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

from vagus.client.connection import Connection
from vagus.errors import NoData, PeerUnreachable

pytestmark = pytest.mark.system
TIMEOUT_S = 30.0 * PATIENCE


class Served:
    """Observers of one configuration and one state folder, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.first = _free_ports(3)
        made = self.vagus(
            *("config", "new", "--nodes", "3", "--first", str(self.first), "--address", "127.0.0.1:%d"),
            *("--id", "pano%d", "--subjects", "db@2,queue", "--output", str(folder / "hs.cfg")),
        )
        assert made.returncode == 0, made.stderr
        self.processes: dict[int, subprocess.Popen[str]] = {}

    def vagus(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        command = [sys.executable, "-m", "vagus", "--home", str(self.home), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=_env())

    def start(self, *numbers: int, **env: str) -> list[dict[str, Any]]:
        """Starts them together; what each says when it is ready."""
        for n in numbers:
            args = ("--home", str(self.home), "health", "serve", "--config", str(self.folder / "hs.cfg"), "--json")
            with open(self.folder / f"{n}.log", "a") as log:
                self.processes[n] = subprocess.Popen(
                    [sys.executable, "-m", "vagus", *args, f"pano{self.first + n}"],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**_env(), **env},
                )
        lines = [self.processes[n].stdout.readline() for n in numbers]  # type: ignore[union-attr]
        assert all(lines), [(self.folder / f"{n}.log").read_text() for n in numbers]
        return [json.loads(line) for line in lines]

    def end(self, n: int, how: int) -> int:
        """Sends a signal and waits; the exit status."""
        process = self.processes.pop(n)
        process.send_signal(how)
        code = process.wait(TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def at(self, n: int) -> Connection:
        """The gateway of one of them."""
        return Connection(f"http://127.0.0.1:{self.first + n}", (self.home / "token").read_text())


def _env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}


def _free_ports(count: int) -> int:
    """The first of so many following ports that are free for TCP and UDP."""
    for _ in range(100):
        first = random.randrange(20_000, 30_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def _eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            if what():
                return
        except (NoData, PeerUnreachable):
            pass
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    for n in list(made.processes):
        made.end(n, signal.SIGKILL)


def _contexts(served: Served, n: int, subject: str = "db@2") -> set[str]:
    with served.at(n) as connection:
        return set(connection.inference(subject).contexts)


def test_three_processes_one_killed_comes_back_and_catches_up(served: Served) -> None:
    ready = served.start(0, 1, 2)
    assert [line["url"] for line in ready] == [f"http://127.0.0.1:{served.first + n}" for n in range(3)]
    assert ready[0]["gossip"] == ["127.0.0.1", served.first]
    assert len(ready[0]["peers"]) == 2
    assert len({(served.home / "secret").read_text()}) == 1

    with served.at(0) as connection:
        assert connection.report("db@2", {"read": ("UNHEALTHY", 30)}, observer="api@1") == "ACCEPTED"
    for n in (1, 2):
        _eventually(lambda n=n: _contexts(served, n) == {"read"})
    with served.at(2) as connection:
        assert connection.report("queue", {"depth": "h"}, observer="api@2") == "ACCEPTED"

    assert served.end(2, signal.SIGKILL) == -signal.SIGKILL
    with served.at(0) as connection:  # what it misses
        assert connection.report("db@2", {"write": ("DEAD", 1)}, observer="api@1") == "ACCEPTED"
    served.start(2)
    assert _contexts(served, 2, "queue") == {"depth"}, "its own history"
    _eventually(lambda: _contexts(served, 2) == {"read", "write"})

    shown = served.vagus("health", "--server", f"127.0.0.1:{served.first + 2}", "get", "panorama", "db@2")
    assert shown.stdout.startswith("[[... api@1->db@2 (2 observations) ...]]\n|api@1| "), shown.stderr
    told = served.vagus(
        "health", "tail", "--since", "5m", "-n", "2", "--server", f"127.0.0.1:{served.first + 2}", "--json"
    )
    changes = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(c["subject"], c["was"], c["status"]) for c in changes] == [
        ("db@2", "NA", "UNHEALTHY"),  # of its life before
        ("queue", "NA", "HEALTHY"),
    ]
    for n in range(3):
        assert served.end(n, signal.SIGTERM if n else signal.SIGINT) == 0
    assert list(served.home.glob("nodes/*/gateway.json")) == []
    away = served.vagus("health", "list")
    assert (away.returncode, away.stderr.count("\n")) == (1, 1)


def test_a_second_one_of_the_same_id_and_a_taken_port_are_refused(served: Served) -> None:
    served.start(0)
    again = served.vagus("health", "serve", "--config", str(served.folder / "hs.cfg"))
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in again.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", served.first + 1))
        taken.listen()
        refused = served.vagus("health", "serve", "--config", str(served.folder / "hs.cfg"), f"pano{served.first + 1}")
    assert refused.returncode == 1
    assert f"port {served.first + 1} of 127.0.0.1 is taken" in refused.stderr
    elsewhere = served.vagus("health", "serve", "--address", "192.0.2.1:6688", "x")
    assert "name an address of this machine" in elsewhere.stderr
    nowhere = served.vagus("--home", "/proc/x", "health", "serve", "x")
    assert nowhere.stderr.startswith("error: cannot write the state folder /proc/x: ")
    assert served.end(0, signal.SIGTERM) == 0


def test_systemd_is_told_and_memory_is_logged(served: Served, tmp_path: Path) -> None:
    config = json.loads((served.folder / "hs.cfg").read_text())
    config["DumpMemUsage"] = True
    config["Peers"]["elsewhere"] = "no-such-host.invalid:6688"
    (served.folder / "hs.cfg").write_text(json.dumps(config))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "n"))
        notified.settimeout(TIMEOUT_S)
        ready = served.start(0, NOTIFY_SOCKET=str(tmp_path / "n"))
        assert notified.recv(100) == b"READY=1"
        assert ready[0]["unresolved"] == ["elsewhere"]
        assert served.end(0, signal.SIGTERM) == 0
        assert notified.recv(100) == b"STOPPING=1"
    logged = [json.loads(line) for line in (served.folder / "0.log").read_text().splitlines() if line[0] == "{"]
    assert next(line for line in logged if line["event"] == "memory")["memory_bytes"] > 1 << 20


def test_feature_10_one_process_serves_several(served: Served) -> None:
    names = [f"pano{served.first + n}" for n in range(3)]
    args = ["--home", str(served.home), "health", "serve", "--config", str(served.folder / "hs.cfg"), "--json", *names]
    process = subprocess.Popen([sys.executable, "-m", "vagus", *args], stdout=subprocess.PIPE, text=True, env=_env())
    served.processes[0] = process
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["node"] for _ in names] == names
    with served.at(0) as connection:
        assert connection.report("db@2", {"read": "u"}, observer="api@1") == "ACCEPTED"
    for n in range(3):
        _eventually(lambda n=n: _contexts(served, n) == {"read"})
    assert served.end(0, signal.SIGTERM) == 0
    wrong = served.vagus("health", "serve", "--config", str(served.folder / "hs.cfg"), "--address", "h:1", *names)
    assert wrong.returncode == 2
    assert "--address is of one observer" in wrong.stderr


def test_ray_is_not_loaded() -> None:
    code = (
        "import sys, vagus.actors.health_process, vagus.cli.health_serve, vagus.runtime.logs\n"
        "print(sorted({'ray', 'pyarrow', 'matplotlib', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
