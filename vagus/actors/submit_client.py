"""One connection of `observer.sock`: read by the loop, answered by the thread that commits."""

from __future__ import annotations

import socket
import threading
import time

from vagus.access import Principal

MAX_UNANSWERED = 4000
"""Reports and frames that wait for their commit; then the client is not read until some are answered."""
MAX_UNREAD_BYTES = 256 << 10
"""Answers that the client has not read; then it is not read either."""


class Client:
    """A connection. `given` is the loop's, `answered` the writing thread's; `unread` and `closed` are under `lock`."""

    def __init__(self, sock: socket.socket, who: Principal) -> None:
        self.sock = sock
        self.who = who
        self.handle = 0
        self.begun = bytearray()
        self.given = self.answered = 0
        self.paused = False  # not read: too much is unanswered, unread, or its turn is over
        self.lock = threading.Lock()
        self.unread = bytearray()
        self.closed = False
        self.last_s = time.monotonic()  # of a complete frame, or of an answer that was read

    def is_ahead(self) -> bool:
        """Whether it sent more than it has read the answers of, or than the store has kept up with."""
        return self.given - self.answered > MAX_UNANSWERED or len(self.unread) > MAX_UNREAD_BYTES

    def is_stalled(self, since_s: float) -> bool:
        """Whether since then it reads no answer, or sends no more of a frame that it began."""
        return self.last_s < since_s and bool(self.unread or (self.begun and not self.paused))

    def answer(self, data: bytes, units: int) -> bool:
        """Sends an answer, or keeps what the client does not take now; whether it just began to wait for it.

        Raises OSError when the connection is broken.
        """
        with self.lock:
            self.answered += units
            if self.closed:
                return False
            waited = bool(self.unread)
            if not waited:
                try:
                    data = data[self.sock.send(data) :]
                except (BlockingIOError, InterruptedError):
                    pass
            self.unread += data
            return bool(data) and not waited

    def send_on(self) -> bool:
        """Sends what waits, as far as the client takes it; whether that was all. Raises OSError."""
        with self.lock:
            try:
                sent = self.sock.send(self.unread)
            except (BlockingIOError, InterruptedError):
                return False
            self.last_s = time.monotonic()
            del self.unread[:sent]
            return not self.unread

    def shut(self) -> bool:
        """Marks it as closed; False if it was."""
        with self.lock:
            was, self.closed = self.closed, True
            return not was
