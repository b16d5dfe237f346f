"""How the tunables of a process are found and reached: an announcement and a socket in the machine's run folder.

`HOME/run/HOST/tunables/PID-XXXX.json` says what there is and where; it is touched every 10 s, and counts for nothing
30 s after that. Beside it lies the socket, which only this user can reach. One line of JSON is a request
(`{"do": "get"|"set", "service", "instance", "name", "value"}`), one line its answer (`{"value"}`, or `{"error"}` with the words of
the refusal). A program in any other language may leave such a file with endpoints, and touch it.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vagus.errors import ConfigError

if TYPE_CHECKING:
    from vagus.client.tunables import Tunable

RENEW_S = 10.0
LEASE_S = 30.0
FORGET_S = 600.0  # a file that was not touched for so long is removed by whoever comes next
MAX_TUNABLES = 1000
MAX_LINE_BYTES = 64 << 10
MAX_PATH_BYTES = 100  # of a unix socket, on every system
PEER_S = 2.0  # for a peer to say what it wants
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


class TunableServer:
    """The socket, its thread, and what is announced. `folder` is given in tests."""

    def __init__(self, folder: Callable[[], Path] | None = None) -> None:
        self._folder = folder or _folder
        self._reset()

    def _reset(self) -> None:
        """As new: at the start, and in a forked child, where nothing is registered."""
        self.problem = ""
        self._tunables: dict[tuple[str, str, str], Tunable] = {}
        self._lock = threading.Lock()
        self._announced = threading.Condition(self._lock)
        self._version = self._told_version = 0
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._file: Path | None = None
        self._bell = -1
        self._hears = -1
        self._stopping = False
        self._pid = os.getpid()

    # --- called by the program's threads -----------------------------------------------------------------------------

    def add(self, tunable: Tunable) -> None:
        """Raises ConfigError: there is one of its name, or too many."""
        key = (tunable.service, tunable.instance, tunable.name)
        with self._lock:
            if key in self._tunables:
                raise ConfigError(f"{tunable} is registered already; end() that one, or give an instance")
            if len(self._tunables) >= MAX_TUNABLES:
                raise ConfigError(f"a process has at most {MAX_TUNABLES} tunables")
            self._tunables[key] = tunable
            self._version += 1
            self._start()
        self._ring()

    def remove(self, tunable: Tunable) -> None:
        key = (tunable.service, tunable.instance, tunable.name)
        with self._lock:
            if self._tunables.get(key) is not tunable:
                return
            del self._tunables[key]
            self._version += 1
        self._ring()

    def wait(self, timeout_s: float) -> bool:
        """Whether what is registered now was announced in time."""
        with self._lock:
            wanted = self._version
            return self._announced.wait_for(lambda: self._told_version >= wanted, timeout_s)

    def close(self) -> None:
        """Takes the announcement back; at exit, too. What is added afterwards starts it anew."""
        thread = self._thread
        if thread is None or self._pid != os.getpid():
            return
        self._stopping = True
        self._ring()
        thread.join(1.0)
        self._remove_files()
        with self._lock:
            self._thread = None
            self._stopping = False

    def abandon(self) -> None:
        """In a forked child: the socket is the parent's."""
        for fd in (self._bell, self._hears):
            if fd >= 0:
                os.close(fd)
        if self._listener is not None:
            self._listener.close()
        self._reset()

    def _start(self) -> None:
        if self._thread is None:
            self._hears, self._bell = os.pipe()
            os.set_blocking(self._bell, False)
            self._thread = threading.Thread(target=self._run, name="vagus-tunables", daemon=True)
            self._thread.start()

    def _ring(self) -> None:
        try:
            os.write(self._bell, b"!")
        except OSError:  # full: it rings already; closed: there is no thread
            pass

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        hears, bell = self._hears, self._bell
        due, version = 0.0, -1
        poll = select.poll()  # not select(): a busy program has descriptors beyond its 1024
        poll.register(hears, select.POLLIN)
        while not self._stopping:
            now = time.monotonic()
            if now >= due or version != self._version:
                version, due = self._version, now + RENEW_S
                self._announce(version)
            listener = self._listener
            if listener is not None:
                poll.register(listener, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
            if hears in ready:
                os.read(hears, 4096)
            if listener is not None:
                poll.unregister(listener)
                if listener.fileno() in ready:
                    self._serve()
        os.close(hears)
        os.close(bell)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _announce(self, version: int) -> None:
        """Writes the announcement; what hinders it is tried again with the next renewal."""
        with self._lock:
            entries = [tunable.entry() for tunable in self._tunables.values()]
        try:
            if self._listener is None or self._file is None or not self._file.parent.is_dir():
                self._open()
            assert self._file is not None
            assert self._listener is not None
            told = {"v": 1, "pid": os.getpid(), "lease_s": LEASE_S, "socket": self._listener.getsockname()}
            _write(self._file, json.dumps({**told, "tunables": entries}).encode())
            self.problem = ""
        except Exception as error:  # whatever it is, the program must not notice
            self.problem = f"the tunables of this process cannot be announced: {error}"[:500]
        with self._lock:
            self._told_version = version
            self._announced.notify_all()

    def _open(self) -> None:
        """Makes the socket, sweeps what others left behind. Raises OSError, ConfigError."""
        folder = self._folder()
        _private(folder)
        _sweep(folder)
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        path = folder / f"{name}.sock"
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            path = _short(name)
            _private(path.parent)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            os.fchmod(listener.fileno(), 0o600)  # before it has a name: there is no moment when others may connect
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(16)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._remove_files()
        if self._listener is not None:
            self._listener.close()
        self._listener, self._file = listener, folder / f"{name}.json"

    def _remove_files(self) -> None:
        if self._file is not None:
            _remove(self._file)

    def _serve(self) -> None:
        """One peer: its request, its answer."""
        try:
            assert self._listener is not None
            peer, _ = self._listener.accept()
        except OSError:
            return
        with peer:
            try:
                told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                if _CREDENTIALS.unpack(told)[1] not in (os.geteuid(), 0):
                    return
                answer = self._answer(_line(peer))
                peer.settimeout(PEER_S)
                peer.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError):
                return  # it left, or sent nothing that has an answer

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            key = (str(request["service"]), str(request["instance"]), str(request["name"]))
            todo = request["do"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"error": f"malformed request: {type(error).__name__}: {error}"[:200]}
        with self._lock:
            tunable = self._tunables.get(key)
        if tunable is None:
            return {"gone": True, "error": f"this process has no tunable {key[2][:64]!r} of {key[0][:64]!r}"}
        try:
            if todo == "get":
                return {"value": tunable.read()}
            if todo == "set":
                return {"value": tunable.write(request.get("value"))}
            return {"error": f"unknown request {str(todo)[:40]!r}"}
        except ConfigError as error:
            return {"error": str(error)[:400]}
        except Exception as error:  # the program's own callback
            return {"error": _words(error)}


