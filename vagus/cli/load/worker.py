"""One worker of a load: many kept-alive connections on one event loop, requests sent when they are due.

Open loop: what is due does not wait for earlier answers, and latency counts from when a request was due, also while it
waits for a free connection. `python -m vagus.cli.load.worker` reads a Plan from standard input and writes tallies to
standard output, each behind its length.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic

import msgspec

from vagus.cli.load.link import Link, Sent
from vagus.cli.load.plan import Plan, drawing, due, reward_of
from vagus.cli.load.tally import Tally
from vagus.cli.load.timer import Timer
from vagus.client.decided import DECIDE, UPDATE, requests_body, updates_body
from vagus.client.exchange import Place, Reading

POOL = 512
"""Different requests, made beforehand."""
GAP_S = 0.0002  # between two looks at what is due
SWEEP_S = 0.05
TELL_S = 1.0


class _Made(msgspec.Struct):
    decision: str
    decision_id: str


class Load:
    """The requests of one worker. All times are seconds since the start."""

    def __init__(self, plan: Plan, begin: float) -> None:
        self.plan = plan
        self.tally = Tally()
        self._begin = begin
        self._place = Place(plan.url, plan.token)
        draw = drawing(plan.features, plan.random("features"))
        pool = min(POOL, plan.requests)
        self._pool = [self._place.request(DECIDE, requests_body([(draw(), plan.arms)])) for _ in range(pool)]
        self._due = due(plan)
        self._next = next(self._due, None)
        self._number = 0
        self._updates: deque[tuple[float, bytes]] = deque()
        self._rng = plan.random("rewards")
        self._read = msgspec.json.Decoder(_Made).decode
        self.free: deque[Link] = deque()
        self.kick: Callable[[], object] = self.turn  # something may be due now, or earlier than it was
        self.open = 0  # requests on their way
        self.connected = 0

    def now(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._begin

    @property
    def done(self) -> bool:
        """Whether nothing is due any more and nothing is on its way."""
        return self._next is None and not self._updates and not self.open

    def turn(self) -> float | None:
        """Sends what is due, as far as connections are free. Returns when something is due next; None: nothing is."""
        now = self.now()
        while True:
            update_s = self._updates[0][0] if self._updates else None
            if self._next is not None and (update_s is None or self._next <= update_s):
                kind, due_s = "decide", self._next
            elif update_s is not None:
                kind, due_s = "update", update_s
            else:
                return None
            if due_s > now:
                return due_s
            if now - due_s > self.plan.timeout_s:
                self._pop(kind)
                self.tally.was_due(kind, due_s)
                self.tally.failed("no free connection" if self.connected else "cannot connect", due_s)
                continue
            if not self.free:
                return now + SWEEP_S  # the next answer comes here, too
            link = self.free.popleft()  # the one that waits longest: all are used
            now = self.now()
            self.tally.was_due(kind, due_s)
            if link.free_s <= due_s:  # it was free when this was due: the lateness is our own
                self.tally.sent_late(now - due_s)
            self.open += 1
            link.send(Sent(kind, due_s, now), self._pop(kind))

    def _pop(self, kind: str) -> bytes:
        if kind == "update":
            return self._updates.popleft()[1]
        request = self._pool[self._number % len(self._pool)]
        self._number += 1
        self._next = next(self._due, None)
        return request

    def answered(self, sent: Sent, reading: Reading) -> None:
        """The answer to a request."""
        now = self.now()
        self.open -= 1
        if reading.status != 200:
            self.tally.failed(f"status {reading.status}", sent.due_s)
            return
        if sent.kind == "decide":
            try:
                made = self._read(reading.body)
            except msgspec.DecodeError:
                self.tally.failed("no decision", sent.due_s)
                return
            if self.plan.updates and self._rng.random() < self.plan.updates:
                reward = reward_of(made.decision, self.plan.seed, self._rng)
                body = updates_body([(made.decision_id, reward)])
                # its time was fixed with the decision's; a decision that came too late moves it
                self._updates.append((max(sent.due_s + self.plan.delay_s, now), self._place.request(UPDATE, body)))
        self.tally.answered(sent.kind, sent.due_s, now)

    def failed(self, sent: Sent, why: str) -> None:
        """A request got no answer."""
        self.open -= 1
        self.tally.failed(why, sent.due_s)

    def take(self) -> Tally:
        """What was counted since the last time."""
        told, self.tally = self.tally, Tally()
        return told


async def perform(plan: Plan, tell: queue.SimpleQueue[Tally | None]) -> None:
    """Runs one worker's part; tells a tally each second."""
    loop = asyncio.get_running_loop()
    load = Load(plan, monotonic() + (plan.start_ns - time.time_ns()) / 1e9)
    place = Place(plan.url, plan.token)
    links = [Link(load, place.host, place.port) for _ in range(plan.connections)]
    timer, done = Timer(), asyncio.Event()

    def turn() -> None:
        next_s = load.turn()
        wait_s = SWEEP_S if next_s is None else min(SWEEP_S, max(GAP_S, next_s - load.now()))
        timer.arm(monotonic() + wait_s)
        if load.done:
            done.set()

    def fired() -> None:
        timer.clear()
        turn()

    load.kick = turn
    loop.add_reader(timer.fd, fired)
    cpu_s = time.process_time()
    try:
        connecting = [asyncio.ensure_future(link.connect()) for link in links]
        turn()
        while not done.is_set():
            for _ in range(round(TELL_S / SWEEP_S)):
                with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                    await asyncio.wait_for(done.wait(), SWEEP_S)
                for link in links:
                    link.sweep(load.now())
                if done.is_set():
                    break
            told = load.take()
            before, cpu_s = cpu_s, time.process_time()
            told.cpu_s = cpu_s - before
            tell.put(told)
    finally:
        loop.remove_reader(timer.fd)
        timer.close()
        for link in links:
            link.close()
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
    tell.put(Tally(workers=1))


def run(packed: bytes) -> Iterator[bytes]:
    """Performs a packed Plan on a loop of its own in a thread; gives packed tallies as they come. Raises ConfigError."""
    plan = msgspec.msgpack.decode(packed, type=Plan)
    told: queue.SimpleQueue[Tally | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            import uvloop

            runner = uvloop.new_event_loop()
            try:
                runner.run_until_complete(perform(plan, told))
            finally:
                runner.close()
        finally:
            told.put(None)

    thread = threading.Thread(target=work, name="vagus load", daemon=True)
    thread.start()
    while (tally := told.get()) is not None:
        yield msgspec.msgpack.encode(tally)
    thread.join()


def main() -> None:
    """The worker process."""
    packed = sys.stdin.buffer.read()
    out = sys.stdout.buffer
    for frame in run(packed):
        out.write(len(frame).to_bytes(4, "big") + frame)
        out.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
