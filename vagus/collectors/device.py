"""Network devices by SNMP: a thread of its own asks them, `collect` hands out what has come."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any

from vagus.clock import Clock, SystemClock
from vagus.collectors import device_mib as mib
from vagus.collectors.device_session import Session, SnmpSession, Table
from vagus.collectors.device_state import DeviceState
from vagus.config import CollectSettings, SnmpSettings
from vagus.errors import CollectError, ConfigError
from vagus.model import MAX_NAME, Event, Sample

MAX_WAITING = 50_000  # records that nobody took; the oldest go
MAX_ADDRESS_ROWS = 512
MAX_DEVICE_NAME = MAX_NAME - len("device:")  # the subject of reports is named so
MAX_AT_ONCE = 16  # devices that are being asked
SPREAD_S = 2.0  # the first polls are spread over this, so that not all devices are asked at once for ever
CLOSE_TIMEOUT_S = 5.0

Open = Callable[[SnmpSettings], Awaitable[Session]]


class DeviceCollector:
    """Kinds `snmp.*` and events `device.*` for the devices in `settings.snmp`.

    Samples carry the time at which the device answered. A device that does not answer is its `up` = 0 and an event;
    CollectError is for what must be set right here: pysnmp is not installed, a file of credentials cannot be read.
    """

    name = "snmp"

    def __init__(
        self,
        node: str,
        root: Path,
        settings: CollectSettings,
        open_session: Open = SnmpSession.open,
        clock: Clock | None = None,
    ) -> None:
        self._node = node
        self._devices = settings.snmp
        self._open = open_session
        self._clock = clock or SystemClock()
        self._arrived: deque[Sample | Event] = deque(maxlen=MAX_WAITING)
        self._labels: dict[str, SnmpSettings] = {d.name: d for d in settings.snmp if d.name}
        self._problems: dict[SnmpSettings, str] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._died = ""
        self._tasks: list[asyncio.Task[None]] = []  # a loop alone keeps no task alive

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """What has come since the last call. Raises CollectError at the end."""
        if not self._devices:
            return
        if self._thread is None:
            self._start()
        while self._arrived:
            yield self._arrived.popleft()
        problems = [*self._problems.values(), *([self._died] if self._died else [])]
        if problems:
            raise CollectError("; ".join(problems[:10]))

    def _start(self) -> None:
        try:
            import pysnmp  # noqa: F401
        except ImportError as error:
            raise CollectError(
                f"collect.snmp names {len(self._devices)} device(s), but pysnmp is missing: pip install 'vagus[snmp]'"
            ) from error
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="snmp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread. Idempotent."""
        thread, loop, self._thread, self._loop = self._thread, self._loop, None, None
        if thread is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                loop.call_soon_threadsafe(loop.stop)
            thread.join(CLOSE_TIMEOUT_S)

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda *_: None)  # pysnmp's callbacks fail on garbage; its request then times out
        gate = asyncio.Semaphore(MAX_AT_ONCE)
        random = Random()
        for number, device in enumerate(self._devices):
            after_s = random.uniform(0, SPREAD_S) if number else 0.0
            self._tasks.append(loop.create_task(self._guarded(self._follow(device, gate, after_s), device)))
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(_end())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    async def _guarded(self, work: Coroutine[Any, Any, None], device: SnmpSettings) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a mistake of ours must be seen, and costs one device
            self._died = f"snmp {device.host}: {type(error).__name__}: {error}"[:300]

    async def _follow(self, device: SnmpSettings, gate: asyncio.Semaphore, after_s: float) -> None:
        """Polls one device for ever, on a grid of its own."""
        state = DeviceState(self._node, device)
        session: Session | None = None
        await asyncio.sleep(after_s)
        try:
            while True:
                began_ns = self._clock.monotonic_ns()
                try:
                    async with gate:
                        session = session or await self._open(device)
                        await self._poll(device, state, session)
                    self._problems.pop(device, None)
                except (CollectError, ConfigError) as error:
                    if isinstance(error, ConfigError):
                        self._problems[device] = str(error)
                    if session is not None:
                        session.close()
                        session = None
                    self._arrived.extend(state.failed(self._clock.time_ns(), str(error)))
                spent_s = (self._clock.monotonic_ns() - began_ns) / 1e9
                await asyncio.sleep(max(0.01, state.delay_s() - spent_s))
        finally:
            if session is not None:
                session.close()

    async def _poll(self, device: SnmpSettings, state: DeviceState, session: Session) -> None:
        began_ns = self._clock.monotonic_ns()
        answer = await session.get(mib.SCALARS)
        response_s = (self._clock.monotonic_ns() - began_ns) / 1e9
        t_ns = self._clock.time_ns()
        if not state.named:
            state.call(self._unique(device, mib.text(answer.get(mib.SYS_NAME)) or device.host))
        if state.inventory_due(t_ns, answer):
            table = await session.walk(mib.IDENTITY, device.max_interfaces + 1)
            addresses = await session.walk(mib.ADDRESSES, MAX_ADDRESS_ROWS)
            if not addresses[mib.IP_IF_INDEX]:
                addresses = await session.walk(mib.OLD_ADDRESSES, MAX_ADDRESS_ROWS)
            self._arrived.extend(state.inventory(t_ns, rows(table), addresses))
            t_ns = self._clock.time_ns()
        read = rows(await session.walk(state.columns, len(state.interfaces))) if state.columns else {}
        self._arrived.extend(state.taken(t_ns, response_s, answer, read))

    def _unique(self, device: SnmpSettings, name: str) -> str:
        """The name, or with the address behind it where another device has it."""
        name = name[: MAX_DEVICE_NAME // 2]
        if self._labels.setdefault(name, device) is not device:
            name = f"{name}#{device.host}:{device.port}"
        return name[-MAX_DEVICE_NAME:]


def rows(table: Table) -> dict[mib.Oid, dict[mib.Oid, mib.Value]]:
    """A walked table by column and index."""
    return {column: dict(found) for column, found in table.items()}


async def _end() -> None:
    """Cancels all tasks, again and again: before Python 3.12 `wait_for` may swallow a cancellation."""
    me = asyncio.current_task()
    while pending := [task for task in asyncio.all_tasks() if task is not me]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.1)
