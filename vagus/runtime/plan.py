"""Which actors there should be, and what to do about the difference. Pure functions; the supervisor performs them.

After Ray Serve's proxy state machine: STARTING → HEALTHY → UNHEALTHY → (started anew); DRAINING → DRAINED when the
node or the seat goes away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any

import msgspec

from vagus.actors.base import Seat
from vagus.config import Config, ControllerSettings
from vagus.feeds.shares import is_spread

MAX_BACKOFF_S = 30.0
START_TIMEOUT_S = 60.0
PING_PERIOD_S = 5.0  # an actor that missed one is asked every round
FAILED_STARTS = 3  # in a row: then others fetch what was this node's
PINGS_MISSED = 3  # unanswered pings before a silent actor is replaced
PINGS_A_ROUND = 800  # of those that answered the last one: beyond that each is asked more rarely


class Spawned(msgspec.Struct, frozen=True):
    """A user's controller: settings, and the class itself (travels through Ray, which authenticates).

    lease_s: it ends when nobody asked for so long that it goes on; 0: it stays until it is removed. owner: who asks.
    """

    settings: ControllerSettings
    object: Any = None
    lease_s: float = 0.0
    owner: str = ""


class Node(msgspec.Struct, frozen=True):
    """A node as far as placement cares."""

    id: str
    name: str
    head: bool


class Observed(msgspec.Struct):
    """What the supervisor knows of one seat."""

    seat: Seat
    node_id: str
    state: str = "STARTING"
    since_s: float = 0.0
    pinged_s: float = 0.0
    missed: int = 0
    pid: int = 0
    restarts: int = 0
    failures: int = 0  # starts that failed in a row
    last_error: str = ""
    ends_s: tuple[float, ...] = ()  # when it ended of late, or did not start


class Start(msgspec.Struct, frozen=True):
    seat: Seat
    node_id: str


class Stop(msgspec.Struct, frozen=True):
    """graceful: ask it to end first; else just kill it."""

    name: str
    graceful: bool


def desired(
    config: Config, home: str, nodes: Sequence[Node], spawned: Iterable[Spawned], options: Mapping[str, Any]
) -> dict[str, tuple[Seat, str]]:
    """Every seat that should be filled, by name, with the node id that it is pinned to."""
    seats: dict[str, tuple[Seat, str]] = {}

    def add(node: Node, role: str, label: str = "", extra: Mapping[str, Any] | None = None) -> None:
        given = {**common, **extra} if extra else common
        seat = Seat(role=role, node=node.name, home=home, config=config, label=label, options=given)
        seats[seat.name] = (seat, node.id)

    head = next((n.name for n in nodes if n.head), "")
    common = {**options, "head": head}
    spread = is_spread(config.feeds, config.feeds_on)
    controllers = [Spawned(c) for c in config.controllers] + list(spawned)
    for node in nodes:
        add(node, "collector")
        add(node, "observer")
        if node.head or config.decide.on == "every-node":
            add(node, "decide")
        if config.feeds and (node.head or spread):
            add(node, "feed")
        if node.head and config.traces.on == "head":
            add(node, "traces")
        if node.head and config.learner.on == "head" and any(map(_learns, controllers)):
            add(node, "learner")
        for controller in controllers:
            settings = controller.settings
            if settings.on in ("every-node", node.name) or (settings.on == "head" and node.head):
                given = {"controller": settings, "object": controller.object}
                if controller.lease_s or controller.owner:  # for the supervisor that finds it
                    given |= {"lease_s": controller.lease_s, "owner": controller.owner}
                add(node, "controller", settings.name, given)
    return seats


def reconcile(
    wanted: Mapping[str, tuple[Seat, str]], observed: Mapping[str, Observed], alive: Iterable[str], now_s: float
) -> list[Start | Stop]:
    """What to do now: start the missing and the dead (with back-off), replace the silent, stop what is not wanted."""
    alive_ids = set(alive)
    steps: list[Start | Stop] = []
    for name, (seat, node_id) in wanted.items():
        have = observed.get(name)
        if have is None:
            steps.append(Start(seat, node_id))
        elif _hangs(have, now_s):
            steps.append(Stop(name, graceful=False))
        elif have.state == "UNHEALTHY" and now_s - have.since_s >= backoff_s(have.failures):
            steps.append(Start(msgspec.structs.replace(seat, restarts=have.restarts + 1), node_id))
    for name, have in observed.items():
        if name not in wanted and have.state not in ("DRAINING", "DRAINED"):
            steps.append(Stop(name, graceful=have.node_id in alive_ids))
    return steps


def pings(observed: Iterable[Observed], now_s: float) -> list[Observed]:
    """Whom to ask now whether it hangs: all that missed a ping, and of those that are due whoever waited longest."""
    running = [o for o in observed if o.state == "HEALTHY" and (o.missed or now_s - o.pinged_s >= PING_PERIOD_S)]
    if len(running) <= PINGS_A_ROUND:
        return running
    well = nsmallest(PINGS_A_ROUND, (o for o in running if not o.missed), key=lambda o: o.pinged_s)
    return [o for o in running if o.missed] + well


def _learns(controller: Spawned) -> bool:
    """Whether its policy is taught by the learner actor, as its options say."""
    return controller.settings.options.get("learn") == "learner"


def feeders(observed: Iterable[Observed]) -> tuple[str, ...]:
    """The nodes that fetch feeds: whose feed actor runs, or is to run again soon."""
    staying = (o for o in observed if o.seat.role == "feed" and o.state not in ("DRAINING", "DRAINED"))
    return tuple(sorted(o.seat.node for o in staying if o.failures < FAILED_STARTS))


def _hangs(have: Observed, now_s: float) -> bool:
    if have.state == "STARTING":
        return now_s - have.since_s > START_TIMEOUT_S
    return have.state == "HEALTHY" and have.missed >= PINGS_MISSED


def backoff_s(failures: int) -> float:
    """Delay before the next start after so many failed ones in a row: none at first, then doubling to 30 s."""
    return 0.0 if failures <= 0 else float(min(MAX_BACKOFF_S, 2 ** (failures - 1)))
