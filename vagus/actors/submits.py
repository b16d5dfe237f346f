"""The unix stream socket `observer.sock`: reports of local programs, each frame answered once its commit is done.

A frame is its length (4 bytes, big-endian) and a body: reports as `health.inbox.read_reports` takes them, or a
MessagePack map `{"handle": N}`, in whose name the frames behind it report. Each frame is answered by one, in order: a
MessagePack array with an ack for each report (empty for a handle), or a map `{"error": text}` when the body was no
report or may not be sent. A frame that is too long is answered so, and the connection closed.

Nothing here grows: a client that does not read its answers is not read any further, and closed when that lasts; one
that stops amid a frame too. Answers are written by the thread that commits, so that no answer waits for the loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from vagus.access import Principal
from vagus.actors.datagrams import CREDENTIALS, make_folder
from vagus.actors.frames import EMPTY, LENGTH, Answer, framed, is_greeting, read_greeting, refusal
from vagus.actors.keeping import Keeper, Kept
from vagus.actors.submit_client import Client
from vagus.errors import ConfigError, PeerUnreachable, Refused
from vagus.health.inbox import MAX_INBOX_BYTES, read_reports
from vagus.model import Ack, Report

MAX_CONNECTIONS = 1000
FEW = 8
"""Of so many clients each frame may have a commit of its own; more share them."""
TURN = 32
"""Frames served before others get their turn."""
TURN_REPORTS = 100
STALL_S = 30.0
"""A client that reads no answer, or sends no more of a begun frame, for so long is closed."""
Allowed = Callable[[Principal, Sequence[Report]], None]
"""Raises Refused when the rules forbid somebody one of these reports."""
Take = Callable[[Sequence[Report], int], "tuple[list[Ack], list[Kept]]"]
"""Takes reports in the name of a handle: the acks, and what is to be kept."""


class Submits:
    """The socket and its connections. `counts`: frames, bad, refused, crowded, stalled (connections)."""

    def __init__(self, allowed: Allowed, take: Take, failed: Callable[[str, BaseException], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._allowed = allowed
        self._take = take
        self._failed = failed
        self._keeper: Keeper | None = None
        self._path: Path | None = None
        self._server: socket.socket | None = None
        self._clients: dict[int, Client] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """Connections."""
        return len(self._clients)

    def start(self, path: Path, keeper: Keeper) -> None:
        """Listens, in the running loop. Raises ConfigError."""
        self._loop = asyncio.get_running_loop()
        self._keeper, self._path = keeper, path
        self._server = _listen(path)
        self._loop.add_reader(self._server.fileno(), self._accept)

    def stop(self) -> None:
        """Takes no more, closes the connections. What was taken is committed, its answer may be lost. Idempotent."""
        if self._server is None or self._loop is None or self._path is None:
            return
        self._loop.remove_reader(self._server.fileno())
        self._server.close()
        self._path.unlink(missing_ok=True)
        self._server = None
        for client in list(self._clients.values()):
            self._close(client)

    def sweep(self) -> None:
        """Closes whoever stalls; to be called every few seconds."""
        since_s = time.monotonic() - STALL_S
        for client in list(self._clients.values()):
            if client.is_stalled(since_s):
                self.counts["stalled"] += 1
                self._close(client)

    # --- in the loop -------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(TURN):
            if self._server is None or self._loop is None:
                return
            try:
                sock, _ = self._server.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptors left: those who wait are served when there are
                self._failed("observer.sock", error)
                self._loop.remove_reader(self._server.fileno())
                self._loop.call_later(1.0, self._listen_on)
                return
            sock.setblocking(False)
            if len(self._clients) >= MAX_CONNECTIONS:
                self.counts["crowded"] += 1
                with suppress(OSError):
                    sock.send(refusal(f"this observer has {MAX_CONNECTIONS} connections already; close some"))
                sock.close()
                continue
            told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            client = Client(sock, Principal("uid", str(CREDENTIALS.unpack(told)[1])))
            self._clients[sock.fileno()] = client
            self._loop.add_reader(sock.fileno(), self._readable, client)

    def _listen_on(self) -> None:
        if self._server is not None and self._loop is not None:
            self._loop.add_reader(self._server.fileno(), self._accept)

    def _readable(self, client: Client) -> None:
        try:
            data = client.sock.recv(MAX_INBOX_BYTES + 4 - len(client.begun))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._close(client)  # what it sent is committed nevertheless
            return
        client.begun += data
        self._serve(client)

    def _serve(self, client: Client) -> None:
        """Serves complete frames, one turn of them, then decides whether to read on."""
        at = served = 0
        handle, begun = client.handle, client.begun
        batch: list[Report] = []
        answers: list[Answer] = []  # of each frame: how many reports it had, or its answer
        broken = False
        while len(begun) - at >= 4 and served < TURN and len(batch) < TURN_REPORTS:
            (length,) = LENGTH.unpack_from(begun, at)
            if length > MAX_INBOX_BYTES:
                answers.append(self._bad(f"a frame of {length} bytes; at most {MAX_INBOX_BYTES} are taken: split it"))
                broken = True  # where the next one begins is not known
                break
            if len(begun) - at - 4 < length:
                break
            body = bytes(begun[at + 4 : at + 4 + length])
            at += 4 + length
            served += 1
            answers.append(self._read(client, body, batch))
            if client.handle != handle:
                break  # it counts from the next frame
        del begun[:at]
        if answers:
            self.counts["frames"] += served
            self._take_in(client, handle, batch, answers, broken)
        if not broken:
            self._pace(client)
        elif self._loop is not None and not client.closed:
            self._loop.remove_reader(client.sock.fileno())  # its answers go out, then it is closed

    def _read(self, client: Client, body: bytes, batch: list[Report]) -> Answer:
        """Adds a frame's reports to the batch and says how many, or gives the answer to any other frame."""
        try:
            if is_greeting(body):
                client.handle = read_greeting(body)
                return EMPTY
            reports = read_reports(body)
            self._allowed(client.who, reports)
        except Refused as error:
            self.counts["refused"] += 1
            return refusal(f"{error}")
        except (ConfigError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            return self._bad(f"{error}")
        batch += reports
        return len(reports)

    def _bad(self, problem: str) -> bytes:
        self.counts["bad"] += 1
        return refusal(problem)

    def _take_in(self, client: Client, handle: int, batch: list[Report], answers: list[Answer], last: bool) -> None:
        """Hands a turn's reports to the store; their answers follow in the order of the turns."""
        assert self._keeper is not None
        try:
            acks, kept = self._take(batch, handle) if batch else ([], [])
        except Exception as error:  # whatever it was, the client gets its answer
            self._failed("observer.sock", error)
            acks, kept = [Ack.FAILED] * len(batch), []
        units = len(batch) + len(answers)
        client.given += units
        client.last_s = time.monotonic()
        answer = partial(self._answer, client, answers, acks, units, last)
        try:
            self._keeper.put(kept, answer, at_once=len(self._clients) <= FEW)
        except PeerUnreachable as error:  # too much waits: not stored
            self._failed("observer.sock", error)
            problem = error
            try:
                self._keeper.put((), lambda _: answer(problem))
            except PeerUnreachable:  # it closes
                self._close(client)

    def _pace(self, client: Client) -> None:
        """Reads on, or serves what is here already, or waits until the client has read, or the store written."""
        if client.closed or self._loop is None:
            return
        begun = client.begun
        more = len(begun) >= 4 and len(begun) - 4 >= LENGTH.unpack_from(begun)[0]
        pause = more or client.is_ahead()
        if pause and not client.paused:
            client.paused = True
            self._loop.remove_reader(client.sock.fileno())
        elif not pause and client.paused:
            client.paused = False
            self._loop.add_reader(client.sock.fileno(), self._readable, client)
        if pause and not client.is_ahead():  # also when the store was quicker than the line above
            self._loop.call_soon(self._go_on, client)

    def _go_on(self, client: Client) -> None:
        if client.paused and not client.closed and not client.is_ahead():
            self._serve(client)

    def _unread(self, client: Client) -> None:
        """The client was not ready for an answer: waits until it is."""
        if not client.closed and self._loop is not None:
            self._loop.add_writer(client.sock.fileno(), self._writable, client)

    def _writable(self, client: Client) -> None:
        try:
            if client.send_on() and self._loop is not None:
                self._loop.remove_writer(client.sock.fileno())
        except OSError:
            self._close(client)
        self._go_on(client)

    def _close(self, client: Client) -> None:
        if self._loop is not None and client.shut():
            number = client.sock.fileno()
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)
            self._clients.pop(number, None)
            client.sock.close()

    # --- in the thread that commits ----------------------------------------------------------------------------------

    def _answer(
        self,
        client: Client,
        answers: Sequence[Answer],
        acks: list[Ack],
        units: int,
        last: bool,
        error: Exception | None,
    ) -> None:
        if error is not None:
            acks = [Ack.FAILED if ack is Ack.ACCEPTED else ack for ack in acks]
        calls: list[Callable[[Client], None]] = []
        try:
            if client.answer(framed(answers, acks), units):
                calls.append(self._unread)
        except OSError:
            last = True
        if error is not None:
            calls.append(lambda _: self._failed("observer.sock", error))
        if client.paused:
            calls.append(self._go_on)
        if last:
            calls.append(self._close)
        for call in calls:
            with suppress(RuntimeError):  # the loop is closed
                assert self._loop is not None
                self._loop.call_soon_threadsafe(call, client)


def _listen(path: Path) -> socket.socket:
    """A listening socket that only this user may connect to; replaces a file of that name. Raises ConfigError."""
    make_folder(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(sock.fileno(), 0o600)  # before it has a name: there is no moment when others may connect
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot make the socket {path}: {error.strerror}") from error
    return sock
