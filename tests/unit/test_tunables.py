"""Tunables from the program that registers them to the actuator that sets them, and back."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import vagus
from vagus.actuators.announced import announced
from vagus.actuators.apply import apply
from vagus.actuators.tunable import TunableActuator
from vagus.client import tunable_server
from vagus.client.tunable_server import TunableServer
from vagus.client.tunables import tunable
from vagus.config import ActSettings
from vagus.errors import ActuateError, ConfigError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, perform, undo
from vagus.undo.tunable import ask
from vagus.watchdog import Watchdog, recover

TRANSFER = Target("tunable", "transfer")


class Transfer:
    """A service with two numbers; `refuse` makes the next change fail."""

    def __init__(self) -> None:
        self.streams = 2
        self.buffer_bytes = 65536.0
        self.refuse: Exception | None = None
        self.threads: set[str] = set()

    def resize(self, streams: int) -> None:
        self.threads.add(threading.current_thread().name)
        if self.refuse is not None:
            raise self.refuse
        assert isinstance(streams, int)
        self.streams = streams

    def register(self, server: TunableServer, instance: str = "") -> None:
        common = {"service": "transfer", "instance": instance, "server": server}
        tunable("streams", low=1, high=16, whole=True, get=lambda: self.streams, set=self.resize, **common)
        get_set = {"get": lambda: self.buffer_bytes, "set": lambda v: setattr(self, "buffer_bytes", v)}
        tunable("buffer_bytes", unit="bytes", low=4096, high=1 << 24, **get_set, **common)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "tunables"


@pytest.fixture
def server(folder: Path) -> Iterator[TunableServer]:
    made = TunableServer(lambda: folder)
    yield made
    made.close()


@pytest.fixture
def service(server: TunableServer) -> Transfer:
    made = Transfer()
    made.register(server)
    assert server.wait(5)
    assert server.problem == ""
    return made


@pytest.fixture
def actuator(folder: Path) -> TunableActuator:
    made = TunableActuator()
    made.configure(ActSettings(), folder.parent)
    return made


# --- set and restored ----------------------------------------------------------------------------------------------------


def test_a_number_is_set_read_back_and_restored(service, actuator):
    assert set(actuator.supports(TRANSFER)) == {"streams", "buffer_bytes"}
    assert actuator.read(TRANSFER, "streams") == 2.0
    plan = actuator.plan(Action(TRANSFER, "streams", 8.0))
    assert service.streams == 2, "planning changes nothing"
    apply(plan)
    assert service.streams == 8
    assert plan.shown(actuator.read(TRANSFER, "streams"))
    assert undo(plan.undo) == []
    assert service.streams == 2
    assert service.threads == {"vagus-tunables"}
    apply(actuator.plan(Action(TRANSFER, "buffer_bytes", 1e6)))
    assert service.buffer_bytes == 1e6


def test_two_numbers_of_a_process_are_undone_apart(service, actuator):
    plans = [
        actuator.plan(Action(TRANSFER, name, 5000.0 if name == "buffer_bytes" else 3.0))
        for name in ("streams", "buffer_bytes")
    ]
    assert len({step.key for plan in plans for step in plan.undo}) == 2


def test_a_refusal_quotes_the_service_and_changes_nothing(service, actuator):
    service.refuse = RuntimeError("no more sockets")
    with pytest.raises(Rejected, match="RuntimeError: no more sockets"):
        apply(actuator.plan(Action(TRANSFER, "streams", 8.0)))
    assert service.streams == 2


@pytest.mark.parametrize("value", [0.0, 17.0, -1.0, float("nan"), float("inf"), 1.5])
def test_values_that_the_actuator_refuses(service, actuator, value):
    with pytest.raises(Rejected, match=r"its service takes 1 to 16|is a whole number"):
        actuator.plan(Action(TRANSFER, "streams", value))
    with pytest.raises(Unsupported, match="always has a value"):
        actuator.plan(Action(TRANSFER, "streams", None))
    assert service.streams == 2


@pytest.mark.parametrize("value", [0, 17, 1.5, "4", None, True, [], float("nan")])
def test_the_service_checks_for_itself(service, folder, value):
    one = next(a for a in announced(folder) if a.name == "streams")
    key = {"service": "transfer", "instance": str(os.getpid()), "name": "streams"}
    told = {**key, "value": value}
    with pytest.raises(Rejected, match=r"outside its bounds|not a whole number|not a finite number"):
        perform(Step("tunable", one.socket, json.dumps(told), "transfer/1/streams"))
    assert service.streams == 2


def test_all_instances_are_steered_as_one_and_restored_each(server, folder, actuator):
    first, second = Transfer(), Transfer()
    second.streams = 6
    first.register(server, "job-1")
    second.register(server, "job-2")
    assert server.wait(5)
    assert actuator.read(TRANSFER, "streams") == 2.0, "the least"
    plan = actuator.plan(Action(TRANSFER, "streams", 4.0))
    apply(plan)
    assert (first.streams, second.streams) == (4, 4)
    undo(plan.undo)
    assert (first.streams, second.streams) == (2, 6)
    apply(actuator.plan(Action(Target("tunable", "transfer/job-2"), "streams", 9.0)))
    assert (first.streams, second.streams) == (2, 9)
    second.refuse = ValueError("busy")
    with pytest.raises(Rejected, match="busy"):
        apply(actuator.plan(Action(TRANSFER, "streams", 5.0)))
    assert first.streams == 2, "all or none"


# --- what ends -----------------------------------------------------------------------------------------------------------


def test_a_service_that_has_ended_has_nothing_to_undo(folder, actuator):
    code = (
        "import sys, vagus\n"
        "from vagus.client.tunable_server import SERVER\n"
        "value = [3]\n"
        "vagus.tunable('n', low=1, high=9, get=lambda: value[0], set=lambda v: value.__setitem__(0, v), service='other')\n"
        "assert SERVER.wait(10)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    environment = {**os.environ, "VAGUS_HOME": str(folder.parents[1])}
    actuator.configure(ActSettings(), folder.parents[1] / "run" / os.uname().nodename)
    target = Target("tunable", "other")
    for kill in (True, False):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdout.readline() == b"ready\n"
            plan = actuator.plan(Action(target, "n", 5.0))
            apply(plan)
            assert actuator.read(target, "n") == 5.0
            if kill:
                process.kill()
            else:
                process.stdin.close()
            process.wait(10)
        assert undo(plan.undo) == []
        with pytest.raises(ActuateError, match="has ended" if kill else "no service registered"):
            actuator.read(target, "n")
        if kill:  # what a killed one left behind ends with its lease
            [left] = actuator.folder.glob("*.json")
            assert announced(actuator.folder, time.time() + 31) == []
            os.utime(left, (1.0, 1.0))  # and is swept by whoever comes next


def test_what_is_ended_is_gone(server, folder, actuator):
    made = tunable("n", low=0, high=1, get=lambda: 0, set=lambda v: None, service="s", server=server)
    assert server.wait(5)
    plan = actuator.plan(Action(Target("tunable", "s"), "n", 1.0))
    made.end()
    made.end()
    assert server.wait(5)
    assert undo(plan.undo) == []
    with pytest.raises(
        Unsupported, match=r"no service registered tunable:s on this machine \(vagus.tunable\); there are none"
    ):
        actuator.read(Target("tunable", "s"), "n")


def test_a_child_process_has_none_of_them(service, folder):
    """The listening socket is the parent's: a child that outlives it must not look like a service that hangs."""
    code = """
import os, sys, vagus
from vagus.client.tunable_server import SERVER
vagus.tunable("n", low=0, high=1, get=lambda: 0, set=print, service="s")
assert SERVER.wait(10)
path = SERVER._listener.getsockname()
if os.fork() == 0:
    assert SERVER._listener is None and SERVER._tunables == {}
    vagus.tunable("n", low=0, high=1, get=lambda: 0, set=print, service="s")  # its own
    assert SERVER.wait(10) and SERVER._listener.getsockname() != path
    SERVER.close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    environment = {**os.environ, "VAGUS_HOME": str(folder.parents[1] / "other")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=environment)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_it_announces_itself_anew_where_the_folder_was_removed(service, server, folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    tunable("more", low=0, high=1, get=lambda: 0, set=lambda v: None, service="transfer", server=server)
    assert server.wait(5)
    assert {one.name for one in announced(folder)} == {"streams", "buffer_bytes", "more"}


def test_what_hinders_the_announcement_is_told_and_not_raised(tmp_path):
    (tmp_path / "file").write_text("")
    server = TunableServer(lambda: tmp_path / "file" / "tunables")
    made = tunable("n", low=0, high=1, get=lambda: 0, set=lambda v: None, server=server)
    assert server.wait(5)
    assert "cannot be announced" in made.problem
    server.close()


def test_a_folder_with_a_long_name(tmp_path, actuator):
    folder = tmp_path / ("x" * 90) / "tunables"
    server = TunableServer(lambda: folder)
    tunable("n", low=0, high=9, get=lambda: 4, set=lambda v: None, service="s", server=server)
    assert server.wait(5)
    actuator.configure(ActSettings(), folder.parent)
    [one] = announced(folder)
    assert len(one.socket) < 108
    assert actuator.read(Target("tunable", "s"), "n") == 4.0
    server.close()
    assert not Path(one.socket).exists()
    assert list(folder.iterdir()) == []


# --- the socket --------------------------------------------------------------------------------------------------------


@pytest.mark.says("tunable-sockets")
def test_only_this_user_reaches_it(service, folder):
    one = announced(folder)[0]
    assert stat.S_IMODE(os.stat(one.socket).st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
@pytest.mark.says("tunable-sockets")
def test_another_user_is_not_answered_and_not_trusted(tmp_path):
    with tempfile.TemporaryDirectory() as place:  # pytest's own folder lets nobody in, and is to stay so
        os.chmod(place, 0o711)
        folder = Path(place) / "tunables"
        made = TunableServer(lambda: folder)
        try:
            Transfer().register(made)
            assert made.wait(5)
            os.chmod(folder, 0o711)
            not_trusted(folder, tmp_path)
        finally:
            made.close()


def not_trusted(folder: Path, tmp_path: Path) -> None:
    one = announced(folder)[0]
    os.chmod(one.socket, 0o666)
    code = f"""