def _words(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # its own __str__
        text = ""
    return f"{type(error).__name__}{': ' if text else ''}{text}"[:400]


def _line(peer: socket.socket) -> bytes:
    deadline = time.monotonic() + PEER_S
    line = b""
    while not line.endswith(b"\n"):
        peer.settimeout(max(0.001, deadline - time.monotonic()))
        data = peer.recv(4096)
        line += data
        if not data or len(line) > MAX_LINE_BYTES:
            raise ValueError("no line")
    return line


def _folder() -> Path:
    from vagus import config  # loaded only when something is registered

    return config.run_folder(config.home()) / "tunables"


def _private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.geteuid():
        raise ConfigError(f"{folder} belongs to another user: set VAGUS_HOME to a folder of your own")


def _write(path: Path, content: bytes) -> None:
    """Anew and whole, or not at all; its time is the renewal. It is soft state: not synced."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _sweep(folder: Path) -> None:
    oldest = time.time() - FORGET_S
    for path in folder.glob("*.json"):
        try:
            if path.stat().st_mtime < oldest:
                _remove(path)
        except OSError:
            pass


def _remove(announcement: Path) -> None:
    """The file and its socket, wherever that is."""
    for path in (announcement, announcement.with_suffix(".sock"), _short(announcement.stem)):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            pass


def _short(name: str) -> Path:
    """Where a socket is whose folder has too long a name; not in $TMPDIR, which may differ between programs."""
    return Path("/tmp") / f"vagus-{os.geteuid()}" / f"{name}.sock"  # noqa: S108


SERVER = TunableServer()
atexit.register(SERVER.close)
os.register_at_fork(after_in_child=SERVER.abandon)
