"""The reconcile loop: every second, compares the seats that should be filled with those that are. Soft state only:
a new supervisor finds what runs by asking it. Nothing that already runs needs it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from vagus.config import Config, ControllerSettings
from vagus.errors import ConfigError
from vagus.model import ActorStatus, Event, Level
from vagus.runtime import plan
from vagus.runtime.names import NAMESPACE, SUPERVISOR, is_head, node_names
from vagus.runtime.shell import OPTIONS, PROBES, SHELLS

log = logging.getLogger("vagus")
PERIOD_S = 1.0
PING_TIMEOUT_S = 2.0
HUNG_S = 20.0  # a main loop that has not beaten for so long counts as a missed ping
END_TIMEOUT_S = 15.0
NEWS_PERIOD_S = 5.0


class Supervisor:
    """`vagus:supervisor`, one per cluster, on the head; Ray itself restarts it."""

    def __init__(self, config: Config, home: str, options: dict[str, Any]) -> None:
        self._config = config
        self._home = home
        self._options = options  # what every seat is given: token, key
        self._spawned: dict[str, plan.Spawned] = {}
        self._observed: dict[str, plan.Observed] = {}
        self._handles: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._alive: tuple[str, ...] = ()
        self._peers: dict[str, tuple[str, int]] = {}
        self._events: list[Event] = []
        self._news_s = 0.0
        self._told: object = None
        self._rounds = 0
        self._errors = 0
        self._last_error = ""
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._loop = asyncio.get_event_loop().create_task(self._run())

    def __repr__(self) -> str:
        return SUPERVISOR

    # --- asked by `vagus up`, `down`, `status`, `spawn` ------------------------------------------------------------

    async def describe(self) -> dict[str, Any]:
        """Rounds so far, the nodes, every seat's state."""
        return {
            "rounds": self._rounds,
            "nodes": sorted(self._names.values()),
            "actors": self._roster(),
            "errors": self._errors,
            "last_error": self._last_error,
        }

    async def spawn(self, settings: ControllerSettings, user_class: Any) -> list[str]:
        """Adds a user's controller; returns the names of its seats. Raises ConfigError when the name is taken."""
        taken = {c.name for c in self._config.controllers} | set(self._spawned)
        if settings.name in taken:
            raise ConfigError(
                f"a controller named {settings.name!r} runs already; stop it first or choose another name"
            )
        self._spawned[settings.name] = plan.Spawned(settings, user_class)
        prefix = f"vagus:controller:{settings.name}@"
        return [f"{prefix}{node}" for node in self._names.values()]

    async def remove(self, name: str) -> bool:
        """Stops a spawned controller on every node; its limits are restored. False when there is none of that name."""
        return self._spawned.pop(name, None) is not None

    async def arm(self, on: bool) -> None:
        """Arms or disarms every controller, those that are started later included."""
        armed = tuple(msgspec.structs.replace(c, armed=on) for c in self._config.controllers)
        self._config = msgspec.structs.replace(self._config, controllers=armed)
        for name, spawned in self._spawned.items():
            settings = msgspec.structs.replace(spawned.settings, armed=on)
            self._spawned[name] = plan.Spawned(settings, spawned.object)
        running = [o.seat.name for o in self._observed.values() if o.seat.role == "controller" and o.state == "HEALTHY"]
        await asyncio.gather(*(self._ask(name, "arm", on) for name in running))

    async def stop(self) -> list[str]:
        """Ends every actor gracefully (limits restored, stores flushed), controllers first; returns what went wrong."""
        self._stopping = True
        self._loop.cancel()
        order = ("controller", "feed", "decide", "observer", "collector")
        problems: list[str] = []
        for role in order:
            seats = [o for o in self._observed.values() if o.seat.role == role]
            results = await asyncio.gather(*(self._end(o) for o in seats))
            problems += [problem for problem in results if problem]
        return problems

    # --- the loop --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._stopping:
            started = time.monotonic()
            try:
                await self._round()
                self._rounds += 1
            except asyncio.CancelledError:
                raise
            except Exception as error:  # the loop never ends: a lost head or a Ray error is a state to wait out
                self._errors += 1
                self._last_error = f"{type(error).__name__}: {error}"[:500]
                log.warning("supervisor round failed", extra={"error": self._last_error})
            await asyncio.sleep(max(0.05, PERIOD_S - (time.monotonic() - started)))

    async def _round(self) -> None:
        table = await asyncio.wait_for(asyncio.to_thread(ray.nodes), 10.0)
        self._names = node_names(table)
        nodes = [
            plan.Node(n["NodeID"], self._names[n["NodeID"]], is_head(n)) for n in table if n["NodeID"] in self._names
        ]
        self._alive = tuple(self._names)
        if self._rounds == 0:
            await self._adopt()
        await asyncio.gather(*(self._probe(o) for o in self._observed.values() if o.state == "HEALTHY"))
        wanted = plan.desired(self._config, self._home, nodes, self._spawned.values(), self._options)
        for step in plan.reconcile(wanted, self._observed, self._alive, time.monotonic()):
            if isinstance(step, plan.Start):
                self._start(step)
            else:
                self._stop(step)
        await self._tell()

    async def _adopt(self) -> None:
        """Finds what an earlier supervisor left running."""
        listed = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
        for entry in listed:
            name = entry["name"]
            if entry["namespace"] != NAMESPACE or name == SUPERVISOR:
                continue
            try:
                handle = await asyncio.to_thread(ray.get_actor, name, namespace=NAMESPACE)
                seat, node_id = await asyncio.wait_for(handle.where.remote(), PING_TIMEOUT_S)
            except (RayError, ValueError, asyncio.TimeoutError):
                continue
            self._handles[name] = handle
            self._observed[name] = plan.Observed(seat, node_id, "HEALTHY", time.monotonic(), restarts=seat.restarts)
            if seat.role == "controller" and seat.label not in {c.name for c in self._config.controllers}:
                self._spawned[seat.label] = plan.Spawned(seat.options["controller"], seat.options.get("object"))

    async def _probe(self, seen: plan.Observed) -> None:
        name = seen.seat.name
        try:
            pid, age_s = await asyncio.wait_for(self._handles[name].ping.remote(), PING_TIMEOUT_S)
            seen.pid = pid
            seen.missed = 0 if age_s < HUNG_S else seen.missed + 1
        except RayActorError as error:
            self._died(seen, _first_line(error))
        except (RayError, asyncio.TimeoutError, GetTimeoutError):
            seen.missed += 1

    def _died(self, seen: plan.Observed, why: str) -> None:
        seen.state, seen.since_s, seen.last_error = "UNHEALTHY", time.monotonic(), why
        self._handles.pop(seen.seat.name, None)
        self._event(seen, "actor.died", Level.ERROR, {"reason": why, "pid": seen.pid})

    def _start(self, step: plan.Start) -> None:
        before = self._observed.get(step.seat.name)
        seen = plan.Observed(step.seat, step.node_id, "STARTING", time.monotonic(), restarts=step.seat.restarts)
        if before is not None:
            seen.failures, seen.last_error = before.failures, before.last_error
        self._observed[step.seat.name] = seen
        self._later(self._begin(seen))

    async def _begin(self, seen: plan.Observed) -> None:
        seat = seen.seat
        options = {
            **OPTIONS,
            "name": seat.name,
            "namespace": NAMESPACE,
            "label_selector": {"ray.io/node-id": seen.node_id},
        }
        try:
            shell: Any = ray.remote(concurrency_groups=PROBES)(SHELLS[seat.role])
            handle = shell.options(**options).remote(seat, tuple(self._names.values()))
            self._handles[seat.name] = handle
            await asyncio.wait_for(handle.begin.remote(), plan.START_TIMEOUT_S)
        except (RayError, ValueError, asyncio.TimeoutError) as error:
            why = _first_line(error.cause if isinstance(error, RayTaskError) else error)
            if self._observed.get(seat.name) is seen:
                seen.state, seen.since_s, seen.last_error = "UNHEALTHY", time.monotonic(), why
                seen.failures += 1
                self._kill(seat.name)
            self._event(seen, "actor.start_failed", Level.ERROR, {"reason": why, "failures": seen.failures})
            return
        seen.state, seen.since_s, seen.failures = "HEALTHY", time.monotonic(), 0
        self._event(
            seen, "actor.started" if not seat.restarts else "actor.restarted", Level.INFO, {"restarts": seat.restarts}
        )
        self._told = None

    def _stop(self, step: plan.Stop) -> None:
        seen = self._observed[step.name]
        if step.graceful:
            seen.state, seen.since_s = "DRAINING", time.monotonic()
            self._later(self._drain(seen))
        elif seen.node_id not in self._alive:
            self._observed.pop(step.name)
            self._handles.pop(step.name, None)
            self._event(seen, "actor.node_left", Level.WARNING, {})
        else:
            self._kill(step.name)
            seen.failures += seen.state == "STARTING"
            self._died(seen, f"no answer for {PERIOD_S * plan.PINGS_MISSED:.0f} s or more; replaced")

    async def _drain(self, seen: plan.Observed) -> None:
        await self._end(seen)
        self._observed.pop(seen.seat.name, None)

    async def _end(self, seen: plan.Observed) -> str:
        """Asks one actor to end, then makes sure. Returns what went wrong, or nothing."""
        name, problem = seen.seat.name, ""
        handle = self._handles.get(name)
        if handle is not None and seen.state in ("HEALTHY", "DRAINING", "STARTING"):
            try:
                await asyncio.wait_for(handle.end.remote(), END_TIMEOUT_S)
            except (RayError, asyncio.TimeoutError) as error:
                problem = f"{name}: {_first_line(error)}"
        self._kill(name)
        seen.state = "DRAINED"
        return problem

    def _kill(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            try:
                ray.kill(handle)
            except (RayError, ValueError):
                log.info("actor was gone before it was killed", extra={"actor": name})

    # --- news for the actors ---------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Which nodes there are, the observers' addresses, the roster and what happened: on change, and every 5 s."""
        now, nodes = time.monotonic(), tuple(sorted(self._names.values()))
        states = tuple((o.seat.name, o.state, o.restarts, o.missed) for o in self._observed.values())
        if self._told == (nodes, states) and now - self._news_s < NEWS_PERIOD_S and not self._events:
            return
        healthy = [o for o in self._observed.values() if o.state == "HEALTHY"]
        observers = [o.seat for o in healthy if o.seat.role == "observer"]
        addresses = await asyncio.gather(*(self._ask(s.name, "address") for s in observers))
        peers = {s.node: tuple(a) for s, a in zip(observers, addresses, strict=True) if a is not None}
        roster, events, self._events = self._roster(), self._events, []
        calls = [self._ask(o.seat.name, None, nodes) for o in healthy]
        calls += [self._ask(s.name, "set_peers", {n: a for n, a in peers.items() if n != s.node}) for s in observers]
        collectors = {o.seat.node: o.seat.name for o in healthy if o.seat.role == "collector"}
        for node, name in collectors.items():
            mine = [e for e in events if e.fields.get("node", "") == node]
            calls.append(self._ask(name, "set_roster", [a for a in roster if a.node == node], mine))
        self._events = [e for e in events if e.fields.get("node", "") not in collectors][-1000:]
        await asyncio.gather(*calls)
        self._told, self._news_s = (nodes, states), now

    async def _ask(self, name: str, method: str | None, *args: Any) -> Any:
        """A call that may fail: the next round tries again."""
        handle = self._handles.get(name)
        if handle is None:
            return None
        try:
            reference = handle.know.remote(*args) if method is None else handle.call.remote(method, *args)
            return await asyncio.wait_for(reference, PING_TIMEOUT_S)
        except (RayError, asyncio.TimeoutError) as error:
            self._errors += 1
            self._last_error = f"{name}.{method or 'know'}: {_first_line(error)}"
            return None

    def _roster(self) -> list[ActorStatus]:
        return [
            ActorStatus(
                name=o.seat.name,
                role=o.seat.role,
                node=o.seat.node,
                state=o.state,
                pid=o.pid,
                restarts=o.restarts,
                last_error=o.last_error,
                figures={"failed_starts": float(o.failures)},
            )
            for o in self._observed.values()
        ]

    def _event(self, seen: plan.Observed, event: str, level: Level, fields: dict[str, Any]) -> None:
        seat = seen.seat
        log.info(event, extra={"actor": seat.name, **fields})
        self._events.append(
            Event(
                time.time_ns(), event, seat.node, level, SUPERVISOR, {"actor": seat.name, "node": seat.node, **fields}
            )
        )

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _first_line(error: BaseException | None) -> str:
    """The telling line of one of Ray's long errors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:300]


def make_supervisor(config: Config, home: str, options: dict[str, Any], node_id: str) -> Any:
    """The supervisor's handle: made on the given node, or the one that there is."""
    remote: Any = ray.remote(Supervisor)
    return remote.options(
        name=SUPERVISOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        enable_task_events=False,
        label_selector={"ray.io/node-id": node_id},
    ).remote(msgspec.structs.replace(config), home, options)