import os, socket
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    s.connect({one.socket!r})
    try:
        s.sendall(b"{{}}\\n")
        print(s.recv(100))
    except OSError:  # closed before it was read
        print(b"")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "b''\n", done.stderr
    theirs = tmp_path / "theirs.sock"
    code = (
        f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind({str(theirs)!r}); os.chown({str(theirs)!r}, 65534, 65534);"
        "os.setuid(65534); s.listen(); print('up', flush=True); s.accept()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        with pytest.raises(OSError, match="user 65534 listens"):
            ask(str(theirs), {"do": "get"})
        process.wait(10)
    file = next(folder.glob("*.json"))
    os.chown(file, 65534, 65534)
    assert announced(folder) == []


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"do": "get"}\n',
        b"[" * 5000 + b"\n",
        b'{"do":1,"service":2,"instance":3,"name":4}\n',
    ],
)
def test_malformed_requests_are_answered(service, folder, line):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(announced(folder)[0].socket)
        sock.sendall(line)
        answer = json.loads(sock.recv(4096))
    assert "error" in answer
    assert service.streams == 2


@pytest.mark.says("limit-tunable")
def test_unknown_requests_and_too_long_ones(service, folder, monkeypatch):
    path = announced(folder)[0].socket
    key = {"service": "transfer", "instance": str(os.getpid()), "name": "streams"}
    assert "unknown request" in ask(path, {"do": "dance", **key})["error"]
    assert ask(path, {"do": "get", **key, "name": "nope"})["gone"]
    with pytest.raises(OSError, match=r"ended before it answered|has ended"):
        ask(path, {"do": "x" * (1 << 17)})
    monkeypatch.setattr(tunable_server, "PEER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(path)
        assert ask(path, {"do": "get", **key}) == {"value": 2}, "a silent peer holds nobody up for long"


def test_a_peer_that_is_no_service(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(OSError, match=r"did not answer within 0\.05 s"):
            ask(path, {"do": "get"}, 0.05)
        listener.accept()[0].close()

        def babble() -> None:
            with listener.accept()[0] as peer:
                peer.recv(100)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(OSError, match="is no service with tunables"):
            ask(path, {"do": "get"})
        thread.join()


# --- callbacks that misbehave --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "5", float("nan"), True, [1]])
def test_a_get_that_returns_no_number(server, actuator, value):
    tunable("n", low=0, high=9, get=lambda: value, set=lambda v: None, service="s", server=server)
    assert server.wait(5)
    with pytest.raises(ActuateError, match="not a finite number"):
        actuator.read(Target("tunable", "s"), "n")


def test_an_exception_that_cannot_be_printed(server, actuator):
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def get() -> float:
        raise Bad

    tunable("n", low=0, high=9, get=get, set=lambda v: None, service="s", server=server)
    assert server.wait(5)
    with pytest.raises(ActuateError, match="'Bad'"):
        actuator.read(Target("tunable", "s"), "n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": ""}, "1 to 64 letters"),
        ({"name": "a/b"}, "1 to 64 letters"),
        ({"service": "a b"}, "1 to 64 letters"),
        ({"instance": "x" * 65}, "1 to 64 letters"),
        ({"low": 2, "high": 1}, "in order"),
        ({"low": float("-inf")}, "in order"),
        ({"low": "1"}, "in order"),
        ({"unit": "x" * 41}, "the unit is"),
        ({"get": None}, "needs get= and set="),
        ({"endpoint": "http://h/"}, "needs get= and set="),
        ({"get": None, "set": None}, "needs get= and set="),
        ({"get": None, "set": None, "endpoint": "ftp://h"}, "no http:// or https:// URL"),
        ({"get": 3}, "cannot be called"),
    ],
)
def test_what_cannot_be_registered(server, arguments, words):
    good = {"name": "n", "low": 0, "high": 1, "get": lambda: 0, "set": lambda v: None, "service": "s", "server": server}
    with pytest.raises(ConfigError, match=words):
        tunable(**{**good, **arguments})


