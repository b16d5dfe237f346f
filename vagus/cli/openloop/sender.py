"""Sends the requests of a plan when they are due, on as many kept connections as it takes, and notes what they took.

Open loop: nothing waits for an earlier answer, and latency counts from when a request was due (coordinated omission:
Gil Tene, How NOT to Measure Latency, 2013).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from time import monotonic

from vagus.cli.load.timer import Timer
from vagus.cli.openloop.arrivals import due_s, types
from vagus.cli.openloop.connection import Connection
from vagus.cli.openloop.contents import Contents
from vagus.cli.openloop.endpoints import Endpoints, Place
from vagus.cli.openloop.plan import Plan
from vagus.cli.openloop.windows import Tally, Window

SWEEP_S = 0.05
GAP_S = 0.0002  # between two looks at what is due
LEAD_S = 0.1  # from `begin` until the first second, where the plan does not say when


class Sender:
    """One load. tell: gets the windows as they end. Raises ConfigError for what no request can be made of."""

    def __init__(self, plan: Plan, tell: Callable[[Window], None]) -> None:
        self.plan = plan
        self._tell = tell
        self.endpoints = Endpoints(plan.urls, plan.endpoints, plan.entry)
        self._contents = Contents(plan.requests, plan.users, plan.seed)
        times = due_s(plan)
        kinds = types(plan.requests, times, plan.seed)
        names = tuple(request.name for request in plan.requests)
        self.tally = Tally(times, kinds, names, -plan.warm_s, plan.timeout_s)
        self._due: list[float] = times.tolist()
        self._types: list[int] = kinds.tolist()
        self.failures: Counter[str] = Counter()
        self.sent = 0  # requests that were due and have been looked at
        self.stopped = False
        self._given_up = 0  # all before have ended
        self._begin = 0.0
        self._next_window = -round(plan.warm_s / plan.every_s) + 1
        self._open: dict[int, tuple[Connection, bytes]] = {}
        self._retried: set[int] = set()
        self._idle: dict[Place, list[Connection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def on_their_way(self) -> int:
        """Requests that wait for their answer."""
        return len(self._open)

    def now(self) -> float:
        """Seconds since the measured part began."""
        return monotonic() - self._begin

    def begin(self) -> int:
        """Sets the clock; the wall time at which the measured part begins."""
        begin_ns = self.plan.begin_ns or time.time_ns() + round((self.plan.warm_s + LEAD_S) * 1e9)
        self._begin = monotonic() + (begin_ns - time.time_ns()) / 1e9
        return begin_ns

    async def run(self) -> None:
        """Until all requests have ended, or `stop`; after `begin`."""
        loop, timer = asyncio.get_running_loop(), Timer()
        done: asyncio.Future[None] = loop.create_future()

        def fired() -> None:
            timer.clear()
            try:
                next_s = self.turn()
            except Exception as error:  # the loop would only log it, and nobody would come again
                if not done.done():
                    done.set_exception(error)
                return
            if next_s is not None:
                timer.arm(self._begin + max(next_s, self.now() + GAP_S))
            elif not done.done():
                done.set_result(None)

        loop.add_reader(timer.fd, fired)
        timer.arm(monotonic())
        try:
            await done
        finally:
            loop.remove_reader(timer.fd)
            timer.close()
            for task in self._connecting:
                task.cancel()
            for connection, _ in self._open.values():
                connection.end()
            for idle in self._idle.values():
                for connection in idle:
                    connection.end()
            self._idle.clear()
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Nothing more is sent; what is on its way is not waited for."""
        self.stopped = True

    def turn(self) -> float | None:
        """Sends what is due, gives up what is too old, tells windows. When to come again; None: all is over."""
        now = self.now()
        while not self.stopped and self.sent < len(self._due) and self._due[self.sent] <= now:
            number, self.sent = self.sent, self.sent + 1
            self._request(number)
            now = self.now()
        while self._given_up < self.sent and (
            self._due[self._given_up] + self.plan.timeout_s <= now or math.isfinite(self._took(self._given_up))
        ):
            if self._given_up in self._open:
                self._open[self._given_up][0].end()
                self._failed(self._given_up, "time-out")
            self._given_up += 1
        self._windows(now)
        if self.stopped or (self.sent == len(self._due) and not self.on_their_way and now >= self.plan.for_s):
            return None
        next_s = self._due[self.sent] if self.sent < len(self._due) else math.inf
        return min(next_s, now + SWEEP_S)

    def _took(self, number: int) -> float:
        return float(self.tally.latency_s[number])

    def _windows(self, now: float) -> None:
        every_s = self.plan.every_s
        last = min(math.floor(now / every_s + 1e-9), math.floor(self.plan.for_s / every_s + 1e-9))
        if last < self._next_window:
            return
        self._next_window = last + 1
        places = self.endpoints.places
        if self.endpoints.look():
            for place in set(places) - set(self.endpoints.places):
                for connection in self._idle.pop(place, []):
                    connection.end()
        self._tell(self.tally.window(last * every_s, self.plan.window_s))

    # --- one request -----------------------------------------------------------------------------------------------

    def _request(self, number: int) -> None:
        method, path, body = self._contents.next(self._types[number])  # also of one that is not sent: all stay the same
        place = self.endpoints.next()
        if place is None:
            self._failed(number, "no replica")
        elif self.on_their_way >= self.plan.max_open:
            self._failed(number, "too many on their way")
        else:
            host = f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"
            head = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path, host.encode())
            if body or method == b"POST":
                head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
            self.tally.late_s[number] = self.now() - self._due[number]
            self._send(number, place, head + b"\r\n" + body)

    def _send(self, number: int, place: Place, request: bytes, fresh: bool = False) -> None:
        idle = self._idle.get(place)
        while idle and not fresh:
            connection = idle.pop()
            if connection.free:
                self._open[number] = connection, request
                connection.send(number, request)
                return
        connection = Connection(self, place)
        self._open[number] = connection, request
        connection.send(number, request)
        task = asyncio.get_running_loop().create_task(self._connect(connection, number))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: Connection, number: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, *connection.place)
        except (OSError, ValueError) as error:  # ValueError: a name that is none
            if connection.number == number:
                connection.end()
                self._failed(number, f"cannot connect: {getattr(error, 'strerror', None) or error}"[:100])

    def _failed(self, number: int, why: str) -> None:
        self._open.pop(number, None)
        self.tally.latency_s[number] = math.inf
        self.failures[why] += 1

    # --- what connections say ----------------------------------------------------------------------------------------

    def answered(self, connection: Connection, number: int, status: int) -> None:
        """See connection.Owner."""
        took_s = self.now() - self._due[number]
        if status >= 400:
            self._failed(number, f"status {status}")
        elif took_s > self.plan.timeout_s:
            self._failed(number, "time-out")
        else:
            self._open.pop(number, None)
            self.tally.latency_s[number] = took_s
        if connection.free and connection.place in self.endpoints.places:
            self._idle.setdefault(connection.place, []).append(connection)
        else:
            connection.end()

    def broken(self, connection: Connection, number: int, why: str, stale: bool) -> None:
        """See connection.Owner. A kept connection that the server had closed meanwhile is replaced, once."""
        if stale and number not in self._retried and not self.stopped:
            self._retried.add(number)
            _, request = self._open.pop(number)
            self._send(number, connection.place, request, fresh=True)
        else:
            self._failed(number, why)

    def gone(self, connection: Connection) -> None:
        """See connection.Owner."""
        idle = self._idle.get(connection.place, [])
        if connection in idle:
            idle.remove(connection)
