"""A connection of the lean front: bytes in, requests in their order, answers in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from vagus.gateway.front import ARRIVAL_S, IDLE_S, Front
from vagus.gateway.front_bodies import NotHere
from vagus.gateway.front_head import DECIDE, OTHER, PATHS, UNKNOWN, Head, hopeless
from vagus.gateway.problem import Problem

MAX_WAITING = 64
"""Answers that wait for an earlier one; then nothing more is read."""
MAX_HELD_BYTES = 64 << 10
SLOTS, WRITING, THEIRS, CLOSED = 1, 2, 4, 8
"""Why nothing is served: outcomes on their way, a client that does not read, another's request; for good."""
_END = b"\r\n\r\n"


def closing(answer: bytes) -> bytes:
    """An answer that says that it is the last."""
    return answer.replace(_END, b"\r\nConnection: close" + _END, 1)


class _Slot:
    """The place of an answer in the order of requests."""

    __slots__ = ("connection", "data", "last")

    def __init__(self, connection: Connection, data: bytes | None, last: bool) -> None:
        self.connection = connection
        self.data = data
        self.last = last

    def __call__(self, data: bytes) -> None:
        self.data = data
        self.connection.drain()


class Connection(asyncio.Protocol):
    """Serves requests as they come; `theirs` is told of one that is for somebody else, and goes on after it."""

    __slots__ = ("_begun", "_buffer", "_held", "_kind", "_need", "_slots", "_used", "front", "transport")

    def __init__(self, front: Front) -> None:
        self.front = front
        self.transport: Any = None
        self._buffer = bytearray()
        self._need = 0  # bytes of a request whose head has come
        self._kind = OTHER  # of that head
        self._begun = -1  # the tick at which what is incomplete began
        self._used = front.tick
        self._held = 0
        self._slots: deque[_Slot] = deque()

    # --- the transport's calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.front.joined(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._held |= CLOSED
        self._buffer.clear()
        self._slots.clear()
        self.front.left(self)

    def eof_received(self) -> bool:
        """A client that has said all it will still gets the answers that it waits for."""
        if not self._slots or self._held & CLOSED:
            return False
        self._held |= CLOSED
        self._slots[-1].last = True
        return True

    def pause_writing(self) -> None:
        self._held |= WRITING

    def resume_writing(self) -> None:
        self.release(WRITING)

    def data_received(self, data: bytes) -> None:
        front = self.front
        if not (self._held or self._slots or self._buffer):
            # A decision and nothing else, as nearly all that comes: the way below, without its cases.
            stop = data.find(_END)
            head = front.known.get(data[:stop])
            if head is not None and head[4] == len(data) - stop:
                try:
                    answer = front.decide(data[stop + 4 :], False)
                except Exception:
                    self._later(data)  # says why
                    return
                self._used = front.tick
                front.drawn += 1
                self.transport.write(answer)
                return
        self._later(data)

    def _later(self, data: bytes) -> None:
        self._used = self.front.tick
        if self._held & CLOSED:
            return
        buffer = self._buffer
        if self._held:
            buffer += data
            if len(buffer) > MAX_HELD_BYTES:
                self.transport.pause_reading()
            return
        if buffer:
            buffer += data
            if len(buffer) < self._need:
                return
            data = bytes(buffer)
            buffer.clear()
        self._serve(data)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _serve(self, data: bytes) -> None:
        """Answers the requests of which all is there."""
        front = self.front
        heads = front.heads
        known = front.known
        at, end = 0, len(data)
        out: list[bytes] = []
        begun, self._need, self._begun = self._begun, 0, -1
        while at < end:
            stop = data.find(_END, at)
            if stop < 0:
                if hopeless(data[at:]):
                    self._pass_on(out, data[at:], Head(UNKNOWN), end)
                else:
                    self._wait(data[at:], OTHER, 0, begun if at == 0 else -1)
                break
            text = data[at:stop]
            head = known.get(text) or heads.read(text)
            kind, length, packed, last, _ = head
            begin = stop + 4
            stop = begin + length
            if kind >= OTHER:
                self._pass_on(out, data[at:], head, stop - at)
                break
            if stop > end:
                self._wait(data[at:], kind, stop - at)
                break
            try:
                if kind == DECIDE:
                    answer = front.decide(data[begin:stop], packed)
                    if self._slots:
                        front.drawn += 1
                        self._slots.append(_Slot(self, answer, last))
                    else:
                        out.append(closing(answer) if last else answer)
                else:
                    slot = _Slot(self, None, last)
                    front.update(data[begin:stop], packed, slot)
                    self._slots.append(slot)
            except NotHere:
                self._pass_on(out, data[at:], head, stop - at)
                break
            except Exception as error:
                path = PATHS[kind][1]
                answer = front.refusal(front.problem(path, error), path)
                self._slots.append(_Slot(self, answer, last))
            at = stop
            if last:
                self._held |= CLOSED
                break
            if len(self._slots) >= MAX_WAITING and at < end:
                self._held |= SLOTS
                self._buffer += data[at:]
                break
        if front.stopping and at >= end:
            if self._slots:
                self._slots[-1].last = True
            elif out:
                out[-1] = closing(out[-1])
                self._held |= CLOSED
        if out:
            self.write(out[0] if len(out) == 1 else b"".join(out), len(out))
        if self._slots:
            self.drain()
        elif self._held & CLOSED and self.transport is not None:
            self.transport.close()

    def _wait(self, data: bytes, kind: int, need: int, begun: int = -1) -> None:
        """Keeps what is incomplete until more has come; a head that comes in drops has begun when it began."""
        self._buffer += data
        self._kind, self._need, self._begun = kind, need, self.front.tick if begun < 0 else begun

    def _pass_on(self, out: list[bytes], data: bytes, head: Head, length: int) -> None:
        """Hands a request to somebody else, once all before it is answered."""
        if self._slots:
            self._held |= SLOTS
            self._buffer += data
            return
        if out:
            self.write(b"".join(out), len(out))
            out.clear()
        self.theirs(data, head, length)

    def theirs(self, data: bytes, head: Head, length: int) -> None:
        """Takes a request that is not answered here, and what came behind it; `length` of its bytes, if that is known."""
        raise NotImplementedError

    def write(self, answers: bytes, decisions: int) -> None:
        """Sends answers, of which so many are decisions."""
        self.front.drawn += decisions
        self.transport.write(answers)

    def drain(self) -> None:
        """Sends the answers whose turn it is."""
        out = []
        last = False
        while self._slots and (answer := self._slots[0].data) is not None:
            last = self._slots.popleft().last
            out.append(closing(answer) if last else answer)
        if out and self.transport is not None:
            self.transport.write(b"".join(out))
            if last:
                self._held |= CLOSED
                self.transport.close()
            elif not self._slots:
                self.release(SLOTS)

    def hold(self, why: int) -> None:
        """Serves nothing until `release`."""
        self._held |= why

    def release(self, why: int) -> None:
        """Goes on with what has come meanwhile."""
        if not self._held & why:
            return
        self._held &= ~why
        if self._held or self.transport is None:
            return
        if not self.transport.is_reading():
            self.transport.resume_reading()
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._serve(data)

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether a request has not got its answer yet."""
        return bool(self._slots or self._buffer or self._held & THEIRS)

    def aged(self) -> None:
        """Looks once a second whether somebody takes too long."""
        tick = self.front.tick
        if self._begun >= 0 and tick - self._begun > ARRIVAL_S and not self._held:
            self._late()
        elif (
            tick - self._used > IDLE_S and not self._slots and not self._held & ~WRITING and self.transport is not None
        ):
            self.transport.abort()

    def _late(self) -> None:
        what, where, path = "head", "request", "other"
        if self._need:
            what, where, path = "body", "body", PATHS[self._kind][1]
        message = f"the {what} did not arrive within {ARRIVAL_S:g} s"
        refusal = self.front.refusal(Problem(408, "timeout", message, where, "send it again"), path)
        self._held |= CLOSED
        self._begun = -1
        if self._slots:
            self._slots.append(_Slot(self, refusal, True))
        else:
            self.transport.write(closing(refusal))
            self.transport.close()

    def stop(self) -> None:
        """Closes, or does so once what was begun is answered."""
        if not self.begun:
            self.abort()
        elif self._slots:
            self._slots[-1].last = True

    def abort(self) -> None:
        """Closes; what is already written still goes out."""
        self._held |= CLOSED
        if self.transport is not None:
            self.transport.close()