def test_a_name_is_registered_once(server):
    good = {"low": 0, "high": 1, "get": lambda: 0, "set": lambda v: None, "service": "s", "server": server}
    tunable("n", **good)
    with pytest.raises(ConfigError, match="registered already"):
        tunable("n", **good)
    assert vagus.tunable is tunable


# --- announcements ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"tunables": [{}]}', '{"tunables": 3}', '{"tunables": [], "lease_s": 1e9}',
     '{"tunables": [{"service": "a/b", "instance": "1", "name": "n", "low": 0, "high": 1}], "socket": "/x"}',
     '{"tunables": [{"service": "a", "instance": "1", "name": "n", "low": 2, "high": 1}], "socket": "/x"}',
     '{"tunables": [{"service": "a", "instance": "1", "name": "n", "low": 0, "high": 1}]}', "x" * ((1 << 20) + 1)],
)  # fmt: skip
def test_files_that_are_no_announcements_are_skipped(service, folder, text):
    (folder / "other.json").write_text(text)
    assert {one.service for one in announced(folder)} == {"transfer"}


# --- endpoints -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, told: object) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(200, {"value": self.server.value})

        def do_PUT(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.seen = dict(self.headers)
            if self.server.refuse:
                self.answer(409, {"error": self.server.refuse})
                return
            self.server.value = told["value"]
            self.answer(200, told)

        def log_message(self, *_: object) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.value, made.refuse, made.seen = 3, "", {}
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_an_endpoint_in_place_of_callbacks(server, actuator, endpoint, tmp_path):
    token = tmp_path / "token"
    token.write_text("abc")
    url = f"http://127.0.0.1:{endpoint.server_port}/streams"
    target = Target("tunable", "remote")
    tunable("streams", low=1, high=8, whole=True, endpoint=url, service="remote", token_file=str(token), server=server)
    assert server.wait(5)
    plan = actuator.plan(Action(target, "streams", 5.0))
    apply(plan)
    assert endpoint.value == 5
    assert endpoint.seen["Authorization"] == "Bearer abc"
    assert actuator.read(target, "streams") == 5.0
    endpoint.refuse = "too many"
    with pytest.raises(Rejected, match="409 Conflict: too many"):
        apply(actuator.plan(Action(target, "streams", 6.0)))
    endpoint.refuse = ""
    assert undo(plan.undo) == []
    assert endpoint.value == 3
    endpoint.shutdown()
    endpoint.server_close()
    assert undo(plan.undo) == [], "it has ended: nothing to undo"
    with pytest.raises(ActuateError, match="Connection refused"):
        actuator.read(target, "streams")


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ("/usr/bin/web.py", "web.py"),
        ("/srv/shop/__main__.py", "shop"),
        ("-c", "c"),
        ("", "python"),
        ("/x/__é", "python"),
    ],
)
def test_the_service_is_called_as_its_program(server, monkeypatch, argv, name):
    monkeypatch.setattr(sys, "argv", [argv])
    assert tunable("n", low=0, high=1, get=lambda: 0, set=lambda v: None, server=server).service == name


