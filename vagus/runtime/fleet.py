"""All actors of vagus: compares the seats that should be filled with those that are, starts, replaces, ends.

Soft state only: a new fleet finds what runs by asking it (`_adopt`). Nothing that already runs needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import msgspec

from vagus.actors.base import Seat
from vagus.actors.crash_loops import with_end
from vagus.config import Config, ControllerSettings
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import ActorStatus, Level
from vagus.runtime import plan
from vagus.runtime.actor_states import ActorStates
from vagus.runtime.engine import Engine, Handle
from vagus.runtime.leases import Leases
from vagus.runtime.links import ActorGone
from vagus.runtime.names import SUPERVISOR, is_head, node_names
from vagus.runtime.news import FAILED, News
from vagus.runtime.node_states import NodeStates

ASK_TIMEOUT_S = 2.0
ADOPT_TIMEOUT_S = 5.0
STAY_S = 60.0  # how long one wait for an actor's end lasts
HUNG_S = 20.0  # a main loop that has not beaten for so long counts as a missed ping
END_TIMEOUT_S = 15.0
END_ORDER = ("controller", "learner", "feed", "traces", "collector", "decide", "observer")
"""Every role: who tells first, who is told last."""

Seats = Mapping[str, tuple[Seat, str]]
"""By name, with the node id: as of plan.desired."""


class Fleet:
    """`round` is to be called every few seconds, and at once when `changed` is set. Its other methods at any time."""

    def __init__(
        self,
        config: Config,
        home: str,
        options: dict[str, Any],
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.given = config  # as it was started with: arming changes `config`
        self.changed = asyncio.Event()
        self.rounds = 0
        self.errors = 0
        self.last_error = ""
        self.stopping = False
        self.node_names: dict[str, str] = {}  # by node id
        self.seen: dict[str, plan.Observed] = {}
        self._home = home
        self._options = options  # what every seat is given: token, key
        self._engine = engine
        self._clock = clock
        self._nodes: list[plan.Node] = []
        self._roster: dict[str, ActorStatus] = {}
        self._planned: tuple[Any, Seats] = (None, {})  # of what inputs, and the seats
        self._spawned: dict[str, plan.Spawned] = {}
        self._leases = Leases(clock())
        self._handles: dict[str, Handle] = {}
        self._leaving: set[str] = set()
        self._adopted = False
        self._news = News(clock)
        self._node_states = NodeStates()
        self._actor_states = ActorStates()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what people ask for ---------------------------------------------------------------------------------------

    def roster(self) -> list[ActorStatus]:
        """Every seat's state. What is as it was is the same object: thousands made anew each round are work for the
        garbage collector, which then takes longer than all the rest."""
        before, self._roster = self._roster, {}
        for name, o in self.seen.items():
            figures = {"failed_starts": float(o.failures)}
            said = before.get(name)
            if said is None or (said.state, said.pid, said.restarts, said.last_error, said.figures) != (
                o.state,
                o.pid,
                o.restarts,
                o.last_error,
                figures,
            ):
                said = _said(o, figures)
            self._roster[name] = said
        return list(self._roster.values())

    def spawn(self, settings: ControllerSettings, user_class: Any, lease_s: float = 0.0, owner: str = "") -> list[str]:
        """Adds a user's controller; returns the names of its seats. Raises ConfigError: name taken, no such node.

        lease_s: `keep` is to be called that often at least, or it ends; 0: it stays until it is removed. owner: who
        spawns; another one's controller of the same name, later on, is none of theirs.
        """
        self._check_knows()
        if settings.name in self._names_taken():
            raise ConfigError(
                f"a controller named {settings.name!r} runs already; remove it first or choose another name"
            )
        spawned = plan.Spawned(settings, user_class, lease_s, owner)
        seats = plan.desired(self.config, self._home, self._nodes, [spawned], self._options).values()
        names = [seat.name for seat, _ in seats if seat.role == "controller" and seat.label == settings.name]
        if not names:
            there = ", ".join(n.name for n in self._nodes)
            raise ConfigError(f"controller {settings.name!r}: on={settings.on!r} names no node; there are: {there}")
        self._spawned[settings.name] = spawned
        self._leases.grant(settings.name, lease_s, self._clock())
        self.changed.set()
        return names

    def keep(self, name: str, owner: str = "") -> list[ActorStatus] | None:
        """Renews a spawned controller's lease; returns the state of its seats, or None: there is none of that name.

        owner: only if it is theirs; empty: whosever it is.

        Raises PeerUnreachable: a new supervisor does not know yet what runs.
        """
        self._check_knows()
        if not self._is_there(name, owner):
            return None
        self._leases.keep(name, self._clock())
        return [_said(o, {"failed_starts": float(o.failures)}) for o in self._seats_of(name)]

    def _check_knows(self) -> None:
        if not self.rounds:
            raise PeerUnreachable("the supervisor has only just started; try again in a second")

    def _is_there(self, name: str, owner: str) -> bool:
        spawned = self._spawned.get(name)
        return spawned is not None and owner in ("", spawned.owner)

    def _seats_of(self, name: str) -> list[plan.Observed]:
        return [o for o in self.seen.values() if o.seat.role == "controller" and o.seat.label == name]

    def _names_taken(self) -> set[str]:
        ending = {o.seat.label for o in self.seen.values() if o.seat.role == "controller"}
        return {c.name for c in self.config.controllers} | set(self._spawned) | ending

    async def remove(self, name: str, owner: str = "") -> bool:
        """Ends a spawned controller on every node; its limits are restored. False when there is none of that name.

        owner: as of `keep`.
        """
        if not self._is_there(name, owner):
            return False
        del self._spawned[name]
        self._leases.drop(name)
        await self._drain_all(self._seats_of(name))
        return True

    async def arm(self, on: bool) -> list[str]:
        """Arms or disarms every controller, those that are started later included; returns what went wrong."""
        for name in {c.name for c in self.config.controllers} | set(self._spawned):
            self._set_armed(name, on)
        running = [o for o in self.seen.values() if o.seat.role == "controller" and o.state == "HEALTHY"]
        problems = await asyncio.gather(*(self._arm(o) for o in running))
        return [problem for problem in problems if problem]

    async def leave(self, node_id: str) -> list[str]:
        """Ends a node's actors, and starts none there again while it is in the cluster; returns what went wrong.

        Raises PeerUnreachable: a new supervisor does not know yet what runs.
        """
        self._check_knows()
        self._leaving.add(node_id)
        ending, problems = self._ending_at(node_id), []
        try:
            await self._engine.set_left(self._leaving)
        except PeerUnreachable as error:
            problems.append(f"{error}: should the supervisor be replaced, its successor fills this node again")
        return problems + await self._drain_all(ending)

    def _ending_at(self, node_id: str) -> list[plan.Observed]:
        """What is at a node, to be drained: marked at once, or a round ends all of it in whatever order."""
        ending = [o for o in self.seen.values() if o.node_id == node_id]
        for seen in ending:
            seen.state, seen.since_s = "DRAINING", self._clock()
        return ending

    async def stop(self) -> list[str]:
        """Ends every actor gracefully (limits restored, stores flushed), controllers first; returns what went wrong."""
        self.stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        problems = await self._drain_all(list(self.seen.values()))
        with contextlib.suppress(PeerUnreachable):  # what was being made meanwhile
            for name in await self._engine.names():
                if name != SUPERVISOR:
                    (await self._engine.find(name)).kill()
            await self._engine.set_left(())  # who starts vagus again starts it everywhere
        return problems

    # --- the loop --------------------------------------------------------------------------------------------------

    async def round(self) -> None:
        """Looks at nodes and actors once, and begins what is to be done. Raises PeerUnreachable: no head."""
        self.changed.clear()
        table = await self._engine.nodes()
        if not self._adopted:
            self._leaving |= await self._engine.left()
            await self._adopt()
            self._adopted = True
            for node_id in self._leaving:  # an earlier supervisor did not come to its end
                self._later(self._drain_all(self._ending_at(node_id)))
        self.node_names = node_names(table, self.node_names)
        self._leaving &= set(self.node_names)
        self._nodes = [
            plan.Node(n["NodeID"], self.node_names[n["NodeID"]], is_head(n))
            for n in table
            if n["NodeID"] in self.node_names and n["NodeID"] not in self._leaving
        ]
        now_s = self._clock()
        await asyncio.gather(*(self._ping(o) for o in plan.pings(self.seen.values(), now_s)))
        if self.stopping:
            return
        self._end_orphans()
        for step in plan.reconcile(self._wanted(self._nodes), self.seen, self.node_names, self._clock()):
            if isinstance(step, plan.Start):
                self._start(step)
            else:
                self._stop(step)
        if await self._news.tell(tuple(sorted(self._names())), self.seen, self.roster(), self._ask):
            self.changed.set()
        evidence = self._node_states.due(table, self.node_names, self._clock(), time.time_ns())
        if await self._news.report(evidence, self.seen, self._ask):
            self._node_states.taken(evidence, self._clock())
        evidence = self._actor_states.due(self.seen, self._clock(), time.time_ns())
        if await self._news.report(evidence, self.seen, self._ask):
            self._actor_states.taken(evidence, self._clock())
        self.rounds += 1

    def _names(self) -> tuple[str, ...]:
        """The nodes that have actors."""
        return tuple(node.name for node in self._nodes)

    def _wanted(self, nodes: list[plan.Node]) -> Seats:
        """plan.desired, computed anew when what it depends on is another."""
        inputs = (self.config, nodes, list(self._spawned.values()))
        if self._planned[0] != inputs:
            seats = plan.desired(self.config, self._home, nodes, self._spawned.values(), self._options)
            self._planned = (inputs, seats)
        return self._planned[1]

    def _end_orphans(self) -> None:
        """Forgets controllers whose lease ran out: as nobody wants them, the plan ends them, and limits are restored."""
        for name in self._leases.ended(self._clock()):
            spawned = self._spawned.pop(name)
            for seen in self._seats_of(name):
                self._news.happened(seen, "controller.orphaned", Level.WARNING, lease_s=spawned.lease_s)

    async def _adopt(self) -> None:
        """Finds what an earlier supervisor left running."""
        found = await self._engine.names()
        await asyncio.gather(*(self._find(name) for name in found if name != SUPERVISOR))

    async def _find(self, name: str) -> None:
        try:
            handle = await self._engine.find(name)
        except ActorGone:
            return
        try:
            seat, node_id = await handle.ask("where", timeout_s=ADOPT_TIMEOUT_S)
        except ActorGone:
            return
        except VagusError:
            handle.kill()  # it hangs, and holds the name that its successor needs
            return
        self.node_names[node_id] = seat.node
        seen = plan.Observed(seat, node_id, "STARTING", self._clock(), restarts=seat.restarts)
        self.seen[name], self._handles[name] = seen, handle
        if seat.role == "controller" and seat.label not in {c.name for c in self.config.controllers}:
            lease_s = float(seat.options.get("lease_s", 0.0))
            owner = str(seat.options.get("owner", ""))
            settings, given = seat.options["controller"], seat.options.get("object")
            self._spawned[seat.label] = plan.Spawned(settings, given, lease_s, owner)
            self._leases.grant(seat.label, lease_s, self._clock())
        self._later(self._begin(seen, handle))

    # --- one actor's life ------------------------------------------------------------------------------------------

    def _start(self, step: plan.Start) -> None:
        before = self.seen.get(step.seat.name)
        seen = plan.Observed(step.seat, step.node_id, "STARTING", self._clock(), restarts=step.seat.restarts)
        if before is not None:
            seen.failures, seen.last_error, seen.ends_s = before.failures, before.last_error, before.ends_s
        self.seen[step.seat.name] = seen
        self._later(self._begin(seen))

    async def _begin(self, seen: plan.Observed, adopted: Handle | None = None) -> None:
        """Makes the actor unless it is there, starts it, then waits for its end."""
        name = seen.seat.name
        try:
            if adopted is None:
                handle = await self._engine.create(seen.seat, seen.node_id, self._names())
                if self.seen.get(name) is not seen:  # replaced, or no longer wanted, while it was made
                    handle.kill()
                    return
                self._handles[name] = handle
            else:
                handle = adopted
            await handle.ask("begin", timeout_s=plan.START_TIMEOUT_S)
            if seen.seat.role == "controller":
                await self._settle_arms(seen, adopted is not None)
        except Exception as error:  # a user's class may fail to travel, in any way
            if self.seen.get(name) is seen and seen.state == "STARTING":
                seen.failures += 1
                why = str(error) if isinstance(error, VagusError) else f"{type(error).__name__}: {error}"
                self._lost(seen, "actor.start_failed", why)
            return
        if self.seen.get(name) is not seen or seen.state != "STARTING":
            return
        seen.state, seen.since_s, seen.failures, seen.pinged_s = "HEALTHY", self._clock(), 0, -math.inf
        if adopted is None:
            event = "actor.restarted" if seen.seat.restarts else "actor.started"
            self._news.happened(seen, event, Level.INFO, restarts=seen.seat.restarts)
        self.changed.set()
        await self._watch(seen, handle)

    async def _watch(self, seen: plan.Observed, handle: Handle) -> None:
        """Learns at once of the actor's end, without asking again and again."""
        while seen.state == "HEALTHY":
            try:
                await handle.ask("stay", STAY_S, timeout_s=STAY_S + ASK_TIMEOUT_S)
            except ActorGone as error:
                if seen.state == "HEALTHY":
                    self._lost(seen, "actor.died", str(error))
            except VagusError:  # silent or cut off: the pings tell
                await asyncio.sleep(ASK_TIMEOUT_S)

    async def _ping(self, seen: plan.Observed) -> None:
        seen.pinged_s = self._clock()
        try:
            seen.pid, age_s = await self._handles[seen.seat.name].ask("ping", timeout_s=ASK_TIMEOUT_S)
            seen.missed = 0 if age_s < HUNG_S else seen.missed + 1
        except ActorGone as error:
            if seen.state == "HEALTHY":
                self._lost(seen, "actor.died", str(error))
        except VagusError:
            seen.missed += 1

    def _lost(self, seen: plan.Observed, event: str, why: str) -> None:
        """It does not run, or must not: a later round starts another."""
        seen.state, seen.since_s, seen.last_error = "UNHEALTHY", self._clock(), why[:500]
        seen.ends_s = with_end(seen.ends_s, seen.since_s)
        self._kill(seen.seat.name)
        self._news.happened(seen, event, Level.ERROR, reason=seen.last_error, pid=seen.pid, failures=seen.failures)
        self.changed.set()

    def _stop(self, step: plan.Stop) -> None:
        seen = self.seen[step.name]
        if step.graceful:
            seen.state, seen.since_s = "DRAINING", self._clock()
            self._later(self._drain(seen))
        elif seen.node_id not in self.node_names:
            del self.seen[step.name]
            self._kill(step.name)  # or it waits in Ray for its node, and keeps its name
            self._news.happened(seen, "actor.node_left", Level.WARNING)
        else:
            seen.failures += seen.state == "STARTING"
            self._later(self._put_down(seen))
            self._lost(seen, "actor.died", f"no answer to {plan.PINGS_MISSED} pings, or it does not start; replaced")

    async def _put_down(self, silent: plan.Observed) -> None:
        """Has a neighbour on its node kill a silent process: Ray's kill asks the process itself, which may be stopped."""
        for seen in list(self.seen.values()):
            handle = self._handles.get(seen.seat.name)
            if seen.node_id == silent.node_id and seen.state == "HEALTHY" and handle is not None and silent.pid:
                with contextlib.suppress(VagusError):
                    if await handle.ask("put_down", silent.seat.role, silent.pid, timeout_s=ASK_TIMEOUT_S):
                        return

    async def _drain_all(self, ending: Iterable[plan.Observed]) -> list[str]:
        """Ends actors, role by role in END_ORDER; what went wrong."""
        ending, problems = list(ending), []
        for role in END_ORDER:
            problems += await asyncio.gather(*(self._drain(o) for o in ending if o.seat.role == role))
        return [problem for problem in problems if problem]

    async def _drain(self, seen: plan.Observed) -> str:
        """Asks one actor to end, then makes sure. Returns what went wrong, or nothing."""
        name, problem, runs = seen.seat.name, "", seen.state in ("HEALTHY", "DRAINING")
        handle = self._handles.get(name)
        seen.state, seen.since_s = "DRAINING", self._clock()
        if handle is not None and runs:
            try:
                await handle.ask("end", timeout_s=END_TIMEOUT_S)
            except ActorGone:
                pass  # as wanted; its watchdog restores what it held
            except VagusError as error:
                problem = str(error)
        self._kill(name)
        seen.state = "DRAINED"
        if self.seen.get(name) is seen:
            del self.seen[name]
            self._news.happened(seen, "actor.ended", Level.INFO)
        return problem

    def _kill(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.kill()

    # --- arming ----------------------------------------------------------------------------------------------------

    def _set_armed(self, name: str, on: bool) -> None:
        controllers = (msgspec.structs.replace(c, armed=on) if c.name == name else c for c in self.config.controllers)
        self.config = msgspec.structs.replace(self.config, controllers=tuple(controllers))
        if name in self._spawned:
            spawned = self._spawned[name]
            settings = msgspec.structs.replace(spawned.settings, armed=on)
            self._spawned[name] = msgspec.structs.replace(spawned, settings=settings)

    def _armed(self, name: str) -> bool:
        known = [*self.config.controllers, *(s.settings for s in self._spawned.values())]
        return any(c.armed for c in known if c.name == name)

    async def _settle_arms(self, seen: plan.Observed, adopted: bool) -> None:
        """An adopted controller says whether it is armed; a new one is told, if that changed while it started."""
        label = seen.seat.label
        if adopted:
            status = await self._handles[seen.seat.name].ask("call", "describe", timeout_s=ADOPT_TIMEOUT_S)
            self._set_armed(label, bool(status.figures.get("armed", self._armed(label))))
        elif seen.seat.options["controller"].armed != self._armed(label):
            await self._handles[seen.seat.name].ask("call", "arm", self._armed(label), timeout_s=END_TIMEOUT_S)

    async def _arm(self, seen: plan.Observed) -> str:
        try:
            handle = self._handles[seen.seat.name]
            await handle.ask("call", "arm", self._armed(seen.seat.label), timeout_s=END_TIMEOUT_S)
            return ""
        except VagusError as error:
            return str(error)

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, method: str, *args: Any) -> Any:
        """A call that may fail, in whatever way an actor fails: the next round tries again."""
        handle = self._handles.get(name)
        if handle is None:
            return FAILED
        try:
            if method == "know":
                return await handle.ask("know", *args, timeout_s=ASK_TIMEOUT_S)
            return await handle.ask("call", method, *args, timeout_s=ASK_TIMEOUT_S)
        except Exception as error:
            self.failed(error)
            return FAILED

    def failed(self, error: Exception) -> None:
        """Counts an error and remembers it for `describe`."""
        self.errors += 1
        self.last_error = (str(error) if isinstance(error, VagusError) else f"{type(error).__name__}: {error}")[:500]

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.failed(error)


def _said(seen: plan.Observed, figures: dict[str, float]) -> ActorStatus:
    """What the supervisor says of a seat."""
    seat = seen.seat
    return ActorStatus(
        name=seat.name,
        role=seat.role,
        node=seat.node,
        state=seen.state,
        pid=seen.pid,
        restarts=seen.restarts,
        last_error=seen.last_error,
        figures=figures,
    )
