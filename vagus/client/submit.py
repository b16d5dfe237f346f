"""Reports to the observer of this machine, acknowledged: a stream of frames over its unix socket.

    with Submitter.connect() as observer:
        acks = observer.submit([Report("api@1", "db@2", time.time_ns(), {"read": Metric(Status.UNHEALTHY, 30)})])

What ACCEPTED promises: the report is committed to the node's store. It survives kill -9 of every process at once; a
power cut takes at most what was accepted within the node's `store.sync` (one second by default).
"""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Ack, Report

MAX_FRAME_BYTES = 64 << 10
MAX_FRAME_REPORTS = 1000
MAX_ANSWER_BYTES = 64 << 10
MAX_AHEAD = 2000
MAX_AHEAD_REPORTS = 10_000
"""Frames, and reports in them, sent before their answers are read."""
FEW = 64
"""Frames whose answers always fit the observer's buffer, long refusals too. With more, it may wait for this side to read."""

_LENGTH = struct.Struct(">I")
_pack = msgspec.msgpack.Encoder().encode
_answer = msgspec.msgpack.Decoder(list[Ack] | dict[str, str])


class Submitter:
    """A connection to one observer; for one thread at a time. After an error that is no ConfigError it is closed.

    handle: as `register` gave it; then only reports of its observer are accepted.
    """

    def __init__(self, sock: socket.socket, handle: int = 0) -> None:
        self.handle = handle
        self._socket = sock
        self._begun = bytearray()
        self._sent: deque[int] = deque()  # reports in each frame that is not answered yet
        self._reports = 0  # in all of them
        if handle:
            self._send(_pack({"handle": handle}), 0)
            self.receive()

    @classmethod
    def connect(
        cls, home: Path | str | None = None, node: str = "", *, handle: int = 0, timeout_s: float = 5.0
    ) -> Submitter:
        """The observer of `node`, or of the node that runs here. Raises PeerUnreachable: none, or it is not ours."""
        from vagus import config

        if home is None or not node:
            from vagus.client import endpoint

            found = endpoint.find(home=home, here=True)
            home, node = found.home or config.home(), node or found.node
        path = config.socket_path(Path(home), node, "observer")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            raise PeerUnreachable(f"no observer answers at {path}: {error.strerror}; is vagus up?") from error
        try:
            return cls(sock, handle)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Submitter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def unanswered(self) -> int:
        """Frames whose answers were not read."""
        return len(self._sent)

    def submit(self, reports: Sequence[Report]) -> list[Ack]:
        """An ack for each report, once all are committed; answers to earlier `send`s must have been read.

        Raises ConfigError: malformed, or not allowed (the message says), PeerUnreachable: no answer in time, and then
        nobody knows whether they were kept; sending them again does no harm but to count them twice.
        """
        if self._sent:
            raise ConfigError(f"{len(self._sent)} frames are not answered yet: call receive() for each of them")
        acks: list[Ack] = []
        problem: ConfigError | None = None
        frames = _frames(reports)
        while frames or self._sent:
            while frames and not self._is_ahead():
                self._send(*frames.popleft())
            try:
                acks += self.receive()
            except ConfigError as error:  # the answers to the other frames must be read nevertheless
                problem = problem or error
        if problem is not None:
            raise problem
        return acks

    def send(self, reports: Sequence[Report]) -> None:
        """Sends one frame and does not wait: `receive` gives its answer, in order. Raises ConfigError: too many, or too
        far ahead; PeerUnreachable."""
        if self._is_ahead():
            raise ConfigError(f"{len(self._sent)} frames are not answered yet: call receive() first")
        frames = _frames(reports)
        if len(frames) != 1:
            raise ConfigError(f"{len(reports)} reports do not fit one frame of {MAX_FRAME_BYTES} bytes: send several")
        self._send(*frames[0])

    def receive(self) -> list[Ack]:
        """The answer to the oldest frame that has none yet. Raises ConfigError, with what the observer says of a frame
        that it does not take; PeerUnreachable."""
        if not self._sent:
            raise ConfigError("no frame waits for an answer: send one first")
        while True:
            if len(self._begun) >= 4:
                (length,) = _LENGTH.unpack_from(self._begun)
                if length > MAX_ANSWER_BYTES:
                    raise self._lost(f"an answer of {length} bytes: this is no observer")
                if len(self._begun) >= 4 + length:
                    body = bytes(self._begun[4 : 4 + length])
                    del self._begun[: 4 + length]
                    return self._read(body)
            try:
                data = self._socket.recv(MAX_ANSWER_BYTES)
            except OSError as error:
                raise self._lost(f"{error}") from error
            if not data:
                raise self._lost("it closed the connection")
            self._begun += data

    def _read(self, body: bytes) -> list[Ack]:
        count = self._sent.popleft()
        self._reports -= count
        try:
            answer: list[Ack] | dict[str, str] = _answer.decode(body)
        except (ValueError, RecursionError) as error:
            raise self._lost(f"not an answer: {error}") from error
        if isinstance(answer, dict):
            raise ConfigError(answer.get("error", "refused"))
        if len(answer) != count:
            raise self._lost(f"{len(answer)} acks for {count} reports")
        return answer

    def _send(self, body: bytes, count: int) -> None:
        data = _LENGTH.pack(len(body)) + body
        try:
            if len(self._sent) < FEW:
                self._socket.sendall(data)
            else:
                self._send_and_hear(data)
        except OSError as error:
            raise self._lost(f"{error}") from error
        self._sent.append(count)
        self._reports += count

    def _send_and_hear(self, data: bytes) -> None:
        """Sends, and takes in answers where that has to come first. Raises OSError."""
        timeout_s = self._socket.gettimeout()
        ready = select.poll()
        ready.register(self._socket, select.POLLIN | select.POLLOUT)
        left = memoryview(data)
        while left:
            found = ready.poll(None if timeout_s is None else timeout_s * 1000)
            if not found:
                raise TimeoutError("timed out")
            if found[0][1] & select.POLLOUT:
                left = left[self._socket.send(left) :]
            else:
                answers = self._socket.recv(MAX_ANSWER_BYTES)
                if not answers:
                    raise OSError("it closed the connection")
                self._begun += answers

    def _is_ahead(self) -> bool:
        return len(self._sent) >= MAX_AHEAD or self._reports >= MAX_AHEAD_REPORTS

    def _lost(self, why: str) -> PeerUnreachable:
        self.close()
        return PeerUnreachable(f"the observer's socket: {why}; what was not answered may or may not be kept")

    def close(self) -> None:
        """Closes the connection. What is not answered may or may not be kept."""
        self._socket.close()


def _frames(reports: Sequence[Report]) -> deque[tuple[bytes, int]]:
    """Reports as bodies of frames, each with how many it holds. Raises ConfigError for a report too large for one."""
    if not reports:
        return deque()
    if len(reports) <= MAX_FRAME_REPORTS:
        body = _pack(reports[0] if len(reports) == 1 else reports)
        if len(body) <= MAX_FRAME_BYTES:
            return deque([(body, len(reports))])
        if len(reports) == 1:
            raise ConfigError(
                f"the report on {reports[0].subject!r} has {len(body)} bytes; a frame has {MAX_FRAME_BYTES}"
            )
    half = len(reports) // 2
    return _frames(reports[:half]) + _frames(reports[half:])