def test_the_directory_lists_them_while_their_lease_runs(service, folder, tmp_path, monkeypatch):
    from vagus.actors import steerable as listing

    monkeypatch.setattr(listing, "run_folder", lambda home: folder.parent)
    found = {entry.labels["name"]: entry for entry in listing.steerable(tmp_path, "n1", "http://x")}
    streams = found["streams"]
    assert (streams.type, streams.name) == ("actuator", f"tunable:transfer/{os.getpid()}")
    assert (streams.node, streams.live, streams.online) == ("n1", True, "http://x")
    assert streams.labels == {
        "service": "transfer",
        "instance": str(os.getpid()),
        "name": "streams",
        "low": "1",
        "high": "16",
        "whole": "yes",
    }
    assert found["buffer_bytes"].labels["unit"] == "bytes"
    assert found["buffer_bytes"].labels["high"] == "16777216"
    assert streams.expires_ns - streams.last_ns == 30 * 10**9
    assert listing.steerable(tmp_path, "n1", "", now_s=streams.expires_ns / 1e9 + 0.01) == []
    assert listing.steerable(tmp_path, "n1", "", now_s=streams.expires_ns / 1e9 - 1)


def test_the_watchdog_restores_it_when_the_controller_is_gone(service, actuator, tmp_path):
    watchdog = Watchdog(tmp_path / "journal", 10.0)
    watchdog.start()
    plan = actuator.plan(Action(TRANSFER, "streams", 8.0))
    watchdog.journal(plan.undo)
    apply(plan)
    assert service.streams == 8
    watchdog.close()  # as the kernel does for a process that was killed
    done = recover(tmp_path / "journal", wait_s=10)
    assert done.failures == ()
    assert service.streams == 2
